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

MOST_EXACT = 7
"""Models up to which all orders are tried: 5,040; above, ``N_PERMUTATIONS`` are drawn."""
N_PERMUTATIONS = 9_999
_AT_A_TIME = 1_000
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


class Directions(NamedTuple):
    """What was found: targets that look inverted, and those that are the same for all models and tell nothing."""

    suspicious: list[Suspicion]
    constant: list[int]


def inverted(losses: np.ndarray, errors_NT: np.ndarray, level: float = 0.05, seed: int = 0) -> Directions:
    """Targets whose rank correlation with mean loss is negative, with a p-value below ``level``.

    The p-value is exact up to seven models, by all orders; above by 9,999 seeded permutations, (1 + count) / 10,000.
    With three models or fewer none can be below 0.05. A target that has nothing to do with loss is suspected with a
    chance of ``level``.

    Args:
        losses: of models on groups (N, D), or their means (N).
        errors_NT: lower is better; NaN where a model has no result, which then does not count.

    Raises:
        InputError: shapes do not fit, or losses are no finite numbers.
    """
    losses, errors_NT = np.asarray(losses, np.float64), np.asarray(errors_NT, np.float64)
    mean_N = _means(losses) if losses.ndim == 2 else losses
    if errors_NT.ndim != 2 or mean_N.shape != errors_NT.shape[:1] or not np.isfinite(mean_N).all():
        raise InputError(
            f"mean losses of shape {mean_N.shape} and errors of {errors_NT.shape}", where="losses, errors",
            expected="a finite mean loss and a row of errors for each model", fix="align them",
        )  # fmt: skip
    found = Directions([], [])
    for t, errors_N in enumerate(errors_NT.T):
        has_N = ~np.isnan(errors_N)
        if len(np.unique(errors_N[has_N])) < 2:
            found.constant.append(t)
            continue
        ranks_2N = centred_ranks(np.stack([mean_N[has_N], errors_N[has_N]]), "mid")
        product, norm = float(ranks_2N[0] @ ranks_2N[1]), float(np.sqrt(np.prod((ranks_2N**2).sum(axis=1))))
        if product < 0:
            p_value = _p_value(ranks_2N[0], ranks_2N[1], product, seed)
            if p_value < level:
                found.suspicious.append(Suspicion(t, product / norm, p_value))
    return found


def _means(losses_ND: np.ndarray) -> np.ndarray:
    """Mean loss relative to the groups' means, so that what a model lacks (NaN) neither raises nor lowers its own."""
    has_ND = ~np.isnan(losses_ND)
    filled_ND = np.where(has_ND, losses_ND, 0.0)
    group_D = filled_ND.sum(axis=0) / np.maximum(has_ND.sum(axis=0), 1)
    return np.asarray((filled_ND - group_D * has_ND).sum(axis=1) / np.maximum(has_ND.sum(axis=1), 1))


def _p_value(loss_N: np.ndarray, error_N: np.ndarray, product: float, seed: int) -> float:
    """Share of orders whose sum of products is as low."""
    n, most = len(loss_N), product + _ROUNDING
    if n <= MOST_EXACT:
        orders = np.array(list(all_orders(range(n))))
        return float(np.count_nonzero(loss_N[orders] @ error_N <= most) / math.factorial(n))
    as_low = 0
    for start in range(0, N_PERMUTATIONS, _AT_A_TIME):
        orders = permutations(n, min(_AT_A_TIME, N_PERMUTATIONS - start), seed + start)
        as_low += int(np.count_nonzero(loss_N[orders] @ error_N <= most))
    return float((1 + as_low) / (1 + N_PERMUTATIONS))


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
