"""Edges from equal keys: by hand, against a dictionary, for any order and any ranges, and for runs of a million."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.dedup import edges, exact_edges, in_range, n_ranges
from curate.dedup.bands import BYTES_PER_ROW
from curate.errors import IntegrityError

U64 = np.uint64
Edge = tuple[int, int]

few_keys = st.lists(st.tuples(st.sampled_from([0, 1, 2, 3, 2**63, 2**64 - 1]) | st.integers(0, 2**64 - 1), st.integers(0, 10**12)))


def plain(keys: list[int], rows: list[int]) -> set[Edge]:
    """Runs in a dictionary."""
    runs: dict[int, list[int]] = {}
    for key, row in zip(keys, rows, strict=True):
        runs.setdefault(key, []).append(row)
    return {(min(run), row) for run in runs.values() for row in run if row != min(run)}


def as_set(found: np.ndarray) -> set[Edge]:
    assert found.dtype == np.int64
    assert found.shape[1:] == (2,)
    pairs = {(int(a), int(b)) for a, b in found}
    assert len(pairs) == len(found)
    return pairs


def joined(keys: list[int], rows: list[int]) -> set[Edge]:
    return as_set(edges(np.array(keys, dtype=U64), np.array(rows, dtype=np.int64)))


def unmixed(mixed: int) -> int:
    """The key whose mix is this: the finaliser of MurmurHash3 backwards."""
    for multiplier in (0xC4CEB9FE1A85EC53, 0xFF51AFD7ED558CCD):
        mixed ^= mixed >> 33
        mixed = mixed * pow(multiplier, -1, 2**64) % 2**64
    return mixed ^ (mixed >> 33)


def test_by_hand() -> None:
    assert joined([7, 8, 7, 9, 7, 8], [0, 1, 2, 3, 4, 5]) == {(0, 2), (0, 4), (1, 5)}
    assert joined([7, 7, 7], [30, 10, 20]) == {(10, 20), (10, 30)}
    assert joined([0, 2**64 - 1, 0, 2**64 - 1], [5, 6, 7, 8]) == {(5, 7), (6, 8)}


@pytest.mark.parametrize("n", [0, 1])
def test_too_few_to_join(n: int) -> None:
    assert joined([5] * n, list(range(n))) == set()
    assert as_set(exact_edges(np.zeros((n, 2), dtype=U64), np.arange(n))) == set()


@given(few_keys)
@settings(max_examples=150, deadline=None)
def test_against_a_dictionary(pairs: list[tuple[int, int]]) -> None:
    by_row = {row: key for key, row in pairs}
    assert joined(list(by_row.values()), list(by_row)) == plain(list(by_row.values()), list(by_row))


@given(st.lists(st.integers(0, 40), max_size=300), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_order_does_not_matter(keys: list[int], random: object) -> None:
    numbers = np.array(keys, dtype=U64)
    order = np.arange(len(keys))
    random.shuffle(order)  # type: ignore[attr-defined]
    np.testing.assert_array_equal(edges(numbers, np.arange(len(keys))), edges(numbers[order], order))


@given(few_keys, st.integers(1, 9))
@settings(max_examples=100, deadline=None)
def test_ranges_together_are_the_whole(pairs: list[tuple[int, int]], n: int) -> None:
    by_row = {row: key for key, row in pairs}
    keys, rows = np.array(list(by_row.values()), dtype=U64), np.array(list(by_row), dtype=np.int64)
    inside = np.array([in_range(keys, i, n) for i in range(n)])
    assert (inside.sum(axis=0) == 1).all()
    parts = [as_set(edges(keys[some], rows[some])) for some in inside]
    assert sum(map(len, parts)) == len(set().union(*parts))
    assert set().union(*parts) == plain(keys.tolist(), rows.tolist())


def test_ranges_are_even_even_for_consecutive_keys() -> None:
    for keys in (np.arange(100_000, dtype=U64), np.arange(100_000, dtype=U64) << U64(40)):
        counts = np.array([in_range(keys, i, 7).sum() for i in range(7)])
        assert counts.sum() == len(keys)
        assert abs(counts - len(keys) / 7).max() < 600


def test_different_keys_with_equal_high_bits_stay_apart() -> None:
    """Only the low bits of the mixes differ, and the join replaces those by places: whole keys must decide."""
    families = [unmixed((0xABCDEF << 40) | i) for i in range(16)]
    keys = [families[i % 16] for i in range(160)] + [99] * 8
    assert joined(keys, list(range(168))) == plain(keys, list(range(168)))
    shuffled = np.random.default_rng(1).permutation(168)
    assert joined([keys[i] for i in shuffled], shuffled.tolist()) == plain(keys, list(range(168)))
    np.testing.assert_array_equal(edges(np.array(keys, U64), np.arange(168)), edges(np.array(keys, U64)[shuffled], shuffled))


@pytest.mark.parametrize("half", [0, 1])
def test_exact_compares_all_sixteen_bytes(half: int) -> None:
    halves = np.full((6, 2), 11, dtype=U64)
    halves[:, half] = [1, 2, 1, 2, 3, 1]
    assert as_set(exact_edges(halves, np.arange(6))) == {(0, 2), (0, 5), (1, 3)}


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(2**64 - 4, 2**64 - 1)), max_size=80))
@settings(max_examples=60, deadline=None)
def test_exact_against_a_dictionary(ids: list[tuple[int, int]]) -> None:
    rows = list(range(len(ids)))
    halves = np.array(ids, dtype=U64).reshape(-1, 2)
    backwards = np.array(rows[::-1], dtype=np.int64)
    wanted = plain([high << 64 | low for high, low in ids], rows)
    assert as_set(exact_edges(halves, np.arange(len(ids)))) == wanted
    assert as_set(exact_edges(halves[::-1], backwards)) == wanted


def test_a_run_of_a_million_is_a_star() -> None:
    n = 1_000_000
    keys = np.random.default_rng(2).permutation(np.r_[np.full(n, 3), np.arange(10, 1010)]).astype(U64)
    found = edges(keys, np.arange(len(keys)))
    assert len(found) == n - 1
    assert (found[:, 0] == np.flatnonzero(keys == 3)[0]).all()
    assert (keys[found[:, 1]] == 3).all()
    assert len(np.unique(found[:, 1])) == n - 1


def test_read_only_and_strided_keys() -> None:
    table = np.arange(20, dtype=U64).reshape(10, 2) // U64(8)
    table.flags.writeable = False
    assert as_set(edges(table[:, 0], np.arange(10))) == {(0, 1), (0, 2), (0, 3), (4, 5), (4, 6), (4, 7), (8, 9)}


def test_ranges_by_budget() -> None:
    assert n_ranges(0, 1) == 1
    assert n_ranges(1000, 1000 * BYTES_PER_ROW) == 1
    assert n_ranges(1001, 1000 * BYTES_PER_ROW) == 2
    assert n_ranges(10_000_000, 1 << 30) == 1
    assert n_ranges(1_000_000_000, 1 << 30) == 53
    with pytest.raises(ValueError, match="positive budget"):
        n_ranges(10, 0)
    with pytest.raises(ValueError, match="no range 3 of 3"):
        in_range(np.zeros(1, dtype=U64), 3, 3)


def test_keys_and_rows_must_match() -> None:
    with pytest.raises(IntegrityError, match="3 keys for 2 rows"):
        edges(np.zeros(3, dtype=U64), np.arange(2))
