"""Figures of perplexity correlations: estimates over what chance gives, groups with intervals, composition before and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from curate.evidence.interpretation import shown, value_told
from curate.plots import figures, theme
from curate.plots.theme import AFTER, BEFORE, GRID, INK, MUTED

MOST_GROUPS = 12  # at either end
MOST_VALUES = 12
LONGEST = 24  # characters of a group's name
_ROW = 21.0


def estimates(histogram: Mapping[str, Sequence[float]], estimator: str) -> Figure:
    """Estimates of all groups, over the mean of what permuted results give.

    Args:
        histogram: ``edges`` (K + 1), ``counts`` (K) groups, ``null`` (K) groups of a permutation on average; an empty or
            absent null is not drawn.
        estimator: what estimates are, for the axis.
    """
    at = np.asarray(histogram["edges"], np.float64)
    counts = np.asarray(histogram["counts"], np.float64)
    null = np.asarray(histogram.get("null") or [], np.float64)
    with theme.style():
        fig, axes = theme.figure(230, left=48, right=14, top=26, bottom=42)
        if null.any():
            axes.stairs(null, at, fill=True, color=BEFORE, alpha=0.5, label="permuted results, mean")
        axes.stairs(counts, at, fill=True, color=AFTER, alpha=0.75, label="groups")
        if null.any():
            axes.stairs(null, at, color=INK, linewidth=1.2, linestyle=(0, (4, 2)))
        axes.axvline(0, color=MUTED, linewidth=1.2)
        axes.set_ylim(0, 1.06 * max(counts.max(initial=0.0), null.max(initial=0.0), 1.0))
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.yaxis.set_major_formatter(theme.number)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        pad = 0.03 * (at[-1] - at[0])
        axes.set_xlim(at[0] - pad, at[-1] + pad)
        axes.xaxis.set_major_locator(MaxNLocator(6))
        theme.x_axis(axes, theme.number, f"{estimator} of losses with errors")
        axes.grid(axis="y", color=GRID, linewidth=0.8)
        figures.legend(axes)
    return fig


def intervals(best: Sequence[Mapping[str, Any]], worst: Sequence[Mapping[str, Any]], estimator: str) -> Figure:
    """Groups at either end with their bootstrap intervals: blue ones have weight, hollow ones have an unsettled sign.

    Args:
        best, worst: ``group``, ``estimate``, ``low`` and ``high`` (None where nothing was resampled), ``settled``,
            ``weight``, in the order to be drawn.
    """
    lines = [*best[:MOST_GROUPS], *worst[-MOST_GROUPS:]]
    n_best = min(len(best), MOST_GROUPS)
    places = np.arange(len(lines)) + np.where(np.arange(len(lines)) >= n_best, 1.0, 0.0) * bool(n_best and worst)
    labels = [theme.label(line["group"], LONGEST) for line in lines]
    rows = int(places[-1]) + 1 if len(lines) else 0
    ends = [line[end] for line in lines for end in ("low", "high", "estimate") if line[end] is not None]
    with theme.style():
        fig, axes = theme.figure(_ROW * rows + 74, left=theme.margin(labels), right=52, top=26, bottom=42)
        for place, line in zip(places.tolist(), lines, strict=True):
            colour = AFTER if line["weight"] > 0 else BEFORE
            if line["low"] is not None:
                axes.hlines(place, line["low"], line["high"], color=colour, linewidth=2.4, alpha=0.6)
            face = "none" if line["low"] is not None and not line["settled"] else colour
            axes.scatter([line["estimate"]], [place], s=34, facecolors=face, edgecolors=colour, linewidths=1.6, zorder=3)
            axes.text(1.03, place, f"{line['estimate']:.3f}", transform=axes.get_yaxis_transform(), va="center", fontsize=10.5)
        axes.axvline(0, color=MUTED, linewidth=1.2, zorder=0)
        for colour, name in ((AFTER, "with weight"), (BEFORE, "without")):
            axes.scatter([], [], s=34, color=colour, label=name)
        theme.rows(axes, labels or [""])
        axes.set_yticks(places, labels)
        axes.set_ylim(max(rows, 1) - 0.4, -0.6)
        low, high = min([0.0, *ends]), max([0.0, *ends])
        pad = 0.04 * max(high - low, 1e-9)
        axes.set_xlim(low - pad, high + pad)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        theme.x_axis(axes, theme.number, f"{estimator}, with its interval")
        figures.legend(axes)
    return fig


def composition(lines: Sequence[Mapping[str, Any]], names: tuple[str, str]) -> Figure:
    """Shares of the text by the values of a column, before and after, the largest in either on top, the rest together.

    Args:
        lines: ``value``, ``before``, ``after``.
        names: what the two are.
    """
    return figures.pairs(*sides(shown(lines, MOST_VALUES)), names)


def sides(lines: Sequence[Mapping[str, Any]]) -> tuple[dict[str, float], dict[str, float]]:
    """Value -> share before and after."""
    before, after = ({value_told(line["value"]): float(line[when]) for line in lines} for when in ("before", "after"))
    return before, after
