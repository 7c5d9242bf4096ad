"""Arithmetic of linear heads, compiled: the same additions in the same order whatever the batch and the threads.

A matrix product of a library may add up in another order for another number of rows or threads; a label that turns
on the last bit would then depend on how a shard was cut. Here every row is added up by itself, from the first
dimension to the last, and rows enter a sum in their own order.

Suffixes: T or N rows, D dimensions, C classes, L logits of a row; weights have D + 1 rows, the last one being the bias.
"""

from __future__ import annotations

import math

import numba
import numpy as np

compiled = numba.njit(cache=True, nogil=True)

ORDINAL, CLASSIFIER = 0, 1


@compiled
def logits(vectors_TD, weights):  # type: ignore[no-untyped-def]
    """(T, L) float64: the products of ``vectors_TD`` (T, D) float32 with ``weights`` (D + 1, L) float64, plus bias."""
    n_rows, n_dims = vectors_TD.shape
    found = np.empty((n_rows, weights.shape[1]))
    for t in range(n_rows):
        row = found[t]
        row[:] = weights[n_dims]
        for d in range(n_dims):
            x = np.float64(vectors_TD[t, d])
            for k in range(len(row)):
                row[k] += x * weights[d, k]
    return found


@compiled
def ratings(logits_NL, kind):  # type: ignore[no-untyped-def]
    """Rating (N) float32 and label (N) int16 from logits: sums of sigmoids, or the mean and the first argmax of a softmax."""
    n_rows, n_logits = logits_NL.shape
    rating, label = np.empty(n_rows, np.float32), np.empty(n_rows, np.int16)
    for t in range(n_rows):
        z = logits_NL[t]
        total, reached, norm = 0.0, 0, 0.0
        if kind == ORDINAL:
            for k in range(n_logits):
                small = math.exp(-abs(z[k]))
                total += (1.0 if z[k] >= 0 else small) / (1.0 + small)
                reached += z[k] > 0
            rating[t] = total
        else:
            for k in range(n_logits):
                if z[k] > z[reached]:
                    reached = k
            for k in range(n_logits):
                p = math.exp(z[k] - z[reached])
                norm += p
                total += k * p
            rating[t] = total / norm
        label[t] = reached
    return rating, label


@compiled
def loss_and_gradient(vectors_TD, counts_TC, weights, kind, gradient):  # type: ignore[no-untyped-def]
    """The mean loss over records, in nats; fills ``gradient`` (D + 1, L).

    Ordinal, L = C - 1 thresholds: with z = logits, the sum over k = 1..L of BCE(sigmoid(z_k), 1[y >= k]).
    Classifier, L = C classes: -ln softmax(z)_y. A row counts as often as it has labels, ``counts_TC`` (T, C) float64.
    """
    n_rows, n_dims = vectors_TD.shape
    n_logits = weights.shape[1]
    z = np.empty((4, n_logits))
    total = 0.0
    n_records = 0.0
    gradient[:] = 0.0
    for start in range(0, n_rows, 4):
        n = min(4, n_rows - start)
        for i in range(4):
            z[i] = weights[n_dims]
        # Rows beyond the last repeat it, and their residuals are set to zero.
        a, b = start, min(start + 1, n_rows - 1)
        c, e = min(start + 2, n_rows - 1), min(start + 3, n_rows - 1)
        for d in range(n_dims):
            xa, xb = np.float64(vectors_TD[a, d]), np.float64(vectors_TD[b, d])
            xc, xe = np.float64(vectors_TD[c, d]), np.float64(vectors_TD[e, d])
            for k in range(n_logits):
                w = weights[d, k]
                z[0, k] += xa * w
                z[1, k] += xb * w
                z[2, k] += xc * w
                z[3, k] += xe * w
        for i in range(4):
            if i < n:
                own = _ordinal(z[i], counts_TC[start + i]) if kind == ORDINAL else _softmax(z[i], counts_TC[start + i])
                total += own
                n_records += counts_TC[start + i].sum()
            else:
                z[i] = 0.0
        for d in range(n_dims):
            xa, xb = np.float64(vectors_TD[a, d]), np.float64(vectors_TD[b, d])
            xc, xe = np.float64(vectors_TD[c, d]), np.float64(vectors_TD[e, d])
            for k in range(n_logits):
                gradient[d, k] += (xa * z[0, k] + xb * z[1, k]) + (xc * z[2, k] + xe * z[3, k])
        for k in range(n_logits):
            gradient[n_dims, k] += (z[0, k] + z[1, k]) + (z[2, k] + z[3, k])
    gradient /= n_records
    return total / n_records


@compiled
def _ordinal(z, counts_C):  # type: ignore[no-untyped-def]
    """The loss of one row, and z turned into its derivative."""
    n = counts_C.sum()
    reached = n
    loss = 0.0
    for k in range(len(z)):
        reached -= counts_C[k]  # records with y >= k + 1
        small = math.exp(-abs(z[k]))
        loss += n * (max(z[k], 0.0) + math.log1p(small)) - reached * z[k]
        z[k] = n * ((1.0 if z[k] >= 0 else small) / (1.0 + small)) - reached
    return loss


@compiled
def _softmax(z, counts_C):  # type: ignore[no-untyped-def]
    """The loss of one row, and z turned into its derivative."""
    n = counts_C.sum()
    top = z.max()
    norm = 0.0
    loss = 0.0
    for k in range(len(z)):
        loss += counts_C[k] * (top - z[k])
        z[k] = math.exp(z[k] - top)
        norm += z[k]
    for k in range(len(z)):
        z[k] = n * z[k] / norm - counts_C[k]
    return loss + n * math.log(norm)


@compiled
def gram(vectors_TD, n_records_T, step):  # type: ignore[no-untyped-def]
    """(D + 1, D + 1): the mean over records of x xᵀ, x with a 1 at its end, from every ``step``-th row; lower triangle only."""
    n_rows, n_dims = vectors_TD.shape
    found = np.zeros((n_dims + 1, n_dims + 1))
    x = np.ones(n_dims + 1)
    n_records = 0.0
    for t in range(0, n_rows, step):
        for d in range(n_dims):
            x[d] = vectors_TD[t, d]
        n_records += n_records_T[t]
        for i in range(n_dims + 1):
            scaled = x[i] * n_records_T[t]
            for j in range(i + 1):
                found[i, j] += scaled * x[j]
    found /= n_records
    return found


@compiled
def cholesky(matrix):  # type: ignore[no-untyped-def]
    """Turn the lower triangle of a positive definite matrix into its factor L, A = L Lᵀ."""
    for i in range(len(matrix)):
        for j in range(i + 1):
            value = matrix[i, j]
            for k in range(j):
                value -= matrix[i, k] * matrix[j, k]
            matrix[i, j] = math.sqrt(value) if i == j else value / matrix[j, j]


@compiled
def solve(factor, right):  # type: ignore[no-untyped-def]
    """x with L Lᵀ x = ``right`` (D + 1, L)."""
    n, n_columns = right.shape
    x = right.copy()
    for i in range(n):
        for j in range(i):
            for k in range(n_columns):
                x[i, k] -= factor[i, j] * x[j, k]
        for k in range(n_columns):
            x[i, k] /= factor[i, i]
    for i in range(n - 1, -1, -1):
        for k in range(n_columns):
            x[i, k] /= factor[i, i]
        for j in range(i):
            for k in range(n_columns):
                x[j, k] -= factor[i, j] * x[i, k]
    return x
