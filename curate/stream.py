"""Emitted shards as a training stream: the same rows in the same order for any number of ranks, resumed anywhere.

**Order.** Without shuffling, the rows of an epoch stand as they lie in the shards. With it,
the record batches of all shards are ordered by a hash of (seed, epoch, batch), ``window`` of
them at a time form a pool, and a pool's rows are ordered by a hash of (seed, epoch, batch,
row). Either way the order follows from the shards, the seed and the epoch alone.

**Ranks.** Row i of an epoch's order goes to rank i mod ``world_size``: each row to exactly one.

**Workers.** ``loader`` gives whole batches: batch j of a rank is read by worker j mod W and the
workers are asked in turn, so the batches are those of no workers at all, in their order. A
plain ``DataLoader(stream, num_workers=W)`` also gives each row once, but there a worker reads
every W-th row of its rank, so batches hold other rows, and the state in the main process stands still.

**State.** A stream is a cursor (epoch, position). Reading moves it; the end of an epoch moves
it to the next. ``state_dict()`` is the cursor and what identifies the order, as JSON. Taken when
all ranks have read equally many rows it is the same on each of them, and continues on any
number of ranks with exactly the rows not yet read. Rows skipped are not read from disk.

Suffix: K rows asked for.
"""

from __future__ import annotations

import os
import sys
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from curate.epoch_order import EpochOrder
from curate.errors import ConfigError, StaleOutputError, nearest
from curate.shard_set import ShardSet
from curate.storage import Folder

STATE_VERSION = 1
ROWS_AT_ONCE = 512


