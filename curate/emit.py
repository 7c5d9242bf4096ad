"""Slices of the corpus to Arrow shards that trainers open: the only place after ingest where text is written.

A shard takes one stretch of every domain's stream (sampling.slices), so it reads a few
contiguous row groups, permutes their rows by a keyed hash, and writes Arrow IPC in the
stream format that ``datasets`` maps as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.corpus import read_part
from curate.errors import IntegrityError
from curate.hashing import row_keys
from curate.manifest import HashingWriter, Ledger, Record, dump
from curate.packing import PACKED, Packer
from curate.sampling import Slice, rows_in_slice
from curate.storage import Folder
from curate.tokenization import Tokenizer

BATCH_BYTES = 1 << 20
DECODING_THREADS = 2
# Above this share of chosen rows, dropping the others costs more than carrying them.
WORTH_KEEPING = 0.7
PACKED_ROWS_PER_BATCH = 256


@dataclass(frozen=True)
class Packing:
    """How documents become rows of tokens.

    Args:
        tokenizer: the folder in the corpus that holds it.
        separator: token written after every document.
    """

    tokenizer: str
    sequence_length: int
    separator: str
    remainder: Literal["drop", "keep"]


@dataclass(frozen=True)
class EmitTask:
    """One output shard.

    Args:
        parts: names of the documents parts, by the index slices use.
        slices: the stretches this shard takes.
        carry: full names of the columns to write beside each document.
        length: column that measures documents in the budget's unit, summed for the realised shares.
        packing: None emits text.
    """

    corpus: Folder
    mix: str
    shard: str
    parts: dict[int, str]
    slices: tuple[Slice, ...]
    carry: tuple[str, ...]
    length: str
    compression: str
    seed: int
    fingerprint: str
    cache: str
    packing: Packing | None = None


def shard_name(index: int, n_shards: int) -> str:
    """File name of an output shard, without extension."""
    return f"shard-{index:05d}-of-{n_shards:05d}"


def emit_shard(task: EmitTask) -> dict[str, Any]:
    """Write and commit one output shard. Returns its totals."""
    by_part = _by_part(task.slices)
    # Decoding releases the interpreter: a second thread uses the core that writing leaves idle.
    pieces = list(_decoders().map(partial(_gather, task), by_part.keys(), by_part.values()))
    # A shard that takes nothing is still a shard, with its schema from any part.
    pieces = pieces or [_gather(task, next(iter(task.parts)), [])]
    table = pa.concat_tables([piece for piece, _ in pieces]).combine_chunks()
    base = np.cumsum([0, *(piece.num_rows for piece, _ in pieces)])
    chosen = np.concatenate([picked + np.array([[start], [0]]) for (_, picked), start in zip(pieces, base[:-1], strict=True)], axis=1)
    rows, copy = chosen
    keys = table.select(["doc_id", "source", "source_row"]).take(pa.array(rows))
    order = np.argsort(row_keys(task.seed, f"emit/{task.mix}", keys, copy), kind="stable")
    rows, copy = rows[order], copy[order]
    path = f"mixes/{task.mix}/{task.shard}.arrow"
    options = pa.ipc.IpcWriteOptions(compression=None if task.compression == "none" else task.compression)
    totals = _realised(table, rows, task.length)
    with task.corpus.create(path) as out:
        hashing = HashingWriter(out)
        batches = _text_batches(task, table, rows, copy)
        if task.packing is not None:
            batches, schema = _packed_batches(task, batches, totals), PACKED
        else:
            schema = text_schema(table.schema, task)
        written = 0
        with pa.ipc.new_stream(hashing, schema, options=options) as stream:
            for batch in batches:
                stream.write_batch(batch)
                written += batch.num_rows
    if task.packing is None and written != len(rows):
        raise IntegrityError(f"{written} of {len(rows)} rows were written", where=path, fix="run again")
    ledger = Ledger(len(rows), len(rows))
    Record(f"emit/{task.mix}", task.shard, task.fingerprint, {path: hashing.entry(written)}, ledger, totals).commit(task.corpus)
    return totals


@cache
def _decoders() -> ThreadPoolExecutor:
    """One pool for the life of a worker: memory that a thread's end leaves behind is not given back."""
    return ThreadPoolExecutor(DECODING_THREADS)


def _by_part(slices: Sequence[Slice]) -> dict[int, list[Slice]]:
    parts: dict[int, list[Slice]] = {}
    for one in sorted(slices, key=lambda s: (s.part, s.domain, s.copy, s.low)):
        parts.setdefault(one.part, []).append(one)
    return parts


def _gather(task: EmitTask, part: int, slices: list[Slice]) -> tuple[pa.Table, np.ndarray]:
    """The row groups of one part that hold the slices' documents.

    Returns:
        The table with every column the shard writes, and (2, n): row in it, copy number.
    """
    name = task.parts[part]
    columns = ["mix.copies", "mix.weight", *task.carry, *([task.length] if "." in task.length and task.length not in task.carry else [])]
    beside = read_part(task.corpus, name, columns, mix=task.mix)
    with task.corpus.open(f"documents/{name}.parquet") as file, pq.ParquetFile(file) as parquet:
        small = parquet.read(columns=["domain", "n_bytes"], use_threads=False)
        chosen = _chosen(small, beside["mix.copies"].to_numpy(), slices)
        edges = np.cumsum([0, *(parquet.metadata.row_group(i).num_rows for i in range(parquet.num_row_groups))])
        group = np.searchsorted(edges, chosen[0], side="right") - 1
        needed = np.unique(group)
        table = parquet.read_row_groups(needed.tolist(), use_threads=False)
    taken = np.zeros(edges[-1], bool)
    taken[chosen[0]] = True
    in_groups = np.concatenate([np.arange(edges[g], edges[g + 1]) for g in needed.tolist()] or [np.empty(0, np.int64)])
    if taken[in_groups].sum() > WORTH_KEEPING * len(in_groups):
        taken[in_groups] = True
    # Rows are renumbered in what was read; where many are not chosen they go before anything is copied.
    rows = (np.cumsum(taken) - 1)[chosen[0]]
    table = table if taken[in_groups].all() else table.filter(pa.array(taken[in_groups]))
    aligned = beside.filter(pa.array(taken))
    for column in columns[1:]:
        table = table.append_column("weight" if column == "mix.weight" else column, aligned[column])
    table = table.set_column(table.schema.get_field_index("domain"), "domain", table["domain"].cast(pa.string()))
    return table, np.stack([rows, chosen[1]])


