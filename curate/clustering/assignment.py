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
from typing import Any

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
_SUMS = 32  # kept side by side, so that additions need not wait for each other
_LANES = 128  # of which the greatest score is kept, so that few are looked at again
_LEAST, _MAGNITUDE, _SIGN = np.int32(-(2**31)), np.int32(2**31 - 1), np.int32(31)


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
    """Centroids made ready for many calls, by one thread at a time.

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
        self._lowered_EK = lowered_KE.T
        self._device = None if device == "cpu" else _Device(lowered_KE, device)
        (fewest, most), scores = (BLOCK_ROWS, BLOCK_SCORES) if self._device is None else (DEVICE_ROWS, DEVICE_SCORES)
        self._n_rows = min(max(scores // len(lowered_KE), fewest), most)
        self._room_RK = np.empty((0, len(lowered_KE)), np.float32)

    def __call__(self, vectors_ND: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As ``assign``."""
        n, d = vectors_ND.shape
        cluster_N, distance_N = np.empty(n, np.int32), np.empty(n)
        rows = max(1, min(self._n_rows, n))
        points_RE = np.ones((rows, d + 1), np.float32)
        for start in range(0, n, rows):
            block = vectors_ND[start : start + rows]
            points_RE = points_RE[: len(block)]
            widen(block, points_RE)
            found = cluster_N[start : start + rows], distance_N[start : start + rows]
            if self._device is None:
                self._choose(points_RE, self._scores(points_RE), *found)
            else:
                self._choose_few(self._device, points_RE, *found)
        return cluster_N, distance_N

    def _scores(self, points_RE: np.ndarray) -> np.ndarray:
        """(R, K) float32, overwritten by the next call."""
        if len(self._room_RK) < len(points_RE):
            self._room_RK = np.empty((len(points_RE), len(self._centroids_KD)), np.float32)
        with np.errstate(all="ignore"):
            return np.matmul(points_RE, self._lowered_EK, out=self._room_RK[: len(points_RE)])

    def _choose(self, points_RE: np.ndarray, scores_RK: np.ndarray, cluster_R: np.ndarray, distance_R: np.ndarray) -> None:
        _choose(points_RE, scores_RK, scores_RK.view(np.int32), self._centroids_KD, self._largest, cluster_R, distance_R)

    def _choose_few(self, device: _Device, points_RE: np.ndarray, cluster_R: np.ndarray, distance_R: np.ndarray) -> None:
        """Scores of a vector come back from the device only where more than one centroid comes into question."""
        margin_R = _margins(points_RE, self._centroids_KD.shape[1], self._largest)
        cluster_R[:], doubt_M, scores_MK = device.nominate(points_RE, margin_R)
        _measure(points_RE, self._centroids_KD, cluster_R, distance_R)
        found = np.empty(len(doubt_M), np.int32), np.empty(len(doubt_M))
        self._choose(points_RE[doubt_M], scores_MK, *found)
        cluster_R[doubt_M], distance_R[doubt_M] = found


