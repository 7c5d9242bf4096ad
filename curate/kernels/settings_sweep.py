"""What settings of SampleMix come to, from sums over cells of equal quality and diversity. C cells, S settings."""

from __future__ import annotations

import math

import numba
import numpy as np

compiled = numba.njit(cache=True, nogil=True)


@compiled
def outcome_sums(weight_C, n_C, amount_C, quality_C, diversity_C, cap, sums):  # type: ignore[no-untyped-def]
    """What weights of cells come to on average, added to ``sums`` (9 float64).

    Documents that are never, once, twice, and more often seen; amount emitted; the same times quality and times
    diversity; the heaviest weight; documents at the cap.
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
        if weight >= cap:
            sums[8] += n


@compiled
def sweep_settings(settings, diversity_C, quality_C, n_C, amount_C, sums, weight_SC):  # type: ignore[no-untyped-def]
    """What every setting comes to: ``sums`` as ``outcome_sums`` gives them (S, 9), and the weight of every cell (S, C).

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
        outcome_sums(weight_SC[s], n_C, amount_C, quality_C, diversity_C, cap, sums[s])


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
