"""Which n-grams of an index occur in documents, and where: one bit test a word.

A word is a 64-bit hash (``folding.fold_words``). The key of an n-gram of L words is their polynomial
modulo 2^64, w_0 B^(L-1) + … + w_(L-1), with L mixed in. Every n-gram of the index begins with a head of
as many words as the shortest has. While reading words the head's polynomial is rolled along, and a Bloom
filter of 64-bit blocks (Putze, Sanders, Singler 2007, "Cache-, Hash- and Space-Efficient Bloom Filters")
says whether any n-gram begins so. For about one word in a hundred of clean text it errs; there, and at real
matches, the n-gram of the greatest length is looked up in the sorted table. Shorter ones are few and have a
filter of their own, which nearly always spares looking them up.

What the filter costs is waiting for memory, so it is kept small: a few megabytes for millions of n-grams.

Two different n-grams have equal keys with probability about 2^-64, which is not checked further:
with 10^7 n-grams, one word in 10^12 is matched by accident.

Suffixes: N documents, G n-grams, W words.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from curate.kernels.folding import fold_words
from curate.kernels.machine_words import trailing_zeros
from curate.kernels.unicode_classes import inlined

BASE = np.uint64(0x9FB21C651E98DF25)  # odd, so that no word is multiplied away
_LENGTH = np.uint64(0x9E3779B97F4A7C15)
_MIX = np.uint64(0xD6E8FEB86659FD93)
_HALF = np.uint64(32)
_ONE, _SIXTY_THREE = np.uint64(1), np.uint64(63)
BLOOM_BITS = 8
"""Bits of the filter for each n-gram, at least."""
FEWEST_HITS = 64
"""Room for hits at first; it is doubled when there are more."""


class Index(NamedTuple):
    """The n-grams to look for.

    Args:
        lengths: (K,) int64, the numbers of words that n-grams have, rising.
        keys: (G,) uint64, sorted.
        bounds: (G + 1,) int64: the items that hold n-gram g are ``items[bounds[g] : bounds[g + 1]]``.
        items: uint32, rising within an n-gram.
        buckets: (2^k + 1,) int64: where the keys that begin with each k bits start.
        filter: (2^j,) uint64, the Bloom filter over heads of all n-grams.
        short_filter: the same over heads of n-grams of less than the greatest length.
    """

    lengths: np.ndarray
    keys: np.ndarray
    bounds: np.ndarray
    items: np.ndarray
    buckets: np.ndarray
    filter: np.ndarray
    short_filter: np.ndarray


class Found(NamedTuple):
    """What N documents share with an index.

    Args:
        n_words: (N,) int64.
        n_covered: (N,) int64, words inside matched n-grams.
        n_matches: (N,) int64, n-grams found, every occurrence counted.
        spans: (N, 2) int64, byte offsets in the document of the longest run of covered words; -1 where there is none.
        items: (N,) int64, the item that most of the span's n-grams are of, the first of equals; -1 where there is none.
    """

    n_words: np.ndarray
    n_covered: np.ndarray
    n_matches: np.ndarray
    spans: np.ndarray
    items: np.ndarray


@inlined
def _finish(total, length):  # type: ignore[no-untyped-def]
    """The key of an n-gram from its polynomial and its number of words."""
    key = (total + np.uint64(length) * _LENGTH) * _MIX
    key = (key ^ (key >> _HALF)) * _MIX
    return key ^ (key >> _HALF)


@inlined
def _mask(key):  # type: ignore[no-untyped-def]
    """The four bits of a key in its block of a filter."""
    mask = np.uint64(0)
    for i in range(4):
        mask |= _ONE << ((key >> np.uint64(6 * i)) & _SIXTY_THREE)
    return mask


@inlined
def _key_at(words, at, length):  # type: ignore[no-untyped-def]
    total = np.uint64(0)
    for i in range(at, at + length):
        total = total * BASE + words[i]
    return _finish(total, length)


@njit(cache=True, nogil=True)
def keys_at(words: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> Any:
    """The keys of the n-grams ``words[starts[i] : starts[i] + lengths[i]]``, uint64."""
    keys = np.empty(len(starts), np.uint64)
    for i in range(len(starts)):
        keys[i] = _key_at(words, starts[i], lengths[i])
    return keys


@njit(cache=True, nogil=True)
def n_distinct(words: np.ndarray, starts: np.ndarray, lengths: np.ndarray, ignored: Any) -> Any:
    """How many different words each of these n-grams has, not counting the word ``ignored``; int64."""
    counts = np.zeros(len(starts), np.int64)
    for i in range(len(starts)):
        first = starts[i]
        for j in range(first, first + lengths[i]):
            fresh = words[j] != ignored
            for k in range(first, j):
                fresh &= words[k] != words[j]
            counts[i] += fresh
    return counts


@njit(cache=True, nogil=True)
def fill_filter(keys: np.ndarray, bits: int) -> Any:
    """The Bloom filter of 2^bits blocks that holds these keys of heads, uint64."""
    blocks = np.zeros(1 << bits, np.uint64)
    shift = np.uint64(64 - bits)
    for key in keys:
        blocks[key >> shift] |= _mask(key)
    return blocks


@njit(cache=True, nogil=True)
def fold_column(data: np.ndarray, bounds: np.ndarray, tables: Any) -> Any:
    """Word hashes of all texts of a column one after the other, (W,) uint64, and where each text's begin, (N + 1,) int64."""
    n = len(bounds) - 1
    edges = np.zeros(n + 1, np.int64)
    longest = _longest(bounds)
    hashes, starts, ends = np.empty(longest, np.uint64), np.empty(longest, np.int64), np.empty(longest, np.int64)
    words = np.empty(max(16, (bounds[n] - bounds[0]) // 4), np.uint64)
    for i in range(n):
        found = fold_words(data, bounds[i], bounds[i + 1], tables, hashes, starts, ends)
        edges[i + 1] = edges[i] + found
        if edges[i + 1] > len(words):
            grown = np.empty(2 * edges[i + 1], np.uint64)
            grown[: edges[i]] = words[: edges[i]]
            words = grown
        words[edges[i] : edges[i + 1]] = hashes[:found]
    return words[: edges[n]].copy(), edges


@njit(cache=True, nogil=True)
def find(data: np.ndarray, bounds: np.ndarray, tables: Any, index: Any, n_items: int) -> Any:
    """Look for the index's n-grams in N documents.

    Args:
        data: UTF-8 bytes.
        bounds: (N + 1,) int64, where documents begin in ``data``.
        tables: what ``folding.fold_tables`` gives.
        index: an Index.
        n_items: one more than the largest of ``index.items``.

    Returns:
        The arrays of a Found, in its order.
    """
    n = len(bounds) - 1
    n_words, n_covered, n_matches = np.zeros(n, np.int64), np.zeros(n, np.int64), np.zeros(n, np.int64)
    spans, items = np.full((n, 2), -1, np.int64), np.full(n, -1, np.int64)
    longest = _longest(bounds)
    hashes, starts, ends = np.empty(longest, np.uint64), np.empty(longest, np.int64), np.empty(longest, np.int64)
    places, hits = np.empty(longest, np.int64), np.empty((max(FEWEST_HITS, len(index.lengths)), 3), np.int64)
    votes = np.zeros(n_items, np.int64)
    for i in range(n):
        n_words[i] = fold_words(data, bounds[i], bounds[i + 1], tables, hashes, starts, ends)
        hits, n_hits = _matches(hashes, n_words[i], index, places, hits)
        if n_hits:
            n_matches[i] = n_hits
            n_covered[i], first, last, begin, end = _longest_run(hits, n_hits)
            spans[i, 0], spans[i, 1] = starts[begin] - bounds[i], ends[end - 1] - bounds[i]
            items[i] = _winner(hits, first, last, index, votes)
    return n_words, n_covered, n_matches, spans, items


@njit(cache=True, nogil=True)
def _longest(bounds):  # type: ignore[no-untyped-def]
    """Room for the words of the longest document: as many as it has bytes, and one place that ``fold_words`` scribbles on."""
    longest = 0
    for i in range(len(bounds) - 1):
        longest = max(longest, bounds[i + 1] - bounds[i])
    return longest + 1


@njit(cache=True, nogil=True)
def _candidates(words, n, index, places):  # type: ignore[no-untyped-def]
    """Fill ``places`` with where in ``words[:n]`` the filter lets an n-gram begin; returns how many there are.

    No branch depends on what the filter says, so that the processor has many loads from it in flight at once.
    """
    head = index.lengths[0]
    if n < head:
        return 0
    blocks = index.filter
    shift = np.uint64(64 - _bits(len(blocks)))
    total, left = np.uint64(0), np.uint64(0)
    leaving = BASE  # BASE^head, which the word that leaves the head has been multiplied with
    for i in range(head - 1):
        total = total * BASE + words[i]
        leaving *= BASE
    n_places = 0
    for at in range(n - head + 1):
        total = total * BASE + words[at + head - 1] - left * leaving
        left = words[at]
        key = _finish(total, head)
        mask = _mask(key)
        places[n_places] = at
        n_places += blocks[key >> shift] & mask == mask
    return n_places


@njit(cache=True, nogil=True)
def _matches(words, n, index, places, hits):  # type: ignore[no-untyped-def]
    """Every n-gram of the index in ``words[:n]``: rows (first word, number of words, n-gram) in reading order."""
    n_hits = 0
    for i in range(_candidates(words, n, index, places)):
        if n_hits + len(index.lengths) > len(hits):
            hits = _doubled(hits)
        n_hits = _look_up(words, places[i], n, index, hits, n_hits)
    return hits, n_hits


@njit(cache=True, nogil=True)
def _bits(size):  # type: ignore[no-untyped-def]
    """The logarithm of a power of two."""
    return trailing_zeros(np.uint64(size))


@njit(cache=True, nogil=True)
def _doubled(hits):  # type: ignore[no-untyped-def]
    grown = np.empty((2 * len(hits), 3), np.int64)
    grown[: len(hits)] = hits
    return grown


@njit(cache=True, nogil=True)
def _look_up(words, at, n, index, hits, n_hits):  # type: ignore[no-untyped-def]
    """Add the n-grams of every length that begin at a word."""
    lengths = index.lengths
    first = len(lengths) - 1
    key = _key_at(words, at, lengths[0])
    mask = _mask(key)
    if index.short_filter[key >> np.uint64(64 - _bits(len(index.short_filter)))] & mask == mask:
        first = 0
    shift = np.uint64(64 - _bits(len(index.buckets) - 1))
    for i in range(first, len(lengths)):
        if at + lengths[i] > n:
            break
        key = _key_at(words, at, lengths[i])
        bucket = key >> shift
        for g in range(index.buckets[bucket], index.buckets[bucket + _ONE]):
            if index.keys[g] == key:
                hits[n_hits, 0], hits[n_hits, 1], hits[n_hits, 2] = at, lengths[i], g
                n_hits += 1
    return n_hits


@njit(cache=True, nogil=True)
def _longest_run(hits, n_hits):  # type: ignore[no-untyped-def]
    """Words covered, and the longest run of covered words, the first of equals.

    Returns:
        n_covered, the run's hits [first, last), its words [begin, end).
    """
    covered = 0
    best = (0, 0, 0, 0)
    first, begin, end = 0, hits[0, 0], hits[0, 0]
    for i in range(n_hits + 1):
        if i == n_hits or hits[i, 0] > end:
            covered += end - begin
            if end - begin > best[3] - best[2]:
                best = (first, i, begin, end)
            if i == n_hits:
                break
            first, begin, end = i, hits[i, 0], hits[i, 0]
        end = max(end, hits[i, 0] + hits[i, 1])
    return covered, best[0], best[1], best[2], best[3]


@njit(cache=True, nogil=True)
def _winner(hits, first, last, index, votes):  # type: ignore[no-untyped-def]
    """The item that holds most of the n-grams ``hits[first:last]``; ``votes`` is all zero before and after."""
    most, winner = 0, -1
    for i in range(first, last):
        gram = hits[i, 2]
        for j in range(index.bounds[gram], index.bounds[gram + 1]):
            item = np.int64(index.items[j])
            votes[item] += 1
            if votes[item] > most or (votes[item] == most and item < winner):
                most, winner = votes[item], item
    for i in range(first, last):
        gram = hits[i, 2]
        for j in range(index.bounds[gram], index.bounds[gram + 1]):
            votes[np.int64(index.items[j])] = 0
    return winner
