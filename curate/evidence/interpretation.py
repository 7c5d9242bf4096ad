"""What estimates mean for someone who must decide before training whether to select by them, in sentences.

Thrush et al. (arXiv 2409.05816, version 2) gained much on a raw pool whose correlations ran from -0.07 to 0.32, and
nothing on a filtered one where they ran from 0.23 to 0.33: where every group says the same, it does not matter which is
chosen. How much spread means something depends on the models, since results that have nothing to do with losses give
some too. The yardstick is therefore the null: estimates of the same losses and results permuted over models.
``facts`` and ``target`` are what the stage ``correlate`` leaves in the manifest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import sqrt
from typing import Any, Literal

Verdict = Literal["unknown", "chance", "small", "wide"]
PUBLISHED = (
    "The paper gained much where correlations ran from −0.07 to 0.32, and nothing on an already filtered pool, where they "
    "ran from 0.23 to 0.33."
)
SHIFT = 0.1
"""Share of the text that changes its value of a column, from which a control with the same shares is advised."""
STEADY = 0.8
"""Rank correlation with the estimate that lacks one benchmark, below which the target is called that benchmark's."""
OTHERS = "all others"
_CHANCE_P = 0.05
_ROUNDING = 1e-9


def times_chance(target: Mapping[str, Any]) -> float | None:
    """Standard deviation of the estimates over groups, as a multiple of the mean one of permuted results."""
    null = target["null_deviation"]
    return target["spread"]["deviation"] / null["mean"] if null and null["mean"] else None


def verdict(target: Mapping[str, Any]) -> Verdict:
    """Whether groups differ in what they tell about a target.

    ``chance``: the deviation is not above the null's upper end, below which 95 of 100 permutations stay. ``small``: above
    it, and chance still gives half of the variance or more (below √2 times the null's mean). ``wide``: above both.
    ``unknown``: there is no null, because nothing was permuted or the table has missing cells.
    """
    null, deviation = target["null_deviation"], target["spread"]["deviation"]
    if null is None:
        return "unknown"
    if deviation <= null["high"]:
        return "chance"
    return "small" if deviation < sqrt(2) * null["mean"] else "wide"


def spread_told(target: Mapping[str, Any], n_groups: int) -> str:
    """How far estimates spread over groups, and what that is worth."""
    spread, null, times = target["spread"], target["null_deviation"], times_chance(target)
    said = (
        f"Estimates of {n_groups:,} groups run from {_signed(spread['least'])} to {_signed(spread['most'])}, the middle four fifths from "
        f"{_signed(spread['q10'])} to {_signed(spread['q90'])}; their standard deviation is {spread['deviation']:.3f}"
    )
    if null is None:
        return f"{said}. What chance gives is not known: nothing was permuted, or cells are missing."
    said += f", {times:.1f} times the {null['mean']:.3f} that permuted results give" if times is not None else ""
    within = f"95 of 100 stay below {null['high']:.3f}"
    worth = {
        "chance": f"That is within what permuted results give ({within}): nothing here says that selecting by these estimates would help.",
        "small": f"That is above what permuted results give ({within}) and still small: chance alone gives half of its variance or more "
        f"(it is below √2 times {null['mean']:.3f}). Selecting by these estimates will change little.",
        "wide": f"That is more than permuted results give ({within}): groups differ in what they tell about this target.",
    }
    return f"{said}. {worth[verdict(target)]}"


def has_intervals(target: Mapping[str, Any]) -> bool:
    """Whether models were resampled: with none or one family there are no intervals, and no sign is settled."""
    return any(line["low"] is not None for line in [*target["best"], *target["worst"]])


def settled_told(target: Mapping[str, Any], n_groups: int, confidence: float) -> str:
    """How many estimates have a sign that the models agree on, and how many are negative."""
    parts = []
    if has_intervals(target):
        share = target["n_settled"] / max(n_groups, 1)
        parts.append(f"The {confidence:.0%} interval leaves out 0 for {target['n_settled']:,} of {n_groups:,} groups ({share:.0%})")
    if target["share_p05"] is not None:
        parts.append(f"{target['share_p05']:.0%} have p below {_CHANCE_P:g}, where chance alone would give {_CHANCE_P:.0%}")
    negative = target["n_negative"]
    parts.append(
        f"{negative:,} of the estimates {'is' if negative == 1 else 'are'} negative: models that predict such a group better do worse"
        if negative
        else "no estimate is negative: groups differ in degree"
    )
    said = "; ".join(parts)
    return f"{said[0].upper()}{said[1:]}."


