"""Which rows of which domains make the next batch, under proportions that may be others at every step.

Rows of a domain come in an order keyed by seed, domain and epoch; each epoch visits every row once and cuts the
stream at another phase. What a batch could not give is owed, and the largest debts are paid first. So a domain never
has a whole row more than its proportions asked for, and never lacks more than 1/2 + 1/3 + … + 1/D rows of it: below
one row up to three domains, two rows for eleven. No rule that does not know the proportions to come can promise less.
A domain whose proportion drops to zero gets nothing from then on, and what it lacks is written off.

All that passes from one step to the next is two numbers for each domain, so a state is small and exact.

D domains, B rows of a batch, L tokens of a row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from curate.errors import ConfigError
from curate.hashing import U64, mix64, seed_of
from curate.proxy.mixture import check_simplex
from curate.proxy.streams import Streams


@dataclass(frozen=True)
class Batch:
    """One step's rows.

    Args:
        rows: (B, L + 1): inputs are all but the last column, targets all but the first.
        domain: index of each row's domain (B), ascending.
        first: where each row begins in its domain's stream (B).
    """

    rows: np.ndarray
    domain: np.ndarray
    first: np.ndarray


class Draws:
    """Draws batches; its state is JSON.

    Args:
        streams: tokens by domain.
        length: tokens of a row, L.
        seed: of the order.
    """

    def __init__(self, streams: Streams, length: int, seed: int) -> None:
        self._streams, self._length, self._seed = streams, length, seed
        n_domains = len(streams.domains)
        self.taken = np.zeros(n_domains, np.int64)
        self._owed = np.zeros(n_domains, np.float64)
        self._orders: dict[int, tuple[int, np.ndarray]] = {}

    @property
    def epochs(self) -> np.ndarray:
        """How often each domain has been seen (D) float64."""
        return self.taken / np.array([self._n_rows(d) for d in range(len(self.taken))])

    def state(self) -> dict[str, Any]:
        """What has been drawn, exactly."""
        return {"taken": self.taken.tolist(), "owed": [owed.hex() for owed in self._owed.tolist()]}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.taken = np.array(state["taken"], np.int64)
        self._owed = np.array([float.fromhex(owed) for owed in state["owed"]])

    def batch(self, proportions_D: np.ndarray, n_rows: int) -> Batch:
        """The next ``n_rows`` rows.

        Raises:
            ConfigError: no shares of one whole, or of a domain without text.
        """
        proportions_D = np.asarray(proportions_D, np.float64)
        if proportions_D.shape != self.taken.shape:
            raise ConfigError(
                f"{len(proportions_D)} proportions for {len(self.taken)} domains",
                where="mixture",
                expected=f"one for each of {', '.join(self._streams.domains)}",
                fix="name every domain",
            )
        check_simplex(proportions_D)
        counts = self._counts(proportions_D, n_rows)
        rows = np.empty((n_rows, self._length + 1), np.int64)
        first = np.empty(n_rows, np.int64)
        at = 0
        for domain, count in enumerate(counts.tolist()):
            for number in range(self.taken[domain] - count, self.taken[domain]):
                first[at] = self._first(domain, number)
                rows[at] = self._row(domain, int(first[at]))
                at += 1
        return Batch(rows, np.repeat(np.arange(len(counts)), counts), first)

    def _counts(self, proportions_D: np.ndarray, n_rows: int) -> np.ndarray:
        """Rows of each domain (D): one after the other to whom most is owed."""
        self._write_off(proportions_D == 0)
        self._owed += proportions_D * n_rows
        counts = np.maximum(np.floor(self._owed), 0).astype(np.int64)
        while counts.sum() > n_rows:
            counts[np.argmin(np.where(counts > 0, self._owed - counts, np.inf))] -= 1
        while counts.sum() < n_rows:
            counts[np.argmax(np.where(proportions_D > 0, self._owed - counts, -np.inf))] += 1
        self._owed -= counts
        self.taken += counts
        return counts

    def _write_off(self, dropped_D: np.ndarray) -> None:
        """Owe nothing to domains that are asked for nothing.

        Others had those rows. Their surplus shrinks by as much, else the sum of all debts, which is nothing, would sink
        with every domain that drops out, and a domain could come to have more than a whole row too much.
        """
        lost = np.where(dropped_D, np.maximum(self._owed, 0.0), 0.0)
        if lost.any():
            surplus = np.minimum(self._owed, 0.0)
            self._owed -= lost + surplus * min(1.0, lost.sum() / max(-surplus.sum(), np.finfo(np.float64).tiny))

    def _n_rows(self, domain: int) -> int:
        """Rows of one epoch; the last phase of a stream is made up from its beginning."""
        return max(1, len(self._streams.tokens[domain]) // self._length)

    def _first(self, domain: int, number: int) -> int:
        """Where the domain's row of this number, counted over all epochs, begins in its stream."""
        n_rows = self._n_rows(domain)
        epoch, place = divmod(number, n_rows)
        known = self._orders.get(domain)
        if known is None or known[0] != epoch:
            key = U64(seed_of(self._seed, f"rows/{self._streams.domains[domain]}/{epoch}"))
            known = epoch, np.argsort(mix64(np.arange(n_rows, dtype=U64) ^ key), kind="stable")
            self._orders[domain] = known
        phase = seed_of(self._seed, f"phase/{self._streams.domains[domain]}/{epoch}") % self._length if epoch else 0
        return int(known[1][place]) * self._length + phase

    def _row(self, domain: int, first: int) -> np.ndarray:
        """L + 1 tokens from there, round the end where the stream is over."""
        stream = self._streams.tokens[domain]
        if first + self._length + 1 <= len(stream):
            return stream[first : first + self._length + 1]
        return stream[(first + np.arange(self._length + 1)) % len(stream)]
