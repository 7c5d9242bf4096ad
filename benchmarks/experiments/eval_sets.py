"""Evaluation files: bits per byte of each item's ``target`` given its ``prompt``."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import xxhash
import zstandard

from curate.causal_lm import Reader
from curate.tokenization import Tokenizer


def read_items(folder: Path, names: tuple[str, ...], n_items: int) -> dict[str, list[dict[str, Any]]]:
    """``n_items`` of each file, the first in the order of a hash of their text."""
    found = {}
    for name in names:
        with zstandard.open(folder / f"{name}.jsonl.zst", "rb") as file:
            items = [orjson.loads(line) for line in file.read().split(b"\n") if line.strip()]
        items = [item for item in items if item.get("target")]
        found[name] = sorted(items, key=lambda item: xxhash.xxh3_64_intdigest(f"{item['prompt']}\n{item['target']}".encode()))[:n_items]
    return found


def bits_per_byte(reader: Reader, tokenizer: Tokenizer, items: list[dict[str, Any]], context: int) -> float:
    """Σ nats of all targets given their prompts / (ln 2 · Σ their bytes); long prompts lose their beginning."""
    prompts, targets = (_encoded(tokenizer, [item[key] or "" for item in items]) for key in ("prompt", "target"))
    pieces, sizes = [], []
    for prompt, target in zip(prompts, targets, strict=True):
        target = target[:context]
        pieces += [prompt[max(0, len(prompt) + len(target) - context) :], target]
        sizes.append((len(pieces[-2]), len(target)))
    lengths = np.array(sizes)
    offsets = np.concatenate([[0], np.cumsum(lengths.sum(1))])
    nats = reader.nats(reader.prepare(np.concatenate(pieces), offsets)).astype(np.float64)
    is_target = np.repeat(np.tile([False, True], len(items)), lengths.reshape(-1))
    n_bytes = sum(len(item["target"].encode()) for item in items)
    return float(nats[is_target].sum() / (math.log(2) * n_bytes))


def _encoded(tokenizer: Tokenizer, texts: list[str]) -> list[np.ndarray]:
    ids, offsets = tokenizer.encode_arrow(pa.array(texts, pa.large_string()))
    return [ids[a:b] for a, b in zip(offsets[:-1], offsets[1:], strict=True)]
