"""Distributions of columns by domain in one pass and bounded memory, for histograms and quantiles.

A value is counted under its sign, exponent and first 10 bits of mantissa: a thousand buckets for every doubling, so
quantiles are right to 0.1 per cent wherever the values lie, and no range need be known before.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.corpus import Corpus, split_name

BITS = 10
MOST_DOMAINS = 24
OTHERS = "all others"
BINS = 60
SKEWED = 50.0  # a scale is logarithmic where nearly all values span more than this factor
TAIL = 0.001  # not drawn at either end
_DROPPED_BITS = 52 - BITS


@dataclass
class Distribution:
    """How often each value of a column occurs, to 0.1 per cent of the value.

    Args:
        keys: K buckets in rising order.
        counts: of each.
        n_null: documents without a finite value.
    """

    keys: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    counts: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    n_null: int = 0

    @classmethod
    def of(cls, values: np.ndarray) -> Distribution:
        """Of N float64; those that are not finite count as null."""
        finite = values[np.isfinite(values)]
        buckets = np.sign(finite).astype(np.int64) * (np.abs(finite).view(np.int64) >> _DROPPED_BITS)
        keys, counts = np.unique(buckets, return_counts=True)
        return cls(keys, counts.astype(np.int64), len(values) - len(finite))

    def __add__(self, other: Distribution) -> Distribution:
        keys, inverse = np.unique(np.concatenate([self.keys, other.keys]), return_inverse=True)
        counts = np.zeros(len(keys), np.int64)
        np.add.at(counts, inverse, np.concatenate([self.counts, other.counts]))
        return Distribution(keys, counts, self.n_null + other.n_null)

    @property
    def n(self) -> int:
        """Documents with a value."""
        return int(self.counts.sum())

    @cached_property
    def values(self) -> np.ndarray:
        """The value of each bucket nearest to 0, exact for whole numbers up to 2,048."""
        return np.sign(self.keys) * (np.abs(self.keys) << _DROPPED_BITS).view(np.float64)

    @property
    def above_zero(self) -> Distribution:
        """The positive values alone."""
        return Distribution(self.keys[self.keys > 0], self.counts[self.keys > 0])

    def quantile(self, q: float) -> float:
        """The smallest value that a share ``q`` of the documents does not exceed; NaN where there are none."""
        if not self.n:
            return float("nan")
        place = np.searchsorted(np.cumsum(self.counts), q * self.n)
        return float(self.values[min(int(place), len(self.keys) - 1)])

    def histogram(self, edges: np.ndarray) -> np.ndarray:
        """Documents between edges; what lies outside is left out."""
        return np.histogram(self.values, bins=edges, weights=self.counts)[0]


@dataclass(frozen=True)
class Column:
    """One column of a corpus by domain.

    Args:
        name: of the column.
        unit: as its scorer states it.
        direction: higher, lower or none.
        whole: domain -> all of its documents.
        kept: domain -> those that selection kept; empty without a selection.
    """

    name: str
    unit: str
    direction: str
    whole: dict[str, Distribution]
    kept: dict[str, Distribution]

    @property
    def n(self) -> int:
        """Documents with a value."""
        return sum(domain.n for domain in self.whole.values())


def numeric_columns(corpus: Corpus) -> list[str]:
    """Text bytes, and every number that a scorer gave and that means something to a person."""
    scores = {name.removeprefix("score/") for name in corpus.manifest.stages if name.startswith("score/")}
    found = ["n_bytes"]
    for name, column in corpus.columns().items():
        is_number = pa.types.is_integer(column.type) or pa.types.is_floating(column.type)
        if is_number and split_name(name)[0] in scores and not _is_name(column):
            found.append(name)
    return found


def _is_name(column: pa.Field) -> bool:
    """Whether a column's numbers are names of things, of which no order and no mean tells anything."""
    unit = (column.metadata or {}).get(b"unit", b"")
    return unit == b"band key" or unit.startswith(b"number of the cluster")


def shown_domains(corpus: Corpus, most: int = MOST_DOMAINS) -> dict[str, str]:
    """Each domain by the name it is shown under: its own, or OTHERS for those beyond the ``most`` largest."""
    by_size = sorted(corpus.domains.items(), key=lambda item: (-item[1], item[0]))
    large = {domain for domain, _ in by_size[:most]}
    return {domain: domain if domain in large else OTHERS for domain in sorted(corpus.domains)}


def distributions(corpus: Corpus, columns: Sequence[str]) -> list[Column]:
    """Distributions of several columns by domain, read part by part.

    Raises:
        ConfigError: the corpus has no such column.
    """
    fields = corpus.columns()
    keep = ["selection.keep"] if corpus.is_selected else []
    groups = shown_domains(corpus)
    empty = {shown: Distribution() for shown in dict.fromkeys(groups.values())}
    found = {name: (dict(empty), dict(empty) if keep else {}) for name in columns}
    for part, table in zip(corpus.parts, corpus.batches([*columns, *keep]), strict=True):
        start = 0
        for domain, n_rows, _ in part.domains:
            rows = table.slice(start, n_rows)
            start += n_rows
            kept = np.asarray(pc.fill_null(rows[keep[0]], False)) if keep else None
            for name, (whole, selected) in found.items():
                values = _numbers(rows[name])
                whole[groups[domain]] += Distribution.of(values)
                if kept is not None:
                    selected[groups[domain]] += Distribution.of(values[kept])
    return [_described(name, fields[name], *found[name]) for name in columns]


def _described(name: str, column: pa.Field, whole: dict[str, Distribution], kept: dict[str, Distribution]) -> Column:
    said = {key.decode(): value.decode() for key, value in (column.metadata or {}).items()}
    return Column(name, said.get("unit", ""), said.get("direction", "none"), whole, kept)


def _numbers(column: pa.ChunkedArray) -> np.ndarray:
    """N float64, NaN for null."""
    return column.combine_chunks().cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)


def edges(domains: Iterable[Distribution], bins: int = BINS) -> tuple[np.ndarray, bool]:
    """Edges of histograms that all of these share, and whether the scale is logarithmic.

    It is where values are not negative, go beyond 1, and nearly all of the positive ones span several orders of size;
    fractions are never drawn so. Each
    distribution shows but for its TAIL at either end. Whole numbers of a small range get a bin each.
    """
    held = [domain for domain in domains if domain.n]
    low = min((domain.quantile(TAIL) for domain in held), default=0.0)
    high = max((domain.quantile(1 - TAIL) for domain in held), default=0.0)
    if not low < high:
        return np.array([low - 0.5, low + 0.5]), False
    positive = [domain.above_zero for domain in held if domain.above_zero.n]
    low_positive = min((domain.quantile(TAIL) for domain in positive), default=high)
    if low >= 0 and high > 1 and high / low_positive > SKEWED:
        return np.geomspace(low_positive, high, bins + 1), True
    if high - low <= bins and all(np.all(domain.values == np.rint(domain.values)) for domain in held):
        return np.arange(low - 0.5, high + 1.0), False
    return np.linspace(low, high, bins + 1), False
