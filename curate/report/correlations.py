"""The sections on perplexity correlations: what estimates say before anything is trained, and what the selection then did."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from curate.corpus import CORRELATE, Corpus
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
from curate.plots import perplexity_correlations as drawings
from curate.plots.theme import share, svg
from curate.quantities import count
from curate.report.page import MOST_ROWS, Html, details, figure, joined, section, table, tag
from curate.report.sections import caption, said_shares
from curate.selection_shift import QUANTILES, classifier_reports, classifier_told, selection_shift

MOST_OPEN = 3  # targets that are shown without being asked for
MOST_DRAWN = 40  # targets with drawings; the table of spreads has them all
WORTH = {"unknown": "Not known", "chance": "No more than chance", "small": "Small", "wide": "More than chance"}


def correlations(corpus: Corpus) -> Html | None:
    """Estimates of every target, and the weights that follow; nothing where no correlations were asked for."""
    entry = corpus.manifest.stages.get(CORRELATE)
    if entry is None:
        return None
    facts = entry.totals
    families = f"{facts['n_families']:,} famil{'y' if facts['n_families'] == 1 else 'ies'}"
    intro = (
        f"Losses of {len(facts['models']):,} models of {families} on {facts['n_groups']:,} groups of pages, the values of {facts['by']}, "
        f"set beside the models' errors by {facts['estimator']}. Positive: models that predict a group better make fewer errors. "
        "Weights are of groups; they tell nothing of the quality of a page."
    )
    notes = [_paragraph(tag("strong", "Note. "), note) for note in [*facts["notes"], *_unknown(facts)]]
    blocks = []
    for i, target in enumerate(facts["targets"][:MOST_DRAWN]):
        of = f" of {', '.join(target['benchmarks'])}" if len(target["benchmarks"]) > 1 else ""
        title = f"{target['target']}{of}"
        blocks.append(tag("details", tag("summary", title), *_target(i, target, facts), class_="group", open="" if i < MOST_OPEN else None))
    told = [tag("p", intro, class_="soft"), *notes, tag("p", _yardstick(facts), " ", PUBLISHED, class_="soft"), _overview(facts)]
    return section("correlations", "Perplexity correlations", *told, *blocks)


def _paragraph(*parts: str) -> Html:
    """Sentences one after another; each is put in by itself, since long texts are cut."""
    sentences = [piece for part in parts for piece in ([part] if isinstance(part, Html) else re.split(r"(?<=[.:;] )", f"{part} "))]
    return tag("p", *sentences)


def _yardstick(facts: Mapping[str, Any]) -> str:
    if not facts["permutations"]:
        return "Nothing was permuted, so what chance gives is not known."
    return (
        "The yardstick is the standard deviation of estimates over groups when results are permuted over models, "
        f"{facts['permutations']:,} times: a spread that not 95 of 100 of them stay below is no more than chance, and one "
        "below √2 times their mean is small."
    )


def _unknown(facts: Mapping[str, Any]) -> list[str]:
    unknown = facts["without_estimate"]
    if not unknown["n_groups"]:
        return []
    examples = ", ".join(unknown["examples"][:5])
    return [f"Without an estimate: {counted(unknown['n_groups'], 'group')}, {unknown['share']:.1%} of the {facts['unit']}: {examples}."]


def _overview(facts: Mapping[str, Any]) -> Html:
    """Every target's spread beside what permuted results give, and what has weight."""
    heads = ["target", "spread", "models", "p10", "median", "p90", "deviation", "permuted", "times", "settled", "included", "their share"]
    rows = []
    for target in facts["targets"]:
        spread, null, times, held = target["spread"], target["null_deviation"], times_chance(target), target["included"]
        rows.append(
            [
                target["target"],
                WORTH[verdict(target)],
                f"{target['n_models']:,}",
                *(f"{spread[q]:.3f}" for q in ("q10", "median", "q90")),
                f"{spread['deviation']:.3f}",
                f"{null['mean']:.3f}" if null else "",
                f"{times:.1f}" if times is not None else "",
                f"{target['n_settled']:,}" if has_intervals(target) else "",
                f"{held['n_groups']:,}",
                f"{held['natural']:.1%}",
            ]
        )
    return table(heads, rows, left=2, caption="Spread of estimates by target")


def _target(i: int, target: Mapping[str, Any], facts: Mapping[str, Any]) -> list[Html]:
    """One target in words, drawings and numbers."""
    n_groups, estimator = facts["n_groups"], facts["estimator"]
    settled = settled_told(target, n_groups, facts["confidence"])
    spread, rest = spread_told(target, n_groups), [settled, included_told(target, facts["filter_ratio"]), stability_told(target)]
    best, worst = best_and_worst(target)
    ends = "; ".join(f"{line['group']} {line['estimate']:.3f}" for line in [*best[:3], *worst[-3:]])
    hollow = "; hollow: the interval holds 0" if has_intervals(target) else ""
    drawn = [
        figure(
            svg(
                drawings.estimates(target["histogram"], estimator),
                f"Histogram of estimates for {target['target']}. {spread}",
                f"{i}-estimates-",
            ),
            caption("Estimates", "groups; grey: of permuted results"),
        ),
        figure(
            svg(drawings.intervals(best, worst, estimator), f"Groups at either end with intervals: {ends}", f"{i}-intervals-"),
            caption("Best and worst groups", f"values of {facts['by']}{hollow}"),
        ),
    ]
    moves = []
    for column, lines in target["composition"].items():
        before, after = drawings.sides(lines)
        alt = f"Shares of the {facts['unit']} by {column} before and as the weights would have it: {said_shares(before, after)}"
        drawing = svg(drawings.composition(lines, ("before", "expected")), alt, f"{i}-{column}-expected-")
        place = len(drawn) if column == "domain" else 1  # flat drawings side by side, then the tall ones
        drawn.insert(place, figure(drawing, caption(f"By {column}", f"share of the {facts['unit']}, as the weights would have it")))
        moves.append(moved_told(column, lines, "The weights move"))
    numbers = [_groups(best, worst, facts), *_stability(target), *_shares(target["composition"], "expected")]
    strong = tag("strong", f"{WORTH[verdict(target)]}. ")
    words = [_paragraph(strong, spread), _paragraph(*(part for part in rest if part)), _paragraph(*moves)]
    return [*words, tag("div", *drawn, class_="grid"), details("The same as numbers", *numbers)]


