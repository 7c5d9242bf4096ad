"""Parquet and Arrow IPC: the same rules as JSON, a batch of columns at a time.

What a whole file lacks (a column, a readable footer) is an InputError before any work;
what a row lacks quarantines the row; a row group or batch that cannot be decoded is
one ``corrupt_parquet`` or ``corrupt_arrow`` entry that counts all rows lost with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.errors import InputError
from curate.ingest.readers.fields import EXTRA_TYPES, Unfit, domain_field, fit_domain, fit_text, has_empty
from curate.ingest.readers.reader import BadRecord, Limits, Options, Piece, Raw, Reader, Records, Run, register
from curate.ingest.sources import InputFile, Source
from curate.ingest.streams import open_raw

_BATCH_BYTES = 1 << 22
_IS_EXTRA: dict[str, Callable[[pa.DataType], bool]] = {
    "string": lambda t: _is_stringy(t) or pa.types.is_nested(t) or pa.types.is_null(t),
    "int64": lambda t: pa.types.is_integer(t) or pa.types.is_null(t),
    "float64": lambda t: pa.types.is_integer(t) or pa.types.is_floating(t) or pa.types.is_null(t),
    "bool": lambda t: pa.types.is_boolean(t) or pa.types.is_null(t),
}


class Columns:
    """Takes text, domain and extras out of batches of one schema, for one source and origin.

    Raises InputError when the schema lacks a column or has another type for it.
    """

    def __init__(self, schema: pa.Schema, source: Source, origin: str, domain: str | None) -> None:
        self.source, self.origin, self.domain, self.domain_name = source, origin, domain, domain_field(source)
        self._expect(schema, source.text, _is_stringy, "a string")
        if self.domain_name:
            self._expect(schema, self.domain_name, _is_stringy, "a string")
        for name, extra in source.extras.items():
            self._expect(schema, extra.path(name), _IS_EXTRA[extra.type], extra.type)
        paths = [source.text, *([self.domain_name] if self.domain_name else []), *(e.path(n) for n, e in source.extras.items())]
        self.names = sorted({path.split(".")[0] for path in paths})

    def _expect(self, schema: pa.Schema, path: str, fits: Callable[[pa.DataType], bool], kind: str) -> None:
        at: Any = schema
        for key in path.split("."):
            found = at.get_field_index(key) if isinstance(at, (pa.Schema, pa.StructType)) else -1
            if found < 0:
                names = [f.name for f in at] if isinstance(at, (pa.Schema, pa.StructType)) else []
                expected, fix = f"one of {', '.join(names)}", "change the source's `text:`, `domain:` or `extras:`"
                raise InputError(f"no column {path!r}", where=self.origin, expected=expected, fix=fix)
            at = at.field(found).type
        if not fits(at):
            fix = "name another column or change its declared type"
            raise InputError(f"column {path!r} is {at}", where=self.origin, expected=kind, fix=fix)

    def records(self, batch: pa.RecordBatch, row: int, limits: Limits) -> Iterator[Records | BadRecord]:
        """The rows of a batch, the first being row ``row``."""
        if len(batch) == 0:
            return
        text = _strings(_at(batch, self.source.text))
        domain = _strings(_at(batch, self.domain_name)) if self.domain_name else self.domain
        extras = {name: _extra(_at(batch, e.path(name)), e.type) for name, e in self.source.extras.items()}
        unfit: dict[int, Unfit] = {}
        # Extras first, domain, then text: the last to object to a row names the reason, as in JSON.
        for name, values in extras.items():
            _find_unfit_extra(values, self.source.extras[name].type, name, unfit)
        if isinstance(domain, pa.Array) and not _all_good(domain, limits):
            _find_unfit(domain, lambda v: fit_domain(v, str(self.domain_name)), limits, unfit)
        if not _all_good(text, limits):
            _find_unfit(text, lambda v: fit_text(v, self.source.text), limits, unfit)
        binary = text.cast(pa.large_binary())
        for i in sorted(unfit):
            raw = Raw(binary[i].as_py() or b"")
            yield raw.bad(row + i, None, unfit[i].reason, unfit[i].detail)
        good = np.setdiff1d(np.arange(len(batch)), np.fromiter(unfit, np.int64, len(unfit)))
        if len(good) == 0:
            return
        keep = (lambda a: a.take(pa.array(good))) if unfit else (lambda a: a)
        columns = {name: keep(values).cast(EXTRA_TYPES[self.source.extras[name].type], safe=False) for name, values in extras.items()}
        yield Records(row + good, keep(text), keep(domain) if isinstance(domain, pa.Array) else str(domain), columns)


def _is_stringy(kind: pa.DataType) -> bool:
    t = pa.types
    if t.is_dictionary(kind):
        return _is_stringy(kind.value_type)
    strings, binaries = (t.is_string, t.is_large_string, t.is_string_view), (t.is_binary, t.is_large_binary, t.is_binary_view)
    return any(fits(kind) for fits in (*strings, *binaries, t.is_null))


def _at(batch: pa.RecordBatch, path: str | None) -> pa.Array:
    """The column at a dotted path; null where an enclosing struct is."""
    first, *rest = str(path).split(".")
    column = batch.column(first)
    return pc.struct_field(column, rest) if rest else column


def _strings(column: pa.Array) -> pa.Array:
    """A string or binary column as large_string, its bytes as they are (perhaps no UTF-8)."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    # By way of binary: a cast between string types would stop at the first invalid row.
    binary = column.cast(pa.large_binary())
    return pa.Array.from_buffers(pa.large_string(), len(binary), binary.buffers(), binary.null_count, binary.offset)


