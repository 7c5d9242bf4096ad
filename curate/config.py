"""YAML to typed configuration, or an error that names the field.

``pipelines/*.yaml`` says what to compute: it is identity and enters fingerprints.
``conf/*.yaml`` says where and how: it is circumstance and never does.
"""

from __future__ import annotations

import difflib
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from curate.dedup import Dedup
from curate.errors import ConfigError, nearest
from curate.evidence.settings import Correlate
from curate.ingest.sources import Source
from curate.quantities import Bytes, Count
from curate.selection.rules import Rule


class Strict(BaseModel):
    """No unknown key is ever dropped."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Ingest(Strict):
    """Raw files to documents."""

    sources: list[Source] = Field(min_length=1, description="where the raw text is")
    shard_bytes: Bytes = Field(64 << 20, description="text bytes of one documents shard, the unit of work")
    split_bytes: Bytes | None = Field(None, description="bytes on disk that one task reads; default: a 64th of all, from 4MiB to 128MiB")
    max_record_bytes: Bytes = Field(64 << 20, description="longer records go to quarantine")
    max_bad_fraction: float = Field(0.01, ge=0, le=1, description="share of records that may be quarantined before the run stops")


class Score(Strict):
    """One entry of ``score:``; the remaining keys are the scorer's own."""

    use: str
    name: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")
    options: dict[str, Any] = Field(default_factory=dict)


class Mix(Strict):
    """Scores to weights; keys that are not named here are the mixer's own, and gather in ``options``."""

    use: str = Field("natural", description="a mixer")
    name: str = Field("default", pattern=r"^[A-Za-z0-9_-]+$", description="the mix is written to mixes/<name>")
    token_budget: Count | None = Field(None, description="tokens to emit")
    byte_budget: Bytes | None = Field(None, description="UTF-8 bytes to emit")
    length: str | None = Field(None, description="column that measures a document; default: the tokens scorer's n_tokens, else n_bytes")
    max_epochs: float = Field(4.0, gt=0, allow_inf_nan=False, description="most copies of a document on average; 1.0 repeats nothing")
    on_shortage: Literal["error", "redistribute"] | None = Field(
        None,
        description="what to do when a domain, or a document, cannot supply its share within max_epochs; default: error for mixers of "
        "domains, redistribute for mixers of documents",
    )
    options: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_budget(self) -> Mix:
        if self.token_budget is not None and self.byte_budget is not None:
            raise ValueError("token_budget and byte_budget exclude each other: keep one")
        return self


class Emit(Strict):
    """Weighted Arrow shards."""

    format: Literal["text", "packed"] = Field("text", description="documents as text, or packed input_ids")
    shard_bytes: Bytes = Field(128 << 20, description="text bytes of one output shard")
    compression: Literal["none", "lz4", "zstd"] = Field("none", description="Arrow buffers; none lets trainers map files without copying")
    carry: list[str] = Field(default_factory=list, description="score columns to write beside each document")
    sequence_length: int = Field(2048, gt=0, description="packed: tokens of one row")
    tokenizer: str | None = Field(None, description="packed: name of the tokens scorer whose tokenizer to use; default: the first")
    separator: str = Field("<|endoftext|>", description="packed: token after every document")
    remainder: Literal["drop", "keep"] = Field("drop", description="packed: the last short row of a shard is counted and dropped, or kept")


def _not_a_switch(value: Any) -> Any:
    """``dedup: true`` could mean exact copies or near ones too, so it is neither."""
    if isinstance(value, bool):
        raise ValueError(
            "write `dedup: {}` for copies of the same text, or `dedup: {near: true}` for near copies too"
            if value
            else "remove `dedup:` to keep every copy"
        )
    return value


class PipelineConfig(Strict):
    """One pipeline: what to compute."""

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]+$", description="an output directory belongs to one pipeline name")
    output: str = Field(description="directory or fsspec URL of the corpus; relative to the working directory")
    seed: int = Field(0, ge=0, description="every random decision derives from it")
    plugins: list[str] = Field(default_factory=list, description="packages or modules whose scorers and mixers may be imported")
    ingest: Ingest
    score: list[Score] = Field(default_factory=list)
    dedup: Annotated[Dedup | None, BeforeValidator(_not_a_switch)] = Field(
        None, description="which documents are copies of others; select drops them first"
    )
    correlate: Correlate | None = Field(
        None, description="how the losses of public models on groups of pages go with their benchmark results; a mixer and a scorer read it"
    )
    select: list[Rule] = Field(default_factory=list)
    mix: Mix = Field(default_factory=lambda: Mix())
    emit: Emit = Field(default_factory=lambda: Emit())

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, data: Any) -> Any:
        """Entries of ``score:`` are ``- scorer: {options}``; ``mix:`` holds the mixer's options beside its own keys."""
        if not isinstance(data, dict):
            return data
        data = dict(data)
        if isinstance(data.get("score"), list):
            data["score"] = [_score_entry(entry, i) for i, entry in enumerate(data["score"])]
        if isinstance(data.get("mix"), dict) and "options" not in data["mix"]:
            own = Mix.model_fields.keys() - {"options"}
            data["mix"] = {k: v for k, v in data["mix"].items() if k in own} | {
                "options": {k: v for k, v in data["mix"].items() if k not in own}
            }
        return data

    @model_validator(mode="after")
    def _names_once(self) -> PipelineConfig:
        names = [score.name for score in self.score]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two scorers are called {name!r}: give one of them another `name:`")
            if name == SIGNATURES and self.dedup is not None and self.dedup.near is not None:
                raise ValueError(f"`dedup: {{near: …}}` makes the scorer {name!r} itself: give yours another `name:`")
            if name in RESERVED:
                raise ValueError(f"a scorer cannot be called {name!r}: the name is taken by a stage; give it a `name:`")
        return self


