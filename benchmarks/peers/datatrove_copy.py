"""datatrove reading .jsonl.gz and writing Parquet: https://github.com/huggingface/datatrove."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers import ParquetWriter

from benchmarks.child import timed


def copy(folder: str, out: str, workers: int) -> dict[str, Any]:
    """All files of a folder to one Parquet file per task, ``workers`` tasks at once."""
    steps = [JsonlReader(folder, glob_pattern="*.jsonl.gz"), ParquetWriter(f"{out}/documents", compression="zstd")]
    # Forked workers start at once and their CPU time is had when they end.
    executor = LocalPipelineExecutor(steps, workers, workers, f"{out}/logs", skip_completed=False, start_method="fork")
    reading: dict[str, Any] = {}
    with timed(reading):
        executor.run()
    files = sorted(Path(out).glob("documents/*.parquet"))
    reading |= {"rows": sum(pq.read_metadata(f).num_rows for f in files), "written": sum(f.stat().st_size for f in files)}
    shutil.rmtree(out)
    return reading
