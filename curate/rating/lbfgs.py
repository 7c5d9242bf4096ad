"""L-BFGS for smooth convex functions: the two-loop recursion with a preconditioner and backtracking.

Liu and Nocedal (1989), "On the limited memory BFGS method for large scale optimization". The preconditioner is a
factor of a matrix known to bound the second derivative; with it a few dozen steps reach the optimum to ten digits.
Sums are numpy's pairwise ones, not a library's dot products, so that the steps are the same on any number of threads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

MEMORY = 10
DESCENT = 1e-4
NOISE = 1e-14  # relative: near the optimum the decrease is smaller than the rounding of the function
MOST_HALVINGS = 30


class Minimum(NamedTuple):
    """Where the search ended.

    Args:
        at: the point.
        n_steps: taken.
        converged: whether the gradient is below the tolerance.
    """

    at: np.ndarray
    n_steps: int
    converged: bool


def minimise(
    function: Callable[[np.ndarray], tuple[float, np.ndarray]],
    start: np.ndarray,
    precondition: Callable[[np.ndarray], np.ndarray],
    tolerance: float,
    most_steps: int,
) -> Minimum:
    """The minimum of ``function``, which returns value and gradient.

    Args:
        precondition: multiplies by an approximate inverse of the second derivative, symmetric and positive definite.
        tolerance: the largest entry of the gradient at the end.
    """
    at = start
    value, gradient = function(at)
    steps: list[np.ndarray] = []
    changes: list[np.ndarray] = []
    for n_steps in range(most_steps):
        if float(np.abs(gradient).max(initial=0.0)) <= tolerance:
            return Minimum(at, n_steps, True)
        direction = -_times_inverse(gradient, steps, changes, precondition)
        slope = _dot(gradient, direction)
        length = 1.0
        for _ in range(MOST_HALVINGS):
            moved = at + length * direction
            new_value, new_gradient = function(moved)
            if new_value <= value + DESCENT * length * slope + NOISE * abs(value):
                break
            length /= 2
        else:
            return Minimum(at, n_steps, False)
        step, change = moved - at, new_gradient - gradient
        if _dot(step, change) > 0:
            steps, changes = [*steps, step][-MEMORY:], [*changes, change][-MEMORY:]
        at, value, gradient = moved, new_value, new_gradient
    return Minimum(at, most_steps, float(np.abs(gradient).max(initial=0.0)) <= tolerance)


def _times_inverse(
    gradient: np.ndarray, steps: list[np.ndarray], changes: list[np.ndarray], precondition: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """The two loops."""
    q = gradient.copy()
    shares = []
    for step, change in zip(reversed(steps), reversed(changes), strict=True):
        share = _dot(step, q) / _dot(step, change)
        shares.append(share)
        q -= share * change
    found = precondition(q)
    if steps:
        found *= _dot(steps[-1], changes[-1]) / _dot(changes[-1], precondition(changes[-1]))
    for step, change, share in zip(steps, changes, reversed(shares), strict=True):
        found += (share - _dot(change, found) / _dot(step, change)) * step
    return found


def _dot(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.sum(a * b))
