"""ARPA files, the exchange format of n-gram models: read and write, plain or gzip.

    \\data\\
    ngram 1=5            how many rows each order has
    \\1-grams:
    -0.6<TAB>a<TAB>-0.3  log10 p, the words, the back-off weight (0 where absent)
    \\end\\

p(w | context) is the row's value if the n-gram is listed, otherwise the context's back-off
weight plus log10 p of w after the context without its first word. Numbers are kept as float32,
which is what n-gram tools keep, so that models scored here and by KenLM are the same model.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numba import njit

from curate.errors import InputError
from curate.kernels.ngram import BOS, EOS, NO_HASH, UNK, hash_word, slot_of

MARKERS = (b"<unk>", b"<s>", b"</s>")
LOG10_ZERO = -99.0  # how ARPA files write log10 0
_MANTISSA_ROOM = 10**17
LOG10_NO_UNK = -100.0  # what KenLM gives unknown words under a model without <unk>

_FAULTS = {
    1: ("a row does not start with a number", "log10 p, a tab, the words"),
    2: ("a row has too few words", "as many words as its section's order"),
    3: ("a row names a word that is not among the 1-grams", "words listed under \\1-grams:"),
    4: ("a row has more fields than its section's order allows", "log10 p, the words, at most one back-off weight"),
    5: ("a log-probability is above 0", "log10 p <= 0"),
    6: ("a word is listed twice under \\1-grams:", "every word once"),
}


@dataclass(frozen=True)
class Level:
    """The n-grams of one order, R rows: words_R int32 (R, order), log10_p_R and log10_backoff_R float32."""

    words_R: np.ndarray
    log10_p_R: np.ndarray
    log10_backoff_R: np.ndarray


@dataclass(frozen=True)
class NgramRows:
    """A back-off model as an ARPA file lists it.

    Args:
        words: large_binary, the vocabulary by word id; ids 0, 1, 2 are <unk>, <s>, </s>.
        levels: one Level per order, unigrams first; row i of the unigrams is word id i.
    """

    words: pa.Array
    levels: tuple[Level, ...]


def write(rows: NgramRows, path: Path) -> None:
    """Write an ARPA file; gzip when the name ends in .gz. The same rows give the same bytes."""
    if path.suffix != ".gz":
        with path.open("wb") as out:
            _write(rows, out)
        return
    with path.open("wb") as raw, gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0) as out:
        _write(rows, out)  # type: ignore[arg-type]


def _write(rows: NgramRows, out: BinaryIO) -> None:
    counts = [f"ngram {n}={len(level.log10_p_R)}\n" for n, level in enumerate(rows.levels, 1)]
    out.write(("\\data\\\n" + "".join(counts)).encode())
    for n, level in enumerate(rows.levels, 1):
        out.write(f"\n\\{n}-grams:\n".encode())
        for start in range(0, len(level.log10_p_R), 1 << 18):
            part = slice(start, start + (1 << 18))
            words = [rows.words.take(pa.array(column)).cast(pa.large_binary()) for column in level.words_R[part].T]
            fields = [_spelled(level.log10_p_R[part]), pc.binary_join_element_wise(*words, pa.scalar(b" ", pa.large_binary()))]
            if n < len(rows.levels):
                fields.append(_spelled(level.log10_backoff_R[part]))
            lines = pc.binary_join_element_wise(*fields, pa.scalar(b"\t", pa.large_binary()))
            out.write(b"\n".join(lines.to_pylist()) + b"\n")
    out.write(b"\n\\end\\\n")


def _spelled(values: np.ndarray) -> pa.Array:
    """float32 values in the shortest decimal form that reads back the same."""
    return pa.array(values).cast(pa.string()).cast(pa.large_binary())


def read(path: Path) -> NgramRows:
    """Read an ARPA file.

    Raises:
        InputError: the file is missing, is not ARPA, is cut short, or a row is wrong; names the line.
    """
    data = _content(path)
    sections = _sections(data, path)
    bytes_ = np.frombuffer(data, dtype=np.uint8)
    vocabulary, words, unigrams = _read_unigrams(bytes_, sections[0], path)
    levels = [unigrams]
    for n, (begin, end, n_rows) in enumerate(sections[1:], 2):
        words_R, p, backoff = np.empty((n_rows, n), np.int32), np.empty(n_rows, np.float32), np.empty(n_rows, np.float32)
        found, fault, at = _parse(bytes_, begin, end, n, *vocabulary, words_R, p, backoff, np.empty((0, 2), np.int64))
        _verify(data, path, n, n_rows, found, fault, at, end)
        levels.append(Level(words_R, p, backoff))
    return NgramRows(words, tuple(levels))


def _content(path: Path) -> bytes:
    try:
        if path.suffix == ".gz":
            return gzip.decompress(path.read_bytes())
        return path.read_bytes()
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(
            "the gzip file is damaged or cut short", where=str(path), expected="a whole .arpa.gz", fix=f"copy it again ({error})"
        ) from error
    except OSError as error:
        raise InputError("the n-gram model cannot be read", where=str(path), expected="an ARPA file", fix=str(error)) from error


def _fail(data: bytes, path: Path, at: int, what: str, expected: str) -> InputError:
    line = data.count(b"\n", 0, at) + 1
    end = data.find(b"\n", at)
    shown = data[at : end if end >= 0 else None][:80].decode("utf-8", "replace")
    return InputError(
        f"the ARPA file is corrupt: {what}", where=f"{path}, line {line}: {shown!r}", expected=expected, fix="copy or build the model again"
    )


def _sections(data: bytes, path: Path) -> list[tuple[int, int, int]]:
    """For every order: where its rows begin and end, and how many the header promises."""
    head = data.find(b"\\data\\")
    if head < 0:
        raise _fail(data, path, 0, "it has no \\data\\ header", "\\data\\, then `ngram 1=...`")
    promised = list(_header(data, path, head))
    edges, at = [], head
    for n in range(1, len(promised) + 1):
        title = b"\\%d-grams:" % n
        at = _heading(data, path, at, title)
        edges.append((at, data.find(b"\n", at) + 1))
    stop = _heading(data, path, at, b"\\end\\")
    ends = [*[title for title, _ in edges[1:]], stop]
    return [(begin, end, n_rows) for (_, begin), end, n_rows in zip(edges, ends, promised, strict=True)]


def _heading(data: bytes, path: Path, at: int, title: bytes) -> int:
    """Where the line ``title`` begins after ``at``."""
    found = data.find(b"\n" + title, at)
    if found < 0:
        last = data.rfind(b"\n", 0, len(data.rstrip())) + 1
        raise _fail(data, path, last, f"it ends before {title.decode()}", "every section the header names, then \\end\\")
    return found + 1


def _header(data: bytes, path: Path, head: int) -> Iterator[int]:
    """The row counts of the header, order by order."""
    at = data.find(b"\n", head) + 1
    order = 0
    while data.startswith(b"ngram ", at):
        end = data.find(b"\n", at)
        name, _, count = data[at + 6 : end].partition(b"=")
        order += 1
        if name.strip() != b"%d" % order or not count.strip().isdigit():
            raise _fail(data, path, at, "a header line is wrong", f"ngram {order}=<row count>")
        yield int(count)
        at = end + 1
    if not order:
        raise _fail(data, path, max(at, 0), "the header names no order", "ngram 1=<row count>")


Vocabulary = tuple[np.ndarray, np.ndarray]


def _read_unigrams(bytes_: np.ndarray, section: tuple[int, int, int], path: Path) -> tuple[Vocabulary, pa.Array, Level]:
    """The vocabulary (hash slots, word ids), its spelling, and the unigram level with <unk>, <s>, </s> moved to the front."""
    begin, end, n_rows = section
    words_R, p, backoff = np.empty((n_rows, 1), np.int32), np.empty(n_rows, np.float32), np.empty(n_rows, np.float32)
    spans = np.empty((n_rows, 2), np.int64)
    hashes, ids = np.zeros(2 * n_rows + 8, np.uint64), np.zeros(2 * n_rows + 8, np.int32)
    data = bytes_.tobytes()
    found, fault, at = _parse(bytes_, begin, end, 1, hashes, ids, words_R, p, backoff, spans)
    _verify(data, path, 1, n_rows, found, fault, at, end)
    spelled = [data[a:b] for a, b in spans.tolist()]
    place = {word: row for row, word in enumerate(spelled) if word in (*MARKERS, b"<UNK>")}
    for marker in MARKERS[BOS:]:
        if marker not in place:
            raise _fail(data, path, begin, f"the 1-grams lack {marker.decode()}", "<s> and </s> among the 1-grams")
    unk = place.get(b"<unk>", place.get(b"<UNK>", -1))
    front = [unk, place[MARKERS[BOS]], place[MARKERS[EOS]]]
    order = np.concatenate([np.array(front), np.setdiff1d(np.arange(n_rows), front)])
    moved = np.empty(n_rows + 1, np.int32)
    moved[order] = np.arange(len(order), dtype=np.int32)
    ids[:] = moved[ids]
    p, backoff = p[order], backoff[order]
    if unk < 0:
        p[UNK], backoff[UNK] = LOG10_NO_UNK, 0.0
    words = pa.array([MARKERS[UNK], *[spelled[row] for row in order[1:].tolist()]], pa.large_binary())
    return (hashes, ids), words, Level(np.arange(len(order), dtype=np.int32)[:, None], p, backoff)


def _verify(data: bytes, path: Path, order: int, promised: int, found: int, fault: int, at: int, end: int) -> None:
    if fault:
        what, expected = _FAULTS[fault]
        raise _fail(data, path, at, what, expected)
    if found != promised or at < end:
        raise _fail(
            data,
            path,
            min(at, len(data) - 1),
            f"\\{order}-grams: has {'more' if at < end else 'fewer'} rows than the header says",
            f"{promised} rows",
        )


@njit(cache=True, nogil=True)
def _parse(
    data: np.ndarray,
    begin: int,
    end: int,
    order: int,
    hashes: np.ndarray,
    ids: np.ndarray,
    words_R: np.ndarray,
    log10_p_R: np.ndarray,
    log10_backoff_R: np.ndarray,
    spans: np.ndarray,
) -> tuple[int, int, int]:
    """Parse the rows of one section into the output arrays.

    For unigrams the vocabulary (``hashes``, ``ids``) and ``spans`` are filled, for other orders the vocabulary is read.

    Returns:
        (rows read, fault code or 0, the byte offset of the row concerned or of the end).
    """
    row, at = 0, begin
    while at < end:
        line_end = at
        while line_end < end and data[line_end] != 10:
            line_end += 1
        a, b = _field(data, at, line_end)
        if a == b:
            at = line_end + 1
            continue
        if row == len(log10_p_R):
            return row, 0, at
        ok, value = _number(data, a, b)
        if not ok:
            return row, 1, at
        if value > 0:
            return row, 5, at
        log10_p_R[row] = value
        for column in range(order):
            a, b = _field(data, b, line_end)
            if a == b:
                return row, 2, at
            slot = _vocabulary_slot(hashes, hash_word(data, a, b))
            if order == 1:
                if hashes[slot] != NO_HASH:
                    return row, 6, at
                hashes[slot], ids[slot] = hash_word(data, a, b), row
                spans[row, 0], spans[row, 1] = a, b
            elif hashes[slot] == NO_HASH:
                return row, 3, at
            words_R[row, column] = ids[slot]
        log10_backoff_R[row] = 0.0
        a, b = _field(data, b, line_end)
        if a < b:
            ok, value = _number(data, a, b)
            a, b = _field(data, b, line_end)
            if not ok or a < b:
                return row, 4, at
            log10_backoff_R[row] = value
        row += 1
        at = line_end + 1
    return row, 0, end


@njit(cache=True, nogil=True)
def _vocabulary_slot(hashes: np.ndarray, h: Any) -> Any:
    """The slot that holds hash h, or the free one where it belongs."""
    slot = slot_of(h, len(hashes))
    while hashes[slot] != NO_HASH and hashes[slot] != h:
        slot = (slot + 1) % len(hashes)
    return slot


@njit(cache=True, nogil=True)
def _field(data: np.ndarray, begin: int, end: int) -> tuple[int, int]:
    """The next run of bytes without space, tab or CR in data[begin:end]; empty when there is none."""
    while begin < end and (data[begin] == 32 or data[begin] == 9 or data[begin] == 13):
        begin += 1
    stop = begin
    while stop < end and not (data[stop] == 32 or data[stop] == 9 or data[stop] == 13):
        stop += 1
    return begin, stop


@njit(cache=True, nogil=True)
def _number(data: np.ndarray, begin: int, end: int) -> tuple[bool, float]:
    """(whether data[begin:end] is a decimal number, its value). Exact to float64 for up to 18 digits."""
    negative = begin < end and data[begin] == 45
    at = begin + (begin < end and (data[begin] == 45 or data[begin] == 43))
    mantissa: Any = np.int64(0)
    digits, power = 0, 0
    after_point = False
    while at < end and (48 <= data[at] <= 57 or (data[at] == 46 and not after_point)):
        if data[at] == 46:
            after_point = True
        elif mantissa < _MANTISSA_ROOM:
            mantissa = mantissa * 10 + np.int64(data[at]) - 48
            power -= after_point
            digits += 1
        else:
            power += not after_point
            digits += 1
        at += 1
    if digits == 0:
        return False, 0.0
    if at < end and (data[at] == 101 or data[at] == 69):
        at += 1
        down = at < end and data[at] == 45
        at += at < end and (data[at] == 45 or data[at] == 43)
        exponent: Any = np.int64(0)
        first = at
        while at < end and 48 <= data[at] <= 57 and exponent < 1000:
            exponent = exponent * 10 + np.int64(data[at]) - 48
            at += 1
        if at == first:
            return False, 0.0
        power += -exponent if down else exponent
    value = mantissa / 10.0**-power if power < 0 else mantissa * 10.0**power
    return at == end, -value if negative else value
