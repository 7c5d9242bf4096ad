"""From estimates to weights: onto {w >= 0, sum w = 1, w <= tau}.

``tau`` keeps a group from weighing more than it can give without repeating pages (Thrush et al., arXiv 2409.05816,
section 3.3). Bounds that sum to 1 leave one answer, themselves; in floating point they sum to 1 give or take, so
a sum within ``TOLERANCE`` of 1 counts as 1, and is then made 1. D groups of pages.
"""

from __future__ import annotations

import numpy as np

from curate.errors import InfeasibleMixtureError, InputError

TOLERANCE = 1e-9
_MOST_STEPS = 60


def tau_of(amounts_D: np.ndarray, filter_ratio: float) -> np.ndarray:
    """The largest weights that repeat nothing when ``filter_ratio`` of everything is taken: share / ratio, float64 (D).

    Args:
        amounts_D: tokens (or bytes, or documents) of each group.

    Raises:
        InputError: amounts are negative, no numbers or all 0, or the ratio is not in (0, 1].
    """
    amounts_D = _finite(amounts_D, "amounts")
    if (amounts_D < 0).any() or not amounts_D.sum() > 0:
        raise InputError(
            "amounts of groups are negative, or all 0", where="amounts", expected="tokens of each group, 0 or more", fix="count them again"
        )
    if not 0 < filter_ratio <= 1:
        raise InputError(
            f"a filter ratio of {filter_ratio}", where="filter_ratio", expected="above 0 and at most 1", fix="say what share of all to keep"
        )
    return np.asarray(amounts_D / amounts_D.max() / (amounts_D / amounts_D.max()).sum() / filter_ratio)


def linear(estimate_D: np.ndarray, tau_D: np.ndarray) -> np.ndarray:
    """The weights with the greatest sum of weight times estimate: float64 (D).

    Groups are taken whole from the largest estimate on, equal estimates in order of their index; the one at which
    the sum reaches 1 gets what remains. Only the order of estimates matters.

    Args:
        tau_D: upper bounds, 0 or more.

    Raises:
        InputError: values that are no finite numbers, negative bounds, or shapes that do not fit.
        InfeasibleMixtureError: the bounds sum to less than 1.
    """
    estimate_D, tau_D = _checked(estimate_D, tau_D)
    if tau_D.sum() <= 1:
        return tau_D / tau_D.sum()
    order_D = np.argsort(-estimate_D, kind="stable")
    sorted_D = tau_D[order_D]
    n_whole = int(np.searchsorted(np.cumsum(sorted_D), 1.0))
    weight_D = np.zeros_like(tau_D)
    weight_D[order_D[:n_whole]] = sorted_D[:n_whole]
    rest = 1 - float(sorted_D[:n_whole].sum())
    while rest > 0 and n_whole < len(sorted_D):
        weight_D[order_D[n_whole]] = min(rest, sorted_D[n_whole])
        rest -= sorted_D[n_whole]
        n_whole += 1
    return weight_D


def l2(estimate_D: np.ndarray, tau_D: np.ndarray) -> np.ndarray:
    """The weights nearest to the estimate, clip(estimate + c, 0, tau) with the c at which they sum to 1: float64 (D).

    The sum is piecewise linear in c, and bends where a group leaves 0 or reaches its bound; sorting those places
    finds the piece on which it passes 1. Magnitudes matter: for estimators whose values are proportional to theta.

    Args, Raises: as ``linear``.
    """
    estimate_D, tau_D = _checked(estimate_D, tau_D)
    if tau_D.sum() <= 1:
        return tau_D / tau_D.sum()
    bends = np.concatenate([-estimate_D, tau_D - estimate_D])
    order = np.argsort(bends, kind="stable")
    bends = bends[order]
    slopes = np.cumsum(np.where(order < len(tau_D), 1.0, -1.0))
    sums = np.concatenate([[0.0], np.cumsum(slopes[:-1] * np.diff(bends))])
    # The sum at a bend is never above 1 before this one; from it the rest is a step along one piece.
    shift = float(bends[max(int(np.searchsorted(sums, 1.0)) - 1, 0)])
    return _stepped(estimate_D + shift, tau_D)


PROJECTIONS = {"linear": linear, "l2": l2}


def _stepped(shifted_D: np.ndarray, tau_D: np.ndarray) -> np.ndarray:
    """clip(shifted + c, 0, tau) that sums to 1, from a c that is off by one piece: Newton's steps, exact on a piece."""
    c = 0.0
    for _ in range(_MOST_STEPS):
        weight_D = np.clip(shifted_D + c, 0, tau_D)
        missing = 1 - float(weight_D.sum())
        moves_D = (shifted_D + c >= 0) & (shifted_D + c < tau_D) if missing > 0 else (shifted_D + c > 0) & (shifted_D + c <= tau_D)
        n_moves = int(np.count_nonzero(moves_D))
        if abs(missing) <= 1e-15 or not n_moves or c + missing / n_moves == c:
            break
        c += missing / n_moves
    return weight_D


def _checked(estimate_D: np.ndarray, tau_D: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    estimate_D, tau_D = _finite(estimate_D, "estimates"), _finite(tau_D, "tau")
    if estimate_D.shape != tau_D.shape:
        raise InputError(
            f"{len(estimate_D):,} estimates and {len(tau_D):,} bounds", where="tau", expected="one bound for each group", fix="align them"
        )
    if (tau_D < 0).any():
        raise InputError(
            f"{int((tau_D < 0).sum()):,} bounds are negative", where=f"tau, group {int(np.argmax(tau_D < 0))} first",
            expected="0 or more", fix="see how amounts were counted",
        )  # fmt: skip
    total = float(tau_D.sum())
    if total < 1 - TOLERANCE:
        raise InfeasibleMixtureError(
            f"no weights are within these bounds: they sum to {total:.9g}, so {1 - total:.9g} of the weight has no place",
            where="tau", expected="bounds that sum to at least 1", fix="lower `filter_ratio`, or keep more groups",
        )  # fmt: skip
    return estimate_D, tau_D


def _finite(values_D: np.ndarray, name: str) -> np.ndarray:
    values_D = np.asarray(values_D, np.float64)
    if values_D.ndim != 1:
        raise InputError(f"{name} have {values_D.ndim} dimensions", where=name, expected="one value for each group", fix="pass a vector")
    bad_D = ~np.isfinite(values_D)
    if bad_D.any():
        raise InputError(
            f"{int(bad_D.sum()):,} of {len(values_D):,} {name} are no finite numbers", where=f"{name}, group {int(np.argmax(bad_D))} first",
            expected="numbers", fix="leave those groups out",
        )  # fmt: skip
    return values_D
