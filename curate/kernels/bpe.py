"""Byte-level BPE over UTF-8 bytes: split into words, look each word up, merge the unknown ones.

Real text repeats its words, so nearly every word costs one probe of a table from its
bytes to its ids; the merges (Sennrich et al. 2016, arXiv:1508.07909: join the adjacent pair of
lowest rank, leftmost first, until none is left) run only for words not seen lately.

    pairs   (P, 2) int64    open addressing: left id << 32 | right id, then rank << 32 | merged id; -1 is empty
    words   WordTable       open addressing from word bytes to ids
    P, S    table sizes, powers of two
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np

from curate.kernels.unicode_classes import inlined, word_end

NO_PAIR = np.int64(2**63 - 1)
LONG_WORD = 48
"""Bytes from which a heap finds the next merge; below, scanning the few pairs is quicker."""
LONGEST_KEPT = 128
"""Bytes of the longest word that the table keeps: longer ones hardly ever return."""
_SPREAD = np.uint64(0x9E3779B97F4A7C15)
_EIGHT = np.uint64(8)
_HALF = np.uint64(29)

_KEY, _SIZE, _IDS, _BYTES = 0, 1, 2, 3
_N_WORDS, _N_BYTES, _N_IDS = 0, 1, 2


class WordTable(NamedTuple):
    """Words and their ids, in arrays of fixed size: full means forgotten whole.

    Args:
        slots: (S, 4) int64: key; length | n_ids << 32 (0 is empty); the id, or where ids begin; where bytes begin.
        text: uint8, bytes of the words longer than 8 (shorter ones are their own key).
        ids: int32, ids of the words that have several.
        used: (3,) int64: words, bytes, ids in use.
    """

    slots: np.ndarray
    text: np.ndarray
    ids: np.ndarray
    used: np.ndarray


class Tables(NamedTuple):
    """What a byte-level BPE tokenizer consists of, read-only.

    Args:
        classes: 0x110000 uint8 from ``character_classes``.
        byte_ids: (256,) int32, the id of each single byte.
        pairs: (P, 2) int64, the merges, from ``fill_pairs``.
        vocabulary: ids of whole words, from ``fill_words``; empty where the tokenizer always merges.
    """

    classes: np.ndarray
    byte_ids: np.ndarray
    pairs: np.ndarray
    vocabulary: WordTable


def word_table(n_slots: int, n_text: int) -> WordTable:
    """An empty table for n_slots / 2 words (n_slots a power of two) with n_text bytes for the longer ones."""
    return WordTable(np.zeros((n_slots, 4), np.int64), np.zeros(n_text, np.uint8), np.zeros(2 * n_slots, np.int32), np.zeros(3, np.int64))


@inlined
def _spread(key):  # type: ignore[no-untyped-def]
    """Scatter a 64-bit key over the bits that index a table."""
    mixed = np.uint64(key) * _SPREAD
    mixed ^= mixed >> _HALF
    mixed *= _SPREAD
    return np.int64(mixed >> np.uint64(32))


@numba.njit(cache=True, nogil=True)
def fill_pairs(pairs, left, right, merged):  # type: ignore[no-untyped-def]
    """Enter merges in rank order: M int64 ids each; a pair named twice keeps its last rank, as in ``tokenizers``."""
    mask = pairs.shape[0] - 1
    for rank in range(len(left)):
        key = (left[rank] << 32) | right[rank]
        slot = _spread(key) & mask
        while pairs[slot, 0] != -1 and pairs[slot, 0] != key:
            slot = (slot + 1) & mask
        pairs[slot, 0] = key
        pairs[slot, 1] = (rank << 32) | merged[rank]


@inlined
def _merge_of(pairs, left, right):  # type: ignore[no-untyped-def]
    """Rank << 32 | merged id of a pair; NO_PAIR when it does not merge."""
    mask = pairs.shape[0] - 1
    key = (np.int64(left) << 32) | np.int64(right)
    slot = _spread(key) & mask
    while pairs[slot, 0] != key:
        if pairs[slot, 0] == -1:
            return NO_PAIR
        slot = (slot + 1) & mask
    return pairs[slot, 1]


@inlined
def _word_key(data, at, end):  # type: ignore[no-untyped-def]
    """The bytes themselves up to 8 of them, a hash beyond."""
    key = np.uint64(0)
    n = end - at
    if n <= 8:
        for i in range(at, end):
            key = (key << _EIGHT) | np.uint64(data[i])
        return np.int64(key)
    eight = np.uint64(0)
    for i in range(n):
        eight = (eight << _EIGHT) | np.uint64(data[at + i])
        if i & 7 == 7:
            key = (key ^ eight) * _SPREAD
            key ^= key >> _HALF
            eight = np.uint64(0)
    key = (key ^ eight) * _SPREAD
    return np.int64(key ^ (key >> _HALF))


@inlined
def _find(slots, text, data, at, end, key):  # type: ignore[no-untyped-def]
    """The slot of a word in a table of these ``slots`` and ``text``, or of the empty place where it belongs."""
    mask = slots.shape[0] - 1
    n = end - at
    slot = _spread(key + n) & mask
    while slots[slot, _SIZE] != 0:
        if slots[slot, _KEY] == key and slots[slot, _SIZE] & 0xFFFFFFFF == n:
            if n <= 8:
                break
            begin = slots[slot, _BYTES]
            i = 0
            while i < n and text[begin + i] == data[at + i]:
                i += 1
            if i == n:
                break
        slot = (slot + 1) & mask
    return slot


@numba.njit(cache=True, nogil=True)
def _keep(table, slot, data, at, end, key, ids, n_ids):  # type: ignore[no-untyped-def]
    """Enter a word at the empty ``slot``; a table without room forgets everything instead."""
    n = end - at
    n_words, n_bytes, n_kept = table.used
    if 2 * n_words >= table.slots.shape[0] or n_bytes + n > len(table.text) or n_kept + n_ids > len(table.ids):
        table.slots[:, _SIZE] = 0
        table.used[:] = 0
        return
    table.slots[slot, _KEY] = key
    table.slots[slot, _SIZE] = n | (np.int64(n_ids) << 32)
    if n > 8:
        table.slots[slot, _BYTES] = n_bytes
        table.text[n_bytes : n_bytes + n] = data[at:end]
        table.used[_N_BYTES] += n
    if n_ids == 1:
        table.slots[slot, _IDS] = ids[0]
    else:
        table.slots[slot, _IDS] = n_kept
        table.ids[n_kept : n_kept + n_ids] = ids[:n_ids]
        table.used[_N_IDS] += n_ids
    table.used[_N_WORDS] += 1


@numba.njit(cache=True, nogil=True)
def fill_words(table, text, bounds, ids):  # type: ignore[no-untyped-def]
    """Enter W words of one id each: ``text[bounds[i]:bounds[i + 1]]`` has ``ids[i]``. The table must have room."""
    one = np.empty(1, np.int32)
    for i in range(len(ids)):
        at, end = bounds[i], bounds[i + 1]
        one[0] = ids[i]
        key = _word_key(text, at, end)
        slot = _find(table.slots, table.text, text, at, end, key)
        if table.slots[slot, _SIZE] == 0 and end > at:
            _keep(table, slot, text, at, end, key, one, 1)


@numba.njit(cache=True, nogil=True)
def _merge_short(ids, ranks, n, pairs):  # type: ignore[no-untyped-def]
    """Merge ``ids[:n]`` in place by scanning all pairs for the lowest rank; returns how many are left."""
    for i in range(n - 1):
        ranks[i] = _merge_of(pairs, ids[i], ids[i + 1])
    while n > 1:
        best = 0
        for i in range(1, n - 1):
            if ranks[i] < ranks[best]:
                best = i
        if ranks[best] == NO_PAIR:
            break
        ids[best] = np.int32(ranks[best] & 0xFFFFFFFF)
        n -= 1
        for i in range(best + 1, n):
            ids[i] = ids[i + 1]
            ranks[i - 1] = ranks[i]
        if best > 0:
            ranks[best - 1] = _merge_of(pairs, ids[best - 1], ids[best])
        if best < n - 1:
            ranks[best] = _merge_of(pairs, ids[best], ids[best + 1])
    return n


@numba.njit(cache=True, nogil=True)
def _push(heap, n, item):  # type: ignore[no-untyped-def]
    """Add to a binary heap of n items, smallest first; returns n + 1."""
    at = n
    while at > 0 and heap[(at - 1) >> 1] > item:
        heap[at] = heap[(at - 1) >> 1]
        at = (at - 1) >> 1
    heap[at] = item
    return n + 1


@numba.njit(cache=True, nogil=True)
def _pop(heap, n):  # type: ignore[no-untyped-def]
    """Remove the smallest of n items, which the caller has read; returns n - 1."""
    n -= 1
    item = heap[n]
    at = 0
    while True:
        child = 2 * at + 1
        if child >= n:
            break
        if child + 1 < n and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= item:
            break
        heap[at] = heap[child]
        at = child
    heap[at] = item
    return n


@numba.njit(cache=True, nogil=True)
def _merge_long(ids, n, pairs):  # type: ignore[no-untyped-def]
    """Merge ``ids[:n]`` in place with a heap of (rank, position) over a linked list: O(n log n); returns how many are left."""
    after = np.arange(1, n + 1)
    before = np.arange(-1, n - 1)
    merges = np.full(n, NO_PAIR)
    heap = np.empty(3 * n, np.int64)
    n_heap = 0
    for i in range(n - 1):
        merges[i] = _merge_of(pairs, ids[i], ids[i + 1])
        if merges[i] != NO_PAIR:
            n_heap = _push(heap, n_heap, ((merges[i] >> 32) << 32) | i)
    while n_heap > 0:
        rank, at = heap[0] >> 32, heap[0] & 0xFFFFFFFF
        n_heap = _pop(heap, n_heap)
        if merges[at] == NO_PAIR or merges[at] >> 32 != rank:
            continue  # one of the two was merged since
        gone = after[at]
        ids[at] = np.int32(merges[at] & 0xFFFFFFFF)
        merges[gone] = NO_PAIR
        merges[at] = NO_PAIR
        after[at] = after[gone]
        if after[at] < n:
            before[after[at]] = at
            merges[at] = _merge_of(pairs, ids[at], ids[after[at]])
            if merges[at] != NO_PAIR:
                n_heap = _push(heap, n_heap, ((merges[at] >> 32) << 32) | at)
        left = before[at]
        if left >= 0:
            merges[left] = _merge_of(pairs, ids[left], ids[at])
            if merges[left] != NO_PAIR:
                n_heap = _push(heap, n_heap, ((merges[left] >> 32) << 32) | left)
    return _gather(ids, after, n)


@numba.njit(cache=True, nogil=True)
def _gather(ids, after, n):  # type: ignore[no-untyped-def]
    """Close the gaps of a linked list; returns its length."""
    at = n_left = 0
    while at < n:
        ids[n_left] = ids[at]
        n_left += 1
        at = after[at]
    return n_left


@numba.njit(cache=True, nogil=True)
def _known_words(data, at, end, classes, pattern, words, ids, n_ids):  # type: ignore[no-untyped-def]
    """Go from word to word while the table knows them, adding to ``ids`` (if it has room for any) from ``n_ids`` on.

    Returns n_ids, and of the first unknown word: its begin (``end`` if all are known), its end, its key and the
    slot where it belongs. Calls nothing that is not inlined, which is what makes it fast.
    """
    slots, text, kept = words.slots, words.text, words.ids
    write = len(ids) > 0
    stop, key, slot = at, np.int64(0), np.int64(0)
    while at < end:
        stop = word_end(data, at, end, classes, pattern)
        key = _word_key(data, at, stop)
        slot = _find(slots, text, data, at, stop, key)
        size = slots[slot, _SIZE] >> 32
        if size == 0:
            break
        if write and size == 1:
            ids[n_ids] = np.int32(slots[slot, _IDS])
        elif write:
            begin = slots[slot, _IDS]
            for i in range(size):
                ids[n_ids + i] = kept[begin + i]
        n_ids += size
        at = stop
    return n_ids, at, stop, key, slot


@numba.njit(cache=True, nogil=True)
def _unknown_word(data, at, end, key, tables, whole_words, ids, ranks):  # type: ignore[no-untyped-def]
    """Ids of one word by vocabulary or merging, into the first places of ``ids``; returns how many."""
    if whole_words:
        whole = tables.vocabulary
        slot = _find(whole.slots, whole.text, data, at, end, key)
        if whole.slots[slot, _SIZE] != 0:
            ids[0] = np.int32(whole.slots[slot, _IDS])
            return 1
    n = end - at
    for i in range(n):
        ids[i] = tables.byte_ids[data[at + i]]
    if n < LONG_WORD:
        return _merge_short(ids, ranks, n, tables.pairs)
    return _merge_long(ids, n, tables.pairs)


@numba.njit(cache=True, nogil=True)
def encode(data, bounds, tables, pattern, whole_words, words, write):  # type: ignore[no-untyped-def]
    """Token ids of N documents.

    Args:
        data, bounds: uint8 bytes and N + 1 int64 bounds: document i is ``data[bounds[i]:bounds[i + 1]]``.
        tables: what the tokenizer consists of.
        pattern: split pattern, GPT2, CL100K or QWEN2.
        whole_words: a word that is itself in the vocabulary takes that id unmerged.
        words: the table of words seen lately; changed in place, never changes a result.
        write: whether ids are wanted, or only their number.

    Returns:
        ids (T,) int32, empty unless ``write``, and offsets (N + 1,) int64 into them.
    """
    longest = 1
    for i in range(len(bounds) - 1):
        longest = max(longest, bounds[i + 1] - bounds[i])
    word_ids = np.empty(longest, np.int32)
    ranks = np.empty(LONG_WORD, np.int64)
    ids = np.empty(bounds[-1] - bounds[0] if write else 0, np.int32)
    offsets = np.zeros(len(bounds), np.int64)
    total = 0
    for i in range(len(bounds) - 1):
        at, end = bounds[i], bounds[i + 1]
        while at < end:
            total, at, stop, key, slot = _known_words(data, at, end, tables.classes, pattern, words, ids, total)
            if at == end:
                break
            n_ids = _unknown_word(data, at, stop, key, tables, whole_words, word_ids, ranks)
            if stop - at <= LONGEST_KEPT:
                _keep(words, slot, data, at, stop, key, word_ids, n_ids)
            if write:
                ids[total : total + n_ids] = word_ids[:n_ids]
            total += n_ids
            at = stop
        offsets[i + 1] = total
    return ids[: total if write else 0].copy(), offsets


@numba.njit(cache=True, nogil=True)
def contains_any(data, bounds, needles, needle_bounds):  # type: ignore[no-untyped-def]
    """Whether each of N documents holds any of the needles (bytes, none empty): N bool."""
    begins = np.zeros(256, np.bool_)
    for k in range(len(needle_bounds) - 1):
        begins[needles[needle_bounds[k]]] = True
    found = np.zeros(len(bounds) - 1, np.bool_)
    for i in range(len(bounds) - 1):
        at, end = bounds[i], bounds[i + 1]
        while at < end and not found[i]:
            if begins[data[at]]:
                found[i] = _matches_any(data, at, end, needles, needle_bounds)
            at += 1
    return found


@numba.njit(cache=True, nogil=True)
def _matches_any(data, at, end, needles, needle_bounds):  # type: ignore[no-untyped-def]
    """Whether any needle stands at ``at``."""
    for k in range(len(needle_bounds) - 1):
        begin = needle_bounds[k]
        n = needle_bounds[k + 1] - begin
        if at + n > end:
            continue
        i = 0
        while i < n and data[at + i] == needles[begin + i]:
            i += 1
        if i == n:
            return True
    return False
