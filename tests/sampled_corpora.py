"""Corpora whose pages are grouped, and the losses stage run on them by hand: no stage but ingest is needed for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from curate.corpus import Corpus
from curate.engine import Engine, InProcess
from curate.evidence.settings import Losses
from curate.manifest import StageEntry
from curate.progress import Progress
from curate.stages.losses import LossesStage
from curate.stages.stage import Outcome, Run
from pipelines import configuration, pipeline, texts

SITES = {"a.org": 12, "b.net": 9, "c.com": 7, "d.io": 3}
"""Distinct pages of each site; three of them twice, and five pages of no site."""


def write_sites(raw: Path) -> Path:
    """Pages of four sites and of none, in two domains, whose site and year are extras."""
    raw.mkdir(parents=True)
    every = texts(sum(SITES.values()) + 5, 7, (3, 60))
    sites = [site for site, n in SITES.items() for _ in range(n)] + [None] * 5
    rows = [{"text": t, "site": s, "year": 2000 + i % 3} for i, (t, s) in enumerate(zip(every, sites, strict=True))]
    rows += rows[:3]
    for name, some in (("web", rows[::2]), ("press", rows[1::2])):
        (raw / f"{name}.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in some), encoding="utf-8")
    return raw


def ingested(raw: Path, output: Path, shard_bytes: int = 4000) -> Corpus:
    """The documents of ``write_sites``."""
    extras = {"site": {"type": "string"}, "year": {"type": "int64"}}
    sources = [{"path": str(path), "domain": path.stem, "extras": extras} for path in sorted(raw.glob("*.jsonl"))]
    ingest = {"shard_bytes": shard_bytes, "split_bytes": 6000, "sources": sources}
    return pipeline(configuration(raw, output, ingest=ingest, score=None, select=None, emit=None)).run(until="ingest")


def run_losses(output: Path, seed: int = 3, engine: Engine | None = None, **settings: Any) -> tuple[LossesStage, Outcome, Run]:
    """Run the stage on a finished ingest, as a pipeline would; the manifest then has it, and scratch is still there."""
    corpus = Corpus.open(str(output))
    made = pipeline(configuration(output, output))
    stage = LossesStage(Losses(**settings), seed)
    stage.check()
    fingerprints = {name: entry.fingerprint for name, entry in corpus.manifest.stages.items()}
    entry = stage.entry(fingerprints)
    run = Run(made.config, made.circumstance, corpus.folder, engine or InProcess(), corpus.manifest, Progress(quiet=True), fingerprints)
    run.fingerprints[stage.name] = entry.fingerprint
    outcome = stage.run(run)
    outcome.ledger.reconcile(stage.name)
    corpus.manifest.stages[stage.name] = StageEntry(entry.identity, entry.parents, outcome.ledger, outcome.shards, outcome.totals)
    corpus.manifest.write(corpus.folder)
    return stage, outcome, run
