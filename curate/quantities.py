"""Sizes, counts and times as people write and read them: ``64MiB``, ``1.5GB``, ``10M``, ``1 min 15 s``."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema

_UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12, "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40}
_COUNTS = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9, "t": 10**12}


def parse_bytes(value: Any) -> Any:
    """``64MiB``, ``1.5 GB`` or a number, as bytes."""
    return _scaled(value, _UNITS, "a size such as 64MiB, 1.5GB or 1000000")


def parse_count(value: Any) -> Any:
    """``10M``, ``1.5B`` (billions) or a number."""
    return _scaled(value, _COUNTS, "a count such as 10M, 1.5B or 1000000")


def _scaled(value: Any, units: dict[str, int], expected: str) -> Any:
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"\s*([\d_]+(?:\.\d+)?)\s*([a-zA-Z]*)\s*", value)
    if match is None or match[2].lower() not in units:
        raise ValueError(f"expected {expected}, got {value!r}")
    return int(float(match[1].replace("_", "")) * units[match[2].lower()])


def _number_or(pattern: str) -> WithJsonSchema:
    """What editors are told of a number that may carry a unit."""
    return WithJsonSchema({"anyOf": [{"type": "integer", "exclusiveMinimum": 0}, {"type": "string", "pattern": pattern}]})


Bytes = Annotated[int, BeforeValidator(parse_bytes), Field(gt=0), _number_or(r"^\s*[\d_]+(\.\d+)?\s*([kKmMgGtT][iI]?)?[bB]?\s*$")]
Count = Annotated[int, BeforeValidator(parse_count), Field(gt=0), _number_or(r"^\s*[\d_]+(\.\d+)?\s*[kKmMbBtT]?\s*$")]


def count(value: float) -> str:
    """12,345 or 1.23 M."""
    for size, unit in ((1e12, " T"), (1e9, " B"), (1e6, " M")):
        if abs(value) >= size:
            return f"{value / size:.2f}{unit}"
    return f"{value:,.0f}"


def size(n_bytes: float) -> str:
    """Bytes for people."""
    for scale, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if n_bytes >= scale:
            return f"{n_bytes / scale:.1f} {unit}"
    return f"{n_bytes:.0f} B"


def duration(seconds: float) -> str:
    """0.4 s, 75 s as 1 min 15 s, hours."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
