"""Perplexity under an n-gram language model: how unlike reference text a document reads.

CCNet (Wenzek et al., arXiv 1911.00359) sorts web text into head, middle and tail by the perplexity of a
5-gram model learned from clean text. Selection by perplexity intervals (Ankner et al., arXiv 2405.20541)
needs ranks only. The model is either supplied or learned from a sample of the corpus.

A document that the model was learned from scores far too well, so ``in_fit_sample`` marks it.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import pyarrow as pa

from curate.documents import read_only, text_bytes
from curate.errors import ConfigError, InputError
from curate.fit_ids import FitIds
from curate.fit_ids import save as save_fit_ids
from curate.hashing import U64, id_keys
from curate.ngram import arpa, ccnet, kneser_ney
from curate.ngram.kenlm_binary import KenlmModel, is_binary, require_kenlm
from curate.ngram.model import NgramModel, compile_model
from curate.scorers.scorer import PickledAsBuilt, Sample, Scorer, columns

LN10, LN2 = math.log(10), math.log(2)
HELD_OUT = 16  # one document in this many tells the cutoffs of a learned model instead of teaching it
MAX_ORDER = 16

_FACTS = "ngram.json"

_SCORES = columns(
    nats=(pa.float64(), "nats", "lower"),
    n_predicted=(pa.int64(), "words and sentence ends", "none"),
    n_oov=(pa.int64(), "words", "lower"),
    perplexity=(pa.float64(), "perplexity per word or sentence end", "lower"),
    bpb=(pa.float64(), "bits per UTF-8 byte", "lower"),
    in_fit_sample=(pa.bool_(), "bool", "none"),
)
_BUCKET = columns(bucket=(pa.string(), "head, middle or tail", "none"))


class _Model(Protocol):
    def score(self, text: pa.Array, *, by_line: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]: ...


@dataclass
class NgramPerplexity(PickledAsBuilt, Scorer):
    """Nats, perplexity and bits per byte of every document under a word n-gram model.

    Words are runs of bytes without ASCII white space. Every sentence is scored as <s> words </s>; the sums
    count its words and its </s>. A document without a word is one empty sentence. ``bpb`` divides by the
    bytes of the document as it is, whatever ``normalise`` says, and is null for an empty one.

    Args:
        model: an ARPA file (.arpa, .arpa.gz), a KenLM binary (needs the ``kenlm`` package), or a folder that
            an earlier ``fit`` wrote; none learns a model from a sample of the corpus.
        order: longest n-gram learned.
        sample_bytes: text bytes to learn from.
        domains: learn from these domains only; empty means all.
        stratified: whether domains share the sample equally, else in natural proportion.
        min_count: words that occur less often in the sample are learned as <unk>.
        prune: n-grams of order i+1 that occur at most prune[i] times are left out, the last value holding for
            all higher orders.
        lines: "line" takes every line with a word for a sentence, "document" the whole document. With
            ``normalise: ccnet``, which deletes newlines, a document is one sentence in either case.
        normalise: "ccnet" brings text into CCNet's form before learning and scoring.
        bucket_cutoffs: adds ``bucket``: perplexity below the first is head, below the second middle, else tail.
        bucket_percentiles: the same, with cutoffs at these percentiles of the sample's documents. A learned
            model keeps one document in 16 aside for this, since it would flatter what it has seen.
    """

    model: str | None = None
    order: int = 5
    sample_bytes: int = 50_000_000
    domains: tuple[str, ...] = ()
    stratified: bool = False
    min_count: int = 1
    prune: tuple[int, ...] = (0, 0, 1)
    lines: Literal["line", "document"] = "line"
    normalise: Literal["none", "ccnet"] = "none"
    bucket_cutoffs: tuple[float, float] | None = None
    bucket_percentiles: tuple[float, float] | None = None

    inputs = ("text", "doc_id")

    def __post_init__(self) -> None:
        self._model: _Model | None = None
        self._fit_ids = FitIds()
        self._cutoffs: tuple[float, float] | None = None

    @property
    def outputs(self) -> pa.Schema:
        """The score columns, with ``bucket`` where asked for."""
        return pa.schema([*_SCORES, *(_BUCKET if self._asks_buckets else [])])

    @property
    def _asks_buckets(self) -> bool:
        return self.bucket_cutoffs is not None or self.bucket_percentiles is not None

    def check(self) -> None:
        """Check hyper-parameters, and read a supplied model once."""
        prune = list(self.prune)
        _require(1 <= self.order <= MAX_ORDER, "order", self.order, f"1 to {MAX_ORDER}")
        _require(self.sample_bytes > 0, "sample_bytes", self.sample_bytes, "more than 0")
        _require(self.min_count >= 1, "min_count", self.min_count, "1 or more")
        _require(
            bool(prune) and prune[0] == 0 and prune == sorted(prune), "prune", prune, "0 for unigrams, then thresholds that never fall"
        )
        _require(self.lines in ("line", "document"), "lines", self.lines, "line or document")
        _require(self.normalise in ("none", "ccnet"), "normalise", self.normalise, "none or ccnet")
        both = self.bucket_cutoffs is not None and self.bucket_percentiles is not None
        _require(not both, "bucket_percentiles", self.bucket_percentiles, "either bucket_cutoffs or bucket_percentiles")
        cutoffs, percentiles = self.bucket_cutoffs, self.bucket_percentiles
        _require(cutoffs is None or 0 < cutoffs[0] <= cutoffs[1], "bucket_cutoffs", cutoffs, "two rising perplexities")
        _require(
            percentiles is None or 0 < percentiles[0] <= percentiles[1] < 100, "bucket_percentiles", percentiles, "two rising percentages"
        )
        if self.model is not None:
            self._supplied(Path(self.model))

    def artifacts(self) -> tuple[Path, ...]:
        """The supplied model's files."""
        if self.model is None:
            return ()
        path = Path(self.model)
        return tuple(sorted(p for p in path.iterdir() if p.is_file())) if path.is_dir() else (path,)

    def sample(self) -> Sample | None:
        """Documents to learn from, or to take percentiles of."""
        if self.model is not None and self.bucket_percentiles is None:
            return None
        return Sample(self.sample_bytes, per_domain=self.stratified, columns=("text",), domains=tuple(self.domains))

    def fit(self, sample: pa.Table, state: Path) -> None:
        """Learn the model (unless supplied) and the cutoffs (if percentiles are asked for)."""
        text, ids = sample["text"].combine_chunks(), sample["doc_id"].combine_chunks()
        aside = np.ones(len(text), bool)
        if self.model is not None:
            model: _Model = self._supplied(Path(self.model))
        else:
            aside = (id_keys(0, "ngram cutoffs", ids) % U64(HELD_OUT) == 0) & (self.bucket_percentiles is not None)
            model = self._learn(text.filter(pa.array(~aside)), state)
            save_fit_ids(ids.filter(pa.array(~aside)), state)
        facts: dict[str, Any] = {"lines": self.lines, "normalise": self.normalise}
        if self.bucket_percentiles is not None:
            facts["cutoffs"] = self._percentiles(model, text.filter(pa.array(aside)), self.bucket_percentiles)
        (state / _FACTS).write_text(json.dumps(facts, sort_keys=True) + "\n")

    def _learn(self, text: pa.Array, state: Path) -> NgramModel:
        data, bounds = text_bytes(self._normalised(text))
        learned = kneser_ney.estimate(
            read_only(data), read_only(bounds), order=self.order, by_line=self._by_line, min_count=self.min_count, prune=self.prune
        )
        model = compile_model(learned.rows)
        model.save(state)
        return model

    def _percentiles(self, model: _Model, text: pa.Array, percentiles: tuple[float, float]) -> list[float]:
        if not len(text):
            fix = "raise `sample_bytes`, or give `bucket_cutoffs`"
            raise InputError(
                "the sample is too small to take percentiles of",
                where="bucket_percentiles",
                expected=f"dozens of documents (one in {HELD_OUT} is kept aside)",
                fix=fix,
            )
        log10_p, n_predicted, _ = model.score(self._normalised(text), by_line=self._by_line)
        return [float(c) for c in np.percentile(_perplexity(log10_p, n_predicted), list(percentiles))]

    def load(self, state: Path | None) -> None:
        """Map the learned model, or read the supplied one."""
        folder = state
        if self.model is not None:
            path = Path(self.model)
            self._model = self._supplied(path)
            folder = path if path.is_dir() else None
        elif state is not None:
            self._model = NgramModel.load(state)
        self._fit_ids = FitIds(folder)
        self._cutoffs = tuple(self.bucket_cutoffs) if self.bucket_cutoffs is not None else None  # type: ignore[assignment]
        if self.bucket_percentiles is not None and state is not None:
            low, high = json.loads((state / _FACTS).read_text())["cutoffs"]
            self._cutoffs = (low, high)

    def _supplied(self, path: Path) -> _Model:
        """The model at a path the user gave."""
        if not path.exists():
            raise InputError(
                "the n-gram model does not exist",
                where=str(path),
                expected="an ARPA file, a KenLM binary or a fitted folder",
                fix="correct `model`",
            )
        if path.is_dir():
            self._check_facts(path)
            return NgramModel.load(path)
        if is_binary(path):
            require_kenlm(path)
            return KenlmModel(path)
        return compile_model(arpa.read(path))

    def _check_facts(self, folder: Path) -> None:
        """A model is worth nothing on text prepared in another way than it was learned from."""
        try:
            facts = json.loads((folder / _FACTS).read_text())
        except (OSError, ValueError) as error:
            raise InputError(
                "the folder holds no learned n-gram model", where=str(folder), expected=f"{_FACTS} and tables", fix="correct `model`"
            ) from error
        for name in ("lines", "normalise"):
            _require(getattr(self, name) == facts[name], name, getattr(self, name), f"{facts[name]}, as {folder} was learned")

    def score(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Score documents; null text gives nulls."""
        if self._model is None:
            raise ConfigError(
                "the n-gram model is not loaded", where="ngram_perplexity", expected="`load` before `score`", fix="call load(state)"
            )
        text = batch["text"]
        log10_p, n_predicted, n_oov = self._model.score(self._normalised(text), by_line=self._by_line)
        nats = -LN10 * log10_p
        n_bytes = np.diff(text_bytes(text)[1])
        null = text.is_null().to_numpy(zero_copy_only=False)
        seen = self._fit_ids.among(batch["doc_id"])
        perplexity = _perplexity(log10_p, n_predicted)
        bpb = np.divide(nats, LN2 * n_bytes, out=np.zeros(len(text)), where=n_bytes > 0)
        made = [pa.array(values, mask=null) for values in (nats, n_predicted, n_oov, perplexity)]
        made += [pa.array(bpb, mask=null | (n_bytes == 0)), pa.array(seen, mask=null)]
        if self._cutoffs is not None:
            bucket = ccnet.buckets(perplexity, self._cutoffs)
            made.append(pa.compute.if_else(pa.array(null), pa.scalar(None, pa.string()), bucket))
        return pa.record_batch(made, schema=self.outputs)

    @property
    def _by_line(self) -> bool:
        return self.lines == "line"

    def _normalised(self, text: pa.Array) -> pa.Array:
        return ccnet.normalise_column(text) if self.normalise == "ccnet" else text


def _perplexity(log10_p: np.ndarray, n_predicted: np.ndarray) -> np.ndarray:
    return np.exp(-LN10 * log10_p / n_predicted)


def _require(holds: bool, name: str, value: object, expected: str) -> None:
    if not holds:
        raise ConfigError(f"{name} cannot be {value!r}", where=f"ngram_perplexity.{name}", expected=expected, fix=f"change `{name}`")
