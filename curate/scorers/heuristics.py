"""Rule filters as a scorer: a verdict with the owner's reason, and every signal the rules look at as a column.

    - heuristics: {preset: gopher@datatrove}
    - heuristics: {preset: [gopher@datatrove, fineweb@datatrove, c4@datatrove]}
    - heuristics: {preset: gopher@datatrove, thresholds: {min_doc_words: 30, dup_line_frac: null}}

A select rule ``{verdict: heuristics}`` drops what failed; a rule on a column of signals is another threshold, without
another look at the text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from curate.errors import ConfigError, nearest
from curate.heuristics import presets
from curate.heuristics.counting import DocumentCounter, What, lexicon_of
from curate.heuristics.lines import LineRules
from curate.heuristics.presets import PARAMETERS, PRESETS, Rule
from curate.heuristics.signals import C4, FINEWEB, GOPHER, Signal, signals
from curate.scorers.scorer import Scorer, columns

FAST, SPACY = "fast", "spacy"
LARGEST_N_GRAM = 64
CODES = pa.dictionary(pa.int32(), pa.string())


@dataclass
class Heuristics(Scorer):
    """Verdict, reason and signals of rule filters.

    Args:
        preset: one of ``gopher@datatrove``, ``c4@datatrove``, ``fineweb@datatrove``, or a list of them; their rules apply
            in this order.
        thresholds: own values of the owner's parameters, over the presets or alone; null switches a rule off.
        words: ``fast`` splits words in compiled code, ``spacy`` by the owner's own splitter, fifty times slower.
    """

    preset: str | list[str] = field(default_factory=list)
    thresholds: dict[str, Any] = field(default_factory=dict)
    words: str = FAST

    def check(self) -> None:
        """Raise ConfigError for presets or thresholds that are unknown or contradict each other, or without spaCy where it is asked for."""
        _check_presets(self._presets)
        for name, value in self.thresholds.items():
            _check_threshold(name, value)
        _check_pairs(presets.parameters(self._families, self.thresholds))
        if not self._rules:
            raise ConfigError(
                "no rule is in force",
                where="heuristics",
                expected="a preset, or thresholds that switch rules on",
                fix=f"name a preset: {', '.join(PRESETS)}",
            )
        if self.words not in (FAST, SPACY):
            raise ConfigError(
                f"there is no way {self.words!r} to split words", where="heuristics.words", expected="fast or spacy", fix="use one of them"
            )
        if self.words == SPACY and find_spec("spacy") is None:
            raise ConfigError(
                "the owner's word splitter needs spaCy, which is not installed",
                where="heuristics.words",
                expected="an installed package spacy",
                fix="install spacy, or use `words: fast`",
            )

    @property
    def outputs(self) -> pa.Schema:
        """``keep``, ``reason``, ``<family>_reason`` of each family, and the signals."""
        described = columns(keep=(pa.bool_(), "verdict", "higher"))
        reasons = [_reason_field("reason", self._rules)]
        reasons += [_reason_field(f"{family}_reason", self._rules_of(family)) for family in self._used]
        measured = columns(**{signal.name: (signal.kind, signal.unit, signal.direction) for signal in self._signals})
        return pa.schema([*described, *reasons, *measured])

    def load(self, state: Path | None) -> None:
        """Build the tables and the working memory."""
        values = self._values
        marks = values["stop_chars"]
        lexicon = lexicon_of(tuple(values["stop_words"]), None if marks is None else tuple(marks))
        self._counter = DocumentCounter(self._what, lexicon)

    def score(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Everything of ``outputs``; a null text has nulls throughout."""
        text = batch["text"]
        null = np.asarray(text.is_null())
        counts = self._counter.counts(text)
        measured = {signal.name: signal.column(counts, null) for signal in self._signals}
        reasons = [_reasons(chain, measured, null) for chain in (self._rules, *map(self._rules_of, self._used))]
        keep = pa.array(np.asarray(reasons[0].is_null()), mask=null)
        return pa.record_batch([keep, *reasons, *measured.values()], schema=self.outputs)

    @property
    def _presets(self) -> list[str]:
        return [self.preset] if isinstance(self.preset, str) else list(self.preset)

    @property
    def _families(self) -> list[str]:
        return [PRESETS[name] for name in self._presets]

    @cached_property
    def _values(self) -> dict[str, Any]:
        return presets.parameters(self._families, self.thresholds)

    @cached_property
    def _rules(self) -> tuple[Rule, ...]:
        return presets.rules(self._values, self._families)

    @cached_property
    def _used(self) -> tuple[str, ...]:
        """Families that have a rule in force, in the order of their rules."""
        return tuple(dict.fromkeys(rule.family for rule in self._rules))

    def _rules_of(self, family: str) -> tuple[Rule, ...]:
        return tuple(rule for rule in self._rules if rule.family == family)

    @cached_property
    def _signals(self) -> tuple[Signal, ...]:
        what = self._what
        return signals(self._used, what.top_sizes.tolist(), what.repeated_sizes.tolist())

    @cached_property
    def _what(self) -> What:
        values = self._values
        longest = values["max_word_length"]
        lines = LineRules(
            -1 if longest is None else int(longest),
            int(values["min_words_per_line"] or 0),
            *(bool(values[name]) for name in ("remove_citations", "filter_no_terminal_punct", "filter_javascript", "filter_policy")),
        )
        used = (GOPHER in self._used, C4 in self._used, FINEWEB in self._used)
        sizes = (np.array(sorted(values[name]), np.int64) for name in ("top_n_grams", "dup_n_grams"))
        return What(*used, self.words == FAST, int(values["short_line_length"]), lines, *sizes)


