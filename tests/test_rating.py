"""Heads on embeddings against scikit-learn and by hand; labelled documents and what is wrong with them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.documents import doc_ids
from curate.errors import ConfigError, InputError
from curate.ranks import mid_ranks, spearman
from curate.rating import labelled
from curate.rating.figures import figures
from curate.rating.heads import KINDS, Head, Kind, train
from curate.rating.labelled import Source
from curate.rating.lbfgs import minimise

L2 = 1e-3


def planted(n: int, n_dims: int, n_classes: int, seed: int, noise: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """Vectors whose dimensions differ in mean and scale, and labels by quantiles of a noisy direction in them."""
    random = np.random.default_rng(seed)
    vectors = (random.standard_normal((n, n_dims)) * np.geomspace(3, 0.01, n_dims) + random.standard_normal(n_dims)).astype(np.float32)
    standard = (vectors - vectors.mean(axis=0)) / vectors.std(axis=0)
    hidden = standard @ random.standard_normal(n_dims) / np.sqrt(n_dims) + noise * random.standard_normal(n)
    return vectors, np.searchsorted(np.quantile(hidden, np.arange(1, n_classes) / n_classes), hidden)


def one_hot(labels: np.ndarray, n_classes: int) -> np.ndarray:
    return np.eye(n_classes, dtype=np.int64)[labels]


def standardised(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    mean, scale = vectors.astype(np.float64).mean(axis=0), vectors.astype(np.float64).std(axis=0)
    return (vectors - mean) / scale, mean, scale


def sklearns(standard: np.ndarray, labels: np.ndarray) -> Any:
    """scikit-learn's logistic regression with the same penalty: it weighs the sum of losses by C, here the mean is taken."""
    linear = pytest.importorskip("sklearn.linear_model")
    return linear.LogisticRegression(C=1 / (len(labels) * L2), tol=1e-10, max_iter=10_000).fit(standard, labels)


def test_an_ordinal_head_is_one_logistic_regression_for_each_threshold() -> None:
    vectors, labels = planted(700, 6, 4, seed=1)
    found = train("ordinal", vectors, one_hot(labels, 4), L2)
    assert found.converged
    standard, mean, scale = standardised(vectors)
    for k in (1, 2, 3):
        theirs = sklearns(standard, (labels >= k).astype(int))
        weights = found.head.weights[:-1, k - 1]
        np.testing.assert_allclose(weights * scale, theirs.coef_[0], atol=1e-4)
        np.testing.assert_allclose(found.head.weights[-1, k - 1] + mean @ weights, theirs.intercept_[0], atol=1e-4)


def test_a_classifier_is_multinomial_logistic_regression() -> None:
    vectors, labels = planted(700, 6, 4, seed=2)
    found = train("classifier", vectors, one_hot(labels, 4), L2)
    assert found.converged
    standard, mean, scale = standardised(vectors)
    theirs = sklearns(standard, labels)
    weights = found.head.weights[:-1]
    np.testing.assert_allclose(weights * scale[:, None], theirs.coef_.T, atol=1e-4)
    ours = found.head.weights[-1] + mean @ weights
    np.testing.assert_allclose(ours - ours.mean(), theirs.intercept_ - theirs.intercept_.mean(), atol=1e-4)
    probabilities = theirs.predict_proba(standard)
    rating, label = found.head.rate(vectors)
    np.testing.assert_allclose(rating, probabilities @ np.arange(4), atol=1e-4)
    assert (label == probabilities.argmax(axis=1)).mean() > 0.998


@pytest.mark.parametrize("kind", KINDS)
def test_a_text_with_several_labels_counts_as_several_documents(kind: Kind) -> None:
    vectors, labels = planted(90, 3, 3, seed=3)
    counts = one_hot(labels, 3) + one_hot(np.roll(labels, 1), 3)
    together = train(kind, vectors, counts, L2).head
    apart = train(kind, np.concatenate([vectors, vectors]), np.concatenate([one_hot(labels, 3), one_hot(np.roll(labels, 1), 3)]), L2).head
    np.testing.assert_allclose(together.weights, apart.weights, atol=1e-5)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_an_ordinal_head_errs_by_fewer_classes_than_a_classifier(seed: int) -> None:
    vectors, labels = planted(6000, 16, 8, seed=seed, noise=0.7)
    taught, held = slice(0, 4000), slice(4000, None)
    error = {}
    for kind in KINDS:
        _, label = train(kind, vectors[taught], one_hot(labels[taught], 8), L2).head.rate(vectors[held])
        error[kind] = float(np.abs(label - labels[held]).mean())
    assert error["ordinal"] < error["classifier"]
    assert error["ordinal"] < 0.7 * np.abs(np.median(labels) - labels[held]).mean()


