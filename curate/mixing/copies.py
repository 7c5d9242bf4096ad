"""Weights to integer copies, part by part: the same for every mixer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from curate import sampling
from curate.corpus import SidecarWriter
from curate.hashing import row_keys
from curate.kernels.length_walk import cell_sums
from curate.manifest import Ledger, Record
from curate.mixing.outcome import Outcome, outcome
from curate.mixing.rules import ByDocument, Rule
from curate.mixing.task import MixTask, Rows, read_rows
from curate.sampling import LengthGroups

WEIGHTS = pa.schema(
    [
        pa.field("weight", pa.float32(), metadata={"unit": "expected copies", "direction": "none"}),
        pa.field("copies", pa.int16(), metadata={"unit": "copies", "direction": "none"}),
    ]
)
MOST_COPIES = 32767
EXTREMES = 5
"""Heaviest and lightest documents that are told with their reasons."""
_UNIT_BITS = 20  # expected amounts are summed in units of 2^-20, so that no order of summation shows


def domain_sums(task: MixTask) -> np.ndarray:
    """Kept documents, text bytes and amount per domain: int64 (D, 3)."""
    rows = read_rows(task)
    sums = np.zeros((len(task.domains), 3), np.int64)
    kept = rows.keep_N
    for column, values in enumerate((np.ones(len(kept), np.int64), rows.size_N, rows.length_N)):
        np.add.at(sums[:, column], rows.domain_N[kept], values[kept])
    return sums


@dataclass(frozen=True)
class PartGroups:
    """What the driver needs of a part once weights are known.

    Args:
        groups: lengths of fractions, per walk.
        expected_D: expected amount per domain, in units of 2^-20.
        bins: domain, bin, documents, amount (4, E) of a mixer of documents that gathers them in bins.
        outcome: of the weights of documents, where a mixer weighs them.
    """

    groups: LengthGroups
    expected_D: list[int]
    bins: np.ndarray | None = None
    outcome: Outcome | None = None


def part_groups(task: MixTask) -> PartGroups:
    """Fractions per (walk, length), and expected amounts, under the decided weights."""
    rule = _rule(task)
    rows = read_rows(task, rule.columns)
    given = rule.fixed(rows.table, rows.domain_N, rows.keep_N)
    fixed = np.maximum(given, 0)
    groups = sampling.length_groups(_walk(rule, rows), rows.length_N, fixed)
    expected = [0] * len(task.domains)
    for d in np.unique(rows.domain_N).tolist():
        own = rows.domain_N == d
        expected[d] = int(((fixed[own] >> (sampling.FRACTION_BITS - _UNIT_BITS)) * rows.length_N[own]).sum())
    if not isinstance(rule, ByDocument):
        return PartGroups(groups, expected)
    return PartGroups(groups, expected, _bins(rule, rows), _outcome(rule, rows, given, task.max_epochs))


def _outcome(rule: ByDocument, rows: Rows, given: np.ndarray, cap: float) -> Outcome:
    """Of the documents that have a weight, with the numbers shown beside it."""
    weighed = rows.keep_N & (given >= 0)
    table = rule.shown(rows.table, rows.keep_N)
    shown = {f.name: table[f.name].filter(pa.array(weighed)) for f in table.schema if pa.types.is_floating(f.type)}
    numbers = {name: column.to_numpy().astype(np.float64) for name, column in shown.items()}
    return outcome(given[weighed], rows.length_N[weighed], numbers, cap)


def expected_amounts(groups: Iterable[PartGroups]) -> np.ndarray:
    """Expected amount per domain over all parts (D)."""
    sums = [sum(column) for column in zip(*(g.expected_D for g in groups), strict=True)]
    return np.array([s / (1 << _UNIT_BITS) for s in sums])


def _rule(task: MixTask) -> Rule:
    assert task.rule is not None, "weights are not decided yet"
    return task.rule


def _walk(rule: Rule, rows: Rows) -> np.ndarray:
    """The walk of every document."""
    return rows.domain_N if rule.walks is None else np.zeros(len(rows.domain_N), np.int64)


def _bins(rule: ByDocument, rows: Rows) -> np.ndarray | None:
    """Documents and amount of every domain and bin."""
    kept_bins = rule.bins(rows.table, rows.keep_N)
    if kept_bins is None:
        return None
    held = kept_bins >= 0
    bins, domain, length = kept_bins[held], rows.domain_N[rows.keep_N][held], rows.length_N[rows.keep_N][held]
    width = int(bins.max(initial=0)) + 1
    keys, n, amount = cell_sums(domain * width + bins, length)
    return np.stack([keys // width, keys % width, n, amount])


def write_copies(task: MixTask) -> list[list[Any]]:
    """Decide and commit one part's copies.

    Returns:
        [domain, copy, documents, text bytes, amount] for every domain and copy number present.
    """
    rule = _rule(task)
    rows = read_rows(task, ["doc_id", "source", "source_row", *rule.columns])
    fixed = rule.fixed(rows.table, rows.domain_N, rows.keep_N)
    left_out, fixed = fixed < 0, np.maximum(fixed, 0)
    key = row_keys(task.seed, f"copies/{task.mix}", rows.table)
    copies = sampling.copies(_walk(rule, rows), rows.length_N, key, fixed, task.starts_G)
    table = pa.table([(fixed / sampling.ONE).astype(np.float32), copies.astype(np.int16)], schema=WEIGHTS)
    if isinstance(rule, ByDocument):
        for field, column in zip(rule.mixer.shown, rule.shown(rows.table, rows.keep_N).columns, strict=True):
            table = table.append_column(field, column)
    with SidecarWriter(task.corpus, "mix", task.part.name, table.schema, mix=task.mix) as sidecar:
        sidecar.write(rows.table["doc_id"], table)
    taken = copies > 0
    dropped = {
        "deselected": int((~rows.keep_N).sum()),
        "no_signal": int(left_out.sum()),
        "weight_zero": int((rows.keep_N & ~left_out & (fixed == 0)).sum()),
        "not_sampled": int((rows.keep_N & (fixed > 0) & ~taken).sum()),
    }
    ledger = Ledger(len(copies), int(taken.sum()), {reason: n for reason, n in dropped.items() if n})
    runs = _runs(task.domains, rows, copies)
    totals: dict[str, Any] = {"runs": runs}
    if isinstance(rule, ByDocument):
        totals["extremes"] = _extremes(rule, rows, rows.keep_N & ~left_out, table, key)
    Record(f"mix/{task.mix}", task.part.name, task.fingerprint, sidecar.file(), ledger, totals).commit(task.corpus)
    return runs


def _runs(domains: Sequence[str], rows: Rows, copies: np.ndarray) -> list[list[Any]]:
    """What each copy number of each domain holds."""
    runs = []
    for d in np.unique(rows.domain_N[copies > 0]).tolist():
        of_domain = rows.domain_N == d
        for copy in range(int(copies[of_domain].max())):
            chosen = of_domain & (copies > copy)
            runs.append([domains[d], copy, int(chosen.sum()), int(rows.size_N[chosen].sum()), int(rows.length_N[chosen].sum())])
    return runs


def _extremes(rule: ByDocument, rows: Rows, weighed_N: np.ndarray, weights: pa.Table, key_N: np.ndarray) -> dict[str, list[dict[str, Any]]]:
    """The part's heaviest and lightest documents, of those that are weighed, with the reasons of their weights."""
    kept = np.flatnonzero(weighed_N)
    order = kept[np.lexsort((key_N[kept], weights["weight"].to_numpy()[kept]))]
    whole = rows.table
    for field in weights.schema:
        whole = whole.append_column(field, weights[field.name])
    found = {}
    for end, chosen in (("heaviest", order[::-1][:EXTREMES]), ("lightest", order[:EXTREMES])):
        lines = whole.take(pa.array(chosen, pa.int64())).to_pylist()
        found[end] = [
            {
                "weight": line["weight"],
                "key": f"{key_N[row]:016x}",
                "doc_id": line["doc_id"].hex(),
                "domain": line["domain"],
                "n_bytes": line["n_bytes"],
                "copies": line["copies"],
                "reason": rule.mixer.reason(line),
            }
            for row, line in zip(chosen.tolist(), lines, strict=True)
        ]
    return found


def extremes_of(parts: Iterable[dict[str, list[dict[str, Any]]]]) -> dict[str, list[dict[str, Any]]]:
    """The heaviest and lightest documents of all parts."""
    parts = list(parts)

    def order(line: dict[str, Any]) -> tuple[float, str]:
        return line["weight"], line["key"]

    heaviest = sorted((line for part in parts for line in part["heaviest"]), key=order, reverse=True)
    lightest = sorted((line for part in parts for line in part["lightest"]), key=order)
    return {"heaviest": heaviest[:EXTREMES], "lightest": lightest[:EXTREMES]}
