"""Dedup: documents that share an id or enough of their signatures become clusters; one of each is kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate import dedup, deduplication
from curate.config import SIGNATURES
from curate.corpus import DEDUP, INGEST, Part, group_stage, split_name
from curate.dedup import Dedup
from curate.deduplication import JoinTask, MemberTask, ShingleTask, VerdictTask
from curate.hashing import fingerprint, id_halves, source_keys
from curate.kernels import minhash
from curate.kernels.shingles import jaccard
from curate.manifest import Record
from curate.stages.stage import Outcome, Run, Stage, total_ledger

VERSION = 2
IDENTITY = ("doc_id", "source", "source_row")


@dataclass
class DedupStage(Stage):
    """The duplicate verdicts.

    Args:
        better: which end of the column of ``keep: best`` is better; None for the other policies.
        sources: names of the input files in the order of the pipeline, for ``keep: first``.
    """

    config: Dedup
    better: str | None
    sources: tuple[str, ...]

    def __post_init__(self) -> None:
        self.name = DEDUP
        groups = {SIGNATURES} if self.config.near else set()
        groups |= {*self.config.among, split_name(self.config.column or "")[0]}
        self.parents = (INGEST, *(group_stage(g) for g in sorted(groups - {""})))

    def identity(self) -> dict[str, Any]:
        """The settings; how signatures are made is the signatures' own identity."""
        sources = {"count": len(self.sources), "hash": fingerprint(list(self.sources))}
        first = {"sources": sources} if self.config.keep == "first" else {}
        return {"version": VERSION, **self.config.model_dump(mode="json"), "better": self.better, **first}

    def run(self, run: Run) -> Outcome:
        """Join all keys, choose, then write each shard alone."""
        parts = run.parts
        names = [part.name for part in parts]
        todo, _ = run.pending(self.name, names)
        if todo:
            with run.progress.stage("dedup", len(todo), sum(p.n_bytes for p in parts if p.name in todo), len(parts) - len(todo)) as bar:
                tasks = [task for task in _Clusters(self, run).verdicts() if task.part.name in todo]
                run.engine.map(deduplication.write_verdicts, tasks, done=lambda i, _: bar.shard_done(tasks[i].part.n_bytes))
        deduplication.clear_spool(run.corpus)
        found = run.pending(self.name, names)[1]
        run.clear_orphans(self.name, found)
        return Outcome(total_ledger(found), names, _totals(found))


def _totals(found: dict[str, Record]) -> dict[str, Any]:
    """Clusters and duplicates over all shards."""
    tallies = [record.totals for record in found.values()]
    return dedup.merge_tallies(tallies) | {"left_apart": sum(tally["left_apart"] for tally in tallies)}


class _Clusters:
    """One run's clusters: N rows of the corpus, M of them members of clusters of two or more."""

    def __init__(self, stage: DedupStage, run: Run) -> None:
        self._stage, self._config, self._run, self._corpus = stage, stage.config, run, run.corpus
        self._parts = run.parts
        self._first_P = np.cumsum([0, *(part.n_rows for part in self._parts)])
        self._rows = dedup.Components(int(self._first_P[-1]))
        self._left_apart = 0

    def verdicts(self) -> list[VerdictTask]:
        """One task for every part."""
        if self._config.exact:
            self._join(["doc_id"])
        near = self._config.near
        bands = [minhash.band_name(i) for i in range(near.bands)] if near else []
        compared = None
        if near and near.verify:
            compared = _Shingles(self._run, self._parts, self._first_P, self._rows.labels(), near.ngram)
            self._join_verified(bands, compared, near.threshold)
        else:
            self._join(bands)
        members = self._rows.members()
        decision = self._decide(members, compared)
        bounds = np.searchsorted(members, self._first_P).tolist()
        fingerprint = self._run.fingerprints[DEDUP]
        return [
            VerdictTask(self._corpus, part, members[a:b] - first, decision.table(a, b), 0 if i else self._left_apart, fingerprint)
            for i, (part, first, a, b) in enumerate(zip(self._parts, self._first_P.tolist(), bounds, bounds[1:], strict=False))
        ]

    def _join(self, columns: list[str]) -> None:
        """Rows that share a key are one cluster."""
        tasks = deduplication.join_tasks(self._corpus, self._parts, columns, self._config.among)
        self._run.engine.map(deduplication.join_keys, tasks, done=lambda i, _: self._rows.join(deduplication.links_of(tasks[i])))

    def _join_verified(self, bands: list[str], compared: _Shingles, threshold: float) -> None:
        """Rows that share a band are one cluster where their texts are similar enough; bands one after another."""
        tasks = deduplication.join_tasks(self._corpus, self._parts, bands, self._config.among)
        self._run.engine.map(deduplication.join_keys, tasks)
        compared.read(tasks)
        verifier = dedup.Verifier(threshold, len(bands), compared.order, compared.sketches, compared.similarity)
        for task in tasks:
            verifier.add(bands.index(task.column), compared.links(task))
        self._rows.join(compared.candidates[verifier.finish()])
        self._left_apart = verifier.n_left_apart
        if self._left_apart:
            self._run.progress.note(
                f"[yellow]dedup[/] {self._left_apart:,} documents share a band with more than {dedup.ALL_PAIRS:,} others, "
                "were not compared with all of them, and are nobody's copy"
            )

    def _decide(self, members: np.ndarray, compared: _Shingles | None) -> dedup.Decision:
        """Who is kept: members are numbered 0 … M-1 from here on."""
        columns = [*IDENTITY, "n_bytes"]
        columns += [self._config.column] if self._config.column else []
        columns += [f"{SIGNATURES}.sketch"] if self._config.near and compared is None else []
        table = _read(self._run, self._parts, self._first_P, members, tuple(dict.fromkeys(columns)))
        rows = _rows(table)
        similarity: dedup.Similarity | None = None
        if compared is not None:
            similarity = compared.between(members)
        elif self._config.near:
            sketches = _sketches(table[f"{SIGNATURES}.sketch"])

            def similarity(left: np.ndarray, right: np.ndarray) -> np.ndarray:
                return minhash.similarity(sketches[left], sketches[right])

        labels = np.searchsorted(members, self._rows.roots(members))
        return dedup.decide(labels, rows, self._policy(table), similarity)

    def _policy(self, table: pa.Table) -> list[np.ndarray]:
        """What makes one member better than another, most important first."""
        source = table["source"].combine_chunks().dictionary_encode()
        code, names = np.asarray(source.indices), source.dictionary.to_pylist()
        columns = [dedup.preferred(names, self._config.prefer)[code]] if self._config.prefer else []
        if self._config.column:
            score, null = _numbers(table[self._config.column])
            return [*columns, *dedup.best(score, cast(str, self._stage.better), null)]
        if self._config.keep == "first":
            known = {name: i for i, name in enumerate(self._stage.sources)}
            rank = np.array([known.get(name, len(known)) for name in names], dtype=np.int64)
            return [*columns, *dedup.first(rank[code], table["source_row"].to_numpy())]
        return [*columns, *dedup.longest(table["n_bytes"].to_numpy())]


