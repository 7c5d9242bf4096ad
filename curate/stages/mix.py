"""Mix: sums of what is kept, a mixer's shares, weights, copies."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from curate import mixing, registry, sampling
from curate.config import Mix
from curate.corpus import INGEST, group_stage, split_name
from curate.errors import ConfigError, InfeasibleMixtureError, nearest
from curate.mixers.mixer import Mixer
from curate.mixing import MixTask
from curate.stages.stage import Outcome, Run, Stage, total_ledger

VERSION = 1


@dataclass
class MixStage(Stage):
    """Weights and copies for every document.

    Args:
        length: column that measures documents in the budget's unit.
        selected: whether verdicts exist.
    """

    config: Mix
    mixer: Mixer
    length: str
    selected: bool
    seed: int

    def __post_init__(self) -> None:
        self.name = f"mix/{self.config.name}"
        group = split_name(self.length)[0]
        self.parents = tuple(dict.fromkeys((INGEST, *(("select",) if self.selected else ()), group_stage(group))))

    def identity(self) -> dict[str, Any]:
        """The mixer, the budget and its caps."""
        config = self.config.model_dump(mode="json", exclude={"options", "name", "use"})
        return {"version": VERSION, "mixer": registry.identity(self.mixer), **config, "length": self.length, "seed": self.seed}

    def run(self, run: Run) -> Outcome:
        """Three passes over small columns."""
        parts = {part.name: part for part in run.parts}
        domains = tuple(sorted({domain for part in parts.values() for domain, _, _ in part.domains}))
        fingerprint = run.fingerprints[self.name]
        tasks = [
            MixTask(run.corpus, p, self.config.name, self.length, domains, self.selected, self.seed, fingerprint) for p in parts.values()
        ]
        sums = np.sum(run.engine.map(mixing.domain_sums, tasks), axis=0)
        # Decided before an earlier mix is touched: one that is refused leaves it as it was.
        allocation, diagnostics = self._decide(domains, sums)
        todo, _ = run.pending(self.name, list(parts))
        with run.progress.stage("mix", len(todo), sum(parts[n].n_bytes for n in todo), len(parts) - len(todo)) as bar:
            fixed = tuple(int(f) for f in sampling.fixed_point(allocation.weights_D))
            tasks = [replace(task, fixed_D=fixed) for task in tasks]
            if todo:
                groups = run.engine.map(mixing.part_groups, tasks)
                starts = sampling.walk_starts(groups, domains, self.seed)
                tasks = [replace(task, starts_G=s) for task, s in zip(tasks, starts, strict=True) if task.part.name in todo]
                run.engine.map(mixing.write_copies, tasks, done=lambda i, _: bar.shard_done(tasks[i].part.n_bytes))
        found = run.pending(self.name, list(parts))[1]
        plan = [
            {"domain": name, "asked": float(p), "weight": float(w), "documents": int(n), "bytes": int(b), "amount": int(a)}
            for name, p, w, (n, b, a) in zip(domains, allocation.proportions_D, allocation.weights_D, sums.tolist(), strict=True)
        ]
        totals = {"unit": self.unit, "budget": allocation.budget, "plan": plan, "diagnostics": diagnostics}
        return Outcome(total_ledger(found), list(parts), totals)

    @property
    def unit(self) -> str:
        """What the budget counts."""
        return "bytes" if self.length == "n_bytes" else "tokens"

    def _decide(self, domains: tuple[str, ...], sums: np.ndarray) -> tuple[sampling.Allocation, dict[str, Any]]:
        """The mixer's shares as weights."""
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
        table = pa.table({"domain": pa.array(domains), "n_documents": sums[:, 0], "n_bytes": sums[:, 1], "amount": sums[:, 2]})
        mixture = self.mixer.mix(table, None)
        budget = self.config.token_budget or self.config.byte_budget
        allocation = sampling.allocate(
            domains,
            mixture.proportions_D,
            sums[:, 2],
            float(budget) if budget else None,
            self.config.max_epochs,
            self.config.on_shortage == "redistribute",
            self.unit,
        )
        if allocation.weights_D.max() > mixing.MOST_COPIES:
            worst = domains[int(allocation.weights_D.argmax())]
            raise InfeasibleMixtureError(
                f"domain {worst!r} would be repeated {allocation.weights_D.max():,.0f} times",
                where="mix",
                expected=f"at most {mixing.MOST_COPIES} copies of a document",
                fix="lower its share, the budget, or max_epochs",
            )
        return allocation, mixture.diagnostics
