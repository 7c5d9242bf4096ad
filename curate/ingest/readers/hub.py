"""Data sets of the `datasets` library: saved with ``save_to_disk``, or named on a hub.

path: corpora/wiki                  format: hf_dataset      a saved directory
path: dataset:org/name?split=train&config=en&revision=abc   a hub name
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from curate.errors import InputError
from curate.ingest.readers.columnar import Columns
from curate.ingest.readers.reader import BadRecord, Limits, Options, Piece, Reader, Records, Run, register
from curate.ingest.sources import FromDirectory, InputFile, Source

_BATCH_ROWS = 1000


def inputs(source: Source, entry: int, root: str, options: Options) -> list[InputFile]:
    """The data set as one input."""
    given = str(source.path)
    url = given if given.startswith("dataset:") or "://" in given or Path(given).is_absolute() else f"{root.rstrip('/')}/{given}"
    data = _load(url, options, source.label)
    parts = given.removeprefix("dataset:").split("?")[0].rstrip("/").split("/")
    domain = source.domain if isinstance(source.domain, str) else None
    if isinstance(source.domain, FromDirectory):
        try:
            domain = parts[source.domain.directory]
        except IndexError:
            what = f"the path has no part {source.domain.directory}"
            raise InputError(what, where=given, expected="a part to name the domain", fix="set `domain:`") from None
    return [InputFile(url, given.rstrip("/"), entry, "hf_dataset", None, domain, int(data.data.nbytes), str(data._fingerprint))]


def _load(url: str, options: Options, where: str) -> Any:
    """The map-style Dataset. Raises InputError when the library is absent or the data set cannot be loaded."""
    try:
        import datasets
    except ImportError as error:
        what, fix = "this source needs the `datasets` library", "pip install 'curate[hf]'"
        raise InputError(what, where=where, expected="datasets installed", fix=fix) from error
    try:
        if not url.startswith("dataset:"):
            data = datasets.load_from_disk(url, storage_options=options or None)
        else:
            name, query = urlsplit(url).path, {k: v[0] for k, v in parse_qs(urlsplit(url).query).items()}
            data = datasets.load_dataset(name, query.get("config"), split=query.get("split"), revision=query.get("revision"))
    except (OSError, ValueError) as error:
        what, fix = "the data set cannot be loaded", f"change `path:` ({error})"
        raise InputError(what, where=where, expected="a saved data set or a hub name", fix=fix) from error
    if isinstance(data, dict):
        raise InputError(
            "the data set has several splits",
            where=where,
            expected=f"one of {', '.join(data)}",
            fix="add ?split=NAME to a hub name, or the split's directory to a path",
        )
    return data


def pieces(file: InputFile, source: Source, split_bytes: int, options: Options, run: Run) -> list[tuple[Piece, int]]:
    """Row ranges of about ``split_bytes``. Raises InputError when a column is missing."""
    data = _load(file.url, options, source.label)
    Columns(data.features.arrow_schema, source, file.source, file.domain)
    n_ranges = max(1, min(len(data), -(-file.size // split_bytes)))
    cuts = [len(data) * i // n_ranges for i in range(n_ranges + 1)]
    return [(file.piece(a, b, a), file.size // n_ranges) for a, b in zip(cuts[:-1], cuts[1:], strict=True)]


def read(piece: Piece, source: Source, limits: Limits, options: Options) -> Iterator[Records | BadRecord]:
    """The rows [start, stop) of the data set."""
    data = _load(piece.url, options, source.label)
    columns = Columns(data.features.arrow_schema, source, piece.source, piece.domain)
    row = piece.first_row
    for table in data.select(range(piece.start, piece.stop)).select_columns(columns.names).with_format("arrow").iter(_BATCH_ROWS):
        for batch in table.to_batches():
            yield from columns.records(batch, row, limits)
            row += len(batch)


register("hf_dataset", Reader(read=read, pieces=pieces, inputs=inputs))
