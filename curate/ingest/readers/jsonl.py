"""JSON Lines: one object per LF, parsed a block at a time while every record is good, one by one otherwise.

What the parser decides: the last of duplicate keys wins; NaN, Infinity and numbers too
large for a double are broken JSON; a lone surrogate escape is invalid UTF-8. A BOM at the
head of the file is dropped. Blank lines are quarantined, so that every row number is accounted for.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from curate.ingest.readers.fields import Unfit, domain_field, extra_array, fit_domain, fit_extra, fit_text, has_empty, kind_of, look_up
from curate.ingest.readers.lines import Lines, LongLine, Torn, line_blocks, lines_from_head, within
from curate.ingest.readers.reader import BadRecord, Limits, Options, Piece, Raw, Reader, Records, Run, over_long, register
from curate.ingest.sources import InputFile, Source
from curate.ingest.streams import blocks, open_raw

_COUNT_STEP = 1 << 23


def read(piece: Piece, source: Source, limits: Limits, options: Options) -> Iterator[Records | BadRecord]:
    """The records that start in the byte range of the piece."""
    row = piece.first_row
    parse = Parser(piece, source, limits)
    nothing = True
    for item in _lines(piece, limits, options):
        nothing = False
        if isinstance(item, LongLine):
            yield over_long(item.raw, row, item.offset, limits)
            row += 1
        elif isinstance(item, Torn):
            yield item.tail.bad(row, item.offset, item.damage.reason, item.damage.detail)
        else:
            yield from parse.block(item, row)
            row += len(item.lines)
    if nothing and piece.start == 0:
        yield Raw().bad(0, 0, "empty_file", "the file holds no bytes")


def _lines(piece: Piece, limits: Limits, options: Options) -> Iterator[Lines | LongLine | Torn]:
    stream = blocks(piece.url, piece.compression, limits.block_bytes, options, start=max(0, piece.start - 1))
    if piece.start:
        stream = _if_a_line_starts(stream, piece.start - 1, piece.stop)
        return within(line_blocks(stream, piece.start - 1, limits.max_record_bytes), piece.start, piece.stop)
    return within(lines_from_head(stream, limits.max_record_bytes), 0, piece.stop)


def _if_a_line_starts(stream: Iterator[Any], position: int, stop: int) -> Iterator[Any]:
    """The stream, given up at ``stop`` if no line has started by then: a huge line is not read by every range it crosses."""
    started = False
    for block in stream:
        started = started or b"\n" in block
        yield block
        position += len(block)
        if not started and 0 <= stop <= position:
            return


class Parser:
    """Lines to Records and BadRecords for one piece."""

    def __init__(self, piece: Piece, source: Source, limits: Limits) -> None:
        self.limits, self.text_field, self.domain_field, self.domain = limits, source.text, domain_field(source), piece.domain
        self.text_path = tuple(source.text.split("."))
        self.domain_path = tuple(self.domain_field.split(".")) if self.domain_field else ()
        self.extras = {name: (tuple(extra.path(name).split(".")), extra.type) for name, extra in source.extras.items()}

    def block(self, block: Lines, row: int) -> Iterator[Records | BadRecord]:
        """All records of a block whose first line is row ``row``."""
        try:
            records = self.together(block, row)
        except (ValueError, KeyError, TypeError, Unfit):
            yield from self.one_by_one(block, row)
        else:
            yield records

    def together(self, block: Lines, row: int) -> Records:
        """The block as columns; raises on anything that ``one_by_one`` would have to look at."""
        if max(map(len, block.lines)) > self.limits.max_record_bytes:
            raise ValueError
        loads = orjson.loads
        parsed = [loads(line) for line in block.lines]
        text = pa.array(_column(parsed, self.text_path), pa.large_string())
        if text.null_count or has_empty(text):
            raise ValueError
        domain: Any = self.domain
        if self.domain_field:
            domain = pa.array([fit_domain(value, self.domain_field) for value in _column(parsed, self.domain_path)], pa.string())
        return Records(np.arange(row, row + len(text)), text, domain, self._extras(parsed))

    def one_by_one(self, block: Lines, row: int) -> Iterator[Records | BadRecord]:
        """The same block record by record: bad ones first as they come, then the good ones together."""
        good: list[tuple[int, str, str | None, Any]] = []
        offset = block.offset
        for at, line in enumerate(block.lines, row):
            try:
                good.append((at, *self.record(line)))
            except Unfit as unfit:
                yield Raw(line).bad(at, offset, unfit.reason, unfit.detail)
            offset += len(line) + 1
        if good:
            rows, texts, domains, parsed = (list(column) for column in zip(*good, strict=True))
            domain: Any = pa.array(domains, pa.string()) if self.domain_field else self.domain
            yield Records(np.array(rows, np.int64), pa.array(texts, pa.large_string()), domain, self._extras(parsed))

    def record(self, line: bytes) -> tuple[str, str | None, Any]:
        """(text, domain, parsed record) of one line, or Unfit."""
        if len(line) > self.limits.max_record_bytes:
            raise Unfit("over_long_record", f"{len(line)} bytes; max_record_bytes is {self.limits.max_record_bytes}")
        if not line.strip(b" \t\r"):
            raise Unfit("blank_line", "no record on this line")
        parsed = _parse(line)
        if not isinstance(parsed, dict):
            raise Unfit("wrong_type", f"the record is {kind_of(parsed)}, expected an object")
        text = fit_text(look_up(parsed, self.text_path), self.text_field)
        domain = fit_domain(look_up(parsed, self.domain_path), self.domain_field) if self.domain_field else None
        self._extras([parsed])
        return text, domain, parsed

    def _extras(self, parsed: list[Any]) -> dict[str, pa.Array]:
        return {
            name: extra_array([fit_extra(look_up(record, path), kind, name) for record in parsed], kind)
            for name, (path, kind) in self.extras.items()
        }


def _column(parsed: list[Any], path: tuple[str, ...]) -> list[Any]:
    """The values at a path of every record; KeyError or TypeError where one has none."""
    for key in path:
        parsed = [record[key] for record in parsed]
    return parsed


def _parse(line: bytes) -> Any:
    try:
        line.decode()
    except UnicodeDecodeError as error:
        raise Unfit("invalid_utf8", f"byte {error.start} of the record: {error.reason}") from None
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise Unfit("invalid_utf8" if _has_lone_surrogate(line) else "broken_json", str(error)) from None


def _has_lone_surrogate(line: bytes) -> bool:
    """Whether the line is JSON but for an escape like \\ud800, which no UTF-8 can hold."""
    try:
        json.dumps(json.loads(line), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    except (ValueError, RecursionError):
        pass
    return False


def pieces(file: InputFile, source: Source, split_bytes: int, options: Options, run: Run) -> list[tuple[Piece, int]]:
    """Byte ranges of about ``split_bytes`` for a plain file; compressed files stay whole.

    The row number of a range's first record is the number of lines that start before it,
    so LFs are counted once through the file, range by range.
    """
    whole = file.piece()
    if file.compression or file.size <= split_bytes:
        return [(whole, file.size)]
    # Not so small that a range could end inside a BOM, before any record starts.
    n_ranges = -(-file.size // max(split_bytes, 8))
    cuts = [file.size * i // n_ranges for i in range(n_ranges + 1)]
    # A line starts at 0 and after every LF: lines starting in [a, b) follow the LFs in [a-1, b-1).
    windows = [(file.url, max(0, a - 1), b - 1, options) for a, b in zip(cuts[:-2], cuts[1:-1], strict=True)]
    rows = [0, *(1 + int(n) for n in np.cumsum(list(run(count_lines, windows))))]
    return [(file.piece(start=a, stop=b, first_row=row), b - a) for a, b, row in zip(cuts[:-1], cuts[1:], rows, strict=True)]


def count_lines(window: tuple[str, int, int, Options]) -> int:
    """LFs in bytes [start, stop) of a file; ``window`` is (url, start, stop, options)."""
    url, start, stop, options = window
    n_lines, left = 0, stop - start
    with open_raw(url, options) as raw:
        raw.seek(start)
        while left > 0 and (block := raw.read(min(left, _COUNT_STEP))):
            n_lines += block.count(b"\n")
            left -= len(block)
    return n_lines


register("jsonl", Reader(read=read, pieces=pieces))
