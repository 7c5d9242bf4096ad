"""The table of weights: what is known of every group of pages for every target, and what follows from it.

One row for each target and group. Files hold the same table; the schema's metadata says which column of a corpus
the groups are values of (``by``), the share of tokens that the largest weights were made for (``filter_ratio``) and how all of it
came about (``card``, JSON).
"""

from __future__ import annotations

from collections.abc import Collection

import pyarrow as pa
import pyarrow.compute as pc

from curate.errors import ConfigError, InputError, nearest

SCHEMA = pa.schema(
    [
        pa.field("target", pa.string(), nullable=False),
        pa.field("group", pa.string(), nullable=False),
        pa.field("estimate", pa.float64(), metadata={"unit": "of the estimator; higher: lower loss here goes with lower error"}),
        pa.field("low", pa.float64(), metadata={"unit": "lower end of the bootstrap interval over families of models"}),
        pa.field("high", pa.float64(), metadata={"unit": "upper end"}),
        pa.field("p_value", pa.float64(), metadata={"unit": "share of permutations of results with an estimate at least as far from 0"}),
        pa.field("settled", pa.bool_(), metadata={"unit": "whether the interval leaves out 0"}),
        pa.field("n_models", pa.int64(), metadata={"unit": "models the estimate rests on"}),
        pa.field("natural", pa.float64(), metadata={"unit": "share of the corpus"}),
        pa.field("tau", pa.float64(), metadata={"unit": "largest weight that repeats nothing"}),
        pa.field("weight", pa.float64(), metadata={"unit": "share of the selection; sums to 1 over a target"}),
        pa.field("included", pa.bool_(), metadata={"unit": "whether the weight is above 0"}),
        pa.field("inclusion", pa.float64(), metadata={"unit": "share of bootstrap replicates that include it"}),
    ]
)
BY, FILTER_RATIO, CARD = b"by", b"filter_ratio", b"card"


def by_of(weights: pa.Table) -> str:
    """The column of a corpus that the groups are values of."""
    return (weights.schema.metadata or {}).get(BY, b"domain").decode()


def filter_ratio_of(weights: pa.Table) -> float:
    """The share of the tokens that the largest weights were made for."""
    return float((weights.schema.metadata or {}).get(FILTER_RATIO, b"0.1"))


def of_target(weights: pa.Table, target: str | None, where: str) -> pa.Table:
    """The rows of one target; of the only one where none is named.

    Args:
        where: the place that names the target, for messages.

    Raises:
        ConfigError: there is no such target, or several and none is named.
        InputError: the table is no table of weights.
    """
    lacking = [field.name for field in SCHEMA if field.name not in weights.column_names]
    if lacking:
        raise InputError(
            f"a table of weights lacks {', '.join(lacking)}", where=where, expected="a table that `correlate` wrote", fix="name another"
        )
    return weights.filter(pc.equal(weights["target"], check_target(set(weights["target"].to_pylist()), target, where)))


def check_target(targets: Collection[str], target: str | None, where: str) -> str:
    """The target that is meant: the only one where none is named.

    Raises:
        ConfigError: there is no such target, or several and none is named.
    """
    names = sorted(targets)
    if target is None and len(names) == 1:
        return names[0]
    if target is None:
        raise ConfigError(
            f"there are weights for {len(names)} targets", where=where, expected=f"one of: {', '.join(names[:20])}", fix="add `target:`"
        )
    if target not in names:
        raise ConfigError(
            f"there are no weights for the target {target!r}", where=where, expected=f"one of: {', '.join(names[:20])}",
            fix=nearest(target, names),
        )  # fmt: skip
    return target
