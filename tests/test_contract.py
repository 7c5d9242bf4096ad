"""Every built-in keeps the contract, and the contract suite catches each way of breaking it."""

from __future__ import annotations

import ctypes
import os
import pickle
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from documents_to_mix import documents_with_gaps

from curate import registry
from curate.causal_lm import SHAPES, Shape
from curate.correlation.weights import SCHEMA as WEIGHTS_SCHEMA
from curate.mixers.document_mixer import DocumentMixer
from curate.scorers.scorer import Sample, Scorer, columns
from curate.testing import check_document_mixer, check_mixer, check_scorer, sample_documents

QUESTIONS = str(Path(__file__).parent / "evaluation" / "questions.jsonl")
LABELS = str(Path(__file__).parent / "labels" / "subjects.jsonl")
TINY_ENCODER = "a tiny encoder, made where a test asks for it"
WEIGHTS = "weights of the sample's domains, written where a test asks for them"
SMALL: dict[str, list[dict[str, Any]]] = {
    "agreement": [{"columns": ["n_bytes", "source_row"]}, {"columns": ["n_bytes", "source_row"], "within_domain": True}],
    "bits_per_byte": [{"train": {"size": "llama-1m", "vocab_size": 300, "context": 32, "tokens": 2000, "batch_tokens": 512, "threads": 1}}],
    "clusters": [{"embedding": "embedding.vector", "k": 3, "iterations": 5}, {"embedding": "embedding.vector", "k": 1}],
    "contamination": [{"files": QUESTIONS}, {"files": QUESTIONS, "ngram": 5, "shortest": 4, "distinct": 3}],
    "correlation_classifier": [
        {"weights": WEIGHTS, "dim": 8, "bucket": 1000, "epoch": 2},
        {"weights": WEIGHTS, "dim": 4, "bucket": 100, "per_domain": False, "held_out": 0.3, "within": "domain", "seed": 3},
    ],
    "embedding": [{"model": TINY_ENCODER}, {"model": TINY_ENCODER, "pooling": "cls", "max_length": 12, "prefix": "of the: "}],
    "fasttext": [
        {"label": "domain", "dim": 8, "bucket": 1000, "epoch": 2},
        {"label": "domain", "dim": 8, "bucket": 1000, "k": 2, "positive": ["law", "code"], "per_label": ["code"]},
    ],
    "heuristics": [
        {"preset": "gopher@datatrove"},
        {"preset": ["fineweb@datatrove", "c4@datatrove"], "thresholds": {"min_num_sentences": 2}},
    ],
    "minhash": [{}, {"ngram": 2, "bands": 3, "rows": 2, "seed": 4}],
    "ngram_perplexity": [{"order": 2}, {"order": 3, "lines": "document", "bucket_percentiles": [30, 60]}],
    "ordinal_rater": [{"labelled": LABELS}, {"labelled": LABELS, "head": "classifier", "classes": 4, "held_out": 0.2}],
    "static_embedding": [{"dimension": 8, "buckets": 1024}, {"dimension": 8, "buckets": 1024, "ngram": 2}],
    "tokens": [{"vocab_size": 300}, {"vocab_size": 300, "mode": "estimate"}],
    "natural": [{}],
    "perplexity_correlation": [{}, {"projection": "l2", "filter_ratio": 0.5}, {"unsettled": "natural"}],
    "samplemix": [
        {"quality": "rater.rating", "diversity": "clusters"},
        {"quality": {"rater.rating": -2.0}, "diversity": "clusters", "quality_scaling": "rank", "diversity_scaling": "rank"},
        {"quality": "rater.rating", "diversity": "clusters", "missing": "drop", "shrinkage": 3.0, "temperature": 0.01},
        {"quality": {"rater.rating": 1.0, "clusters.distance": -1.0}, "diversity": "clusters", "alpha": 0.1, "mode": "paper"},
    ],
    "stratified": [{}],
    "static": [{"proportions": {"books": 0.5, "code": 0.3, "web": 0.2}}],
    "temperature": [{"temperature": 2.0}],
}
TOLERANCE = {"bits_per_byte": 1e-5}
"""Neural models run in padded batches cannot give equal bits."""


def options_of(names: list[str]) -> list[Any]:
    """One case for each built-in and option set; a built-in without small options here fails."""
    return [pytest.param(name, given, id=f"{name}-{i}") for name in names for i, given in enumerate(SMALL.get(name, [None]))]


@pytest.fixture(scope="module")
def embedding(tmp_path_factory: pytest.TempPathFactory) -> Scorer:
    """A scorer of embeddings that learned from the sample, for those that read its column or run it."""
    state, scorer = tmp_path_factory.mktemp("embedding"), registry.build(registry.scorer_class("static_embedding"), {"dimension": 4})
    scorer.fit(sample_documents(), state)
    scorer.load(state)
    return scorer


