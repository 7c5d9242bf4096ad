"""One pass over the text: scorers read a shard together and write their columns beside it.

The two tasks here run on any worker: ``fit_scorer`` learns once from a bounded sample,
``score_part`` scores one shard with every scorer that still lacks it.
"""

from __future__ import annotations

import queue
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from curate import registry
from curate.corpus import Part, SidecarWriter, group_path, read_part, read_weights, split_name
from curate.errors import CurateError, IntegrityError
from curate.manifest import Ledger, Record, file_hash
from curate.scorers.scorer import FitAid, Sample, Scorer
from curate.storage import Folder
from curate.telling import Teller

BATCH_BYTES = 4 << 20
READ_AHEAD = 2
READERS = 4
CHECKPOINTS = ".checkpoints"


@dataclass(frozen=True)
class ScorerSpec:
    """A scorer as named in a pipeline; any process can build it from this.

    Args:
        name: of the column group.
        use: a scorer's name, resolved by the registry.
        options: its hyper-parameters.
        plugins: modules the pipeline allows to be imported.
        plugin_paths: directories to import them from.
        rehearse: whether only a plan is made, for which a scorer may do less.
    """

    name: str
    use: str
    options: dict[str, Any] = field(default_factory=dict)
    plugins: tuple[str, ...] = ()
    plugin_paths: tuple[str, ...] = ()
    rehearse: bool = False

    def build(self) -> Scorer:
        """The scorer, not yet loaded."""
        try:
            kind = registry.scorer_class(self.use, plugins=self.plugins, plugin_paths=[Path(p) for p in self.plugin_paths])
            scorer = registry.build(kind, self.options)
        except CurateError as error:
            error.where = f"score.{self.name}" + (f": {error.where}" if error.where else "")
            raise
        assert isinstance(scorer, Scorer)
        return scorer.rehearsal() if self.rehearse else scorer


def model_path(name: str) -> str:
    """Where a scorer's learned state lies in the corpus."""
    return f"models/{name}"


@dataclass(frozen=True)
class FitTask:
    """Learn one scorer's state.

    Args:
        borrowed: other scorers whose learned files this one reads.
        lent: other scorers that this one runs, with the fingerprint of what each has learned, None for nothing.
        device: to learn on.
        cache: directory for local copies of remote models.
    """

    corpus: Folder
    parts: tuple[Part, ...]
    spec: ScorerSpec
    sample: Sample
    fingerprint: str
    borrowed: tuple[tuple[str, str], ...] = ()
    lent: tuple[tuple[ScorerSpec, str | None], ...] = ()
    device: str = "cpu"
    cache: str = ""


def fit_scorer(task: FitTask) -> dict[str, Any]:
    """Draw the sample, learn, commit the state. Returns sample rows and bytes, and seconds."""
    began = time.perf_counter()
    scorer = task.spec.build()
    table = draw_sample(task.corpus, task.parts, task.sample)
    folder = model_path(task.spec.name)
    task.corpus.remove(folder)
    files = {}
    with tempfile.TemporaryDirectory() as scratch:
        state = Path(scratch)
        scorer.fit_with(table, state, _aid(task))
        for file in sorted(p for p in state.rglob("*") if p.is_file()):
            path = f"{folder}/{file.relative_to(state).as_posix()}"
            with task.corpus.create(path) as out, file.open("rb") as learned:
                while block := learned.read(1 << 24):
                    out.write(block)
            rows = pq.read_metadata(file).num_rows if file.suffix == ".parquet" else 0
            files[path] = {"bytes": file.stat().st_size, "rows": rows, "hash": file_hash(task.corpus, path)}
    totals = {
        "sample_rows": table.num_rows,
        "sample_bytes": sum(len(t.as_py().encode()) for t in table["text"]) if "text" in table.column_names else 0,
    }
    Record(f"fit/{task.spec.name}", "model", task.fingerprint, files, Ledger(table.num_rows, table.num_rows), totals).commit(task.corpus)
    task.corpus.remove(checkpoints_path(task.spec.name))
    return totals | {"seconds": (time.perf_counter() - began) * scorer.longer}


def checkpoints_path(name: str) -> str:
    """Where a fit that takes long leaves what it goes on from after a kill; gone when the fit is complete."""
    return f"{CHECKPOINTS}/{name}"


def _aid(task: FitTask) -> FitAid:
    """What a long fit may use."""
    borrowed = {
        name: task.corpus.localize(model_path(name), Path(task.cache).expanduser() / fingerprint) for name, fingerprint in task.borrowed
    }
    place = task.corpus.child(checkpoints_path(task.spec.name))
    tell = Teller(task.corpus, f"fit/{task.spec.name}", "model")
    return FitAid(task.device, borrowed, partial(_lent, task), partial(read_weights, task.corpus), place, task.fingerprint, tell)


