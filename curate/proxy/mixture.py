"""What decides the share of each domain at each step: fixed, scheduled, or learned while the model trains."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from curate.errors import ConfigError

SIMPLEX_TOLERANCE = 1e-9


class LiveMixture(Protocol):
    """Proportions that may change at any step. D domains, in the order of the streams.

    A mixture that learns keeps its memory in ``state``, so that training killed at any step goes on as it would have.
    """

    def proportions(self, step: int) -> np.ndarray:
        """Shares of the next batch (D) float64, summing to 1; a pure function of ``step`` and what was observed."""
        ...

    def observe(self, step: int, nats_D: np.ndarray, n_predicted_D: np.ndarray) -> None:
        """What the step's batch cost: summed nats and predicted tokens of each domain (D)."""
        ...

    def state(self) -> dict[str, Any]:
        """JSON-able memory."""
        ...

    def restore(self, state: dict[str, Any]) -> None:
        """Take up an earlier memory."""
        ...


class Fixed:
    """The same proportions at every step.

    Raises:
        ConfigError: they are no point of the simplex.
    """

    def __init__(self, proportions_D: np.ndarray) -> None:
        self._proportions = np.asarray(proportions_D, np.float64)
        check_simplex(self._proportions)

    def proportions(self, step: int) -> np.ndarray:
        """See LiveMixture."""
        return self._proportions

    def observe(self, step: int, nats_D: np.ndarray, n_predicted_D: np.ndarray) -> None:
        """Learns nothing."""

    def state(self) -> dict[str, Any]:
        """Remembers nothing."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Remembers nothing."""


def check_simplex(proportions_D: np.ndarray) -> None:
    """Raise ConfigError unless these are shares of one whole."""
    total = float(proportions_D.sum())
    if proportions_D.ndim != 1 or not np.all(np.isfinite(proportions_D)) or np.any(proportions_D < 0) or abs(total - 1) > SIMPLEX_TOLERANCE:
        raise ConfigError(
            f"the proportions {np.array2string(proportions_D, threshold=8)} are no shares of one whole",
            where="mixture",
            expected="numbers of 0 or more that sum to 1",
            fix="divide them by their sum",
        )
