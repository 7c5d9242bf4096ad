"""The JSON Schema of pipeline and conf files, with every built-in and installed scorer and mixer in it."""

from __future__ import annotations

from typing import Any

from curate import registry
from curate.config import Circumstance, Mix, PipelineConfig
from curate.errors import ConfigError, nearest


def json_schema(what: str = "pipeline") -> dict[str, Any]:
    """The schema of one kind of file: ``pipeline`` or ``conf``."""
    if what == "conf":
        return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Circumstance.model_json_schema()}
    if what != "pipeline":
        raise ConfigError(
            f"there is no schema of {what!r}", where="curate schema", expected="pipeline or conf", fix=nearest(what, ["pipeline", "conf"])
        )
    schema = PipelineConfig.model_json_schema(by_alias=True)
    definitions = schema["$defs"]
    scorers = [_scorer_entry(name, definitions) for name in registry.scorer_names()]
    own = {
        "type": "object",
        "description": "your own scorer, as package.module:Class",
        "patternProperties": {"^[A-Za-z_][\\w.]*:[A-Za-z_]\\w*$": {"type": ["object", "null"]}},
        "minProperties": 1,
        "maxProperties": 1,
        "additionalProperties": False,
    }
    schema["properties"]["score"]["items"] = {"anyOf": [*scorers, own]}
    schema["properties"]["mix"] = {"anyOf": [_mix(name, definitions) for name in registry.mixer_names()]}
    definitions.pop("Score", None)
    definitions.pop("Mix", None)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "a curate pipeline", **schema}


def _take(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """A schema with its own definitions moved to the top."""
    definitions.update(schema.pop("$defs", {}))
    return schema


def _scorer_entry(name: str, definitions: dict[str, Any]) -> dict[str, Any]:
    """``- name: {options}`` or ``- name``."""
    options = _take(registry.options_schema(registry.scorer_class(name)), definitions)
    options["properties"] = {"name": {"type": "string", "description": f"of the column group; default {name}"}} | options.get(
        "properties", {}
    )
    entry = {
        "type": "object",
        "properties": {name: {"anyOf": [options, {"type": "null"}]}},
        "required": [name],
        "additionalProperties": False,
    }
    return {"anyOf": [entry, {"const": name}]} if not options.get("required") else entry


def _mix(name: str, definitions: dict[str, Any]) -> dict[str, Any]:
    """``mix:`` with one mixer's options beside its own keys."""
    own = _take(Mix.model_json_schema(), definitions)
    options = _take(registry.options_schema(registry.mixer_class(name)), definitions)
    properties = {k: v for k, v in own["properties"].items() if k != "options"} | options.get("properties", {})
    properties["use"] = {"const": name}
    required = [*options.get("required", []), *([] if name == "natural" else ["use"])]
    return {
        "type": "object",
        "description": options.get("description", ""),
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }
