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

DOCUMENTS, AMOUNT = "n_documents", "amount"


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
    """Documents and amount of every combination of group, and described values, in one part; a null group is null."""
    columns = list(dict.fromkeys([task.by, task.length, *task.describe]))
    table = read_part(task.corpus, task.part.name, columns)
    keys = {"group": as_text(table[task.by]), **{name: as_text(table[name]) for name in task.describe}}
    amount = pc.fill_null(table[task.length], 0).cast(pa.int64())
    counted = pa.table({**keys, AMOUNT: amount}).group_by(list(keys), use_threads=False)
    return _plain(counted.aggregate([(AMOUNT, "count"), (AMOUNT, "sum")]), list(keys))


def summed(parts: Sequence[pa.Table]) -> pa.Table:
    """All parts together, ordered by group and described values: group, described columns, n_documents, amount."""
    table = pa.concat_tables(parts)
    keys = [name for name in table.column_names if name not in (DOCUMENTS, AMOUNT)]
    found = table.group_by(keys, use_threads=False).aggregate([(DOCUMENTS, "sum"), (AMOUNT, "sum")])
    found = found.rename_columns({f"{DOCUMENTS}_sum": DOCUMENTS, f"{AMOUNT}_sum": AMOUNT}).select([*keys, DOCUMENTS, AMOUNT])
    return found.sort_by([(name, "ascending") for name in keys])


def by_group(amounts: pa.Table) -> tuple[pa.Array, pa.Array]:
    """The groups there are, null left out, and the amount of each."""
    found = amounts.group_by("group", use_threads=False).aggregate([(AMOUNT, "sum")]).sort_by("group")
    found = found.filter(pc.is_valid(found["group"]))
    return found["group"].combine_chunks(), found[f"{AMOUNT}_sum"].combine_chunks()


def as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column of strings or whole numbers as the names of groups."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    return column.cast(pa.string())


def _plain(found: pa.Table, keys: list[str]) -> pa.Table:
    return found.rename_columns({f"{AMOUNT}_count": DOCUMENTS, f"{AMOUNT}_sum": AMOUNT}).select([*keys, DOCUMENTS, AMOUNT])
