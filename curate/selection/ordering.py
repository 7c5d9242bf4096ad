"""The total order that percentile rules rank by, as five uint64 per document.

    (score, doc_id bytes 0-7, doc_id bytes 8-15, hash of source, source_row)

Comparing them left to right orders by score, then by content, then by origin. Since
(source, source_row) is unique, so is every place in the order, and since no part knows
of shards, neither does any cut. Integers keep all 64 bits: nothing passes through float.
N is the number of rows.
"""

from __future__ import annotations

import sys
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.hashing import U64, id_halves, source_keys

Place = tuple[int, int, int, int, int]
# How scores became keys; "hash" keys are no scores but places in a random order.
Kind = Literal["float", "int", "uint", "hash"]

WIDTH = 5
HIGHEST = 2**64 - 1
# Edges of windows without a bound: below and above every document.
START: Place = (0, 0, 0, 0, 0)
END: Place = (HIGHEST, HIGHEST, HIGHEST, HIGHEST, HIGHEST)
_SIGN = U64(1 << 63)


def whole(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """A column as one array."""
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def numbers(column: pa.Array | pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """A numeric column as (values_N, valid_N): float64, int64 or uint64, exact; NaN is not valid."""
    array = whole(column)
    valid = np.asarray(array.is_valid())
    if pa.types.is_floating(array.type):
        values = array.to_numpy(zero_copy_only=False).astype(np.float64)
        return values, valid & ~np.isnan(values)
    if array.null_count:
        array = pc.fill_null(array, 0)
    unsigned = pa.types.is_unsigned_integer(array.type)
    return np.asarray(array).astype(np.uint64 if unsigned else np.int64), valid


def kind_of(values: np.ndarray) -> Kind:
    """Which of the three maps to uint64 applies."""
    kinds: dict[str, Kind] = {"f": "float", "i": "int", "u": "uint"}
    return kinds[values.dtype.kind]


def keys_of(values: np.ndarray) -> np.ndarray:
    """Numbers (N) as uint64 (N) in the same order; -0.0 and 0.0 share a key, infinities lie at the ends."""
    if values.dtype.kind == "u":
        return values.astype(U64)
    if values.dtype.kind == "i":
        return values.astype(np.int64).view(U64) ^ _SIGN
    bits = (values.astype(np.float64) + 0.0).view(U64)
    return np.where(bits & _SIGN, ~bits, bits | _SIGN)


def value_of(key: int, kind: Kind) -> float | int:
    """The number whose key this is; for a hash its place in the random order, from 0 to 1."""
    if kind == "hash":
        return key * 2.0**-64
    if kind == "uint":
        return key
    if kind == "int":
        return key - (1 << 63)
    bits = key ^ (1 << 63) if key >> 63 else key ^ HIGHEST
    return float(np.array(bits, dtype=U64).view(np.float64))


def told_value_of(key: int, kind: Kind) -> float | int:
    """The same for JSON: infinities are told as the largest finite floats."""
    value = value_of(key, kind)
    return max(-sys.float_info.max, min(value, sys.float_info.max)) if isinstance(value, float) else value


def successor(place: Place) -> Place:
    """The next place in the order: the least that is greater."""
    parts = list(place)
    for i in reversed(range(WIDTH)):
        if parts[i] < HIGHEST:
            parts[i] += 1
            break
        parts[i] = 0
    return parts[0], parts[1], parts[2], parts[3], parts[4]


class Places:
    """The places of chosen rows of a table; each part is computed when first asked for, and most never need the last four."""

    def __init__(self, keys: np.ndarray, table: pa.Table, rows: np.ndarray) -> None:
        """``keys``: score keys of the R chosen rows; ``rows``: their indices in ``table``, which has the columns of the order."""
        self._keys, self._table, self._rows = keys, table, rows
        self._parts: dict[int, np.ndarray] = {0: keys}

    def part(self, i: int) -> np.ndarray:
        """Part ``i`` of every chosen row: uint64 (R)."""
        if i not in self._parts:
            if i in (1, 2):
                halves = id_halves(self._table["doc_id"])[self._rows]
                self._parts[1], self._parts[2] = halves[:, 0].copy(), halves[:, 1].copy()
            elif i == 3:
                self._parts[3] = source_keys(self._table["source"])[self._rows]
            else:
                self._parts[4] = keys_of(numbers(self._table["source_row"])[0])[self._rows]
        return self._parts[i]

    def at(self, chosen: np.ndarray) -> np.ndarray:
        """The whole places of some of the rows, as uint64 (len(chosen), 5)."""
        rows = self._rows[chosen]
        few = self._table.select(["doc_id", "source", "source_row"]).take(pa.array(rows))
        places = Places(self._keys[chosen], few, np.arange(len(rows)))
        return np.stack([places.part(i) for i in range(WIDTH)], axis=1)

    def below(self, edges: np.ndarray, owner: np.ndarray) -> np.ndarray:
        """Whether each row lies before the edge of its group: bool (R), from edges uint64 (G, 5) and owner int64 (R)."""
        first = edges[owner, 0]
        under = self._keys < first
        tied = np.flatnonzero(self._keys == first)
        for i in range(1, WIDTH):
            if not len(tied):
                break
            part, edge = self.part(i)[tied], edges[owner[tied], i]
            under[tied[part < edge]] = True
            tied = tied[part == edge]
        return under
