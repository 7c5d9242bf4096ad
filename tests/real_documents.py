"""Real text of every domain of the small shared sample, as plain strings."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow.parquet as pq
import zstandard


def documents_by_domain(folder: Path, per_domain: int, most_characters: int = 1500) -> dict[str, list[str]]:
    """The first documents of each domain, each cut to some characters so that tiny models read them in no time."""
    found: dict[str, list[str]] = {"books": [p.read_text(encoding="utf-8-sig") for p in sorted((folder / "books").iterdir())]}
    for path in sorted(folder.glob("*.*")):
        found[path.name.split(".")[0]] = _texts(path)
    return {domain: [text[:most_characters] for text in texts[:per_domain]] for domain, texts in found.items()}


def _texts(path: Path) -> list[str]:
    """The field ``text`` of every record."""
    if path.suffix == ".parquet":
        return [text for text in pq.read_table(path, columns=["text"])["text"].to_pylist() if text]
    raw = path.read_bytes()
    lines = gzip.decompress(raw) if path.suffix == ".gz" else zstandard.ZstdDecompressor().stream_reader(raw).read()
    return [record["text"] for record in map(json.loads, lines.splitlines()) if record.get("text")]
