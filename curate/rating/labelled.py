"""Labelled documents: texts that somebody, often a large model, gave a whole number from 0 upward.

    .jsonl .ndjson   a line is a record            (plain, .gz, .zst or .bz2)
    .parquet         a row is a record

Labels are few and dear, so a record that cannot be used is an error that names its file and row, and none is left
out in silence. Records of one text are one document with several labels: they stay together wherever documents are
divided, and each label counts.

Suffixes: T distinct texts, K classes.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from curate.documents import doc_ids
from curate.errors import ConfigError, InputError
from curate.hashing import id_halves
from curate.learned_folder import short

COMPRESSIONS = (".gz", ".zst", ".bz2")
JSON_LINES = (".jsonl", ".ndjson")
KNOWN = f"{', '.join(JSON_LINES)} (also with {', '.join(COMPRESSIONS)}) or .parquet"
ROWS_AT_ONCE = 4096
MOST_CLASSES = 100
LEAST = 20  # records: fewer are a mistake in the path, not a training set

_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Source:
    """Where labels come from.

    Args:
        paths: the files.
        text: field of the text.
        label: field of the label.
        n_classes: labels are 0 to one less; None takes the largest label that occurs.
    """

    paths: tuple[Path, ...]
    text: str
    label: str
    n_classes: int | None = None


@dataclass(frozen=True)
class Labelled:
    """Distinct texts in the order of their hashes, so that the order of records in the files has no effect.

    Args:
        texts: (T) large_string.
        doc_ids: (T) their content hashes, as documents have them.
        counts_TK: (T, K) int64, how many records give a text each label.
    """

    texts: pa.Array
    doc_ids: pa.Array
    counts_TK: np.ndarray

    @property
    def n_records(self) -> int:
        """Records read."""
        return int(self.counts_TK.sum())

    def some(self, n_texts: int) -> Labelled:
        """About so many of the texts, at least one for every label."""
        of_each = np.flatnonzero(self.counts_TK.any(axis=0))
        rows = np.union1d(np.arange(min(n_texts, len(self.texts))), (self.counts_TK[:, of_each] > 0).argmax(axis=0))
        return Labelled(self.texts.take(pa.array(rows)), self.doc_ids.take(pa.array(rows)), self.counts_TK[rows])


def check(source: Source) -> None:
    """Read every record and hold none.

    Raises:
        ConfigError: a file is of no format known here, or no number of classes fits the labels.
        InputError: a file is missing or damaged, a record has no text or no proper label, there are too few records,
            or all have one label.
    """
    for path in source.paths:
        if path.is_dir():
            what, expected = "a folder is given where labelled documents are read from", f"files: {KNOWN}"
            raise InputError(what, where=str(path), expected=expected, fix="name the files in it, as a list in `labelled`")
        _kind(path)
        if not path.is_file():
            raise InputError(
                "a file of labels does not exist",
                where=str(path),
                expected=f"a file; relative paths start at {Path.cwd()}",
                fix="correct `labelled`",
            )
    stats = [path.stat() for path in source.paths]
    _counted(source, tuple((stat.st_size, stat.st_mtime_ns) for stat in stats))


@lru_cache(maxsize=8)
def _counted(source: Source, as_it_was: tuple[tuple[int, int], ...]) -> None:
    """Check the records, once in a process for files that stay as they were."""
    counts = np.zeros(MOST_CLASSES, np.int64)
    for _, label in _records(source):
        counts[label] += 1
    _enough(counts, source)


def read(source: Source) -> Labelled:
    """All records; see ``check`` for errors."""
    pieces, labels = [], []
    held: list[str] = []
    for text, label in _records(source):
        held.append(text)
        labels.append(label)
        if len(held) == ROWS_AT_ONCE:
            pieces.append(pa.array(held, pa.large_string()))
            held = []
    pieces.append(pa.array(held, pa.large_string()))
    text, label_N = pa.concat_arrays(pieces), np.array(labels, np.int64)
    n_classes = source.n_classes or int(label_N.max(initial=0)) + 1
    _enough(np.bincount(label_N, minlength=n_classes), source)
    ids = doc_ids(text)
    _, first_T, text_N = np.unique(id_halves(ids), axis=0, return_index=True, return_inverse=True)
    counts_TK = np.zeros((len(first_T), n_classes), np.int64)
    np.add.at(counts_TK, (text_N.reshape(-1), label_N), 1)
    rows = pa.array(first_T, pa.int64())
    return Labelled(text.take(rows), ids.take(rows), counts_TK)


def _enough(counts_K: np.ndarray, source: Source) -> None:
    seen = np.flatnonzero(counts_K)
    where = ", ".join(map(str, source.paths))
    if counts_K.sum() < LEAST:
        raise InputError(
            f"{counts_K.sum():,} labelled documents are too few to learn from",
            where=where,
            expected=f"at least {LEAST}, and thousands for a rater worth having",
            fix="label more documents",
        )
    if len(seen) < 2:
        raise InputError(
            f"all {counts_K.sum():,} labelled documents have the label {seen[0]}",
            where=f"{where}, field {source.label!r}",
            expected="at least two different labels",
            fix="name the field that has the label, or label other documents too",
        )


def _kind(path: Path) -> str:
    """The ending that says how the file is read."""
    name = path.name
    bare = name.rsplit(".", 1)[0] if name.endswith(COMPRESSIONS) else name
    for kind in JSON_LINES:
        if bare.endswith(kind):
            return kind
    if name.endswith(".parquet"):
        return ".parquet"
    raise ConfigError(f"{name!r} is of no format known here", where=f"`labelled`: {path}", expected=KNOWN, fix="convert the file")


def _records(source: Source) -> Iterator[tuple[str, int]]:
    """Text and label of every record."""
    for path in source.paths:
        found = _rows(path, source) if _kind(path) == ".parquet" else _lines(path, source)
        try:
            for place, text, label in found:
                yield _text(text, place, source), _label(label, place, source)
        except (OSError, EOFError, pa.ArrowException) as error:
            raise InputError(f"a file of labels cannot be read: {error}", where=str(path), expected=KNOWN, fix="fetch it again") from error


def _rows(path: Path, source: Source) -> Iterator[tuple[str, Any, Any]]:
    """(place, text, label) of the rows of a Parquet file; rows count from 0."""
    with pq.ParquetFile(path) as file:
        names = file.schema_arrow.names
        for field in (source.text, source.label):
            if field not in names:
                raise _no_field(field, names, str(path))
            if names.count(field) > 1:
                what = f"{names.count(field)} columns have the name {field!r}"
                raise InputError(what, where=str(path), expected="one of them", fix="rename or remove the others")
        row = 0
        for batch in file.iter_batches(ROWS_AT_ONCE, columns=[source.text, source.label]):
            text_N, label_N = (_values(batch[field], f"{path}, row", row, field) for field in (source.text, source.label))
            for text, label in zip(text_N, label_N, strict=True):
                yield f"{path}, row {row}", text, label
                row += 1


def _values(column: pa.Array, place: str, first: int, field: str) -> list[Any]:
    """A column's values; rows count from ``first``. Parquet does not promise that text is UTF-8."""
    found: list[Any] = []
    try:
        found.extend(value.as_py() for value in column)  # up to the one that cannot be read
    except (ValueError, OverflowError) as error:
        raise InputError(
            f"a value cannot be read: {error}",
            where=f"{place} {first + len(found)}, field {field!r}",
            expected="UTF-8 text, and whole numbers as labels",
            fix="mend or remove the record",
        ) from None
    return found


