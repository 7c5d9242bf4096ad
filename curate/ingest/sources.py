"""What the pipeline reads: one ``Source`` per YAML entry, and the files it stands for.

Files come in the order of their path, whatever order a disk or store lists them in, and
each carries the name that its documents keep in their ``source`` column: the path as the
YAML gave it, so that a corpus built in another checkout is the same corpus.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import fsspec
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, model_validator

from curate.documents import CORE
from curate.errors import ConfigError, InputError
from curate.ingest.readers.reader import Options, Piece, reader_of

EXTRA_TYPES: dict[str, pa.DataType] = {"string": pa.string(), "int64": pa.int64(), "float64": pa.float64(), "bool": pa.bool_()}

COMPRESSIONS = {".gz": "gz", ".gzip": "gz", ".zst": "zst", ".zstd": "zst"}
FORMATS = {
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl", ".csv": "csv", ".tsv": "tsv", ".txt": "text", ".text": "text",
    ".parquet": "parquet", ".pq": "parquet", ".arrow": "arrow", ".feather": "arrow", ".ipc": "arrow",
}  # fmt: skip
_ALREADY_COMPRESSED = {"parquet", "arrow", "hf_dataset"}
_MARKERS = ("ETag", "etag", "md5Hash", "md5", "checksum", "LastModified", "last_modified", "mtime", "created", "version")


class FromField(BaseModel):
    """The domain is a string field of every record."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    field: str = Field(description="dotted path of the field")


class FromDirectory(BaseModel):
    """The domain is a directory of the file's path.

    0 and up count from the first directory below the glob (or below the named directory);
    -1 and down count from the end of the whole path.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    directory: int = -1


class Extra(BaseModel):
    """A column to carry along. Absent and null values are null; another type quarantines the record."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    type: Literal["string", "int64", "float64", "bool"] = Field(description="string also takes objects and arrays, as JSON")
    field: str | None = Field(None, description="dotted path of the field; the column's own name when left out")

    def path(self, name: str) -> str:
        """The dotted path for a column called ``name``."""
        return self.field or name


