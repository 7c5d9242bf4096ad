"""Quality gathered in a few bins, so that other settings can be tried on sums over them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from curate.kernels.preferences import step_counts

STEPS = 2520
"""Steps that bins are made of: up to eleven classes at equal distances lie on steps, and so in bins of their own."""
MOST_BINS = 48
"""Bins of equal width, where more steps than these occur."""


def count_steps(quality_N: np.ndarray) -> np.ndarray:
    """Documents at every step (STEPS + 1); a missing quality is at step 0."""
    counts = np.zeros(STEPS + 1, np.int64)
    step_counts(quality_N, counts)
    return counts


@dataclass(frozen=True)
class QualityBins:
    """Which steps gather in which bin.

    Args:
        bin_S: of every step.
        quality_B: mean quality of the documents in each bin.
    """

    bin_S: np.ndarray
    quality_B: np.ndarray

    def of(self, quality_N: np.ndarray) -> np.ndarray:
        """The bin of every document."""
        step_N = np.rint(np.nan_to_num(quality_N, nan=0.0) * STEPS).astype(np.int64)
        return np.asarray(self.bin_S[step_N])


def quality_bins(parts: Sequence[np.ndarray]) -> QualityBins:
    """Steps as they are where few occur, else bins of equal width."""
    n_S = np.sum(parts, axis=0)
    held = np.flatnonzero(n_S)
    _, group = np.unique(held if len(held) <= MOST_BINS else np.minimum(held * MOST_BINS // STEPS, MOST_BINS - 1), return_inverse=True)
    bin_S = np.zeros(STEPS + 1, np.int64)
    bin_S[held] = group
    return QualityBins(bin_S, np.bincount(group, weights=n_S[held] * held) / np.bincount(group, weights=n_S[held]) / STEPS)
