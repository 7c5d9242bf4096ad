"""What selection decided about each document, and the counts that prove nobody was lost. N is the rows of a table."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from curate.errors import IntegrityError
from curate.selection.cuts import Cut, outcome
from curate.selection.ordering import numbers
from curate.selection.rules import Rule
from curate.selection.thresholds import coded, reasons

REASON = pa.dictionary(pa.int32(), pa.string())
VERDICTS = pa.schema([pa.field("keep", pa.bool_(), nullable=False), pa.field("reason", REASON)])
_COUNTS = ("n_documents", "n_bytes", "n_tokens")
TALLY = pa.schema([("domain", pa.string()), ("reason", pa.string()), *((name, pa.int64()) for name in _COUNTS)])


def verdicts(rules: Sequence[Rule], cuts: Sequence[Cut | None], table: pa.Table) -> pa.Table:
    """``keep`` and ``reason`` for every row of one shard, same order, schema ``VERDICTS``.

    The reason is the code of the first rule the document failed, null where it is kept. The
    dictionary lists every code the rules can give, in their order, so shards agree on it.

    Args:
        rules: resolved rules, in order.
        cuts: one entry per rule, from ``find_cuts``.
        table: the columns ``columns(rules)`` of one shard.
    """
    if len(cuts) != len(rules):
        raise IntegrityError(
            f"{len(rules)} rules but {len(cuts)} cuts", where="selection", expected="one entry per rule", fix="find the cuts of these rules"
        )
    codes = list(dict.fromkeys(code for rule in rules for code in (*rule.codes, rule.null_code)))
    given = np.full(len(table), -1, dtype=np.int32)
    for rule, cut in zip(rules, cuts, strict=True):
        failed, missing = outcome(rule, cut, table, given < 0)
        given[failed] = _given(rule, table, failed, codes)
        given[missing] = codes.index(rule.null_code)
    keep = given < 0
    reason = pa.DictionaryArray.from_arrays(pa.array(np.where(keep, 0, given), pa.int32(), mask=keep), pa.array(codes, pa.string()))
    return pa.table([pa.array(keep), reason], schema=VERDICTS)


def _given(rule: Rule, table: pa.Table, failed: np.ndarray, codes: list[str]) -> np.ndarray:
    """The reason of each failed row, as an index into ``codes``.

    Raises:
        IntegrityError: a verdict dropped a document for a reason that it did not announce.
    """
    own = np.array([codes.index(code) for code in rule.codes], dtype=np.int32)
    stated = reasons(rule, table)
    if stated is None:
        return np.full(int(failed.sum()), own[0], dtype=np.int32)
    stated = stated[failed]
    if (stated < 0).any():
        raise IntegrityError(
            f"{int((stated < 0).sum())} documents are dropped without one of the reasons announced",
            where=f"column {rule.reason_column}",
            expected=f"one of: {', '.join(rule.codes)}",
            fix="run the scorer again; if it repeats, its `codes` and its reasons differ",
        )
    return own[stated]


def tally(table: pa.Table, verdict: pa.Table, tokens: str | None = None) -> pa.Table:
    """One shard's counts by domain and reason (null: kept), schema ``TALLY``, sorted.

    Args:
        table: ``domain`` and ``n_bytes`` of N documents, and the ``tokens`` column.
        verdict: their N verdicts.
        tokens: name of the token-count column; null counts as 0. Without it ``n_tokens`` is null.
    """
    domain, domains = coded(table["domain"])
    reason, reasons = coded(verdict["reason"])
    cell = domain * len(reasons) + reason
    distinct, inverse, count = np.unique(cell, return_inverse=True, return_counts=True)
    sums = [count.astype(np.int64), _sums(table["n_bytes"], inverse, len(distinct))]
    n_tokens = pa.nulls(len(distinct), pa.int64()) if tokens is None else pa.array(_sums(table[tokens], inverse, len(distinct)))
    names = [
        pa.array([domains[i] for i in distinct // len(reasons)], pa.string()),
        pa.array([reasons[i] for i in distinct % len(reasons)], pa.string()),
    ]
    return merge_tallies([pa.table([*names, *map(pa.array, sums), n_tokens], schema=TALLY)])


def _sums(column: pa.ChunkedArray, cell: np.ndarray, n_cells: int) -> np.ndarray:
    """A count column added up per cell, in exact integers."""
    values, _ = numbers(column)
    total = np.zeros(n_cells, dtype=np.int64)
    np.add.at(total, cell, values.astype(np.int64))
    return total


def merge_tallies(tallies: Sequence[pa.Table]) -> pa.Table:
    """Tallies of several shards as one, sorted by domain, then reason, kept first; independent of their order."""
    if not tallies:
        return TALLY.empty_table()
    merged = pa.concat_tables(tallies).group_by(["domain", "reason"]).aggregate([(name, "sum") for name in _COUNTS])
    merged = merged.rename_columns([name.removesuffix("_sum") for name in merged.column_names])
    rows = merged.select(TALLY.names).to_pylist()
    rows.sort(key=lambda row: (row["domain"], row["reason"] is not None, row["reason"] or ""))
    return pa.Table.from_pylist(rows, schema=TALLY)


def check_conservation(counted: pa.Table, entered: dict[str, tuple[int, int]]) -> None:
    """In = kept + dropped, per domain, in documents and bytes.

    Args:
        counted: a tally of all shards.
        entered: per domain the (documents, bytes) that came in, from the stage before.

    Raises:
        IntegrityError: naming the first domain that does not add up.
    """
    left: dict[str, tuple[int, int]] = {}
    for row in counted.to_pylist():
        n, size = left.get(row["domain"], (0, 0))
        left[row["domain"]] = n + row["n_documents"], size + row["n_bytes"]
    for domain in sorted({*left, *entered}):
        came, went = entered.get(domain, (0, 0)), left.get(domain, (0, 0))
        if came != went:
            raise IntegrityError(
                f"selection lost or invented documents of {domain!r}",
                where=f"ledger of selection, domain {domain!r}",
                expected=f"{came[0]} documents with {came[1]} bytes, kept and dropped together; counted {went[0]} with {went[1]}",
                fix="run the selection again; if it repeats, the sidecar and the documents are not of one corpus",
            )
