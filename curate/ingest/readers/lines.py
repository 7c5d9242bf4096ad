"""Complete lines out of a stream of blocks: split on LF only, in memory bounded by the longest allowed line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from curate.ingest.readers.reader import Raw
from curate.ingest.streams import Damage, without_bom


@dataclass(frozen=True)
class Lines:
    """Consecutive lines without their LF; the first starts at byte ``offset``."""

    lines: list[bytes]
    offset: int


@dataclass(frozen=True)
class LongLine:
    """A line longer than the limit, of which only ``raw`` is known."""

    raw: Raw
    offset: int


@dataclass(frozen=True)
class Torn:
    """The stream broke off; ``tail`` is the start of the line it broke in."""

    damage: Damage
    tail: Raw
    offset: int


def line_blocks(stream: Iterator[bytes | Damage], offset: int, longest: int) -> Iterator[Lines | LongLine | Torn]:
    """All lines of a stream that starts at byte ``offset``, as many at a time as a block completes.

    The last line need not end in LF; an empty rest after the last LF is no line. Lines may be
    longer than ``longest`` (bytes) inside a block; what spans more than that comes as LongLine.
    """
    parts: list[bytes] = []
    n_held = 0
    long: Raw | None = None
    for block in stream:
        if isinstance(block, Damage):
            yield Torn(block, long or Raw(b"".join(parts)), offset)
            return
        if long is not None:
            end = block.find(b"\n")
            long.add(block if end < 0 else block[:end])
            if end < 0:
                continue
            yield LongLine(long, offset)
            offset += long.n_bytes + 1
            long, block = None, block[end + 1 :]
        last = block.rfind(b"\n")
        if last >= 0:
            parts.append(block[:last])
            complete = b"".join(parts)
            yield Lines(complete.split(b"\n"), offset)
            offset += len(complete) + 1
            parts, n_held, block = [], 0, block[last + 1 :]
        if block:
            parts.append(block)
            n_held += len(block)
        if n_held > longest:
            long = Raw(b"".join(parts))
            parts, n_held = [], 0
    if long is not None:
        yield LongLine(long, offset)
    elif n_held:
        yield Lines([b"".join(parts)], offset)


def lines_from_head(stream: Iterator[bytes | Damage], longest: int) -> Iterator[Lines | LongLine | Torn]:
    """``line_blocks`` of a stream from its first byte: a BOM is dropped, offsets count it."""
    n_bom, rest = without_bom(stream)
    return line_blocks(rest, n_bom, longest)


def within(found: Iterator[Lines | LongLine | Torn], start: int, stop: int) -> Iterator[Lines | LongLine | Torn]:
    """Only the lines that start in [start, stop); ``found`` begins at ``start - 1``, ``stop`` -1 is the end.

    What precedes the first LF belongs to a line that started earlier, be it the LF alone.
    """
    fragment = start > 0
    for item in found:
        if fragment:
            fragment = False
            if not isinstance(item, Lines):
                continue
            item = Lines(item.lines[1:], item.offset + len(item.lines[0]) + 1)
        if 0 <= stop <= item.offset:
            return
        if isinstance(item, Lines):
            item = _before(item, stop)
            if not item.lines:
                continue
        yield item


def _before(block: Lines, stop: int) -> Lines:
    """The lines of a block that start before ``stop``."""
    if stop < 0 or block.offset + sum(map(len, block.lines)) + len(block.lines) <= stop:
        return block
    position, kept = block.offset, 0
    while kept < len(block.lines) and position < stop:
        position += len(block.lines[kept]) + 1
        kept += 1
    return Lines(block.lines[:kept], block.offset)
