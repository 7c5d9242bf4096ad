"""Which documents taught a model: kept beside it, because it judges them too kindly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from curate.documents import read_only
from curate.hashing import U64, id_halves
from curate.kernels.ngram import in_sorted

FILE = "fit_ids.npy"


def save(doc_ids: pa.Array | pa.ChunkedArray, folder: Path) -> None:
    """Write the ids, sorted, into a model's folder."""
    halves = id_halves(doc_ids)
    np.save(folder / FILE, halves[np.lexsort((halves[:, 1], halves[:, 0]))], allow_pickle=False)


class FitIds:
    """The ids that a model's folder holds; none where it holds no list, or there is no folder."""

    def __init__(self, folder: Path | None = None) -> None:
        known = folder is not None and (folder / FILE).exists()
        self._sorted = read_only(np.load(folder / FILE, allow_pickle=False)) if known and folder else np.empty((0, 2), U64)

    def among(self, doc_ids: pa.Array) -> np.ndarray:
        """Whether each of N documents is one of them (N) bool."""
        seen = np.zeros(len(doc_ids), bool)
        in_sorted(self._sorted, read_only(id_halves(doc_ids)), seen)
        return seen
