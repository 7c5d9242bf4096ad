"""A back-off model compiled for scoring: three flat arrays that many workers map from one file.

    vocabulary  hash table   word hash -> word id
    nodes       by node      back-off weight, and the node of the longest shorter context
    edges       hash table   (node, word) -> log10 p, next node

A node stands for an n-gram that longer n-grams extend or that has a back-off weight; for all others the
next node of an edge is the longest suffix that does. ``curate.kernels.ngram`` says how they are walked.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numba import njit

from curate.documents import read_only, text_bytes
from curate.errors import InputError
from curate.kernels.ngram import (
    EDGE,
    NO_EDGE,
    NO_HASH,
    NODE,
    ROOT,
    VOCABULARY,
    add_up,
    edge_key,
    edge_slot,
    find_edge,
    find_words,
    hash_word,
    hash_words,
    slot_of,
    walk,
)
from curate.ngram.arpa import NgramRows

EDGES_PER_SLOT = 0.5
WORDS_PER_SLOT = 0.4

_UNKNOWN_CONTEXT, _TWICE = 1, 2


@dataclass(frozen=True)
class NgramModel:
    """The compiled tables; read-only arrays of the record types in ``curate.kernels.ngram``."""

    vocabulary: np.ndarray
    nodes: np.ndarray
    edges: np.ndarray

    def save(self, directory: Path) -> None:
        """Write one .npy per table into an existing directory."""
        for table in fields(self):
            np.save(directory / f"ngram_{table.name}.npy", getattr(self, table.name), allow_pickle=False)

    @staticmethod
    def load(directory: Path) -> NgramModel:
        """Map the tables of a saved model; processes that load the same files share the memory."""
        kinds = {"vocabulary": VOCABULARY, "nodes": NODE, "edges": EDGE}
        return NgramModel(**{name: _mapped(directory / f"ngram_{name}.npy", kind) for name, kind in kinds.items()})

    def score(self, text: pa.Array, *, by_line: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(Σ log10 p, terms in that sum, unknown words) of every row, N float64, int64, int64; nulls score as empty text."""
        data, bounds = text_bytes(text)
        data, bounds = read_only(data), read_only(bounds)
        n = len(bounds) - 1
        room = int(bounds[-1] - bounds[0]) + 2 * n
        hash_T, end_S, bounds_N = np.empty(room, np.uint64), np.empty(room, np.int64), np.empty(n + 1, np.int64)
        n_tokens, n_sentences = hash_words(data, bounds, by_line, hash_T, np.empty(0, np.int64), end_S, bounds_N)
        word_T, log10_p_S = np.empty(n_tokens, np.uint32), np.empty(n_sentences)
        find_words(hash_T[:n_tokens], self.vocabulary, word_T)
        walk(word_T, end_S[:n_sentences], self.nodes, self.edges, log10_p_S)
        log10_p, n_predicted, n_oov = np.empty(n), np.empty(n, np.int64), np.empty(n, np.int64)
        add_up(word_T, end_S[:n_sentences], log10_p_S, bounds_N, log10_p, n_predicted, n_oov)
        return log10_p, n_predicted, n_oov


def _mapped(path: Path, kind: np.dtype) -> np.ndarray:
    try:
        stored = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(
            "a table of the n-gram model cannot be read",
            where=str(path),
            expected="a file that `fit` wrote",
            fix=f"remove the score's state and run again ({error})",
        ) from error
    if stored.dtype != kind:
        raise InputError(
            "a table of the n-gram model has the wrong type",
            where=str(path),
            expected=str(kind),
            fix="remove the score's state and run again",
        )
    return read_only(np.asarray(stored).view(kind))


def compile_model(rows: NgramRows) -> NgramModel:
    """Build the scoring tables from listed n-grams.

    Raises:
        InputError: an n-gram is listed twice, or its context (all words but the last) is not listed.
    """
    n_rows = sum(len(level.log10_p_R) for level in rows.levels)
    edges = np.zeros(max(8, math.ceil(n_rows / EDGES_PER_SLOT)), EDGE)
    edges["key"] = NO_EDGE
    room = 1 + n_rows - (len(rows.levels[-1].log10_p_R) if len(rows.levels) > 1 else 0)
    nodes, depth = np.zeros(room, NODE), np.zeros(room, np.uint8)
    n_nodes = 1
    for n, level in enumerate(rows.levels, 1):
        last = n == len(rows.levels)
        n_nodes, fault, row = _add_level(level.words_R, level.log10_p_R, level.log10_backoff_R, last, edges, nodes, depth, n_nodes)
        if fault:
            raise _fault(rows, n, fault, level.words_R[row])
    tables = (_vocabulary(rows.words), nodes[:n_nodes].copy(), edges)
    return NgramModel(*map(read_only, tables))