class _Shingles:
    """The texts of all candidates as sets of shingles, in one file that is mapped, not loaded. C candidates."""

    def __init__(self, run: Run, parts: list[Part], first_P: np.ndarray, copies: np.ndarray, ngram: int) -> None:
        self._run, self._parts, self._first_P, self._ngram = run, parts, first_P, ngram
        self._copies = copies
        """The first row with the same text, for every row: copies need not be compared, nor read."""

    def read(self, tasks: list[JoinTask]) -> None:
        """Find the candidates of all joins and read their shingles."""
        wanted = np.zeros(len(self._copies), dtype=bool)
        for task in tasks:
            wanted[self._copies[deduplication.links_of(task)].ravel()] = True
        self.candidates = np.flatnonzero(wanted)
        bounds = np.searchsorted(self.candidates, self._first_P).tolist()
        shingling = [
            ShingleTask(self._run.corpus, part, self.candidates[a:b] - first, self._ngram)
            for part, first, a, b in zip(self._parts, self._first_P.tolist(), bounds, bounds[1:], strict=False)
        ]
        sizes = self._run.engine.map(deduplication.write_shingles, shingling)
        self._hashes = deduplication.one_file(shingling)
        self._bounds = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.concatenate(sizes), dtype=np.int64)])
        sketch = f"{SIGNATURES}.sketch"
        table = _read(self._run, self._parts, self._first_P, self.candidates, (*IDENTITY, sketch))
        self.order = _rows(table).places(np.arange(len(self.candidates)), [])
        self.sketches = _sketches(table[sketch])

    def links(self, task: JoinTask) -> np.ndarray:
        """The links of one join between candidates, each pair of texts once."""
        links = self._copies[deduplication.links_of(task)]
        first, member = np.searchsorted(self.candidates, links[links[:, 0] != links[:, 1]]).T
        both = np.unique((first << 32) | member)
        return np.stack([both >> 32, both & 0xFFFFFFFF], axis=1)

    def similarity(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """True Jaccard similarity of pairs of candidates."""
        return np.asarray(jaccard(self._hashes, self._bounds, left, right))

    def between(self, members: np.ndarray) -> dedup.Similarity:
        """The same for members of clusters, whose texts are those of candidates."""
        place = np.searchsorted(self.candidates, self._copies[members])
        return lambda left, right: self.similarity(place[left], place[right])


def _read(run: Run, parts: list[Part], first_P: np.ndarray, rows: np.ndarray, columns: tuple[str, ...]) -> pa.Table:
    """Columns of global rows (ascending), part by part."""
    bounds = np.searchsorted(rows, first_P).tolist()
    tasks = [
        MemberTask(run.corpus, part, rows[a:b] - first, columns)
        for part, first, a, b in zip(parts, first_P.tolist(), bounds, bounds[1:], strict=False)
    ]
    return pa.concat_tables(run.engine.map(deduplication.read_members, tasks)).unify_dictionaries()


def _rows(table: pa.Table) -> dedup.Rows:
    return dedup.Rows(id_halves(table["doc_id"]), source_keys(table["source"]), table["source_row"].to_numpy())


def _numbers(column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """Values and which are null, (M,) both. Integers stay integers: beyond 2^53 no float tells neighbours apart."""
    null = np.asarray(column.is_null())
    if pa.types.is_integer(column.type):
        wide = pa.uint64() if pa.types.is_unsigned_integer(column.type) else pa.int64()
        return pc.fill_null(column, 0).cast(wide).to_numpy(), null
    return pc.fill_null(column.cast(pa.float64()), float("nan")).to_numpy(), null


def _sketches(column: pa.ChunkedArray) -> np.ndarray:
    """Sketches as (M, P) uint8; rows without one, which are exact copies of texts without words, are zeros."""
    width = column.type.byte_width
    blank = pc.fill_null(column, pa.scalar(bytes(width), column.type)).combine_chunks()
    data = np.frombuffer(blank.buffers()[1] or b"", dtype=np.uint8)[blank.offset * width : (blank.offset + len(blank)) * width]
    return data.reshape(-1, width)
