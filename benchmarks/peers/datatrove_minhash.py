"""datatrove's four MinHash stages: signatures, buckets, clusters, filter."""

from __future__ import annotations

import shutil
import time
from typing import Any

import spacy
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.base import PipelineStep
from datatrove.pipeline.dedup import MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupFilter, MinhashDedupSignature
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.pipeline.readers import ParquetReader

from benchmarks.child import timed
from benchmarks.peers import verdicts
from benchmarks.peers.datatrove_filters import lines, writer


def dedup(folder: str, out: str, workers: int, found: str, ngram: int, bands: int, rows: int) -> dict[str, Any]:
    """All files of a folder, ``workers`` tasks at once; the last stage writes numbers only, and no text."""
    shutil.rmtree(out, ignore_errors=True)
    spacy.blank("en")  # imported before workers are forked, so that it costs no worker anything
    config = MinhashConfig(n_grams=ngram, num_buckets=bands, hashes_per_bucket=rows)
    stages: dict[str, tuple[int, list[PipelineStep]]] = {
        "signatures": (workers, [reader(folder), MinhashDedupSignature(f"{out}/signatures", config)]),
        "buckets": (bands, [MinhashDedupBuckets(f"{out}/signatures", f"{out}/buckets", config=config)]),
        "clusters": (1, [MinhashDedupCluster(f"{out}/buckets", f"{out}/remove", config=config)]),
        "filter": (workers, [reader(folder), MinhashDedupFilter(f"{out}/remove"), writer(f"{out}/kept")]),
    }
    reading: dict[str, Any] = {}
    seconds = {}
    with timed(reading):
        for name, (tasks, steps) in stages.items():
            start = time.perf_counter()
            LocalPipelineExecutor(steps, tasks, workers, f"{out}/logs/{name}", skip_completed=False, start_method="fork").run()
            seconds[name] = time.perf_counter() - start
    kept = [line["id"] for line in lines(out, "kept/*")]
    verdicts.write(found, kept)
    shutil.rmtree(out)
    return reading | {"stages": seconds, "kept": len(kept)}


def reader(folder: str) -> ParquetReader:
    """Text and number."""
    return ParquetReader(folder, read_metadata=False)
