"""text-dedup's MinHash: its command, in this process, with the faster of its hash functions."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from benchmarks.child import timed
from benchmarks.peers import verdicts


def dedup(folder: str, out: str, workers: int, found: str, ngram: int, bands: int, rows: int, threshold: float) -> dict[str, Any]:
    """All files of a folder; it keeps documents of any length and saves them as a dataset, text included."""
    shutil.rmtree(out, ignore_errors=True)
    Path(out).mkdir(parents=True)
    os.environ["HF_DATASETS_CACHE"] = f"{out}/cache"  # read when `datasets` is imported
    from datasets import load_from_disk
    from text_dedup.minhash import main

    options: dict[str, Any] = {"path": "parquet", "data_files": f"{folder}/*.parquet", "split": "train", "cache_dir": f"{out}/cache"}
    options |= {"output": f"{out}/kept", "column": "text", "num_proc": workers, "hash_func": "xxh3", "min_length": 1}
    options |= {"ngram": ngram, "num_perm": bands * rows, "b": bands, "r": rows, "threshold": threshold}
    reading: dict[str, Any] = {}
    with timed(reading):
        main([f"--{name}={value}" for name, value in options.items()], standalone_mode=False)
    kept = load_from_disk(f"{out}/kept")["id"][:]
    verdicts.write(found, kept)
    shutil.rmtree(out)
    return reading | {"kept": len(kept)}