def _fault(rows: NgramRows, order: int, fault: int, ids: np.ndarray) -> InputError:
    words = b" ".join(rows.words.take(pa.array(ids)).to_pylist()).decode("utf-8", "replace")
    what = "an n-gram is listed twice" if fault == _TWICE else "an n-gram's context is not listed"
    expected = "every n-gram once" if fault == _TWICE else f"its first {order - 1} word(s) among the {order - 1}-grams"
    return InputError(
        f"the n-gram model is inconsistent: {what}", where=f"\\{order}-grams: {words!r}", expected=expected, fix="build the model again"
    )


def _vocabulary(words: pa.Array) -> np.ndarray:
    """The word hash table. <unk>, <s> and </s> stay out, so that text which spells them meets unknown words."""
    table = np.zeros(math.ceil(len(words) / WORDS_PER_SLOT), VOCABULARY)
    _, offsets, data = words.buffers()
    bounds = np.frombuffer(offsets, np.int64, len(words) + 1, 8 * words.offset)
    _fill_vocabulary(table, np.frombuffer(data, np.uint8), bounds)
    return table


@njit(cache=True, nogil=True)
def _fill_vocabulary(table: np.ndarray, data: np.ndarray, bounds: np.ndarray) -> None:
    for word in range(3, len(bounds) - 1):
        h = hash_word(data, bounds[word], bounds[word + 1])
        slot = slot_of(h, len(table))
        while table[slot].hash != NO_HASH:
            slot = (slot + 1) % len(table)
        table[slot].hash = h
        table[slot].word = word


@njit(cache=True, nogil=True)
def _add_level(
    words_R: np.ndarray,
    log10_p_R: np.ndarray,
    log10_backoff_R: np.ndarray,
    last: bool,
    edges: np.ndarray,
    nodes: np.ndarray,
    depth: np.ndarray,
    n_nodes: Any,
) -> tuple[int, int, int]:
    """Add the n-grams of one order, n = words_R.shape[1], to the automaton of all shorter ones.

    First every context becomes a node, then every n-gram an edge: a next node is sought among suffixes, and
    all shorter n-grams must have become nodes before the search.

    Returns:
        (number of nodes, fault code or 0, the row concerned).
    """
    n = words_R.shape[1]
    context_R = np.zeros(len(words_R), np.uint32)
    for row in range(len(words_R)):
        if row and (words_R[row, : n - 1] == words_R[row - 1, : n - 1]).all():
            context_R[row] = context_R[row - 1]
            continue
        node: Any = np.uint32(ROOT)
        for column in range(n - 1):
            slot = find_edge(edges, node, words_R[row, column])
            if slot < 0:
                return n_nodes, _UNKNOWN_CONTEXT, row
            node = edges[slot].target
            if depth[node] != column + 1:
                n_nodes = _add_node(nodes, depth, n_nodes, column + 1, np.float32(0), node)
                node = np.uint32(n_nodes - 1)
                edges[slot].target = node
        context_R[row] = node
    for row in range(len(words_R)):
        word = words_R[row, n - 1]
        key = edge_key(context_R[row], word)
        slot = edge_slot(key, len(edges))
        while edges[slot].key != NO_EDGE:
            if edges[slot].key == key:
                return n_nodes, _TWICE, row
            slot = (slot + 1) % len(edges)
        target = _suffix_node(context_R[row], word, nodes, edges)
        if not last and log10_backoff_R[row] != 0:
            n_nodes = _add_node(nodes, depth, n_nodes, n, log10_backoff_R[row], target)
            target = np.uint32(n_nodes - 1)
        edges[slot].key = key
        edges[slot].log10_p = log10_p_R[row]
        edges[slot].target = target
    return n_nodes, 0, 0


@njit(cache=True, nogil=True)
def _add_node(nodes: np.ndarray, depth: np.ndarray, n_nodes: Any, of_depth: int, log10_backoff: Any, fail: Any) -> Any:
    """Append a node; returns the new number of nodes."""
    nodes[n_nodes].log10_backoff = log10_backoff
    nodes[n_nodes].fail = fail
    depth[n_nodes] = of_depth
    return n_nodes + 1


@njit(cache=True, nogil=True)
def _suffix_node(context: Any, word: Any, nodes: np.ndarray, edges: np.ndarray) -> Any:
    """The node of the longest proper suffix of the n-gram (context, word)."""
    node = context
    while node != ROOT:
        node = nodes[node].fail
        slot = find_edge(edges, node, word)
        if slot >= 0:
            return edges[slot].target
    return np.uint32(ROOT)