def _all_good(text: pa.Array, limits: Limits) -> bool:
    """Whether every row is a non-empty valid string within the limit."""
    if text.null_count or has_empty(text):
        return False
    sizes = pc.binary_length(text)
    if pc.max(sizes).as_py() > limits.max_record_bytes:
        return False
    return _is_utf8(text)


def _is_utf8(text: pa.Array) -> bool:
    try:
        text.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _find_unfit(text: pa.Array, fit: Callable[[Any], Any], limits: Limits, unfit: dict[int, Unfit]) -> None:
    """Look at every row, and note why those that are bad are."""
    for i, value in enumerate(text.cast(pa.large_binary())):
        raw = value.as_py()
        try:
            if raw is not None and len(raw) > limits.max_record_bytes:
                raise Unfit("over_long_record", f"{len(raw)} bytes; max_record_bytes is {limits.max_record_bytes}")
            fit(None if raw is None else raw.decode())
        except UnicodeDecodeError as error:
            unfit[i] = Unfit("invalid_utf8", f"byte {error.start} of the value: {error.reason}")
        except Unfit as verdict:
            unfit[i] = verdict


def _extra(column: pa.Array, kind: str) -> pa.Array:
    """A column on its way to the declared type: nested values as JSON, strings with their bytes as they are."""
    if kind != "string":
        return column
    if pa.types.is_nested(column.type):
        encoded = [None if value is None else orjson.dumps(value, default=str).decode() for value in column.to_pylist()]
        return pa.array(encoded, pa.large_string())
    return _strings(column)


def _find_unfit_extra(values: pa.Array, kind: str, name: str, unfit: dict[int, Unfit]) -> None:
    """Rows of an extra that its type cannot hold: unsigned numbers beyond int64, strings that are no UTF-8."""
    if kind == "int64" and pa.types.is_uint64(values.type):
        for i in pc.indices_nonzero(pc.greater(values, pa.scalar(2**63 - 1, pa.uint64()))).to_pylist():
            unfit[i] = Unfit("extra_wrong_type", f"extra {name!r} is {values[i].as_py()}, expected int64")
    if kind == "string" and not _is_utf8(values):
        for i, value in enumerate(values.cast(pa.large_binary())):
            try:
                (value.as_py() or b"").decode()
            except UnicodeDecodeError as error:
                unfit[i] = Unfit("invalid_utf8", f"extra {name!r}, byte {error.start}: {error.reason}")


def open_file(url: str, options: Options) -> pa.NativeFile:
    """A random-access file: memory-mapped on a local disk."""
    return pa.PythonFile(open_raw(url, options), mode="r") if "://" in url else pa.memory_map(url)


def unreadable(file: str, kind: str, error: Exception) -> InputError:
    """The InputError for a file that cannot be opened as what it claims to be."""
    return InputError(f"not a readable {kind} file", where=file, expected=f"a complete {kind} file", fix=f"mend or remove it ({error})")