def _lent(task: FitTask, name: str) -> Scorer:
    """Another scorer of the pipeline, loaded."""
    ((spec, learned),) = [lent for lent in task.lent if lent[0].name == name]
    return _loaded_scorer(task.corpus, spec, learned, Path(task.cache).expanduser(), task.device)


def draw_sample(corpus: Folder, parts: Sequence[Part], sample: Sample) -> pa.Table:
    """The first documents of each domain until its share of the bytes is full.

    Ingest has permuted each domain by a keyed hash, so a prefix is a random sample, the
    same for any sharding, and only a few row groups are read.
    """
    total: dict[str, int] = {}
    for part in parts:
        for domain, _, size in part.domains:
            if not sample.domains or domain in sample.domains:
                total[domain] = total.get(domain, 0) + size
    everything = sum(total.values())
    wanted = sample.n_bytes if sample.fraction is None else sample.fraction * everything
    share = {d: wanted / len(total) if sample.per_domain else wanted * size / max(everything, 1) for d, size in total.items()}
    columns = list(dict.fromkeys(["doc_id", "n_bytes", *sample.columns]))
    taken = dict.fromkeys(total, 0)
    full: set[str] = set()
    pieces = []
    for part in parts:
        start = 0
        for domain, rows, _ in part.domains:
            if domain in total and domain not in full:
                # One at least, unless nothing is asked for: a scorer that learns from files of its own gets an empty table.
                first = taken[domain] == 0 and wanted > 0
                piece = _prefix(corpus, part, columns, start, rows, int(share[domain]) - taken[domain], first=first)
                taken[domain] += sum(piece["n_bytes"].to_pylist())
                pieces.append(piece)
                # The first document that does not fit ends the domain: going on would make the sample depend on where shards end.
                full |= {domain} if len(piece) < rows else set()
            start += rows
    pieces = pieces or [read_part(corpus, parts[0].name, columns, [])]
    table = pa.concat_tables(pieces).unify_dictionaries()
    return table.select([c for c in columns if c != "n_bytes" or "n_bytes" in sample.columns])


def _prefix(corpus: Folder, part: Part, columns: list[str], start: int, rows: int, n_bytes: int, first: bool) -> pa.Table:
    """Documents start.. of a part until ``n_bytes`` are full; at least one if it is the domain's first."""
    sizes = read_part(corpus, part.name, ["n_bytes"])["n_bytes"].to_numpy()[start : start + rows]
    count = max(int((sizes.cumsum() <= n_bytes).sum()), int(first))
    with corpus.open(f"documents/{part.name}.parquet") as file, pq.ParquetFile(file) as parquet:
        edges = [0]
        for i in range(parquet.num_row_groups):
            edges.append(edges[-1] + parquet.metadata.row_group(i).num_rows)
    groups = [i for i in range(len(edges) - 1) if edges[i] < start + count and edges[i + 1] > start]
    if not groups:
        return read_part(corpus, part.name, columns, []).slice(0, 0)
    return read_part(corpus, part.name, columns, groups).slice(start - edges[groups[0]], count)


@dataclass(frozen=True)
class ScoreTask:
    """Score one part with some scorers.

    Args:
        specs: what to run.
        fingerprints: of the score stages, in the order of ``specs``.
        learned: model fingerprint per spec, None where nothing was learned; keys the worker's cache.
        cache: directory for local copies of remote models.
        device: that accelerated scorers compute on.
    """

    corpus: Folder
    part: Part
    specs: tuple[ScorerSpec, ...]
    fingerprints: tuple[str, ...]
    learned: tuple[str | None, ...]
    cache: str
    device: str = "cpu"


_loaded: dict[str, Scorer] = {}


def _scorer(task: ScoreTask, i: int) -> Scorer:
    """The loaded scorer, once per worker process."""
    key = f"{task.corpus.url} {task.fingerprints[i]}"
    if key not in _loaded:
        _loaded[key] = _loaded_scorer(task.corpus, task.specs[i], task.learned[i], Path(task.cache), task.device)
    return _loaded[key]


def _loaded_scorer(corpus: Folder, spec: ScorerSpec, learned: str | None, cache: Path, device: str) -> Scorer:
    """A scorer ready to score, with what it learned under the fingerprint ``learned``."""
    scorer = spec.build()
    state = None if learned is None else corpus.localize(model_path(spec.name), cache / learned)
    if scorer.accelerated:
        scorer.place(device)
    scorer.load(state)
    return scorer


