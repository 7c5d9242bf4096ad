"""The signature kernel, and the least that signatures need: bare loops over the same bytes, words and shingles.

The loops find runs of ASCII letters and digits (a byte beyond ASCII counts as a letter), hash each eight bytes at a
time, combine five into a shingle, and take minima under all permutations. No case is folded, no accent or width, and no
character is looked up: that is what the kernel does beyond them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numba import njit

from benchmarks.child import in_turns
from curate.documents import text_bytes
from curate.kernels.minhash import permutations, signatures

PARTS = {"edges": "finding words", "hashes": "hashing them", "shingles": "combining them", "minima": "permutations and minima"}
NGRAM = 5
SPARE = 16


@njit
def _find_words(data: np.ndarray, letters: np.ndarray, edges: np.ndarray) -> int:
    """Where words begin and end, in turn; how many places that are. The loops have no branches, the first two become vector code."""
    letters[0] = 0
    for i in range(data.size):
        byte = data[i]
        letters[i + 1] = (np.uint8((byte | 32) - 97) < 26) | (np.uint8(byte - 48) < 10) | (byte >= 128)
    for i in range(data.size):
        letters[i] ^= letters[i + 1]
    n_edges = 0
    for i in range(data.size):
        edges[n_edges] = i
        n_edges += letters[i]
    return n_edges


@njit
def _hash_words(eights: np.ndarray, edges: np.ndarray, hashes: np.ndarray) -> None:
    """A hash of the bytes of each word; ``eights[i]`` is the eight bytes from byte ``i``."""
    mix = np.uint64(0x9E3779B97F4A7C15)
    for word in range(edges.size // 2):
        i, end, key = edges[2 * word], edges[2 * word + 1], np.uint64(0)
        while end - i >= 8:
            key = (key ^ eights[i]) * mix
            i += 8
        rest = eights[i] & ((np.uint64(1) << np.uint64(8 * (end - i))) - np.uint64(1))
        hashes[word] = (key ^ rest) * mix


@njit
def _shingle(words: np.ndarray, points: np.ndarray) -> None:
    """A point for every run of ``NGRAM`` words."""
    for i in range(words.size - NGRAM + 1):
        key = words[i]
        for k in range(1, NGRAM):
            key = key * np.uint64(0xA24BAED4963EE40B) + words[i + k]
        points[i] = np.uint32((key * np.uint64(0x9FB21C651E98DF25)) >> np.uint64(32))


@njit
def _minima(points: np.ndarray, bounds: np.ndarray, factors: np.ndarray, summands: np.ndarray, found: np.ndarray) -> None:
    """Every shingle of every document under every permutation, and the least of each; eight shingles at a time."""
    for d in range(bounds.size - 1):
        lowest = found[d]
        for i in range(bounds[d], bounds[d + 1] - 7, 8):
            for p in range(factors.size):
                least = lowest[p]
                for k in range(8):
                    least = min(least, np.uint32(np.uint32(points[i + k] * factors[p]) + summands[p]))
                lowest[p] = least


def measure(folder: str, n_permutations: int, repeats: int) -> dict[str, Any]:
    """Readings of the kernel and of each loop, in this process by turns, on the first Parquet file of a folder."""
    text = pq.read_table(min(Path(folder).glob("*.parquet")), columns=["text"])["text"].combine_chunks().cast(pa.large_string())
    whole, offsets = text_bytes(text)
    data = whole[offsets[0] : offsets[-1]]
    chosen = permutations(1, n_permutations)
    _, n_shingles = signatures(whole, offsets, NGRAM, chosen)
    bounds = np.concatenate([[0], np.cumsum((n_shingles + 7) // 8 * 8)])  # whole eights, so that the loop has no rest
    factors, summands = (np.ascontiguousarray(column) for column in chosen.T)
    found = np.full((len(text), n_permutations), 0xFFFFFFFF, np.uint32)
    padded = np.concatenate([data, np.zeros(SPARE, np.uint8)])
    eights = np.ndarray((len(data) + 1,), np.uint64, padded, strides=(1,))
    edges = np.empty(len(data) + 1, np.int32)
    letters = np.zeros(len(data) + 1, np.uint8)
    n_words = _find_words(data, letters, edges) // 2
    used = edges[: 2 * n_words].copy()
    hashes, made = np.empty(n_words, np.uint64), np.empty(n_words, np.uint32)
    points = np.random.default_rng(0).integers(0, 1 << 32, bounds[-1], dtype=np.uint32)
    works = {
        "kernel": lambda: signatures(whole, offsets, NGRAM, chosen),
        "edges": lambda: _find_words(data, letters, edges),
        "hashes": lambda: _hash_words(eights, used, hashes),
        "shingles": lambda: _shingle(hashes, made),
        "minima": lambda: _minima(points, bounds, factors, summands, found),
    }
    return {"readings": in_turns(works, repeats), "bytes": len(data), "shingles": int(n_shingles.sum())}
