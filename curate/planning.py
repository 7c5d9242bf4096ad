"""Plan: try the pipeline on a small sample, and scale what was measured.

The first bytes of files spread over every source go through all stages in a scratch
directory, in this process. Rates come from that run; the amounts from file sizes.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from curate import ingest
from curate.config import Circumstance
from curate.engine import InProcess
from curate.errors import CurateError, InputError
from curate.ingest import BadRecord, InputFile, Limits, Source
from curate.ingest.readers.reader import reader_of
from curate.progress import Progress

if TYPE_CHECKING:
    from curate.pipeline import Pipeline

FILES_PER_SOURCE = 8
# A worker holds a shard's text, its sorted copy and what it writes.
COPIES_IN_MEMORY = 3.0
SPOOL_CHUNK = Limits().chunk_bytes


@dataclass(frozen=True)
class Estimate:
    """What a run will take.

    Args:
        seconds: wall time by stage; the pending ones are what is left.
        disk_bytes: at the peak, spool and all.
        memory_bytes: of driver and workers together, at the peak.
    """

    sample_bytes: int
    n_documents: float
    n_bytes: float
    n_tokens: float | None
    domains: dict[str, float]
    disk_bytes: float
    memory_bytes: float
    seconds: dict[str, float]
    pending: list[str]
    workers: int


@dataclass
class _Drawn:
    """The sample of one source: documents, and how much of the source they stand for."""

    table: pa.Table
    read_bytes: int
    all_bytes: int


def estimate(pipeline: Pipeline, n_bytes: int) -> Estimate:
    """Run the pipeline on about ``n_bytes`` of text and scale.

    Raises:
        CurateError: as the stages raise it on the sample; a mixture that is infeasible for the
            sample alone is tried again without its budget.
    """
    stage: Any = pipeline.stages["ingest"]
    drawn = [_draw(source, i, stage.listing.files, n_bytes // len(pipeline.config.ingest.sources)) for i, source in enumerate(pipeline.config.ingest.sources)]
    began = time.monotonic()
    scan_rate = _scan_rate(drawn, began)
    factors = [d.all_bytes / max(d.read_bytes, 1) for d in drawn]
    documents = sum(f * len(d.table) for f, d in zip(factors, drawn, strict=True))
    text = sum(f * sum(d.table["n_bytes"].to_pylist()) for f, d in zip(factors, drawn, strict=True))
    domains: dict[str, float] = {}
    for factor, d in zip(factors, drawn, strict=True):
        for row in d.table.group_by("domain").aggregate([("n_bytes", "sum")]).to_pylist():
            domains[row["domain"]] = domains.get(row["domain"], 0.0) + factor * row["n_bytes_sum"]
    with tempfile.TemporaryDirectory() as scratch:
        tried = _try(pipeline, [d.table for d in drawn], Path(scratch))
    del scan_rate
    sample = sum(sum(d.table["n_bytes"].to_pylist()) for d in drawn)
    workers = pipeline.circumstance.workers if pipeline.circumstance.engine == "ray" else 1
    scale = text / max(sample, 1)
    return Estimate(
        sample,
        documents,
        text,
        tried.tokens_per_byte * text if tried.tokens_per_byte else None,
        domains,
        _disk(pipeline, text, tried.disk * scale),
        _memory(pipeline, workers),
        {name: _seconds(pipeline, name, seconds, sample, text, workers) for name, seconds in tried.seconds.items()},
        [s.stage.name for s in pipeline.status() if s.state != "done"],
        workers,
    )
