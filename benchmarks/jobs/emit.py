"""Emit: documents to Arrow shards, beside a plain copy of the same documents and beside ``datasets``."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from benchmarks import harness
from benchmarks.child import timed
from benchmarks.data import parquet_source, pipeline, scratch_copy
from benchmarks.environments import python_of
from benchmarks.harness import Reading, Result, child
from benchmarks.job import Run, steps
from curate.corpus import Corpus
from curate.engine import InProcess
from curate.pipeline import Pipeline

MIXES: dict[str, dict[str, Any]] = {
    "once": {"use": "natural", "max_epochs": 1.0},
    "mixture": {"use": "temperature", "temperature": 2.0, "max_epochs": 8},
}
SHARD_BYTES = 64 << 20


def emission(text: str, corpus: str, mix: str, n_bytes: int) -> Pipeline:
    """The pipeline of one mix; the mixture emits about as many bytes as there are, some documents repeatedly, some not at all."""
    settings = MIXES[mix] | {"name": mix} | ({"byte_budget": n_bytes} if mix == "mixture" else {})
    return pipeline("emit_speed", Path(corpus), parquet_source(Path(text)), mix=settings, emit={"shard_bytes": SHARD_BYTES})


def prepare(text: str, corpus: str, mix: str, n_bytes: int) -> dict[str, Any]:
    """A corpus complete but for its shards; rows by domain of the mix."""
    found = emission(text, corpus, mix, n_bytes).run(until="mix", engine=InProcess())
    rows: Counter[str] = Counter()
    for table in found.batches(["domain", "mix.copies"]):
        for domain, copies in zip(table["domain"].to_pylist(), table["mix.copies"].to_pylist(), strict=True):
            rows[domain] += copies
    return {"rows": dict(sorted(rows.items()))}


def curate(text: str, corpus: str, mix: str, n_bytes: int) -> dict[str, Any]:
    """The emit stage alone, in this process."""
    pa.set_cpu_count(1)
    work = emission(text, corpus, mix, n_bytes)
    work.check()
    reading: dict[str, Any] = {}
    with timed(reading):
        work.run(only="emit", engine=InProcess())
    reading |= rows_of(sorted(Path(corpus).glob(f"mixes/{mix}/*.arrow")))
    shutil.rmtree(corpus)
    return reading


def floor(corpus: str, mix: str, out: str) -> dict[str, Any]:
    """The same documents, in the order they lie in, to one Arrow stream: no hash, no order, no sync."""
    pa.set_cpu_count(1)
    reading: dict[str, Any] = {}
    with timed(reading):
        tables = documents(corpus, mix)
        first = next(tables)
        with pa.OSFile(out, "wb") as file, pa.ipc.new_stream(file, first.schema) as stream:
            for table in chain([first], tables):
                stream.write_table(table)
    reading |= rows_of([Path(out)])
    Path(out).unlink()
    return reading


def documents(corpus: str, mix: str) -> Iterator[pa.Table]:
    """Row group by row group, every row as often as the mix has copies of it; each once needs no looking up."""
    for part in sorted(Path(corpus).glob("documents/*.parquet")):
        weights = f"{corpus}/mixes/{mix}/weights/{part.name}"
        copies = None if mix == "once" else pq.read_table(weights, columns=["copies"], use_threads=False)["copies"].to_numpy()
        done = 0
        with pq.ParquetFile(part, memory_map=True) as parquet:
            for group in range(parquet.num_row_groups):
                table = parquet.read_row_group(group, use_threads=False)
                yield table if copies is None else repeated(table, copies[done : done + len(table)])
                done += len(table)


def repeated(table: pa.Table, copies: Any) -> pa.Table:
    """Every row as often as it has copies."""
    return table.take(pa.array(np.repeat(np.arange(len(table)), copies)))


def rows_of(files: list[Path]) -> dict[str, Any]:
    """Rows, text bytes, and a hash of the multiset of doc_ids."""
    n_rows = n_bytes = written = 0
    ids: list[bytes] = []
    for file in files:
        written += file.stat().st_size
        with pa.memory_map(str(file)) as mapped, pa.ipc.open_stream(mapped) as stream:
            for batch in stream:
                n_rows += len(batch)
                n_bytes += sum(batch["n_bytes"].to_pylist())
                ids += batch["doc_id"].to_pylist()
    return {"rows": n_rows, "bytes": n_bytes, "written": written, "ids": xxhash.xxh3_64_hexdigest(b"".join(sorted(ids)))}


def by_domain(corpus: Path, out: Path) -> Path:
    """One Parquet file per domain of the corpus's documents: what a user of ``datasets`` begins with."""
    if not out.exists():
        out.mkdir()
        found = Corpus.open(str(corpus))
        for domain in found.domains:
            pq.write_table(
                pa.concat_tables(found.batches(["doc_id", "text", "domain", "n_bytes", "source", "source_row"], [domain])),
                out / f"{domain}.parquet",
            )
    return out


