"""The walk that copies are sampled along: documents in order of walk, length and key.

``curate.sampling`` says what the walk is for. Here it is made, by a radix sort: lengths are
small integers, and of keys the first bits tell most apart. N documents of one part (fewer
than 2^31), G groups of equal walk and length.
"""

from __future__ import annotations

import numba
import numpy as np

compiled = numba.njit(cache=True, nogil=True)

_BITS = 11
_BUCKETS = 1 << _BITS
_ONE_DIGIT, _TWO_DIGITS = 1 << 17, 1 << 27
"""Fewer documents than these are told apart well enough by one digit of their keys, by two; insertion settles the rest."""


@compiled
def _pass(value_N, shift, order_N, sorted_N):  # type: ignore[no-untyped-def]
    """One stable pass of a radix sort: ``order_N`` by the digit of ``value_N`` at ``shift``, into ``sorted_N``."""
    counts = np.zeros(_BUCKETS, np.int32)
    for i in range(order_N.size):
        counts[np.int64(value_N[i] >> shift) & (_BUCKETS - 1)] += np.int32(1)
    total = np.int32(0)
    for digit in range(_BUCKETS):
        here = counts[digit]
        counts[digit] = total
        total += here
    for i in range(order_N.size):
        row = order_N[i]
        digit = np.int64(value_N[row] >> shift) & (_BUCKETS - 1)
        sorted_N[counts[digit]] = row
        counts[digit] += np.int32(1)


@compiled
def _sorted(value_N, order_N, spare_N):  # type: ignore[no-untyped-def]
    """``order_N`` by ``value_N`` (int64, 0 or more), equal values as they stand; and the other array."""
    most = np.int64(0)
    for i in range(value_N.size):
        most = max(most, value_N[i])
    shift = np.int64(0)
    while most >> shift:
        _pass(value_N, shift, order_N, spare_N)
        order_N, spare_N = spare_N, order_N
        shift += _BITS
    return order_N, spare_N


@compiled
def by_length(walk_N, length_N):  # type: ignore[no-untyped-def]
    """Rows (int32, N) in order of walk, then length, then row; both int64, 0 or more."""
    order_N = np.arange(length_N.size).astype(np.int32)
    order_N, spare_N = _sorted(length_N, order_N, np.empty_like(order_N))
    order_N, spare_N = _sorted(walk_N, order_N, spare_N)
    return order_N


@compiled
def by_length_and_key(walk_N, length_N, key_N):  # type: ignore[no-untyped-def]
    """Rows (int32, N) in order of walk, then length, then key (uint64), then row."""
    order_N = np.arange(length_N.size).astype(np.int32)
    spare_N = np.empty_like(order_N)
    n_digits = 1 if length_N.size < _ONE_DIGIT else 2 if length_N.size < _TWO_DIGITS else 3
    for digit in range(n_digits):
        _pass(key_N, np.uint64(64 - (n_digits - digit) * _BITS), order_N, spare_N)
        order_N, spare_N = spare_N, order_N
    order_N, spare_N = _sorted(length_N, order_N, spare_N)
    order_N, spare_N = _sorted(walk_N, order_N, spare_N)
    _settle(order_N, walk_N, length_N, key_N)
    return order_N


@compiled
def _settle(order_N, walk_N, length_N, key_N):  # type: ignore[no-untyped-def]
    """Put rows of equal walk, length and leading bits of the key in order of the key."""
    last = np.uint64(0)
    for i in range(order_N.size):
        row = order_N[i]
        key, length, walk = key_N[row], length_N[row], walk_N[row]
        if key >= last:
            last = key
            continue
        j = i
        while j > 0:
            other = order_N[j - 1]
            if key_N[other] <= key or length_N[other] != length or walk_N[other] != walk:
                break
            order_N[j] = other
            j -= 1
        order_N[j] = row
        last = key_N[order_N[i]]


@compiled
def group_starts(walk_N, length_N, order_N):  # type: ignore[no-untyped-def]
    """First places in ``order_N`` of rows of equal walk and length, and N at the end (G + 1)."""
    starts = np.empty(order_N.size + 1, np.int64)
    n = 0
    for i in range(order_N.size):
        row, last = order_N[i], order_N[i - 1]
        if i == 0 or length_N[row] != length_N[last] or walk_N[row] != walk_N[last]:
            starts[n] = i
            n += 1
    starts[n] = order_N.size
    return starts[: n + 1].copy()


@compiled
def group_fractions(fixed_N, order_N, starts_G, mask):  # type: ignore[no-untyped-def]
    """Sums of ``fixed & mask`` over every group (G)."""
    sums = np.zeros(starts_G.size - 1, np.int64)
    for g in range(sums.size):
        for i in range(starts_G[g], starts_G[g + 1]):
            sums[g] += fixed_N[order_N[i]] & mask
    return sums


@compiled
def walk_copies(fixed_N, order_N, starts_G, before_G, bits, copies_N):  # type: ignore[no-untyped-def]
    """Walk every group from its place: a document gets its whole copies, and one more where a whole number is passed.

    Args:
        order_N: rows in order of the walk.
        before_G: where groups begin in the walk, in units of 2^-bits copies.
        copies_N: int64, written.
    """
    mask = (1 << bits) - 1
    for g in range(starts_G.size - 1):
        walked = before_G[g]
        for i in range(starts_G[g], starts_G[g + 1]):
            row = order_N[i]
            after = walked + (fixed_N[row] & mask)
            copies_N[row] = (fixed_N[row] >> bits) + (after >> bits) - (walked >> bits)
            walked = after


@compiled
def cell_sums(cell_N, amount_N):  # type: ignore[no-untyped-def]
    """Cells that hold a document, ascending, how many each holds, and the sum of their amounts: int64 (3, E).

    Negative cells are none.
    """
    shifted_N = cell_N + 1
    order_N = by_length(np.zeros_like(shifted_N), shifted_N)
    starts = group_starts(np.zeros_like(shifted_N), shifted_N, order_N)
    sums = np.zeros((3, starts.size - 1), np.int64)
    for g in range(starts.size - 1):
        sums[0, g] = shifted_N[order_N[starts[g]]] - 1
        sums[1, g] = starts[g + 1] - starts[g]
        for i in range(starts[g], starts[g + 1]):
            sums[2, g] += amount_N[order_N[i]]
    return sums[:, 1:] if sums.shape[1] and sums[0, 0] < 0 else sums
