"""The rounds of a mixer that weighs documents, over the parts of a corpus; and its statistics.

Everything that crosses from parts to the driver is small: ranges, histograms, exact sums.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from curate.mixers.document_mixer import Budget
from curate.mixing.copies import PartGroups
from curate.mixing.rules import ByDocument
from curate.mixing.task import MixTask, read_rows

Map = Callable[[Callable[[Any], Any], Sequence[Any]], list[Any]]


def part_facts(task: MixTask) -> Any:
    """What one part tells the mixer of its documents."""
    rule = task.rule
    assert isinstance(rule, ByDocument)
    rows = read_rows(task, rule.columns)
    length_N = rows.length_N if rows.keep_N.all() else rows.length_N[rows.keep_N]
    return rule.mixer.facts(rows.kept(rule.columns), length_N, rule.learned)


def learn_documents(map_parts: Map, tasks: Sequence[MixTask], rule: ByDocument, budget: Budget) -> ByDocument:
    """Run the mixer's rounds over all parts, until it knows the weight of any document.

    Args:
        map_parts: applies a function to every task, on whatever workers there are.

    Raises:
        CurateError: as the mixer raises it: missing signals it refuses, a budget out of reach.
    """
    while rule.learned is None or not rule.mixer.is_ready(rule.learned):
        told = map_parts(part_facts, [replace(task, rule=rule) for task in tasks])
        rule = ByDocument(rule.mixer, rule.mixer.learn(told, rule.learned, budget))
    return rule


def statistics_table(rule: ByDocument, domains: Sequence[str], parts: Sequence[PartGroups]) -> pa.Table | None:
    """Documents and amounts by domain and bin of all parts: what other settings can be tried on.

    Returns:
        domain, the mixer's columns of a bin, n_documents, amount; ordered by domain and bin. None where a mixer has no bins.
    """
    if any(part.bins is None for part in parts):
        return None
    found = np.concatenate([part.bins for part in parts if part.bins is not None], axis=1)
    width = int(found[1].max(initial=0)) + 1
    keys, at = np.unique(found[0] * width + found[1], return_inverse=True)
    sums = np.zeros((2, len(keys)), np.int64)
    np.add.at(sums[0], at, found[2])
    np.add.at(sums[1], at, found[3])
    own = rule.mixer.statistics(keys % width, rule.learned)
    names = pa.DictionaryArray.from_arrays(pa.array((keys // width).astype(np.int32)), pa.array(list(domains)))
    return pa.table({"domain": names, **{name: own[name] for name in own.column_names}, "n_documents": sums[0], "amount": sums[1]})
