"""What clustering leaves behind: centroids, how far apart they are, and which embedding they are of.

    centroids.npy    K x D float32
    separation.npy   K float32
    clusters.json    k, dimension, model, and how the sample fell into them

Suffixes: K centroids, D dimensions.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from curate.learned_folder import LearnedFolder, short

CENTROIDS, SEPARATION, FACTS = "centroids.npy", "separation.npy", "clusters.json"


@dataclass(frozen=True)
class Centroids:
    """Learned clusters.

    Args:
        centroids_KD: means of the vectors of each cluster, float32.
        separation_K: mean Euclidean distance of each to all others, float32.
        facts: what ``clusters.json`` says; ``model`` is the identity of the embedding, None where it has none.
    """

    centroids_KD: np.ndarray
    separation_K: np.ndarray
    facts: dict[str, Any]

    def save(self, folder: Path) -> None:
        """Write the three files into an existing folder."""
        np.save(folder / CENTROIDS, self.centroids_KD, allow_pickle=False)
        np.save(folder / SEPARATION, self.separation_K, allow_pickle=False)
        (folder / FACTS).write_text(json.dumps(self.facts, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Centroids:
        """Read the three files.

        Raises:
            InputError: one is missing, unreadable, or does not go with the others.
        """
        files = LearnedFolder(folder, "learned clusters", "centroids")
        facts = files.facts(FACTS, ("k", "dimension"))
        if not isinstance(facts.get("model"), str | None):
            raise files.wrong(FACTS, f"has model {short(facts['model'])}", "the name of the embedding's model, or null")
        k = facts["k"]
        return cls(files.array(CENTROIDS, (k, facts["dimension"]), np.float32), files.array(SEPARATION, (k,), np.float32), facts)


def separation(centroids_KD: np.ndarray) -> np.ndarray:
    """Mean Euclidean distance of every centroid to the K - 1 others, (K) float64; 0 where there is no other.

    Abbas et al. 2024, "Effective pruning of web-scale datasets based on complexity of concept clusters", call it the
    inter-cluster distance. From one K x K product in float64, of centroids less their mean, block by block.
    """
    points_KD = np.asarray(centroids_KD, np.float64)
    k = len(points_KD)
    if k == 1:
        return np.zeros(1)
    points_KD = points_KD - points_KD.mean(0)  # distances stay, and lose fewer digits
    squares_K = np.square(points_KD).sum(1)
    total_K = np.empty(k)
    rows = max(1, (1 << 22) // k)
    for start in range(0, k, rows):
        block = slice(start, start + rows)
        squared_RK = squares_K[block, None] + squares_K - 2 * (points_KD[block] @ points_KD.T)
        squared_RK[np.arange(len(squared_RK)), np.arange(start, start + len(squared_RK))] = 0
        total_K[block] = np.sqrt(np.maximum(squared_RK, 0)).sum(1)
    return total_K / (k - 1)
