"""What the rules ask of single words: how long, with a letter or not, mere punctuation or not, a stop word or not.

The same pass glues the words together and hashes them, for the n-grams of :mod:`curate.heuristics.repetition`. Eight ASCII
characters are one integer, which is classed, copied and hashed without a look at its bytes one by one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from curate.heuristics.characters import LETTER, NOT_PUNCTUATION, character, compiled
from curate.heuristics.repetition import slot_of, table_bits
from curate.heuristics.text_hashes import HIGH, ONES, SEED, chained, finished, first_bytes, hash_span, n_continuing
from curate.kernels.machine_words import address, load64
from curate.kernels.unicode_classes import inlined

STOP_SLOTS = 8
"""Half the slots of their table for each stop word: nearly every other word then meets an empty one at once."""

_0 = np.uint64(0)
_LOWER = ONES * np.uint64(0x20)
_FROM_A, _BEYOND_Z = ONES * np.uint64(0x80 - 0x61), ONES * np.uint64(0x80 - 0x7B)
_FROM_0, _BEYOND_9 = ONES * np.uint64(0x80 - 0x30), ONES * np.uint64(0x80 - 0x3A)


@intrinsic
def store64(typingctx: Any, start: Any, offset: Any, word: Any) -> Any:
    """Write eight bytes, the lowest first, ``offset`` bytes from the address ``start``."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place = builder.inttoptr(builder.add(args[0], args[1]), ir.IntType(64).as_pointer())
        builder.store(args[2], place, align=1)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.uint64), generate


@inlined
def _ascii_kinds(word):  # type: ignore[no-untyped-def]
    """LETTER and NOT_PUNCTUATION of eight ASCII characters that are no white space, taken together; 0 bytes have neither."""
    lowered = word | _LOWER
    letters = (lowered + _FROM_A) & ~(lowered + _BEYOND_Z) & HIGH
    digits = (word + _FROM_0) & ~(word + _BEYOND_9) & HIGH
    kinds = LETTER | NOT_PUNCTUATION if letters else 0
    return kinds | NOT_PUNCTUATION if digits else kinds


@compiled
def _kinds(text, at, end, flags):  # type: ignore[no-untyped-def]
    """All classes that some character of ``text[at:end]`` has."""
    kinds = 0
    while at < end:
        kind, at = character(text, at, flags)
        kinds |= kind
    return kinds


@compiled
def enter_stop_words(data, bounds, keys_T):  # type: ignore[no-untyped-def]
    """Hash the S words ``data[bounds[i]:bounds[i + 1]]`` into the empty table ``keys_T``; ``data`` goes on eight bytes longer."""
    bits = table_bits(STOP_SLOTS * (len(bounds) - 1))
    for i in range(len(bounds) - 1):
        key, _ = hash_span(address(data), bounds[i], bounds[i + 1])
        keys_T[slot_of(keys_T, key, bits)] = key


@compiled
def word_counts(text, flags, n_words, stop_keys_T, stop_seen_T, stop_bits, stamp, scratch):  # type: ignore[no-untyped-def]
    """Count words, and fill ``glued``, ``word_keys``, ``word_bytes`` and ``word_points`` of the scratch.

    Args:
        text: address of the document.
        flags: address of ``character_flags``.
        n_words: words in ``scratch.starts`` and ``scratch.ends``.
        stop_keys_T, stop_bits: the table of ``enter_stop_words`` and the logarithm of its size.
        stop_seen_T: beside it, the ``stamp`` of the document that last had the word.
        stamp: a number no earlier document had.

    Returns:
        Words that are not punctuation throughout, the code points of these, words with a letter, distinct stop words.
    """
    starts, ends, keys_W, bytes_W, points_W = scratch.starts, scratch.ends, scratch.word_keys, scratch.word_bytes, scratch.word_points
    glued = address(scratch.glued)
    n_proper, proper_points, n_lettered, n_stop_words = 0, 0, 0, 0
    to, n_points = 0, 0
    for i in range(n_words):
        at, end = starts[i], ends[i]
        bytes_W[i], points_W[i] = to, n_points
        key, kinds, points, wide = SEED, 0, end - at, False
        while end - at >= 8:
            word = load64(text, at)
            store64(glued, to, word)
            wide = wide or word & HIGH != _0
            points -= n_continuing(word)
            kinds |= _ascii_kinds(word)
            key = chained(key, word)
            at += 8
            to += 8
        word = first_bytes(load64(text, at), end - at)
        store64(glued, to, word)
        to += end - at
        points -= n_continuing(word)
        key = finished(key, word, end - starts[i])
        kinds = _kinds(text, starts[i], end, flags) if wide or word & HIGH != _0 else kinds | _ascii_kinds(word)
        keys_W[i] = key
        n_points += points
        proper = kinds & NOT_PUNCTUATION != 0
        n_proper += proper
        proper_points += points * proper
        n_lettered += kinds & LETTER != 0
        slot = slot_of(stop_keys_T, key, stop_bits)
        if stop_keys_T[slot] == key and stop_seen_T[slot] != stamp:
            stop_seen_T[slot] = stamp
            n_stop_words += 1
    bytes_W[n_words], points_W[n_words] = to, n_points
    return n_proper, proper_points, n_lettered, n_stop_words