def _chosen(small: pa.Table, copies: np.ndarray, slices: list[Slice]) -> np.ndarray:
    """(2, n): rows of a part that the slices take, and which copy each is."""
    domain = small["domain"].combine_chunks()
    names = domain.dictionary.to_pylist()
    code, size = domain.indices.to_numpy(), small["n_bytes"].to_numpy()
    picked = [np.empty((2, 0), np.int64)]
    for one in slices:
        run = np.flatnonzero((code == names.index(one.domain)) & (copies > one.copy))
        rows = run[rows_in_slice(size[run], one.low, one.high)]
        picked.append(np.stack([rows, np.full(len(rows), one.copy)]))
    return np.concatenate(picked, axis=1)


def text_schema(read: pa.Schema, task: EmitTask) -> pa.Schema:
    """Document columns, weight, copy, then what is carried."""
    measured = {task.length} if "." in task.length else set()
    documents = [f for f in read if f.name not in {"weight", *task.carry, *measured}]
    carried = [read.field(name) for name in task.carry if name not in {f.name for f in documents}]
    return pa.schema(
        [*documents, pa.field("weight", pa.float32(), nullable=False), pa.field("copy", pa.int16(), nullable=False), *carried]
    ).remove_metadata()


def _text_batches(task: EmitTask, table: pa.Table, rows: np.ndarray, copy: np.ndarray) -> Iterator[pa.RecordBatch]:
    """The chosen rows in their final order, in batches of about BATCH_BYTES of text."""
    schema = text_schema(table.schema, task)
    # One contiguous batch: taking rows from many chunks measured twenty times slower.
    whole = table.to_batches()[0] if len(table) else pa.RecordBatch.from_pylist([], table.schema)
    filled = np.cumsum(table["n_bytes"].to_numpy()[rows]) if len(rows) else np.empty(0, np.int64)
    edges = np.unique(np.r_[0, np.flatnonzero(np.diff(filled // BATCH_BYTES)) + 1, len(rows)])
    for a, b in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        taken = whole.take(pa.array(rows[a:b]))
        columns = [pa.array(copy[a:b].astype(np.int16)) if name == "copy" else taken[name] for name in schema.names]
        yield pa.RecordBatch.from_arrays(columns, schema=schema)


def _packed_batches(task: EmitTask, batches: Iterator[pa.RecordBatch], totals: dict[str, Any]) -> Iterator[pa.RecordBatch]:
    """Documents as rows of exactly ``sequence_length`` tokens; exact token counts go into ``totals``."""
    packing = task.packing
    assert packing is not None
    tokenizer = Tokenizer.open(task.corpus.localize(packing.tokenizer, Path(task.cache) / task.fingerprint))
    packer = Packer(packing.sequence_length, tokenizer.separator_id(packing.separator), packing.remainder, PACKED_ROWS_PER_BATCH)
    exact: dict[str, int] = {}
    for batch in batches:
        ids, offsets = tokenizer.encode_arrow(batch["text"])
        for domain, count in zip(batch["domain"].to_pylist(), np.diff(offsets).tolist(), strict=True):
            exact[domain] = exact.get(domain, 0) + count
        yield from packer.add(ids, offsets, batch["doc_id"])
    yield from packer.finish()
    counts = packer.counts
    totals |= {
        "tokens": dict(sorted(exact.items())),
        "packed": {
            "rows": counts.n_rows,
            "tokens_in": counts.tokens_in,
            "tokens_out": counts.tokens_out,
            "tokens_dropped": counts.tokens_dropped,
        },
    }


def _realised(table: pa.Table, rows: np.ndarray, length: str) -> dict[str, Any]:
    """Rows, text bytes and amount per domain."""
    domain = table["domain"].combine_chunks().dictionary_encode()
    names = domain.dictionary.to_pylist()
    code = domain.indices.to_numpy()[rows]
    sums = {
        "rows": np.bincount(code, minlength=len(names)),
        "bytes": _sum_by(code, table["n_bytes"].to_numpy()[rows], len(names)),
        "amount": _sum_by(code, pc.fill_null(table[length], 0).to_numpy()[rows], len(names)),
    }
    return {kind: {n: int(v) for n, v in sorted(zip(names, values.tolist(), strict=True))} for kind, values in sums.items()}


def _sum_by(code: np.ndarray, values: np.ndarray, n: int) -> np.ndarray:
    out = np.zeros(n, np.int64)
    np.add.at(out, code, values.astype(np.int64))
    return out


def dataset_files(shards: Sequence[str], fingerprint: str) -> dict[str, bytes]:
    """The two small files, by name, that make the folder one ``datasets.load_from_disk`` opens."""
    state: dict[str, Any] = {
        "_data_files": [{"filename": f"{shard}.arrow"} for shard in shards],
        "_fingerprint": fingerprint[:16],
        "_format_columns": None,
        "_format_kwargs": {},
        "_format_type": None,
        "_output_all_columns": False,
        "_split": None,
    }
    return {"state.json": dump(state), "dataset_info.json": dump({})}
