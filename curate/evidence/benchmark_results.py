"""Benchmark results of many models from tables and result files, as errors: lower is better.

What the numbers are is declared, never guessed: an accuracy becomes the error 1 - accuracy, an error may be any number
from 0 on (a perplexity is one). Which axis of a table holds models is settled by the names that the losses know.

N models, B benchmarks.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa

from curate.correlation.targets import check_targets
from curate.errors import ConfigError, InputError, nearest
from curate.evidence.harness_results import harness_notes, read_harness
from curate.evidence.loss_table import counted, first_of
from curate.evidence.matrix_files import MatrixFile, ModelName, check_twice, model_name, refuse_twice, told_apart
from curate.evidence.model_matching import in_one_only
from curate.evidence.result_files import check_used, is_harness, result_files
from curate.evidence.settings import Benchmarks, Missing
from curate.storage import Folder


@dataclass(frozen=True)
class BenchmarkResults:
    """Errors of N models on B benchmarks.

    Args:
        models: N names, sorted.
        names_B: of benchmarks, as they were found first.
        errors_NB: float64, NaN where missing.
        families: of models whose table tells it.
        notes: what was left out, or is odd.
        sources: names of the files read, sorted.
    """

    models: tuple[str, ...]
    names_B: tuple[str, ...]
    errors_NB: np.ndarray
    families: dict[str, str]
    notes: list[str]
    sources: tuple[str, ...]

    @property
    def where(self) -> str:
        """The files read, for messages."""
        return first_of(self.sources)

    def errors_of(self, models: Sequence[str]) -> np.ndarray:
        """Errors (N, B) of some of the models, in the order given."""
        return self.errors_NB[[self.models.index(name) for name in models]]

    def of_targets(self, targets: Mapping[str, Sequence[str]]) -> BenchmarkResults:
        """Only the benchmarks that targets are made of, so that nothing is missed elsewhere; all where there are no targets.

        Raises:
            ConfigError: as ``check_targets``.
        """
        if not targets:
            return self
        check_targets(targets, self.names_B)
        used = {name for members in targets.values() for name in members}
        kept = [b for b, name in enumerate(self.names_B) if name in used]
        return replace(self, names_B=tuple(self.names_B[b] for b in kept), errors_NB=self.errors_NB[:, kept])

    def check_confirmed(self, names: Sequence[str]) -> None:
        """Refuse to confirm the direction of what is no benchmark, such as a target of several."""
        for name in names:
            if name not in self.names_B:
                raise ConfigError(
                    f"there are no results of {name!r}", where="correlate.confirmed", expected=f"benchmarks in {self.where}",
                    fix=nearest(name, list(self.names_B)),
                )  # fmt: skip

    def check_models(self, models: Sequence[str], missing: Missing, groups: Collection[str] = ()) -> dict[str, str]:
        """Models that are here or in the losses only, with what they lack; an error where the policy is to refuse.

        Args:
            models: of the losses.
            missing: the policy.
            groups: of the losses, where they are known.
        """
        return in_one_only(models, self.models, missing, self.where, groups, self.names_B)


@dataclass
class _Gathered:
    """What was read so far: cells by model and benchmark, with the file each is from.

    ``here`` are the benchmarks that the entry at hand gave, ``offered`` all that its files have.
    """

    known: frozenset[str]
    models: dict[str, str | None] = field(default_factory=dict)
    names: dict[str, None] = field(default_factory=dict)
    cells: dict[tuple[str, str], tuple[float, str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    sources: set[str] = field(default_factory=set)
    here: set[str] = field(default_factory=set)
    offered: set[str] = field(default_factory=set)
    n_again: int = 0

    def add(self, model: str, benchmark: str, error: float, path: str) -> None:
        """One result; the same twice is fine, two that differ are not."""
        if math.isnan(error):
            return
        before = self.cells.setdefault((model, benchmark), (error, path))
        self.names.setdefault(benchmark)
        self.here.add(benchmark)
        if before[1] == path and before[0] == error:
            return
        if before[0] != error:
            raise InputError(
                f"there are two results of {model!r} on {benchmark!r}: errors {before[0]:g} and {error:g}",
                where=before[1] if before[1] == path else f"{before[1]} and {path}",
                expected="one result for each model and benchmark", fix="remove one of them, or narrow `path:` or `tasks:`",
            )  # fmt: skip
        self.n_again += 1


def read_benchmarks(
    entries: Sequence[Benchmarks], known_models: Collection[str], options: dict[str, Any] | None = None
) -> BenchmarkResults:
    """All results that are named, in one matrix.

    Args:
        entries: of ``correlate.benchmarks``.
        known_models: names of models in the losses, which tell the axes of a table apart.
        options: storage options of fsspec.

    Raises:
        InputError: no file, a table that cannot be read or whose axes are unclear, a value out of range, two results that differ.
        ConfigError: a task or a model to rename that is in no file.
    """
    gathered = _Gathered(frozenset(known_models))
    for entry in entries:
        paths = result_files(entry, options)
        check_used(entry, paths)
        renamed = _Renamed(entry.models, gathered.known)
        gathered.here, gathered.offered = set(), set()
        for path in [path for path in paths if not is_harness(path)]:
            _read_table(path, entry, renamed, gathered, options)
        _read_files([path for path in paths if is_harness(path)], entry, renamed, gathered, options)
        _check_tasks(entry, gathered)
        renamed.check(entry)
        gathered.sources |= {PurePosixPath(path).name for path in paths}
    if gathered.n_again:
        gathered.notes.append(f"{counted(gathered.n_again, 'result')} more than once, with equal values")
    models, names = tuple(sorted(gathered.models)), tuple(gathered.names)
    if not models or not names:
        raise InputError(
            "there are no benchmark results", where=", ".join(entry.path for entry in entries),
            expected="a number for each model and benchmark",
            fix="check `path:`, `metric:` and `tasks:`",
        )  # fmt: skip
    errors_NB = np.full((len(models), len(names)), np.nan)
    row, column = ({name: i for i, name in enumerate(axis)} for axis in (models, names))
    for (model, benchmark), (error, _) in gathered.cells.items():
        errors_NB[row[model], column[benchmark]] = error
    families = {name: family for name, family in sorted(gathered.models.items()) if family is not None}
    return BenchmarkResults(models, names, errors_NB, families, gathered.notes, tuple(sorted(gathered.sources)))


@dataclass
class _Renamed:
    """``models:`` of an entry, and which of its names were met."""

    names: dict[str, str]
    known: frozenset[str]
    met: set[str] = field(default_factory=set)
    seen: set[str] = field(default_factory=set)

    def __call__(self, *called: str) -> str:
        """The model's name in the losses, by the first of the names it has here that is renamed; else the last of these."""
        self.seen.update(called)
        for name in called:
            if name in self.names:
                self.met.add(name)
                return self.names[name]
        return called[-1]

    def check(self, entry: Benchmarks) -> None:
        """Refuse to rename what is not there."""
        for name in self.names:
            if name not in self.met:
                raise ConfigError(
                    f"there is no model {name!r} to rename", where=f"correlate.benchmarks.models, {entry.path}",
                    expected="a model of these results", fix=nearest(name, sorted(self.seen)[:50]),
                )  # fmt: skip


