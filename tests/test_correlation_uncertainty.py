"""Bootstrap, permutations and the check of direction, beside plain slow versions of each; and what they must tell."""

from __future__ import annotations

from itertools import permutations as all_orders
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from curate.correlation import Bootstrap, Estimator, Permutations, describe_spread, estimate, interval, inverted
from curate.correlation.bootstrap import family_copies
from curate.correlation.direction import MeanLosses, mean_ranks
from curate.correlation.permutations import permutations
from curate.errors import InputError

ALL: tuple[Estimator, ...] = get_args(Estimator)
seeds = st.integers(0, 2**32 - 1)


def tied_table(seed: int, n: int = 8, d: int = 5, t: int = 2) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    return random.integers(0, 5, (n, d)) / 4, random.integers(0, 4, (n, t)) / 3


def families_of(seed: int, n: int = 8) -> list[str]:
    """Two to five families of uneven size."""
    names = [f"family {i}" for i in np.random.default_rng(seed).integers(0, 5, n)]
    names[0], names[1] = "a", "b"
    return names


@given(seeds, st.sampled_from(ALL))
@settings(max_examples=60, deadline=None)
def test_replicates_are_estimates_of_models_repeated(seed: int, estimator: Estimator) -> None:
    losses, errors = tied_table(seed)
    bootstrap = Bootstrap(errors, families_of(seed), estimator, n=12, seed=seed)
    replicates = bootstrap.replicates(losses)
    assert replicates.shape == (12, 2, 5)
    assert replicates.dtype == np.float32
    for copies_N, replicate in zip(bootstrap.copies_NB.T, replicates, strict=True):
        slow = estimate(np.repeat(losses, copies_N, 0), np.repeat(errors, copies_N, 0), estimator)
        assert np.abs(replicate - slow).max() < 1e-6


@pytest.mark.parametrize("estimator", ["spearman", "sign_cdf", "sign_sign"])
def test_replicates_of_many_models_need_wider_numbers(estimator: Estimator) -> None:
    random = np.random.default_rng(2)
    losses = random.random((2200, 1))
    errors = losses + 0.01 * random.random((2200, 1))
    families = [f"family {i % 1100}" for i in range(2200)]
    if estimator == "sign_sign":
        losses, errors, families = losses[:200], errors[:200], families[:200]
    bootstrap = Bootstrap(errors, families, estimator, n=3)
    for copies_N, replicate in zip(bootstrap.copies_NB.T, bootstrap.replicates(losses), strict=True):
        assert np.abs(replicate - estimate(np.repeat(losses, copies_N, 0), np.repeat(errors, copies_N, 0), estimator)).max() < 1e-6


@pytest.mark.parametrize("estimator", ALL[1:])
def test_a_replicate_of_models_that_are_all_alike_is_0(estimator: Estimator) -> None:
    random = np.random.default_rng(4)
    losses, errors = np.repeat(random.random((2, 40)), 7, 0), random.random((14, 1))
    bootstrap = Bootstrap(errors, ["a"] * 7 + ["b"] * 7, estimator, n=30)
    alike_B = (bootstrap.copies_NB == 0).any(axis=0)
    assert 5 < alike_B.sum() < 25
    replicates = bootstrap.replicates(losses)
    assert np.abs(replicates[alike_B]).max() <= (1e-6 if estimator == "sign" else 0)
    assert (replicates[~alike_B] != 0).all()


def test_families_are_drawn_whole_as_often_as_there_are_families() -> None:
    families = ["llama", "pythia", "llama", "olmo", "pythia", "llama"]
    copies_NB = family_copies(families, 4000, 7)
    assert (copies_NB[0] == copies_NB[2]).all()
    assert (copies_NB[1] == copies_NB[4]).all()
    by_family = copies_NB[[0, 1, 3]]
    assert (by_family.sum(axis=0) == 3).all()
    # Each is drawn binomially, 3 times with 1/3: mean 1, variance 2/3.
    assert by_family.mean(axis=1) == pytest.approx(1, abs=0.06)
    assert by_family.var(axis=1) == pytest.approx(2 / 3, abs=0.06)
    assert np.corrcoef(by_family[:, :-1].ravel(), by_family[:, 1:].ravel())[0, 1] == pytest.approx(0, abs=0.05)


def test_draws_go_by_the_names_of_families_and_the_seed() -> None:
    families = [f"family {i % 7}" for i in range(20)]
    copies_NB = family_copies(families, 50, 3)
    order = np.random.default_rng(0).permutation(20)
    assert (family_copies([families[i] for i in order], 50, 3) == copies_NB[order]).all()
    assert (family_copies(families, 50, 4) != copies_NB).any()
    assert (family_copies(families, 20, 3) == copies_NB[:, :20]).all(), "more replicates leave the first as they are"
    # The same on any machine: hashes, no generator.
    assert family_copies(["a", "b", "c"], 4, 0).T.tolist() == [[0, 1, 2], [2, 1, 0], [0, 2, 1], [0, 1, 2]]


