"""What a percentile rule becomes once its boundary is known: two places per group, which any shard can apply alone.

A cut is small, JSON-able and independent of shards: the same cut applied to the same
documents in any arrangement keeps the same ones. N is the rows of a table, R those ranked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from curate.errors import InputError, IntegrityError
from curate.hashing import U64
from curate.selection.ordering import END, START, Kind, Place, Places, keys_of, kind_of, numbers, value_of
from curate.selection.rules import Rule
from curate.selection.thresholds import coded, concerned, judge


@dataclass(frozen=True)
class GroupCut:
    """The window of one group: documents with ``lower <= place < upper`` are kept.

    Args:
        group: value of the rule's ``within`` column; None for the group of nulls, or without ``within``.
        n_documents: documents ranked.
        weight: their summed weight in the rule's ``by``.
        lower: first place kept.
        upper: first place above the window.
    """

    group: str | None
    n_documents: int
    weight: int
    lower: Place = START
    upper: Place = END


@dataclass(frozen=True)
class Cut:
    """The boundaries of one percentile rule. ``kind`` tells how scores became keys."""

    kind: Kind
    groups: tuple[GroupCut, ...]

    def to_json(self) -> dict[str, Any]:
        """As plain JSON; integers use all 64 bits."""
        return {"kind": self.kind, "groups": [asdict(g) for g in self.groups]}

    @classmethod
    def from_json(cls, given: dict[str, Any]) -> Cut:
        """The inverse of ``to_json``."""
        groups = [GroupCut(**{**g, "lower": tuple(g["lower"]), "upper": tuple(g["upper"])}) for g in given["groups"]]
        return cls(given["kind"], tuple(groups))

    def describe(self) -> list[dict[str, Any]]:
        """For people: per group the documents ranked and the scores at the edges, None where there is no bound.

        Documents that share the score at an edge may lie on either side of it.
        """
        return [
            {
                "group": g.group,
                "n_documents": g.n_documents,
                "weight": g.weight,
                "lower": None if g.lower == START else value_of(g.lower[0], self.kind),
                "upper": None if g.upper == END else value_of(g.upper[0], self.kind),
            }
            for g in self.groups
        ]


@dataclass(frozen=True)
class Ranked:
    """The rows of one shard that a percentile rule ranks.

    Args:
        rows: their indices in the table (R).
        places: where they stand in the order.
        group: index into ``labels`` (R).
        labels: the groups, each once.
        weights: int64 (R).
        kind: the type of the scores.
    """

    rows: np.ndarray
    places: Places
    group: np.ndarray
    labels: tuple[str | None, ...]
    weights: np.ndarray
    kind: Kind


def ranked(rule: Rule, table: pa.Table, alive: np.ndarray) -> Ranked:
    """The rows of ``table`` that are alive (bool N), concern the rule and have a score.

    Raises:
        InputError: a ranked document without a weight, or with a negative one.
    """
    values, valid = numbers(table[rule.column])
    rows = np.flatnonzero(alive & valid & concerned(rule, table))
    places = Places(keys_of(values[rows]), table, rows)
    labels: tuple[str | None, ...] = (None,)
    group = np.zeros(len(rows), dtype=np.int64)
    if rule.within is not None:
        codes, names = coded(table[rule.within])
        # A dictionary may hold one string twice, or strings that no row has.
        labels = tuple(dict.fromkeys(names))
        index = {name: i for i, name in enumerate(labels)}
        group = np.array([index[name] for name in names], dtype=np.int64)[codes[rows]]
    return Ranked(rows, places, group, labels, _weights(rule, table, rows), kind_of(values))


def _weights(rule: Rule, table: pa.Table, rows: np.ndarray) -> np.ndarray:
    """What each ranked document counts for."""
    if rule.weight_column is None:
        return np.ones(len(rows), dtype=np.int64)
    values, valid = numbers(table[rule.weight_column])
    weights = values[rows].astype(np.int64)
    bad = np.flatnonzero(~valid[rows] | (weights < 0))
    if len(bad):
        row = table.slice(int(rows[bad[0]]), 1)
        raise InputError(
            f"{len(bad)} documents have a score in {rule.column!r} but no usable weight in {rule.weight_column!r}",
            where=f"{row['source'][0].as_py()} row {row['source_row'][0].as_py()}",
            expected="a count of 0 or more wherever there is a score",
            fix="use `by: documents` or `by: bytes`, or drop those documents with an earlier rule",
        )
    return weights


def outcome(rule: Rule, cut: Cut | None, table: pa.Table, alive: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What one rule does to the documents still alive: (failed_N, missing_N), both bool and disjoint.

    Args:
        rule: a resolved rule.
        cut: its cut; None for rules that do not rank.
        table: N rows with the columns of the rule.
        alive: survivors of the earlier rules (N).

    Returns:
        Rows whose value fails the test, and rows dropped because they have no value.
    """
    if not rule.ranks:
        asked = alive & concerned(rule, table)
        passes, valid = judge(rule, table)
        return asked & valid & ~passes, asked & ~valid & (rule.nulls == "drop")
    if cut is None:
        raise IntegrityError(
            "a percentile rule is applied before its cut is found",
            where=f"rule {rule.code}",
            expected="one cut for every rule that ranks",
            fix="find the cuts of all earlier rules first",
        )
    asked = alive & concerned(rule, table)
    shard = ranked(rule, table, alive)
    has_place = np.zeros(len(table), dtype=bool)
    has_place[shard.rows] = True
    failed = np.zeros(len(table), dtype=bool)
    failed[shard.rows] = ~_inside(rule, cut, shard)
    return failed, asked & ~has_place & (rule.nulls == "drop")


def apply(rule: Rule, cut: Cut | None, table: pa.Table, alive: np.ndarray) -> np.ndarray:
    """The rows (bool N) of ``alive`` that survive the rule; arguments as for ``outcome``."""
    failed, missing = outcome(rule, cut, table, alive)
    return alive & ~failed & ~missing


def survivors(rules: Sequence[Rule], cuts: Sequence[Cut | None], table: pa.Table) -> np.ndarray:
    """The rows (bool N) that survive the first ``len(cuts)`` rules."""
    alive = np.ones(len(table), dtype=bool)
    for rule, cut in zip(rules, cuts, strict=False):
        alive = apply(rule, cut, table, alive)
    return alive


def _inside(rule: Rule, cut: Cut, shard: Ranked) -> np.ndarray:
    """Whether each ranked row lies in its group's window: bool (R)."""
    found = {g.group: g for g in cut.groups}
    for i in np.unique(shard.group).tolist():
        if shard.labels[i] not in found:
            raise IntegrityError(
                f"no cut was found for the group {shard.labels[i]!r}",
                where=f"rule {rule.code}",
                expected=f"cuts found on these documents; groups known: {len(found)}",
                fix="find the cuts again on this corpus",
            )
    unused = GroupCut(None, 0, 0)
    lower = np.array([found.get(name, unused).lower for name in shard.labels], dtype=U64)[shard.group]
    upper = np.array([found.get(name, unused).upper for name in shard.labels], dtype=U64)[shard.group]
    return ~shard.places.below(lower) & shard.places.below(upper)
