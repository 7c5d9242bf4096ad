"""Small tables of documents, and selection over shards of them as a runner would do it."""

from __future__ import annotations

import json
import math
import pickle
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import pyarrow as pa
import xxhash
from hypothesis import strategies as st

from curate.selection import Cut, find_cuts, parse_rules, resolve, verdicts

Row = dict[str, Any]


def rows_of(scores: Sequence[Any], domains: Sequence[str | None] | None = None, weights: Sequence[int] | None = None) -> list[Row]:
    """Documents 0, 1, … whose content hash says nothing about their position."""
    n = len(scores)
    return [
        {
            "doc_id": xxhash.xxh3_128_digest(str(i).encode()),
            "domain": domains[i] if domains else "web",
            "n_bytes": weights[i] if weights else 10,
            "source": f"file-{i % 3}",
            "source_row": i,
            "s": scores[i],
        }
        for i in range(n)
    ]


def table_of(rows: Sequence[Row], kind: pa.DataType | None = None) -> pa.Table:
    schema = pa.schema(
        [
            ("doc_id", pa.binary(16)),
            ("domain", pa.dictionary(pa.int32(), pa.string())),
            ("n_bytes", pa.int64()),
            ("source", pa.string()),
            ("source_row", pa.int64()),
            ("s", kind or pa.float64()),
        ]
    )
    return pa.Table.from_pylist(list(rows), schema=schema)


def over(shards: Sequence[pa.Table]) -> Callable[[Callable[[pa.Table], Any]], list[Any]]:
    """``map_shards`` in process, with the function and its result pickled as a runner would."""
    return lambda task: [pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(task))(shard))) for shard in shards]


def decide(shards: Sequence[pa.Table], *rules: Row, limit: int = 1_000_000, seed: int = 0) -> pa.Table:
    """Rules over shards, verdicts in shard order beside the shards' own columns."""
    ready = resolve(parse_rules(rules), shards[0].schema, seed=seed)
    cuts = find_cuts(ready, over(shards), limit)
    cuts = tuple(None if c is None else Cut.from_json(json.loads(json.dumps(c.to_json()))) for c in cuts)
    parts = [verdicts(ready, cuts, shard) for shard in shards]
    joined = [
        pa.table({**dict(zip(s.column_names, s.columns, strict=True)), "keep": v["keep"], "reason": v["reason"]})
        for s, v in zip(shards, parts, strict=True)
    ]
    return pa.concat_tables(joined)


def kept(decided: pa.Table) -> set[int]:
    return {r["source_row"] for r in decided.select(["source_row", "keep"]).to_pylist() if r["keep"]}


def scores_kept(decided: pa.Table) -> list[Any]:
    return sorted(r["s"] for r in decided.select(["s", "keep"]).to_pylist() if r["keep"])


# The same definition once more, stated in memory and independently.

SCORES = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, 2.5, math.inf, -math.inf, math.nan, None]),
    st.floats(width=64, allow_nan=False),
    st.integers(-3, 3).map(float),
)


def in_order(rows: Sequence[Row]) -> list[Row]:
    return sorted(rows, key=lambda r: (r["s"], r["doc_id"], xxhash.xxh3_64_intdigest(r["source"].encode()), r["source_row"]))


def expected(rows: Sequence[Row], window: Any, rate: float | Fraction | None, by: str = "documents", within: str | None = None) -> set[int]:
    groups: dict[Any, list[Row]] = {}
    for row in rows:
        if row["s"] is not None and not (isinstance(row["s"], float) and math.isnan(row["s"])):
            groups.setdefault(row[within] if within else None, []).append(row)
    return {r["source_row"] for group in groups.values() for r in expected_in_group(in_order(group), window, rate, by)}


def expected_in_group(group: list[Row], window: Any, rate: float | Fraction | None, by: str) -> list[Row]:
    share = Fraction(str(rate)) if rate is not None else Fraction(0)
    if window == "medium" and by == "documents":
        n = math.floor(share * len(group) + Fraction(1, 2))
        return group[(len(group) - n) // 2 :][:n]
    half = (1 - share) / 2
    named = {"low": (Fraction(0), share), "high": (1 - share, Fraction(1)), "medium": (half, 1 - half)}
    low, high = named[window] if isinstance(window, str) else (Fraction(str(q)) for q in window)
    weights = [1 if by == "documents" else r[by] for r in group]
    inside = []
    for i, row in enumerate(group):
        middle = sum(weights[:i]) + Fraction(weights[i], 2)
        if (low == 0 or middle > low * sum(weights)) and (high == 1 or middle <= high * sum(weights)):
            inside.append(row)
    return inside