def parquet_pieces(file: InputFile, source: Source, split_bytes: int, options: Options, run: Run) -> list[tuple[Piece, int]]:
    """Consecutive row groups of about ``split_bytes`` compressed bytes. Raises InputError for a bad footer or schema."""
    try:
        parquet = pq.ParquetFile(open_file(file.url, options))
    except (OSError, pa.ArrowException) as error:
        raise unreadable(file.source, "parquet", error) from error
    Columns(parquet.schema_arrow, source, file.source, file.domain)
    groups = [parquet.metadata.row_group(i) for i in range(parquet.num_row_groups)]
    sizes = [(group.num_rows, sum(group.column(c).total_compressed_size for c in range(group.num_columns))) for group in groups]
    return in_ranges(file, sizes, split_bytes)


def in_ranges(file: InputFile, sizes: list[tuple[int, int]], split_bytes: int) -> list[tuple[Piece, int]]:
    """Pieces of consecutive units, given the (rows, bytes) of each."""
    pieces: list[tuple[Piece, int]] = []
    start = first_row = row = held = 0
    for i, (n_rows, n_bytes) in enumerate(sizes):
        row, held = row + n_rows, held + n_bytes
        if held >= split_bytes or i == len(sizes) - 1:
            pieces.append((file.piece(start, i + 1, first_row), held))
            start, first_row, held = i + 1, row, 0
    return pieces


def read_parquet(piece: Piece, source: Source, limits: Limits, options: Options) -> Iterator[Records | BadRecord]:
    """The rows of the piece's row groups."""
    parquet = pq.ParquetFile(open_file(piece.url, options), pre_buffer=False)
    columns = Columns(parquet.schema_arrow, source, piece.source, piece.domain)
    row = piece.first_row
    for index in range(piece.start, piece.stop):
        group = parquet.metadata.row_group(index)
        end = row + group.num_rows
        n_rows = max(1, min(1 << 16, group.num_rows * _BATCH_BYTES // max(1, group.total_byte_size)))
        batches = parquet.iter_batches(n_rows, row_groups=[index], columns=columns.names, use_threads=False)
        try:
            for batch in batches:
                yield from columns.records(batch, row, limits)
                row += len(batch)
        except (OSError, pa.ArrowException) as error:
            yield Raw().bad(row, None, "corrupt_parquet", f"row group {index}: {error}", n_records=end - row)
        row = end


def _open_arrow(url: str, options: Options) -> tuple[Any, bool]:
    """(reader, whether it is the file format, which can be split)."""
    try:
        return pa.ipc.open_file(open_file(url, options)), True
    except pa.ArrowInvalid:
        return pa.ipc.open_stream(open_file(url, options)), False


def arrow_pieces(file: InputFile, source: Source, split_bytes: int, options: Options, run: Run) -> list[tuple[Piece, int]]:
    """Consecutive record batches of an IPC file on a local disk; a stream, or a remote file, stays whole."""
    try:
        reader, is_file = _open_arrow(file.url, options)
        Columns(reader.schema, source, file.source, file.domain)
        if not is_file or "://" in file.url or file.size <= split_bytes:
            return [(file.piece(), file.size)]
        # One column is enough to learn the row counts, and costs no decompression of the text.
        thin = pa.ipc.open_file(open_file(file.url, options), options=pa.ipc.IpcReadOptions(included_fields=[0]))
        rows = [thin.get_batch(i).num_rows for i in range(reader.num_record_batches)]
    except (OSError, pa.ArrowException) as error:
        raise unreadable(file.source, "arrow", error) from error
    return in_ranges(file, [(n, file.size * n // max(1, sum(rows))) for n in rows], split_bytes)


def read_arrow(piece: Piece, source: Source, limits: Limits, options: Options) -> Iterator[Records | BadRecord]:
    """The rows of the piece's record batches. What follows a batch that cannot be read has no row number, so it ends the piece."""
    reader, is_file = _open_arrow(piece.url, options)
    columns = Columns(reader.schema, source, piece.source, piece.domain)
    row = piece.first_row
    stop = reader.num_record_batches if is_file and piece.stop < 0 else piece.stop
    batches = (reader.get_batch(i) for i in range(piece.start, stop)) if is_file else iter(reader)
    try:
        for batch in batches:
            batch.validate()
            step = max(1, _BATCH_BYTES * len(batch) // max(1, batch.nbytes))
            for at in range(0, len(batch), step):
                part = batch.slice(at, step)
                yield from columns.records(part, row, limits)
                row += len(part)
    except (OSError, pa.ArrowException) as error:
        yield Raw().bad(row, None, "corrupt_arrow", str(error))


register("parquet", Reader(read=read_parquet, pieces=parquet_pieces))
register("arrow", Reader(read=read_arrow, pieces=arrow_pieces))
