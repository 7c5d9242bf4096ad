"""MinHash: against a numpy twin, against the theory of its probabilities, and beside datatrove on planted edits."""

from __future__ import annotations

from functools import cache

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_folding import hashes_of, real_texts

from curate.documents import text_bytes
from curate.errors import ConfigError
from curate.kernels import minhash
from curate.kernels.shingles import jaccard, shingle_sets
from curate.scorers.minhash import MinHash
from curate.testing import check_scorer, sample_documents

U64 = (1 << 64) - 1
P, BANDS, ROWS = 112, 14, 8


def column(texts: list[str | None]) -> pa.Array:
    return pa.array(texts, pa.large_string())


def signed(texts: list[str], ngram: int = 5, n: int = P) -> np.ndarray:
    return minhash.signatures(*text_bytes(column(texts)), ngram, minhash.permutations(1, n))[0]


def shingles_of(text: str, ngram: int) -> list[int]:
    """Shingle hashes in plain Python integers, from the words that test_folding vouches for."""
    words = hashes_of(text)
    length = min(ngram, len(words))
    found = []
    for i in range(len(words) - length + 1 if words else 0):
        key = 0
        for word in words[i : i + length]:
            key = (key * 0xA24BAED4963EE40B + word) & U64
        key = (key ^ key >> 32) * 0x9FB21C651E98DF25 & U64
        found.append(key ^ key >> 32)
    return found


def twin(text: str, ngram: int, permutations: np.ndarray) -> np.ndarray:
    """The signature of one document by its definition."""
    points = np.array(shingles_of(text, ngram), np.uint64) >> np.uint64(32)
    factor, summand = permutations.astype(np.uint64).T
    permuted = (points[:, None] * factor + summand) & np.uint64(0xFFFFFFFF)
    return permuted.min(axis=0, initial=0xFFFFFFFF).astype(np.uint32)


TEXTS = [
    "",
    "...",
    "one",
    "one two three four",
    "one two three four five",
    "one two three four five six",
    "Ein Wort, zwei Wörter, 3.5 Wörter und 世界 โลก",
    " ".join(f"word{'abcdefghij'[i % 10]}{'klmnopqrst'[i // 10 % 10]}" for i in range(3000)),
]


@pytest.mark.parametrize("ngram", [1, 2, 5, 13, 600])
def test_signatures_are_those_of_the_definition(ngram: int) -> None:
    texts = [*TEXTS, *(text for found in real_texts().values() for text in found[:3] if len(text) < 60_000)]
    permutations = minhash.permutations(3, 37)
    found, n_shingles = minhash.signatures(*text_bytes(column(texts)), ngram, permutations)
    for text, signature, n in zip(texts, found, n_shingles, strict=True):
        np.testing.assert_array_equal(signature, twin(text, ngram, permutations))
        assert n == len(shingles_of(text, ngram))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text("ab 世1.\n", max_size=60), min_size=1, max_size=8), st.integers(1, 7))
def test_neighbours_do_not_matter(texts: list[str], ngram: int) -> None:
    """Any slice of any batch gives a document the same signature."""
    permutations = minhash.permutations(1, 19)
    whole = minhash.signatures(*text_bytes(column(texts)), ngram, permutations)[0]
    behind = minhash.signatures(*text_bytes(column(["x y z " * 30, *texts])[1:]), ngram, permutations)[0]
    alone = [minhash.signatures(*text_bytes(column([text])), ngram, permutations)[0][0] for text in texts]
    np.testing.assert_array_equal(whole, behind)
    np.testing.assert_array_equal(whole, alone)


def test_permutations_are_bijections_of_their_seed() -> None:
    first, again, other = minhash.permutations(1, 500), minhash.permutations(1, 500), minhash.permutations(2, 500)
    assert np.all(first[:, 0] & 1)
    np.testing.assert_array_equal(first, again)
    assert not np.any(np.all(first == other, axis=1))
    assert len(np.unique(first[:, 0])) == 500


def test_jaccard_by_hand() -> None:
    #        0: ab bc cd      1: bc cd de    2: the same as 0, twice   3: one word   4: nothing
    texts = ["a b c d", "b c d e", "A, b; c d a b c d".replace("d a", "d ... a"), "a", "--"]
    bounds, hashes = shingle_sets(*text_bytes(column(texts)), 2)
    assert np.diff(bounds).tolist() == [3, 3, 4, 1, 0]  # document 2 has "d a" as well
    left, right = np.array([0, 0, 0, 1, 4, 4, 3]), np.array([0, 1, 2, 2, 4, 0, 3])
    np.testing.assert_allclose(jaccard(hashes, bounds, left, right), [1, 2 / 4, 3 / 4, 2 / 5, 0, 0, 1])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text("abc ", max_size=80), min_size=2, max_size=6), st.integers(1, 4))
