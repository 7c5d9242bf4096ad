"""Some stages of a pipeline over a corpus that may be ingested already, timed in process and on Ray."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from benchmarks.child import timed
from benchmarks.data import parquet_source, pipeline, scratch_copy
from benchmarks.harness import Reading, Side, child
from curate.corpus import Corpus
from curate.engine import Engine, InProcess
from curate.pipeline import Pipeline

SHARDS, WARM_SHARDS = "8MiB", "64KiB"


def work(output: str, sources: list[dict[str, Any]], sections: dict[str, Any], shard_bytes: str = SHARDS) -> Pipeline:
    """The pipeline that is timed."""
    return pipeline("stage_speed", Path(output), sources, ingest={"shard_bytes": shard_bytes}, **sections)


def ingest(output: str, sources: list[dict[str, Any]], sections: dict[str, Any], shard_bytes: str = SHARDS) -> dict[str, Any]:
    """Everything before the stages that are timed."""
    found = work(output, sources, sections, shard_bytes).run(until="ingest", engine=InProcess())
    return {"rows": found.n_documents, "bytes": sum(p.n_bytes for p in found.parts), "shards": len(found.parts)}


def run(
    output: str,
    sources: list[dict[str, Any]],
    sections: dict[str, Any],
    until: str,
    workers: int,
    warm: str,
    found: str,
    columns: Sequence[str],
    shard_bytes: str = SHARDS,
    warm_shards: str = WARM_SHARDS,
) -> dict[str, Any]:
    """Stages up to ``until``; then the corpus is thrown away.

    Args:
        workers: of Ray; 0 is in process.
        warm: a folder of text in which the same stages run first, untimed, so that every worker has imported and loaded what
            it needs; empty: nothing is warmed, and starting the engine is timed too.
        found, columns: a Parquet file to write these columns to, afterwards.
        shard_bytes, warm_shards: of the text, and of the text that warms.
    """
    pending = work(output, sources, sections, shard_bytes)
    pending.check()
    reading: dict[str, Any] = {}
    if warm:
        shutil.rmtree(f"{output}-warm", ignore_errors=True)
        start = time.perf_counter()
        engine = started(workers)
        reading["startup"] = time.perf_counter() - start
        work(f"{output}-warm", parquet_source(Path(warm)), sections, warm_shards).run(until=until, engine=engine)
        with timed(reading):
            corpus = pending.run(until=until, engine=engine)
        shutil.rmtree(f"{output}-warm")
    else:
        with timed(reading):
            engine = started(workers)
            corpus = pending.run(until=until, engine=engine)
    engine.close()
    reading |= {"rows": corpus.n_documents, "bytes": sum(p.n_bytes for p in corpus.parts), "stages": walls(pending)}
    if found:
        pq.write_table(Corpus.open(output).table(list(columns)), found)
    shutil.rmtree(output)
    return reading


def started(workers: int) -> Engine:
    """An engine that can take work."""
    if not workers:
        return InProcess()
    from curate.runner import Ray

    return Ray(workers)


def walls(pending: Pipeline) -> dict[str, float]:
    """Wall seconds of each stage, by the run's own clock."""
    return {name: times["wall"] for name, times in pending.times().items()}


class Sides:
    """Ways to run the same stages over one folder of numbered Parquet files, which is ingested once.

    Args:
        text: the files; their corpus lies beside them.
        warm: a small folder of such files.
        columns: what is read from the corpus when ``found`` asks for it.
        shard_bytes, warm_shards: of the text, and of the text that warms.

    Attributes:
        corpus: the ingested corpus.
    """

    def __init__(
        self,
        text: Path,
        sections: dict[str, Any],
        until: str,
        warm: Path,
        columns: Sequence[str],
        shard_bytes: str = SHARDS,
        warm_shards: str = WARM_SHARDS,
    ) -> None:
        self._common: dict[str, Any] = {"sections": sections, "sources": parquet_source(text), "shard_bytes": shard_bytes}
        self._rest: dict[str, Any] = {"until": until, "warm": str(warm), "columns": list(columns), "warm_shards": warm_shards}
        self.corpus = text.with_name(f"{text.name}-corpus" if shard_bytes == SHARDS else f"{text.name}-{shard_bytes}-corpus")
        self.facts = child(__name__, "ingest", output=str(self.corpus), **self._common).facts

    def side(self, workers: int, found: Path | None = None, cold: bool = False) -> Side:
        """One way; ``cold`` times the start of the engine too and warms nothing."""
        return partial(self._run, workers, found, cold)

    def _run(self, workers: int, found: Path | None, cold: bool) -> Reading:
        output = scratch_copy(self.corpus, "scratch")
        rest = self._rest | ({"warm": ""} if cold else {})
        return child(__name__, "run", output=str(output), workers=workers, found=str(found or ""), **self._common, **rest)
