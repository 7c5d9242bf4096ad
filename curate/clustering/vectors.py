"""Embedding columns as matrices, without a copy and without a Python loop.

Suffixes: N documents, D dimensions, E of them and more.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numba import njit

from curate.documents import read_only

FLOATS = {pa.float16(): np.float16, pa.float32(): np.float32}


def vectors(column: pa.FixedSizeListArray) -> tuple[np.ndarray, np.ndarray]:
    """A column of embeddings as (vectors_ND, known_N).

    Args:
        column: fixed-size lists of float16 or float32.

    Returns:
        (N, D) float16 or float32, a view where Arrow allows it; and whether there is a vector, (N) bool. Rows without one hold anything.
    """
    n, width = len(column), column.type.list_size
    values = column.values  # of the whole buffer: neither offset nor nulls are taken out
    whole = values.slice(column.offset * width, n * width)
    if whole.null_count:
        whole = whole.fill_null(float("nan"))
    known_N = np.ones(n, bool) if not column.null_count else np.asarray(column.is_valid())
    return whole.to_numpy(zero_copy_only=False).reshape(n, width), known_N


def widen(vectors_ND: np.ndarray, into_NE: np.ndarray) -> None:
    """Write numbers as float32 into the first D columns of a C-contiguous float32 matrix; the others stay.

    numpy has no vector instructions for half floats, and would take a tenth of the time of a product with 1000 centroids.
    """
    if vectors_ND.dtype == np.float16:
        halves_ND = read_only(np.ascontiguousarray(vectors_ND).view(np.uint16))
        _widen(halves_ND, into_NE.view(np.uint32), into_NE)
    else:
        into_NE[:, : vectors_ND.shape[1]] = vectors_ND


@njit(nogil=True, cache=True)
def _widen(halves_ND: np.ndarray, bits_NE: np.ndarray, into_NE: np.ndarray) -> None:
    """Half floats by their bits; ``bits_NE`` and ``into_NE`` are one memory."""
    d = halves_ND.shape[1]
    sign, rest, exponent = np.uint32(0x8000), np.uint32(0x7FFF), np.uint32(0x7C00)
    rebias = np.float32(2.0**112)  # exponents count from 15 in one and from 127 in the other
    for n in range(len(halves_ND)):
        half_D, bits_D, into_D = halves_ND[n], bits_NE[n, :d], into_NE[n, :d]
        for i in range(d):
            half = np.uint32(half_D[i])
            infinite = np.uint32(0x7F800000) if half & exponent == exponent else np.uint32(0)
            bits_D[i] = ((half & sign) << np.uint32(16)) | ((half & rest) << np.uint32(13)) | infinite
        for i in range(d):
            into_D[i] *= rebias