def test_sets_are_sorted_distinct_and_those_of_the_definition(texts: list[str], ngram: int) -> None:
    bounds, hashes = shingle_sets(*text_bytes(column(texts)), ngram)
    sets = [hashes[a:b].tolist() for a, b in zip(bounds[:-1], bounds[1:], strict=True)]
    assert sets == [sorted(set(shingles_of(text, ngram))) for text in texts]
    left, right = np.array([0, 1]), np.array([1, 0])
    both, either = set(sets[0]) & set(sets[1]), set(sets[0]) | set(sets[1])
    assert jaccard(hashes, bounds, left, right).tolist() == [len(both) / len(either) if either else 0] * 2


def test_sets_of_real_text() -> None:
    texts = [text for found in real_texts().values() for text in found[:10]]
    bounds, hashes = shingle_sets(*text_bytes(column(texts)), 5)
    for text, a, b in zip(texts, bounds[:-1], bounds[1:], strict=True):
        assert hashes[a:b].tolist() == sorted(set(shingles_of(text, 5)))


def random_pairs(similarity: float, size: int, n_pairs: int) -> tuple[float, np.ndarray, np.ndarray]:
    """Pairs of sets of ``size`` numbers with one exact Jaccard similarity: (it, (M, size), (M, size))."""
    common = round(2 * size * similarity / (1 + similarity))
    drawn = np.random.default_rng(size).integers(0, 26**7, (n_pairs, 2 * size - common))
    return common / (2 * size - common), drawn[:, :size], np.concatenate([drawn[:, :common], drawn[:, size:]], axis=1)


def signed_sets(sets: np.ndarray) -> np.ndarray:
    """Signatures of (M, size) sets of numbers, each number a word of seven letters."""
    letters = np.full((*sets.shape, 8), ord(" "), np.uint8)
    for place in range(7):
        letters[..., place] = ord("a") + sets // 26**place % 26
    offsets = np.arange(len(sets) + 1, dtype=np.int64) * (8 * sets.shape[1])
    return minhash.signatures(letters.reshape(-1), offsets, 1, minhash.permutations(1, P))[0]


@pytest.mark.parametrize("size", [5, 20, 300, 2000])
@pytest.mark.parametrize("similarity", [0.2, 0.5, 0.8, 0.9])
def test_probabilities_are_those_of_theory(similarity: float, size: int) -> None:
    """Equal positions, their variance, bands and sketches: within 4.5 standard errors for pairs of known similarity."""
    n_pairs = 2000 if size < 2000 else 400
    j, left, right = random_pairs(similarity, size, n_pairs)
    a, b = signed_sets(left), signed_sets(right)
    equal: np.ndarray = np.mean(a == b, axis=1)
    assert abs(equal.mean() - j) <= 4.5 * np.sqrt(j * (1 - j) / (P * n_pairs))
    if j < 1:  # the positions are as good as independent: the variance over pairs is binomial
        assert abs(equal.var() / (j * (1 - j) / P) - 1) < 4.5 * np.sqrt(2 / n_pairs)
    shared = np.any(minhash.band_keys(a, BANDS, ROWS) == minhash.band_keys(b, BANDS, ROWS), axis=1).mean()
    expected = 1 - (1 - j**ROWS) ** BANDS
    assert abs(shared - expected) <= 4.5 * np.sqrt(expected * (1 - expected) / n_pairs) + 4.5 / n_pairs
    estimated = minhash.similarity(minhash.sketch(a), minhash.sketch(b)).mean()
    assert abs(estimated - j) <= 4.5 * np.sqrt((j * (1 - j) + 0.01) / (P * n_pairs))


def test_sketches_of_short_documents_differ() -> None:
    """One shingle against another: the bytes of all positions agree by chance only."""
    _, left, right = random_pairs(0, 1, 5000)
    found = minhash.similarity(minhash.sketch(signed_sets(left)), minhash.sketch(signed_sets(right)))
    assert found.max() < 0.1
    assert abs(found.mean()) < 0.01


