"""Paired differences over seeds, with Student intervals: all that a handful of runs can say."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import t

LEVEL = 0.95


def paired(values: Sequence[float], control: Sequence[float]) -> tuple[float, float]:
    """(mean difference, half-width of its 95 % interval) of runs that share a seed with their control, in the same order."""
    differences = np.asarray(values, float) - np.asarray(control, float)
    n = len(differences)
    if n < 2:
        return float(differences.mean()), float("nan")
    return float(differences.mean()), float(t.ppf(0.5 + LEVEL / 2, n - 1) * differences.std(ddof=1) / np.sqrt(n))


def shown(difference: float, half: float, digits: int = 3) -> str:
    """``-0.012 ± 0.004``, bold where the interval leaves out zero."""
    text = f"{difference:+.{digits}f} ± {half:.{digits}f}".replace("-", "−")
    return f"**{text}**" if abs(difference) > half else text
