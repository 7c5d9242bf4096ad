"""Words that are split or kept by name: a hash table of them, and joining a name that lies in pieces.

A name is found whole in front of any rule (``don't``, ``Mr.``, ``:)``). The rules may also
leave it in pieces next to each other (``x/Mr.`` gives ``x / Mr .``); such pieces are joined
afterwards, over the whole document, as spaCy does.
"""

from __future__ import annotations

import numba
import numpy as np

from curate.kernels.unicode_classes import inlined

LONGEST_NAME = 31
"""Bytes of the longest name, at most."""
LONGEST_JOIN = 12
"""Words that spell one name together, at most."""
NAME_SEED, UNIT_SEED = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)
SLOTS, NAME_HINTS, PAIR_HINTS = 4096, 65536, 16384
LENGTH_BITS = 48
OFFSETS = (1 << LENGTH_BITS) - 1
"""Byte offsets are below; above them stands how many words spell a name from here on."""

kernel = numba.njit(cache=True, nogil=True, _nrt=False)  # type: ignore[call-overload]
"""For everything that is not inlined. Without ``_nrt=False`` numba counts references to the array arguments
around every inlined call, which made the splitter four times slower; nothing here creates an array."""


def empty_slots() -> np.ndarray:
    """Room for names: uint64[SLOTS, 3] of key, cuts by name, cuts by the rules (:func:`store`)."""
    return np.zeros((SLOTS, 3), np.uint64)


