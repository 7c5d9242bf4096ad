"""Splits: units of ingest work of about equal size, whatever sizes the files have.

A large file becomes several pieces, many small files become one split. Neither shows
in the result: documents are ordered by a hash of what they are, not of where they were read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from curate.ingest.readers.reader import Options, Piece, Run, reader_of
from curate.ingest.sources import InputFile, Source


@dataclass(frozen=True)
class Split:
    """Pieces of one source, read by one task.

    Args:
        name: what its spool and quarantine files are called.
        entry: index of the source.
        pieces: what to read, in order.
        n_bytes: their size on disk, about.
    """

    name: str
    entry: int
    pieces: tuple[Piece, ...]
    n_bytes: int

    def to_json(self) -> dict[str, Any]:
        """Plain values, for a task or a manifest."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Split:
        """The inverse of ``to_json``."""
        return cls(**{**values, "pieces": tuple(Piece(**piece) for piece in values["pieces"])})


def plan_splits(
    files: Iterable[InputFile], sources: Sequence[Source], split_bytes: int, options: Options | None = None, run: Run = map
) -> list[Split]:
    """All pieces of all files, grouped to about ``split_bytes`` (on disk) per split.

    Opens Parquet, Arrow and data sets, and raises InputError for those that cannot be read or lack
    a column. Counts the lines of plain JSONL files larger than ``split_bytes``; ``run(function, items)``
    may do that in parallel, and yields results in order.
    """
    groups: list[tuple[int, list[Piece], int]] = []
    for file in files:
        source = sources[file.entry]
        cut = reader_of(file.format).pieces
        found = cut(file, source, split_bytes, options or {}, run) if cut else [(file.piece(), file.size)]
        for piece, n_bytes in found:
            last = groups[-1] if groups else (-1, [], 0)
            if last[0] == file.entry and last[2] + n_bytes <= split_bytes:
                last[1].append(piece)
                groups[-1] = (file.entry, last[1], last[2] + n_bytes)
            else:
                groups.append((file.entry, [piece], n_bytes))
    return [Split(f"{i:06d}", entry, tuple(pieces), n_bytes) for i, (entry, pieces, n_bytes) in enumerate(groups)]
