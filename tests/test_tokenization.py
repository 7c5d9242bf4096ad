"""The fast encoder gives the ids of the ``tokenizers`` library, on everything."""

from __future__ import annotations

import base64
import gzip
import json
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tokenizers
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

import curate
from curate.kernels.unicode_classes import CL100K_PATTERN, LETTERS, NUMBERS, QWEN2_PATTERN, SPACES, runs
from curate.tokenization import Tokenizer, byte_bpe, train_bpe

SMALL = Path(__file__).parents[2] / "shared" / "data" / "ci_small"
SOURCES = [path.read_text() for path in sorted(Path(curate.__file__).parent.rglob("*.py"))]
EXTRA = [
    "Ein Mädchen läuft über die Straße. " * 20,
    "日本語のテキストです。中文文本。" * 20,
    "Привет, мир! " * 20,
    "it's we've don't I'M 2024 " * 20,
]


def byte_level(use_regex: bool) -> dict:
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": use_regex}


def split_by(pattern: str) -> dict:
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    return {"type": "Sequence", "pretokenizers": [split, byte_level(False)]}


def changed(tokenizer: Tokenizer, **parts) -> Tokenizer:
    """The same tokenizer with other parts of its file."""
    described = json.loads(tokenizer.content)
    described["model"]["ignore_merges"] = parts.pop("ignore_merges", False)
    return Tokenizer(json.dumps(described | parts).encode())


@pytest.fixture(scope="session")
def gpt2() -> Tokenizer:
    return train_bpe(SOURCES + EXTRA, 2000)


@pytest.fixture(scope="session")
def kinds(gpt2) -> dict[str, Tokenizer]:
    return {
        "gpt2": gpt2,
        "llama3": changed(gpt2, pre_tokenizer=split_by(CL100K_PATTERN), ignore_merges=True),
        "qwen2": changed(gpt2, pre_tokenizer=split_by(QWEN2_PATTERN), normalizer={"type": "NFC"}),
    }


def reference(tokenizer: Tokenizer, texts: list[str]) -> list[list[int]]:
    library = tokenizers.Tokenizer.from_str(tokenizer.content.decode())
    library.encode_special_tokens = True
    return [e.ids for e in library.encode_batch(texts, add_special_tokens=False)]


def ours(tokenizer: Tokenizer, texts: list[str]) -> list[list[int]]:
    array = pa.array(texts, pa.large_string())
    ids, offsets = tokenizer.encode_arrow(array)
    assert ids.dtype == np.int32 and offsets.dtype == np.int64 and offsets[0] == 0 and offsets[-1] == len(ids)
    assert tokenizer.count(array).tolist() == np.diff(offsets).tolist()
    return [ids[a:b].tolist() for a, b in zip(offsets[:-1], offsets[1:], strict=True)]


WHITE = " \t\n\r\x0b\x0c\x1c\x85\xa0\u2028\u3000\u180e\u200b\x00"
AWKWARD = st.sampled_from(list(WHITE + "'aAsSſtreRvelLİdDm1²Ⅷ٣.,(-_中ก\u0301\u0345é가👩\u200d\ufeff\ufffd"))
PIECES = ["'s", "'LL", " the", "  ", "\n\n", "def ", "1234", "…", " 'ſ", "ß", "aaaa", "<|endoftext|>"]
TEXT = st.one_of(
    st.text(AWKWARD, max_size=60),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
    st.lists(st.sampled_from(PIECES), max_size=20).map("".join),
)


@pytest.mark.parametrize("kind", ["gpt2", "llama3", "qwen2"])
@settings(max_examples=400, deadline=None)
@given(texts=st.lists(TEXT, max_size=6))
def test_any_text_has_the_library_ids(kinds, kind, texts):
    assert kinds[kind].slow_because == ""
    assert ours(kinds[kind], texts) == reference(kinds[kind], texts)


@pytest.mark.parametrize("kind", ["gpt2", "llama3", "qwen2"])
def test_every_code_point_has_the_library_ids(kinds, kind):
    points = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000 and not 0x40000 <= c < 0xE0000]
    texts = [f"{a}b {a}1{a}" for a in points[::13]] + ["".join(points[i : i + 50]) for i in range(0, len(points), 600)]
    assert ours(kinds[kind], texts) == reference(kinds[kind], texts)


