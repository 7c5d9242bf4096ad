"""Documents for mixers that weigh them: columns as the scorers write them, without a corpus."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from curate.mixers.document_mixer import Budget, Weighed, weigh
from curate.mixers.samplemix import SampleMix

QUALITY = "rater.rating"


def documents(n: int, n_clusters: int = 7, classes: int | None = 10, seed: int = 0) -> tuple[pa.Table, np.ndarray]:
    """Columns of quality and clusters, and lengths; ``classes`` None makes quality continuous."""
    random = np.random.default_rng(seed)
    quality = random.random(n) * 9 if classes is None else random.integers(0, classes, n).astype(np.float64)
    cluster = random.integers(0, n_clusters, n)
    spread = random.random(n_clusters)
    return table_of(quality, cluster, random.random(n) * spread[cluster], random.random(n_clusters)[cluster]), random.integers(1, 400, n)


def table_of(
    quality: Sequence[float | None] | np.ndarray,
    cluster: Sequence[int | None] | np.ndarray,
    distance: Sequence[float | None] | np.ndarray,
    separation: Sequence[float | None] | np.ndarray,
) -> pa.Table:
    """The columns a SampleMix of ``rater.rating`` and ``clusters`` reads."""
    return pa.table(
        {
            QUALITY: pa.array(quality, pa.float64()),
            "clusters.cluster": pa.array(cluster, pa.int32()),
            "clusters.distance": pa.array(distance, pa.float32()),
            "clusters.separation": pa.array(separation, pa.float32()),
        }
    )


def weights(
    table: pa.Table, length: np.ndarray, amount: float | None = None, cap: float = 1e6, redistribute: bool = True, **options: object
) -> np.ndarray:
    """Expected copies of every document of one table."""
    return weighed([table], [length], amount, cap, redistribute, **options).weights[0]


def weighed(
    tables: Sequence[pa.Table],
    lengths: Sequence[np.ndarray],
    amount: float | None = None,
    cap: float = 1e6,
    redistribute: bool = True,
    **options: object,
) -> Weighed:
    """All rounds over these tables."""
    mixer = SampleMix(**({"quality": QUALITY, "diversity": "clusters"} | options))  # type: ignore[arg-type]
    mixer.check()
    return weigh(mixer, tables, lengths, Budget(amount, cap, redistribute))
