"""The straight line: which stages there are, what is pending, and running them.

pipeline = Pipeline.from_yaml("pipelines/quickstart.yaml")
pipeline.run()
"""

from __future__ import annotations

import contextlib
import fcntl
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from rich.markup import escape

from curate import graph, planning
from curate.config import Circumstance, PipelineConfig, load_circumstance, load_pipeline
from curate.corpus import DEDUP, INGEST, RUN_FILE, Corpus, read_times
from curate.engine import Engine, InProcess
from curate.errors import ConfigError, CurateError, StaleOutputError, nearest
from curate.manifest import Manifest, StageEntry, differences, dump
from curate.progress import Progress
from curate.scoring import CHECKPOINTS, checkpoints_path
from curate.stages.fit import Fit, run_fits
from curate.stages.losses import LossesStage
from curate.stages.score import ScoreStage, run_scores
from curate.stages.stage import Outcome, Run, Stage, device_of
from curate.storage import TEMPORARY, Folder
from curate.telling import FOLDER as PROGRESS


@dataclass(frozen=True)
class Status:
    """Where one stage stands.

    Args:
        state: ``done``, ``pending`` or ``changed`` (made by another configuration).
        changes: for a changed stage, its fields that differ: ``field: old -> new``.
    """

    stage: Stage
    entry: StageEntry
    state: str
    changes: tuple[str, ...] = ()


