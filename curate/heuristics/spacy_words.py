"""The words and sentences of spaCy itself: slow, and the proof that the fast splitter agrees.

``datatrove`` calls spaCy's blank English tokenizer on every document. How a chunk between
white space is split does not depend on its neighbours, with one exception: spaCy joins
words that spell a name (``)`` and ``:`` in ``f(x):``), and a name that would begin before the
single space in front of the chunk can keep it from doing so. So the split of a chunk is
remembered, save where a name was joined; a line with such a chunk goes to spaCy whole.
Line feeds, and so lines, are never crossed.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from typing import Any

import numba
import numpy as np
import pyarrow as pa

from curate.documents import text_bytes
from curate.errors import ConfigError
from curate.heuristics.english_affixes import code_point
from curate.heuristics.english_tables import SPACE, character_flags

MOST_LEXEMES = 500_000
"""Distinct words or chunks after which everything remembered, spaCy's vocabulary with it, is dropped."""


def word_spans(text: pa.Array) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All words of N documents, as ``datatrove.utils.text.split_into_words`` gives them.

    Returns (starts, ends, bounds), int64: byte offsets in the documents' UTF-8 buffer (``documents.text_bytes``),
    and N+1 offsets into starts and ends, one run a document.

    Raises:
        ConfigError: spaCy is not installed.
    """
    lengths: list[int] = []
    bounds = [0]
    for document in text.to_pylist():
        lengths += _splitter().lengths(document or "")
        bounds.append(len(lengths))
    data, offsets = text_bytes(text)
    edges = np.array(bounds, np.int64)
    starts = _placed(data, offsets, np.array(lengths, np.int64), edges, character_flags())
    return starts, starts + np.array(lengths, np.int64), edges


def sentence_counts(lines: list[str]) -> np.ndarray:
    """Sentences of each of N lines, int64, as ``len(datatrove.utils.text.split_into_sentences(line))`` counts them.

    Raises:
        ConfigError: spaCy is not installed.
    """
    return np.array([_splitter().sentences(line) for line in lines], np.int64)


@cache
def _new_splitter() -> _Splitter:
    return _Splitter()


def _splitter() -> _Splitter:
    """The process's splitter, made anew when it remembers too much."""
    if _new_splitter().is_full():
        _new_splitter.cache_clear()
    return _new_splitter()


class _Splitter:
    """spaCy's tokenizer and sentencizer, and the UTF-8 lengths of the words of every chunk seen."""

    def __init__(self) -> None:
        try:
            import spacy
        except ImportError:
            raise ConfigError(
                "the rules ask for spaCy's words, and spaCy is not installed",
                where="the word splitter 'spacy'",
                expected="spaCy 3.8, or the built-in splitter, which gives the same words on ordinary text",
                fix="pip install 'curate[spacy]'",
            ) from None
        self.english: Any = spacy.blank("en")
        self.sentencizer = self.english.add_pipe("sentencizer")
        self.remembered: dict[str, tuple[int, ...] | None] = {}
        self.joined = frozenset(self._joined_names())

    def is_full(self) -> bool:
        return max(len(self.english.vocab), len(self.remembered)) > MOST_LEXEMES

    def sentences(self, line: str) -> int:
        """At least 1, as datatrove counts the empty line too."""
        return max(1, sum(1 for _ in self.sentencizer(self.english.tokenizer(line)).sents))

    def lengths(self, document: str) -> list[int]:
        """UTF-8 lengths of the words of a document, in order."""
        chunks = document.split()
        unknown = [chunk for chunk in dict.fromkeys(chunks) if chunk not in self.remembered]
        if unknown:
            self._learn(unknown)
        known = [self.remembered[chunk] for chunk in chunks]
        if None not in known:
            return [length for chunk in known if chunk for length in chunk]
        lines = document.split("\n")
        return [length for line in lines for length in self._line_lengths(line)]

    def _line_lengths(self, line: str) -> list[int]:
        known = [self.remembered[chunk] for chunk in line.split()]
        if None in known:
            return [len(token.text.encode()) for token in self.english.tokenizer(line) if not token.is_space]
        return [length for chunk in known if chunk for length in chunk]

    def _learn(self, chunks: list[str]) -> None:
        """Remember how each chunk is split; None where that may depend on its neighbours."""
        split: list[list[str]] = [[]]
        for token in self.english.tokenizer("\n".join(chunks)):
            if token.is_space:
                split.append([])
            else:
                split[-1].append(token.text)
        for chunk, words in zip(chunks, split, strict=True):
            depends = chunk not in self.english.tokenizer.rules and any(run in self.joined for run in _runs(words))
            self.remembered[chunk] = None if depends else tuple(len(word.encode()) for word in words)

    def _joined_names(self) -> Iterator[str]:
        """Names that spaCy may join from words: those that a prefix, suffix or infix is found in."""
        tokenizer = self.english.tokenizer
        for name in tokenizer.rules:
            if tokenizer.find_prefix(name) or tokenizer.find_suffix(name) or tokenizer.find_infix(name):
                yield name


def _runs(words: list[str]) -> Iterator[str]:
    """Every one, two or three neighbouring words, written together: a name has no more pieces."""
    yield from words
    yield from (first + second for first, second in pairwise(words))
    yield from (first + second + third for first, second, third in zip(words, words[1:], words[2:], strict=False))


@numba.njit(cache=True, nogil=True)
def _placed(data, offsets, lengths, bounds, flags):  # type: ignore[no-untyped-def]
    """Where words of known lengths begin: they cover a document, in order, but for its white space."""
    starts = np.empty(len(lengths), np.int64)
    for document in range(len(offsets) - 1):
        at, end = offsets[document], offsets[document + 1]
        for i in range(bounds[document], bounds[document + 1]):
            while at < end:
                point, after = code_point(data, at, end)
                if not flags[point] & SPACE:
                    break
                at = after
            starts[i] = at
            at += lengths[i]
    return starts