@pytest.mark.parametrize("kind", KINDS)
def test_training_gives_the_same_bytes(kind: Kind) -> None:
    vectors, labels = planted(300, 5, 3, seed=4)
    first, second = (train(kind, vectors, one_hot(labels, 3), L2).head.weights for _ in range(2))
    assert first.tobytes() == second.tobytes()


def test_logits_are_rated_as_worked_out_by_hand() -> None:
    vectors = np.array([[0.0], [np.log(3.0)]], np.float32)
    # One dimension of weight 1; biases 0 and ln 3: odds of the thresholds 1 and 3, then 3 and 9.
    weights = np.array([[1.0, 1.0], [0.0, np.log(3.0)]])
    rating, label = Head("ordinal", weights).rate(vectors)
    np.testing.assert_allclose(rating, [1 / 2 + 3 / 4, 3 / 4 + 9 / 10], rtol=1e-6)
    assert label.tolist() == [1, 2]  # 0.5 is not above 0.5
    assert Head("ordinal", weights).n_out_of_order(vectors) == 2
    # Softmax of odds 1 : 1 : 3, and of 1 : 3 : 9.
    classes = np.array([[0.0, 1.0, 1.0], [0.0, 0.0, np.log(3.0)]])
    rating, label = Head("classifier", classes).rate(vectors)
    np.testing.assert_allclose(rating, [(1 * 1 + 2 * 3) / 5, (1 * 3 + 2 * 9) / 13], rtol=1e-6)
    assert label.tolist() == [2, 2]
    assert Head("classifier", np.zeros((2, 3))).rate(vectors)[1].tolist() == [0, 0]  # the lower of equals


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.floats(-40, 40), min_size=1, max_size=9),
    st.lists(st.floats(0, 20), min_size=9, max_size=9),
)
def test_rating_and_label_never_fall_when_logits_rise(biases: list[float], more: list[float]) -> None:
    vectors = np.zeros((1, 1), np.float32)
    low = np.array([np.zeros(len(biases)), biases])
    high = low + np.array([np.zeros(len(biases)), more[: len(biases)]])
    (a, label_a), (b, label_b) = (Head("ordinal", weights).rate(vectors) for weights in (low, high))
    assert 0 <= a[0] <= b[0] <= len(biases)
    assert 0 <= label_a[0] <= label_b[0] <= len(biases)


def test_classes_that_no_document_has_are_never_given() -> None:
    vectors, labels = planted(300, 4, 3, seed=5)
    gapped = np.array([1, 2, 4])[labels]  # of 0..5: none at 0, 3 and 5
    for kind in KINDS:
        found = train(kind, vectors, one_hot(gapped, 6), L2)
        assert found.converged
        rating, label = found.head.rate(np.concatenate([vectors, 1000 * vectors, -1000 * vectors]))
        assert np.isfinite(rating).all()
        assert rating.min() >= 1
        assert rating.max() <= 4
        assert set(label.tolist()) <= ({1, 2, 4} if kind == "classifier" else {1, 2, 3, 4})
    assert np.isposinf(train("ordinal", vectors, one_hot(gapped, 6), L2).head.weights[-1, 0])


def test_a_constant_dimension_teaches_nothing() -> None:
    vectors, labels = planted(300, 4, 3, seed=6)
    wider = np.concatenate([vectors, np.full((300, 1), 0.1, np.float32)], axis=1)
    narrow, wide = (train("ordinal", v, one_hot(labels, 3), L2).head for v in (vectors, wider))
    assert abs(wide.weights[4]).max() < 1e-6
    np.testing.assert_allclose(narrow.rate(vectors)[0], wide.rate(wider)[0], atol=1e-6)


def test_the_minimum_of_a_quadratic_is_found() -> None:
    bend, aim = np.diag([1.0, 10.0, 1000.0]), np.array([[1.0], [2.0], [3.0]])

    def function(x: np.ndarray) -> tuple[float, np.ndarray]:
        return float(((x - aim) * (bend @ (x - aim))).sum() / 2), bend @ (x - aim)

    found = minimise(function, np.zeros((3, 1)), lambda g: g, 1e-9, 200)
    assert found.converged
    np.testing.assert_allclose(found.at, aim, atol=1e-8)
    assert not minimise(function, np.zeros((3, 1)), lambda g: g, 1e-9, 2).converged