def empty_hints() -> np.ndarray:
    """Room for hints: uint64, one bit for every shape of a name, then for every pair of first bytes of pieces."""
    return np.zeros((NAME_HINTS + PAIR_HINTS) // 64, np.uint64)


def store(name: np.ndarray, seed: np.uint64, slots: np.ndarray, by_name: int, by_rules: int) -> None:
    """Put a name's bytes into ``slots``, with the bytes before which it is cut, one bit each."""
    key = np.uint64(_hash(name, 0, len(name), seed) | np.uint64(1))
    at = int(key) % SLOTS
    while slots[at, 0]:
        assert slots[at, 0] != key, "two names have one key"
        at = (at + 1) % SLOTS
    slots[at] = key, by_name, by_rules


def set_hints(name: np.ndarray, by_rules: int, hints: np.ndarray) -> None:
    """Let ``hints`` know a name, and its first two pieces where the rules cut it."""
    cells = [_name_cell(name, 0, len(name))]
    if by_rules:
        cells.append(NAME_HINTS + _pair_cell(name, 0, (by_rules & -by_rules).bit_length() - 1))
    for cell in cells:
        hints[cell >> 6] |= np.uint64(1 << (int(cell) & 63))


@kernel
def _hash(data, start, end, key):  # type: ignore[no-untyped-def]
    """``key`` (uint64) with a few more bytes mixed in."""
    for i in range(start, end):
        key = (key ^ np.uint64(data[i])) * np.uint64(0xFF51AFD7ED558CCD)
        key ^= key >> np.uint64(32)
    return key


@kernel
def _slot(key, slots):  # type: ignore[no-untyped-def]
    """Where the name with this hash is, -1 where there is none."""
    key |= np.uint64(1)
    at = np.int64(key & np.uint64(SLOTS - 1))
    while slots[at, 0] != 0:
        if slots[at, 0] == key:
            return at
        at = (at + 1) & (SLOTS - 1)
    return -1


@inlined
def slot_of(data, start, end, seed, slots):  # type: ignore[no-untyped-def]
    """Where the name or unit ``data[start:end]`` is in ``slots``, -1 where it is none."""
    return _slot(_hash(data, start, end, seed), slots)


@inlined
def _name_cell(data, start, end):  # type: ignore[no-untyped-def]
    shape = np.int64(data[start]) | np.int64(data[end - 1]) << 8 | np.int64(data[(start + end) >> 1]) << 16 | (end - start) << 24
    return ((shape * 0x9E3779B1) & 0xFFFFFFFF) >> 16


@inlined
def _pair_cell(data, first, second):  # type: ignore[no-untyped-def]
    return np.int64(data[first] & 127) | np.int64(data[second] & 127) << 7


@inlined
def _hinted(hints, cell):  # type: ignore[no-untyped-def]
    return (hints[cell >> 6] >> np.uint64(cell & 63)) & np.uint64(1) != 0


@inlined
def named(data, start, end, hints, slots):  # type: ignore[no-untyped-def]
    """Slot of the word ``data[start:end]``, -1 where it is not a name."""
    if end - start > LONGEST_NAME or not _hinted(hints, _name_cell(data, start, end)):
        return -1
    return slot_of(data, start, end, NAME_SEED, slots)


@inlined
def put_pieces(start, end, cuts, starts, ends, n):  # type: ignore[no-untyped-def]
    """Append the pieces of a name; returns the new count of words."""
    starts[n] = start
    for i in range(1, end - start):
        if (cuts >> np.uint64(i)) & np.uint64(1):
            ends[n] = start + i
            n += 1
            starts[n] = start + i
    ends[n] = end
    return n + 1


@kernel
def has_pieces(data, first, n, hints, slots, starts, ends):  # type: ignore[no-untyped-def]
    """Whether some of the words from ``first`` to ``n`` spell a name that is cut otherwise."""
    for i in range(first, n - 1):
        if _hinted(hints, NAME_HINTS + _pair_cell(data, starts[i], starts[i + 1])):
            length = _spelled(data, i, n, slots, starts, ends)
            if length:
                slot = slot_of(data, starts[i], ends[i + length - 1], NAME_SEED, slots)
                if slot >= 0 and slots[slot, 1] != slots[slot, 2]:
                    return True
    return False


@kernel
def join_pieces(data, n, hints, slots, starts, ends):  # type: ignore[no-untyped-def]
    """Join all neighbouring words that spell a name; returns the new count of words.

    Names are sought across single spaces too, and joined only where there is none. A longer
    one goes before a shorter one it overlaps, then the earlier of the two; one that gives way,
    or holds a space, still stands in the way of others.
    """
    for i in range(n - 1):
        if _hinted(hints, NAME_HINTS + _pair_cell(data, starts[i], starts[i + 1])):
            ends[i] += _spelled(data, i, n, slots, starts, ends) << LENGTH_BITS
    for i in range(n):
        if ends[i] > OFFSETS and not _gives_way(i, ends):
            starts[i] = ~starts[i]
    read, write = 0, 0
    while read < n:
        begin, length = starts[read], 1
        if begin < 0:
            begin = ~begin
            length = ends[read] >> LENGTH_BITS
            slot = slot_of(data, begin, ends[read + length - 1] & OFFSETS, NAME_SEED, slots)
            if slot >= 0:
                read += length
                write = put_pieces(begin, ends[read - 1] & OFFSETS, slots[slot, 1], starts, ends, write)
                continue
        starts[write], ends[write], write = begin, ends[read] & OFFSETS, write + 1
        read += 1
    return write


@inlined
def _spelled(data, i, n, slots, starts, ends):  # type: ignore[no-untyped-def]
    """How many words from ``i`` on, nothing or one space between them, spell the longest name; 0 where none does."""
    key, cuts, width, longest = NAME_SEED, np.uint64(0), 0, 0
    for j in range(i, min(i + LONGEST_JOIN, n)):
        if j > i:
            gap = starts[j] - ends[j - 1]
            if gap > 1 or (gap == 1 and data[ends[j - 1]] != 0x20):
                break
            cuts |= np.uint64(1) << np.uint64(width)
        width += ends[j] - starts[j]
        if width > LONGEST_NAME:
            break
        key = _hash(data, starts[j], ends[j], key)
        slot = _slot(key, slots) if j > i else -1
        if slot >= 0 and slots[slot, 2] == cuts:
            longest = j - i + 1
    return longest


@inlined
def _gives_way(i, ends):  # type: ignore[no-untyped-def]
    """Whether another name covers the first or the last word of the one at ``i`` and goes before it."""
    length = ends[i] >> LENGTH_BITS
    last = i + length - 1
    for j in range(max(0, i - LONGEST_JOIN + 1), last + 1):
        other = ends[j] >> LENGTH_BITS
        if (other > length or (other == length and j < i)) and (j <= i < j + other or j <= last < j + other):
            return True
    return False