RESERVED = ("selection", "mix", "documents", "ingest", "emit", "dedup", "losses", "correlate")
SIGNATURES = "minhash"
"""The scorer that near-duplicate removal adds."""


def _score_entry(entry: Any, index: int) -> Any:
    """``{fasttext: {name: langid, model: m}}`` as use, name and options."""
    if isinstance(entry, str):
        entry = {entry: {}}
    if not isinstance(entry, dict) or len(entry) != 1:
        raise ValueError(
            f"score[{index}] must be one scorer name with its options, such as `- tokens: {{vocab_size: 16384}}`; got {entry!r}"
        )
    ((use, options),) = entry.items()
    options = dict(options or {})
    default = re.sub(r"\W+", "_", use.rsplit(":", 1)[-1])
    return {"use": use, "name": options.pop("name", default), "options": options}


class Circumstance(Strict):
    """One conf: where and how to run. Nothing here changes a result."""

    engine: Literal["ray", "process"] = Field("ray", description="ray, or this process alone")
    workers: int = Field(default_factory=lambda: os.cpu_count() or 1, gt=0, description="tasks at the same time")
    address: str | None = Field(None, description="of a running Ray cluster; none starts Ray on this machine")
    dashboard: bool = Field(False, description="serve Ray's dashboard on localhost")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="what language models compute on; auto: a GPU where there is one")
    storage_options: dict[str, Any] = Field(default_factory=dict, repr=False, description="fsspec options for sources and output")
    cache: str = Field("~/.cache/curate", description="local copies of remote models")


class _UniqueKeys(yaml.SafeLoader):
    """YAML in which a key written twice is an error, not a silent override."""


def _mapping(loader: _UniqueKeys, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        if key_node.tag == "tag:yaml.org,2002:merge":
            continue
        key = loader.construct_object(key_node, deep=True)
        if isinstance(key, dict | list | set):
            raise yaml.constructor.ConstructorError(None, None, "a key is a mapping or a list; quote it", key_node.start_mark)
        if key in seen:
            raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} is written twice", key_node.start_mark)
        seen.add(key)
    return dict(yaml.SafeLoader.construct_mapping(loader, node, deep=True))


_UniqueKeys.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def load_yaml(path: Path) -> Any:
    """A YAML file as plain data."""
    if not path.is_file():
        near = difflib.get_close_matches(path.name, [p.name for p in path.parent.glob("*.y*ml")] if path.parent.is_dir() else [], n=1)
        raise ConfigError(
            "no such file",
            where=str(path),
            expected="a YAML file",
            fix=f"did you mean {path.parent / near[0]}?" if near else "check the path",
        )
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeys)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        at = f"{path}, line {mark.line + 1}, column {mark.column + 1}" if mark else str(path)
        raise ConfigError(
            f"not valid YAML: {getattr(error, 'problem', None) or error}", where=at, expected="YAML", fix="mend that line"
        ) from error


def load_pipeline(path: str | Path, overrides: list[str] | None = None) -> PipelineConfig:
    """A pipeline file with ``key=value`` overrides applied.

    Raises:
        ConfigError: naming file and field.
    """
    data = load_yaml(Path(path))
    if not isinstance(data, dict):
        return validate(PipelineConfig, data, str(path))
    for override in overrides or []:
        _apply(data, override)
    return validate(PipelineConfig, data, str(path))


def load_circumstance(path: str | Path | None, overrides: dict[str, Any] | None = None) -> Circumstance:
    """A conf file, or the defaults; ``overrides`` come from the command line."""
    data = (load_yaml(Path(path)) or {}) if path else {}
    return validate(Circumstance, data | {k: v for k, v in (overrides or {}).items() if v is not None}, str(path or "conf"))


