"""Gather: the slices of all spool chunks that make one shard, merged into its Parquet part.

Row groups hold about 1 MB of text, so that later stages can read a range of rows without
reading the part. zstd level 3: level 1 writes half again as fast and 17 % larger, level 6
less than half as fast and 8 % smaller (news, dialog, reviews and encyclopedia).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curate.documents import CORE, schema, text_sizes
from curate.ingest.shards import Slice
from curate.ingest.spool import batch_bounds, document_order, read_rows
from curate.manifest import HashingWriter
from curate.storage import Folder

FOLDER = "documents"
ZSTD_LEVEL = 3
ROW_GROUP_BYTES = 1 << 20
# Hashes do not shrink; the others are small, and read far oftener than written.
PLAIN = ("doc_id", "domain", "n_bytes", "source_row")


@dataclass(frozen=True)
class Part:
    """A written part.

    Args:
        name: the file within the corpus folder.
        n_documents, n_bytes: rows and text bytes; ``domains`` has both for each domain.
        file: the file's line in a record: bytes, rows, hash.
    """

    name: str
    n_documents: int
    n_bytes: int
    domains: dict[str, dict[str, int]]
    file: dict[str, Any]


def gather_shard(slices: Sequence[tuple[Folder, Slice]], out: Folder, name: str, extras: Sequence[pa.Field] = ()) -> Part:
    """Merge slices into ``documents/<name>``, sorted by (domain, key) and then doc_id, source, source_row.

    Holds the shard's text once. The order of slices does not matter. Extras a source does not have are null.
    """
    table = pa.concat_tables([read_rows(folder, s.chunk, s.start, s.stop) for folder, s in slices], promote_options="permissive")
    table = table.unify_dictionaries().combine_chunks()
    names, ranks = _ranks(table["domain"])
    order = document_order(table, table["key"].to_numpy(), ranks)
    sizes = text_sizes(table["text"].combine_chunks()).to_numpy()
    counted = Counter(ranks.tolist())
    weighed = np.bincount(ranks, sizes, minlength=len(names)).astype(np.int64)
    path = f"{FOLDER}/{name}"
    target = schema(extras)
    with out.create(path) as file:
        tee = HashingWriter(file)
        with pq.ParquetWriter(pa.PythonFile(tee, mode="w"), target, **_format(target)) as writer:
            bounds = batch_bounds(sizes[order], ROW_GROUP_BYTES)
            for a, b in zip(bounds[:-1], bounds[1:], strict=True):
                group = _row_group(table, order[a:b], names, ranks, target)
                writer.write_table(group, row_group_size=b - a)
    domains = {domain: {"n_documents": counted[i], "n_bytes": int(weighed[i])} for i, domain in enumerate(names)}
    return Part(path, len(order), int(sizes.sum()), domains, tee.entry(len(order)))


def _ranks(domain: pa.ChunkedArray) -> tuple[list[str], np.ndarray]:
    """(names of the domains present, sorted; index into them per row, int64)."""
    column = domain.combine_chunks()
    codes = column.indices.to_numpy()
    known = column.dictionary.to_pylist()
    present = sorted(known[i] for i in np.unique(codes))
    rank_of = np.array([present.index(n) if n in present else -1 for n in known], np.int64)
    return present, rank_of[codes]


def _row_group(table: pa.Table, rows: np.ndarray, names: list[str], ranks: np.ndarray, target: pa.Schema) -> pa.Table:
    """The given rows with the columns of ``target``."""
    taken = table.take(pa.array(rows))
    columns: list[Any] = []
    for field in target:
        if field.name == "domain":
            columns.append(pa.DictionaryArray.from_arrays(pa.array(ranks[rows], pa.int32()), pa.array(names, pa.string())))
        elif field.name == "n_bytes":
            columns.append(text_sizes(taken["text"].combine_chunks()))
        elif field.name in taken.column_names:
            columns.append(taken[field.name].cast(field.type))
        else:
            columns.append(pa.nulls(len(rows), field.type))
    return pa.table(columns, schema=target)


def _format(target: pa.Schema) -> dict[str, Any]:
    """Parquet settings: a dictionary where values repeat, no compression where it does not pay."""
    plain = [f.name for f in target if f.name not in CORE.names]
    return {
        "compression": {name: "none" if name in PLAIN else "zstd" for name in target.names},
        "compression_level": {name: ZSTD_LEVEL for name in target.names if name not in PLAIN},
        "use_dictionary": ["domain", "source", *plain],
        "write_statistics": ["domain", "source", "source_row", "n_bytes"],
        "data_page_size": ROW_GROUP_BYTES,
    }
