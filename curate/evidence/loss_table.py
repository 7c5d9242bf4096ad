"""The table of losses as a file: bits per byte of every model on every group of pages.

Losses are dear to compute and cheap to keep, and people who cannot compute them ask for those
of others: so they are an artifact of their own, in a format that any Parquet reader opens, and
which says of itself what it holds. One row for each group and one column for each model; a
million groups of ninety models are 700 MB, so the table is written in row groups and read in
blocks of groups, never whole.

    group            string     unique, never empty
    n_pages n_bytes  int64      pages read and their bytes; null where nobody knows
    <model>          float64    bits per byte; null where missing

The metadata of a model's column has ``unit``, ``direction`` and ``family``, and what else is known
of it (``tokenizer``, ``source``). The schema's metadata has ``by``, the column of a corpus that
groups are values of, and ``card``, JSON.

N models, D groups of pages, Db of them in a block.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.errors import InputError, nearest
from curate.storage import Folder

TABLE = "table.parquet"
CARD = "README.md"
GROUP = "group"
AMOUNTS = ("n_pages", "n_bytes")
ROWS = 65_536
UNIT = "bits per UTF-8 byte"
SHOWN = 5


def is_loss_table(schema: pa.Schema) -> bool:
    """Whether a Parquet file with this schema was written here."""
    told = schema.metadata or {}
    return b"by" in told and b"card" in told and GROUP in schema.names


def read_only(folder: Folder, name: str) -> pa.NativeFile:
    """A file to be read once from end to end: not mapped, as pages of a map would count as memory in use."""
    return folder.open(name) if folder.local is None else pa.OSFile(str(folder.local / name))


def counted(n: int, what: str) -> str:
    """``1 model``, ``1,234 models``."""
    return f"{n:,} {what}" if n == 1 else f"{n:,} {what}s"


def first_of(names: Sequence[str], n: int = SHOWN) -> str:
    """The first few names and how many more there are, for messages."""
    shown = ", ".join(repr(name) for name in names[:n])
    return shown if len(names) <= n else f"{shown} and {len(names) - n:,} more"


class LossTableWriter:
    """Writes a table block by block: the same bytes whatever the blocks. A context manager.

    Args:
        out: a binary file, positioned at its start.
        models: names of the N columns, in their order.
        described: what is known of a model, by its name; ``family`` defaults to the name itself.
        by: the column of a corpus that groups are values of.
        card: what the card tells of how the table came about; JSON.
        where: what the table is called in messages.

    Raises:
        InputError: no models, or a name that is empty, taken, or twice there. So do ``write`` (a bad value or name of
            a group) and the end of the block (what only the whole table shows).
    """

    def __init__(
        self,
        out: BinaryIO,
        models: Sequence[str],
        described: Mapping[str, Mapping[str, str]],
        by: str,
        card: Mapping[str, Any],
        where: str = "the table of bits per byte",
    ) -> None:
        _check_models(models, where)
        self._models, self._where = list(models), where
        self._schema = _schema(models, described, by, card)
        self._file = pq.ParquetWriter(
            out, self._schema, compression="zstd", use_dictionary=False, use_byte_stream_split=list(models), store_schema=True
        )
        self._held: list[pa.Table] = []
        self._n_held = 0
        self._groups: list[pa.Array] = []
        self._present = np.zeros(len(models), dtype=bool)

    def write(
        self,
        groups: pa.Array,
        losses_ND: np.ndarray,
        n_pages: pa.Array | np.ndarray | None = None,
        n_bytes: pa.Array | np.ndarray | None = None,
    ) -> None:
        """Add Db groups.

        Args:
            groups: (Db,) strings.
            losses_ND: (N, Db) float64 bits per byte, NaN where missing.
            n_pages: (Db,) integers, None where unknown.
            n_bytes: (Db,) integers, None where unknown.
        """
        if losses_ND.shape != (len(self._models), len(groups)):
            raise ValueError(f"expected losses of shape {(len(self._models), len(groups))}, got {losses_ND.shape}")
        groups = groups.cast(pa.string())
        _check_groups(groups, self._where)
        _check_losses(losses_ND, self._models, groups, self._where)
        self._present |= ~np.isnan(losses_ND).all(axis=1)
        self._groups.append(groups)
        columns: list[Any] = [groups, *(_integers(known, len(groups)) for known in (n_pages, n_bytes))]
        columns += [pa.array(row, pa.float64(), from_pandas=True) for row in losses_ND]
        self._held.append(pa.Table.from_arrays(columns, schema=self._schema))
        self._n_held += len(groups)
        while self._n_held >= ROWS:
            self._flush(ROWS)

    def _flush(self, n_rows: int) -> None:
        """Write one row group of the first rows that are held."""
        held = pa.concat_tables(self._held)
        self._file.write_table(held.slice(0, n_rows), row_group_size=ROWS)
        self._held = [held.slice(n_rows)]
        self._n_held -= n_rows

    def __enter__(self) -> LossTableWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            self._file.close()

    def _finish(self) -> None:
        """Write the rest, and check what only the whole table shows."""
        groups = pa.chunked_array(self._groups, pa.string())
        if len(groups) == 0:
            raise InputError("there are no groups", where=self._where, expected="a row for each group", fix="name another table")
        _check_unique(groups, self._where)
        empty = [name for name, present in zip(self._models, self._present, strict=True) if not present]
        if empty:
            raise InputError(
                f"{counted(len(empty), 'model')} of {len(self._models)} without a single loss: {first_of(empty)}",
                where=self._where, expected="at least one value in each model's column", fix="leave these models out",
            )  # fmt: skip
        if self._n_held:
            self._flush(self._n_held)


def write_loss_table(
    out: BinaryIO,
    groups: pa.Array,
    n_pages: pa.Array | np.ndarray | None,
    n_bytes: pa.Array | np.ndarray | None,
    losses: Mapping[str, np.ndarray],
    described: Mapping[str, Mapping[str, str]],
    by: str,
    card: Mapping[str, Any],
) -> None:
    """Write a table that fits in memory; see ``LossTableWriter``.

    Args:
        groups: (D,) strings.
        n_pages: (D,) integers, None where unknown; so ``n_bytes``.
        losses: model -> (D,) float64 bits per byte, NaN where missing. Columns have the order of the mapping.
        described: model -> ``family``, ``tokenizer``, ``source``.
    """
    with LossTableWriter(out, list(losses), described, by, card) as writer:
        for start in range(0, len(groups), ROWS):
            rows = slice(start, start + ROWS)
            losses_ND = np.stack([np.asarray(column, dtype=np.float64)[rows] for column in losses.values()])
            writer.write(groups[rows], losses_ND, *(None if known is None else known[rows] for known in (n_pages, n_bytes)))


class LossTable:
    """A table of losses in a folder, read in blocks.

    Args:
        folder: where it lies.
        name: of the file in there.

    Raises:
        InputError: there is none, or another kind of file.
    """

    def __init__(self, folder: Folder, name: str = TABLE) -> None:
        self.folder, self.name = folder, name
        self.where = folder.at(name)
        try:
            with read_only(folder, name) as file, pq.ParquetFile(file) as parquet:
                schema, metadata = parquet.schema_arrow, parquet.metadata
        except FileNotFoundError as error:
            raise InputError("there is no table of losses", where=self.where, expected="a Parquet file", fix="check the path") from error
        except (pa.ArrowInvalid, OSError) as error:
            raise InputError(f"cannot be read as Parquet: {error}", where=self.where, expected="a table of losses") from error
        if not is_loss_table(schema):
            raise InputError(
                "the file is no table of losses", where=self.where, expected="metadata `by` and `card`, and a column `group`",
                fix="import it: `correlate: {losses: {table: ...}}`",
            )  # fmt: skip
        self.by = schema.metadata[b"by"].decode()
        self.card: dict[str, Any] = json.loads(schema.metadata[b"card"])
        self.n_groups = int(metadata.num_rows)
        fields = [schema.field(i) for i in range(len(schema)) if schema.names[i] not in (GROUP, *AMOUNTS)]
        self.models = [field.name for field in fields]
        self.described = {field.name: told_of(field) for field in fields}
        self.families = {name: told.get("family", name) for name, told in self.described.items()}
        self.n_missing = {name: _n_nulls(metadata, schema.names.index(name)) for name in self.models}

    @classmethod
    def at(cls, path: str | Path) -> LossTable:
        """The table in a local file."""
        return cls(Folder(str(Path(path).parent)), Path(path).name)

    @cached_property
    def groups(self) -> pa.Array:
        """(D,) names of groups, in the order of rows."""
        return self._whole([GROUP])[GROUP].combine_chunks()

    def amounts(self) -> pa.Table:
        """Columns ``n_pages`` and ``n_bytes`` of D rows each, null where nobody knows."""
        return self._whole(AMOUNTS)

    def _whole(self, names: Sequence[str]) -> pa.Table:
        """Some narrow columns, whole."""
        with read_only(self.folder, self.name) as file, pq.ParquetFile(file) as parquet:
            return parquet.read(columns=list(names), use_threads=False).select(list(names))

    def blocks(self, models: Sequence[str] | None = None, size: int = ROWS) -> Iterator[tuple[pa.Array, np.ndarray]]:
        """Names of Db groups and their losses (N, Db) in float64, NaN where missing; Db is at most ``size``.

        Args:
            models: whose rows, in this order; default: all, in the order of columns.

        Raises:
            InputError: a model that has no column.
        """
        asked = list(self.models if models is None else models)
        for name in asked:
            if name not in self.described:
                raise InputError(f"there are no losses of {name!r}", where=self.where, fix=nearest(name, self.models))
        with read_only(self.folder, self.name) as file, pq.ParquetFile(file, pre_buffer=False) as parquet:
            for batch in parquet.iter_batches(size, columns=[GROUP, *asked], use_threads=False):
                losses_ND = np.empty((len(asked), batch.num_rows))
                for row, name in enumerate(asked):
                    losses_ND[row] = batch.column(batch.schema.get_field_index(name)).to_numpy(zero_copy_only=False)
                yield batch.column(batch.schema.get_field_index(GROUP)), losses_ND


def _schema(models: Sequence[str], described: Mapping[str, Mapping[str, str]], by: str, card: Mapping[str, Any]) -> pa.Schema:
    """The schema with all that the file says of itself."""
    fields = [pa.field(GROUP, pa.string(), nullable=False)]
    fields += [pa.field(name, pa.int64(), metadata={"unit": unit}) for name, unit in zip(AMOUNTS, ("pages", "UTF-8 bytes"), strict=True)]
    for name in models:
        told = {"unit": UNIT, "direction": "lower", "family": name} | dict(described.get(name, {}))
        fields.append(pa.field(name, pa.float64(), metadata=dict(sorted(told.items()))))
    return pa.schema(fields, metadata={"by": by, "card": json.dumps(card, ensure_ascii=False, sort_keys=True)})


def told_of(field: pa.Field) -> dict[str, str]:
    """What the metadata of a model's column says of it."""
    return {key.decode(): value.decode() for key, value in (field.metadata or {}).items() if not key.startswith(b"PARQUET:")}


