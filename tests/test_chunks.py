"""Chunks: joined they are the page, none is too long, and cuts stand where tokens end."""

from __future__ import annotations

from functools import cache

import pyarrow as pa
import pytest
import tokenizers
from causal_models import tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st
from real_documents import documents_by_domain

from curate.evidence.chunks import Chunker, ChunkRule, chunker
from curate.tokenization import Tokenizer

WORDS = "the court holds that any party may stir the onion until golden"


def n_tokens(made: Tokenizer, pieces: list[str]) -> list[int]:
    return made.count(pa.array(pieces, pa.large_string())).tolist()


@cache
def unigram() -> Tokenizer:
    """As sentencepiece models are: a space is put before a text and is part of the word after it, and spaces are squeezed."""
    pieces = [("<unk>", 0.0), ("▁", -3.0), *((c, -4.0) for c in "abcdefghijklmnopqrstuvwxyz"), ("▁the", -2.0), ("on", -2.0), ("▁co", -2.0)]
    made = tokenizers.Tokenizer(tokenizers.models.Unigram(pieces, 0, byte_fallback=False))
    made.normalizer = tokenizers.normalizers.Sequence([tokenizers.normalizers.Strip(), tokenizers.normalizers.NFKC()])
    made.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    return Tokenizer(made.to_str().encode())


def test_pieces_of_single_characters_are_cut_by_counting() -> None:
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel({c: i for i, c in enumerate("abcdefg?")}, "?"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Split("", "isolated")
    cut = Chunker(Tokenizer(made.to_str().encode()), 4).cut  # three, and the begin token
    assert cut(["abcdefg", "abc", "", "abcd"]) == [["abc", "def", "g"], ["abc"], [""], ["abc", "d"]]


def test_a_cut_stands_where_a_token_ends() -> None:
    made = tokenizer()
    every = made.pieces(WORDS)
    first, *_ = Chunker(made, 6).cut([WORDS])[0]
    assert first == "".join(every[:5])


@pytest.mark.parametrize("make", [tokenizer, unigram])
@settings(deadline=None, max_examples=150)
@given(texts=st.lists(st.text(max_size=60), min_size=1, max_size=4), tokens=st.integers(2, 12))
def test_joined_they_are_the_text_and_none_is_too_long(make, texts: list[str], tokens: int) -> None:
    found = Chunker(make(), tokens).cut(texts)
    assert ["".join(pieces) for pieces in found] == texts
    for text, pieces in zip(texts, found, strict=True):
        assert all(pieces) or pieces == [""] == [text]
        for piece, n in zip(pieces, n_tokens(make(), pieces), strict=True):
            # A character is never parted, nor what the tokenizer takes for one: a letter with its accents.
            assert n <= tokens - 1 or _is_one(make(), piece), (piece, n)


def _is_one(made: Tokenizer, piece: str) -> bool:
    """Whether no token of the piece ends where the next begins."""
    spans = tokenizers.Tokenizer.from_str(made.content.decode()).encode(piece, add_special_tokens=False).offsets
    return not any(0 < a[1] <= b[0] for a, b in zip(spans, spans[1:], strict=False))


def test_an_emoji_of_more_tokens_than_fit_stands_alone() -> None:
    made = tokenizer()
    assert n_tokens(made, ["🧅"]) == [4]
    assert Chunker(made, 3).cut(["a🧅b"]) == [["a", "🧅", "b"]]


def test_texts_handed_over_in_several_batches_are_cut_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Chunker(tokenizer(), 5)
    together = made.cut([WORDS, "", WORDS[::-1]])
    monkeypatch.setattr("curate.evidence.chunks.AT_ONCE_BYTES", 10)
    assert made.cut([WORDS, "", WORDS[::-1]]) == together


def test_real_pages(ci_small, tmp_path) -> None:
    (tmp_path / "tokenizer.json").write_bytes(tokenizer().content)
    pages = [text for some in documents_by_domain(ci_small, 3, 3000).values() for text in some]
    found = chunker(ChunkRule(str(tmp_path), 128)).cut(pages)
    assert ["".join(pieces) for pieces in found] == pages
    sizes = [n_tokens(tokenizer(), pieces) for pieces in found]
    assert max(map(max, sizes)) <= 127
    whole = [n for pieces in sizes for n in pieces[:-1]]
    assert len(whole) > 100
    assert sum(whole) / len(whole) > 120
