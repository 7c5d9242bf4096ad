"""Batches follow proportions that change at any step, as closely as can be; and rows come in an order of their own."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from proxy_training import numbered

from curate.errors import ConfigError
from curate.proxy import Draws, Fixed

LENGTH = 8
ROUNDING = 1e-9


def most_lacking(n_domains: int) -> float:
    """1/2 + 1/3 + … + 1/D: the most rows that a domain can lack."""
    return sum(1 / k for k in range(2, n_domains + 1))


def draws(n_domains: int, seed: int = 0) -> Draws:
    return Draws(numbered(*(40 + 24 * d for d in range(n_domains))), LENGTH, seed)


@st.composite
def mixtures(draw: st.DrawFn, least: int) -> list[tuple[np.ndarray, int]]:
    """Up to thirty steps: proportions, and rows of the batch."""
    n_domains = draw(st.integers(1, 7))
    weight = st.integers(least, 5) | st.sampled_from([least, 1, 1000])
    weights = st.lists(weight, min_size=n_domains, max_size=n_domains).filter(any)
    steps = draw(st.lists(st.tuples(weights, st.integers(1, 9)), min_size=1, max_size=30))
    return [(np.array(w) / sum(w), n_rows) for w, n_rows in steps]


@given(mixtures(least=1))
@settings(deadline=None)
def test_no_domain_has_a_whole_row_too_much_or_lacks_more_than_the_sum_of_fractions(steps):
    """Whatever the proportions do from step to step. Up to three domains, that is less than one row either way."""
    drawn = draws(len(steps[0][0]))
    asked = np.zeros(len(drawn.taken))
    for proportions, n_rows in steps:
        batch = drawn.batch(proportions, n_rows)
        asked += proportions * n_rows
        assert len(batch.rows) == n_rows
        assert np.all(np.diff(batch.domain) >= 0)
        assert np.all(drawn.taken - asked < 1)
        assert np.all(asked - drawn.taken <= most_lacking(len(asked)) + ROUNDING)


@pytest.mark.parametrize("n_domains", [2, 3, 4, 9])
def test_an_adversary_that_asks_only_for_what_was_not_served_reaches_the_bound(n_domains):
    """So the bound is the least: any rule would have to leave one domain out at every step."""
    drawn = draws(n_domains)
    asked = np.zeros(n_domains)
    eps = 1e-7
    for _ in range(n_domains - 1):
        waiting = drawn.taken == 0
        proportions = np.where(waiting, (1 - eps * np.sum(~waiting)) / np.sum(waiting), eps)
        drawn.batch(proportions, 1)
        asked += proportions
    assert np.sum(drawn.taken == 0) == 1
    assert np.max(asked - drawn.taken) == pytest.approx(most_lacking(n_domains), abs=1e-4)


@given(st.lists(st.integers(1, 50), min_size=2, max_size=3), st.integers(1, 9), st.integers(1, 60))
@settings(deadline=None)
def test_up_to_three_domains_of_fixed_proportions_are_less_than_a_row_off(weights, n_rows, n_steps):
    proportions = np.array(weights) / sum(weights)
    drawn = draws(len(weights))
    for step in range(n_steps):
        drawn.batch(proportions, n_rows)
        assert np.all(np.abs(drawn.taken - (step + 1) * n_rows * proportions) < 1)


@given(mixtures(least=0))
@example([(np.array([0.5, 0.25, 0.25]), 1), (np.array([1.0, 0, 0]), 1), (np.array([0.5, 0.5, 0]), 1), (np.array([0.3, 0.3, 0.4]), 1)])
@settings(deadline=None)
def test_a_domain_asked_for_nothing_gets_nothing_and_is_owed_nothing(steps):
    """Debts stay within the same bounds, and add up to nothing, when proportions drop to zero and come back.

    Hence over any steps between two drops rows differ from what was asked for by less than the length of those bounds.
    """
    n_domains = len(steps[0][0])
    drawn = draws(n_domains)
    balance = [np.zeros(n_domains)]
    before = np.zeros(n_domains)
    for proportions, n_rows in steps:
        taken = drawn.taken.copy()
        batch = drawn.batch(proportions, n_rows)
        new = drawn.taken - taken
        assert np.array_equal(new, np.bincount(batch.domain, minlength=n_domains))
        assert not new[proportions == 0].any()
        owed = np.array([float.fromhex(x) for x in drawn.state()["owed"]])
        assert np.all(owed > -1)
        assert np.all(owed <= most_lacking(n_domains) + ROUNDING)
        assert np.all(owed[proportions == 0] <= 0)
        assert abs(owed.sum()) < ROUNDING
        if np.any((before > 0) & (proportions == 0)):
            balance = []
        balance.append((balance[-1] if balance else 0) + proportions * n_rows - new)
        assert np.all(np.abs(balance[-1] - np.array(balance)) < 1 + most_lacking(n_domains) + ROUNDING)
        before = proportions


def test_what_a_dropped_domain_lacked_is_not_made_up_when_it_comes_back():
    drawn = draws(2)
    drawn.batch(np.array([0.55, 0.45]), 1)
    assert drawn.taken.tolist() == [1, 0]
    drawn.batch(np.array([1.0, 0.0]), 5)
    assert drawn.taken.tolist() == [6, 0]
    # It would be owed 0.45 + 0.4 of a row, more than the other's 0.6 - 0.45, had the 0.45 not been written off.
    drawn.batch(np.array([0.6, 0.4]), 1)
    assert drawn.taken.tolist() == [7, 0]


@given(st.integers(1, 200), st.lists(st.integers(1, 13), min_size=1, max_size=12), st.integers(0, 3))
@settings(deadline=None)
def test_each_epoch_visits_every_row_once(size, batches, seed):
    """The stream of an epoch is cut from a phase on; the first epoch from its beginning."""
    drawn = Draws(numbered(size), LENGTH, seed)
    first = np.concatenate([drawn.batch(np.ones(1), n).first for n in batches])
    n_rows = max(1, size // LENGTH)
    for epoch in range(len(first) // n_rows):
        visited = np.sort(first[epoch * n_rows : (epoch + 1) * n_rows])
        phase = visited[0]
        assert 0 <= phase < LENGTH
        assert epoch > 0 or phase == 0
        assert np.array_equal(visited, phase + LENGTH * np.arange(n_rows))
    assert drawn.epochs.tolist() == [sum(batches) / n_rows]


def test_epochs_differ_in_order_and_phase():
    drawn = Draws(numbered(80 * LENGTH), LENGTH, 0)
    epochs = np.array([drawn.batch(np.ones(1), 80).first for _ in range(12)])
    assert len({tuple(epoch // LENGTH) for epoch in epochs}) == 12
    assert not any(np.array_equal(np.sort(epoch), epoch) for epoch in epochs)
    assert len(set((epochs % LENGTH)[:, 0].tolist())) > 3


@given(st.lists(st.integers(1, 60), min_size=1, max_size=4), st.integers(1, 40), st.integers(1, 12))
@settings(deadline=None)
def test_rows_are_slices_of_their_stream_round_its_end(sizes, n_rows, length):
    """Also of a stream that is shorter than a row."""
    streams = numbered(*sizes)
    drawn = Draws(streams, length, 1)
    for _ in range(3):
        batch = drawn.batch(np.full(len(sizes), 1 / len(sizes)), n_rows)
        assert batch.rows.shape == (n_rows, length + 1)
        for row, domain, first in zip(batch.rows, batch.domain, batch.first, strict=True):
            stream = streams.tokens[domain]
            assert np.array_equal(row, np.resize(np.roll(stream, -int(first)), length + 1))


def order(drawn: Draws, domain: int, proportions: list[np.ndarray]) -> list[int]:
    """Where the domain's rows begin, one after the other."""
    batches = [drawn.batch(p, 7) for p in proportions]
    return np.concatenate([b.first[b.domain == domain] for b in batches]).tolist()


