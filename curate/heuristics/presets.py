"""The rules of published presets, their thresholds, and how a chain of rules gives a verdict.

A preset is a family of parameters with the owner's names and defaults. Here the owner is datatrove 0.10:
``GopherRepetitionFilter`` then ``GopherQualityFilter``, ``C4QualityFilter``, ``FineWebQualityFilter``. A rule compares
one signal with its bounds; where the signal is null the document passes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from curate.heuristics.signals import C4, FAMILIES, FINEWEB, GOPHER, repeated_name, top_name

PRESETS = {"gopher@datatrove": GOPHER, "c4@datatrove": C4, "fineweb@datatrove": FINEWEB}

COUNT, NUMBER, FRACTION, SWITCH, N_GRAMS, STRINGS, CHARACTERS = (
    "a whole number, 0 or more", "a number, 0 or more", "a number from 0 to 1", "true or false",
    "pairs of n and a number from 0 to 1: {2: 0.2}", "a list of strings", "a list of single characters",
)  # fmt: skip


@dataclass(frozen=True)
class Parameter:
    """One thing a family lets the user set.

    Attributes:
        family: of FAMILIES.
        kind: what a value must be, one of COUNT to CHARACTERS.
        default: the owner's.
        is_bound: whether it switches a rule on; else it changes what is counted.
    """

    family: str
    kind: str
    default: Any
    is_bound: bool = True


PARAMETERS = {
    "dup_line_frac": Parameter(GOPHER, FRACTION, 0.3),
    "dup_para_frac": Parameter(GOPHER, FRACTION, 0.3),
    "dup_line_char_frac": Parameter(GOPHER, FRACTION, 0.2),
    "dup_para_char_frac": Parameter(GOPHER, FRACTION, 0.2),
    "top_n_grams": Parameter(GOPHER, N_GRAMS, ((2, 0.2), (3, 0.18), (4, 0.16))),
    "dup_n_grams": Parameter(GOPHER, N_GRAMS, ((5, 0.15), (6, 0.14), (7, 0.13), (8, 0.12), (9, 0.11), (10, 0.1))),
    "min_doc_words": Parameter(GOPHER, COUNT, 50),
    "max_doc_words": Parameter(GOPHER, COUNT, 100_000),
    "min_avg_word_length": Parameter(GOPHER, NUMBER, 3),
    "max_avg_word_length": Parameter(GOPHER, NUMBER, 10),
    "max_symbol_word_ratio": Parameter(GOPHER, NUMBER, 0.1),
    "max_bullet_lines_ratio": Parameter(GOPHER, FRACTION, 0.9),
    "max_ellipsis_lines_ratio": Parameter(GOPHER, FRACTION, 0.3),
    "max_non_alpha_words_ratio": Parameter(GOPHER, FRACTION, 0.8),
    "min_stop_words": Parameter(GOPHER, COUNT, 2),
    "stop_words": Parameter(GOPHER, STRINGS, ("the", "be", "to", "of", "and", "that", "have", "with"), False),
    "remove_citations": Parameter(C4, SWITCH, True, False),
    "filter_no_terminal_punct": Parameter(C4, SWITCH, True, False),
    "min_num_sentences": Parameter(C4, COUNT, 5),
    "min_words_per_line": Parameter(C4, COUNT, 3, False),
    "max_word_length": Parameter(C4, COUNT, 1000, False),
    "filter_lorem_ipsum": Parameter(C4, SWITCH, True),
    "filter_javascript": Parameter(C4, SWITCH, True, False),
    "filter_curly_bracket": Parameter(C4, SWITCH, True),
    "filter_policy": Parameter(C4, SWITCH, True, False),
    "line_punct_thr": Parameter(FINEWEB, FRACTION, 0.12),
    "line_punct_exclude_zero": Parameter(FINEWEB, SWITCH, False, False),
    "stop_chars": Parameter(FINEWEB, CHARACTERS, None, False),
    "short_line_thr": Parameter(FINEWEB, FRACTION, 0.67),
    "short_line_length": Parameter(FINEWEB, COUNT, 30, False),
    "char_duplicates_ratio": Parameter(FINEWEB, FRACTION, 0.01),
    "new_line_ratio": Parameter(FINEWEB, NUMBER, 0.3),
}
"""In the owner's order of constructor arguments. Terminal punctuation of all scripts is what ``stop_chars`` is by default."""


@dataclass(frozen=True)
class Rule:
    """One test of one signal.

    Attributes:
        family: of FAMILIES.
        code: the reason written for a document that fails.
        signal: the column it looks at.
        at_least, at_most: the bounds; a document at a bound passes.
        spares_zero: whether a signal of 0 passes.
        unless_after: a line number; the rule is silent where its own signal, also one, is greater.
    """

    family: str
    code: str
    signal: str
    at_least: float | None = None
    at_most: float | None = None
    spares_zero: bool = False
    unless_after: str | None = None

    def fails(self, columns: Mapping[str, pa.Array]) -> np.ndarray:
        """Which of N documents fail, bool."""
        values, known = _values(columns[self.signal])
        failed = np.zeros(len(values), bool)
        if self.at_least is not None:
            failed |= values < self.at_least
        if self.at_most is not None:
            failed |= values > self.at_most
        if self.spares_zero:
            failed &= values != 0
        if self.unless_after is not None:
            other, other_known = _values(columns[self.unless_after])
            failed &= ~(other_known & (other < values))
        return failed & known


