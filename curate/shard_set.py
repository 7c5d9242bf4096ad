"""Emitted Arrow shards as one numbered list of record batches, any of which is read without its neighbours.

A shard is an Arrow IPC *stream*: it has no footer, so message headers are scanned once
(a few bytes per record batch, no column data) to learn where each batch lies and how many
rows it holds. After that a batch is one seek and one read, zero-copy on a local disk: of a
batch that several ranks share, each touches only the pages its own rows lie on.

Format: https://arrow.apache.org/docs/format/Columnar.html#ipc-streaming-format. A
dictionary-encoded column lies in a batch as its plain indices, its dictionary in messages
before it; a batch is read with the indices' type and joined to its dictionary here.

Suffixes: S shards, B record batches over all shards.
"""

from __future__ import annotations

import json
import os
import re
import struct
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import xxhash

from curate.errors import InputError, IntegrityError
from curate.hashing import fingerprint
from curate.storage import Folder

SUFFIX = ".arrow"
OPEN_FILES = 64
CONTINUATION = 0xFFFFFFFF
SCHEMA, DICTIONARY, RECORDS = 1, 2, 3

Span = tuple[int, int]


@dataclass(frozen=True)
class ShardIndex:
    """Where the batches of one shard lie.

    Args:
        schema: its columns.
        head: byte span of the schema message.
        offsets_B: byte offset of each record batch message.
        rows_B: rows of each.
        state_B: for each, which entry of ``states`` holds its dictionaries.
        states: byte spans of the dictionary messages in force, one tuple per change of them.
    """

    schema: pa.Schema
    head: Span
    offsets_B: np.ndarray
    rows_B: np.ndarray
    state_B: np.ndarray
    states: tuple[tuple[Span, ...], ...]


class ShardSet:
    """The shards of one directory, in the order of their names.

    Raises:
        InputError: the directory holds no shard.
        IntegrityError: a shard is missing, cut short, no Arrow stream, or has other columns than the first.
    """

    def __init__(self, folder: Folder) -> None:
        self.folder = folder
        self.names = _shard_names(folder)
        self.indexes = [_scan(folder, name) for name in self.names]
        self.schema = self.indexes[0].schema
        for name, index in zip(self.names, self.indexes, strict=True):
            if not index.schema.equals(self.schema):
                raise IntegrityError(
                    "shards of one mix have different columns",
                    where=folder.at(name),
                    expected=str(self.schema.remove_metadata()),
                    fix="emit the mix again into an empty directory",
                )
        self.rows_S = np.array([int(index.rows_B.sum()) for index in self.indexes], dtype=np.int64)
        self.rows_B = np.concatenate([index.rows_B for index in self.indexes])
        self.shard_B = np.repeat(np.arange(len(self.indexes)), [len(index.rows_B) for index in self.indexes])
        self.first_S = np.searchsorted(self.shard_B, np.arange(len(self.indexes)))
        self.n_rows = int(self.rows_S.sum())
        self._forget()

    def _forget(self) -> None:
        """Hold no open file, as at the start of a process."""
        self._process = os.getpid()
        self._files: OrderedDict[int, pa.NativeFile] = OrderedDict()
        self._dictionaries: OrderedDict[tuple[int, int], dict[str, pa.Array]] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_files", "_dictionaries")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()

    def fingerprint(self) -> str:
        """Names the rows and their order: shard names, batch sizes, and ``mixture.json`` where there is one.

        ``mixture.json`` counts by its ``fingerprint`` key, or by its whole content when it has none.
        """
        identity: dict[str, Any] = {
            "shards": list(zip(self.names, self.rows_S.tolist(), strict=True)),
            "batches": xxhash.xxh3_128_hexdigest(self.rows_B.astype("<i8").tobytes()),
        }
        if self.folder.exists("mixture.json"):
            content = self.folder.read("mixture.json")
            stated = json.loads(content).get("fingerprint")
            identity["mixture"] = stated or xxhash.xxh3_128_hexdigest(content)
        return fingerprint(identity)

    def batch(self, number: int, columns: list[str]) -> pa.RecordBatch:
        """The named columns of record batch ``number`` of B."""
        shard = int(self.shard_B[number])
        index, within = self.indexes[shard], number - int(self.first_S[shard])
        file = self._open(shard)
        file.seek(int(index.offsets_B[within]))
        raw = pa.ipc.read_record_batch(pa.ipc.read_message(file), _plain(index.schema))
        if raw.num_rows != index.rows_B[within]:
            raise IntegrityError("a shard changed while it was being read", where=self.folder.at(self.names[shard]))
        coded = [name for name in columns if pa.types.is_dictionary(index.schema.field(name).type)]
        words = self._words(shard, within) if coded else {}
        arrays = [pa.DictionaryArray.from_arrays(raw[name], words[name]) if name in words else raw[name] for name in columns]
        return pa.record_batch(arrays, names=columns)

    def _open(self, shard: int) -> pa.NativeFile:
        """The open file of a shard; the least recently used one is closed when too many are open."""
        if self._process != os.getpid():  # forked: a remote file's connection is the parent's
            self._forget()
        if shard not in self._files:
            self._files[shard] = self.folder.open(self.names[shard])
            if len(self._files) > OPEN_FILES:
                self._files.popitem(last=False)
        self._files.move_to_end(shard)
        return self._files[shard]

    def _words(self, shard: int, within: int) -> dict[str, pa.Array]:
        """The dictionaries of the coded columns that hold for one batch.

        They are had by reading the batch as a small stream of its own: schema, dictionaries, batch.
        """
        index = self.indexes[shard]
        key = (shard, int(index.state_B[within]))
        if key not in self._dictionaries:
            file = self._open(shard)
            start = int(index.offsets_B[within])
            spans = [index.head, *index.states[key[1]], (start, _message_end(file, start) - start)]
            stream = b"".join([file.read_at(length, offset) for offset, length in spans])
            batch = pa.ipc.open_stream(stream).read_next_batch()
            coded = [field.name for field in index.schema if pa.types.is_dictionary(field.type)]
            self._dictionaries[key] = {name: batch[name].dictionary for name in coded}
            if len(self._dictionaries) > OPEN_FILES:
                self._dictionaries.popitem(last=False)
        self._dictionaries.move_to_end(key)
        return self._dictionaries[key]