@dataclass
class Pipeline:
    """One pipeline in its circumstances.

    Args:
        plugin_paths: where the modules that ``plugins:`` names are looked for.
        most_learned: text bytes that a scorer may learn from at most; a trial run on a sample sets it.
    """

    config: PipelineConfig
    circumstance: Circumstance = field(default_factory=Circumstance)
    plugin_paths: tuple[str, ...] = ()
    most_learned: int | None = None

    @classmethod
    def from_yaml(
        cls, path: str | Path, *, overrides: list[str] | None = None, conf: str | Path | None = None, **circumstance: Any
    ) -> Pipeline:
        """A pipeline from its file.

        Args:
            overrides: ``key=value`` settings, as the command line's ``--set``.
            conf: a conf file; keyword arguments (``engine=``, ``workers=``) override it.

        Raises:
            ConfigError: naming file and field.
        """
        # Plugins are looked for beside the pipeline, then where the command was given.
        beside = tuple(dict.fromkeys(str(p.resolve()) for p in (Path(path).parent, Path.cwd())))
        return cls(load_pipeline(path, overrides), load_circumstance(conf, circumstance), beside)

    @property
    def corpus(self) -> Folder:
        """The output directory."""
        return Folder(self.config.output, self.circumstance.storage_options)

    @cached_property
    def stages(self) -> dict[str, Stage]:
        """The stages by name, each after its parents; checks everything that needs no corpus."""
        return graph.build(self.config, self.plugin_paths, self.circumstance.storage_options, self.most_learned)

    @cached_property
    def entries(self) -> dict[str, StageEntry]:
        """The manifest entry every stage would have: identities and fingerprints."""
        fingerprints: dict[str, str] = {}
        entries = {}
        for name, stage in self.stages.items():
            entries[name] = stage.entry(fingerprints)
            fingerprints[name] = entries[name].fingerprint
        return entries

    def check(self) -> None:
        """Raise for everything that can be known to be wrong without reading the corpus."""
        self._manifest()
        _ = self.entries
        planning.check_domains(self)
        planning.check_preferences(self)
        self._check_device(list(self.stages))

    def status(self) -> list[Status]:
        """Every stage with what is done, pending or changed."""
        manifest = self._manifest()
        found = []
        for name, stage in self.stages.items():
            entry, old = self.entries[name], manifest.stages.get(name)
            if old is None:
                found.append(Status(stage, entry, "pending"))
            elif old.fingerprint == entry.fingerprint:
                found.append(Status(stage, entry, "done"))
            else:
                changes = differences(old.identity, entry.identity)
                changes += [f"parent {p}" for p in entry.parents if old.parents.get(p) != entry.parents[p]]
                found.append(Status(stage, entry, "changed", tuple(changes)))
        return found

    def run(
        self, *, only: str | None = None, until: str | None = None, progress: Progress | None = None, engine: Engine | None = None
    ) -> Corpus:
        """Run what is pending and return the corpus.

        Args:
            only: this stage alone; its parents must be complete.
            until: this stage and all it is made from.
            engine: use this engine instead of the one the circumstances name; it is left open.

        Raises:
            CurateError: as the stages raise it; what is committed stays.
        """
        progress = progress or Progress(quiet=True)
        wanted = self._wanted(only, until)
        with self._locked():
            self._sweep()
            manifest, forgotten = self._forget_changed(progress)
            for name in wanted:
                if name in manifest.stages:
                    self.stages[name].tidy(self.corpus)
            todo = [name for name in wanted if name not in manifest.stages]
            if DEDUP in todo and not self._is_trial:
                planning.check_preferences(self)
            if INGEST in todo and self._mix_stage in wanted and not self._is_trial and not self._begun():
                planning.check_domains(self)
                progress.note("[dim]looking at a sample of the inputs[/]")
                planning.preflight(self)
            if todo:
                self._check_device(todo)
                if engine is None and self.circumstance.engine == "ray":
                    progress.note(f"[dim]starting Ray, {self.circumstance.workers} workers[/]")
                running = engine or self._engine()
                try:
                    fingerprints = {name: entry.fingerprint for name, entry in self.entries.items()}
                    run = Run(self.config, self.circumstance, self.corpus, running, manifest, progress, fingerprints, forgotten=forgotten)
                    self._run(run, todo, only)
                    # A worker that was lost on the way may have left a partial file.
                    self._sweep()
                    self._tidy_fits(manifest)
                finally:
                    if engine is None:
                        running.close()
        return Corpus(self.corpus, manifest, self.config.mix.name)

    def _check_device(self, names: list[str]) -> None:
        """Raise ConfigError where one of these stages must have a GPU that this machine lacks; a cluster is asked when it is there."""
        stages = [self.stages[name] for name in names]
        accelerated = any(
            (isinstance(s, Fit | ScoreStage) and s.scorer.accelerated) or (isinstance(s, LossesStage) and s.accelerated) for s in stages
        )
        if accelerated and self.circumstance.address is None:
            device_of(self.circumstance, InProcess())

    @property
    def _mix_stage(self) -> str:
        return f"mix/{self.config.mix.name}"

    @property
    def _is_trial(self) -> bool:
        return self.most_learned is not None

    def _begun(self) -> bool:
        """Whether an earlier run has committed something, and so has passed the preflight."""
        return bool(self.corpus.names("records"))

    def _wanted(self, only: str | None, until: str | None) -> list[str]:
        if only is not None and until is not None:
            raise ConfigError("--only and --until exclude each other", where="command line", fix="keep one of them")
        if only is not None:
            return [self.stage_named(only)]
        if until is None:
            return list(self.stages)
        needed = {self.stage_named(until)}
        for name in reversed(self.stages):
            if name in needed:
                needed |= set(self.stages[name].parents)
        return [name for name in self.stages if name in needed]

    def stage_named(self, given: str) -> str:
        """A stage by its name, or by a scorer's name alone, or by ``mix`` or ``emit``."""
        mix = self.config.mix.name
        for candidate in (given, f"score/{given}", f"{given}/{mix}"):
            if candidate in self.stages:
                return candidate
        raise ConfigError(
            f"no stage {given!r}", where="command line", expected="a stage of this pipeline", fix=nearest(given, list(self.stages))
        )

    def _run(self, run: Run, todo: list[str], only: str | None) -> None:
        """Run stages as their parents become complete; fits together, scorers of equal resources together."""
        if only is not None:
            lacking = [p for p in self.stages[todo[0]].parents if p not in run.manifest.stages]
            if lacking:
                raise ConfigError(
                    f"stage {todo[0]!r} needs {', '.join(lacking)} first",
                    where="--only",
                    expected="its parents complete",
                    fix=f"run with --until {todo[0]}",
                )
        while todo:
            ready = [self.stages[n] for n in todo if all(p in run.manifest.stages for p in self.stages[n].parents)]
            together = _together(ready, run)
            began = time.monotonic()
            for stage, outcome in zip(together, _outcomes(together, run), strict=True):
                entry = self.entries[stage.name]
                outcome.ledger.reconcile(stage.name)
                complete = StageEntry(entry.identity, entry.parents, outcome.ledger, outcome.shards, outcome.totals)
                run.manifest.stages[stage.name] = complete
                todo.remove(stage.name)
            run.manifest.write(run.corpus)
            for stage in together:
                stage.tidy(run.corpus)
            self._write_times(run, [stage.name for stage in together], time.monotonic() - began)

    def _write_times(self, run: Run, names: list[str], wall: float) -> None:
        """Provenance, apart from identity: how long stages took, where."""
        times = self.times()
        for name in names:
            # Stages of a shared pass report their own part of it; wall time is the pass's.
            times[name] = {
                "seconds": round(run.seconds.get(name, wall), 3),
                "wall": round(wall, 3),
                "engine": run.engine.name,
                "workers": run.engine.workers,
            }
            stage = self.stages[name]
            if isinstance(stage, ScoreStage):
                # Identity knows models by their content; whoever wants to ask one again needs its place.
                times[name]["scorer"] = {"use": stage.spec.use, "options": stage.spec.options}
        run.corpus.write(RUN_FILE, dump({"stages": times}))

    def times(self) -> dict[str, Any]:
        """How long each stage took when it last ran here."""
        return read_times(self.corpus)

    def _engine(self) -> Engine:
        if self.circumstance.engine == "process":
            for path in self.plugin_paths:
                if path not in sys.path and self.config.plugins:
                    sys.path.append(path)
            return InProcess()
        from curate.runner import Ray

        c = self.circumstance
        return Ray(c.workers, c.address, c.dashboard, self.plugin_paths if self.config.plugins else ())

    def _manifest(self) -> Manifest:
        """The manifest on disk, or a new one. Another pipeline's output is refused."""
        found = Manifest.read(self.corpus)
        if found is None:
            foreign = [
                n for n in self.corpus.names() if not n.startswith((".", "records/", "spool/", "documents/", "quarantine/", RUN_FILE))
            ]
            if foreign:
                raise StaleOutputError(
                    "the output directory holds files that are not a corpus",
                    where=f"output: {self.config.output} ({foreign[0]})",
                    expected="an empty or new directory, or this pipeline's own",
                    fix="choose another `output:`",
                )
            return Manifest(self.config.name)
        if found.pipeline != self.config.name:
            raise StaleOutputError(
                f"the output directory belongs to the pipeline {found.pipeline!r}",
                where=f"output: {self.config.output}",
                expected=f"the pipeline {self.config.name!r}",
                fix="choose another `output:`, or give the pipeline its old `name:` to continue there",
            )
        return found

    def _forget_changed(self, progress: Progress) -> tuple[Manifest, bool]:
        """The manifest without stages that would now come out differently and all made from them; whether there were any.

        The one on disk is replaced when the first stale file goes, or the first stage is complete.
        """
        statuses = self.status()
        manifest = self._manifest()
        changed = [s for s in statuses if s.state == "changed"]
        gone = manifest.invalidate(s.stage.name for s in changed)
        for s in changed:
            progress.note(f"[yellow]changed[/] {s.stage.name}: {escape('; '.join(s.changes[:4]))}")
        incomplete = self._without_records(manifest)
        for name in incomplete:
            progress.note(f"[yellow]incomplete[/] {name}: records are gone; their shards are made again")
            del manifest.stages[name]
        return manifest, bool(gone or incomplete)

    def _without_records(self, manifest: Manifest) -> list[str]:
        """Stages that lack the record of a shard: removing one is how a damaged shard is made again.

        What was made from them stays: made again, the shard holds the same rows.
        """
        present = set(self.corpus.names("records"))
        return [
            name
            for name, entry in manifest.stages.items()
            if name in self.stages and any(f"records/{name}/{shard}.json" not in present for shard in entry.shards)
        ]

    def _sweep(self) -> None:
        """Remove what killed writers left behind; the lock makes sure none is at work."""
        local = self.corpus.local
        if local is not None and local.exists():
            for partial in local.rglob(f"{TEMPORARY}*"):
                partial.unlink(missing_ok=True)

    def _tidy_fits(self, manifest: Manifest) -> None:
        """Remove checkpoints of fits that are complete or gone: a kill between a record and its tidying leaves them."""
        pending = {name.removeprefix("fit/") for name in self.stages if name.startswith("fit/") and name not in manifest.stages}
        for name in {path.split("/")[1] for path in self.corpus.names(CHECKPOINTS)} - pending:
            self.corpus.remove(checkpoints_path(name))
        if not self.corpus.names(CHECKPOINTS):
            self.corpus.remove(CHECKPOINTS)
        self.corpus.remove(PROGRESS)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """One run per output directory; the lock dies with the process."""
        local = self.corpus.local
        if local is None:
            yield
            return
        self._manifest()
        try:
            local.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                "the output directory cannot be made", where=f"output: {local}", expected="a writable place", fix=str(error)
            ) from error
        with (local / ".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise CurateError(
                    "another run is at work in this output directory",
                    where=str(local),
                    expected="one run at a time",
                    fix="wait for it, or stop it",
                ) from error
            yield


def _together(ready: list[Stage], run: Run) -> list[Stage]:
    """What to run next: all ready fits, or all ready scorers of the first one's resources, or one stage."""
    first = ready[0]
    if isinstance(first, Fit):
        return [s for s in ready if isinstance(s, Fit)]
    if isinstance(first, ScoreStage):
        # A fit that is ready goes first: its scorer may then join the pass.
        fits: list[Stage] = [s for s in ready if isinstance(s, Fit)]
        shape = first.shape(run)
        return fits or [s for s in ready if isinstance(s, ScoreStage) and s.shape(run) == shape]
    return [first]


def _outcomes(together: list[Stage], run: Run) -> list[Outcome]:
    if isinstance(together[0], Fit):
        return run_fits([s for s in together if isinstance(s, Fit)], run)
    if isinstance(together[0], ScoreStage):
        return run_scores([s for s in together if isinstance(s, ScoreStage)], run)
    return [together[0].run(run)]