def test_band_keys_depend_on_their_minima_and_their_number() -> None:
    same = np.full((2, P), 7, np.uint32)
    keys = minhash.band_keys(same, BANDS, ROWS)
    assert keys.shape == (2, BANDS)
    assert keys.dtype == np.uint64
    assert len(np.unique(keys[0])) == BANDS
    for position in range(P):
        changed = same.copy()
        changed[1, position] ^= np.uint32(1 << position % 32)
        other = minhash.band_keys(changed, BANDS, ROWS)
        assert np.flatnonzero(other[0] != other[1]).tolist() == [position // ROWS]
    many = np.random.default_rng(0).integers(0, 50, (20_000, 2), dtype=np.uint32)
    keys = minhash.band_keys(many, 1, 2)
    assert len(np.unique(keys)) == len(np.unique(many, axis=0))
    with pytest.raises(ValueError, match="112 positions"):
        minhash.band_keys(same, 14, 9)


def test_the_scorer_keeps_the_contract() -> None:
    check_scorer(MinHash())
    check_scorer(MinHash(ngram=2, bands=3, rows=5, seed=9))


def test_the_columns_of_the_scorer() -> None:
    texts = ["a b c d e f", None, "", "?!", "A  b.C d e F"]
    found = MinHash().score(pa.record_batch({"text": column(texts)}))
    assert found.schema.names == [*(f"band_{i:02d}" for i in range(14)), "sketch", "n_shingles"]
    assert found.schema.field("sketch").type == pa.binary(112)
    assert found["n_shingles"].to_pylist() == [2, None, None, None, 2]
    for name in found.schema.names:
        values = found[name].to_pylist()
        assert values[1:4] == [None, None, None]
        assert values[0] == values[4] is not None
    keys = minhash.band_keys(signed([texts[0]]), 14, 8)[0].tolist()
    assert [found[f"band_{i:02d}"][0].as_py() for i in range(14)] == keys
    documents = sample_documents()["text"].combine_chunks()
    once, other = (MinHash(seed=seed).score(pa.record_batch({"text": documents})) for seed in (1, 2))
    assert once["band_00"] != other["band_00"]


@pytest.mark.parametrize("options", [{"ngram": 0}, {"bands": 0}, {"rows": -1}, {"bands": 129, "rows": 8}])
def test_settings_that_cannot_be(options: dict[str, int]) -> None:
    with pytest.raises(ConfigError) as error:
        MinHash(**options).check()
    assert next(iter(options)) in error.value.where
    assert error.value.fix


@cache
def planted() -> tuple[list[str], list[str]]:
    """Real English documents, each beside an edited copy of itself or an unrelated document."""
    real = real_texts()
    pool = [" ".join(t.split()) for name, texts in real.items() if not name.startswith(("code", "multi")) for t in texts]
    pool = [t for t in pool if 80 <= len(t.split()) <= 600][:360]
    random = np.random.default_rng(5)
    left, right = [], []
    for i, text in enumerate(pool):
        words = text.split()
        kind = i % 6
        if kind < 4:  # a share of the words changed
            share = (0.01, 0.02, 0.05, 0.10)[kind]
            for k in np.flatnonzero(random.random(len(words)) < share):
                words[k] = f"changed{'abcdefghij'[random.integers(10)]}"
            edited = " ".join(words).upper() if i % 4 == 0 else " ".join(words)
        elif kind == 4:
            edited = " ".join(words[: int(len(words) * random.uniform(0.6, 0.98))])
        else:
            edited = pool[i - 5]
        left.append(text)
        right.append(edited)
    return left, right


def test_candidates_beside_datatrove() -> None:
    """Recall and precision of candidate pairs at J >= 0.8, 14 bands of 8, over ten seeds each: no lower than datatrove's.

    Which pairs are similar is decided by sets of word 5-grams of datatrove's normaliser. The seeds are fixed; theory
    says what recall to expect of either.
    """
    signature = pytest.importorskip("datatrove.pipeline.dedup.minhash")
    simplify_text = pytest.importorskip("datatrove.utils.text").simplify_text
    left, right = planted()

    def grams(text: str) -> list[str]:
        words = simplify_text(text).split()
        return [" ".join(words[i : i + 5]) for i in range(len(words) - 4)]

    sets = [(set(grams(a)), set(grams(b))) for a, b in zip(left, right, strict=True)]
    j = np.array([len(a & b) / len(a | b) for a, b in sets])
    similar = j >= 0.8
    assert similar.sum() > 80
    assert (j < 0.05).sum() > 50
    hash_of = signature.create_hash_func(signature.HashConfig())
    theirs, ours = np.zeros(len(j)), np.zeros(len(j))
    hashed = [
        [np.array([hash_of(g.encode()) for g in sorted(grams(t))], np.uint64).reshape(-1, 1) for t in texts] for texts in (left, right)
    ]
    for seed in range(10):
        stage = signature.MinhashDedupSignature.__new__(signature.MinhashDedupSignature)
        stage.config, stage.num_hashes, stage._parameters = signature.MinhashConfig(seed=seed), P, None
        pairs = zip(*([stage.get_signature(s) for s in side] for side in hashed), strict=True)
        theirs += [any(x == y for x, y in zip(a, b, strict=True)) for a, b in pairs]
        permutations = minhash.permutations(seed, P)
        keys = [minhash.band_keys(minhash.signatures(*text_bytes(column(t)), 5, permutations)[0], BANDS, ROWS) for t in (left, right)]
        ours += np.any(keys[0] == keys[1], axis=1)
    recall = [found[similar].sum() / (10 * similar.sum()) for found in (ours, theirs)]
    precision = [found[similar].sum() / found.sum() for found in (ours, theirs)]
    expected = 1 - (1 - j**ROWS) ** BANDS
    error = np.sqrt(np.sum((expected * (1 - expected))[similar]) / 10) / similar.sum()
    assert recall[0] >= recall[1]
    assert abs(recall[0] - expected[similar].mean()) < 4 * error
    assert precision[0] >= precision[1]
    assert ours[j < 0.05].sum() == 0
