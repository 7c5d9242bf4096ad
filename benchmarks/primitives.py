"""What one core of this machine does in a second, for the floors of the jobs: measured in the same run.

The library that is fastest at each step does it; what needs no library is numpy. Every figure is the best of three.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import tempfile
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash
from numba import njit

LABELS = {
    "copy": ("memory copy", "MB/s"),
    "gunzip": ("gunzip", "MB/s of JSON"),
    "parse": ("JSON lines to Python strings to Arrow", "MB/s of text"),
    "parquet_write": ("Parquet write, zstd level 3", "MB/s of text"),
    "parquet_read": ("Parquet read", "MB/s of text"),
    "ipc_write": ("Arrow IPC write, uncompressed, to disk cache", "MB/s of text"),
    "take": ("Arrow take of text rows in random order", "MB/s of text"),
    "fsync": ("fsync of a freshly written file", "MB/s"),
    "xxh3": ("xxh3-128", "MB/s"),
    "sha256": ("sha256", "MB/s"),
    "strings": ("Arrow text to Python strings", "MB/s of text"),
    "pages": ("first touch of new memory pages", "MB/s"),
    "random": ("random reads in 256 MB, independent", "million/s"),
    "rows": ("Python dicts of six ready values", "million/s"),
    "floats": ("float32 additions of 400-byte rows at random", "million rows/s"),
}
BLOCK = 1 << 20


def best(work: Callable[[], Any], amount: float, repeats: int = 3) -> float:
    """Amount a second of the fastest run."""
    found = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        found = min(found, time.perf_counter() - start)
    return amount / found


def measure(folder: str, n_files: int) -> dict[str, float]:
    """Speeds by name, units as in ``LABELS``, on the first files of a folder of .jsonl.gz with ``text`` fields."""
    packed = b"".join(path.read_bytes() for path in sorted(Path(folder).glob("*.jsonl.gz"))[:n_files])
    plain = gzip.decompress(packed)
    lines = plain.split(b"\n")[:-1]
    texts = [orjson.loads(line)["text"] for line in lines]
    text = pa.array(texts, pa.large_string())
    n = text.nbytes / 1e6
    found = {"gunzip": best(lambda: gunzip()(packed), len(plain) / 1e6)}
    found["parse"] = best(lambda: pa.array([orjson.loads(line)["text"] for line in lines], pa.large_string()), n)
    found["strings"] = best(text.to_pylist, n)
    found["xxh3"] = best(lambda: xxhash.xxh3_128_digest(plain), len(plain) / 1e6)
    found["sha256"] = best(lambda: hashlib.sha256(plain).digest(), len(plain) / 1e6)
    order = pa.array(np.random.default_rng(0).permutation(len(text)))
    found["take"] = best(lambda: text.take(order), n)
    found["copy"] = best(lambda: bytearray(plain), len(plain) / 1e6)
    found |= _on_disk(text, n) | _in_memory()
    return found


def gunzip() -> Callable[[bytes], bytes]:
    """The fastest decompressor installed."""
    try:
        decompress: Callable[[bytes], bytes] = import_module("isal.igzip").decompress
    except ImportError:
        return gzip.decompress
    return decompress


def _on_disk(text: pa.Array, n: float) -> dict[str, float]:
    table = pa.table({"text": text})
    options: dict[str, Any] = {"compression": "zstd", "compression_level": 3, "use_dictionary": False, "write_statistics": False}
    with tempfile.TemporaryDirectory(dir=Path(__file__).parent / ".work") as name:
        parquet, arrow, raw = (str(Path(name) / kind) for kind in ("parquet", "arrow", "raw"))

        def write_arrow() -> None:
            with pa.OSFile(arrow, "wb") as out, pa.ipc.new_stream(out, table.schema) as stream:
                stream.write_table(table, max_chunksize=1000)

        def write_and_sync() -> None:
            with Path(raw).open("wb") as out:
                out.write(bytes(64 << 20))
                out.flush()
                os.fsync(out.fileno())

        return {
            "parquet_write": best(lambda: pq.write_table(table, parquet, **options), n),
            "parquet_read": best(lambda: pq.read_table(parquet, use_threads=False, memory_map=True), n),
            "ipc_write": best(write_arrow, n),
            "fsync": best(write_and_sync, (64 << 20) / 1e6, 2),
        }


@njit
def _gather(values: np.ndarray, at: np.ndarray) -> int:
    total = 0
    for i in at:
        total += values[i]
    return total


@njit(fastmath=True)
def _add_rows(rows: np.ndarray, at: np.ndarray, out: np.ndarray) -> None:
    for i in at:
        for k in range(out.size):
            out[k] += rows[i, k]


def _in_memory() -> dict[str, float]:
    random = np.random.default_rng(0)
    values, at = np.ones(32 << 20, np.int64), random.integers(0, 32 << 20, 4_000_000)
    rows, out = np.ones((200_000, 100), np.float32), np.zeros(100, np.float32)
    places = random.integers(0, len(rows), 1_000_000)
    names, value = ["a", "b", "c", "d", "e", "f"], (1, 2, 3, 4, 5, 6)
    return {
        "random": best(lambda: _gather(values, at), len(at) / 1e6),
        "floats": best(lambda: _add_rows(rows, places, out), len(places) / 1e6),
        "rows": best(lambda: [dict(zip(names, value, strict=False)) for _ in range(300_000)], 0.3),
        "pages": best(lambda: np.full(64 << 20, 1, np.uint8), (64 << 20) / 1e6),
    }
