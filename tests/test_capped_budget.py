"""The factor of capped weights, against bisection on the documents themselves."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.mixers.capped_budget import Solution, histogram, in_bucket, together


def solved(
    parts: list[tuple[np.ndarray, np.ndarray]], total: float, cap: float, temperature: float, by_documents: bool = False
) -> Solution:
    found = together([histogram(p, m, by_documents, temperature) for p, m in parts])
    solution = Solution(total, cap, temperature).after_histogram(found)
    if not solution.is_settled:
        solution = solution.after_bucket([in_bucket(p, m, by_documents, solution.bucket) for p, m in parts])
    assert solution.is_settled
    return solution


def met(preference: np.ndarray, mass: np.ndarray, factor: float, cap: float, temperature: float) -> float:
    log_weight = np.minimum((preference - 1) / temperature + factor, math.log(cap))
    return float(np.exp(log_weight) @ mass)


def bisected(preference: np.ndarray, mass: np.ndarray, total: float, cap: float, temperature: float) -> float:
    low, high = -3e3, 3e3
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if met(preference, mass, middle, cap, temperature) < total else (low, middle)
    return (low + high) / 2


@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 300),
    st.sampled_from([1, 3, 50, None]),
    st.sampled_from([1e-3, 0.01, 0.2, 1.0, 1e6]),
    st.floats(0.001, 0.999),
    st.sampled_from([0.01, 1.0, 4.0, 1e4]),
)
@settings(max_examples=300, deadline=None)
def test_the_budget_is_met_as_bisection_meets_it(
    seed: int, n: int, distinct: int | None, temperature: float, share: float, cap: float
) -> None:
    random = np.random.default_rng(seed)
    preference = random.random(n) if distinct is None else random.random(distinct)[random.integers(0, distinct, n)]
    preference[random.integers(0, n)] = random.choice([0.0, 1.0, 0.5])
    mass = np.rint(random.lognormal(4, 3, n)).astype(np.int64) + 1
    total = share * cap * float(mass.sum())
    solution = solved([(preference, mass)], total, cap, temperature)
    assert met(preference, mass, solution.factor, cap, temperature) == pytest.approx(total, rel=1e-9)
    expected = bisected(preference, mass, total, cap, temperature)
    weights = [np.exp(np.minimum((preference - 1) / temperature + f, math.log(cap))) for f in (solution.factor, expected)]
    np.testing.assert_allclose(*weights, rtol=1e-6, atol=1e-12 * cap)


@given(st.integers(0, 2**32 - 1), st.sampled_from([1e-3, 0.2]), st.floats(0.05, 0.95))
@settings(max_examples=50, deadline=None)
def test_parts_in_any_order_give_the_same_bits(seed: int, temperature: float, share: float) -> None:
    random = np.random.default_rng(seed)
    preference, mass = random.random(400).round(2), random.integers(1, 10_000, 400)
    preference[::17] = np.nan
    total = share * 4.0 * float(mass[~np.isnan(preference)].sum())
    whole = solved([(preference, mass)], total, 4.0, temperature)
    order = random.permutation(400)
    for cuts in ([100, 101, 350], [1, 399]):
        parts = [(preference[part], mass[part]) for part in np.split(order, cuts)]
        assert solved([*parts, (np.empty(0), np.empty(0, np.int64))], total, 4.0, temperature) == whole


def test_documents_count_as_one_each_where_they_are_scaled() -> None:
    preference, mass = np.array([0.2, 0.2, 0.9]), np.array([1_000_000, 1, 5])
    solution = solved([(preference, mass)], 3.0, 1e9, 0.5, by_documents=True)
    assert met(preference, np.ones(3), solution.factor, 1e9, 0.5) == pytest.approx(3.0, rel=1e-12)


def test_a_budget_at_the_caps_takes_everything() -> None:
    preference, mass = np.array([0.1, 0.5, 0.9]), np.array([10, 20, 30])
    assert solved([(preference, mass)], 240.0, 4.0, 0.2).factor == math.inf


def test_documents_without_length_weigh_but_take_nothing() -> None:
    preference, mass = np.array([0.1, 1.0]), np.array([100, 0])
    solution = solved([(preference, mass)], 50.0, 4.0, 0.2)
    assert math.exp(solution.log_weight(0.1)) == pytest.approx(0.5)
