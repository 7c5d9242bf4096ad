"""Scoring text with a back-off n-gram model, straight from UTF-8 bytes.

The model is an automaton. A node is a context (an n-gram that some longer n-gram extends, or
that carries a back-off weight); an edge (node, word) is an n-gram of the model. Reading a word
takes its edge if there is one, otherwise pays the node's back-off weight and retries from the
node of the longest shorter context. That is the ARPA definition of p(word | context).

Three loops: hash every word while looking for white space (``hash_words``), turn hashes into word
ids (``find_words``), walk the automaton (``walk``). No string or word list is ever built. The tables
outgrow the caches, so what costs is waiting for memory: looking words up in a loop of their own and
walking many sentences in turns lets the processor have many loads in flight at once.

Everything is log10, as in ARPA files. Word ids 0, 1, 2 are <unk>, <s>, </s>; node 0 is the empty
context, which has an edge for every word.

Array suffixes: N documents, S sentences, T tokens (words and one </s> per sentence).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

UNK, BOS, EOS = 0, 1, 2
ROOT = 0

VOCABULARY = np.dtype([("hash", np.uint64), ("word", np.uint32), ("unused", np.uint32)], align=True)
EDGE = np.dtype([("key", np.uint64), ("log10_p", np.float32), ("target", np.uint32)], align=True)
NODE = np.dtype([("log10_backoff", np.float32), ("fail", np.uint32)], align=True)

_LANE = np.dtype(
    [
        ("sentence", np.int64),
        ("at", np.int64),
        ("key", np.uint64),
        ("slot", np.int64),
        ("total", np.float64),
        ("found", np.uint64),
        ("node", np.uint32),
        ("log10_backoff", np.float32),
        ("fail", np.uint32),
        ("unused", np.uint32),
    ],
    align=True,
)
N_LANES = 24  # sentences in flight; more than the memory's parallelism gains nothing

NO_HASH = np.uint64(0)
EOS_HASH = np.uint64(1)  # marks the end of a sentence in a stream of word hashes
NO_EDGE = np.uint64(0xFFFFFFFFFFFFFFFF)

_SEED = np.uint64(0xCBF29CE484222325)
_PRIME = np.uint64(0x00000100000001B3)
_MIX = np.uint64(0x9E3779B97F4A7C15)
_HALF = np.uint64(32)
_TWO = np.uint64(2)
_SPACE = np.uint8(32)
_NEWLINE = np.uint8(10)


@njit(cache=True, nogil=True, inline="always")
def is_space(byte: Any) -> bool:
    """Whether a byte separates words: space, tab, newline, CR, VT, FF, and NUL, as in KenLM's own tools."""
    return byte <= 32 and (byte == 32 or (9 <= byte <= 13) or byte == 0)


@njit(cache=True, nogil=True, inline="always")
def finish_hash(h: Any) -> Any:
    """The 64-bit hash of a word from its running FNV-1a state; never NO_HASH or EOS_HASH."""
    h = (h ^ (h >> _HALF)) * _MIX
    h = h ^ (h >> _HALF)
    return h if h > EOS_HASH else h + _TWO


@njit(cache=True, nogil=True)
def hash_word(data: np.ndarray, begin: int, end: int) -> Any:
    """The hash of the word data[begin:end], equal to what the scanning loops compute."""
    h = _SEED
    for i in range(begin, end):
        h = (h ^ np.uint64(data[i])) * _PRIME
    return finish_hash(h)


@njit(cache=True, nogil=True, inline="always")
def slot_of(h: Any, n_slots: int) -> Any:
    """Map the high half of a hash onto [0, n_slots), n_slots < 2^32, without a division."""
    return np.int64(((h >> _HALF) * np.uint64(n_slots)) >> _HALF)


@njit(cache=True, nogil=True, inline="always")
def edge_key(node: Any, word: Any) -> Any:
    """The exact key of an edge: no two edges share one, so a probe never needs the words themselves."""
    return (np.uint64(node) << _HALF) | np.uint64(word)


@njit(cache=True, nogil=True, inline="always")
def edge_slot(key: Any, n_slots: int) -> Any:
    """Where probing for an edge starts."""
    return slot_of((key ^ (key >> _HALF)) * _MIX, n_slots)


