"""Bytes out of plain, gzip and zstd files, block by block, keeping all that came before damage.

The fast decoders (isal when installed, else zlib; Arrow's zstd) lose the block in
which they meet damage, and each in its own way. So on any error the file is read
once more with small steps of one slow decoder, and what precedes the damage, to the
byte, is the same whichever library was fast.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from itertools import chain
from typing import Any, BinaryIO

import fsspec
import pyarrow as pa
import zstandard

GzipFile: Any = gzip.GzipFile
_ERRORS: tuple[Any, ...] = (EOFError, OSError, zlib.error)
try:
    GzipFile = import_module("isal.igzip").IGzipFile
    _ERRORS += (import_module("isal.isal_zlib").error, import_module("isal.igzip_lib").IsalError)
except ImportError:
    pass  # zlib reads the same bytes at a third of the speed

BOM = b"\xef\xbb\xbf"
_RAW_STEP = 1 << 15
_MAX_ZSTD_WINDOW = 1 << 31


@dataclass(frozen=True)
class Damage:
    """Why a stream ended before its end: the last item of a stream that did."""

    reason: str
    detail: str


def open_raw(url: str, options: dict[str, Any]) -> BinaryIO:
    """A seekable binary file at a path or fsspec URL."""
    return fsspec.open(url, "rb", **options).open()


def blocks(url: str, compression: str | None, block_bytes: int, options: dict[str, Any], start: int = 0) -> Iterator[bytes | Damage]:
    """The decompressed content from byte ``start`` (plain files only) in blocks; a ``Damage`` last if it broke off."""
    if compression is None:
        yield from _plain(url, block_bytes, options, start)
        return
    delivered = 0
    try:
        for block in _fast(url, compression, block_bytes, options):
            delivered += len(block)
            yield block
        return
    except _ERRORS:
        pass
    yield from _salvage(url, compression, options, delivered)


def without_bom(stream: Iterator[bytes | Damage]) -> tuple[int, Iterator[bytes | Damage]]:
    """(bytes dropped, the stream less a leading UTF-8 byte order mark)."""
    head = b""
    rest: list[bytes | Damage] = []
    for block in stream:
        if isinstance(block, Damage):
            rest.append(block)
            break
        head += block
        if len(head) >= len(BOM):
            break
    content = head.removeprefix(BOM)
    return len(head) - len(content), chain([content] if content else [], rest, stream)


def _plain(url: str, block_bytes: int, options: dict[str, Any], start: int) -> Iterator[bytes]:
    with open_raw(url, options) as raw:
        raw.seek(start)
        while block := raw.read(block_bytes):
            yield block


def _fast(url: str, compression: str, block_bytes: int, options: dict[str, Any]) -> Iterator[bytes]:
    """Blocks at full speed; raises where the stream is damaged."""
    with open_raw(url, options) as raw:
        if compression == "gz":
            with GzipFile(fileobj=raw) as content:
                while block := content.read(block_bytes):
                    yield block
            return
        if not raw.read(1):
            return
        raw.seek(0)
        with pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), "zstd") as content:
            while block := content.read(block_bytes):
                yield block


def _salvage(url: str, compression: str, options: dict[str, Any], skip: int) -> Iterator[bytes | Damage]:
    """What ``_fast`` had not delivered of a damaged file, and the damage.

    A first pass finds where in the compressed bytes the decoder fails; the second
    goes there in steps and then byte by byte, so that no decodable byte is lost.
    """
    failure = 0
    for position, _ in _steps(url, compression, options, fine_from=None):
        failure = position
    for _, piece in _steps(url, compression, options, fine_from=max(0, failure - _RAW_STEP)):
        if isinstance(piece, Damage):
            yield piece
        elif skip >= len(piece):
            skip -= len(piece)
        else:
            yield piece[skip:]
            skip = 0


def _steps(url: str, compression: str, options: dict[str, Any], fine_from: int | None) -> Iterator[tuple[int, bytes | Damage]]:
    """(compressed position, decoded piece) through all members of a file; bytewise from ``fine_from`` on."""
    name = "gzip" if compression == "gz" else "zstd"
    make = _gzip_member if compression == "gz" else _zstd_frame
    decoder: Any = None
    position = 0
    with open_raw(url, options) as raw:
        while data := raw.read(1 if fine_from is not None and position >= fine_from else _RAW_STEP):
            position += len(data)
            while data:
                if decoder is None:
                    data = data.lstrip(b"\0") if compression == "gz" else data
                    if not data:
                        break
                    decoder = make()
                try:
                    piece = decoder.decompress(data)
                except (zlib.error, zstandard.ZstdError) as error:
                    yield position, Damage(f"corrupt_{name}", str(error))
                    return
                data = decoder.unused_data if decoder.eof else b""
                decoder = None if decoder.eof else decoder
                yield position, piece
    if decoder is not None:
        yield position, Damage(f"truncated_{name}", f"the {name} stream ends before its end marker, after {position} compressed bytes")


def _gzip_member() -> Any:
    return zlib.decompressobj(31)


def _zstd_frame() -> Any:
    return zstandard.ZstdDecompressor(max_window_size=_MAX_ZSTD_WINDOW).decompressobj()
