"""One part's share of a mix, and the columns of it that mixing looks at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.corpus import Part, read_part
from curate.mixing.rules import Rule
from curate.storage import Folder


@dataclass(frozen=True)
class MixTask:
    """One part's share of a mix.

    Args:
        length: column that measures documents in the budget's unit.
        domains: all domains, in the order of the D arrays.
        max_epochs: the cap on weights.
        rule: what gives a document its weight; None before it is known.
        starts_G: where the part's groups stand in the walk, empty before the last pass.
    """

    corpus: Folder
    part: Part
    mix: str
    length: str
    domains: tuple[str, ...]
    selected: bool
    seed: int
    fingerprint: str
    max_epochs: float
    rule: Rule | None = None
    starts_G: Any = None


@dataclass(frozen=True)
class Rows:
    """The columns of one part a mix looks at; N documents."""

    table: pa.Table
    domain_N: np.ndarray
    length_N: np.ndarray
    size_N: np.ndarray
    keep_N: np.ndarray

    def kept(self, columns: Sequence[str]) -> pa.Table:
        """These columns of the documents that selection kept."""
        table = self.table.select(list(columns))
        return table if self.keep_N.all() else table.filter(pa.array(self.keep_N))


def read_rows(task: MixTask, extra: Sequence[str] = ()) -> Rows:
    """The part's domains, lengths, sizes and verdicts, and ``extra`` columns beside them."""
    columns = ["domain", "n_bytes", task.length, *(["selection.keep"] if task.selected else []), *extra]
    table = read_part(task.corpus, task.part.name, list(dict.fromkeys(columns)))
    domain = table["domain"].combine_chunks()
    position = np.array([task.domains.index(name) for name in domain.dictionary.to_pylist()], dtype=np.int64)
    length = pc.fill_null(table[task.length], 0).to_numpy()
    return Rows(
        table,
        position[domain.indices.to_numpy()] if len(domain) else np.empty(0, np.int64),
        length.astype(np.int64),
        table["n_bytes"].to_numpy(),
        table["selection.keep"].to_numpy() if task.selected else np.ones(len(table), dtype=bool),
    )
