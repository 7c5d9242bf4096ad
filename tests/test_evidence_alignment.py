"""Losses beside results: the same models in the same order, and every policy for what is missing by hand."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.errors import InputError
from curate.evidence.alignment import Aligned, align, check_before_losses
from curate.evidence.benchmark_results import BenchmarkResults, read_benchmarks
from curate.evidence.imported_losses import import_losses
from curate.evidence.loss_table import LossTable, write_loss_table
from curate.evidence.settings import Benchmarks, Losses
from curate.storage import Folder
from pipelines import SHARED

TABLES = SHARED / "data" / "tables"
needs_tables = pytest.mark.skipif(not TABLES.is_dir(), reason="no shared/data/tables beside the repository")
NAN = float("nan")


def table(
    folder: Path, losses: dict[str, list[float]], groups: list[str] | None = None, families: dict[str, str] | None = None
) -> LossTable:
    """A table of these losses."""
    n = len(next(iter(losses.values())))
    with (folder / "table.parquet").open("wb") as out:
        columns = {name: np.array(column) for name, column in losses.items()}
        described = {name: {"family": family} for name, family in (families or {}).items()}
        write_loss_table(out, pa.array(groups or [f"g{i}" for i in range(n)]), None, None, columns, described, "domain", {})
    return LossTable(Folder(str(folder)))


def results_of(errors: dict[str, list[float]], names: tuple[str, ...] = ("s", "t")) -> BenchmarkResults:
    """These errors of benchmarks s and t."""
    models = tuple(sorted(errors))
    return BenchmarkResults(models, names, np.array([errors[name] for name in models], dtype=float), {}, [], ("r.csv",))


def kept_losses(aligned: Aligned, size: int = 65_536) -> tuple[list[str], np.ndarray]:
    """All blocks side by side."""
    blocks = list(aligned.blocks(size))
    return [name for groups, _ in blocks for name in groups.to_pylist()], np.concatenate([losses_ND for _, losses_ND in blocks], axis=1)


COMPLETE = {"c": [3.0, 3.5, 3.0], "a": [1.0, 1.5, 1.0], "b": [2.0, 2.5, 2.0]}
ERRORS = {"b": [0.2, 0.5], "a": [0.1, 0.4], "c": [0.3, 0.6]}
HOLES = {
    "a": [1.0, 1.5, 1.0, 1.1],
    "b": [2.0, NAN, 2.0, 2.1],
    "c": [3.0, 3.5, 3.1, 3.2],
    "d": [4.0, NAN, NAN, 4.2],
    "e": [5.0, 5.5, 5.1, 5.2],
}
FULL = {"a": [0.1, 0.4], "b": [0.2, 0.5], "c": [0.3, 0.6], "d": [0.4, 0.7], "e": [0.5, 0.8]}


def test_models_are_set_side_by_side_by_name(tmp_path):
    aligned = align(table(tmp_path, COMPLETE, families={"b": "kin", "c": "kin"}), results_of(ERRORS))
    assert aligned.models == ("a", "b", "c") and aligned.families_N == ("a", "kin", "kin")
    np.testing.assert_array_equal(aligned.errors_NB, [[0.1, 0.4], [0.2, 0.5], [0.3, 0.6]])
    groups, losses_ND = kept_losses(aligned)
    assert groups == ["g0", "g1", "g2"] and aligned.groups.to_pylist() == groups and aligned.is_complete
    np.testing.assert_array_equal(losses_ND, [COMPLETE["a"], COMPLETE["b"], COMPLETE["c"]])
    assert aligned.notes == ["3 models are of 2 families; more than one: kin 2"]
    assert aligned.dropped_models == {} and aligned.dropped_groups == {}


def test_families_that_only_results_know_are_kept(tmp_path):
    results = BenchmarkResults(("a", "b", "c"), ("s",), np.array([[0.1], [0.2], [0.3]]), {"a": "x", "b": "x", "c": "x"}, [], ())
    assert align(table(tmp_path, COMPLETE, families={"b": "kin"}), results).families_N == ("x", "kin", "x")


def test_models_of_one_table_only_are_refused_with_a_hint(tmp_path):
    losses = table(tmp_path, {**COMPLETE, "EleutherAI/pythia-1.4b": [1.0, 1.0, 1.0], "lonely": [1.0, 1.0, 1.0]})
    results = results_of({**ERRORS, "Pythia_1.4B": [0.5, 0.5], "pythia-2.8b": [0.5, 0.5]})
    with pytest.raises(InputError) as caught:
        align(losses, results)
    assert "2 models with losses and no results: 'EleutherAI/pythia-1.4b', 'lonely'" in caught.value.what
    assert "2 models with results and no losses" in caught.value.what and "; 3 are" in caught.value.expected
    assert "models: {Pythia_1.4B: EleutherAI/pythia-1.4b}" in caught.value.fix and "2.8b" not in caught.value.fix
    aligned = align(losses, results, "drop_models")
    assert aligned.models == ("a", "b", "c")
    expected = {"EleutherAI/pythia-1.4b": "no results", "lonely": "no results", "Pythia_1.4B": "no losses", "pythia-2.8b": "no losses"}
    assert aligned.dropped_models == expected
    assert "2 models left out, no losses: 'Pythia_1.4B', 'pythia-2.8b'" in aligned.notes
    assert any("Pythia_1.4B: EleutherAI/pythia-1.4b" in note for note in aligned.notes)


def test_tables_that_lie_the_other_way_are_told(tmp_path):
    losses = table(tmp_path, {"x.org": [1.0, 2.0], "y.org": [1.0, 2.0]}, groups=["a", "b"])
    with pytest.raises(InputError, match="no model is in both") as caught:
        align(losses, results_of(ERRORS), "drop_models")
    assert "turn the table of losses around" in caught.value.fix
    with pytest.raises(InputError) as caught:
        align(table(tmp_path, {"s": [1.0, 2.0]}), results_of(ERRORS))
    assert "turn the table of results around" in caught.value.fix
    with pytest.raises(InputError) as caught:
        align(table(tmp_path, {"q": [1.0, 2.0]}), results_of(ERRORS))
    assert "models:" in caught.value.fix


def test_missing_cells_are_refused_with_what_each_policy_keeps(tmp_path):
    with pytest.raises(InputError) as caught:
        align(table(tmp_path, HOLES), results_of(FULL))
    assert "missing losses: 3, of 2 models: 'b' (1), 'd' (2); in 2 groups: 'g1' (2), 'g2' (1)" in caught.value.what
    for told in ("drop_models keeps 3 models and 4 groups", "drop_domains 5 models and 2 groups", "pairwise all 5 models and 4 groups"):
        assert told in caught.value.fix
    with pytest.raises(InputError) as caught:
        align(table(tmp_path, HOLES), results_of({**FULL, "c": [NAN, 0.5]}))
    assert "missing results: 1, of 1 model: 'c' (1)" in caught.value.what
    assert "drop_models keeps 2 models" in caught.value.fix and "drop_domains is out of question" in caught.value.fix


def test_what_results_lack_is_told_before_losses_are_made(tmp_path):
    names = list(FULL)
    check_before_losses(names, results_of(FULL), "refuse")
    lacking = results_of({**FULL, "c": [NAN, 0.5]})
    for missing in ("refuse", "drop_domains"):
        with pytest.raises(InputError, match=r"results of 1 model are missing: 'c' \(1\)") as caught:
            check_before_losses(names, lacking, missing)
        assert "drop_models, which keeps 4 of 5 models" in caught.value.fix and "r.csv" in caught.value.where
    check_before_losses(names, lacking, "drop_models")
    few = results_of({name: [NAN, 0.5] if name in "abc" else row for name, row in FULL.items()})
    check_before_losses(names, few, "pairwise")
    with pytest.raises(InputError, match="2 models left; 3 went: something missing"):
        check_before_losses(names, few, "drop_models")


def test_missing_results_alone_are_of_the_results(tmp_path):
    with pytest.raises(InputError) as caught:
        align(table(tmp_path, {name: [1.0, 2.0] for name in FULL}), results_of({**FULL, "c": [NAN, 0.5]}))
    assert "r.csv" in caught.value.where


def test_models_may_go(tmp_path):
    aligned = align(table(tmp_path, HOLES), results_of(FULL), "drop_models")
    assert aligned.models == ("a", "c", "e") and len(aligned.rows_D) == 4 and aligned.is_complete
    assert aligned.dropped_models == {"b": "1 losses missing", "d": "2 losses missing"}
    assert "2 models left out, numbers missing: 'b', 'd'" in aligned.notes
    with pytest.raises(InputError, match="2 models left") as caught:
        align(table(tmp_path, HOLES), results_of({**FULL, "c": [NAN, 0.5]}), "drop_models")
    assert "3 went: something missing" in caught.value.what


def test_groups_may_go(tmp_path):
    aligned = align(table(tmp_path, HOLES), results_of(FULL), "drop_domains")
    assert len(aligned.models) == 5 and aligned.rows_D.tolist() == [0, 3] and aligned.is_complete
    assert aligned.dropped_groups == {"a loss is missing": 2} and "2 groups left out: a loss is missing" in aligned.notes
    groups, losses_ND = kept_losses(aligned)
    assert groups == ["g0", "g3"]
    np.testing.assert_array_equal(losses_ND, np.array(list(HOLES.values()))[:, [0, 3]])
    with pytest.raises(InputError, match="results of 1 model are missing: 'c'"):
        align(table(tmp_path, HOLES), results_of({**FULL, "c": [NAN, 0.5]}), "drop_domains")
    with pytest.raises(InputError, match="no group is left"):
        align(table(tmp_path, {**HOLES, "a": [NAN, 1, 1, NAN]}), results_of(FULL), "drop_domains")


def test_all_may_stay(tmp_path):
    results = results_of({**FULL, "c": [NAN, 0.5], "e": [NAN, NAN]})
    aligned = align(table(tmp_path, HOLES), results, "pairwise")
    assert aligned.models == ("a", "b", "c", "d") and len(aligned.rows_D) == 4
    assert (aligned.n_missing_losses, aligned.n_missing_results, aligned.is_complete) == (3, 1, False)
    assert aligned.dropped_models == {"e": "2 results missing"}
    assert "missing losses: 3, missing results: 1; estimates rest on the models that have both" in aligned.notes
    holes = {**{name: [*row, NAN] for name, row in HOLES.items()}}
    aligned = align(table(tmp_path, holes), results, "pairwise")
    assert aligned.dropped_groups == {"no model has a loss": 1} and aligned.n_missing_losses == 3


def test_groups_are_judged_by_the_models_that_stay(tmp_path):
    losses = {"a": [1.0, 1.0, NAN], "b": [2.0, 1.0, NAN], "c": [3.0, 1.0, NAN], "d": [4.0, 9.0, 9.0]}
    aligned = align(table(tmp_path, losses), results_of({**ERRORS, "d": [NAN, NAN]}), "pairwise")
    assert aligned.dropped_groups == {"no model has a loss": 1} and aligned.is_complete
    assert "1 group of the same loss for every model, which tell nothing" in aligned.notes


def test_the_same_model_twice_is_told(tmp_path):
    losses = {**HOLES, "b2": HOLES["b"], "c2": HOLES["c"]}
    aligned = align(table(tmp_path, losses), results_of({**FULL, "b2": FULL["b"], "c2": [0.3, 0.7]}), "pairwise")
    same = [note for note in aligned.notes if "same losses and results" in note]
    assert same == ["2 models have the same losses and results, as if one: 'b', 'b2'"]


def test_what_tells_nothing_is_told(tmp_path):
    losses = {"a": [1.0, 1.0, NAN], "b": [2.0, 1.0, NAN], "c": [3.0, 1.0, 7.0]}
    aligned = align(table(tmp_path, losses), results_of({"a": [0.5, 0.1], "b": [0.5, 0.2], "c": [0.5, 0.3]}), "pairwise")
    assert "1 benchmark of the same result for every model, which tell nothing: 's'" in aligned.notes
    assert "2 groups of the same loss for every model, which tell nothing" in aligned.notes


class _Narrow(LossTable):
    """A table that comes in blocks of two groups."""

    def blocks(self, models=None, size=2):
        return super().blocks(models, min(size, 2))


@settings(max_examples=30, deadline=None)
@given(
    st.integers(3, 6).flatmap(
        lambda n: st.lists(st.lists(st.one_of(st.just(NAN), st.integers(0, 3).map(float)), min_size=n, max_size=n), min_size=3, max_size=5)
    ),
    st.sampled_from(["drop_models", "drop_domains", "pairwise"]),
    st.integers(1, 4),
)
def test_policies_agree_with_a_table_in_memory(rows, missing, size):
    frame = pd.DataFrame(rows, index=[f"m{i}" for i in range(len(rows))])
    frame.loc[frame.isna().all(axis=1), 0] = 1.0
    results = results_of({name: [0.1 * i, 0.5] for i, name in enumerate(frame.index)})
    expected = frame.dropna() if missing == "drop_models" else frame.dropna(axis=1, how="any" if missing == "drop_domains" else "all")
    with tempfile.TemporaryDirectory() as folder:
        losses = table(Path(folder), {name: list(frame.loc[name]) for name in frame.index})
        if len(expected) < 3 or expected.shape[1] == 0:
            with pytest.raises(InputError, match="left"):
                align(losses, results, missing)
            return
        aligned, narrow = align(losses, results, missing), align(_Narrow(losses.folder), results, missing)
        assert aligned.notes == narrow.notes and aligned.rows_D.tolist() == narrow.rows_D.tolist() == list(expected.columns)
        assert aligned.models == tuple(expected.index) and aligned.n_missing_losses == int(expected.isna().sum().sum())
        for one in (aligned, narrow):
            groups, losses_ND = kept_losses(one, size)
            assert groups == [f"g{d}" for d in expected.columns]
            np.testing.assert_array_equal(losses_ND, expected.to_numpy())


def test_the_order_of_both_tables_changes_nothing(tmp_path):
    one = align(table(tmp_path, COMPLETE), results_of(ERRORS))
    (tmp_path / "o").mkdir()
    other = align(table(tmp_path / "o", dict(sorted(COMPLETE.items()))), results_of(dict(reversed(ERRORS.items()))))
    assert one.models == other.models and one.notes == other.notes
    np.testing.assert_array_equal(one.errors_NB, other.errors_NB)
    np.testing.assert_array_equal(kept_losses(one)[1], kept_losses(other)[1])


@needs_tables
def test_the_real_tables_are_aligned(tmp_path):
    folder = TABLES / "perplexity_correlations"
    losses = import_losses(Losses(table=str(folder / "bpb_quality_articles.csv")), Folder(str(tmp_path)))
    aligned = align(losses, read_benchmarks([Benchmarks(path=str(folder / "error.csv"), values="error")], losses.models))
    assert (len(aligned.models), len(aligned.rows_D), len(aligned.names_B)) == (90, 263, 9) and aligned.is_complete
    assert "2 models have the same losses and results, as if one: 'LLM360/Amber', 'LLM360/Amber (llm360)'" in aligned.notes
    assert any(note.startswith("90 models are of 39 families; more than one: pythia 17,") for note in aligned.notes)
    bpb, error = (pd.read_csv(folder / f"{name}.csv", index_col=0) for name in ("bpb_quality_articles", "error"))
    column = "('jackfram', 'JackFram/llama-160m')"
    at = aligned.models.index("JackFram/llama-160m")
    np.testing.assert_allclose(aligned.errors_NB[at], error[column], rtol=1e-15)
    np.testing.assert_allclose(kept_losses(aligned, 100)[1][at], bpb[column], rtol=1e-15)


@needs_tables
def test_another_list_of_models_keeps_those_in_both(tmp_path):
    folder = TABLES / "perplexity_correlations"
    losses = import_losses(Losses(table=str(folder / "bpb_quality_articles.csv")), Folder(str(tmp_path)))
    results = read_benchmarks([Benchmarks(path=str(folder / "error_256.csv"), values="error")], losses.models)
    with pytest.raises(InputError, match="56 models with losses and no results"):
        align(losses, results)
    aligned = align(losses, results, "drop_models")
    assert len(aligned.models) == 34 and len(aligned.dropped_models) == 56 + 57


@needs_tables
def test_losses_and_accuracies_of_the_scaling_table_are_aligned(tmp_path):
    path = TABLES / "scaling" / "models_c4_rpj.csv"
    frame = pd.read_csv(path, index_col="name")
    columns = [name for name in frame if name.startswith("loss/") and frame[name].notna().any()]
    frame[columns].T.to_csv(tmp_path / "losses.csv")
    losses = import_losses(Losses(table=str(tmp_path / "losses.csv")), Folder(str(tmp_path / "out")))
    tasks = [name for name in frame if name.startswith("acc/") and frame[name].notna().all()]
    results = read_benchmarks([Benchmarks(path=str(path), values="accuracy", tasks=tasks)], losses.models)
    aligned = align(losses, results, "pairwise")
    assert aligned.models == tuple(sorted(frame.index))
    np.testing.assert_allclose(aligned.errors_NB, 1 - frame.loc[list(aligned.models), list(aligned.names_B)].to_numpy(), rtol=1e-15)
    np.testing.assert_allclose(kept_losses(aligned)[1], frame.loc[list(aligned.models), columns].to_numpy(), rtol=1e-15)
