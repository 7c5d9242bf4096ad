"""64-bit hashes of stretches of UTF-8, taken eight bytes at a time, and their code points counted on the way.

A text is an address of bytes, followed by eight bytes or more that may be read and by a newline first.
"""

from __future__ import annotations

import numpy as np

from curate.heuristics.characters import compiled
from curate.kernels.machine_words import load64, trailing_zeros
from curate.kernels.unicode_classes import inlined

SEED = np.uint64(0x2545F4914F6CDD1D)
ONES = np.uint64(0x0101010101010101)
HIGH = np.uint64(0x8080808080808080)

_MIX = np.uint64(0x9E3779B97F4A7C15)
_LAST_MIX = np.uint64(0xD6E8FEB86659FD93)
_NEWLINES = np.uint64(0x0A0A0A0A0A0A0A0A)
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
_0, _1, _6, _7, _8, _32, _56 = (np.uint64(n) for n in (0, 1, 6, 7, 8, 32, 56))


@inlined
def chained(key, part):  # type: ignore[no-untyped-def]
    """A hash with eight more bytes, or another hash, taken in."""
    key = (key ^ part) * _MIX
    return key ^ (key >> _32)


@inlined
def first_bytes(word, n):  # type: ignore[no-untyped-def]
    """The first ``n`` < 8 bytes of eight, the others 0."""
    return word & ~(_ALL << (np.uint64(n) * _8))


@inlined
def finished(key, last, n_bytes):  # type: ignore[no-untyped-def]
    """The hash of a text from that of its full eight bytes, the bytes left over and its length; never 0."""
    key = (chained(key, last) ^ np.uint64(n_bytes)) * _LAST_MIX
    key ^= key >> _32
    return key if key != _0 else _1


@inlined
def n_continuing(word):  # type: ignore[no-untyped-def]
    """How many of eight bytes continue a UTF-8 character."""
    return np.int64((((word >> _7) & ~(word >> _6) & ONES) * ONES) >> _56)


@compiled
def hash_span(text, at, end):  # type: ignore[no-untyped-def]
    """The hash of ``text[at:end]`` and its code points."""
    key, n_bytes, n_points = SEED, end - at, end - at
    while end - at >= 8:
        word = load64(text, at)
        if word & HIGH:
            n_points -= n_continuing(word)
        key = chained(key, word)
        at += 8
    word = first_bytes(load64(text, at), end - at)
    return finished(key, word, n_bytes), n_points - n_continuing(word)


@compiled
def hash_line(text, start):  # type: ignore[no-untyped-def]
    """Where the line that begins at ``start`` ends (at a newline), its hash, and its code points."""
    key, at, n_continued = SEED, start, 0
    while True:
        word = load64(text, at)
        lines = word ^ _NEWLINES
        found = (lines - ONES) & ~lines & HIGH
        if found:
            break
        if word & HIGH:
            n_continued += n_continuing(word)
        key = chained(key, word)
        at += 8
    left = trailing_zeros(found) >> 3
    word = first_bytes(word, left)
    end = at + left
    return end, finished(key, word, end - start), end - start - n_continued - n_continuing(word)
