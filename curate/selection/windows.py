"""Where the edges of a window fall, given what a group holds.

Documents stand in a total order; document i has weight w_i (1 when ``by: documents``), C_i
is the weight before it and W the weight of all. It lies below the quantile q when its
midpoint does: 2·C_i + w_i <= 2·q·W. Hence low(r) keeps floor(r·n + 1/2) documents, low(q)
and high(1 - q) share no document and miss none, and so do adjacent ``[lo, hi]`` windows.
The weight kept differs from the weight asked for by at most half a document at each edge.
``medium`` by documents is centred on exactly floor(r·n + 1/2). ``random`` is low in the
order of a hash: the same counts, of documents drawn without regard to their scores.
"""

from __future__ import annotations

from fractions import Fraction
from math import floor
from typing import Literal

Named = Literal["low", "medium", "high", "random"]


def window_targets(
    window: Named | tuple[float, float], share: Fraction | None, n_documents: int, weight: int, by_documents: bool
) -> tuple[int | None, int | None]:
    """The window's two edges as twice the cumulative weight, for one group of documents.

    A document is kept when its doubled midpoint 2·C + w is greater than the first and at most the second;
    None is no bound. A share is exact: a rate counts as the decimal that was written, so 0.35 of 10 is 3.5 and not
    3.4999, and an amount of the weight as their quotient.

    Args:
        window: its name, or two quantiles.
        rate: the share a named window keeps; not used with quantiles.
        n_documents: documents ranked in the group.
        weight: their summed weight; n_documents when ``by_documents``.
    """
    if isinstance(window, tuple):
        low, high = (Fraction(repr(q)) for q in window)
        return None if low == 0 else floor(2 * low * weight), None if high == 1 else floor(2 * high * weight)
    if share is None or share == 1:
        return None, None
    if window in ("low", "random"):
        return None, floor(2 * share * weight)
    if window == "high":
        return floor(2 * (1 - share) * weight), None
    if by_documents:
        kept = floor(share * n_documents + Fraction(1, 2))
        start = (n_documents - kept) // 2
        return 2 * start, 2 * (start + kept)
    return floor((1 - share) * weight), floor((1 + share) * weight)


def strata_targets(quantiles: int, n_documents: int) -> tuple[int, ...]:
    """The edges between strata of one group as twice the number of documents below: k/Q for k = 1 … Q-1.

    floor(k·n/Q + 1/2) documents lie below edge k, so sizes differ by at most one.
    """
    return tuple(2 * k * n_documents // quantiles for k in range(1, quantiles))
