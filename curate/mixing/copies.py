"""The mix stage: sums of what is kept, a mixer's shares, weights, integer copies.

Three passes over small columns, shard by shard: sums per domain; lengths per domain, once
the weights are known; copies, once every shard knows where it stands in the walk.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate import sampling
from curate.corpus import Part, SidecarWriter, read_part
from curate.hashing import row_keys
from curate.manifest import Ledger, Record
from curate.sampling import LengthGroups
from curate.storage import Folder

WEIGHTS = pa.schema(
    [
        pa.field("weight", pa.float32(), metadata={"unit": "expected copies", "direction": "none"}),
        pa.field("copies", pa.int16(), metadata={"unit": "copies", "direction": "none"}),
    ]
)
MOST_COPIES = 32767


@dataclass(frozen=True)
class MixTask:
    """One part's share of a mix.

    Args:
        length: column that measures documents in the budget's unit.
        domains: all domains, in the order of the D arrays.
        fixed_D: fixed-point weights, empty in the first pass.
        starts_G: where the part's groups stand in the walk, empty before the third pass.
    """

    corpus: Folder
    part: Part
    mix: str
    length: str
    domains: tuple[str, ...]
    selected: bool
    seed: int
    fingerprint: str
    fixed_D: tuple[int, ...] = ()
    starts_G: Any = None


@dataclass(frozen=True)
class _Rows:
    """The columns of one part a mix looks at; N documents."""

    table: pa.Table
    domain_N: np.ndarray
    length_N: np.ndarray
    size_N: np.ndarray
    keep_N: np.ndarray


def _rows(task: MixTask, extra: Sequence[str] = ()) -> _Rows:
    columns = ["domain", "n_bytes", task.length, *(["selection.keep"] if task.selected else []), *extra]
    table = read_part(task.corpus, task.part.name, list(dict.fromkeys(columns)))
    domain = table["domain"].combine_chunks()
    position = np.array([task.domains.index(name) for name in domain.dictionary.to_pylist()], dtype=np.int64)
    length = pc.fill_null(table[task.length], 0).to_numpy()
    return _Rows(
        table,
        position[domain.indices.to_numpy()] if len(domain) else np.empty(0, np.int64),
        length.astype(np.int64),
        table["n_bytes"].to_numpy(),
        table["selection.keep"].to_numpy() if task.selected else np.ones(len(table), dtype=bool),
    )


def domain_sums(task: MixTask) -> np.ndarray:
    """Kept documents, text bytes and amount per domain: int64 (D, 3)."""
    rows = _rows(task)
    sums = np.zeros((len(task.domains), 3), np.int64)
    kept = rows.keep_N
    for column, values in enumerate((np.ones(len(kept), np.int64), rows.size_N, rows.length_N)):
        np.add.at(sums[:, column], rows.domain_N[kept], values[kept])
    return sums


def part_groups(task: MixTask) -> LengthGroups:
    """Fractions per (domain, length) under the decided weights."""
    rows = _rows(task)
    return sampling.length_groups(rows.domain_N, rows.length_N, _fixed(task, rows))


def _fixed(task: MixTask, rows: _Rows) -> np.ndarray:
    return np.where(rows.keep_N, np.array(task.fixed_D, np.int64)[rows.domain_N], 0)


def write_copies(task: MixTask) -> list[list[Any]]:
    """Decide and commit one part's copies.

    Returns:
        [domain, copy, documents, text bytes, amount] for every domain and copy number present.
    """
    rows = _rows(task, ["doc_id", "source", "source_row"])
    fixed = _fixed(task, rows)
    key = row_keys(task.seed, f"copies/{task.mix}", rows.table)
    copies = sampling.copies(rows.domain_N, rows.length_N, key, fixed, task.starts_G)
    weight = (fixed / sampling.ONE).astype(np.float32)
    with SidecarWriter(task.corpus, "mix", task.part.name, WEIGHTS, mix=task.mix) as sidecar:
        sidecar.write(rows.table["doc_id"], pa.table([weight, copies.astype(np.int16)], schema=WEIGHTS))
    taken = copies > 0
    dropped = {
        "deselected": int((~rows.keep_N).sum()),
        "weight_zero": int((rows.keep_N & (fixed == 0)).sum()),
        "not_sampled": int((rows.keep_N & (fixed > 0) & ~taken).sum()),
    }
    ledger = Ledger(len(copies), int(taken.sum()), {reason: n for reason, n in dropped.items() if n})
    runs = _runs(task.domains, rows, copies)
    Record(f"mix/{task.mix}", task.part.name, task.fingerprint, sidecar.file(), ledger, {"runs": runs}).commit(task.corpus)
    return runs


def _runs(domains: Sequence[str], rows: _Rows, copies: np.ndarray) -> list[list[Any]]:
    """What each copy number of each domain holds."""
    runs = []
    for d in np.unique(rows.domain_N[copies > 0]).tolist():
        of_domain = rows.domain_N == d
        for copy in range(int(copies[of_domain].max())):
            chosen = of_domain & (copies > copy)
            runs.append([domains[d], copy, int(chosen.sum()), int(rows.size_N[chosen].sum()), int(rows.length_N[chosen].sum())])
    return runs
