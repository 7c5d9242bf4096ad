"""K-means by faiss, from a beginning that depends on the data and the seed alone.

Faiss does the iterations: assignment by matrix products, means, and the splitting of large clusters where one runs empty.
The first centroids are the first K different vectors in the order of the sample, which the caller has made random. Faiss
would draw any K, and of a corpus with many copies some of them would be the same.

Suffixes: N vectors, K centroids, D dimensions.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from curate.clustering.assignment import assign
from curate.errors import ConfigError, InputError
from curate.hashing import U64, mix64

KEYED_ROWS = 1 << 12


@dataclass(frozen=True)
class Learned:
    """The outcome of K-means.

    Args:
        centroids_KD: float32.
        inertia: mean squared distance to the nearest centroid, at the end.
        history: the same under the centroids that each iteration began with.
        sizes_K: vectors nearest to each centroid.
        n_distinct: how many of the vectors differ.
    """

    centroids_KD: np.ndarray
    inertia: float
    history: tuple[float, ...]
    sizes_K: np.ndarray
    n_distinct: int


def require_faiss() -> None:
    """Raise ConfigError when the package that learns clusters is not installed."""
    if importlib.util.find_spec("faiss") is None:
        raise ConfigError(
            "learning clusters needs the package faiss, which is not installed",
            where="clusters",
            expected="faiss-cpu",
            fix="pip install 'curate[clusters]', or name clusters learned elsewhere by `centroids: FOLDER`",
        )


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
    import faiss

    points_ND = np.ascontiguousarray(vectors_ND, np.float32)
    n = len(points_ND)
    if n < k:
        raise _too_few(k, f"{n:,} documents with an embedding", "lower `k`, or raise `sample_bytes` if the corpus has more")
    first_N = _first_of_equals(points_ND)
    if len(first_N) < k:
        raise _too_few(k, f"{len(first_N):,} different embeddings in {n:,} documents", "lower `k`, or raise `sample_bytes`")
    settings = {"niter": iterations, "seed": seed, "spherical": False, "min_points_per_centroid": 1, "max_points_per_centroid": n}
    means: Any = faiss.Kmeans(points_ND.shape[1], k, **settings)
    with _threads(threads):
        means.train(points_ND, init_centroids=points_ND[first_N[:k]])
    centroids_KD = means.centroids.copy()
    cluster_N, distance_N = assign(points_ND, centroids_KD)
    history = tuple(float(total) / n for total in means.obj)
    return Learned(centroids_KD, float(np.square(distance_N).mean()), history, np.bincount(cluster_N, minlength=k), len(first_N))


def _too_few(k: int, found: str, fix: str) -> InputError:
    return InputError(
        f"{k:,} clusters cannot be made of {found}", where="clusters.k", expected=f"at least {k:,}, better 39 times as many", fix=fix
    )


@contextmanager
def _threads(wanted: int) -> Iterator[None]:
    import faiss

    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(wanted)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def _first_of_equals(points_ND: np.ndarray) -> np.ndarray:
    """Rows whose vector has not come before, rising."""
    keys_N = np.empty(len(points_ND), U64)
    factors_D = mix64(np.arange(points_ND.shape[1], dtype=U64)) | U64(1)
    for start in range(0, len(points_ND), KEYED_ROWS):
        bits = (points_ND[start : start + KEYED_ROWS] + np.float32(0)).view(np.uint32)  # -0 is 0
        keys_N[start : start + KEYED_ROWS] = (mix64(bits.astype(U64)) * factors_D).sum(1, dtype=U64)
    return np.sort(np.unique(keys_N, return_index=True)[1])
