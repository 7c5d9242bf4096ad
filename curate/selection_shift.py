"""What a selection did to domain, language and length, for whoever asks whether that alone explains what comes of it.

Weights of groups say what to expect; this is what happened, from narrow columns read part by part. English benchmarks
mostly choose English pages first (arXiv 2409.05816), so shares of values are told beside those of domains. The figures
of page classifiers stand here too: they are about labels of groups, and say nothing of the quality of a page.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.corpus import CORRELATE, Corpus
from curate.errors import InputError
from curate.selection.histograms import at_quantile, length_buckets, length_of

KEEP = "selection.keep"
QUANTILES = (10, 50, 90)  # per cent, of n_bytes
_CLASSIFIER = "curate.scorers.correlation_classifier:CorrelationClassifier"
_REPORT = "report.json"


@dataclass(frozen=True)
class Shift:
    """A corpus before and after its selection.

    Args:
        unit: what shares are of, tokens or bytes.
        composition: column -> lines of ``value`` (None for null), ``before`` and ``after`` as shares of the text, the
            largest first.
        n_documents: before and after.
        amount: text before and after, in ``unit``.
        lengths: n_bytes at 10, 50 and 90 per cent before and after, to 1.6 %; None where nothing is left.
    """

    unit: str
    composition: dict[str, list[dict[str, Any]]]
    n_documents: tuple[int, int]
    amount: tuple[int, int]
    lengths: tuple[tuple[int, ...] | None, tuple[int, ...] | None]


def selection_shift(corpus: Corpus) -> Shift | None:
    """The shift of domains and of the columns that ``correlate:`` describes; None without correlations or a selection."""
    entry = corpus.manifest.stages.get(CORRELATE)
    if entry is None or not corpus.is_selected:
        return None
    described = list(dict.fromkeys(["domain", *entry.identity["describe"]]))
    length = entry.identity["length"]
    amounts: dict[str, tuple[Counter[Any], Counter[Any]]] = {name: (Counter(), Counter()) for name in described}
    buckets = [np.zeros(0, np.int64), np.zeros(0, np.int64)]
    n_documents = [0, 0]
    for table in corpus.batches(list(dict.fromkeys([*described, length, "n_bytes", KEEP]))):
        kept = table.filter(pc.fill_null(table[KEEP], False))
        for side, rows in enumerate((table, kept)):
            n_documents[side] += rows.num_rows
            buckets[side] = _added(buckets[side], np.bincount(length_buckets(_integers(rows["n_bytes"]))))
            for name in described:
                amounts[name][side].update(_by_value(rows[name], rows[length]))
    composition = {name: _lines(*sides) for name, sides in amounts.items()}
    total = tuple(sum(side.values()) for side in amounts["domain"])
    first, second = (_quantiles(counts) for counts in buckets)
    return Shift(
        "bytes" if length == "n_bytes" else "tokens", composition, (n_documents[0], n_documents[1]), (total[0], total[1]), (first, second)
    )


def classifier_reports(corpus: Corpus) -> dict[str, dict[str, Any]]:
    """What page classifiers of groups left about their held-out pages: scorer -> its report.

    Raises:
        InputError: a report cannot be read.
    """
    found = {}
    for name in corpus.learned(_REPORT):
        if corpus.manifest.stages[f"fit/{name}"].identity["scorer"]["class"] != _CLASSIFIER:
            continue
        path = f"models/{name}/{_REPORT}"
        try:
            report = json.loads(corpus.folder.read(path))
            found[name] = report | {"measured": report["held_out_against_labels_of_groups"]}
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                "what a page classifier has left is damaged", where=corpus.folder.at(path), expected="the figures of its held-out pages",
                fix=f"remove records/fit/{name}/model.json and run the pipeline again",
            ) from error  # fmt: skip
    return found


def classifier_told(report: Mapping[str, Any]) -> str:
    """What a page classifier finds of the labels it was given, in sentences."""
    measured = report["measured"]
    n_include, n = measured["n_include"], measured["n_include"] + measured["n_exclude"]
    precision, recall, area = (measured[key] for key in ("precision_above_0.5", "recall_above_0.5", "roc_auc"))
    said = f"Of {n:,} pages held out, {n_include:,} ({n_include / max(n, 1):.0%}) are of groups with weight for {report['target']!r}. "
    if precision is None:
        said += "None has a score above 0.5."
    else:
        said += f"Of those with a score above 0.5, {precision:.0%} are of such groups (precision)"
        said += "." if recall is None else f", and {recall:.0%} of the pages of such groups have one (recall)."
    if area is not None:
        said += f" A page of such a group has the higher score of two in {area:.1%} of pairs (area under ROC; chance gives 50%)."
    inside = measured.get("roc_auc_inside")
    if inside is not None and area is not None:
        said += f" Inside each {measured['within']} that is {inside:.1%}"
        mostly = area > 0.5 and inside - 0.5 < (area - 0.5) / 2
        said += f": most of what it tells apart is {measured['within']} itself." if mostly else "."
    return said + " Labels are those of groups: a good page of a group without weight counts as an error."


def _by_value(column: pa.ChunkedArray, amount: pa.ChunkedArray) -> dict[Any, int]:
    """The amount of every value of one part; null is a value."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    plain = pa.table({"value": column, "amount": pa.chunked_array([pa.array(_integers(amount))])})
    found = plain.group_by("value", use_threads=False).aggregate([("amount", "sum")])
    return dict(zip(found["value"].to_pylist(), found["amount_sum"].to_pylist(), strict=True))


def _lines(before: Counter[Any], after: Counter[Any]) -> list[dict[str, Any]]:
    """Shares of every value, the largest in either first."""
    totals = [max(sum(side.values()), 1) for side in (before, after)]
    lines = [{"value": value, "before": before[value] / totals[0], "after": after[value] / totals[1]} for value in before]
    return sorted(lines, key=lambda line: (-max(line["before"], line["after"]), str(line["value"])))


def _integers(column: pa.ChunkedArray) -> np.ndarray:
    """N int64, 0 for null."""
    return np.asarray(pc.fill_null(column, 0).cast(pa.int64()).to_numpy())


def _added(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Counts of buckets, of which either may reach further."""
    long, short = (first, second) if len(first) >= len(second) else (second, first)
    long = long.copy()
    long[: len(short)] += short
    return long


def _quantiles(counts: np.ndarray) -> tuple[int, ...] | None:
    if not counts.sum():
        return None
    return tuple(length_of(at_quantile(counts, Fraction(q, 100))) for q in QUANTILES)
