"""Shingles: what a document is a set of, when documents are compared (Broder 1997).

A shingle is ``ngram`` consecutive normalised words (``folding``); a document of fewer words is one shingle of all it
has. Its hash is a polynomial in the words' hashes, so that the order of the words counts, mixed once more.
"""

from __future__ import annotations

import numba
import numpy as np

from curate.kernels.folding import fold_some, fold_tables

compiled = numba.njit(cache=True, nogil=True)

_BASE = np.uint64(0xA24BAED4963EE40B)  # odd, and 3 modulo 8: the powers of no other residue differ in more of their low bits
_MIX = np.uint64(0x9FB21C651E98DF25)
_HALF = np.uint64(32)
_ROOM = 64
"""Places that ``fold_some`` asks for beyond the words it is to find."""


@compiled
def shingle_hashes(words, n_words, ngram, hashes):  # type: ignore[no-untyped-def]
    """Hash of every shingle of ``words[:n_words]`` (uint64), ``n_words >= 1``, into ``hashes``; how many there are.

    Word after word of all shingles at once, which the compiler turns into vector instructions.
    """
    length = min(ngram, n_words)
    n_shingles = n_words - length + 1
    hashes[:n_shingles] = words[:n_shingles]
    for k in range(1, length):
        for i in range(n_shingles):
            hashes[i] = hashes[i] * _BASE + words[i + k]
    for i in range(n_shingles):
        key = hashes[i]
        key = (key ^ (key >> _HALF)) * _MIX
        hashes[i] = key ^ (key >> _HALF)
    return n_shingles


def shingle_sets(data: np.ndarray, offsets: np.ndarray, ngram: int) -> tuple[np.ndarray, np.ndarray]:
    """The set of shingles of every document, to be compared by ``jaccard``.

    Args:
        data: uint8, UTF-8 of all documents.
        offsets: (N + 1,) int64 into ``data`` (``documents.text_bytes``).
        ngram: words of a shingle, at least 1.

    Returns:
        (bounds, hashes): (N + 1,) int64 into ``hashes``; uint64, sorted and distinct within each document.
    """
    return _shingle_sets(data, offsets, ngram, fold_tables())


@compiled
def _shingle_sets(data, offsets, ngram, tables):  # type: ignore[no-untyped-def]
    n_documents = offsets.size - 1
    longest = 0
    for i in range(n_documents):
        longest = max(longest, offsets[i + 1] - offsets[i])
    room = longest - longest // 3 + 2 + _ROOM  # generous: two words have a byte between them, or are characters of three bytes
    words, of_document = np.empty(room, np.uint64), np.empty(room, np.uint64)
    fences = np.empty(2 * room, np.int64)
    starts, ends = np.empty(room, np.int64), np.empty(room, np.int64)
    bounds = np.zeros(n_documents + 1, np.int64)
    found = np.empty(room, np.uint64)
    for i in range(n_documents):
        n_words, _ = fold_some(data, offsets[i], offsets[i + 1], tables, words, starts, ends, 0)
        n_distinct = 0
        if n_words > 0:
            n_shingles = shingle_hashes(words, n_words, ngram, of_document)
            _sort_mixed(of_document, n_shingles, words, fences)
            n_distinct = _keep_distinct(words, n_shingles)
        n_found = bounds[i]
        if n_found + n_distinct > found.size:
            larger = np.empty(2 * found.size + n_distinct, np.uint64)
            larger[:n_found] = found[:n_found]
            found = larger
        found[n_found : n_found + n_distinct] = words[:n_distinct]
        bounds[i + 1] = n_found + n_distinct
    return bounds, found[: bounds[n_documents]].copy()


@compiled
def _sort_mixed(hashes, n, ordered, fences):  # type: ignore[no-untyped-def]
    """Write ``hashes[:n]``, ``n`` >= 1, in order into ``ordered``; ``fences`` has room for ``2 n + 1``.

    Mixed hashes are spread evenly: thrown into as many buckets as there are hashes, by their high bits, they are in
    order but for neighbours, which an insertion sort puts right.
    """
    n_bits = 1
    while 1 << n_bits < n:
        n_bits += 1
    shift = np.uint64(64 - n_bits)
    fences[: (1 << n_bits) + 1] = 0
    for i in range(n):
        fences[np.int64(hashes[i] >> shift) + 1] += 1
    for bucket in range(1 << n_bits):
        fences[bucket + 1] += fences[bucket]
    for i in range(n):
        bucket = np.int64(hashes[i] >> shift)
        ordered[fences[bucket]] = hashes[i]
        fences[bucket] += 1
    for i in range(1, n):
        moving, place = ordered[i], i
        while place > 0 and ordered[place - 1] > moving:
            ordered[place] = ordered[place - 1]
            place -= 1
        ordered[place] = moving


@compiled
def _keep_distinct(hashes, n):  # type: ignore[no-untyped-def]
    """Move the distinct ones of ``n`` >= 1 sorted hashes to the front; how many they are."""
    n_distinct = 1
    for i in range(1, n):
        hashes[n_distinct] = hashes[i]
        n_distinct += hashes[i] != hashes[n_distinct - 1]
    return n_distinct


@compiled
def jaccard(hashes, bounds, left, right):  # type: ignore[no-untyped-def]
    """Jaccard similarity |A ∩ B| / |A ∪ B| of pairs of documents, by merging their sorted sets.

    Args:
        hashes: uint64, as ``shingle_sets`` gives them.
        bounds: (N + 1,) int64, likewise.
        left: (M,) int64, the first document of each pair.
        right: (M,) int64, the second.

    Returns:
        (M,) float64 in 0 to 1; 0 where both sets are empty.
    """
    similarity = np.zeros(left.size, np.float64)
    for pair in range(left.size):
        i, i_end = bounds[left[pair]], bounds[left[pair] + 1]
        j, j_end = bounds[right[pair]], bounds[right[pair] + 1]
        n_both, n_sum = 0, i_end - i + j_end - j
        while i < i_end and j < j_end:
            a, b = hashes[i], hashes[j]
            n_both += a == b
            i += a <= b
            j += b <= a
        if n_sum > 0:
            similarity[pair] = n_both / (n_sum - n_both)
    return similarity
