"""The fastText scorer: columns, agreement with the library, training, and files that are wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.documents import doc_ids
from curate.errors import ConfigError, CurateError, InputError
from curate.scorers.fasttext import FastText
from curate.scorers.fasttext_model import PREFIX, Predictor, flat_lines, inspect
from curate.scorers.fasttext_training import decode_label, encode_label, from_files, split
from curate.testing import sample_documents

CI_SMALL = Path(__file__).parents[2] / "shared" / "data" / "ci_small"
SMALL: dict[str, Any] = {"dim": 8, "bucket": 1000, "epoch": 10, "lr": 0.5}


def fitted(state: Path, sample: pa.Table, **options: Any) -> FastText:
    scorer = FastText(**{**SMALL, **options})
    scorer.check()
    state.mkdir(parents=True, exist_ok=True)
    scorer.fit(sample, state)
    scorer.load(state)
    return scorer


def batch_of(texts: list[str | None]) -> pa.RecordBatch:
    text = pa.array(texts, pa.large_string())
    return pa.record_batch([text, doc_ids(text.fill_null(""))], names=["text", "doc_id"])


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("state")
    fitted(folder, sample_documents(), label="domain")
    return folder


@pytest.fixture(scope="module")
def library(state: Path) -> Any:
    import fasttext

    return fasttext.load_model(str(state / "model.bin"))


def test_scores_agree_with_the_library(state: Path, library: Any) -> None:
    texts = [text.replace("\n", " ") for text in sample_documents()["text"].to_pylist()]
    scorer = FastText(model=state / "model.bin", positive=["law", "code"], k=2, per_label=("cooking",))
    scorer.check()
    scorer.load(None)
    found = scorer.score(batch_of(texts)).to_pylist()
    for text, row in zip(texts, found, strict=True):
        labels, probabilities = library.predict(text, k=-1)
        by_label = dict(zip([label.removeprefix(PREFIX) for label in labels], probabilities.tolist(), strict=True))
        assert row["label"] == labels[0].removeprefix(PREFIX)
        assert row["probability"] == pytest.approx(min(1, probabilities[0]), abs=1e-7)
        assert row["labels"] == [label.removeprefix(PREFIX) for label in labels[:2]]
        assert row["score"] == pytest.approx(min(1, by_label["law"] + by_label["code"]), abs=1e-6)
        assert row["probability_cooking"] == pytest.approx(min(1, by_label["cooking"]), abs=1e-7)
        assert "in_fit_sample" not in row


def test_probabilities_stay_in_the_unit_interval_where_the_library_leaves_it(tmp_path: Path) -> None:
    scorer = fitted(tmp_path, sample_documents(), label="domain", epoch=500, lr=1.0, positive="law")
    raw = scorer._predictor.top(flat_lines(sample_documents()["text"].combine_chunks())[0], 1)[1]
    assert max(row[0] for row in raw) > 1
    found = scorer.score(batch_of(sample_documents()["text"].to_pylist()))
    assert max(found["probability"].to_pylist()) == 1
    assert max(found["score"].to_pylist()) == 1


def test_blank_documents_have_no_score(state: Path) -> None:
    scorer = FastText(label="domain", positive="law", k=2, **SMALL)
    scorer.load(state)
    found = scorer.score(batch_of(["the court", None, "", " \n\t\r\v\f\0", "\u3000\u00a0", "</s> __label__law", "the act"]))
    for name in ("label", "probability", "score", "labels", "probabilities"):
        assert [value.is_valid for value in found[name]] == [True, False, False, False, False, False, True], name
    assert found["in_fit_sample"].to_pylist() == [False, None, False, False, False, False, False]


@pytest.mark.parametrize("separator", ["\n", "\r\n", "\v", "\f", "\0", "\t", "\n\n "])
def test_every_line_of_a_document_counts(state: Path, separator: str) -> None:
    scorer = FastText(label="domain", **SMALL)
    scorer.load(state)
    words = ["the", "onion", "court", "holds", "that", "section", "seven"]
    one, other = scorer.score(batch_of([" ".join(words), separator.join(words)])).to_pylist()
    assert one == other


def test_words_that_would_act_on_the_library_do_not(state: Path, library: Any) -> None:
    scorer = FastText(label="domain", **SMALL)
    scorer.load(state)
    found = scorer.score(batch_of(["stir the onion", "stir </s> the __label__law onion", "x</s> stir"])).to_pylist()
    assert found[0] == found[1]
    cut, whole = library.predict("stir </s> the onion")[1], library.predict("stir")[1]
    assert cut == whole, "the library itself stops at </s>; if it no longer does, the replacement can go"


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.one_of(st.none(), st.text(max_size=30), st.sampled_from(["</s>", "a </s>b", "__label__x", " __label__y z\n"])), max_size=8)
)
def test_lines_are_one_per_document_with_the_same_words(texts: list[str | None]) -> None:
    column = pa.array(["before", *texts], pa.large_string()).slice(1)
    lines, blank = flat_lines(column)
    assert len(lines) == len(blank) == len(texts)
    for text, line, empty in zip(texts, lines, blank, strict=True):
        plain = text or ""
        for control in "\n\r\t\v\f\0":
            plain = plain.replace(control, " ")
        words = [word for word in plain.split(" ") if word and word != "</s>" and not word.startswith(PREFIX)]
        assert line.endswith(b"\n")
        assert line.count(b"\n") == 1
        assert line.decode()[:-1].split(" ") != [""] or not words
        assert [word for word in line.decode()[:-1].split(" ") if word] == words
        assert empty == (not "".join(words).strip())


def test_training_gives_the_same_bytes_from_any_order(tmp_path: Path) -> None:
    sample = sample_documents()
    first = fitted(tmp_path / "a", sample, label="domain")
    fitted(tmp_path / "b", sample.take(np.random.default_rng(1).permutation(sample.num_rows)), label="domain")
    fitted(tmp_path / "c", sample, label="domain", seed=1)
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert names == ["fit_sample.npy", "model.bin", "report.json"]
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name
    assert (tmp_path / "a" / "model.bin").read_bytes() != (tmp_path / "c" / "model.bin").read_bytes()
    assert np.isfinite(first.score(batch_of(["stir the onion"]))["probability"][0].as_py())


def test_small_models_train_in_every_shape(tmp_path: Path) -> None:
    # In a used process the library takes old memory for weights, and most of these end in NaN.
    for i, (dim, word_ngrams, bucket) in enumerate([(4, 1, 100), (16, 2, 100), (50, 3, 5000), (8, 2, 200_000)]):
        scorer = fitted(tmp_path / str(i), sample_documents(), label="domain", dim=dim, word_ngrams=word_ngrams, bucket=bucket)
        assert scorer.score(batch_of(["the court holds"]))["label"][0].is_valid


def test_report_and_fit_sample_cover_the_sample(tmp_path: Path) -> None:
    sample = sample_documents()
    scorer = fitted(tmp_path, sample, label="domain", held_out=0.3)
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["n_train"] + report["n_held_out"] == sample.num_rows
    assert report["n_held_out"] > 0
    assert sorted(report["labels"]) == ["code", "cooking", "law"]
    assert sum(row["n_held_out"] for row in report["labels"].values()) == report["n_held_out"]
    found = scorer.score(batch_of([*sample["text"].to_pylist(), "never seen"]))
    assert sum(found["in_fit_sample"].to_pylist()) == report["n_train"]
    assert found["in_fit_sample"][sample.num_rows].as_py() is False
    held_out = [i for i, inside in enumerate(found["in_fit_sample"].to_pylist()[:-1]) if not inside]
    domains = sample["domain"].to_pylist()
    right = [found["label"][i].as_py() == domains[i] for i in held_out]
    assert report["accuracy"] == pytest.approx(sum(right) / len(right))
    for name, row in report["labels"].items():
        answered = [i for i in held_out if found["label"][i].as_py() == name]
        true = [i for i in held_out if domains[i] == name]
        both = set(answered) & set(true)
        assert row["precision"] == (pytest.approx(len(both) / len(answered)) if answered else None)
        assert row["recall"] == (pytest.approx(len(both) / len(true)) if true else None)


def test_a_numeric_column_needs_a_threshold(tmp_path: Path) -> None:
    sample = sample_documents()
    rating = pa.array([1.0 if domain == "law" else 0.2 for domain in sample["domain"].to_pylist()])
    sample = sample.append_column("rating.mean", rating)
    with pytest.raises(ConfigError, match="label of its own"):
        fitted(tmp_path / "a", sample, label="rating.mean")
    scorer = fitted(tmp_path / "b", sample, label="rating.mean", threshold=1.0, positive="high")
    score = scorer.score(batch_of(["the court holds that section seven", "stir the onion until it is golden"]))["score"].to_pylist()
    assert score[0] > 0.5 > score[1]
    with pytest.raises(ConfigError, match="column of numbers"):
        fitted(tmp_path / "c", sample, label="domain", threshold=1.0)


def test_labelled_files_of_each_format_train_the_same_model(tmp_path: Path) -> None:
    rows = [
        (text.replace("\n", " "), domain)
        for text, domain in zip(*(sample_documents()[c].to_pylist() for c in ("text", "domain")), strict=True)
    ]
    pq.write_table(pa.table({"body": [r[0] for r in rows], "kind": [r[1] for r in rows]}), tmp_path / "l.parquet")
    (tmp_path / "l.jsonl").write_bytes(b"".join(orjson.dumps({"body": t, "kind": d}) + b"\n" for t, d in rows))
    with pa.output_stream(str(tmp_path / "l.jsonl.gz"), compression="gzip") as out:
        out.write((tmp_path / "l.jsonl").read_bytes())
    (tmp_path / "l.txt").write_text("".join(f"{PREFIX}{d} {t}\n" for t, d in rows))
    models = set()
    for name in ("l.parquet", "l.jsonl", "l.jsonl.gz", "l.txt"):
        path = tmp_path / name
        scorer = FastText(labelled=(path,), text_field="body", label_field="kind", **SMALL)
        assert scorer.artifacts() == (path,)
        sample = scorer.sample()
        assert sample is not None
        assert sample.n_bytes == 0
        fitted(tmp_path / f"{name}.state", sample_documents(4), labelled=(path,), text_field="body", label_field="kind")
        models.add((tmp_path / f"{name}.state" / "model.bin").read_bytes())
    assert len(models) == 1


def test_labels_with_spaces_and_several_labels_on_a_line(tmp_path: Path) -> None:
    for label in ("a b", "50%", "x\ty%20", "plain", "ünï"):
        assert decode_label(encode_label(label)) == label
        assert not set(encode_label(label)) & set(" \t\n")
    sample = sample_documents()
    renamed = pa.array([f"{domain} 100%" for domain in sample["domain"].to_pylist()])
    scorer = fitted(tmp_path, sample.set_column(2, "domain", renamed), label="domain", positive="law 100%")
    assert set(scorer.score(batch_of(sample["text"].to_pylist()))["label"].to_pylist()) == {"law 100%", "code 100%", "cooking 100%"}
    lines = tmp_path / "several.txt"
    lines.write_text("__label__a __label__b one two\n\nno label here\nthree __label__b four\n__label__c \n")
    examples = from_files([lines], "text", "label", None)
    assert examples.labels == [("a", "b"), ("b",)]
    assert examples.text.to_pylist() == ["one two", "three four"]
    assert examples.n_skipped == 2


def test_text_cannot_bring_labels_into_training(tmp_path: Path) -> None:
    sample = sample_documents()
    poisoned = pa.array([f"{text} {PREFIX}evil </s> {PREFIX}worse x" for text in sample["text"].to_pylist()], pa.large_string())
    fitted(tmp_path, sample.set_column(1, "text", poisoned), label="domain")
    assert set(inspect(tmp_path / "model.bin").labels) == {"law", "code", "cooking"}


def test_too_few_labels_are_named(tmp_path: Path) -> None:
    sample = sample_documents()
    with pytest.raises(InputError, match="two labels, the training sample has 1") as caught:
        fitted(tmp_path, sample.set_column(2, "domain", pa.array(["only"] * sample.num_rows)), label="domain")
    assert "labels seen: only" in caught.value.where
    with pytest.raises(InputError, match="has 0"):
        fitted(tmp_path, sample.slice(0, 0), label="domain")


def test_divergence_says_what_to_lower(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="diverged") as caught:
        fitted(tmp_path, sample_documents(), label="domain", lr=1e4)
    assert "lower `lr`" in caught.value.fix
    with pytest.raises(ConfigError, match="no word often enough") as caught:
        fitted(tmp_path, sample_documents(), label="domain", min_count=10_000)
    assert "lower `min_count`" in caught.value.fix


def test_copies_fall_on_one_side_of_the_split() -> None:
    table = sample_documents()
    from curate.scorers.fasttext_training import from_table

    examples = from_table(table, "text", "domain", None, "test")
    training, held_out = split(examples, 0.5, 3)
    assert not set(training.ids.to_pylist()) & set(held_out.ids.to_pylist())
    assert len(training.labels) + len(held_out.labels) == 48


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "one place only, given: none"),
        ({"label": "domain", "labelled": (Path("x"),)}, "given: label, labelled"),
        ({"label": "domain", "k": 0}, "`k` is 0"),
        ({"label": "domain", "held_out": 1.0}, "`held_out` is 1.0"),
        ({"label": "domain", "lr": float("nan")}, "`lr` is nan"),
        ({"label": "domain", "minn": 3, "maxn": 2}, "`minn` 3 is above"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        FastText(**options).check()


def test_labels_asked_for_must_exist(state: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no label 'lau'") as caught:
        FastText(model=state / "model.bin", positive="lau").check()
    assert "did you mean 'law'?" in caught.value.fix
    with pytest.raises(ConfigError, match="no label 'x'"):
        fitted(tmp_path, sample_documents(), label="domain", per_label=("x",))


def test_labelled_files_that_are_wrong(tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text('{"text": "a", "label": "b"}\n{"text": \n')
    (tmp_path / "fields.parquet").write_bytes(b"not parquet")
    with pytest.raises(InputError, match="line 2 of the labelled file"):
        from_files([tmp_path / "bad.jsonl"], "text", "label", None)
    with pytest.raises(InputError, match="line 1 of the labelled file"):
        from_files([tmp_path / "bad.jsonl"], "body", "label", None)
    with pytest.raises(InputError, match="does not exist"):
        from_files([tmp_path / "absent.txt"], "text", "label", None)
    with pytest.raises(InputError, match="cannot be read"):
        from_files([tmp_path / "fields.parquet"], "text", "label", None)


@pytest.mark.skipif(not CI_SMALL.exists(), reason=f"real text is absent: {CI_SMALL}")
def test_domains_of_real_text_are_learned(tmp_path: Path) -> None:
    texts, domains = [], []
    for name in ("code.parquet", "science.parquet", "multilingual.parquet"):
        found = pq.read_table(CI_SMALL / name, columns=["text"])["text"].to_pylist()[:150]
        texts += [text[:3000] for text in found]
        domains += [name.split(".")[0]] * len(found)
    text = pa.array(texts, pa.large_string())
    sample = pa.table({"doc_id": doc_ids(text), "text": text, "domain": domains})
    scorer = fitted(tmp_path, sample, label="domain", dim=16, bucket=20_000, epoch=5, held_out=0.3)
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["accuracy"] > report["majority"] + 0.3
    assert report["accuracy"] > 0.8
    rows = scorer.score(sample.select(["text", "doc_id"]).combine_chunks().to_batches()[0])
    assert rows["label"].null_count == 0


def test_loading_without_state_is_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(CurateError, match="trained nowhere"):
        FastText(label="domain").load(None)
    with pytest.raises(InputError, match="does not exist"):
        Predictor(tmp_path / "absent.bin")