def test_intervals_do_not_depend_on_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    losses, errors = tied_table(4, n=12, d=60)
    for estimator in ALL:
        bootstrap = Bootstrap(errors, families_of(4, 12), estimator, n=40)
        whole = bootstrap.intervals(losses, 0.8)
        with monkeypatch.context() as patch:
            patch.setattr("curate.correlation.bootstrap._BLOCK_BYTES", 4096)
            parts = bootstrap.intervals(losses, 0.8)
        for one, other in zip(whole, parts, strict=True):
            assert np.abs(one.astype(float) - other).max() < 1e-6
        expected = np.quantile(bootstrap.replicates(losses), [0.1, 0.9], axis=0)
        assert np.abs(whole.low_TD - expected[0]).max() < 1e-6
        assert np.abs(whole.high_TD - expected[1]).max() < 1e-6


def test_a_sign_is_settled_where_the_interval_leaves_out_0() -> None:
    random = np.random.default_rng(1)
    errors = random.random((60, 1))
    losses = np.concatenate([errors + 0.1 * random.random((60, 1)), 1 - errors, random.random((60, 1)), np.full((60, 1), 0.5)], axis=1)
    found = Bootstrap(errors, [str(i) for i in range(60)], n=100).intervals(losses)
    assert found.settled_TD.tolist() == [[True, True, False, False]]
    assert found.low_TD[0, 0] > 0.8
    assert found.high_TD[0, 1] == -1
    assert found.low_TD[0, 3] == found.high_TD[0, 3] == 0