def test_figures_are_those_worked_out_by_hand() -> None:
    true, label = np.array([0, 1, 2, 2, 3]), np.array([0, 2, 2, 0, 3])
    found = figures(true, label, np.array([0.1, 1.6, 1.9, 0.2, 2.8], np.float32), 4)
    assert found["accuracy"] == 0.6
    assert found["within_one"] == 0.8
    assert found["mean_absolute_error"] == 0.6
    assert found["mean_squared_error"] == 1.0
    # Ranks 1, 2, 3.5, 3.5, 5 beside 1, 3, 4, 2, 5: covariance 8, squares 9.5 and 10.
    assert found["spearman"] == pytest.approx(8 / np.sqrt(9.5 * 10))
    assert found["confusion"] == [[1, 0, 0, 0], [0, 0, 1, 0], [1, 0, 1, 0], [0, 0, 0, 1]]
    empty = figures(true[:0], label[:0], np.empty(0, np.float32), 2)
    assert empty["accuracy"] is None
    assert empty["spearman"] is None


def test_mid_ranks_and_spearman() -> None:
    assert mid_ranks(np.array([5.0, 1.0, 5.0, 7.0])).tolist() == [2, 0.5, 2, 3.5]
    assert spearman(np.array([1, 2, 3]), np.array([9, 4, 1])) == -1
    assert spearman(np.array([1, 2, 3]), np.array([4, 4, 4])) is None


RECORDS = [{"text": f"document {i % 25}", "label": i % 4} for i in range(30)]


def write(path: Path, records: list[Any]) -> Path:
    """Records in the format that the ending says."""
    lines = "".join(json.dumps(record) + "\n" for record in records).encode()
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(records), path)
    else:
        path.write_bytes(gzip.compress(lines) if path.suffix == ".gz" else zstandard.compress(lines) if path.suffix == ".zst" else lines)
    return path


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.ndjson.zst", "a.parquet"])
def test_labels_are_read_from_every_format(name: str, tmp_path: Path) -> None:
    source = Source((write(tmp_path / name, RECORDS),), "text", "label")
    labelled.check(source)
    found = labelled.read(source)
    assert len(found.texts) == 25
    assert found.n_records == 30
    at = found.texts.to_pylist().index("document 3")
    assert found.counts_TK[at].tolist() == [1, 0, 0, 1]  # records 3 and 28
    assert found.doc_ids.equals(doc_ids(found.texts))
    backwards = labelled.read(Source((write(tmp_path / f"b{name}", RECORDS[::-1]),), "text", "label"))
    assert backwards.texts.equals(found.texts)
    assert np.array_equal(backwards.counts_TK, found.counts_TK)


def test_fields_and_files_are_as_named(tmp_path: Path) -> None:
    renamed = [{"body": r["text"], "grade": r["label"]} for r in RECORDS]
    paths = write(tmp_path / "a.jsonl", renamed[:10]), write(tmp_path / "b.parquet", renamed[10:])
    found = labelled.read(Source(paths, "body", "grade", 6))
    assert found.n_records == 30
    assert found.counts_TK.shape == (25, 6)


BAD = [
    ({"text": "x", "label": None}, "has the label None"),
    ({"text": "x", "label": 1.0}, "has the label 1.0"),
    ({"text": "x", "label": True}, "has the label True"),
    ({"text": "x", "label": "2"}, "has the label '2'"),
    ({"text": "x", "label": -1}, "has the label -1"),
    ({"text": "x", "label": 4}, "has the label 4"),
    ({"text": None, "label": 1}, "has the text None"),
    ({"label": 1}, "no field 'text'"),
    ([1], "a JSON list"),
]


@pytest.mark.parametrize(("record", "said"), BAD, ids=[said for _, said in BAD])
def test_a_bad_record_is_an_error_that_names_its_line(record: Any, said: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [*RECORDS, record])
    for look in (labelled.check, labelled.read):
        with pytest.raises(InputError, match=said) as raised:
            look(Source((path,), "text", "label", 4))
        assert f"{path}, line 31" in raised.value.where