@pytest.mark.parametrize(("pattern", "packed"), [(r"\p{L}+", LETTERS), (r"\p{N}+", NUMBERS), (r"\s+", SPACES)])
def test_character_classes_are_those_of_the_library(pattern, packed):
    points = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    split = tokenizers.pre_tokenizers.Split(tokenizers.Regex(pattern), "removed", invert=True)
    found = [(points[a], points[b - 1] + 1) for _, (a, b) in split.pre_tokenize_str("".join(map(chr, points)))]
    assert found == [tuple(run) for run in runs(packed).tolist()]


def test_merges_by_rank_then_leftmost():
    vocabulary = {character: i for i, character in enumerate(byte_bpe.byte_characters())}
    for word in ("ab", "bc", "abc", "aa", "aaaa"):
        vocabulary[word] = len(vocabulary)
    merges = [["b", "c"], ["a", "b"], ["a", "bc"], ["a", "a"], ["aa", "aa"]]
    described = {"version": "1.0", "added_tokens": [], "model": {"type": "BPE", "vocab": vocabulary, "merges": merges}}
    tokenizer = Tokenizer(json.dumps(described | {"pre_tokenizer": byte_level(True)}).encode())
    assert tokenizer.slow_because == ""
    a, b, c = (vocabulary[x] for x in "abc")
    expected = {"abc": [vocabulary["abc"]], "ab": [vocabulary["ab"]], "cab": [c, vocabulary["ab"]], "abcb": [vocabulary["abc"], b]}
    expected |= {"aaa": [vocabulary["aa"], a], "aaaaa": [vocabulary["aaaa"], a], "ccb": [c, c, b]}
    assert ours(tokenizer, list(expected)) == list(expected.values())
    three = [vocabulary["aa"], a]
    runs_of_a = {47: [vocabulary["aaaa"]] * 11 + three, 48: [vocabulary["aaaa"]] * 12, 63: [vocabulary["aaaa"]] * 15 + three}
    assert ours(tokenizer, ["a" * n for n in runs_of_a]) == list(runs_of_a.values())


def test_megabyte_words_end(gpt2):
    noise = base64.b64encode(np.random.default_rng(0).bytes(750_000)).decode()
    texts = ["a" * 1_000_000, noise, " " * 300_000, "\n" * 300_000 + "x"]
    assert ours(gpt2, texts) == reference(gpt2, texts)


def test_words_around_the_length_where_the_method_changes(gpt2):
    rng = np.random.default_rng(1)
    texts = ["".join(rng.choice(list("etaoinshé"), n)) for n in range(1, 200)]
    assert ours(gpt2, texts) == reference(gpt2, texts)


def test_a_table_of_recent_words_that_is_full_changes_nothing(gpt2, monkeypatch):
    monkeypatch.setattr(byte_bpe, "N_RECENT_SLOTS", 16)
    small = Tokenizer(gpt2.content)
    assert ours(small, SOURCES) == reference(gpt2, SOURCES)


def test_special_tokens_in_a_document_are_ordinary_text(gpt2):
    assert len(ours(gpt2, ["<|endoftext|>"])[0]) > 1
    assert gpt2.separator_id() not in ours(gpt2, ["a<|endoftext|>b"])[0]


def test_added_tokens_that_are_not_special_stay_whole(gpt2):
    added = {"id": 2000, "content": "<think>", "special": False}
    added |= dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    tokenizer = changed(gpt2, added_tokens=[*json.loads(gpt2.content)["added_tokens"], added])
    texts = ["plain", "a <think> b", "<thin", "", "x<think>", "plain again"]
    assert tokenizer.slow_because == "" and tokenizer.vocab_size == 2001
    assert ours(tokenizer, texts) == reference(tokenizer, texts)
    assert 2000 in ours(tokenizer, texts)[1]


