"""Ingest: .jsonl.gz to sharded Parquet, beside a loop that does nothing else and beside datatrove."""

from __future__ import annotations

import shutil
import time
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import harness
from benchmarks.child import timed
from benchmarks.data import jsonl_source, pipeline
from benchmarks.environments import python_of
from benchmarks.harness import Reading, Result, child
from benchmarks.job import Run, steps
from curate.engine import Engine, InProcess

N_FILES = 8


def curate(folder: str, out: str, workers: int) -> dict[str, Any]:
    """One ingest into an empty folder; ``workers`` 0 is in process. Starting Ray is timed apart."""
    reading: dict[str, Any] = {}
    work = pipeline("ingest_speed", Path(out), jsonl_source(Path(folder)))
    work.check()
    start = time.perf_counter()
    engine: Engine = InProcess()
    if workers:
        from curate.runner import Ray

        engine = Ray(workers)
        engine.map(warm, list(range(workers)))
    reading["startup"] = time.perf_counter() - start
    with timed(reading):
        corpus = work.run(until="ingest", engine=engine)
    engine.close()
    reading |= {"rows": sum(p.n_rows for p in corpus.parts), "bytes": sum(p.n_bytes for p in corpus.parts), "files": len(corpus.parts)}
    reading["written"] = sum(f.stat().st_size for f in Path(out).glob("documents/*"))
    shutil.rmtree(out)
    return reading


def warm(number: int) -> int:
    """A task that makes a worker import what ingest needs."""
    return number


def run(run: Run) -> Result:
    """See the module."""
    n_bytes = run.megabytes(128, 12)
    folder = run.data.jsonl_gz(n_bytes, N_FILES)
    out = run.scratch / "ingest"

    def ours(workers: int) -> Reading:
        return child(__name__, "curate", folder=str(folder), out=str(out), workers=workers)

    def floor(parser: str) -> Reading:
        python = python_of("floor")
        return child("benchmarks.peers.copy_jsonl", "copy", python=python, folder=str(folder), out=str(out) + ".parquet", parser=parser)

    def datatrove(workers: int) -> Reading:
        python = python_of("datatrove")
        return child("benchmarks.peers.datatrove_copy", "copy", python=python, folder=str(folder), out=str(out), workers=workers)

    quick = {
        "floor, orjson": partial(floor, "orjson"),
        "floor, simdjson": partial(floor, "simdjson"),
        "curate, in process": partial(ours, 0),
        "curate, Ray, 2 workers": partial(ours, 2),
    }
    slow = {"datatrove, 1 task": partial(datatrove, 1), "datatrove, 2 tasks": partial(datatrove, 2)}
    readings = harness.by_turns(quick, run.repeats(5), run.note) | harness.by_turns(slow, run.repeats(3), run.note)
    size = readings["curate, in process"][0].facts["bytes"] / 1e6
    rows = {name: harness.row(name, found, size) for name, found in readings.items()}
    floor_row = max((rows["floor, orjson"], rows["floor, simdjson"]), key=lambda r: r.speed)
    one, two = rows["curate, in process"], rows["curate, Ray, 2 workers"]
    facts = {name: found[0].facts for name, found in readings.items()}
    json_mb = facts["floor, orjson"]["json_bytes"] / 1e6
    startup = sorted(r.facts["startup"] for r in readings["curate, Ray, 2 workers"])[len(readings["curate, Ray, 2 workers"]) // 2]
    return Result(
        "ingest",
        "Ingest: .jsonl.gz to sharded Parquet",
        "One process reaches half the speed of a loop that only decompresses, parses and writes; five times datatrove's.",
        f"{N_FILES} .jsonl.gz files with id, text and domain: {size:.0f} MB of text, {json_mb:.0f} MB of JSON",
        [
            "decompress, parse, write once: " + steps(run.seconds(gunzip=json_mb, parse=size, parquet_write=size)),
            "what curate does beside that, for documents in a hashed order whatever the files: "
            + steps(run.seconds(ipc_write=size, take=2 * size, xxh3=size, fsync=size + facts["curate, in process"]["written"] / 1e6)),
        ],
        list(rows.values()),
        [
            harness.ratio("curate in process / the faster floor", one, floor_row, 0.5),
            harness.ratio("curate in process / datatrove, 1 task", one, rows["datatrove, 1 task"], 5),
            harness.ratio("curate, Ray, 2 workers / datatrove, 2 tasks", two, rows["datatrove, 2 tasks"], 5),
        ],
        "documents: " + ", ".join(f"{name} {found['rows']:,}" for name, found in facts.items()),
        [
            "Every side reads the same files and writes zstd Parquet (curate and the floor at level 3, datatrove at its default).",
            "The floor keeps `text` alone in one file; it checks, hashes, sorts and syncs nothing.",
            f"Starting Ray took {startup:.1f} s (median) and is not counted; starting datatrove's own worker processes is.",
            "File sizes: " + ", ".join(f"{name} {found['written'] / 1e6:.1f} MB" for name, found in facts.items()) + ".",
        ],
        harness.loads(*readings.values()),
    )
