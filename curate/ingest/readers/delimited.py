"""CSV and TSV with a header line: RFC 4180 quoting, the delimiter being a comma or a tab.

Row 0 is the first record after the header. Quoted fields may hold LF and CRLF and keep
them. Records are read one at a time from lines, so a bad one costs itself only.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import numpy as np
import pyarrow as pa

from curate.errors import InputError
from curate.ingest.readers.fields import Unfit, domain_field, extra_array, fit_domain, fit_extra_text, fit_text
from curate.ingest.readers.lines import LongLine, Torn, lines_from_head
from curate.ingest.readers.reader import BadRecord, Limits, Options, Piece, Raw, Reader, Records, over_long, register
from curate.ingest.sources import Source
from curate.ingest.streams import blocks

_DELIMITERS = {"csv": ",", "tsv": "\t"}
_BATCH_BYTES = 1 << 22


class _Broken(Exception):  # noqa: N818  tells the reader why its lines ended early
    """The open record cannot be completed; ``cause`` says what met it."""

    def __init__(self, cause: LongLine | Torn | None) -> None:
        super().__init__()
        self.cause = cause


@dataclass
class _Feed:
    """Gives csv.reader its lines and remembers the bytes of the record it is in."""

    items: Iterator[Any]
    longest: int
    lines: list[bytes] = field(default_factory=list)
    waiting: Iterator[bytes] = field(default_factory=lambda: iter(()))
    offset: int = 0
    n_bytes: int = 0
    held: LongLine | Torn | None = None

    def begin(self) -> None:
        """A new record starts at the next line."""
        self.offset += self.n_bytes
        self.lines, self.n_bytes = [], 0

    def __iter__(self) -> _Feed:
        return self

    def __next__(self) -> str:
        line = self._line()
        self.lines.append(line)
        self.n_bytes += len(line) + 1
        if self.n_bytes - 1 > self.longest:
            raise _Broken(None)
        return line.decode("utf-8", "surrogateescape") + "\n"

    def _line(self) -> bytes:
        while True:
            for line in self.waiting:
                return line
            item = self.held or next(self.items)
            self.held = None
            if isinstance(item, (LongLine, Torn)):
                if self.lines:
                    # The record that is open ends here; what cut it off is a bad record of its own.
                    self.held = item
                raise _Broken(item)
            if not self.lines:
                self.offset = item.offset
            self.waiting = iter(item.lines)

    def raw(self) -> Raw:
        """The record's bytes."""
        return Raw(b"\n".join(self.lines))


@dataclass
class _Batch:
    """Good records gathered into columns."""

    rows: list[int] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    domains: list[str] = field(default_factory=list)
    extras: list[list[Any]] = field(default_factory=list)
    n_bytes: int = 0

    def records(self, piece: Piece, source: Source) -> Records:
        """The batch as Records."""
        columns = list(zip(*self.extras, strict=True)) if source.extras else []
        extras = {name: extra_array(list(values), extra.type) for (name, extra), values in zip(source.extras.items(), columns, strict=True)}
        domain: Any = pa.array(self.domains, pa.string()) if self.domains else piece.domain
        return Records(np.array(self.rows, np.int64), pa.array(self.texts, pa.large_string()), domain, extras)