def test_nothing_is_added_or_cut(gpt2):
    template = tokenizers.processors.TemplateProcessing(single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", 0)])
    library = tokenizers.Tokenizer.from_str(gpt2.content.decode())
    library.post_processor = template
    library.enable_truncation(2)
    library.enable_padding(length=50)
    assert ours(Tokenizer(library.to_str().encode()), SOURCES[:2]) == ours(gpt2, SOURCES[:2])


@pytest.mark.parametrize(
    "parts",
    [
        {"pre_tokenizer": byte_level(True) | {"add_prefix_space": True}},
        {"pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}},
        {"pre_tokenizer": None},
        {"pre_tokenizer": split_by(r"\w+|\s+")},
        {"normalizer": {"type": "Lowercase"}},
    ],
)
def test_other_kinds_go_to_the_library_and_say_why(gpt2, parts):
    tokenizer = changed(gpt2, **parts)
    assert tokenizer.slow_because
    texts = [*EXTRA, "", "Hello  World\n"]
    assert ours(tokenizer, texts) == reference(tokenizer, texts)


def test_another_model_goes_to_the_library():
    library = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0, "b": 1, "?": 2}, unk_token="?"))
    library.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer = Tokenizer(library.to_str().encode())
    assert "WordLevel" in tokenizer.slow_because
    assert ours(tokenizer, ["a b", "c", ""]) == [[0, 1], [2], []]


def test_a_kernel_that_disagrees_is_not_used(gpt2, monkeypatch):
    right = byte_bpe.ByteBpe.encode

    def wrong(self, data, bounds, write):
        ids, offsets = right(self, data, bounds, write)
        ids[-1] += 1
        return ids, offsets

    monkeypatch.setattr(byte_bpe.ByteBpe, "encode", wrong)
    tokenizer = Tokenizer(gpt2.content)
    assert "differ" in tokenizer.slow_because
    assert ours(tokenizer, EXTRA) == reference(gpt2, EXTRA)


def test_nulls_slices_and_batches(gpt2):
    array = pa.array([*EXTRA, None, "", "x y"], pa.large_string())
    whole = gpt2.count(array)
    assert whole[len(EXTRA)] == 0
    assert whole[3:6].tolist() == gpt2.count(array[3:6]).tolist()
    one_by_one = [gpt2.encode_arrow(array[i : i + 1])[0] for i in range(len(array))]
    assert np.concatenate(one_by_one).tolist() == gpt2.encode_arrow(array)[0].tolist()
    assert gpt2.count(pa.array(EXTRA, pa.string())).tolist() == whole[: len(EXTRA)].tolist()
    assert gpt2.encode_arrow(pa.array([], pa.large_string()))[1].tolist() == [0]


def test_threads_share_a_tokenizer(gpt2):
    array = pa.array(SOURCES, pa.large_string())
    expected = gpt2.encode_arrow(array)[0].tolist()
    with ThreadPoolExecutor(4) as pool:
        assert all(ids.tolist() == expected for ids, _ in pool.map(gpt2.encode_arrow, [array] * 8))


def test_travels_to_a_worker(gpt2):
    copy = pickle.loads(pickle.dumps(gpt2))
    assert copy.fingerprint == gpt2.fingerprint and ours(copy, EXTRA) == ours(gpt2, EXTRA)


def documents_of(path: Path) -> list[str]:
    if path.is_dir():
        return [p.read_bytes().decode("utf-8-sig") for p in sorted(path.glob("*.txt"))]
    if path.suffix == ".parquet":
        return pq.read_table(path, columns=["text"])["text"].to_pylist()
    packed = path.read_bytes()
    raw = gzip.decompress(packed) if path.suffix == ".gz" else zstandard.ZstdDecompressor().stream_reader(packed).read()
    return [json.loads(line)["text"] for line in raw.split(b"\n") if line]


@pytest.mark.skipif(not SMALL.exists(), reason="the shared sample of real domains is not on this machine")
@pytest.mark.parametrize("kind", ["gpt2", "llama3", "qwen2"])
def test_real_domains_have_the_library_ids(kinds, kind):
    paths = [path for path in sorted(SMALL.iterdir()) if not path.name.startswith("_")]
    assert len(paths) == 13
    for path in paths:
        texts = [text[:40_000] for text in documents_of(path)]
        assert ours(kinds[kind], texts) == reference(kinds[kind], texts), path.name
