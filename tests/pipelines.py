"""A small corpus in every file format, pipelines over it, and what tests look at in their output.

The corpus is made here from a seed, so that the whole path can be tested on any machine.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
import zstandard

from curate.corpus import Corpus
from curate.pipeline import Pipeline

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"
CI_SMALL = SHARED / "data" / "ci_small"
RAW = SHARED / "data" / "raw"

WORDS = [
    "the", "of", "and", "to", "in", "a", "is", "that", "for", "it", "as", "was", "with", "be", "by", "on", "not", "he", "his", "but",
    "at", "are", "this", "have", "from", "or", "had", "an", "they", "which", "one", "you", "were", "her", "all", "she", "there",
    "would", "their", "we", "him", "been", "has", "when", "who", "will", "no", "more", "if", "out", "so", "said", "what", "up", "its",
    "about", "into", "than", "them", "can", "only",
]  # fmt: skip


def texts(n: int, seed: int, words: tuple[int, int] = (5, 200)) -> list[str]:
    """``n`` different texts of ``words`` words each, the same for the same seed."""
    random = np.random.default_rng(seed)
    sizes = random.integers(*words, size=n)
    return [
        f"Text {seed}-{i}. " + " ".join(WORDS[w] for w in random.integers(0, len(WORDS), size=size)) + " Grüße, 世界!"
        for i, size in enumerate(sizes)
    ]


def write_corpus(raw: Path, documents: int = 40, seed: int = 0) -> Path:
    """Five domains in five formats: web .jsonl, forum .jsonl.zst, news .jsonl.gz (two files), science .parquet, books .txt."""
    for domain in ("web", "forum", "news", "science", "books"):
        (raw / domain).mkdir(parents=True)
    (raw / "web" / "a.jsonl").write_bytes(lines(texts(documents * 2, seed)))
    (raw / "forum" / "a.jsonl.zst").write_bytes(zstandard.compress(lines(texts(documents, seed + 1))))
    for i, name in enumerate(("a", "b")):
        (raw / "news" / f"{name}.jsonl.gz").write_bytes(gzip.compress(lines(texts(documents // 2, seed + 2 + i)), mtime=0))
    science = pa.table({"text": texts(documents, seed + 4), "n": list(range(documents))})
    pq.write_table(science, raw / "science" / "a.parquet", row_group_size=16)
    for i, text in enumerate(texts(max(2, documents // 10), seed + 5, (300, 800))):
        (raw / "books" / f"{i}.txt").write_text(text, encoding="utf-8")
    return raw


def lines(rows: list[str]) -> bytes:
    """JSON Lines of texts."""
    return b"".join(json.dumps({"text": text}, ensure_ascii=False).encode() + b"\n" for text in rows)


def configuration(raw: Path, output: Path, **changes: Any) -> dict[str, Any]:
    """A pipeline with every kind of stage over ``write_corpus``; ``changes`` replace whole sections."""
    base: dict[str, Any] = {
        "name": "small",
        "output": str(output),
        "seed": 3,
        "ingest": {"shard_bytes": 12_000, "split_bytes": 6_000, "sources": [{"path": str(raw), "domain": {"directory": 0}}]},
        "score": [{"tokens": {"vocab_size": 300, "sample_bytes": 20_000}}],
        "select": [{"column": "n_bytes", "min": 60, "reason": "length"}],
        "mix": {"use": "temperature", "temperature": 2.0},
        "emit": {"shard_bytes": 16_000, "carry": ["tokens.n_tokens"]},
    }
    return {key: value for key, value in (base | changes).items() if value is not None}


def real_configuration(folder: Path, output: Path, **changes: Any) -> dict[str, Any]:
    """A pipeline over the real text of ``ci_small``: one source for each of its thirteen domains."""
    sources = [{"path": str(path), "domain": path.name.split(".")[0]} for path in sorted(folder.glob("*.*"))]
    sources.append({"path": str(folder / "books"), "format": "text", "domain": "books"})
    ingest = {"sources": sources, "shard_bytes": 80_000, "split_bytes": 60_000}
    learners = [
        {"tokens": {"vocab_size": 600, "sample_bytes": 100_000}},
        {"ngram_perplexity": {"name": "prose", "order": 2, "sample_bytes": 50_000}},
    ]
    emit = {"shard_bytes": 60_000, "carry": ["prose.perplexity"]}
    return configuration(folder, output, **({"ingest": ingest, "score": learners, "emit": emit} | changes))


def write_yaml(config: dict[str, Any], path: Path) -> Path:
    """The configuration as a file."""
    path.write_text(yaml.safe_dump(config, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return path


def pipeline(config: dict[str, Any], engine: str = "process", **circumstance: Any) -> Pipeline:
    """A pipeline from its file, which is put beside its output directory."""
    output = Path(config["output"])
    output.parent.mkdir(parents=True, exist_ok=True)
    file = write_yaml(config, output.with_name(f"{output.name}.yaml"))
    return Pipeline.from_yaml(file, engine=engine, **circumstance)


def run(config: dict[str, Any], **more: Any) -> Corpus:
    """Run in this process and open the result."""
    return pipeline(config).run(**more)


def emitted(output: Path, mix: str = "default") -> list[Path]:
    """The emitted shards in order."""
    return sorted((Path(output) / "mixes" / mix).glob("*.arrow"))


def rows(output: Path, mix: str = "default") -> pa.Table:
    """All emitted rows."""
    return pa.concat_tables([pa.ipc.open_stream(path.read_bytes()).read_all() for path in emitted(output, mix)])


def hashes(output: Path, pattern: str = "mixes/*/*.arrow") -> dict[str, str]:
    """SHA-256 of files by their path in the corpus."""
    return {p.relative_to(output).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(Path(output).glob(pattern))}


def made_when(output: Path, pattern: str = "**/*") -> dict[str, tuple[int, int]]:
    """(inode, mtime in ns) of data files by path: both change when a file is written again."""
    found = {}
    for path in Path(output).glob(pattern):
        if path.is_file() and path.suffix in (".parquet", ".arrow"):
            stat = path.stat()
            found[path.relative_to(output).as_posix()] = (stat.st_ino, stat.st_mtime_ns)
    return found


def curate(*arguments: str | Path, cwd: Path | None = None, timeout: float = 240) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own."""
    environment = os.environ | {"COLUMNS": "120", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", "curate.cli", *map(str, arguments)],
        cwd=cwd or ROOT, env=environment, capture_output=True, text=True, timeout=timeout, check=False,
    )  # fmt: skip
