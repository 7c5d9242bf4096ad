"""Learning clusters as the scorer does it, from a sample of half floats to saved centroids, beside faiss on a ready matrix."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks import harness
from benchmarks.child import in_turns
from benchmarks.harness import Ratio, Result, child
from benchmarks.job import Run
from benchmarks.jobs.assignment import COLUMN, unit_vectors

DIMENSION, ITERATIONS, PER_CLUSTER = 256, 25, 256
MOST, WITHIN = 1.1, 1.01
OFFERED = 1.5  # vectors in the sample for each one that is used


def compare(k: int, repeats: int) -> dict[str, Any]:
    """Both sides by turns in this process."""
    import faiss

    from curate.clustering import assign
    from curate.scorers.clusters import Clusters

    n = k * PER_CLUSTER
    points = unit_vectors(int(n * OFFERED), DIMENSION, 0)
    flat = pa.array(points.astype(np.float16).reshape(-1), pa.float16())
    ids = np.random.default_rng(2).integers(0, 256, (len(points), 16), dtype=np.uint8)
    doc_ids = pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), len(points), [None, pa.py_buffer(ids.tobytes())])
    sample = pa.table({"doc_id": doc_ids, COLUMN: pa.FixedSizeListArray.from_arrays(flat, DIMENSION)})
    scorer = Clusters(COLUMN, k=k, iterations=ITERATIONS, sample_per_cluster=PER_CLUSTER, threads=1)
    found: dict[str, np.ndarray] = {}

    def curate() -> None:
        with tempfile.TemporaryDirectory() as folder:
            scorer.fit(sample, Path(folder))
            found["curate"] = np.load(Path(folder) / "centroids.npy")

    def peer() -> None:
        means = faiss.Kmeans(DIMENSION, k, niter=ITERATIONS, seed=1)
        means.train(points[:n])
        found["faiss"] = means.centroids

    readings = in_turns({"curate, fit of a sample": curate, "faiss, Kmeans.train on a float32 matrix": peer}, repeats)
    inertia = {name: float(np.square(assign(points, centroids)[1]).mean()) for name, centroids in found.items()}
    return {"readings": readings, "inertia": inertia}


def run(run: Run) -> Result:
    """See the module."""
    k = 40 if run.quick else 400
    found = child(__name__, "compare", k=k, repeats=run.repeats(3))
    rows = harness.rows_in_turns(found.facts["readings"], k * PER_CLUSTER * ITERATIONS / 1e6, "M vectors", found.peak_bytes)
    ours, theirs = rows
    inertia = found.facts["inertia"]
    return Result(
        "kmeans",
        "K-means",
        f"Learning clusters is faiss's K-means and, with all the scorer does before and after, at most {MOST - 1:.0%} more time, to an "
        f"inertia within {WITHIN - 1:.0%}.",
        f"{k * PER_CLUSTER:,} vectors of {DIMENSION} dimensions chosen from {int(k * PER_CLUSTER * OFFERED):,}, {k} clusters, {ITERATIONS} "
        "iterations, one thread",
        [f"{ITERATIONS} products, {2e-9 * k * k * PER_CLUSTER * DIMENSION * ITERATIONS:,.0f} GFLOP: the most of either side"],
        rows,
        [
            Ratio("time of curate / faiss", ours.seconds / theirs.seconds, MOST, True, ours.cpu_seconds / theirs.cpu_seconds),
            Ratio("inertia of curate / faiss, over all vectors", inertia["curate"] / inertia["faiss"], WITHIN, True),
        ],
        f"mean squared distances {inertia['curate']:.5f} and {inertia['faiss']:.5f}; the sides begin with other vectors",
        [
            "curate's time includes the choice of vectors by hashes of documents, their conversion from half floats, the search for equal "
            "ones, separation, and files.",
        ],
        harness.loads([found]),
    )
