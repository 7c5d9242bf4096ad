"""Pairs of rows that were compared, and what came of it: a table that grows, 9 bytes a slot.

N is the number of rows of the corpus, P of pairs of one call.
"""

from __future__ import annotations

import numba
import numpy as np

from curate.kernels.unicode_classes import inlined

UNKNOWN, APART, ALIKE = np.int8(0), np.int8(1), np.int8(2)

_SPREAD = np.uint64(0x9E3779B97F4A7C15)
_FIRST_SLOTS = 1024


@inlined
def _slot(left, right, table, state, mask):  # type: ignore[no-untyped-def]
    """Where a pair is in ``table`` (S, 2), or the empty place where it belongs."""
    mixed = (np.uint64(left) * _SPREAD ^ np.uint64(right)) * _SPREAD
    slot = np.int64(mixed >> np.uint64(32)) & mask
    while state[slot] != UNKNOWN and (table[slot, 0] != left or table[slot, 1] != right):
        slot = (slot + 1) & mask
    return slot


@numba.njit(cache=True, nogil=True)
def _find(left, right, table, state, found):  # type: ignore[no-untyped-def]
    """The outcome of each pair, UNKNOWN where it has none."""
    mask = len(state) - 1
    for i in range(len(left)):
        a, b = min(left[i], right[i]), max(left[i], right[i])
        found[i] = state[_slot(a, b, table, state, mask)]


@numba.njit(cache=True, nogil=True)
def _enter(left, right, outcome, table, state):  # type: ignore[no-untyped-def]
    """Enter outcomes; returns how many pairs are new. The table must have room."""
    mask = len(state) - 1
    n_new = 0
    for i in range(len(left)):
        a, b = min(left[i], right[i]), max(left[i], right[i])
        slot = _slot(a, b, table, state, mask)
        n_new += state[slot] == UNKNOWN
        table[slot, 0] = a
        table[slot, 1] = b
        state[slot] = outcome[i]
    return n_new


class Pairs:
    """What is known of unordered pairs of rows; rows of a corpus of ``n_rows``."""

    def __init__(self, n_rows: int) -> None:
        self._kind = np.int32 if n_rows < 2**31 else np.int64
        self._table, self._state = self._empty(_FIRST_SLOTS)
        self._n = 0

    def __len__(self) -> int:
        return self._n

    def find(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """ALIKE, APART or UNKNOWN for P pairs of int64 rows: int8 (P)."""
        found = np.empty(len(left), dtype=np.int8)
        _find(left, right, self._table, self._state, found)
        return found

    def enter(self, left: np.ndarray, right: np.ndarray, alike: np.ndarray) -> None:
        """Keep the outcome (P bool) of P pairs of int64 rows."""
        self._make_room(len(left))
        self._n += _enter(left, right, np.where(alike, ALIKE, APART), self._table, self._state)

    def _empty(self, n_slots: int) -> tuple[np.ndarray, np.ndarray]:
        return np.empty((n_slots, 2), dtype=self._kind), np.zeros(n_slots, dtype=np.int8)

    def _make_room(self, n_more: int) -> None:
        """Double until the pairs there are and ``n_more`` fill at most two thirds."""
        n_slots = len(self._state)
        while 3 * (self._n + n_more) > 2 * n_slots:
            n_slots *= 2
        if n_slots == len(self._state):
            return
        table, state = self._table, self._state
        self._table, self._state = self._empty(n_slots)
        used = np.flatnonzero(state)
        _enter(table[used, 0].astype(np.int64), table[used, 1].astype(np.int64), state[used], self._table, self._state)
