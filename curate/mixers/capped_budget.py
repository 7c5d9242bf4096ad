"""The factor that makes weights meet a budget under a cap, found by looking at parts a few times.

Documents have preferences p in [0, 1] and weights min(cap, λ·exp((p − 1) / τ)). λ solves
Σ mass · weight = total: what capped documents cannot take is poured over the others in
their own ratios (water-filling). The left side is concave and piecewise linear in λ, so
Newton's steps from below are exact once no further document is capped. Where nothing is
capped one look is enough, else a histogram of preferences gives a first step that two or
three more looks settle. Sums are exact: λ does not depend on how documents lie in parts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from curate.kernels.exact_sums import empty_sum, total
from curate.kernels.preferences import measure_preferences

BUCKETS = 4096


@dataclass(frozen=True)
class Measure:
    """What one part tells for one threshold.

    Args:
        sums: documents, amount, and mass at or above the threshold.
        limbs: exact sum of mass · exp((p − min(threshold, 1)) / τ) below it: at a low temperature anything farther from
            the threshold is too small to be told from nothing, and is nothing to the sum.
        buckets: mass of equal intervals of preference.
        edges: greatest preference below the threshold, least at or above, and least and greatest of all.
    """

    sums: np.ndarray
    limbs: np.ndarray
    buckets: np.ndarray
    edges: np.ndarray


def measure(preference_N: np.ndarray, length_N: np.ndarray, by_documents: bool, temperature: float, threshold: float) -> Measure:
    """Look at one part; NaN preferences do not count."""
    made = Measure(np.zeros(3, np.int64), empty_sum(), np.zeros(BUCKETS, np.int64), np.array([-math.inf, math.inf, math.inf, -math.inf]))
    measure_preferences(preference_N, length_N, by_documents, temperature, threshold, made.limbs, made.buckets, made.sums, made.edges)
    return made


@dataclass(frozen=True)
class Totals:
    """All parts together for one threshold.

    Args:
        n: documents that have a preference.
        amount: their length.
        capped: mass at or above the threshold.
        below: Σ mass · exp((p − min(threshold, 1)) / τ) of the others.
        last: the greatest preference below the threshold.
        lowest: of all.
        highest: of all.
    """

    n: int
    amount: int
    capped: int
    below: float
    last: float
    lowest: float
    highest: float
    buckets: np.ndarray


def totals_of(parts: Sequence[Measure]) -> Totals:
    """Exactly, in any order."""
    n, amount, capped = (sum(int(part.sums[i]) for part in parts) for i in range(3))
    below = total(*(part.limbs for part in parts))
    last, highest = (max(float(part.edges[i]) for part in parts) for i in (0, 3))
    lowest = min(float(part.edges[2]) for part in parts)
    return Totals(n, amount, capped, below, last, lowest, highest, np.sum([part.buckets for part in parts], axis=0))


@dataclass(frozen=True)
class Solution:
    """Where the search stands.

    Args:
        total: mass to be met.
        cap: on weights.
        temperature: τ.
        factor: log λ; +inf where every document is at the cap.
        threshold: preferences from here on were at the cap when last looked.
        is_settled: whether no further look is needed.
    """

    total: float
    cap: float
    temperature: float
    factor: float = -math.inf
    threshold: float = math.inf
    is_settled: bool = False

    def after(self, found: Totals) -> Solution:
        """One step of the search."""
        rest = self.total - self.cap * found.capped
        if found.last == -math.inf or rest <= 0 or found.below == 0:
            return replace(self, factor=math.inf, is_settled=True)
        factor = math.log(rest) - math.log(found.below) - (min(self.threshold, 1.0) - 1.0) / self.temperature
        threshold = self._threshold(factor)
        if found.last < threshold:
            return replace(self, factor=factor, is_settled=True)
        if self.threshold == math.inf:
            # From below: weights at the upper ends of intervals are too large, so λ is too small.
            factor = max(factor, self._guess(found.buckets))
            threshold = self._threshold(factor)
        return replace(self, factor=factor, threshold=threshold)

    def _threshold(self, factor: float) -> float:
        """The preference whose weight is the cap."""
        return 1.0 + self.temperature * (math.log(self.cap) - factor)

    def _guess(self, buckets: np.ndarray) -> float:
        """log λ of the histogram, every document at the upper end of its interval."""
        log_weight = (np.arange(1, BUCKETS + 1) / BUCKETS - 1.0) / self.temperature
        held = np.flatnonzero(buckets)[::-1]
        mass, log_weight = buckets[held].astype(np.float64), log_weight[held]
        capped = np.concatenate([[0.0], np.cumsum(mass)[:-1]])
        below = np.logaddexp.accumulate((np.log(mass) + log_weight)[::-1])[::-1]
        with np.errstate(invalid="ignore", divide="ignore"):
            factors = np.log(self.total - self.cap * capped) - below
            fits = factors + log_weight <= math.log(self.cap)
        return float(factors[np.argmax(fits)]) if fits.any() else -math.inf
