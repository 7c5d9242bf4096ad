"""Predicted ranks of held-out models: a planted ranking is found, nothing is told of the models that are predicted."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.csv as pc_csv
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.experiments import rank_prediction, rank_prediction_tables
from benchmarks.experiments.rank_prediction import ARMS, BASELINES, Arm, agreement, folds_of, predicted, rows_of, share_below, weights_of
from benchmarks.experiments.rank_prediction_report import MEANS, SHOWN, report
from benchmarks.experiments.rank_prediction_tables import ModelTable

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/methods/perplexity_correlations.md"
SHARED = ROOT.parent / "shared/data"
needs_data = pytest.mark.skipif(not (SHARED / "tables").is_dir(), reason="no shared/data/tables beside the repository")


def planted(n_telling: int, seed: int = 0) -> ModelTable:
    """120 models of 30 families on 40 independent groups; errors follow the first groups, or none of them."""
    rng = np.random.default_rng(seed)
    losses_ND = rng.uniform(0.5, 1.5, (120, 40))
    errors_N = losses_ND[:, :n_telling].mean(axis=1) if n_telling else rng.uniform(size=120)
    families = [f"f{n % 30}" for n in range(120)]
    return ModelTable("planted", losses_ND, np.stack([errors_N, 1 - errors_N], axis=1), ["b", "c"], families, np.ones((2, 40), bool))


def row_of(table: ModelTable, benchmark: str = "b") -> dict:
    return next(row for row in rows_of(table) if row["benchmark"] == benchmark)


def test_a_planted_ranking_is_found_and_the_mean_loss_does_not_find_it():
    row = row_of(planted(4))
    # The mean of 40 groups shares sqrt(4 / 40) with that of the four; a tenth of 40 groups is four.
    assert row["spearman"] > 0.95
    assert row["mean_loss_spearman"] == pytest.approx(np.sqrt(0.1), abs=0.15)
    assert row["spearman_low"] > 0.3
    assert row["rank_error"] < 0.06 < 0.2 < row["mean_loss_rank_error"]
    assert row["rank_error_high"] < -0.1


def test_where_losses_tell_nothing_nothing_is_found():
    assert all(abs(row_of(planted(0, seed))["spearman"]) < 0.25 for seed in range(2))


@pytest.mark.slow
def test_on_noise_few_intervals_leave_out_zero():
    better, arms = 0, [BASELINES[0], Arm(*SHOWN)]
    for seed in range(100):
        table = planted(0, seed)
        predicted_RAN = np.stack([predicted(table, arms, repeat)[..., 0] for repeat in range(rank_prediction.N_REPEATS)])
        replicates_BA = agreement(predicted_RAN, table.errors_NT[:, 0], table.families).spearman_BA
        better += float(np.quantile(replicates_BA[:, 1] - replicates_BA[:, 0], 0.025)) > 0
    # 2.5 would be right; fits are held fixed, and so it is 5.
    assert better <= 10


def test_where_all_groups_tell_alike_the_mean_loss_is_hard_to_beat():
    table = planted(40)
    row = row_of(table)
    assert row["mean_loss_spearman"] > 0.99
    assert row["spearman_high"] < 0


@pytest.mark.parametrize("arm", [*ARMS, *BASELINES])
def test_results_of_a_fold_do_not_reach_its_own_predictions(arm: Arm):
    table = planted(4)
    held_N = folds_of(table.families, rank_prediction.N_FOLDS, seed=3) == 2
    other = replace(table, errors_NT=np.where(held_N[:, None], -table.errors_NT, table.errors_NT))
    before_NT, after_NT = (predicted(each, [arm], seed=3)[0] for each in (table, other))
    assert np.array_equal(before_NT[held_N], after_NT[held_N])
    if arm.estimator:
        assert not np.array_equal(before_NT[~held_N], after_NT[~held_N])


@given(st.lists(st.integers(0, 12), min_size=5, max_size=80), st.integers(0, 5))
def test_folds_keep_families_whole_and_are_even_up_to_a_family(families: list[int], seed: int):
    names = [f"f{family}" for family in families]
    fold_N = folds_of(names, 5, seed)
    assert all(len({int(f) for f, name in zip(fold_N, names, strict=True) if name == one}) == 1 for one in names)
    sizes = np.bincount(fold_N, minlength=5)
    assert sizes.max() - sizes.min() <= max(map(names.count, names))


def test_shares_below_count_equal_values_half():
    assert share_below(np.array([1.0, 2.0, 2.0, 5.0]), np.array([0.0, 1.0, 2.0, 3.0, 9.0])).tolist() == [0, 0.125, 0.5, 0.75, 1]


@pytest.mark.parametrize("arm", [*ARMS, *BASELINES])
def test_weights_sum_to_one_and_leave_out_what_is_not_usable(arm: Arm):
    table = planted(4)
    usable_TD = np.arange(40) >= np.array([[2], [35]])
    weights_TD = weights_of(table.losses_ND, table.errors_NT, usable_TD, arm)
    assert weights_TD.sum(axis=1) == pytest.approx([1, 1])
    assert not weights_TD[~usable_TD].any()
    if arm == SHOWN:
        # tau is 1 / 3.8 over 38 groups: three whole ones, and what remains; above 1 over five: the best alone.
        assert sorted(weights_TD[0])[-4:] == pytest.approx([0.8 / 3.8, 1 / 3.8, 1 / 3.8, 1 / 3.8])
        assert sorted(weights_TD[1])[-2:] == [0, 1]


def test_replicates_are_what_scipy_finds_on_models_repeated():
    rng = np.random.default_rng(1)
    errors_N, predicted_RAN = rng.normal(size=30), np.round(rng.uniform(size=(2, 3, 30)), 1)
    families = [f"f{n // 3}" for n in range(30)]
    found = agreement(predicted_RAN, errors_N, families)
    copies_NB = rank_prediction.Bootstrap(errors_N[:, None], families, n=rank_prediction.N_REPLICATES).copies_NB
    for b in (0, 7, 999):
        at = np.repeat(np.arange(30), copies_NB[:, b])
        expected_RA = [[spearmanr(predicted_N[at], errors_N[at])[0] for predicted_N in of_repeat] for of_repeat in predicted_RAN]
        assert found.spearman_BA[b] == pytest.approx(np.mean(expected_RA, axis=0), abs=1e-5)
    true_N = (np.argsort(np.argsort(errors_N)) + 0.5) / 30
    assert found.rank_error_A == pytest.approx(np.abs(predicted_RAN - true_N).mean(axis=(0, 2)))
    assert found.rank_error_BA[999] == pytest.approx(np.abs(predicted_RAN - true_N)[:, :, at].mean(axis=(0, 2)))


@needs_data
def test_published_tables_have_the_sizes_they_are_said_to_have():
    tables = {table.name: table for table in rank_prediction_tables.read_all(SHARED)}
    shapes = {name: (*table.losses_ND.shape, table.errors_NT.shape[1]) for name, table in tables.items()}
    assert shapes["open LLMs"] == (89, 263, 10)  # One of 90 is listed twice.
    assert shapes["scaling"] == (69, 8, 47)
    assert shapes["regmix 1M"] == (768, 13, 13)
    assert all(np.isfinite(table.losses_ND).all() and np.isfinite(table.errors_NT).all() for table in tables.values())
    # The mean correlation over texts that is known of the paper's models.
    open_llms = tables["open LLMs"]
    found = rank_prediction.estimate(open_llms.losses_ND, open_llms.errors_NT)[[0, 1, 3, 5]].mean(axis=1)
    assert found == pytest.approx([0.976, 0.964, 0.955, 0.848], abs=2e-3)


@needs_data
def test_a_stand_in_for_a_benchmark_is_not_predicted_from_itself():
    for table in rank_prediction_tables.read_all(SHARED):
        if table.name.startswith(("olmix", "regmix")):
            same_TD = (table.errors_NT.T[:, None, :] == table.losses_ND.T[None]).all(axis=2)
            assert same_TD.sum() >= 13
            assert not (same_TD & table.usable_TD).any()


def test_the_page_quotes_what_the_experiment_prints():
    text = PAGE.read_text()
    printed = [line for line in report(pc_csv.read_csv(rank_prediction.RESULTS)).splitlines() if re.match(r"\| .*\d", line)]
    assert len(printed) > 100
    assert not [line for line in printed if line not in text]


def test_kept_results_have_every_arm_and_intervals_around_differences():
    rows = pc_csv.read_csv(rank_prediction.RESULTS).to_pylist()
    for table in {row["table"] for row in rows}:
        assert {(r["estimator"], r["projection"], r["features"]) for r in rows if (r["table"], r["benchmark"]) == (table, MEANS)} == set(
            ARMS
        )
    means = [row for row in rows if row["benchmark"] == MEANS]
    assert all(row["spearman_low"] <= row["spearman"] - row["mean_loss_spearman"] <= row["spearman_high"] for row in means)
