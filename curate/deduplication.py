"""The dedup stage, shard by shard: keys are joined, members of clusters looked at, verdicts written beside the documents.

The tasks here run on any worker. ``join_keys`` finds which documents share one key (an id,
or a band of their signatures) and leaves the links in scratch; ``read_members`` fetches what
the choice of a representative looks at, for those documents alone that share something;
``write_verdicts`` commits one shard. Text is read only to verify candidates, by
``write_shingles``. Rows are numbered through all parts in order: global rows.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate import dedup
from curate.config import SIGNATURES
from curate.corpus import DEDUP as GROUP
from curate.corpus import Part, SidecarWriter, group_path, read_part
from curate.documents import text_bytes
from curate.hashing import id_halves
from curate.kernels.shingles import shingle_sets
from curate.manifest import Ledger, Record
from curate.storage import Folder

SPOOLS = "spool"
SPOOL = f"{SPOOLS}/dedup"
COPY_BYTES = 1 << 24
JOIN_BYTES = 1 << 30
"""Memory one join may take; more keys than that are joined range by range."""


@dataclass(frozen=True)
class JoinTask:
    """One key column, or one range of its keys.

    Args:
        column: ``doc_id``, or a band of the signatures.
        among: column groups with verdicts; documents they drop share nothing.
        piece: which of the ``pieces`` ranges.
    """

    corpus: Folder
    parts: tuple[Part, ...]
    column: str
    among: tuple[str, ...]
    piece: int
    pieces: int

    @property
    def path(self) -> str:
        """Where the links go."""
        return f"{SPOOL}/{self.column}-{self.piece}.bin"


def join_tasks(corpus: Folder, parts: Sequence[Part], columns: Iterable[str], among: tuple[str, ...]) -> list[JoinTask]:
    """All joins, each within about JOIN_BYTES."""
    pieces = dedup.n_ranges(sum(part.n_rows for part in parts), JOIN_BYTES)
    return [JoinTask(corpus, tuple(parts), column, among, piece, pieces) for column in columns for piece in range(pieces)]


def join_keys(task: JoinTask) -> int:
    """Link the rows that share a key. Returns how many links there are; they lie at ``task.path``."""
    keys, rows, first = [], [], 0
    for part in task.parts:
        found, row = _keys(task, part)
        keys.append(found)
        rows.append(row + first)
        first += part.n_rows
    joined = np.concatenate(keys), np.concatenate(rows)
    links = dedup.exact_edges(*joined) if task.column == "doc_id" else dedup.edges(*joined)
    with task.corpus.create(task.path, durable=False) as out:
        out.write(np.ascontiguousarray(links).view(np.uint8).data)
    return len(links)


def _keys(task: JoinTask, part: Part) -> tuple[np.ndarray, np.ndarray]:
    """Keys of one part that fall into the task's range, and their rows in the part."""
    column = task.column if task.column == "doc_id" else f"{SIGNATURES}.{task.column}"
    table = read_part(task.corpus, part.name, [column, *(f"{group}.keep" for group in task.among)])
    wanted = np.ones(len(table), dtype=bool)
    for group in task.among:
        wanted &= pc.fill_null(table[f"{group}.keep"], False).to_numpy()
    given = table[column].combine_chunks()
    if task.column == "doc_id":
        keys = id_halves(given)
        low = keys[:, 1]
    else:
        wanted &= np.asarray(given.is_valid())
        low = keys = np.asarray(pc.fill_null(given, 0))
    if task.pieces > 1:
        wanted &= dedup.in_range(np.ascontiguousarray(low), task.piece, task.pieces)
    rows = np.flatnonzero(wanted)
    return keys[rows], rows


def links_of(task: JoinTask) -> np.ndarray:
    """The links one join left: (E, 2) int64 global rows, the smallest of those with one key first."""
    return np.frombuffer(task.corpus.read(task.path), dtype=np.int64).reshape(-1, 2)


@dataclass(frozen=True)
class MemberTask:
    """Some rows of one part.

    Args:
        rows: int64, rows in the part, ascending.
        columns: to read of them.
    """

    corpus: Folder
    part: Part
    rows: np.ndarray
    columns: tuple[str, ...]


def read_members(task: MemberTask) -> pa.Table:
    """The columns of those rows, in their order."""
    if not len(task.rows):
        return read_part(task.corpus, task.part.name, list(task.columns), []).slice(0, 0)
    return read_part(task.corpus, task.part.name, list(task.columns)).take(pa.array(task.rows))


