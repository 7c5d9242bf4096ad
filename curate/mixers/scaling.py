"""Bring a score to the interval [0, 1]: by its range, or by the share of documents below.

What a part tells of its values is merged exactly, so a scale does not depend on how
documents lie in parts. N documents.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from curate.kernels.preferences import place_range, value_range

Scaling = Literal["range", "rank"]

_SIGNIFICANT = 16
"""Leading binary digits by which values are told apart when they are ranked."""
_DROPPED = np.int64(53 - _SIGNIFICANT)
_MOST_KEYS = 1 << 21  # held at a time before equal ones are added up
_CONSTANT = 0.5  # where a scale is a point: above what is missing, and the same for all


@dataclass(frozen=True)
class ValueFacts:
    """Finite values of one part.

    Args:
        n: how many there are.
        low: the least, +inf for none.
        high: the greatest, -inf for none.
        keys: distinct ranking keys in ascending order, empty where ranks are not wanted.
        counts: documents of each key.
    """

    n: int
    low: float
    high: float
    keys: np.ndarray
    counts: np.ndarray


def value_facts(values_N: np.ndarray, scaling: Scaling) -> ValueFacts:
    """What one part tells of a column; values that are not finite do not count."""
    n, low, high = value_range(values_N)
    keys, counts = np.empty(0, np.int64), np.empty(0, np.int64)
    if scaling == "rank":
        keys, counts = np.unique(_keys(values_N[np.isfinite(values_N)]), return_counts=True)
    return ValueFacts(n, low, high, keys, counts)


def _keys(values: np.ndarray) -> np.ndarray:
    """Integers in the order of the values, equal for values whose leading digits are."""
    bits = (values.astype(np.float64) + 0.0).view(np.int64)  # + 0.0: both zeros are one value
    # Negative floats grow downward as integers.
    ordered = np.where(bits < 0, np.int64(-(2**63)) - bits, bits)
    return np.asarray(ordered >> _DROPPED, np.int64)


@dataclass(frozen=True)
class Scale:
    """A monotone map of a column's values to [0, 1].

    Args:
        scaling: ``range`` takes the least value to 0 and the greatest to 1; ``rank`` takes a value to its mid-rank, the
            share of documents below and half of those equal in their 16 leading binary digits.
        n: documents it was made from.
        keys: of ``rank``, with the place of each.
        noise: how far apart values may be and still be one: what rounding makes of a sum.
    """

    scaling: Scaling
    n: int
    low: float
    high: float
    keys: np.ndarray
    places: np.ndarray
    noise: float = 0.0

    @property
    def is_constant(self) -> bool:
        """Whether all values have one place."""
        return not self.high - self.low > self.noise or (self.scaling == "rank" and len(self.keys) < 2)

    def place(self, values_N: np.ndarray) -> np.ndarray:
        """Float64 (N) in [0, 1]; NaN where a value is not finite. Values beyond those seen go to the ends."""
        if self.scaling == "range" and not self.is_constant:
            place_N = np.empty(len(values_N))
            place_range(values_N, self.low, self.high, place_N)
            return place_N
        known = np.isfinite(values_N)
        if self.is_constant:
            return np.where(known, _CONSTANT, np.nan)
        at = np.searchsorted(self.keys, _keys(np.where(known, values_N, self.low)))
        return np.where(known, self.places[np.minimum(at, len(self.places) - 1)], np.nan)


def scale_of(facts: Sequence[ValueFacts], scaling: Scaling, noise: float = 0.0) -> Scale:
    """The scale of all parts together; see ``Scale``."""
    keys, counts = _merged(facts)
    n = sum(f.n for f in facts)
    places = (np.cumsum(counts) - counts / 2) / max(n, 1)
    return Scale(scaling, n, min(f.low for f in facts), max(f.high for f in facts), keys, places, noise)


def _merged(facts: Sequence[ValueFacts]) -> tuple[np.ndarray, np.ndarray]:
    """Distinct keys of all parts in order, and how many documents have each."""
    keys, counts, waiting = np.empty(0, np.int64), np.empty(0, np.int64), 0
    pieces = [(keys, counts)]
    for at, part in enumerate(facts):
        pieces.append((part.keys, part.counts))
        waiting += len(part.keys)
        if waiting > _MOST_KEYS or at == len(facts) - 1:
            keys, where = np.unique(np.concatenate([k for k, _ in pieces]), return_inverse=True)
            counts = np.zeros(len(keys), np.int64)
            np.add.at(counts, where, np.concatenate([c for _, c in pieces]))
            pieces, waiting = [(keys, counts)], 0
    return keys, counts