def score_part(task: ScoreTask) -> dict[str, float]:
    """Score one part, commit every scorer's column group. Returns seconds by scorer name."""
    scorers = [_scorer(task, i) for i in range(len(task.specs))]
    columns = list(dict.fromkeys(["doc_id", *(c for s in scorers for c in s.inputs)]))
    seconds = [0.0] * len(scorers)
    with ExitStack() as files:
        writers = [
            files.enter_context(SidecarWriter(task.corpus, spec.name, task.part.name, scorer.outputs))
            for spec, scorer in zip(task.specs, scorers, strict=True)
        ]
        tell, done = Teller(task.corpus, f"score/{task.specs[0].name}", task.part.name), 0
        for batch, prepared in read_ahead(task.corpus, task.part.name, columns, scorers):
            for i, scorer in enumerate(scorers):
                scorer.hear = partial(_hear, tell, task.part, done, batch.num_rows)  # type: ignore[method-assign]
                began = time.perf_counter()
                result = scorer.score_prepared(batch.select(list(scorer.inputs)), prepared[i])
                seconds[i] += (time.perf_counter() - began) * scorer.longer
                _same_rows(task.specs[i].name, scorer, batch, result)
                writers[i].write(batch["doc_id"], result)
                del scorer.hear
            done += batch.num_rows
        tell.close()
    for i, writer in enumerate(writers):
        _commit(task, i, writer)
    return {spec.name: s for spec, s in zip(task.specs, seconds, strict=True)}


def _hear(tell: Teller, part: Part, done: int, rows: int, share: float) -> None:
    """How far a shard is, when ``share`` of the batch after its first ``done`` rows is scored."""
    tell((done + share * rows) * part.n_bytes / max(part.n_rows, 1), part.n_bytes, "bytes", "")


def _same_rows(name: str, scorer: Scorer, batch: pa.RecordBatch, result: pa.RecordBatch) -> None:
    wanted, given = ([f"{f.name} {f.type}" for f in schema] for schema in (scorer.outputs, result.schema))
    if result.num_rows != batch.num_rows or given != wanted:
        raise IntegrityError(
            f"scorer {name!r} returned {result.num_rows} rows of {', '.join(given)}",
            where=type(scorer).__qualname__,
            expected=f"{batch.num_rows} rows of {', '.join(wanted)}",
            fix="check the scorer with curate.testing.check_scorer",
        )


def _commit(task: ScoreTask, i: int, writer: SidecarWriter) -> None:
    """Check alignment, then commit one scorer's part."""
    name, files = task.specs[i].name, writer.file()
    if files[writer.path]["ids"] != task.part.ids:
        raise IntegrityError(f"scores of {name!r} do not line up with the documents", where=task.part.name, fix="run again")
    Record(f"score/{name}", task.part.name, task.fingerprints[i], files, Ledger(writer.rows, writer.rows)).commit(task.corpus)


@cache
def _readers() -> ThreadPoolExecutor:
    """Reader threads for the life of a worker: memory that a thread's end leaves behind is not given back."""
    return ThreadPoolExecutor(READERS)


def read_ahead(corpus: Folder, part: str, columns: list[str], scorers: Sequence[Scorer]) -> Iterator[tuple[pa.RecordBatch, list[Any]]]:
    """Batches of about BATCH_BYTES of text with what each scorer prepared for them.

    A thread reads and prepares (tokens, windows), so that a model never waits for the disk or the tokenizer.
    """
    ready: queue.Queue[Any] = queue.Queue(READ_AHEAD)
    stop = threading.Event()

    def put(item: Any) -> None:
        while not stop.is_set():
            with suppress(queue.Full):
                ready.put(item, timeout=0.1)
                return

    def work() -> None:
        try:
            for batch in _batches(corpus, part, columns):
                put((batch, [scorer.prepare(batch.select(list(scorer.inputs))) for scorer in scorers]))
            put(None)
        except BaseException as error:
            put(error)

    reading = _readers().submit(work)
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
        reading.result()


def _batches(corpus: Folder, part: str, columns: list[str]) -> Iterator[pa.RecordBatch]:
    """Row groups joined until they hold BATCH_BYTES of text; columns of other groups are small and read whole."""
    own = [c for c in columns if not split_name(c)[0]]
    beside = [c for c in columns if split_name(c)[0]]
    aligned = read_part(corpus, part, beside) if beside else None
    with corpus.open(f"{group_path('')}/{part}.parquet") as file, pq.ParquetFile(file) as parquet:
        groups = [parquet.metadata.row_group(i) for i in range(parquet.num_row_groups)]
        start, together = 0, []
        for i, group in enumerate(groups):
            together.append(i)
            if sum(groups[j].total_byte_size for j in together) < BATCH_BYTES and group is not groups[-1]:
                continue
            table = parquet.read_row_groups(together, columns=own, use_threads=False)
            if aligned is not None:
                for column in beside:
                    table = table.append_column(column, aligned[column].slice(start, len(table)))
            start, together = start + len(table), []
            if len(table):
                yield table.select(columns).combine_chunks().to_batches()[0]
