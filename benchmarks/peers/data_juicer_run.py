"""data-juicer: its rule filters, and its MinHash deduplicator, in its default executor.

It reads the folder's Parquet files through `datasets` and exports what it keeps, number and text, as JSON lines;
both belong to a run of it and are counted. Configuration and imports are not.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from benchmarks.child import timed
from benchmarks.peers import verdicts

STOP_WORDS = ["the", "be", "to", "of", "and", "that", "have", "with"]
MOST = 10**9


def rules(words: str) -> list[dict[str, Any]]:
    """Eight filters of the kinds that Gopher, C4 and FineWeb ask about; stop words come from the folder ``words``."""
    return [
        {"words_num_filter": {"min_num": 50, "max_num": 100_000}},
        {"alphanumeric_filter": {"tokenization": False, "min_ratio": 0.6}},
        {"special_characters_filter": {"max_ratio": 0.4}},
        {"average_line_length_filter": {"min_len": 10, "max_len": MOST}},
        {"maximum_line_length_filter": {"min_len": 20, "max_len": MOST}},
        {"stopwords_filter": {"lang": "en", "tokenization": False, "min_ratio": 0.02, "stopwords_dir": words}},
        {"character_repetition_filter": {"rep_len": 10, "max_ratio": 0.3}},
        {"word_repetition_filter": {"lang": "en", "tokenization": False, "rep_len": 5, "max_ratio": 0.3}},
    ]


def filters(folder: str, out: str, workers: int, found: str) -> dict[str, Any]:
    """The eight filters over a folder, fused where data-juicer can."""
    shutil.rmtree(out, ignore_errors=True)
    words = Path(out) / "words"
    words.mkdir(parents=True)
    (words / "stopwords.json").write_text(json.dumps({"en": STOP_WORDS}))
    return run(folder, out, workers, found, {"process": rules(str(words)), "op_fusion": True, "fusion_strategy": "greedy"})


def dedup(folder: str, out: str, workers: int, found: str, ngram: int, bands: int, rows: int, threshold: float) -> dict[str, Any]:
    """MinHash over words between spaces, lower case."""
    shutil.rmtree(out, ignore_errors=True)
    settings = {"tokenization": "space", "window_size": ngram, "lowercase": True, "jaccard_threshold": threshold}
    settings |= {"num_permutations": bands * rows, "num_bands": bands, "num_rows_per_band": rows}
    return run(folder, out, workers, found, {"process": [{"document_minhash_deduplicator": settings}]})


def run(folder: str, out: str, workers: int, found: str, config: dict[str, Any]) -> dict[str, Any]:
    """One run of its default executor in a folder that holds nothing else."""
    Path(out).mkdir(parents=True, exist_ok=True)
    # `datasets` and data-juicer read where their caches are when they are imported.
    os.environ |= {"HF_DATASETS_CACHE": f"{out}/datasets", "DATA_JUICER_CACHE_HOME": f"{out}/cache"}
    # It would install what it finds missing in the middle of a run, torch for CUDA among it: refused, so that it says what it lacks.
    os.environ |= {"UV_OFFLINE": "1", "UV_NO_INDEX": "1", "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "", "PIP_CONFIG_FILE": os.devnull}
    from data_juicer.config import init_configs
    from data_juicer.core.executor.default_executor import DefaultExecutor

    export = Path(out) / "kept.jsonl"
    config |= {"project_name": "side", "dataset_path": folder, "export_path": str(export), "np": workers, "use_cache": False}
    config |= {"open_tracer": False, "work_dir": out}
    file = Path(out) / "config.json"
    file.write_text(json.dumps(config))
    executor = DefaultExecutor(init_configs(["--config", str(file)]))
    reading: dict[str, Any] = {}
    with timed(reading):
        executor.run()
    sys.stdout = sys.__stdout__  # it has sent the one it found to its log
    with next(Path(out).rglob("kept.jsonl")).open() as lines:
        kept = [json.loads(line)["id"] for line in lines]
    verdicts.write(found, kept)
    shutil.rmtree(out)
    return reading | {"kept": len(kept)}
