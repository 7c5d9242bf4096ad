r"""How much of a document repeats itself: lines, paragraphs and word n-grams (Rae et al., arXiv 2112.11446, table A1).

Texts are compared by 64-bit hashes, never by content: a document of a million n-grams meets a false repetition with a
probability of 3e-8. Hashes go into open-addressing tables cut to the document, a power of two of at least twice as many
slots as entries.

Most n-grams of a text occur once, and an n-gram that occurs once needs no entry in any table. Two filters find those
that may recur, each with one counter of a byte per n-gram, indexed by hash (a false alarm costs time only):

- an n-gram of words can recur only if the (n-1)-grams at both its ends do;
- sixteen bytes or more of words glued together can recur only if the first sixteen do.

Here a text is an address of bytes followed by sixteen bytes or more that may be read, a newline first. Array suffixes:
W words, C candidates, T table slots.
"""

from __future__ import annotations

import numpy as np

from curate.heuristics.characters import END_MARK, compiled, last_character, stripped_end, stripped_start
from curate.heuristics.text_hashes import SEED, chained, hash_line, hash_span
from curate.kernels.machine_words import load64
from curate.kernels.unicode_classes import inlined

PREFIX_BYTES = 16

_0, _1, _64 = np.uint64(0), np.uint64(1), np.uint64(64)


@inlined
def table_bits(n):  # type: ignore[no-untyped-def]
    """Base-2 logarithm of the slots of a table for ``n`` entries."""
    bits = 4
    while (1 << bits) < 2 * n:
        bits += 1
    return bits


@compiled
def cleared(table, bits):  # type: ignore[no-untyped-def]
    """Empty the first ``2**bits`` slots."""
    for i in range(1 << bits):
        table[i] = 0


@inlined
def slot_of(keys_T, key, bits):  # type: ignore[no-untyped-def]
    """Where ``key`` is, or belongs, in a table of ``2**bits`` slots; an empty slot holds 0."""
    at = np.int64(key >> (_64 - np.uint64(bits)))
    while keys_T[at] != _0 and keys_T[at] != key:
        at = (at + 1) & ((1 << bits) - 1)
    return at


@compiled
def line_repeats(text, n_newlines, flags, short_length, keys_T, starts):  # type: ignore[no-untyped-def]
    r"""Lines between ``\n`` that occurred before, and how lines end and how long they are.

    Args:
        text: address of the document.
        n_newlines: how many ``\n`` it has.
        flags: address of ``character_flags``.
        short_length: code points of a short line, at most.
        keys_T: scratch for the table.
        starts: receives the beginnings of the n_newlines + 1 lines, and one past the end of the text.

    Returns:
        Without the empty lines inside the document, as ``re.split("\n+")`` gives them: lines, those that occurred
        before, and their code points. Then without blank lines: lines, those that end in an END_MARK, short ones,
        and the code points of those that occurred before.
    """
    bits = table_bits(n_newlines + 1)
    cleared(keys_T, bits)
    n_lines, n_repeats, repeated = 0, 0, 0
    n_full, n_ended, n_short, full_repeated = 0, 0, 0, 0
    at = 0
    for i in range(n_newlines + 1):
        starts[i] = at
        end, key, n_points = hash_line(text, at)
        if end > at or i == 0 or i == n_newlines:
            slot = slot_of(keys_T, key, bits)
            again = keys_T[slot] == key
            keys_T[slot] = key
            n_lines += 1
            n_repeats += again
            repeated += n_points * again
            if stripped_start(text, at, end, flags) < end:
                n_full += 1
                n_ended += last_character(text, at, end, flags)[0] & END_MARK != 0
                n_short += n_points <= short_length
                full_repeated += n_points * again
        at = end + 1
    starts[n_newlines + 1] = at
    return n_lines, n_repeats, repeated, n_full, n_ended, n_short, full_repeated


@compiled
def paragraph_repeats(text, n_bytes, n_newlines, flags, keys_T, starts):  # type: ignore[no-untyped-def]
    r"""Paragraphs, those that occurred before, and the code points of the latter.

    The document loses white space at both ends; two newlines or more part paragraphs. Arguments as for
    ``line_repeats``, which has filled ``starts``.
    """
    first = stripped_start(text, 0, n_bytes, flags)
    last = stripped_end(text, first, n_bytes, flags)
    bits = table_bits(n_newlines + 1)
    cleared(keys_T, bits)
    n, n_repeats, repeated = 0, 0, 0
    i = 0
    while i <= n_newlines and starts[i] < last:
        begin, end = max(starts[i], first), starts[i + 1] - 1
        i += 1
        if end <= begin:
            continue
        while i <= n_newlines and starts[i + 1] - 1 > starts[i] and starts[i] < last:
            end = starts[i + 1] - 1
            i += 1
        key, n_points = hash_span(text, begin, min(end, last))
        slot = slot_of(keys_T, key, bits)
        again = keys_T[slot] == key
        keys_T[slot] = key
        n += 1
        n_repeats += again
        repeated += n_points * again
    return max(n, 1), n_repeats, repeated