def test_the_order_depends_on_seed_domain_and_epoch_only():
    """Neither the mixture nor other domains move it."""
    alone = order(Draws(numbered(300, names=("b",)), LENGTH, 5), 0, [np.ones(1)] * 30)
    beside = numbered(90, 300, names=("a", "b"))
    changing = [np.array([k % 4, 5]) / (k % 4 + 5) for k in range(25)]
    mixed = order(Draws(beside, LENGTH, 5), 1, changing)
    assert len(mixed) > 2 * (300 // LENGTH)
    assert mixed == alone[: len(mixed)]
    assert order(Draws(beside, LENGTH, 6), 1, changing)[:20] != mixed[:20]
    assert order(Draws(numbered(300, names=("c",)), LENGTH, 5), 0, [np.ones(1)] * 20)[:20] != alone[:20]


@given(mixtures(least=0), st.integers(0, 29))
@settings(deadline=None, max_examples=50)
def test_a_state_that_went_through_json_continues_exactly(steps, at):
    n_domains = len(steps[0][0])
    whole, first, second = draws(n_domains, 9), draws(n_domains, 9), draws(n_domains, 9)
    wanted = [whole.batch(*step) for step in steps]
    for step in steps[:at]:
        first.batch(*step)
    second.restore(json.loads(json.dumps(first.state())))
    for expected, step in zip(wanted[at:], steps[at:], strict=True):
        batch = second.batch(*step)
        assert np.array_equal(batch.rows, expected.rows)
        assert np.array_equal(batch.first, expected.first)
    if at < len(steps):
        assert second.state() == whole.state()


@pytest.mark.parametrize(
    "bad",
    [[0.5, 0.5], [0.2, 0.3, 0.4], [0.6, 0.6, -0.2], [np.nan, 0.5, 0.5], [np.inf, 0.0, 0.0], [], [0.5, 0.5, 1e-6]],
    ids=["wrong length", "below one", "negative", "no number", "infinite", "none", "above one"],
)
def test_proportions_that_are_no_shares_of_one_whole_are_refused(bad):
    drawn = draws(3)
    before = drawn.state()
    with pytest.raises(ConfigError, match="proportions"):
        drawn.batch(np.array(bad), 4)
    assert drawn.state() == before


@pytest.mark.parametrize("bad", [[0.2, 0.3], [1.5, -0.5], [np.nan, 1.0], [[0.5, 0.5]]])
def test_a_fixed_mixture_refuses_them_at_once(bad):
    with pytest.raises(ConfigError, match="no shares of one whole"):
        Fixed(np.array(bad))


def test_as_many_proportions_as_domains():
    with pytest.raises(ConfigError, match="2 proportions for 3 domains"):
        draws(3).batch(np.array([0.5, 0.5]), 4)
