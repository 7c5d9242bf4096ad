"""Correlate: losses of public models on groups of pages set beside their benchmark results, and the weights that follow."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pyarrow.parquet as pq

from curate.corpus import (
    CORRELATE,
    EVIDENCE_CARD,
    EVIDENCE_TABLE,
    INGEST,
    LOSSES,
    LOSSES_FOLDER,
    WEIGHTS_FOLDER,
    group_stage,
    split_name,
)
from curate.evidence.alignment import check_before_losses
from curate.evidence.benchmark_results import BenchmarkResults, read_benchmarks
from curate.evidence.estimation import find_weights
from curate.evidence.findings import Findings, Known
from curate.evidence.group_amounts import AmountTask, by_group, part_amounts, summed
from curate.evidence.loss_table import LossTable
from curate.evidence.result_files import result_files
from curate.evidence.settings import Correlate
from curate.evidence.weights_card import weights_card
from curate.manifest import HashingWriter, Ledger, Record, hash_at
from curate.stages.losses import LossesStage
from curate.stages.stage import Outcome, Run, Stage

VERSION = 1
SHARD = "weights"


@dataclass
class CorrelateStage(Stage):
    """Weights of groups of pages, for every target.

    Args:
        losses: the stage that makes the losses.
        length: column that measures a document, which shares and the largest weights count by.
        rehearse: whether only a plan is made, whose losses mean nothing.
        options: storage options of fsspec, for results that lie elsewhere.
    """

    settings: Correlate
    losses: LossesStage
    length: str
    seed: int
    rehearse: bool = False
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.name = CORRELATE
        groups = dict.fromkeys(group_stage(split_name(column)[0]) for column in self.reads)
        self.parents = tuple(dict.fromkeys((INGEST, LOSSES, *groups)))

    @property
    def reads(self) -> tuple[str, ...]:
        """Columns of the corpus that weights are made from."""
        return tuple(dict.fromkeys((self.settings.losses.by, self.length, *self.settings.describe)))

    @property
    def unit(self) -> str:
        """What shares count."""
        return "bytes" if self.length == "n_bytes" else "tokens"

    @cached_property
    def results(self) -> BenchmarkResults:
        """The benchmark results that targets are made of, read once."""
        found = read_benchmarks(self.settings.benchmarks, self.losses.model_names(), self.options)
        found.check_confirmed(self.settings.confirmed)
        return found.of_targets(self.settings.targets)

    @property
    def targets(self) -> list[str]:
        """Names of the targets that weights are made for."""
        return list(self.settings.targets or self.results.names_B)

    def check(self) -> None:
        """Raise for what can be known before any loss is: unreadable results, unknown benchmarks, missing models and results."""
        check_before_losses(self.losses.model_names(), self.results, self.settings.missing)

    def identity(self) -> dict[str, Any]:
        """The settings, and the results by content."""
        settings = self.settings.model_dump(mode="json", exclude={"losses", "benchmarks"})
        files = [[hash_at(path, self.options) for path in result_files(entry, self.options)] for entry in self.settings.benchmarks]
        entries = [entry.model_dump(mode="json", exclude={"path"}) for entry in self.settings.benchmarks]
        return {"version": VERSION, **settings, "benchmarks": entries, "results": files, "length": self.length, "seed": self._seed}

    @property
    def _seed(self) -> int:
        return self.seed if self.settings.seed is None else self.settings.seed

    def run(self, run: Run) -> Outcome:
        """Count what groups hold, estimate, project, and write the weights with their card."""
        settings = self.settings
        todo, _ = run.pending(self.name, [SHARD])
        described = tuple(dict.fromkeys(("domain", *settings.describe)))
        tasks = [AmountTask(run.corpus, part, settings.losses.by, self.length, described) for part in run.parts]
        if todo:
            with run.progress.stage("correlate", 1, 0) as bar:
                amounts = summed(run.engine.map(part_amounts, tasks))
                table = LossTable(run.corpus.child(LOSSES_FOLDER), EVIDENCE_TABLE)
                groups, amount_D = by_group(amounts)
                known = Known(groups, amount_D.to_numpy(), amounts, self.unit)
                found = find_weights(table, self.results, settings, known, self._seed, trusting=self.rehearse)
                bar.shard_done(0)
            self._commit(run, found)
        record = run.pending(self.name, [SHARD])[1][SHARD]
        for note in record.totals["notes"]:
            run.progress.note(f"[yellow]note[/] {_escaped(note)}")
        return Outcome(record.ledger, [SHARD], record.totals)

    def _commit(self, run: Run, found: Findings) -> None:
        """The table and its card, then the record."""
        files = {}
        path = f"{WEIGHTS_FOLDER}/{EVIDENCE_TABLE}"
        with run.corpus.create(path) as file:
            hashing = HashingWriter(file)
            pq.write_table(found.weights, hashing, compression="zstd")
        files[path] = hashing.entry(found.weights.num_rows)
        card = f"{WEIGHTS_FOLDER}/{EVIDENCE_CARD}"
        with run.corpus.create(card) as file:
            hashing = HashingWriter(file)
            hashing.write(weights_card(found.facts).encode())
        files[card] = hashing.entry(0)
        n_groups = found.facts["n_groups"]
        left_out = found.facts["groups_left_out"]
        ledger = Ledger(n_groups + sum(left_out.values()), n_groups, left_out)
        Record(self.name, SHARD, run.fingerprints[self.name], files, ledger, found.facts).commit(run.corpus)


def _escaped(note: str) -> str:
    from rich.markup import escape

    return escape(note)