def _values(column: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """A column's numbers, 0 for null, and where it is not null."""
    return np.asarray(column.fill_null(0)), np.asarray(column.is_valid())


def parameters(families: Iterable[str], thresholds: Mapping[str, Any]) -> dict[str, Any]:
    """Every parameter's value.

    Args:
        families: those taken whole, with the owner's defaults.
        thresholds: the user's own values; None switches a rule off.

    Returns:
        All PARAMETERS. Bounds of families that are not taken are None unless given.
    """
    whole = set(families)
    values = {name: p.default if p.family in whole or not p.is_bound else None for name, p in PARAMETERS.items()}
    for name, value in thresholds.items():
        keeps_default = value is None and PARAMETERS[name].kind in (STRINGS, CHARACTERS)
        values[name] = PARAMETERS[name].default if keeps_default else value
    for name in ("top_n_grams", "dup_n_grams"):
        values[name] = n_gram_bounds(values[name])
    return values


def n_gram_bounds(value: Any) -> dict[int, float]:
    """``{n: bound}`` of a mapping or of pairs, in the order given; none for None."""
    pairs = value.items() if isinstance(value, Mapping) else value or ()
    return {int(n): bound for n, bound in pairs if bound is not None}


def rules(values: Mapping[str, Any], order: Iterable[str]) -> tuple[Rule, ...]:
    """The rules in force.

    Args:
        values: of ``parameters``.
        order: families that go first; the others follow in the order of FAMILIES.
    """
    made = {GOPHER: _gopher_rules, C4: _c4_rules, FINEWEB: _fineweb_rules}
    families = dict.fromkeys((*order, *FAMILIES))
    return tuple(rule for family in families for rule in made[family](values))


def _gopher_rules(values: Mapping[str, Any]) -> Iterator[Rule]:
    """Repetition, then quality."""
    repetition = list(_gopher_repetition(values))
    if repetition:
        yield Rule(GOPHER, "empty", "n_characters", at_least=1)
    yield from repetition
    bounds = (
        ("gopher_short_doc", "n_non_symbol_words", "min_doc_words", None),
        ("gopher_long_doc", "n_non_symbol_words", None, "max_doc_words"),
        ("gopher_below_avg_threshold", "mean_word_length", "min_avg_word_length", None),
        ("gopher_above_avg_threshold", "mean_word_length", None, "max_avg_word_length"),
        ("gopher_too_many_hashes", "hash_ratio", None, "max_symbol_word_ratio"),
        ("gopher_too_many_ellipsis", "ellipsis_ratio", None, "max_symbol_word_ratio"),
        ("gopher_too_many_bullets", "bullet_lines_ratio", None, "max_bullet_lines_ratio"),
        ("gopher_too_many_end_ellipsis", "ellipsis_lines_ratio", None, "max_ellipsis_lines_ratio"),
        ("gopher_below_alpha_threshold", "alpha_words_ratio", "max_non_alpha_words_ratio", None),
        ("gopher_enough_stop_words", "n_stop_words", "min_stop_words", None),
    )
    for code, signal, at_least, at_most in bounds:
        low, high = (values[name] if name else None for name in (at_least, at_most))
        if low is not None or high is not None:
            yield Rule(GOPHER, code, signal, low, high)


def _gopher_repetition(values: Mapping[str, Any]) -> Iterator[Rule]:
    for name in ("dup_para_frac", "dup_para_char_frac", "dup_line_frac", "dup_line_char_frac"):
        if values[name] is not None:
            yield Rule(GOPHER, name, name, at_most=values[name])
    for n, bound in values["top_n_grams"].items():
        yield Rule(GOPHER, top_name(n), top_name(n), at_most=bound)
    for n, bound in values["dup_n_grams"].items():
        yield Rule(GOPHER, repeated_name(n), repeated_name(n), at_most=bound)


def _c4_rules(values: Mapping[str, Any]) -> Iterator[Rule]:
    """Of "lorem ipsum" and a curly bracket the one that comes first condemns the document, where both do."""
    curly = "c4_curly_bracket_line" if values["filter_curly_bracket"] else None
    if values["filter_lorem_ipsum"]:
        yield Rule(C4, "lorem_ipsum", "c4_lorem_ipsum_line", at_most=0, unless_after=curly)
    if curly:
        yield Rule(C4, "curly_bracket", curly, at_most=0)
    if values["min_num_sentences"] is not None:
        yield Rule(C4, "too_few_sentences", "c4_n_sentences", at_least=values["min_num_sentences"])


def _fineweb_rules(values: Mapping[str, Any]) -> Iterator[Rule]:
    tests = [
        Rule(FINEWEB, "line_punct_ratio", "line_punct_ratio", values["line_punct_thr"], None, bool(values["line_punct_exclude_zero"])),
        Rule(FINEWEB, "short_line_ratio", "short_line_ratio", None, values["short_line_thr"]),
        Rule(FINEWEB, "char_dup_ratio", "char_dup_ratio", None, values["char_duplicates_ratio"]),
        Rule(FINEWEB, "list_ratio", "list_ratio", None, values["new_line_ratio"]),
    ]
    in_force = [rule for rule in tests if rule.at_least is not None or rule.at_most is not None]
    if in_force:
        yield Rule(FINEWEB, "empty", "n_full_lines", at_least=1)
    yield from in_force


def codes(chain: Iterable[Rule]) -> tuple[str, ...]:
    """The reasons a chain of rules can give, each once, in order."""
    return tuple(dict.fromkeys(rule.code for rule in chain))


def first_failures(chain: Iterable[Rule], columns: Mapping[str, pa.Array], n: int) -> np.ndarray:
    """For each of ``n`` documents the place in ``codes(chain)`` of the first rule it fails, -1 for none; int32."""
    chain = tuple(chain)
    known = codes(chain)
    reasons = np.full(n, -1, np.int32)
    for rule in reversed(chain):
        reasons[rule.fails(columns)] = known.index(rule.code)
    return reasons
