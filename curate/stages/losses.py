"""Losses: bits per byte of public models on a sample of pages of every group, or such a table taken over from elsewhere.

What is dear, a model's pass over a shard of pages, is committed by a record of its own, whose fingerprint is made of
the sample and of that model alone: a model more in the list computes itself, and a run that was killed goes on.

    records/losses/<model>/<shard>.json              evidence/bits_per_byte/pages/<model>/<shard>.parquet
    records/losses/table/all.json                    evidence/bits_per_byte/table.parquet, README.md
    .checkpoints/losses/<sample>/{pages,tokens}/     texts and tokens, gone when the stage is complete
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from curate import registry
from curate.corpus import EVIDENCE_CARD, EVIDENCE_TABLE, INGEST, LOSSES, LOSSES_FOLDER, group_stage, split_name
from curate.evidence import page_losses, page_sample
from curate.evidence.chunks import ChunkRule, chunker
from curate.evidence.imported_losses import imported_models, write_imported
from curate.evidence.loss_table import LossTable, card_markdown, counted, write_loss_table
from curate.evidence.page_losses import LossTask, score_pages, stage_of
from curate.evidence.page_models import PageModel, check_models, find_models, same_weights
from curate.evidence.page_sample import CandidatesTask, PageSample, SampleRule
from curate.evidence.page_tokens import TokensTask, tokens_folder, tokens_path, write_tokens
from curate.evidence.settings import Losses
from curate.hashing import fingerprint
from curate.manifest import HashingWriter, Ledger, Record, hash_at
from curate.progress import Bar
from curate.scorers.scorer import Resources
from curate.scoring import checkpoints_path
from curate.stages.stage import Outcome, Run, Stage, total_ledger
from curate.storage import Folder
from curate.telling import Told, listening
from curate.tokenization.location import locate

VERSION = 1
TABLE_STAGE, TABLE_SHARD = stage_of("table"), "all"
SAMPLE = "sample.arrow"
MISSING = "missing"
STAND_IN_STEP = 0.01
"""By which the losses of models that a rehearsal does not read differ from those of the first."""
STAND_IN_LOSS = 1.0


@dataclass
class LossesStage(Stage):
    """The table of bits per byte.

    Args:
        rehearse: whether only a plan is made: the first model reads one page of each group, and what comes out means nothing.
        options: storage options of fsspec, for a table that is imported.
    """

    settings: Losses
    seed: int
    rehearse: bool = False
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.name = LOSSES
        self.parents = tuple(dict.fromkeys((INGEST, group_stage(split_name(self.settings.by)[0]))))

    @cached_property
    def models(self) -> list[PageModel]:
        """The models to read pages with; none where a table is imported."""
        return find_models(self.settings)

    def model_names(self) -> list[str]:
        """Names of the columns that the table has, or will have.

        Raises:
            CurateError: the list of models cannot be, or the table to import cannot be read.
        """
        if self.settings.table is None:
            return [model.name for model in self.models]
        return imported_models(self.settings, self.options)

    def check(self) -> None:
        """Raise for what can be known before any work: models that are missing or unfit, names twice, a table that is none."""
        self.model_names()
        if self.settings.table is None:
            check_models(self.settings)
        if self.chunks is not None:
            chunker(self.chunks)

    @property
    def rule(self) -> SampleRule:
        """How pages are drawn."""
        if self.rehearse:
            return SampleRule(self.settings.by, 1, 1, self.seed)
        return SampleRule(self.settings.by, self.settings.pages, self.settings.min_pages or self.settings.pages, self.seed)

    @property
    def chunks(self) -> ChunkRule | None:
        """How pages are cut."""
        return ChunkRule(self.settings.chunks.tokenizer, self.settings.chunks.tokens) if self.settings.chunks else None

    @cached_property
    def _sampled(self) -> dict[str, Any]:
        """What the sample is a function of, beside the corpus."""
        chunks = None
        if self.chunks is not None:
            chunks = {"tokenizer": registry.content_hash(locate(self.chunks.tokenizer)), "tokens": self.chunks.tokens}
        rule = self.rule
        return {"by": rule.by, "pages": rule.pages, "min_pages": rule.min_pages, "seed": rule.seed, "chunks": chunks}

    def identity(self) -> dict[str, Any]:
        """The sample and the models by content; of an imported table its content."""
        if self.settings.file is not None:
            name = self.settings.file.rpartition("/")[2]
            told = {"id": self.settings.id, "families": dict(self.settings.families), "by": self.settings.by}
            return {"version": VERSION, "table": hash_at(self.settings.file, self.options), "name": name, **told}
        models = [{"name": m.name, "family": m.family, "source": m.source, **m.identity} for m in self.models]
        return {"version": VERSION, "sample": self._sampled, "formula": self.settings.formula, "models": models}

    @property
    def accelerated(self) -> bool:
        """Whether it computes on a GPU where there is one."""
        return self.settings.table is None

    @property
    def longer(self) -> float:
        """How many times longer it takes in earnest than in a rehearsal: by pages, and by the size of the models."""
        if self.settings.table is not None:
            return 1.0
        sizes = [model.n_bytes for model in self.models]
        return self.settings.pages * sum(sizes) / max(sizes[0], 1)

    def shape(self, run: Run) -> Resources:
        """What one worker occupies: a GPU besides, where models compute on one."""
        own = self.models[0].scorer().resources
        return replace(own, gpus=max(own.gpus, 1.0)) if run.device == "cuda" else own

    def run(self, run: Run) -> Outcome:
        """See Stage."""
        return self._import(run) if self.settings.table is not None else _Building(self, run).outcome()

    def _import(self, run: Run) -> Outcome:
        """Take the table over."""
        self._forget_models(run, [])
        todo, _ = run.pending(TABLE_STAGE, [TABLE_SHARD], run.fingerprints[self.name])
        if todo:
            with run.progress.stage("losses", 1, 0) as bar:
                files, table = _committed_table(run.corpus, lambda out: write_imported(self.settings, out, self.options))
                bar.shard_done(0)
            n_cells, n_missing = table.n_groups * len(table.models), sum(table.n_missing.values())
            ledger = Ledger(n_cells, n_cells - n_missing, {MISSING: n_missing} if n_missing else {})
            totals = {"n_models": len(table.models), "n_groups": table.n_groups, "notes": table.card.get("notes", [])}
            self._commit(run, files, ledger, totals)
        record = run.pending(TABLE_STAGE, [TABLE_SHARD], run.fingerprints[self.name])[1][TABLE_SHARD]
        shard = f"table/{TABLE_SHARD}"
        return Outcome(record.ledger, [shard], record.totals | {"fingerprints": {}})

    def _commit(self, run: Run, files: dict[str, Any], ledger: Ledger, totals: dict[str, Any]) -> None:
        Record(TABLE_STAGE, TABLE_SHARD, run.fingerprints[self.name], files, ledger, totals).commit(run.corpus)

    def _forget_models(self, run: Run, slugs: Iterable[str]) -> None:
        """Remove what models left that are no longer in the list."""
        wanted = {*slugs, TABLE_STAGE.rpartition("/")[2]}
        for slug in sorted({path.split("/")[2] for path in run.corpus.names(f"records/{LOSSES}")} - wanted):
            run.pending(stage_of(slug), [], "none")

    def tidy(self, corpus: Folder) -> None:
        """Remove texts and tokens."""
        corpus.remove(checkpoints_path(self.name))


def _committed_table(corpus: Folder, write: Callable[[Any], None]) -> tuple[dict[str, Any], LossTable]:
    """Write the table and its card; gives the lines of both in their record, and the table.

    Args:
        write: writes the table into a binary file.
    """
    path, beside = f"{LOSSES_FOLDER}/{EVIDENCE_TABLE}", f"{LOSSES_FOLDER}/{EVIDENCE_CARD}"
    with corpus.create(path) as out:
        table_bytes = HashingWriter(out)
        write(table_bytes)
    table = LossTable(corpus.child(LOSSES_FOLDER), EVIDENCE_TABLE)
    with corpus.create(beside) as out:
        card_bytes = HashingWriter(out)
        card_bytes.write(card_markdown(table).encode())
    return {path: table_bytes.entry(table.n_groups), beside: card_bytes.entry(0)}, table


def stand_ins(read_D: np.ndarray, models: list[str]) -> dict[str, np.ndarray]:
    """Losses for every model of a rehearsal, from those of the one it reads.

    A single page may have no loss, where a group in earnest has one. Groups rise and fall with the models by turns: if all
    went one way, weights might leave out none, and a page classifier would have nothing to tell apart.
    """
    known_D = np.where(np.isnan(read_D), STAND_IN_LOSS, read_D)
    turn_D = np.where(np.arange(len(read_D)) % 2, -STAND_IN_STEP, STAND_IN_STEP)
    return {name: known_D + turn_D * i for i, name in enumerate(models)}


class _Building:
    """One run that reads pages. M models, D groups, P pages."""

    def __init__(self, stage: LossesStage, run: Run) -> None:
        self._stage, self._run = stage, run
        self._models = stage.models[:1] if stage.rehearse else stage.models
        made_from = {"version": VERSION, **stage._sampled, "parents": {p: run.fingerprints[p] for p in stage.parents}}
        self._of_sample = fingerprint(made_from)
        self._place = f"{checkpoints_path(stage.name)}/{self._of_sample}"
        self._scratch = run.corpus.child(self._place)
        self._committed: set[str] = set()

    def outcome(self) -> Outcome:
        """Sample, read what is still to be read, add up."""
        run, stage = self._run, self._stage
        stage._forget_models(run, [model.slug for model in self._models])
        sample = self._sample()
        todo = {m.slug: run.pending(stage_of(m.slug), list(sample.shards), self._fingerprint(m))[0] for m in self._models}
        self._gather(sample, {shard for shards in todo.values() for shard in shards})
        self._read(sample, todo)
        found = {m.slug: run.pending(stage_of(m.slug), list(sample.shards), self._fingerprint(m))[1] for m in self._models}
        totals = self._totals(sample, found)
        self._write(sample, totals)
        shards = [f"table/{TABLE_SHARD}", *(f"{m.slug}/{shard}" for m in self._models for shard in sample.shards)]
        ledger = total_ledger({f"{slug}/{shard}": r for slug, records in found.items() for shard, r in records.items()})
        return Outcome(ledger, shards, totals | {"fingerprints": {m.slug: self._fingerprint(m) for m in self._models}})

    def _fingerprint(self, model: PageModel) -> str:
        """Of a model's records."""
        return fingerprint({"sample": self._of_sample, "model": model.identity})

    def _sample(self) -> PageSample:
        """The pages that are drawn: as an earlier run left them, or by a pass over ids and groups."""
        corpus, parts, above = self._run.corpus, self._run.parts, checkpoints_path(self._stage.name)
        for other in {path.split("/")[2] for path in corpus.names(above)} - {self._of_sample}:
            corpus.remove(f"{above}/{other}")
        if self._scratch.exists(SAMPLE):
            return PageSample.read(self._scratch, SAMPLE)
        tasks = [CandidatesTask(corpus, self._scratch, part, self._stage.rule) for part in parts]
        with self._run.progress.stage("losses: candidates", len(tasks), sum(p.n_bytes for p in parts)) as bar:
            looked_at = self._run.engine.map(page_sample.find_candidates, tasks, done=lambda i, _: bar.shard_done(parts[i].n_bytes))
        sample = page_sample.decide(tasks, looked_at)
        sample.save(self._scratch, SAMPLE)
        self._scratch.remove("candidates")
        return sample

    def _gather(self, sample: PageSample, shards: set[str]) -> None:
        """The texts of shards that a model has still to read."""
        corpus, parts, chunks = self._run.corpus, self._run.parts, self._stage.chunks
        lacking = [shard for shard in sample.shards if shard in shards and not self._scratch.exists(page_sample.pages_path(shard))]
        if not lacking:
            return
        tasks = [page_sample.gather_task(corpus, self._scratch, parts, sample, shard, chunks) for shard in lacking]
        sizes = [sample.n_bytes(shard) for shard in lacking]
        with self._run.progress.stage("losses: pages", len(tasks), sum(sizes), len(shards) - len(tasks)) as bar:
            self._run.engine.map(page_sample.gather_pages, tasks, done=lambda i, _: bar.shard_done(sizes[i]))

    def _read(self, sample: PageSample, todo: dict[str, list[str]]) -> None:
        """Tokens of one tokenizer, then its models one after another; then the next tokenizer."""
        families: dict[str, list[PageModel]] = {}
        for model in self._models:
            if todo[model.slug]:
                families.setdefault(model.tokens, []).append(model)
        n_tasks = sum(map(len, todo.values()))
        n_bytes = sum(sample.n_bytes(shard) for shards in todo.values() for shard in shards)
        skipped = len(self._models) * len(sample.shards) - n_tasks
        if not n_tasks:
            return
        with self._run.progress.stage("losses", n_tasks, n_bytes, skipped) as bar, self._hearing(bar):
            for tokens, models in families.items():
                self._tokenise(models[0], [s for s in sample.shards if any(s in todo[m.slug] for m in models)])
                tasks = [self._task(sample, model, shard) for model in models for shard in todo[model.slug]]
                self._run.engine.map(score_pages, tasks, resources=self._stage.shape(self._run), done=self._done(bar, tasks))
                self._scratch.remove(tokens_folder(tokens))
        page_losses.forget_model()

    def _tokenise(self, model: PageModel, shards: list[str]) -> None:
        lacking = [shard for shard in shards if not self._scratch.exists(tokens_path(model.tokens, shard))]
        tasks = [TokensTask(self._scratch, shard, str(model.tokenizer_file), model.tokens) for shard in lacking]
        if tasks:
            self._run.engine.map(write_tokens, tasks)

    def _task(self, sample: PageSample, model: PageModel, shard: str) -> LossTask:
        run = self._run
        return LossTask(run.corpus, self._scratch, shard, model, model.tokens, self._fingerprint(model), run.device, sample.n_bytes(shard))

    def _hearing(self, bar: Bar) -> Any:
        """Show how far the shards are that are being read."""

        def hear(told: dict[str, Told]) -> None:
            at_work = {name: said for name, said in told.items() if name not in self._committed}
            bar.in_work(sum(said.done for said in at_work.values()), ", ".join(sorted({said.detail for said in at_work.values()})))

        return listening(self._run.corpus, LOSSES, hear)

    def _done(self, bar: Bar, tasks: list[LossTask]) -> Any:
        def done(index: int, _: int) -> None:
            self._committed.add(tasks[index].told_as)
            bar.shard_done(tasks[index].told_bytes)

        return done

    def _totals(self, sample: PageSample, found: dict[str, dict[str, Record]]) -> dict[str, Any]:
        """What the summary and the card tell."""
        n_pages, n_bytes = sample.table.num_rows, int(sample.table["n_bytes"].to_numpy().sum())
        lost = {m.name: total_ledger(found[m.slug]).dropped for m in self._models}
        dropped = {m.name: sum(r.totals["n_chunks_dropped"] for r in found[m.slug].values()) for m in self._models}
        return {
            "n_models": len(self._models),
            "n_groups": len(sample.groups),
            "n_pages": n_pages,
            "n_bytes": n_bytes,
            "n_shards": len(sample.shards),
            **sample.counts,
            "pages_without_loss": {name: reasons for name, reasons in lost.items() if reasons},
            "chunks_dropped": {name: n for name, n in dropped.items() if n},
            "notes": self._notes(sample.counts, lost, dropped),
        }

    def _notes(self, counts: dict[str, Any], lost: dict[str, dict[str, int]], dropped: dict[str, int]) -> list[str]:
        """What is odd about the table, for people."""
        notes = []
        few = self._stage.rule.min_pages
        if counts["n_groups_left_out"]:
            some = ", ".join(f"{name!r} ({n})" for name, n in counts["left_out"].items())
            size = f"{counted(counts['n_groups_left_out'], 'group')} with {counted(counts['n_pages_left_out'], 'page')} in all"
            notes.append(f"left out for having fewer than {few:,} pages each: {size}; the first by name: {some}")
        if counts["n_without_group"]:
            notes.append(f"not drawn from, for want of a {self._stage.rule.by!r}: {counted(counts['n_without_group'], 'document')}")
        for names in same_weights(self._models):
            notes += [f"{', '.join(names)} have the same weights: they are one model, and no evidence apart"]
        for name, reasons in lost.items():
            said = ", ".join(f"{reason}: {n:,}" for reason, n in reasons.items())
            notes += (
                [f"{name} has no loss for {sum(reasons.values()):,} pages ({said}): other pages stand for their groups"] if said else []
            )
        notes += [f"{n:,} chunks of {name} have a loss that is no number and do not count" for name, n in dropped.items() if n]
        return notes

    def _write(self, sample: PageSample, totals: dict[str, Any]) -> None:
        """The table and its card; committed last."""
        run, settings, stage = self._run, self._stage.settings, self._stage
        run.pending(TABLE_STAGE, [], "none")  # the manifest on disk may still vouch for an earlier one
        losses = {m.name: page_losses.group_losses(run.corpus, m, sample, settings.formula) for m in self._models}
        if stage.rehearse:
            losses = stand_ins(losses[self._models[0].name], [m.name for m in stage.models])
        described = {m.name: {"family": m.family, "tokenizer": m.tokens, "source": m.source, "weights": m.weights} for m in stage.models}
        chunks = stage._sampled["chunks"]
        card = {
            "origin": "built",
            "formula": settings.formula,
            "pages_of_a_group": stage.rule.pages,
            "least_pages_of_a_group": stage.rule.min_pages,
            "seed": str(stage.seed),
            "context": "of each model, at most 2048 tokens" if settings.context is None else settings.context,
            "overlap": settings.overlap,
            "precision": settings.precision,
            "chunks": chunks and f"of at most {chunks['tokens']} tokens of the tokenizer {chunks['tokenizer']}",
            "notes": totals["notes"],
        }
        n_pages, n_bytes = sample.amounts()
        files, _ = _committed_table(
            run.corpus, lambda out: write_loss_table(out, sample.groups, n_pages, n_bytes, losses, described, settings.by, card)
        )
        stage._commit(run, files, Ledger(), {})
