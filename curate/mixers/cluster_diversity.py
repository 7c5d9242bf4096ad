"""Diversity of documents from the clusters they lie in: compactness times separation.

compactness_k is the mean distance of a cluster's documents to its centroid (large where they
spread), separation_k the mean distance of its centroid to the others. Their product is the
concept complexity of Abbas et al. (2024, "Effective pruning of web-scale datasets based on
complexity of concept clusters"), which SampleMix takes for the diversity of every document
of the cluster. N documents, K clusters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from curate.errors import InputError
from curate.kernels.preferences import cluster_sums
from curate.mixers.scaling import Scaling

_UNITS = 2.0**30
"""Distances are summed as whole numbers of 2^-30, so that no order of summation shows."""
_FARTHEST = 2.0**12
"""Distances of vectors of any sensible length are below; sums of so many documents as one part holds then fit."""
_CONSTANT = 0.5
_NOISE = 1e-12
"""Relative differences that rounding makes; stretched to [0, 1] they would look like diversity."""


@dataclass(frozen=True)
class ClusterFacts:
    """What one part tells of the clusters it has documents of.

    Args:
        n_K: documents.
        distance_K: sums of distances to the centroid, in units of 2^-30.
        separation_K: -inf where the part has no document.
        n_missing: documents in no cluster.
    """

    n_K: np.ndarray
    distance_K: np.ndarray
    separation_K: np.ndarray
    n_missing: int


def cluster_facts(cluster_N: np.ndarray, distance_N: np.ndarray, separation_N: np.ndarray, where: str) -> ClusterFacts:
    """Sums of one part.

    Args:
        cluster_N: int32, negative for none; the others have a finite distance and separation.
        where: the cluster columns, for messages.

    Raises:
        InputError: distances that are none of embeddings.
    """
    held = cluster_N >= 0
    farthest = float(distance_N[held].max(initial=0.0))
    if farthest >= _FARTHEST or distance_N[held].min(initial=0.0) < 0:
        raise InputError(
            f"a document is {farthest:g} away from its centroid",
            where=where,
            expected=f"distances from 0 to {_FARTHEST:g}, as vectors of length 1 have",
            fix="normalise the embeddings that the clusters are made of",
        )
    size = int(cluster_N.max(initial=-1)) + 1
    n_K, distance_K, separation_K = np.zeros(size, np.int64), np.zeros(size, np.int64), np.full(size, -np.inf)
    cluster_sums(cluster_N, distance_N, separation_N, _UNITS, n_K, distance_K, separation_K)
    return ClusterFacts(n_K, distance_K, separation_K, int(len(cluster_N) - held.sum()))


@dataclass(frozen=True)
class Clusters:
    """All clusters of a corpus.

    Args:
        compactness_K: mean distance to the centroid, shrunk.
        separation_K: mean distance of centroids.
        diversity_K: their product, brought to [0, 1]; 0 for an empty cluster.
        n_missing: documents in no cluster.
        is_constant: whether all documents have one diversity.
    """

    n_K: np.ndarray
    compactness_K: np.ndarray
    separation_K: np.ndarray
    diversity_K: np.ndarray
    n_missing: int
    is_constant: bool

    def facts(self) -> dict[str, Any]:
        """What tells whether diversity can work: numbers of clusters, and how much either factor varies.

        The squared coefficients of variation are comparable with each other and, for small ones, add up to
        that of the product.
        """
        held = self.n_K > 0
        return {
            "clusters": int(held.sum()),
            "singletons": int((self.n_K == 1).sum()),
            "empty": int((self.n_K == 0).sum()),
            "largest": int(self.n_K.max(initial=0)),
            "without_cluster": self.n_missing,
            "compactness": _spread(self.compactness_K[held]),
            "separation": _spread(self.separation_K[held]),
            "constant": self.is_constant,
        }


def _spread(values: np.ndarray) -> dict[str, float]:
    if not len(values):
        return {"mean": 0.0, "variance": 0.0, "relative_variance": 0.0}
    mean, variance = float(values.mean()), float(values.var())
    return {"mean": mean, "variance": variance, "relative_variance": variance / mean**2 if mean else 0.0}


def clusters_of(facts: Sequence[ClusterFacts], scaling: Scaling, shrinkage: float, where: str) -> Clusters:
    """The clusters of all parts.

    Args:
        scaling: ``range`` over clusters, or ``rank`` over their documents.
        shrinkage: as many documents at the mean distance of all are added to every cluster, so that a cluster of one
            document (distance 0) is not the least diverse of all.
        where: the cluster columns, for messages.

    Raises:
        InputError: no document has a cluster.
    """
    size = max((len(f.n_K) for f in facts), default=0)
    n_K, distance_K = np.zeros(size, np.int64), np.zeros(size, np.int64)
    separation_K = np.full(size, -np.inf)
    for part in facts:
        n_K[: len(part.n_K)] += part.n_K
        distance_K[: len(part.n_K)] += part.distance_K
        separation_K[: len(part.n_K)] = np.maximum(separation_K[: len(part.n_K)], part.separation_K)
    n, missing = int(n_K.sum()), sum(f.n_missing for f in facts)
    if not n:
        raise InputError(
            f"none of {missing:,} documents is in a cluster",
            where=where,
            expected="documents with an embedding",
            fix="look at the embedding's column: `curate show` lists it",
        )
    mean = sum(distance_K.tolist()) / _UNITS / n
    weight_K = n_K + shrinkage
    held = n_K > 0
    compactness_K = np.divide(distance_K / _UNITS + shrinkage * mean, weight_K, out=np.zeros(size), where=held)
    separation_K = np.where(held, separation_K, 0.0)
    raw_K = compactness_K * separation_K
    constant = float(np.ptp(raw_K[held])) <= _NOISE * float(np.abs(raw_K[held]).max())
    diversity_K = np.where(held, _CONSTANT if constant else _scaled(raw_K, n_K, scaling), 0.0)
    return Clusters(n_K, compactness_K, separation_K, diversity_K, missing, constant)


def _scaled(raw_K: np.ndarray, n_K: np.ndarray, scaling: Scaling) -> np.ndarray:
    held = n_K > 0
    if scaling == "range":
        low, high = raw_K[held].min(), raw_K[held].max()
        return np.clip((raw_K - low) / (high - low), 0.0, 1.0)
    _, at = np.unique(raw_K, return_inverse=True)
    counts = np.bincount(at, weights=n_K)
    return ((np.cumsum(counts) - counts / 2) / counts.sum())[at]
