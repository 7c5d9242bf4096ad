"""CSV and Parquet files that hold a matrix: a column of names, and columns of numbers.

Tables of losses are too long to be held and tables of results are small, and both come from
everywhere; so they are read in one way, in blocks of rows, and what is wrong in one is told by
file, row and column. The paper's tables call a model ``('pythia', 'EleutherAI/pythia-70m')``, family
and name as Python prints them; such a name is taken apart, and nothing in it is run.
"""

from __future__ import annotations

import ast
import csv
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from curate.errors import InputError
from curate.evidence.loss_table import first_of, read_only
from curate.storage import Folder

DELIMITERS = {".csv": ",", ".tsv": "\t"}
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
PARQUET = (".parquet", ".pq")
KNOWN = "a name that ends in .csv or .tsv (also with .gz or .zst) or .parquet"
MISSING = pa.array(["", "na", "n/a", "nan", "null", "none", "-"])
"""What stands for a missing number, in lower case."""

NUMERIC = (pa.types.is_floating, pa.types.is_integer, pa.types.is_decimal, pa.types.is_null)
BLOCK_BYTES = 16 << 20
ROWS = 16_384
PANDAS_INDEX = "__index_level_0__"


@dataclass(frozen=True)
class ModelName:
    """What a model is called in a table.

    Args:
        raw: as it stands there.
        name: of the model.
        family: None where the table does not say.
    """

    raw: str
    name: str
    family: str | None


class MatrixFile:
    """A file with a header and rows, read in blocks.

    Args:
        path: a local path or a URL.
        options: storage options of fsspec.

    Raises:
        InputError: there is none, its kind is unknown, or it cannot be read.
    """

    def __init__(self, path: str, options: dict[str, Any] | None = None) -> None:
        self.path = path
        parent, slash, self._name = path.rpartition("/")
        self._folder = Folder(parent if slash and parent else "/" if slash else ".", options or {})
        suffixes = [suffix.lower() for suffix in PurePosixPath(self._name).suffixes]
        self._compression = COMPRESSIONS.get(suffixes.pop()) if suffixes and suffixes[-1] in COMPRESSIONS else None
        self._suffix = suffixes[-1] if suffixes else ""
        if self._suffix not in (*DELIMITERS, *PARQUET) or (self.is_parquet and self._compression):
            raise InputError("the kind of the table is unknown", where=path, expected=KNOWN, fix="rename or convert it")
        self.schema: pa.Schema | None = None
        with self._told():
            self.names = self._parquet_names() if self.is_parquet else self._header()

    @property
    def is_parquet(self) -> bool:
        """Whether columns have types of their own."""
        return self._suffix in PARQUET

    @contextmanager
    def _told(self) -> Iterator[None]:
        """What a reader may raise, as a person wants to read it."""
        try:
            yield
        except FileNotFoundError as error:
            raise InputError("there is no such table", where=self.path, expected="a file", fix="check the path") from error
        except (pa.ArrowException, ValueError, csv.Error, EOFError, OSError, ImportError) as error:
            told = " ".join(str(error).split())[:300]
            raise InputError(
                f"the table cannot be read: {told}",
                where=self.path,
                expected="a CSV or Parquet file within reach",
                fix="mend or convert it",
            ) from error

    @contextmanager
    def _open(self) -> Iterator[pa.NativeFile]:
        with read_only(self._folder, self._name) as file:
            if self._compression is None:
                yield file
            else:
                with pa.CompressedInputStream(file, self._compression) as stream:
                    yield stream

    def _parquet_names(self) -> list[str]:
        with self._open() as file, pq.ParquetFile(file) as parquet:
            self.schema = parquet.schema_arrow
            return list(parquet.schema_arrow.names)

    def _header(self) -> list[str]:
        with read_only(self._folder, self._name) as file:
            if file.size() == 0:
                raise InputError("the table is empty", where=self.path, expected="a header and rows", fix="name another")
        with self._open() as file:
            text = io.TextIOWrapper(io.BufferedReader(file), encoding="utf-8-sig", newline="")
            rows = enumerate(csv.reader(text, delimiter=DELIMITERS[self._suffix]))
            self._n_blank, header = next(((n, row) for n, row in rows if row), (0, []))
            text.detach().detach()
        if not header:
            raise InputError("the table is empty", where=self.path, expected="a header and rows", fix="name another")
        return header

    def id_column(self, asked: str | None) -> int:
        """Where the column of names is: the one asked for, else the index that pandas wrote, else the first."""
        if asked is None:
            return self.names.index(PANDAS_INDEX) if PANDAS_INDEX in self.names else 0
        if self.names.count(asked) != 1:
            raise InputError(
                f"there is {'no' if asked not in self.names else 'more than one'} column {asked!r}",
                where=self.path, expected=f"one of: {first_of(self.names, 10)}", fix="change `id:`",
            )  # fmt: skip
        return self.names.index(asked)

    def blocks(self, columns: Sequence[int]) -> Iterator[tuple[int, list[pa.Array]]]:
        """The number of rows before a block, and its columns by their places in ``names``; of CSV, as strings."""
        row = 0
        with self._told():
            for batch in self._parquet_batches(columns) if self.is_parquet else self._csv_batches(columns):
                yield row, batch
                row += len(batch[0])

    def _parquet_batches(self, columns: Sequence[int]) -> Iterator[list[pa.Array]]:
        names = [self.names[c] for c in columns]
        with self._open() as file, pq.ParquetFile(file, pre_buffer=False) as parquet:
            for batch in parquet.iter_batches(ROWS, columns=names, use_threads=False):
                yield [batch.column(batch.schema.get_field_index(name)) for name in names]

    def _csv_batches(self, columns: Sequence[int]) -> Iterator[list[pa.Array]]:
        keys = [f"{i}" for i in range(len(self.names))]
        with self._open() as file:
            reader = pacsv.open_csv(
                file,
                read_options=pacsv.ReadOptions(
                    use_threads=False, block_size=BLOCK_BYTES, column_names=keys, skip_rows_after_names=self._n_blank + 1
                ),
                parse_options=pacsv.ParseOptions(delimiter=DELIMITERS[self._suffix], newlines_in_values=True),
                convert_options=pacsv.ConvertOptions(
                    column_types=dict.fromkeys(keys, pa.string()), strings_can_be_null=False, include_columns=[keys[c] for c in columns]
                ),
            )
            for batch in reader:
                for start in range(0, batch.num_rows, ROWS):
                    yield batch.slice(start, ROWS).columns

    def texts(self, column: pa.Array, place: int) -> pa.Array:
        """A column of names as strings; whole numbers are names too."""
        kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_integer(kind)):
            raise InputError(
                f"the column of names holds {kind}", where=f"{self.path}, column {self.names[place]!r}",
                expected="strings or whole numbers", fix="name another with `id:`",
            )  # fmt: skip
        return column.cast(kind).cast(pa.string())

    def numbers(self, column: pa.Array, place: int, row: int, fix: str) -> np.ndarray:
        """A column of numbers in float64, NaN where missing.

        Args:
            place: of the column in ``names``, and ``row`` of its first row, from 0; for messages.
            fix: what a person might do about a column of something else.

        Raises:
            InputError: a cell is no number.
        """
        where = f"{self.path}, column {self.names[place]!r}"
        expected = "a number in every cell, or nothing where one is missing"
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            column = pc.utf8_trim_whitespace(column)
            column = pc.if_else(pc.is_in(pc.utf8_lower(column), value_set=MISSING.cast(column.type)), None, column)
            try:
                column = column.cast(pa.float64())
            except pa.ArrowInvalid:
                i = next(i for i, cell in enumerate(column.to_pylist()) if not _is_number(cell))
                what = f"{column[i].as_py()[:60]!r} is no number"
                raise InputError(what, where=f"{where}, row {row + i + 1:,} below the header", expected=expected, fix=fix) from None
        elif not any(of_kind(column.type) for of_kind in NUMERIC):
            raise InputError(f"a column holds {column.type}", where=where, expected=expected, fix=fix)
        return np.asarray(column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False))

    def has_number(self, column: pa.Array) -> bool:
        """Whether any cell of a column is a number."""
        return (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)) and any(
            _is_number(cell) for cell in column.to_pylist() if cell
        )


