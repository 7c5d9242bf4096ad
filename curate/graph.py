"""From a configuration to its stages: what is built, from what, and whether the columns exist.

Everything that can be wrong without reading the corpus is found here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from pathlib import Path

import pyarrow as pa

from curate import documents, registry, selection
from curate.config import SIGNATURES, Mix, PipelineConfig
from curate.corpus import DEDUP, DUPLICATE, split_name
from curate.correlation.weights import check_target
from curate.dedup import VERDICTS, Dedup, better_end
from curate.errors import ConfigError, CurateError, nearest
from curate.ingest.sources import extras_schema
from curate.mixers.document_mixer import DocumentMixer
from curate.mixers.mixer import AnyMixer, Mixer
from curate.scorers.scorer import Scorer
from curate.scorers.tokens import Tokens
from curate.scoring import ScorerSpec, model_path
from curate.selection import Rule
from curate.selection.kinds import is_text
from curate.stages.correlate import CorrelateStage
from curate.stages.dedup import DedupStage
from curate.stages.emit import EmitStage
from curate.stages.fit import Fit, Lender
from curate.stages.ingest import IngestStage
from curate.stages.losses import LossesStage
from curate.stages.mix import MixStage
from curate.stages.score import ScoreStage
from curate.stages.select import Select
from curate.stages.stage import Stage
from curate.tokenization import Tokenizer


def build(
    config: PipelineConfig, plugin_paths: tuple[str, ...], storage_options: dict[str, object], most_learned: int | None = None
) -> dict[str, Stage]:
    """The stages by name, every stage after its parents.

    Raises:
        ConfigError, InputError: naming the field, before any work.
    """
    specs = {s.name: ScorerSpec(s.name, s.use, s.options, tuple(config.plugins), plugin_paths) for s in config.score}
    specs |= _signatures(config.dedup)
    if most_learned is not None:
        specs = {name: replace(spec, rehearse=True) for name, spec in specs.items()}
    scorers = {name: spec.build() for name, spec in specs.items()}
    known = known_columns(config, scorers)
    stages: dict[str, Stage] = {}

    def add(stage: Stage) -> None:
        stages[stage.name] = stage

    ingest = IngestStage(config.ingest, config.seed, storage_options)
    add(ingest)
    tokens = next((f"{name}.n_tokens" for name, scorer in scorers.items() if isinstance(scorer, Tokens)), None)
    correlate = _correlate(config, known, tokens, storage_options, most_learned is not None)
    for name in _in_order(scorers, correlate[-1].reads if correlate else ()):
        scorer, sample = scorers[name], scorers[name].sample()
        if (by := scorer.reads_weights()) is not None:
            _check_weights(f"score.{name}", by, getattr(scorer, "target", None), correlate)
            for stage in correlate:
                add(stage)
        _check_scorer(name, scorers, known)
        if sample is not None:
            drawn = sample if most_learned is None else replace(sample, n_bytes=min(sample.n_bytes, most_learned))
            lent = [(specs[lender], scorers[lender]) for lender in scorer.uses()]
            lenders = tuple(Lender(spec, found.sample() is not None, found.accelerated) for spec, found in lent)
            add(Fit(specs[name], scorer, drawn, lenders))
        add(ScoreStage(specs[name], scorer, sample is not None))
    for stage in correlate:
        add(stage)
    if config.dedup:
        add(_dedup(config.dedup, _schema(known), ingest))
        known |= {f"{DEDUP}.{f.name}": f for f in VERDICTS}
    schema = _schema(known)
    if rules := _rules(config):
        resolved = selection.resolve(rules, schema, tokens, config.seed)
        _check_reasons(resolved)
        add(Select(resolved, tokens))
    length = config.mix.length or (tokens if config.mix.byte_budget is None and tokens else "n_bytes")
    _check_length(length, known, config)
    mixer = build_mixer(config, plugin_paths)
    if isinstance(mixer, DocumentMixer):
        _check_mixed(mixer, known)
    elif isinstance(mixer, Mixer) and (by := mixer.reads_weights()) is not None:
        _check_weights("mix", by, getattr(mixer, "target", None), correlate)
    add(MixStage(config.mix, mixer, length, bool(rules), config.seed))
    add(_emit(config, scorers, known, length))
    return stages


def _correlate(
    config: PipelineConfig, known: dict[str, pa.Field], tokens: str | None, options: dict[str, object], rehearse: bool
) -> tuple[LossesStage, CorrelateStage] | tuple[()]:
    """The stages that make the weights of groups, if the pipeline asks for them."""
    settings = config.correlate
    if settings is None:
        return ()
    by = settings.losses.by
    _require("correlate.losses.by", [by], known)
    if not (is_text(known[by].type) or pa.types.is_integer(known[by].type)):
        raise ConfigError(
            f"{by!r} is {known[by].type}", where="correlate.losses.by", expected="a column of strings or whole numbers",
            fix="name `domain`, a string extra, or a scorer's labels such as clusters.cluster",
        )  # fmt: skip
    _require("correlate.describe", settings.describe, known)
    for name in settings.describe:
        if not is_text(known[name].type):
            raise ConfigError(
                f"{name!r} is {known[name].type}", where="correlate.describe", expected="columns of strings", fix=f"remove {name!r}"
            )
    losses = LossesStage(settings.losses, config.seed, rehearse, options)
    correlate = CorrelateStage(settings, losses, tokens or "n_bytes", config.seed, rehearse, options)
    losses.check()
    correlate.check()
    return losses, correlate


def _check_weights(where: str, by: str, target: str | None, stages: tuple[LossesStage, CorrelateStage] | tuple[()]) -> None:
    """Whoever reads weights of groups finds them, they are of the groups it knows, and there are some for its target."""
    if not stages:
        raise ConfigError(
            "there are no weights of groups to read", where=where, expected="a section `correlate:`", fix="add it; see docs/pipelines.md"
        )
    correlate = stages[1]
    made_by = correlate.settings.losses.by
    if by != made_by:
        raise ConfigError(
            f"it reads weights of {by!r}, and `correlate:` makes them of {made_by!r}",
            where=where,
            expected=f"`by: {made_by}`, or another `correlate.losses.by`",
            fix=f"let both name the same column: {by!r} or {made_by!r}",
        )
    check_target(correlate.targets, target, where)


def _signatures(config: Dedup | None) -> dict[str, ScorerSpec]:
    """The scorer that near-duplicate removal needs; it joins the pass over the text of the others."""
    if config is None or config.near is None:
        return {}
    near = config.near
    return {SIGNATURES: ScorerSpec(SIGNATURES, SIGNATURES, {"ngram": near.ngram, "bands": near.bands, "rows": near.rows})}


def _dedup(config: Dedup, schema: pa.Schema, ingest: IngestStage) -> DedupStage:
    """The stage between scores and selection."""
    for group in config.among:
        groups = sorted(name.removesuffix(".keep") for name in schema.names if name.endswith(".keep"))
        if group not in groups or not pa.types.is_boolean(schema.field(f"{group}.keep").type):
            near = nearest(group, groups) if groups else "add the scorer that decides, for instance heuristics"
            raise ConfigError(f"{group!r} decides nothing", where="dedup.among", expected="a scorer with a boolean column `keep`", fix=near)
    better = better_end(config.column, schema) if config.column else None
    return DedupStage(config, better, tuple(dict.fromkeys(file.source for file in ingest.listing.files)) if config.keep == "first" else ())


def _rules(config: PipelineConfig) -> list[Rule]:
    """The rules of ``select:``; duplicates go first where no rule says when."""
    if config.dedup is None or any(rule.verdict == DEDUP for rule in config.select):
        return config.select
    return [Rule(verdict=DEDUP, reason=DUPLICATE), *config.select]


def _check_reasons(rules: Sequence[Rule]) -> None:
    """Copies are counted apart from what is dropped, by their reasons: no other rule may give the same."""
    copies = {code for rule in rules if rule.verdict == DEDUP for code in rule.codes}
    for rule in rules:
        shared = copies & set(rule.codes) if rule.verdict != DEDUP else set()
        if shared:
            raise ConfigError(
                f"the reason {min(shared)!r} is given by dedup too",
                where=f"select: rule on {rule.verdict or rule.column!r}",
                expected="a reason of its own, so that copies can be counted",
                fix="rename it, or write `- {verdict: dedup, reason: duplicate}`",
            )


def build_mixer(config: PipelineConfig, plugin_paths: tuple[str, ...]) -> AnyMixer:
    """The mixer with its options."""
    try:
        kind = registry.mixer_class(config.mix.use, plugins=tuple(config.plugins), plugin_paths=[Path(p) for p in plugin_paths])
        own = {f.name for f in fields(kind)}
        for key in sorted(config.mix.options.keys() - own):
            known = sorted(own | (Mix.model_fields.keys() - {"options"}))
            raise ConfigError(f"unknown key {key!r}", where=key, expected=f"a key of mix: or of {config.mix.use}", fix=nearest(key, known))
        mixer = registry.build(kind, config.mix.options)
    except CurateError as error:
        error.where = "mix" + (f": {error.where}" if error.where else "")
        raise
    assert isinstance(mixer, AnyMixer)
    return mixer


def known_columns(config: PipelineConfig, scorers: dict[str, Scorer]) -> dict[str, pa.Field]:
    """Every column that scorers and dedup can name, by full name."""
    known = {f.name: f for f in documents.schema(extras_schema(config.ingest.sources))}
    for name, scorer in scorers.items():
        known |= {f"{name}.{f.name}": f for f in scorer.outputs}
    return known


def _schema(known: dict[str, pa.Field]) -> pa.Schema:
    """The columns under the names pipelines use."""
    return pa.schema([field.with_name(name) for name, field in known.items()])


def _in_order(scorers: dict[str, Scorer], weighed: Iterable[str] = ()) -> list[str]:
    """Scorer names such that each comes after those whose columns it reads.

    Args:
        weighed: columns that weights of groups are made from; who reads weights comes after their scorers.
    """
    reads = {}
    for name, scorer in scorers.items():
        sample = scorer.sample()
        columns = [*scorer.inputs, *(sample.columns if sample else ())]
        columns += weighed if scorer.reads_weights() is not None else ()
        reads[name] = {*(split_name(c)[0] for c in columns), *scorer.borrows(), *scorer.uses()} & scorers.keys()
    order: list[str] = []
    while len(order) < len(scorers):
        ready = [name for name in scorers if name not in order and reads[name] <= set(order)]
        if not ready:
            stuck = [name for name in scorers if name not in order]
            raise ConfigError(
                f"scorers read each other in a circle: {', '.join(stuck)}",
                where="score",
                expected="columns made before they are read",
                fix="break the circle",
            )
        order += ready
    return order


def _check_scorer(name: str, scorers: dict[str, Scorer], known: dict[str, pa.Field]) -> None:
    """Every column that a scorer reads exists, and it can read them; whoever it needs is there."""
    scorer, sample = scorers[name], scorers[name].sample()
    _require(f"score.{name}", scorer.inputs, known)
    _check_borrowed(name, scorer, scorers)
    _check_used(name, scorer, scorers)
    if sample is not None:
        _require(f"score.{name} (its training sample)", sample.columns, known)
    _check_read(name, scorer, known)


def _check_borrowed(name: str, scorer: Scorer, scorers: dict[str, Scorer]) -> None:
    """What a scorer borrows is a tokenizer that another scorer of this pipeline keeps."""
    counters = [other for other, found in scorers.items() if isinstance(found, Tokens)]
    for lender in scorer.borrows():
        if lender not in counters:
            raise ConfigError(
                f"no tokens scorer is called {lender!r}",
                where=f"score.{name}: tokenizer_of",
                expected="the name of a tokens scorer of this pipeline",
                fix=nearest(lender, counters) if counters else "add `- tokens: {}` under score:",
            )


def _check_used(name: str, scorer: Scorer, scorers: dict[str, Scorer]) -> None:
    """What a scorer runs on texts of its own is another scorer of this pipeline, which needs nothing but text."""
    for lender in scorer.uses():
        others = [other for other in scorers if other != name]
        if lender not in others:
            raise ConfigError(
                f"no scorer is called {lender!r}",
                where=f"score.{name}",
                expected="the name of another scorer of this pipeline",
                fix=nearest(lender, others) if others else f"add it under score:, with `name: {lender}`",
            )
        if beyond := sorted(set(scorers[lender].inputs) - {"text", "doc_id"}):
            raise ConfigError(
                f"{lender!r} reads {', '.join(beyond)}, which texts of a file lack",
                where=f"score.{name}",
                expected="a scorer that reads text alone",
                fix="name another scorer",
            )


def _check_read(name: str, scorer: Scorer, known: dict[str, pa.Field]) -> None:
    """The scorer's own word on the columns it is given."""
    sample = scorer.sample()
    try:
        scorer.reads({column: known[column] for column in dict.fromkeys((*scorer.inputs, *(sample.columns if sample else ())))})
    except CurateError as error:
        error.where = f"score.{name}" + (f": {error.where}" if error.where else "")
        raise


