"""Evaluation files: which they are, what they are called, and what in them is evaluation text.

    .jsonl .ndjson   a record is an item           (plain, .gz, .zst or .bz2)
    .parquet         a row is an item
    .txt             a line that is not blank is an item

The text of a record is every string in it, also inside objects and lists, in the order of the
record, but for what ``NO_TEXT`` names: identifiers, provenance and the bookkeeping of a benchmark.
With ``fields`` it is what lies under these, in the order asked for, whatever they are called.
Strings that stand for themselves (a question, its answer) come before those in lists (choices).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from glob import glob
from itertools import islice
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from curate.errors import ConfigError, InputError

COMPRESSIONS = (".gz", ".zst", ".bz2")
JSON_LINES = (".jsonl", ".ndjson")
KINDS = (*JSON_LINES, ".parquet", ".txt")
KNOWN = f"{', '.join(KINDS)}; all but .parquet also with {', '.join(COMPRESSIONS)}"
ROWS_AT_ONCE = 4096

# fmt: off
NO_TEXT = frozenset([
    "id", "ids", "idx", "index", "uid", "uuid", "guid", "qid", "pid", "key", "hash", "checksum", "sha", "sha1", "sha256", "md5",
    "task", "tasks", "subtask", "dataset", "subset", "split", "fold", "config", "version", "revision", "commit", "repo",
    "provenance", "metadata", "meta", "filename", "file_name", "filepath", "path", "url", "urls", "uri", "link",
    "licence", "license", "lang", "language", "locale", "date", "time", "timestamp", "created", "created_at", "updated", "updated_at",
])
# fmt: on
"""Names of fields that hold no evaluation text, in lower case; so do those that end in ``_id``, ``_ids``, ``_url`` or ``_hash``."""

NO_TEXT_ENDS = ("_id", "_ids", "_url", "_hash")


@dataclass(frozen=True)
class EvaluationFile:
    """One evaluation file.

    Args:
        path: where it is.
        name: what reasons and items call it: the file's stem, with as many of its folders as tell it from the others.
    """

    path: Path
    name: str


@dataclass(frozen=True)
class Item:
    """One record of an evaluation file.

    Args:
        row: its row in the file, from 0; in files of lines the line, blank ones counted.
        texts: its strings, those outside lists first; none empty, none twice.
        fields: for each string, the dotted path it was found under; elements of a list share theirs.
        n_single: how many of the strings are outside lists.
    """

    row: int
    texts: list[str]
    fields: list[str]
    n_single: int


class _Text(NamedTuple):
    """A string of a record, the dotted path it was found under, and whether it is in a list."""

    field: str
    text: str
    listed: bool


def find(patterns: Sequence[str]) -> list[EvaluationFile]:
    """The files that paths and globs name: in the order given, those of a glob sorted; each once.

    Raises:
        ConfigError: a pattern names nothing, a folder, a remote place or a format not known here.
    """
    found: dict[Path, None] = {}
    for pattern in patterns:
        for path in _matching(str(pattern)):
            found.setdefault(path)
    paths = list(found)
    return [EvaluationFile(path, name) for path, name in zip(paths, _names(paths), strict=True)]


def _matching(pattern: str) -> list[Path]:
    if "://" in pattern:
        raise ConfigError(
            f"evaluation files are read from local disks, not from {pattern!r}",
            where="`files`",
            expected="a local path or glob",
            fix="copy them here",
        )
    # glob, not Path.glob, which takes no absolute pattern.
    paths = [Path(pattern)] if Path(pattern).exists() else sorted(map(Path, glob(pattern, recursive=True)))  # noqa: PTH207
    if not paths:
        here = Path.cwd()
        raise ConfigError(
            f"no evaluation file matches {pattern!r}",
            where="`files`",
            expected=f"a path or glob that matches at least one file; relative ones start at {here}",
            fix="correct the path",
        )
    for path in paths:
        if path.is_dir():
            raise ConfigError(f"{str(path)!r} is a folder", where="`files`", expected="files", fix=f"name its files: {path}/*.jsonl")
        _kind(path)
    return paths


def _bare(path: Path) -> str:
    """A file's name without the ending of its compression."""
    name = path.name
    return name.rsplit(".", 1)[0] if name.endswith(COMPRESSIONS) else name


def _kind(path: Path) -> str:
    """The ending that says how the file is read."""
    for kind in KINDS:
        if _bare(path).endswith(kind) and not (kind == ".parquet" and _bare(path) != path.name):
            return kind
    raise ConfigError(f"{path.name!r} is of no format known here", where=f"`files`: {path}", expected=KNOWN, fix="convert or leave it out")


def _names(paths: Sequence[Path]) -> list[str]:
    """Stems, and where two files share one, so many of their folders in front as tell all apart."""
    whole = [[*path.resolve().parts[1:-1], _bare(path)[: -len(_kind(path))]] for path in paths]
    depth = 1
    while depth < max(map(len, whole), default=1) and len({tuple(parts[-depth:]) for parts in whole}) < len(whole):
        depth += 1
    names = ["/".join(parts[-depth:]) for parts in whole]
    for path, name in zip(paths, names, strict=True):
        if "," in name or names.count(name) > 1:
            raise ConfigError(
                f"the name {name!r} cannot stand in a reason code",
                where=f"`files`: {path}",
                expected="names without a comma, one file to a name",
                fix="rename the file",
            )
    return names


