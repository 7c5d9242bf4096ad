"""The figures: each a function from numbers or a column of a corpus to a matplotlib Figure, which a notebook shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, LogLocator, MaxNLocator, NullLocator

from curate.plots import theme
from curate.plots.distributions import Column, edges
from curate.plots.hexagons import outline
from curate.plots.theme import ACCENT, AFTER, BEFORE, GRID, INK, MUTED

ROW = 29.0  # points of a row of bars or points
RIDGE = 33.0


def pairs(first: Mapping[str, float], second: Mapping[str, float], names: tuple[str, str]) -> Figure:
    """Two shares of every domain as a pair of bars.

    Args:
        first, second: domain -> share, from 0 to 1.
        names: what the two are.
    """
    domains = list(dict.fromkeys([*first, *second]))
    labels = [theme.label(domain) for domain in domains]
    most = max([*first.values(), *second.values(), 1e-9])
    with theme.style():
        fig, axes = theme.figure(ROW * len(domains) + 56, left=theme.margin(labels), right=40, top=26, bottom=22)
        for shift, values, colour, name in ((-0.19, first, BEFORE, names[0]), (0.19, second, AFTER, names[1])):
            widths = [values.get(domain, 0.0) for domain in domains]
            places = np.arange(len(domains)) + shift
            axes.barh(places, widths, height=0.34, color=colour, label=name)
            for place, width in zip(places.tolist(), widths, strict=True):
                axes.text(width + 0.012 * most, place, theme.share(width), va="center", fontsize=10.5, color=INK if shift > 0 else MUTED)
        theme.rows(axes, labels)
        axes.set_xlim(0, 1.1 * most)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        theme.x_axis(axes, theme.per_cent)
        legend(axes)
    return fig


def dumbbells(before: Mapping[str, float], after: Mapping[str, float], names: tuple[str, str] = ("before", "after")) -> Figure:
    """Shares of domains before and after as two dots joined by a line, those that grew most on top.

    Args:
        before, after: domain -> share, from 0 to 1.
    """
    domains = sorted({*before, *after}, key=lambda d: (before.get(d, 0.0) - after.get(d, 0.0), d))
    labels = [theme.label(domain) for domain in domains]
    pairs_D2 = np.array([(before.get(d, 0.0), after.get(d, 0.0)) for d in domains]).reshape(-1, 2)
    with theme.style():
        fig, axes = theme.figure(ROW * len(domains) + 56, left=theme.margin(labels), right=100, top=26, bottom=22)
        places = np.arange(len(domains))
        axes.hlines(places, pairs_D2[:, 0], pairs_D2[:, 1], color=BEFORE, linewidth=2.5, zorder=2)
        axes.scatter(pairs_D2[:, 0], places, s=44, color=BEFORE, zorder=3, label=names[0])
        axes.scatter(pairs_D2[:, 1], places, s=58, color=AFTER, zorder=4, label=names[1])
        for place, (was, now) in enumerate(pairs_D2.tolist()):
            said = f"{theme.share(was)} → {theme.share(now)}"
            axes.text(1.03, place, said, transform=axes.get_yaxis_transform(), va="center", fontsize=10.5)
        theme.rows(axes, labels)
        axes.set_xlim(0, 1.05 * max(pairs_D2.max(initial=0.0), 1e-9))
        axes.xaxis.set_major_locator(MaxNLocator(4))
        theme.x_axis(axes, theme.per_cent)
        legend(axes)
    return fig


def ridges(column: Column) -> Figure:
    """A column's distribution in every domain: grey for all documents, blue for those kept, a bar at the median.

    Every domain is drawn to the same height. The scale is logarithmic where values span several orders of size.
    """
    at, is_log = edges(column.whole.values())
    domains = [domain for domain, whole in column.whole.items() if whole.n]
    labels = [theme.label(domain) for domain in domains]
    with theme.style():
        fig, axes = theme.figure(RIDGE * len(domains) + 62, left=theme.margin(labels), right=60, top=22, bottom=40)
        for place, domain in enumerate(domains):
            whole = column.whole[domain]
            counts = whole.histogram(at)
            scale = 0.82 / max(counts.max(initial=0.0), 1.0)
            _step(axes, at, -counts * scale, place + 0.42, BEFORE, 0.5)
            if domain in column.kept:
                _step(axes, at, -column.kept[domain].histogram(at) * scale, place + 0.42, AFTER, 0.85)
            middle = whole.quantile(0.5)
            axes.vlines(middle, place + 0.42, place - 0.4, color=INK, linewidth=1.6)
            axes.text(1.02, place + 0.1, theme.number(middle), transform=axes.get_yaxis_transform(), va="center", fontsize=10.5)
        axes.text(1.02, 1.0, "median", transform=axes.transAxes, va="bottom", fontsize=10.5, color=MUTED)
        theme.rows(axes, labels)
        axes.set_ylim(len(domains) - 0.5, -0.5)
        _value_axis(axes, at, is_log, f"{column.name}, {column.unit}" if column.unit else column.name)
    return fig


def score_window(histogram: Mapping[str, Any], cuts: Sequence[Mapping[str, Any]], title: str) -> Figure:
    """A score before and after one rule, with what the rule keeps shaded.

    Args:
        histogram: ``edges`` (K + 1), ``before`` and ``after`` (K) documents, ``scale`` linear or log.
        cuts: ``lower`` and ``upper`` of every group ranked by itself, None where there is no bound; none to shade nothing.
    """
    at = np.asarray(histogram["edges"], np.float64)
    before, after = (np.asarray(histogram[name], np.float64) for name in ("before", "after"))
    with theme.style():
        fig, axes = theme.figure(210, left=52, right=14, top=26, bottom=40)
        for cut in cuts:
            low, high = (at[end] if cut[name] is None else cut[name] for end, name in ((0, "lower"), (-1, "upper")))
            axes.axvspan(low, high, color=ACCENT, alpha=max(0.03, 0.16 / len(cuts)), linewidth=0)
            if len(cuts) <= 2:
                for bound in (cut["lower"], cut["upper"]):
                    if bound is not None:
                        axes.axvline(bound, color=ACCENT, linewidth=1.4, linestyle=(0, (4, 2)))
        _step(axes, at, before, 0.0, BEFORE, 0.5, label="before")
        _step(axes, at, after, 0.0, AFTER, 0.85, label="after")
        if cuts:
            axes.axvspan(at[0], at[0], color=ACCENT, alpha=0.4, label="window" if len(cuts) == 1 else "windows of groups")
        axes.set_ylim(0, 1.05 * max(before.max(initial=0.0), 1.0))
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.yaxis.set_major_formatter(theme.number)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        _value_axis(axes, at, histogram.get("scale") == "log", title)
        axes.grid(axis="y", color=GRID, linewidth=0.8)
        legend(axes)
    return fig


def agreement_map(centres: np.ndarray, counts: np.ndarray, names: tuple[str, str]) -> Figure:
    """Documents by their percentile in two scores; on the diagonal both agree.

    Args:
        centres, counts: what ``hexagons`` gave.
        names: the scores.
    """
    with theme.style():
        fig, axes = theme.figure(400, left=52, right=14, top=14, bottom=44)
        # Square-root steps, so that thin places show beside dense ones.
        depth = 0.10 + 0.90 * np.sqrt(counts / max(counts.max(initial=1), 1))
        cells = PolyCollection(list(centres[:, None, :] + outline()), linewidths=0, facecolors=[to_rgba(AFTER, a) for a in depth.round(3)])
        axes.add_collection(cells)
        axes.plot([0, 1], [0, 1], color=INK, linewidth=1.2, linestyle=(0, (4, 3)))
        ticks = [0.0, 0.25, 0.5, 0.75, 1.0]
        for axis, name in ((axes.xaxis, names[0]), (axes.yaxis, names[1])):
            axis.set_major_locator(FixedLocator(ticks))
            axis.set_major_formatter(theme.per_cent)
            axis.set_label_text(f"percentile in {theme.label(name, 40)}")
        axes.tick_params(length=0)
        for side in ("left", "bottom"):
            axes.spines[side].set_visible(False)
        axes.set_xlim(-0.03, 1.03)
        axes.set_ylim(-0.03, 1.03)
    return fig


def correlations(by_domain: Mapping[str, float], overall: float) -> Figure:
    """Spearman's rho of every domain as a dot, beside the line of all documents, which NaN leaves out."""
    domains = sorted(by_domain, key=lambda d: (-by_domain[d], d))
    labels = [theme.label(domain) for domain in domains]
    values = [by_domain[domain] for domain in domains]
    low = min([0.0, *values, *([] if np.isnan(overall) else [overall])])
    with theme.style():
        fig, axes = theme.figure(ROW * 0.85 * len(domains) + 66, left=theme.margin(labels), right=48, top=24, bottom=38)
        places = np.arange(len(domains))
        axes.hlines(places, 0, values, color=GRID, linewidth=3)
        axes.scatter(values, places, s=52, color=AFTER, zorder=3)
        if not np.isnan(overall):
            axes.axvline(overall, color=ACCENT, linewidth=1.6, zorder=2)
            axes.text(overall, 1.01, f"all {overall:.3f}", transform=axes.get_xaxis_transform(), ha="center", va="bottom", color=ACCENT)
        for place, value in enumerate(values):
            axes.text(1.03, place, f"{value:.3f}", transform=axes.get_yaxis_transform(), va="center", fontsize=10.5)
        theme.rows(axes, labels)
        axes.set_xlim(min(1.1 * low, -0.02), 1.04)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        theme.x_axis(axes, theme.number, "Spearman's rank correlation")
    return fig


