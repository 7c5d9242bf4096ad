"""Reading emitted shards: ``curate.stream`` beside ``datasets`` on the same files.

    python benchmarks/stream_speed.py [--megabytes 40] [--repeat 3] [--folder benchmarks/.work/stream_speed]

Writes two sets of shards once, text rows and packed rows of 2,048 tokens, from text that comes with
Python, and prints rows and MB a second (MB of text, or of token ids) for each way of reading: the best of the repeats.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable
from itertools import chain, islice
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa

from curate.documents import CORE, doc_ids, text_sizes
from curate.ingest.machine_text import machine_documents
from curate.packing import PACKED, Packer
from curate.stream import Stream, loader

SEQUENCE_LENGTH = 2048
TEXT = pa.schema([*CORE, pa.field("weight", pa.float32()), pa.field("copy", pa.int16())])
ROWS_PER_BATCH = 1000
N_SHARDS = 4


def text_batches(n_bytes: int) -> list[pa.RecordBatch]:
    """About ``n_bytes`` of documents, repeated if the machine holds fewer."""
    found = [row for row in machine_documents(min(n_bytes // 5, 8_000_000)) if "text" in row]
    size = sum(len(row["text"].encode()) for row in found)
    rows = list(islice(chain.from_iterable([found] * (n_bytes // size + 1)), round(len(found) * n_bytes / size)))
    order = np.random.default_rng(0).permutation(len(rows)).tolist()
    rows = [rows[i] for i in order]
    return [text_batch(rows[a : a + ROWS_PER_BATCH]) for a in range(0, len(rows), ROWS_PER_BATCH)]


def text_batch(rows: list[dict]) -> pa.RecordBatch:
    text = pa.array([row["text"] for row in rows], pa.large_string())
    values = {
        "doc_id": doc_ids(text),
        "text": text,
        "domain": pa.array([row["domain"] for row in rows]).dictionary_encode(),
        "n_bytes": text_sizes(text),
        "source": pa.array([row["source"] for row in rows]),
        "source_row": pa.array([row["row"] for row in rows], pa.int64()),
        "weight": pa.array([1.0] * len(rows), pa.float32()),
        "copy": pa.array([0] * len(rows), pa.int16()),
    }
    return pa.record_batch(list(values.values()), schema=TEXT)


def packed_batches(batches: list[pa.RecordBatch]) -> list[pa.RecordBatch]:
    """The same documents as rows of tokens; a byte stands for a token."""
    packer = Packer(SEQUENCE_LENGTH, separator=256, rows_per_batch=ROWS_PER_BATCH)
    rows: list[pa.RecordBatch] = []
    for batch in batches:
        offsets = np.concatenate([[0], np.cumsum(batch["n_bytes"].to_numpy())])
        ids = np.frombuffer("".join(batch["text"].to_pylist()).encode(), np.uint8)
        rows += packer.add(ids, offsets, batch["doc_id"])
    return rows + packer.finish()


def write(folder: Path, schema: pa.Schema, batches: list[pa.RecordBatch]) -> None:
    folder.mkdir(parents=True)
    for shard in range(N_SHARDS):
        with pa.ipc.new_stream(str(folder / f"shard-{shard:05d}-of-{N_SHARDS:05d}.arrow"), schema) as out:
            for batch in batches[shard::N_SHARDS]:
                out.write_batch(batch)


def as_dataset(folder: Path) -> datasets.Dataset:
    return datasets.concatenate_datasets([datasets.Dataset.from_file(str(p)) for p in sorted(folder.glob("*.arrow"))])


def seconds(read: Callable[[], Iterable], repeat: int) -> float:
    """The best time of a full pass; what is read is dropped at once."""
    best = float("inf")
    for _ in range(repeat):
        start = time.perf_counter()
        for _ in read():
            pass
        best = min(best, time.perf_counter() - start)
    return best


def ways(folder: Path, table: datasets.Dataset, batch_size: int) -> dict[str, Callable[[], Iterable]]:
    if "input_ids" in table.column_names:  # else datasets makes lists of Python integers; it gives no list of binaries in numpy
        table = table.with_format("numpy", columns=["input_ids"])
    plain, shuffled, eighth = Stream(folder), Stream(folder, shuffle=True), Stream(folder, 0, 8)
    return {
        "datasets, rows": lambda: table,
        "curate, rows": lambda: plain,
        "curate, rows, shuffled": lambda: shuffled,
        "curate, rows, rank 0 of 8 (its own rows)": lambda: eighth,
        f"datasets, batches of {batch_size}": lambda: table.iter(batch_size),
        f"curate, batches of {batch_size}": lambda: plain.iter_batches(batch_size),
        f"curate, batches of {batch_size}, shuffled": lambda: shuffled.iter_batches(batch_size),
        f"curate, loader, batches of {batch_size}": lambda: loader(plain, batch_size),
        f"curate, loader, 2 workers, batches of {batch_size}": lambda: loader(plain, batch_size, num_workers=2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=40)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--folder", type=Path, default=Path("benchmarks/.work/stream_speed"))
    options = parser.parse_args()
    sets = {kind: options.folder / f"{kind}-{options.megabytes}" for kind in ("text", "packed")}
    if not all(folder.exists() for folder in sets.values()):
        documents = text_batches(options.megabytes * 1_000_000)
        write(sets["text"], TEXT, documents)
        write(sets["packed"], PACKED, packed_batches(documents))
    for kind, folder in sets.items():
        table = as_dataset(folder)
        Stream(folder)  # imports torch
        start = time.perf_counter()
        Stream(folder)
        opened = time.perf_counter() - start
        size = sum(table.data["n_bytes"].to_pylist()) if kind == "text" else 4 * SEQUENCE_LENGTH * len(table)
        print(f"\n{kind}: {len(table):,} rows, {size / 1e6:.1f} MB, opened in {opened * 1e3:.1f} ms")
        for name, read in ways(folder, table, options.batch_size).items():
            share = 8 if "of 8" in name else 1
            took = seconds(read, options.repeat)
            print(f"  {name:<48} {len(table) / share / took:>12,.0f} rows/s {size / share / took / 1e6:>9,.0f} MB/s")


if __name__ == "__main__":
    main()
