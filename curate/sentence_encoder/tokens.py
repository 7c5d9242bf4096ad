"""The tokens an encoder reads of a document: its first ones, between begin and end tokens.

A document's first tokens need no more than its first few thousand characters, so a book costs no more than a page. A long
text is cut behind a letter or digit that a white space follows: no usual tokenizer has tokens that reach over such a
place, or words that depend on what comes after it, so what stands before has the tokens it has in the whole.

Where there is no such place (lines of Chinese that end in a full stop, of code in a semicolon), a text is cut anywhere, and
again twice as far on: what a cut does to the tokens before it, another cut elsewhere does not, so tokens that both have are
those of the whole. Where a cut gave too few tokens, or the two differ, more is taken, at last everything.

N documents.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import tokenizers

from curate.documents import text_bytes
from curate.tokenization import Tokenizer

BYTES_PER_TOKEN = 8
"""Of the first piece of a long document: about twice what usual text needs."""
LEAST_FURTHER = 1024
"""Bytes between two cuts at least: longer than the 100 characters behind which WordPiece gives up a word."""
WHOLE_WORDS = re.compile(r".*[^\W_](?=[ \t\r\n])", re.DOTALL)
PROBE = "a"


@dataclass(frozen=True)
class Encoded:
    """Tokens of N documents.

    Args:
        ids: of all documents, begin and end tokens included.
        offsets: where each begins (N + 1); a document without a token of its own has none at all.
        truncated: whether more tokens would have followed (N) bool.
    """

    ids: np.ndarray
    offsets: np.ndarray
    truncated: np.ndarray


class DocumentTokens:
    """Encodes documents as one model wants them.

    Args:
        tokenizer: the model's own.
        max_length: tokens of a document at most, begin and end tokens and the prefix included.
        prefix: text put before each document.

    Attributes:
        head, tail: ids that stand before and after every document; the prefix is not among them.
        n_fixed: tokens that every document has: begin, end and prefix.
    """

    def __init__(self, tokenizer: Tokenizer, max_length: int, prefix: str = "") -> None:
        self._tokenizer, self._max_length, self._prefix = tokenizer, max_length, prefix
        self.head, self.tail = _around(tokenizer)
        self._room = max_length - len(self.head) - len(self.tail)
        self.n_fixed = len(self.head) + len(self.tail) + len(self._plain([prefix])[0])

    def encode(self, text: pa.Array) -> Encoded:
        """Tokens of N documents (large_string without nulls)."""
        data, bounds = text_bytes(text)
        raw, n = data.data, len(text)
        found: list[np.ndarray] = [np.empty(0, np.int32)] * n
        truncated = np.zeros(n, bool)
        left, size = np.arange(n), BYTES_PER_TOKEN * self._max_length
        before: dict[int, np.ndarray] = {}
        while len(left):
            pieces = [_beginning(raw[bounds[i] : bounds[i + 1]], size) for i in left.tolist()]
            made = self._plain([self._prefix + piece.text for piece in pieces])
            again = []
            for i, piece, ids in zip(left.tolist(), pieces, made, strict=True):
                # One token more than there is room for shows that the document goes on.
                first, more = ids[: self._room + 1], len(ids) > self._room
                if piece.whole or (more and (piece.safe or np.array_equal(first, before.get(i, ids[:0])))):
                    found[i], truncated[i] = ids[: self._room], more
                else:
                    again.append(i)
                    before[i] = first
            left, size = np.array(again, np.int64), _further(size)
        empty = self._empty(raw, bounds, found)
        rows = [np.concatenate([self.head, ids, self.tail]) if not none else ids[:0] for ids, none in zip(found, empty, strict=True)]
        offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows], dtype=np.int64)]).astype(np.int64)
        return Encoded(np.concatenate([np.empty(0, np.int32), *rows]), offsets, truncated & ~empty)

    def _empty(self, raw: memoryview, bounds: np.ndarray, found: list[np.ndarray]) -> np.ndarray:
        """Which documents have no token of their own (N) bool."""
        n_prefix = self.n_fixed - len(self.head) - len(self.tail)
        empty = np.array([len(ids) <= n_prefix for ids in found], bool)
        if n_prefix:
            asked = np.flatnonzero(empty)
            alone = self._plain([str(raw[bounds[i] : bounds[i + 1]], "utf-8") for i in asked.tolist()])
            empty[asked] = [not len(ids) for ids in alone]
        return empty

    def _plain(self, texts: list[str]) -> list[np.ndarray]:
        """Ids without begin and end tokens."""
        ids, offsets = self._tokenizer.encode_arrow(pa.array(texts, pa.large_string()))
        return np.split(ids, offsets[1:-1]) if texts else []


class _Piece(NamedTuple):
    """A document's beginning: whether that is all of it, and whether it has the tokens that it has in the whole."""

    text: str
    whole: bool
    safe: bool


def _beginning(document: memoryview, size: int) -> _Piece:
    """The whole words among the first ``size`` bytes where they are most of these, else all of these."""
    if len(document) <= size:
        return _Piece(str(document, "utf-8"), True, True)
    text = str(document[:size], "utf-8", "ignore")
    words = WHOLE_WORDS.match(text)
    if words and 2 * words.end() >= len(text):
        return _Piece(words.group(), False, True)
    return _Piece(text, False, False)


def _further(size: int) -> int:
    """Where to cut next, twice as far on. The step is one more than a multiple of 6: figures grouped by threes from the
    end of a number, or signs taken in pairs, would else look the same from both cuts."""
    step = max(size, LEAST_FURTHER)
    return size + step + (1 - step) % 6


def _around(tokenizer: Tokenizer) -> tuple[np.ndarray, np.ndarray]:
    """Ids the model's own settings put before and after a text."""
    library = tokenizers.Tokenizer.from_str(tokenizer.content.decode())
    library.no_truncation()
    library.no_padding()
    encoding = library.encode(PROBE)
    own = [place for place, special in enumerate(encoding.special_tokens_mask) if not special]
    first, last = (own[0], own[-1] + 1) if own else (len(encoding.ids), len(encoding.ids))
    ids = np.array(encoding.ids, np.int32)
    return ids[:first], ids[last:]
