"""Clusters of embeddings: learning centroids, and finding the nearest one of every document."""

from curate.clustering.assignment import Nearest, assign
from curate.clustering.centroids import Centroids, separation
from curate.clustering.kmeans import Learned, learn, require_faiss
from curate.clustering.vectors import vectors

__all__ = ["Centroids", "Learned", "Nearest", "assign", "learn", "require_faiss", "separation", "vectors"]
