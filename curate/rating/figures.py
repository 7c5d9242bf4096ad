"""How right a rater is on documents that did not teach it.

Exact accuracy alone does not tell an ordinal rater from a classifier: SampleMix (Xi et al., arXiv 2503.01506, table 2)
gives accuracy within one class and the absolute and squared errors beside it, where the ordinal head is ahead.

Suffixes: N labelled documents, K classes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from curate.ranks import spearman

DIGITS = 9  # of the figures: sums may differ in the last bits between machines


def figures(true_N: np.ndarray, label_N: np.ndarray, rating_N: np.ndarray, n_classes: int) -> dict[str, Any]:
    """Agreement of labels and ratings with the true labels; null where there is no document.

    Returns:
        ``accuracy``, ``within_one`` (share of labels at most one class off), ``mean_absolute_error`` and
        ``mean_squared_error`` of labels in classes; ``spearman`` of the rating, from mid-ranks, null where either is constant;
        ``confusion``, K rows of true labels by K columns of labels given.
    """
    off_N = np.abs(true_N.astype(np.int64) - label_N.astype(np.int64))
    confusion_KK = np.zeros((n_classes, n_classes), np.int64)
    np.add.at(confusion_KK, (true_N, label_N), 1)
    rho = spearman(true_N, rating_N) if len(true_N) else None
    return {
        "accuracy": _mean(off_N == 0),
        "within_one": _mean(off_N <= 1),
        "mean_absolute_error": _mean(off_N),
        "mean_squared_error": _mean(off_N**2),
        "spearman": None if rho is None else round(rho, DIGITS),
        "confusion": confusion_KK.tolist(),
    }


def _mean(values_N: np.ndarray) -> float | None:
    return round(float(values_N.sum()) / len(values_N), DIGITS) if len(values_N) else None
