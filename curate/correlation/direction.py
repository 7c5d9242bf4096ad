"""Whether results look like errors: where models that predict text better do worse, they may be accuracies.

Nothing in a column of numbers says which way is up, and with the wrong sign the method selects the worst pages. Over
public models the mean loss and an error rise together, so a benchmark on which they clearly do not is asked about.
N models, D groups, T targets, P permutations.
"""

from __future__ import annotations

import math
from itertools import permutations as all_orders
from typing import NamedTuple

import numpy as np

from curate.correlation.column_ranks import centred_ranks
from curate.correlation.permutations import permutations
from curate.errors import InputError
from curate.ranks import mid_ranks

MOST_EXACT = 7
"""Models up to which all orders are tried: 5,040; above, ``N_PERMUTATIONS`` are drawn."""
N_PERMUTATIONS = 9_999
_ROUNDING = 1e-9


class Suspicion(NamedTuple):
    """A target whose errors fall as mean loss rises.

    Args:
        target: its column.
        correlation: Spearman's, of errors and mean loss.
        p_value: of a correlation as negative, were results given to models by chance; one-sided.
    """

    target: int
    correlation: float
    p_value: float


class MeanLosses:
    """Mean losses of models over groups that come block by block, relative to the groups' means.

    So what a model lacks (NaN) neither raises nor lowers its own.
    """

    def __init__(self, n_models: int) -> None:
        self._sum_N, self._count_N = np.zeros(n_models), np.zeros(n_models, np.int64)

    def add(self, losses_ND: np.ndarray) -> None:
        """Some more groups."""
        has_ND = ~np.isnan(losses_ND)
        filled_ND = np.where(has_ND, losses_ND, 0.0)
        group_D = filled_ND.sum(axis=0) / np.maximum(has_ND.sum(axis=0), 1)
        self._sum_N += (filled_ND - group_D * has_ND).sum(axis=1)
        self._count_N += has_ND.sum(axis=1)

    def mean(self) -> np.ndarray:
        """Of the groups so far: float64 (N)."""
        return np.asarray(self._sum_N / np.maximum(self._count_N, 1))


def inverted(mean_N: np.ndarray, errors_NT: np.ndarray, level: float = 0.05, seed: int = 0) -> list[Suspicion]:
    """Targets whose rank correlation with mean loss is negative, with a p-value below ``level``.

    The p-value is exact up to seven models, by all orders; above by 9,999 seeded permutations, (1 + count) / 10,000.
    With three models or fewer none can be below 0.05. A target that has nothing to do with loss is suspected with a
    chance of ``level``.

    Args:
        mean_N: mean losses of the models.
        errors_NT: lower is better; NaN where a model has no result, which then does not count.

    Raises:
        InputError: shapes do not fit, or losses are no finite numbers.
    """
    mean_N, errors_NT = np.asarray(mean_N, np.float64), np.asarray(errors_NT, np.float64)
    if errors_NT.ndim != 2 or mean_N.shape != errors_NT.shape[:1] or not np.isfinite(mean_N).all():
        raise InputError(
            f"mean losses of shape {mean_N.shape} and errors of {errors_NT.shape}", where="losses, errors",
            expected="a finite mean loss and a row of errors for each model", fix="align them",
        )  # fmt: skip
    found = []
    orders: dict[int, np.ndarray] = {}
    for t, errors_N in enumerate(errors_NT.T):
        has_N = ~np.isnan(errors_N)
        if not has_N.any():
            continue
        ranks_2N = centred_ranks(np.stack([mean_N[has_N], errors_N[has_N]]), "mid")
        product, norm = float(ranks_2N[0] @ ranks_2N[1]), float(np.sqrt(np.prod((ranks_2N**2).sum(axis=1))))
        if product < 0:
            n = int(has_N.sum())
            if n not in orders:
                orders[n] = _orders(n, seed)
            p_value = _p_value(ranks_2N[0], ranks_2N[1], product, orders[n])
            if p_value < level:
                found.append(Suspicion(t, product / norm, p_value))
    return found


def mean_ranks(errors_NT: np.ndarray) -> np.ndarray:
    """All targets as one (N): the mean of a model's mid-ranks, each as a share of the models that have the target; NaN for none."""
    shares_NT = np.full(errors_NT.shape, np.nan)
    for t, errors_N in enumerate(errors_NT.T):
        has_N = ~np.isnan(errors_N)
        shares_NT[has_N, t] = mid_ranks(errors_N[has_N]) / max(int(has_N.sum()), 1)
    count_N = (~np.isnan(shares_NT)).sum(axis=1)
    return np.where(count_N > 0, np.nansum(shares_NT, axis=1) / np.maximum(count_N, 1), np.nan)


def _orders(n: int, seed: int) -> np.ndarray:
    """All orders of few models, drawn ones of more: int64 (P, N)."""
    if n <= MOST_EXACT:
        return np.array(list(all_orders(range(n))))
    return permutations(n, N_PERMUTATIONS, seed)


def _p_value(loss_N: np.ndarray, error_N: np.ndarray, product: float, orders_PN: np.ndarray) -> float:
    """Share of orders whose sum of products is as low; drawn ones count the one observed."""
    as_low = int(np.count_nonzero(loss_N[orders_PN] @ error_N <= product + _ROUNDING))
    return as_low / len(orders_PN) if len(loss_N) <= MOST_EXACT else (1 + as_low) / (1 + len(orders_PN))


class SpreadOfEstimates(NamedTuple):
    """How estimates lie over groups that have one; a narrow spread leaves little to select by (Thrush et al.'s sequel)."""

    least: float
    tenth: float
    median: float
    ninetieth: float
    greatest: float
    standard_deviation: float


def describe_spread(estimates_D: np.ndarray) -> SpreadOfEstimates:
    """Ends, quantiles and standard deviation, NaN left out; all NaN where no group has an estimate."""
    known_D = np.asarray(estimates_D, np.float64)
    known_D = known_D[~np.isnan(known_D)]
    if not len(known_D):
        known_D = np.array([math.nan])
    least, tenth, median, ninetieth, greatest = np.quantile(known_D, [0, 0.1, 0.5, 0.9, 1]).tolist()
    return SpreadOfEstimates(least, tenth, median, ninetieth, greatest, float(known_D.std()))