def read(files: Sequence[EvaluationFile], fields: Sequence[str] | None = None) -> list[list[Item]]:
    """The items of each file, those without any text too, so that they can be counted.

    Args:
        files: what ``find`` gave.
        fields: dotted paths of the fields that are evaluation text; None takes all but ``NO_TEXT``.

    Raises:
        InputError: a file cannot be read, naming the line; a file holds no record.
        ConfigError: no record of a file has text in these fields, or none of any file has one of them.
    """
    found = [list(_items(file.path, fields)) for file in files]
    for file, items in zip(files, found, strict=True):
        if not any(item.texts for item in items):
            asked = f" in {', '.join(fields)}" if fields else ""
            raise _no_text(f"no record of {file.name!r} has text{asked}", [file])
    seen = {name for items in found for item in items for name in item.fields}
    for field in fields or ():
        if not any(name == field or name.startswith(f"{field}.") for name in seen):
            raise _no_text(f"no record has text in {field!r}", files)
    return found


def _no_text(what: str, files: Sequence[EvaluationFile]) -> ConfigError:
    known = sorted({name for file in files for name in _field_names(file.path)})
    return ConfigError(
        what,
        where=f"`fields`, in {', '.join(str(file.path) for file in files)}",
        expected=f"a field with text: {', '.join(known) or 'these files have none'}",
        fix="correct `fields`, or leave the file out of `files`",
    )


def _field_names(path: Path) -> set[str]:
    """Dotted paths of the strings in the first records of a file."""
    return {text.field for _, record in islice(_records(path), ROWS_AT_ONCE) for text in _strings(record, "", frozenset())}


def _items(path: Path, fields: Sequence[str] | None) -> Iterator[Item]:
    """The items of one file; see ``read``."""
    try:
        row = -1
        for row, record in _records(path):
            found = _strings(record, "", NO_TEXT) if fields is None else (text for field in fields for text in _under(record, field))
            # A gold answer is often among the choices: what was seen before adds nothing.
            once: dict[str, _Text] = {}
            for text in sorted(found, key=attrgetter("listed")):
                once.setdefault(text.text.strip(), text)
            texts = once.values()
            yield Item(row, [t.text for t in texts], [t.field for t in texts], sum(not t.listed for t in texts))
    except (OSError, EOFError, pa.ArrowException) as error:
        raise InputError(f"the evaluation file cannot be read: {error}", where=str(path), expected=KNOWN, fix="fetch it again") from error
    if row < 0:
        raise InputError("the evaluation file holds no record", where=str(path), expected="at least one", fix="leave it out of `files`")


def _records(path: Path) -> Iterator[tuple[int, Any]]:
    """(row, record) of one file."""
    kind = _kind(path)
    if kind == ".parquet":
        return _rows(path)
    return _lines(path) if kind == ".txt" else _objects(path)


def _rows(path: Path) -> Iterator[tuple[int, Any]]:
    row = 0
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(ROWS_AT_ONCE):
            for record in batch.to_pylist():
                yield row, record
                row += 1


def _lines(path: Path) -> Iterator[tuple[int, Any]]:
    """Lines as records with one field."""
    for row, line in _raw_lines(path):
        try:
            yield row, {"text": line.decode("utf-8-sig" if row == 0 else "utf-8")}
        except UnicodeDecodeError as error:
            raise _bad_line(path, row, f"not UTF-8 ({error.reason} at byte {error.start})", "UTF-8 text") from None


def _raw_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Lines with something on them, split at newlines only: other separators occur inside text."""
    with pa.input_stream(str(path), compression="detect") as stream:
        content = stream.read()
    return ((row, line) for row, line in enumerate(content.split(b"\n")) if line.strip())


def _objects(path: Path) -> Iterator[tuple[int, Any]]:
    for row, line in _raw_lines(path):
        try:
            record = orjson.loads(line.removeprefix(b"\xef\xbb\xbf") if row == 0 else line)
        except orjson.JSONDecodeError as error:
            raise _bad_line(path, row, f"no JSON ({error.msg} at character {error.pos})", "one JSON object per line") from None
        if not isinstance(record, dict):
            raise _bad_line(path, row, f"a JSON {type(record).__name__}", "one JSON object per line")
        yield row, record


def _bad_line(path: Path, row: int, what: str, expected: str) -> InputError:
    return InputError(
        f"line {row + 1} of an evaluation file is {what}", where=f"{path}, line {row + 1}", expected=expected, fix="mend the line"
    )


def _strings(value: Any, name: str, no_text: frozenset[str], listed: bool = False) -> Iterator[_Text]:
    """Every string below a value, but for fields of these names."""
    if isinstance(value, dict):
        for key, below in value.items():
            plain = str(key).lower()
            if not no_text or not (plain in no_text or plain.endswith(NO_TEXT_ENDS)):
                yield from _strings(below, f"{name}.{key}" if name else str(key), no_text, listed)
    elif isinstance(value, list):
        for below in value:
            yield from _strings(below, name, no_text, True)
    elif isinstance(value, str) and value:
        yield _Text(name, value, listed)


def _under(record: Any, name: str, listed: bool = False) -> Iterator[_Text]:
    """The strings below a dotted path of a record; a key that itself holds dots is tried first."""
    if isinstance(record, list):
        for below in record:
            yield from _under(below, name, True)
        return
    if not isinstance(record, dict):
        return
    if name in record:
        yield from _strings(record[name], name, frozenset(), listed)
        return
    first, dot, rest = name.partition(".")
    if dot and first in record:
        for found in _under(record[first], rest, listed):
            yield found._replace(field=f"{first}.{found.field}")
