"""The walk that copies are sampled along: documents in order of walk, length and key.

``curate.sampling`` says what the walk is for. Here it is made: a radix sort by length, since
lengths are small integers, then a sort by key among documents of equal length. Three sorts
of whole arrays, as numpy would do it, take about eight times as long. N documents of one
part, G groups of equal walk and length.
"""

from __future__ import annotations

import numba
import numpy as np

compiled = numba.njit(cache=True, nogil=True)

_BITS = 11
_BUCKETS = 1 << _BITS
_FEW = 24
"""Documents that are sorted by insertion."""


@compiled
def _pass(value_N, shift, order_N, sorted_N):  # type: ignore[no-untyped-def]
    """One stable pass of a radix sort: ``order_N`` by the digit of ``value_N`` at ``shift``, into ``sorted_N``."""
    counts = np.zeros(_BUCKETS, np.int64)
    for i in range(order_N.size):
        counts[(value_N[i] >> shift) & (_BUCKETS - 1)] += 1
    total = 0
    for digit in range(_BUCKETS):
        here = counts[digit]
        counts[digit] = total
        total += here
    for i in range(order_N.size):
        row = order_N[i]
        digit = (value_N[row] >> shift) & (_BUCKETS - 1)
        sorted_N[counts[digit]] = row
        counts[digit] += 1


@compiled
def by_length(walk_N, length_N):  # type: ignore[no-untyped-def]
    """Rows (int64, N) in order of walk, then length, then row; both int64, 0 or more."""
    order_N = np.arange(length_N.size)
    spare_N = np.empty_like(order_N)
    for value_N in (length_N, walk_N):
        most = 0
        for i in range(value_N.size):
            most = max(most, value_N[i])
        shift = 0
        while most >> shift:
            _pass(value_N, shift, order_N, spare_N)
            order_N, spare_N = spare_N, order_N
            shift += _BITS
    return order_N


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
def _sort_by_key(order_N, low, high, key_N):  # type: ignore[no-untyped-def]
    """Sort ``order_N[low:high]`` by key, equal keys as they stand."""
    if high - low > _FEW:
        group = order_N[low:high].copy()
        order_N[low:high] = group[np.argsort(key_N[group], kind="mergesort")]
        return
    for i in range(low + 1, high):
        row = order_N[i]
        j = i
        while j > low and key_N[order_N[j - 1]] > key_N[row]:
            order_N[j] = order_N[j - 1]
            j -= 1
        order_N[j] = row


@compiled
def walk_copies(key_N, fixed_N, order_N, starts_G, before_G, bits, copies_N):  # type: ignore[no-untyped-def]
    """Walk every group from its place: a document gets its whole copies, and one more where a whole number is passed.

    Args:
        key_N: uint64, orders documents of a group.
        order_N: rows by group; sorted further here.
        before_G: where groups begin in the walk, in units of 2^-bits copies.
        copies_N: int64, written.
    """
    mask = (1 << bits) - 1
    for g in range(starts_G.size - 1):
        low, high = starts_G[g], starts_G[g + 1]
        _sort_by_key(order_N, low, high, key_N)
        walked = before_G[g]
        for i in range(low, high):
            row = order_N[i]
            after = walked + (fixed_N[row] & mask)
            copies_N[row] = (fixed_N[row] >> bits) + (after >> bits) - (walked >> bits)
            walked = after
