"""How far estimates would move with other models: families of models drawn with replacement.

Models of one family share data, architecture and authors, so whole families are drawn, each as often as there are
families, and a model counts as often as its family came up. Draws are hashes of the seed and go by the names of
families alone: neither the order of models nor the machine bears on them. A model that comes up twice is tied with
itself, so ranks are mid-ranks whatever ``ties`` says. N models, D groups, T targets, B replicates, P pairs of models.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from curate.correlation.column_ranks import sorted_columns
from curate.correlation.estimators import centred, checked, pair_products
from curate.correlation.kinds import Estimator, Ties
from curate.errors import InputError
from curate.hashing import mix64, seed_of
from curate.kernels import correlation as kernels

_BLOCK_BYTES = 32 << 20
_WHOLE_BYTES = 8 << 20
"""Of replicates, and of sums of whole numbers that they come from."""
_ROUNDED = 1e-12
"""A variance below this share of its sum of squares is what rounding leaves of none."""


class Intervals(NamedTuple):
    """Ends of percentile intervals, and whether they leave out 0: (T, D) each."""

    low_TD: np.ndarray
    high_TD: np.ndarray
    settled_TD: np.ndarray


def family_copies(families_N: Sequence[str], n: int, seed: int) -> np.ndarray:
    """How often each replicate has each model: int64 (N, n).

    Raises:
        InputError: there are fewer than two families.
    """
    names, family_N = np.unique(np.asarray(families_N, dtype=str), return_inverse=True)
    if len(names) < 2:
        raise InputError(
            f"{len(family_N)} model(s) of {len(names)} family: nothing to draw from", where="families",
            expected="models of at least 2 families", fix="add models, or set `bootstrap: 0`",
        )  # fmt: skip
    key = np.uint64(seed_of(seed, "correlation bootstrap"))
    drawn = mix64(mix64(np.arange(n * len(names), dtype=np.uint64)) ^ key) >> np.uint64(32)
    family_BF = ((drawn * np.uint64(len(names))) >> np.uint64(32)).astype(np.int64).reshape(n, len(names))
    copies_BF = np.stack([np.bincount(row, minlength=len(names)) for row in family_BF]) if n else np.zeros((0, len(names)), np.int64)
    return np.ascontiguousarray(copies_BF.T[family_N])


class Bootstrap:
    """Replicates of the estimates of fixed targets, for one block of groups after another.

    Args:
        errors_NT: lower is better, complete.
        families: of the models (N).
        ties: as for ``estimate``; has no effect, see the module.
        n: replicates.

    Raises:
        InputError: fewer than two families, or errors that are no finite numbers.
    """

    def __init__(
        self,
        errors_NT: np.ndarray,
        families: Sequence[str],
        estimator: Estimator = "spearman",
        ties: Ties = "mid",
        n: int = 200,
        seed: int = 0,
    ) -> None:
        self.estimator, self.ties = estimator, ties
        self.copies_NB = family_copies(families, n, seed)
        self.errors_NT = checked(np.zeros((len(self.copies_NB), 0)), errors_NT)[1]
        self._n_B = self.copies_NB.sum(axis=0)
        pairs_B = self._n_B * (self._n_B - 1.0)
        scales = {"product": self._n_B.astype(float), "sign_cdf": self._n_B * pairs_B, "sign": pairs_B / 2, "sign_sign": pairs_B / 2}
        self._scale_B = np.maximum(scales.get(estimator, pairs_B), 1.0)

    def replicates(self, losses_ND: np.ndarray) -> np.ndarray:
        """Estimates of every replicate, target and group: float32 (B, T, D). Constant in a replicate: 0, but for ``product``.

        Raises:
            InputError: losses that are no finite numbers, or not of these models.
        """
        losses_ND, _ = checked(losses_ND, self.errors_NT)
        if self.estimator in ("spearman", "sign_cdf"):
            return self._of_ranks(losses_ND)
        if self.estimator == "sign_sign":
            return self._of_pairs(losses_ND)
        if self.estimator == "pearson":
            return self._of_values(losses_ND)
        # Models are few and copies whole: the replicate is another weighting of the same values.
        values_ND = losses_ND.astype(np.float64)
        values_ND -= values_ND[0] if self.estimator == "sign" else 0.0
        weights_TNB = self._target_ranks() if self.estimator == "sign" else self.errors_NT.T[:, :, None]
        products_TBD = (weights_TNB * self.copies_NB).transpose(0, 2, 1) @ values_ND
        return (products_TBD / self._scale_B[:, None]).astype(np.float32).transpose(1, 0, 2)

    def intervals(self, losses_ND: np.ndarray, confidence: float = 0.9) -> Intervals:
        """Percentile intervals of every target and group; a few tens of MB are held beyond inputs and result."""
        shape = self.errors_NT.shape[1], losses_ND.shape[1]
        found = Intervals(np.empty(shape, np.float32), np.empty(shape, np.float32), np.empty(shape, bool))
        step = max(1, _BLOCK_BYTES // (8 * max(1, self.copies_NB.shape[1] * shape[0])))
        for start in range(0, shape[1], step):
            of_block = interval(self.replicates(losses_ND[:, start : start + step]), confidence)
            for whole, part in zip(found, of_block, strict=True):
                whole[:, start : start + step] = part
        return found

    def _target_ranks(self) -> np.ndarray:
        """sum_k copies_k sgn(y_g - y_k) for every target, model and replicate: float64 (T, N, B)."""
        ranks = [np.sign(errors_N[:, None] - errors_N) @ self.copies_NB for errors_N in self.errors_NT.T]
        return np.array(ranks).reshape(-1, *self.copies_NB.shape)

    def _of_ranks(self, losses_ND: np.ndarray) -> np.ndarray:
        n_B, ranks_TNB = self._n_B, self._target_ranks()
        whole = np.int32 if int(n_B.max(initial=0)) ** 3 < 2**31 else np.float64
        n_whole_B, copies_NB = n_B.astype(whole), self.copies_NB.astype(whole)
        weighted_TNB = np.ascontiguousarray(ranks_TNB * self.copies_NB).astype(whole)
        squares_TB = np.einsum("nb,tnb->tb", self.copies_NB, ranks_TNB**2).astype(np.float32)
        found_DTB = np.empty((losses_ND.shape[1], *squares_TB.shape), np.float32)
        step = max(16, _WHOLE_BYTES // (8 * max(1, squares_TB.size)))
        for start in range(0, len(found_DTB), step):
            order_DN, ends_DN = sorted_columns(losses_ND[:, start : start + step].T)
            products_DTB = np.empty((len(order_DN), *squares_TB.shape), whole)
            squares_DB = np.empty((len(order_DN), len(n_B)), whole)
            less_B, rank_B = np.empty(len(n_B), whole), np.empty(len(n_B), whole)
            kernels.replicate_sums(order_DN, ends_DN, copies_NB, weighted_TNB, n_whole_B, less_B, rank_B, products_DTB, squares_DB)
            found_DTB[start : start + step] = self._normed(products_DTB, squares_DB.astype(np.float32), squares_TB)
        return found_DTB.transpose(2, 1, 0)

    def _normed(self, products_DTB: np.ndarray, squares_DB: np.ndarray, squares_TB: np.ndarray) -> np.ndarray:
        """Sums of products of ranks as estimates, float32; a product is 0 wherever its norm is."""
        found_DTB = products_DTB.astype(np.float32)
        if self.estimator == "sign_cdf":
            return np.asarray(found_DTB / self._scale_B.astype(np.float32))
        for t, squares_B in enumerate(squares_TB):
            norm_DB = np.sqrt(squares_DB * squares_B)
            np.divide(found_DTB[:, t], norm_DB, out=found_DTB[:, t], where=norm_DB > 0)
        return found_DTB

    def _of_pairs(self, losses_ND: np.ndarray) -> np.ndarray:
        n_models, n_replicates = self.copies_NB.shape
        k, g = np.triu_indices(n_models, 1)
        found = np.empty((n_replicates, self.errors_NT.shape[1], losses_ND.shape[1]), np.float32)
        step = max(1, _BLOCK_BYTES // (4 * len(k)))
        for t, errors_N in enumerate(self.errors_NT.T):
            signs_P = np.sign(errors_N[g] - errors_N[k])
            for start in range(0, n_replicates, step):
                copies_NB = self.copies_NB[:, start : start + step].astype(np.float32)
                weights_BP = np.ascontiguousarray((copies_NB[k] * copies_NB[g]).T * signs_P.astype(np.float32))
                found[start : start + step, t] = pair_products(weights_BP, losses_ND) / self._scale_B[start : start + step, None]
        return found

    def _of_values(self, losses_ND: np.ndarray) -> np.ndarray:
        """Pearson's correlation with copies as weights."""
        x_ND, y_NT, copies_BN, n_B = centred(losses_ND.T).T, centred(self.errors_NT.T).T, self.copies_NB.T, self._n_B[:, None]
        mean_x_BD, mean_y_BT = copies_BN @ x_ND / n_B, copies_BN @ y_NT / n_B
        squares_BD, squares_BT = copies_BN @ x_ND**2, copies_BN @ y_NT**2
        over_x_BD, over_y_BT = squares_BD - n_B * mean_x_BD**2, squares_BT - n_B * mean_y_BT**2
        over_x_BD[over_x_BD <= _ROUNDED * squares_BD] = 0
        over_y_BT[over_y_BT <= _ROUNDED * squares_BT] = 0
        found = np.zeros((len(n_B), y_NT.shape[1], x_ND.shape[1]), np.float32)
        for t in range(found.shape[1]):
            products_BD = (copies_BN * y_NT[:, t]) @ x_ND - n_B * mean_x_BD * mean_y_BT[:, t, None]
            norm_BD = np.sqrt(over_x_BD * over_y_BT[:, t, None])
            found[:, t] = np.divide(products_BD, norm_BD, out=np.zeros_like(products_BD), where=norm_BD > 0)
        return found


def interval(replicates_BTD: np.ndarray, confidence: float = 0.9) -> Intervals:
    """The middle ``confidence`` of replicates, ends interpolated between neighbours (Hyndman & Fan's type 7)."""
    sorted_TDB = np.sort(np.moveaxis(replicates_BTD, 0, -1), axis=-1)
    low, high = (_at(sorted_TDB, share) for share in ((1 - confidence) / 2, (1 + confidence) / 2))
    return Intervals(low, high, (low > 0) | (high < 0))


def _at(sorted_TDB: np.ndarray, share: float) -> np.ndarray:
    place = share * (sorted_TDB.shape[-1] - 1)
    below = int(place)
    above = min(below + 1, sorted_TDB.shape[-1] - 1)
    part = np.float32(place - below)
    return np.asarray(sorted_TDB[..., below] * (1 - part) + sorted_TDB[..., above] * part)
