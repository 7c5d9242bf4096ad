"""What a reader is: it turns one piece of a source into columns of good records and bad records.

A reader validates everything it yields: text is non-empty valid UTF-8 no longer than
``Limits.max_record_bytes``, a domain is a non-empty string, extras have their declared
type. Every record of the piece is in exactly one item, so counts can be checked.

Another format is one more module that calls ``register``:

    register("machine_text", Reader(read=read_machine_text, inputs=inputs_of_machine_text))

and, if it should be found without importing it first, one line in ``_MODULES``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import xxhash

from curate.errors import ConfigError, nearest

if TYPE_CHECKING:
    from curate.ingest.sources import InputFile, Source

Options = dict[str, Any]
Run = Callable[[Callable[[Any], int], Iterable[Any]], Iterable[int]]

# What a quarantine entry keeps of the raw bytes; their hash and length are of all of them.
RAW_BYTES_KEPT = 1 << 16


@dataclass(frozen=True)
class Limits:
    """Bounds on memory, in bytes. ``max_record_bytes`` decides what is quarantined; the others change no result."""

    max_record_bytes: int = 64 << 20
    block_bytes: int = 1 << 20
    chunk_bytes: int = 32 << 20


@dataclass(frozen=True)
class Piece:
    """What one reader call reads: a whole file, or a range of it in the unit of its format.

    The unit is bytes for jsonl, row groups for parquet, record batches for arrow, rows for
    hf_dataset. ``stop`` -1 is the end. ``first_row`` is the row number of the first record
    that starts in the range. ``domain`` is None when each record states its own.
    """

    url: str
    source: str
    format: str
    compression: str | None
    domain: str | None
    start: int = 0
    stop: int = -1
    first_row: int = 0


@dataclass(frozen=True)
class Records:
    """N good records, in order.

    Args:
        rows_N: row number in the source, int64.
        text: N non-empty strings, large_string, no nulls.
        domain: one domain for all, or N of them as a string array without nulls.
        extras: declared extras by name, N values each, of the declared type; null where absent.
        source: N names as a string array where one piece stands for many sources; None: all are the piece's.
    """

    rows_N: np.ndarray
    text: pa.Array
    domain: str | pa.Array
    extras: dict[str, pa.Array] = field(default_factory=dict)
    source: pa.Array | None = None


@dataclass(frozen=True)
class BadRecord:
    """One record (or ``n_records`` of them, lost together) that cannot become a document.

    ``offset`` is the byte in the decompressed stream where it starts, None where the format has none.
    ``raw`` is at most the first ``RAW_BYTES_KEPT`` bytes; ``n_bytes`` and ``digest`` are of the whole. ``source`` None is the piece's.
    """

    row: int
    offset: int | None
    reason: str
    detail: str
    raw: bytes
    n_bytes: int
    digest: str
    n_records: int = 1
    source: str | None = None


Read = Callable[[Piece, "Source", Limits, Options], Iterator[Records | BadRecord]]
Pieces = Callable[["InputFile", "Source", int, Options, Run], list[tuple[Piece, int]]]
Inputs = Callable[["Source", int, str, Options], "list[InputFile]"]


@dataclass(frozen=True)
class Reader:
    """A format.

    Args:
        read: yields the records of a piece.
        pieces: (file, source, split_bytes, options, run) to pieces with their size in bytes; None reads files whole.
            ``run(function, items)`` maps, and may do so in parallel.
        inputs: (source, entry, root, options) to input files, for sources that are no files and may have no ``path``;
            None lists the files at ``path``.
    """

    read: Read
    pieces: Pieces | None = None
    inputs: Inputs | None = None


READERS: dict[str, Reader] = {}

_MODULES = {
    "jsonl": "curate.ingest.readers.jsonl",
    "csv": "curate.ingest.readers.delimited",
    "tsv": "curate.ingest.readers.delimited",
    "text": "curate.ingest.readers.plain",
    "parquet": "curate.ingest.readers.columnar",
    "arrow": "curate.ingest.readers.columnar",
    "hf_dataset": "curate.ingest.readers.hub",
    "machine_text": "curate.ingest.machine_text",
}


def register(name: str, reader: Reader) -> None:
    """Make a format known; a module does so for its own formats when imported."""
    READERS[name] = reader


def reader_of(name: str) -> Reader:
    """The reader of a format, importing its module on first use. Raises ConfigError for an unknown one."""
    if name not in READERS and name in _MODULES:
        import_module(_MODULES[name])
    if name not in READERS:
        raise ConfigError(f"unknown input format {name!r}", expected=nearest(name, sorted({*_MODULES, *READERS})), fix="change `format:`")
    return READERS[name]


class Raw:
    """The bytes of a bad record, taken in pieces so that its size does not matter."""

    def __init__(self, head: bytes = b"") -> None:
        self.head, self.n_bytes, self._hash = b"", 0, xxhash.xxh3_128()
        self.add(head)

    def add(self, data: bytes) -> None:
        """Append bytes; only the first ``RAW_BYTES_KEPT`` are kept."""
        if len(self.head) < RAW_BYTES_KEPT:
            self.head += data[: RAW_BYTES_KEPT - len(self.head)]
        self.n_bytes += len(data)
        self._hash.update(data)

    def bad(self, row: int, offset: int | None, reason: str, detail: str, n_records: int = 1) -> BadRecord:
        """The bad record with these bytes."""
        return BadRecord(row, offset, reason, detail, self.head, self.n_bytes, self._hash.hexdigest(), n_records)


def over_long(raw: Raw, row: int, offset: int | None, limits: Limits) -> BadRecord:
    """A record longer than ``max_record_bytes``."""
    return raw.bad(row, offset, "over_long_record", f"{raw.n_bytes} bytes; max_record_bytes is {limits.max_record_bytes}")
