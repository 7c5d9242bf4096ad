"""One pass over the text for everything the rules need: whole numbers, one row per document.

A document is copied into padded working memory and read by loops that step eight bytes at a time. Whatever depends on
its words comes from one splitting of it. Ratios are taken later (:mod:`curate.heuristics.signals`), outside the kernel.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa

from curate.documents import read_only, text_bytes
from curate.heuristics import spacy_words
from curate.heuristics.characters import character_flags, compiled
from curate.heuristics.english_words import count_sentences, sentences_of_words, split_words, word_tables
from curate.heuristics.lines import LineRules, contents, read_lines
from curate.heuristics.repetition import line_repeats, paragraph_repeats, repeated_n_grams, table_bits, top_n_grams
from curate.heuristics.scratch import Scratch, scratch_for
from curate.heuristics.word_counts import STOP_SLOTS, enter_stop_words, word_counts
from curate.kernels.machine_words import address

(
    N_CHARACTERS, N_NEWLINES, N_NOT_NEWLINES, N_HASHES, N_ELLIPSES,
    N_WORDS, N_PROPER_WORDS, PROPER_WORD_CHARACTERS, N_LETTERED_WORDS, N_STOP_WORDS,
    N_PARAGRAPHS, N_REPEATED_PARAGRAPHS, REPEATED_PARAGRAPH_CHARACTERS,
    N_LINES, N_REPEATED_LINES, REPEATED_LINE_CHARACTERS,
    N_FULL_LINES, N_ENDED_LINES, N_SHORT_LINES, REPEATED_FULL_LINE_CHARACTERS,
    N_SPLIT_LINES, N_BULLET_LINES, N_ELLIPSIS_LINES,
    N_C4_KEPT, N_C4_LONG_WORD, N_C4_NO_END_MARK, N_C4_FEW_WORDS, N_C4_JAVASCRIPT, N_C4_POLICY,
    C4_LOREM_LINE, C4_CURLY_LINE, N_C4_SENTENCES,
    FIRST_N_GRAM,
) = range(33)  # fmt: skip
"""Columns of the counts. From FIRST_N_GRAM on: code points in the top n-gram for every size, then in repeated n-grams."""

FROM_START = np.int64(0)
"""An offset of 0 whose type is not "the number 0", for which numba would compile the word splitter once more."""


class What(NamedTuple):
    """What is counted, for the kernel.

    Attributes:
        gopher, c4, fineweb: whose counts are wanted; the columns of the others stay 0.
        own_words: whether the kernel splits words and sentences itself.
        short_line: code points of a short line, at most.
        line_rules: which lines C4 keeps.
        top_sizes, repeated_sizes: the n of the n-grams, ascending, int64.
    """

    gopher: bool
    c4: bool
    fineweb: bool
    own_words: bool
    short_line: int
    line_rules: LineRules
    top_sizes: np.ndarray
    repeated_sizes: np.ndarray


class Lexicon(NamedTuple):
    """Tables of characters and stop words.

    Attributes:
        flags: ``character_flags``.
        stop_keys, stop_bits: hashes of the stop words in a table, and the logarithm of its size.
        stop_seen: beside it, which document last had the word.
    """

    flags: np.ndarray
    stop_keys: np.ndarray
    stop_bits: int
    stop_seen: np.ndarray


class GivenWords(NamedTuple):
    """Words split elsewhere: byte offsets into the data, and N+1 offsets of the documents' words."""

    starts: np.ndarray
    ends: np.ndarray
    bounds: np.ndarray


NO_WORDS = GivenWords(*(np.empty(0, np.int64) for _ in range(3)))


@compiled
def _load_text(data, start, end, text):  # type: ignore[no-untyped-def]
    """Copy a document and put a newline and zeros behind it."""
    for i in range(end - start):
        text[i] = data[start + i]
    text[end - start] = 0x0A
    for i in range(end - start + 1, min(end - start + 32, len(text))):
        text[i] = 0


@compiled
def _load_words(given, row, start, starts, ends):  # type: ignore[no-untyped-def]
    """Copy the words of a document that begins at byte ``start``; returns how many."""
    first = given.bounds[row]
    n = given.bounds[row + 1] - first
    for i in range(n):
        starts[i], ends[i] = given.starts[first + i] - start, given.ends[first + i] - start
    return n


