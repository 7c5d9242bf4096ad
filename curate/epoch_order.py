"""The order of an epoch as arithmetic: which row of which record batch stands at a position.

Without shuffling the rows stand as they lie. With it, record batches are ordered by a hash of
(seed, epoch, batch), ``window`` of them at a time form a pool, and a pool's rows are ordered by a
hash of (seed, epoch, batch, row). Any position is found without walking to it, and no more
than a pool is held: mixing within a pool is full, mixing over a longer range is by whole batches.

Suffixes: B record batches over all shards, K rows asked for.
"""

from __future__ import annotations

from collections import OrderedDict

import numpy as np

from curate.hashing import mix64, seed_of

U64 = np.uint64


class EpochOrder:
    """The order of one epoch: position → (record batch, row in it).

    Args:
        rows_B: rows of each record batch.
        window: record batches whose rows are mixed; 0 leaves everything as it lies.
        seed: of the stream.
        epoch: from 0.
    """

    def __init__(self, rows_B: np.ndarray, window: int, seed: int, epoch: int) -> None:
        n = len(rows_B)
        self._keys_B = mix64(np.arange(n, dtype=U64) ^ U64(seed_of(seed, f"stream epoch {epoch}")))
        self._batches = np.argsort(self._keys_B, kind="stable") if window else np.arange(n)
        self._ends = np.cumsum(rows_B[self._batches])
        self._rows_B, self._window = rows_B, window
        self._pools: OrderedDict[int, np.ndarray] = OrderedDict()

    def locate(self, positions_K: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Record batch and row within it, for positions of the epoch."""
        slot = np.searchsorted(self._ends, positions_K, side="right")
        if self._window:
            positions_K = self._exchanged(positions_K, slot // self._window)
            slot = np.searchsorted(self._ends, positions_K, side="right")
        batch = self._batches[slot]
        return batch, positions_K - (self._ends[slot] - self._rows_B[batch])

    def _exchanged(self, positions_K: np.ndarray, pool_K: np.ndarray) -> np.ndarray:
        """Positions exchanged with others of the same pool."""
        moved = np.empty_like(positions_K)
        for pool in np.unique(pool_K).tolist():
            inside = pool_K == pool
            first = int(self._ends[pool * self._window - 1]) if pool else 0
            moved[inside] = first + self._pool(pool)[positions_K[inside] - first]
        return moved

    def _pool(self, pool: int) -> np.ndarray:
        """The permutation of a pool's rows; the last two asked for are kept."""
        if pool not in self._pools:
            members = self._batches[pool * self._window : (pool + 1) * self._window]
            sizes = self._rows_B[members]
            row = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
            keys = mix64(np.repeat(self._keys_B[members], sizes) ^ mix64(row.astype(U64)))
            self._pools[pool] = np.argsort(keys, kind="stable")
            if len(self._pools) > 2:
                self._pools.popitem(last=False)
        return self._pools[pool]
