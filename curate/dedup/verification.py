"""Band keys propose, true similarity decides: which rows of a run are joined.

A run is the rows with one key of a band. All pairs of a run of up to ``ALL_PAIRS`` rows are
looked at: their sketches first, and where those agree enough (``pairs``) the rows themselves.
Pairs that are already in one component are passed over, which cannot change the components.

A key that more rows share is that of a template, or of a huge cluster. In such a run each of
``ROUNDS`` leaders is compared with the others: the first row by content is leader, the rows alike
are joined to it, and the rest do the same among themselves. Then, for each byte of the sketches,
the rows that share key and byte are a run of their own where they are at most ``RARE``. Pages of a
template agree in most bytes, which tell nothing of their own words; copies also agree in bytes that
few others have. What can be lost are pairs that share a key with more than ``ALL_PAIRS`` rows, and
no other key, and no rare byte.

Cost. A run of m <= 1024 rows takes at most m (m - 1) / 2 comparisons of sketches: 2^19 pairs of
2 x 112 bytes, 2.5 ms, over 112 KiB that stay in the second cache. A row of a larger run meets 8
leaders, and at most 255 others for each of 112 bytes: 0.15 ms. Memory is linear in candidates.

What becomes of rows depends on their keys, sketches, similarities and their order by content only:
not on their numbers, on shards, or on ranges of keys. C is the number of candidates, B of bands,
M of members of runs, P of pairs, E of edges.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from curate.dedup import pairs
from curate.dedup.components import Components
from curate.errors import IntegrityError

Similarity = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Rows (P int64) and rows (P int64) to their similarities (P float64, 0 to 1); symmetric."""

ALL_PAIRS = 1024
"""Rows of the largest run whose pairs are all looked at."""
ROUNDS = 8
RARE = 256
"""Rows of a larger run that may share a byte for their pairs to be looked at: as many as there are bytes."""
PAIRS_PER_CALL = ALL_PAIRS * ALL_PAIRS // 2
"""Most pairs of one call for similarities, which bounds what the caller must hold; at least those of one run."""
_HALF, _LOW = np.uint64(32), np.uint64(0xFFFFFFFF)
_NO_BAND = -1


