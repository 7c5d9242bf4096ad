"""Pages of every domain with the group each belongs to: newsgroup, language, repository, book, subject, …

A page is a document, or a stretch of whole lines of a long one. What may be near the same text (a thread, a film's
reviews, the years of a country, ten pages of a book in a row) has one key and takes one role: judges are trained on some keys,
pools to select from are drawn from others, and the rest is held out.
"""

from __future__ import annotations

import gzip
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import xxhash
import zstandard

from curate.hashing import doc_id, id_keys

DOMAINS = (
    "books", "code", "dialog", "docs", "encyclopedia", "forum", "legal", "math", "multilingual", "news", "noisy", "reviews", "science",
)  # fmt: skip
ROLES = {"judges": 0.45, "pool": 0.45, "held_out": 0.1}
"""Shares of the keys."""
LONGEST, SHORTEST = 3_000, 100
"""Bytes of a page."""
STRETCH, MOST_PAGES = 10, 20
"""Pages of a book that take one role together, and most pages of any other document."""
GROUPS, LEAST_PAGES, OTHER = 12, 100, "other"
"""Groups of a domain that keep their name: the largest, of so many pages at least; the others are one."""
KEYS = {"forum": "subject", "reviews": "movie", "science": "arxiv_id", "encyclopedia": "country"}
"""What documents of one key share, by domain; else each document is a key."""


def pages(raw: Path, kept: Path) -> pa.Table:
    """All pages: ``doc_id``, ``text``, ``domain``, ``group`` (domain/name), ``role``, ``n_bytes``; made once and kept in a file."""
    if not kept.exists():
        table = pa.concat_tables([_domain(raw / name, name) for name in DOMAINS])
        partial = kept.with_suffix(".partial")
        pq.write_table(table, partial)
        partial.rename(kept)
    return pq.read_table(kept)


def drawn(table: pa.Table, role: str, seed: int, n_bytes: Mapping[str, int]) -> pa.Table:
    """Pages of a role in a seed's order, ``n_bytes`` of each domain, which its groups share equally as far as they have them."""
    table = table.filter(pc.equal(table["role"], role))
    parts = []
    for domain, wanted in n_bytes.items():
        part = table.filter(pc.equal(table["domain"], domain))
        part = part.take(pa.array(np.argsort(id_keys(seed, "perplexity correlations", part["doc_id"]), kind="stable")))
        groups = np.asarray(part["group"].to_pylist())
        sizes = part["n_bytes"].to_numpy()
        share = {group: int(sizes[groups == group].sum()) for group in np.unique(groups)}
        level = _level(np.array(list(share.values())), wanted)
        taken = np.zeros(len(part), bool)
        for group in share:
            taken[groups == group] = np.cumsum(sizes[groups == group]) <= level
        parts.append(part.filter(pa.array(taken)))
    return pa.concat_tables(parts)


def _level(sizes: np.ndarray, wanted: int) -> float:
    """The most that a group gives so that all give ``wanted`` together."""
    low, high = 0.0, float(sizes.max())
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if np.minimum(sizes, middle).sum() < wanted else (low, middle)
    return high


def _domain(folder: Path, domain: str) -> pa.Table:
    rows, seen = [], set()
    for record in _records(folder):
        name, key = _group(domain, record), _key(domain, record)
        pieces = list(_pieces(record["text"]))
        for i, text in enumerate(pieces if domain == "books" else pieces[:MOST_PAGES]):
            identity = doc_id(text.encode())
            if identity not in seen:
                seen.add(identity)
                rows.append((identity, text, name, _role(f"{key}\n{i // STRETCH}" if domain == "books" else key)))
    sizes = Counter(name for _, _, name, _ in rows)
    named = {name for name, n in sizes.most_common(GROUPS) if n >= LEAST_PAGES}
    groups = [f"{domain}/{name if name in named else OTHER}" for _, _, name, _ in rows]
    return pa.table(
        {
            "doc_id": pa.array([row[0] for row in rows], pa.binary(16)),
            "text": pa.array([row[1] for row in rows], pa.large_string()),
            "domain": [domain] * len(rows),
            "group": groups,
            "role": [row[3] for row in rows],
            "n_bytes": [len(row[1].encode()) for row in rows],
        }
    )


def _records(folder: Path) -> Iterator[dict[str, Any]]:
    """Records of a domain's folder; ``meta`` and ``provenance`` as mappings."""
    for file in sorted(folder.iterdir()):
        if file.name == "_manifest.jsonl":
            for entry in map(orjson.loads, file.read_bytes().splitlines()):
                yield entry | {"text": (folder / entry["file"]).read_bytes().decode("utf-8-sig").replace("\r\n", "\n")}
        elif file.suffix == ".parquet":
            for row in pq.read_table(file).to_pylist():
                yield row | {k: orjson.loads(row[k]) if isinstance(row[k], str) else row[k] for k in ("meta", "provenance")}
        elif file.suffix in (".gz", ".zst"):
            with gzip.open(file) if file.suffix == ".gz" else zstandard.open(file, "rb") as opened:
                yield from map(orjson.loads, filter(None, opened.read().split(b"\n")))


def _role(key: str) -> str:
    """By a hash of the key."""
    place = xxhash.xxh3_64_intdigest(key.encode()) / 2**64
    return list(ROLES)[int(np.searchsorted(np.cumsum(list(ROLES.values())), place, side="right").clip(0, len(ROLES) - 1))]


def _key(domain: str, record: dict[str, Any]) -> str:
    shared = record["meta"].get(KEYS.get(domain, ""))
    return f"{domain}\n{shared or record['id']}"


def _group(domain: str, record: dict[str, Any]) -> str:
    """The finest real division of a domain that its records tell."""
    meta, path, repo = record["meta"], record["provenance"]["path"], record["provenance"]["repo"].split("/")[-1]
    match domain:
        case "books":
            return f"{meta['author']} {meta['title']}"
        case "code":
            return f"{meta.get('prog_lang')} {repo}"
        case "dialog":
            services = meta["services"] if isinstance(meta["services"], list) else [meta["services"]]
            return re.sub(r"_\d+$", "", services[0])
        case "docs":
            return f"{meta['kind']} {repo}"
        case "encyclopedia":
            return f"{meta['kind']} {path.split('/')[0]}" if meta["kind"] == "factbook" else meta["kind"]
        case "forum":
            return str(meta["newsgroup"])
        case "legal":
            title = re.search(r"/titles/(\w+)/", path)
            return f"title {title[1]}" if title else str(meta["kind"])
        case "math":
            return str(meta["chapter"])
        case "multilingual":
            return f"{meta['lang']} {meta['kind']}"
        case "news":
            return str((meta["topics"] or ["none"])[0])
        case "noisy":
            return str(meta["kind"])
        case "reviews":
            return f"rating {meta['rating']}" if meta.get("rating") is not None else "unrated"
        case _:
            return f"{(meta.get('categories') or ['none'])[0]}"


def _pieces(text: str) -> Iterator[str]:
    """A document of at most ``LONGEST`` bytes as it is; of a longer one, its lines in stretches of at most so many."""
    if len(text.encode()) <= LONGEST:
        if len(text.encode()) >= SHORTEST:
            yield text
        return
    lines: list[str] = []
    size = 0
    for line in text.split("\n"):
        n = len(line.encode()) + 1
        if size + n > LONGEST and lines:
            if size >= SHORTEST:
                yield "\n".join(lines)
            lines, size = [], 0
        if n <= LONGEST:
            lines.append(line)
            size += n
    if size >= SHORTEST:
        yield "\n".join(lines)
