"""The ordinal rater as a scorer, alone and in a pipeline that embeds labelled texts and corpus alike."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from curate.corpus import read_part
from curate.documents import doc_ids
from curate.errors import ConfigError, InputError
from curate.hashing import id_keys, unit_interval
from curate.planning import estimate
from curate.scorers.ordinal_rater import REPORT, WEIGHTS, OrdinalRater
from curate.scorers.scorer import FitAid, Scorer
from curate.scorers.static_embedding import StaticEmbedding
from curate.testing import check_scorer, sample_documents
from pipelines import configuration, made_when, pipeline, run

# fmt: off
PROSE = [
    "river", "old", "mill", "and", "children", "watched", "the", "boats", "go", "by", "in", "evening", "light", "of", "summer",
]
JUNK = [
    "click", "here", "subscribe", "cookies", "login", "menu", "advert", "banner", "newsletter", "accept", "share", "download", "popup",
]
# fmt: on
MOST = 4


def document(random: np.random.Generator, label: int) -> str:
    """Sixty words, of which label out of MOST parts are prose and the others boilerplate."""
    prose = random.random(60) < label / MOST
    return " ".join(str(random.choice(PROSE if p else JUNK)) for p in prose)


def judged(n: int, seed: int) -> list[dict[str, Any]]:
    """Labelled documents; the judge is off by one class in a fifth of the cases."""
    random = np.random.default_rng(seed)
    records = []
    for _ in range(n):
        label = int(random.integers(0, MOST + 1))
        off = int(random.choice([-1, 1])) if random.random() < 0.2 else 0
        records.append({"text": document(random, label), "label": min(max(label + off, 0), MOST)})
    return records


def write(path: Path, records: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """600 judged documents, one of them twice, and two that no embedding knows a word of."""
    records = judged(600, seed=1)
    records += [records[0], {"text": "", "label": 0}, {"text": "zzz qqq", "label": 1}]
    return write(tmp_path_factory.mktemp("labels") / "labels.jsonl", records)


@pytest.fixture(scope="module")
def embedding(tmp_path_factory: pytest.TempPathFactory) -> StaticEmbedding:
    """A static embedding that learned from documents of all labels."""
    state = tmp_path_factory.mktemp("embedding")
    scorer = StaticEmbedding(dimension=8)
    scorer.fit(pa.table({"text": pa.array([r["text"] for r in judged(200, seed=2)], pa.large_string())}), state)
    scorer.load(state)
    return scorer


def learned(rater: OrdinalRater, embedding: Scorer, state: Path) -> dict[str, Any]:
    """Fit, load, and what the fit tells."""
    state.mkdir(exist_ok=True)
    rater.check()
    rater.fit_with(pa.table({}), state, FitAid(scorer={"embedding": embedding}.__getitem__))
    rater.load(state)
    found: dict[str, Any] = json.loads((state / REPORT).read_text())
    return found


def rated(rater: OrdinalRater, embedding: StaticEmbedding, texts: list[str | None]) -> pa.RecordBatch:
    vectors = embedding.score(pa.record_batch({"text": pa.array(texts, pa.large_string())}))["vector"]
    return rater.score(pa.record_batch({"embedding.vector": vectors}))


@pytest.mark.parametrize("head", ["ordinal", "classifier"])
def test_it_keeps_the_contract(head: Any, labels: Path, embedding: StaticEmbedding) -> None:
    table = sample_documents()
    text = pa.array([r["text"] for r in judged(47, seed=3)] + ["unknown"], pa.large_string())
    vectors = embedding.score(pa.record_batch({"text": text}))["vector"]
    table = table.append_column("embedding.vector", vectors)
    check_scorer(OrdinalRater(labelled=labels, head=head), table, lends={"embedding": embedding})
    with pytest.raises(AssertionError, match="it runs embedding while it fits"):
        check_scorer(OrdinalRater(labelled=labels), table)


def test_ratings_follow_what_was_judged(labels: Path, embedding: StaticEmbedding, tmp_path: Path) -> None:
    rater = OrdinalRater(labelled=labels)
    told = learned(rater, embedding, tmp_path / "state")
    assert (told["n_records"], told["n_texts"], told["n_texts_without_embedding"]) == (603, 602, 2)
    assert sum(told["labels"]) == 603
    random = np.random.default_rng(9)
    true = np.repeat(np.arange(MOST + 1), 20)
    found = rated(rater, embedding, [document(random, label) for label in true])
    rating, label = (np.asarray(column) for column in found.columns)
    assert np.abs(label - true).mean() < 0.4
    assert (np.diff([rating[true == k].mean() for k in range(MOST + 1)]) > 0.5).all()
    nothing = rated(rater, embedding, [None, "", "zzz", "river mill"])
    assert [column.is_valid().to_pylist() for column in nothing.columns] == [[False, False, False, True]] * 2


def test_the_report_measures_the_head_that_is_used_on_what_was_held_out(labels: Path, embedding: StaticEmbedding, tmp_path: Path) -> None:
    rater = OrdinalRater(labelled=labels, held_out=0.3, seed=5)
    told = learned(rater, embedding, tmp_path / "state")
    records = [json.loads(line) for line in labels.read_text().splitlines()]
    texts = pa.array([r["text"] for r in records], pa.large_string())
    held = unit_interval(id_keys(5, "ordinal_rater", doc_ids(texts))) < 0.3
    found = rated(rater, embedding, texts.to_pylist())
    held &= np.asarray(found["rating"].is_valid())
    true, label = np.array([r["label"] for r in records])[held], np.asarray(found["label"].fill_null(0))[held]
    assert told["n_held_out"] == held.sum() > 100
    assert sum(told["labels_trained_on"]) == 603 - 2 - held.sum()
    used, other = (next(line for line in told["heads"] if line["head"] == kind) for kind in ("ordinal", "classifier"))
    assert used["accuracy"] == pytest.approx((label == true).mean())
    assert used["within_one"] == pytest.approx((abs(label - true) <= 1).mean())
    assert used["mean_absolute_error"] == pytest.approx(abs(label - true).mean())
    assert np.sum(used["confusion"]) == np.sum(other["confusion"]) == held.sum()
    assert used["converged"]
    assert other["converged"]
    assert learned(OrdinalRater(labelled=labels, held_out=0.0), embedding, tmp_path / "all")["n_held_out"] == 0


def test_the_order_of_records_has_no_effect_and_the_seed_has(labels: Path, embedding: StaticEmbedding, tmp_path: Path) -> None:
    backwards = tmp_path / "backwards.jsonl"
    backwards.write_text("".join(reversed(labels.read_text().splitlines(keepends=True))))
    folders = [tmp_path / name for name in "abc"]
    for folder, rater in zip(folders, (OrdinalRater(labels), OrdinalRater(backwards), OrdinalRater(labels, seed=1)), strict=True):
        learned(rater, embedding, folder)
    first, second, other = ({p.name: p.read_bytes() for p in folder.iterdir()} for folder in folders)
    assert first == second
    assert first[WEIGHTS] != other[WEIGHTS]


def test_a_rehearsal_learns_from_some_and_says_how_much_longer_it_takes(
    labels: Path, embedding: StaticEmbedding, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("curate.scorers.ordinal_rater.REHEARSED_TEXTS", 100)
    rehearsed = OrdinalRater(labelled=labels).rehearsal()
    told = learned(rehearsed, embedding, tmp_path / "state")
    assert 100 <= told["n_texts"] <= 105
    assert 1 < rehearsed.longer <= 602 / 100


class Other(StaticEmbedding):
    """States another model."""

    identity = b"0123"

    @property
    def outputs(self) -> pa.Schema:
        made = super().outputs
        field = made.field("vector")
        return made.set(0, field.with_metadata({**field.metadata, b"model": self.identity}))


def test_a_supplied_rater_is_checked_against_the_embedding(labels: Path, embedding: StaticEmbedding, tmp_path: Path) -> None:
    named = Other(dimension=8)
    named._model = embedding._model
    state = tmp_path / "state"
    rater = OrdinalRater(labelled=labels)
    learned(rater, named, state)
    supplied = OrdinalRater(model=state)
    supplied.check()
    field = named.outputs.field("vector")
    supplied.reads({"embedding.vector": field})
    assert supplied.sample() is None
    assert supplied.uses() == ()
    assert {p.name for p in supplied.artifacts()} == {REPORT, WEIGHTS}
    supplied.load(None)
    texts = ["river mill boats", "click here login"]
    assert rated(supplied, embedding, texts).equals(rated(rater, embedding, texts))
    with pytest.raises(ConfigError, match="made by the model 4567, the rater learned from 0123"):
        supplied.reads({"embedding.vector": field.with_metadata({b"model": b"4567"})})
    with pytest.raises(ConfigError, match="has 9 dimensions, the rater learned from 8"):
        supplied.reads({"embedding.vector": pa.field("vector", pa.list_(pa.float16(), 9))})
    for unnamed in ({b"model": b"learned"}, {}):
        with pytest.raises(ConfigError, match="of this pipeline is not named"):
            supplied.reads({"embedding.vector": field.with_metadata(unnamed)})
    learned(rater, embedding, state)  # an embedding learned along with it
    with pytest.raises(ConfigError, match="learned from is not named"):
        supplied.reads({"embedding.vector": field})
    (state / WEIGHTS).unlink()
    with pytest.raises(InputError, match=r"no learned rater: weights\.npy cannot be read"):
        supplied.check()


WRONG: list[tuple[dict[str, Any], str]] = [
    ({}, "either learned from labels or supplied"),
    ({"labelled": "L", "model": Path("m")}, "either learned from labels or supplied"),
    ({"model": Path("m"), "l2": 0.1}, "`l2` is for learning"),
    ({"model": Path("nowhere")}, "cannot be read"),
    ({"labelled": "L", "embedding": "vector"}, "embedding cannot be 'vector'"),
    ({"labelled": "L", "head": "forest"}, "head cannot be 'forest'"),
    ({"labelled": "L", "classes": 1}, "classes cannot be 1"),
    ({"labelled": "L", "classes": 3}, "has the label 3|has the label 4"),
    ({"labelled": "L", "l2": 0.0}, "l2 cannot be 0.0"),
    ({"labelled": "L", "l2": 9e-11}, "l2 cannot be 9e-11"),
    ({"labelled": "."}, "a folder is given"),
    ({"labelled": "L", "l2": float("nan")}, "l2 cannot be nan"),
    ({"labelled": "L", "held_out": 1.0}, "held_out cannot be 1.0"),
    ({"labelled": "L", "label_field": "grade"}, "no field 'grade'"),
    ({"labelled": "missing.jsonl"}, "does not exist"),
]


@pytest.mark.parametrize(("options", "said"), WRONG, ids=[said[:24] for _, said in WRONG])
def test_options_that_cannot_be_are_refused(options: dict[str, Any], said: str, labels: Path) -> None:
    if "labelled" in options:
        options = options | {"labelled": labels if options["labelled"] == "L" else Path(options["labelled"])}
    with pytest.raises((ConfigError, InputError), match=said):
        OrdinalRater(**options).check()


DAMAGED: list[tuple[dict[str, Any], Any, str]] = [
    ({"dimensions": float("inf")}, None, "rating.json has dimensions inf"),
    ({"classes": float("nan")}, None, "has classes nan"),
    ({"classes": 10**9}, None, "has classes 1000000000"),
    ({"head": ["ordinal"]}, None, r"has the head \['ordinal'\]"),
    ({"embedding_model": None, "dimensions": None}, None, "has dimensions None"),
    ({"embedding_model": 3}, None, "has no embedding_model"),
    ({}, np.zeros((9, 4), np.int64), r"weights.npy holds \(9, 4\) int64"),
    ({}, np.zeros((9, 4), complex), "complex128"),
    ({}, np.full((9, 4), "a"), "<U1"),
    ({}, np.zeros((8, 4)), r"holds \(8, 4\)"),
    ({}, np.full((9, 4), np.nan), "numbers that no head has"),
    ({}, np.full((9, 4), np.inf), "numbers that no head has"),
    ({"head": "classifier"}, np.vstack([np.zeros((8, 5)), np.full((1, 5), -np.inf)]), "numbers that no head has"),
    ({}, b"", "weights.npy cannot be read"),
    ({}, np.array([[None] * 4] * 9), "weights.npy cannot be read"),
]


@pytest.mark.parametrize(("facts", "weights", "said"), DAMAGED)
def test_a_damaged_rater_is_refused_by_file(facts: dict[str, Any], weights: Any, said: str, tmp_path: Path) -> None:
    good = {"head": "ordinal", "dimensions": 8, "classes": 5, "embedding_model": "x"}
    (tmp_path / REPORT).write_text(json.dumps(good))
    np.save(tmp_path / WEIGHTS, np.asfortranarray(np.vstack([np.arange(32.0).reshape(8, 4), [[1, 0, 0, -np.inf]]])))
    rater = OrdinalRater(model=tmp_path)
    rater.check()
    rater.load(None)
    assert (
        rater.score(pa.record_batch({"embedding.vector": pa.array([[0.0] * 7 + [-1.0]], pa.list_(pa.float32(), 8))}))["label"][0].as_py()
        == 0
    )
    (tmp_path / REPORT).write_text(json.dumps(good | facts))
    if isinstance(weights, bytes):
        (tmp_path / WEIGHTS).write_bytes(weights)
    elif weights is not None:
        np.save(tmp_path / WEIGHTS, weights, allow_pickle=True)
    with pytest.raises(InputError, match=said) as error:
        rater.check()
    assert str(tmp_path) in error.value.where
    assert error.value.expected
    assert "`model`" in error.value.fix


def test_a_rater_states_the_embedding_it_learned_from(tmp_path: Path) -> None:
    facts = {"head": "ordinal", "dimensions": 8, "classes": 5}
    (tmp_path / REPORT).write_text(json.dumps(facts))
    np.save(tmp_path / WEIGHTS, np.zeros((9, 4)))
    with pytest.raises(InputError, match="has no embedding_model"):
        OrdinalRater(model=tmp_path).check()


def test_columns_that_are_no_embeddings_are_refused(labels: Path, embedding: StaticEmbedding, tmp_path: Path) -> None:
    rater = OrdinalRater(labelled=labels)
    for kind in (pa.float32(), pa.list_(pa.float32()), pa.list_(pa.int8(), 4)):
        with pytest.raises(ConfigError, match=re.escape(f"holds {kind}")):
            rater.reads({"embedding.vector": pa.field("vector", kind)})
    learned(rater, embedding, tmp_path / "state")
    wider = pa.array([[0.0] * 9], pa.list_(pa.float32(), 9))
    with pytest.raises(ConfigError, match="has 9 dimensions, the rater learned from 8"):
        rater.score(pa.record_batch({"embedding.vector": wider}))


def test_vectors_that_are_not_finite_have_no_rating(labels: Path, embedding: StaticEmbedding, tmp_path: Path) -> None:
    rater = OrdinalRater(labelled=labels)
    learned(rater, embedding, tmp_path / "state")
    rows = [[0.1] * 8, [0.1] * 7 + [float("nan")], [float("inf")] + [0.1] * 7, None, [0.1] * 8]
    found = rater.score(pa.record_batch({"embedding.vector": pa.array(rows, pa.list_(pa.float32(), 8))}))
    assert found["rating"].is_valid().to_pylist() == [True, False, False, False, True]
    assert found["label"][0] == found["label"][4]


def test_labels_whose_texts_have_no_embedding_are_an_error_with_numbers(embedding: StaticEmbedding, tmp_path: Path) -> None:
    records = [{"text": f"qqq{i}", "label": i % 2} for i in range(25)] + judged(3, seed=4)
    rater = OrdinalRater(labelled=write(tmp_path / "a.jsonl", records))
    with pytest.raises(InputError, match="3 of 28 have an embedding"):
        learned(rater, embedding, tmp_path / "state")
    with pytest.raises(ConfigError, match="embedded by 'embedding', which is not here"):
        rater.fit(pa.table({}), tmp_path)


def pipeline_of(labels: Path, folder: Path, documents: int = 40) -> dict[str, Any]:
    """A corpus of three domains, one of prose, one of boilerplate and one of both, with a rater named before what it reads."""
    random = np.random.default_rng(7)
    for domain, label in (("good", MOST), ("mixed", 2), ("bad", 0)):
        (folder / "raw" / domain).mkdir(parents=True)
        write(folder / "raw" / domain / "a.jsonl", [{"text": document(random, label)} for _ in range(documents)])
    score: list[Any] = [
        {"ordinal_rater": {"name": "quality", "labelled": str(labels), "embedding": "meaning.vector"}},
        {"static_embedding": {"name": "meaning", "dimension": 8}},
    ]
    return configuration(
        folder / "raw", folder / "output", score=score, mix={"use": "natural"},
        select=[{"column": "quality.rating", "min": 1.0, "reason": "quality"}],
        emit={"format": "text", "shard_bytes": 16_000, "carry": ["quality.rating", "quality.label"]},
    )  # fmt: skip


def reuse(config: dict[str, Any], folder: Path, ratings: Any) -> None:
    """Another pipeline takes the rater over with the embedding that was learned beside it, and with no other."""
    models = folder / "output" / "models"
    rater = {"ordinal_rater": {"name": "quality", "embedding": "meaning.vector", "model": str(models / "quality")}}
    again = config | {"output": str(folder / "again")}
    found = run(again | {"score": [rater, {"static_embedding": {"name": "meaning", "model": str(models / "meaning")}}]})
    assert found.table(["quality.rating"])["quality.rating"].to_pylist() == ratings.to_pylist()
    with pytest.raises(ConfigError, match="of this pipeline is not named"):
        run(again | {"score": [rater, config["score"][1]]})
    other = folder / "other"
    other.mkdir()
    scorer = StaticEmbedding(dimension=8, seed=3)
    scorer.fit(pa.table({"text": pa.array([r["text"] for r in judged(200, seed=2)], pa.large_string())}), other)
    with pytest.raises(ConfigError, match="is made by the model"):
        run(again | {"score": [rater, {"static_embedding": {"name": "meaning", "model": str(other)}}]})


def test_a_plan_tries_the_rater(labels: Path, tmp_path: Path) -> None:
    seconds = estimate(pipeline(pipeline_of(labels, tmp_path, documents=200)), 10**6).seconds
    assert seconds["fit/quality"] > 0
    assert "score/quality" in seconds


def test_a_pipeline_learns_and_applies_a_rater(labels: Path, tmp_path: Path, command: Any) -> None:
    config = pipeline_of(labels, tmp_path)
    corpus = run(config)
    table = pa.concat_tables(
        [read_part(corpus.folder, part.name, ["domain", "quality.rating", "quality.label"]) for part in corpus.parts]
    ).unify_dictionaries()
    mean = {row["domain"]: row for row in table.group_by("domain").aggregate([("quality.rating", "mean")]).to_pylist()}
    assert mean["good"]["quality.rating_mean"] > 3.4
    assert 1.4 < mean["mixed"]["quality.rating_mean"] < 2.6
    assert mean["bad"]["quality.rating_mean"] < 0.6
    shown = command("show", tmp_path / "output").out
    assert "quality: 603 labels from 0 to 4 of 602 texts" in shown
    assert "ordinal, used" in shown
    report = tmp_path / "output" / "models" / "quality" / REPORT
    told = json.loads(report.read_text())
    assert "did not converge" not in shown
    report.write_text(json.dumps(told | {"heads": [line | {"converged": line["head"] == "ordinal"} for line in told["heads"]]}))
    assert "classifier did not converge" in command("show", tmp_path / "output").out
    report.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n")
    reuse(config, tmp_path, table["quality.rating"])
    before = made_when(tmp_path / "output")
    run(config)
    assert made_when(tmp_path / "output") == before
    moved = labels.with_name("again.jsonl")
    moved.write_text(labels.read_text() + json.dumps({"text": "river mill", "label": 4}) + "\n")
    config["score"][0]["ordinal_rater"]["labelled"] = str(moved)
    run(config)
    after = made_when(tmp_path / "output")
    changed = {path.split("/")[1] for path in before.keys() & after.keys() if before[path] != after[path] and path.startswith("scores/")}
    assert changed == {"quality"}, sorted(before)[:9]