class Verifier:
    """Joins rows that share a key and are similar: ``add`` every band, then ``finish``.

    Args:
        threshold: least similarity of two rows that are joined.
        n_bands: B.
        order: (C, K) uint64 with C < 2^31, compared left to right: the place of each row in an order by content,
            such as ``Rows.places``: doc_id halves, ``hashing.source_keys``, source_row. Only read here, not kept.
        sketches: (C, P) uint8, kept.
        similarity: of pairs of rows.

    Attributes:
        n_estimated: pairs whose sketches were compared.
        n_compared: pairs whose similarity was asked for.
        n_left_apart: after ``finish``, the rows that stay alone though they were not compared with all that they share a key with.
    """

    def __init__(self, threshold: float, n_bands: int, order: np.ndarray, sketches: np.ndarray, similarity: Similarity) -> None:
        n = len(order)
        if n >= 1 << 31:
            raise ValueError(f"{n} rows do not fit 31 bits: number the candidates alone")
        self._threshold, self._similarity = threshold, similarity
        self._by_rank = _sorted_rows(order)
        self._rank = np.empty_like(self._by_rank)
        self._rank[self._by_rank] = np.arange(n, dtype=np.uint32)
        self._words, self._least = pairs.packed(sketches), pairs.least_equal(threshold, sketches.shape[1])
        # The run of each row in each band, named by one of its rows; ~run where it is too large. A row alone is a run of its own.
        self._runs = np.empty((n, n_bands), dtype=np.int32)
        self._runs[:] = np.arange(n, dtype=np.int32)[:, None]
        self._none_rare = np.zeros((0, self._words.shape[1] * self._words.itemsize, 256), dtype=np.bool_)
        self._rows = Components(n)
        self._outlasted = np.zeros(n, dtype=np.bool_)
        self.n_estimated = self.n_compared = self.n_left_apart = 0

    def add(self, band: int, stars: np.ndarray) -> None:
        """Compare the runs of a band, or of a range of its keys; those too large wait for ``finish``.

        Args:
            band: its number, below B.
            stars: (E, 2) int64 from ``bands.edges``: whole runs. Rows whose similarity is known to be 1,
                as copies of one text, are best left out of the runs but for one of them.
        """
        leads = np.zeros(len(self._rank), dtype=np.bool_)
        leads[stars[:, 0]] = True
        runs = np.flatnonzero(leads)
        members, run = self._by_content(np.concatenate([runs, stars[:, 1]]), np.concatenate([runs, stars[:, 0]]))
        small = _repeated_sizes(run) <= ALL_PAIRS
        self._runs[members, band] = np.where(small, run, ~run)
        self._compare_all(members[small], run[small], band, self._none_rare, 0)

    def finish(self) -> np.ndarray:
        """Compare the large runs of all bands.

        Returns:
            (E, 2) int64: the smallest row of each component, and each of its other rows.
        """
        n_bands = self._runs.shape[1]
        for band in range(n_bands):
            self._compare_leaders(*self._large(band))
        for band in range(n_bands):
            self._compare_rare(*self._large(band))
        members = self._rows.members()
        self.n_left_apart = int(np.count_nonzero(self._outlasted) - np.count_nonzero(self._outlasted[members]))
        edges = np.stack([self._rows.roots(members), members], axis=1)
        return np.asarray(edges[edges[:, 0] != edges[:, 1]])

    def _by_content(self, members: np.ndarray, run: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Members and the run of each (M, M int64): runs together, members of a run by content.

        Run and rank make one number, which numpy sorts several times faster than it argsorts two.
        """
        both = (run.astype(np.uint64) << _HALF) | self._rank[members]
        both.sort()
        return self._by_rank[both & _LOW].astype(np.int64), (both >> _HALF).astype(np.int64)

    def _large(self, band: int) -> tuple[np.ndarray, np.ndarray]:
        """The large runs of a band that are not yet one component."""
        members = np.flatnonzero(self._runs[:, band] < 0)
        return self._open(*self._by_content(members, ~self._runs[members, band]))

    def _open(self, members: np.ndarray, run: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Only the runs of two components or more: in the others nothing is left to join."""
        if not len(run):
            return members, run
        first = np.r_[True, run[1:] != run[:-1]]
        begins, of = np.flatnonzero(first), np.cumsum(first) - 1
        roots = self._rows.roots(members)
        is_open = np.logical_or.reduceat(roots != roots[begins][of], begins)[of]
        return members[is_open], run[is_open]

    def _compare_rare(self, members: np.ndarray, run: np.ndarray) -> None:
        """The pairs of each run that agree in a byte of their sketches, byte by byte, where few enough of the run have it."""
        begins = _begins(run)
        n_places = self._none_rare.shape[1] if len(run) else 0
        rare = np.zeros((len(begins) - 1, *self._none_rare.shape[1:]), dtype=np.bool_)
        parts, keys = np.empty((2, len(members)), dtype=np.int64)
        for place in range(n_places):
            n = pairs.split_by_byte(members, begins, self._words, place, RARE, rare, parts, keys)
            self._compare_all(parts[:n], keys[:n], _NO_BAND, rare, place)

    def _compare_all(self, members: np.ndarray, run: np.ndarray, band: int, rare: np.ndarray, place: int) -> None:
        """All pairs of each run: its first row with all others, then the second, the next two, four, and so on.

        After each step the rows that were joined are one component, so that a run of copies takes a line of comparisons.
        ``rare`` and ``place`` are as ``pairs.propose`` takes them, but for runs numbered as ``pairs.split_by_byte`` does.
        """
        first, last = 0, 1
        while len(members):
            unfinished = _repeated_sizes(run) > first + 1
            members, run = self._open(members[unfinished], run[unfinished])
            self._compare_rows(members, run, (first, last), band, rare, place)
            first, last = last, 2 * last

    def _compare_rows(self, members: np.ndarray, run: np.ndarray, rows: tuple[int, int], band: int, rare: np.ndarray, place: int) -> None:
        """The pairs of some rows of each run with all behind them, as many runs at a time as make one call."""
        first, last = rows
        begins = _begins(run)
        size = np.diff(begins)
        n_rows = np.minimum(last, size) - first
        n_pairs = np.r_[0, np.cumsum(n_rows * (size - first) - n_rows * (n_rows + 1) // 2)]
        at = 0
        while at < len(size):
            end = int(np.searchsorted(n_pairs, n_pairs[at] + PAIRS_PER_CALL, side="right")) - 1
            left, right = np.empty((2, n_pairs[end] - n_pairs[at]), dtype=np.int64)
            some = members[begins[at] : begins[end]]
            given = some, begins[at : end + 1] - begins[at], run[begins[at:end]] >> 8, first, last, self._rows.roots(some)
            n, n_estimated = pairs.propose(*given, self._words, self._least, self._runs, band, left, right, rare, place)
            self.n_estimated += n_estimated
            self._join_alike(left[:n], right[:n])
            at = end

    def _compare_leaders(self, members: np.ndarray, run: np.ndarray) -> None:
        """Each run's first row with all others, then the first of those that are not alike, ``ROUNDS`` times."""
        for _ in range(ROUNDS):
            if not len(members):
                return
            first = np.r_[True, run[1:] != run[:-1]]
            leaders, others, of_other = members[first][np.cumsum(first) - 1][~first], members[~first], run[~first]
            alike = self._alike(leaders, others)
            members, run = _several(others[~alike], of_other[~alike])
        self._outlasted[members] = True

    def _alike(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """Whether the rows of P pairs are in one component once those worth a comparison are compared."""
        alike = self._rows.roots(left) == self._rows.roots(right)
        new = np.flatnonzero(~alike)
        self.n_estimated += len(new)
        new = new[pairs.worth(left[new], right[new], self._words, self._least, self._runs)]
        alike[new] = self._join_alike(left[new], right[new])
        return alike

    def _join_alike(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """Compare P pairs and join those that reach the threshold, which are returned (bool)."""
        alike = np.empty(len(left), dtype=np.bool_)
        for begin in range(0, len(left), PAIRS_PER_CALL):
            some = slice(begin, begin + PAIRS_PER_CALL)
            alike[some] = similarities(self._similarity, left[some], right[some]) >= self._threshold
        self.n_compared += len(left)
        self._rows.join(np.stack([left[alike], right[alike]], axis=1))
        return alike


def _sorted_rows(order: np.ndarray) -> np.ndarray:
    """The rows (C uint32) by their places (C, K), equal ones by number: the first column sorts nearly all of them."""
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


def _begins(run: np.ndarray) -> np.ndarray:
    """Where each stretch of equal numbers begins, and the end: (R + 1,) int64."""
    return np.r_[0, np.flatnonzero(run[1:] != run[:-1]) + 1, len(run)] if len(run) else np.zeros(1, dtype=np.int64)


def _repeated_sizes(run: np.ndarray) -> np.ndarray:
    """For each of M members how many its run, a stretch of equal numbers, has."""
    sizes = np.diff(_begins(run))
    return np.repeat(sizes, sizes)


def _several(members: np.ndarray, run: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Only the members whose run, a stretch of equal numbers, has two or more."""
    several = _repeated_sizes(run) > 1
    return members[several], run[several]
