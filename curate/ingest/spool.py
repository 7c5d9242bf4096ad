"""Spool chunks: documents on their way from the order of the files to the order of the corpus.

A chunk is about 32 MB of text sorted by (domain, key), in record batches of about 4 MB, with
a histogram of (domain, bucket) in its metadata. As both are in one order, the histogram's
running row count says where any range of buckets lies, so a shard reads its rows of a
chunk as one slice and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from curate.documents import DOMAIN, doc_ids
from curate.hashing import row_keys
from curate.storage import Folder

FOLDER = "spool"
N_BUCKETS = 1 << 16
_SHIFT = np.uint64(48)
_BATCH_BYTES = 4 << 20
_HISTOGRAM_KEY = b"histogram"

HISTOGRAM = pa.schema([("domain", DOMAIN), ("bucket", pa.int32()), ("n_documents", pa.int64()), ("n_bytes", pa.int64())])


@dataclass(frozen=True)
class Chunk:
    """One spool file.

    Args:
        name: the file within its folder.
        n_documents: rows.
        n_bytes: text bytes.
        first_rows: the row each record batch begins with, then n_documents.
    """

    name: str
    n_documents: int
    n_bytes: int
    first_rows: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Chunk:
        """The inverse of ``to_json``."""
        return cls(**{**values, "first_rows": tuple(values["first_rows"])})


def document_order(table: pa.Table, keys: np.ndarray, ranks: np.ndarray) -> np.ndarray:
    """Indices that sort rows by (domain, key), and by (doc_id, source, source_row) where keys are equal.

    ``ranks`` are int64, in the order of the domain names.
    """
    order = np.lexsort((keys, ranks))
    tied = (np.diff(ranks[order]) == 0) & (keys[order][1:] == keys[order][:-1])
    if not tied.any():
        return order
    ties = np.unique(np.concatenate([np.flatnonzero(tied), np.flatnonzero(tied) + 1]))
    rows = table.select(["doc_id", "source", "source_row"]).take(pa.array(order[ties])).to_pylist()
    full = [(ranks[i], keys[i], row["doc_id"], row["source"], row["source_row"], i) for i, row in zip(order[ties], rows, strict=True)]
    order[ties] = [entry[-1] for entry in sorted(full)]
    return order


def write_chunk(out: Folder, name: str, columns: dict[str, pa.Array], domains: Sequence[str], codes: np.ndarray, seed: int) -> Chunk:
    """Sort documents and write them with their histogram.

    Args:
        columns: text, source (dictionary), source_row and extras, N rows each.
        domains: distinct domain names; ``codes`` (N) indexes them.
    """
    table = pa.table({"doc_id": doc_ids(columns["text"]), **columns})
    keys = row_keys(seed, "ingest", table)
    names = sorted(domains)
    ranks = np.array([names.index(domain) for domain in domains], np.int64)[codes]
    order = document_order(table, keys, ranks)
    keys, ranks = keys[order], ranks[order]
    bounds = np.frombuffer(columns["text"].buffers()[1], np.int64, len(order) + 1, 8 * columns["text"].offset)
    sizes = np.diff(bounds)[order]
    table = table.append_column("domain", pa.DictionaryArray.from_arrays(pa.array(ranks, pa.int32()), pa.array(names, pa.string())))
    first_rows = batch_bounds(sizes, _BATCH_BYTES)
    histogram = _packed(_histogram(keys, ranks, sizes, names))
    schema = table.schema.insert(0, pa.field("key", pa.uint64())).with_metadata({_HISTOGRAM_KEY: histogram})
    with out.create(name, durable=False) as file, pa.ipc.new_file(pa.PythonFile(file, mode="w"), schema) as writer:
        for a, b in zip(first_rows[:-1], first_rows[1:], strict=True):
            part = table.take(pa.array(order[a:b])).set_column(len(table.column_names) - 1, "domain", table["domain"].slice(a, b - a))
            writer.write_table(part.add_column(0, "key", pa.array(keys[a:b])))
    return Chunk(name, len(order), int(sizes.sum()), tuple(first_rows))


def batch_bounds(sizes: np.ndarray, batch_bytes: int) -> list[int]:
    """Row indices that cut rows of the given sizes (bytes) into runs of about ``batch_bytes``, first 0 and last N."""
    if len(sizes) == 0:
        return [0]
    run = (np.cumsum(sizes) - sizes) // batch_bytes
    return [0, *(np.flatnonzero(np.diff(run)) + 1).tolist(), len(sizes)]


def _histogram(keys: np.ndarray, ranks: np.ndarray, sizes: np.ndarray, names: list[str]) -> pa.RecordBatch:
    """Rows and text bytes per (domain, bucket) that is not empty, in document order."""
    buckets = (keys >> _SHIFT).astype(np.int64)
    joint = ranks * N_BUCKETS + buckets
    starts = np.flatnonzero(np.diff(joint, prepend=-1))
    columns = [
        pa.DictionaryArray.from_arrays(pa.array(ranks[starts], pa.int32()), pa.array(names, pa.string())),
        pa.array(buckets[starts], pa.int32()),
        pa.array(np.diff(np.append(starts, len(joint)))),
        pa.array(np.add.reduceat(sizes, starts)),
    ]
    return pa.record_batch(columns, schema=HISTOGRAM)


def _packed(histogram: pa.RecordBatch) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, HISTOGRAM) as writer:
        writer.write_batch(histogram)
    return sink.getvalue().to_pybytes()


def read_histogram(spool: Folder, chunk: Chunk) -> pa.Table:
    """A chunk's histogram, schema HISTOGRAM."""
    with pa.ipc.open_file(spool.open(chunk.name)) as reader:
        return pa.ipc.open_stream(reader.schema.metadata[_HISTOGRAM_KEY]).read_all()


def read_rows(spool: Folder, chunk: Chunk, start: int, stop: int) -> pa.Table:
    """Rows [start, stop) of a chunk, touching only the record batches that hold them; no copy on a local disk."""
    reader = pa.ipc.open_file(spool.open(chunk.name))
    first = np.array(chunk.first_rows)
    low, high = int(np.searchsorted(first, start, "right")) - 1, int(np.searchsorted(first, stop, "left"))
    table = pa.Table.from_batches([reader.get_batch(i) for i in range(low, high)], reader.schema)
    return table.slice(start - int(first[low]), stop - start)
