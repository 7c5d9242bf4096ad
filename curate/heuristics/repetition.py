r"""How much of a document repeats itself: lines, paragraphs and word n-grams (Rae et al., arXiv 2112.11446, table A1).

Texts are compared by 64-bit hashes, never by content: a document of a million n-grams meets a false repetition with a
probability of 3e-8. Hashes go into open-addressing tables cut to the document, a power of two of at least twice as many
slots as entries.

Most n-grams of a text occur once, and an n-gram that occurs once needs no entry in any table. Counters of one byte,
found by hash and shared by the n-grams that fall together, tell at a fraction of a table's cost which ones may recur; a
false alarm costs time only. Two facts keep them few:

- an n-gram of words can recur only if the (n-1)-grams at both its ends do;
- words glued together can recur only if their first 16, 24, 32 and 40 bytes do, as far as they have them.

Here a text is an address of bytes followed by forty bytes or more (LONGEST_PREFIX) that may be read, a newline first. Array suffixes:
W words, C candidates, T table slots.
"""

from __future__ import annotations

import numpy as np

from curate.heuristics.characters import END_MARK, compiled, last_character, stripped_end, stripped_start
from curate.heuristics.text_hashes import SEED, chained, hash_line, hash_span
from curate.kernels.machine_words import load64
from curate.kernels.unicode_classes import inlined

LONGEST_PREFIX = 40
NEVER = np.int64(1 << 62)
HIGHEST = 255
"""What a counter holds at most."""

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
def _counted(grams_W, kept_C, m, counters):  # type: ignore[no-untyped-def]
    """Count m n-grams by hash, up to 255; returns the shift that takes a hash to its counter, and the highest count."""
    bits = table_bits(m)
    shift = _64 - np.uint64(bits)
    cleared(counters, bits)
    highest = 0
    for j in range(m):
        at = np.int64(grams_W[kept_C[j]] >> shift)
        count = min(np.int64(counters[at]) + 1, HIGHEST)
        counters[at] = count
        highest = max(highest, count)
    return shift, highest


@compiled
def top_n_grams(word_keys_W, points_W, n_words, sizes, scratch, counts, row, column):  # type: ignore[no-untyped-def]
    """Code points that the most frequent n-gram of words covers, counted as often as it occurs.

    Among equally frequent n-grams the one that occurs first counts, even where all occur once; a space stands
    between words.

    Args:
        word_keys_W: hash of every word.
        points_W: code points before every word, nothing between words, and one more for the end.
        n_words: W.
        sizes: the n, ascending, 1 or more.
        scratch: arrays of ``curate.heuristics.scratch``.
        counts, row, column: where the results go; -1 where there are fewer than n words.
    """
    grams_W, kept_C, counters = scratch.grams, scratch.kept, scratch.counters
    size, done = sizes[0], 0
    m = max(n_words - size + 1, 0)
    for i in range(m):
        key = SEED
        for j in range(i, i + size):
            key = chained(key, word_keys_W[j])
        grams_W[i] = key if key != _0 else _1
        kept_C[i] = i
    while done < len(sizes):
        shift, highest = _counted(grams_W, kept_C, m, counters)
        if size == sizes[done]:
            best, first = _most_frequent(m, shift, highest, scratch)
            covered = (points_W[first + size] - points_W[first] + size - 1) * best if n_words >= size else -1
            counts[row, column + done] = covered
            done += 1
        m = _longer(word_keys_W, grams_W, kept_C, m, counters, shift, size)
        size += 1


@compiled
def _most_frequent(m, shift, highest, scratch):  # type: ignore[no-untyped-def]
    """How often the most frequent of m n-grams occurs and where it does first; (1, 0) where none occurs twice.

    A counter is never below the true count. So where an n-gram is found that occurs as often as some threshold, those
    whose counters are below the threshold need no look.
    """
    if highest < 2:
        return 1, 0
    threshold = max(2, highest >> 1)
    while True:
        best, first = _most_frequent_from(m, shift, threshold, scratch)
        if best >= threshold or threshold == 2:
            return best, first
        threshold = max(2, best)


