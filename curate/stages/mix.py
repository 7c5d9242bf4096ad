"""Mix: sums of what is kept, a mixer's shares or weights, copies."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curate import mixing, registry, sampling
from curate.config import Mix
from curate.corpus import CORRELATE, INGEST, group_stage, read_weights, split_name, statistics_path
from curate.errors import ConfigError, InfeasibleMixtureError, nearest
from curate.manifest import HashingWriter, Ledger, Record
from curate.mixers.document_mixer import Budget, DocumentMixer
from curate.mixers.mixer import AnyMixer, Mixer
from curate.mixing import ByDocument, ByDomain, MixTask
from curate.mixing.copies import PartGroups, expected_amounts
from curate.stages.stage import Outcome, Run, Stage, total_ledger

VERSION = 1
STATISTICS = "statistics"
"""The shard, beside those of parts, that holds what other settings can be tried on."""


@dataclass(frozen=True)
class _Decided:
    """What a mixer of either kind comes to.

    Args:
        asked_D: share of the budget per domain; None where it follows from the documents' weights.
    """

    rule: ByDomain | ByDocument
    budget: float
    diagnostics: dict[str, Any] = field(default_factory=dict)
    asked_D: np.ndarray | None = None


@dataclass
class MixStage(Stage):
    """Weights and copies for every document.

    Args:
        length: column that measures documents in the budget's unit.
        selected: whether verdicts exist.
    """

    config: Mix
    mixer: AnyMixer
    length: str
    selected: bool
    seed: int

    def __post_init__(self) -> None:
        self.name = f"mix/{self.config.name}"
        read = self.mixer.inputs if isinstance(self.mixer, DocumentMixer) else ()
        groups = dict.fromkeys(group_stage(split_name(column)[0]) for column in (self.length, *read))
        weights = (CORRELATE,) if isinstance(self.mixer, Mixer) and self.mixer.reads_weights() is not None else ()
        self.parents = tuple(dict.fromkeys((INGEST, *(("select",) if self.selected else ()), *groups, *weights)))

    def identity(self) -> dict[str, Any]:
        """The mixer, the budget and its caps."""
        config = self.config.model_dump(mode="json", exclude={"options", "name", "use"}) | {"on_shortage": self.on_shortage}
        return {"version": VERSION, "mixer": registry.identity(self.mixer), **config, "length": self.length, "seed": self.seed}

    @property
    def on_shortage(self) -> str:
        """What to do when a cap binds, said or not."""
        return self.config.on_shortage or ("redistribute" if isinstance(self.mixer, DocumentMixer) else "error")

    def run(self, run: Run) -> Outcome:
        """Passes over small columns."""
        parts = {part.name: part for part in run.parts}
        domains = tuple(sorted({domain for part in parts.values() for domain, _, _ in part.domains}))
        fingerprint = run.fingerprints[self.name]
        config = self.config
        tasks = [
            MixTask(run.corpus, p, config.name, self.length, domains, self.selected, self.seed, fingerprint, config.max_epochs)
            for p in parts.values()
        ]
        sums = np.sum(run.engine.map(mixing.domain_sums, tasks), axis=0)
        # Decided before an earlier mix is touched: one that is refused leaves it as it was.
        decided = self._decide(run, tasks, domains, sums)
        shards = [*parts, STATISTICS] if isinstance(decided.rule, ByDocument) else list(parts)
        todo, _ = run.pending(self.name, shards)
        tasks = [replace(task, rule=decided.rule) for task in tasks]
        n_todo = len(todo) - (STATISTICS in todo)
        with run.progress.stage("mix", n_todo, sum(parts[n].n_bytes for n in todo if n in parts), len(parts) - n_todo) as bar:
            groups = run.engine.map(mixing.part_groups, tasks)
            starts = sampling.walk_starts([g.groups for g in groups], decided.rule.walks or domains, self.seed)
            tasks = [replace(task, starts_G=s) for task, s in zip(tasks, starts, strict=True) if task.part.name in todo]
            run.engine.map(mixing.write_copies, tasks, done=lambda i, _: bar.shard_done(tasks[i].part.n_bytes))
        diagnostics = dict(decided.diagnostics)
        if isinstance(decided.rule, ByDocument) and STATISTICS in todo:
            self._write_statistics(run, decided.rule, domains, groups)
        found = run.pending(self.name, shards)[1]
        if isinstance(decided.rule, ByDocument):
            diagnostics |= decided.rule.mixer.diagnostics(decided.rule.learned)
            diagnostics["expected"] = mixing.expected([g.outcome for g in groups if g.outcome is not None])
            diagnostics |= mixing.extremes_of(found[name].totals["extremes"] for name in parts)
        plan = _plan(domains, sums, groups, decided.asked_D)
        totals = {"unit": self.unit, "mixer": self.config.use, "budget": decided.budget, "plan": plan, "diagnostics": diagnostics}
        return Outcome(total_ledger(found), shards, totals)

    def _write_statistics(self, run: Run, rule: ByDocument, domains: tuple[str, ...], groups: list[PartGroups]) -> None:
        """Commit what other settings of the mixer can be tried on, without a look at documents."""
        table, files = mixing.statistics_table(rule, domains, groups), {}
        if table is not None:
            path = statistics_path(self.config.name)
            with run.corpus.create(path) as file:
                hashing = HashingWriter(file)
                pq.write_table(table, hashing, compression="zstd")
            files = {path: hashing.entry(table.num_rows)}
        Record(self.name, STATISTICS, run.fingerprints[self.name], files, Ledger(), {"runs": []}).commit(run.corpus)

    @property
    def unit(self) -> str:
        """What the budget counts."""
        return "bytes" if self.length == "n_bytes" else "tokens"

    def _decide(self, run: Run, tasks: list[MixTask], domains: tuple[str, ...], sums: np.ndarray) -> _Decided:
        """The mixer's shares or weights."""
        for name in self.mixer.names():
            if name not in domains:
                raise ConfigError(
                    f"the mixture names a domain that does not exist: {name!r}",
                    where="mix",
                    expected="a domain of the corpus",
                    fix=nearest(name, list(domains)),
                )
        if not sums[:, 2].sum():
            raise InfeasibleMixtureError(
                "no document is left after selection",
                where="mix",
                expected="at least one document",
                fix="relax `select:`; `curate show` lists the drops by reason",
            )
        asked = self.config.token_budget or self.config.byte_budget
        budget = Budget(float(asked) if asked else None, self.config.max_epochs, self.on_shortage == "redistribute", self.unit)
        if isinstance(self.mixer, DocumentMixer):
            if budget.max_epochs > mixing.MOST_COPIES:
                raise _too_many("a document", budget.max_epochs)
            rule = mixing.learn_documents(run.engine.map, tasks, ByDocument(self.mixer), budget)
            return _Decided(rule, self.mixer.budget(rule.learned))
        assert isinstance(self.mixer, Mixer)
        weights = read_weights(run.corpus) if self.mixer.reads_weights() is not None else None
        return self._of_domains(self.mixer, domains, sums, budget, weights)

    def _of_domains(self, mixer: Mixer, domains: tuple[str, ...], sums: np.ndarray, budget: Budget, weights: pa.Table | None) -> _Decided:
        """Shares of domains as weights."""
        most_D = sums[:, 2] * budget.max_epochs / budget.amount if budget.amount else [None] * len(domains)
        table = pa.table({"domain": pa.array(domains), "n_documents": sums[:, 0], "n_bytes": sums[:, 1], "amount": sums[:, 2]})
        table = table.append_column("most", pa.array(most_D, pa.float64()))
        mixture = mixer.mix(table, weights)
        allocation = sampling.allocate(
            domains, mixture.proportions_D, sums[:, 2], budget.amount, budget.max_epochs, budget.redistribute, self.unit
        )
        if allocation.weights_D.max() > mixing.MOST_COPIES:
            raise _too_many(f"domain {domains[int(allocation.weights_D.argmax())]!r}", float(allocation.weights_D.max()))
        rule = ByDomain(tuple(int(f) for f in sampling.fixed_point(allocation.weights_D)))
        return _Decided(rule, allocation.budget, mixture.diagnostics, allocation.proportions_D)


def _plan(domains: tuple[str, ...], sums: np.ndarray, groups: list[PartGroups], asked_D: np.ndarray | None) -> list[dict[str, Any]]:
    """What every domain holds, and what of it is asked for."""
    expected_D = expected_amounts(groups)
    shares_D = expected_D / expected_D.sum() if asked_D is None else asked_D
    weights_D = np.divide(expected_D, sums[:, 2], out=np.zeros(len(domains)), where=sums[:, 2] > 0)
    return [
        {"domain": name, "asked": float(p), "weight": float(w), "documents": int(n), "bytes": int(b), "amount": int(a)}
        for name, p, w, (n, b, a) in zip(domains, shares_D, weights_D, sums.tolist(), strict=True)
    ]


def _too_many(what: str, copies: float) -> InfeasibleMixtureError:
    return InfeasibleMixtureError(
        f"{what} would be repeated {copies:,.0f} times",
        where="mix",
        expected=f"at most {mixing.MOST_COPIES} copies of a document",
        fix="lower its share, the budget, or max_epochs",
    )
