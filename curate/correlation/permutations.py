"""What estimates look like when results tell nothing: results permuted over models.

Permuted results are more targets, so all permutations of all targets are one matrix product. Beside each estimate's
p-value this gives the null of the *spread* of estimates over groups, which tells before any training whether there is
anything to select by. Models count as exchangeable: families do not, so p-values are rather too small where many
models are of one family. N models, D groups, T targets, P permutations.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from curate.correlation.estimators import TargetWeights, checked, target_weights, weighted
from curate.correlation.kinds import Estimator, Ties
from curate.hashing import mix64, seed_of

_BLOCK_BYTES = 32 << 20
_ROUNDING = 1e-9
"""Estimates closer than this, as a share of the farthest, are as far out."""


def permutations(n_models: int, n: int, seed: int) -> np.ndarray:
    """Orders of models by hashes of seed, permutation and place: int64 (n, N)."""
    key = np.uint64(seed_of(seed, "correlation permutation"))
    hashes = mix64(mix64(np.arange(n * n_models, dtype=np.uint64)) ^ key)
    return np.argsort(hashes.reshape(n, n_models), axis=1, kind="stable")


class Spread(NamedTuple):
    """Standard deviation of estimates over groups.

    Args:
        observed_T: of the estimates.
        null_TP: of each permutation's.
        p_value_T: share of permutations that spread as far, the observed one counted.
    """

    observed_T: np.ndarray
    null_TP: np.ndarray
    p_value_T: np.ndarray


class Permutations:
    """P-values of the estimates of fixed targets, for one block of groups after another, and the spread over all of them.

    Args:
        errors_NT: lower is better, complete.
        estimator, ties: as for ``estimate``.
        n: permutations.

    Raises:
        InputError: fewer than two models, or errors that are no finite numbers.
    """

    def __init__(self, errors_NT: np.ndarray, estimator: Estimator = "spearman", ties: Ties = "mid", n: int = 200, seed: int = 0) -> None:
        errors_NT = np.asarray(errors_NT)
        self.errors_NT = checked(np.zeros((len(errors_NT), 0)), errors_NT)[1]
        self.estimator, self.ties, self.n = estimator, ties, n
        orders_PN = permutations(len(self.errors_NT), n, seed)
        self._observed = target_weights(self.errors_NT, estimator, ties)
        # (N, T, P) as (N, T P): targets outermost.
        self._permuted = self.errors_NT[orders_PN].transpose(1, 2, 0).reshape(len(self.errors_NT), -1)
        self._count = 0
        self._sums = np.zeros((2, self.errors_NT.shape[1], n + 1))

    def p_values(self, losses_ND: np.ndarray) -> np.ndarray:
        """Two-sided p-values: float64 (T, D). The groups are added to ``spread``.

        (1 + permutations whose estimate is as far from the null's mean) / (1 + permutations): Phipson & Smyth 2010. The
        mean is 0 but for ``product``, whose is the product of means.

        Raises:
            InputError: losses that are no finite numbers, or not of these models.
        """
        losses_ND, _ = checked(losses_ND, self.errors_NT)
        p_values_TD = np.empty((self.errors_NT.shape[1], losses_ND.shape[1]))
        step = max(1, _BLOCK_BYTES // (8 * max(1, self._permuted.shape[1])))
        for start in range(0, losses_ND.shape[1], step):
            p_values_TD[:, start : start + step] = self._block(losses_ND[:, start : start + step])
        self._count += losses_ND.shape[1]
        return p_values_TD

    def spread(self) -> Spread:
        """Of the groups that ``p_values`` was given so far; NaN before any."""
        mean, square = self._sums / self._count if self._count else np.full_like(self._sums, np.nan)
        spread_TP = np.sqrt(np.maximum(square - mean**2, 0))
        observed_T, null_TP = spread_TP[:, 0], spread_TP[:, 1:]
        as_far_TP = null_TP >= observed_T[:, None] * (1 - _ROUNDING)
        return Spread(observed_T, null_TP, (1 + as_far_TP.sum(axis=1)) / (1 + self.n))

    def _block(self, losses_ND: np.ndarray) -> np.ndarray:
        """P-values of one block; the sums of the spread move on."""
        centre_TD = np.zeros((self.errors_NT.shape[1], losses_ND.shape[1]))
        if self.estimator == "product":
            centre_TD = np.outer(self.errors_NT.mean(axis=0), losses_ND.mean(axis=0, dtype=np.float64))
        observed_TD = weighted(self._observed, losses_ND, self.estimator, self.ties)
        null_TPD = self._null(losses_ND).reshape(len(observed_TD), self.n, -1)
        for t, null_PD in enumerate(null_TPD):
            for power in (1, 2):
                self._sums[power - 1, t, 0] += (observed_TD[t] ** power).sum()
                self._sums[power - 1, t, 1:] += null_PD.sum(axis=1) if power == 1 else np.einsum("pd,pd->p", null_PD, null_PD)
        null_TPD -= centre_TD[:, None, :]
        np.abs(null_TPD, out=null_TPD)
        distance_TD = np.abs(observed_TD - centre_TD) - _ROUNDING * null_TPD.max(axis=1, initial=0)
        return np.asarray((1 + (null_TPD >= distance_TD[:, None, :]).sum(axis=1)) / (1 + self.n))

    def _null(self, losses_ND: np.ndarray) -> np.ndarray:
        """Estimates of all permutations, (T P, D); pairs of many models take several rounds."""
        n_models, n_columns = self._permuted.shape
        n_features = n_models * (n_models - 1) // 2 if self.estimator == "sign_sign" else n_models
        step = max(1, _BLOCK_BYTES // (8 * n_features))
        parts = [weighted(self._weights(start, start + step), losses_ND, self.estimator, self.ties) for start in range(0, n_columns, step)]
        return parts[0] if len(parts) == 1 else np.concatenate([*parts, np.empty((0, losses_ND.shape[1]))])

    def _weights(self, start: int, end: int) -> TargetWeights:
        return target_weights(self._permuted[:, start:end], self.estimator, self.ties)