def _reason_field(name: str, chain: tuple[Rule, ...]) -> pa.Field:
    return pa.field(name, CODES, metadata={"unit": "code", "direction": "none", "codes": ",".join(presets.codes(chain))})


def _reasons(chain: tuple[Rule, ...], measured: Mapping[str, pa.Array], null: np.ndarray) -> pa.Array:
    """The code of the first rule each document fails, null for those that fail none or have no text."""
    places = presets.first_failures(chain, measured, len(null))
    indices = pa.array(places, pa.int32(), mask=null | (places < 0))
    return pa.DictionaryArray.from_arrays(indices, pa.array(presets.codes(chain), pa.string()))


def _check_presets(names: list[str]) -> None:
    for name in names:
        if name not in PRESETS:
            raise ConfigError(
                f"there is no preset {name!r}", where="heuristics.preset", expected="a known preset", fix=nearest(name, list(PRESETS))
            )
    if len(set(names)) < len(names):
        raise ConfigError("a preset is named twice", where="heuristics.preset", expected="each preset once", fix="remove one of them")


def _check_threshold(name: str, value: Any) -> None:
    """Refuse a threshold that is unknown or has no possible value."""
    where = f"heuristics.thresholds.{name}"
    if name not in PARAMETERS:
        raise ConfigError(
            f"there is no threshold {name!r}", where=where, expected="a parameter of a preset", fix=nearest(name, list(PARAMETERS))
        )
    kind = PARAMETERS[name].kind
    if value is None and name != "short_line_length":
        return
    if not _possible(kind, value):
        raise ConfigError(f"{name!r} cannot be {value!r}", where=where, expected=kind, fix="correct the value; null switches a rule off")


def _possible(kind: str, value: Any) -> bool:
    """Whether a value is of a kind of ``presets``."""
    if kind == presets.SWITCH:
        return isinstance(value, bool)
    if kind in (presets.STRINGS, presets.CHARACTERS):
        strings = isinstance(value, list | tuple) and all(isinstance(item, str) and item for item in value)
        return strings and (kind == presets.STRINGS or all(len(mark) == 1 for mark in value))
    if kind == presets.N_GRAMS:
        return _possible_n_grams(value)
    number = isinstance(value, int | float) and not isinstance(value, bool) and value >= 0 and value != float("inf")
    if kind == presets.COUNT:
        return number and int(value) == value
    return number and (kind == presets.NUMBER or value <= 1)


def _possible_n_grams(value: Any) -> bool:
    """Whether a value is ``{n: bound}`` or pairs of them, each n once."""
    pairs = list(value.items()) if isinstance(value, Mapping) else value
    if not isinstance(pairs, list | tuple) or not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs):
        return False
    sizes = [str(n) for n, _ in pairs]
    known = all(size.isdecimal() and size.isascii() and 1 <= int(size) <= LARGEST_N_GRAM for size in sizes)
    return known and len({int(size) for size in sizes}) == len(sizes) and all(b is None or _possible(presets.FRACTION, b) for _, b in pairs)


def _check_pairs(values: Mapping[str, Any]) -> None:
    """Refuse a lower bound above its upper bound."""
    for low, high in (("min_doc_words", "max_doc_words"), ("min_avg_word_length", "max_avg_word_length")):
        if values[low] is not None and values[high] is not None and values[low] > values[high]:
            raise ConfigError(
                f"no document passes: {low} is {values[low]} and {high} is {values[high]}",
                where=f"heuristics.thresholds.{low}",
                expected=f"{low} no greater than {high}",
                fix=f"lower {low} or raise {high}",
            )