def _check_tasks(entry: Benchmarks, gathered: _Gathered) -> None:
    for task in entry.tasks or ():
        if task not in gathered.here:
            raise ConfigError(
                f"there are no results of {task!r}", where=f"correlate.benchmarks.tasks, {entry.path}",
                expected="a task that has the metric", fix=nearest(task, sorted(gathered.offered)[:50]),
            )  # fmt: skip


def error_of(value: float, entry: Benchmarks, where: str) -> float:
    """A value as it is declared, as an error; NaN stays NaN."""
    if math.isnan(value):
        return value
    if math.isinf(value) or value < 0:
        raise InputError(f"{value:g} is no {entry.values}", where=where, expected="a number from 0 on", fix="mend it, or leave it empty")
    if entry.values == "error":
        return value
    if value > 1:
        raise InputError(
            f"an accuracy is {value:g}", where=where, expected="accuracies between 0 and 1",
            fix="divide by 100 if they are in per cent; name others with `tasks:`; set `values: error` where lower is better",
        )  # fmt: skip
    return 1.0 - value


def _read_files(paths: Sequence[str], entry: Benchmarks, renamed: _Renamed, gathered: _Gathered, options: dict[str, Any] | None) -> None:
    """Result files of lm-evaluation-harness."""
    files = []
    for path in paths:
        parent, _, name = path.rpartition("/")
        file = read_harness(path, Folder(parent or ("/" if path.startswith("/") else "."), options or {}).read(name), entry)
        called = [file.model]
        if file.model not in gathered.known and file.model.startswith(("/", "./", "../", "~")):
            called.append(PurePosixPath(file.model).name)
        model = renamed(*called)
        gathered.models.setdefault(model, None)
        for task, value in file.values.items():
            gathered.add(model, task, error_of(value, entry, f"{path}, task {task!r}"), path)
        gathered.offered.update(file.offered)
        files.append(file)
    gathered.notes += harness_notes(files, gathered.here)


