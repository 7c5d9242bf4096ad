"""Documents for mixers that weigh them: columns as the scorers write them, without a corpus."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from curate.mixers.document_mixer import Budget, learn_all
from curate.mixers.samplemix import Learned, SampleMix

QUALITY = "rater.rating"


def documents(n: int, n_clusters: int = 7, classes: int | None = 10, seed: int = 0) -> tuple[pa.Table, np.ndarray]:
    """Columns of quality and clusters, and lengths; ``classes`` None makes quality continuous."""
    random = np.random.default_rng(seed)
    quality = random.random(n) * 9 if classes is None else random.integers(0, classes, n).astype(np.float64)
    cluster = random.integers(0, n_clusters, n)
    spread = random.random(n_clusters)
    return table_of(quality, cluster, random.random(n) * spread[cluster], random.random(n_clusters)[cluster]), random.integers(1, 400, n)


def documents_with_gaps(n: int) -> tuple[pa.Table, np.ndarray]:
    """As ``documents``, continuous; every seventh without quality, every eleventh in no cluster."""
    table, length = documents(n, classes=None)
    columns = [table[name].to_pylist() for name in table.column_names]
    columns[0] = [None if i % 7 == 3 else value for i, value in enumerate(columns[0])]
    columns[1:] = [[None if i % 11 == 5 else value for i, value in enumerate(column)] for column in columns[1:]]
    return table_of(*columns), length


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


@dataclass(frozen=True)
class Weighed:
    """Tables that a SampleMix has weighed."""

    mixer: SampleMix
    learned: Learned
    weights: list[np.ndarray]

    def facts(self) -> dict[str, Any]:
        """Its diagnostics."""
        return self.mixer.diagnostics(self.learned)


def statistics(found: Weighed, table: pa.Table, length: np.ndarray, domain_N: np.ndarray, domains: tuple[str, ...]) -> pa.Table:
    """As a mix leaves them: sums by domain and bin, made here one document at a time."""
    rows: dict[tuple[int, int], list[int]] = {}
    for d, b, size in zip(domain_N, found.mixer.bins(table, found.learned), length, strict=True):
        if b >= 0:
            line = rows.setdefault((int(d), int(b)), [0, 0])
            line[0] += 1
            line[1] += int(size)
    keys = sorted(rows)
    own = found.mixer.statistics(np.array([b for _, b in keys]), found.learned)
    columns = {name: own[name] for name in own.column_names}
    names = pa.array([domains[d] for d, _ in keys])
    return pa.table({"domain": names, **columns, "n_documents": [rows[k][0] for k in keys], "amount": [rows[k][1] for k in keys]})


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
    learned = learn_all(mixer, tables, lengths, Budget(amount, cap, redistribute))
    return Weighed(mixer, learned, [mixer.weights(table, learned) for table in tables])
