"""Scan: one split of raw input to sorted spool chunks and quarantine, in bounded memory.

Every record of the split ends in exactly one place, and the result says how many in each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from curate.errors import InputError
from curate.ingest.quarantine import Quarantine
from curate.ingest.readers.reader import BadRecord, Limits, Options, Piece, Records, reader_of
from curate.ingest.sources import EXTRA_TYPES, Source
from curate.ingest.splits import Split
from curate.ingest.spool import FOLDER, Chunk, write_chunk
from curate.storage import Folder


@dataclass(frozen=True)
class ScanResult:
    """What became of a split: ``n_records`` = ``n_documents`` + sum of ``quarantined`` (records by reason).

    ``n_bytes`` is text bytes of documents; ``quarantine`` the file with the bad records, None when there are none.
    """

    split: str
    n_records: int
    n_documents: int
    n_bytes: int
    quarantined: dict[str, int]
    quarantine: str | None
    chunks: tuple[Chunk, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values, for a manifest."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> ScanResult:
        """The inverse of ``to_json``."""
        return cls(**{**values, "chunks": tuple(Chunk.from_json(chunk) for chunk in values["chunks"])})


def scan_split(
    split: Split, source: Source, out: Folder, seed: int, limits: Limits | None = None, options: Options | None = None
) -> ScanResult:
    """Read a split and write ``spool/`` and ``quarantine/`` files named after it into ``out``.

    Holds at most a chunk of text and its sorted copy. Raises InputError for a file that is gone or lacks a column.
    """
    limits = limits or Limits()
    pending = _Pending(split.name, out, seed, limits, source)
    with Quarantine(out, split.name) as quarantine:
        for piece in split.pieces:
            for item in _read(piece, source, limits, options or {}):
                if isinstance(item, BadRecord):
                    quarantine.add(item.source or piece.source, item)
                else:
                    pending.add(piece, item)
        pending.flush()
    n_documents = sum(chunk.n_documents for chunk in pending.chunks)
    return ScanResult(
        split=split.name,
        n_records=n_documents + quarantine.counts.total(),
        n_documents=n_documents,
        n_bytes=sum(chunk.n_bytes for chunk in pending.chunks),
        quarantined=dict(sorted(quarantine.counts.items())),
        quarantine=quarantine.file,
        chunks=tuple(pending.chunks),
    )


def _read(piece: Piece, source: Source, limits: Limits, options: Options) -> Any:
    try:
        yield from reader_of(piece.format).read(piece, source, limits, options)
    except FileNotFoundError as error:
        what, expected = "an input file is gone", "the file that was listed"
        raise InputError(what, where=piece.source, expected=expected, fix="restore it and run again") from error


@dataclass
class _Pending:
    """Records waiting to fill a chunk."""

    name: str
    out: Folder
    seed: int
    limits: Limits
    source: Source
    chunks: list[Chunk] = field(default_factory=list)
    _held: list[tuple[str | pa.Array, Records]] = field(default_factory=list)
    _n_bytes: int = 0

    def add(self, piece: Piece, records: Records) -> None:
        """Take records in; write a chunk when there are enough."""
        self._held.append((piece.source if records.source is None else records.source, records))
        bounds = np.frombuffer(records.text.buffers()[1], np.int64, len(records.text) + 1, 8 * records.text.offset)
        self._n_bytes += int(bounds[-1] - bounds[0])
        if self._n_bytes >= self.limits.chunk_bytes:
            self.flush()

    def flush(self) -> None:
        """Write what is held as one chunk."""
        if not self._held:
            return
        records = [r for _, r in self._held]
        lengths = [len(r.text) for r in records]
        sources, source_codes = _codes([source for source, _ in self._held], lengths)
        domains, domain_codes = _codes([r.domain for r in records], lengths)
        columns = {
            "text": pa.concat_arrays([r.text for r in records]),
            "source": pa.DictionaryArray.from_arrays(pa.array(source_codes, pa.int32()), pa.array(sources, pa.string())),
            "source_row": pa.array(np.concatenate([r.rows_N for r in records])),
        }
        for name, extra in self.source.extras.items():
            columns[name] = pa.concat_arrays([r.extras[name].cast(EXTRA_TYPES[extra.type]) for r in records])
        self._held, self._n_bytes = [], 0
        name = f"{FOLDER}/{self.name}-{len(self.chunks):04d}.arrow"
        self.chunks.append(write_chunk(self.out, name, columns, domains, domain_codes, self.seed))


def _codes(values: Sequence[str | pa.Array], lengths: Sequence[int]) -> tuple[list[str], np.ndarray]:
    """(distinct strings, index of each row's): each value stands for ``lengths`` rows, or is a string array of them."""
    known: dict[str, int] = {}
    codes = []
    for value, length in zip(values, lengths, strict=True):
        if isinstance(value, str):
            codes.append(np.full(length, known.setdefault(value, len(known)), np.int32))
            continue
        encoded = value.dictionary_encode()
        mapped = np.array([known.setdefault(name, len(known)) for name in encoded.dictionary.to_pylist()], np.int32)
        codes.append(mapped[encoded.indices.to_numpy()])
    return list(known), np.concatenate(codes)
