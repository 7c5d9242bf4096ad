"""Clusters beside plain Python twins: by hand, in any order, and with every pair verified."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.dedup import Components, Similarity, Verifier, edges, verification
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


def test_labels_are_narrow_and_leave_the_components_open() -> None:
    parts = Components(6)
    parts.join(np.array([(4, 5), (1, 4)]))
    assert parts.labels().dtype == np.int32
    assert parts.labels().tolist() == [0, 1, 2, 3, 1, 1]
    assert parts.members().tolist() == [1, 4, 5]
    parts.join(np.array([(0, 5)]))
    assert parts.roots(np.array([5, 3, 1])).tolist() == [0, 3, 0]
    assert parts.members().tolist() == [0, 1, 4, 5]
    assert Components(3).members().tolist() == []


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


def verifier_of(similarity: Similarity, places: Sequence[int], n_bands: int = 1) -> Verifier:
    """Of rows whose sketches are all equal, so that true similarity alone decides."""
    return Verifier(0.8, n_bands, order_of(places), np.zeros((len(places), 8), np.uint8), similarity)


def joined(verifier: Verifier, *stars_of_band: np.ndarray) -> list[list[int]]:
    for band, stars in enumerate(stars_of_band):
        verifier.add(band, stars)
    return sorted(verifier.finish().tolist())


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of more than two rows are too large to be compared whole, and no byte is rare."""
    monkeypatch.setattr(verification, "ALL_PAIRS", 2)
    monkeypatch.setattr(verification, "RARE", 2)


def test_two_interleaved_families() -> None:
    judge = Judge([0, 1, 0, 1, 0, 1])
    verifier = verifier_of(judge, range(6))
    assert joined(verifier, star(range(6))) == [[0, 2], [0, 4], [1, 3], [1, 5]]
    # Row 0 with all, row 1 with those not joined to 0 and with row 2, which is; then nothing is left to ask for 3 and 5, or 2 and 4.
    assert sorted(judge.asked) == [(0, 1), (0, 2), (0, 3), (0, 4), (0, 5), (1, 2), (1, 3), (1, 4), (1, 5), (2, 3), (2, 5), (3, 4), (4, 5)]
    assert (verifier.n_compared, verifier.n_left_apart) == (13, 0)


@pytest.mark.usefixtures("large")
def test_two_interleaved_families_of_a_large_run() -> None:
    judge = Judge([0, 1, 0, 1, 0, 1])
    verifier = verifier_of(judge, range(6))
    assert joined(verifier, star(range(6))) == [[0, 2], [0, 4], [1, 3], [1, 5]]
    # Five comparisons with row 0, then two with row 1: not all fifteen pairs.
    assert sorted(judge.asked) == [(0, 1), (0, 2), (0, 3), (0, 4), (0, 5), (1, 3), (1, 5)]
    assert (verifier.n_compared, verifier.n_left_apart) == (7, 0)


@pytest.mark.usefixtures("large")
def test_leaders_come_by_content_not_by_row() -> None:
    order = np.array([[1, 9], [1, 2], [0, 7]], dtype=U64)
    judge = Judge([0, 1, 2])
    verifier = Verifier(0.8, 1, order, np.zeros((3, 8), np.uint8), judge)
    verifier.add(0, star(range(3)))
    verifier.finish()
    assert judge.asked == [(1, 2), (0, 2), (0, 1)], "row 2, then row 1, column by column"


def test_threshold_is_inclusive() -> None:
    assert len(joined(verifier_of(Judge([0, 0], alike=0.8), range(2)), star([0, 1]))) == 1
    assert len(joined(verifier_of(Judge([0, 0], alike=np.nextafter(0.8, 0)), range(2)), star([0, 1]))) == 0


@pytest.mark.usefixtures("large")
def test_what_outlasts_the_rounds_is_counted_once() -> None:
    """Eleven families of three, one taken a round: three are left, nine rows."""
    family = [i % 11 for i in range(33)]
    verifier = verifier_of(Judge(family), range(33))
    assert len(joined(verifier, star(range(33)))) == 2 * ROUNDS
    assert verifier.n_left_apart == 9
    twice = verifier_of(Judge(range(33)), range(33), n_bands=2)
    assert joined(twice, star(range(33)), star(range(33))) == []
    assert twice.n_left_apart == 33 - ROUNDS
    # The next band joins them all: a row that found its copy is not left apart.
    again = verifier_of(Judge(family), range(33), n_bands=2)
    assert len(joined(again, star(range(33)), edges(np.array(family, dtype=U64), np.arange(33)))) == 22
    assert again.n_left_apart == 0


@pytest.mark.usefixtures("large")
def test_a_lone_rest_is_not_left_apart() -> None:
    verifier = verifier_of(Judge(range(ROUNDS + 1)), range(ROUNDS + 1))
    assert joined(verifier, star(range(ROUNDS + 1))) == []
    assert verifier.n_left_apart == 0


def test_no_pair_is_compared_twice_over_bands() -> None:
    rng = np.random.default_rng(3)
    family = rng.integers(0, 40, 600)
    judge = Judge(family)
    verifier = verifier_of(judge, rng.permutation(600), n_bands=6)
    for band in range(6):
        keys = np.where(rng.random(600) < 0.7, family // 3, rng.integers(0, 30, 600)).astype(U64)
        verifier.add(band, edges(keys, np.arange(600)))
    found = verifier.finish()
    assert len(judge.asked) == len(set(judge.asked)) == verifier.n_compared
    assert (family[found[:, 0]] == family[found[:, 1]]).all()


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), min_size=1, max_size=60), st.randoms(use_true_random=False))
@settings(max_examples=80, deadline=None)
def test_all_pairs_of_a_run_count_in_any_order(docs: list[tuple[int, int]], random: Any) -> None:
    """Similarity falls with the distance of a number, so being alike is not transitive, but being joined is."""
    keys, value, n = np.array([k for k, _ in docs], dtype=U64), np.array([v for _, v in docs]), len(docs)
    alike = [(i, j) for i in range(n) for j in range(i) if keys[i] == keys[j] and abs(value[i] - value[j]) <= 1]
    place = random.sample(range(n), n)

    def similarity(left: np.ndarray, right: np.ndarray) -> np.ndarray:
        return 1 - abs(value[left] - value[right]) / 5

    parts = Components(n)
    parts.join(np.array(joined(verifier_of(similarity, place), edges(keys, np.arange(n))), dtype=np.int64).reshape(-1, 2))
    assert parts.labels().tolist() == plain_labels(n, alike)


def test_a_skewed_run_costs_a_line_not_a_square() -> None:
    n = 200_000
    family = np.random.default_rng(4).integers(0, 5, n)
    verifier = verifier_of(lambda a, b: (family[a] == family[b]).astype(float), range(n))
    assert len(joined(verifier, star(range(n)))) == n - 5
    assert verifier.n_compared <= verifier.n_estimated < 5 * n


@pytest.mark.parametrize("answer", [np.zeros(1), np.full(2, np.nan), np.array([0.5, 1.5]), np.array([-0.1, 0.5])])
def test_answers_that_are_no_similarities(answer: np.ndarray) -> None:
    with pytest.raises(IntegrityError, match="similarities of 2 pairs"):
        verifier_of(lambda a, b: answer, range(3)).add(0, star(range(3)))
