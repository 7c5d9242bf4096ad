"""The rule by which long documents become windows, and windows become batches."""

from __future__ import annotations

import numpy as np
import pytest
from causal_models import pieces
from hypothesis import given
from hypothesis import strategies as st

from curate.causal_lm.windows import Windows, batches, cut

documents = st.lists(st.integers(0, 70), min_size=0, max_size=8)
contexts = st.integers(2, 24)
starts = st.booleans()


def offsets_of(sizes: list[int], first: int = 0) -> np.ndarray:
    return np.concatenate([[first], first + np.cumsum(sizes)]).astype(np.int64)


def columns_of(windows: Windows) -> dict[str, list[int]]:
    return {name: getattr(windows, name).tolist() for name in ("document", "first", "n_predicted", "n_context", "lengths")}


@given(documents, contexts, st.data(), starts)
def test_every_token_is_predicted_once_and_in_order(sizes: list[int], context: int, data: st.DataObject, has_start: bool) -> None:
    overlap = data.draw(st.integers(0, context - 1))
    offsets = offsets_of(sizes)
    windows = cut(offsets, context, overlap, has_start)
    predicted = [t for f, n in zip(windows.first, windows.n_predicted, strict=True) for t in range(f, f + n)]
    given_tokens = set() if has_start else {int(offsets[i]) for i, size in enumerate(sizes) if size}
    assert predicted == [t for t in range(int(offsets[-1])) if t not in given_tokens]
    owner = np.repeat(np.arange(len(sizes)), sizes)
    for document, first, n in zip(windows.document, windows.first, windows.n_predicted, strict=True):
        assert n >= 1
        assert (owner[first : first + n] == document).all()


@given(documents, contexts, st.data(), starts)
def test_windows_are_full_but_for_a_document_s_last(sizes: list[int], context: int, data: st.DataObject, has_start: bool) -> None:
    overlap = data.draw(st.integers(0, context - 1))
    windows = cut(offsets_of(sizes), context, overlap, has_start)
    last = np.append(windows.document[1:] != windows.document[:-1], True) if len(windows) else np.empty(0, bool)
    assert (windows.lengths <= context).all()
    assert (windows.lengths[~last] == context).all()
    assert (windows.lengths >= 1).all()


@given(documents, contexts, st.data(), starts)
def test_context_is_the_overlap_and_lies_in_the_document(sizes: list[int], context: int, data: st.DataObject, has_start: bool) -> None:
    overlap = data.draw(st.integers(0, context - 1))
    offsets = offsets_of(sizes)
    windows = cut(offsets, context, overlap, has_start)
    begins = np.append(True, windows.document[1:] != windows.document[:-1])[: len(windows)]
    given_first = 0 if has_start else 1
    assert (windows.n_context[begins] == given_first).all()
    assert (windows.first[begins] == offsets[:-1][windows.document[begins]] + given_first).all()
    assert (windows.n_context[~begins] == max(overlap, given_first)).all()
    assert (windows.first - windows.n_context >= offsets[:-1][windows.document]).all()


@given(documents, contexts, st.data(), starts)
def test_the_rule_is_that_of_the_plain_loop(sizes: list[int], context: int, data: st.DataObject, has_start: bool) -> None:
    overlap = data.draw(st.integers(0, context - 1))
    offsets = offsets_of(sizes)
    windows = cut(offsets, context, overlap, has_start)
    expected = []
    for document, size in enumerate(sizes):
        tokens = list(range(int(offsets[document]), int(offsets[document]) + size))
        for seen, predicted in pieces(tokens, -1 if has_start else None, context, overlap):
            expected.append((document, predicted[0], len(predicted), len(seen) - int(has_start), len(seen) + len(predicted) - 1))
    columns = columns_of(windows)
    assert list(zip(*columns.values(), strict=True)) == expected


@given(documents, st.integers(0, 9), starts)
def test_what_fits_is_one_window_whatever_the_overlap(sizes: list[int], overlap: int, has_start: bool) -> None:
    windows = cut(offsets_of(sizes), max(10, *sizes, 0), overlap, has_start)
    whole = [i for i, size in enumerate(sizes) if size > int(not has_start)]
    assert windows.document.tolist() == whole
    assert windows.n_predicted.tolist() == [sizes[i] - int(not has_start) for i in whole]


@given(documents, contexts, starts, st.integers(1, 50))
def test_where_the_tokens_begin_moves_the_windows_only(sizes: list[int], context: int, has_start: bool, shift: int) -> None:
    here, there = (cut(offsets_of(sizes, first), context, 1, has_start) for first in (0, shift))
    assert (there.first - here.first == shift).all()
    assert there.n_predicted.tolist() == here.n_predicted.tolist()