def _n_nulls(metadata: pq.FileMetaData, column: int) -> int:
    """Missing cells of a column, as the footer counts them."""
    return sum(metadata.row_group(i).column(column).statistics.null_count for i in range(metadata.num_row_groups))


def _integers(known: pa.Array | np.ndarray | None, n_rows: int) -> pa.Array:
    return pa.nulls(n_rows, pa.int64()) if known is None else pa.array(known).cast(pa.int64())


def _check_models(models: Sequence[str], where: str) -> None:
    """Names that cannot be columns."""
    if not models:
        raise InputError("there are no models", where=where, expected="a column of numbers for each model", fix="name another table")
    for i, name in enumerate(models):
        if not name or name in (GROUP, *AMOUNTS):
            raise InputError(f"a model is called {name!r}", where=f"{where}, model {i + 1}", expected="another name", fix="rename it")
    twice = sorted({name for name in models if models.count(name) > 1})
    if twice:
        raise InputError(f"models are there twice: {first_of(twice)}", where=where, expected="one column a model", fix="remove one")


def _check_groups(groups: pa.Array, where: str) -> None:
    """Rows without a name."""
    nameless = pc.fill_null(pc.equal(pc.binary_length(groups), 0), True)
    if pc.any(nameless).as_py():
        n = int(pc.sum(nameless).as_py())
        row = nameless.index(True).as_py()
        before = f", after {groups[row - 1].as_py()!r}" if row else ""
        raise InputError(
            f"{counted(n, 'group')} without a name", where=f"{where}{before}", expected="a name in each row", fix="name or remove them"
        )


