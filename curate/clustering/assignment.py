"""The nearest centroid of every vector: one matrix product, and then certainty.

|x - μ|² is least where x·μ - |μ|²/2 is greatest. A float32 product gives that figure for all centroids (the last term as one
more dimension), with an error that depends on the library, its threads and the shape of the block. So it only nominates. The
error of an inner product of D terms is at most γ |x| |μ| with γ = D u / (1 - D u), u = 2^-24, in whatever order they are
added (Higham 2002, "Accuracy and Stability of Numerical Algorithms", §3.1), and every centroid within that bound of the
greatest is measured from x - μ in float64, in a fixed order. Nearly always that is one centroid. The result is the one that
float64 arithmetic finds with all centroids, whatever the block, the library and the device.

A vector that is no number in some dimension belongs nowhere: cluster -1, distance NaN.

Suffixes: N vectors, R vectors of a block, M of them whose nearest is in doubt, K centroids, D dimensions.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from curate.clustering.vectors import widen
from curate.documents import read_only

BLOCK_SCORES, BLOCK_ROWS = 1 << 20, (256, 4096)
"""Scores of a block on a CPU: 4 MiB, which stay in the cache until they are read; and how few and many vectors a block has."""
DEVICE_SCORES, DEVICE_ROWS = 1 << 26, (1024, 65536)
NOWHERE = -1

_UNIT, _UNIT_64 = 2.0**-24, 2.0**-53
_TINY = 2.0**-125  # what a product may lose to underflow, with room
_HUGE = 1e37  # products beyond it may overflow
_LANES = 32


def assign(vectors_ND: np.ndarray, centroids_KD: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The nearest centroid of every vector, the first of equally near ones, and the Euclidean distance to it.

    Args:
        vectors_ND: float16 or float32; other numbers are rounded to float32.
        centroids_KD: finite numbers, rounded to float32; at least one.

    Returns:
        (N) int32, -1 for vectors that are not finite, and (N) float64, NaN for those.
    """
    return Nearest(centroids_KD)(vectors_ND)


