"""Ingest: scan raw splits to a sorted spool, cut shards, gather them. The spool goes when the documents are complete."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from curate import ingest
from curate.config import Ingest
from curate.corpus import INGEST, ids_hash
from curate.errors import BadRecordsError, IntegrityError
from curate.hashing import fingerprint
from curate.ingest import Limits, ScanResult, Slice, Source, Split
from curate.manifest import Ledger, Record
from curate.stages.stage import Outcome, Run, Stage
from curate.storage import Folder

VERSION = 1
SCAN = "ingest-scan"
SPOOL = "spool"
QUARANTINE = "quarantine"
SPLITS, SMALLEST_SPLIT, LARGEST_SPLIT = 64, 4 << 20, 128 << 20


@dataclass
class IngestStage(Stage):
    """Raw files to documents and quarantine."""

    config: Ingest
    seed: int
    storage_options: dict[str, object]

    def __post_init__(self) -> None:
        self.name, self.parents = INGEST, ()
        self.listing = ingest.list_inputs(self.config.sources, ".", self.storage_options)
        self.extras = ingest.extras_schema(self.config.sources)

    def identity(self) -> dict[str, Any]:
        """The sources with their fields, and every file by name, size and change marker."""
        files = [[file.source, file.size, file.marker] for file in self.listing.files]
        return {
            "version": VERSION,
            "sources": [source.model_dump(mode="json", exclude_defaults=True) for source in self.config.sources],
            "files": {"count": len(files), "bytes": sum(file.size for file in self.listing.files), "hash": fingerprint(files)},
            "shard_bytes": self.config.shard_bytes,
            "max_record_bytes": self.config.max_record_bytes,
            "seed": self.seed,
        }

    def run(self, run: Run) -> Outcome:
        """Scan, plan, gather."""
        splits = self._splits(run)
        # What a split's name stands for depends on how files were cut, which is no part of the stage's identity.
        layout = fingerprint([run.fingerprints[INGEST], [split.to_json() for split in splits]])
        self._clear_other_work(run, layout)
        scans = self._scan(run, splits, layout)
        total = sum((Counter(scan.quarantined) for scan in scans), Counter())
        ledger = Ledger(sum(s.n_records for s in scans), sum(s.n_documents for s in scans), {}, 0, dict(sorted(total.items())))
        ledger.reconcile("ingest, all splits")
        self._check_budget(ledger.n_in, total, scans)
        if not ledger.kept:
            raise BadRecordsError(
                "no document could be read", where=self._labels(), expected="at least one", fix="look into quarantine/ for the reasons"
            )
        chunks = [chunk for scan in scans for chunk in scan.chunks]
        # Histograms together have a row per document, so each is read when it is its turn, twice.
        plan = ingest.plan_shards((ingest.read_histogram(run.corpus, chunk) for chunk in chunks), self.config.shard_bytes)
        names = [plan.part_name(i).removesuffix(".parquet") for i in range(len(plan.shards))]
        slices = dict(zip(names, ingest.slices(plan, ((chunk, ingest.read_histogram(run.corpus, chunk)) for chunk in chunks)), strict=True))
        todo, _ = run.pending(INGEST, names)
        size = {name: shard.n_bytes for name, shard in zip(names, plan.shards, strict=True)}
        tasks = [_Gather(run.corpus, name, tuple(slices[name]), tuple(self.extras), run.fingerprints[INGEST]) for name in todo]
        with run.progress.stage("ingest: write", len(todo), sum(size[n] for n in todo), len(names) - len(todo)) as bar:
            run.engine.map(_gather, tasks, done=lambda i, _: bar.shard_done(size[todo[i]]))
        found = run.pending(INGEST, names)[1]
        run.clear_orphans("documents", found)
        gathered = sum(record.ledger.kept for record in found.values())
        if gathered != ledger.kept:
            raise IntegrityError(
                f"{ledger.kept:,} documents were read but {gathered:,} written",
                where="ingest",
                fix="remove the output directory and run again",
            )
        return Outcome(ledger, names, self._totals(found, scans))

    def tidy(self, corpus: Folder) -> None:
        """The spool and its records have served once the documents are in the manifest."""
        for leftover in (SPOOL, f"records/{SCAN}"):
            corpus.remove(leftover)

    def _totals(self, found: dict[str, Record], scans: list[ScanResult]) -> dict[str, Any]:
        domains: dict[str, list[int]] = {}
        for record in found.values():
            for domain, rows, n_bytes in record.totals["domains"]:
                held = domains.setdefault(domain, [0, 0])
                held[0], held[1] = held[0] + rows, held[1] + n_bytes
        return {
            "domains": {d: {"documents": n, "bytes": b} for d, (n, b) in sorted(domains.items())},
            "quarantine": {s.quarantine: sum(s.quarantined.values()) for s in scans if s.quarantine},
            "files": len(self.listing.files),
            "skipped_files": self.listing.skipped,
        }

    def _clear_other_work(self, run: Run, layout: str) -> None:
        """Spool and quarantine of a configuration that is gone, or of other splits, must not mix with this one's."""
        stale = [n for n in run.corpus.names(f"records/{SCAN}") if Record.read(run.corpus, SCAN, _shard_of(n)).fingerprint != layout]
        fresh = not run.corpus.names(f"records/{SCAN}")
        if stale or fresh:
            for leftover in (SPOOL, f"records/{SCAN}", QUARANTINE):
                run.corpus.remove(leftover)

    def _splits(self, run: Run) -> list[Split]:
        """The units of reading."""

        def in_parallel(function: Callable[[Any], int], items: Iterable[Any]) -> list[int]:
            return run.engine.map(function, list(items))

        return ingest.plan_splits(self.listing.files, self.config.sources, self.split_bytes, self.storage_options, in_parallel)

    def _scan(self, run: Run, splits: list[Split], layout: str) -> list[ScanResult]:
        """Every split to spool chunks."""
        todo, done = run.pending(SCAN, [split.name for split in splits], layout)
        missing = [split for split in splits if split.name in todo]
        limits = Limits(max_record_bytes=self.config.max_record_bytes)
        results = {name: ScanResult.from_json(record.totals) for name, record in done.items()}
        tasks = [
            _Scan(run.corpus, split, self.config.sources[split.entry], self.seed, limits, self.storage_options, layout) for split in missing
        ]
        with run.progress.stage("ingest: read", len(todo), sum(s.n_bytes for s in missing), len(splits) - len(todo)) as bar:

            def read(index: int, result: ScanResult) -> None:
                results[missing[index].name] = result
                bar.shard_done(missing[index].n_bytes)
                self._check_hopeless(
                    list(results.values()), sum(s.n_bytes for s in splits if s.name in results), sum(s.n_bytes for s in splits)
                )

            run.engine.map(_scan, tasks, done=read)
        return [results[split.name] for split in splits]

    @property
    def split_bytes(self) -> int:
        """What one task reads: enough tasks to share, few enough to keep count of. No result depends on it."""
        total = sum(file.size for file in self.listing.files)
        return self.config.split_bytes or min(max(total // SPLITS, SMALLEST_SPLIT), LARGEST_SPLIT)

    def _has_spool(self, run: Run, record: Record) -> bool:
        """Whether a scan's chunks are whole: they are scratch, so a power cut may have taken them."""
        try:
            for chunk in ScanResult.from_json(record.totals).chunks:
                ingest.read_histogram(run.corpus, chunk)
        except (OSError, pa.ArrowInvalid):
            return False
        return True

    def _check_hopeless(self, scans: list[ScanResult], n_bytes: int, all_bytes: int) -> None:
        """Stop early where even a clean rest, at the density so far, would not meet the budget."""
        bad = sum((Counter(scan.quarantined) for scan in scans), Counter())
        expected = sum(scan.n_records for scan in scans) * all_bytes / max(n_bytes, 1)
        if bad.total() > self.config.max_bad_fraction * expected and expected > 10_000:
            self._check_budget(sum(s.n_records for s in scans), bad, scans)

    def _check_budget(self, n_records: int, bad: Counter[str], scans: list[ScanResult]) -> None:
        """Raise BadRecordsError when too many records are in quarantine."""
        share = bad.total() / max(n_records, 1)
        if share > self.config.max_bad_fraction:
            first = next(scan.quarantine for scan in scans if scan.quarantine)
            raise BadRecordsError(
                f"{bad.total():,} of {n_records:,} records ({share:.2%}) are bad: "
                + ", ".join(f"{r} {n:,}" for r, n in bad.most_common(4)),
                where=f"{first}, in the output directory, lists each with its reason",
                expected=f"at most max_bad_fraction = {self.config.max_bad_fraction:.2%}",
                fix="mend the sources, or raise ingest.max_bad_fraction",
            )

    def _labels(self) -> str:
        return ", ".join(source.label for source in self.config.sources)


def _shard_of(name: str) -> str:
    return name.removeprefix(f"records/{SCAN}/").removesuffix(".json")


@dataclass(frozen=True)
class _Scan:
    corpus: Folder
    split: Split
    source: Source
    seed: int
    limits: Limits
    options: dict[str, Any]
    fingerprint: str


def _scan(task: _Scan) -> ScanResult:
    """Read and commit one split."""
    result = ingest.scan_split(task.split, task.source, task.corpus, task.seed, task.limits, task.options)
    ledger = Ledger(result.n_records, result.n_documents, {}, 0, result.quarantined)
    Record(SCAN, task.split.name, task.fingerprint, {}, ledger, result.to_json()).commit(task.corpus)
    return result


@dataclass(frozen=True)
class _Gather:
    corpus: Folder
    name: str
    slices: tuple[Slice, ...]
    extras: tuple[pa.Field, ...]
    fingerprint: str


def _gather(task: _Gather) -> None:
    """Write and commit one documents shard."""
    part = ingest.gather_shard([(task.corpus, s) for s in task.slices], task.corpus, f"{task.name}.parquet", task.extras)
    with task.corpus.open(part.name) as file:
        ids = ids_hash(pq.read_table(file, columns=["doc_id"])["doc_id"].chunks)
    domains = [[domain, held["n_documents"], held["n_bytes"]] for domain, held in sorted(part.domains.items())]
    files = {part.name: part.file}
    ledger = Ledger(part.n_documents, part.n_documents)
    Record(INGEST, task.name, task.fingerprint, files, ledger, {"domains": domains, "ids": ids}).commit(task.corpus)
