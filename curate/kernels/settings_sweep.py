"""What settings of SampleMix come to, from sums over cells of equal quality and diversity.

Cells lie in a table: a row for each diversity, a column for each quality; empty ones have no
documents. A weight is then a product of a row's and a column's factor, one multiplication a
cell where an exponential would take ten times as long. R rows, L columns, S settings.
"""

from __future__ import annotations

import math

import numba
import numpy as np

compiled = numba.njit(cache=True, nogil=True)


@compiled
def outcome_sums(weight_C, n_C, amount_C, quality_C, diversity_C, cap, sums):  # type: ignore[no-untyped-def]
    """What weights of cells come to on average, added to ``sums`` (9 float64); weights are finite and 0 or more.

    Documents that are never, once, twice, and more often seen; amount emitted; the same times quality and times
    diversity; the heaviest weight; documents at the cap.
    """
    for i in range(weight_C.size):
        weight, n = weight_C[i], np.float64(n_C[i])
        if n == 0.0:
            continue
        least = 3 if weight >= 3.0 else int(weight)
        again = 0.0 if least == 3 else weight - least
        sums[least] += n * (1.0 - again)
        sums[min(least + 1, 3)] += n * again
        emitted = weight * amount_C[i]
        sums[4] += emitted
        sums[5] += emitted * quality_C[i]
        sums[6] += emitted * diversity_C[i]
        sums[7] = max(sums[7], weight)
        if weight >= cap * (1.0 - 1e-9):
            sums[8] += n


@compiled
def weigh_table(row_R, column_L, mass_RL, total, cap, weight_RL):  # type: ignore[no-untyped-def]
    """Weights ``factor * row * column``, none above ``cap``, whose masses sum to ``total``; false where no factor was found.

    Newton's steps on a concave, piecewise linear function from below: each is exact once no further cell is capped.

    Args:
        row_R, column_L: above 0, their products neither vanishing nor overflowing.
        weight_RL: written.
    """
    factor = 0.0
    for _ in range(300):
        met, slope = 0.0, 0.0
        for r in range(row_R.size):
            scaled = factor * row_R[r]
            for c in range(column_L.size):
                weight = scaled * column_L[c]
                if weight < cap:
                    slope += mass_RL[r, c] * row_R[r] * column_L[c]
                    met += mass_RL[r, c] * weight
                else:
                    met += mass_RL[r, c] * cap
        missing = total - met
        if missing <= 1e-12 * total:
            for r in range(row_R.size):
                for c in range(column_L.size):
                    weight_RL[r, c] = min(factor * row_R[r] * column_L[c], cap)
            return True
        factor += missing / slope if slope > 0.0 else math.inf
        if not math.isfinite(factor):
            return False
    return False
