"""Of each cluster one document is kept: which one, and what is written beside the others.

A row's place says how good it is: uint64 columns compared left to right, smaller first. The
columns of the policy come first (``preferred``, then ``longest``, ``first`` or ``best``), and then
doc_id, source and source_row, which no two rows share. So the kept document does not depend on
the order of rows, on shards or on workers. N is the number of rows, M of members of clusters of
two or more, K of columns of a place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numba
import numpy as np
import pyarrow as pa

from curate.dedup.verification import PAIRS_PER_CALL, Similarity, similarities
from curate.documents import DOC_ID
from curate.errors import IntegrityError
from curate.hashing import U64

REASONS = ("exact", "near")
REASON = pa.dictionary(pa.int32(), pa.string())


def _column(name: str, kind: pa.DataType, unit: str, nullable: bool = True) -> pa.Field:
    return pa.field(name, kind, nullable=nullable, metadata={"unit": unit, "direction": "none"})


VERDICTS = pa.schema(
    [
        _column("keep", pa.bool_(), "true: not a duplicate", nullable=False),
        _column("cluster", DOC_ID, "smallest doc_id of the cluster; null: it has one document"),
        _column("duplicate_of", DOC_ID, "doc_id of the kept document; null: this one is kept"),
        _column("similarity", pa.float32(), "Jaccard similarity to the kept document; null: this one is kept"),
        pa.field(
            "reason",
            REASON,
            metadata={
                "unit": "exact: same doc_id as the kept document; null: this one is kept",
                "direction": "none",
                "codes": ",".join(REASONS),
            },
        ),
        _column("cluster_size", pa.int64(), "documents", nullable=False),
    ]
)

_SIGN = U64(1 << 63)
_LAST = U64(2**64 - 1)


@dataclass(frozen=True)
class Rows:
    """What tells rows apart; no two rows agree in all three.

    Args:
        id_halves: (N, 2) uint64 from ``hashing.id_halves``.
        source: (N,) uint64 from ``hashing.source_keys``.
        source_row: (N,) int64, 0 and up.
    """

    id_halves: np.ndarray
    source: np.ndarray
    source_row: np.ndarray

    def places(self, rows: np.ndarray, policy: Sequence[np.ndarray]) -> np.ndarray:
        """The places of M rows: (M, K) uint64; the last four columns are doc_id, source, source_row."""
        columns = [*policy, self.id_halves[:, 0], self.id_halves[:, 1], self.source, self.source_row.view(U64)]
        places = np.empty((len(rows), len(columns)), dtype=U64)
        for i, column in enumerate(columns):
            places[:, i] = column[rows]
        return places


def preferred(sources: Sequence[str], patterns: Sequence[str]) -> np.ndarray:
    """How early a source is preferred: the index of the first pattern it matches, the number of patterns when none: uint64 (S).

    A pattern is a shell pattern whose ``*`` crosses slashes. It matches a source's whole name,
    or what follows one of its slashes: ``wiki/*`` matches ``data/wiki/a.jsonl``.
    """

    def rank(source: str) -> int:
        matching = (i for i, pattern in enumerate(patterns) if fnmatchcase(source, pattern) or fnmatchcase(source, f"*/{pattern}"))
        return next(matching, len(patterns))

    return np.array([rank(source) for source in sources], dtype=U64)


def longest(n_bytes: np.ndarray) -> tuple[np.ndarray]:
    """Policy columns that put more bytes (N int64) first."""
    return (~n_bytes.astype(U64),)


