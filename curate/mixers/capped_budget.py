"""The factor that makes weights meet a budget under a cap, found in one look at parts, or two where documents are capped.

Documents have preferences p in [0, 1] and weights min(cap, λ·exp((p − 1) / τ)). λ solves
Σ mass · weight = total: what capped documents cannot take is poured over the others in
their own ratios (water-filling). A histogram of preferences with the weight of each
interval tells λ where nothing is capped, and otherwise the interval in which the cap is
reached; the documents of that interval then settle it. Sums are of whole numbers, so λ
does not depend on how documents lie in parts. B intervals.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from curate.kernels.preferences import preference_histogram

BUCKETS = 4096
_SLACK = 1e-12
"""Of a budget that is what the caps hold, to rounding."""
_UNITS, _REST_UNITS = 2.0**20, 2.0**30
"""Weights relative to the upper end of their interval are added in units of 2^-20, and what that rounds off in units of 2^-50."""


@dataclass(frozen=True)
class Histogram:
    """What one part tells of its preferences, or all parts together.

    Args:
        n: documents that have one.
        amount: their length.
        mass_B: of every interval.
        weight_B: Σ mass · exp((p − upper end) / τ) of every interval, in units of 2^-20; of all parts together in ones.
        rest_B: what the units leave of it, in units of 2^-50; of all parts together nothing.
        lowest: preference of all.
        highest: likewise.
    """

    n: int
    amount: int
    mass_B: np.ndarray
    weight_B: np.ndarray
    rest_B: np.ndarray
    lowest: float
    highest: float


def histogram(preference_N: np.ndarray, length_N: np.ndarray, by_documents: bool, temperature: float) -> Histogram:
    """Look at one part; NaN preferences do not count."""
    mass_B, weight_B, rest_B = (np.zeros(BUCKETS, np.int64) for _ in range(3))
    sums, edges = np.zeros(2, np.int64), np.array([math.inf, -math.inf])
    preference_histogram(preference_N, length_N, by_documents, temperature, _UNITS, _REST_UNITS, mass_B, weight_B, rest_B, sums, edges)
    return Histogram(int(sums[0]), int(sums[1]), mass_B, weight_B, rest_B, float(edges[0]), float(edges[1]))


def together(parts: Sequence[Histogram]) -> Histogram:
    """All parts, in any order."""
    mass_B, whole_B, rest_B = (sum(getattr(p, name).astype(object) for p in parts) for name in ("mass_B", "weight_B", "rest_B"))
    # As integers without end, rounded once.
    weight_B = (whole_B * int(_REST_UNITS) + rest_B) / int(_UNITS * _REST_UNITS)
    n, amount = sum(p.n for p in parts), sum(p.amount for p in parts)
    ends = min(p.lowest for p in parts), max(p.highest for p in parts)
    return Histogram(n, amount, mass_B.astype(np.float64), weight_B.astype(np.float64), np.zeros(BUCKETS), *ends)


def in_bucket(preference_N: np.ndarray, length_N: np.ndarray, by_documents: bool, bucket: int) -> tuple[np.ndarray, np.ndarray]:
    """Distinct preferences of one interval in ascending order, and the mass of each."""
    with np.errstate(invalid="ignore"):
        held = np.minimum(np.floor(preference_N * BUCKETS), BUCKETS - 1) == bucket
    distinct, at = np.unique(preference_N[held], return_inverse=True)
    mass = np.zeros(len(distinct), np.int64)
    np.add.at(mass, at, 1 if by_documents else length_N[held])
    return distinct, mass


@dataclass(frozen=True)
class Solution:
    """The factor, as far as it is found.

    Args:
        total: mass to be met.
        cap: on weights.
        temperature: τ.
        factor: log λ; +inf where every document is at the cap. NaN before it is found.
        bucket: the interval whose documents are needed; -1 for none.
        capped: mass above that interval.
        below: logarithm of Σ mass · exp((p − 1) / τ) below it.
    """

    total: float
    cap: float
    temperature: float
    factor: float = math.nan
    bucket: int = -1
    capped: float = 0.0
    below: float = -math.inf

    @property
    def is_settled(self) -> bool:
        """Whether the factor is found."""
        return not math.isnan(self.factor)

    def log_weight(self, preference: float) -> float:
        """Of a document, without the cap."""
        return (preference - 1.0) / self.temperature + self.factor

    def after_histogram(self, found: Histogram) -> Solution:
        """The factor where nothing is capped, else the interval in which the cap is reached."""
        held = np.flatnonzero(found.mass_B)
        ends = ((held + 1) / BUCKETS - 1.0) / self.temperature
        log_B = np.log(np.maximum(found.weight_B[held], 1e-300)) + ends
        uncapped = replace(self, factor=math.log(self.total) - _log_sum(log_B))
        if uncapped.log_weight(found.highest) <= math.log(self.cap):
            return uncapped
        mass = found.mass_B[held]
        if self.total >= self.cap * mass.sum() * (1 - _SLACK):
            return replace(self, factor=math.inf)
        # met[t]: what is emitted when the cap is reached at the upper end of interval t.
        above = mass.sum() - np.cumsum(mass)
        below = np.logaddexp.accumulate(log_B)
        with np.errstate(over="ignore"):
            met = self.cap * above + np.exp(math.log(self.cap) - ends + below)
        t = int(np.flatnonzero(met <= self.total)[0]) if (met <= self.total).any() else len(held) - 1
        return replace(self, bucket=int(held[t]), capped=float(above[t]), below=float(below[t - 1]) if t else -math.inf)

    def after_bucket(self, parts: Sequence[tuple[np.ndarray, np.ndarray]]) -> Solution:
        """The factor, from the distinct preferences of the interval with their masses."""
        preference, at = np.unique(np.concatenate([p for p, _ in parts]), return_inverse=True)
        mass = np.zeros(len(preference), np.int64)
        np.add.at(mass, at, np.concatenate([m for _, m in parts]))
        preference, mass = preference[::-1], mass[::-1].astype(np.float64)
        logs, at_cap = (preference - 1.0) / self.temperature, math.log(self.cap)
        # The j most preferred of the interval are at the cap, so λ is at least what puts the j-th there.
        left = self.total - self.cap * (self.capped + np.concatenate([[0.0], np.cumsum(mass)]))
        least = np.concatenate([[-math.inf], at_cap - logs])
        with np.errstate(invalid="ignore", divide="ignore"):
            below = np.logaddexp.accumulate(np.concatenate([[self.below], (np.log(mass) + logs)[::-1]]))[::-1]
            factors = np.fmax(np.log(left) - below, least)
        fits = factors[:-1] + logs <= at_cap + _SLACK * (1.0 + np.abs(logs))
        found = replace(self, factor=float(factors[np.argmax(fits)] if fits.any() else factors[-1]), bucket=-1)
        assert found.is_settled
        return found


def _log_sum(logs: np.ndarray) -> float:
    """log Σ exp, always in the same order."""
    top = float(logs.max())
    return top + math.log(math.fsum(np.exp(logs - top).tolist()))
