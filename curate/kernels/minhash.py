"""MinHash signatures in one pass over UTF-8, and what is derived from them (Broder 1997; Indyk & Motwani 1998).

Every permutation orders all shingles; a signature holds the first shingle of a document under each of P. Two documents
agree in one position with probability J, their Jaccard similarity. ``bands`` groups of ``rows`` positions become keys
that are equal with probability J^rows, so that documents share a key with probability 1 - (1 - J^rows)^bands.

A permutation is x -> a x + b modulo 2^32, a odd, of 32 bits of a shingle's hash. Because the hashes are well mixed,
each position is unbiased whatever a and b are; that positions are as good as independent is tested. 32 bits are one
vector lane: words are folded, shingled and permuted in blocks that stay in the first cache, eight shingles at a time
so that a, b and the minima are read once for eight.
"""

from __future__ import annotations

import numba
import numpy as np

from curate.hashing import mix64, seed_of
from curate.kernels.folding import fold_some, fold_tables
from curate.kernels.shingles import jaccard, shingle_hashes, shingle_sets

__all__ = ["band_keys", "band_name", "jaccard", "permutations", "shingle_sets", "signatures", "similarity", "sketch"]

compiled = numba.njit(cache=True, nogil=True)

_BLOCK = 512
"""Words folded before they are permuted."""
_ROOM = 64
_HALF = np.uint64(32)
_NO_MINIMUM = np.uint32(0xFFFFFFFF)
_KEY_MIX = np.uint64(0x9E3779B97F4A7C15)
_BYTE_MIX = np.uint32(0x9E3779B1)
_BYTE_SHIFT = np.uint32(24)
_CHANCE = 1 / 256
"""Probability that bytes of different minima are equal."""


def permutations(seed: int, n: int) -> np.ndarray:
    """(n, 2) uint32: factor, odd, and summand of each permutation."""
    drawn = mix64(np.arange(2 * n, dtype=np.uint64) + np.uint64(seed_of(seed, "minhash"))).reshape(n, 2)
    chosen = (drawn >> _HALF).astype(np.uint32)
    chosen[:, 0] |= np.uint32(1)
    return chosen


def signatures(data: np.ndarray, offsets: np.ndarray, ngram: int, permutations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The MinHash signature of every document.

    Args:
        data: uint8, UTF-8 of all documents.
        offsets: (N + 1,) int64 into ``data`` (``documents.text_bytes``).
        ngram: words of a shingle, at least 1.
        permutations: (P, 2) uint32.

    Returns:
        (signatures, n_shingles): (N, P) uint32, and (N,) int64 shingles of each document, repeated ones included.
        A document without words has 0 shingles, and 2^32 - 1 in all positions.
    """
    return _signatures(data, offsets, ngram, permutations, fold_tables())


@compiled
def _signatures(data, offsets, ngram, permutations, tables):  # type: ignore[no-untyped-def]
    factors, summands = permutations[:, 0].copy(), permutations[:, 1].copy()
    room = ngram + _BLOCK + _ROOM
    words, hashes = np.empty(room, np.uint64), np.empty(room, np.uint64)
    starts, ends = np.empty(room, np.int64), np.empty(room, np.int64)
    points = np.empty(room + 8, np.uint32)
    found = np.full((offsets.size - 1, factors.size), _NO_MINIMUM, np.uint32)
    n_shingles = np.zeros(offsets.size - 1, np.int64)
    for i in range(offsets.size - 1):
        at, end, n_words = offsets[i], offsets[i + 1], 0
        while at < end:
            n_words, at = fold_some(data, at, end, tables, words, starts, ends, n_words)
            if n_words == 0 or (n_words < ngram and n_shingles[i] > 0):
                continue
            n = shingle_hashes(words, n_words, ngram, hashes)
            _lower(found[i], hashes, n, points, factors, summands)
            n_shingles[i] += n
            for k in range(n_words - n):  # the words of the next block's first shingle
                words[k] = words[n + k]
            n_words -= n
    return found, n_shingles


@compiled
def _lower(minima, hashes, n, points, factors, summands):  # type: ignore[no-untyped-def]
    """Lower the minima (P,) uint32 to those of ``n`` >= 1 more shingles. ``points`` has room for ``n + 7``."""
    for i in range(n):
        points[i] = np.uint32(hashes[i] >> _HALF)
    points[n : n + 7] = points[n - 1]
    for i in range(0, n, 8):
        p0, p1, p2, p3 = points[i], points[i + 1], points[i + 2], points[i + 3]
        p4, p5, p6, p7 = points[i + 4], points[i + 5], points[i + 6], points[i + 7]
        for p in range(factors.size):
            a, b = factors[p], summands[p]
            low = min(min(_permuted(p0, a, b), _permuted(p1, a, b)), min(_permuted(p2, a, b), _permuted(p3, a, b)))
            high = min(min(_permuted(p4, a, b), _permuted(p5, a, b)), min(_permuted(p6, a, b), _permuted(p7, a, b)))
            minima[p] = min(minima[p], min(low, high))


@compiled
def _permuted(point, factor, summand):  # type: ignore[no-untyped-def]
    return np.uint32(np.uint32(point * factor) + summand)  # numba multiplies uint32 as uint64


def band_name(band: int) -> str:
    """The column of a band's keys."""
    return f"band_{band:02d}"


def band_keys(signatures: np.ndarray, bands: int, rows: int) -> np.ndarray:
    """(N, bands) uint64 of (N, bands * rows) uint32: one key per band, a function of its minima and its number.

    Raises:
        ValueError: signatures of another length.
    """
    if signatures.shape[1] != bands * rows:
        raise ValueError(f"signatures of {signatures.shape[1]} positions for {bands} bands of {rows}")
    return _band_keys(signatures, bands, rows)


@compiled
def _band_keys(signatures, bands, rows):  # type: ignore[no-untyped-def]
    keys = np.empty((signatures.shape[0], bands), np.uint64)
    for i in range(signatures.shape[0]):
        for band in range(bands):
            key = np.uint64(band + 1) * _KEY_MIX
            for position in range(band * rows, (band + 1) * rows):
                key = (key ^ (key >> _HALF) ^ np.uint64(signatures[i, position])) * _KEY_MIX
            key = (key ^ (key >> _HALF)) * _KEY_MIX
            keys[i, band] = key ^ (key >> _HALF)
    return keys


def sketch(signatures: np.ndarray) -> np.ndarray:
    """(N, P) uint8: one byte of each minimum, enough to estimate similarity.

    Of the minimum times a constant, the highest byte: the lowest is a function of the lowest byte of the shingle alone,
    which is the same shingle in many positions of a short document.
    """
    return ((signatures * _BYTE_MIX) >> _BYTE_SHIFT).astype(np.uint8)


def similarity(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Jaccard similarity estimated from sketches: b-bit minwise hashing (Li & König 2010, eq. 5, b = 8, sparse sets).

    Args:
        left: (…, P) uint8.
        right: (…, P) uint8.

    Returns:
        (…) float64 in 0 to 1; standard error about sqrt(J (1 - J) / P).
    """
    equal: np.ndarray = np.mean(left == right, axis=-1)
    return np.clip((equal - _CHANCE) / (1 - _CHANCE), 0.0, 1.0)