@njit(cache=True, nogil=True, inline="always")
def find_word(vocabulary: np.ndarray, h: Any) -> Any:
    """The id of the word with hash h, UNK when the model does not know it."""
    slot = slot_of(h, len(vocabulary))
    while True:
        found = vocabulary[slot].hash
        if found == h:
            return vocabulary[slot].word
        if found == NO_HASH:
            return np.uint32(UNK)
        slot += 1
        if slot == len(vocabulary):
            slot = 0


@njit(cache=True, nogil=True, inline="always")
def find_edge(edges: np.ndarray, node: Any, word: Any) -> Any:
    """The slot of an edge, -1 when the model has no such n-gram."""
    key = edge_key(node, word)
    slot = edge_slot(key, len(edges))
    while True:
        found = edges[slot].key
        if found == key:
            return slot
        if found == NO_EDGE:
            return np.int64(-1)
        slot += 1
        if slot == len(edges):
            slot = 0


@njit(cache=True, nogil=True)
def hash_words(
    data: np.ndarray,
    bounds: np.ndarray,
    by_line: bool,
    hash_T: np.ndarray,
    begin_T: np.ndarray,
    sentence_end_S: np.ndarray,
    sentence_bounds_N: np.ndarray,
) -> tuple[int, int]:
    """Split N documents into sentences of words.

    Args:
        data: uint8 text bytes of all documents.
        bounds: N+1 int64 offsets into ``data``.
        by_line: whether a newline ends a sentence, else a document is one. Lines without a word are no
            sentence, save that a document without any word is one empty sentence.
        hash_T: out, uint64: the hash of every word, EOS_HASH behind every sentence. Room for
            len(data) + 2 N is always enough.
        begin_T: out, int64: where every word begins in ``data``; nothing is written when empty.
        sentence_end_S: out, int64: index behind every sentence's EOS_HASH. Room as for ``hash_T``.
        sentence_bounds_N: out, N+1 int64: the sentences of every document.

    Returns:
        (number of tokens, number of sentences).
    """
    n_tokens, n_sentences = 0, 0
    sentence_bounds_N[0] = 0
    for d in range(len(bounds) - 1):
        in_sentence, in_word = False, False
        h = _SEED
        end = bounds[d + 1]
        # One step past the end closes the last word and the last sentence.
        for i in range(bounds[d], end + 1):
            byte = data[i] if i < end else _SPACE
            if not is_space(byte):
                if not in_word and len(begin_T):
                    begin_T[n_tokens] = i
                h = (h ^ np.uint64(byte)) * _PRIME
                in_word = True
                continue
            if in_word:
                hash_T[n_tokens] = finish_hash(h)
                n_tokens += 1
                h = _SEED
                in_word, in_sentence = False, True
            closes = in_sentence and by_line and byte == _NEWLINE
            if i == end:
                closes = in_sentence or n_sentences == sentence_bounds_N[d]
            if closes:
                hash_T[n_tokens] = EOS_HASH
                n_tokens += 1
                sentence_end_S[n_sentences] = n_tokens
                n_sentences += 1
                in_sentence = False
        sentence_bounds_N[d + 1] = n_sentences
    return n_tokens, n_sentences


@njit(cache=True, nogil=True)
def find_words(hash_T: np.ndarray, vocabulary: np.ndarray, word_T: np.ndarray) -> None:
    """The word ids of a stream of hashes; words the model does not know become UNK."""
    for t in range(len(hash_T)):
        word_T[t] = EOS if hash_T[t] == EOS_HASH else find_word(vocabulary, hash_T[t])


@njit(cache=True, nogil=True, inline="always")
def _aim(lane: Any, word_T: np.ndarray, n_slots: int) -> None:
    """Point a lane at the edge it needs next."""
    lane.key = edge_key(lane.node, word_T[lane.at])
    lane.slot = edge_slot(lane.key, n_slots)


