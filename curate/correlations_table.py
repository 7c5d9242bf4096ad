"""What correlations found, as a person wants to read it in a terminal: enough to decide before anything is trained.

``facts`` is what the stage ``correlate`` leaves in the manifest, ``target`` one of its targets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from curate.evidence.interpretation import (
    PUBLISHED,
    best_and_worst,
    has_intervals,
    included_told,
    moved_told,
    settled_told,
    shown,
    spread_told,
    stability_told,
    times_chance,
    value_told,
    verdict,
)
from curate.evidence.loss_table import counted
from curate.quantities import count
from curate.selection_shift import Shift, classifier_told

MOST_TARGETS = 6  # told one by one; the report has them all
MOST_GROUPS = 5  # at either end
MOST_VALUES = 8
WORTH = {"unknown": "", "chance": "no more than chance", "small": "small", "wide": "more than chance"}
_STYLES = {"unknown": "dim", "chance": "yellow", "small": "yellow", "wide": "green"}


def correlations_summary(facts: Mapping[str, Any]) -> list[Any]:
    """The lines printed at the end of a run: every target's spread beside what permuted results give, and what has weight."""
    families = f"{facts['n_families']:,} famil{'y' if facts['n_families'] == 1 else 'ies'}"
    title = f"perplexity correlations: {len(facts['models']):,} models of {families}, {facts['n_groups']:,} groups by {facts['by']}"
    names = ("models", "10%", "median", "90%", "deviation", "permuted", "times", "spread")
    spreads = _plain(title, "target", *names, left=("target", "spread"))
    included = _plain("", "target", "settled", "included", "their share", left=("target",))
    included.title = None
    for target in facts["targets"]:
        spreads.add_row(Text(target["target"]), *_spread(target))
        held = target["included"]
        settled = f"{target['n_settled']:,}" if has_intervals(target) else ""
        included.add_row(Text(target["target"]), settled, f"{held['n_groups']:,}", f"{held['natural']:.1%}")
    return [spreads, included, *unknown_told(facts), *(Text(note, style="yellow") for note in facts["notes"])]


def _spread(target: Mapping[str, Any]) -> list[str | Text]:
    """One target's estimates without its name."""
    spread, null, times, worth = target["spread"], target["null_deviation"], times_chance(target), verdict(target)
    return [
        f"{target['n_models']:,}",
        *(f"{spread[q]:.3f}" for q in ("q10", "median", "q90")),
        f"{spread['deviation']:.3f}",
        f"{null['mean']:.3f}" if null else "",
        f"{times:.1f}" if times is not None else "",
        Text(WORTH[worth], style=_STYLES[worth]),
    ]


def unknown_told(facts: Mapping[str, Any]) -> list[Text]:
    """Groups of the corpus that losses do not know; nothing where there are none."""
    unknown = facts["without_estimate"]
    if not unknown["n_groups"]:
        return []
    examples = ", ".join(unknown["examples"][:5])
    said = f"without an estimate: {counted(unknown['n_groups'], 'group')}, {unknown['share']:.1%} of the {facts['unit']}: {examples}"
    return [Text(said, style="yellow" if unknown["share"] >= 0.05 else "dim")]


def correlations_detail(facts: Mapping[str, Any]) -> list[Any]:
    """Each target: its best and worst groups with intervals, what the weights do to the composition, and what that means."""
    blocks: list[Any] = []
    for target in facts["targets"][:MOST_TARGETS]:
        blocks += [_groups(target, facts), *_told(target, facts), *_expected(target, facts["unit"]), Text()]
    if len(facts["targets"]) > MOST_TARGETS:
        blocks += [Text(f"and {len(facts['targets']) - MOST_TARGETS:,} more targets: see the report", style="dim"), Text()]
    return [*blocks, Text(PUBLISHED, style="dim"), Text()]


