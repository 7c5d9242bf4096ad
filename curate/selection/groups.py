"""Which group of its rule each ranked row stands in. R is the ranked rows of a shard, G the groups among them, Q strata."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from curate.errors import IntegrityError
from curate.hashing import U64
from curate.selection.ordering import WIDTH, Place, Places, keys_of, numbers
from curate.selection.rules import Rule
from curate.selection.thresholds import coded
from curate.selection.within import Parts, label_of


@dataclass(frozen=True)
class StrataCut:
    """The Q - 1 places at which the documents of one group are cut into strata.

    Args:
        group: label of the values in the string columns of ``within``.
        edges: stratum k + 1 begins at ``edges[k]``, counting strata from 1.
    """

    group: str | None
    edges: tuple[Place, ...]


@dataclass(frozen=True)
class Grouped:
    """Rows with their groups: ``group`` is int64 (R), an index into ``parts`` (G), each of which has a row."""

    group: np.ndarray
    parts: tuple[Parts, ...]


def by_values(rule: Rule, table: pa.Table, rows: np.ndarray) -> Grouped:
    """The rows (R indices into ``table``) by their values in the string columns of the rule."""
    found = Grouped(np.zeros(len(rows), dtype=np.int64), ((),) if len(rows) else ())
    for name in rule.group_columns:
        codes, names = coded(table[name])
        # A dictionary may hold one string twice.
        values = tuple(dict.fromkeys(names))
        index = {value: i for i, value in enumerate(values)}
        found = _divided(found, np.array([index[value] for value in names], dtype=np.int64)[codes[rows]], values)
    return found


def by_strata(rule: Rule, table: pa.Table, rows: np.ndarray, found: Grouped, strata: Sequence[StrataCut]) -> Grouped:
    """Every group of ``found`` divided into its strata; rows without a value in their column are one more, None.

    Raises:
        IntegrityError: a group whose strata were not found.
    """
    assert rule.strata is not None
    values, valid = numbers(table[rule.strata.column])
    has = np.flatnonzero(valid[rows])
    places, owner = Places(keys_of(values[rows[has]]), table, rows[has]), found.group[has]
    edges = {s.group: s.edges for s in strata}
    labels = [label_of(rule.within, parts) for parts in found.parts]
    for i in np.unique(owner).tolist():
        if labels[i] not in edges:
            raise IntegrityError(
                f"no strata were found for the group {labels[i]!r}",
                where=f"rule {rule.code}",
                expected=f"strata found on these documents; groups known: {len(edges)}",
                fix="find the cuts again on this corpus",
            )
    n = rule.strata.quantiles
    unused = ((0,) * WIDTH,) * (n - 1)
    of_groups = np.array([edges.get(label, unused) for label in labels], dtype=U64).reshape(-1, n - 1, WIDTH)
    stratum = np.zeros(len(rows), dtype=np.int64)
    stratum[has] = 1
    for k in range(n - 1):
        stratum[has] += ~places.below(of_groups[:, k], owner)
    return _divided(found, stratum, (None, *range(1, n + 1)))


def _divided(found: Grouped, own: np.ndarray, values: Sequence[str | int | None]) -> Grouped:
    """Groups divided by one more part: ``own`` is int64 (R), an index into ``values``. Only groups with rows are left."""
    width = len(values)
    cell, n_cells = found.group * width + own, len(found.parts) * width
    if n_cells <= 4 * len(cell) + 1024:
        # Counting is linear; sorting is for columns with very many values.
        present = np.flatnonzero(np.bincount(cell, minlength=n_cells))
        position = np.zeros(n_cells, dtype=np.int64)
        position[present] = np.arange(len(present))
        group = position[cell]
    else:
        present, group = np.unique(cell, return_inverse=True)
    return Grouped(group, tuple((*found.parts[c // width], values[c % width]) for c in present.tolist()))
