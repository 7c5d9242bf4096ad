"""What weights come to: how many documents are never, once, twice or more often seen. C cells."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from curate.kernels.cells import outcome_sums


@dataclass(frozen=True)
class Outcome:
    """Expectations under given weights; shares are of all documents that have a cell.

    Args:
        amount: emitted, in the budget's unit.
        dropped: share of documents not seen.
        once: share seen once.
        twice: share seen twice.
        more: share seen three times or more.
        quality: mean over what is emitted, weighted by length.
        diversity: likewise.
        quality_before: mean over what there is, weighted by length.
        diversity_before: likewise.
        heaviest: the largest weight.
        lightest: the smallest.
        capped: share of documents at the cap.
    """

    amount: float
    dropped: float
    once: float
    twice: float
    more: float
    quality: float
    diversity: float
    quality_before: float
    diversity_before: float
    heaviest: float
    lightest: float
    capped: float

    @classmethod
    def of(
        cls, weight_C: np.ndarray, n_C: np.ndarray, amount_C: np.ndarray, quality_C: np.ndarray, diversity_C: np.ndarray, cap: float
    ) -> Outcome:
        """Of cells with these weights, documents, amounts, qualities and diversities."""
        sums, before = np.zeros(8), np.zeros(8)
        outcome_sums(weight_C, n_C, amount_C, quality_C, diversity_C, sums)
        outcome_sums(np.ones_like(weight_C), n_C, amount_C, quality_C, diversity_C, before)
        n, emitted, there = float(n_C.sum()), max(sums[4], 1e-300), max(before[4], 1e-300)
        dropped, once, twice, more = (sums[:4] / n).tolist()
        return cls(
            amount=float(sums[4]),
            dropped=dropped,
            once=once,
            twice=twice,
            more=more,
            quality=float(sums[5] / emitted),
            diversity=float(sums[6] / emitted),
            quality_before=float(before[5] / there),
            diversity_before=float(before[6] / there),
            heaviest=float(sums[7]),
            lightest=float(weight_C.min()),
            capped=float(n_C[weight_C >= cap].sum()) / n,
        )
