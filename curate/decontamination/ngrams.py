"""Which n-grams of evaluation files are worth matching.

The words of an item are those of its texts, one text after the other. Every ``ngram`` words in a row are an n-gram;
some of them reach from a question into its answer. A text, a question with its answer (all texts outside lists), or a
whole item of fewer words, but at least ``shortest``, is one n-gram of its own length (Brown et al. 2020, "Language
Models are Few-Shot Learners", appendix C, where lengths run from 8 to 13 words). Shorter ones cannot be told from
chance. All this a second time without the words that open or close every value of a field, as in "Question: … Answer:".

Two kinds are left out. Plain ones: fewer than ``distinct`` different words, numbers not counted, since every number
folds to 0 and any table would match "0 0 0 0". And templates: n-grams of more than ``common`` items, unless they stand
in a stretch of 2 ``ngram`` - 1 words or more that recurs so often, which is a passage that several questions are about.

Suffixes: I items, T texts, W words of one file; O occurrences of n-grams; G different n-grams.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from curate.decontamination.evaluation_files import Item
from curate.documents import read_only, text_bytes
from curate.kernels.folding import fold_tables
from curate.kernels.ngram_lookup import fold_column, keys_at, n_distinct


@dataclass(frozen=True)
class Rules:
    """Which n-grams are matched; see the head of this module."""

    ngram: int
    shortest: int
    common: int
    distinct: int


@dataclass(frozen=True)
class Occurrences:
    """Every n-gram of one file's items, whatever it is worth.

    Args:
        n_items: I.
        words: (W,) uint64, the file's words.
        starts: (O,) int64, the first word of each occurrence.
        lengths: (O,) int64, its words.
        items: (O,) int64, its item, from 0 in the file.
        keys: (O,) uint64.
        plain: (O,) bool, too few different words.
        short: (I,) bool, items of which neither a text nor question and answer together have words enough: they are found
            with all their choices behind them, if at all.
    """

    n_items: int
    words: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray
    items: np.ndarray
    keys: np.ndarray
    plain: np.ndarray
    short: np.ndarray

    def items_with(self, which: np.ndarray) -> np.ndarray:
        """(I,) bool: which items have an occurrence of these (mask of O)."""
        return np.bincount(self.items[which], minlength=self.n_items) > 0


def occurrences(items: Sequence[Item], rules: Rules) -> Occurrences:
    """The n-grams of one file's items."""
    words, edges = _folded([text for item in items for text in item.texts])
    found = [_ranges(items, edges, rules)]
    bare, bare_edges = _unwrapped(words, edges, [name for item in items for name in item.fields], rules.common)
    if len(bare) < len(words):
        starts, lengths, owners = _ranges(items, bare_edges, rules)
        found.append((starts + len(words), lengths, owners))
        words = np.concatenate([words, bare])
    start, length, item = (np.concatenate(columns) for columns in zip(*found, strict=True))
    number = _folded(["0"])[0][0]
    plain = n_distinct(words, start, length, number) < rules.distinct
    return Occurrences(len(items), words, start, length, item, keys_at(words, start, length), plain, _short(items, edges, rules))


def _short(items: Sequence[Item], edges: np.ndarray, rules: Rules) -> np.ndarray:
    """(I,) bool; see Occurrences."""
    bounds = np.cumsum([0, *(len(item.texts) for item in items)])
    single = [edges[first + item.n_single] - edges[first] for item, first in zip(items, bounds[:-1], strict=True)]
    longest = np.array(single, np.int64)
    np.maximum.at(longest, np.repeat(np.arange(len(items)), np.diff(bounds)), np.diff(edges))
    return longest < rules.shortest


