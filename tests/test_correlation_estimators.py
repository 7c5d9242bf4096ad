"""Estimates: equal to the authors' package where it is right, what must hold of any table, and the published lists."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import perplexity_correlations.estimation as package
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from published_correlations import BENCHMARKS, PUBLISHED
from scipy import stats

from curate.correlation import Estimator, estimate, estimate_pairwise, group_benchmarks, leave_one_out, stability
from curate.correlation.column_ranks import centred_ranks
from curate.correlation.estimators import GROUPS_BY_PAIRS, PAIRS_AT_A_TIME
from curate.errors import ConfigError, InputError
from pipelines import SHARED

TABLES = SHARED / "data" / "tables" / "perplexity_correlations"
ALL: tuple[Estimator, ...] = get_args(Estimator)
OF_RANKS: tuple[Estimator, ...] = ("sign_cdf", "sign_sign", "spearman")
PACKAGE: dict[Estimator, Callable[..., np.ndarray]] = {
    "product": package.product,
    "sign": package.sign,
    "sign_cdf": package.sign_cdf,
    "sign_sign": package.sign_sign,
    "spearman": package.spearmanr,
}
EXAMPLE = np.array([[1.0, 2], [2, 1], [3, 4], [4, 3]])
seeds = st.integers(0, 2**32 - 1)


def tied_table(seed: int, n: int = 9, d: int = 6, t: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Few different values, so that ties are everywhere."""
    random = np.random.default_rng(seed)
    return random.integers(0, 5, (n, d)) / 4, random.integers(0, 4, (n, t)) / 3


