"""Truncated SVD of a large sparse matrix, to the same bytes whatever the number of threads.

Randomised subspace iteration (Halko, Martinsson & Tropp 2011, algorithm 4.4 for the range of A^T): from uniform noise,
Z = A^T A Q and its orthonormal basis, a few times; then A Q, which is narrow, is decomposed exactly. A row of A is read
once a pass: its product with Q and what that adds to Z need no tall matrix in between.

Everything is a loop in fixed order, on one thread. A BLAS would share the work out by the number of threads and round
otherwise for each, and a model would then differ between machines that should agree.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np

from curate.hashing import mix64, seed_of

compiled = numba.njit(cache=True, nogil=True)

_AT_ONCE = 8
"""Rows whose products are added up before they go to memory."""
_DEPENDENT = 1e-12
"""A column whose squared length falls to this share once the columns before it are taken away is no direction of its own."""
_ORTHOGONAL = 1e-14
_MOST_SWEEPS = 60

_Parts = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Bounds, columns and values of sparse rows."""


@dataclass(frozen=True)
class SparseRows:
    """An (N, H) matrix: row i has ``values[bounds[i]:bounds[i + 1]]`` in ``columns`` of the same places.

    Args:
        bounds: (N + 1,) int64.
        columns: int32, distinct within a row.
        values: float32.
        n_columns: H.
    """

    bounds: np.ndarray
    columns: np.ndarray
    values: np.ndarray
    n_columns: int


