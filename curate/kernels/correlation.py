"""What correlating tables of losses does to every cell: ranks, signs of pairs, sums over resampled models.

Compiled, because a table may have a million columns, and a bootstrap goes through each column hundreds of times:
in numpy every step would write another array of its length. N models, D groups of pages, T targets, B replicates,
P = N (N - 1) / 2 pairs of models.
"""

from __future__ import annotations

import numba
import numpy as np

compiled = numba.njit(cache=True, nogil=True)


@compiled
def tied_ranks(values_DN, order_DN, ranks_DN):  # type: ignore[no-untyped-def]
    """How many values of a row are less, minus how many are greater: 2 · mid-rank - N - 1, a whole number; written.

    Args:
        order_DN: the order of each row, ascending; equal values in any order.
    """
    n = values_DN.shape[1]
    for d in range(values_DN.shape[0]):
        start = 0
        while start < n:
            value = values_DN[d, order_DN[d, start]]
            end = start + 1
            while end < n and values_DN[d, order_DN[d, end]] == value:
                end += 1
            for k in range(start, end):
                ranks_DN[d, order_DN[d, k]] = start + end - n
            start = end


@compiled
def ranks_in_order(order_DN, ranks_DN):  # type: ignore[no-untyped-def]
    """2 · rank - N - 1 with the ranks 1 to N given in the order, whether values are equal or not; written."""
    n = order_DN.shape[1]
    for d in range(order_DN.shape[0]):
        for k in range(n):
            ranks_DN[d, order_DN[d, k]] = 2 * k + 1 - n


@compiled
def tie_ends(values_DN, order_DN, ends_DN):  # type: ignore[no-untyped-def]
    """For each place in the order of a row the place after the last equal value: int32, written."""
    n = values_DN.shape[1]
    for d in range(values_DN.shape[0]):
        end = n
        for k in range(n - 1, -1, -1):
            if k < n - 1 and values_DN[d, order_DN[d, k]] != values_DN[d, order_DN[d, k + 1]]:
                end = k + 1
            ends_DN[d, k] = end


@compiled
def pair_signs(values_ND, first, signs_PD):  # type: ignore[no-untyped-def]
    """sign(x_g - x_k) for the pairs k < g from number ``first`` on, as many as ``signs_PD`` has rows: float32, written."""
    n, n_groups = values_ND.shape
    k, skip = 0, first
    while k < n - 1 and skip >= n - 1 - k:
        skip -= n - 1 - k
        k += 1
    g = k + 1 + skip
    for p in range(signs_PD.shape[0]):
        for d in range(n_groups):
            signs_PD[p, d] = np.float32(values_ND[g, d] > values_ND[k, d]) - np.float32(values_ND[g, d] < values_ND[k, d])
        g += 1
        if g == n:
            k += 1
            g = k + 1


@compiled
def replicate_sums(order_DN, ends_DN, copies_NB, weighted_TNB, n_B, less_B, rank_B, products_DTB, squares_DB):  # type: ignore[no-untyped-def]
    """Sums over resampled models of rank times target, and of rank squared, all replicates at once.

    In a replicate the rank of a value is the number of copies with less, minus those with greater. Along the order
    of a column the copies passed so far give it for every replicate, so no replicate sorts anything. All numbers
    are whole; the type of the arrays must hold the cube of a replicate's number of models.

    Args:
        order_DN, ends_DN: the order of each column, and where the run of equal values ends that a place belongs to.
        copies_NB: how often a replicate has a model.
        weighted_TNB: copies times the target's rank within the replicate.
        n_B: models of a replicate, copies counted.
        less_B, rank_B: scratch.
        products_DTB, squares_DB: written.
    """
    n = order_DN.shape[1]
    for d in range(order_DN.shape[0]):
        products_TB, squares_B = products_DTB[d], squares_DB[d]
        products_TB[:] = 0
        squares_B[:] = 0
        for b in range(n_B.size):
            less_B[b] = -n_B[b]
        start = 0
        while start < n:
            end = ends_DN[d, start]
            _ranks_of_run(order_DN[d, start:end], copies_NB, less_B, rank_B)
            for k in range(start, end):
                copies_B = copies_NB[order_DN[d, k]]
                for b in range(n_B.size):
                    squares_B[b] += copies_B[b] * rank_B[b] * rank_B[b]
                for t in range(products_TB.shape[0]):
                    weighted_B, sums_B = weighted_TNB[t, order_DN[d, k]], products_TB[t]
                    for b in range(n_B.size):
                        sums_B[b] += weighted_B[b] * rank_B[b]
            start = end


@compiled
def _ranks_of_run(models, copies_NB, less_B, rank_B):  # type: ignore[no-untyped-def]
    """Ranks of equal values in every replicate; ``less_B`` is twice the copies before them, minus all, and moves past them."""
    for b in range(rank_B.size):
        rank_B[b] = less_B[b]
    for model in models:
        copies_B = copies_NB[model]
        for b in range(rank_B.size):
            rank_B[b] += copies_B[b]
            less_B[b] += 2 * copies_B[b]