@dataclass(frozen=True)
class ShingleTask:
    """Candidates of one part whose texts are to be compared.

    Args:
        rows: int64, rows in the part, ascending.
        ngram: words of a shingle.
    """

    corpus: Folder
    part: Part
    rows: np.ndarray
    ngram: int

    @property
    def path(self) -> str:
        """Where the shingles go."""
        return f"{SPOOL}/shingles-{self.part.name}.bin"


def write_shingles(task: ShingleTask) -> np.ndarray:
    """Distinct shingles of the rows, one row after another, at ``task.path``; returns how many each has (int64)."""
    sizes = []
    with task.corpus.create(task.path, durable=False) as out:
        for text in _texts(task.corpus, task.part.name, task.rows):
            bounds, hashes = shingle_sets(*text_bytes(text), task.ngram)
            out.write(np.ascontiguousarray(hashes).view(np.uint8).data)
            sizes.append(np.diff(bounds))
    return np.concatenate(sizes) if sizes else np.empty(0, np.int64)


def one_file(tasks: Sequence[ShingleTask]) -> np.ndarray:
    """The shingles of all parts as one array, mapped from a file that goes with the last reference to it; theirs go at once."""
    local = tasks[0].corpus.local if tasks else None
    with tempfile.TemporaryFile(dir=local / SPOOL if local else None) as together:
        for task in tasks:
            with task.corpus.open(task.path) as file:
                while block := file.read(COPY_BYTES):
                    together.write(block)
            task.corpus.remove(task.path)
        together.flush()
        return np.asarray(np.memmap(together, dtype=np.uint64, mode="r")) if together.tell() else np.empty(0, np.uint64)


def clear_spool(corpus: Folder) -> None:
    """Remove what the joins left, and the folder above where nothing else is in it."""
    corpus.remove(SPOOL)
    if not corpus.names(SPOOLS):
        corpus.remove(SPOOLS)


def _texts(corpus: Folder, part: str, rows: np.ndarray) -> Iterable[pa.Array]:
    """The texts of ascending rows, a row group at a time; groups without any are not read."""
    with corpus.open(f"{group_path('')}/{part}.parquet") as file, pq.ParquetFile(file) as parquet:
        first = 0
        for group in range(parquet.num_row_groups):
            n_rows = parquet.metadata.row_group(group).num_rows
            wanted = rows[np.searchsorted(rows, first) : np.searchsorted(rows, first + n_rows)] - first
            if len(wanted):
                text = parquet.read_row_group(group, columns=["text"], use_threads=False)["text"]
                yield text.combine_chunks().take(pa.array(wanted))
            first += n_rows


@dataclass(frozen=True)
class VerdictTask:
    """One part's verdicts.

    Args:
        rows: int64, rows of the part that are in a cluster with others, ascending.
        verdicts: theirs, schema ``dedup.VERDICTS``; every other document is kept and alone.
        left_apart: ``Verifier.n_left_apart`` of all parts, told by the first.
    """

    corpus: Folder
    part: Part
    rows: np.ndarray
    verdicts: pa.Table
    left_apart: int
    fingerprint: str


def write_verdicts(task: VerdictTask) -> None:
    """Write and commit one part's verdicts."""
    table = read_part(task.corpus, task.part.name, ["doc_id", "domain"])
    verdicts = _spread(task, len(table))
    with SidecarWriter(task.corpus, GROUP, task.part.name, dedup.VERDICTS) as sidecar:
        sidecar.write(table["doc_id"], verdicts)
    found = dedup.tally(verdicts, table["domain"]) | {"left_apart": task.left_apart}
    duplicates = sum(row["exact"] + row["near"] for row in found["by_domain"].values())
    ledger = Ledger(len(table), len(table) - duplicates, duplicate=duplicates)
    Record(GROUP, task.part.name, task.fingerprint, sidecar.file(), ledger, found).commit(task.corpus)


def _spread(task: VerdictTask, n_rows: int) -> pa.Table:
    """Verdicts of all rows of the part: those given, and between them documents that are alone."""
    place = np.full(n_rows, -1, dtype=np.int64)
    place[task.rows] = np.arange(len(task.rows))
    spread = task.verdicts.take(pa.array(place, mask=place < 0))
    alone = {"keep": True, "cluster_size": 1}
    columns = [pc.fill_null(spread[name], alone[name]) if name in alone else spread[name] for name in dedup.VERDICTS.names]
    return pa.table(columns, schema=dedup.VERDICTS)