class Nearest:
    """Centroids made ready for many calls.

    Args:
        centroids_KD: as for ``assign``.
        device: where products are computed, as torch names it.
    """

    def __init__(self, centroids_KD: np.ndarray, device: str = "cpu") -> None:
        self._centroids_KD = read_only(np.ascontiguousarray(centroids_KD, np.float32))
        squares_K = np.square(self._centroids_KD, dtype=np.float64).sum(1)
        self._largest = math.sqrt(squares_K.max())
        with np.errstate(over="ignore"):  # such lengths are told by their margin
            lowered_KE = np.column_stack([self._centroids_KD, (-squares_K / 2).astype(np.float32)])
        self._scores = _Scores(lowered_KE) if device == "cpu" else _DeviceScores(lowered_KE, device)

    def __call__(self, vectors_ND: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As ``assign``."""
        n, d = vectors_ND.shape
        cluster_N, distance_N = np.empty(n, np.int32), np.empty(n)
        rows = max(1, min(self._scores.n_rows, n))
        points_RE = np.ones((rows, d + 1), np.float32)
        for start in range(0, n, rows):
            block = vectors_ND[start : start + rows]
            points_RE = points_RE[: len(block)]
            widen(block, points_RE)
            margin_R = self._margins(points_RE[:, :d])
            nominees = self._scores.nominate(points_RE, margin_R)
            found = cluster_N[start : start + rows], distance_N[start : start + rows]
            _decide(points_RE, self._centroids_KD, margin_R, *nominees, *found)
        return cluster_N, distance_N

    def _margins(self, points_RD: np.ndarray) -> np.ndarray:
        """How far below the greatest score a centroid can have its own and yet be nearest, (R) float32.

        Twice the error of two scores; infinite where scores may overflow, NaN for vectors that are not finite.
        """
        d = points_RD.shape[1]
        gamma, gamma_64 = (d + 3) * _UNIT / (1 - (d + 3) * _UNIT), (d + 3) * _UNIT_64
        with np.errstate(all="ignore"):
            squares_R = np.einsum("rd,rd->r", points_RD, points_RD).astype(np.float64)
            norm_R = np.sqrt((squares_R + d * _TINY) * (1 + 2 * gamma))
            error_R = gamma * (norm_R + self._largest) * self._largest + d * _TINY
            error_R += gamma_64 * np.square(norm_R + self._largest)  # where vectors are so long that float64 errs too
            margin_R = (4 * error_R).astype(np.float32)
            margin_R[~(np.maximum(norm_R, self._largest) * self._largest <= _HUGE)] = np.inf
        unsure_R = np.flatnonzero(~np.isfinite(squares_R))
        margin_R[unsure_R[~np.isfinite(points_RD[unsure_R]).all(1)]] = np.nan
        return margin_R


class _Nominees(NamedTuple):
    """What scores say of a block.

    Args:
        nominee_R: the centroid of the greatest score, int64.
        least_R: what a score must have for its centroid to come into question, float32.
        place_R: the row of ``scores_MK`` where more than one does, else -1, int64.
        scores_MK: float32, infinite at the nominee.
    """

    nominee_R: np.ndarray
    least_R: np.ndarray
    place_R: np.ndarray
    scores_MK: np.ndarray


class _Scores:
    """Scores by numpy's BLAS."""

    def __init__(self, lowered_KE: np.ndarray) -> None:
        self.n_rows = min(max(BLOCK_SCORES // len(lowered_KE), BLOCK_ROWS[0]), BLOCK_ROWS[1])
        self._lowered_EK = lowered_KE.T
        self._room_RK = np.empty((0, len(lowered_KE)), np.float32)

    def nominate(self, points_RE: np.ndarray, margin_R: np.ndarray) -> _Nominees:
        """Who has the greatest score, and who comes near it."""
        n = len(points_RE)
        if len(self._room_RK) < n:
            self._room_RK = np.empty((n, self._lowered_EK.shape[1]), np.float32)
        scores_RK, rows_R = self._room_RK[:n], np.arange(n)
        with np.errstate(all="ignore"):
            np.matmul(points_RE, self._lowered_EK, out=scores_RK)
            nominee_R = scores_RK.argmax(1)
            least_R = scores_RK[rows_R, nominee_R] - margin_R
            scores_RK[rows_R, nominee_R] = -np.inf
            second_R = scores_RK.max(1)
        scores_RK[rows_R, nominee_R] = np.inf
        return _Nominees(nominee_R, least_R, np.where(second_R >= least_R, rows_R, NOWHERE), scores_RK)


class _DeviceScores:
    """Scores on a GPU; only those in doubt come back."""

    def __init__(self, lowered_KE: np.ndarray, device: str) -> None:
        import torch

        self.n_rows = min(max(DEVICE_SCORES // len(lowered_KE), DEVICE_ROWS[0]), DEVICE_ROWS[1])
        self._torch: Any = torch
        self._device = device
        self._lowered_EK = torch.from_numpy(lowered_KE).to(device).T

    def nominate(self, points_RE: np.ndarray, margin_R: np.ndarray) -> _Nominees:
        """As ``_Scores``."""
        torch = self._torch
        precision = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("highest")  # the bound holds for float32, not for shortened formats
        try:
            scores_RK = torch.from_numpy(points_RE).to(self._device) @ self._lowered_EK
        finally:
            torch.set_float32_matmul_precision(precision)
        greatest_R, nominee_R = scores_RK.max(1)
        least_R = greatest_R - torch.from_numpy(margin_R).to(self._device)
        second_R = scores_RK.scatter_(1, nominee_R[:, None], -math.inf).amax(1)
        scores_RK.scatter_(1, nominee_R[:, None], math.inf)
        doubt_M = torch.nonzero(second_R >= least_R)[:, 0]
        place_R = np.full(len(points_RE), NOWHERE)
        place_R[doubt_M.cpu().numpy()] = np.arange(len(doubt_M))
        return _Nominees(nominee_R.cpu().numpy(), least_R.cpu().numpy(), place_R, scores_RK[doubt_M].cpu().numpy())


@njit(nogil=True, cache=True)
def _decide(
    points_RE: np.ndarray,
    centroids_KD: np.ndarray,
    margin_R: np.ndarray,
    nominee_R: np.ndarray,
    least_R: np.ndarray,
    place_R: np.ndarray,
    scores_MK: np.ndarray,
    cluster_R: np.ndarray,
    distance_R: np.ndarray,
) -> None:
    """The nearest by distance among those that come into question: all where the margin is infinite."""
    k, d = centroids_KD.shape
    sums_L = np.empty(_LANES)
    for r in range(len(points_RE)):
        point_D = points_RE[r, :d]
        nearest, squared = NOWHERE, np.inf
        if margin_R[r] == np.inf:
            for j in range(k):
                other = _squared_distance(point_D, centroids_KD[j], sums_L)
                if other < squared:
                    nearest, squared = j, other
        elif margin_R[r] == margin_R[r]:
            if place_R[r] == NOWHERE:
                nearest = nominee_R[r]
                squared = _squared_distance(point_D, centroids_KD[nearest], sums_L)
            else:
                scores_K = scores_MK[place_R[r]]
                for j in range(k):
                    if scores_K[j] >= least_R[r]:
                        other = _squared_distance(point_D, centroids_KD[j], sums_L)
                        if other < squared:
                            nearest, squared = j, other
        cluster_R[r] = nearest
        distance_R[r] = math.sqrt(squared) if nearest != NOWHERE else np.nan


@njit(nogil=True, cache=True)
def _squared_distance(point_D: np.ndarray, centroid_D: np.ndarray, sums_L: np.ndarray) -> float:
    """|x - μ|² in float64, added in an order that depends on D alone."""
    d, lanes = len(point_D), len(sums_L)
    whole = d - d % lanes
    sums_L[:] = 0
    for i in range(0, whole, lanes):
        x, mu = point_D[i : i + lanes], centroid_D[i : i + lanes]
        for j in range(lanes):
            difference = np.float64(x[j]) - np.float64(mu[j])
            sums_L[j] += difference * difference
    total = 0.0
    for i in range(whole, d):
        difference = np.float64(point_D[i]) - np.float64(centroid_D[i])
        total += difference * difference
    for j in range(lanes):
        total += sums_L[j]
    return total