@compiled
def _n_sentences(scratch, tables, n_kept):  # type: ignore[no-untyped-def]
    """Sentences of the first ``n_kept`` kept lines."""
    n, at = 0, FROM_START
    for i in range(n_kept):
        n += count_sentences(scratch.lines_view, at, scratch.line_ends[i], tables, scratch.starts, scratch.ends)
        at = scratch.line_ends[i]
    return n


@compiled
def _n_sentences_of_words(scratch, tables, n_words, n_kept):  # type: ignore[no-untyped-def]
    """As ``_n_sentences``, from the words of the document; only lines that lost a citation are split anew."""
    n, at, word = 0, FROM_START, 0
    for i in range(n_kept):
        start, end = scratch.chosen[i], scratch.line_ends[i]
        if start < 0:  # into arrays that wait for word_counts
            n += count_sentences(scratch.lines_view, at, end, tables, scratch.word_bytes, scratch.word_points)
        else:
            sentences, word = sentences_of_words(
                scratch.text_view, start, start + end - at, tables, scratch.starts, scratch.ends, word, n_words
            )
            n += sentences
        at = end
    return n


@compiled
def _count_words(text, flags, n_words, what, lexicon, scratch, counts, row):  # type: ignore[no-untyped-def]
    """What Gopher asks of words and n-grams."""
    proper, characters, lettered, stop_words = word_counts(
        text, flags, n_words, lexicon.stop_keys, lexicon.stop_seen, lexicon.stop_bits, row + 1, scratch
    )
    counts[row, N_PROPER_WORDS] = proper
    counts[row, PROPER_WORD_CHARACTERS] = characters
    counts[row, N_LETTERED_WORDS] = lettered
    counts[row, N_STOP_WORDS] = stop_words
    keys, bytes_before, points_before, column = scratch.word_keys, scratch.word_bytes, scratch.word_points, FIRST_N_GRAM
    if len(what.top_sizes):
        top_n_grams(keys, points_before, n_words, what.top_sizes, scratch, counts, row, column)
    column += len(what.top_sizes)
    if len(what.repeated_sizes):
        glued = address(scratch.glued)
        repeated_n_grams(glued, bytes_before, points_before, n_words, what.repeated_sizes, scratch, counts, row, column)


@compiled
def _count_lines(text, n_bytes, flags, found, what, scratch, to, n_kept, counts, row):  # type: ignore[no-untyped-def]
    """What Gopher and C4 ask of ``splitlines``, but for sentences; returns how much kept lines take of the scratch."""
    n, bullets, ellipses, outcomes, lorem, curly, to, n_kept = read_lines(
        text, n_bytes, flags, found, what.line_rules, what.c4, scratch, to, n_kept
    )
    counts[row, N_SPLIT_LINES], counts[row, N_BULLET_LINES], counts[row, N_ELLIPSIS_LINES] = n, bullets, ellipses
    for i in range(len(outcomes)):
        counts[row, N_C4_KEPT + i] = outcomes[i]
    counts[row, C4_LOREM_LINE], counts[row, C4_CURLY_LINE] = lorem, curly
    return to, n_kept


@compiled
def count_all(data, bounds, what, lexicon, tables, given, scratch, kept_bounds, counts):  # type: ignore[no-untyped-def]
    """Fill the counts of N documents.

    Args:
        data, bounds: uint8 text and N+1 offsets.
        what: ``What``.
        lexicon: ``Lexicon``; its ``stop_seen`` is 0.
        tables: ``word_tables``.
        given: ``GivenWords``, read unless ``what.own_words``.
        scratch: for the longest document, and for all kept lines unless ``what.own_words``.
        kept_bounds: receives N+1 offsets of the documents' kept lines, unless ``what.own_words``.
        counts: zeros, int64 (N, FIRST_N_GRAM + sizes); receives the counts.
    """
    text, flags = address(scratch.text), address(lexicon.flags)
    to, n_kept = 0, 0
    for row in range(len(bounds) - 1):
        start, n_bytes = bounds[row], bounds[row + 1] - bounds[row]
        _load_text(data, start, bounds[row + 1], scratch.text)
        found = contents(scratch.text, n_bytes)
        counts[row, N_CHARACTERS], counts[row, N_NEWLINES] = found.n_points, found.n_newlines
        counts[row, N_NOT_NEWLINES] = found.n_points - found.n_newlines
        counts[row, N_HASHES], counts[row, N_ELLIPSES] = found.n_hashes, found.n_ellipses
        if what.own_words:
            to, n_kept = 0, 0
        if what.gopher or what.c4:
            to, n_kept = _count_lines(text, n_bytes, flags, found, what, scratch, to, n_kept, counts, row)
        kept_bounds[row + 1] = n_kept
        if not (what.gopher or what.fineweb):
            if what.own_words:
                counts[row, N_C4_SENTENCES] = _n_sentences(scratch, tables, n_kept)
            continue
        repeats = line_repeats(text, found.n_newlines, flags, what.short_line, scratch.keys, scratch.starts)
        for i in range(len(repeats)):
            counts[row, N_LINES + i] = repeats[i]
        if what.gopher:
            repeats_of_paragraphs = paragraph_repeats(text, n_bytes, found.n_newlines, flags, scratch.keys, scratch.starts)
            for i in range(len(repeats_of_paragraphs)):
                counts[row, N_PARAGRAPHS + i] = repeats_of_paragraphs[i]
        if what.own_words:
            n_words = split_words(scratch.text_view, FROM_START, n_bytes, tables, scratch.starts, scratch.ends)
            counts[row, N_C4_SENTENCES] = _n_sentences_of_words(scratch, tables, n_words, n_kept)
        else:
            n_words = _load_words(given, row, start, scratch.starts, scratch.ends)
        counts[row, N_WORDS] = n_words
        if what.gopher:
            _count_words(text, flags, n_words, what, lexicon, scratch, counts, row)


