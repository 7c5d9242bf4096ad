"""Names lead to tokenizers, training repeats exactly, and what is wrong is said."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import huggingface_hub
import pyarrow as pa
import pytest

from curate.errors import ConfigError, InputError
from curate.tokenization import END_OF_TEXT, Tokenizer, train_bpe

TEXTS = ["the cat sat on the mat, and that was that", "a cat and a hat", "it's the cat's hat"] * 5


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_bpe(TEXTS, 300)


def test_opens_a_file_and_a_directory(tokenizer, tmp_path):
    (tmp_path / "tokenizer.json").write_bytes(tokenizer.content)
    for name in (tmp_path, str(tmp_path), tmp_path / "tokenizer.json"):
        opened = Tokenizer.open(name)
        assert opened.content == tokenizer.content and opened.fingerprint == tokenizer.fingerprint
        assert opened.vocab_size == tokenizer.vocab_size


def test_fingerprint_follows_content(tokenizer):
    described = json.loads(tokenizer.content)
    described["model"]["merges"] = described["model"]["merges"][:-1]
    assert Tokenizer(json.dumps(described).encode()).fingerprint != tokenizer.fingerprint


@pytest.mark.parametrize("name", ["./nowhere/tokenizer.json", "/nowhere", "nowhere.json", "a/b/c", "../x"])
def test_a_missing_path_is_told(name, monkeypatch):
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *a, **k: pytest.fail("a path must not be asked of the hub"))
    with pytest.raises(InputError, match="no tokenizer at this path"):
        Tokenizer.open(name)


def test_a_directory_without_a_tokenizer_is_told(tmp_path):
    with pytest.raises(InputError, match="no tokenizer at this path"):
        Tokenizer.open(tmp_path)


@pytest.mark.parametrize("content", [b"", b"version https://git-lfs", b"\xff\xfe", b'{"model": {"type": "BPE"}}', b"[]"])
def test_a_corrupt_file_is_told(content, tmp_path):
    (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(InputError, match="no tokenizer") as caught:
        Tokenizer.open(tmp_path)
    assert str(tmp_path) in caught.value.where and caught.value.fix


def test_a_hub_id_is_fetched_once(tokenizer, tmp_path, monkeypatch):
    (tmp_path / "tokenizer.json").write_bytes(tokenizer.content)
    asked = []

    def download(repository, name, **options):
        asked.append((repository, name, options))
        if options.get("local_files_only"):
            raise FileNotFoundError("not cached")
        return str(tmp_path / "tokenizer.json")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    assert Tokenizer.open("owner/some-model").fingerprint == tokenizer.fingerprint
    assert asked == [("owner/some-model", "tokenizer.json", {"local_files_only": True}), ("owner/some-model", "tokenizer.json", {})]


def test_a_hub_that_does_not_answer_is_told(monkeypatch):
    def download(*_, **__):
        raise ConnectionError("offline")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    with pytest.raises(InputError, match="hub did not give it"):
        Tokenizer.open("gpt2")


def test_separator(tokenizer):
    assert tokenizer.separator_id() == tokenizer.separator_id(END_OF_TEXT) == 0
    assert tokenizer.separator_id("a") > 0
    with pytest.raises(ConfigError, match="no token '<nope>'") as caught:
        tokenizer.separator_id("<nope>")
    assert END_OF_TEXT in caught.value.expected


def test_a_vocabulary_without_separator_is_told(tokenizer):
    described = json.loads(tokenizer.content) | {"added_tokens": []}
    del described["model"]["vocab"][END_OF_TEXT]
    with pytest.raises(ConfigError, match="no token to end documents with"):
        Tokenizer(json.dumps(described).encode()).separator_id()


def test_training_learns_the_most_frequent_pair_first():
    described = json.loads(train_bpe(["abab abab abab cd"], 258).content)
    assert described["model"]["merges"] == [["a", "b"]]
    assert described["model"]["vocab"][END_OF_TEXT] == 0
    assert len(described["model"]["vocab"]) == 258


def test_training_on_nothing_keeps_the_bytes():
    tokenizer = train_bpe([], 1000)
    assert tokenizer.vocab_size == 257
    assert tokenizer.count(pa.array(["héllo"], pa.large_string())).tolist() == [6]


def test_a_vocabulary_too_small_is_told():
    with pytest.raises(ConfigError, match="cannot hold every byte"):
        train_bpe(TEXTS, 256)


def test_training_repeats_in_any_process_with_any_number_of_threads():
    program = """
import numpy as np
from curate.tokenization import train_bpe
rng = np.random.default_rng(0)
texts = [" ".join("".join(rng.choice(list("abcdefgh"), rng.integers(1, 9))) for _ in range(60)) for _ in range(300)]
print(train_bpe(texts, 2000).fingerprint)
"""
    found = set()
    for threads in ("1", "4"):
        environment = os.environ | {"RAYON_NUM_THREADS": threads, "PYTHONHASHSEED": threads, "TOKENIZERS_PARALLELISM": "true"}
        found.add(subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True).stdout)
    assert len(found) == 1 and found != {""}
