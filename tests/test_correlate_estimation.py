"""From losses and results to weights: what few models, missing cells, many benchmarks and other orders of rows may not do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from curate.errors import InfeasibleMixtureError, InputError
from curate.evidence import estimation
from curate.evidence.benchmark_results import BenchmarkResults
from curate.evidence.estimation import find_weights
from curate.evidence.findings import Findings, Known
from curate.evidence.group_amounts import AMOUNT, DESCRIBED, GROUP
from curate.evidence.loss_table import LossTable, write_loss_table
from curate.evidence.settings import Correlate
from curate.storage import Folder


def found(folder: Path, losses_ND: np.ndarray, errors_NB: np.ndarray, groups: list[str] | None = None, **changes: Any) -> Findings:
    """Weights by tables of these numbers; every group holds as much as any other."""
    models = [f"m{n:02d}" for n in range(len(losses_ND))]
    names = groups or [f"g{d:02d}" for d in range(losses_ND.shape[1])]
    with (folder / "table.parquet").open("wb") as out:
        write_loss_table(out, pa.array(names), None, None, dict(zip(models, losses_ND, strict=True)), {}, "domain", {})
    benchmarks = tuple(f"b{b}" for b in range(errors_NB.shape[1]))
    results = BenchmarkResults(tuple(models), benchmarks, errors_NB, {}, [], ("r.csv",))
    held = sorted(names)
    amounts = pa.table({GROUP: held, f"{DESCRIBED}domain": held, AMOUNT: [10] * len(held)})
    known = Known(pa.array(held), np.full(len(held), 10), amounts, "tokens")
    given = {"losses": {"table": "t.csv"}, "benchmarks": [{"path": "r.csv", "values": "error"}], "bootstrap": 20, "permutations": 20}
    return find_weights(LossTable(Folder(str(folder))), results, Correlate.model_validate(given | changes), known, 0)


def tables(n_models: int, n_groups: int, n_benchmarks: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Losses and errors that rise together."""
    random = np.random.default_rng(seed)
    weakness = np.arange(n_models) / n_models
    losses = 1 + weakness[:, None] + 0.3 * random.random((n_models, n_groups))
    return losses, 0.2 + 0.5 * weakness[:, None] + 0.05 * random.random((n_models, n_benchmarks))


def test_a_group_without_an_estimate_has_no_interval_either(tmp_path: Path) -> None:
    losses, errors = tables(12, 6, 1)
    losses[2:, 0] = np.nan
    rows = found(tmp_path, losses, errors, missing="pairwise").weights.to_pylist()
    assert rows[0]["n_models"] == 2
    assert {rows[0][name] for name in ("estimate", "low", "high", "p_value", "settled", "inclusion")} == {None}
    assert None not in {rows[1][name] for name in ("estimate", "low", "high", "p_value", "settled", "inclusion")}


def test_a_target_of_two_models_is_refused_by_name(tmp_path: Path) -> None:
    losses, errors = tables(12, 6, 2)
    errors[2:, 1] = np.nan
    with pytest.raises(InputError, match="no group of the corpus has an estimate for the target 'b1'"):
        found(tmp_path, losses, errors, missing="pairwise")


def test_too_little_text_is_told_with_the_ratio_that_would_do(tmp_path: Path) -> None:
    losses, errors = tables(12, 4, 1)
    losses[1:, 0] = np.nan
    with pytest.raises(InfeasibleMixtureError, match=r"0\.25 of the weight has no place") as caught:
        found(tmp_path, losses, errors, missing="pairwise", filter_ratio=1.0)
    assert "correlate.filter_ratio" in caught.value.where
    assert "at most 0.75: the share of the tokens" in caught.value.expected


@pytest.mark.parametrize(("n_models", "n_benchmarks"), [(5, 8), (12, 510)])
def test_many_accuracies_passed_as_errors_are_refused_together(tmp_path: Path, n_models: int, n_benchmarks: int) -> None:
    """One benchmark of many cannot be significant there: 5 models have 120 orders, and 9,999 permutations are drawn."""
    losses, errors = tables(n_models, 3, n_benchmarks)
    names = [f"b{b}" for b in range(n_benchmarks)]
    fast = {"bootstrap": 0, "permutations": 0, "targets": {"all": names}, "filter_ratio": 0.5}
    with pytest.raises(InputError, match=f"{n_benchmarks} benchmarks together look inverted"):
        found(tmp_path, losses, 1 - errors, **fast)
    found(tmp_path, losses, 1 - errors, **fast, confirmed=names)
    found(tmp_path, losses, errors, **fast)


@pytest.mark.parametrize("projection", ["linear", "l2"])
def test_weights_do_not_depend_on_the_order_of_rows(tmp_path: Path, projection: str) -> None:
    """Groups with equal estimates are taken by their names."""
    losses, errors = tables(12, 7, 1)
    losses[:, 1:6] = losses[:, :1]
    names = [f"g{d}" for d in range(7)]
    weights = []
    for seed in range(4):
        order = np.random.default_rng(seed).permutation(7)
        told = found(tmp_path, losses[:, order], errors, [names[d] for d in order], projection=projection, filter_ratio=0.4)
        weights.append(told.weights.sort_by("group"))
    assert all(table.equals(weights[0]) for table in weights)


def test_what_few_replicates_tell_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimation, "REPLICATE_BYTES", 4 * 6 * 3)
    notes = found(tmp_path, *tables(12, 6, 1)).facts["notes"]
    assert "inclusion is told by 3 of the 20 replicates" in notes


def test_a_constant_benchmark_is_noted_once(tmp_path: Path) -> None:
    losses, errors = tables(12, 6, 2)
    errors[:, 1] = 0.5
    assert sum("same result" in note for note in found(tmp_path, losses, errors).facts["notes"]) == 1