@compiled
def _bits(n):  # type: ignore[no-untyped-def]
    return table_bits(n)


def lexicon_of(stop_words: tuple[str, ...], end_marks: tuple[str, ...] | None) -> Lexicon:
    """The tables for these stop words, and these marks that end a line well (None: those of all scripts)."""
    words = [word.encode() for word in dict.fromkeys(stop_words)]
    bounds = np.cumsum([0, *map(len, words)], dtype=np.int64)
    bits = int(_bits(STOP_SLOTS * len(words)))
    keys = np.zeros(1 << bits, np.uint64)
    enter_stop_words(np.frombuffer(b"".join(words) + bytes(8), np.uint8), bounds, keys)
    return Lexicon(character_flags(end_marks), keys, bits, np.zeros(1 << bits, np.int64))


class DocumentCounter:
    """Counts of documents, with working memory that grows with the longest one met.

    Args:
        what: what to count.
        lexicon: of ``lexicon_of``.
    """

    def __init__(self, what: What, lexicon: Lexicon) -> None:
        self.what, self.lexicon = what, lexicon
        self._scratch: Scratch = scratch_for(1 << 16)

    def counts(self, text: pa.Array) -> np.ndarray:
        """The counts of N documents: int64 (N, FIRST_N_GRAM + sizes); those of null documents mean nothing."""
        what = self.what
        data, bounds = (read_only(array) for array in text_bytes(text))
        n = len(bounds) - 1
        counts = np.zeros((n, FIRST_N_GRAM + len(what.top_sizes) + len(what.repeated_sizes)), np.int64)
        if n == 0:
            return counts
        longest = int(np.diff(bounds).max())
        lexicon = self.lexicon._replace(stop_seen=np.zeros_like(self.lexicon.stop_seen))
        kept_bounds = np.zeros(n + 1, np.int64)
        given, scratch = NO_WORDS, self._scratch_for(longest)
        if not what.own_words:
            given = GivenWords(*(np.ascontiguousarray(array, np.int64) for array in spacy_words.word_spans(text)))
            scratch = scratch_for(longest, int(bounds[-1] - bounds[0]) if what.c4 else 0)
        count_all(data, bounds, what, lexicon, word_tables(), given, scratch, kept_bounds, counts)
        if what.c4 and not what.own_words:
            counts[:, N_C4_SENTENCES] = _sentences(scratch, kept_bounds)
        return counts

    def _scratch_for(self, longest: int) -> Scratch:
        if longest + 2 > len(self._scratch.grams):
            self._scratch = scratch_for(1 << longest.bit_length())
        return self._scratch


def _sentences(scratch: Scratch, kept_bounds: np.ndarray) -> np.ndarray:
    """Sentences of each document's kept lines, as the owner's splitter counts them."""
    n = int(kept_bounds[-1])
    edges = np.concatenate([[0], scratch.line_ends[:n]]).tolist()
    content = scratch.lines.data
    lines = [str(content[a:b], "utf-8") for a, b in zip(edges[:-1], edges[1:], strict=True)]
    totals = np.concatenate([[0], np.cumsum(spacy_words.sentence_counts(lines), dtype=np.int64)])
    return np.diff(totals[kept_bounds])
