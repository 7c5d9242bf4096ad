"""The documents that peers and curate both read: Parquet files whose ``id`` is a running number.

A document's number says where it lies: file ``number % N_FILES``, row ``number // N_FILES`` there. So
curate, which keeps file and row of every record, and peers, which keep ``id``, can be compared
document by document, exact copies included.
"""

from __future__ import annotations

import itertools
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.data import Data

N_FILES = 8
TABLES_AT_ONCE = 64
SCHEMA = pa.schema([("id", pa.string()), ("text", pa.large_string()), ("domain", pa.string())])


def numbered(data: Data, n_bytes: int) -> Path:
    """A folder of ``N_FILES`` Parquet files holding ``data.prefix(n_bytes)``; numbers as in ``data.jsonl_gz(n_bytes, N_FILES)``."""
    folder = data.work / f"numbered-{n_bytes // 10**6}MB"
    if not folder.exists():
        write(folder, data.prefix(n_bytes))
    return folder


def write(folder: Path, tables: Iterable[pa.Table]) -> None:
    """Number the rows of ``text`` and ``domain`` and deal them out to the files in turn; the folder appears when it is complete."""
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    start = 0
    with ExitStack() as stack:
        files = [stack.enter_context(pq.ParquetWriter(partial / f"{i:02d}.parquet", SCHEMA, compression="zstd")) for i in range(N_FILES)]
        for some in _batches(tables):
            numbers = np.arange(start, start + len(some))
            start += len(some)
            table = some.append_column("id", pa.array(numbers.astype(str), pa.string())).select(SCHEMA.names)
            for i, file in enumerate(files):
                file.write_table(table.take(np.flatnonzero(numbers % N_FILES == i)))
    partial.rename(folder)


def _batches(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Tables joined, so that row groups are not tiny."""
    found = iter(tables)
    while some := list(itertools.islice(found, TABLES_AT_ONCE)):
        yield pa.concat_tables(some)


def size(folder: Path) -> dict[str, int]:
    """Documents and UTF-8 bytes of text in a folder of Parquet files."""
    columns = [pq.read_table(file, columns=["text"])["text"] for file in sorted(folder.glob("*.parquet"))]
    lengths = [int(np.sum(pc.binary_length(column).to_numpy())) for column in columns]
    return {"rows": sum(map(len, columns)), "bytes": sum(lengths)}


def numbers(sources: pa.ChunkedArray, rows: pa.ChunkedArray) -> np.ndarray:
    """The numbers of documents that curate ingested from such a folder, from its columns ``source`` and ``source_row``."""
    names = sources.unique().to_pylist()
    places = {name: int(re.findall(r"(\d+)\.parquet", name)[-1]) for name in names}
    file = np.array([places[name] for name in sources.to_pylist()], np.int64)
    return np.asarray(rows.to_numpy()) * N_FILES + file