def _read_table(path: str, entry: Benchmarks, renamed: _Renamed, gathered: _Gathered, options: dict[str, Any] | None) -> None:
    """A table of results, whichever way it lies."""
    source = MatrixFile(path, options)
    place = source.id_column(entry.id)
    rows = pa.concat_arrays(
        [source.texts(block[0], place) for _, block in source.blocks([place])] or [pa.array([], pa.string())]
    ).to_pylist()
    others = [i for i in range(len(source.names)) if i != place]
    if not rows or not others:
        raise InputError(
            "the table has no results", where=path, expected="a row for each benchmark, a column for each model", fix="name another"
        )
    if not all(rows):
        raise InputError(
            f"row {rows.index(next(r for r in rows if not r)) + 1:,} has no name", where=f"{path}, column {source.names[place]!r}",
            expected="a name in each row", fix="name or remove it, or set `id:` to the column of names",
        )  # fmt: skip
    by_column, by_row = [model_name(source.names[i]) for i in others], [model_name(text) for text in rows]
    across = _models_are_columns(path, by_column, by_row, renamed, gathered.known)
    tasks = rows if across else [source.names[i] for i in others]
    gathered.offered.update(tasks)
    twice = sorted({name for name in tasks if tasks.count(name) > 1})
    if twice:
        raise InputError(f"benchmarks are there twice: {first_of(twice)}", where=path, expected="each once", fix="rename or remove one")
    wanted = (lambda name: True) if entry.tasks is None else set(entry.tasks).__contains__
    if across:
        unknown = [i for i, model in zip(others, by_column, strict=True) if not _is_known(model, renamed, gathered.known)]
        columns, skipped = _numbers(source, others, unknown, "mend it, or remove the column")
        by_column = [model_name(source.names[i]) for i in columns]
        values_NB = np.stack(list(columns.values()))
    else:
        asked = [i for i in others if wanted(source.names[i])]
        _check_named(path, source, asked)
        columns, skipped = _numbers(source, asked, asked if entry.tasks is None else (), "mend it, or leave the column out with `tasks:`")
        tasks = [source.names[i] for i in columns]
        values_NB = np.stack(list(columns.values()), axis=1) if columns else np.empty((len(rows), 0))
    if skipped:
        gathered.notes.append(
            f"{PurePosixPath(path).name}: {counted(len(skipped), 'column')} without numbers left out: {first_of(skipped)}"
        )
    kept = [b for b, task in enumerate(tasks) if wanted(task)]
    _gather(path, by_column if across else by_row, [tasks[b] for b in kept], values_NB[:, kept], entry, renamed, gathered)


