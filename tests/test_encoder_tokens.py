"""Cutting documents to the tokens an encoder reads of them: always the first ones of the whole text."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import tokenizers
from encoder_models import tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import models, pre_tokenizers, trainers

from curate.sentence_encoder import tokens
from curate.sentence_encoder.tokens import DocumentTokens
from curate.tokenization import Tokenizer, train_bpe
from pipelines import texts


@st.composite
def documents(draw: st.DrawFn) -> list[str]:
    """Texts of words, runs of odd spaces, long words, and marks that join what stands before them."""
    words = ["the", "quick", "über", "字", "naïve", "3.14", "don't", "12345", "'''", "。", ");", "_x_", "...", "fox's", "x" * 90, "字" * 40]
    spaces = [" ", " ", "\n", "\r\n", "\n\n", "\u00a0 ", " \u0301", "\t"]
    piece = st.sampled_from([*words, *spaces])
    return draw(st.lists(st.lists(piece, max_size=60).map("".join), min_size=1, max_size=4))


def library_ids(made: Tokenizer, text: str) -> list[int]:
    library = tokenizers.Tokenizer.from_str(made.content.decode())
    library.no_truncation()
    library.no_padding()
    library.encode_special_tokens = True
    return list(library.encode(text).ids)


def joined() -> Tokenizer:
    """A BPE whose words may be punctuation and the line ends behind it, as those of recent models are."""
    pattern = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    split = pre_tokenizers.Split(tokenizers.Regex(pattern), "isolated")
    library = tokenizers.Tokenizer(models.BPE())
    library.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    given_texts = ["...\n\n the _x_\r\n'''\n  fox's\t\n 12345"] * 5 + texts(20, 99)
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    library.train_from_iterator(given_texts, trainer)
    return Tokenizer(library.to_str().encode())


TOKENIZERS = {"wordpiece": tokenizer(), "bpe": train_bpe(texts(60, 99), 320), "joined": joined()}


@pytest.mark.parametrize("kind", TOKENIZERS)
@settings(max_examples=150, deadline=None)
@given(given_texts=documents(), max_length=st.integers(5, 30), prefix=st.sampled_from(["", "query: "]))
def test_tokens_are_the_first_ones_of_the_whole_document(kind: str, given_texts: list[str], max_length: int, prefix: str) -> None:
    made = TOKENIZERS[kind]
    reader = DocumentTokens(made, max_length, prefix)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tokens, "BYTES_PER_TOKEN", 2)  # so that much is decided near a cut
        patch.setattr(tokens, "LEAST_FURTHER", 400)
        found = reader.encode(pa.array(given_texts, pa.large_string()))
    for i, text in enumerate(given_texts):
        ids = found.ids[found.offsets[i] : found.offsets[i + 1]].tolist()
        whole = library_ids(made, prefix + text)
        if len(library_ids(made, text)) == len(reader.head) + len(reader.tail):
            assert ids == []
            continue
        n_tail = len(reader.tail)
        cut = whole[: max_length - n_tail] + whole[len(whole) - n_tail :] if len(whole) > max_length else whole
        assert (ids, bool(found.truncated[i])) == (cut, len(whole) > max_length)


def test_a_long_document_costs_no_more_than_its_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    made, seen = tokenizer(), []
    encode = made.encode_arrow
    reader = DocumentTokens(made, 32)
    monkeypatch.setattr(Tokenizer, "encode_arrow", lambda self, text: seen.append(len("".join(text.to_pylist()))) or encode(text))
    found = reader.encode(pa.array(["a word of it " * 800_000, "short"], pa.large_string()))
    assert np.diff(found.offsets)[0] == 32 and found.truncated.tolist() == [True, False]
    assert sum(seen) <= tokens.BYTES_PER_TOKEN * 32 + len("short")


@pytest.mark.parametrize("line", ["他们在城市里走来走去，看见了许多人。\n", "foo(bar);\n", "the 。" + "他们在城市里走来走去" * 300 + "\n"])
@pytest.mark.parametrize("kind", TOKENIZERS)
def test_a_long_document_without_a_safe_place_to_cut_costs_little_more_than_its_beginning(
    kind: str, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, seen, length = TOKENIZERS[kind], [], 100
    encode, text = made.encode_arrow, line * (60_000 // len(line))
    reader = DocumentTokens(made, length)
    monkeypatch.setattr(Tokenizer, "encode_arrow", lambda self, text: seen.append(text.nbytes) or encode(text))
    assert_first_of_the_whole(reader, made, text, length)
    assert sum(seen) < 20 * tokens.BYTES_PER_TOKEN * length < len(text.encode())


def assert_first_of_the_whole(reader: DocumentTokens, made: Tokenizer, text: str, max_length: int) -> None:
    found, whole, n_tail = reader.encode(pa.array([text], pa.large_string())), library_ids(made, text), len(reader.tail)
    cut = whole[: max_length - n_tail] + whole[len(whole) - n_tail :] if len(whole) > max_length else whole
    assert found.ids.tolist() == cut and found.truncated.tolist() == [len(whole) > max_length]


@pytest.mark.parametrize(
    "text", ["'''" + "x" * 30_000, "." + "9" * 20_003, ";" * 20_000 + "\u0301", "\n" * 20_000 + ";", "(x" * 12_000, "(;x" * 6 + "y" * 9000]
)
@pytest.mark.parametrize("kind", TOKENIZERS)
def test_signs_that_depend_on_what_is_far_behind_them_are_read_as_in_the_whole(kind: str, text: str) -> None:
    for length in (20, 21, 22):
        assert_first_of_the_whole(DocumentTokens(TOKENIZERS[kind], length), TOKENIZERS[kind], text, length)


def test_figures_grouped_from_the_end_of_a_number_are_those_of_the_whole() -> None:
    names = [f"{i:0{n}}" for n in (1, 2, 3) for i in range(10**n)]
    library = tokenizers.Tokenizer(models.WordLevel({name: i for i, name in enumerate([*names, "?"])}, unk_token="?"))
    library.pre_tokenizer = pre_tokenizers.Split(tokenizers.Regex(r"\d{1,3}(?=(\d{3})*$)"), "isolated")
    made, text = Tokenizer(library.to_str().encode()), "".join(str(i * 7 % 10) for i in range(3001))
    for length in (24, 25, 26):  # cuts of which some are a multiple of 3, as the whole is not
        assert_first_of_the_whole(DocumentTokens(made, length), made, text, length)


def test_a_slice_of_a_column_has_its_own_tokens() -> None:
    reader, column = DocumentTokens(tokenizer(), 20), pa.array(texts(6, 3, (3, 40)), pa.large_string())
    all_of_it, part = reader.encode(column), reader.encode(column.slice(2, 3))
    assert part.ids.tolist() == all_of_it.ids[all_of_it.offsets[2] : all_of_it.offsets[5]].tolist()


def test_literal_special_tokens_are_ordinary_text() -> None:
    reader = DocumentTokens(tokenizer(), 40)
    ids = reader.encode(pa.array(["[PAD] [SEP] a"], pa.large_string())).ids.tolist()
    assert ids.count(0) == 0 and ids.count(int(reader.tail[0])) == 1
