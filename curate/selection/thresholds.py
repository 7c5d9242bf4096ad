"""Rules that judge a document alone: bounds, exact values, rating levels. N is the number of rows."""

from __future__ import annotations

from math import ceil, floor
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.selection.kinds import is_text
from curate.selection.ordering import numbers, whole
from curate.selection.rules import Rule


def concerned(rule: Rule, table: pa.Table) -> np.ndarray:
    """Rows the rule speaks about: those with one of the ``only`` values in each named column; bool (N)."""
    rows = np.ones(len(table), dtype=bool)
    for name, values in rule.only.items():
        rows &= _among_texts(table[name], values)
    return rows


def judge(rule: Rule, table: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """A threshold rule on every row, whether concerned or not: (passes_N, has_value_N), both bool.

    ``passes`` is False wherever there is no value.
    """
    column = whole(table[rule.keep_column])
    if is_text(column.type):
        valid = np.asarray(column.is_valid())
        return valid & (_among_texts(column, rule.literals) ^ (rule.not_in is not None)), valid
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    values, valid = numbers(column)
    return valid & _holds(rule, values), valid


def _holds(rule: Rule, values: np.ndarray) -> np.ndarray:
    """The test on numbers; what it says of missing ones has no meaning."""
    if rule.verdict is not None:
        return values != 0
    if rule.levels is not None:
        nearest_level = np.floor(values + 0.5) if values.dtype.kind == "f" else values
        return np.isin(nearest_level, _as(values, rule.levels))
    if rule.literals:
        return np.isin(values, _as(values, rule.literals)) ^ (rule.not_in is not None)
    held = np.ones(len(values), dtype=bool)
    whole_numbers = values.dtype.kind != "f"
    # A fractional bound on integers becomes the integer that says the same, so that no value is rounded to float.
    if rule.min is not None:
        held &= values >= (ceil(rule.min) if whole_numbers else rule.min)
    if rule.max is not None:
        held &= values <= (floor(rule.max) if whole_numbers else rule.max)
    if rule.above is not None:
        held &= values > (floor(rule.above) if whole_numbers else rule.above)
    if rule.below is not None:
        held &= values < (ceil(rule.below) if whole_numbers else rule.below)
    return held


def reasons(rule: Rule, table: pa.Table) -> np.ndarray | None:
    """For a verdict with known reasons, each row's index into ``rule.codes``, -1 where it states none; int64 (N)."""
    if rule.reason_column is None:
        return None
    codes, names = coded(table[rule.reason_column])
    plain = {code.removeprefix(f"{rule.reason}:") if rule.reason else code: i for i, code in enumerate(rule.codes)}
    return np.array([plain.get(name, -1) if name is not None else -1 for name in names], dtype=np.int64)[codes]


def _as(values: np.ndarray, wanted: tuple[Any, ...]) -> np.ndarray:
    """Configured values in the column's own type; those outside its range can match nothing and are left out."""
    if values.dtype.kind == "f":
        return np.array([float(w) for w in wanted])
    span = np.iinfo(values.dtype)
    return np.array([int(w) for w in wanted if span.min <= int(w) <= span.max], dtype=values.dtype)


def _among_texts(column: pa.Array | pa.ChunkedArray, wanted: tuple[Any, ...]) -> np.ndarray:
    """Whether each string is one of the wanted ones, decided once per distinct string; null is not."""
    codes, names = coded(column)
    hit = np.array([name in wanted for name in names], dtype=bool)
    return hit[codes]


def coded(column: pa.Array | pa.ChunkedArray) -> tuple[np.ndarray, list[str | None]]:
    """A string column as (codes_N int64, names): row i holds names[codes[i]]; the last name is None, for nulls."""
    array = whole(column)
    if not pa.types.is_dictionary(array.type):
        array = pc.dictionary_encode(array)
    codes = np.asarray(pc.fill_null(array.indices.cast(pa.int64()), len(array.dictionary)))
    return codes, [*array.dictionary.to_pylist(), None]