def test_families_widen_the_interval() -> None:
    random = np.random.default_rng(9)
    errors, losses = np.repeat(random.random((10, 1)), 8, 0), np.repeat(random.random((10, 200)), 8, 0)
    errors, losses = errors + 0.01 * random.random(errors.shape), losses + 0.01 * random.random(losses.shape)
    apart = Bootstrap(errors, [str(i) for i in range(80)]).intervals(losses)
    together = Bootstrap(errors, [str(i // 8) for i in range(80)]).intervals(losses)
    assert np.mean(together.high_TD - together.low_TD) > 1.5 * np.mean(apart.high_TD - apart.low_TD)


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    random = np.random.default_rng(5)
    held = []
    for _ in range(40):
        x = random.normal(size=(100, 25))
        y = x + random.normal(size=x.shape)
        for d in range(0, 25, 5):
            found = Bootstrap(y[:, [d]], [str(i) for i in range(100)], "spearman").intervals(x[:, [d]], 0.9)
            held.append(found.low_TD[0, 0] <= 6 / np.pi * np.arcsin(np.sqrt(0.5) / 2) <= found.high_TD[0, 0])
    assert 0.8 < np.mean(held) < 0.97


def test_bootstrap_refuses_one_family_and_missing_numbers() -> None:
    losses, errors = tied_table(0)
    with pytest.raises(InputError, match="1 family"):
        Bootstrap(errors, ["a"] * 8)
    with pytest.raises(InputError, match="1 of 16 errors"):
        Bootstrap(np.where(np.arange(16).reshape(8, 2) == 3, np.nan, errors), families_of(0))
    losses[2, 2] = np.nan
    with pytest.raises(InputError, match="1 of 40 losses"):
        Bootstrap(errors, families_of(0)).replicates(losses)
    with pytest.raises(InputError, match="losses of 7 models"):
        Bootstrap(errors, families_of(0)).replicates(losses[:7])


def test_ends_of_an_interval_of_one_replicate_and_of_two() -> None:
    one = interval(np.full((1, 1, 2), 0.25, np.float32), 0.9)
    assert one.low_TD.tolist() == one.high_TD.tolist() == [[0.25, 0.25]]
    two = interval(np.array([0.0, 1.0], np.float32).reshape(2, 1, 1), 0.5)
    assert (two.low_TD[0, 0], two.high_TD[0, 0]) == (0.25, 0.75)


@pytest.mark.parametrize("estimator", ALL)
@pytest.mark.parametrize("ties", ["mid", "order"])
def test_p_values_and_spread_are_those_of_permuted_results(estimator: Estimator, ties: str, monkeypatch: pytest.MonkeyPatch) -> None:
    losses, errors = tied_table(6, n=9, d=7, t=3)
    found = Permutations(errors, estimator, ties, n=50, seed=2)  # type: ignore[arg-type]
    with monkeypatch.context() as patch:
        patch.setattr("curate.correlation.permutations._BLOCK_BYTES", 8 * 36 * 10)
        p_values = np.concatenate([found.p_values(losses[:, :3]), found.p_values(losses[:, 3:])], axis=1)
    observed = estimate(losses, errors, estimator, ties)  # type: ignore[arg-type]
    null = np.stack([estimate(losses, errors[order], estimator, ties) for order in permutations(9, 50, 2)])  # type: ignore[arg-type]
    centre = errors.mean(axis=0)[:, None] * losses.mean(axis=0) if estimator == "product" else 0
    slow = (1 + (np.abs(null - centre) >= np.abs(observed - centre) - 1e-9).sum(axis=0)) / 51
    assert p_values == pytest.approx(slow, abs=1e-12)
    spread = found.spread()
    assert spread.observed_T == pytest.approx(observed.std(axis=1), abs=1e-12)
    assert spread.null_TP == pytest.approx(null.std(axis=2).T, abs=1e-12)
    assert spread.p_value_T == pytest.approx((1 + (observed.std(axis=1)[:, None] - 1e-9 <= null.std(axis=2).T).sum(axis=1)) / 51)


def test_permutations_are_even() -> None:
    orders_PN = permutations(5, 6000, 1)
    assert (np.sort(orders_PN, axis=1) == np.arange(5)).all()
    counts = np.unique(orders_PN, axis=0, return_counts=True)[1]
    assert len(counts) == 120
    assert stats.chisquare(counts).pvalue > 0.001
    assert (permutations(5, 10, 1) == orders_PN[:10]).all()


def test_p_values_are_uniform_under_the_null_and_small_under_an_effect() -> None:
    random = np.random.default_rng(8)
    losses, errors = random.random((20, 500)), random.random((20, 1))
    losses[:, 0] = errors[:, 0] ** 2
    found = Permutations(errors, n=199)
    p_values = found.p_values(losses)[0]
    assert p_values[0] == 1 / 200
    assert stats.kstest(p_values[1:], "uniform").pvalue > 0.001
    assert found.spread().p_value_T[0] > 0.05


def test_a_spread_that_is_more_than_chance_is_told() -> None:
    random = np.random.default_rng(8)
    errors = random.random((20, 1))
    losses = random.random((20, 100)) + np.linspace(-2, 2, 100) * errors
    found = Permutations(errors, n=199)
    assert np.isnan(found.spread().observed_T).all(), "before any group"
    found.p_values(losses)
    assert found.spread().p_value_T[0] == 1 / 200


def test_accuracies_passed_as_errors_are_suspected() -> None:
    random = np.random.default_rng(3)
    losses = random.random((30, 8)) + 2 * random.random((30, 1))
    errors = losses.mean(axis=1) + 0.3 * random.random(30)
    targets = np.stack([errors, 1 - errors, np.full(30, 0.5), np.where(np.arange(30) < 12, np.nan, -errors)], axis=1)
    found = inverted(losses.mean(axis=1), targets)
    assert [suspicion.target for suspicion in found] == [1, 3]
    assert found[0].correlation == pytest.approx(stats.spearmanr(losses.mean(axis=1), 1 - errors).statistic)
    assert found[0].p_value == 1 / 10_000


def test_direction_of_few_models_is_exact() -> None:
    mean, errors = np.arange(5.0), np.array([0.5, 0.4, 0.3, 0.1, 0.2])
    as_low = sum(np.dot(mean, order) <= np.dot(mean, errors) + 1e-12 for order in all_orders(errors))
    found = inverted(mean, errors[:, None])
    assert found[0].p_value == as_low / 120
    assert not inverted(np.arange(3.0), np.array([[3.0], [2.0], [1.0]])), "1 of 6 orders is no evidence"
    assert not inverted(mean, 1 - errors[:, None])


def test_a_target_without_a_direction_is_suspected_as_often_as_the_level_says() -> None:
    random = np.random.default_rng(12)
    found = inverted(random.random(25), random.random((25, 200)))
    assert 2 <= len(found) <= 20


def test_models_that_lack_dear_groups_are_not_taken_for_better() -> None:
    skill = np.arange(8.0)
    losses = skill[:, None] + np.array([0, 100, 50, 20.0])
    losses[5:, 1] = np.nan
    means = MeanLosses(8)
    for start in (0, 2):
        means.add(losses[:, start : start + 2])
    assert inverted(means.mean(), -skill[:, None])[0].correlation == pytest.approx(-1)


def test_all_targets_as_one_are_mean_ranks() -> None:
    errors = np.array([[0.1, 5.0, np.nan], [0.3, 1.0, np.nan], [0.2, np.nan, np.nan], [np.nan, np.nan, np.nan]])
    np.testing.assert_allclose(mean_ranks(errors), [(0.5 / 3 + 1.5 / 2) / 2, (2.5 / 3 + 0.5 / 2) / 2, 1.5 / 3, np.nan])


@given(seeds)
@settings(max_examples=20, deadline=None)
def test_spread_is_described_without_missing_estimates(seed: int) -> None:
    estimates = np.random.default_rng(seed).normal(size=31)
    expected = describe_spread(estimates)
    assert expected[:5] == tuple(np.sort(estimates)[[0, 3, 15, 27, 30]])
    assert expected.standard_deviation == pytest.approx(estimates.std())
    assert describe_spread(np.append(estimates, np.nan)) == expected
    assert np.isnan(describe_spread(np.array([np.nan]))).all()
