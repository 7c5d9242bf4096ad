"""How plots look: a few colours by role, small figures, and SVG that follows the page it stands in.

Colours differ in lightness as well as in hue, so that they are told apart without colour vision and in print. In SVG each
becomes a CSS variable of its role, with this colour as the fallback: a page in dark mode sets other values.
"""

from __future__ import annotations

import io
import re
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from xml.etree import ElementTree

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK, MUTED, GRID = "#1c2128", "#57606a", "#dde1e6"
BEFORE, AFTER, ACCENT = "#848d97", "#1a6fc4", "#b8500f"
# Role -> colour on white, colour on near black. Each has a contrast of at least 3 with its ground, texts 4.5; GRID only guides.
ROLES = {
    "ink": (INK, "#e9edf2"),
    "muted": (MUTED, "#a3adb8"),
    "grid": (GRID, "#333a44"),
    "before": (BEFORE, "#8f9ba8"),
    "after": (AFTER, "#5aa6f2"),
    "accent": (ACCENT, "#f0914e"),
}
WIDTH = 420.0  # points, as many pixels at 72 dpi: readable on a phone without scaling below its size
LETTER = 6.6  # points a character of a label takes
LONGEST = 16  # characters of a label in a figure

_STYLE: Any = {
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "axes.labelsize": 11.0,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.dpi": 72,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "font.size": 11.0,
    "legend.fontsize": 11.0,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "patch.linewidth": 0.0,
    "savefig.facecolor": "none",
    "svg.fonttype": "none",
    "svg.hashsalt": "curate",
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": MUTED,
    "xtick.labelsize": 10.5,
    "ytick.color": MUTED,
    "ytick.labelcolor": INK,
    "ytick.labelsize": 11.5,
}
_SVG = "http://www.w3.org/2000/svg"
_LINK = "http://www.w3.org/1999/xlink"


@contextmanager
def style() -> Iterator[None]:
    """These settings, and nobody else's, while a figure is made or written."""
    with matplotlib.rc_context(), warnings.catch_warnings():
        # A browser has glyphs that the font matplotlib measures with lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def label(text: object, longest: int = LONGEST) -> str:
    """Text from data as a figure shows it: without control characters, cut to a length."""
    shown = "".join(c if c.isprintable() else "\ufffd" for c in str(text)[: longest + 1])
    return shown if len(shown) <= longest else shown[: longest - 1] + "…"


def number(value: float, _: float | None = None) -> str:
    """Three significant digits: 0.123, 1.23, 12.3, 1,230, 12 k, 1.2 M. The second argument is a tick's place, not needed."""
    for scale, unit in ((1e9, " B"), (1e6, " M"), (1e4, " k")):
        if abs(value) >= scale:
            return f"{value / (1e3 if unit == ' k' else scale):.3g}{unit}"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def share(value: float, _: float | None = None) -> str:
    """A fraction in per cent: 4.2 %, 42 %."""
    return f"{100 * value:.1f}%" if 0 < abs(value) < 0.0995 else f"{100 * value:.0f}%"


def per_cent(value: float, _: float | None = None) -> str:
    """A fraction at a tick: 4%, 42%, 0.5%."""
    return f"{100 * value:.3g}%"


def figure(height: float, left: float = 44.0, right: float = 12.0, top: float = 10.0, bottom: float = 36.0) -> tuple[Figure, Axes]:
    """A figure of WIDTH by ``height`` points with one axes, margins in points."""
    fig = Figure(figsize=(WIDTH / 72, height / 72))
    box = (left / WIDTH, bottom / height, 1 - (left + right) / WIDTH, 1 - (top + bottom) / height)
    return fig, fig.add_axes(box)


def margin(labels: Sequence[str]) -> float:
    """Points that row labels need beside an axes."""
    return 12.0 + LETTER * max((len(text) for text in labels), default=0)


def rows(axes: Axes, labels: Sequence[str]) -> None:
    """One row a label, the first on top, without a line or ticks at their side."""
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def x_axis(axes: Axes, formatter: Callable[[float, float], str], title: str = "") -> None:
    """Ticks in words of people, and faint lines up from them."""
    axes.xaxis.set_major_formatter(formatter)
    axes.xaxis.set_minor_formatter("")
    axes.set_axisbelow(True)
    axes.grid(axis="x", color=GRID, linewidth=0.8)
    axes.tick_params(axis="x", length=0)
    axes.spines["bottom"].set_visible(False)
    if title:
        axes.set_xlabel(label(title, 64))


def svg(fig: Figure, alt: str, prefix: str = "") -> str:
    """The figure as an ``svg`` element for a page: same figure, same bytes; colours by role, fonts of the page.

    Args:
        alt: what it shows, for those who do not see it.
        prefix: any text; figures of one page that have others share no ids.
    """
    prefix = f"f{zlib.crc32(prefix.encode()):08x}-" if prefix else ""
    out = io.StringIO()
    with style():
        fig.savefig(out, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    ElementTree.register_namespace("", _SVG)
    ElementTree.register_namespace("xlink", _LINK)
    root = ElementTree.fromstring(out.getvalue())
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag.endswith("}metadata") or child.tag.endswith("}style"):
                parent.remove(child)
        for name, value in parent.attrib.items():
            parent.attrib[name] = _attribute(name, value, prefix)
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    root.attrib |= {"role": "img", "aria-label": label(alt, 400)}
    return ElementTree.tostring(root, encoding="unicode")


def _attribute(name: str, value: str, prefix: str) -> str:
    """One attribute, for a page."""
    if name == "style":
        value = re.sub(r"font: ((?:\w+ )*)([\d.]+px)[^;]*", _font, value)
        for role, (colour, _) in ROLES.items():
            value = value.replace(colour, f"var(--{role}, {colour})")
        return value
    if name == "id":
        return prefix + value
    if name == f"{{{_LINK}}}href" and value.startswith("#"):
        return f"#{prefix}{value[1:]}"
    if name in ("d", "x", "y", "transform", "points"):
        return re.sub(r"-?\d+\.\d{2,}", lambda found: f"{float(found[0]):.1f}".removesuffix(".0"), value)
    return value.replace("url(#", f"url(#{prefix}")


def _font(found: re.Match[str]) -> str:
    weight = re.search(r"bold|\d00", found[1])
    return f"font-size: {found[2]}" + (f"; font-weight: {weight[0]}" if weight else "")
