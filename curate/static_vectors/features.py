"""What a document is before it is a vector: how often each bucket of hashed words occurs in it.

Words are the normalised ones of ``curate.kernels.folding``; with ``ngram`` 2, pairs of neighbours are counted beside
them. The highest bits of a hash name one of H buckets (H a power of two): no vocabulary is kept, and words that share
a bucket share a vector (Weinberger et al. 2009, without the signs, which a learned vector has anyway).
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np

from curate.kernels.folding import fold_some, fold_tables

compiled = numba.njit(cache=True, nogil=True)
inlined = numba.njit(cache=True, nogil=True, inline="always")

ROOM = 2048
"""Words found before they are counted, so that they stay in the first cache whatever the document's length."""

_BASE = np.uint64(0x9FB21C651E98DF25)
_MIX = np.uint64(0xA24BAED4963EE40B)
_HALF = np.uint64(32)


@dataclass(frozen=True)
class Counts:
    """Buckets of N documents as sparse rows.

    Args:
        bounds: (N + 1,) int64: row i is ``buckets[bounds[i]:bounds[i + 1]]``.
        buckets: int32, distinct within a row, in order of first occurrence.
        counts: int32, how often each occurs, at least 1.
        n_buckets: H.
    """

    bounds: np.ndarray
    buckets: np.ndarray
    counts: np.ndarray
    n_buckets: int


def count(data: np.ndarray, offsets: np.ndarray, *, ngram: int, n_buckets: int) -> Counts:
    """The bucket counts of every document.

    Args:
        data: uint8, UTF-8 of all documents.
        offsets: (N + 1,) int64 into ``data`` (``documents.text_bytes``).
        ngram: 1 for words, 2 for words and pairs of neighbours.
        n_buckets: a power of two.
    """
    bounds, buckets, counts = _count_all(data, offsets, ngram, shift_of(n_buckets), n_buckets, fold_tables())
    return Counts(bounds, buckets, counts, n_buckets)


def shift_of(n_buckets: int) -> int:
    """How far a hash is shifted right to name one of ``n_buckets``."""
    return 64 - (n_buckets.bit_length() - 1)


@inlined
def _tally(bucket, found, counts, n_found):  # type: ignore[no-untyped-def]
    """Count one occurrence; how many distinct buckets there are then."""
    found[n_found] = bucket  # overwritten by the next one unless it is new
    is_new = counts[bucket] == 0
    counts[bucket] += 1
    return n_found + is_new


@compiled
def count_document(data, at, end, ngram, shift, tables, words, starts, ends, found, counts):  # type: ignore[no-untyped-def]
    """Count the buckets of one document.

    Args:
        data: uint8, UTF-8.
        at: where the document begins in ``data``.
        end: where it ends.
        ngram: 1 or 2.
        shift: ``shift_of(H)``.
        tables: ``fold_tables()``.
        words: (``ROOM``,) uint64, working space.
        starts: (``ROOM``,) int64, likewise.
        ends: (``ROOM``,) int64, likewise.
        found: (H + 1,) int32; filled with the distinct buckets in order of first occurrence.
        counts: (H,) int32, zeros; filled with the count of each. Who calls sets them back to zero.

    Returns:
        (n_words, n_found): words of the document, and its distinct buckets.
    """
    n_words, n_found, before, by = 0, 0, np.uint64(0), np.uint64(shift)
    while at < end:
        n_new, at = fold_some(data, at, end, tables, words, starts, ends, 0)
        for i in range(n_new):
            n_found = _tally(np.int64(words[i] >> by), found, counts, n_found)
        if ngram == 2:
            for i in range(n_new):
                word = words[i]
                if n_words + i > 0:
                    key = before * _BASE + word
                    key = (key ^ (key >> _HALF)) * _MIX
                    n_found = _tally(np.int64(key >> by), found, counts, n_found)
                before = word
        n_words += n_new
    return n_words, n_found


@compiled
def _count_all(data, offsets, ngram, shift, n_buckets, tables):  # type: ignore[no-untyped-def]
    words = np.empty(ROOM, np.uint64)
    starts, ends = np.empty(ROOM, np.int64), np.empty(ROOM, np.int64)
    found, counts = np.empty(n_buckets + 1, np.int32), np.zeros(n_buckets, np.int32)
    bounds = np.zeros(offsets.size, np.int64)
    all_buckets, all_counts = np.empty(1024, np.int32), np.empty(1024, np.int32)
    for i in range(offsets.size - 1):
        _, n_found = count_document(data, offsets[i], offsets[i + 1], ngram, shift, tables, words, starts, ends, found, counts)
        first = bounds[i]
        if first + n_found > all_buckets.size:
            all_buckets, all_counts = _grown(all_buckets, first, n_found), _grown(all_counts, first, n_found)
        for k in range(n_found):
            all_buckets[first + k] = found[k]
            all_counts[first + k] = counts[found[k]]
            counts[found[k]] = 0
        bounds[i + 1] = first + n_found
    return bounds, all_buckets[: bounds[-1]].copy(), all_counts[: bounds[-1]].copy()


@compiled
def _grown(values, n_kept, n_more):  # type: ignore[no-untyped-def]
    larger = np.empty(2 * values.size + n_more, values.dtype)
    larger[:n_kept] = values[:n_kept]
    return larger
