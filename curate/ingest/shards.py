"""Shards: where the ordered documents are cut into parts of about equal size.

Documents are in order of (domain name, key), the key being a hash, so a shard is a random
sample of its domains and reads as one slice of each spool chunk. The cuts depend only on
the summed histograms: not on splits, chunks or workers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa

from curate.ingest.spool import N_BUCKETS, Chunk


@dataclass(frozen=True)
class Range:
    """Buckets [low, high) of one domain: documents whose key's top 16 bits lie there."""

    domain: str
    low: int
    high: int


@dataclass(frozen=True)
class Shard:
    """One part of the corpus, in document order."""

    ranges: tuple[Range, ...]
    n_documents: int
    n_bytes: int


@dataclass(frozen=True)
class ShardPlan:
    """All shards, in document order."""

    shards: tuple[Shard, ...]

    def part_name(self, index: int) -> str:
        """File name of one shard: part-00000-of-00016.parquet."""
        return f"part-{index:05d}-of-{len(self.shards):05d}.parquet"

    def to_json(self) -> dict[str, Any]:
        """Plain values, for a manifest."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> ShardPlan:
        """The inverse of ``to_json``."""
        return cls(tuple(Shard(tuple(Range(**r) for r in s["ranges"]), s["n_documents"], s["n_bytes"]) for s in values["shards"]))


@dataclass(frozen=True)
class Slice:
    """Rows [start, stop) of one spool chunk."""

    chunk: Chunk
    start: int
    stop: int


def plan_shards(histograms: Iterable[pa.Table], shard_bytes: int) -> ShardPlan:
    """Shards of about ``shard_bytes`` of text.

    A domain of at least half that gets round(bytes / shard_bytes) shards to itself, cut where its
    running bytes come nearest to equal parts (buckets are never cut, so parts are as equal as 2^16
    buckets and whole documents allow). Smaller domains next to each other in name order share one
    shard while it holds them.
    """
    totals = _sum(histograms)
    shards: list[Shard] = []
    shared: list[tuple[Range, int, int]] = []

    def close() -> None:
        if shared:
            shards.append(Shard(tuple(r for r, _, _ in shared), sum(n for _, n, _ in shared), sum(b for _, _, b in shared)))
            shared.clear()

    for domain in sorted(totals):
        n_documents_B, n_bytes_B = totals[domain]
        n_bytes = int(n_bytes_B.sum())
        if 2 * n_bytes >= shard_bytes:
            close()
            shards += _cut(domain, n_documents_B, n_bytes_B, max(1, round(n_bytes / shard_bytes)))
            continue
        if sum(b for _, _, b in shared) + n_bytes > shard_bytes:
            close()
        shared.append((Range(domain, 0, N_BUCKETS), int(n_documents_B.sum()), n_bytes))
    close()
    return ShardPlan(tuple(shards))


def slices(plan: ShardPlan, chunks: Iterable[tuple[Chunk, pa.Table]]) -> list[list[Slice]]:
    """For each shard, its rows in each (chunk, histogram); chunks that have none are left out.

    A chunk is in document order and shards follow each other in it, so each shard is one slice of each chunk.
    """
    found: list[list[Slice]] = [[] for _ in plan.shards]
    ends = [(shard.ranges[-1].domain, shard.ranges[-1].high) for shard in plan.shards]
    for chunk, histogram in chunks:
        bounds = _rows_before(ends, histogram)
        for shard, (start, stop) in enumerate(pairwise([0, *bounds])):
            if stop > start:
                found[shard].append(Slice(chunk, start, stop))
    return found


def _sum(histograms: Iterable[pa.Table]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """domain → (documents, bytes) per bucket, each (N_BUCKETS,) int64."""
    totals: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for histogram in histograms:
        for domain, rows in _by_domain(histogram):
            n_documents_B, n_bytes_B = totals.setdefault(domain, (np.zeros(N_BUCKETS, np.int64), np.zeros(N_BUCKETS, np.int64)))
            buckets = rows["bucket"].to_numpy()
            n_documents_B[buckets] += rows["n_documents"].to_numpy()
            n_bytes_B[buckets] += rows["n_bytes"].to_numpy()
    return totals


def _by_domain(histogram: pa.Table) -> Iterable[tuple[str, pa.Table]]:
    """(domain, its rows), in name order as the histogram is."""
    column = histogram["domain"].combine_chunks()
    codes = column.indices.to_numpy()
    edges = np.flatnonzero(np.diff(codes, prepend=-1, append=-1))
    for start, stop in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        yield column.dictionary[int(codes[start])].as_py(), histogram.slice(start, stop - start)


def _cut(domain: str, n_documents_B: np.ndarray, n_bytes_B: np.ndarray, n_shards: int) -> list[Shard]:
    """A domain in ``n_shards`` shards; fewer where a document is larger than a shard."""
    before = np.concatenate([[0], np.cumsum(n_bytes_B)])
    targets = [before[-1] * i / n_shards for i in range(1, n_shards)]
    right = np.clip(np.searchsorted(before, targets), 1, N_BUCKETS)
    nearer_left = np.abs(before[right - 1] - targets) <= np.abs(before[right] - targets)
    cuts = [0, *(right - nearer_left).tolist(), N_BUCKETS]
    rows = np.concatenate([[0], np.cumsum(n_documents_B)])
    kept = [0, *(cut for last, cut in pairwise(cuts[:-1]) if rows[last] < rows[cut] < rows[-1]), N_BUCKETS]
    return [Shard((Range(domain, a, b),), int(rows[b] - rows[a]), int(before[b] - before[a])) for a, b in pairwise(kept)]


def _rows_before(ends: Sequence[tuple[str, int]], histogram: pa.Table) -> list[int]:
    """How many rows of a chunk come before each (domain, bucket)."""
    column = histogram["domain"].combine_chunks()
    names = column.dictionary.to_pylist()
    joint = column.indices.to_numpy().astype(np.int64) * (N_BUCKETS + 1) + histogram["bucket"].to_numpy()
    # A domain this chunk lacks takes the place its name would have among those it has.
    wanted = []
    for domain, bucket in ends:
        rank = int(np.searchsorted(names, domain)) if names else 0
        present = rank < len(names) and names[rank] == domain
        wanted.append(rank * (N_BUCKETS + 1) + (bucket if present else 0))
    rows = np.concatenate([[0], np.cumsum(histogram["n_documents"].to_numpy())])
    return rows[np.searchsorted(joint, wanted)].tolist()
