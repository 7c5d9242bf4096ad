"""Documents as token streams: what begins them, what is counted, which documents a stretch belongs to."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from proxy_training import START, documents, tokenizer

from curate.errors import InputError
from curate.hashing import doc_id
from curate.proxy import Streams, streams
from pipelines import texts


def encoded(text: str) -> list[int]:
    return tokenizer().encode_arrow(pa.array([text], pa.large_string()))[0].tolist()


def plainly(column: list[str]) -> list[int]:
    """The start token before each document's tokens, one document after the other."""
    return [token for text in column for token in [START, *encoded(text)]]


@pytest.mark.parametrize("at_once", [16 << 20, 300, 1], ids=["one piece", "some documents a piece", "one document a piece"])
def test_each_document_comes_after_the_start_token_in_the_order_given(monkeypatch, at_once):
    monkeypatch.setattr(streams, "ENCODED_AT_ONCE", at_once)
    b, a = texts(9, 1), [*texts(4, 2), "é", "世界"]
    made = Streams.of(documents(b=b, a=a), tokenizer(), START)
    assert made.domains == ("a", "b")
    for domain, column in enumerate((a, b)):
        tokens = made.tokens[domain].tolist()
        assert tokens == plainly(column)
        assert [tokens[s] for s in made.starts[domain]] == [START] * len(column)
        sizes = np.diff([*made.starts[domain], len(tokens)])
        assert sizes.tolist() == [1 + len(encoded(text)) for text in column]
        assert made.ids[domain] == [doc_id(text.encode()).hex() for text in column]
    assert made.n_bytes.tolist() == [sum(len(text.encode()) for text in column) for column in (a, b)]
    assert made.n_tokens.tolist() == [len(plainly(a)), len(plainly(b))]
    assert made.natural.tolist() == (made.n_tokens / (len(plainly(a)) + len(plainly(b)))).tolist()


def test_rows_of_domains_may_lie_in_any_order_and_in_many_chunks():
    column = texts(12, 3)
    sorted_ = documents(a=column[::2], b=column[1::2])
    woven = pa.concat_tables([documents(**{"ab"[i % 2]: [text]}) for i, text in enumerate(column)]).unify_dictionaries()
    one, other = Streams.of(sorted_, tokenizer(), START), Streams.of(woven, tokenizer(), START)
    for d in range(2):
        assert np.array_equal(one.tokens[d], other.tokens[d])
        assert one.ids[d] == other.ids[d]


def test_empty_and_missing_texts_are_left_out():
    column = texts(3, 4)
    bare = Streams.of(documents(a=column), tokenizer(), START)
    made = Streams.of(documents(a=[None, column[0], "", column[1], None, column[2], ""], b=["", None]), tokenizer(), START)
    assert made.domains == ("a",)
    assert made.ids == bare.ids
    assert made.tokens[0].tolist() == bare.tokens[0].tolist()
    assert made.n_bytes.tolist() == bare.n_bytes.tolist()


@pytest.mark.parametrize("column", [[], [None, "", None]])
def test_without_any_text_the_message_says_what_to_raise(column):
    with pytest.raises(InputError, match="nothing to train on") as raised:
        Streams.of(documents(a=column) if column else documents(a=["x"]).slice(0, 0), tokenizer(), START)
    assert raised.value.fix


def test_documents_of_a_stretch():
    """Those that have a token in it, in its order; round the end of the stream, the first ones follow the last."""
    column = texts(5, 5, (3, 9))
    made = Streams.of(documents(a=["only"], b=column), tokenizer(), START)
    named = [doc_id(text.encode()).hex() for text in column]
    owner = np.repeat(np.arange(5), [1 + len(encoded(text)) for text in column])
    size = len(owner)
    assert size == made.n_tokens[1]
    for length in (1, 7, 40):
        for first in range(size):
            wanted = dict.fromkeys(owner[(first + i) % size] for i in range(length))
            assert made.documents(1, first, first + length) == [named[i] for i in wanted]
    assert made.documents(0, 0, 1) == [doc_id(b"only").hex()]
    assert made.documents(0, 1000, 1003) == [doc_id(b"only").hex()]


def test_documents_without_ids_are_named_by_their_row():
    made = Streams.of(documents(a=texts(3, 6)).drop_columns(["doc_id"]), tokenizer(), START)
    assert made.documents(0, 0, 1) == ["row 0"]


class Sized:
    """A tokenizer that says it has this many ids."""

    def __init__(self, vocab_size: int) -> None:
        self.vocab_size = vocab_size

    def encode_arrow(self, text: pa.Array) -> tuple[np.ndarray, np.ndarray]:
        """The length of a text, then the largest id."""
        lengths = [len(t) for t in text.to_pylist()]
        ids = np.array([i for n in lengths for i in (n, self.vocab_size - 1)], np.int32)
        return ids, np.arange(len(lengths) + 1, dtype=np.int64) * 2


@pytest.mark.parametrize(("vocab_size", "kind"), [(300, np.uint16), (1 << 16, np.uint16), ((1 << 16) + 1, np.int32)])
def test_ids_take_two_bytes_where_all_of_them_fit(vocab_size, kind):
    made = Streams.of(documents(a=["x", "yyy"]), Sized(vocab_size), 5)
    assert made.tokens[0].dtype == kind
    assert made.tokens[0].tolist() == [5, 1, vocab_size - 1, 5, 3, vocab_size - 1]
