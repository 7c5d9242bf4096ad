"""Fit: scorers that learn do so once, from a bounded deterministic sample."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from curate import registry
from curate.corpus import INGEST, group_stage, split_name
from curate.scorers.scorer import Sample, Scorer
from curate.scoring import FitTask, ScorerSpec, fit_scorer
from curate.stages.stage import Outcome, Run, Stage, total_ledger

VERSION = 1


@dataclass
class Fit(Stage):
    """Learn one scorer's state."""

    spec: ScorerSpec
    scorer: Scorer
    sample: Sample

    def __post_init__(self) -> None:
        self.name = f"fit/{self.spec.name}"
        groups = sorted({split_name(c)[0] for c in self.sample.columns} - {""})
        self.parents = (INGEST, *(group_stage(g) for g in groups))

    def identity(self) -> dict[str, Any]:
        """The scorer's own identity."""
        return {"version": VERSION, "scorer": registry.identity(self.scorer)}

    def run(self, run: Run) -> Outcome:
        """See Stage."""
        return run_fits([self], run)[0]


def run_fits(stages: list[Fit], run: Run) -> list[Outcome]:
    """Fit several scorers side by side."""
    todo = [stage for stage in stages if run.pending(stage.name, ["model"])[0]]
    tasks = [FitTask(run.corpus, tuple(run.parts), stage.spec, stage.sample, run.fingerprints[stage.name]) for stage in todo]
    size = {stage.name: min(stage.sample.n_bytes, sum(part.n_bytes for part in run.parts)) for stage in todo}
    if todo:
        with run.progress.stage("fit " + ", ".join(stage.spec.name for stage in todo), len(todo), sum(size.values())) as bar:

            def done(index: int, result: dict[str, Any]) -> None:
                bar.shard_done(size[todo[index].name])
                run.seconds[todo[index].name] = result["seconds"]

            run.engine.map(fit_scorer, tasks, done=done)
    outcomes = []
    for stage in stages:
        found = run.pending(stage.name, ["model"])[1]
        outcomes.append(Outcome(total_ledger(found), ["model"], found["model"].totals))
    return outcomes