class Stream:
    """A directory of emitted shards, read row by row; a torch ``IterableDataset`` where torch is installed.

    A loop over it gives the rest of the current epoch, the next loop the next epoch. Two loops
    over one stream share its cursor.

    Args:
        path: directory or fsspec URL of the mix.
        rank: this reader's number.
        world_size: how many readers share the rows.
        columns: the columns to give; all when None.
        shuffle: whether every epoch has an order of its own; else all have the order of the shards.
        window: record batches whose rows are mixed when shuffling.
        seed: of the shuffling.
        even: leave out the last ``n_rows`` mod ``world_size`` rows of an epoch, so that all ranks read equally many.
        storage_options: for fsspec.

    Raises:
        ConfigError: an impossible rank or window, an unknown column.
        InputError, IntegrityError: no shards, or broken ones; see ``ShardSet``.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        rank: int = 0,
        world_size: int = 1,
        columns: Sequence[str] | None = None,
        *,
        shuffle: bool = False,
        window: int = 16,
        seed: int = 0,
        even: bool = False,
        storage_options: dict[str, Any] | None = None,
    ) -> None:
        if not 0 <= rank < world_size:
            raise ConfigError(
                f"there is no rank {rank} of {world_size}", where="rank", expected="0 ≤ rank < world_size", fix="count ranks from 0"
            )
        if window < 1:
            raise ConfigError("a window without batches", where="window", expected="1 or more", fix="leave shuffle off to keep the order")
        self.rank, self.world_size, self.seed, self.even = rank, world_size, seed, even
        self.window = window if shuffle else 0
        self._shards = ShardSet(Folder(os.fspath(path), storage_options or {}))
        self.columns = _known(columns, self._shards.schema)
        self.fingerprint = self._shards.fingerprint()
        self.n_rows = self._shards.n_rows
        self.epoch, self.position = 0, 0
        self._held: OrderedDict[int, pa.RecordBatch] = OrderedDict()
        _register_with_torch(Stream)

    def state_dict(self) -> dict[str, Any]:
        """Where the stream stands, as JSON values: ``position`` counts the rows of ``epoch`` read by all ranks together."""
        return {"version": STATE_VERSION, "epoch": self.epoch, "position": self.position, **self._identity()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where ``state`` was taken, on this or another number of ranks.

        Raises:
            StaleOutputError: the state belongs to other shards, another seed or another way of shuffling.
        """
        here = {"version": STATE_VERSION, **self._identity()}
        differing = [name for name, value in here.items() if state.get(name) != value]
        if differing:
            raise StaleOutputError(
                "this state was saved by another stream",
                where="; ".join(f"{name}: saved {state.get(name)!r}, here {here[name]!r}" for name in differing),
                expected="the same shards, seed, shuffle and window",
                fix="open the stream as it was opened when the state was saved, or begin the epoch anew",
            )
        self.epoch, self.position = int(state["epoch"]), int(state["position"])

    def set_epoch(self, epoch: int) -> None:
        """Go to the start of an epoch; the current one is left where it stands, so a resumed loop may call this."""
        if epoch != self.epoch:
            self.epoch, self.position = epoch, 0

    def iter_rows(self) -> Iterator[dict[str, Any]]:
        """The rest of this epoch's rows of this rank, as dicts; needs no torch.

        Text is str, a doc_id bytes, a number a Python number, a list of numbers a numpy array, a null None.
        """
        names = self.columns
        for rows, _ in self._reads(ROWS_AT_ONCE, *_worker(), scattered=True):
            for values in zip(*[row_values(column) for column in rows.columns], strict=True):
                self._advance(1)
                yield dict(zip(names, values))  # noqa: B905 - one value per name, and this line is run for every row
        self._end_epoch()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return self.iter_rows()

    def iter_batches(self, batch_size: int, drop_last: bool = False) -> Iterator[dict[str, Any]]:
        """The rest of this epoch's rows of this rank, ``batch_size`` at a time, as a dict of columns; needs no torch.

        A column of numbers is a numpy array (null floats are NaN); ``input_ids`` is a (batch_size, sequence length)
        array, or a list of arrays where a short row is among them; anything else is a list as in ``iter_rows``.
        In a torch worker these are every W-th batch, which is what ``loader`` puts in order again.
        """
        if batch_size < 1:
            raise ConfigError("a batch without rows", where="batch_size", expected="1 or more", fix="set it")
        for rows, edges in self._reads(batch_size, *_worker(), scattered=False):
            columns = [batch_values(name, column, edges) for name, column in zip(self.columns, rows.columns, strict=True)]
            for n, values in zip(np.diff(edges).tolist(), zip(*columns, strict=True), strict=True):
                if n == batch_size or not drop_last:
                    self._advance(n)
                    yield dict(zip(self.columns, values, strict=True))
        self._end_epoch()

    def _identity(self) -> dict[str, Any]:
        return {"fingerprint": self.fingerprint, "seed": self.seed, "window": self.window}

    def _rows_in_epoch(self) -> int:
        return self.n_rows - self.n_rows % self.world_size if self.even else self.n_rows

    def _advance(self, n_rows: int) -> None:
        """Count rows read here, and as many on every other rank."""
        self.position = min(self.position + n_rows * self.world_size, self._rows_in_epoch())

    def _end_epoch(self) -> None:
        self.epoch, self.position = self.epoch + 1, 0

    def _reads(self, size: int, worker: int, n_workers: int, scattered: bool) -> Iterator[tuple[pa.RecordBatch, np.ndarray]]:
        """This worker's share of what this rank has still to read: rows, and the edges of blocks of ``size`` rows in them.

        The share is every ``n_workers``-th row when scattered, else every ``n_workers``-th block. Several
        blocks are read together, since finding, copying and converting rows costs little more for many than for few.
        """
        order = EpochOrder(self._shards.rows_B, self.window, self.seed, self.epoch)
        step = self.world_size * (n_workers if scattered else 1)
        stride = size * step * (1 if scattered else n_workers)
        first = self.position + (self.rank - self.position) % self.world_size
        first += worker * self.world_size * (1 if scattered else size)
        end, at_once = self._rows_in_epoch(), max(1, ROWS_AT_ONCE // size)
        for begin in range(first, end, stride * at_once):
            starts = np.arange(begin, min(begin + stride * at_once, end), stride)
            sizes = np.minimum(size, -((starts - end) // step))
            positions = (starts[:, None] + step * np.arange(size)).ravel()
            yield self._gather(*order.locate(positions[positions < end])), np.concatenate([[0], np.cumsum(sizes)])

    def _gather(self, batch_K: np.ndarray, row_K: np.ndarray) -> pa.RecordBatch:
        """The rows at these places, in this order, as one contiguous batch without dictionaries."""
        in_order = bool(np.all(batch_K[1:] >= batch_K[:-1]))
        by_batch = np.arange(len(batch_K)) if in_order else np.argsort(batch_K, kind="stable")
        numbers_K, rows_K = batch_K[by_batch], row_K[by_batch]
        starts = np.flatnonzero(np.diff(numbers_K, prepend=-1))
        groups = np.split(rows_K, starts[1:])
        pieces = [_taken(self._batch(number), rows) for number, rows in zip(numbers_K[starts].tolist(), groups, strict=True)]
        if len(pieces) == 1:
            return pieces[0]
        together = pa.concat_batches(pieces)
        if in_order:
            return together
        place = np.empty_like(by_batch)
        place[by_batch] = np.arange(len(by_batch))
        return together.take(pa.array(place))

    def _batch(self, number: int) -> pa.RecordBatch:
        """One record batch; those of the current pool stay at hand."""
        if number not in self._held:
            self._held[number] = self._shards.batch(number, self.columns)
            if len(self._held) > self.window + 1:
                self._held.popitem(last=False)
        self._held.move_to_end(number)
        return self._held[number]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_held": OrderedDict()}


class Loader:
    """Batches of a stream as torch tensors, read by worker processes; made by ``loader``. It shares the stream's cursor."""

    def __init__(self, stream: Stream, batch_size: int, drop_last: bool, pin_memory: bool, options: dict[str, Any]) -> None:
        self.stream, self.batch_size, self.drop_last, self.pin_memory, self.options = stream, batch_size, drop_last, pin_memory, options

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for batch in self._arrays():
            yield {name: _tensor(value, self.pin_memory) for name, value in batch.items()}

    def _arrays(self) -> Iterator[dict[str, Any]]:
        """The batches as the workers send them: arrays, because every tensor sent costs a shared-memory file."""
        from torch.utils.data import DataLoader

        stream = self.stream
        if not self.options["num_workers"]:
            yield from stream.iter_batches(self.batch_size, self.drop_last)
            return
        batches = _Batches(stream, self.batch_size, self.drop_last)
        for batch in DataLoader(batches, batch_size=None, collate_fn=_as_sent, **self.options):  # type: ignore[arg-type]
            stream._advance(len(next(iter(batch.values()))))
            yield batch
        stream._end_epoch()

    def state_dict(self) -> dict[str, Any]:
        """The state after the batches given out, however far the workers have read ahead."""
        return self.stream.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See ``Stream.load_state_dict``; for loops begun after it."""
        self.stream.load_state_dict(state)


def loader(
    stream: Stream,
    batch_size: int,
    *,
    num_workers: int = 0,
    drop_last: bool = False,
    pin_memory: bool = False,
    prefetch_factor: int | None = None,
    multiprocessing_context: str | None = None,
) -> Loader:
    """Batches of ``batch_size`` rows of this rank, the same in content and order for any ``num_workers``.

    Args:
        stream: where the rows come from; its cursor moves with the batches given out.
        batch_size: rows of a batch.
        num_workers: processes that read; 0 reads here.
        drop_last: leave out an epoch's last, incomplete batch.
        pin_memory: put tensors into page-locked memory.
        prefetch_factor, multiprocessing_context: as ``torch.utils.data.DataLoader`` takes them.

    Returns:
        An iterable of dicts: arrays of ``Stream.iter_batches`` as tensors, lists as they are.

    Raises:
        ConfigError: torch is not installed.
    """
    if not _register_with_torch(_Batches):
        raise ConfigError(
            "loader needs torch",
            where="curate.stream.loader",
            expected="torch",
            fix="pip install 'curate[stream]', or use Stream.iter_batches",
        )
    options = {"num_workers": num_workers, "prefetch_factor": prefetch_factor, "multiprocessing_context": multiprocessing_context}
    return Loader(stream, batch_size, drop_last, pin_memory, options)


class _Batches:
    """What the workers of a ``Loader`` iterate."""

    def __init__(self, stream: Stream, batch_size: int, drop_last: bool) -> None:
        self.stream, self.batch_size, self.drop_last = stream, batch_size, drop_last

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return self.stream.iter_batches(self.batch_size, self.drop_last)


def _as_sent(batch: dict[str, Any]) -> dict[str, Any]:
    """In place of torch's default, which would make tensors in the worker."""
    return batch


def row_values(column: pa.Array) -> list[Any]:
    """A column as a list with one Python value, or numpy array of numbers, per row."""
    kind = column.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        if column.null_count or column.values.null_count:
            return column.to_pylist()
        edges = column.offsets.to_pylist()
        inner = column.values.slice(edges[0], edges[-1] - edges[0])
        values = np.array(inner.to_numpy()) if pa.types.is_primitive(inner.type) else row_values(inner)
        return [values[a - edges[0] : b - edges[0]] for a, b in zip(edges[:-1], edges[1:], strict=True)]
    is_bytes = pa.types.is_large_string(kind) or pa.types.is_string(kind) or pa.types.is_fixed_size_binary(kind)
    if is_bytes or (not column.null_count and _is_number(kind)):
        return column.to_numpy(zero_copy_only=False).tolist()
    return column.to_pylist()


def batch_values(name: str, column: pa.Array, edges: np.ndarray) -> list[Any]:
    """A column cut at ``edges`` into batches: arrays where it is one of numbers, else lists as ``row_values``.

    What a batch is depends on its own rows only; see ``Stream.iter_batches``.
    """
    spans = list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))
    if _is_number(column.type) and (not column.null_count or pa.types.is_floating(column.type)):
        numbers = column.to_numpy(zero_copy_only=False)
        return [np.array(numbers[a:b]) for a, b in spans]
    if _is_number(column.type) and len(spans) > 1:  # nulls in some of the batches
        return [batch_values(name, column.slice(a, b - a), np.array([0, b - a]))[0] for a, b in spans]
    rows = row_values(column)
    if name == "input_ids":
        return [_stacked(rows[a:b]) for a, b in spans]
    return [rows[a:b] for a, b in spans]


def _stacked(rows: list[Any]) -> np.ndarray | list[Any]:
    """Rows of one length as a matrix; others as they are."""
    return np.stack(rows) if len({len(row) for row in rows}) == 1 else rows


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)