def _groups(target: Mapping[str, Any], facts: Mapping[str, Any]) -> Table:
    """The best and the worst groups; what is among both is told once."""
    of = f" ({', '.join(target['benchmarks'])})" if len(target["benchmarks"]) > 1 else ""
    interval = f"{facts['confidence']:.0%} interval"
    names = ("group", facts["estimator"], interval, "p", "natural", "weight", "again")
    table = _plain(f"groups for {target['target']}{of}", *names, left=("group",))
    best, worst = best_and_worst(target, MOST_GROUPS)
    for i, line in enumerate([*best, *worst]):
        if worst and i == len(best):
            table.add_row("…")
        ends = "" if line["low"] is None else f"{line['low']:.3f} to {line['high']:.3f}"
        cells = [f"{line['estimate']:.3f}", ends, "" if line["p_value"] is None else f"{line['p_value']:.3f}", f"{line['natural']:.2%}"]
        again = "" if line["inclusion"] is None else f"{line['inclusion']:.0%}"
        table.add_row(
            Text(line["group"]),
            *cells,
            f"{line['weight']:.2%}",
            again,
            style="dim" if line["low"] is not None and not line["settled"] else "",
        )
    return table


def _told(target: Mapping[str, Any], facts: Mapping[str, Any]) -> list[Text]:
    n_groups = facts["n_groups"]
    settled = settled_told(target, n_groups, facts["confidence"])
    told = [spread_told(target, n_groups), settled, included_told(target, facts["filter_ratio"]), stability_told(target)]
    lines = [Text(part, style=_STYLES[verdict(target)] if i == 0 else "") for i, part in enumerate(told) if part]
    return [*([Text("dim: the interval holds 0", style="dim")] if has_intervals(target) else []), *lines]


def _expected(target: Mapping[str, Any], unit: str) -> list[Any]:
    """Shares of the text before, and as the weights would have them."""
    blocks: list[Any] = []
    for column, lines in target["composition"].items():
        blocks += _shares(f"share of {unit} by {column}, as the weights would have it", lines, "expected")
        blocks += [Text(moved_told(column, lines, "The weights move"), style="dim")]
    return blocks


def _shares(title: str, lines: Sequence[Mapping[str, Any]], after: str) -> list[Any]:
    """A title, which may be wider than its table, and the largest values."""
    table = _plain("", "value", "before", after, "factor", left=("value",))
    table.title = None
    for line in shown(lines, MOST_VALUES):
        factor = f"{line['after'] / line['before']:.2f}" if line["before"] else ""
        table.add_row(Text(value_told(line["value"])), f"{line['before']:.2%}", f"{line['after']:.2%}", factor)
    return [Text(title, style="bold"), table]


def shift_tables(shift: Shift) -> list[Any]:
    """What the selection did: shares of every described column, and lengths."""
    (n_before, n_after), (before, after) = shift.n_documents, shift.amount
    title = f"what the selection did: {n_after:,} of {n_before:,} documents, {count(after)} of {count(before)} {shift.unit}"
    blocks: list[Any] = [Text(title, style="bold")]
    for column, lines in shift.composition.items():
        blocks += _shares(f"share of {shift.unit} by {column}", lines, "kept")
        blocks += [Text(moved_told(column, lines, "The selection moved"), style="dim")]
    lengths = _plain("bytes of a document", "", "10%", "median", "90%", left=("",))
    for when, quantiles in zip(("before", "kept"), shift.lengths, strict=True):
        lengths.add_row(when, *("" for _ in range(3)) if quantiles is None else (f"{n:,}" for n in quantiles))
    return [*blocks, lengths, Text()]


def classifier_lines(reports: Mapping[str, Mapping[str, Any]]) -> list[Any]:
    """Page classifiers and what they find of the labels of groups."""
    return [Text.assemble((f"{name}: ", "bold"), classifier_told(report)) for name, report in reports.items()] + [Text()] * bool(reports)


def _plain(title: str, *columns: str, left: tuple[str, ...]) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, title_style="bold")
    for name in columns:
        table.add_column(
            name,
            justify="left" if name in left else "right",
            overflow="fold" if name in ("group", "value", "target") else "ellipsis",
            no_wrap=name not in left,
        )
    return table
