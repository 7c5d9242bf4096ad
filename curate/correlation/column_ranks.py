"""Ranks of many columns at once, centred and doubled so that they are whole numbers.

A value's rank here is 2 M - N - 1, M being its rank from 1 to N: how many values are less, minus how many are
greater. Sums of products of whole numbers are exact, so no order of models shows in an estimate. N models, D groups.
"""

from __future__ import annotations

import numpy as np

from curate.correlation.kinds import Ties
from curate.kernels import correlation as kernels


def centred_ranks(values_DN: np.ndarray, ties: Ties) -> np.ndarray:
    """Ranks within each row, 2 M - N - 1: float64 (D, N).

    Args:
        values_DN: finite, of any float type.
        ties: ``mid`` gives equal values the mean of their ranks; ``order`` ranks them as numpy's default sort leaves
            them, as the authors' package does, which depends on the processor and on the order of models.
    """
    values_DN = np.ascontiguousarray(values_DN)
    order_DN = np.argsort(values_DN, axis=1)
    ranks_DN = np.empty(values_DN.shape)
    if ties == "mid":
        kernels.tied_ranks(values_DN, order_DN, ranks_DN)
    else:
        kernels.ranks_in_order(order_DN, ranks_DN)
    return ranks_DN


def sorted_columns(values_DN: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The order of every row, and for each place in it where its run of equal values ends: int32 (D, N) both."""
    values_DN = np.ascontiguousarray(values_DN)
    order_DN = np.argsort(values_DN, axis=1).astype(np.int32)
    ends_DN = np.empty(order_DN.shape, np.int32)
    kernels.tie_ends(values_DN, order_DN, ends_DN)
    return order_DN, ends_DN
