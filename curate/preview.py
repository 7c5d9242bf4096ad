"""A small look at the inputs: the first records of files spread over every source and domain.

What was drawn knows what share of its files it stands for, so sums over it scale to the
corpus. Compressed and line-based files are read by their first bytes only.
"""

from __future__ import annotations

import tempfile
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from curate.documents import text_sizes
from curate.ingest import BadRecord, InputFile, Limits, Source
from curate.ingest.readers.reader import Piece, Records, reader_of

FILES_PER_GROUP = 6
LINE_FORMATS = ("jsonl", "csv", "tsv")
HEAD_BYTES = 1 << 19


@dataclass(frozen=True)
class Drawn:
    """Documents of one group of files: a source's files of one domain.

    Args:
        table: text, domain, n_bytes and the source's extras.
        factor: how much larger the group is than what was read of it.
        seconds: reading took.
    """

    table: pa.Table
    factor: float
    seconds: float

    @property
    def n_bytes(self) -> int:
        """Text bytes drawn."""
        return int(sum(self.table["n_bytes"].to_pylist()))


def draw(sources: Sequence[Source], files: Sequence[InputFile], n_bytes: int, options: dict[str, Any]) -> list[Drawn]:
    """About ``n_bytes`` of text over all groups."""
    groups: dict[tuple[int, str | None], list[InputFile]] = {}
    for file in files:
        groups.setdefault((file.entry, file.domain), []).append(file)
    share = max(n_bytes // max(len(groups), 1), 1)
    drawn = [_draw_group(sources[entry], group, share, options) for (entry, _), group in groups.items()]
    return [d for d in drawn if len(d.table)]


def _draw_group(source: Source, files: list[InputFile], n_bytes: int, options: dict[str, Any]) -> Drawn:
    """The first records of a few files, evenly spread."""
    step = max(1, len(files) // FILES_PER_GROUP)
    chosen = files[::step][:FILES_PER_GROUP]
    began, read, tables = time.perf_counter(), 0.0, []
    for file in chosen:
        table, on_disk = _draw_file(source, file, max(n_bytes // len(chosen), 1), options)
        tables.append(table)
        read += on_disk
        if sum(len(t) for t in tables) and sum(sum(t["n_bytes"].to_pylist()) for t in tables) >= n_bytes:
            break
    whole = sum(file.size for file in files)
    return Drawn(pa.concat_tables(tables), whole / max(read, 1.0), time.perf_counter() - began)


def _draw_file(source: Source, file: InputFile, n_bytes: int, options: dict[str, Any]) -> tuple[pa.Table, float]:
    """Some records of one file, and the bytes on disk they stand for."""
    if file.format in LINE_FORMATS:
        return _draw_lines(source, file, n_bytes, options)
    reader = reader_of(file.format)
    pieces = reader.pieces(file, source, n_bytes, options, map) if reader.pieces else [(file.piece(), file.size)]
    pieces = list(pieces)
    # Headers and footers are spread over the pieces, so that all of them together stand for the whole file.
    whole = sum(size for _, size in pieces)
    spread = file.size / whole if file.size and whole else 1.0
    tables, on_disk, held = [], 0.0, 0
    for piece, size in pieces:
        table, share = _records(source, piece, n_bytes - held, options, size)
        tables.append(table)
        on_disk += size * share * spread
        held += sum(table["n_bytes"].to_pylist())
        if held >= n_bytes:
            break
    return pa.concat_tables(tables), on_disk


def _draw_lines(source: Source, file: InputFile, n_bytes: int, options: dict[str, Any]) -> tuple[pa.Table, float]:
    """The whole lines at the head of a file."""
    with fsspec.open(file.url, "rb", **({} if "://" not in file.url else options)) as raw:
        head = raw.read(HEAD_BYTES if file.compression else max(2 * n_bytes, HEAD_BYTES))
    plain = _decompressed(head, file.compression)
    lines = plain if len(head) == file.size else plain[: plain.rfind(b"\n") + 1] or plain
    enough = lines.find(b"\n", 2 * n_bytes)
    lines = lines if enough < 0 else lines[: enough + 1]
    on_disk = len(head) * len(lines) / max(len(plain), 1)
    with tempfile.NamedTemporaryFile(suffix=f".{file.format}") as copy:
        Path(copy.name).write_bytes(lines)
        table, _ = _records(source, replace(file.piece(), url=copy.name, compression=None), len(lines) + 1, options, len(lines))
    return table, on_disk


def _decompressed(head: bytes, compression: str | None) -> bytes:
    """As much as the head of a file gives."""
    if compression is None:
        return head
    plain = b""
    # A file may be several compressed streams, one after another.
    while head:
        stream: Any = zlib.decompressobj(31) if compression == "gz" else zstandard.ZstdDecompressor().decompressobj()
        try:
            plain += stream.decompress(head)
        except (zlib.error, zstandard.ZstdError):
            break
        head = stream.unused_data
    return plain


def _records(source: Source, piece: Piece, n_bytes: int, options: dict[str, Any], size: int) -> tuple[pa.Table, float]:
    """Good records of a piece until ``n_bytes`` of text are read, and the share of the piece they are.

    The share is one of rows where the piece tells how many it has, else text of the ``size`` on disk.
    """
    n_rows = _rows_in(piece, options)
    tables, held, read = [], 0, 0
    for item in reader_of(piece.format).read(piece, source, Limits(), options):
        if isinstance(item, BadRecord):
            read += item.n_records
            continue
        tables.append(_table(source, item))
        held += sum(tables[-1]["n_bytes"].to_pylist())
        read += len(tables[-1])
        if held >= n_bytes:
            break
    else:
        n_rows, size = read, held
    table = pa.concat_tables(tables) if tables else _table(source, None)
    return table, min(1.0, read / n_rows if n_rows else held / max(size, 1)) if read else 1.0


def _rows_in(piece: Piece, options: dict[str, Any]) -> int | None:
    """Rows of a piece, where its format says so without reading it."""
    if piece.format == "hf_dataset" and piece.stop > piece.start:
        return piece.stop - piece.start
    if piece.format != "parquet":
        return None
    with fsspec.open(piece.url, "rb", **({} if "://" not in piece.url else options)) as file:
        metadata = pq.read_metadata(file)
    stop = piece.stop if piece.stop >= 0 else metadata.num_row_groups
    return sum(metadata.row_group(i).num_rows for i in range(piece.start, stop))


def _table(source: Source, records: Records | None) -> pa.Table:
    names = list(source.extras)
    if records is None:
        return pa.table({"text": pa.array([], pa.large_string()), "domain": pa.array([], pa.string()), "n_bytes": pa.array([], pa.int64())})
    domain = pa.array([records.domain] * len(records.text)) if isinstance(records.domain, str) else records.domain
    return pa.table({"text": records.text, "domain": domain, "n_bytes": text_sizes(records.text), **{n: records.extras[n] for n in names}})
