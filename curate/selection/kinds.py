"""Which Arrow types a rule can test, and with what values."""

from __future__ import annotations

from typing import Any

import pyarrow as pa


def is_text(kind: pa.DataType) -> bool:
    """Whether a column holds strings, dictionary-encoded or not."""
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or (pa.types.is_dictionary(kind) and is_text(kind.value_type))


def fits(value: Any, kind: pa.DataType) -> bool:
    """Whether a configured value can equal some value of a column of this type."""
    if is_text(kind):
        return isinstance(value, str)
    if pa.types.is_boolean(kind) or isinstance(value, bool | str):
        return pa.types.is_boolean(kind) and isinstance(value, bool)
    return pa.types.is_floating(kind) or float(value).is_integer()


def is_number(kind: pa.DataType) -> bool:
    """Whether a column of this type holds integers or floating numbers."""
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))
