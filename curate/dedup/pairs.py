"""Which pairs of a run are worth a true comparison: those whose sketches agree enough, and that were not compared before.

A sketch has one byte of each of P MinHashes. Two documents of similarity s agree in a share
s + (1 - s) / 256 of them (``kernels.minhash.similarity``), with a standard error of
sqrt(s (1 - s) / P). A pair is passed over when it agrees in fewer than a pair three standard
errors below the threshold would: of the pairs exactly at the threshold one in 740, of those
above it fewer. Eight bytes are compared at a time, 112 in 5 ns.

C is the number of candidates, W of 64-bit words of a sketch, M of members of runs, R of runs.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from curate.kernels.unicode_classes import inlined

STANDARD_ERRORS = 3.0
_WORD_BYTES = 8
_MOST_WORDS = 255
"""A byte counts the words that agree in its place."""
_CHANCE = 1 / 256
_LOW_BITS, _ONES = np.uint64(0x7F7F7F7F7F7F7F7F), np.uint64(0x0101010101010101)
_EVEN_BYTES, _PAIR_ONES = np.uint64(0x00FF00FF00FF00FF), np.uint64(0x0001000100010001)
_TOP_BIT, _BYTE, _TOP_PAIR = np.uint64(7), np.uint64(8), np.uint64(48)


def packed(sketches: np.ndarray) -> np.ndarray:
    """Sketches (C, P) uint8 as (C, W) uint64, zeros behind; not a copy where P is a multiple of 8.

    Raises:
        ValueError: sketches of more than 2040 bytes.
    """
    n, n_bytes = sketches.shape
    n_words = math.ceil(n_bytes / _WORD_BYTES)
    if n_words > _MOST_WORDS:
        raise ValueError(f"sketches of {n_bytes} bytes: at most {_MOST_WORDS * _WORD_BYTES}")
    if n_bytes % _WORD_BYTES or not sketches.flags.c_contiguous:
        padded = np.zeros((n, n_words * _WORD_BYTES), dtype=np.uint8)
        padded[:, :n_bytes] = sketches
        sketches = padded
    words = sketches.view(np.uint64)
    words.flags.writeable = False  # one type to compile for, whatever came
    return words


def least_equal(threshold: float, n_bytes: int) -> int:
    """In how many bytes two packed sketches of P bytes must at least agree, their padding included."""
    low = max(0.0, threshold - STANDARD_ERRORS * math.sqrt(threshold * (1 - threshold) / n_bytes))
    share = low + (1 - low) * _CHANCE
    return math.ceil(n_bytes * share - 1e-9) + -n_bytes % _WORD_BYTES


@inlined
def _n_equal(words, left, right):  # type: ignore[no-untyped-def]
    """In how many bytes two sketches agree."""
    count = np.uint64(0)
    for k in range(words.shape[1]):
        apart = words[left, k] ^ words[right, k]
        # The top bit of a byte of the sum is set where one of its low bits is, and no byte carries into the next.
        count += (~(((apart & _LOW_BITS) + _LOW_BITS) | apart) >> _TOP_BIT) & _ONES
    pairs = (count & _EVEN_BYTES) + ((count >> _BYTE) & _EVEN_BYTES)
    return np.int64((pairs * _PAIR_ONES) >> _TOP_PAIR)


@inlined
def _were_compared(runs, left, right, band):  # type: ignore[no-untyped-def]
    """Whether two rows are in one run, compared whole, of another band than ``band``."""
    other = 0
    while other < runs.shape[1] and (other == band or runs[left, other] < 0 or runs[left, other] != runs[right, other]):
        other += 1
    return other < runs.shape[1]


@inlined
def _share_rare(sketches, left, right, rare, run, n_places):  # type: ignore[no-untyped-def]
    """Whether two sketches agree in one of the first places in a byte that is rare in the run."""
    place = 0
    while place < n_places and not (sketches[left, place] == sketches[right, place] and rare[run, place, sketches[left, place]]):
        place += 1
    return place < n_places


@numba.njit(cache=True, nogil=True)
def propose(members, begins, whole, first, last, roots, words, least, runs, band, left, right, rare, place):  # type: ignore[no-untyped-def]
    """The pairs of rows ``first`` to ``last`` - 1 of each run with all rows behind them in the run, as far as they are worth it.

    Args:
        members: (M,) int64, run after run.
        begins: (R + 1,) int64 into ``members``.
        whole: (R,) int64, the index in ``rare`` of the run that each of these is a part of.
        first: place in the run.
        last: likewise; runs may be shorter.
        roots: (M,) component of each member: a pair of one component is passed over.
        words: (C, W) uint64 from ``packed``.
        least: from ``least_equal``.
        runs: (C, B) int32, the run of each row in each band; those below 0 are not compared whole.
        band: the runs' own, -1 for none: only what runs of other bands compare was compared before.
        left: (at least as many as there are pairs,) int64, filled.
        right: likewise.
        rare: (whole runs, 8 W, 256) bool, what ``split_by_byte`` marked.
        place: where these runs agree; pairs that share a rare byte before it were compared before. 0 for runs of a band.

    Returns:
        (pairs, pairs of sketches that were looked at).
    """
    sketches = words.view(np.uint8)
    n, n_estimated = 0, 0
    for run in range(len(begins) - 1):
        end = begins[run + 1]
        for i in range(begins[run] + first, min(begins[run] + last, end)):
            for j in range(i + 1, end):
                if roots[i] == roots[j]:
                    continue
                n_estimated += 1
                if _n_equal(words, members[i], members[j]) < least or _were_compared(runs, members[i], members[j], band):
                    continue
                if place > 0 and _share_rare(sketches, members[i], members[j], rare, whole[run], place):
                    continue
                left[n] = members[i]
                right[n] = members[j]
                n += 1
    return n, n_estimated


@numba.njit(cache=True, nogil=True)
def worth(left, right, words, least, runs):  # type: ignore[no-untyped-def]
    """Which pairs (int64 rows) are worth a true comparison: bool. See ``propose``."""
    found = np.empty(len(left), np.bool_)
    for i in range(len(left)):
        found[i] = _n_equal(words, left[i], right[i]) >= least and not _were_compared(runs, left[i], right[i], -1)
    return found


@numba.njit(cache=True, nogil=True)
def split_by_byte(members, begins, words, place, most, rare, parts, keys):  # type: ignore[no-untyped-def]
    """Split every run by one byte of the sketches, and keep the parts of 2 to ``most`` members.

    Args:
        members: (M,) int64, run after run.
        begins: (R + 1,) int64 into ``members``.
        words: (C, W) uint64 from ``packed``.
        place: of the byte.
        most: members of a part.
        rare: (R, 8 W, 256) bool; ``rare[run, place, byte]`` is set where a part is kept.
        parts: (M,) int64, filled: members part after part, in their order.
        keys: (M,) int64, filled: 256 times the run, and the byte.

    Returns:
        How many members the parts have.
    """
    sketches = words.view(np.uint8)
    n = 0
    for run in range(len(begins) - 1):
        count, at = np.zeros(256, np.int64), np.full(256, -1, np.int64)
        for i in range(begins[run], begins[run + 1]):
            count[sketches[members[i], place]] += 1
        for byte in range(256):
            if 2 <= count[byte] <= most:
                rare[run, place, byte] = True
                at[byte] = n
                n += count[byte]
        for i in range(begins[run], begins[run + 1]):
            byte = sketches[members[i], place]
            if at[byte] >= 0:
                parts[at[byte]] = members[i]
                keys[at[byte]] = 256 * run + byte
                at[byte] += 1
    return n