@pytest.mark.parametrize(
    ("sizes", "context", "overlap", "has_start", "expected"),
    [
        # 10 tokens, 4 positions, start token: [s 0 1 2]->0123, [s 4 5 6]->4567, [s 8]->89
        ([10], 4, 0, True, {"first": [0, 4, 8], "n_predicted": [4, 4, 2], "n_context": [0, 0, 0], "lengths": [4, 4, 2]}),
        # overlap 2: [s 0 1 2]->0123, [s 2 3 4]->45, [s 4 5 6]->67, [s 6 7 8]->89
        ([10], 4, 2, True, {"first": [0, 4, 6, 8], "n_predicted": [4, 2, 2, 2], "n_context": [0, 2, 2, 2], "lengths": [4, 4, 4, 4]}),
        # overlap 3: every later token sees the start token and three before it
        ([6], 4, 3, True, {"first": [0, 4, 5], "n_predicted": [4, 1, 1], "n_context": [0, 3, 3], "lengths": [4, 4, 4]}),
        # no start token: [0 1 2 3]->1234, [4 5 6 7]->5678, [8]->9
        ([10], 4, 0, False, {"first": [1, 5, 9], "n_predicted": [4, 4, 1], "n_context": [1, 1, 1], "lengths": [4, 4, 1]}),
        # no start token, overlap 2: [0 1 2 3]->1234, [3 4 5 6]->567, [6 7 8]->89
        ([10], 4, 2, False, {"first": [1, 5, 8], "n_predicted": [4, 3, 2], "n_context": [1, 2, 2], "lengths": [4, 4, 3]}),
        # a document that is exactly full, an empty one, one of a single token
        ([4, 0, 1], 4, 0, True, {"document": [0, 2], "first": [0, 4], "n_predicted": [4, 1], "lengths": [4, 1]}),
        ([5, 0, 1], 4, 0, False, {"document": [0], "first": [1], "n_predicted": [4], "lengths": [4]}),
        ([], 4, 0, True, {"document": [], "lengths": []}),
    ],
)
def test_windows_by_hand(sizes: list[int], context: int, overlap: int, has_start: bool, expected: dict[str, list[int]]) -> None:
    found = columns_of(cut(offsets_of(sizes), context, overlap, has_start))
    assert {name: found[name] for name in expected} == expected


def test_windows_taken_in_another_order_keep_their_columns() -> None:
    windows = cut(offsets_of([10, 3]), 4, 0, True)
    turned = windows.take(np.array([3, 0]))
    assert columns_of(turned) == {"document": [1, 0], "first": [10, 0], "n_predicted": [3, 4], "n_context": [0, 0], "lengths": [3, 4]}
    assert turned.has_start and len(turned) == 2


lengths = st.lists(st.integers(1, 60), max_size=60).map(lambda found: np.array(found, np.int64))


@given(lengths, st.integers(1, 300))
def test_batches_hold_each_window_once_longest_first(sizes: np.ndarray, most: int) -> None:
    groups = batches(sizes, most)
    order = np.concatenate(groups) if groups else np.empty(0, np.int64)
    assert sorted(order.tolist()) == list(range(len(sizes)))
    assert all(len(group) for group in groups)
    assert order.tolist() == sorted(range(len(sizes)), key=lambda i: (-sizes[i], i))


@given(lengths, st.integers(1, 300))
def test_a_batch_keeps_to_its_positions_or_is_one_window(sizes: np.ndarray, most: int) -> None:
    for group in batches(sizes, most):
        assert len(group) == 1 or len(group) * sizes[group].max() <= most


@given(lengths, st.integers(1, 300))
def test_batches_are_filled(sizes: np.ndarray, most: int) -> None:
    groups = batches(sizes, most)
    for group in groups[:-1]:
        assert (len(group) + 1) * sizes[group].max() > most


@given(lengths, st.integers(60, 300))
def test_padding_is_bounded_by_the_spread_of_lengths(sizes: np.ndarray, most: int) -> None:
    """Within a batch each row is padded by the fall of the sorted lengths alone, so the sum of all falls times a batch's rows bounds it."""
    groups = batches(sizes, most)
    padded = sum(len(group) * int(sizes[group].max()) for group in groups) - int(sizes.sum())
    falls = [(len(group) - 1) * int(sizes[group].max() - sizes[group].min()) for group in groups]
    assert 0 <= padded <= sum(falls)
    assert sum(int(sizes[group].max() - sizes[group].min()) for group in groups) <= (sizes.max() - sizes.min() if len(sizes) else 0)


def test_padding_of_many_documents_is_a_few_per_cent() -> None:
    sizes = np.random.default_rng(0).lognormal(5, 1, 4000).astype(np.int64).clip(1, 512)
    padded = sum(len(group) * int(sizes[group].max()) for group in batches(sizes, 4096))
    assert padded < 1.03 * sizes.sum()


def test_batches_by_hand() -> None:
    assert [group.tolist() for group in batches(np.array([3, 8, 5, 5, 1, 20]), 10)] == [[5], [1], [2, 3], [0, 4]]
    assert batches(np.empty(0, np.int64), 10) == []
