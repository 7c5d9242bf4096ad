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
def value_range(values_N):  # type: ignore[no-untyped-def]
    """How many values are finite, and the least and greatest of those (+inf and -inf where none is)."""
    n, low, high = 0, np.inf, -np.inf
    for value in values_N:
        if math.isfinite(value):
            n += 1
            low = min(low, value)
            high = max(high, value)
    return n, low, high


@compiled
def place_range(values_N, low, high, place_N):  # type: ignore[no-untyped-def]
    """Values between ``low`` and ``high`` (finite, not equal) to [0, 1], beyond them to the ends; NaN where not finite."""
    # Halved first: the distance of float64 extremes may itself overflow.
    width = high / 2 - low / 2
    for i in range(values_N.size):
        value = values_N[i]
        place = (value / 2 - low / 2) / width
        place_N[i] = min(max(place, 0.0), 1.0) if math.isfinite(value) else np.nan


@compiled
def cells_of(place_N, cluster_N, n_clusters, steps, drop, cell_N):  # type: ignore[no-untyped-def]
    """Cells of documents: cluster * (steps + 1) + the nearest step of quality.

    Args:
        place_N: quality in [0, 1], NaN where it is missing.
        cluster_N: negative where it is missing.
        drop: whether a document that misses one has no cell (-1); else it is at step 0, or in the cluster ``n_clusters``.
        cell_N: int64, written.
    """
    for i in range(place_N.size):
        missing = math.isnan(place_N[i])
        cluster = np.int64(cluster_N[i])
        if drop and (missing or cluster < 0):
            cell_N[i] = -1
            continue
        step = np.int64(0) if missing else np.int64(np.rint(place_N[i] * steps))
        cell_N[i] = (cluster if cluster >= 0 else n_clusters) * (steps + 1) + step


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


@compiled
def sweep_settings(settings, diversity_C, quality_C, n_C, amount_C, sums, weight_SC):  # type: ignore[no-untyped-def]
    """What every setting comes to: ``sums`` as ``outcome_sums`` gives them (S, 8), and the weight of every cell (S, C).

    Args:
        settings: alpha, temperature, budget, cap, and 1 where documents are scaled instead of amounts (S, 5); rows of
            zeros come out where the cap cannot hold the budget.
    """
    for s in range(settings.shape[0]):
        alpha, temperature, budget, cap, by_documents = settings[s]
        total = amount_C.sum()
        if cap * total < budget * (1.0 - 1e-12):
            weight_SC[s] = 0.0
            continue
        mass_C = n_C if by_documents > 0 else amount_C
        _weigh(alpha / temperature, (1.0 - alpha) / temperature, diversity_C, quality_C, weight_SC[s])
        _meet(mass_C, budget * mass_C.sum() / total, cap, weight_SC[s])
        outcome_sums(weight_SC[s], n_C, amount_C, quality_C, diversity_C, sums[s])


@compiled
def _weigh(by_diversity, by_quality, diversity_C, quality_C, weight_C):  # type: ignore[no-untyped-def]
    """Weights up to a factor, the heaviest 1."""
    top = -np.inf
    for c in range(weight_C.size):
        weight_C[c] = by_diversity * diversity_C[c] + by_quality * quality_C[c]
        top = max(top, weight_C[c])
    for c in range(weight_C.size):
        weight_C[c] = math.exp(weight_C[c] - top)


@compiled
def _meet(mass_C, total, cap, weight_C):  # type: ignore[no-untyped-def]
    """Scale weights so that masses under them sum to ``total``, none above ``cap``.

    Newton's steps on a concave, piecewise linear function from below: each is exact once no further cell is capped.
    """
    factor = 0.0
    for _ in range(200):
        met, slope = 0.0, 0.0
        for c in range(weight_C.size):
            if factor * weight_C[c] < cap:
                slope += mass_C[c] * weight_C[c]
                met += mass_C[c] * factor * weight_C[c]
            else:
                met += mass_C[c] * cap
        if slope <= 0.0 or total - met <= 1e-12 * total:
            break
        factor += (total - met) / slope
    for c in range(weight_C.size):
        weight_C[c] = min(factor * weight_C[c], cap)
