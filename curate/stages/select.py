"""Select: rules over columns become a verdict with a reason for every document."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import pyarrow as pa

from curate import selection
from curate.corpus import DEDUP, INGEST, SELECTION, Part, SidecarWriter, group_stage, read_part, split_name
from curate.manifest import Ledger, Record
from curate.selection import Cut, Rule
from curate.stages.stage import Outcome, Run, Stage, total_ledger
from curate.storage import Folder

VERSION = 1
T = TypeVar("T")


@dataclass
class Select(Stage):
    """The keep-or-drop verdicts.

    Args:
        rules: resolved against the columns of this pipeline.
        tokens: the token-count column, None when nothing counts tokens.
    """

    rules: tuple[Rule, ...]
    tokens: str | None

    def __post_init__(self) -> None:
        self.name = "select"
        groups = sorted({split_name(c)[0] for c in self._columns} - {""})
        self.parents = (INGEST, *(group_stage(g) for g in groups))

    @property
    def _columns(self) -> list[str]:
        """What verdicts and their counts read."""
        tokens = [self.tokens] if self.tokens else []
        return list(dict.fromkeys([*selection.columns(self.rules), "doc_id", "domain", "n_bytes", *tokens]))

    def identity(self) -> dict[str, Any]:
        """The rules, and the seed where one of them is random."""
        rules = [rule.model_dump(mode="json", by_alias=True, exclude_defaults=True) for rule in self.rules]
        seed = next((rule.seed for rule in self.rules if rule.seed is not None), None)
        return {"version": VERSION, "rules": rules} | ({} if seed is None else {"seed": seed})

    def run(self, run: Run) -> Outcome:
        """Find the cuts over all shards, judge each shard alone, then look at what windows did to the whole."""
        parts = {part.name: part for part in run.parts}
        todo, _ = run.pending(self.name, list(parts))
        if todo:
            with run.progress.stage("select", len(todo), sum(parts[n].n_bytes for n in todo), len(parts) - len(todo)) as bar:
                cuts = self._cuts(run)
                fingerprint = run.fingerprints[self.name]
                tasks = [_Judge(run.corpus, parts[n], self.rules, cuts, tuple(self._columns), self.tokens, fingerprint) for n in todo]
                run.engine.map(_judge, tasks, done=lambda i, _: bar.shard_done(tasks[i].part.n_bytes))
                composition = self._composition(run, cuts)
        else:
            # A run that stopped between the last shard and the manifest left every verdict, but no totals.
            cuts = self._cuts(run)
            composition = self._composition(run, cuts)
        found = run.pending(self.name, list(parts))[1]
        counted = selection.merge_tallies([pa.Table.from_pylist(r.totals["tally"], schema=selection.TALLY) for r in found.values()])
        entered: dict[str, tuple[int, int]] = {}
        for part in parts.values():
            for domain, rows, size in part.domains:
                n, b = entered.get(domain, (0, 0))
                entered[domain] = (n + rows, b + size)
        selection.check_conservation(counted, {d: v for d, v in entered.items() if v[0]})
        selection.check_composition(composition, self.rules, cuts, counted)
        return Outcome(total_ledger(found), list(parts), {"tally": counted.to_pylist(), "composition": composition})

    def _cuts(self, run: Run) -> tuple[Cut | None, ...]:
        """The cut of every rule, from all shards whether judged or not."""
        return selection.find_cuts(self.rules, _over(run, list(selection.columns(self.rules))))

    def _composition(self, run: Run, cuts: tuple[Cut | None, ...]) -> list[dict[str, Any]]:
        """What each percentile rule did to domains, lengths and scores."""
        return selection.composition(self.rules, cuts, _over(run, self._columns), self.tokens)


def _over(run: Run, columns: list[str]) -> Callable[[Callable[[pa.Table], T]], list[T]]:
    """What applies a pure function to these columns of every shard."""

    def map_shards(function: Callable[[pa.Table], T]) -> list[T]:
        return run.engine.map(_look, [_Look(run.corpus, part.name, columns, function) for part in run.parts])

    return map_shards


@dataclass(frozen=True)
class _Look:
    corpus: Folder
    part: str
    columns: list[str]
    function: Callable[[pa.Table], Any]


def _look(task: _Look) -> Any:
    """A pure function of one shard's columns."""
    return task.function(read_part(task.corpus, task.part, task.columns))


@dataclass(frozen=True)
class _Judge:
    corpus: Folder
    part: Part
    rules: tuple[Rule, ...]
    cuts: tuple[Cut | None, ...]
    columns: tuple[str, ...]
    tokens: str | None
    fingerprint: str


def _judge(task: _Judge) -> None:
    """Write and commit one shard's verdicts."""
    table = read_part(task.corpus, task.part.name, task.columns)
    verdict = selection.verdicts(task.rules, task.cuts, table)
    with SidecarWriter(task.corpus, SELECTION, task.part.name, selection.VERDICTS) as sidecar:
        sidecar.write(table["doc_id"], verdict)
    tally = selection.tally(table, verdict, task.tokens).to_pylist()
    ledger = _ledger(task.rules, table.num_rows, tally)
    Record("select", task.part.name, task.fingerprint, sidecar.file(), ledger, {"tally": tally}).commit(task.corpus)


def _ledger(rules: tuple[Rule, ...], n_in: int, tally: list[dict[str, Any]]) -> Ledger:
    """Kept, dropped by reason, and what dedup's verdict took away."""
    copies = {code for rule in rules if rule.verdict == DEDUP for code in rule.codes}
    ledger = Ledger(n_in)
    for row in tally:
        reason, n = row["reason"], row["n_documents"]
        if reason is None:
            ledger.kept += n
        elif reason in copies:
            ledger.duplicate += n
        else:
            ledger.dropped[reason] = ledger.dropped.get(reason, 0) + n
    return ledger