@compiled
def _recurring(keys_W, n, n_words, bytes_W, size, least, counters, kept_C):  # type: ignore[no-untyped-def]
    """Positions of the n-grams that may occur twice, into ``kept_C``; returns how many.

    N-grams of fewer than ``least`` bytes are always kept: their keys say nothing about them alone.
    """
    bits = table_bits(2 * n_words)
    shift = _64 - np.uint64(bits)
    cleared(counters, bits)
    for i in range(n):
        at = np.int64(keys_W[i] >> shift)
        counters[at] += counters[at] < 2
    m = 0
    for i in range(n):
        kept_C[m] = i
        m += counters[np.int64(keys_W[i] >> shift)] > 1 or bytes_W[i + size] - bytes_W[i] < least
    return m


@compiled
def top_n_grams(word_keys_W, bytes_W, points_W, n_words, sizes, scratch, counts, row, column):  # type: ignore[no-untyped-def]
    """Code points that the most frequent n-gram of words covers, counted as often as it occurs.

    Among equally frequent n-grams the one that occurs first counts, even where all occur once; a space stands
    between words.

    Args:
        word_keys_W: hash of every word.
        bytes_W, points_W: bytes and code points before every word, nothing between words, and one more for the end.
        n_words: W.
        sizes: the n, ascending, 1 or more.
        scratch: arrays of ``curate.heuristics.scratch``.
        counts, row, column: where the results go; -1 where there are fewer than n words.
    """
    grams_W, kept_C, slots_C, keys_T, counts_T, firsts_T = (
        scratch.grams, scratch.kept, scratch.slots, scratch.keys, scratch.counts, scratch.firsts,
    )  # fmt: skip
    size, done = sizes[0], 0
    n_positions = n_words - size + 1
    for i in range(n_positions):
        key = SEED
        for j in range(i, i + size):
            key = chained(key, word_keys_W[j])
        grams_W[i] = key if key != _0 else _1
    m = _recurring(grams_W, n_positions, n_words, bytes_W, size, 0, scratch.counters, kept_C)
    while done < len(sizes):
        best, first = _most_frequent(grams_W, kept_C, m, slots_C, keys_T, counts_T, firsts_T)
        if size == sizes[done]:
            covered = (points_W[first + size] - points_W[first] + size - 1) * best if n_words >= size else -1
            counts[row, column + done] = covered
            done += 1
        m = _longer(word_keys_W, grams_W, kept_C, m, slots_C, counts_T, size)
        size += 1


@compiled
def _most_frequent(grams_W, kept_C, m, slots_C, keys_T, counts_T, firsts_T):  # type: ignore[no-untyped-def]
    """How often the most frequent n-gram occurs and where it does first; (1, 0) where none occurs twice."""
    bits = table_bits(m)
    cleared(keys_T, bits)
    best, first = 1, 0
    for j in range(m):
        at = kept_C[j]
        slot = slot_of(keys_T, grams_W[at], bits)
        slots_C[j] = slot
        if keys_T[slot] == _0:
            keys_T[slot] = grams_W[at]
            counts_T[slot] = 1
            firsts_T[slot] = at
            continue
        counts_T[slot] += 1
        if counts_T[slot] > best or (counts_T[slot] == best and firsts_T[slot] < first):
            best, first = np.int64(counts_T[slot]), np.int64(firsts_T[slot])
    return best, first


@compiled
def _longer(word_keys_W, grams_W, kept_C, m, slots_C, counts_T, size):  # type: ignore[no-untyped-def]
    """Make n-grams of ``size`` one word longer where they and their right neighbours recur; returns how many are left."""
    left = 0
    for j in range(m - 1):
        at = kept_C[j]
        if kept_C[j + 1] == at + 1 and counts_T[slots_C[j]] > 1 and counts_T[slots_C[j + 1]] > 1:
            key = chained(grams_W[at], word_keys_W[at + size])
            grams_W[at] = key if key != _0 else _1
            kept_C[left] = at
            left += 1
    return left


@compiled
def repeated_n_grams(glued, bytes_W, points_W, n_words, sizes, scratch, counts, row, column):  # type: ignore[no-untyped-def]
    """Code points in n-grams that occurred before, words glued together; after such an n-gram reading goes on behind it.

    Args:
        glued: address of the words of the document, nothing between them.
        bytes_W, points_W: bytes and code points before every word, and one more for the end.
        n_words: W.
        sizes: the n, ascending, 1 or more.
        scratch: arrays of ``curate.heuristics.scratch``.
        counts, row, column: where the results go.
    """
    grams_W, kept_C, keys_T = scratch.grams, scratch.kept, scratch.keys
    size = sizes[0]
    n_positions = n_words - size + 1
    for i in range(n_positions):
        at = bytes_W[i]
        grams_W[i] = chained(chained(SEED, load64(glued, at)), load64(glued, at + 8))
    m = _recurring(grams_W, n_positions, n_words, bytes_W, size, PREFIX_BYTES, scratch.counters, kept_C)
    bits = table_bits(m)
    for k in range(len(sizes)):
        size = sizes[k]
        cleared(keys_T, bits)
        repeated, resume = 0, 0
        for j in range(m):
            at = kept_C[j]
            if at < resume:
                continue
            if at + size > n_words:
                break
            key, _ = hash_span(glued, bytes_W[at], bytes_W[at + size])
            slot = slot_of(keys_T, key, bits)
            if keys_T[slot] == key:
                repeated += points_W[at + size] - points_W[at]
                resume = at + size
            keys_T[slot] = key
        counts[row, column + k] = repeated