def _taken(batch: pa.RecordBatch, rows: np.ndarray) -> pa.RecordBatch:
    """Rows of a batch with dictionaries resolved: a view when they follow each other."""
    in_a_run = rows[-1] - rows[0] == len(rows) - 1 and bool(np.all(np.diff(rows) == 1))
    part = batch.slice(int(rows[0]), len(rows)) if in_a_run else batch.take(pa.array(rows))
    plain = [column.dictionary_decode() if pa.types.is_dictionary(column.type) else column for column in part.columns]
    return pa.record_batch(plain, names=batch.schema.names)


def _tensor(value: np.ndarray | list[Any], pin: bool) -> Any:
    """An array as a tensor on the same memory, or in page-locked memory; a list as it is."""
    import torch

    if isinstance(value, list):
        return value
    return torch.from_numpy(value).pin_memory() if pin else torch.from_numpy(value)


def _known(columns: Sequence[str] | None, schema: pa.Schema) -> list[str]:
    """The columns to read, every one of them there."""
    chosen = list(schema.names if columns is None else columns)
    for name in chosen:
        if name not in schema.names:
            hint = nearest(name, schema.names)
            raise ConfigError(f"the shards have no column {name!r}", where="columns", expected=hint, fix="correct the name")
    if not chosen:
        raise ConfigError("no columns to read", where="columns", expected=", ".join(schema.names), fix="name at least one")
    return chosen


def _worker() -> tuple[int, int]:
    """(number, count) of the torch worker this process is; (0, 1) outside of one."""
    data = sys.modules.get("torch.utils.data")
    info = data.get_worker_info() if data else None
    return (info.id, info.num_workers) if info else (0, 1)


def _register_with_torch(kind: type) -> bool:
    """Let torch take ``kind`` for an IterableDataset; False without torch, which rows do not need."""
    try:
        from torch.utils.data import IterableDataset
    except ImportError:
        return False
    IterableDataset.register(kind)
    return True