def _check_unique(groups: pa.ChunkedArray, where: str) -> None:
    """Names of more than one row."""
    if len(pc.unique(groups)) == len(groups):
        return
    found = pc.value_counts(groups)
    twice = found.field("values").filter(pc.greater(found.field("counts"), 1)).to_pylist()
    raise InputError(
        f"{counted(len(twice), 'group')} more than once: {first_of(twice)}",
        where=where, expected="one row a group", fix="merge or remove them",
    )  # fmt: skip


def _check_losses(losses_ND: np.ndarray, models: Sequence[str], groups: pa.Array, where: str) -> None:
    """Values that are no bits per byte."""
    for bad_ND, what in ((np.isinf(losses_ND), "not finite"), (losses_ND < 0, "negative")):
        if bad_ND.any():
            n, d = (int(i) for i in np.argwhere(bad_ND)[0])
            raise InputError(
                f"a loss is {what}: {losses_ND[n, d]:g}",
                where=f"{where}, group {groups[d].as_py()!r}, model {models[n]!r}",
                expected="bits per byte: numbers from 0 on, or nothing where one is missing", fix="leave such cells empty, or mend them",
            )  # fmt: skip


def card_markdown(table: LossTable) -> str:
    """The README beside a table, as a dataset card: what it is, of which models, how it was made, how to use it again."""
    from curate import __version__

    missing = sum(table.n_missing.values())
    kinds = sorted(set(table.families.values()))
    pages, n_bytes = (pc.sum(column).as_py() for column in table.amounts().columns)
    amounts = "".join(f", {n:,} {unit}" for n, unit in ((pages, "pages"), (n_bytes, "UTF-8 bytes")) if n is not None)
    share = f" ({missing / (table.n_groups * len(table.models)):.2%})" if missing else ""
    lines = [
        *("---", "tags:", "- bits-per-byte", "- perplexity-correlations"),
        *("configs:", "- config_name: default", f"  data_files: {table.name}", "---", ""),
        *("# Bits per byte of public models on groups of pages", ""),
        f"`{table.name}`: the loss of {counted(len(table.models), 'model')}, of {len(kinds):,} different families, on "
        f"{counted(table.n_groups, 'group')}{amounts}, in",
        f"{UNIT}; lower is better. A row is a group, a value of `{table.by}`; a column is a model.",
        f"Missing: {counted(missing, 'cell')}{share}.",
        *("", "## How it was made", "", *_how(table.card), ""),
        *("## Models", "", "| model | family | tokenizer | missing |", "|---|---|---|---:|"),
    ]
    for name in table.models:
        told = table.described[name]
        cells = (_cell(name), _cell(table.families[name]), _cell(told.get("tokenizer", "")))
        lines.append(f"| {' | '.join(cells)} | {table.n_missing[name]:,} |")
    lines += ["", "## Use it again", "", "```yaml", "correlate:", "  losses:", f"    table: {table.name}", "```", ""]
    lines += ["Results of benchmarks that it is set beside name models as its columns do.", "", f"Written by curate {__version__}.", ""]
    return "\n".join(lines)


def _how(card: Mapping[str, Any]) -> list[str]:
    """One line for each thing the card tells."""
    lines = [f"- {key.replace('_', ' ')}: {_plain(value)}" for key, value in sorted(card.items()) if key != "notes" and value is not None]
    return (lines or ["- not told"]) + [f"- note: {note}" for note in card.get("notes", [])]


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_plain(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_plain(item) for item in value)
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _cell(text: str) -> str:
    """Text that cannot break a table of Markdown."""
    return " ".join(text.split()).replace("|", "\\|")
