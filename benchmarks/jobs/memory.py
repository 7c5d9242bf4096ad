"""Peak memory of a whole run, raw text to shards, on one amount of text and on four times as much."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import harness
from benchmarks.child import timed
from benchmarks.data import parquet_source, pipeline
from benchmarks.harness import Ratio, Reading, Result, child
from benchmarks.job import Run
from curate.engine import InProcess


def whole(text: str, corpus: str, workers: int) -> dict[str, Any]:
    """Every stage, from nothing; ``workers`` 0 is in process."""
    shutil.rmtree(corpus, ignore_errors=True)
    work = pipeline(
        "memory",
        Path(corpus),
        parquet_source(Path(text)),
        score=[
            {"tokens": {"vocab_size": 8192, "sample_bytes": 4_000_000}},
            {"ngram_perplexity": {"name": "ngram", "order": 3, "sample_bytes": 4_000_000}},
        ],
        select=[{"column": "ngram.perplexity", "window": [0.02, 0.98], "within": "domain", "reason": "perplexity"}],
        mix={"use": "temperature", "temperature": 2.0, "max_epochs": 8},
        emit={"shard_bytes": "32MiB"},
    )
    reading: dict[str, Any] = {}
    engine: Any = InProcess()
    if workers:
        from curate.runner import Ray

        engine = Ray(workers)
    with timed(reading):
        found = work.run(engine=engine)
    engine.close()
    reading |= {"documents": sum(p.n_rows for p in found.parts), "bytes": sum(p.n_bytes for p in found.parts)}
    shutil.rmtree(corpus)
    return reading


def run(run: Run) -> Result:
    """See the module."""
    n_bytes = run.megabytes(256, 8)
    sizes = {"1x": run.data.parquet(n_bytes), "4x": run.data.parquet(n_bytes, 4)}

    def side(text: Path, workers: int) -> Reading:
        return child(__name__, "whole", text=str(text), corpus=str(run.scratch / "memory"), workers=workers)

    side(run.data.parquet(run.megabytes(8, 8)), 0)  # compiles kernels that no run has used yet, which takes memory once per machine
    ways = {"in process": 0, "Ray, 2 workers": 2}
    sides = {f"{size}, {way}": partial(side, text, workers) for way, workers in ways.items() for size, text in sizes.items()}
    readings = harness.by_turns(sides, run.repeats(2), run.note)
    amounts = {name: found[0].facts["bytes"] / 1e6 for name, found in readings.items()}
    rows = {name: harness.row(name, found, amounts[name]) for name, found in readings.items()}
    small, large = readings["1x, in process"][0].facts, readings["4x, in process"][0].facts
    return Result(
        "memory",
        "Memory of a whole run",
        "Four times the text needs no more memory: at most a tenth more.",
        f"{small['bytes'] / 1e6:.0f} MB in {small['documents']:,} documents, and {large['bytes'] / 1e6:.0f} MB in "
        f"{large['documents']:,}, all distinct; "
        "ingest, tokens, a 3-gram model, select, mix, emit; shards of 32 MiB",
        [
            "one shard of 32 MiB, its sorted or shuffled copy, and the models: about 100 MB, beside the interpreter and its libraries "
            "(about 150 MB)"
        ],
        list(rows.values()),
        [Ratio(f"peak memory at 4x / at 1x, {way}", rows[f"4x, {way}"].peak_mb / rows[f"1x, {way}"].peak_mb, 1.1, True) for way in ways],
        f"every run emitted a checked mix; {large['documents'] / small['documents']:.2f} times the documents",
        [
            "Anonymous memory of all processes together, sampled ten times a second; pages of mapped files, which the kernel drops "
            "when it must, are not counted."
        ],
        harness.loads(*readings.values()),
    )
