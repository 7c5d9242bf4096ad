"""How much a named window keeps, where that is an amount and not a share: as people write it, by what is counted."""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, StrictInt, ValidationInfo, WithJsonSchema

from curate.quantities import parse_bytes, parse_count

_WRITTEN = {"anyOf": [{"type": "integer", "exclusiveMinimum": 0}, {"type": "string", "pattern": r"^\s*[\d_]+(\.\d+)?\s*[a-zA-Z]*\s*$"}]}


def _number(given: Any, info: ValidationInfo) -> Any:
    """``10M``; of bytes also ``64MiB``, but not ``10B``, which is ten bytes to some and ten billion to others."""
    if info.data.get("by") not in ("bytes", "n_bytes") or not isinstance(given, str):
        return parse_count(given)
    if given.strip(" 0123456789._").lower() == "b":
        raise ValueError(f"{given!r} of bytes can be read in two ways: write a size such as 64MiB or 10GB, or a plain number")
    try:
        return parse_bytes(given)
    except ValueError:
        return parse_count(given)


Amount = Annotated[StrictInt, BeforeValidator(_number), Field(gt=0), WithJsonSchema(_WRITTEN)]
"""A field of this type stands after a field ``by``, which says what it counts."""


def share_of(amount: int, weight: int) -> Fraction:
    """The amount as a share of the weight there is; all of it where that is less."""
    return Fraction(min(amount, weight), weight) if weight else Fraction(1)
