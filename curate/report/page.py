"""HTML from its parts, where text is escaped because nothing else can be put in: only ``Html`` passes as it is."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

from curate.plots.theme import ROLES
from curate.report.sheet import SHEET

LONGEST = 400  # characters of one text from data
MOST_ROWS = 200  # of one table


class Html(str):
    """A piece of a page that is HTML already."""

    __slots__ = ()


def text(content: object) -> Html:
    """Content for a page: escaped, without control characters, cut where it is absurdly long; Html as it is."""
    if isinstance(content, Html):
        return content
    shown = str(content)
    shown = shown if len(shown) <= LONGEST else shown[: LONGEST - 1] + "…"
    return Html(html.escape("".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in shown)))


def joined(pieces: Iterable[object], between: str = "") -> Html:
    """Pieces one after another."""
    return Html(between.join(text(piece) for piece in pieces))


def tag(name: str, *content: object, **attributes: object) -> Html:
    """An element; a trailing underscore of an attribute's name is dropped, None leaves it out."""
    written = "".join(f' {key.rstrip("_").replace("_", "-")}="{text(value)}"' for key, value in attributes.items() if value is not None)
    return Html(f"<{name}{written}>{joined(content)}</{name}>")


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], left: int = 1, caption: str | None = None) -> Html:
    """A table that scrolls sideways where the page is narrow.

    Args:
        columns: their heads.
        rows: cells; the first heads its row.
        left: columns aligned to the left; the others hold numbers.
        caption: what it is, for those who hear the page.
    """
    kinds = [None if i < left else "n" for i in range(len(columns))]
    head = tag("tr", *(tag("th", name, scope="col", class_=kind) for name, kind in zip(columns, kinds, strict=True)))
    lines = [list(row) for row in rows]
    cells = [
        tag("tr", tag("th", line[0], scope="row"), *(tag("td", cell, class_=kind) for cell, kind in zip(line[1:], kinds[1:], strict=True)))
        for line in lines[:MOST_ROWS]
    ]
    more = f"and {len(lines) - MOST_ROWS:,} more rows" if len(lines) > MOST_ROWS else None
    told = tag("caption", caption, class_="unseen") if caption else ""
    whole = tag("table", told, tag("thead", head), tag("tbody", *cells))
    return joined([tag("div", whole, class_="wide", tabindex="0", role="region", aria_label=caption), tag("p", more) if more else ""])


def figure(drawing: str, caption: object, *beside: object) -> Html:
    """A drawing with its caption, and what belongs to it."""
    return tag("figure", tag("figcaption", caption), Html(drawing), *beside)


def details(summary: object, *content: object, is_open: bool = False) -> Html:
    """What is shown when asked for."""
    return tag("details", tag("summary", summary), *content, open="" if is_open else None)


def section(anchor: str, title: str, *content: object) -> Html:
    """One section of the page."""
    return tag("section", tag("h2", title), *content, id=anchor)


def document(title: str, body: object) -> str:
    """The page: one file, nothing fetched, no script."""
    light = "".join(f"--{role}:{colour};" for role, (colour, _) in ROLES.items())
    dark = "".join(f"--{role}:{colour};" for role, (_, colour) in ROLES.items())
    sheet = SHEET.replace("/*light*/", light).replace("/*dark*/", dark)
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        # Even if something slipped through, nothing may run or be fetched.
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{text(title)}</title><style>{sheet}</style>"
    )
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head>\n<body>{text(body)}</body></html>\n'
