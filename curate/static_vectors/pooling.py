"""Text to vectors in one pass: words are hashed, counted, and their buckets' vectors added up, document by document.

A document is computed alone and in fixed order, so that its vector has the same bits in any batch. Vectors are added
four at a time: the sum is then read and written once for four.
"""

from __future__ import annotations

import numba
import numpy as np

from curate.kernels.folding import fold_tables
from curate.static_vectors.features import ROOM, count_document, shift_of

compiled = numba.njit(cache=True, nogil=True)

_N_TABLED = 4096
"""Counts whose weight is looked up, from 0."""


def pooled(data: np.ndarray, offsets: np.ndarray, vectors: np.ndarray, ngram: int) -> tuple[np.ndarray, np.ndarray]:
    """The sum over a document's buckets of (1 + ln count) times the bucket's vector, brought to L2 norm 1.

    Args:
        data: uint8, UTF-8 of all documents.
        offsets: (N + 1,) int64 into ``data`` (``documents.text_bytes``).
        vectors: (H, d) float32, H a power of two.
        ngram: 1 for words, 2 for words and pairs of neighbours.

    Returns:
        (embeddings, n_words): (N, d) float32, zero where all vectors are; (N,) int64.
    """
    return _pooled(data, offsets, vectors, ngram, shift_of(len(vectors)), fold_tables(), count_weights(np.arange(_N_TABLED)))


def count_weights(counts: np.ndarray) -> np.ndarray:
    """1 + ln(count) as float32, 0 for none."""
    return np.where(counts > 0, 1 + np.log(np.maximum(counts, 1)), 0).astype(np.float32)


@compiled
def _pooled(data, offsets, vectors, ngram, shift, tables, tabled):  # type: ignore[no-untyped-def]
    n_buckets, width = vectors.shape
    words = np.empty(ROOM, np.uint64)
    starts, ends = np.empty(ROOM, np.int64), np.empty(ROOM, np.int64)
    found, counts = np.empty(n_buckets + 1, np.int32), np.zeros(n_buckets, np.int32)
    weights = np.empty(n_buckets, np.float32)
    sums = np.zeros((offsets.size - 1, width), np.float32)
    n_words = np.zeros(offsets.size - 1, np.int64)
    for i in range(offsets.size - 1):
        n, n_found = count_document(data, offsets[i], offsets[i + 1], ngram, shift, tables, words, starts, ends, found, counts)
        n_words[i] = n
        for k in range(n_found):
            times = counts[found[k]]
            weights[k] = tabled[times] if times < tabled.size else np.float32(1.0 + np.log(np.float64(times)))
            counts[found[k]] = 0
        _add_rows(vectors, found, weights, n_found, sums[i])
        _normalise(sums[i])
    return sums, n_words


@compiled
def _add_rows(vectors, rows, weights, n_rows, into):  # type: ignore[no-untyped-def]
    """Add ``weights[k] * vectors[rows[k]]`` for every k below ``n_rows`` to ``into`` (d,)."""
    width = into.size
    whole = n_rows - n_rows % 4
    for k in range(0, whole, 4):
        w0, w1, w2, w3 = weights[k], weights[k + 1], weights[k + 2], weights[k + 3]
        v0, v1, v2, v3 = vectors[rows[k]], vectors[rows[k + 1]], vectors[rows[k + 2]], vectors[rows[k + 3]]
        for j in range(width):
            into[j] += (w0 * v0[j] + w1 * v1[j]) + (w2 * v2[j] + w3 * v3[j])
    for k in range(whole, n_rows):
        weight, vector = weights[k], vectors[rows[k]]
        for j in range(width):
            into[j] += weight * vector[j]


@compiled
def _normalise(vector):  # type: ignore[no-untyped-def]
    """To L2 norm 1, unless it is zero."""
    square = 0.0
    for j in range(vector.size):
        square += np.float64(vector[j]) * np.float64(vector[j])
    if square > 0:
        scale = 1.0 / np.sqrt(square)
        for j in range(vector.size):
            vector[j] = np.float32(vector[j] * scale)
