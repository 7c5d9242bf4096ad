"""Pages cut as perplexity correlations cut them: into pieces of so many tokens of one tokenizer, for every model alike.

Models of different tokenizers must read the same stretches of text, so a cut is a place between characters. Cuts are
made where a token ends, and the pieces joined are the page. Tokens of a piece are counted by tokenizing the piece
alone, as a model does: where that gives more than were meant, because a merge does not reach across the cut, the piece
is cut again. The script that Thrush et al. published lets every chunk be one token longer than the number it is
given; here the number is the most.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import pyarrow as pa
import tokenizers

from curate.tokenization import Tokenizer

AT_ONCE_BYTES = 1 << 21
"""Characters handed to the library at once; its objects take some fifty times as much."""


@dataclass(frozen=True)
class ChunkRule:
    """How pages are cut.

    Args:
        tokenizer: a ``tokenizer.json``, a folder that holds one, or a hub id.
        tokens: of a piece at most, one begin token counted whether or not the tokenizer has one.
    """

    tokenizer: str
    tokens: int


@lru_cache(maxsize=1)
def chunker(rule: ChunkRule) -> Chunker:
    """The cutter of a rule, built once per worker."""
    return Chunker(Tokenizer.open(rule.tokenizer), rule.tokens)


class Chunker:
    """Cuts texts into pieces.

    Args:
        tokens: of a piece at most, its begin token counted: 2 or more.
    """

    def __init__(self, tokenizer: Tokenizer, tokens: int) -> None:
        self._tokenizer, self._most = tokenizer, tokens - 1
        self._library = tokenizers.Tokenizer.from_str(tokenizer.content.decode())
        self._library.no_truncation()
        self._library.no_padding()
        self._library.encode_special_tokens = True

    def cut(self, texts: Sequence[str]) -> list[list[str]]:
        """The pieces of every text, in order. Joined they are the text; an empty text is one empty piece.

        A character that takes more tokens than a piece may have is a piece of its own.
        """
        found: list[list[str]] = []
        held: list[str] = []
        size = 0
        for text in texts:
            if held and size + len(text) > AT_ONCE_BYTES:
                found += self._cut(held)
                held, size = [], 0
            held.append(text)
            size += len(text)
        return found + (self._cut(held) if held else [])

    def _cut(self, texts: list[str]) -> list[list[str]]:
        """As ``cut``, all texts at once: cut them, then whatever is still too long, until nothing is."""
        found = [self._pieces(text, ends) for text, ends in zip(texts, self._ends(texts), strict=True)]
        made = [(i, j) for i, pieces in enumerate(found) if len(pieces) > 1 for j in range(len(pieces))]
        counts = self._tokenizer.count(pa.array([found[i][j] for i, j in made], pa.large_string()))
        todo = [place for place, n in zip(made, counts.tolist(), strict=True) if n > self._most]
        # From the last piece on, so that the places of those before stay what they are.
        for (i, j), ends in reversed(list(zip(todo, self._ends([found[i][j] for i, j in todo]), strict=True))):
            found[i][j : j + 1] = self._recut(found[i][j], ends)
        return found

    def _recut(self, piece: str, ends: list[tuple[int, int]]) -> list[str]:
        pieces = self._pieces(piece, ends)
        if len(pieces) == 1:
            return pieces
        return [part for again in self._cut(pieces) for part in again]

    def _ends(self, texts: list[str]) -> list[list[tuple[int, int]]]:
        """Where each token of each text begins and ends, in characters."""
        return [encoding.offsets for encoding in self._library.encode_batch(texts, add_special_tokens=False)] if texts else []

    def _pieces(self, text: str, spans: list[tuple[int, int]]) -> list[str]:
        """One text cut after every so many tokens, or before where a character would be parted."""
        pieces, at, first = [], 0, 0
        while len(spans) - first > self._most:
            after = first + self._most
            while after > first and not _parts(spans, after, at):
                after -= 1
            if after == first:  # one character of many tokens
                after = first + self._most
                while after < len(spans) and not _parts(spans, after, at):
                    after += 1
                if after == len(spans):
                    break
            cut = spans[after - 1][1]
            pieces.append(text[at:cut])
            at, first = cut, after
        return [*pieces, text[at:]] if at < len(text) or not pieces else pieces


def _parts(spans: list[tuple[int, int]], after: int, at: int) -> bool:
    """Whether a cut before token ``after`` parts no character, and leaves something before it that begins at ``at``."""
    return at < spans[after - 1][1] <= spans[after][0]