def run(run: Run) -> Result:
    """See the module."""
    n_bytes = run.megabytes(256, 16)
    text = run.data.parquet(n_bytes)
    corpora = {mix: run.data.work / f"emit-{mix}-{n_bytes // 10**6}MB" for mix in MIXES}
    mixed = {}
    for mix, corpus in corpora.items():
        mixed[mix] = child(__name__, "prepare", text=str(text), corpus=str(corpus), mix=mix, n_bytes=n_bytes).facts["rows"]
    domains = by_domain(corpora["mixture"], run.data.work / f"emit-domains-{n_bytes // 10**6}MB")

    def ours(mix: str) -> Reading:
        target = scratch_copy(corpora[mix], "scratch")
        return child(__name__, "curate", text=str(text), corpus=str(target), mix=mix, n_bytes=n_bytes)

    def plain(mix: str) -> Reading:
        return child(__name__, "floor", corpus=str(corpora[mix]), mix=mix, out=str(run.scratch / "emit.arrow"))

    def interleaved() -> Reading:
        return child(
            "benchmarks.peers.datasets_emit",
            "interleave",
            python=python_of("datasets"),
            folder=str(domains),
            rows=mixed["mixture"],
            out=str(run.scratch / "datasets"),
            shard_bytes=SHARD_BYTES,
        )

    sides = {f"{name}, {mix}": partial(f, mix) for mix in MIXES for name, f in (("floor", plain), ("curate", ours))}
    readings = harness.by_turns(sides, run.repeats(7), run.note)
    readings |= harness.by_turns({"datasets, mixture": interleaved}, run.repeats(3), run.note)
    return summary(run, readings, mixed)


def with_loading(reading: Reading) -> Reading:
    """A reading of ``datasets`` with what it took to read Parquet."""
    load = reading.facts["load"]
    return replace(reading, seconds=reading.seconds + load["seconds"], cpu_seconds=reading.cpu_seconds + load["cpu_seconds"])


def summary(run: Run, readings: dict[str, list[Reading]], mixed: dict[str, dict[str, int]]) -> Result:
    """Tables and ratios."""
    facts = {name: found[0].facts for name, found in readings.items()}
    size = {name: fact["bytes"] / 1e6 for name, fact in facts.items()}
    rows = {name: harness.row(name, found, size[name]) for name, found in readings.items()}
    rows["datasets, mixture, reading included"] = harness.row(
        "datasets, mixture, reading included", [with_loading(r) for r in readings["datasets, mixture"]], size["datasets, mixture"]
    )
    same = all(facts[f"curate, {mix}"]["ids"] == facts[f"floor, {mix}"]["ids"] for mix in MIXES)
    once, mixture = size["curate, once"], size["curate, mixture"]
    return Result(
        "emit",
        "Emit: documents to Arrow shards",
        "Writing weighted, shuffled, hashed, synced shards reaches half the speed of a plain copy of the same documents, and five times "
        "that of interleave_datasets and save_to_disk.",
        f"{once:.0f} MB of text in {sum(mixed['once'].values()):,} documents, each once; and a temperature mixture (T = 2) of "
        f"{mixture:.0f} MB in "
        f"{sum(mixed['mixture'].values()):,} rows from {len(mixed['mixture'])} domains; uncompressed Arrow, shards of "
        f"{SHARD_BYTES >> 20} MiB",
        [
            "copy: " + steps(run.seconds(parquet_read=once, ipc_write=once)),
            "what curate does beside that: " + steps(run.seconds(take=once, xxh3=once, fsync=facts["curate, once"]["written"] / 1e6)),
        ],
        list(rows.values()),
        [
            harness.ratio("curate / plain copy, every document once", rows["curate, once"], rows["floor, once"], 0.5),
            harness.ratio("curate / plain copy of the same rows, mixture", rows["curate, mixture"], rows["floor, mixture"], 0.5),
            harness.ratio("curate / datasets, the same mixture", rows["curate, mixture"], rows["datasets, mixture"], 5),
            harness.ratio(
                "curate / datasets, its reading of Parquet included", rows["curate, mixture"], rows["datasets, mixture, reading included"]
            ),
        ],
        f"curate and the copy wrote {'equal' if same else '**different**'} multisets of doc_ids; rows of the mixture: curate "
        f"{facts['curate, mixture']['rows']:,}, datasets {facts['datasets, mixture']['rows']:,}",
        [
            "`datasets`: one dataset per domain, `interleave_datasets` with the probabilities of the rows curate realised and "
            "`all_exhausted`, "
            "cut to the same number of rows, then `save_to_disk` in one process. Its shares hold in expectation, curate's to within a "
            "document.",
            "`datasets` reads Parquet into an Arrow cache first, which its first row leaves out; curate reads Parquet within its time.",
            "The copy syncs nothing to disk; curate syncs every shard before it counts as written.",
        ],
        harness.loads(*readings.values()),
    )