def validate(model: type[Any], data: Any, where: str) -> Any:
    """``data`` as ``model``; the first few problems in one error."""
    if not isinstance(data, dict):
        raise ConfigError("the file holds no mapping", where=where, expected="`key: value` lines", fix="see `curate schema` for the keys")
    try:
        return model.model_validate(data)
    except ValidationError as error:
        problems = [_problem(model, problem) for problem in error.errors()]
        raise ConfigError(
            problems[0][0] if len(problems) == 1 else f"{len(problems)} fields are wrong: " + "; ".join(p[0] for p in problems[:5]),
            where=f"{where}: {problems[0][1]}",
            expected=problems[0][2],
            fix=problems[0][3],
        ) from error


def _problem(model: type[BaseModel], problem: Any) -> tuple[str, str, str, str]:
    """(what, field, expected, change) of one pydantic problem."""
    field = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        known = _siblings(model, problem["loc"])
        return (
            f"unknown key {problem['loc'][-1]!r}",
            field,
            f"one of: {', '.join(known)}" if known else "a known key",
            nearest(str(problem["loc"][-1]), known),
        )
    if problem["type"] == "missing":
        return f"{field} is missing", field, "a value", f"add `{problem['loc'][-1]}:`"
    what = problem["msg"].removeprefix("Value error, ")
    given = problem.get("input")
    # Storage options may hold credentials.
    shown = (
        f"; got {given!r}"
        if "storage_options" not in field and isinstance(given, str | int | float | bool) and repr(given) not in what
        else ""
    )
    return f"{field}: {what}{shown}" if field else what, field or "pipeline", what, "correct the value"


def _siblings(model: type[BaseModel], location: tuple[Any, ...]) -> list[str]:
    """The keys that are known where an unknown one was found."""
    schema = model.model_json_schema()
    definitions, node = schema.get("$defs", {}), schema
    for part in location[:-1]:
        node = _resolve(node, definitions)
        node = node.get("items", {}) if isinstance(part, int) else node.get("properties", {}).get(part, {})
    return sorted(_resolve(node, definitions).get("properties", {}))


def _resolve(node: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """The schema a reference leads to; of several, the first with keys of its own."""
    while "$ref" in node or "anyOf" in node:
        if "$ref" in node:
            node = definitions[node["$ref"].rsplit("/", 1)[-1]]
            continue
        node = next((found for one in node["anyOf"] if "properties" in (found := _resolve(one, definitions))), {})
    return node


def _apply(data: Any, override: str) -> None:
    """Set one dotted key; list positions are numbers, scorers also answer to their name."""
    key, separator, raw = override.partition("=")
    if not separator or not key.strip():
        raise ConfigError(
            f"--set {override!r} is not key=value", where="--set", expected="e.g. --set mix.token_budget=10M", fix="write key=value"
        )
    try:
        value = yaml.safe_load(raw)
    except yaml.YAMLError as error:
        raise ConfigError(f"the value in --set {override!r} is not YAML", where="--set", expected="a YAML value", fix="quote it") from error
    node, parts = data, key.strip().split(".")
    for part in parts[:-1]:
        node = _step(node, part, override)
    if isinstance(node, list):
        node[_position(node, parts[-1], override)] = value
    elif isinstance(node, dict):
        node[parts[-1]] = value
    else:
        raise _plain_value(override, parts[-1])


def _step(node: Any, part: str, override: str) -> Any:
    if isinstance(node, list):
        position = _position(node, part, override)
        if isinstance(node[position], str):
            node[position] = {node[position]: {}}
        entry = node[position]
        # A scorer's entry is {use: options}: step straight into its options.
        if isinstance(entry, dict) and len(entry) == 1 and not part.isdigit():
            (use,) = entry
            entry[use] = entry[use] or {}
            return entry[use]
        return entry
    if not isinstance(node, dict):
        raise _plain_value(override, part)
    if node.get(part) is None:
        node[part] = {}
    return node[part]


def _plain_value(override: str, part: str) -> ConfigError:
    return ConfigError(
        f"--set {override!r} steps into a plain value",
        where=f"--set, at {part!r}",
        expected="a section",
        fix="see the pipeline file for its sections",
    )


def _position(items: list[Any], part: str, override: str) -> int:
    if part.isdigit() and int(part) < len(items):
        return int(part)
    names = [
        next(iter(i.values())).get("name", next(iter(i)))
        if isinstance(i, dict) and len(i) == 1 and isinstance(next(iter(i.values())), dict)
        else str(i)
        for i in items
    ]
    if part in names:
        return names.index(part)
    raise ConfigError(
        f"--set {override!r}: no entry {part!r}", where="--set", expected=f"0..{len(items) - 1} or a name", fix=nearest(part, names)
    )
