"""Emit: the mix as Arrow shards, with the account of what it really holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from curate import emit, sampling
from curate.config import Emit
from curate.corpus import INGEST, group_stage, split_name
from curate.emit import EmitTask, Packing, shard_name
from curate.manifest import Record, dump, records
from curate.stages.stage import Outcome, Run, Stage, total_ledger

VERSION = 1


@dataclass
class EmitStage(Stage):
    """Output shards.

    Args:
        tokenizer: for packing, the folder in the corpus that holds it.
        tokenizer_stage: the stage that wrote that folder.
    """

    config: Emit
    mix: str
    length: str
    seed: int
    tokenizer: str | None = None
    tokenizer_stage: str | None = None

    def __post_init__(self) -> None:
        self.name = f"emit/{self.mix}"
        groups = sorted({split_name(c)[0] for c in [*self.config.carry, self.length]} - {""})
        learned = (self.tokenizer_stage,) if self.tokenizer_stage else ()
        self.parents = tuple(dict.fromkeys((INGEST, f"mix/{self.mix}", *(group_stage(g) for g in groups), *learned)))

    def identity(self) -> dict[str, Any]:
        """How rows are written."""
        return {"version": VERSION, **self.config.model_dump(mode="json"), "seed": self.seed}

    def run(self, run: Run) -> Outcome:
        """Deal the streams, write what is missing, then the account."""
        tasks = self._tasks(run)
        names = [task.shard for task in tasks]
        todo, _ = run.pending(self.name, names)
        missing = [task for task in tasks if task.shard in todo]
        size = {task.shard: sum(s.high - s.low for s in task.slices) // 2 for task in tasks}
        with run.progress.stage("emit", len(missing), sum(size[t.shard] for t in missing), len(names) - len(missing)) as bar:
            run.engine.map(emit.emit_shard, missing, done=lambda i, _: bar.shard_done(size[missing[i].shard]))
        found = run.pending(self.name, names)[1]
        mixture = self._mixture(run, {name: found[name] for name in names})
        run.clear_orphans(f"mixes/{self.mix}", found)
        for name, content in emit.dataset_files(names, run.fingerprints[self.name]).items():
            run.corpus.write(f"mixes/{self.mix}/{name}", content)
        run.corpus.write(f"mixes/{self.mix}/mixture.json", dump(mixture))
        return Outcome(total_ledger(found), names, {k: v for k, v in mixture.items() if k not in ("shards", "lineage")})

    def _tasks(self, run: Run) -> list[EmitTask]:
        """One task per output shard, from the copies alone."""
        parts = [part.name for part in run.parts]
        made = records(run.corpus, f"mix/{self.mix}", run.fingerprints[f"mix/{self.mix}"])
        runs = [
            sampling.Run(domain, copy, index, n_bytes)
            for index, part in enumerate(parts)
            for domain, copy, _, n_bytes, _ in made[part].totals["runs"]
        ]
        total = sum(run.n_bytes for run in runs)
        n_shards = max(1, -(-total // self.config.shard_bytes))
        packing = None
        if self.tokenizer is not None:
            c = self.config
            packing = Packing(self.tokenizer, c.sequence_length, c.separator, c.remainder)
        tasks = []
        for index, taken in enumerate(sampling.slices(runs, n_shards, self.seed)):
            task = EmitTask(
                run.corpus,
                self.mix,
                shard_name(index, n_shards),
                {s.part: parts[s.part] for s in taken} or {0: parts[0]},
                tuple(taken),
                tuple(self.config.carry),
                self.length,
                self.config.compression,
                self.seed,
                run.fingerprints[self.name],
                run.circumstance.cache,
                packing,
            )
            tasks.append(task)
        return tasks

    def _mixture(self, run: Run, found: dict[str, Record]) -> dict[str, Any]:
        """Asked-for and realised shares, the shards with their hashes, and the lineage."""
        mixed = run.manifest.stages[f"mix/{self.mix}"].totals
        realised: dict[str, dict[str, int]] = {"rows": {}, "bytes": {}, "amount": {}, "tokens": {}}
        packed: dict[str, int] = {}
        for record in found.values():
            for kind, by_domain in realised.items():
                for domain, value in record.totals.get(kind, {}).items():
                    by_domain[domain] = by_domain.get(domain, 0) + value
            for key, value in record.totals.get("packed", {}).items():
                packed[key] = packed.get(key, 0) + value
        total = sum(realised["amount"].values())
        domains = [
            {
                "domain": line["domain"],
                "asked_share": line["asked"],
                "realised_share": realised["amount"].get(line["domain"], 0) / total if total else 0.0,
                "weight": line["weight"],
                "rows": realised["rows"].get(line["domain"], 0),
                "bytes": realised["bytes"].get(line["domain"], 0),
                mixed["unit"]: realised["amount"].get(line["domain"], 0),
                "available_documents": line["documents"],
                f"available_{mixed['unit']}": line["amount"],
            }
            for line in mixed["plan"]
        ]
        shards = [{"name": path.rsplit("/", 1)[-1], **file} for record in found.values() for path, file in record.files.items()]
        return {
            "fingerprint": run.fingerprints[self.name],
            "mix": self.mix,
            "unit": mixed["unit"],
            "budget": mixed["budget"],
            f"realised_{mixed['unit']}": total,
            "rows": sum(record.ledger.kept for record in found.values()),
            "domains": domains,
            **({"packed": packed, "exact_tokens": realised["tokens"]} if packed else {}),
            "diagnostics": mixed["diagnostics"],
            "shards": shards,
            "lineage": {"pipeline": run.config.name, "seed": self.seed, "fingerprints": dict(sorted(run.fingerprints.items()))},
        }
