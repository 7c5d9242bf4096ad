"""Documents to cells and cells to weights, one pass each.

Compiled, because a corpus goes through them whole: in numpy each step would write another
array of its length. A cell is a row of one table and a column of another. N documents,
R rows, L columns.
"""

from __future__ import annotations

import math

import numba
import numpy as np

compiled = numba.njit(cache=True, nogil=True)


@compiled
def add_cells(cell_N, amount_N, n_C, amount_C):  # type: ignore[no-untyped-def]
    """Count documents and add amounts (both int64) to their cells; negative cells are none."""
    for i in range(cell_N.size):
        cell = cell_N[i]
        if cell >= 0:
            n_C[cell] += 1
            amount_C[cell] += amount_N[i]


@compiled
def cell_weights(cell_N, row_R, column_L, factor, cap, weight_N):  # type: ignore[no-untyped-def]
    """min(cap, exp(row + column + factor)) of every document's cell, 0 where it has none.

    Args:
        cell_N: row * L + column, below 2^31; negative for none.
        row_R: logarithms.
        column_L: logarithms.
        factor: logarithm; +inf puts every cell at the cap.
        weight_N: float64, written.
    """
    n_columns = np.uint32(column_L.size)
    most = math.log(cap)
    for i in range(cell_N.size):
        if cell_N[i] < 0:
            weight_N[i] = 0.0
            continue
        cell = np.uint32(cell_N[i])
        row = cell // n_columns
        log_weight = row_R[row] + column_L[cell - row * n_columns] + factor
        weight_N[i] = cap if log_weight >= most else math.exp(log_weight)


@compiled
def cluster_sums(cluster_N, distance_N, scale, n_K, distance_K):  # type: ignore[no-untyped-def]
    """Documents, and distances as whole numbers of 1 / scale, of every cluster; negative clusters are none."""
    for i in range(cluster_N.size):
        cluster = cluster_N[i]
        if cluster >= 0:
            n_K[cluster] += 1
            distance_K[cluster] += np.int64(np.rint(distance_N[i] * scale))


@compiled
def outcome_sums(weight_C, n_C, amount_C, quality_C, diversity_C, sums):  # type: ignore[no-untyped-def]
    """What weights of cells come to on average, added to ``sums`` (8 float64).

    Documents that are never, once, twice, and more often seen; amount emitted; the same times quality and times
    diversity; the heaviest weight.
    """
    for i in range(weight_C.size):
        weight, n = weight_C[i], np.float64(n_C[i])
        floor = math.floor(weight)
        again = weight - floor
        least = min(np.int64(floor), 3)
        sums[least] += n * (1.0 - again)
        sums[min(least + 1, 3)] += n * again
        emitted = weight * amount_C[i]
        sums[4] += emitted
        sums[5] += emitted * quality_C[i]
        sums[6] += emitted * diversity_C[i]
        sums[7] = max(sums[7], weight)
