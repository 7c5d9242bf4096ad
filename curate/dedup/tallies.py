"""What deduplication came to, shard by shard and then together, in numbers that a manifest keeps and a person reads.

clusters             of two documents or more; each is counted where its kept document lies
exact, near          duplicates that are dropped
by_domain            {domain: {documents, exact, near}}, of the documents' own domains
largest              the ten largest clusters, {cluster: doc_id in hex, documents}; equal sizes by doc_id
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from curate.dedup.representatives import REASONS

Tally = dict[str, Any]

N_LARGEST = 10
_COUNTS = ("documents", *REASONS)


def tally(verdicts: pa.Table, domain: pa.ChunkedArray) -> Tally:
    """Counts of one shard, JSON-able.

    Args:
        verdicts: N rows, schema ``VERDICTS``.
        domain: N strings or dictionary entries.
    """
    whole = pa.table({"domain": domain.cast(pa.string()), "reason": verdicts["reason"].cast(pa.string())})
    counts: dict[str, dict[str, int]] = {}
    for name, reason, n in _rows(whole.group_by(["domain", "reason"]).aggregate([([], "count_all")])):
        own = counts.setdefault(name, dict.fromkeys(_COUNTS, 0))
        own["documents"] += n
        if reason is not None:
            own[reason] += n
    size = verdicts["cluster_size"].to_numpy()
    kept = np.flatnonzero(verdicts["keep"].to_numpy() & (size > 1))
    # All clusters as large as the tenth, since equal sizes go by doc_id.
    least = np.partition(size[kept], -N_LARGEST)[-N_LARGEST] if len(kept) > N_LARGEST else 0
    large = verdicts.take(pa.array(kept[size[kept] >= least]))
    largest = [{"cluster": c.hex(), "documents": n} for c, n in _rows(large.select(["cluster", "cluster_size"]))]
    return _tally(len(kept), counts, largest)


def merge_tallies(tallies: Iterable[Tally]) -> Tally:
    """Tallies of several shards as one; independent of their order and of how documents are spread over them."""
    clusters, counts, largest = 0, dict[str, dict[str, int]](), list[dict[str, Any]]()
    for one in tallies:
        clusters += one["clusters"]
        largest += one["largest"]
        for name, own in one["by_domain"].items():
            known = counts.get(name, {})
            counts[name] = {count: known.get(count, 0) + own[count] for count in _COUNTS}
    return _tally(clusters, counts, largest)


def _tally(clusters: int, counts: dict[str, dict[str, int]], largest: Sequence[dict[str, Any]]) -> Tally:
    """In the one order that there is."""
    return {
        "clusters": clusters,
        **{reason: sum(own[reason] for own in counts.values()) for reason in REASONS},
        "by_domain": dict(sorted(counts.items())),
        "largest": sorted(largest, key=lambda entry: (-entry["documents"], entry["cluster"]))[:N_LARGEST],
    }


def _rows(table: pa.Table) -> Iterable[tuple[Any, ...]]:
    """The rows of a small table."""
    return zip(*(column.to_pylist() for column in table.columns), strict=True)
