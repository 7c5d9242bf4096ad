"""Clusters beside plain Python twins: by hand, in any order, and with every pair verified."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.dedup import (
    Components,
    Verifier,
    edges,
)
from curate.dedup.pairs import ALIKE, APART, UNKNOWN, Pairs
from curate.dedup.verification import ROUNDS
from curate.errors import IntegrityError

U64 = np.uint64
Doc = dict[str, Any]


# --- components ---


def plain_labels(n: int, pairs: Sequence[tuple[int, int]]) -> list[int]:
    """Smallest rows by flooding sets."""
    groups = {row: {row} for row in range(n)}
    for a, b in pairs:
        merged = groups[a] | groups[b]
        groups.update(dict.fromkeys(merged, merged))
    return [min(groups[row]) for row in range(n)]


def labels_of(n: int, pairs: Sequence[tuple[int, int]], chunk: int = 10**9) -> list[int]:
    parts = Components(n)
    for begin in range(0, len(pairs), chunk):
        parts.join(np.array(pairs[begin : begin + chunk], dtype=np.int64).reshape(-1, 2))
    return parts.labels().tolist()


def test_components_by_hand() -> None:
    assert labels_of(7, [(5, 6), (2, 4), (4, 6)]) == [0, 1, 2, 3, 2, 2, 2]
    assert labels_of(3, []) == [0, 1, 2]
    assert labels_of(0, []) == []


@given(st.integers(1, 40).flatmap(lambda n: st.tuples(st.just(n), st.lists(st.tuples(*[st.integers(0, n - 1)] * 2), max_size=60))))
@settings(max_examples=150, deadline=None)
def test_components_against_sets_in_any_order_and_chunks(case: tuple[int, list[tuple[int, int]]]) -> None:
    n, pairs = case
    wanted = plain_labels(n, pairs)
    assert labels_of(n, pairs) == wanted
    assert labels_of(n, pairs[::-1], chunk=3) == wanted
    assert labels_of(n, [(b, a) for a, b in sorted(pairs)] * 2, chunk=1) == wanted


@pytest.mark.parametrize("backwards", [False, True])
def test_a_long_chain(backwards: bool) -> None:
    chain = np.stack([np.arange(999_999), np.arange(1, 1_000_000)], axis=1)
    parts = Components(1_000_000)
    parts.join(chain[::-1] if backwards else chain)
    assert not parts.labels().any()


@pytest.mark.parametrize("bad", [(0, 4), (-1, 2)])
def test_edges_outside_join_nothing(bad: tuple[int, int]) -> None:
    parts = Components(4)
    with pytest.raises(IntegrityError, match="edge"):
        parts.join(np.array([(0, 1), bad], dtype=np.int64))
    assert parts.labels().tolist() == [0, 1, 2, 3]


# --- verification ---


class Judge:
    """Similarity by family, counting what it is asked."""

    def __init__(self, family: Sequence[int], alike: float = 0.9, apart: float = 0.3) -> None:
        self.family, self.values, self.asked = np.array(family), (apart, alike), list[tuple[int, int]]()

    def __call__(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        self.asked += [(min(a, b), max(a, b)) for a, b in zip(left.tolist(), right.tolist(), strict=True)]
        return np.where(self.family[left] == self.family[right], self.values[1], self.values[0])


def star(members: Sequence[int]) -> np.ndarray:
    return edges(np.zeros(len(members), dtype=U64), np.array(members, dtype=np.int64))


def order_of(places: Sequence[int]) -> np.ndarray:
    return np.array(places, dtype=U64).reshape(-1, 1)


def test_two_interleaved_families() -> None:
    judge = Judge([0, 1, 0, 1, 0, 1])
    verifier = Verifier(0.8, order_of(range(6)), judge)
    assert verifier.confirm(star(range(6))).tolist() == [[0, 2], [0, 4], [1, 3], [1, 5]]
    # Five comparisons with row 0, then two with row 1: not all fifteen pairs.
    assert sorted(judge.asked) == [(0, 1), (0, 2), (0, 3), (0, 4), (0, 5), (1, 3), (1, 5)]
    assert (verifier.n_compared, verifier.n_left_apart) == (7, 0)


def test_leaders_come_by_content_not_by_row() -> None:
    verifier = Verifier(0.8, order_of([50, 40, 30, 20]), Judge([0, 1, 0, 1]))
    assert verifier.confirm(star(range(4))).tolist() == [[3, 1], [2, 0]]


def test_order_is_compared_column_by_column() -> None:
    order = np.array([[1, 9], [1, 2], [0, 7]], dtype=U64)
    assert Verifier(0.8, order, Judge([0, 0, 0])).confirm(star(range(3))).tolist() == [[2, 1], [2, 0]]


def test_threshold_is_inclusive() -> None:
    assert len(Verifier(0.8, order_of(range(2)), Judge([0, 0], alike=0.8)).confirm(star([0, 1]))) == 1
    assert len(Verifier(0.8, order_of(range(2)), Judge([0, 0], alike=np.nextafter(0.8, 0))).confirm(star([0, 1]))) == 0


def test_what_outlasts_the_rounds_is_counted() -> None:
    """Eleven families of three, one taken a round: three are left, nine rows."""
    judge = Judge([i % 11 for i in range(33)])
    verifier = Verifier(0.8, order_of(range(33)), judge)
    found = verifier.confirm(star(range(33)))
    assert {(int(a), int(b)) for a, b in found} == {(f, f + 11 * k) for f in range(ROUNDS) for k in (1, 2)}
    assert verifier.n_left_apart == 9
    assert len(judge.asked) == sum(33 - 3 * r - 1 for r in range(ROUNDS))


def test_a_lone_rest_is_not_left_apart() -> None:
    verifier = Verifier(0.8, order_of(range(ROUNDS + 1)), Judge(range(ROUNDS + 1)))
    assert len(verifier.confirm(star(range(ROUNDS + 1)))) == 0
    assert verifier.n_left_apart == 0


def test_no_pair_is_compared_twice_over_bands() -> None:
    rng = np.random.default_rng(3)
    family = rng.integers(0, 40, 600)
    judge = Judge(family)
    verifier, order = Verifier(0.8, order_of(rng.permutation(600)), judge), []
    for _ in range(6):
        keys = np.where(rng.random(600) < 0.7, family // 3, rng.integers(0, 30, 600)).astype(U64)
        order.append(verifier.confirm(edges(keys, np.arange(600))))
    assert len(judge.asked) == len(set(judge.asked)) == verifier.n_compared
    assert all((family[found[:, 0]] == family[found[:, 1]]).all() for found in order)


def plain_leaders(run: Sequence[int], place: Sequence[int], alike: Callable[[int, int], bool]) -> set[tuple[int, int]]:
    left, found = sorted(run, key=lambda row: place[row]), set()
    for _ in range(ROUNDS):
        if not left:
            break
        leader, *others = left
        found |= {(leader, other) for other in others if alike(leader, other)}
        left = [other for other in others if not alike(leader, other)]
    return found


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), min_size=1, max_size=60), st.randoms(use_true_random=False))
@settings(max_examples=80, deadline=None)
def test_verification_against_a_plain_twin_in_any_order(docs: list[tuple[int, int]], random: Any) -> None:
    """Similarity falls with the distance of a number, so being alike is not transitive."""
    keys, value = np.array([k for k, _ in docs], dtype=U64), np.array([v for _, v in docs])
    place = list(range(len(docs)))
    random.shuffle(place)
    runs = {k: [i for i, (key, _) in enumerate(docs) if key == k] for k, _ in docs}
    wanted = set().union(*(plain_leaders(run, place, lambda a, b: abs(value[a] - value[b]) <= 1) for run in runs.values()))
    verifier = Verifier(0.75, order_of(place), lambda a, b: 1 - abs(value[a] - value[b]) / 4)
    assert {(int(a), int(b)) for a, b in verifier.confirm(edges(keys, np.arange(len(docs))))} == wanted
    # The same documents numbered otherwise: the same pairs.
    number = np.array(random.sample(range(len(docs)), len(docs)))
    moved_value, moved_place = np.empty(len(docs)), np.empty(len(docs), dtype=U64)
    moved_value[number], moved_place[number] = value, place
    again = Verifier(0.75, moved_place.reshape(-1, 1), lambda a, b: 1 - abs(moved_value[a] - moved_value[b]) / 4)
    assert {(int(a), int(b)) for a, b in again.confirm(edges(keys, number))} == {(number[a], number[b]) for a, b in wanted}


def test_a_skewed_run_costs_a_line_not_a_square() -> None:
    n = 200_000
    family = np.random.default_rng(4).integers(0, 5, n)
    asked = []
    verifier = Verifier(0.8, order_of(range(n)), lambda a, b: (asked.append(len(a)), (family[a] == family[b]).astype(float))[1])
    assert len(verifier.confirm(star(range(n)))) == n - 5
    assert sum(asked) < 5 * n


@pytest.mark.parametrize("answer", [np.zeros(1), np.full(2, np.nan), np.array([0.5, 1.5]), np.array([-0.1, 0.5])])
def test_answers_that_are_no_similarities(answer: np.ndarray) -> None:
    with pytest.raises(IntegrityError, match="similarities of 2 pairs"):
        Verifier(0.8, order_of(range(3)), lambda a, b: answer).confirm(star(range(3)))


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60), st.booleans()), max_size=3000))
@settings(max_examples=20, deadline=None)
def test_pairs_against_a_dictionary(entries: list[tuple[int, int, bool]]) -> None:
    pairs, known = Pairs(61), dict[frozenset[int], bool]()
    for begin in range(0, len(entries), 500):
        some = entries[begin : begin + 500]
        pairs.enter(*(np.array([e[i] for e in some]) for i in (0, 1, 2)))
        known |= {frozenset((a, b)): alike for a, b, alike in some}
    everything = list(itertools.product(range(61), repeat=2))
    wanted = [UNKNOWN if frozenset(p) not in known else ALIKE if known[frozenset(p)] else APART for p in everything]
    assert pairs.find(*np.array(everything).T).tolist() == wanted
    assert len(pairs) == len(known)
