"""Someone else's table of losses, taken over as an artifact of ours.

    correlate:
      losses: {table: bits_per_byte.csv, id: domain, families: {pythia-70m: pythia}}

Groups are rows and models are columns: nothing is turned around unasked. ``n_pages`` and ``n_bytes``, where
there are such columns, are what every group holds. A table that was written here keeps all that it says of itself.
Blocks of rows go from the one file to the other, so that a million groups need no more memory than a thousand.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa

from curate.errors import ConfigError, InputError, nearest
from curate.evidence.loss_table import AMOUNTS, CARD, GROUP, TABLE, LossTable, LossTableWriter, card_markdown, is_loss_table, told_of
from curate.evidence.matrix_files import MatrixFile, ModelName, check_twice, model_name, refuse_twice, told_apart
from curate.evidence.settings import Losses
from curate.storage import Folder

MOST_EXACT = 2**53
"""Up to here float64 has every whole number."""
NOT_A_MODEL = "leave the column out, or name the column of groups with `id:`"


def import_losses(settings: Losses, folder: Folder, options: dict[str, Any] | None = None) -> LossTable:
    """Write ``table.parquet`` and its card, ``README.md``, from the table that is named; see ``write_imported``.

    Returns:
        The table written. ``card["notes"]`` tells what is odd about it.
    """
    with folder.create(TABLE) as out:
        write_imported(settings, out, options)
    table = LossTable(folder)
    folder.write(CARD, card_markdown(table).encode())
    return table


def write_imported(settings: Losses, out: BinaryIO, options: dict[str, Any] | None = None) -> None:
    """Write the table that is named in our format.

    Args:
        settings: with ``table``, and perhaps ``id``, ``families`` and ``by``.
        out: a binary file, positioned at its start.
        options: storage options of fsspec for the table named.

    Raises:
        InputError: the table cannot be read, or holds what is no table of losses.
        ConfigError: a family of a model that is not there, or another ``by`` than the table's.
    """
    source = _source(settings, options)
    if _is_ours(source):
        _take_over(source, settings, out)
    else:
        _convert(source, settings, out)


def imported_models(settings: Losses, options: dict[str, Any] | None = None) -> list[str]:
    """Names of models in the table that is named, from its header alone."""
    source = _source(settings, options)
    found = [model_name(source.names[i]) for i in _places(source, settings)]
    names = [model.raw for model in found] if _is_ours(source) else [model.name for model in told_apart(found)[0]]
    _check_families(settings, names)
    return names


def _source(settings: Losses, options: dict[str, Any] | None) -> MatrixFile:
    assert settings.file is not None
    return MatrixFile(settings.file, options)


def _is_ours(source: MatrixFile) -> bool:
    return source.schema is not None and is_loss_table(source.schema)


def _places(source: MatrixFile, settings: Losses) -> list[int]:
    """Where the columns of models are."""
    if _is_ours(source):
        _check_ours(source, settings)
    place = source.names.index(GROUP) if _is_ours(source) else source.id_column(settings.id)
    places = [i for i, name in enumerate(source.names) if i != place and name not in AMOUNTS]
    if not places:
        raise InputError("there are no models", where=source.path, expected="a column of numbers for each model", fix="name another table")
    return places


def _check_ours(source: MatrixFile, settings: Losses) -> None:
    """Refuse to take a table of ours for another than it says it is."""
    assert source.schema is not None
    by = source.schema.metadata[b"by"].decode()
    if settings.by != by:
        raise ConfigError(
            f"groups of the table are values of {by!r}, not of {settings.by!r}", where=f"correlate.losses.by, {source.path}",
            expected="the column that the table was made by", fix=f"set `by: {by}`",
        )  # fmt: skip
    if settings.id not in (None, GROUP):
        raise ConfigError(
            f"groups of the table are in the column {GROUP!r}, not in {settings.id!r}", where=f"correlate.losses.id, {source.path}",
            expected="no `id:`, as the table was written by curate", fix="remove `id:`",
        )  # fmt: skip


def _take_over(source: MatrixFile, settings: Losses, out: BinaryIO) -> None:
    """Write a table of ours again, with all it says of itself."""
    schema = source.schema
    assert schema is not None
    places = _places(source, settings)
    names = [source.names[i] for i in places]
    described = {name: told_of(schema.field(i)) for name, i in zip(names, places, strict=True)}
    _check_families(settings, names)
    for name, family in settings.families.items():
        described[name]["family"] = family
    with LossTableWriter(out, names, described, settings.by, json.loads(schema.metadata[b"card"]), where=source.path) as writer:
        _copy(source, source.names.index(GROUP), places, writer)


def _convert(source: MatrixFile, settings: Losses, out: BinaryIO) -> None:
    """Write a table from elsewhere in our format."""
    place, places = source.id_column(settings.id), _places(source, settings)
    found = [model_name(source.names[i]) for i in places]
    models, notes = _models(source, found, places)
    names = [model.name for model in models]
    _check_families(settings, names)
    table = PurePosixPath(source.path).name
    described = {m.name: {"family": settings.families.get(m.name, m.family or m.name), "source": table} for m in models}
    card = {"origin": "imported", "table": table, "groups": source.names[place], "notes": notes}
    with LossTableWriter(out, names, described, settings.by, card, where=source.path) as writer:
        _copy(source, place, places, writer)


def _models(source: MatrixFile, found: Sequence[ModelName], places: Sequence[int]) -> tuple[list[ModelName], list[str]]:
    """Models under names of their own, and a note on each that is there twice."""
    models, twice = told_apart(found)
    check_twice(source.path, found, twice)
    notes = []
    for name, same in twice.items():
        for row, columns in source.blocks([places[i] for i in same]):
            first, *others = (source.numbers(c, places[i], row, NOT_A_MODEL) for c, i in zip(columns, same, strict=True))
            if any(not np.array_equal(first, other, equal_nan=True) for other in others):
                raise refuse_twice(source.path, name)
        told = ", ".join(repr(told) for told in sorted(models[i].name for i in same))
        notes.append(f"{name} is there {len(same)} times with the same losses, as {told}: one family")
    return models, sorted(notes)


def _check_families(settings: Losses, names: Sequence[str]) -> None:
    for name in settings.families:
        if name not in names:
            raise ConfigError(
                f"the losses know no model {name!r}", where="correlate.losses.families", expected="a column of the table",
                fix=nearest(name, sorted(names)[:50]),
            )  # fmt: skip


def _copy(source: MatrixFile, place: int, places: Sequence[int], writer: LossTableWriter) -> None:
    """Blocks of rows from the one file to the other.

    Args:
        place: of the column of groups.
        places: of the columns of models.
    """
    known = [source.names.index(name) if name in source.names and source.names.index(name) != place else None for name in AMOUNTS]
    asked = [place, *(i for i in known if i is not None), *places]
    for row, columns in source.blocks(asked):
        by_place = dict(zip(asked, columns, strict=True))
        losses_ND = np.stack([source.numbers(by_place[i], i, row, NOT_A_MODEL) for i in places])
        amounts = [None if i is None else _whole_numbers(source, by_place[i], i, row) for i in known]
        writer.write(source.texts(by_place[place], place), losses_ND, *amounts)


def _whole_numbers(source: MatrixFile, column: pa.Array, place: int, row: int) -> pa.Array:
    """Pages or bytes of groups, null where unknown."""
    values = source.numbers(column, place, row, "leave the column out")
    if (values < 0).any() or (values > MOST_EXACT).any() or (np.nan_to_num(values) % 1 != 0).any():
        raise InputError(
            "a group has no whole number of them", where=f"{source.path}, column {source.names[place]!r}",
            expected=f"whole numbers from 0 to {MOST_EXACT:,}", fix="mend it or leave the column out",
        )  # fmt: skip
    return pa.array(values, from_pandas=True).cast(pa.int64())
