"""Score: every scorer that still lacks a shard sees it in one shared pass over the text."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

from curate import registry
from curate.corpus import INGEST, group_stage, split_name
from curate.scorers.scorer import Resources, Scorer
from curate.scoring import ScorerSpec, ScoreTask, score_part
from curate.stages.stage import Outcome, Run, Stage, total_ledger
from curate.telling import Told, listening


@dataclass
class ScoreStage(Stage):
    """One scorer's columns."""

    spec: ScorerSpec
    scorer: Scorer
    learns: bool

    def __post_init__(self) -> None:
        self.name = f"score/{self.spec.name}"
        groups = sorted({split_name(c)[0] for c in self.scorer.inputs} - {""})
        fit = (f"fit/{self.spec.name}",) if self.learns else ()
        self.parents = (INGEST, *fit, *(group_stage(g) for g in groups))

    def identity(self) -> dict[str, Any]:
        """The scorer's own identity."""
        return {"scorer": registry.identity(self.scorer)}

    def shape(self, run: Run) -> Resources:
        """What one worker occupies: a GPU besides, where models compute on one."""
        own = self.scorer.resources
        return replace(own, gpus=max(own.gpus, 1.0)) if self.scorer.accelerated and run.device == "cuda" else own

    def run(self, run: Run) -> Outcome:
        """See Stage."""
        return run_scores([self], run)[0]


def run_scores(stages: list[ScoreStage], run: Run) -> list[Outcome]:
    """Score with several scorers of equal resources: one pass, shards in parallel."""
    parts = {part.name: part for part in run.parts}
    names = list(parts)
    todo = {stage.name: set(run.pending(stage.name, names)[0]) for stage in stages}
    tasks = []
    for name in names:
        lacking = [stage for stage in stages if name in todo[stage.name]]
        if lacking:
            tasks.append(_task(run, parts[name], lacking))
    skipped = len(names) - len(tasks)
    n_bytes = sum(t.part.n_bytes for t in tasks)
    with ExitStack() as open_:
        bar = open_.enter_context(run.progress.stage("score " + ", ".join(s.spec.name for s in stages), len(tasks), n_bytes, skipped))
        committed: set[str] = set()

        def hear(told: dict[str, Told]) -> None:
            bar.in_work(sum(t.done for shard, t in told.items() if shard not in committed), "")

        for name in dict.fromkeys(f"score/{task.specs[0].name}" for task in tasks):
            open_.enter_context(listening(run.corpus, name, hear))

        def done(index: int, seconds: dict[str, float]) -> None:
            committed.add(tasks[index].part.name)
            bar.shard_done(tasks[index].part.n_bytes)
            for name, spent in seconds.items():
                run.seconds[f"score/{name}"] = run.seconds.get(f"score/{name}", 0.0) + spent

        run.engine.map(score_part, tasks, resources=stages[0].shape(run), done=done)
    return [Outcome(total_ledger(run.pending(stage.name, names)[1]), names) for stage in stages]


def _task(run: Run, part: Any, stages: list[ScoreStage]) -> ScoreTask:
    return ScoreTask(
        run.corpus,
        part,
        tuple(stage.spec for stage in stages),
        tuple(run.fingerprints[stage.name] for stage in stages),
        tuple(run.fingerprints[f"fit/{stage.spec.name}"] if stage.learns else None for stage in stages),
        run.circumstance.cache,
        run.device if any(stage.scorer.accelerated for stage in stages) else "cpu",
    )
