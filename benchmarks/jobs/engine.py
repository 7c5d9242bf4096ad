"""What Ray costs: one scoring pass in process, on one Ray worker, and on two."""

from __future__ import annotations

import shutil
import time
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import harness
from benchmarks.child import timed
from benchmarks.data import parquet_source, pipeline, scratch_copy
from benchmarks.harness import Ratio, Reading, Result, child
from benchmarks.job import Run
from curate.corpus import Corpus
from curate.engine import Engine, InProcess
from curate.pipeline import Pipeline

SCORERS: list[Any] = [
    {"tokens": {"vocab_size": 16384, "sample_bytes": 10_000_000}},
    {"ngram_perplexity": {"name": "ngram", "order": 5, "sample_bytes": 10_000_000}},
    {"fasttext": {"name": "topic", "label": "domain", "sample_bytes": 4_000_000, "epoch": 2}},
]
NAMES = ("tokens", "ngram", "topic")


def scoring(text: str, corpus: str) -> Pipeline:
    """Three scorers in one pass; a rule on each, so that `select` is what needs them all."""
    rules = [
        {"column": column, "max": 10**9, "reason": column.split(".")[0]}
        for column in ("tokens.n_tokens", "ngram.perplexity", "topic.probability")
    ]
    return pipeline("engine_speed", Path(corpus), parquet_source(Path(text)), score=SCORERS, select=rules, ingest={"shard_bytes": "8MiB"})


def prepare(text: str, corpus: str) -> dict[str, Any]:
    """Ingested, everything learned, nothing scored."""
    for name in NAMES:
        found = scoring(text, corpus).run(until=f"fit/{name}", engine=InProcess())
    return {"bytes": sum(p.n_bytes for p in found.parts), "documents": sum(p.n_rows for p in found.parts), "shards": len(found.parts)}


def score(text: str, corpus: str, workers: int) -> dict[str, Any]:
    """The scoring pass; ``workers`` 0 is in process. Starting Ray is timed apart, starting its workers is part of the pass."""
    work = scoring(text, corpus)
    work.check()
    reading: dict[str, Any] = {}
    start = time.perf_counter()
    engine: Engine = InProcess()
    if workers:
        from curate.runner import Ray

        engine = Ray(workers)
    reading["startup"] = time.perf_counter() - start
    with timed(reading):
        work.run(until="select", engine=engine)
    engine.close()
    # `select` reads a few small columns; the pass itself is what the run's own clock says.
    reading["seconds"] = work.times()["score/tokens"]["wall"]
    reading |= sums(corpus)
    shutil.rmtree(corpus)
    return reading


def sums(corpus: str) -> dict[str, Any]:
    """What was computed, to compare between engines."""
    table = Corpus.open(corpus).table(["tokens.n_tokens", "ngram.nats", "topic.probability"])
    return {name: round(sum(v for v in table[name].to_pylist() if v is not None), 3) for name in table.column_names}


def run(run: Run) -> Result:
    """See the module."""
    size_wanted, copies = (run.megabytes(256, 12), 1 if run.quick else 5)
    text = run.data.parquet(size_wanted, copies)
    base = run.data.work / f"engine-{size_wanted // 10**6}MB-x{copies}"
    made = child(__name__, "prepare", text=str(text), corpus=str(base)).facts

    def side(workers: int) -> Reading:
        return child(__name__, "score", text=str(text), corpus=str(scratch_copy(base, "scratch")), workers=workers)

    names = {"in process": 0, "Ray, 1 worker": 1, "Ray, 2 workers": 2}
    readings = harness.by_turns({name: partial(side, n) for name, n in names.items()}, run.repeats(2), run.note)
    size = made["bytes"] / 1e6
    rows = {name: harness.row(name, found, size) for name, found in readings.items()}
    inside, one, two = (rows[name] for name in names)
    facts = [found[0].facts for found in readings.values()]
    same = len({tuple(fact[name] for name in ("tokens.n_tokens", "ngram.nats", "topic.probability")) for fact in facts}) == 1
    startup = [found[0].facts["startup"] for found in readings.values()][1:]
    return Result(
        "engine",
        "Ray beside one process",
        "Ray costs at most a tenth of a stage of two minutes, and two workers give at least 1.8 times the speed of one.",
        f"{size:.0f} MB of text in {made['documents']:,} distinct documents, {made['shards']} shards; tokens, a 5-gram model and "
        "fastText (dim 100) in one pass",
        ["the floor of Ray is the same pass without it: the row `in process`"],
        list(rows.values()),
        [
            Ratio(
                "wall time of Ray with 1 worker / in process", one.seconds / inside.seconds, 1.1, True, one.cpu_seconds / inside.cpu_seconds
            ),
            harness.ratio("2 workers / 1 worker", two, one, 1.8),
        ],
        f"sums of all scores {'equal' if same else '**differ**'} between the engines",
        [
            f"Starting Ray took {startup[0]:.1f} and {startup[1]:.1f} s and is not counted; starting workers, importing and loading "
            "models is.",
            "CPU seconds include those of starting worker processes and of `select`, which wall seconds leave out.",
        ],
        harness.loads(*readings.values()),
    )
