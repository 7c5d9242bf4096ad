"""Which rows hang together by edges: union-find with the smallest row of a component as its root.

A parent is never greater than its child, so the root of a component is its smallest row
whatever edges came in whatever order, and one pass from the front turns parents into labels.
Paths are halved on the way (Tarjan & van Leeuwen 1984), so a find costs O(log N) amortised.
N is the number of rows, E of edges.
"""

from __future__ import annotations

import numba
import numpy as np

from curate.errors import IntegrityError
from curate.kernels.unicode_classes import inlined

_MOST_NARROW = 2**31 - 1


@inlined
def _root(parent, row):  # type: ignore[no-untyped-def]
    """The root of a row's component; every second parent on the way is lifted to its own parent."""
    while parent[row] != row:
        parent[row] = parent[parent[row]]
        row = np.int64(parent[row])
    return row


@numba.njit(cache=True, nogil=True)
def _outside(edges, n):  # type: ignore[no-untyped-def]
    """The first edge that names a row outside 0 … n - 1; -1 when none does."""
    for i in range(len(edges)):
        if min(edges[i, 0], edges[i, 1]) < 0 or max(edges[i, 0], edges[i, 1]) >= n:
            return i
    return -1


@numba.njit(cache=True, nogil=True)
def _join(parent, edges):  # type: ignore[no-untyped-def]
    """Hang the greater of the two roots of each edge below the smaller."""
    for i in range(len(edges)):
        left, right = _root(parent, edges[i, 0]), _root(parent, edges[i, 1])
        if left < right:
            parent[right] = left
        elif right < left:
            parent[left] = right


@numba.njit(cache=True, nogil=True)
def _flatten(parent):  # type: ignore[no-untyped-def]
    """Hang every row below its root: that of its parent, which comes before it and so is known."""
    for row in range(len(parent)):
        parent[row] = parent[parent[row]]


@numba.njit(cache=True, nogil=True)
def _roots(parent, rows, roots):  # type: ignore[no-untyped-def]
    """The root of each of some rows."""
    for i in range(len(rows)):
        roots[i] = _root(parent, rows[i])


@numba.njit(cache=True, nogil=True)
def _mark_joined(parent, joined):  # type: ignore[no-untyped-def]
    """Mark the rows whose component has others."""
    for row in range(len(parent)):
        if parent[row] != row:
            joined[row] = True
            joined[parent[row]] = True


class Components:
    """N rows, each a component of its own until edges join them; 4 bytes a row below 2^31 rows, 8 beyond."""

    def __init__(self, n: int) -> None:
        self._parent = np.arange(n, dtype=np.int32 if n <= _MOST_NARROW else np.int64)

    def join(self, edges: np.ndarray) -> None:
        """Join the two rows of every edge (E, 2) int64. Any order, any number of times, gives the same components.

        Raises:
            IntegrityError: an edge names a row that is not there; nothing is joined then.
        """
        bad = _outside(edges, len(self._parent))
        if bad >= 0:
            raise IntegrityError(
                f"an edge joins rows {edges[bad, 0]} and {edges[bad, 1]}",
                where=f"edge {bad} of {len(edges)}",
                expected=f"rows from 0 to {len(self._parent) - 1}",
                fix="number the rows over all parts of this corpus",
            )
        _join(self._parent, edges)

    def labels(self) -> np.ndarray:
        """The smallest row of each row's component: (N,) int32 below 2^31 rows, int64 beyond."""
        _flatten(self._parent)
        return self._parent.copy()

    def roots(self, rows: np.ndarray) -> np.ndarray:
        """The same for some rows (M int64) alone."""
        roots = np.empty(len(rows), dtype=self._parent.dtype)
        _roots(self._parent, rows, roots)
        return roots

    def members(self) -> np.ndarray:
        """The rows of components of two and more, ascending: (M,) int64. Takes a byte a row."""
        joined = np.zeros(len(self._parent), dtype=np.bool_)
        _mark_joined(self._parent, joined)
        return np.flatnonzero(joined)
