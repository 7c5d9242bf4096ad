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
from curate.hashing import U64, id_keys
from curate.selection.groups import StrataCut, by_strata, by_values
from curate.selection.ordering import END, START, WIDTH, Kind, Place, Places, keys_of, kind_of, numbers, value_of
from curate.selection.rules import Rule
from curate.selection.thresholds import concerned, judge
from curate.selection.within import label_of

# One purpose for all rules and rates: a smaller random window of a seed lies inside a larger one.
RANDOM = "selection"


@dataclass(frozen=True)
class GroupCut:
    """The window of one group: documents with ``lower <= place < upper`` are kept.

    Args:
        group: label of the group (``within.label_of``): the value of a single string column, None for its nulls
            or without ``within``.
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
    """The boundaries of one percentile rule. ``kind`` tells how scores became keys, ``strata`` where its strata lie."""

    kind: Kind
    groups: tuple[GroupCut, ...]
    strata: tuple[StrataCut, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As plain JSON; integers use all 64 bits."""
        return {"kind": self.kind, "groups": [asdict(g) for g in self.groups], "strata": [asdict(s) for s in self.strata]}

    @classmethod
    def from_json(cls, given: dict[str, Any]) -> Cut:
        """The inverse of ``to_json``."""
        groups = [GroupCut(**{**g, "lower": tuple(g["lower"]), "upper": tuple(g["upper"])}) for g in given["groups"]]
        strata = [StrataCut(s["group"], tuple(tuple(edge) for edge in s["edges"])) for s in given["strata"]]
        return cls(given["kind"], tuple(groups), tuple(strata))

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


def ranked(rule: Rule, table: pa.Table, alive: np.ndarray, strata: Sequence[StrataCut] = ()) -> Ranked:
    """The rows of ``table`` that are alive (bool N), concern the rule and have a score.

    Args:
        strata: where the strata of the rule lie, if it has any.

    Raises:
        InputError: a ranked document without a weight, or with a negative one.
    """
    values, valid = numbers(table[rule.column])
    rows = np.flatnonzero(alive & valid & concerned(rule, table))
    grouped = by_values(rule, table, rows)
    if rule.strata is not None:
        grouped = by_strata(rule, table, rows, grouped, strata)
    labels = tuple(label_of(rule.within, parts) for parts in grouped.parts)
    kind = kind_of(values) if rule.seed is None else "hash"
    keys = keys_of(values[rows]) if rule.seed is None else id_keys(rule.seed, RANDOM, table["doc_id"])[rows]
    return Ranked(rows, Places(keys, table, rows), grouped.group, labels, _weights(rule, table, rows), kind)


def stratified(rule: Rule, table: pa.Table, alive: np.ndarray) -> Ranked:
    """What the strata of a rule are cut from: the rows it ranks that have a value in their column, ordered by it, each counting 1."""
    assert rule.strata is not None
    _, scored = numbers(table[rule.column])
    values, valid = numbers(table[rule.strata.column])
    rows = np.flatnonzero(alive & scored & valid & concerned(rule, table))
    grouped = by_values(rule, table, rows)
    labels = tuple(label_of(rule.within, parts) for parts in grouped.parts)
    return Ranked(
        rows, Places(keys_of(values[rows]), table, rows), grouped.group, labels, np.ones(len(rows), dtype=np.int64), kind_of(values)
    )


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
    shard, inside = judged(rule, cut, table, alive)
    return fallen(rule, table, alive, shard, inside)


def judged(rule: Rule, cut: Cut | None, table: pa.Table, alive: np.ndarray) -> tuple[Ranked, np.ndarray]:
    """The rows that a percentile rule ranks, and whether each lies in its window: bool (R). Arguments as for ``outcome``."""
    if cut is None:
        raise IntegrityError(
            "a percentile rule is applied before its cut is found",
            where=f"rule {rule.code}",
            expected="one cut for every rule that ranks",
            fix="find the cuts of all earlier rules first",
        )
    shard = ranked(rule, table, alive, cut.strata)
    return shard, _inside(rule, cut, shard)


def fallen(rule: Rule, table: pa.Table, alive: np.ndarray, shard: Ranked, inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What a percentile rule does, as ``outcome`` says it, from what it ``judged``."""
    has_place = np.zeros(len(table), dtype=bool)
    has_place[shard.rows] = True
    failed = np.zeros(len(table), dtype=bool)
    failed[shard.rows] = ~inside
    return failed, alive & concerned(rule, table) & ~has_place & (rule.nulls == "drop")


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
    for label in shard.labels:
        if label not in found:
            raise IntegrityError(
                f"no cut was found for the group {label!r}",
                where=f"rule {rule.code}",
                expected=f"cuts found on these documents; groups known: {len(found)}",
                fix="find the cuts again on this corpus",
            )
    lower, upper = edges_of(cut, shard.labels)
    return ~shard.places.below(lower, shard.group) & shard.places.below(upper, shard.group)


def edges_of(cut: Cut, labels: Sequence[str | None]) -> tuple[np.ndarray, np.ndarray]:
    """The lower and upper edges of the groups with these labels, uint64 (G, 5) each."""
    found = {g.group: g for g in cut.groups}
    lower, upper = ([found[label].lower for label in labels], [found[label].upper for label in labels])
    return np.array(lower, dtype=U64).reshape(-1, WIDTH), np.array(upper, dtype=U64).reshape(-1, WIDTH)
