"""Projections: optimal by an independent solver and by their conditions, exact where bounds leave one answer."""

from __future__ import annotations

import numpy as np
import perplexity_correlations.projection as package
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from curate.correlation import l2, linear, tau_of
from curate.errors import InfeasibleMixtureError, InputError

BOTH = (linear, l2)
EXACT = [(10, 1 / 10), (6, 1 / 6), (7, 1 / 7), (49, 1 / 49)]


@st.composite
def instances(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Estimates and feasible bounds: ties, zeros, bounds that sum to exactly 1, one that is above 1."""
    n = draw(st.integers(1, 12))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    coarse = draw(st.booleans())
    estimate = random.integers(-2, 3, n) / 2 if coarse else random.normal(size=n) * 10.0 ** draw(st.integers(-3, 3))
    tau = random.integers(0, 4, n) / 4.0 if draw(st.booleans()) else random.random(n)
    tau[random.integers(n)] += 0.25
    kind = draw(st.sampled_from(["exact", "tight", "loose", "one"]))
    tau *= {"exact": 1.0, "tight": 1.001, "loose": 4.0, "one": 1.0}[kind] / tau.sum()
    if kind == "one":
        tau[random.integers(n)] = 1.5
    return estimate, tau


def check_feasible(weight: np.ndarray, tau: np.ndarray) -> None:
    assert weight.dtype == np.float64
    assert abs(weight.sum() - 1) <= 1e-9
    assert (weight >= 0).all()
    assert (weight <= tau * (1 + 1e-9)).all()


@given(instances())
@settings(max_examples=200, deadline=None)
def test_linear_is_as_good_as_a_solver(instance: tuple[np.ndarray, np.ndarray]) -> None:
    estimate, tau = instance
    weight = linear(estimate, tau)
    check_feasible(weight, tau)
    bounds = np.stack([np.zeros_like(tau), tau * (1 + 1e-12)], axis=1)
    solved = linprog(-estimate, A_eq=np.ones((1, len(tau))), b_eq=[1], bounds=bounds, method="highs")
    assert solved.status == 0
    assert estimate @ weight == pytest.approx(-solved.fun, abs=1e-8 * max(1, np.abs(estimate).max()))


@given(instances())
@settings(max_examples=300, deadline=None)
def test_l2_meets_its_conditions_of_optimality(instance: tuple[np.ndarray, np.ndarray]) -> None:
    estimate, tau = instance
    weight = l2(estimate, tau)
    check_feasible(weight, tau)
    scale = 1e-9 * max(1, np.abs(estimate).max())
    gradient = weight - estimate
    inside = (weight > scale) & (weight < tau - scale)
    empty, full = (weight <= scale) & (tau > scale), (weight >= tau - scale) & (tau > scale)
    low = max([*gradient[inside], *gradient[full]], default=-np.inf)
    high = min([*gradient[inside], *gradient[empty]], default=np.inf)
    # One multiplier c: what could give has at most it, what could take has at least it.
    assert low <= high + 4 * scale
    if inside.any():
        assert np.ptp(gradient[inside]) <= 4 * scale


@given(st.integers(0, 2**32 - 1), st.integers(2, 60))
@settings(max_examples=60, deadline=None)
def test_equal_the_package(seed: int, n: int) -> None:
    random = np.random.default_rng(seed)
    estimate, tau = random.normal(size=n), random.random(n)
    tau *= random.uniform(1.01, 5) / tau.sum()
    assert np.abs(linear(estimate, tau) - package.linear(estimate, tau)).max() <= 1e-6
    assert np.abs(l2(estimate, tau) - package.l2(estimate, tau)).max() <= 1e-9


def test_values_computed_by_hand() -> None:
    estimate, tau = np.array([-0.3, 4, 1, 0.9, 0]), np.array([0.2, 0.5, 0.9, 0.4, 1])
    assert linear(estimate, tau).tolist() == [0, 0.5, 0.5, 0, 0]
    assert l2(estimate, tau) == pytest.approx([0, 0.5, 0.3, 0.2, 0], abs=1e-15)
    assert linear(np.array([1.0, 1, 0]), np.array([0.4, 0.9, 0.9])) == pytest.approx([0.4, 0.6, 0], abs=1e-15)
    assert l2(np.array([1.0, 2, 3]), np.full(3, 0.5)) == pytest.approx([0, 0.5, 0.5], abs=1e-15)


@pytest.mark.parametrize("project", BOTH)
@pytest.mark.parametrize(("n", "bound"), EXACT)
def test_bounds_that_sum_to_1_are_the_answer(project, n: int, bound: float) -> None:  # type: ignore[no-untyped-def]
    random = np.random.default_rng(n)
    weight = project(random.normal(size=n), np.full(n, bound))
    assert np.abs(weight - bound).max() < 1e-15
    assert abs(weight.sum() - 1) <= 4e-16
    # A rounded sum on either side of 1.
    for nudge in (1 - 1e-12, 1 + 1e-12):
        assert abs(project(random.normal(size=n), np.full(n, bound * nudge)).sum() - 1) <= 4e-16


@pytest.mark.parametrize(("n", "bound"), EXACT)
def test_the_package_fails_on_them(n: int, bound: float) -> None:
    with pytest.raises(ValueError, match=r"zero-size array|infeasible"):
        package.linear(np.arange(float(n)), np.array([bound] * n) if n != 10 else np.full(10, 0.1))


@pytest.mark.parametrize("project", BOTH)
def test_many_groups_and_magnitudes(project) -> None:  # type: ignore[no-untyped-def]
    random = np.random.default_rng(0)
    for scale in (1e-6, 1.0, 1e6):
        tau = random.random(200_000) ** 4
        tau *= 3 / tau.sum()
        check_feasible(project(scale * random.normal(size=len(tau)), tau), tau)
    assert package.linear(random.normal(size=3), np.ones(3)).dtype == np.float32, "the package rounds weights"


def test_equal_estimates_are_taken_in_order_of_index() -> None:
    n = 100
    weight = linear(np.zeros(n), np.full(n, 0.021))
    assert np.flatnonzero(weight).tolist() == list(range(48))
    coarse = np.random.default_rng(0).integers(0, 3, 3000)
    best = np.flatnonzero(coarse == 2)
    weight = linear(coarse.astype(float), np.full(3000, 1 / 500))
    assert len(best) > 600
    assert np.flatnonzero(weight).tolist() == best[:500].tolist()
    assert l2(np.zeros(n), np.full(n, 0.021)) == pytest.approx(np.full(n, 0.01), abs=1e-15)


@pytest.mark.parametrize("project", BOTH)
def test_a_group_that_has_nothing_gets_nothing(project) -> None:  # type: ignore[no-untyped-def]
    assert project(np.array([9.0, 1, 0]), np.array([0.0, 0.5, 0.9]))[0] == 0
    assert project(np.array([9.0, 1]), np.array([0.0, 1.0])).tolist() == [0, 1]


@pytest.mark.parametrize("project", BOTH)
def test_what_cannot_be_is_refused_with_the_amount(project) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InfeasibleMixtureError, match=r"sum to 0\.75, so 0\.25 of the weight has no place"):
        project(np.zeros(3), np.full(3, 0.25))
    with pytest.raises(InfeasibleMixtureError, match="sum to 0"):
        project(np.zeros(0), np.zeros(0))
    with pytest.raises(InputError, match="1 bounds are negative"):
        project(np.zeros(2), np.array([2, -0.5]))
    for bad in (np.nan, np.inf):
        with pytest.raises(InputError, match="1 of 2 tau"):
            project(np.zeros(2), np.array([bad, 1]))
        with pytest.raises(InputError, match="1 of 2 estimates") as raised:
            project(np.array([0, bad]), np.ones(2))
        assert "group 1" in raised.value.where
    with pytest.raises(InputError, match="2 estimates and 3 bounds"):
        project(np.zeros(2), np.ones(3))
    with pytest.raises(InputError, match="2 dimensions"):
        project(np.zeros((2, 1)), np.ones(2))


def test_tau_is_the_share_over_the_ratio() -> None:
    assert tau_of(np.array([1, 2, 0, 1]), 0.5).tolist() == [0.5, 1.0, 0.0, 0.5]
    assert tau_of(np.array([3e300, 1e300]), 0.25) == pytest.approx([3, 1])
    amounts = np.random.default_rng(0).integers(1, 10**12, 1000)
    assert tau_of(amounts, 0.1).sum() == pytest.approx(10)
    # With the ratio 1 everything is kept, as it is.
    assert linear(np.random.default_rng(1).normal(size=1000), tau_of(amounts, 1.0)) == pytest.approx(amounts / amounts.sum(), abs=1e-15)
    for amounts, ratio in (([1, -1], 0.1), ([0, 0], 0.1), ([1, np.nan], 0.1), ([1, 1], 0.0), ([1, 1], 1.5)):
        with pytest.raises(InputError):
            tau_of(np.array(amounts), ratio)
