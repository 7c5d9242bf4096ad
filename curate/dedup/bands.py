"""Rows that share a key, as edges to one of them: never as all pairs.

A run is the rows with one key. Each of its members is linked to its smallest row, so a run of
m rows gives m - 1 edges, a star, and a key shared by a million documents costs a million
edges and not half a trillion. Connected components see no difference.

A row becomes one 64-bit number: the high bits of a mix of its key above its place in the input.
numpy sorts such numbers with vector instructions, several times faster than it can argsort keys,
and then a run lies together with its smallest row in front. Runs of equal high bits are compared
by their whole keys, so nothing is left to chance. N is the number of rows, E of edges.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from curate.errors import IntegrityError
from curate.kernels.unicode_classes import inlined

BYTES_PER_ROW = 56
"""Memory of joining one row at most: its key and number, the copies a range makes of them, the number sorted, its edge."""

_HALF = np.uint64(32)
_LOW = np.uint64(0xFFFFFFFF)
_MIX_A = np.uint64(0xFF51AFD7ED558CCD)
_MIX_B = np.uint64(0xC4CEB9FE1A85EC53)
_FOLD = np.uint64(33)


@inlined
def _mixed(key):  # type: ignore[no-untyped-def]
    """The 64-bit finaliser of MurmurHash3: a bijection that spreads every bit of a key."""
    key ^= key >> _FOLD
    key *= _MIX_A
    key ^= key >> _FOLD
    key *= _MIX_B
    return key ^ (key >> _FOLD)


def n_ranges(n_rows: int, budget_bytes: int) -> int:
    """How many ranges of keys to join one band in, so that one join needs about ``budget_bytes``.

    One key is never split: a run larger than the budget is joined in more memory than that.
    """
    if budget_bytes <= 0:
        raise ValueError(f"a join cannot work in {budget_bytes} bytes: give it a positive budget")
    return max(1, math.ceil(n_rows * BYTES_PER_ROW / budget_bytes))


@numba.njit(cache=True, nogil=True)
def _mark_range(keys, i, n, inside):  # type: ignore[no-untyped-def]
    """Set ``inside[j]`` where the low half of the mixed key falls into part ``i`` of ``n`` equal ones."""
    for j in range(len(keys)):
        inside[j] = ((_mixed(keys[j]) & _LOW) * n) >> _HALF == i


def in_range(keys: np.ndarray, i: int, n: int) -> np.ndarray:
    """Which of the keys (N uint64) belong to range ``i`` of ``n``: bool (N). Every key is in exactly one; equal keys are together."""
    if not 0 <= i < n < 2**31:
        raise ValueError(f"there is no range {i} of {n}")
    inside = np.empty(len(keys), dtype=np.bool_)
    _mark_range(keys, np.uint64(i), np.uint64(n), inside)
    return inside


@numba.njit(cache=True, nogil=True)
def _pack(words, places, packed):  # type: ignore[no-untyped-def]
    """For each key of W words (N, W): the high bits of its mix with the place of the row in the bits ``places`` masks."""
    for i in range(len(words)):
        mixed = np.uint64(0)
        for j in range(words.shape[1]):
            mixed = _mixed(mixed ^ words[i, j])
        packed[i] = (mixed & ~places) | np.uint64(i)


@numba.njit(cache=True, nogil=True)
def _count_members(packed, places):  # type: ignore[no-untyped-def]
    """How many of the sorted numbers have the high bits of the one before them."""
    n = 0
    for i in range(1, len(packed)):
        n += packed[i] | places == packed[i - 1] | places
    return n


@numba.njit(cache=True, nogil=True)
def _stars(packed, places, linked):  # type: ignore[no-untyped-def]
    """(place of the first, place of the member) of every stretch of equal high bits into ``linked``."""
    n, leader = 0, np.int64(0)
    for i in range(len(packed)):
        place = np.int64(packed[i] & places)
        if i > 0 and packed[i] | places == packed[i - 1] | places:
            linked[n, 0] = leader
            linked[n, 1] = place
            n += 1
        else:
            leader = place


@numba.njit(cache=True, nogil=True)
def _agree(words, linked, same):  # type: ignore[no-untyped-def]
    """Whether the whole keys of each link are equal. A loop of its own, so that its reads at random overlap."""
    for i in range(len(linked)):
        equal = True
        for j in range(words.shape[1]):
            equal &= words[linked[i, 0], j] == words[linked[i, 1], j]
        same[i] = equal


def _joined(words: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """See ``edges``; keys of W words each, (N, W) uint64, rows ascending."""
    places = np.uint64((1 << max(1, len(rows) - 1).bit_length()) - 1)
    packed = np.empty(len(rows), dtype=np.uint64)
    _pack(words, places, packed)
    packed.sort()
    linked = np.empty((_count_members(packed, places), 2), dtype=np.int64)
    _stars(packed, places, linked)
    del packed
    same = np.empty(len(linked), dtype=np.bool_)
    _agree(words, linked, same)
    if same.all():
        return rows[linked]
    # Different keys with equal high bits: the first takes the members with its own key, the others are joined again without it.
    others = np.sort(linked[~same, 1])
    return np.concatenate([rows[linked[same]], _joined(words[others], rows[others])])


def _edges(words: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """``_joined`` for rows in any order."""
    if len(words) != len(rows):
        raise IntegrityError(
            f"{len(words)} keys for {len(rows)} rows",
            where="joining equal keys",
            expected="one key a row",
            fix="read both from one sidecar",
        )
    if np.any(rows[1:] < rows[:-1]):
        order = np.argsort(rows, kind="stable")
        words, rows = words[order], rows[order]
    return _joined(words, rows)


def edges(keys: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Every row linked to the smallest row with its key.

    Args:
        keys: (N,) uint64, one band's keys. Rows without a key (texts too short for one) must be left out: any value is a key.
        rows: (N,) int64 row numbers, each once; ascending is fastest.

    Returns:
        (E, 2) int64: smallest row of the run, member; the same array for every order of the input.
    """
    return _edges(np.ascontiguousarray(keys).reshape(-1, 1), np.ascontiguousarray(rows))


def exact_edges(id_halves: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Every row linked to the smallest row with its doc_id; all 16 bytes are compared.

    Args:
        id_halves: (N, 2) uint64 from ``hashing.id_halves``.
        rows: (N,) int64, as for ``edges``.

    Returns:
        (E, 2) int64, as ``edges``.
    """
    return _edges(np.ascontiguousarray(id_halves), np.ascontiguousarray(rows))
