"""Published tables of models, their losses, and what they are good at, in one shape.

Where a table has no accuracies, one task's (or domain's) loss stands in for a benchmark, and neither it nor its kin
are among the losses it is predicted from. N models, D losses (groups of text), T benchmarks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc_csv

from benchmarks.experiments.rank_prediction_report import ALL
from curate.correlation import group_benchmarks

_SUITES = ("arc", "basic_skills", "lab_bench", "minerva_math", "mmlu", "mt_mbpp")
"""Of OLMix's tasks: each is one benchmark."""
_DCLM_FIRST, _DCLM_LAST = "mmlu_zeroshot", "svamp_cot"


@dataclass(frozen=True)
class ModelTable:
    """Losses and errors of the same models.

    Args:
        errors_NT: lower is better.
        families: of the models (N): what must not be on both sides of a split.
        usable_TD: which losses a benchmark may be predicted from.
    """

    name: str
    losses_ND: np.ndarray
    errors_NT: np.ndarray
    benchmarks: list[str]
    families: list[str]
    usable_TD: np.ndarray


def read_all(data: Path) -> Iterator[ModelTable]:
    """Every table with losses, from the folder that has ``tables/``."""
    tables = data / "tables"
    yield _open_llms(tables / "perplexity_correlations")
    yield _scaling(tables / "scaling/models_c4_rpj.csv")
    yield _dclm(tables / "dclm/model_database.csv.gz")
    yield _olmix("olmix dclm", tables / "olmix/dclm_metrics.csv")
    yield _olmix("olmix full", tables / "olmix/full_recomputation_metrics.csv")
    yield _regmix("regmix 1M", [tables / f"regmix/{part}_pile_loss_1m.csv" for part in ("train", "test")])
    yield _regmix("regmix 60M", [tables / "regmix/test_pile_loss_60m.csv"])


def _matrix(table: pa.Table, names: Sequence[str]) -> np.ndarray:
    """Columns as float64 (rows, names), NaN where missing."""
    return np.stack([table[name].cast(pa.float64()).to_numpy() for name in names], axis=1)


def _with_all(name: str, losses_ND: np.ndarray, errors_NB: np.ndarray, benchmarks: list[str], families: list[str]) -> ModelTable:
    """Accuracies that have nothing in common with the losses: all losses are usable; ``ALL`` is added."""
    grouped = group_benchmarks(errors_NB, benchmarks, {ALL: benchmarks}, "rank")
    errors_NT = np.concatenate([errors_NB, grouped.errors_NT], axis=1)
    usable_TD = np.ones((len(benchmarks) + 1, losses_ND.shape[1]), bool)
    return ModelTable(name, losses_ND, errors_NT, [*benchmarks, ALL], families, usable_TD)


def _open_llms(folder: Path) -> ModelTable:
    """The paper's models on 263 texts. A model listed under two families is kept once."""
    losses, errors = (pc_csv.read_csv(folder / name) for name in ("bpb_quality_articles.csv", "error.csv"))
    columns = sorted(set(errors.column_names) & set(losses.column_names))
    # A column's name is a pair: ('family', 'model').
    pairs = [tuple(part.strip(" ()'") for part in column.split(",")) for column in columns]
    kept = [k for k, (_, model) in enumerate(pairs) if model not in {other for _, other in pairs[:k]}]
    columns, families = [columns[k] for k in kept], [pairs[k][0] for k in kept]
    return _with_all("open LLMs", _matrix(losses, columns).T, _matrix(errors, columns).T, errors["benchmark"].to_pylist(), families)


def _scaling(file: Path) -> ModelTable:
    """Models of six sizes on C4 and RedPajama, each size trained up to eight lengths: a size on a corpus is a family."""
    table = pc_csv.read_csv(file)
    accuracies = [name for name in table.column_names if name.startswith("acc/")]
    families = [f"{row['train_set']}/{row['params']}" for row in table.select(["train_set", "params"]).to_pylist()]
    losses_ND = _matrix(table, [name for name in table.column_names if name.startswith("loss/")])
    return _with_all("scaling", losses_ND, 1 - _matrix(table, accuracies), [name.removeprefix("acc/") for name in accuracies], families)


def _dclm(file: Path) -> ModelTable:
    """Models by training set; losses are those on the answers of tasks, the benchmark's own task left out."""
    table = pc_csv.read_csv(file)
    names = [name for name in table.column_names if name.startswith("perplexity.")]
    losses_ND = _matrix(table, names)
    complete_N = ~np.isnan(losses_ND).any(axis=1)
    first_of_equals = np.unique(np.nan_to_num(losses_ND), axis=0, return_index=True)[1]
    rows = np.array([row for row in sorted(first_of_equals) if complete_N[row]])
    start, end = table.column_names.index(_DCLM_FIRST), table.column_names.index(_DCLM_LAST)
    scored = [name for name in table.column_names[start : end + 1] if not np.isnan(_matrix(table, [name])[rows]).any()]
    found = _with_all("dclm", losses_ND[rows], 1 - _matrix(table, scored)[rows], scored, table["Dataset"].take(rows).to_pylist())
    tasks = [name.removeprefix("perplexity.") for name in names]
    for t, benchmark in enumerate(scored):
        found.usable_TD[t] = [not (task.startswith(benchmark) or benchmark.startswith(task)) for task in tasks]
    return found


def _olmix(name: str, file: Path) -> ModelTable:
    """Proxies on random mixtures: a benchmark is the bits per byte of one task, or the mean rank of a suite's tasks."""
    table = pc_csv.read_csv(file)
    tasks = table.column_names[4:]
    suites = {suite: [task for task in tasks if _suite(task) == suite] for suite in dict.fromkeys(map(_suite, tasks))}
    losses_ND = _matrix(table, tasks)
    grouped = group_benchmarks(losses_ND, tasks, suites, "rank")
    usable_TD = np.array([[_suite(task) != suite for task in tasks] for suite in suites])
    return ModelTable(name, losses_ND, grouped.errors_NT, grouped.names, table["run"].to_pylist(), usable_TD)


def _suite(task: str) -> str:
    stem = task.split(":")[0]
    return next((suite for suite in _SUITES if stem.startswith(suite)), stem)


def _regmix(name: str, files: Sequence[Path]) -> ModelTable:
    """Proxies on random mixtures: a benchmark is the loss on one domain of the Pile."""
    parts = [pc_csv.read_csv(file) for file in files]
    columns = parts[0].column_names[1:]
    losses_ND = np.concatenate([_matrix(part, columns) for part in parts])
    domains = [column.removeprefix("metric/the_pile_").removesuffix("_val_loss") for column in columns]
    return ModelTable(name, losses_ND, losses_ND, domains, [str(n) for n in range(len(losses_ND))], ~np.eye(len(domains), dtype=bool))
