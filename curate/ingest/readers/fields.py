"""Values out of parsed records: dotted paths, and the rules for text, domain and typed extras.

The rules are stated once here, for one value at a time, and are what every format obeys.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from curate.ingest.sources import EXTRA_TYPES, FromField, Source

MISSING = object()


class Unfit(Exception):  # noqa: N818  not an error: the verdict on one record
    """A record that cannot become a document: (reason, detail)."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail


def look_up(record: Any, path: tuple[str, ...]) -> Any:
    """The value at a path of object keys, ``MISSING`` where there is none."""
    for key in path:
        if not isinstance(record, dict) or key not in record:
            return MISSING
        record = record[key]
    return record


def kind_of(value: Any) -> str:
    """The JSON name of a value's type."""
    names = {str: "string", bool: "boolean", int: "number", float: "number", dict: "object", list: "array", bytes: "binary"}
    return "null" if value is None else names.get(type(value), type(value).__name__)


def fit_text(value: Any, field: str) -> str:
    """The text, or Unfit: missing_text, null_text, wrong_type, empty_text."""
    if value is MISSING:
        raise Unfit("missing_text", f"no field {field!r}")
    if value is None:
        raise Unfit("null_text", f"field {field!r} is null")
    if not isinstance(value, str):
        raise Unfit("wrong_type", f"field {field!r} is {kind_of(value)}, expected a string")
    if not value:
        raise Unfit("empty_text", f"field {field!r} is the empty string")
    return value


def fit_domain(value: Any, field: str) -> str:
    """The domain, or Unfit: missing_domain, wrong_type."""
    if value is MISSING or value is None or value == "":
        raise Unfit("missing_domain", f"field {field!r} is absent, null or empty")
    if not isinstance(value, str):
        raise Unfit("wrong_type", f"field {field!r} is {kind_of(value)}, expected a string naming the domain")
    return value


def fit_extra(value: Any, kind: str, name: str) -> Any:
    """The extra as its declared type, None where absent or null, or Unfit: extra_wrong_type.

    A string takes strings as they are and encodes objects and arrays as JSON; float64 takes integers too.
    """
    if value is MISSING or value is None:
        return None
    if kind == "string":
        if isinstance(value, str):
            return value
        if isinstance(value, (dict, list)):
            return orjson.dumps(value).decode()
    elif kind == "bool":
        if isinstance(value, bool):
            return value
    elif kind == "int64":
        if isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63:
            return value
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    raise Unfit("extra_wrong_type", f"extra {name!r} is {kind_of(value)} ({str(value)[:60]!r}), expected {kind}")


def fit_extra_text(value: str, kind: str, name: str) -> Any:
    """``fit_extra`` for formats whose values are all strings: empty is null except for strings themselves."""
    if kind == "string":
        return value
    if value == "":
        return None
    try:
        if kind == "int64":
            return fit_extra(int(value), kind, name)
        if kind == "float64":
            return float(value)
        return {"true": True, "false": False}[value.lower()]
    except (ValueError, KeyError):
        raise Unfit("extra_wrong_type", f"extra {name!r} is {value[:60]!r}, expected {kind}") from None


def has_empty(text: pa.Array) -> bool:
    """Whether a large_string column of at least one row holds an empty string."""
    bounds = np.frombuffer(text.buffers()[1], np.int64, len(text) + 1, 8 * text.offset)
    return bool((bounds[1:] == bounds[:-1]).any())


def domain_field(source: Source) -> str | None:
    """The field that states each record's domain, None when the source has one for all."""
    return source.domain.field if isinstance(source.domain, FromField) else None


def extra_array(values: list[Any], kind: str) -> pa.Array:
    """Fitted values as a column of the declared type."""
    return pa.array(values, EXTRA_TYPES[kind])
