"""Reading emitted shards for training: ``curate.stream`` beside ``datasets`` on the same files."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import harness
from benchmarks.data import parquet_source, pipeline
from benchmarks.environments import python_of
from benchmarks.harness import Reading, Result, Row, child
from benchmarks.job import Run
from benchmarks.peers.reading import read

BATCH = 32
SEQUENCE_LENGTH = 2048
KINDS = {"text": "text", "packed": "input_ids"}


def prepare(text: str, corpus: str, kind: str) -> dict[str, Any]:
    """A corpus emitted as text, or packed into rows of tokens."""
    packed = {"format": "packed", "sequence_length": SEQUENCE_LENGTH} if kind == "packed" else {}
    pipeline(
        "stream_speed",
        Path(corpus),
        parquet_source(Path(text)),
        score=[{"tokens": {"vocab_size": 8192, "sample_bytes": 4_000_000}}],
        mix={"use": "natural", "max_epochs": 1.0},
        emit={"shard_bytes": "16MiB", **packed},
    ).run()
    return {}


def curate(folder: str, what: str, kind: str) -> dict[str, Any]:
    """One pass over the shards after an untimed one; ``what`` is rows, batches, shuffled or loader."""
    from curate.stream import Stream, loader

    start = time.perf_counter()
    stream = Stream(folder, shuffle=what.startswith("shuffled"), columns=["input_ids"] if kind == "packed" else None)
    opened = time.perf_counter() - start
    column = KINDS[kind]
    if what.endswith("rows"):
        return read(lambda: iter(stream), lambda row: row[column]) | {"opened": opened}
    if what == "loader":
        return read(lambda: iter(loader(stream, BATCH)), lambda batch: None) | {"opened": opened}
    return read(lambda: stream.iter_batches(BATCH), lambda batch: batch[column]) | {"opened": opened}


def run(run: Run) -> Result:
    """See the module."""
    n_bytes = run.megabytes(64, 8)
    text = run.data.parquet(n_bytes)
    folders = {kind: run.data.work / f"stream-{kind}-{n_bytes // 10**6}MB" for kind in KINDS}
    for kind, folder in folders.items():
        child(__name__, "prepare", text=str(text), corpus=str(folder), kind=kind)
    shards = {kind: str(folder / "mixes" / "default") for kind, folder in folders.items()}

    def ours(kind: str, what: str) -> Reading:
        return child(__name__, "curate", folder=shards[kind], what=what, kind=kind)

    def theirs(kind: str, what: str) -> Reading:
        return child(
            "benchmarks.peers.datasets_read",
            "read_shards",
            python=python_of("datasets"),
            folder=shards[kind],
            what=what,
            column=KINDS[kind],
        )

    sides = {}
    for kind in KINDS:
        for what in ("rows", "batches"):
            sides[f"datasets, {kind}, {what}"] = partial(theirs, kind, what)
            sides[f"curate, {kind}, {what}"] = partial(ours, kind, what)
    more = {
        f"curate, {kind}, {what}": partial(ours, kind, what) for kind in KINDS for what in ("shuffled rows", "shuffled batches", "loader")
    }
    readings = harness.by_turns(sides, run.repeats(5), run.note) | harness.by_turns(more, run.repeats(2), run.note)
    count = {kind: readings[f"curate, {kind}, rows"][0].facts["rows"] for kind in KINDS}
    rows = {name: harness.row(name, found, count[name.split(", ")[1]] / 1e3, "k rows") for name, found in readings.items()}
    size = sum(f.stat().st_size for f in Path(shards["text"]).glob("*.arrow")) / 1e6
    return Result(
        "stream",
        "Reading shards",
        "Rows and batches come at least as fast as from `datasets` on the same files.",
        f"the same {n_bytes // 10**6} MB of text emitted twice: {count['text']:,} rows of text, {count['packed']:,} rows of "
        f"{SEQUENCE_LENGTH} token ids",
        floors(run, readings, rows, count, size),
        list(rows.values()),
        [
            harness.ratio(f"curate / datasets, {kind}, {what}", rows[f"curate, {kind}, {what}"], rows[f"datasets, {kind}, {what}"], 1.0)
            for kind in KINDS
            for what in ("rows", "batches")
        ],
        agreement(readings),
        [
            f"Batches have {BATCH} rows. `datasets` reads `input_ids` in its numpy format, text in its Python format. Both import, "
            "open and read everything before the time starts; a reading is the mean of a second of passes.",
            "Opening: "
            + ", ".join(f"{name} {found[0].facts['opened'] * 1e3:.0f} ms" for name, found in readings.items() if name.endswith(" rows"))
            + ".",
        ],
        harness.loads(*readings.values()),
    )


def floors(run: Run, readings: dict[str, list[Reading]], rows: dict[str, Row], count: dict[str, int], size: float) -> list[str]:
    """Python objects are what rows cost; packed ids are only copied."""
    ids = count["packed"] * SEQUENCE_LENGTH * 4 / 1e6
    dicts = count["text"] / 1e6 / run.speeds["rows"]
    return [
        f"text rows: {size:.0f} MB to Python strings {size / run.speeds['strings']:.3f} s, a dict a row {dicts:.3f} s",
        f"packed batches: {ids:.0f} MB of ids copied once {ids / run.speeds['copy']:.3f} s",
    ]


def agreement(readings: dict[str, list[Reading]]) -> str:
    """Whether both read the same content in the same order."""
    said = []
    for kind in KINDS:
        found = {readings[f"{who}, {kind}, {what}"][0].facts["checksum"] for who in ("curate", "datasets") for what in ("rows", "batches")}
        said.append(f"{kind}: {'the same content in the same order' if len(found) == 1 else '**content differs**'}")
    return "; ".join(said)
