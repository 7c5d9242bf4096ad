"""What a peer decided, in a file that its Python writes and ours reads: a line for every document, ``number<TAB>reason``.

A kept document has no reason. Documents that a peer did not mention were dropped without one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path


def write(path: str, kept: Iterable[str], dropped: Mapping[str, str] | None = None) -> None:
    """Numbers as the peer read them in ``id``; reasons by number."""
    lines = [f"{number}\t\n" for number in kept] + [f"{number}\t{reason}\n" for number, reason in (dropped or {}).items()]
    Path(path).write_text("".join(lines))


def read(path: str | Path) -> dict[int, str]:
    """Reasons by number; the empty one means kept."""
    found = {}
    for line in Path(path).read_text().splitlines():
        number, _, reason = line.partition("\t")
        found[int(number)] = reason
    return found


def kept(path: str | Path) -> set[int]:
    """The numbers of the kept documents."""
    return {number for number, reason in read(path).items() if not reason}
