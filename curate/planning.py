"""Plan: try the pipeline on a small sample of its inputs, and scale what was measured.

The sample goes through every stage in a scratch directory, in this process: once to load
and compile what needs it, once to be timed. Amounts come from file sizes.
"""

from __future__ import annotations

import math
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from curate import sampling
from curate.config import Circumstance, Emit, Ingest, Mix
from curate.corpus import DEDUP, INGEST, LOSSES, Corpus
from curate.dedup import Dedup, preferred
from curate.engine import InProcess
from curate.errors import ConfigError, InfeasibleMixtureError, nearest
from curate.ingest import Limits, Source
from curate.ingest.sources import Extra, FromField
from curate.mixers.mixer import Mixer
from curate.preview import Drawn, draw
from curate.stages.fit import Fit

if TYPE_CHECKING:
    from curate.pipeline import Pipeline

# What a worker holds of a shard: its text, the sorted copy, and what it is writing.
COPIES_IN_MEMORY = 3
PREFLIGHT_BYTES = 1 << 20
LEARNED_SHARE = 0.3
# A sample's token counts err; a mixture is refused before the work only beyond this margin.
PREFLIGHT_MARGIN = 1.25
SHOWN_SOURCES = 5


@dataclass(frozen=True)
class Estimate:
    """What a run will take.

    Args:
        seconds: wall time by stage on ``workers`` workers; the pending ones are what is left.
        disk_bytes: of the output at its largest, spool included.
        memory_bytes: of the driver and the workers together, at the peak.
    """

    sample_bytes: int
    n_documents: float
    n_bytes: float
    n_tokens: float | None
    domains: dict[str, float]
    disk_bytes: float
    memory_bytes: float
    seconds: dict[str, float]
    pending: list[str]
    workers: int


def estimate(pipeline: Pipeline, n_bytes: int) -> Estimate:
    """Run the pipeline on about ``n_bytes`` of text and scale.

    Raises:
        CurateError: as the stages raise it on the sample.
    """
    drawn = _drawn(pipeline, n_bytes)
    text = sum(d.factor * d.n_bytes for d in drawn)
    sample = sum(d.n_bytes for d in drawn)
    scale = text / max(sample, 1)
    with tempfile.TemporaryDirectory() as scratch:
        _try(pipeline, drawn, f"{scratch}/cold", scale, cut=4)
        corpus, times = _try(pipeline, drawn, f"{scratch}/warm", scale)
        on_disk = sum(f.stat().st_size for f in Path(f"{scratch}/warm").rglob("*") if f.is_file() and f.parent.name != "raw")
    workers = pipeline.circumstance.workers if pipeline.circumstance.engine == "ray" else 1
    mixed = corpus.manifest.stages[f"mix/{corpus.mix}"].totals
    tokens = sum(line["amount"] for line in mixed["plan"]) if mixed["unit"] == "tokens" else None
    kept = sum(line["bytes"] for line in mixed["plan"])
    seconds = {name: _seconds(pipeline, name, times.get(name, 0.0), sample, text, workers) for name in pipeline.stages}
    seconds[INGEST] += sum(d.factor * d.seconds for d in drawn) / workers
    return Estimate(
        sample,
        sum(d.factor * len(d.table) for d in drawn),
        text,
        tokens * text / kept if tokens and kept else None,
        _by_domain(drawn),
        on_disk * scale + text,
        _memory(pipeline, workers),
        seconds,
        [s.stage.name for s in pipeline.status() if s.state != "done"],
        workers,
    )


def _drawn(pipeline: Pipeline, n_bytes: int) -> list[Drawn]:
    stage: Any = pipeline.stages[INGEST]
    return draw(pipeline.config.ingest.sources, stage.listing.files, n_bytes, pipeline.circumstance.storage_options)


def _by_domain(drawn: list[Drawn]) -> dict[str, float]:
    """Text bytes by domain, scaled."""
    domains: dict[str, float] = {}
    for d in drawn:
        for row in d.table.group_by("domain").aggregate([("n_bytes", "sum")]).to_pylist():
            domains[row["domain"]] = domains.get(row["domain"], 0.0) + d.factor * row["n_bytes_sum"]
    return domains


