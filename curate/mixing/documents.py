"""The rounds of a mixer that weighs documents: facts, cells, a decision; and its statistics.

Everything that crosses from parts to the driver is small: ranges, sums, whole numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from curate.kernels.length_walk import cell_sums
from curate.mixers.document_mixer import Budget, Decision, gather
from curate.mixing.copies import PartGroups
from curate.mixing.rules import ByDocument
from curate.mixing.task import MixTask, read_rows

Map = Callable[[Callable[[Any], Any], Sequence[Any]], list[Any]]


def part_facts(task: MixTask) -> Any:
    """What one part tells the mixer of its documents."""
    rule = task.rule
    assert isinstance(rule, ByDocument)
    return rule.mixer.facts(read_rows(task, rule.columns).kept(rule.columns), rule.learned)


def part_cells(task: MixTask) -> np.ndarray:
    """Cell, documents and amount of every cell the part has documents in: int64 (3, E)."""
    rule = task.rule
    assert isinstance(rule, ByDocument)
    rows = read_rows(task, rule.columns)
    cell_N = rule.cells(rows.table, rows.keep_N)
    return cell_sums(cell_N, rows.length_N)


@dataclass(frozen=True)
class Decided:
    """A rule that knows its weights.

    Args:
        decision: what the mixer decided, with its diagnostics.
    """

    rule: ByDocument
    decision: Decision


def decide_documents(map_parts: Map, tasks: Sequence[MixTask], rule: ByDocument, budget: Budget) -> Decided:
    """Run the mixer's rounds over all parts.

    Args:
        map_parts: applies a function to every task, on whatever workers there are.

    Raises:
        CurateError: as the mixer raises it: missing signals it refuses, a budget out of reach.
    """
    mixer, learned = rule.mixer, None
    for _ in range(mixer.rounds):
        told = map_parts(part_facts, [replace(task, rule=ByDocument(mixer, learned)) for task in tasks])
        learned = mixer.learn(told, learned)
    sums = map_parts(part_cells, [replace(task, rule=ByDocument(mixer, learned)) for task in tasks])
    cells = gather(mixer.n_cells(learned), sums)
    decision = mixer.decide(learned, cells, budget)
    return Decided(ByDocument(mixer, learned, decision, mixer.binning(learned, cells)), decision)


def statistics_table(rule: ByDocument, domains: Sequence[str], parts: Sequence[PartGroups]) -> pa.Table:
    """Documents and amounts by domain and bin of all parts: what other settings can be tried on.

    Returns:
        domain, the mixer's columns of a bin, n_documents, amount; ordered by domain and bin.
    """
    found = np.concatenate([part.bins for part in parts], axis=1)
    width = int(found[1].max(initial=0)) + 1
    keys, at = np.unique(found[0] * width + found[1], return_inverse=True)
    sums = np.zeros((2, len(keys)), np.int64)
    np.add.at(sums[0], at, found[2])
    np.add.at(sums[1], at, found[3])
    own = rule.mixer.statistics(rule.binning, rule.learned, keys % width)
    names = pa.DictionaryArray.from_arrays(pa.array((keys // width).astype(np.int32)), pa.array(list(domains)))
    columns = {"domain": names, **{name: own[name] for name in own.column_names}, "n_documents": sums[0], "amount": sums[1]}
    return pa.table(columns)