def _is_number(cell: str | None) -> bool:
    """Whether a string is read as a number where columns are."""
    try:
        pa.scalar(cell, pa.string()).cast(pa.float64())
    except pa.ArrowInvalid:
        return False
    return True


def model_name(raw: str) -> ModelName:
    """A model's name, and its family where it is written as a pair of both."""
    text = raw.strip()
    if text.startswith("(") and text.endswith(")"):
        try:
            pair = ast.literal_eval(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            pair = None
        if isinstance(pair, tuple) and len(pair) == 2 and all(isinstance(part, str) and part for part in pair):
            return ModelName(raw, pair[1], pair[0])
    return ModelName(raw, text, None)


def told_apart(found: Sequence[ModelName]) -> tuple[list[ModelName], dict[str, list[int]]]:
    """Names that are there twice, under families that differ, with the family added to all but the first family's.

    Returns:
        The names in their order, and the places of each name that was there more than once. These are one model if
        their numbers agree, which is for the caller to see; all of them get the first family, in alphabetical order.
    """
    counts = Counter(model.name for model in found)
    twice = {name: [i for i, model in enumerate(found) if model.name == name] for name, n in counts.items() if n > 1}
    apart = list(found)
    for name, places in twice.items():
        first = min(places, key=lambda i: found[i].family or "")
        for i in places:
            new = name if i == first else f"{name} ({found[i].family})"
            apart[i] = ModelName(found[i].raw, new, found[first].family)
    return apart, twice


def check_twice(path: str, found: Sequence[ModelName], twice: dict[str, list[int]]) -> None:
    """Refuse names that are there twice with nothing to tell them apart."""
    for name, places in twice.items():
        families = [found[i].family for i in places]
        if None in families or len(set(families)) < len(families):
            raise InputError(
                f"the model {name!r} is there {len(places)} times", where=path, expected="each model once", fix="remove all but one"
            )


def refuse_twice(path: str, name: str) -> InputError:
    """The error of a model that two families name and whose numbers differ."""
    return InputError(
        f"the model {name!r} is there twice, under two families, with numbers that differ", where=path,
        expected="each model once", fix="rename or remove one",
    )  # fmt: skip
