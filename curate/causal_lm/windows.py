"""Long documents as windows of a model's context: which tokens are predicted, and what is seen before them.

The rule. A document's tokens t_1..t_T are predicted in order, each exactly once. A window begins with the start
token, repeats the last ``overlap`` tokens before it (none in a document's first window), and predicts the tokens
that follow until it is full. So with ``overlap`` 0 every window is read as if a document began there, and the sum
of nats over windows is that of the pieces read alone; with an overlap no token but a document's first ones has
less than ``overlap`` tokens of context. Without a start token a document's first token is given, not predicted.

N documents, T tokens in all, W windows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Windows:
    """W windows over T concatenated tokens.

    Args:
        document: index of the document (W).
        first: index of the first token predicted (W).
        n_predicted: tokens predicted (W).
        n_context: tokens repeated before them (W).
        has_start: whether each window begins with the start token.
    """

    document: np.ndarray
    first: np.ndarray
    n_predicted: np.ndarray
    n_context: np.ndarray
    has_start: bool

    @property
    def lengths(self) -> np.ndarray:
        """Positions the model computes (W): start token, context, and every predicted token but the last."""
        return int(self.has_start) + self.n_context + self.n_predicted - 1

    def __len__(self) -> int:
        return len(self.first)

    def take(self, order: np.ndarray) -> Windows:
        """These windows in this order."""
        return Windows(self.document[order], self.first[order], self.n_predicted[order], self.n_context[order], self.has_start)


def cut(offsets: np.ndarray, context: int, overlap: int, has_start: bool) -> Windows:
    """The windows of N documents.

    Args:
        offsets: where documents begin among the tokens (N + 1).
        context: most positions of a window, start token included.
        overlap: tokens repeated from one window to the next; below ``context``.
        has_start: whether windows begin with the start token.
    """
    counts = np.diff(offsets)
    # Without a start token something must stand before what is predicted.
    repeated = max(overlap, 0 if has_start else 1)
    given = 0 if has_start else 1
    whole = context + 1 - int(has_start) - given  # predicted in a document's first window
    later = context + 1 - int(has_start) - repeated
    predicted = np.maximum(counts - given, 0)
    n_windows = np.where(predicted > 0, 1 + np.maximum(-(-(predicted - whole) // later), 0), 0)
    document = np.repeat(np.arange(len(counts)), n_windows)
    ordinal = np.arange(len(document)) - np.repeat(np.cumsum(n_windows) - n_windows, n_windows)
    before = np.where(ordinal == 0, 0, whole + (ordinal - 1) * later)
    size = np.minimum(np.where(ordinal == 0, whole, later), predicted[document] - before)
    first = offsets[:-1][document] + given + before
    return Windows(document, first, size, np.where(ordinal == 0, given, repeated), has_start)


def batches(lengths: np.ndarray, most_positions: int) -> list[np.ndarray]:
    """Windows of like length together, longest first, so that hardly any padding is computed.

    Args:
        lengths: positions of each window (W).
        most_positions: padded positions of one batch at most; a longer window is alone.

    Returns:
        Indices of windows, batch by batch; equal lengths stay in their order.
    """
    order = np.argsort(-lengths, kind="stable")
    found, start = [], 0
    while start < len(order):
        width = max(int(lengths[order[start]]), 1)
        n = max(1, most_positions // width)
        found.append(order[start : start + n])
        start += n
    return found
