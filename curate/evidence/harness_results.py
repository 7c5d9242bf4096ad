"""Result files of lm-evaluation-harness: one model, many tasks, several metrics each.

    {"results": {"arc_easy": {"alias": "arc_easy", "acc,none": 0.57, "acc_stderr,none": 0.01, "acc_norm,none": 0.51}},
     "higher_is_better": {"arc_easy": {"acc": true, "acc_norm": true}},
     "group_subtasks": {"arc_easy": []}, "model_name": "EleutherAI/pythia-160m", "config": {"model_args": "pretrained=..."}}

Since 0.4 a metric stands with its filter (``acc,none``), before without (``acc``). Averages over groups of tasks
stand among tasks and would count these twice: they are left out unless they are named. A checkpoint that is no
``main`` is another model: it is called ``name@revision``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from curate.errors import InputError
from curate.evidence.loss_table import counted, first_of
from curate.evidence.settings import Benchmarks

NO_METRIC = frozenset(["alias", "name", "sample_len", "samples", "sample_count"])
NAMED_BY = ("peft", "delta", "pretrained", "model", "path", "engine")
"""Arguments that say which model was run; an adapter before what it adapts."""


@dataclass
class HarnessFile:
    """What one file says of one model.

    Args:
        path: of the file.
        model: what the file calls it, with its revision.
        offered: all its tasks, wanted or not.
        values: task -> value of the metric chosen.
        groups: averages over tasks that were left out.
        lacking: tasks that have no such metric.
    """

    path: str
    model: str
    offered: list[str] = field(default_factory=list)
    values: dict[str, float] = field(default_factory=dict)
    groups: list[str] = field(default_factory=list)
    lacking: list[str] = field(default_factory=list)


def read_harness(path: str, content: bytes, entry: Benchmarks) -> HarnessFile:
    """The results of one file under the metric that is asked for.

    Args:
        path: of the file, for messages.
        content: of the file, JSON.
        entry: what is wanted: ``metric``, ``tasks``, and what ``values`` are.

    Raises:
        InputError: no such file, no model's name, a metric that is open, or one that points the other way.
    """
    told = _told(path, content)
    results = told["results"]
    found = HarnessFile(path, _model(path, told), list(results))
    groups = _groups(told)
    for task in results:
        if entry.tasks is not None and task not in entry.tasks:
            continue
        if entry.tasks is None and task in groups:
            found.groups.append(task)
            continue
        key = _metric(path, task, results[task], entry)
        if key is None:
            found.lacking.append(task)
            continue
        _check_direction(path, told, task, key, entry)
        found.values[task] = _number(results[task][key])
    return found


def _number(value: float) -> float:
    """A number of JSON, which may have any number of digits."""
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _told(path: str, content: bytes) -> dict[str, Any]:
    """The file as JSON of the shape expected."""
    expected = "JSON with `results`, as lm-evaluation-harness writes it"
    try:
        told = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InputError(f"the file is no JSON: {error}", where=path, expected=expected, fix="run the evaluation again") from error
    results = told.get("results") if isinstance(told, dict) else None
    if not isinstance(results, dict) or not all(isinstance(of_task, dict) for of_task in results.values()):
        raise InputError("the file holds no results", where=path, expected=expected, fix="leave the file out, or narrow the pattern")
    return dict(told)


def _model(path: str, told: dict[str, Any]) -> str:
    """What the file calls its model, with its revision."""
    config = _object(told, "config")
    arguments = _arguments(config.get("model_args"))
    called = told.get("model_name")
    name = called if isinstance(called, str) and called else next((arguments[key] for key in NAMED_BY if arguments.get(key)), None)
    if name is None:
        raise InputError(
            "the file does not say which model it is of", where=path,
            expected="`model_name`, or `pretrained=` in `config.model_args`", fix='add `"model_name": ...` to the file',
        )  # fmt: skip
    revision = arguments.get("revision") or config.get("model_revision") or "main"
    return name if revision == "main" else f"{name}@{revision}"


def _arguments(told: Any) -> dict[str, str]:
    """``pretrained=a,revision=b`` or an object, as a dict."""
    if isinstance(told, dict):
        return {str(key): str(value) for key, value in told.items() if value is not None}
    pairs = (part.partition("=") for part in str(told or "").split(","))
    return {key.strip(): value.strip() for key, equals, value in pairs if equals}


def _groups(told: dict[str, Any]) -> set[str]:
    """Names that stand for groups of tasks."""
    return {*_object(told, "groups"), *(name for name, below in _object(told, "group_subtasks").items() if below)}


def _object(told: dict[str, Any], key: str) -> dict[str, Any]:
    """What stands under a key, where that is an object."""
    value = told.get(key)
    return value if isinstance(value, dict) else {}


def _metrics(of_task: dict[str, Any]) -> list[str]:
    """The keys of a task that hold values of metrics: numbers that are no standard error."""
    keys = [
        key for key, value in of_task.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
        and key not in NO_METRIC and not key.partition(",")[0].endswith("_stderr")
    ]  # fmt: skip
    return [key for key in keys if "," in key] or keys


def _metric(path: str, task: str, of_task: dict[str, Any], entry: Benchmarks) -> str | None:
    """The key of the metric wanted, None where the task has none such and was not named."""
    known = _metrics(of_task)
    fits = [key for key in known if entry.metric in (None, key, key.partition(",")[0])]
    if len(fits) == 1:
        return fits[0]
    if len(fits) > 1:
        what = "several metrics" if entry.metric is None else f"several metrics {entry.metric!r}"
        raise InputError(f"the task {task!r} has {what}", where=path, expected=f"one of: {', '.join(fits)}", fix="set `metric:` to one")
    if entry.tasks is not None:
        has = f"one of: {', '.join(known)}" if known else "a number"
        raise InputError(
            f"the task {task!r} has no metric{'' if entry.metric is None else f' {entry.metric!r}'}", where=path, expected=has,
            fix="change `metric:` or `tasks:`; tasks of other metrics may have an entry of their own",
        )  # fmt: skip
    return None


def _check_direction(path: str, told: dict[str, Any], task: str, key: str, entry: Benchmarks) -> None:
    """Refuse a metric that the file says points the other way than is declared."""
    metric = key.partition(",")[0]
    of_task = _object(_object(told, "higher_is_better"), task)
    higher = of_task.get(metric, of_task.get(key))
    if higher is None or bool(higher) == (entry.values == "accuracy"):
        return
    says = "higher" if higher else "lower"
    raise InputError(
        f"{metric} of {task!r} is declared as {entry.values}, and the file says that {says} is better", where=path,
        expected=f"`values: {'accuracy' if higher else 'error'}` for this metric",
        fix="change `values:`, `metric:` or `tasks:`; tasks of other metrics may have an entry of their own",
    )  # fmt: skip


def harness_notes(files: Sequence[HarnessFile], known: Collection[str]) -> list[str]:
    """What was left out of some files, in a few lines.

    Args:
        known: tasks that were read from some file.
    """
    groups = sorted({name for file in files for name in file.groups})
    lacking = sorted({name for file in files for name in file.lacking} - set(known))
    notes = [f"{counted(len(groups), 'average')} over tasks left out: {first_of(groups)}"] if groups else []
    return notes + ([f"{counted(len(lacking), 'task')} without the metric left out: {first_of(lacking)}"] if lacking else [])