def _check_named(path: str, source: MatrixFile, places: Sequence[int]) -> None:
    """Refuse a benchmark without a name, such as the row numbers that pandas writes."""
    for place in places:
        if not source.names[place].strip():
            raise InputError(
                f"column {place + 1} has no name", where=path, expected="the name of a benchmark", fix="name or remove it, or set `tasks:`"
            )


def _is_known(model: ModelName, renamed: _Renamed, known: Collection[str]) -> bool:
    """Whether the losses know a model of a table, under its name there."""
    return renamed.names.get(model.raw, renamed.names.get(model.name, model.name)) in known


def _models_are_columns(
    path: str, by_column: Sequence[ModelName], by_row: Sequence[ModelName], renamed: _Renamed, known: frozenset[str]
) -> bool:
    """Which axis shares names with the losses; an error where neither does, or both."""
    columns, rows = ([m.raw for m in axis if _is_known(m, renamed, known)] for axis in (by_column, by_row))
    if bool(columns) != bool(rows):
        return bool(columns)
    expected = "the names of models in the losses either in the header or in the first column (or the one that `id:` names)"
    if columns:
        raise InputError(
            f"both the columns and the rows of the table are called as models are: {first_of(columns, 2)}; {first_of(rows, 2)}",
            where=path, expected=expected, fix="rename the benchmarks, or set `id:`",
        )  # fmt: skip
    raise InputError(
        f"no model of the losses is in the table: columns are {first_of([m.name for m in by_column], 3)}, "
        f"rows {first_of([m.name for m in by_row], 3)}",
        where=path, expected=expected,
        fix=f"map names with `models:`; the losses know {first_of(sorted(known), 3)}. "
        "If these are no models, turn the table of losses around",
    )  # fmt: skip


def _numbers(source: MatrixFile, places: Sequence[int], may_skip: Collection[int], fix: str) -> tuple[dict[int, np.ndarray], list[str]]:
    """Columns of numbers by their places, and the names of those that were left out as they hold none."""
    blocks = [block for _, block in source.blocks(places)] if places else []
    found: dict[int, np.ndarray] = {}
    skipped = []
    for c, place in enumerate(places):
        column = pa.chunked_array([block[c] for block in blocks]).combine_chunks()
        try:
            found[place] = source.numbers(column, place, 0, fix)
        except InputError:
            if place not in may_skip or source.has_number(column):
                raise
            skipped.append(source.names[place])
    return found, skipped


def _gather(
    path: str,
    found: Sequence[ModelName],
    tasks: Sequence[str],
    values_NB: np.ndarray,
    entry: Benchmarks,
    renamed: _Renamed,
    gathered: _Gathered,
) -> None:
    """The cells of one table."""
    models, twice = told_apart(found)
    check_twice(path, found, twice)
    for name, same in twice.items():
        if any(not np.array_equal(values_NB[same[0]], values_NB[i], equal_nan=True) for i in same):
            raise refuse_twice(path, name)
    for before, model, values_B in zip(found, models, values_NB, strict=True):
        name = renamed(model.raw, model.name)
        if model.name != before.name and name not in gathered.known:
            gathered.notes.append(f"{PurePosixPath(path).name}: {before.name} is there twice with the same results and counts once")
            continue
        if gathered.models.get(name) is None:
            gathered.models[name] = model.family
        for task, value in zip(tasks, values_B, strict=True):
            gathered.add(name, task, error_of(float(value), entry, f"{path}, {model.raw!r}, {task!r}"), path)
    empty = [task for task, values_N in zip(tasks, values_NB.T, strict=True) if np.isnan(values_N).all()]
    if empty:
        gathered.notes.append(
            f"{PurePosixPath(path).name}: {counted(len(empty), 'benchmark')} without a result left out: {first_of(empty)}"
        )
