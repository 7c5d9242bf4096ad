"""The compiled walk against three sorts in numpy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate import sampling
from curate.kernels.length_walk import by_length, by_length_and_key, cell_sums


def documents(seed: int, n: int, longest: int, keys: int) -> tuple[np.ndarray, ...]:
    random = np.random.default_rng(seed)
    walk, length = random.integers(0, 3, n), random.integers(0, longest, n)
    key = random.integers(0, 2**64, n, dtype=np.uint64) >> np.uint64(64 - keys)
    return walk, length, key, random.integers(0, 3 * sampling.ONE, n)


@given(st.integers(0, 10**6), st.integers(0, 400), st.sampled_from([1, 5, 3000, 2**40]), st.sampled_from([1, 8, 64]))
@settings(max_examples=100, deadline=None)
def test_rows_are_in_order_of_walk_length_and_key(seed: int, n: int, longest: int, keys: int) -> None:
    walk, length, key, _ = documents(seed, n, longest, keys)
    np.testing.assert_array_equal(by_length(walk, length), np.lexsort((length, walk)))
    np.testing.assert_array_equal(by_length_and_key(walk, length, key), np.lexsort((key, length, walk)))


@given(st.integers(0, 10**6), st.integers(1, 400), st.sampled_from([1, 5, 3000]), st.sampled_from([1, 64]))
@settings(max_examples=100, deadline=None)
def test_copies_are_the_whole_numbers_passed(seed: int, n: int, longest: int, keys: int) -> None:
    """Cumulative fractions of every walk in Python's integers, from the same starts."""
    walk, length, key, fixed = documents(seed, n, longest, keys)
    groups = sampling.length_groups(walk, length, fixed)
    (starts,) = sampling.walk_starts([groups], ["a", "b", "c"], seed)
    found = sampling.copies(walk, length, key, fixed, starts)
    place: dict[tuple[int, int], int] = dict(
        zip(zip(groups.domain_G.tolist(), groups.length_G.tolist(), strict=True), starts.tolist(), strict=True)
    )
    for row in np.lexsort((key, length, walk)).tolist():
        group = int(walk[row]), int(length[row])
        before, after = place[group], place[group] + int(fixed[row]) % sampling.ONE
        assert found[row] == int(fixed[row]) // sampling.ONE + after // sampling.ONE - before // sampling.ONE
        place[group] = after
    sums = {group: 0 for group in place}
    for row in range(n):
        sums[int(walk[row]), int(length[row])] += int(fixed[row]) % sampling.ONE
    assert groups.fraction_G.tolist() == list(sums[g] for g in zip(groups.domain_G.tolist(), groups.length_G.tolist(), strict=True))


@pytest.mark.parametrize("n", [0, 1, 1000])
def test_cells_are_summed(n: int) -> None:
    random = np.random.default_rng(n)
    cell, amount = random.integers(-1, 60, n), random.integers(0, 10**9, n)
    held, counts, sums = cell_sums(cell, amount)
    assert held.tolist() == sorted(set(cell.tolist()) - {-1})
    assert counts.tolist() == [int((cell == c).sum()) for c in held]
    assert sums.tolist() == [int(amount[cell == c].sum()) for c in held]