def _check_mixed(mixer: DocumentMixer, known: dict[str, pa.Field]) -> None:
    """The columns a mixer of documents reads exist, and it can read them."""
    _require("mix", mixer.inputs, known)
    try:
        mixer.reads({column: known[column] for column in mixer.inputs})
    except CurateError as error:
        error.where = "mix" + (f": {error.where}" if error.where else "")
        raise


def _require(where: str, columns: Iterable[str], known: dict[str, pa.Field]) -> None:
    for column in columns:
        if column not in known:
            raise ConfigError(
                f"no stage makes the column {column!r}",
                where=where,
                expected="a document column or `scorer.column`",
                fix=nearest(column, list(known)),
            )


def _check_length(length: str, known: dict[str, pa.Field], config: PipelineConfig) -> None:
    _require("mix.length", [length], known)
    if not pa.types.is_integer(known[length].type):
        raise ConfigError(
            f"{length!r} is no count", where="mix.length", expected="an integer column", fix="use n_bytes or a tokens scorer's n_tokens"
        )
    if config.mix.token_budget is not None and length == "n_bytes":
        raise ConfigError(
            "token_budget needs token counts",
            where="mix.token_budget",
            expected="a tokens scorer, or a byte_budget",
            fix="add `- tokens: {}` under score:, or use byte_budget",
        )
    if config.mix.byte_budget is not None and length != "n_bytes":
        raise ConfigError(
            "byte_budget counts n_bytes", where="mix.length", expected="no `length:`", fix="remove `length:`, or use token_budget"
        )


