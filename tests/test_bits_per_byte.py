"""The scorer bits_per_byte: the plain loop's numbers, who is scored and why not, models trained here, the whole pipeline."""

from __future__ import annotations

import math
import pickle
from collections import Counter
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from causal_models import CONTEXT, opened, plain_bpb, plain_nats, saved, smallest, uniform
from real_documents import documents_by_domain

from curate.causal_lm import SHAPES, Shape
from curate.documents import doc_ids
from curate.errors import ConfigError
from curate.proxy.settings import Training
from curate.scorers.bits_per_byte import BitsPerByte
from curate.scorers.scorer import FitAid
from curate.testing import check_scorer, sample_documents
from pipelines import configuration, hashes, pipeline, run, texts

TINY = {"size": "llama-1m", "vocab_size": 300, "context": 32, "tokens": 2000, "batch_tokens": 512, "threads": 1, "fraction": 0.3}
MEASURES = ("nats", "n_predicted", "n_bytes", "bpb", "perplexity")
WORDS = "the court holds that any party may stir the onion until golden"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("model") / "m", "pythia")


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Options of a model that is trained here in no time: its size stands for a smaller one."""
    monkeypatch.setitem(SHAPES, "llama-1m", Shape("llama", 16, 1, 2))
    return {"train": TINY}


def rows(*given: str | None) -> pa.RecordBatch:
    text = pa.array(given, pa.large_string())
    return pa.record_batch([text, doc_ids(text.fill_null(""))], names=["text", "doc_id"])


def loaded(folder: Path, **options: Any) -> BitsPerByte:
    scorer = BitsPerByte(str(folder), **options)
    scorer.check()
    assert scorer.sample() is None
    scorer.load(None)
    return scorer


def taught(state: Path, sample: pa.Table, **options: Any) -> BitsPerByte:
    scorer = BitsPerByte(train=Training(**(TINY | options)))
    scorer.check()
    state.mkdir()
    scorer.fit(sample, state)
    scorer.load(state)
    return scorer


def lists(scored: pa.RecordBatch) -> dict[str, list[Any]]:
    return scored.to_pydict()


@pytest.mark.slow  # 400,000 tokens, most of them in the suite's very long texts
@pytest.mark.parametrize("options", [{}, {"overlap": 8, "context": 48, "min_tokens": 1, "start": "none"}])
def test_a_supplied_model_keeps_the_contract(tmp_path: Path, options: dict[str, Any]) -> None:
    check_scorer(BitsPerByte(str(saved(tmp_path / "m", made=smallest())), **options), tolerance=1e-5)


class TaughtByAPart(BitsPerByte):
    """Taught by the first documents alone: the suite teaches a scorer all it has, and nothing would be left to score."""

    def fit_with(self, sample: pa.Table, state: Path, aid: FitAid) -> None:
        super().fit_with(sample.slice(0, 16), state, aid)


@pytest.mark.parametrize("more", [{}, pytest.param({"stratified": True, "sample_bytes": 1000}, marks=pytest.mark.slow)])
def test_a_model_trained_here_keeps_the_contract(tiny: dict[str, Any], more: dict[str, Any]) -> None:
    check_scorer(TaughtByAPart(train=Training(**(TINY | more))), tolerance=1e-5)


@pytest.mark.parametrize("family", ["pythia", "llama"])
def test_real_text_of_every_domain_has_the_plain_loop_s_bits(ci_small: Path, tmp_path: Path, family: str) -> None:
    name = saved(tmp_path / "m", family)
    made, theirs = opened(name)
    found = documents_by_domain(ci_small, 2, 700)
    assert len(found) == 13
    documents = [text for texts_of in found.values() for text in texts_of]
    scored = loaded(name).score(rows(*documents))
    encoded = [theirs(text, add_special_tokens=False).input_ids for text in documents]
    assert max(map(len, encoded)) > 2 * CONTEXT
    assert scored["n_predicted"].to_pylist() == [len(ids) for ids in encoded]
    expected = [plain_bpb(made, ids, text) for ids, text in zip(encoded, documents, strict=True)]
    np.testing.assert_allclose(scored["bpb"].to_numpy(), expected, rtol=1e-5)


def test_measures_follow_from_the_sums(folder: Path) -> None:
    text = "Grüße, 世界! " + WORDS
    found = {name: values[0] for name, values in lists(loaded(folder).score(rows(text))).items()}
    made, theirs = opened(folder)
    ids = theirs(text, add_special_tokens=False).input_ids
    nats = plain_nats(made, ids).sum()
    assert found["nats"] == pytest.approx(nats, rel=1e-5)
    assert (found["n_predicted"], found["n_bytes"]) == (len(ids), len(text.encode()))
    assert found["bpb"] == pytest.approx(found["nats"] / math.log(2) / found["n_bytes"], rel=1e-12)
    assert found["perplexity"] == pytest.approx(math.exp(found["nats"] / found["n_predicted"]), rel=1e-12)
    assert (found["in_fit_sample"], found["reason"]) == (False, None)


def test_a_uniform_model_has_the_bits_of_its_vocabulary(tmp_path: Path) -> None:
    scorer = loaded(saved(tmp_path / "m", made=uniform("pythia")), min_tokens=1)
    found = lists(scorer.score(rows(*texts(5, 3, (5, 60)), "a", "世")))
    np.testing.assert_allclose(found["perplexity"], 320, rtol=1e-5)
    bits = [t * math.log2(320) / b for t, b in zip(found["n_predicted"], found["n_bytes"], strict=True)]
    np.testing.assert_allclose(found["bpb"], bits, rtol=1e-6)
    assert found["n_bytes"][-2:] == [1, 3]


def test_who_has_no_score_has_a_reason_and_nothing_else(folder: Path) -> None:
    scorer = loaded(folder)
    found = scorer.score(rows(WORDS, None, "", "a", "1234567", "12345678", WORDS))
    assert found["reason"].to_pylist() == [None, None, "too_short", "too_short", "too_short", None, None]
    assert found["in_fit_sample"].to_pylist() == [False, None, False, False, False, False, False]
    for name in MEASURES:
        assert found[name].is_valid().to_pylist() == [True, False, False, False, False, True, True], name
    assert found["n_predicted"].to_pylist()[5] == 8
    for none in (rows(), rows(None, None), rows("", "a")):
        assert scorer.score(none)["nats"].null_count == len(none) == scorer.score(none).num_rows


@pytest.mark.parametrize(("start", "fewest"), [("auto", 1), ("none", 2)])
def test_a_document_of_which_nothing_is_predicted_has_no_score(folder: Path, start: str, fewest: int) -> None:
    """Neither zero bits nor a perplexity that is no number."""
    found = lists(loaded(folder, start=start, min_tokens=1).score(rows("", "a", "ab")))
    n_tokens = [0, 1, 2]
    assert found["reason"] == ["too_short" if n < fewest else None for n in n_tokens]
    assert found["n_predicted"] == [n - fewest + 1 if n >= fewest else None for n in n_tokens]
    assert all(value is None or (math.isfinite(value) and value > 0) for name in MEASURES for value in found[name])


def test_exact_copies_are_read_once_and_scored_alike(folder: Path) -> None:
    scorer = loaded(folder)
    other = texts(1, 8, (20, 30))[0]
    batch = rows(WORDS, other, WORDS, "a", None, other, WORDS, "a")
    prepared = scorer.prepare(batch)
    assert len(np.unique(prepared.windows.windows.document)) == 2
    found = lists(scorer.score_prepared(batch, prepared))
    for name in ("nats", "bpb", "perplexity", "n_bytes"):
        values = found[name]
        assert values[0] == values[2] == values[6] != values[1] == values[5], name
    alone = lists(scorer.score(rows(other)))
    assert found["nats"][1] == pytest.approx(alone["nats"][0], rel=1e-5)


def test_what_taught_a_model_is_not_scored(tmp_path: Path, tiny: dict[str, Any]) -> None:
    table = sample_documents()
    sample, others = table.slice(0, 12), table.slice(12, 24)
    scorer = taught(tmp_path / "state", sample)
    batch = pa.concat_tables([others, sample]).select(["text", "doc_id"]).combine_chunks().to_batches()[0]
    found = scorer.score(batch)
    assert found["in_fit_sample"].to_pylist() == [False] * 24 + [True] * 12
    assert found["reason"].to_pylist() == [None] * 24 + ["reference_part"] * 12
    for name in MEASURES:
        assert found[name].is_valid().to_pylist() == [True] * 24 + [False] * 12, name
    copy = scorer.score(rows(sample["text"][0].as_py(), None))
    assert copy["reason"].to_pylist() == ["reference_part", None]
    assert copy["in_fit_sample"].to_pylist() == [True, None]


def test_a_model_trained_here_reads_as_the_plain_loop_does(tmp_path: Path, tiny: dict[str, Any]) -> None:
    table = sample_documents()
    scorer = taught(tmp_path / "state", table.slice(0, 18))
    made, theirs = opened(tmp_path / "state")
    others = table["text"].to_pylist()[20:30]
    expected = [plain_bpb(made, theirs(text, add_special_tokens=False).input_ids, text, 32) for text in others]
    np.testing.assert_allclose(scorer.score(rows(*others))["bpb"].to_numpy(), expected, rtol=1e-5)


def test_training_teaches(tmp_path: Path, tiny: dict[str, Any]) -> None:
    """A model of few words finds text of these words likelier than they are in another order of letters."""
    table = sample_documents()
    scorer = taught(tmp_path / "state", table.slice(0, 24), tokens=30_000, learning_rate=1e-2)
    like, unlike = table["text"].to_pylist()[24:36], [text[::-1] for text in table["text"].to_pylist()[24:36]]
    a, b = (scorer.score(rows(*kind))["bpb"].to_numpy() for kind in (like, unlike))
    assert (a < b).all()
    assert a.mean() < b.mean() / 1.5


def test_a_model_trained_here_serves_as_a_supplied_one(tmp_path: Path, tiny: dict[str, Any]) -> None:
    table = sample_documents()
    scorer = taught(tmp_path / "state", table.slice(0, 12))
    again = loaded(tmp_path / "state")
    batch = table.select(["text", "doc_id"]).combine_chunks().to_batches()[0]
    assert again.score(batch).equals(scorer.score(batch))
    assert "fit_ids.npy" in [path.name for path in again.artifacts()], "which documents taught it bears on the scores"
    assert scorer.artifacts() == ()


def test_token_scores_sum_to_the_document_s(folder: Path) -> None:
    scorer = loaded(folder, context=16, overlap=5)
    for text in (WORDS * 3, "Grüße, 世界! é👩‍👩‍👧‍👦 ключ", "a\n\n b\t<|endoftext|> c"):
        table = scorer.token_scores(text)
        assert "".join(table["piece"].to_pylist()) == text
        scored = lists(scorer.score(rows(text)))
        assert table.num_rows == scored["n_predicted"][0]
        assert sum(table["nats"].to_pylist()) == pytest.approx(scored["nats"][0], rel=1e-6)
        ids = scorer._tokenizer.encode_arrow(pa.array([text]))[0].tolist()
        np.testing.assert_allclose(table["nats"].to_numpy(), plain_nats(opened(folder)[0], ids, 0, 16, 5), rtol=1e-4)


def test_token_scores_without_a_start_token_leave_the_first_open(folder: Path) -> None:
    scorer = loaded(folder, start="none", context=16)
    table = scorer.token_scores(WORDS)
    assert table["nats"].is_valid().to_pylist() == [False] + [True] * (table.num_rows - 1)
    nats = sum(value for value in table["nats"].to_pylist() if value is not None)
    assert nats == pytest.approx(lists(scorer.score(rows(WORDS)))["nats"][0], rel=1e-6)
    assert scorer.token_scores("a")["nats"].to_pylist() == [None]
    empty = scorer.token_scores("")
    assert (empty.num_rows, empty.schema.types) == (0, [pa.string(), pa.float64()])


def test_bfloat16_is_another_arithmetic_and_nearly_the_same_score(folder: Path) -> None:
    batch = rows(*texts(6, 2, (20, 60)))
    exact, rough = (loaded(folder, precision=p).score(batch)["bpb"].to_numpy() for p in ("float32", "bfloat16"))
    assert not np.allclose(exact, rough, rtol=1e-7)
    np.testing.assert_allclose(rough, exact, rtol=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["pythia", "llama"])
def test_bfloat16_ranks_real_documents_as_float32_does(
    ci_small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: Literal["pythia", "llama"]
) -> None:
    """Under a model that has learned something: to one of random weights all documents are nearly alike, and ranks are noise."""
    from scipy.stats import spearmanr

    monkeypatch.setitem(SHAPES, f"{family}-1m", Shape(family, 32, 2, 4))
    found = documents_by_domain(ci_small, 16, 500)
    part, others = ([text for texts_of in found.values() for text in texts_of[first::2]] for first in (0, 1))
    text = pa.array(part, pa.large_string())
    sample = pa.table({"doc_id": doc_ids(text), "text": text, "domain": pa.array(["all"] * len(part)).dictionary_encode()})
    taught(tmp_path / "state", sample, size=f"{family}-1m", tokens=30_000)
    exact, rough = (loaded(tmp_path / "state", precision=p).score(rows(*others)) for p in ("float32", "bfloat16"))
    assert exact["reason"].to_pylist() == rough["reason"].to_pylist()
    for name in ("perplexity", "bpb"):
        a, b = (scored[name].drop_null().to_numpy() for scored in (exact, rough))
        assert len(a) > 80 and not np.allclose(a, b, rtol=1e-6)
        assert spearmanr(a, b).statistic > 0.999, name


def test_survives_pickling_and_needs_loading(folder: Path) -> None:
    first = loaded(folder, overlap=3)
    again = pickle.loads(pickle.dumps(first))
    with pytest.raises(ConfigError, match="not loaded"):
        again.score(rows(WORDS))
    assert len(pickle.dumps(first)) < 2000, "weights do not travel"
    again.load(None)
    assert again.score(rows(WORDS)).equals(first.score(rows(WORDS)))


def model_pipeline(raw: Path, output: Path, *scorers: dict[str, Any], **changes: Any) -> dict[str, Any]:
    select = [{"column": "bits_per_byte.bpb", "window": "high", "rate": 0.8, "nulls": "drop", "reason": "dull"}]
    return configuration(raw, output, score=list(scorers), select=select, emit={"carry": ["bits_per_byte.bpb"]}, **changes)


def scores_of(output: Path) -> pa.Table:
    return pa.concat_tables([pq.read_table(path) for path in sorted((output / "scores" / "bits_per_byte").glob("*.parquet"))])


def test_a_pipeline_scores_every_document_and_repeats(raw: Path, folder: Path, tmp_path: Path) -> None:
    for name in "ab":
        run(model_pipeline(raw, tmp_path / name, {"bits_per_byte": {"model": str(folder)}}))
    assert hashes(tmp_path / "a", "scores/**/*.parquet") == hashes(tmp_path / "b", "scores/**/*.parquet") != {}
    assert hashes(tmp_path / "a") == hashes(tmp_path / "b")
    scored = scores_of(tmp_path / "a")
    assert scored["nats"].null_count == 0 and scored.num_rows > 100


def test_shards_of_another_size_change_no_score(raw: Path, folder: Path, tmp_path: Path) -> None:
    found = []
    for name, shard_bytes in (("a", 12_000), ("b", 30_000)):
        sources = [{"path": str(raw), "domain": {"directory": 0}}]
        ingest = {"shard_bytes": shard_bytes, "split_bytes": 6_000, "sources": sources}
        run(model_pipeline(raw, tmp_path / name, {"bits_per_byte": {"model": str(folder)}}, ingest=ingest))
        table = scores_of(tmp_path / name)
        found.append(dict(zip(table["doc_id"].to_pylist(), table["nats"].to_pylist(), strict=True)))
    assert found[0].keys() == found[1].keys()
    assert list(found[0].values()) == pytest.approx([found[1][key] for key in found[0]], rel=1e-5)


def test_a_pipeline_trains_on_a_part_and_scores_the_rest(raw: Path, tmp_path: Path, tiny: dict[str, Any]) -> None:
    train = TINY | {"tokenizer_of": "tokens", "fraction": 0.2}
    scorers = ({"tokens": {"vocab_size": 300, "sample_bytes": 20_000}}, {"bits_per_byte": {"train": train}})
    for name in "ab":
        run(model_pipeline(raw, tmp_path / name, *scorers))
    assert hashes(tmp_path / "a", "[ms]*/**/*.*") == hashes(tmp_path / "b", "[ms]*/**/*.*")
    models = tmp_path / "a" / "models"
    assert (models / "bits_per_byte" / "tokenizer.json").read_bytes() == (models / "tokens" / "tokenizer.json").read_bytes()
    scored = scores_of(tmp_path / "a")
    reasons = Counter(scored["reason"].to_pylist())
    assert reasons["reference_part"] == sum(scored["in_fit_sample"].to_pylist()) > 10
    assert scored["nats"].null_count == reasons["reference_part"] + reasons["too_short"]
    part = reasons["reference_part"] / scored.num_rows
    assert 0.05 < part < 0.35


@pytest.mark.slow
@pytest.mark.ray
def test_two_workers_write_what_one_process_writes(raw: Path, folder: Path, tmp_path: Path, ray_engine: Any) -> None:
    config = model_pipeline(raw, tmp_path / "one", {"bits_per_byte": {"model": str(folder), "overlap": 8}})
    run(config)
    rayed = pipeline(config | {"output": str(tmp_path / "two")})
    rayed.run(engine=ray_engine(workers=2))
    assert hashes(tmp_path / "one", "scores/**/*.parquet") == hashes(tmp_path / "two", "scores/**/*.parquet") != {}


@pytest.mark.parametrize(
    ("scorers", "hint"),
    [
        (({"tokens": {"vocab_size": 300}}, {"bits_per_byte": {"train": {"tokenizer_of": "tokns"}}}), "did you mean 'tokens'"),
        (({"bits_per_byte": {"train": {"tokenizer_of": "tokens"}}},), "add `- tokens: {}`"),
        (({"minhash": {}}, {"bits_per_byte": {"train": {"tokenizer_of": "minhash"}}}), "add `- tokens: {}`"),
    ],
)
def test_a_tokenizer_of_no_tokens_scorer_is_refused(raw: Path, tmp_path: Path, scorers: tuple[Any, ...], hint: str) -> None:
    config = configuration(raw, tmp_path / "out", score=list(scorers), emit={})
    with pytest.raises(ConfigError, match="no tokens scorer is called") as caught:
        pipeline(config).run()
    assert "tokenizer_of" in caught.value.where and hint in caught.value.fix
    assert not list(tmp_path.glob("out/**/*.parquet")), "it is refused before any work"
