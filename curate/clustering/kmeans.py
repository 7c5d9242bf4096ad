"""K-means by faiss, from a beginning that depends on the data and the seed alone.

Faiss does the iterations: assignment by matrix products, means, and the splitting of large clusters where one runs empty.
The first centroids are the first K different vectors in the order given, which the caller has made random. Faiss would draw
any K, and of a corpus with many copies some of them would be the same. The last iteration is done here, exactly: it tells the
sizes and the inertia of the clusters whose means the centroids are, which faiss does not, and costs no pass of its own.

Suffixes: N vectors, K centroids, D dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit

from curate.clustering.assignment import assign
from curate.documents import read_only
from curate.errors import InputError
from curate.extras import require

_FACTOR = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class Learned:
    """The outcome of K-means.

    Args:
        centroids_KD: float32.
        inertia: mean squared distance to the nearest of the centroids that the last iteration began with.
        history: the same for every iteration; shorter than asked for where nothing changed any more.
        sizes_K: vectors in each cluster, of which its centroid is the mean; where there is none it is as it was.
        n_distinct: how many of the vectors differ.
    """

    centroids_KD: np.ndarray
    inertia: float
    history: tuple[float, ...]
    sizes_K: np.ndarray
    n_distinct: int


def require_faiss() -> None:
    """Raise ConfigError when the package that learns clusters is not installed."""
    require(("faiss",), "clusters", "clusters", "name clusters learned elsewhere by `centroids: FOLDER`")


def learn(vectors_ND: np.ndarray, k: int, *, iterations: int, seed: int = 0, threads: int = 1) -> Learned:
    """Lloyd's iterations on all vectors, in Euclidean distance; centroids are plain means.

    Args:
        vectors_ND: finite numbers, N at least K, in random order; float32 is read in place.
        k: clusters.
        iterations: at least one.
        seed: of the splitting of clusters that run empty.
        threads: of faiss and its BLAS; part of the result, since sums may differ by it in the last bit.

    Raises:
        InputError: fewer than K vectors, or fewer than K different ones.
    """

    points_ND = np.ascontiguousarray(vectors_ND, np.float32)
    n = len(points_ND)
    if n < k:
        raise _too_few(k, f"{n:,} documents with an embedding", "lower `k`, or raise `sample_bytes` if the corpus has more")
    first_N = _first_of_equals(points_ND)
    if len(first_N) < k:
        raise _too_few(k, f"{len(first_N):,} different embeddings in {n:,} documents", "lower `k`, or raise `sample_bytes`")
    centroids_KD = points_ND[first_N[:k]]
    totals: list[float] = []
    if iterations > 1:
        centroids_KD, totals = _faiss(points_ND, centroids_KD, iterations - 1, seed, threads)
    cluster_N, distance_N = assign(points_ND, centroids_KD)
    inertia = float(np.square(distance_N).mean())
    sizes_K = np.bincount(cluster_N, minlength=k)
    _to_means(read_only(points_ND), cluster_N, sizes_K, centroids_KD)
    return Learned(centroids_KD, inertia, (*(total / n for total in totals), inertia), sizes_K, len(first_N))


def _faiss(points_ND: np.ndarray, first_KD: np.ndarray, iterations: int, seed: int, threads: int) -> tuple[np.ndarray, list[float]]:
    """Centroids, and the sum of squared distances in every iteration."""
    import faiss

    (n, d), k = points_ND.shape, len(first_KD)
    settings = {"niter": iterations, "seed": seed, "spherical": False, "min_points_per_centroid": 1, "max_points_per_centroid": n}
    means: Any = faiss.Kmeans(d, k, **settings)
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(threads)
    try:
        means.train(points_ND, init_centroids=first_KD)
    finally:
        faiss.omp_set_num_threads(before)
    return means.centroids.copy(), means.obj.tolist()


def _too_few(k: int, found: str, fix: str) -> InputError:
    return InputError(
        f"{k:,} clusters cannot be made of {found}", where="clusters.k", expected=f"at least {k:,}, better 39 times as many", fix=fix
    )


def _first_of_equals(points_ND: np.ndarray) -> np.ndarray:
    """Rows whose vector has not come before, rising; told by 64-bit hashes."""
    keys_N = _keys(read_only(points_ND.view(np.uint32)))
    return np.sort(np.unique(keys_N, return_index=True)[1])


@njit(nogil=True, cache=True)
def _keys(bits_ND: np.ndarray) -> np.ndarray:
    """A hash of every vector, (N) uint64, from the bits of float32 numbers."""
    keys_N = np.empty(len(bits_ND), np.uint64)
    for n in range(len(bits_ND)):
        key = np.uint64(0)
        for bits in bits_ND[n]:
            number = np.uint64(0) if bits == np.uint32(0x80000000) else np.uint64(bits)  # -0 is 0
            key = (key ^ number) * _FACTOR
            key ^= key >> np.uint64(29)
        keys_N[n] = key
    return keys_N


@njit(nogil=True, cache=True)
def _to_means(points_ND: np.ndarray, cluster_N: np.ndarray, sizes_K: np.ndarray, centroids_KD: np.ndarray) -> None:
    """Move centroids to the means of their vectors, summed in float64 in the order of rows."""
    k, d = centroids_KD.shape
    sums_KD = np.zeros((k, d))
    for n in range(len(points_ND)):
        sum_D, point_D = sums_KD[cluster_N[n]], points_ND[n]
        for i in range(d):
            sum_D[i] += point_D[i]
    for j in range(k):
        if sizes_K[j]:
            for i in range(d):
                centroids_KD[j, i] = sums_KD[j, i] / sizes_K[j]
