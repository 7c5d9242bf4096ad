"""The YAML list ``select:`` as a whole: its rules read in order, resolved against the columns there are, and what they read together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from pydantic import ValidationError

from curate.errors import ConfigError
from curate.selection.rules import IDENTITY, Rule


def parse_rules(given: Sequence[Any]) -> tuple[Rule, ...]:
    """The rules of a ``select:`` list as read from YAML.

    Raises:
        ConfigError: naming the rule by its number from 1, the field, and what it must be.
    """
    rules = []
    for number, item in enumerate(given, start=1):
        try:
            rules.append(Rule.model_validate(item))
        except ValidationError as error:
            first = error.errors()[0]
            field = str(first["loc"][0]) if first["loc"] else "the rule"
            raise ConfigError(
                f"selection rule {number} is not valid: {field}: {first['msg']}",
                where=f"select: {item}",
                expected=first["msg"],
                fix=f"correct `{field}`",
            ) from error
    return tuple(rules)


def resolve(rules: Sequence[Rule], schema: pa.Schema, tokens: str | None = None, seed: int | None = None) -> tuple[Rule, ...]:
    """Every rule resolved against the columns there will be; see ``Rule.resolved``. Reads no data."""
    return tuple(rule.resolved(schema, tokens, seed) for rule in rules)


def columns(rules: Sequence[Rule]) -> tuple[str, ...]:
    """The columns all rules read together with those that break ties, each once."""
    return tuple(dict.fromkeys([*IDENTITY, *(name for rule in rules for name in rule.columns())]))
