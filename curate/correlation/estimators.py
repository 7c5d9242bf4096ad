"""Estimates of what each group of pages tells about each target, from models' losses and errors.

Thrush et al. (arXiv 2409.05816) model a model's error as y = f(<theta, x> + noise), x being its bits per byte on D
groups of pages and f unknown but increasing; every estimator here recovers theta, or its order. Each is a sum over
models (or pairs of models) of a weight that depends on the target alone times a feature that depends on the group
alone, so that all targets and groups are one matrix product:

    product    sum_g y_g x_g / N                                    Plan et al., arXiv 1404.3749
    sign       2 / (N (N - 1)) sum_{k<g} sgn(y_g - y_k) (x_g - x_k)  Chen & Banerjee 2017
    sign_cdf   the same with ranks of x, divided by N
    sign_sign  the same with sgn(x_g - x_k): Kendall's tau-a
    spearman   Pearson's correlation of ranks
    pearson    of the values

Of ``sign`` and ``sign_cdf``, sum_k sgn(y_g - y_k) = 2 M_g - N - 1 (M: mid-rank) takes out the sum over pairs.
N models, D groups of pages, T targets, K features: models, or pairs of models.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from curate.correlation.column_ranks import centred_ranks
from curate.correlation.kinds import Estimator, Ties
from curate.errors import InputError
from curate.kernels import correlation as kernels

BLOCK_BYTES = 8 << 20
"""Of one array of a block of groups: a few of them are held at a time."""
PAIRS_AT_A_TIME, GROUPS_BY_PAIRS = 4096, 256


def estimate(losses_ND: np.ndarray, errors_NT: np.ndarray, estimator: Estimator = "spearman", ties: Ties = "mid") -> np.ndarray:
    """Estimates of every target and group: float64 (T, D). Higher: models with lower loss here have lower error.

    Groups pass in blocks, so that beyond inputs and result a few tens of MB are held. With ``ties="mid"`` a constant
    column, or a constant target, is 0 for every estimator but ``product``.

    Args:
        losses_ND: bits per byte, float32 or float64, in any memory order.
        errors_NT: lower is better.
        ties: of ranks, for ``sign_cdf`` (ranks of losses) and ``spearman`` (both); see ``centred_ranks``. ``order`` is
            the authors' package to the last bit.

    Raises:
        InputError: shapes do not fit, fewer than two models, or values that are no finite numbers.
    """
    losses_ND, errors_NT = checked(losses_ND, errors_NT)
    weights = target_weights(errors_NT, estimator, ties)
    estimates_TD = np.empty((errors_NT.shape[1], losses_ND.shape[1]))
    for start, end in blocks(*losses_ND.shape):
        estimates_TD[:, start:end] = weighted(weights, losses_ND[:, start:end], estimator, ties)
    return estimates_TD


def estimate_pairwise(
    losses_ND: np.ndarray, errors_NT: np.ndarray, estimator: Estimator = "spearman", ties: Ties = "mid"
) -> tuple[np.ndarray, np.ndarray]:
    """As ``estimate``, where NaN means missing: each target and group by the models that have both.

    Returns:
        Estimates (T, D), NaN where fewer than ``fewest_models`` have both; and the number of models (T, D), int64.

    Raises:
        InputError: shapes do not fit, or infinite values.
    """
    losses_ND, errors_NT = checked(losses_ND, errors_NT, missing=True)
    shape = errors_NT.shape[1], losses_ND.shape[1]
    estimates_TD, n_models_TD = np.full(shape, np.nan), np.zeros(shape, np.int64)
    for models_N, targets, groups in complete_parts(losses_ND, errors_NT):
        n_models_TD[np.ix_(targets, groups)] = models_N.sum()
        if models_N.sum() >= fewest_models(estimator):
            losses, errors = losses_ND[np.ix_(models_N, groups)], errors_NT[np.ix_(models_N, targets)]
            estimates_TD[np.ix_(targets, groups)] = estimate(losses, errors, estimator, ties)
    return estimates_TD, n_models_TD


def fewest_models(estimator: Estimator) -> int:
    """What an estimate takes: two models, and three for ``spearman`` and ``pearson``, whose value for two is -1, 0 or 1."""
    return 3 if estimator in ("spearman", "pearson") else 2


def complete_parts(losses_ND: np.ndarray, errors_NT: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Parts of two tables without a missing cell (NaN): which models (N) bool, numbers of targets, numbers of groups.

    Together they are every pair of target and group once, each with all models that have both.
    """
    by_target = list(_patterns(errors_NT))
    for groups, has_loss_N in _patterns(losses_ND):
        for targets, has_error_N in by_target:
            yield has_loss_N & has_error_N, targets, groups


