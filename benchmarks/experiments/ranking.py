"""How well a score tells wanted documents from others."""

from __future__ import annotations

import numpy as np


def auc(score_N: np.ndarray, wanted_N: np.ndarray) -> float:
    """Chance that a wanted document has the higher score than another, ties counting half; NaN without both kinds."""
    ordered, n = np.sort(score_N), int(wanted_N.sum())
    if not 0 < n < len(wanted_N):
        return float("nan")
    doubled_N = np.searchsorted(ordered, score_N) + np.searchsorted(ordered, score_N, side="right") + 1
    return float((doubled_N[wanted_N].sum() / 2 - n * (n + 1) / 2) / (n * (len(wanted_N) - n)))


def within(score_N: np.ndarray, wanted_N: np.ndarray, group_N: np.ndarray) -> float:
    """Mean of ``auc`` over the groups that have both kinds."""
    return float(np.nanmean([auc(score_N[group_N == g], wanted_N[group_N == g]) for g in np.unique(group_N)]))
