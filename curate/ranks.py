"""Rank statistics of documents: what two scores have in common when neither is a number in the other's unit."""

from __future__ import annotations

import numpy as np


def mid_ranks(values_N: np.ndarray) -> np.ndarray:
    """Ranks from 0.5 to N - 0.5 (N) float64; equal values share the mean of theirs."""
    _, inverse, counts = np.unique(values_N, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - counts / 2)[inverse]


def spearman(first_N: np.ndarray, second_N: np.ndarray) -> float | None:
    """Spearman's rho, Pearson's correlation of mid-ranks (Spearman 1904); None where one of the two is constant."""
    centred = [ranks - len(ranks) / 2 for ranks in map(mid_ranks, (first_N, second_N))]
    norm = float(np.sqrt(np.sum(centred[0] ** 2) * np.sum(centred[1] ** 2)))
    return float(np.sum(centred[0] * centred[1])) / norm if norm else None