def _shard_names(folder: Folder) -> list[str]:
    """The shards of a directory, sorted, none of those their names announce missing."""
    names = [name for name in folder.names() if name.endswith(SUFFIX) and "/" not in name]
    if not names:
        raise InputError(
            "no Arrow shards here",
            where=folder.url,
            expected="files named shard-00000-of-00007.arrow",
            fix="give the directory of an emitted mix",
        )
    announced = {int(found.group(1)) for name in names if (found := re.search(r"-of-(\d+)\.arrow$", name))}
    if announced and announced != {len(names)}:
        raise IntegrityError(
            "the shards are not the number their names announce",
            where=folder.url,
            expected=f"{sorted(announced)} shards, found {len(names)}",
            fix="copy the whole mix, or remove what remains of an older one",
        )
    return names


def _plain(schema: pa.Schema) -> pa.Schema:
    """The schema as it lies in a record batch: dictionary columns as their indices."""
    return pa.schema([f.with_type(f.type.index_type) if pa.types.is_dictionary(f.type) else f for f in schema])


def _scan(folder: Folder, name: str) -> ShardIndex:
    """Walk the message headers of one shard."""
    where, size = folder.at(name), folder.size(name)
    file = folder.open(name)
    head: Span = (0, 0)
    offsets, rows, state, states = [], [], [], []
    in_force: dict[int, list[Span]] = {}
    changed, at = True, 0
    while (message := _header(file, at, where)) is not None:
        kind, count, is_delta, end = message
        if end > size:
            raise _cut_short(where)
        if kind == SCHEMA:
            head = (at, end - at)
        elif kind == DICTIONARY:
            in_force[count] = [*(in_force.get(count, []) if is_delta else []), (at, end - at)]
            changed = True
        elif kind == RECORDS:
            if changed:  # whole dictionaries first: a stream opens with one message for each
                states.append(tuple(sorted((span for spans in in_force.values() for span in spans), key=_firsts(in_force))))
                changed = False
            offsets.append(at)
            rows.append(count)
            state.append(len(states) - 1)
        at = end
    schema = pa.ipc.read_schema(pa.py_buffer(file.read_at(head[1], head[0])))
    return ShardIndex(schema, head, np.array(offsets, np.int64), np.array(rows, np.int64), np.array(state, np.int64), tuple(states))


def _firsts(in_force: dict[int, list[Span]]) -> Any:
    """Sort key that puts each dictionary's whole message before any delta."""
    whole = {spans[0] for spans in in_force.values()}
    return lambda span: (span not in whole, span)


def _header(file: pa.NativeFile, at: int, where: str) -> tuple[int, int, bool, int] | None:
    """(kind, rows or dictionary id, is_delta, end offset) of the message at a byte offset; None at the end mark."""
    prefix = file.read_at(8, at)
    if len(prefix) < 8:
        raise _cut_short(where)
    marker, length = struct.unpack("<Ii", prefix)
    if marker != CONTINUATION:
        raise IntegrityError("not an Arrow IPC stream", where=f"{where}, byte {at}", expected="a message", fix="emit the shard again")
    if length == 0:
        return None
    meta = file.read_at(length, at + 8)
    if len(meta) < length:
        raise _cut_short(where)
    message = struct.unpack_from("<I", meta, 0)[0]
    kind = _field(meta, message, 1, "<B")
    content = _table(meta, message, 2)
    count = _field(meta, content, 0, "<q") if kind in (DICTIONARY, RECORDS) else 0
    is_delta = kind == DICTIONARY and bool(_field(meta, content, 2, "<B"))
    return kind, count, is_delta, at + 8 + length + _field(meta, message, 3, "<q")


def _message_end(file: pa.NativeFile, at: int) -> int:
    header = _header(file, at, "")
    assert header is not None, "an indexed batch is a message"
    return header[3]


def _slot(meta: bytes, table: int, number: int) -> int:
    """Offset of a flatbuffer table's field, 0 when it is absent (then it has its default, zero)."""
    vtable = table - struct.unpack_from("<i", meta, table)[0]
    entry = 4 + 2 * number
    if entry >= struct.unpack_from("<H", meta, vtable)[0]:
        return 0
    relative = struct.unpack_from("<H", meta, vtable + entry)[0]
    return table + relative if relative else 0


def _field(meta: bytes, table: int, number: int, kind: str) -> int:
    slot = _slot(meta, table, number)
    return int(struct.unpack_from(kind, meta, slot)[0]) if slot else 0


def _table(meta: bytes, table: int, number: int) -> int:
    slot = _slot(meta, table, number)
    return slot + int(struct.unpack_from("<I", meta, slot)[0])


def _cut_short(where: str) -> IntegrityError:
    return IntegrityError(
        "a shard is cut short", where=where, expected="an Arrow stream with its end mark", fix="copy or emit the shard again"
    )