def test_a_bad_row_of_parquet_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", [*RECORDS, {"text": "x", "label": None}])
    with pytest.raises(InputError, match="label None") as raised:
        labelled.check(Source((path,), "text", "label"))
    assert f"{path}, row 30" in raised.value.where
    with pytest.raises(InputError, match="no field 'grade'") as raised:
        labelled.check(Source((path,), "text", "grade"))
    assert "text, label" in raised.value.expected


def test_parquet_that_is_not_what_it_says_is_an_error_that_names_file_and_row(tmp_path: Path) -> None:
    path, n = tmp_path / "a.parquet", 5000  # more than are read at once
    data = bytearray(b"x" * n)
    data[4500] = 0xFF
    text = pa.Array.from_buffers(pa.string(), n, [None, pa.py_buffer(np.arange(n + 1, dtype=np.int32)), pa.py_buffer(bytes(data))])
    label = pa.array([i % 3 for i in range(n)])
    pq.write_table(pa.table({"text": text, "label": label}), path)
    for look in (labelled.check, labelled.read):
        with pytest.raises(InputError, match="a value cannot be read") as raised:
            look(Source((path,), "text", "label"))
        assert raised.value.where == f"{path}, row 4500, field 'text'"
    pq.write_table(pa.table([label, label, label], names=["text", "label", "label"]), path)
    with pytest.raises(InputError, match="2 columns have the name 'label'") as raised:
        labelled.check(Source((path,), "text", "label"))
    assert raised.value.where == str(path)


def test_messages_are_short_and_name_the_options_there_are(tmp_path: Path) -> None:
    for long in ({"text": ["x" * 100] * 100, "label": 1}, {"text": "x", "label": "9" * 10_000}):
        with pytest.raises(InputError, match="…") as raised:
            labelled.check(Source((write(tmp_path / "a.jsonl", [*RECORDS, long]),), "text", "label"))
        assert len(raised.value.what) < 110
    with pytest.raises(InputError) as raised:
        labelled.check(Source((tmp_path / "a.jsonl",), "body", "label"))
    assert "`text_field` and `label_field`" in raised.value.fix
    with pytest.raises(InputError, match="a folder is given") as raised:
        labelled.check(Source((tmp_path,), "text", "label"))
    assert "`labelled`" in raised.value.fix
    with pytest.raises(InputError) as raised:
        labelled.check(Source((tmp_path / "b.jsonl",), "text", "label"))
    assert raised.value.fix == "correct `labelled`"
    with pytest.raises(ConfigError) as refused:
        labelled.check(Source((tmp_path / "b.csv",), "text", "label"))
    assert "`labelled`" in refused.value.where


def test_files_that_cannot_be_labels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no format known"):
        labelled.check(Source((tmp_path / "a.csv",), "text", "label"))
    with pytest.raises(InputError, match="does not exist"):
        labelled.check(Source((tmp_path / "a.jsonl",), "text", "label"))
    with pytest.raises(InputError, match="19 labelled documents are too few"):
        labelled.check(Source((write(tmp_path / "few.jsonl", RECORDS[:19]),), "text", "label"))
    with pytest.raises(InputError, match="all 30 labelled documents have the label 2"):
        labelled.check(Source((write(tmp_path / "one.jsonl", [r | {"label": 2} for r in RECORDS]),), "text", "label"))
    with pytest.raises(InputError, match="has the label 100") as raised:
        labelled.check(Source((write(tmp_path / "wide.jsonl", [*RECORDS, {"text": "x", "label": 100}]),), "text", "label"))
    assert "0 to 99" in raised.value.expected
    torn = write(tmp_path / "torn.jsonl.gz", RECORDS)
    torn.write_bytes(torn.read_bytes()[:-20])
    with pytest.raises(InputError):
        labelled.check(Source((torn,), "text", "label"))
    (tmp_path / "bad.jsonl").write_text('{"text": \n')
    with pytest.raises(InputError, match="no JSON") as raised:
        labelled.check(Source((tmp_path / "bad.jsonl",), "text", "label"))
    assert "line 1" in raised.value.where


def test_some_texts_have_every_label(tmp_path: Path) -> None:
    rare = [*RECORDS, {"text": "zzz", "label": 7}]
    found = labelled.read(Source((write(tmp_path / "a.jsonl", rare),), "text", "label"))
    few = found.some(3)
    assert 3 <= len(few.texts) <= 8
    assert few.counts_TK.any(axis=0).tolist() == found.counts_TK.any(axis=0).tolist()
