"""A mixture made with datasets: interleave, then save: https://huggingface.co/docs/datasets."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import datasets

from benchmarks.child import timed


def interleave(folder: str, rows: dict[str, int], out: str, shard_bytes: int) -> dict[str, Any]:
    """Interleave one Parquet file per domain in proportion to ``rows``, as many rows as they sum to, and save them."""
    datasets.disable_progress_bars()
    names = [name for name, count in rows.items() if count]
    total = sum(rows.values())
    load: dict[str, Any] = {}
    with timed(load):
        parts = [datasets.Dataset.from_parquet(str(Path(folder) / f"{name}.parquet"), cache_dir=f"{out}/cache") for name in names]
    reading: dict[str, Any] = {"load": load}
    with timed(reading):
        mixed = datasets.interleave_datasets(
            parts, probabilities=[rows[name] / total for name in names], seed=7, stopping_strategy="all_exhausted"
        )
        mixed = mixed.select(range(min(total, len(mixed))))
        mixed.save_to_disk(f"{out}/saved", max_shard_size=shard_bytes, num_proc=None)
    saved = datasets.load_from_disk(f"{out}/saved")
    reading |= {"rows": len(saved), "bytes": sum(saved.data["n_bytes"].to_pylist()) if saved._indices is None else 0}
    reading["written"] = sum(f.stat().st_size for f in Path(f"{out}/saved").glob("*.arrow"))
    shutil.rmtree(out)
    return reading