def read(piece: Piece, source: Source, limits: Limits, options: Options) -> Iterator[Records | BadRecord]:
    """The records of a whole file. Raises InputError when the header lacks a column the source names."""
    # Process-wide in csv, where it defaults to 128 KiB: raised to what our own bound allows.
    csv.field_size_limit(limits.max_record_bytes)
    stream = blocks(piece.url, piece.compression, limits.block_bytes, options)
    feed = _Feed(lines_from_head(stream, limits.max_record_bytes), limits.max_record_bytes)
    parser = csv.reader(feed, delimiter=_DELIMITERS[piece.format], strict=True)
    header = _next(parser, feed, limits, -1)
    if header is None:
        yield Raw().bad(0, 0, "empty_file", "the file holds no bytes")
        return
    if isinstance(header, BadRecord):
        if header.reason.startswith(("truncated", "corrupt")):
            yield header
            return
        fix = f"mend the file ({header.detail})"
        raise InputError("the header line cannot be read", where=piece.source, expected="column names", fix=fix)
    pick = _Columns(header, source, piece)
    batch = _Batch()
    for row in count():
        fields = _next(parser, feed, limits, row)
        if fields is None:
            break
        if isinstance(fields, BadRecord):
            yield fields
            continue
        try:
            pick.into(batch, fields, feed, row)
        except Unfit as unfit:
            yield feed.raw().bad(row, feed.offset, unfit.reason, unfit.detail)
        if batch.n_bytes >= _BATCH_BYTES:
            yield batch.records(piece, source)
            batch = _Batch()
    if batch.rows:
        yield batch.records(piece, source)


def _next(parser: Any, feed: _Feed, limits: Limits, row: int) -> list[str] | BadRecord | None:
    """The next record's fields, or what is wrong with it, or None at the end."""
    feed.begin()
    at = max(row, 0)
    try:
        return next(parser)
    except StopIteration:
        return None
    except csv.Error as error:
        return feed.raw().bad(at, feed.offset, "broken_csv", str(error))
    except _Broken as broken:
        if broken.cause is None:
            return over_long(feed.raw(), at, feed.offset, limits)
        if feed.lines:
            return feed.raw().bad(at, feed.offset, "broken_csv", "the record is cut off inside a quoted field")
        return _cut(broken.cause, feed, at, limits)


def _cut(cause: LongLine | Torn, feed: _Feed, row: int, limits: Limits) -> BadRecord:
    if isinstance(cause, LongLine):
        return over_long(cause.raw, row, cause.offset, limits)
    return cause.tail.bad(row, cause.offset, cause.damage.reason, cause.damage.detail)


class _Columns:
    """Where the header puts the fields that the source names."""

    def __init__(self, header: list[str], source: Source, piece: Piece) -> None:
        self.n_fields, self.source, self.domain_name = len(header), source, domain_field(source)
        wanted = [source.text, *([self.domain_name] if self.domain_name else []), *(e.path(n) for n, e in source.extras.items())]
        for name in wanted:
            if header.count(name) != 1:
                raise InputError(
                    f"{'no column' if name not in header else 'more than one column'} {name!r} in the header",
                    where=piece.source,
                    expected=f"columns {', '.join(header)}"[:500],
                    fix="change `text:`, `domain:` or `extras:` of the source",
                )
        self.text = header.index(source.text)
        self.domain = header.index(self.domain_name) if self.domain_name else -1
        self.extras = [(name, extra.type, header.index(extra.path(name))) for name, extra in source.extras.items()]

    def into(self, batch: _Batch, fields: list[str], feed: _Feed, row: int) -> None:
        """Append one record to the batch, or raise Unfit."""
        if not fields:
            raise Unfit("blank_line", "no record on this line")
        _check_utf8(feed)
        if len(fields) != self.n_fields:
            raise Unfit("field_count", f"{len(fields)} fields, the header has {self.n_fields}")
        text = fit_text(fields[self.text], self.source.text)
        domain = fit_domain(fields[self.domain], self.domain_name) if self.domain_name else None
        extras = [fit_extra_text(fields[i], kind, name) for name, kind, i in self.extras]
        batch.rows.append(row)
        batch.texts.append(text)
        batch.domains += [domain] if domain is not None else []
        batch.extras.append(extras)
        batch.n_bytes += feed.n_bytes


def _check_utf8(feed: _Feed) -> None:
    try:
        for line in feed.lines:
            line.decode()
    except UnicodeDecodeError as error:
        raise Unfit("invalid_utf8", f"byte {error.start} of a line of the record: {error.reason}") from None


register("csv", Reader(read=read))
register("tsv", Reader(read=read))