def _try(
    pipeline: Pipeline, drawn: list[Drawn], output: str, scale: float, cut: int = 1, until: str | None = None, select: bool = True
) -> tuple[Corpus, dict[str, float]]:
    """The pipeline over the sample in a scratch directory; ``cut`` takes every n-th document. Returns seconds by stage.

    Its few documents cannot meet a budget exactly, nor teach every scorer and still be left to judge:
    caps are lifted, and no scorer learns from more than LEARNED_SHARE of them.
    """
    # The pipeline looks at the plan before it runs, so this module does not import it.
    make = type(pipeline)
    raw = Path(output).with_name(f"{Path(output).name}-raw")
    raw.mkdir(parents=True)
    sources = [_written(pipeline.config.ingest.sources, d, raw / f"{i}.parquet", cut) for i, d in enumerate(drawn)]
    config, mix = pipeline.config, pipeline.config.mix
    budgets = {name: getattr(mix, name) for name in ("token_budget", "byte_budget")}
    lifted = {name: max(1, math.floor(value / scale / cut)) for name, value in budgets.items() if value is not None}
    sampled = config.model_copy(
        update={
            "output": output,
            "ingest": Ingest(sources=sources, max_bad_fraction=1.0, shard_bytes=config.ingest.shard_bytes),
            "mix": mix.model_copy(update={**lifted, "max_epochs": 1e4}),
            "select": config.select if select else [],
            "dedup": _on_any_source(config.dedup) if select else None,
            "emit": config.emit if select else _without_dedup(config.emit),
        }
    )
    most = int(LEARNED_SHARE * sum(d.n_bytes for d in drawn) / cut)
    trial = _all_columns(make(sampled, Circumstance(engine="process"), pipeline.plugin_paths, most))
    try:
        corpus = trial.run(engine=InProcess(), until=until)
    except (InfeasibleMixtureError, ConfigError):
        # The sample may lack a domain that the mixture names, or hold too little of it: amounts come without the mixer.
        natural = sampled.model_copy(
            update={"mix": Mix(name=mix.name, length=mix.length), "select": [], "dedup": None, "emit": _without_dedup(config.emit)}
        )
        trial = _all_columns(make(natural, Circumstance(engine="process"), pipeline.plugin_paths, most))
        corpus = trial.run(engine=InProcess(), until=until)
    return corpus, {name: spent["seconds"] for name, spent in trial.times().items()}


def _all_columns(trial: Pipeline) -> Pipeline:
    """The trial, where what learns from columns alone sees all of the sample: of the part that teaches others nothing may be left to it."""
    for stage in trial.stages.values():
        if isinstance(stage, Fit) and "text" not in stage.sample.columns:
            stage.sample = stage.scorer.sample() or stage.sample
    return trial


def _on_any_source(config: Dedup | None) -> Dedup | None:
    """The same work without a preference: a sample has files of its own."""
    return config.model_copy(update={"prefer": ()}) if config else None


def _without_dedup(emit: Emit) -> Emit:
    """Shards of a corpus in which nobody looked for copies."""
    return emit.model_copy(update={"carry": [name for name in emit.carry if not name.startswith(f"{DEDUP}.")]})


def _written(sources: list[Source], drawn: Drawn, path: Path, cut: int) -> Source:
    """A drawn group as a Parquet source."""
    table = drawn.table.take(pa.array(range(0, len(drawn.table), cut)))
    pq.write_table(table, path)
    types = {name: extra.type for source in sources for name, extra in source.extras.items()}
    extras = {name: Extra(type=types[name]) for name in table.column_names if name in types}
    return Source(path=str(path), domain=FromField(field="domain"), extras=extras)


def _seconds(pipeline: Pipeline, name: str, wall: float, sample: int, text: float, workers: int) -> float:
    """One stage's wall time, scaled: fits by what they learn from, the rest by the text."""
    stage: Any = pipeline.stages[name]
    if name == LOSSES:
        return wall * float(stage.longer) / workers
    if name.startswith("fit/") and not stage.sample.n_bytes and stage.sample.fraction is None:
        return wall  # it learns from files of its own
    if name.startswith("fit/"):
        fraction, most = stage.sample.fraction, stage.sample.n_bytes
        real, tried = (fraction * text, fraction * sample) if fraction is not None else (min(most, text), min(most, LEARNED_SHARE * sample))
        return wall * stage.scorer.fit_work(real) / max(stage.scorer.fit_work(tried), 1)
    shards = max(1, math.ceil(text / pipeline.config.ingest.shard_bytes))
    return wall * text / max(sample, 1) / min(workers, shards)


