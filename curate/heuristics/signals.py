"""The columns the rules look at: a name, a unit, and which counts they are made of.

A ratio is one whole number over another as float64, which is what Python's ``/`` gives; it is null where the lower one is
0. A rule sees nothing but these columns, so that any threshold can be changed later without the text.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from curate.heuristics import counting as c

GOPHER, C4, FINEWEB = FAMILIES = ("gopher", "c4", "fineweb")


@dataclass(frozen=True)
class Signal:
    """One column.

    Attributes:
        name: of the column.
        families: whose rules look at it.
        unit, direction: the column's metadata.
        over: the count it is.
        under: the count it is divided by; None leaves it a whole number.
        missing: the value of ``over`` that stands for null; None where there is none.
    """

    name: str
    families: tuple[str, ...]
    unit: str
    direction: str
    over: int
    under: int | None = None
    missing: int | None = None

    @property
    def kind(self) -> pa.DataType:
        """float64 for a ratio, int64 for a number."""
        return pa.int64() if self.under is None else pa.float64()

    def column(self, counts: np.ndarray, null: np.ndarray) -> pa.Array:
        """The column of N documents from their counts; ``null`` (bool, N) marks documents without text."""
        values = counts[:, self.over]
        if self.missing is not None:
            null = null | (values == self.missing)
        if self.under is None:
            return pa.array(values, pa.int64(), mask=null)
        lower = counts[:, self.under]
        null = null | (lower == 0)
        return pa.array(values / np.where(null, 1, lower), pa.float64(), mask=null)


_BOTH = (GOPHER, FINEWEB)
_WORDS, _PARAGRAPHS, _LINES = "fraction of words", "fraction of paragraphs", "fraction of lines"
_CHARACTERS = "fraction of code points"
_C4 = "lines"

SIGNALS = (
    Signal("n_characters", FAMILIES, "code points", "none", c.N_CHARACTERS),
    Signal("n_words", _BOTH, "words", "none", c.N_WORDS),
    Signal("dup_para_frac", (GOPHER,), _PARAGRAPHS, "lower", c.N_REPEATED_PARAGRAPHS, c.N_PARAGRAPHS),
    Signal("dup_para_char_frac", (GOPHER,), _CHARACTERS, "lower", c.REPEATED_PARAGRAPH_CHARACTERS, c.N_CHARACTERS),
    Signal("dup_line_frac", (GOPHER,), _LINES, "lower", c.N_REPEATED_LINES, c.N_LINES),
    Signal("dup_line_char_frac", (GOPHER,), _CHARACTERS, "lower", c.REPEATED_LINE_CHARACTERS, c.N_CHARACTERS),
    Signal("n_non_symbol_words", (GOPHER,), "words", "none", c.N_PROPER_WORDS),
    Signal("mean_word_length", (GOPHER,), "code points per word", "none", c.PROPER_WORD_CHARACTERS, c.N_PROPER_WORDS),
    Signal("hash_ratio", (GOPHER,), "hash signs per word", "lower", c.N_HASHES, c.N_WORDS),
    Signal("ellipsis_ratio", (GOPHER,), "ellipses per word", "lower", c.N_ELLIPSES, c.N_WORDS),
    Signal("bullet_lines_ratio", (GOPHER,), _LINES, "lower", c.N_BULLET_LINES, c.N_SPLIT_LINES),
    Signal("ellipsis_lines_ratio", (GOPHER,), _LINES, "lower", c.N_ELLIPSIS_LINES, c.N_SPLIT_LINES),
    Signal("alpha_words_ratio", (GOPHER,), _WORDS, "higher", c.N_LETTERED_WORDS, c.N_WORDS),
    Signal("n_stop_words", (GOPHER,), "distinct stop words", "higher", c.N_STOP_WORDS),
    Signal("n_full_lines", (FINEWEB,), "lines that are not blank", "none", c.N_FULL_LINES),
    Signal("line_punct_ratio", (FINEWEB,), _LINES, "higher", c.N_ENDED_LINES, c.N_FULL_LINES),
    Signal("short_line_ratio", (FINEWEB,), _LINES, "lower", c.N_SHORT_LINES, c.N_FULL_LINES),
    Signal("char_dup_ratio", (FINEWEB,), _CHARACTERS, "lower", c.REPEATED_FULL_LINE_CHARACTERS, c.N_NOT_NEWLINES),
    Signal("list_ratio", (FINEWEB,), "newlines per word", "lower", c.N_NEWLINES, c.N_WORDS),
    Signal("c4_n_lines", (C4,), _C4, "none", c.N_SPLIT_LINES),
    Signal("c4_lines_kept", (C4,), _C4, "higher", c.N_C4_KEPT),
    Signal("c4_lines_too_long_word", (C4,), _C4, "lower", c.N_C4_LONG_WORD),
    Signal("c4_lines_no_terminal_punct", (C4,), _C4, "lower", c.N_C4_NO_END_MARK),
    Signal("c4_lines_too_few_words", (C4,), _C4, "lower", c.N_C4_FEW_WORDS),
    Signal("c4_lines_javascript", (C4,), _C4, "lower", c.N_C4_JAVASCRIPT),
    Signal("c4_lines_policy", (C4,), _C4, "lower", c.N_C4_POLICY),
    Signal("c4_lorem_ipsum_line", (C4,), "line number, from 1", "none", c.C4_LOREM_LINE, missing=0),
    Signal("c4_curly_bracket_line", (C4,), "line number, from 1", "none", c.C4_CURLY_LINE, missing=0),
    Signal("c4_n_sentences", (C4,), "sentences", "higher", c.N_C4_SENTENCES),
)


def signals(families: Iterable[str], top_sizes: Iterable[int], repeated_sizes: Iterable[int]) -> tuple[Signal, ...]:
    """The signals these families' rules look at, in the order of the columns.

    Args:
        families: some of FAMILIES.
        top_sizes, repeated_sizes: the n of Gopher's n-grams, ascending, as they were counted.
    """
    wanted = set(families)
    found = [signal for signal in SIGNALS if wanted & set(signal.families)]
    if GOPHER not in wanted:
        return tuple(found)
    tops, repeated = list(top_sizes), list(repeated_sizes)
    at = c.FIRST_N_GRAM
    for n in tops:
        found.append(Signal(top_name(n), (GOPHER,), _CHARACTERS, "lower", at, c.N_CHARACTERS, missing=-1))
        at += 1
    for n in repeated:
        found.append(Signal(repeated_name(n), (GOPHER,), _CHARACTERS, "lower", at, c.N_CHARACTERS))
        at += 1
    return tuple(found)


def top_name(n: int) -> str:
    """Column and reason of the most frequent n-gram."""
    return f"top_{n}_gram"


def repeated_name(n: int) -> str:
    """Column and reason of repeated n-grams."""
    return f"duplicated_{n}_n_grams"
