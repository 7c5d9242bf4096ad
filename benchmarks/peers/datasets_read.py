"""datasets reading Arrow shards that curate emitted."""

from __future__ import annotations

import time
from typing import Any

import datasets

from benchmarks.peers.reading import read

BATCH = 32


def read_shards(folder: str, what: str, column: str) -> dict[str, Any]:
    """One pass over the shards after an untimed one; ``what`` is rows or batches."""
    start = time.perf_counter()
    table = datasets.load_from_disk(folder)
    opened = time.perf_counter() - start
    if column == "input_ids":  # else ids become lists of Python integers
        table = table.with_format("numpy", columns=["input_ids"])
    begin = (lambda: iter(table)) if what == "rows" else (lambda: table.iter(BATCH))
    return read(begin, lambda item: item[column]) | {"opened": opened}
