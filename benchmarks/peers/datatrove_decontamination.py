"""datatrove's n-gram decontamination: its filter over documents, with an index made by its own hashes."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from datatrove.data import Document
from datatrove.pipeline.decont.n_grams import NGramsDecontConfig, NGramsDecontFilter
from datatrove.utils.text import ngrams, simplify_text

from benchmarks.child import timed


def find(documents: str, items: str, out: str, ngram: int) -> dict[str, Any]:
    """One process: whether each document of a Parquet file holds an n-gram of the items, texts of another one."""
    shutil.rmtree(out, ignore_errors=True)
    Path(out).mkdir(parents=True)
    step = NGramsDecontFilter(out, NGramsDecontConfig(n_grams=ngram))
    # Its indexer wants lighteval; these are the same hashes, of one text an item.
    hashes = {step.hash_func(" ".join(n)) for text in texts(items) for n in ngrams(words(step, text), ngram)}
    np.array(sorted(hashes), dtype=np.uint64).tofile(f"{out}/items.index.hashes")
    given = [Document(text=text, id=str(i)) for i, text in enumerate(texts(documents))]
    step.filter(Document(text="one to load what it needs", id="warm"))
    reading: dict[str, Any] = {}
    with timed(reading):
        kept = [step.filter(document) is True for document in given]
    shutil.rmtree(out)
    return reading | {"matched": [i for i, keep in enumerate(kept) if not keep]}


def words(step: NGramsDecontFilter, text: str) -> list[str]:
    """As the filter sees a text."""
    found: list[str] = step.tokenizer.word_tokenize(simplify_text(text, step.config.norm_config))
    return found


def texts(file: str) -> list[str]:
    """The column ``text``."""
    found: list[str] = pq.read_table(file, columns=["text"])["text"].to_pylist()
    return found
