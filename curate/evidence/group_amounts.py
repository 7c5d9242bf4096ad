"""How much text every group of pages holds, by domain and by whatever else a selection may shift.

Sums over parts are of integers, so that they are the same for any sharding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from curate.corpus import Part, read_part
from curate.storage import Folder

GROUP, AMOUNT = "group", "amount"
DESCRIBED = "of "
"""Stands before the name of a described column, which may be any name."""


@dataclass(frozen=True)
class AmountTask:
    """One part's share of the count.

    Args:
        by: the column whose values are the groups.
        length: column that measures a document.
        describe: further columns to count by.
    """

    corpus: Folder
    part: Part
    by: str
    length: str
    describe: tuple[str, ...]


def part_amounts(task: AmountTask) -> pa.Table:
    """The amount of every combination of group and described values in one part; a null group is null."""
    columns = list(dict.fromkeys([task.by, task.length, *task.describe]))
    table = read_part(task.corpus, task.part.name, columns)
    keys = {GROUP: as_text(table[task.by]), **{f"{DESCRIBED}{name}": as_text(table[name]) for name in task.describe}}
    amount = pc.fill_null(table[task.length], 0).cast(pa.int64())
    return _added(pa.table({**keys, AMOUNT: amount}), list(keys))


def summed(parts: Sequence[pa.Table]) -> pa.Table:
    """All parts together, ordered by group and described values: ``GROUP``, columns named ``DESCRIBED`` and a name, ``AMOUNT``."""
    table = pa.concat_tables(parts)
    keys = [name for name in table.column_names if name != AMOUNT]
    return _added(table, keys).sort_by([(name, "ascending") for name in keys])


def by_group(amounts: pa.Table) -> tuple[pa.Array, pa.Array]:
    """The groups there are, null left out, and the amount of each."""
    found = _added(amounts, [GROUP]).sort_by(GROUP)
    found = found.filter(pc.is_valid(found[GROUP]))
    return found[GROUP].combine_chunks(), found[AMOUNT].combine_chunks()


def as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column of strings or whole numbers as the names of groups."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    return column.cast(pa.string())


def _added(table: pa.Table, keys: list[str]) -> pa.Table:
    """Amounts of equal keys as one."""
    found = table.group_by(keys, use_threads=False).aggregate([(AMOUNT, "sum")])
    return found.select([*keys, f"{AMOUNT}_sum"]).rename_columns([*keys, AMOUNT])