def included_told(target: Mapping[str, Any], filter_ratio: float) -> str:
    """Which part of the corpus the weights are on, and how sure that is."""
    held = target["included"]
    said = f"At filter ratio {filter_ratio:g}, {held['n_groups']:,} groups have weight; they hold {held['natural']:.1%} of the text"
    if held["inclusion"] is None:
        return f"{said}."
    return f"{said}. A bootstrap replicate includes {held['inclusion']:.0%} of them again, on average."


def stability_told(target: Mapping[str, Any]) -> str:
    """Which benchmark the estimate owes most to; empty for a target of one benchmark."""
    lines = [line for line in target["stability"] if line["spearman"] is not None]
    if not lines:
        return ""
    least = min(lines, key=lambda line: (line["spearman"], line["left_out"]))
    said = (
        f"Without {least['left_out']} the order of groups correlates {least['spearman']:.3f} with that of all {len(target['benchmarks'])}"
    )
    said += f", and {least['flips']:.1%} of signs flip" if least["flips"] is not None else ""
    worth = f"below {STEADY:g}: much of the estimate is that benchmark's" if least["spearman"] < STEADY else "no other matters more"
    return f"{said} ({worth})."


def moved(lines: Sequence[Mapping[str, Any]]) -> float:
    """The share of the text that changes its value: half the sum of differences of ``before`` and ``after``, 0 to 1.

    Values that are not among the lines count as one, which makes it a lower bound where there are several.
    """
    return sum(abs(line["after"] - line["before"]) for line in shown(lines, len(lines))) / 2


def shown(lines: Sequence[Mapping[str, Any]], most: int) -> list[Mapping[str, Any]]:
    """The lines of the values that are largest in either, at most so many, and what they lack of 1 as all others."""
    found = sorted(lines, key=lambda line: (-max(line["before"], line["after"]), str(line["value"])))[:most]
    before, after = (1 - sum(line[when] for line in found) for when in ("before", "after"))
    if max(before, after) > _ROUNDING:
        found.append({"value": OTHERS, "before": max(before, 0.0), "after": max(after, 0.0)})
    return found


def moved_told(column: str, lines: Sequence[Mapping[str, Any]], verb: str) -> str:
    """Between which values of a column text moves, and what that asks for.

    Args:
        lines: ``value``, ``before``, ``after``, as shares.
        verb: who moves it, such as "The weights move".
    """
    most = max(lines, key=lambda line: (abs(line["after"] - line["before"]), str(line["value"])), default=None)
    if most is None:
        return ""
    share = moved(lines)
    least = "at least " * (1 - sum(line["before"] for line in lines) > _ROUNDING)
    said = f"{verb} {least}{share:.1%} of the text between values of {column}, most for {value_told(most['value'])}: "
    said += f"{most['before']:.1%} to {most['after']:.1%}."
    if column != "domain" and share >= SHIFT:
        said += f" From {SHIFT:.0%} on, only a control with the same shares of {column} tells what else the estimates find."
    return said


def value_told(value: object) -> str:
    """A value of a column of strings."""
    return "(none)" if value is None else str(value)


def _signed(value: float) -> str:
    return f"{value:.3f}".replace("-", "−")


def best_and_worst(target: Mapping[str, Any], most: int | None = None) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The best groups, and the worst of the others, both from the higher estimate to the lower, at most so many of each."""
    # Where groups are few, the best that are told hold the worst, too.
    known = sorted({line["group"]: line for line in [*target["best"], *target["worst"]]}.values(), key=lambda line: -line["estimate"])
    most = len(target["best"]) if most is None else most
    return known[:most], known[most:][-most:]
