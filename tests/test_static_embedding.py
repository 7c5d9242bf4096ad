"""The static embedding: its counts, its decomposition and its sums against independent ones, and what it tells of real text."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import scipy.sparse
import scipy.sparse.linalg
from hypothesis import given, settings
from hypothesis import strategies as st
from real_documents import documents_by_domain

from curate.documents import doc_ids, read_only, text_bytes
from curate.errors import ConfigError, InputError
from curate.kernels.folding import fold_tables, fold_words
from curate.scorers.static_embedding import LEARNED, StaticEmbedding
from curate.static_vectors.decomposition import SparseRows, truncated_svd
from curate.static_vectors.features import Counts, count, shift_of
from curate.static_vectors.model import learn, weighted
from curate.static_vectors.pooling import pooled
from curate.testing import check_scorer, sample_documents

WORDS = ["the", "court", "holds", "that", "section", "act", "applies", ";", "stir", "onion", "butter", "Über", "東京", "3.14"]


def parts(texts: Sequence[str | None]) -> tuple[np.ndarray, np.ndarray]:
    data, offsets = text_bytes(pa.array(texts, pa.large_string()))
    return read_only(data), read_only(offsets)


def table(texts: Sequence[str | None]) -> pa.Table:
    text = pa.array(texts, pa.large_string())
    return pa.table({"text": text, "doc_id": doc_ids(text.fill_null(""))})


def word_hashes(text: str) -> list[int]:
    """Of all words at once, into arrays as long as the text."""
    data, offsets = parts([text])
    hashes, starts, ends = (np.empty(data.size + 1, kind) for kind in (np.uint64, np.int64, np.int64))
    n_words = fold_words(data, 0, int(offsets[-1]), fold_tables(), hashes, starts, ends)
    return [int(value) for value in hashes[:n_words]]


def row(counts: Counts, i: int) -> dict[int, int]:
    here = slice(counts.bounds[i], counts.bounds[i + 1])
    return dict(zip(counts.buckets[here].tolist(), counts.counts[here].tolist(), strict=True))


def dense(matrix: SparseRows) -> np.ndarray:
    return scipy.sparse.csr_array((matrix.values, matrix.columns, matrix.bounds), (matrix.bounds.size - 1, matrix.n_columns)).toarray()


def sparse(values: np.ndarray) -> SparseRows:
    found = scipy.sparse.csr_array(values)
    return SparseRows(found.indptr.astype(np.int64), found.indices.astype(np.int32), found.data.astype(np.float32), values.shape[1])


def fitted(scorer: StaticEmbedding, sample: pa.Table, state: Path) -> StaticEmbedding:
    state.mkdir(exist_ok=True)
    scorer.fit(sample, state)
    scorer.load(state)
    return scorer


def vectors_of(scorer: StaticEmbedding, texts: Sequence[str | None]) -> np.ndarray:
    made = scorer.score(table(texts).to_batches()[0])
    return np.array(made["vector"].to_pylist(), np.float64)


# Counts


@given(st.lists(st.lists(st.sampled_from(WORDS), max_size=40), max_size=5))
@settings(max_examples=40, deadline=None)
def test_word_counts_are_those_of_a_plain_counter(documents: list[list[str]]) -> None:
    texts = [" ".join(words) for words in documents]
    counts = count(*parts(texts), ngram=1, n_buckets=256)
    for i, text in enumerate(texts):
        assert row(counts, i) == Counter(value >> 56 for value in word_hashes(text))


def test_a_document_longer_than_a_block_is_counted_whole() -> None:
    rng = np.random.default_rng(0)
    text = " ".join(rng.choice(WORDS, 9_000))
    counts = count(*parts(["stir", text, ""]), ngram=1, n_buckets=1 << 16)
    assert row(counts, 1) == Counter(value >> 48 for value in word_hashes(text))
    assert row(counts, 2) == {}


@pytest.mark.parametrize("n_words", [1, 2, 3, 5_000])
def test_pairs_are_counted_beside_words_across_blocks(n_words: int) -> None:
    """In words that are all different, every bucket of 2^24 has one word or one pair."""
    text = " ".join("abcdefghij"[i % 10] + "x" * (i // 10 % 10) + "y" * (i // 100 % 10) + "z" * (i // 1000) for i in range(n_words))
    counts = count(*parts([text]), ngram=2, n_buckets=1 << 24)
    words = Counter(value >> 40 for value in word_hashes(text))
    pairs = Counter(row(counts, 0)) - words
    assert pairs.total() == n_words - 1
    assert row(counts, 0).keys() >= words.keys()


def test_a_pair_has_an_order() -> None:
    counts = count(*parts(["court act", "act court", "court act"]), ngram=2, n_buckets=1 << 20)
    assert row(counts, 0) == row(counts, 2)
    assert len(row(counts, 0).keys() & row(counts, 1).keys()) == 2


def test_weights_of_three_documents_by_hand() -> None:
    counts = Counts(np.array([0, 2, 4, 4]), np.array([0, 1, 0, 2], np.int32), np.array([1, 1, 3, 1], np.int32), 4)
    matrix, idf = weighted(counts)
    common, rare = math.log(4 / 3), math.log(4 / 2)
    assert idf == pytest.approx([common, rare, rare, 0])
    first, second = math.hypot(common, rare), math.hypot((1 + math.log(3)) * common, rare)
    expected = [[common / first, rare / first, 0, 0], [(1 + math.log(3)) * common / second, 0, rare / second, 0], [0, 0, 0, 0]]
    assert dense(matrix) == pytest.approx(np.array(expected))


# Decomposition


def test_singular_values_and_vectors_are_those_of_numpy() -> None:
    rng = np.random.default_rng(0)
    values = rng.standard_normal((90, 70)) * (rng.random((90, 70)) < 0.3) * 0.8 ** np.arange(70)
    found, vectors = truncated_svd(sparse(values), 12, seed=3, passes=4)
    _, expected, transposed = np.linalg.svd(values)
    assert found == pytest.approx(expected[:12], rel=1e-5)
    assert np.abs((vectors * transposed[:12].T).sum(axis=0)) == pytest.approx(np.ones(12), abs=1e-4)
    assert vectors.T @ vectors == pytest.approx(np.eye(12), abs=1e-5)
    assert (vectors[np.abs(vectors).argmax(axis=0), np.arange(12)] > 0).all()


def test_the_usual_passes_lose_little_of_a_flat_spectrum() -> None:
    """What is left of the matrix, beside the least that any subspace of this dimension leaves."""
    values = np.asarray(scipy.sparse.random_array((600, 900), density=0.03, rng=np.random.default_rng(1)).toarray())
    _, expected, _ = scipy.sparse.linalg.svds(scipy.sparse.csr_array(values), k=40)
    _, vectors = truncated_svd(sparse(values), 40, seed=0)
    left = np.linalg.norm(values - values @ vectors @ vectors.T)
    assert left <= 1.02 * math.sqrt(np.linalg.norm(values) ** 2 - (expected**2).sum())


@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 5), st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_small_matrices_are_decomposed_exactly_whatever_their_rank(n_rows: int, n_columns: int, rank: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((n_rows, rank)) @ rng.standard_normal((rank, n_columns))
    values[rng.random(n_rows) < 0.2] = 0
    values[:, rng.random(n_columns) < 0.2] = 0
    most = min(n_rows, n_columns)
    found, vectors = truncated_svd(sparse(values), most, seed=seed)
    expected = np.linalg.svd(values, compute_uv=False)
    assert found == pytest.approx(expected, abs=2e-3 * max(expected.max(), 1e-9))
    assert values @ vectors @ vectors.T == pytest.approx(values, abs=3e-3 * max(expected.max(), 1e-9))


# Sums


@pytest.mark.parametrize("width", [1, 3, 16, 37])
def test_embeddings_are_the_weighted_sums_of_a_sparse_product(width: int) -> None:
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(WORDS, n)) for n in (0, 1, 2, 3, 4, 5, 60, 9_000)]
    vectors = rng.standard_normal((64, width)).astype(np.float32)
    counts = count(*parts(texts), ngram=2, n_buckets=64)
    matrix = scipy.sparse.csr_array((1 + np.log(counts.counts), counts.buckets, counts.bounds), (len(texts), 64))
    sums = matrix @ vectors.astype(np.float64)
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    found, n_words = pooled(*parts(texts), vectors, 2)
    assert found == pytest.approx(np.divide(sums, lengths, out=np.zeros_like(sums), where=lengths > 0), abs=1e-5)
    assert n_words.tolist() == [len(word_hashes(text)) for text in texts]


def test_counts_beyond_the_table_of_weights() -> None:
    vectors = np.zeros((1 << 20, 2), np.float32)
    for column, word in enumerate(("stir", "onion")):
        vectors[word_hashes(word)[0] >> shift_of(1 << 20), column] = 1
    found, _ = pooled(*parts(["stir " * 5000 + "onion"]), vectors, 1)
    assert found[0, 0] / found[0, 1] == pytest.approx(1 + math.log(5000), rel=1e-5)


# The scorer


@pytest.mark.parametrize("ngram", [1, 2])
def test_it_keeps_the_contract(ngram: int) -> None:
    check_scorer(StaticEmbedding(dimension=8, buckets=1024, ngram=ngram))


def test_vectors_are_the_documents_in_the_coordinates_of_the_decomposition(tmp_path: Path) -> None:
    """For documents of the sample: their rows times the singular vectors, over the fourth roots of the singular values."""
    sample = sample_documents()
    scorer = fitted(StaticEmbedding(dimension=6, buckets=4096), sample, tmp_path)
    matrix = dense(weighted(count(*parts(sample["text"].to_pylist()), ngram=1, n_buckets=4096))[0])
    left, values, _ = np.linalg.svd(matrix, full_matrices=False)
    expected = left[:, :6] * values[:6] ** 0.75
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    found = vectors_of(scorer, sample["text"].to_pylist())
    assert np.linalg.norm(found, axis=1) == pytest.approx(np.ones(48), abs=2e-3)
    assert found @ found.T == pytest.approx(expected @ expected.T, abs=0.02)


def test_documents_of_one_subject_are_near(tmp_path: Path) -> None:
    sample = sample_documents()
    scorer = fitted(StaticEmbedding(dimension=6, buckets=4096), sample, tmp_path)
    near = vectors_of(scorer, ["flour and butter in the pan", "stir golden onion", "any party under this contract", "return self"])
    assert near[0] @ near[1] > max(near[0] @ near[2], near[0] @ near[3], near[2] @ near[3])


def test_null_where_there_is_nothing_to_go_by(tmp_path: Path) -> None:
    scorer = fitted(StaticEmbedding(dimension=6, buckets=1 << 16), sample_documents(), tmp_path)
    made = scorer.score(table(["stir the onion", None, "", " .,; ", "zyzzyva quux"]).to_batches()[0])
    assert made["vector"].is_valid().to_pylist() == [True, False, False, False, False]
    assert made["n_words"].to_pylist() == [3, None, 0, 0, 2]


def test_word_order_counts_with_pairs_only(tmp_path: Path) -> None:
    texts = ["stir the onion until it is golden", "golden is it until onion the stir"]
    for ngram, same in ((1, True), (2, False)):
        scorer = fitted(StaticEmbedding(dimension=6, buckets=4096, ngram=ngram), sample_documents(), tmp_path / str(ngram))
        found = vectors_of(scorer, texts)
        assert bool(found[0] @ found[1] > 0.999) is same


def test_a_model_of_before_scores_alike_without_a_fit(tmp_path: Path) -> None:
    sample = sample_documents()
    learned = fitted(StaticEmbedding(dimension=6, buckets=1024, ngram=2), sample, tmp_path / "first")
    given_ = StaticEmbedding(model=tmp_path / "first")
    given_.check()
    assert given_.sample() is None
    assert {path.name for path in given_.artifacts()} == {"static_embedding.json", "vectors.npy"}
    check_scorer(given_)
    given_.load(None)
    texts = sample["text"].to_pylist()
    assert np.array_equal(vectors_of(learned, texts), vectors_of(given_, texts))
    assert learned.outputs.field("vector").metadata[b"model"] == LEARNED
    identity = given_.outputs.field("vector").metadata[b"model"]
    fitted(StaticEmbedding(dimension=6, buckets=1024, ngram=2, seed=1), sample, tmp_path / "other")
    other = StaticEmbedding(model=tmp_path / "other").outputs.field("vector").metadata[b"model"]
    assert len({identity, other, LEARNED}) == 3


@pytest.mark.parametrize(
    "options", [{"dimension": 0}, {"ngram": 3}, {"buckets": 1000}, {"buckets": 1}, {"dimension": 64, "buckets": 64}, {"sample_bytes": 0}]
)
def test_options_that_cannot_be(options: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="cannot be"):
        StaticEmbedding(**options).check()  # type: ignore[arg-type]


def test_a_sample_too_small_says_which_dimension_it_would_do_for(tmp_path: Path) -> None:
    texts = ["stir the onion", "court act", "court act", "stir the onion", "self return"]
    with pytest.raises(InputError, match="in 3 dimensions only") as caught:
        fitted(StaticEmbedding(dimension=4, buckets=1024), table(texts), tmp_path)
    assert "3 or less" in caught.value.fix
    with pytest.raises(InputError, match="the 0 documents of the sample do not differ"):
        fitted(StaticEmbedding(dimension=4, buckets=1024), table([]), tmp_path)
    with pytest.raises(InputError, match="the 3 documents of the sample do not differ") as caught:
        fitted(StaticEmbedding(dimension=4, buckets=1024), table(["court act"] * 3), tmp_path)
    assert "dimension" not in caught.value.fix
    fitted(StaticEmbedding(dimension=3, buckets=1024), table(texts), tmp_path)


def test_a_plan_tries_it_on_however_few_documents(tmp_path: Path) -> None:
    rehearsed = fitted(StaticEmbedding(dimension=50, buckets=1024).rehearsal(), table(["stir the onion", "court act"]), tmp_path)  # type: ignore[arg-type]
    made = rehearsed.score(table(["stir the court"]).to_batches()[0])
    assert made.schema.equals(StaticEmbedding(dimension=50).outputs, check_metadata=True)
    assert made["vector"].is_valid().to_pylist() == [True]


def test_models_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no learned static embedding"):
        StaticEmbedding(model=tmp_path).check()
    fitted(StaticEmbedding(dimension=6, buckets=1024), sample_documents(), tmp_path)
    with pytest.raises(ConfigError, match="dimension cannot be 7"):
        StaticEmbedding(model=tmp_path, dimension=7).check()
    facts = json.loads((tmp_path / "static_embedding.json").read_text())
    (tmp_path / "static_embedding.json").write_text(json.dumps(facts | {"dimension": 5}))
    with pytest.raises(InputError, match=r"vectors.npy holds \(1024, 6\) float16"):
        StaticEmbedding(model=tmp_path).check()


@pytest.mark.parametrize(
    ("facts", "shape", "said"),
    [
        ({"buckets": 1}, (1, 4), "has buckets 1"),
        ({"buckets": 0}, (0, 4), "has buckets 0"),
        ({"buckets": 12}, (12, 4), "has buckets 12"),
        ({"buckets": 1 << 25}, (16, 4), "has buckets 33554432"),
        ({"buckets": float("inf")}, (16, 4), "has buckets inf"),
        ({"buckets": "16"}, (16, 4), "has buckets '16'"),
        ({"dimension": 0}, (16, 0), "has dimension 0"),
        ({"dimension": 16}, (16, 16), "has dimension 16"),
        ({"ngram": 9}, (16, 4), "has ngram 9"),
        ({"ngram": True}, (16, 4), "has ngram True"),
        ({}, (16, 5), "holds"),
    ],
)
def test_sizes_that_would_end_the_process_are_refused(facts: dict[str, Any], shape: tuple[int, int], said: str, tmp_path: Path) -> None:
    (tmp_path / "static_embedding.json").write_text(json.dumps({"buckets": 16, "dimension": 4, "ngram": 1} | facts))
    np.save(tmp_path / "vectors.npy", np.ones(shape, np.float16))
    with pytest.raises(InputError, match=said) as caught:
        StaticEmbedding(model=tmp_path).check()
    assert caught.value.where.startswith(str(tmp_path))


def test_damaged_vectors_are_refused(tmp_path: Path) -> None:
    (tmp_path / "static_embedding.json").write_text(json.dumps({"buckets": 16, "dimension": 4, "ngram": 1}))
    vectors = np.ones((16, 4), np.float16)
    np.save(tmp_path / "vectors.npy", vectors)
    StaticEmbedding(model=tmp_path).check()
    whole = (tmp_path / "vectors.npy").read_bytes()
    for damaged in (b"", whole[:60], whole[:-2], whole.replace(b"(16, 4)", b"(1<, 4)"), b"PK\x03\x04" + whole):
        (tmp_path / "vectors.npy").write_bytes(damaged)
        with pytest.raises(InputError, match=r"vectors\.npy cannot be read"):
            StaticEmbedding(model=tmp_path).check()
    vectors[3, 2] = np.nan
    np.save(tmp_path / "vectors.npy", vectors)
    with pytest.raises(InputError, match="not finite"):
        StaticEmbedding(model=tmp_path).check()
    for text in ("[]", "{", "null", "[" * 100_000):
        (tmp_path / "static_embedding.json").write_text(text)
        with pytest.raises(InputError, match=r"static_embedding\.json (cannot be read|is a JSON)"):
            StaticEmbedding(model=tmp_path).check()


def test_the_order_of_documents_has_no_effect(tmp_path: Path) -> None:
    sample = sample_documents()
    order = np.random.default_rng(1).permutation(len(sample))
    made = []
    for i, rows in enumerate((sample, sample.take(pa.array(order)))):
        fitted(StaticEmbedding(dimension=6, buckets=1024), rows, tmp_path / str(i))
        made.append((tmp_path / str(i) / "vectors.npy").read_bytes())
    assert made[0] == made[1]


# Real text


def test_real_neighbours_share_a_domain_and_copies_with_gaps_stay_near(ci_small: Path) -> None:
    found = documents_by_domain(ci_small, per_domain=60)
    texts = [text for domain in sorted(found) for text in found[domain]]
    domains = np.array([domain for domain in sorted(found) for _ in found[domain]])
    model = learn(*parts(texts), dimension=64, n_buckets=1 << 15, ngram=1, seed=0)
    vectors, _ = model.embed(*parts(texts))
    near = vectors.astype(np.float32) @ vectors.astype(np.float32).T
    np.fill_diagonal(near, -1)
    assert (domains[near.argmax(axis=1)] == domains).mean() > 0.8
    rng = np.random.default_rng(0)
    gapped = [" ".join(word for word in text.split(" ") if rng.random() > 0.2) for text in texts]
    cosine = (model.embed(*parts(gapped))[0].astype(np.float32) * vectors.astype(np.float32)).sum(axis=1)
    assert np.median(cosine) > 0.95
    assert (cosine > near.max(axis=1)).mean() > 0.8
