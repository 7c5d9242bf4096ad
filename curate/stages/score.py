"""Score: every scorer that still lacks a shard sees it in one shared pass over the text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from curate import registry
from curate.corpus import INGEST, group_stage, split_name
from curate.scorers.scorer import Scorer
from curate.scoring import ScorerSpec, ScoreTask, score_part
from curate.stages.stage import Outcome, Run, Stage, total_ledger


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
    with run.progress.stage(
        "score " + ", ".join(s.spec.name for s in stages), len(tasks), sum(t.part.n_bytes for t in tasks), skipped
    ) as bar:

        def done(index: int, seconds: dict[str, float]) -> None:
            bar.shard_done(tasks[index].part.n_bytes)
            for name, spent in seconds.items():
                run.seconds[f"score/{name}"] = run.seconds.get(f"score/{name}", 0.0) + spent

        run.engine.map(score_part, tasks, resources=stages[0].scorer.resources, done=done)
    return [Outcome(total_ledger(run.pending(stage.name, names)[1]), names) for stage in stages]


def _task(run: Run, part: Any, stages: list[ScoreStage]) -> ScoreTask:
    return ScoreTask(
        run.corpus,
        part,
        tuple(stage.spec for stage in stages),
        tuple(run.fingerprints[stage.name] for stage in stages),
        tuple(run.fingerprints[f"fit/{stage.spec.name}"] if stage.learns else None for stage in stages),
        run.circumstance.cache,
    )
