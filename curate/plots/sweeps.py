"""Figures of what other settings of a mixer would do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from curate.plots import theme
from curate.plots.theme import ACCENT, AFTER, BEFORE, GRID, INK, MUTED


def signals(values: Sequence[float], quality: Sequence[float], diversity: Sequence[float], made: float, title: str) -> Figure:
    """Mean quality and diversity of what would be emitted, over one setting; a line where the mix was made.

    Args:
        values: of the setting (S).
        quality, diversity: from 0 to 1 (S).
    """
    with theme.style():
        fig, axes = theme.figure(230, left=44, right=74, top=14, bottom=40)
        for series, colour, name in ((quality, AFTER, "quality"), (diversity, ACCENT, "diversity")):
            axes.plot(values, series, color=colour, linewidth=2.0, marker="o", markersize=4)
            axes.text(1.02, series[-1], name, transform=axes.get_yaxis_transform(), va="center", fontsize=10.5, color=colour)
        _made(axes, made, title)
        axes.yaxis.set_major_formatter(theme.number)
    return fig


def shares(values: Sequence[float], by_domain: Mapping[str, Sequence[float]], made: float, title: str) -> Figure:
    """Shares of domains over one setting, the largest at the right end named; a line where the mix was made."""
    names = sorted(by_domain, key=lambda name: -by_domain[name][-1])
    with theme.style():
        fig, axes = theme.figure(230, left=44, right=max(74.0, theme.margin([theme.label(n) for n in names[:6]])), top=14, bottom=40)
        ends = _apart([by_domain[name][-1] for name in names[:6]], max(max(v) for v in by_domain.values()) / 13)
        for i, name in enumerate(names):
            colour = AFTER if i < 3 else BEFORE
            axes.plot(values, by_domain[name], color=colour, linewidth=2.0 if i < 3 else 1.2, alpha=1.0 if i < 6 else 0.6)
            if i < 6:
                place = ends[i]
                axes.text(1.02, place, theme.label(name), transform=axes.get_yaxis_transform(), va="center", fontsize=10.5, color=INK)
        _made(axes, made, title)
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter(theme.per_cent)
    return fig


def _apart(values: Sequence[float], least: float) -> list[float]:
    """Places of labels for values that fall, at least so far apart."""
    places: list[float] = []
    for value in values:
        places.append(min(value, places[-1] - least) if places else value)
    # Pushed below zero, all move up together.
    return [place + max(0.0, -places[-1]) for place in places]


def _made(axes: object, made: float, title: str) -> None:
    axes.axvline(made, color=MUTED, linewidth=1.2, linestyle=(0, (4, 3)))  # type: ignore[attr-defined]
    axes.grid(color=GRID, linewidth=0.8)  # type: ignore[attr-defined]
    axes.set_axisbelow(True)  # type: ignore[attr-defined]
    axes.tick_params(length=0)  # type: ignore[attr-defined]
    axes.yaxis.set_major_locator(MaxNLocator(5))  # type: ignore[attr-defined]
    theme.x_axis(axes, theme.number, f"{title}; the line: as mixed")  # type: ignore[arg-type]


def steps(low: float, high: float, made: float, n: int = 21) -> list[float]:
    """Values of a setting to try, the mix's own among them."""
    return sorted({*np.linspace(low, high, n).round(6).tolist(), made})