@njit(cache=True, nogil=True)
def walk(word_T: np.ndarray, sentence_end_S: np.ndarray, nodes: np.ndarray, edges: np.ndarray, log10_p_S: np.ndarray) -> None:
    """Σ log10 p of the words and the </s> of every sentence.

    Sentences are walked in ``N_LANES`` lanes. Every round first loads what each lane may need, so the loads
    wait together, and then moves each lane by one probe. A sentence's sum does not depend on its company.

    Args:
        word_T: word ids, every sentence closed by EOS.
        sentence_end_S: index behind every sentence.
        nodes, edges: tables of ``curate.ngram.model.NgramModel``.
        log10_p_S: out, float64.
    """
    start = edges[find_edge(edges, ROOT, BOS)].target
    lanes = np.zeros(N_LANES, _LANE)
    n_active, n_begun = min(N_LANES, len(sentence_end_S)), 0
    for index in range(n_active):
        lane = lanes[index]
        lane.sentence = n_begun
        lane.at = sentence_end_S[n_begun - 1] if n_begun else 0
        lane.node = start
        _aim(lane, word_T, len(edges))
        n_begun += 1
    while n_active:
        for index in range(n_active):
            lane = lanes[index]
            lane.found = edges[lane.slot].key
            lane.log10_backoff, lane.fail = nodes[lane.node].log10_backoff, nodes[lane.node].fail
        index = 0
        while index < n_active:
            lane = lanes[index]
            index += 1
            if lane.found == NO_EDGE:
                lane.total += lane.log10_backoff
                lane.node = lane.fail
                _aim(lane, word_T, len(edges))
                continue
            if lane.found != lane.key:
                lane.slot = lane.slot + 1 if lane.slot + 1 < len(edges) else 0
                continue
            lane.total += edges[lane.slot].log10_p
            lane.node = edges[lane.slot].target
            lane.at += 1
            if lane.at == sentence_end_S[lane.sentence]:
                log10_p_S[lane.sentence] = lane.total
                if n_begun == len(sentence_end_S):
                    n_active -= 1
                    index -= 1
                    lanes[index] = lanes[n_active]
                    continue
                lane.sentence, lane.at, lane.node, lane.total = n_begun, sentence_end_S[n_begun - 1], start, 0.0
                n_begun += 1
            _aim(lane, word_T, len(edges))


@njit(cache=True, nogil=True)
def add_up(
    word_T: np.ndarray,
    sentence_end_S: np.ndarray,
    log10_p_S: np.ndarray,
    sentence_bounds_N: np.ndarray,
    log10_p_N: np.ndarray,
    n_predicted_N: np.ndarray,
    n_oov_N: np.ndarray,
) -> None:
    """Sums over the sentences of every document, in their order: Σ log10 p, tokens, unknown words."""
    t = 0
    for d in range(len(log10_p_N)):
        total, first, oov = 0.0, t, 0
        for s in range(sentence_bounds_N[d], sentence_bounds_N[d + 1]):
            total += log10_p_S[s]
            while t < sentence_end_S[s]:
                oov += word_T[t] == UNK
                t += 1
        log10_p_N[d], n_predicted_N[d], n_oov_N[d] = total, t - first, oov


@njit(cache=True, nogil=True)
def shorten_to_words(data: np.ndarray, begin: np.ndarray, end: np.ndarray) -> None:
    """Move each end, at first the end of a word's document, back to the end of the word that starts at ``begin``."""
    for w in range(len(begin)):
        i = begin[w]
        while i < end[w] and not is_space(data[i]):
            i += 1
        end[w] = i


@njit(cache=True, nogil=True)
def in_sorted(sorted_ids: np.ndarray, ids: np.ndarray, found: np.ndarray) -> None:
    """For each of N ids, rows of two uint64 compared like their bytes, whether ``sorted_ids`` (K, 2) holds it."""
    for i in range(len(ids)):
        low, high = 0, len(sorted_ids)
        while low < high:
            middle = (low + high) // 2
            a, b = sorted_ids[middle, 0], sorted_ids[middle, 1]
            if a < ids[i, 0] or (a == ids[i, 0] and b < ids[i, 1]):
                low = middle + 1
            else:
                high = middle
        found[i] = low < len(sorted_ids) and sorted_ids[low, 0] == ids[i, 0] and sorted_ids[low, 1] == ids[i, 1]
