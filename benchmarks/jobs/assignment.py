"""Nearest centroids of embeddings, beside the matrix product that nothing can do without: same blocks, same threads."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks import harness
from benchmarks.child import in_turns
from benchmarks.harness import Ratio, Reading, Result, Row, child
from benchmarks.job import Run

K = 1000
DIMENSIONS = (256, 384)
MOST = 1.3
CHECKED = 5000
COLUMN = "embedding.vector"

BARE, OURS, SCORER, FAISS = "bare product", "curate, float32 matrix", "curate, scorer on a float16 column", "faiss, IndexFlatL2.search"


def unit_vectors(n: int, d: int, seed: int) -> np.ndarray:
    """N vectors of length 1 around 3000 places, float32."""
    random = np.random.default_rng(seed)
    places = random.normal(size=(3000, d)).astype(np.float32)
    found = places[random.integers(0, len(places), n)] + random.normal(size=(n, d)).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def compare(n: int, d: int, threads: int, repeats: int) -> dict[str, Any]:
    """All sides by turns in this process, every thread with its share of the vectors and a BLAS of one thread."""
    import faiss

    from curate.clustering import Centroids, assign, separation
    from curate.clustering.assignment import BLOCK_SCORES
    from curate.scorers.clusters import Clusters

    points = unit_vectors(n, d, 0)
    centroids = unit_vectors(K * 20, d, 1).reshape(K, 20, d).mean(1)
    halves = points.astype(np.float16)
    flat = pa.array(halves.reshape(-1), pa.float16())
    batch = pa.record_batch([pa.FixedSizeListArray.from_arrays(flat, d)], names=[COLUMN])
    rows = BLOCK_SCORES // K
    with tempfile.TemporaryDirectory() as folder:
        Centroids(centroids, separation(centroids).astype(np.float32), {"k": K, "dimension": d}).save(Path(folder))
        scorers = [Clusters(COLUMN) for _ in range(threads)]
        for scorer in scorers:
            scorer.load(Path(folder))
    index = faiss.IndexFlatL2(d)
    index.add(centroids)
    edges = np.linspace(0, n, threads + 1).astype(int)
    shares = [slice(a, b) for a, b in zip(edges[:-1], edges[1:], strict=True)]

    def product(share: slice) -> None:
        room = np.empty((rows, K), np.float32)
        for start in range(share.start, share.stop, rows):
            block = points[start : min(start + rows, share.stop)]
            np.matmul(block, centroids.T, out=room[: len(block)])

    def score(share: slice) -> pa.RecordBatch:
        return scorers[shares.index(share)].score(batch.slice(share.start, share.stop - share.start))

    with ThreadPoolExecutor(threads) as pool:

        def on_all(work: Callable[[slice], object]) -> Callable[[], list[object]]:
            return lambda: list(pool.map(work, shares))

        works = {BARE: on_all(product), OURS: on_all(lambda share: assign(points[share], centroids)), SCORER: on_all(score)}
        if threads == 1:
            works[FAISS] = lambda: index.search(points, 1)
        readings = in_turns(works, repeats)
    found = assign(points[:CHECKED], centroids)
    return {
        "readings": readings,
        "rows": rows,
        "same": bool(np.array_equal(found[0], _squares(points[:CHECKED], centroids).argmin(1))),
        "faiss": float((index.search(points, 1)[1][:, 0] == assign(points, centroids)[0]).mean()),
    }


def _squares(points: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """All squared distances in float64, one dimension after the other."""
    total = np.zeros((len(points), len(centroids)))
    for x, mu in zip(points.T.astype(np.float64), centroids.T.astype(np.float64), strict=True):
        total += np.square(x[:, None] - mu)
    return total


def run(run: Run) -> Result:
    """See the module."""
    n = 10_000 if run.quick else 100_000
    table: list[Row] = []
    ratios: list[Ratio] = []
    facts: list[dict[str, Any]] = []
    found: list[Reading] = []
    for d in DIMENSIONS:
        for threads in (1, 2):
            reading = child(__name__, "compare", n=n, d=d, threads=threads, repeats=run.repeats(5))
            where = f"{d} dimensions, {threads} thread{'s' * (threads > 1)}"
            rows = harness.rows_in_turns(reading.facts["readings"], n / 1e3, "k vectors", reading.peak_bytes)
            for row in rows:
                row.name = f"{row.name}: {where}"
            bare, ours, scorer = rows[:3]
            ratios += [
                Ratio(
                    f"time of {name} / bare product: {where}", side.seconds / bare.seconds, MOST, True, side.cpu_seconds / bare.cpu_seconds
                )
                for name, side in (("assignment", ours), ("the scorer", scorer))
            ]
            run.note(f"{where}: {ours.cpu_seconds / bare.cpu_seconds:.2f}, scorer {scorer.cpu_seconds / bare.cpu_seconds:.2f} by CPU time")
            table += rows
            facts.append(reading.facts)
            found.append(reading)
    products = ", ".join(f"{2e-9 * n * K * d:.0f} GFLOP at {d} dimensions" for d in DIMENSIONS)
    same = all(f["same"] for f in facts)
    return Result(
        "assignment",
        "Nearest centroids",
        f"Finding the nearest of {K} centroids, exactly as float64 arithmetic does, takes at most {MOST:g} times a bare float32 matrix "
        "product of the same blocks.",
        f"{n:,} vectors of length 1 around 3,000 places, {K} centroids; blocks of {facts[0]['rows']:,}; of two threads each has half",
        [f"the product itself, {products}: the side called bare product"],
        table,
        ratios,
        f"for {CHECKED:,} vectors {'the first of the nearest by float64' if same else '**other centroids than by float64**'}; "
        f"faiss names the same centroid for {min(f['faiss'] for f in facts):.4%} of all",
        ["The scorer reads half floats from an Arrow column and writes cluster, distance and separation."],
        harness.loads(found),
    )