def truncated_svd(matrix: SparseRows, rank: int, *, seed: int, passes: int = 2, oversampling: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """The largest singular values and their right vectors.

    Args:
        matrix: A, (N, H).
        rank: k, how many; at most min(N, H).
        seed: of the noise.
        passes: how often A^T A is applied; the error of the subspace falls by (s[k+p+1] / s[k])^2 with each.
        oversampling: p, columns carried along beyond ``rank``.

    Returns:
        (values, vectors): (k,) float64 falling, 0 where the matrix has no more directions; (H, k) float32, orthonormal
        columns (zero where the value is), each with its largest entry positive.
    """
    n_rows, n_columns = matrix.bounds.size - 1, matrix.n_columns
    width = min(rank + oversampling, n_rows, n_columns)
    parts = (matrix.bounds, matrix.columns, matrix.values)
    if n_rows >= n_columns:
        values, vectors = _right_vectors(parts, n_columns, rank, width, seed, passes)
    else:  # bases are as long as the shorter side
        turned: _Parts = _transposed(*parts, n_columns)
        values, left = _right_vectors(turned, n_rows, rank, width, seed, passes)
        vectors = _images(*turned, left)
        vectors *= np.divide(1.0, values, out=np.zeros_like(values), where=values > 0).astype(np.float32)
    largest = np.abs(vectors).argmax(axis=0)
    vectors *= np.where(vectors[largest, np.arange(rank)] < 0, np.float32(-1), np.float32(1))
    return values, vectors


def _right_vectors(parts: _Parts, n_columns: int, rank: int, width: int, seed: int, passes: int) -> tuple[np.ndarray, np.ndarray]:
    """As ``truncated_svd``, of signs not settled; ``width`` columns are carried along."""
    basis = _noise(n_columns, width, seed)
    for _ in range(passes):
        basis = _orthonormal(_applied(*parts, basis))
    basis = _orthonormal(basis)  # once more, for what the first left undone where lengths differ by orders of magnitude
    upper, alive = _upper_factor(_image_gram(*parts, basis))
    upper[~alive] = 0.0
    _orthogonalise_rows(upper)
    lengths = np.sqrt((upper * upper).sum(axis=1))
    order = np.argsort(-lengths, kind="stable")[:rank]
    turn = np.divide(upper[order], lengths[order, None], out=np.zeros((rank, width)), where=lengths[order, None] > 0)
    return lengths[order], _times(basis, np.ascontiguousarray(turn.T))


def _noise(n_rows: int, n_columns: int, seed: int) -> np.ndarray:
    """(n_rows, n_columns) float32, uniform from -1 to 1."""
    n_words = -(-n_rows * n_columns // 2)
    words = mix64(np.arange(n_words, dtype=np.uint64) + np.uint64(seed_of(seed, "subspace iteration")))
    halves = words.astype("<u8").view("<i4")[: n_rows * n_columns]
    return (halves.astype(np.float32) * np.float32(2.0**-31)).reshape(n_rows, n_columns)


@compiled
def _applied(bounds, columns, values, basis):  # type: ignore[no-untyped-def]
    """A^T A Q (H, k) float32 of a basis Q (H, k) float32."""
    product = np.zeros(basis.shape, np.float32)
    image = np.empty(basis.shape[1], np.float32)
    for i in range(bounds.size - 1):
        _row_times(bounds[i], bounds[i + 1], columns, values, basis, image)
        for e in range(bounds[i], bounds[i + 1]):
            value, into = values[e], product[columns[e]]
            for j in range(image.size):
                into[j] += value * image[j]
    return product


@compiled
def _image_gram(bounds, columns, values, basis):  # type: ignore[no-untyped-def]
    """(A Q)^T (A Q) in float64, upper triangle."""
    width, n = basis.shape[1], 0
    images, gram = np.zeros((_AT_ONCE, width), np.float32), np.zeros((width, width))
    for i in range(bounds.size - 1):
        if bounds[i] < bounds[i + 1]:
            _row_times(bounds[i], bounds[i + 1], columns, values, basis, images[n])
            n += 1
        if n == _AT_ONCE:
            _add_products(images, gram)
            n = 0
    images[n:] = 0
    _add_products(images, gram)
    return gram


@compiled
def _images(bounds, columns, values, basis):  # type: ignore[no-untyped-def]
    """A Q, float32."""
    images = np.empty((bounds.size - 1, basis.shape[1]), np.float32)
    for i in range(bounds.size - 1):
        _row_times(bounds[i], bounds[i + 1], columns, values, basis, images[i])
    return images


@compiled
def _transposed(bounds, columns, values, n_columns):  # type: ignore[no-untyped-def]
    """The sparse rows of A^T, entries of a row in the order of A's rows."""
    turned = np.zeros(n_columns + 1, np.int64)
    for column in columns:
        turned[column + 1] += 1
    for column in range(n_columns):
        turned[column + 1] += turned[column]
    place = turned[:-1].copy()
    rows, entries = np.empty(columns.size, np.int32), np.empty(values.size, np.float32)
    for i in range(bounds.size - 1):
        for e in range(bounds[i], bounds[i + 1]):
            at = place[columns[e]]
            rows[at], entries[at] = i, values[e]
            place[columns[e]] += 1
    return turned, rows, entries


@compiled
def _row_times(first, end, columns, values, basis, image):  # type: ignore[no-untyped-def]
    """One row of A, its entries from ``first`` to ``end``, times Q: into ``image`` (k,)."""
    image[:] = 0
    whole = end - (end - first) % 4
    for e in range(first, whole, 4):
        a0, a1, a2, a3 = values[e], values[e + 1], values[e + 2], values[e + 3]
        q0, q1, q2, q3 = basis[columns[e]], basis[columns[e + 1]], basis[columns[e + 2]], basis[columns[e + 3]]
        for j in range(image.size):
            image[j] += (a0 * q0[j] + a1 * q1[j]) + (a2 * q2[j] + a3 * q3[j])
    for e in range(whole, end):
        value, vector = values[e], basis[columns[e]]
        for j in range(image.size):
            image[j] += value * vector[j]


@compiled
def _add_products(rows, gram):  # type: ignore[no-untyped-def]
    """Add R^T R of ``rows`` (8, k) to the upper triangle of ``gram``."""
    width = rows.shape[1]
    r0, r1, r2, r3, r4, r5, r6, r7 = rows[0], rows[1], rows[2], rows[3], rows[4], rows[5], rows[6], rows[7]
    for i in range(width):
        a0, a1, a2, a3 = r0[i], r1[i], r2[i], r3[i]
        a4, a5, a6, a7 = r4[i], r5[i], r6[i], r7[i]
        into = gram[i]
        for j in range(i, width):
            low = (a0 * r0[j] + a1 * r1[j]) + (a2 * r2[j] + a3 * r3[j])
            high = (a4 * r4[j] + a5 * r5[j]) + (a6 * r6[j] + a7 * r7[j])
            into[j] += low + high


def _orthonormal(rows: np.ndarray) -> np.ndarray:
    """Columns of the same span, orthonormal; those that depend on earlier ones are zero (Cholesky QR)."""
    upper, alive = _upper_factor(_gram(rows))
    inverse = _inverse_upper(upper)
    inverse[:, ~alive] = 0.0
    return _times(rows, inverse)


@compiled
def _gram(rows):  # type: ignore[no-untyped-def]
    """R^T R in float64, upper triangle, of (n, k) float32."""
    n_rows, width = rows.shape
    gram = np.zeros((width, width))
    eight = np.zeros((_AT_ONCE, width))
    for first in range(0, n_rows, _AT_ONCE):
        n = min(_AT_ONCE, n_rows - first)
        eight[:n] = rows[first : first + n]
        eight[n:] = 0
        _add_products(eight, gram)
    return gram


@compiled
def _upper_factor(gram):  # type: ignore[no-untyped-def]
    """U with U^T U = G (upper triangle read), and which columns are directions of their own; the others get U[j, j] = 1."""
    width = gram.shape[0]
    upper = np.zeros((width, width))
    alive = np.ones(width, np.bool_)
    left = gram.copy()
    for j in range(width):
        if left[j, j] <= _DEPENDENT * gram[j, j]:
            alive[j] = False
            upper[j, j] = 1.0
            continue
        root = np.sqrt(left[j, j])
        for i in range(j, width):
            upper[j, i] = left[j, i] / root
        for i in range(j + 1, width):
            factor = upper[j, i]
            for k in range(i, width):
                left[i, k] -= factor * upper[j, k]
    return upper, alive


@compiled
def _inverse_upper(upper):  # type: ignore[no-untyped-def]
    """The inverse of an upper triangular matrix."""
    width = upper.shape[0]
    inverse = np.zeros((width, width))
    for i in range(width - 1, -1, -1):
        inverse[i, i] = 1.0
        for k in range(i + 1, width):
            factor = upper[i, k]
            for j in range(k, width):
                inverse[i, j] -= factor * inverse[k, j]
        for j in range(i, width):
            inverse[i, j] /= upper[i, i]
    return inverse


@compiled
def _times(rows, factor):  # type: ignore[no-untyped-def]
    """(n, k) float32 times (k, m) float64, as float32; sums in float64."""
    n_rows, width = rows.shape
    n_columns = factor.shape[1]
    made = np.empty((n_rows, n_columns), np.float32)
    sums = np.empty((4, n_columns))
    for first in range(0, n_rows, 4):
        sums[:] = 0
        n = min(4, n_rows - first)
        s0, s1, s2, s3 = sums[0], sums[1], sums[2], sums[3]
        for i in range(width):
            a0 = np.float64(rows[first, i])
            a1, a2 = np.float64(rows[min(first + 1, n_rows - 1), i]), np.float64(rows[min(first + 2, n_rows - 1), i])
            a3, by = np.float64(rows[min(first + 3, n_rows - 1), i]), factor[i]
            for j in range(n_columns):
                s0[j] += a0 * by[j]
                s1[j] += a1 * by[j]
                s2[j] += a2 * by[j]
                s3[j] += a3 * by[j]
        for r in range(n):
            for j in range(n_columns):
                made[first + r, j] = np.float32(sums[r, j])
    return made


@compiled
def _orthogonalise_rows(rows):  # type: ignore[no-untyped-def]
    """Rotate pairs of rows in place until all are orthogonal: one-sided Jacobi (Hestenes 1958).

    Of a factor U of G = U^T U, the rows become its singular values times its right vectors.
    """
    n_rows, width = rows.shape
    for _ in range(_MOST_SWEEPS):
        n_turned = 0
        for p in range(n_rows - 1):
            for q in range(p + 1, n_rows):
                a, b, c = 0.0, 0.0, 0.0
                for j in range(width):
                    a += rows[p, j] * rows[p, j]
                    b += rows[q, j] * rows[q, j]
                    c += rows[p, j] * rows[q, j]
                if abs(c) <= _ORTHOGONAL * np.sqrt(a * b):
                    continue
                n_turned += 1
                slope = (b - a) / (2.0 * c)
                tangent = (1.0 if slope >= 0 else -1.0) / (abs(slope) + np.sqrt(1.0 + slope * slope))
                cosine = 1.0 / np.sqrt(1.0 + tangent * tangent)
                sine = cosine * tangent
                for j in range(width):
                    x, y = rows[p, j], rows[q, j]
                    rows[p, j] = cosine * x - sine * y
                    rows[q, j] = sine * x + cosine * y
        if n_turned == 0:
            break