def _patterns(values_NC: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Columns that lack the same rows: their numbers, and which rows they have (N) bool."""
    if not values_NC.shape[1]:
        return
    if not np.isnan(values_NC).any():
        yield np.arange(values_NC.shape[1]), np.ones(len(values_NC), bool)
        return
    bits_CW = np.packbits(~np.isnan(values_NC), axis=0).T
    patterns, inverse = np.unique(bits_CW, axis=0, return_inverse=True)
    order, counts = np.argsort(inverse, kind="stable"), np.bincount(inverse, minlength=len(patterns))
    for bits_W, columns in zip(patterns, np.split(order, np.cumsum(counts)[:-1]), strict=True):
        yield columns, np.unpackbits(bits_W, count=len(values_NC)).astype(bool)


def blocks(n_models: int, n_groups: int) -> Iterator[tuple[int, int]]:
    """First and last + 1 of stretches of groups that make arrays of about ``BLOCK_BYTES``."""
    step = max(64, BLOCK_BYTES // (8 * n_models))
    for start in range(0, n_groups, step):
        yield start, min(start + step, n_groups)


def checked(losses_ND: np.ndarray, errors_NT: np.ndarray, missing: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Both as arrays, if they are numbers of the same models; ``missing`` lets NaN pass, and fewer than two models.

    Raises:
        InputError: as ``estimate`` says.
    """
    losses_ND, errors_NT = np.asarray(losses_ND), np.asarray(errors_NT)
    for name, shape, array in (("losses", "(models, groups)", losses_ND), ("errors", "(models, targets)", errors_NT)):
        if array.ndim != 2 or array.dtype.kind not in "fiu":
            raise InputError(
                f"{name} have {array.ndim} dimensions of {array.dtype}", where=name, expected=f"numbers {shape}", fix="pass a matrix"
            )
    if len(losses_ND) != len(errors_NT):
        raise InputError(
            f"there are losses of {len(losses_ND)} models and errors of {len(errors_NT)}", where="losses, errors",
            expected="one row for each model, in the same order", fix="keep the models that both have",
        )  # fmt: skip
    if len(losses_ND) < 2 and not missing:
        raise InputError(
            f"correlations of {len(losses_ND)} model(s)", where="losses", expected="at least 2, and 10 to tell anything", fix="add models"
        )
    _finite(losses_ND, "losses", missing)
    _finite(errors_NT, "errors", missing)
    return losses_ND, errors_NT.astype(np.float64)


def _finite(values_NC: np.ndarray, name: str, missing: bool) -> None:
    """Refuse infinite values, and NaN unless it may be missing."""
    bad, first = 0, (0, 0)
    for start, end in blocks(max(len(values_NC), 1), values_NC.shape[1]):
        block = values_NC[:, start:end]
        bad_block = np.isinf(block) if missing else ~np.isfinite(block)
        here = int(np.count_nonzero(bad_block))
        if here and not bad:
            column = int(np.flatnonzero(bad_block.any(axis=0))[0])
            first = int(np.flatnonzero(bad_block[:, column])[0]), start + column
        bad += here
    if bad:
        raise InputError(
            f"{bad:,} of {values_NC.size:,} {name} are no finite numbers", where=f"{name}, row {first[0]}, column {first[1]} first",
            expected="numbers, or NaN for what is missing" if missing else "numbers",
            fix="say what to do with missing cells (`missing:`), or mend the table",
        )  # fmt: skip


@dataclass(frozen=True)
class TargetWeights:
    """The side of the targets: what features are multiplied with.

    Args:
        values_TK: whole numbers but for ``product`` and ``pearson``.
        norm_T: what products are divided by; for ``spearman`` and ``pearson`` the sum of squares, 0 where the target is
            constant.
        n_models: N.
    """

    values_TK: np.ndarray
    norm_T: np.ndarray
    n_models: int


def target_weights(errors_NT: np.ndarray, estimator: Estimator, ties: Ties) -> TargetWeights:
    """Weights of models, or of pairs of models, for every target."""
    n, n_targets = errors_NT.shape
    if estimator == "product":
        return TargetWeights(np.ascontiguousarray(errors_NT.T), np.full(n_targets, float(n)), n)
    if estimator == "pearson":
        values_TN = centred(errors_NT.T)
        return TargetWeights(values_TN, np.einsum("tn,tn->t", values_TN, values_TN), n)
    if estimator == "sign_sign":
        signs_PT = np.empty((n * (n - 1) // 2, n_targets), np.float32)
        kernels.pair_signs(np.ascontiguousarray(errors_NT), 0, signs_PT)
        return TargetWeights(np.ascontiguousarray(signs_PT.T), np.full(n_targets, n * (n - 1) / 2), n)
    ranks_TN = centred_ranks(errors_NT.T, ties if estimator == "spearman" else "mid")
    if estimator == "spearman":
        return TargetWeights(ranks_TN, np.einsum("tn,tn->t", ranks_TN, ranks_TN), n)
    return TargetWeights(ranks_TN, np.full(n_targets, n * (n - 1) / 2 if estimator == "sign" else float(n * n * (n - 1))), n)


def weighted(weights: TargetWeights, losses_ND: np.ndarray, estimator: Estimator, ties: Ties) -> np.ndarray:
    """Estimates of one block of groups: float64 (T, D)."""
    if estimator == "sign_sign":
        return pair_products(weights.values_TK, losses_ND) / weights.norm_T[:, None]
    features_DN = group_features(losses_ND, estimator, ties)
    products_TD = weights.values_TK @ features_DN.T
    if estimator == "spearman" and ties == "order":
        n = weights.n_models
        distances_TD = (n * (n * n - 1) / 3 - products_TD) / 2
        return np.asarray(1 - 6 * distances_TD / (n * (n * n - 1)))
    if estimator in ("spearman", "pearson"):
        norm_TD = np.sqrt(np.outer(weights.norm_T, np.einsum("dn,dn->d", features_DN, features_DN)))
        return np.divide(products_TD, norm_TD, out=np.zeros_like(products_TD), where=norm_TD > 0)
    return products_TD / weights.norm_T[:, None]


def group_features(losses_ND: np.ndarray, estimator: Estimator, ties: Ties) -> np.ndarray:
    """What a group's losses count as for estimators without pairs: values, or centred ranks; float64 (D, N)."""
    if estimator == "product":
        return losses_ND.T.astype(np.float64)
    if estimator == "sign":
        # Relative to one model: a constant column is then 0 without rounding.
        return losses_ND.T.astype(np.float64) - losses_ND[0].astype(np.float64)[:, None]
    if estimator == "pearson":
        return centred(losses_ND.T)
    return centred_ranks(losses_ND.T, ties)


def centred(values_CN: np.ndarray) -> np.ndarray:
    """Rows minus their means, float64; a constant row is 0 without rounding."""
    from_first_CN = values_CN.astype(np.float64) - values_CN[:, :1].astype(np.float64)
    return np.asarray(from_first_CN - from_first_CN.mean(axis=1, keepdims=True))


def pair_products(weights_WP: np.ndarray, losses_ND: np.ndarray) -> np.ndarray:
    """Weights of pairs of models times sgn(x_g - x_k): float64 (W, D).

    Products are taken in float32, some pairs at a time: weights are small whole numbers, and so no digit is lost.
    """
    n_groups = losses_ND.shape[1]
    products_WD = np.zeros((len(weights_WP), n_groups))
    signs = np.empty((min(PAIRS_AT_A_TIME, weights_WP.shape[1]), GROUPS_BY_PAIRS), np.float32)
    for start in range(0, n_groups, GROUPS_BY_PAIRS):
        block_ND = np.ascontiguousarray(losses_ND[:, start : start + GROUPS_BY_PAIRS])
        for first in range(0, weights_WP.shape[1], PAIRS_AT_A_TIME):
            part_WP = weights_WP[:, first : first + PAIRS_AT_A_TIME]
            signs_PD = signs[: part_WP.shape[1], : block_ND.shape[1]]
            kernels.pair_signs(block_ND, first, signs_PD)
            products_WD[:, start : start + GROUPS_BY_PAIRS] += part_WP @ signs_PD
    return products_WD