def _groups(best: Sequence[Mapping[str, Any]], worst: Sequence[Mapping[str, Any]], facts: Mapping[str, Any]) -> Html:
    heads = ["group", facts["estimator"], "low", "high", "p", "settled", "natural", "largest", "weight", "included again"]
    rows = []
    for line in [*best, *worst]:
        ends = ["" if line[end] is None else f"{line[end]:.3f}" for end in ("low", "high", "p_value")]
        settled = "" if line["low"] is None else "yes" if line["settled"] else "no"
        shares = [f"{line[name]:.2%}" for name in ("natural", "tau", "weight")]
        again = "" if line["inclusion"] is None else f"{line['inclusion']:.0%}"
        rows.append([line["group"], f"{line['estimate']:.3f}", *ends, settled, *shares, again])
    return table(heads, rows, caption="Best and worst groups")


def _stability(target: Mapping[str, Any]) -> list[Html]:
    """The estimate beside those that lack one benchmark."""
    rows = [
        [
            line["left_out"],
            "" if line["spearman"] is None else f"{line['spearman']:.3f}",
            "" if line["flips"] is None else f"{line['flips']:.1%}",
        ]
        for line in target["stability"]
    ]
    return [table(["benchmark left out", "Spearman", "signs that flip"], rows, caption="Without one benchmark")] if rows else []


def _shares(composition: Mapping[str, Sequence[Mapping[str, Any]]], after: str) -> list[Html]:
    tables = []
    for column, lines in composition.items():
        rows = [
            [
                value_told(line["value"]),
                f"{line['before']:.2%}",
                f"{line['after']:.2%}",
                f"{line['after'] / line['before']:.2f}" if line["before"] else "",
            ]
            for line in shown(lines, MOST_ROWS)
        ]
        tables.append(table([column, "before", after, "factor"], rows, caption=f"Shares by {column}"))
    return tables


def shift(corpus: Corpus) -> Html | None:
    """What the selection did to domain, described columns and length; and what page classifiers find of their labels."""
    found, reports = selection_shift(corpus), classifier_reports(corpus)
    blocks: list[Html] = []
    if found is not None:
        (n_before, n_after), (before, after) = found.n_documents, found.amount
        said = f"{n_after:,} of {n_before:,} documents were kept, {count(after)} of {count(before)} {found.unit}"
        said += f" ({share(after / max(before, 1))})."
        drawn, words = [], [tag("p", said)]
        for column, lines in found.composition.items():
            alt = f"Shares of the {found.unit} by {column} before and after selection: {said_shares(*drawings.sides(lines))}"
            drawing = svg(drawings.composition(lines, ("before", "kept")), alt, f"{column}-kept-")
            drawn.append(figure(drawing, caption(f"By {column}", f"share of the {found.unit}")))
            words.append(_paragraph(moved_told(column, lines, "The selection moved")))
        lengths = [
            [when, *("" if ends is None else f"{n:,}" for n in ends or [0] * 3)]
            for when, ends in zip(("before", "kept"), found.lengths, strict=True)
        ]
        heads = ["bytes of a document", *(f"p{q}" for q in QUANTILES)]
        blocks += [*words, tag("div", *drawn, class_="grid"), tag("h3", "Length"), table(heads, lengths, caption="Lengths")]
        blocks.append(details("The same as numbers", *_shares(found.composition, "kept")))
    for name, report in reports.items():
        blocks.append(joined([tag("h3", f"Classifier {name}"), _paragraph(classifier_told(report)), *_inside(report)]))
    return section("shift", "What selection did to domain, language and length", *blocks) if blocks else None


def _inside(report: Mapping[str, Any]) -> list[Html]:
    """The classifier's figures inside each value of a column."""
    measured = report["measured"]
    if "within" not in measured:
        return []
    rows = []
    for value, line in measured["inside_each"].items():
        figures = ["" if line[key] is None else f"{line[key]:.1%}" for key in ("precision_above_0.5", "recall_above_0.5", "roc_auc")]
        rows.append([value, f"{line['n_include']:,}", f"{line['n_exclude']:,}", *figures])
    heads = [measured["within"], "included", "excluded", "precision", "recall", "area under ROC"]
    return [details(f"Inside values of {measured['within']}", table(heads, rows, caption="Classifier inside values"))]
