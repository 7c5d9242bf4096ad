"""The factor that makes weights meet a budget under a cap, in logarithms.

Every cell of documents has a preference, the logarithm of its weight up to a factor. The
factor λ solves Σ mass · min(cap, λ·w) = total: what capped cells cannot take is poured over
the others in their own ratios (water-filling). Sums are exactly rounded, so the result does
not depend on the order of cells; preferences may lie thousands apart without over- or
underflow. C cells.
"""

from __future__ import annotations

import math

import numpy as np


def log_factor(preference_C: np.ndarray, mass_C: np.ndarray, total: float, cap: float) -> float:
    """log λ; +inf where every cell is at the cap.

    Args:
        preference_C: log w, finite.
        mass_C: what one copy of each cell amounts to, 0 or more: documents, or their tokens.
        total: to be met, above 0 and at most ``cap`` times the sum of masses.
        cap: on λ·w.
    """
    held = mass_C > 0
    preference, mass = preference_C[held], mass_C[held].astype(np.float64)
    factor = math.log(total) - _log_sum(preference, mass)
    if factor + float(preference.max()) <= math.log(cap):
        return factor
    return _under_cap(preference, mass, total, cap)


def _under_cap(preference: np.ndarray, mass: np.ndarray, total: float, cap: float) -> float:
    """The factor when some cells are at the cap: the heaviest are, so they are tried one after another."""
    order = np.argsort(-preference, kind="stable")
    preference, mass = preference[order], mass[order]
    # left[m]: what is to be met by the others once the m heaviest are at the cap; sums[m]: log of their λ-free total.
    left = total - cap * np.concatenate([[0.0], np.cumsum(mass)[:-1]])
    sums = np.logaddexp.accumulate((preference + np.log(mass))[::-1])[::-1]
    with np.errstate(invalid="ignore", divide="ignore"):
        fits = (left > 0) & (np.log(left) - sums + preference <= math.log(cap))
    if not fits.any():
        return math.inf
    m = int(np.argmax(fits))
    rest = total - cap * math.fsum(mass[:m].tolist())
    return math.log(rest) - _log_sum(preference[m:], mass[m:]) if rest > 0 else math.inf


def _log_sum(preference: np.ndarray, mass: np.ndarray) -> float:
    """log Σ mass · exp(preference), whatever the order."""
    top = float(preference.max())
    return top + math.log(math.fsum((mass * np.exp(preference - top)).tolist()))