@pytest.fixture(scope="module")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a sentence encoder; the libraries it takes are imported here alone."""
    from encoder_models import saved

    return str(saved(tmp_path_factory.mktemp("encoder") / "m"))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The path of a table of weights that includes one of the sample's domains."""
    rows = [{"target": "t", "group": group, "weight": float(group == "law")} for group in ("code", "cooking", "law")]
    path = tmp_path_factory.mktemp("weights") / "table.parquet"
    pq.write_table(pa.Table.from_pylist(rows, schema=pa.schema([field.with_nullable(True) for field in WEIGHTS_SCHEMA])), path)
    return str(path)


@pytest.mark.parametrize(("name", "options"), options_of(list(registry.SCORERS)))
def test_built_in_scorers_keep_the_contract(
    name: str, options: dict[str, Any] | None, embedding: Scorer, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    assert options is not None, f"add small options for {name} to SMALL"
    if options.get("model") == TINY_ENCODER:
        options = options | {"model": request.getfixturevalue("tiny_encoder")}
    if options.get("weights") == WEIGHTS:
        options = options | {"weights": request.getfixturevalue("weights")}
    monkeypatch.setitem(SHAPES, "llama-1m", Shape("llama", 16, 1, 2))  # the smallest is too large for a test
    sample = sample_documents()
    found = embedding.score(sample.select(list(embedding.inputs)).combine_chunks().to_batches()[0])
    sample = sample.append_column(found.schema.field("vector").with_name("embedding.vector"), found["vector"])
    scorer = registry.build(registry.scorer_class(name), options)
    check_scorer(scorer, sample, tolerance=TOLERANCE.get(name, 0.0), lends={"embedding": embedding})


@pytest.mark.parametrize(("name", "options"), options_of(list(registry.MIXERS)))
def test_built_in_mixers_keep_the_contract(name: str, options: dict[str, Any] | None) -> None:
    assert options is not None, f"add small options for {name} to SMALL"
    mixer = registry.build(registry.mixer_class(name), options)
    if isinstance(mixer, DocumentMixer):
        check_document_mixer(mixer, *documents_with_gaps(60))
    else:
        check_mixer(mixer)


@dataclass
class Length(Scorer):
    """A correct scorer, which the broken ones below each spoil in one way."""

    scale: float = 1.0
    inputs = ("text", "doc_id")
    outputs = columns(length=(pa.float64(), "characters", "none"))

    def score(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return self.made(self.values(batch))

    def values(self, batch: pa.RecordBatch) -> list[float | None]:
        return [None if text is None else len(text) * self.scale for text in batch["text"].to_pylist()]

    def made(self, values: list[float | None]) -> pa.RecordBatch:
        return pa.record_batch([pa.array(values, pa.float64())], schema=self.outputs)


class NoUnit(Length):
    outputs = pa.schema([pa.field("length", pa.float64(), metadata={"direction": "none"})])


class BadDirection(Length):
    outputs = columns(length=(pa.float64(), "characters", "up"))


class OtherSchema(Length):
    def score(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return pa.record_batch([pa.array(self.values(batch), pa.float64())], names=["length"])


class NotABatch(Length):
    def score(self, batch: pa.RecordBatch) -> Any:
        return pa.Table.from_batches([super().score(batch)])


class LosesRows(Length):
    def score(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return self.made([value for value in self.values(batch) if value is None or value > 60])


class Mutates(Length):
    def score(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        found = super().score(batch)
        if batch.num_rows:
            buffer = batch["doc_id"].buffers()[1]
            whole = np.frombuffer(buffer, dtype=np.uint8)
            view = np.ctypeslib.as_array((ctypes.c_uint8 * len(whole)).from_address(buffer.address))
            view[16 * batch["doc_id"].offset] ^= 1
        return found


class Remembers(Length):
    def score(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        self.seen = getattr(self, "seen", 0) + 1
        return self.made([value and value + self.seen for value in self.values(batch)])


class ClassMemory(Length):
    """Forgets between workers but not between batches of other make-up."""

    def score(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        values = self.values(batch)
        if values != getattr(self, "last", values):
            values = [value and value + 1 for value in values]
        self.last = self.values(batch)
        return self.made(values)


class BatchMean(Length):
    def values(self, batch: pa.RecordBatch) -> list[float | None]:
        values = super().values(batch)
        mean = np.mean([value for value in values if value is not None] or [0])
        return [value and value - float(mean) for value in values]


class Offsetless(Length):
    """Reads the Arrow buffers from their start and not from the slice's."""

    def values(self, batch: pa.RecordBatch) -> list[float | None]:
        column = batch["text"]
        if not column.offset:
            return super().values(batch)
        start = pa.LargeStringArray.from_buffers(len(column), *column.buffers()[1:], column.buffers()[0])
        return [None if text is None else float(len(text)) for text in start.to_pylist()]


class FirstRow(Length):
    """The same for any batch of one, two or the whole, but it looks at the row number."""

    def values(self, batch: pa.RecordBatch) -> list[float | None]:
        values = super().values(batch)
        smallest = min((v for v in values if v is not None), default=0.0)
        return [value and (value + 1 if i == 0 and value != smallest and len(values) > 40 else value) for i, value in enumerate(values)]


class NoEmptyBatch(Length):
    def score(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        assert batch.num_rows, "nothing to score"
        return super().score(batch)


class NullIsZero(Length):
    def values(self, batch: pa.RecordBatch) -> list[float | None]:
        return [value or 0.0 for value in super().values(batch)]


class NullRaises(Length):
    def values(self, batch: pa.RecordBatch) -> list[float | None]:
        return [float(len(text)) for text in batch["text"].to_pylist()]


class EmptyRaises(Length):
    def values(self, batch: pa.RecordBatch) -> list[float | None]:
        return [text if text is None else 1 / len(text) for text in batch["text"].to_pylist()]


class LongRaises(Length):
    def values(self, batch: pa.RecordBatch) -> list[float | None]:
        values = super().values(batch)
        if max((v for v in values if v is not None), default=0) > 90_000:
            raise OverflowError("too long")
        return values


class OddRaises(Length):
    def values(self, batch: pa.RecordBatch) -> list[float | None]:
        for text in batch["text"].to_pylist():
            (text or "").encode("utf-16")[:2] and (text or "").replace("\u2028", "").encode(
                "latin-1", "strict" if "𝔘" in (text or "") else "ignore"
            )
        return super().values(batch)


class HoldsALock(Length):
    def check(self) -> None:
        self.lock = threading.Lock()


class ForgetsItsOptions(Length):
    """Loses a setting on its way to the worker."""

    def __getstate__(self) -> dict[str, Any]:
        return {"scale": self.scale + 1}


class Fitted(Length):
    content = b"state"

    def sample(self) -> Sample | None:
        return Sample(1000)

    def fit(self, sample: pa.Table, state: Path) -> None:
        (state / "learned").write_bytes(self.content)


class RandomFit(Fitted):
    def fit(self, sample: pa.Table, state: Path) -> None:
        (state / "learned").write_bytes(os.urandom(8))


class NamesByState(Fitted):
    def fit(self, sample: pa.Table, state: Path) -> None:
        (state / state.name).write_bytes(b"")


class PicklesItsState(Fitted):
    content = pickle.dumps({"a": 1})


class ReadsAColumn(Length):
    inputs = ("text", "quality.score")


BROKEN_SCORERS: list[tuple[type[Scorer], str]] = [
    (NoUnit, "states no unit"),
    (BadDirection, "direction"),
    (OtherSchema, "expected `outputs`"),
    (NotABatch, "expected a pyarrow RecordBatch"),
    (LosesRows, "row count"),
    (Mutates, "input not mutated"),
    (Remembers, "earlier batches: the same batch scored twice"),
    (ClassMemory, "earlier batches: after another batch"),
    (BatchMean, "batch-split invariance: in batches of"),
    (Offsetless, "as a slice with an offset"),
    (FirstRow, "batch-split|permutation"),
    (NullIsZero, "null text: column 'length' is 0.0"),
    (NullRaises, "null text: score raised TypeError"),
    (EmptyRaises, "empty text: score raised ZeroDivisionError"),
    (LongRaises, "very long text: score raised OverflowError"),
    (OddRaises, "odd unicode: score raised UnicodeEncodeError"),
    (HoldsALock, "cannot be pickled"),
    (ForgetsItsOptions, "pickles to a worker: after a round trip"),
    (RandomFit, "fit determinism: learned differs"),
    (NamesByState, "fit determinism: it wrote"),
    (PicklesItsState, "is a pickle"),
    (ReadsAColumn, "it lacks quality.score"),
]


@pytest.mark.parametrize(("broken", "message"), BROKEN_SCORERS, ids=[broken.__name__ for broken, _ in BROKEN_SCORERS])
def test_the_suite_catches_a_broken_scorer(broken: type[Scorer], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_scorer(broken())


def test_the_suite_catches_a_raise_on_an_empty_batch() -> None:
    with pytest.raises(AssertionError, match="nothing to score"):
        check_scorer(NoEmptyBatch())


@pytest.mark.parametrize("good", [Length, Fitted])
def test_the_suite_passes_a_good_scorer(good: type[Scorer]) -> None:
    check_scorer(good())


def test_a_supplied_sample_brings_the_columns_a_scorer_reads() -> None:
    table = sample_documents().append_column("quality.score", pa.array(np.arange(48.0)))
    check_scorer(ReadsAColumn(), table)


def test_tolerance_forgives_small_differences_between_batches_only() -> None:
    class Padded(Length):
        def values(self, batch: pa.RecordBatch) -> list[float | None]:
            return [value and value * (1 + 1e-9 * batch.num_rows) for value in super().values(batch)]

    globals()["Padded"] = Padded  # pickle looks it up by name
    Padded.__qualname__ = "Padded"
    with pytest.raises(AssertionError, match="batch-split"):
        check_scorer(Padded())
    check_scorer(Padded(), tolerance=1e-6)


def test_sample_documents_hold_copies_and_three_domains() -> None:
    table = sample_documents()
    assert table.num_rows == 48
    assert len(set(table["doc_id"].to_pylist())) == 36
    assert len(table["domain"].unique()) == 3
