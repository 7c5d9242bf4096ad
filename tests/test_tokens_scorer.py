"""The scorer ``tokens``: exact counts, estimates with their error, and a state that holds the tokenizer."""

from __future__ import annotations

import json
import math
import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from curate.errors import ConfigError, InputError
from curate.scorers.tokens import Tokens, tokens_per_byte
from curate.tokenization import Tokenizer, train_bpe

TEXTS = ["the cat sat on the mat", "a hat", "the end of the story, at last", "x" * 90, "", "ключ и дом"]
DOMAINS = ["prose", "prose", "prose", "noise", "noise", "other"]


def sample_of(texts=TEXTS, domains=DOMAINS) -> pa.Table:
    return pa.table({"text": pa.array(texts, pa.large_string()), "domain": pa.array(domains).dictionary_encode()})


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_bpe(TEXTS, 280)


@pytest.fixture
def named(tokenizer, tmp_path) -> str:
    (tmp_path / "given").mkdir()
    (tmp_path / "given" / "tokenizer.json").write_bytes(tokenizer.content)
    return str(tmp_path / "given")


def fitted(scorer: Tokens, state: Path, sample: pa.Table | None = None) -> Tokens:
    state.mkdir()
    scorer.check()
    scorer.fit(sample if sample is not None else sample_of(), state)
    scorer.load(state)
    return scorer


def test_counts_what_the_tokenizer_counts(named, tokenizer, tmp_path):
    scorer = fitted(Tokens(tokenizer=named), tmp_path / "state")
    text = pa.array([*TEXTS, None], pa.large_string())
    scored = scorer.score(pa.record_batch({"text": text}))
    assert scored.schema == scorer.outputs
    assert scored["n_tokens"].to_pylist() == [*tokenizer.count(text[:-1]).tolist(), None]
    assert scorer.score(pa.record_batch({"text": text[:0]})).num_rows == 0


def test_the_state_holds_the_tokenizer_itself(named, tokenizer, tmp_path):
    fitted(Tokens(tokenizer=named), tmp_path / "state")
    assert Tokenizer.open(tmp_path / "state").fingerprint == tokenizer.fingerprint
    assert Tokens(tokenizer=named).artifacts() == (Path(named) / "tokenizer.json",)


def test_trains_where_none_is_given_and_repeats(tmp_path):
    for name in ("one", "two"):
        fitted(Tokens(vocab_size=265), tmp_path / name)
    for file in ("tokenizer.json", "estimate.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    assert Tokenizer.open(tmp_path / "one").vocab_size == 265
    assert Tokens().artifacts() == ()


def test_measures_on_documents_it_did_not_train_on(tmp_path):
    texts = ["zebra zebra zebra" if i % 4 == 3 else "apple apple apple" for i in range(16)] + ["few few"]
    scorer = fitted(Tokens(vocab_size=300), tmp_path / "state", sample_of(texts, ["big"] * 16 + ["few"]))
    estimate = json.loads((tmp_path / "state" / "estimate.json").read_text())
    vocabulary = json.loads((tmp_path / "state" / "tokenizer.json").read_text())["model"]["vocab"]
    assert "apple" in vocabulary and "few" in vocabulary and "zebra" not in vocabulary
    assert estimate["domains"]["big"]["n_documents"] == 4 and estimate["domains"]["big"]["tokens_per_byte"] > 0.9
    assert estimate["measured_on_training_text"] == ["few"]
    assert scorer.score(pa.record_batch({"text": pa.array(["apple"], pa.large_string())}))["n_tokens"].to_pylist() == [1]


def test_ratio_and_its_error_by_hand(tokenizer):
    text = pa.array(["aa", "aaaa", "b"], pa.large_string())
    counts = tokenizer.count(text)
    measured = tokens_per_byte(tokenizer, text, pa.array(["d", "d", "e"]))
    t, b = counts[:2], np.array([2, 4])
    ratio = t.sum() / 6
    error = math.sqrt(2 / 1 * ((t[0] - ratio * b[0]) ** 2 + (t[1] - ratio * b[1]) ** 2)) / 6
    found = measured["domains"]["d"]
    assert found["tokens_per_byte"] == pytest.approx(ratio) and found["standard_error"] == pytest.approx(error)
    assert (found["n_documents"], found["n_bytes"], found["n_tokens"]) == (2, 6, t.sum())
    assert measured["domains"]["e"]["standard_error"] is None
    assert measured["all"]["n_bytes"] == 7 and measured["tokenizer"] == tokenizer.fingerprint


def test_estimates_from_sizes_alone(named, tmp_path):
    scorer = fitted(Tokens(tokenizer=named, mode="estimate"), tmp_path / "state")
    assert scorer.inputs == ("n_bytes", "domain") and Tokens().inputs == ("text",)
    ratios = json.loads((tmp_path / "state" / "estimate.json").read_text())
    domains = pa.array(["prose", "unseen", None, "noise"]).dictionary_encode()
    batch = pa.record_batch({"n_bytes": pa.array([1000, 1000, 1000, None], pa.int64()), "domain": domains})
    overall = round(1000 * ratios["all"]["tokens_per_byte"])
    expected = [round(1000 * ratios["domains"]["prose"]["tokens_per_byte"]), overall, overall, None]
    assert scorer.score(batch)["n_tokens"].to_pylist() == expected
    plain = pa.record_batch({"n_bytes": batch["n_bytes"], "domain": domains.cast(pa.string())})
    assert scorer.score(plain).equals(scorer.score(batch))
    assert scorer.score(batch[:0]).num_rows == 0


def test_the_error_covers_the_truth(tokenizer):
    """Of 200 samples, about 95 % of the ratios lie within two standard errors of the population's."""
    rng = np.random.default_rng(0)
    words = ["the", "cat", "hat", "end", "story", "quux", "zzz"]
    population = [" ".join(rng.choice(words, rng.integers(3, 60), p=rng.dirichlet(np.ones(7)))) for _ in range(3000)]
    text = pa.array(population, pa.large_string())
    truth = tokens_per_byte(tokenizer, text, pa.array(["d"] * 3000))["all"]["tokens_per_byte"]
    inside = 0
    for _ in range(200):
        rows = pa.array(rng.choice(3000, 80, replace=False))
        found = tokens_per_byte(tokenizer, text.take(rows), pa.array(["d"] * 80))["all"]
        inside += abs(found["tokens_per_byte"] - truth) <= 2 * found["standard_error"]
    assert 180 <= inside <= 200


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"mode": "guess"}, ConfigError),
        ({"vocab_size": 256}, ConfigError),
        ({"sample_bytes": 0}, ConfigError),
        ({"tokenizer": "./nowhere/tokenizer.json"}, InputError),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, error):
    with pytest.raises(error):
        Tokens(**settings).check()


def test_without_state_only_a_named_tokenizer_counts(named):
    scorer = Tokens(tokenizer=named)
    scorer.load(None)
    assert scorer.score(pa.record_batch({"text": pa.array(["a"], pa.large_string())})).num_rows == 1
    for unlearned in (Tokens(), Tokens(tokenizer=named, mode="estimate")):
        with pytest.raises(InputError):
            unlearned.load(None)


def test_travels_to_a_worker(named, tmp_path):
    scorer = fitted(Tokens(tokenizer=named), tmp_path / "state")
    batch = pa.record_batch({"text": pa.array(TEXTS, pa.large_string())})
    assert pickle.loads(pickle.dumps(scorer)).score(batch).equals(scorer.score(batch))
