"""Band keys propose, true similarity decides: a run is split by leaders instead of joined as a star.

A run of equal keys may hold several families of documents, or documents that only share a key
by chance. Its members are ordered by content. The first is leader: every other member is
compared with it, those similar enough are joined to it, and the rest do the same among
themselves. After ``ROUNDS`` rounds what is left stays apart and is counted. So a run of m rows
costs at most ROUNDS * m comparisons, where all pairs would be m * (m - 1) / 2.

What becomes of a run depends on its rows, their order and their similarities only: not on other
runs, on what is joined already, on shards, or on ranges of keys. N is the number of rows of the
corpus, M of members, P of pairs, E of edges.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from curate.dedup.pairs import ALIKE, UNKNOWN, Pairs
from curate.errors import IntegrityError

Similarity = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Rows (P int64) and rows (P int64) to their similarities (P float64, 0 to 1); symmetric."""

ROUNDS = 8
PAIRS_PER_CALL = 1 << 18
"""Most pairs of one call for similarities, which bounds what the caller must hold."""
_HALF, _LOW = np.uint64(32), np.uint64(0xFFFFFFFF)


class Verifier:
    """Confirms the star edges of one band after another, comparing no pair twice.

    Args:
        threshold: least similarity of two rows that are joined.
        order: (N, K) uint64 with N <= 2^32, compared left to right: the place of each row in an order by content,
            such as ``Rows.places``: doc_id halves, ``hashing.source_keys``, source_row. Only read here, not kept.
        similarity: of pairs of rows.
    """

    def __init__(self, threshold: float, order: np.ndarray, similarity: Similarity) -> None:
        if len(order) > 1 << 32:
            raise ValueError(f"{len(order)} rows do not fit 32 bits: number the candidates alone")
        self._threshold, self._similarity = threshold, similarity
        self._by_rank = _sorted_rows(order)
        self._rank = np.empty_like(self._by_rank)
        self._rank[self._by_rank] = np.arange(len(order), dtype=np.uint32)
        self._known = Pairs(len(order))
        self.n_left_apart = 0

    @property
    def n_compared(self) -> int:
        """Distinct pairs whose similarity was asked for so far."""
        return len(self._known)

    def confirm(self, stars: np.ndarray) -> np.ndarray:
        """The edges that hold, in place of those proposed.

        Args:
            stars: (E, 2) int64 from ``bands.edges``: whole runs of one band. Rows whose similarity is known to be 1,
                as copies of one text, are best left out of the runs but for one of them.

        Returns:
            (E', 2) int64: leader, member. ``n_left_apart`` grows by the members whose run outlasted the rounds.
        """
        members, run = self._ordered(stars)
        confirmed = [np.empty((0, 2), dtype=np.int64)]
        for _ in range(ROUNDS):
            if not len(members):
                break
            first = np.r_[True, run[1:] != run[:-1]]
            leader = members[first][np.cumsum(first) - 1]
            leaders, others, others_run = leader[~first], members[~first], run[~first]
            alike = self._alike(leaders, others)
            confirmed.append(np.stack([leaders[alike], others[alike]], axis=1))
            members, run = _several(others[~alike], others_run[~alike])
        self.n_left_apart += len(members)
        return np.concatenate(confirmed)

    def _ordered(self, stars: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Members of all runs and the run of each (M, M): runs together, members by content.

        Run and rank make one number, which numpy sorts several times faster than it argsorts two.
        """
        leads = np.zeros(len(self._rank), dtype=np.bool_)
        leads[stars[:, 0]] = True
        runs = np.flatnonzero(leads)
        both = np.concatenate([runs, stars[:, 0]]).view(np.uint64) << _HALF
        both |= self._rank[np.concatenate([runs, stars[:, 1]])]
        both.sort()
        return self._by_rank[both & _LOW].astype(np.int64), (both >> _HALF).view(np.int64)

    def _alike(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """Whether P distinct pairs reach the threshold, asking for the similarity of those that are new."""
        state = self._known.find(left, right)
        alike = state == ALIKE
        new = np.flatnonzero(state == UNKNOWN)
        for begin in range(0, len(new), PAIRS_PER_CALL):
            some = new[begin : begin + PAIRS_PER_CALL]
            alike[some] = similarities(self._similarity, left[some], right[some]) >= self._threshold
        self._known.enter(left[new], right[new], alike[new])
        return alike


def _sorted_rows(order: np.ndarray) -> np.ndarray:
    """The rows (N uint32) by their places (N, K), equal ones by number: the first column sorts nearly all of them."""
    by = np.argsort(order[:, 0])
    column = order[by, 0]
    same = column[1:] == column[:-1]
    tied = np.flatnonzero(np.r_[same, False] | np.r_[False, same])
    rows = by[tied]
    by[tied] = rows[np.lexsort([rows, *order[rows].T[::-1]])]
    return by.astype(np.uint32)


def similarities(similarity: Similarity, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """What ``similarity`` says of P pairs, once it is one number in [0, 1] for each.

    Raises:
        IntegrityError: it is not.
    """
    found = np.asarray(similarity(left, right), dtype=np.float64)
    if found.shape != left.shape or not ((found >= 0) & (found <= 1)).all():
        raise IntegrityError(
            f"the similarities of {len(left)} pairs of rows are not {len(left)} numbers from 0 to 1",
            where="duplicates, comparing rows",
            expected="one similarity for each pair",
            fix="build the signatures again: they do not belong to these documents",
        )
    return found


def _several(members: np.ndarray, run: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Only the members whose run, a stretch of equal numbers, still has two or more."""
    if not len(run):
        return members, run
    change = run[1:] != run[:-1]
    stays = ~(np.r_[True, change] & np.r_[change, True])
    return members[stays], run[stays]
