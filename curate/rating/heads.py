"""Heads that rate an embedding: ordinal regression, and the plain classifier beside it.

SampleMix (Xi et al., arXiv 2503.01506, section 3.1) rates documents with an ordinal head. Labels are 0..C. For each
threshold k = 1..C, s_k = P(y >= k) = sigmoid(w_k·x + b_k); the loss is sum_k BCE(s_k, 1[y >= k]), so that a label y asks
for y ones and then zeros, and being wrong by two classes costs more than by one. The label is the number of s_k above
0.5, the rating their sum, the expected number of thresholds reached. The thresholds have weights of their own and are
not forced into order: s_k may fall below s_{k+1} by error. Both outputs are sums over k, hence well-defined
all the same, and never fall when a logit rises.

The classifier is multinomial logistic regression: p = softmax over classes, the label its argmax (the lower of two
equal ones), the rating its mean, sum_c c·p_c.

Both minimise the mean loss plus l2/2 times the squared weights (not biases) on standardised dimensions, each less its
mean and over its standard deviation in the training documents. The problems are convex and solved to the optimum, so
nothing depends on a start or on a rate of learning. The standardisation is folded into the stored weights.

A class beyond those that the training documents have is never reached: s_k is 0 above their largest label and 1 up to
their smallest, and the classifier gives a class that they lack probability 0.

Suffixes: T distinct texts, N documents, D dimensions, K classes (C + 1), and L logits (C or K).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from curate.documents import read_only
from curate.rating import logits
from curate.rating.lbfgs import Minimum, minimise

Kind = Literal["ordinal", "classifier"]
KINDS: tuple[Kind, ...] = ("ordinal", "classifier")
CODES = {"ordinal": logits.ORDINAL, "classifier": logits.CLASSIFIER}

TOLERANCE = 1e-8  # of the gradient of the mean loss, in nats
MOST_STEPS = 1000
BOUND = 0.25  # of the derivative of a sigmoid; softmax is bounded by twice this
BOUND_ROWS = 16_384  # that the preconditioner is made from
ROWS_AT_ONCE = 4096
FLAT = 1e-12  # relative: below it a dimension is constant but for rounding


@dataclass(frozen=True)
class Head:
    """A trained head.

    Args:
        kind: ``ordinal`` or ``classifier``.
        weights: (D + 1, L) float64, the last row the biases; infinite where a class is never or always reached.
    """

    kind: Kind
    weights: np.ndarray

    @property
    def n_dimensions(self) -> int:
        """Of the embedding."""
        return len(self.weights) - 1

    @property
    def n_classes(self) -> int:
        """Labels are 0 to one less."""
        return self.weights.shape[1] + (1 if self.kind == "ordinal" else 0)

    def logits(self, vectors_ND: np.ndarray) -> np.ndarray:
        """(N, L) float64 of N vectors, all finite."""
        return logits.logits(read_only(np.ascontiguousarray(vectors_ND, np.float32)), self.weights)

    def rate(self, vectors_ND: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rating (N) float32, from 0 to C, and label (N) int16, of N vectors, all finite. A row's result is its own."""
        return logits.ratings(self.logits(vectors_ND), CODES[self.kind])

    def n_out_of_order(self, vectors_ND: np.ndarray) -> int:
        """How many of N vectors an ordinal head gives some s_k below s_{k+1}."""
        z = self.logits(vectors_ND)
        return int((z[:, 1:] > z[:, :-1]).any(axis=1).sum())


class Trained(NamedTuple):
    """A head, and how its training ended."""

    head: Head
    n_steps: int
    converged: bool


def train(kind: Kind, vectors_TD: np.ndarray, counts_TK: np.ndarray, l2: float) -> Trained:
    """Train a head to the optimum.

    Args:
        vectors_TD: float32, finite.
        counts_TK: how many records give a text each label; at least two labels occur.
        l2: weight of half the squared weights, more than 0.
    """
    counts_TK = counts_TK.astype(np.float64)
    mean_D, scale_D = _standard(vectors_TD, counts_TK.sum(axis=1))
    standard_TD = np.empty(vectors_TD.shape, np.float32)
    for start in range(0, len(vectors_TD), ROWS_AT_ONCE):
        standard_TD[start : start + ROWS_AT_ONCE] = (vectors_TD[start : start + ROWS_AT_ONCE] - mean_D) / scale_D
    seen = np.flatnonzero(counts_TK.sum(axis=0))
    if kind == "ordinal":
        seen = np.arange(seen[0], seen[-1] + 1)
    found = _optimum(kind, standard_TD, np.ascontiguousarray(counts_TK[:, seen]), l2)
    weights = np.empty_like(found.at)
    weights[:-1] = found.at[:-1] / scale_D[:, None]
    weights[-1] = found.at[-1] - (mean_D[:, None] * weights[:-1]).sum(axis=0)
    return Trained(Head(kind, _with_unseen(kind, weights, seen, counts_TK.shape[1])), found.n_steps, found.converged)


def _optimum(kind: Kind, standard_TD: np.ndarray, counts_TK: np.ndarray, l2: float) -> Minimum:
    """The weights for standardised vectors, (D + 1, L)."""
    n_dims = standard_TD.shape[1]

    def penalised(weights: np.ndarray) -> tuple[float, np.ndarray]:
        gradient = np.empty_like(weights)
        loss = logits.loss_and_gradient(standard_TD, counts_TK, weights, CODES[kind], gradient)
        gradient[:-1] += l2 * weights[:-1]
        return loss + 0.5 * l2 * float(np.sum(weights[:-1] ** 2)), gradient

    step = -(-len(standard_TD) // BOUND_ROWS)
    factor = BOUND * logits.gram(standard_TD, counts_TK.sum(axis=1), step)
    factor[np.diag_indices(n_dims + 1)] += l2
    logits.cholesky(factor)
    start = np.zeros((n_dims + 1, counts_TK.shape[1] - (kind == "ordinal")))
    return minimise(penalised, start, lambda right: logits.solve(factor, right), TOLERANCE, MOST_STEPS)


def _with_unseen(kind: Kind, weights: np.ndarray, seen: np.ndarray, n_classes: int) -> np.ndarray:
    """The weights with columns for what the training documents lack."""
    whole = np.zeros((len(weights), n_classes - (kind == "ordinal")))
    if kind == "ordinal":
        low, high = seen[0], seen[-1]
        whole[-1, :low], whole[-1, high:] = np.inf, -np.inf
        whole[:, low:high] = weights
    else:
        whole[-1] = -np.inf
        whole[:, seen] = weights
    return whole


def _standard(vectors_TD: np.ndarray, n_records_T: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation over records (D) float64; the deviation of a constant dimension counts as 1."""
    n_dims, n = vectors_TD.shape[1], n_records_T.sum()
    sums, squares = np.zeros(n_dims), np.zeros(n_dims)
    for start in range(0, len(vectors_TD), ROWS_AT_ONCE):
        sums += (vectors_TD[start : start + ROWS_AT_ONCE].astype(np.float64) * n_records_T[start : start + ROWS_AT_ONCE, None]).sum(axis=0)
    mean_D = sums / n
    for start in range(0, len(vectors_TD), ROWS_AT_ONCE):
        centred = vectors_TD[start : start + ROWS_AT_ONCE].astype(np.float64) - mean_D
        squares += (centred**2 * n_records_T[start : start + ROWS_AT_ONCE, None]).sum(axis=0)
    scale_D = np.sqrt(squares / n)
    return mean_D, np.where(scale_D > FLAT * (np.abs(mean_D) + 1), scale_D, 1.0)
