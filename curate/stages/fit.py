"""Fit: scorers that learn do so once, from a bounded deterministic sample."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

from curate import registry
from curate.corpus import CORRELATE, INGEST, group_stage, split_name
from curate.quantities import duration
from curate.scorers.scorer import Resources, Sample, Scorer
from curate.scoring import FitTask, ScorerSpec, fit_scorer
from curate.stages.stage import Outcome, Run, Stage, total_ledger
from curate.telling import Told, listening

VERSION = 1


@dataclass(frozen=True)
class Lender:
    """A scorer that another one runs on texts of its own while it learns."""

    spec: ScorerSpec
    learns: bool
    accelerated: bool


@dataclass
class Fit(Stage):
    """Learn one scorer's state.

    Args:
        lenders: the scorers it runs on texts of its own.
    """

    spec: ScorerSpec
    scorer: Scorer
    sample: Sample
    lenders: tuple[Lender, ...] = ()

    def __post_init__(self) -> None:
        self.name = f"fit/{self.spec.name}"
        groups = sorted({split_name(c)[0] for c in self.sample.columns} - {""})
        # The columns of a lender stand for it: their fingerprint has the lender's identity and what it learned.
        scored = dict.fromkeys([*(group_stage(g) for g in groups), *(f"score/{lender.spec.name}" for lender in self.lenders)])
        weights = (CORRELATE,) if self.scorer.reads_weights() is not None else ()
        self.parents = (INGEST, *scored, *(f"fit/{name}" for name in self.scorer.borrows()), *weights)

    def identity(self) -> dict[str, Any]:
        """The scorer's own identity."""
        return {"version": VERSION, "scorer": registry.identity(self.scorer)}

    @property
    def accelerated(self) -> bool:
        """Whether it, or one it runs, computes on a GPU where there is one."""
        return self.scorer.fit_accelerated or any(lender.accelerated for lender in self.lenders)

    def amount(self, run: Run) -> int:
        """Text bytes of its sample, about."""
        held = sum(size for part in run.parts for domain, _, size in part.domains if domain in (self.sample.domains or (domain,)))
        return min(self.sample.n_bytes, held) if self.sample.fraction is None else int(self.sample.fraction * held)

    def shape(self, run: Run) -> Resources:
        """What learning occupies: no more CPUs than there are, whatever the number of threads."""
        on_gpu = self.accelerated and run.device == "cuda"
        return Resources(min(self.scorer.fit_cpus, run.engine.workers), 1.0 if on_gpu else 0.0)

    def run(self, run: Run) -> Outcome:
        """See Stage."""
        return run_fits([self], run)[0]


def run_fits(stages: list[Fit], run: Run) -> list[Outcome]:
    """Fit several scorers side by side."""
    todo = [stage for stage in stages if run.pending(stage.name, ["model"])[0]]
    for shape in dict.fromkeys(stage.shape(run) for stage in todo):
        _fit_together([stage for stage in todo if stage.shape(run) == shape], shape, run)
    outcomes = []
    for stage in stages:
        found = run.pending(stage.name, ["model"])[1]
        outcomes.append(Outcome(total_ledger(found), ["model"], found["model"].totals))
    return outcomes


def _fit_together(stages: list[Fit], shape: Resources, run: Run) -> None:
    """Fits that occupy the same, side by side."""
    tasks = [_task(stage, run) for stage in stages]
    size = {stage.name: stage.amount(run) for stage in stages}
    with ExitStack() as open_:
        bar = open_.enter_context(run.progress.stage("fit " + ", ".join(s.spec.name for s in stages), len(stages), sum(size.values())))
        heard: dict[str, Told] = {}

        def hear(name: str, told: dict[str, Told]) -> None:
            for said in told.values():
                heard[name] = said
            done = sum(size[n] * t.done / max(t.of, 1) for n, t in heard.items())
            bar.in_work(done, "; ".join(_said(t) for t in heard.values()))

        for stage in stages:
            open_.enter_context(listening(run.corpus, stage.name, partial(hear, stage.name)))

        def done(index: int, result: dict[str, Any]) -> None:
            heard.pop(stages[index].name, None)
            bar.shard_done(size[stages[index].name])
            run.seconds[stages[index].name] = result["seconds"]

        run.engine.map(fit_scorer, tasks, resources=shape, done=done)


def _task(stage: Fit, run: Run) -> FitTask:
    borrowed = tuple((name, run.fingerprints[f"fit/{name}"]) for name in stage.scorer.borrows())
    lent = tuple((lender.spec, run.fingerprints[f"fit/{lender.spec.name}"] if lender.learns else None) for lender in stage.lenders)
    device = run.device if stage.accelerated else "cpu"
    fingerprint = run.fingerprints[stage.name]
    return FitTask(run.corpus, tuple(run.parts), stage.spec, stage.sample, fingerprint, borrowed, lent, device, run.circumstance.cache)


def _said(told: Told) -> str:
    """What a fit says of itself, in a line."""
    return f"{told.detail}, {told.rate:,.0f} {told.unit}/s, {duration(told.seconds_left)} left"