def losses(table: pa.Table) -> Figure:
    """The training curve of a language model: loss and learning rate over the tokens seen.

    Args:
        table: columns ``tokens``, ``loss`` (nats per token) and ``learning_rate``, a row a logged step.
    """
    tokens, loss, rate = (np.asarray(table[name].to_numpy(), np.float64) for name in ("tokens", "loss", "learning_rate"))
    with theme.style():
        fig, axes = theme.figure(270, left=52, right=16, top=12, bottom=96)
        axes.plot(tokens, loss, color=AFTER, linewidth=1.8)
        below = fig.add_axes((52 / theme.WIDTH, 40 / 270, 1 - 68 / theme.WIDTH, 40 / 270), sharex=axes)
        below.plot(tokens, rate, color=ACCENT, linewidth=1.6)
        for panel, name in ((axes, "nats a token"), (below, "rate")):
            panel.set_ylabel(name)
            panel.yaxis.set_major_locator(MaxNLocator(4 if panel is axes else 2))
            panel.yaxis.set_major_formatter(theme.number)
            panel.tick_params(length=0)
            panel.grid(color=GRID, linewidth=0.8)
            panel.set_axisbelow(True)
        below.set_ylim(0, 1.15 * max(rate.max(initial=0.0), 1e-12))
        axes.tick_params(labelbottom=False)
        below.xaxis.set_major_locator(MaxNLocator(5))
        below.xaxis.set_major_formatter(theme.number)
        below.set_xlabel("tokens seen")
    return fig


def _step(axes: Any, at: np.ndarray, heights: np.ndarray, floor: float, colour: str, depth: float, **more: Any) -> None:
    """A filled histogram on a floor; ``heights`` are negative where rows count downwards."""
    axes.stairs(floor + heights, at, baseline=floor, fill=True, color=colour, alpha=depth, **more)


def _value_axis(axes: Any, at: np.ndarray, is_log: bool, title: str) -> None:
    if is_log:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(10, subs=(1.0,) if at[-1] / at[0] > 1e3 else (1.0, 3.0), numticks=7))
        axes.xaxis.set_minor_locator(NullLocator())
        title = f"{title} (log scale)"
    else:
        axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.set_xlim(at[0], at[-1])
    theme.x_axis(axes, theme.number, title)


def legend(axes: Any) -> None:
    """Above the axes, in one line."""
    axes.legend(
        loc="lower left", bbox_to_anchor=(-0.01, 0.995), ncols=3, handlelength=1.0, handletextpad=0.5, borderpad=0.0, columnspacing=1.4
    )