class Source(BaseModel):
    """One entry of ``sources:``: where text comes from and how a record becomes a document."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    path: str | None = Field(None, description="file, directory, glob or fsspec URL; dataset:NAME?split=train for a hub data set")
    name: str | None = Field(None, description="what messages call this source; the path when left out")
    format: str | None = Field(None, description="jsonl, csv, tsv, text, parquet, arrow, hf_dataset; by file name when left out")
    text: str = Field("text", min_length=1, description="dotted path of the text field; not used by the text format")
    domain: str | FromField | FromDirectory = Field(FromDirectory(), description="a name, {field: path} or {directory: k}")
    extras: dict[str, Extra] = Field(default_factory=dict)
    options: dict[str, Any] = Field(default_factory=dict, description="what a plugged-in format asks for")

    @model_validator(mode="after")
    def _consistent(self) -> Source:
        taken = set(CORE.names) & set(self.extras)
        if taken:
            raise ValueError(f"extras {sorted(taken)} have names of document columns; give them another name and keep the path in `field:`")
        if self.domain == "":
            raise ValueError("domain is empty; give a name")
        if self.path is None and self.format is None:
            raise ValueError("a source needs a `path:`")
        return self

    @property
    def label(self) -> str:
        """What messages call this source."""
        return self.name or self.path or str(self.format)


@dataclass(frozen=True)
class InputFile:
    """One file (or data set) to read.

    Args:
        url: how to open it: a local path or an fsspec URL.
        source: the name its documents carry.
        entry: index of its Source.
        domain: None when every record states its own.
        size: bytes on disk.
        marker: changes when the content does: mtime in ns on a disk, an etag or the like in a store.
    """

    url: str
    source: str
    entry: int
    format: str
    compression: str | None
    domain: str | None
    size: int
    marker: str

    def piece(self, start: int = 0, stop: int = -1, first_row: int = 0) -> Piece:
        """The whole file, or a range of it, as work for a reader."""
        return Piece(self.url, self.source, self.format, self.compression, self.domain, start, stop, first_row)


@dataclass(frozen=True)
class Listing:
    """``files`` to read, and ``skipped``: the names of those left out because a part of their path starts with _ or a dot."""

    files: list[InputFile]
    skipped: list[str]


def list_inputs(sources: Sequence[Source], root: str, options: Options | None = None) -> Listing:
    """The files of all sources, in order of entry and path.

    Raises InputError when a path is missing, matches nothing, cannot be read, or belongs to two sources.
    """
    files: list[InputFile] = []
    skipped: list[str] = []
    owner: dict[str, InputFile] = {}
    for entry, source in enumerate(sources):
        found = list_files(source, root, options or {}, entry)
        for file in found.files:
            first = owner.setdefault(_identity(file.url), file)
            if first is not file:
                raise InputError(
                    f"{file.source} is read by two sources",
                    where=f"{sources[first.entry].label} and {source.label}",
                    expected="every file in one source",
                    fix="narrow one of the paths",
                )
        files += found.files
        skipped += found.skipped
    return Listing(files, skipped)


def list_files(source: Source, root: str, options: Options, entry: int = 0) -> Listing:
    """The files of one source, sorted by path. ``root`` is the directory or URL that relative paths start from."""
    reader = reader_of(source.format) if source.format else None
    if reader is not None and reader.inputs is not None:
        return Listing(reader.inputs(source, entry, root, options), [])
    if source.path is None:
        raise ConfigError(f"a {source.format} source needs a path", where=source.label, fix="add `path:`")
    if source.path.startswith("dataset:"):
        raise ConfigError(f"{source.path!r} is a data set, read with another format", where=source.label, fix="set `format: hf_dataset`")
    fs, given_root, fs_root, infos, literal = _match(source, root, options)
    files, skipped = [], []
    for path in sorted(infos):
        below = path.removeprefix(fs_root).lstrip("/") if fs_root else path
        label = posixpath.join(given_root, below) if not literal else given_root
        if not literal and any(part.startswith(("_", ".")) for part in below.split("/")):
            skipped.append(label)
            continue
        files.append(_input_file(source, entry, fs, path, label, 0 if literal else _depth(given_root), infos[path]))
    if not files:
        what = f"nothing is left after skipping {len(skipped)} files that start with _ or a dot" if skipped else "no file matches"
        raise InputError(what, where=source.path, expected="at least one file to read", fix="change `path:`")
    return Listing(files, skipped)


def extras_schema(sources: Sequence[Source]) -> list[pa.Field]:
    """The extras of all sources as columns of one corpus, sorted by name; ConfigError where two disagree on a type."""
    types: dict[str, str] = {}
    for source in sources:
        for name, extra in source.extras.items():
            if types.setdefault(name, extra.type) != extra.type:
                raise ConfigError(
                    f"extra {name!r} is {types[name]} in one source and {extra.type} in another",
                    where=source.label,
                    expected="one type per column",
                    fix="rename one of them or change its type",
                )
    return [pa.field(name, EXTRA_TYPES[types[name]]) for name in sorted(types)]


def format_of(path: str, given: str | None, source: str) -> tuple[str, str | None]:
    """(format, compression) of a file from its name, ``given`` taking precedence."""
    stem, suffix = posixpath.splitext(path.lower())
    compression = COMPRESSIONS.get(suffix)
    known = given or FORMATS.get(posixpath.splitext(stem)[1] if compression else suffix)
    if known is None:
        raise InputError(
            f"the format of {path} cannot be told from its name",
            where=source,
            expected=f"one of {' '.join(FORMATS)}, with or without .gz or .zst",
            fix="set `format:`, narrow `path:`, or start names of files to skip with _",
        )
    if compression and known in _ALREADY_COMPRESSED:
        raise InputError(f"{known} inside {compression} cannot be read", where=path, expected=f"a plain {known} file", fix="decompress it")
    return known, compression


def _match(source: Source, root: str, options: Options) -> tuple[Any, str, str, dict[str, Any], bool]:
    """(file system, root as given, root in the file system, path → info, whether the path names one file)."""
    path = str(source.path)
    given = path if "://" in path else posixpath.normpath(path)
    url = given if "://" in given or posixpath.isabs(given) else posixpath.join(root, given)
    try:
        fs, full = fsspec.core.url_to_fs(url, **options)
        if fs.exists(full):
            if fs.isfile(full):
                return fs, given, full, {full: fs.info(full)}, True
            return fs, given, full, fs.find(full, detail=True), False
        if not any(c in given for c in "*?["):
            raise FileNotFoundError(full)
        matches = fs.glob(full, detail=True)
        infos = {p: info for p, info in matches.items() if info["type"] == "file"}
        for folder in [p for p, info in matches.items() if info["type"] == "directory"]:
            if "**" not in given:
                infos |= fs.find(folder, detail=True)
    except (OSError, ValueError, ImportError) as error:
        expected, fix = "a file, directory or glob that exists", f"change `path:` ({type(error).__name__}: {error})"
        raise InputError("the input cannot be listed", where=f"{source.label}: {url}", expected=expected, fix=fix) from error
    parts = given.split("/")
    n_plain = next(i for i, part in enumerate(parts) if any(c in part for c in "*?["))
    n_below = len(parts) - n_plain
    return fs, "/".join(parts[:n_plain]), "/".join(full.split("/")[: len(full.split("/")) - n_below]), infos, False


def _input_file(source: Source, entry: int, fs: Any, path: str, label: str, depth: int, info: dict[str, Any]) -> InputFile:
    local = "file" in (fs.protocol if isinstance(fs.protocol, tuple) else (fs.protocol,))
    if local and not os.access(path, os.R_OK):
        raise InputError("an input file cannot be read", where=label, expected="a readable file", fix="change its permissions")
    form, compression = format_of(path, source.format, label)
    reads_fields = isinstance(source.domain, FromField) or bool(source.extras)
    if form == "text" and reads_fields:
        expected = "a constant domain or {directory: k}, and no extras"
        raise ConfigError("a text file has no fields", where=label, expected=expected, fix="change the source")
    domain = _domain(source, label, depth)
    if local:
        marker = str(Path(path).stat().st_mtime_ns)
        return InputFile(path, label, entry, form, compression, domain, int(info["size"]), marker)
    marker = next((str(info[key]) for key in _MARKERS if info.get(key) is not None), "")
    return InputFile(fs.unstrip_protocol(path), label, entry, form, compression, domain, int(info["size"] or 0), marker)


def _domain(source: Source, label: str, depth: int) -> str | None:
    """The domain that a file's path decides, None when records state it. ``depth`` parts of the label precede the glob."""
    if isinstance(source.domain, str):
        return source.domain
    if isinstance(source.domain, FromField):
        return None
    parts = [part for part in label.split("://")[-1].split("/")[:-1] if part not in ("", ".", "..")]
    k = source.domain.directory
    chosen = parts[depth:] if k >= 0 else parts
    if not -len(chosen) <= k < len(chosen):
        raise InputError(
            f"the path has no directory {k} to name its domain",
            where=label,
            expected=f"directories below the path: {'/'.join(chosen) or 'none'}",
            fix="set `domain:` to a name, {field: path} or another {directory: k}",
        )
    return chosen[k]


def _depth(given_root: str) -> int:
    """Directory names in the given root, as ``_domain`` counts them."""
    return len([part for part in given_root.split("://")[-1].split("/") if part not in ("", ".", "..")])


def _identity(url: str) -> str:
    """One name per file, whichever way it was reached."""
    return url if "://" in url or url.startswith("dataset:") else os.path.realpath(url)