def _memory(pipeline: Pipeline, workers: int) -> float:
    """Driver and workers: what this process holds with all models loaded, and the shards in work."""
    process = psutil.Process().memory_info().rss
    shard = max(pipeline.config.ingest.shard_bytes, pipeline.config.emit.shard_bytes, Limits().chunk_bytes)
    return process + workers * (process + COPIES_IN_MEMORY * shard)


def check_preferences(pipeline: Pipeline) -> None:
    """Raise ConfigError where dedup prefers sources that do not exist."""
    config = pipeline.config.dedup
    stage: Any = pipeline.stages[INGEST]
    names = [file.source for file in stage.listing.files]
    for pattern in config.prefer if config else ():
        if all(rank > 0 for rank in preferred(names, [pattern]).tolist()):
            raise ConfigError(
                f"dedup prefers {pattern!r}, and no source has that name",
                where="dedup.prefer",
                expected="a name of an input file, or a pattern that matches some",
                fix=f"sources are {', '.join(names[:SHOWN_SOURCES])}"
                + (f" and {len(names) - SHOWN_SOURCES:,} more" if len(names) > SHOWN_SOURCES else ""),
            )


def check_domains(pipeline: Pipeline) -> None:
    """Raise ConfigError where the mixture names a domain that no file has, and files tell the domain."""
    mix: Any = pipeline.stages[f"mix/{pipeline.config.mix.name}"]
    stage: Any = pipeline.stages[INGEST]
    told = {file.domain for file in stage.listing.files}
    for name in mix.mixer.names() if None not in told else ():
        if name not in told:
            raise ConfigError(
                f"the mixture names a domain that does not exist: {name!r}",
                where="mix",
                expected="a domain of the sources",
                fix=nearest(name, sorted(d for d in told if d)),
            )


def preflight(pipeline: Pipeline) -> None:
    """Refuse a mixture that a look at the inputs shows to be out of reach, before any work.

    Raises:
        InfeasibleMixtureError: a domain would need well over what the sample says there is.
    """
    mix: Any = pipeline.stages[f"mix/{pipeline.config.mix.name}"]
    budget = mix.config.token_budget or mix.config.byte_budget
    if budget is None or mix.config.on_shortage == "redistribute" or not isinstance(mix.mixer, Mixer):
        return
    if mix.mixer.reads_weights() is not None:
        # Its shares follow from weights that only the whole corpus gives, within what the budget allows.
        return
    stage: Any = pipeline.stages[INGEST]
    if any(file.domain is None for file in stage.listing.files):
        # Where records state their domain, the heads of files say little of how much there is of each.
        return
    drawn = _drawn(pipeline, PREFLIGHT_BYTES)
    if not drawn:
        return
    text, sample = sum(d.factor * d.n_bytes for d in drawn), sum(d.n_bytes for d in drawn)
    with tempfile.TemporaryDirectory() as scratch:
        corpus, _ = _try(pipeline, drawn, f"{scratch}/preflight", text / max(sample, 1), until="mix", select=False)
    plan = corpus.manifest.stages[f"mix/{corpus.mix}"].totals["plan"]
    whole = _by_domain(drawn)
    names = [line["domain"] for line in plan]
    amount = [PREFLIGHT_MARGIN * whole[line["domain"]] * line["amount"] / max(line["bytes"], 1) for line in plan]
    asked = [line["asked"] for line in plan]
    try:
        sampling.allocate(names, np.array(asked), np.array(amount), float(budget), mix.config.max_epochs, False, mix.unit)
    except InfeasibleMixtureError as error:
        error.where = f"{error.where} (estimated from {sample / 1e6:.1f} MB, plus {PREFLIGHT_MARGIN - 1:.0%}; nothing has been run)"
        raise
