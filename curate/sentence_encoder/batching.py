"""Which documents go through an encoder together.

On a CPU only documents of equal length: nothing is padded, so nothing is computed for padding, no mask is needed, and a
document's vector has the same bits whatever stands beside it (padding and masks change the last ones). The price is small
batches of rare lengths; it takes a hundred positions or so to keep one core busy. A GPU wants thousands, so there
documents of like length are padded until that would cost more than another batch.
"""

from __future__ import annotations

import numpy as np

MOST_POSITIONS = {"cpu": 2048, "cuda": 65_536}
"""Of one batch: enough to fill the device, little enough to stay in its caches or memory."""
MOST_PADDING = {"cpu": 0, "cuda": 4096}
LEAST_POSITIONS = 32
"""Products with fewer rows may take another path through the library of linear algebra, with other rounding."""


def group(lengths: np.ndarray, most_positions: int, most_padding: int) -> list[np.ndarray]:
    """Documents by batch, longest first, equal lengths in their order.

    Args:
        lengths: positions of each document (N), 1 or more.
        most_positions: of a batch, padding included; a longer document is alone.
        most_padding: padded positions of a batch at most.

    Returns:
        Indices of documents, batch by batch.
    """
    order = np.argsort(-lengths, kind="stable")
    sorted_lengths = lengths[order].tolist()
    edges, width, rows, padding = [0], sorted_lengths[0] if sorted_lengths else 0, 0, 0
    for at, length in enumerate(sorted_lengths):
        padding += width - length
        if rows and ((rows + 1) * width > most_positions or padding > most_padding):
            edges.append(at)
            width, rows, padding = length, 0, 0
        rows += 1
    return [order[a:b] for a, b in zip(edges, [*edges[1:], len(order)], strict=True) if b > a]


def lay_out(ids: np.ndarray, offsets: np.ndarray, rows: np.ndarray, pad_id: int) -> tuple[np.ndarray, np.ndarray | None]:
    """One batch: a row for each document, padded on the right.

    Args:
        ids: tokens of all documents.
        offsets: where each begins (N + 1).
        rows: the documents of the batch, the longest first.
        pad_id: what padding is filled with.

    Returns:
        Tokens (rows, width) int64, and which of them are no padding (rows, width) bool; None where all are. A batch of
        very few positions has its first document several times, behind the others.
    """
    lengths = np.diff(offsets)[rows]
    width = int(lengths[0])
    columns = np.arange(width)
    kept = columns < lengths[:, None]
    at = offsets[:-1][rows][:, None] + columns
    found = np.where(kept, ids[np.minimum(at, len(ids) - 1)], pad_id).astype(np.int64)
    short = -(-LEAST_POSITIONS // width) - len(rows)
    if short > 0:
        found, kept = (np.concatenate([array, np.repeat(array[:1], short, axis=0)]) for array in (found, kept))
    return found, None if kept.all() else kept
