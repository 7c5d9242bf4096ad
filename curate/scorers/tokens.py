"""How many tokens a document has, under a tokenizer that is named and kept.

The tokenizer is given by name or learned from a sample of the corpus; either way
``tokenizer.json`` in the state directory is the one counted with, byte for byte, for
whoever encodes the documents later. ``estimate.json`` beside it holds tokens per byte of
each domain with its standard error, which is enough to plan with, and in mode ``estimate``
is all that is used: no text is read.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.errors import ConfigError, InputError
from curate.scorers.scorer import Sample, Scorer, columns
from curate.tokenization import Tokenizer, train_bpe
from curate.tokenization.location import FILE_NAME, locate
from curate.tokenization.training import SMALLEST_VOCABULARY

ESTIMATE = "estimate.json"
FEWEST_TO_HOLD_BACK = 8
"""Documents of a domain in the sample from which some are held back from training."""


@dataclass
class Tokens(Scorer):
    """Number of tokens of each document.

    Args:
        tokenizer: path to a ``tokenizer.json`` (or the directory holding it) or a hub id; None trains one on the sample.
        vocab_size: ids of the tokenizer trained when none is given.
        sample_bytes: text to train on and to measure tokens per byte on, shared equally between domains.
        mode: ``exact`` counts; ``estimate`` multiplies a document's bytes by its domain's tokens per byte.
    """

    tokenizer: str | None = None
    vocab_size: int = 16_384
    sample_bytes: int = 20_000_000
    mode: str = "exact"

    outputs = columns(n_tokens=(pa.int64(), "tokens", "none"))

    @property
    def inputs(self) -> tuple[str, ...]:  # type: ignore[override]
        """Estimates need sizes only, so that no text is read for them."""
        return ("n_bytes", "domain") if self.mode == "estimate" else ("text",)

    def check(self) -> None:
        """Refuse settings that cannot be, and a tokenizer that is missing or corrupt."""
        if self.mode not in ("exact", "estimate"):
            raise ConfigError(f"there is no mode {self.mode!r}", where="tokens.mode", expected="exact or estimate", fix="use one of them")
        if self.sample_bytes <= 0:
            raise ConfigError("the sample is empty", where="tokens.sample_bytes", expected="a number above 0", fix="20000000 is usual")
        if self.tokenizer is not None:
            Tokenizer.open(self.tokenizer)
        elif self.vocab_size < SMALLEST_VOCABULARY:
            raise ConfigError(
                f"a vocabulary of {self.vocab_size} cannot hold every byte",
                where="tokens.vocab_size",
                expected=f"at least {SMALLEST_VOCABULARY}",
                fix="raise it; 16384 is the default",
            )

    def artifacts(self) -> tuple[Path, ...]:
        """The tokenizer's file, wherever its name leads."""
        return () if self.tokenizer is None else (locate(self.tokenizer),)

    def sample(self) -> Sample:
        """Every domain equally: a tokenizer that has seen all of them, and a ratio for each."""
        return Sample(n_bytes=self.sample_bytes, per_domain=True)

    def fit(self, sample: pa.Table, state: Path) -> None:
        """Write ``tokenizer.json`` and ``estimate.json``.

        A tokenizer fits its training text better than the rest (code by a tenth), so tokens per byte are measured
        on documents held back from the training.
        """
        text, domain = _one_array(sample["text"]).cast(pa.large_string()), _one_array(sample["domain"]).cast(pa.string())
        if self.tokenizer is None:
            held, seen = _held_back(domain)
            tokenizer = train_bpe(text.filter(pa.array(~held)).drop_null().to_pylist(), self.vocab_size)
            measured = pa.array(held | seen)
            text, domain, trained_on = text.filter(measured), domain.filter(measured), domain.filter(pa.array(seen))
        else:
            tokenizer, trained_on = Tokenizer.open(self.tokenizer), domain[:0]
        estimate = tokens_per_byte(tokenizer, text, domain) | {"measured_on_training_text": sorted(set(trained_on.drop_null().to_pylist()))}
        (state / FILE_NAME).write_bytes(tokenizer.content)
        (state / ESTIMATE).write_text(json.dumps(estimate, sort_keys=True, indent=1) + "\n")

    def load(self, state: Path | None) -> None:
        """Open the tokenizer, or the ratios, that ``fit`` wrote."""
        name = state if state is not None else self.tokenizer
        if name is None or (state is None and self.mode == "estimate"):
            raise InputError("there is nothing to count tokens with", where="state", expected="what fit wrote", fix="fit the scorer first")
        if self.mode == "estimate":
            self._ratios: dict[str, Any] = json.loads((Path(name) / ESTIMATE).read_text())
        else:
            self._tokenizer = Tokenizer.open(name)

    def score(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """``n_tokens`` int64: null where the text (in mode ``estimate`` its size) is null."""
        if self.mode == "estimate":
            return pa.record_batch([self._estimates(batch)], schema=self.outputs)
        text = batch["text"]
        missing = np.asarray(pc.is_null(text)) if text.null_count else None
        return pa.record_batch([pa.array(self._tokenizer.count(text), pa.int64(), mask=missing)], schema=self.outputs)

    def _estimates(self, batch: pa.RecordBatch) -> pa.Array:
        """Bytes times tokens per byte; a domain the sample did not show takes the ratio of all."""
        domains = batch["domain"]
        if not pa.types.is_dictionary(domains.type):
            domains = domains.dictionary_encode()
        overall = self._ratios["all"]["tokens_per_byte"]
        known = self._ratios["domains"]
        ratios = [known[name]["tokens_per_byte"] if name in known else overall for name in domains.dictionary.to_pylist()]
        at = np.asarray(domains.indices.fill_null(len(ratios)))
        n_bytes = batch["n_bytes"]
        estimated = np.rint(np.asarray(n_bytes.fill_null(0)) * np.array([*ratios, overall])[at]).astype(np.int64)
        return pa.array(estimated, pa.int64(), mask=np.asarray(pc.is_null(n_bytes)))


def tokens_per_byte(tokenizer: Tokenizer, text: pa.Array, domain: pa.Array) -> dict[str, Any]:
    """Tokens per byte of each domain of a sample, and of all of it.

    The ratio estimator (Cochran, Sampling Techniques, 1977, §6.4): r = Σt / Σb over the n documents of a
    domain, standard error sqrt(n/(n-1) Σ(t - r b)²) / Σb, documents being the sampling unit; null for n < 2.

    Args:
        tokenizer: counts the tokens.
        text: large_string array of N documents.
        domain: their N domains.

    Returns:
        ``{"tokenizer": fingerprint, "domains": {name: {...}}, "all": {...}}``, each with ``n_documents``, ``n_bytes``,
        ``n_tokens``, ``tokens_per_byte``, ``standard_error``.
    """
    n_tokens = tokenizer.count(text)
    n_bytes = np.asarray(pc.binary_length(text).fill_null(0)).astype(np.int64)
    names = np.asarray(domain.cast(pa.string()).to_pylist(), dtype=object)
    domains = {name: _ratio(n_tokens[names == name], n_bytes[names == name]) for name in sorted(set(names) - {None})}
    return {"tokenizer": tokenizer.fingerprint, "domains": domains, "all": _ratio(n_tokens, n_bytes)}


def _ratio(n_tokens: np.ndarray, n_bytes: np.ndarray) -> dict[str, Any]:
    n, total = len(n_tokens), int(n_bytes.sum())
    ratio = int(n_tokens.sum()) / total if total else 0.0
    residuals = n_tokens - ratio * n_bytes
    error = math.sqrt(n / (n - 1) * math.fsum(residuals * residuals)) / total if n > 1 and total else None
    return {
        "n_documents": n,
        "n_bytes": total,
        "n_tokens": int(n_tokens.sum()),
        "tokens_per_byte": ratio,
        "standard_error": error,
    }


def _one_array(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _held_back(domain: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Two masks of N: documents held back from training, and those of domains too small to hold any back.

    Every fourth document of a domain is held back, in the order of the sample, which is that of a hash.
    """
    names = np.asarray(domain.to_pylist(), dtype=object)
    held, seen = np.zeros(len(names), bool), np.zeros(len(names), bool)
    for name in sorted(set(names) - {None}):
        rows = np.flatnonzero(names == name)
        if len(rows) < FEWEST_TO_HOLD_BACK:
            seen[rows] = True
        else:
            held[rows[3::4]] = True
    return held, seen