def _emit(config: PipelineConfig, scorers: dict[str, Scorer], known: dict[str, pa.Field], length: str) -> EmitStage:
    """The last stage; a packed one names its tokenizer."""
    emit, mix = config.emit, config.mix.name
    carriable = {name: field for name, field in known.items() if "." in name}
    _require("emit.carry", emit.carry, carriable)
    if emit.format == "text":
        return EmitStage(emit, mix, length, config.seed)
    counters = [name for name, scorer in scorers.items() if isinstance(scorer, Tokens)]
    name = emit.tokenizer or (counters[0] if counters else None)
    if name is None:
        raise ConfigError(
            "packed shards need a tokenizer", where="emit.tokenizer", expected="a tokens scorer", fix="add `- tokens: {}` under score:"
        )
    if name not in counters:
        raise ConfigError(
            f"no tokens scorer is called {name!r}",
            where="emit.tokenizer",
            expected="the name of a tokens scorer",
            fix=nearest(name, counters),
        )
    scorer = scorers[name]
    assert isinstance(scorer, Tokens)
    if scorer.tokenizer is not None:
        Tokenizer.open(scorer.tokenizer).separator_id(emit.separator)
    # A tokens scorer keeps the tokenizer it counted with, supplied or learned, as its state.
    return EmitStage(emit, mix, length, config.seed, model_path(name), f"fit/{name}")
