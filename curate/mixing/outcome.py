"""What weights of documents come to on average: how many are never, once, twice and more often seen, and what is emitted.

Counts are of whole numbers, in units of 2^-32 documents, so they do not hang on how documents
lie in parts. N documents of one part.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from curate.sampling import FRACTION_BITS, ONE

DIGITS = 9  # of means: sums of floats may differ in the last bits between shardings


@dataclass(frozen=True)
class Outcome:
    """Of one part.

    Args:
        whole: documents whose weight is below 1, 2, 3, and the others.
        fractions: sums of what their weights are above a whole number, in units of 2^-32.
        capped: documents at the cap.
        heaviest: weight in units of 2^-32; -1 for none.
        lightest: likewise.
        amount: (before, after): their length, and what of it is emitted.
        sums: (before, after) of every column shown: its values times length, and times what is emitted.
    """

    whole: tuple[int, ...]
    fractions: tuple[int, ...]
    capped: int
    heaviest: int
    lightest: int
    amount: tuple[float, float]
    sums: dict[str, tuple[float, float]]


def outcome(fixed_N: np.ndarray, length_N: np.ndarray, shown: Mapping[str, np.ndarray], cap: float) -> Outcome:
    """Of documents that have a weight.

    Args:
        fixed_N: weights in units of 2^-32.
        shown: columns of numbers, without nulls.
    """
    floor_N = np.minimum(fixed_N >> FRACTION_BITS, 3)
    whole = [int((floor_N == k).sum()) for k in range(4)]
    fractions = [int((fixed_N[floor_N == k] & (ONE - 1)).sum()) for k in range(4)]
    capped = int((fixed_N >= np.int64(np.rint(cap * ONE))).sum())
    ends = (int(fixed_N.max()), int(fixed_N.min())) if len(fixed_N) else (-1, -1)
    emitted_N = fixed_N / ONE * length_N
    sums = {name: (float(values @ length_N), float(values @ emitted_N)) for name, values in shown.items()}
    return Outcome(tuple(whole), tuple(fractions), capped, *ends, (float(length_N.sum()), float(emitted_N.sum())), sums)


def expected(parts: Sequence[Outcome]) -> dict[str, Any]:
    """All parts together, JSON-able: shares of the documents that have a weight, extremes, and means over text."""
    whole = [sum(p.whole[k] for p in parts) for k in range(4)]
    fractions = [sum(p.fractions[k] for p in parts) for k in range(4)]
    n = max(sum(whole), 1)
    seen = {
        "dropped": whole[0] * ONE - fractions[0],
        "once": fractions[0] + whole[1] * ONE - fractions[1],
        "twice": fractions[1] + whole[2] * ONE - fractions[2],
        "more": fractions[2] + whole[3] * ONE,
    }
    before, after = (math.fsum(p.amount[i] for p in parts) for i in range(2))
    names = list(parts[0].sums) if parts else []
    means = {
        name: {
            "before": _mean(math.fsum(p.sums[name][0] for p in parts), before),
            "after": _mean(math.fsum(p.sums[name][1] for p in parts), after),
        }
        for name in names
    }
    return {
        "amount": _digits(after),
        **{name: units / (n * ONE) for name, units in seen.items()},
        "capped": sum(p.capped for p in parts) / n,
        "heaviest": max(p.heaviest for p in parts) / ONE,
        "lightest": min((p.lightest for p in parts if p.lightest >= 0), default=0) / ONE,
        "means": means,
    }


def _mean(total: float, weight: float) -> float:
    return _digits(total / weight) if weight else 0.0


def _digits(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