class _Device:
    """Scores on a GPU."""

    def __init__(self, lowered_KE: np.ndarray, device: str) -> None:
        import torch

        self._torch: Any = torch
        self._name = device
        self._lowered_EK = torch.from_numpy(lowered_KE).to(device).T

    def nominate(self, points_RE: np.ndarray, margin_R: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Centroids of the greatest score, (R); rows where another comes within the margin of it, (M); their scores, (M, K)."""
        torch = self._torch
        precision = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("highest")  # the margin holds for float32, not for shortened formats
        try:
            scores_RK = torch.from_numpy(points_RE).to(self._name) @ self._lowered_EK
        finally:
            torch.set_float32_matmul_precision(precision)
        greatest_R1, nominee_R1 = scores_RK.max(1, keepdim=True)
        least_R = greatest_R1[:, 0] - torch.from_numpy(margin_R).to(self._name)
        second_R = scores_RK.scatter_(1, nominee_R1, -math.inf).amax(1)
        scores_RK.scatter_(1, nominee_R1, greatest_R1)
        doubt_M = torch.nonzero(~(second_R < least_R))[:, 0]  # NaN is in doubt
        return nominee_R1[:, 0].cpu().numpy(), doubt_M.cpu().numpy(), scores_RK[doubt_M].cpu().numpy()


@njit(nogil=True, cache=True)
def _choose(
    points_RE: np.ndarray,
    scores_RK: np.ndarray,
    bits_RK: np.ndarray,
    centroids_KD: np.ndarray,
    largest: float,
    cluster_R: np.ndarray,
    distance_R: np.ndarray,
) -> None:
    """The nearest by distance among centroids whose scores come near the greatest.

    ``bits_RK`` is the memory of ``scores_RK``: numbers whose bits are whole numbers in the same order, of which compilers
    find the greatest many at a time.
    """
    k, d = centroids_KD.shape
    sums, greatest_L = np.empty(_SUMS), np.empty(_LANES, np.int32)
    number = np.empty(1, np.float32)
    bits = number.view(np.int32)
    for r in range(len(points_RE)):
        point_D = points_RE[r, :d]
        margin = _margin(point_D, largest)
        nearest, squared = NOWHERE, np.inf
        if margin == np.inf:
            for j in range(k):
                other = _squared_distance(point_D, centroids_KD[j], sums)
                if other < squared:
                    nearest, squared = j, other
        elif margin == margin:
            bits[0] = _ordered(_greatest(bits_RK[r], greatest_L))
            number[0] = number[0] - margin
            least, least_bits = number[0], _ordered(bits[0])
            for lane in range(min(k, _LANES)):
                if greatest_L[lane] >= least_bits:
                    for j in range(lane, k, _LANES):
                        if scores_RK[r, j] >= least:
                            other = _squared_distance(point_D, centroids_KD[j], sums)
                            if other < squared or (other == squared and j < nearest):
                                nearest, squared = j, other
        cluster_R[r] = nearest
        distance_R[r] = math.sqrt(squared) if nearest != NOWHERE else np.nan


@njit(nogil=True, cache=True)
def _ordered(bits: Any) -> Any:
    """The bits of a float32 as a whole number that rises with it; and the inverse."""
    return bits ^ ((bits >> _SIGN) & _MAGNITUDE)


@njit(nogil=True, cache=True)
def _greatest(bits_K: np.ndarray, greatest_L: np.ndarray) -> Any:
    """The greatest of all; and of every lane: lane l has the scores l, l + L, l + 2 L, …"""
    whole = len(bits_K) - len(bits_K) % _LANES
    greatest_L[:] = _LEAST
    for start in range(0, whole, _LANES):
        span_L = bits_K[start : start + _LANES]
        for lane in range(_LANES):
            greatest_L[lane] = max(greatest_L[lane], np.int32(_ordered(span_L[lane])))
    for j in range(whole, len(bits_K)):
        greatest_L[j - whole] = max(greatest_L[j - whole], np.int32(_ordered(bits_K[j])))
    greatest = _LEAST
    for lane in range(_LANES):
        greatest = max(greatest, greatest_L[lane])
    return greatest


@njit(nogil=True, cache=True)
def _margin(point_D: np.ndarray, largest: float) -> float:
    """How far below the greatest score a centroid can have its own and yet be nearest.

    Twice the error of two scores; infinite where scores may overflow, NaN for a vector that is not finite.
    """
    d = len(point_D)
    norm = math.sqrt(_squared_norm(point_D))
    if not math.isfinite(norm):
        return math.nan
    if max(norm, largest) * largest > _HUGE:
        return math.inf
    gamma, gamma_64 = (d + 3) * _UNIT / (1 - (d + 3) * _UNIT), (d + 3) * _UNIT_64
    # Float64 errs too, where vectors are far longer than centroids.
    error = gamma * (norm + largest) * largest + d * _TINY + gamma_64 * (norm + largest) ** 2
    return 4 * error


@njit(nogil=True, cache=True)
def _margins(points_RE: np.ndarray, d: int, largest: float) -> np.ndarray:
    """``_margin`` of every row, (R) float32."""
    margin_R = np.empty(len(points_RE), np.float32)
    for r in range(len(points_RE)):
        margin_R[r] = _margin(points_RE[r, :d], largest)
    return margin_R


@njit(nogil=True, cache=True)
def _measure(points_RE: np.ndarray, centroids_KD: np.ndarray, cluster_R: np.ndarray, distance_R: np.ndarray) -> None:
    """Distances to given centroids."""
    d, sums = centroids_KD.shape[1], np.empty(_SUMS)
    for r in range(len(points_RE)):
        distance_R[r] = math.sqrt(_squared_distance(points_RE[r, :d], centroids_KD[cluster_R[r]], sums))


@njit(nogil=True, cache=True, fastmath={"reassoc", "contract"})
def _squared_norm(point_D: np.ndarray) -> float:
    """|x|² in float64, added in any order: it serves for bounds alone."""
    total = 0.0
    for i in range(len(point_D)):
        total += np.float64(point_D[i]) * np.float64(point_D[i])
    return total


@njit(nogil=True, cache=True)
def _squared_distance(point_D: np.ndarray, centroid_D: np.ndarray, sums: np.ndarray) -> float:
    """|x - μ|² in float64, added in an order that depends on D alone."""
    whole, width = len(point_D) - len(point_D) % _SUMS, _SUMS
    sums[:] = 0
    for i in range(0, whole, width):
        x, mu = point_D[i : i + width], centroid_D[i : i + width]
        for j in range(width):
            difference = np.float64(x[j]) - np.float64(mu[j])
            sums[j] += difference * difference
    total = 0.0
    for i in range(whole, len(point_D)):
        difference = np.float64(point_D[i]) - np.float64(centroid_D[i])
        total += difference * difference
    a = b = c = 0.0
    for j in range(width // 4):
        total += sums[4 * j]
        a += sums[4 * j + 1]
        b += sums[4 * j + 2]
        c += sums[4 * j + 3]
    return (total + a) + (b + c)
