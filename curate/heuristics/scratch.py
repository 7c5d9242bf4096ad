"""The working memory of the signal kernels, allocated once a worker and grown to the longest document met.

Pages that no document needs are never touched, so that what is asked for (a word per byte at worst) is not what is used.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from curate.documents import read_only

PADDING = 64
"""Bytes that may be read behind a text."""


class Scratch(NamedTuple):
    """Working arrays for one document of B bytes.

    Attributes:
        text: the document, a newline, zeros.
        text_view, lines_view: ``text`` and ``lines``, read-only: the word splitter is compiled for such arrays already.
        glued: its words, nothing between them.
        lines: of its kept lines, the bytes.
        line_ends: where they end there.
        starts, ends: byte offsets of words, or of lines.
        word_keys, word_bytes, word_points: hash of every word, bytes and code points before it.
        grams: hash of the n-gram at every word.
        kept, chosen: positions of n-grams, and of a part of them; also a number per position.
        keys, counts, firsts: a hash table, its entries' number of occurrences and first positions.
        counters: saturating counters.
    """

    text: np.ndarray
    text_view: np.ndarray
    glued: np.ndarray
    lines: np.ndarray
    lines_view: np.ndarray
    line_ends: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    word_keys: np.ndarray
    word_bytes: np.ndarray
    word_points: np.ndarray
    grams: np.ndarray
    kept: np.ndarray
    chosen: np.ndarray
    keys: np.ndarray
    counts: np.ndarray
    firsts: np.ndarray
    counters: np.ndarray


def scratch_for(longest: int, n_line_bytes: int = 0) -> Scratch:
    """Arrays for documents of ``longest`` bytes, and for kept lines of ``n_line_bytes`` where those outlive a document."""
    n = longest + 2
    table = max(16, 1 << (2 * n - 1).bit_length())
    line_bytes = max(n, n_line_bytes)
    padded = [np.zeros(size + PADDING, np.uint8) for size in (n, n, line_bytes)]
    words = [np.empty(n + 1, np.int64) for _ in range(2)]
    return Scratch(
        text=padded[0],
        text_view=read_only(padded[0]),
        glued=padded[1],
        lines=padded[2],
        lines_view=read_only(padded[2]),
        line_ends=np.empty(line_bytes + 1, np.int64),
        starts=words[0],
        ends=words[1],
        word_keys=np.empty(n, np.uint64),
        word_bytes=np.empty(n + 1, np.int64),
        word_points=np.empty(n + 1, np.int64),
        grams=np.empty(n, np.uint64),
        kept=np.empty(n + 1, np.int64),
        chosen=np.empty(n + 1, np.int64),
        keys=np.empty(table, np.uint64),
        counts=np.empty(table, np.int32),
        firsts=np.empty(table, np.int32),
        counters=np.empty(2 * table, np.uint8),
    )