def _ranges(items: Sequence[Item], edges: np.ndarray, rules: Rules) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """First word, number of words, and item of every n-gram.

    Args:
        items: I items with T texts in all.
        edges: (T + 1,), where the words of each text begin.
        rules: the lengths.
    """
    n_texts = np.array([len(item.texts) for item in items], np.int64)
    first_texts = np.cumsum(n_texts) - n_texts
    begins, ends = edges[first_texts], edges[first_texts + n_texts]
    single_ends = edges[first_texts + np.array([item.n_single for item in items], np.int64)]
    every = np.arange(len(items))
    of_word = np.repeat(every, ends - begins)
    sliding = np.flatnonzero(np.arange(len(of_word)) + rules.ngram <= ends[of_word])
    starts, lengths, owners = [sliding], [np.full(len(sliding), rules.ngram)], [of_word[sliding]]
    texts = (edges[:-1], edges[1:], np.repeat(every, n_texts))
    for first, last, owner in (texts, (begins, single_ends, every), (begins, ends, every)):
        sizes = last - first
        whole = np.flatnonzero((sizes >= rules.shortest) & (sizes < rules.ngram))
        starts.append(first[whole])
        lengths.append(sizes[whole])
        owners.append(owner[whole])
    return np.concatenate(starts), np.concatenate(lengths), np.concatenate(owners)


def _folded(texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """The words of T texts, (W,) uint64, and where those of each begin, (T + 1,) int64."""
    data, bounds = text_bytes(pa.array(texts, pa.large_string()))
    words, edges = fold_column(read_only(data), read_only(bounds), fold_tables())
    return words, edges


def _unwrapped(words: np.ndarray, edges: np.ndarray, fields: list[str], common: int) -> tuple[np.ndarray, np.ndarray]:
    """Words without those that open or close every value of a field, where more than ``common`` texts have it.

    Args:
        words: (W,).
        edges: (T + 1,), where the words of each text begin.
        fields: T names, the field of each text.
        common: as in Rules.

    Returns:
        The words that are left and their edges.
    """
    first, last = edges[:-1].copy(), edges[1:].copy()
    names = np.array(fields, dtype=object)
    for name in dict.fromkeys(fields):
        texts = np.flatnonzero((names == name) & (first < last))
        if len(texts) <= common:
            continue
        while (first[texts] < last[texts]).all() and len(np.unique(words[first[texts]])) == 1:
            first[texts] += 1
        while (first[texts] < last[texts]).all() and len(np.unique(words[last[texts] - 1])) == 1:
            last[texts] -= 1
    change = np.zeros(len(words) + 1, np.int64)
    np.add.at(change, first, 1)
    np.add.at(change, last, -1)
    return words[np.cumsum(change[:-1]) > 0], np.concatenate([[0], np.cumsum(last - first)])


def templates(parts: Sequence[Occurrences], gram: np.ndarray, n_items: np.ndarray, rules: Rules) -> np.ndarray:
    """Which occurrences are of n-grams that too many items share, and of no passage.

    Args:
        parts: the occurrences of each file, O in all.
        gram: (O,) the n-gram of each, 0 to G - 1.
        n_items: (G,) how many items have the n-gram.
        rules: sets how many are too many.
    """
    recurs = n_items[gram] > rules.common
    in_passage = [_in_passage(part, flags, rules.ngram) for part, flags in zip(parts, by_file(recurs, parts), strict=True)]
    of_passage = np.zeros(len(n_items), bool)
    of_passage[gram[np.concatenate(in_passage)]] = True
    return recurs & ~of_passage[gram]


def by_file(values: np.ndarray, parts: Sequence[Occurrences]) -> list[np.ndarray]:
    """Values of all occurrences, file by file."""
    return np.split(values, np.cumsum([len(part.keys) for part in parts])[:-1])


def _in_passage(part: Occurrences, recurs: np.ndarray, ngram: int) -> np.ndarray:
    """Which occurrences stand in a row of ``ngram`` or more of one item that all recur."""
    inside = np.zeros(len(recurs), bool)
    sliding = part.lengths == ngram
    at, item, flags = part.starts[sliding], part.items[sliding], recurs[sliding]
    if not len(at):
        return inside
    starts_run = np.concatenate([[True], (flags[1:] != flags[:-1]) | (item[1:] != item[:-1]) | (at[1:] != at[:-1] + 1)])
    run = np.cumsum(starts_run) - 1
    inside[np.flatnonzero(sliding)] = flags & (np.bincount(run)[run] >= ngram)
    return inside