def _lines(path: Path, source: Source) -> Iterator[tuple[str, Any, Any]]:
    """(place, text, label) of the lines of a JSONL file that are not blank; lines count from 1."""
    with pa.input_stream(str(path), compression="detect") as stream:
        for i, line in enumerate(io.BufferedReader(stream)):
            place = f"{path}, line {i + 1}"
            line = line.removeprefix(_BOM) if i == 0 else line
            if not line.strip():
                continue
            try:
                record = orjson.loads(line)
            except orjson.JSONDecodeError as error:
                raise InputError(f"a labelled document is no JSON: {error.msg}", where=place, expected="one JSON object per line",
                                 fix="mend the line") from None  # fmt: skip
            if not isinstance(record, dict):
                raise InputError(f"a labelled document is a JSON {type(record).__name__}", where=place,
                                 expected="one JSON object per line", fix="mend the line")  # fmt: skip
            for field in (source.text, source.label):
                if field not in record:
                    raise _no_field(field, list(record), place)
            yield place, record[source.text], record[source.label]


def _no_field(field: str, known: Sequence[str], where: str) -> InputError:
    return InputError(
        f"a labelled document has no field {field!r}",
        where=where,
        expected=f"one of {', '.join(known[:20]) or 'none, it is empty'}",
        fix="name the fields with `text_field` and `label_field`, or mend the record",
    )


def _text(value: Any, place: str, source: Source) -> str:
    if not isinstance(value, str):
        raise InputError(
            f"a labelled document has the text {short(value)}",
            where=f"{place}, field {source.text!r}",
            expected="a string",
            fix="mend or remove the record",
        )
    return value


def _label(value: Any, place: str, source: Source) -> int:
    """The label, once it is a whole number in range; 3.0 and true are none."""
    most = (source.n_classes or MOST_CLASSES) - 1
    if type(value) is int and 0 <= value <= most:
        return value
    too_many = type(value) is int and value > most and source.n_classes is None
    raise InputError(
        f"a labelled document has the label {short(value)}",
        where=f"{place}, field {source.label!r}",
        expected=f"a whole number from 0 to {most}",
        fix="a label is the rank of a class: number them from 0" if too_many else "mend or remove the record, or change `classes`",
    )