def by_pairs(losses_ND: np.ndarray, errors_N: np.ndarray, sides: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """The U-statistic as it is written: a loop over pairs."""
    n = len(errors_N)
    features = sides(losses_ND)
    total = np.zeros(losses_ND.shape[1])
    for g in range(n):
        for k in range(g):
            difference = features[g] - features[k]
            total += np.sign(errors_N[g] - errors_N[k]) * (np.sign(difference) if sides is np.positive else difference)
    return 2 * total / (n * (n - 1))


@pytest.mark.parametrize("estimator", PACKAGE)
@pytest.mark.parametrize(("n", "d", "t"), [(2, 3, 1), (7, 1, 4), (30, 700, 3), (97, 260, 2)])
def test_equals_the_package_without_ties(estimator: Estimator, n: int, d: int, t: int) -> None:
    random = np.random.default_rng(n)
    losses, errors = random.random((n, d)), random.random((n, t))
    for ties in ("mid", "order"):
        expected = np.stack([PACKAGE[estimator](losses, column) for column in errors.T])
        assert np.abs(estimate(losses, errors, estimator, ties) - expected).max() <= 1e-12


@given(seeds)
@settings(max_examples=30, deadline=None)
def test_the_packages_tie_rule_is_its_own_to_the_last_bit(seed: int) -> None:
    losses, errors = tied_table(seed, n=40, d=20)
    for column, ours in zip(errors.T, estimate(losses, errors, "spearman", "order"), strict=True):
        assert (ours == package.spearmanr(losses, column)).all()
    assert np.abs(estimate(losses, errors, "sign_cdf", "order")[0] - package.sign_cdf(losses, errors[:, 0])).max() < 1e-12
    assert np.abs(estimate(losses, errors, "sign_sign")[0] - package.sign_sign(losses, errors[:, 0])).max() < 1e-12


@pytest.mark.parametrize(
    ("estimator", "without_ties", "with_ties"),
    [
        ("product", (0.75, 0.70), (0.70, 0.675)),
        ("sign", (5 / 3, 1.0), (1.5, 7 / 6)),
        ("sign_cdf", (5 / 12, 0.25), (0.375, 7 / 24)),
        ("sign_sign", (1, 1 / 3), (5 / 6, 0.5)),
        ("spearman", (1, 0.6), (0.9486832980505138, 0.7378647873726218)),
        ("pearson", (1, 0.6), (0.55 / np.sqrt(0.3375), 0.45 / np.sqrt(0.3375))),
    ],
)
def test_values_computed_by_hand(estimator: Estimator, without_ties: tuple[float, ...], with_ties: tuple[float, ...]) -> None:
    errors = np.array([[0.1, 0.1], [0.2, 0.1], [0.3, 0.3], [0.4, 0.4]])
    assert np.abs(estimate(EXAMPLE, errors, estimator) - [without_ties, with_ties]).max() < 1e-12


def test_the_packages_rule_breaks_a_tie_of_errors_by_place() -> None:
    assert estimate(EXAMPLE, np.array([[0.1], [0.1], [0.3], [0.4]]), "spearman", "order").tolist() == [[1.0, 0.6]]


@given(seeds)
@settings(max_examples=40, deadline=None)
def test_agrees_with_scipy_and_with_a_loop_over_pairs(seed: int) -> None:
    losses, errors = tied_table(seed)
    cdf = lambda x: (1 + centred_ranks(x.T, "mid").T / len(x) + 1 / len(x)) / 2  # noqa: E731
    for t, column in enumerate(errors.T):
        assert np.abs(estimate(losses, errors, "sign")[t] - by_pairs(losses, column, lambda x: x)).max() < 1e-12
        assert np.abs(estimate(losses, errors, "sign_cdf")[t] - by_pairs(losses, column, cdf)).max() < 1e-12
        assert np.abs(estimate(losses, errors, "sign_sign")[t] - by_pairs(losses, column, np.positive)).max() < 1e-12
        for d in range(0, losses.shape[1], 3):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                rho, r = stats.spearmanr(losses[:, d], column).statistic, stats.pearsonr(losses[:, d], column).statistic
            assert estimate(losses, errors, "spearman")[t, d] == pytest.approx(np.nan_to_num(rho), abs=1e-12)
            assert estimate(losses, errors, "pearson")[t, d] == pytest.approx(np.nan_to_num(r), abs=1e-12)


@given(seeds)
@settings(max_examples=30, deadline=None)
def test_identities(seed: int) -> None:
    losses, errors = tied_table(seed)
    n = len(losses)
    ranks = centred_ranks(errors.T, "mid")
    assert (ranks == np.sign(errors.T[:, :, None] - errors.T[:, None, :]).sum(axis=2)).all()
    assert (ranks == 2 * np.array([stats.rankdata(column) for column in errors.T]) - n - 1).all()
    random = np.random.default_rng(seed)
    losses, errors = random.random((n, 5)), random.random((n, 2))
    rho, cdf = estimate(losses, errors, "spearman"), estimate(losses, errors, "sign_cdf")
    assert np.abs(cdf - rho * (n + 1) / (3 * n)).max() < 1e-15


@given(seeds, st.sampled_from(ALL))
@settings(max_examples=40, deadline=None)
def test_neither_the_order_of_models_nor_memory_bears_on_estimates(seed: int, estimator: Estimator) -> None:
    losses, errors = tied_table(seed)
    expected = estimate(losses, errors, estimator)
    order = np.random.default_rng(seed).permutation(len(losses))
    shuffled = estimate(losses[order], errors[order], estimator)
    exact = estimator in OF_RANKS
    columns = estimate(np.asfortranarray(losses), errors, estimator)
    quarters = estimate(losses.astype(np.float32), errors, estimator)
    for other in (shuffled, columns, quarters):
        assert (other == expected).all() if exact else np.abs(other - expected).max() < 1e-12
    one_by_one = [estimate(losses[:, [d]], errors[:, [0]], estimator)[0, 0] for d in range(losses.shape[1])]
    assert np.abs(expected[0] - one_by_one).max() < 1e-12


@given(seeds, st.sampled_from(OF_RANKS))
@settings(max_examples=40, deadline=None)
def test_rank_estimators_see_order_alone(seed: int, estimator: Estimator) -> None:
    losses, errors = tied_table(seed)
    expected = estimate(losses, errors, estimator)
    assert (estimate(np.exp(3 * losses), errors, estimator) == expected).all()
    assert (estimate(losses, np.sqrt(errors), estimator) == expected).all()
    assert (estimate(losses, 1 - errors, estimator) == -expected).all()
    assert (estimate(-losses, errors, estimator) == -expected).all()


@given(seeds, st.sampled_from(ALL))
@settings(max_examples=30, deadline=None)
def test_every_model_twice_changes_no_correlation(seed: int, estimator: Estimator) -> None:
    losses, errors = tied_table(seed)
    once, twice = estimate(losses, errors, estimator), estimate(np.repeat(losses, 2, 0), np.repeat(errors, 2, 0), estimator)
    # A pair of copies is a tie: sums over pairs have N (N - 1) pairs for N² that count.
    n = len(losses)
    factor = 1.0 if estimator in ("product", "spearman", "pearson") else 2 * (n - 1) / (2 * n - 1)
    assert np.abs(twice - factor * once).max() < 1e-12


@pytest.mark.parametrize("value", [0.0, 0.7, 0.1 + 0.2, 1e300])
def test_a_constant_column_is_exactly_0(value: float) -> None:
    random = np.random.default_rng(0)
    losses, errors = random.random((11, 3)), random.random((11, 2))
    losses[:, 1] = value
    errors[:, 1] = 0.3
    for estimator in ALL[1:]:
        estimates = estimate(losses, errors, estimator)
        assert estimates[0, 1] == 0
        assert np.abs(estimates[1]).max() == 0, estimator
        assert (estimates[0, [0, 2]] != 0).all()


def test_the_package_takes_a_constant_column_and_the_order_of_tied_models_for_information() -> None:
    random = np.random.default_rng(3)
    losses, errors = np.full((30, 1), 0.5), random.random(30)
    order = random.permutation(30)
    assert package.spearmanr(losses, errors)[0] != 0
    assert package.spearmanr(losses[order], errors[order])[0] != package.spearmanr(losses, errors)[0]
    assert estimate(losses, errors[:, None])[0, 0] == 0 == estimate(losses[order], errors[order][:, None])[0, 0]


def test_estimates_of_many_blocks_and_many_pairs_are_those_of_one_column() -> None:
    n, d = 120, 2 * GROUPS_BY_PAIRS + 1
    assert n * (n - 1) // 2 > PAIRS_AT_A_TIME
    losses, errors = np.random.default_rng(0).random((n, d)), np.random.default_rng(1).random((n, 1))
    for estimator in OF_RANKS:
        estimates = estimate(losses, errors, estimator)[0]
        for column in (0, GROUPS_BY_PAIRS - 1, GROUPS_BY_PAIRS, d - 1):
            expected = {"sign_sign": stats.kendalltau, "spearman": stats.spearmanr}.get(estimator)
            if expected is not None:
                assert estimates[column] == pytest.approx(expected(losses[:, column], errors[:, 0]).statistic, abs=1e-12)


def test_blocks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    losses, errors = tied_table(5, n=12, d=500)
    whole = {estimator: estimate(losses, errors, estimator) for estimator in ALL}
    monkeypatch.setattr("curate.correlation.estimators.BLOCK_BYTES", 1)
    for estimator in ALL:
        assert np.abs(estimate(losses, errors, estimator) - whole[estimator]).max() < 1e-14


def test_rank_estimators_recover_the_order_of_theta() -> None:
    random = np.random.default_rng(11)
    theta = np.linspace(-1, 1, 10) ** 3
    theta /= np.linalg.norm(theta)
    losses = random.normal(size=(3000, 10))
    sigma = 0.5
    errors = np.tanh(losses @ theta + sigma * random.normal(size=3000))[:, None]
    size = np.sqrt(1 + sigma**2)
    expected = {"sign_cdf": 2 / np.pi * np.arcsin(theta / 2 / size), "sign_sign": 2 / np.pi * np.arcsin(theta / size)}
    for estimator in OF_RANKS:
        found = estimate(losses, errors, estimator)[0]
        assert stats.spearmanr(found, theta).statistic > 0.95
        if estimator in expected:
            assert np.abs(found - expected[estimator]).max() < 0.05


@pytest.mark.parametrize("estimator", ALL)
def test_values_that_are_no_numbers_are_refused_with_their_place(estimator: Estimator) -> None:
    losses, errors = np.random.default_rng(0).random((6, 9)), np.random.default_rng(1).random((6, 2))
    for spoilt, where in ((np.nan, "row 4, column 7"), (np.inf, "row 4, column 7")):
        bad = losses.copy()
        bad[4, 7] = bad[5, 8] = spoilt
        with pytest.raises(InputError, match="2 of 54 losses") as raised:
            estimate(bad, errors, estimator)
        assert where in raised.value.where
    errors[3, 1] = np.nan
    with pytest.raises(InputError, match="1 of 12 errors"):
        estimate(losses, errors, estimator)
    with np.errstate(all="ignore"):
        losses[:, 0] = np.nan
        assert np.isfinite(package.spearmanr(losses, np.arange(6) / 6)[0]), "the package gives a number for a column of NaN"


@pytest.mark.parametrize(
    ("losses", "errors", "message"),
    [
        (np.zeros((4, 2)), np.zeros((3, 1)), "losses of 4 models and errors of 3"),
        (np.zeros((1, 2)), np.zeros((1, 1)), "1 model"),
        (np.zeros(4), np.zeros((4, 1)), "losses have 1 dimensions"),
        (np.zeros((4, 2)), np.zeros(4), "errors have 1 dimensions"),
        (np.array([["a"], ["b"]]), np.zeros((2, 1)), "losses have 2 dimensions of <U1"),
    ],
)
def test_tables_that_do_not_fit_are_refused(losses: Any, errors: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        estimate(losses, errors)


def test_no_groups_and_no_targets() -> None:
    for estimator in ALL:
        assert estimate(np.zeros((3, 0)), np.zeros((3, 2)), estimator).shape == (2, 0)
        assert estimate(np.zeros((3, 4)), np.zeros((3, 0)), estimator).shape == (0, 4)


@given(seeds, st.sampled_from(ALL))
@settings(max_examples=40, deadline=None)
def test_missing_cells_leave_each_pair_the_models_that_have_both(seed: int, estimator: Estimator) -> None:
    losses, errors = tied_table(seed)
    random = np.random.default_rng(seed)
    losses[random.random(losses.shape) < 0.3] = np.nan
    errors[random.random(errors.shape) < 0.2] = np.nan
    estimates, n_models = estimate_pairwise(losses, errors, estimator)
    for t in range(errors.shape[1]):
        for d in range(losses.shape[1]):
            both = ~np.isnan(losses[:, d]) & ~np.isnan(errors[:, t])
            assert n_models[t, d] == both.sum()
            if both.sum() < (3 if estimator in ("spearman", "pearson") else 2):
                assert np.isnan(estimates[t, d])
            else:
                assert estimates[t, d] == pytest.approx(estimate(losses[both][:, [d]], errors[both][:, [t]], estimator)[0, 0], abs=1e-12)


def test_complete_tables_need_no_pairwise_rule() -> None:
    losses, errors = tied_table(8)
    estimates, n_models = estimate_pairwise(losses, errors)
    assert (estimates == estimate(losses, errors)).all()
    assert (n_models == len(losses)).all()
    losses[0, 0] = np.inf
    with pytest.raises(InputError, match="1 of 54 losses"):
        estimate_pairwise(losses, errors)


def replay() -> tuple[np.ndarray, np.ndarray, list[str], list[str]]:
    """The published tables: losses (90, 263), errors (90, 9), titles, benchmarks."""
    if not TABLES.is_dir():
        pytest.skip(f"needs the published tables in {SHARED.name}/data/tables/perplexity_correlations beside the project")
    tables = []
    for name in ("bpb_quality_articles.csv", "error.csv"):
        with (TABLES / name).open(newline="", encoding="utf-8") as file:
            (_, *models), *rows = csv.reader(file)
        columns = np.argsort(models)
        values = np.array([row[1:] for row in rows], float)[:, columns].T
        tables.append((values, [row[0] for row in rows], [models[c] for c in columns]))
    (losses, titles, of_losses), (errors, benchmarks, of_errors) = tables
    assert of_losses == of_errors
    return losses, errors, titles, benchmarks


@pytest.mark.filterwarnings("ignore:y has negative")
def test_the_published_lists_of_the_ten_best_articles() -> None:
    losses, errors, titles, benchmarks = replay()
    assert titles[49].startswith("Dark Side Lite"), "published indices count the rows of the table"
    assert titles[258].startswith("What cities in the post-Brexit era")
    grouped = group_benchmarks(errors, benchmarks, BENCHMARKS, "mean")
    for ties in ("mid", "order"):
        estimates = estimate(losses, grouped.errors_NT, "spearman", ties)
        for target, estimate_D in zip(grouped.names, estimates, strict=True):
            best = set(np.argsort(-estimate_D, kind="stable")[:10].tolist())
            shared = len(best & PUBLISHED[target])
            if target.startswith("lambada"):
                assert best == PUBLISHED[target], (target, ties)
            else:
                assert shared >= (9 if ties == "mid" else 8), "under the package's rule the last places depend on the processor's sort"
            if ties == "order":
                assert (estimate_D == package.spearmanr(losses, grouped.errors_NT[:, grouped.names.index(target)])).all()


def test_one_benchmark_of_a_wide_range_decides_a_mean_and_not_a_mean_of_ranks() -> None:
    errors = np.array([[3.0, 0.9], [500.0, 0.1], [1375.0, 0.2], [90.0, 0.3]])
    targets = {"both": ["perplexity", "error"], "alone": ["perplexity"]}
    mean = group_benchmarks(errors, ["perplexity", "error"], targets, "mean")
    assert np.argsort(mean.errors_NT[:, 0]).tolist() == np.argsort(errors[:, 0]).tolist()
    assert len(mean.notes) == 1
    assert "perplexity varies by" in mean.notes[0]
    rank = group_benchmarks(errors, ["perplexity", "error"], targets, "rank")
    assert rank.errors_NT[:, 0].tolist() == [(0.5 + 3.5) / 8, (2.5 + 0.5) / 8, (3.5 + 1.5) / 8, (1.5 + 2.5) / 8]
    assert (rank.errors_NT[:, 1] == errors[:, 0]).all()
    assert not rank.notes
    assert rank.names == ["both", "alone"]


def test_a_model_without_one_benchmark_of_a_target_has_no_result_for_it() -> None:
    errors = np.array([[0.1, 0.5], [0.2, np.nan], [0.3, 0.4], [0.3, 0.6]])
    grouped = group_benchmarks(errors, ["a", "b"], {"both": ["a", "b"], "a": ["a"]}, "rank")
    assert np.isnan(grouped.errors_NT).tolist() == [[False, False], [True, False], [False, False], [False, False]]
    assert grouped.errors_NT[[0, 2, 3], 0].tolist() == [(0.5 + 1.5) / 6, (2 + 0.5) / 6, (2 + 2.5) / 6]
    assert np.isnan(group_benchmarks(errors, ["a", "b"], {"both": ["a", "b"]}, "mean").errors_NT[:, 0]).tolist() == [
        False,
        True,
        False,
        False,
    ]


@pytest.mark.parametrize(("members", "message"), [(["c"], "'c'"), ([], "no benchmark"), (["a", "a"], "twice")])
def test_targets_that_cannot_be_are_refused(members: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        group_benchmarks(np.zeros((3, 2)), ["a", "b"], {"target": members}, "rank")


def test_leaving_out_one_benchmark_after_the_other() -> None:
    targets = {"one": ["a"], "three": ["a", "b", "c"]}
    assert leave_one_out(targets) == {"three": {"a": ["b", "c"], "b": ["a", "c"], "c": ["a", "b"]}}
    found = stability(np.array([0.5, -0.5, 0.1, np.nan]), np.array([[0.4, -0.6, 0.2, 1], [-0.1, 0.2, 0.1, 1], [0.3, 0.3, 0.3, 1]]))
    assert found.spearman_L[:2].tolist() == pytest.approx([1.0, -1.0])
    assert np.isnan(found.spearman_L[2])
    assert found.flipped_L.tolist() == pytest.approx([0, 2 / 3, 1 / 3])