def first(source_rank: np.ndarray, source_row: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Policy columns that put earlier sources (N ranks, 0 and up), and earlier rows of a source (N), first."""
    return source_rank.astype(U64), source_row.astype(U64)


def best(score: np.ndarray, direction: str, null: np.ndarray | None = None) -> tuple[np.ndarray, ...]:
    """Policy columns that put better scores first, nulls last.

    Args:
        score: (N,) float64, where -0.0 and 0.0 are equal and NaN is null; or int64 or uint64, ordered exactly.
        direction: ``higher`` or ``lower`` is better.
        null: (N,) bool, where there is no integer; None for nowhere.
    """
    if direction not in ("higher", "lower"):
        raise ValueError(f"the better direction is higher or lower, not {direction!r}")
    higher = direction == "higher"
    if score.dtype.kind in "iu":
        ascending = score.astype(U64) if score.dtype.kind == "u" else score.astype(np.int64).view(U64) ^ _SIGN
        place = ~ascending if higher else ascending
        # Every place is some integer's: nulls need a column of their own.
        return (place,) if null is None else (null.astype(U64), np.where(null, U64(0), place))
    bits = (score.astype(np.float64) + 0.0).view(U64)
    ascending = np.where(bits & _SIGN, ~bits, bits | _SIGN)
    # No number maps to the last place: both ends of the order of bits are NaNs.
    return (np.where(np.isnan(score), _LAST, ~ascending if higher else ascending),)


@numba.njit(cache=True, nogil=True)
def _elect(places, members, labels, kept, named):  # type: ignore[no-untyped-def]
    """For each label the member (an index into ``members``) of the least place, and of the least last four columns; -1 before."""
    n_columns = places.shape[1]
    for i in range(len(members)):
        label = labels[members[i]]
        if kept[label] == -1:
            kept[label] = i
            named[label] = i
            continue
        at, other = 0, kept[label]
        while at < n_columns and places[i, at] == places[other, at]:
            at += 1
        if at < n_columns and places[i, at] < places[other, at]:
            kept[label] = i
        at, other = n_columns - 4, named[label]
        while at < n_columns and places[i, at] == places[other, at]:
            at += 1
        if at < n_columns and places[i, at] < places[other, at]:
            named[label] = i


@dataclass(frozen=True)
class Decision:
    """What was decided, for every row.

    Args:
        id_halves: (N, 2) uint64.
        size: (N,) rows of the row's cluster.
        kept: (N,) the row kept for this one; its own number where it is kept.
        named: (N,) the row with the smallest doc_id of the cluster.
        similarity: (N,) float32 to the kept row; 1 where it is kept.
    """

    id_halves: np.ndarray
    size: np.ndarray
    kept: np.ndarray
    named: np.ndarray
    similarity: np.ndarray

    def __len__(self) -> int:
        return len(self.kept)

    def reasons(self, begin: int = 0, end: int | None = None) -> np.ndarray:
        """Why each row is dropped, as an index into ``REASONS``, -1 where it is kept: int8."""
        rows = np.arange(*slice(begin, end).indices(len(self)))
        kept = self.kept[rows]
        found = np.full(len(rows), -1, dtype=np.int8)
        dropped = np.flatnonzero(kept != rows)
        same = (self.id_halves[rows[dropped]] == self.id_halves[kept[dropped]]).all(axis=1)
        found[dropped] = np.where(same, 0, 1)
        return found

    def table(self, begin: int = 0, end: int | None = None) -> pa.Table:
        """Verdicts of rows ``begin`` to ``end``, in their order, schema ``VERDICTS``."""
        part = slice(begin, end)
        reasons, size = self.reasons(begin, end), self.size[part]
        keep = reasons < 0
        reason = pa.DictionaryArray.from_arrays(pa.array(reasons, pa.int32(), mask=keep), pa.array(REASONS, pa.string()))
        columns = [
            pa.array(keep),
            doc_ids(self.id_halves[self.named[part]], size > 1),
            doc_ids(self.id_halves[self.kept[part]], ~keep),
            pa.array(self.similarity[part], pa.float32(), mask=keep),
            reason,
            pa.array(size, pa.int64()),
        ]
        return pa.table(columns, schema=VERDICTS)


def doc_ids(halves: np.ndarray, valid: np.ndarray) -> pa.Array:
    """The inverse of ``hashing.id_halves``: (M, 2) uint64 as a doc_id array, null (and zero bytes) where not ``valid``."""
    data = np.where(valid[:, None], halves, U64(0)).astype(">u8")
    bitmap = None if valid.all() else pa.py_buffer(np.packbits(valid, bitorder="little"))
    return pa.FixedSizeBinaryArray.from_buffers(DOC_ID, len(halves), [bitmap, pa.py_buffer(data)])


def decide(labels: np.ndarray, rows: Rows, policy: Sequence[np.ndarray], similarity: Similarity | None) -> Decision:
    """Which row of each cluster is kept, and how similar the others are to it.

    Args:
        labels: (N,) int64 from ``Components.labels``: the smallest row of each row's cluster.
        rows: what breaks ties.
        policy: uint64 columns (N), smaller first: ``[preferred(...)[source of row], *longest(n_bytes)]``.
        similarity: of pairs (dropped row, kept row) whose doc_ids differ; None where only exact copies were joined.

    Raises:
        IntegrityError: rows with different doc_ids share a cluster, and there is no ``similarity``, or it gives no similarities.
    """
    n = len(labels)
    narrow = np.int32 if n < 2**31 else np.int64
    sizes = np.bincount(labels, minlength=n).astype(narrow)
    size = sizes[labels]
    members = np.flatnonzero(size > 1)
    by_label = np.full((2, n), -1, dtype=narrow)
    _elect(rows.places(members, policy), members, labels, by_label[0], by_label[1])
    kept, named = np.arange(n, dtype=narrow), np.arange(n, dtype=narrow)
    kept[members] = members[by_label[0][labels[members]]]
    named[members] = members[by_label[1][labels[members]]]
    decision = Decision(rows.id_halves, size, kept, named, np.ones(n, dtype=np.float32))
    _compare(decision, similarity)
    return decision


def _compare(decision: Decision, similarity: Similarity | None) -> None:
    """Fill in the similarities of the near duplicates, block by block in the order of rows."""
    near = np.flatnonzero(decision.reasons() == REASONS.index("near"))
    if not len(near):
        return
    if similarity is None:
        raise IntegrityError(
            "documents with different doc_ids are in one cluster, though only exact copies were joined",
            where=f"rows {near[0]} and {decision.kept[near[0]]}",
            expected="one doc_id in each cluster",
            fix="give the similarity of rows",
        )
    for begin in range(0, len(near), PAIRS_PER_CALL):
        some = near[begin : begin + PAIRS_PER_CALL]
        decision.similarity[some] = similarities(similarity, some, decision.kept[some].astype(np.int64))