@compiled
def _most_frequent_from(m, shift, threshold, scratch):  # type: ignore[no-untyped-def]
    """As ``_most_frequent``, among the n-grams whose counters reach the threshold."""
    grams_W, kept_C, counters, chosen_C = scratch.grams, scratch.kept, scratch.counters, scratch.chosen
    keys_T, counts_T, firsts_T = scratch.keys, scratch.counts, scratch.firsts
    n_chosen = 0
    for j in range(m):
        chosen_C[n_chosen] = kept_C[j]
        n_chosen += counters[np.int64(grams_W[kept_C[j]] >> shift)] >= threshold
    bits = table_bits(n_chosen)
    cleared(keys_T, bits)
    best, first = 1, 0
    for j in range(n_chosen):
        at = chosen_C[j]
        slot = slot_of(keys_T, grams_W[at], bits)
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
def _longer(word_keys_W, grams_W, kept_C, m, counters, shift, size):  # type: ignore[no-untyped-def]
    """Make n-grams of ``size`` one word longer where they and their right neighbours may recur; returns how many are left."""
    left = 0
    recurs = m > 0 and counters[np.int64(grams_W[kept_C[0]] >> shift)] > 1
    for j in range(m - 1):  # without branches: a processor cannot guess which n-grams recur
        at, beside = kept_C[j], kept_C[j + 1]
        beside_recurs = counters[np.int64(grams_W[beside] >> shift)] > 1
        keep = recurs & beside_recurs & (beside == at + 1)
        key = chained(grams_W[at], word_keys_W[beside + size - 1])
        grams_W[at] = key if key != _0 else _1
        kept_C[left] = at
        left += keep
        recurs = beside_recurs
    return left


@compiled
def _unique_from(glued, bytes_W, n_positions, scratch):  # type: ignore[no-untyped-def]
    """For each position how many bytes from there on occur nowhere else: 16, 24, 32 or 40, else NEVER; into ``chosen``."""
    grams_W, kept_C, unique_W, counters = scratch.grams, scratch.kept, scratch.chosen, scratch.counters
    for i in range(n_positions):
        kept_C[i] = i
        at = bytes_W[i]
        grams_W[i] = chained(chained(SEED, load64(glued, at)), load64(glued, at + 8))
    m = n_positions
    for length in range(16, LONGEST_PREFIX + 1, 8):
        if length > 16:
            for j in range(m):
                at = kept_C[j]
                grams_W[at] = chained(grams_W[at], load64(glued, bytes_W[at] + length - 8))
        shift, _ = _counted(grams_W, kept_C, m, counters)
        left = 0
        for j in range(m):
            at = kept_C[j]
            kept_C[left] = at
            again = counters[np.int64(grams_W[at] >> shift)] > 1
            left += again
            unique_W[at] = NEVER if again else length
        m = left


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
    kept_C, unique_W, keys_T = scratch.kept, scratch.chosen, scratch.keys
    m = max(n_words - sizes[0] + 1, 0)
    _unique_from(glued, bytes_W, m, scratch)
    for i in range(m):
        kept_C[i] = i
    for k in range(len(sizes)):
        size = sizes[k]
        m = _not_unique(bytes_W, n_words, size, unique_W, kept_C, m)
        bits = table_bits(m)
        cleared(keys_T, bits)
        repeated, resume = 0, 0
        for j in range(m):
            at = kept_C[j]
            if at < resume:
                continue
            key, _ = hash_span(glued, bytes_W[at], bytes_W[at + size])
            slot = slot_of(keys_T, key, bits)
            if keys_T[slot] == key:
                repeated += points_W[at + size] - points_W[at]
                resume = at + size
            keys_T[slot] = key
        counts[row, column + k] = repeated


@compiled
def _not_unique(bytes_W, n_words, size, unique_W, kept_C, m):  # type: ignore[no-untyped-def]
    """Keep the positions whose n-gram is not known to occur once; returns how many. A longer one is unique all the more."""
    left = 0
    for j in range(m):
        at = kept_C[j]
        kept_C[left] = at
        left += (at + size <= n_words) & (bytes_W[min(at + size, n_words)] - bytes_W[at] < unique_W[at])
    return left
