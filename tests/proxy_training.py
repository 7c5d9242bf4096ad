"""A model that learns in milliseconds, text of two domains to teach it, and settings small enough for a test."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from curate.causal_lm import SHAPES, Shape
from curate.hashing import doc_id
from curate.proxy import Streams, Training
from curate.tokenization import Tokenizer, train_bpe
from pipelines import texts

TINY = {"llama-tiny": Shape("llama", 32, 1, 4), "pythia-tiny": Shape("pythia", 32, 1, 4)}
START = 0


def settings(**changes: Any) -> Training:
    """Eight steps of sixteen rows of 32 tokens."""
    base = {
        "size": "llama-tiny", "vocab_size": 300, "context": 32, "tokens": 4096, "batch_tokens": 512, "learning_rate": 3e-3,
        "threads": 1, "fraction": 0.3,
    }  # fmt: skip
    return Training(**(base | changes))


@pytest.fixture(scope="module")
def tiny_shapes() -> Iterator[None]:
    """The tiny shapes by name, beside those of the project."""
    with pytest.MonkeyPatch.context() as patch:
        for name, shape in TINY.items():
            patch.setitem(SHAPES, name, shape)
        yield


def documents(**by_domain: list[str | None]) -> pa.Table:
    """Columns text, domain (dictionary) and doc_id, domain by domain."""
    rows = [(text, domain) for domain, column in by_domain.items() for text in column]
    ids = [doc_id((text or "").encode()) for text, _ in rows]
    return pa.table(
        {
            "text": pa.array([text for text, _ in rows], pa.string()),
            "domain": pa.array([domain for _, domain in rows]).dictionary_encode(),
            "doc_id": pa.array(ids, pa.binary(16)),
        }
    )


@cache
def sample() -> pa.Table:
    """Twenty documents of words, and ten of numbers."""
    numbers = [re.sub(r"[a-z]", lambda m: str(ord(m[0]) % 10), text) for text in texts(10, 8)]
    return documents(words=texts(20, 7), numbers=numbers)


@cache
def tokenizer() -> Tokenizer:
    """Learned from that sample."""
    return train_bpe(sample()["text"].to_pylist(), 300)


@cache
def streams() -> Streams:
    """Of that sample: numbers, words."""
    return Streams.of(sample(), tokenizer(), START)


def numbered(*sizes: int, names: tuple[str, ...] | None = None) -> Streams:
    """Streams whose tokens say where they stand: the tenth token of the third domain is 2,000,010; one document each."""
    tokens = tuple(np.arange(size, dtype=np.int32) + 1_000_000 * d for d, size in enumerate(sizes))
    names = names or tuple(f"d{i}" for i in range(len(sizes)))
    return Streams(names, tokens, np.array(sizes), tuple(np.zeros(1, np.int64) for _ in sizes), tuple([f"id of {name}"] for name in names))
