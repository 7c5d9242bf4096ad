"""Words that survive re-typing: one pass over UTF-8 that folds case, numbers, punctuation and diacritics.

What is normalised, and in what order:

1. Lower case, by the full mapping of Unicode 14.0; final and medial Greek sigma are one letter.
2. Numbers: a run of decimal digits (Nd) of any script, and one more run after one of ``. , ، ٫ ⎖ ⎗ ⎘``, become ``0``.
   ``3.14`` is ``0``, ``1.2.3`` is ``0 0``, ``a1b`` is ``a0b``.
3. White space, controls (U+0000 to U+001F, U+007F to U+009F) and punctuation end a word. Punctuation is all that ASCII
   has and the list of datatrove 0.10 beyond it (``curate.kernels.folding_tables``); other symbols belong to words.
4. Canonical decomposition (NFD) without nonspacing marks (Mn): precomposed and decomposed text give the same words.

So far these are the words of ``simplify_text(text).split()`` of datatrove (``datatrove/utils/text.py``), except for sigma
and for the six characters, such as ≠, that decompose to punctuation plus a mark: they end a word here in either form.

5. Beyond it: scripts written without spaces (Han, Kana, Thai, Lao, Khmer, Myanmar), where a sentence would be one word:
   every letter is a word of its own, with the marks and spacing vowel signs (Mc) that follow it.

A word's hash is that of its folded characters; nothing folded is ever written to memory. Runs of ASCII letters are read
eight at a time: as one integer they are tested, lowered and hashed at once. Everything else goes character by character.
"""

from __future__ import annotations

import numba
import numpy as np

from curate.kernels.folding_tables import ALONE, BREAK, DIGIT, HANGUL, KIND_SHIFT, MARK, N_PARTS, SEVERAL, SPACING, TARGET, fold_tables
from curate.kernels.machine_words import address, letters64, load8, load32, load64, trailing_zeros, word_bytes64
from curate.kernels.unicode_classes import inlined

__all__ = ["fold_some", "fold_tables", "fold_words", "next_word"]

compiled = numba.njit(cache=True, nogil=True)
"""For functions that take addresses and numbers only: called once a word, these cost no reference counting."""

_SEED = np.uint64(0x2545F4914F6CDD1D)
_MIX = np.uint64(0x9E3779B97F4A7C15)
_LAST_MIX = np.uint64(0xD6E8FEB86659FD93)
_HALF = np.uint64(32)

_LOWER = np.uint64(0x2020202020202020)
_HIGH_BITS = np.uint64(0x8080808080808080)
_LOW_BITS = np.uint64(0x7F7F7F7F7F7F7F7F)
_FROM_A = np.uint64(0x1F1F1F1F1F1F1F1F)  # 0x80 - ord("a"): sets the high bit of bytes from "a"
_BEYOND_Z = np.uint64(0x0505050505050505)  # 0x80 - ord("z") - 1: sets the high bit of bytes beyond "z"
_BYTE = np.uint64(0xFF)
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
_REPLACEMENT = 0xFFFD
_WINDOW = 64


@inlined
def _eight_bytes(text, at, end):  # type: ignore[no-untyped-def]
    """The bytes from ``at`` as a uint64, those from ``end`` on as zero."""
    if at + 8 <= end:
        return load64(text, at)
    if end < 8 or at >= end:
        return _few_bytes(text, at, end)
    return load64(text, end - 8) >> np.uint64(8 * (at + 8 - end))


@compiled
def _few_bytes(text, at, end):  # type: ignore[no-untyped-def]
    """As ``_eight_bytes`` where the whole text has fewer than eight."""
    chunk = np.uint64(0)
    for i in range(at, end):
        chunk |= np.uint64(load8(text, i)) << np.uint64(8 * (i - at))
    return chunk


@inlined
def _letters(chunk):  # type: ignore[no-untyped-def]
    """How many of the low bytes of ``chunk`` are ASCII letters up to the first that is not."""
    low = (chunk | _LOWER) & _LOW_BITS
    letters = (low + _FROM_A) & ~(low + _BEYOND_Z) & ~chunk
    return trailing_zeros(~letters & _HIGH_BITS) >> 3


@inlined
def _mixed(key, chunk):  # type: ignore[no-untyped-def]
    key = (key ^ chunk) * _MIX
    return key ^ (key >> _HALF)


@inlined
def _code_point(text, at, end):  # type: ignore[no-untyped-def]
    """The character at ``at`` and where the next one begins, never beyond ``end``."""
    lead = load8(text, at)
    if lead < 0x80:
        return lead, at + 1
    size = 2 + (lead >= 0xE0) + (lead >= 0xF0)
    if at + size > end:
        return _REPLACEMENT, end
    if size == 2:
        return (lead & 0x1F) << 6 | load8(text, at + 1) & 0x3F, at + 2
    point = (lead & 0x0F) << 12 | (load8(text, at + 1) & 0x3F) << 6 | load8(text, at + 2) & 0x3F
    if size == 3:
        return point, at + 3
    return min(point << 6 & 0x1FFFFF | load8(text, at + 3) & 0x3F, 0x10FFFF), at + 4


@compiled
def _digits_end(text, at, end, folds):  # type: ignore[no-untyped-def]
    """End of a run of digits."""
    while at < end:
        point, after = _code_point(text, at, end)
        if load32(folds, 4 * point) >> KIND_SHIFT != DIGIT:
            break
        at = after
    return at


@compiled
def _number_end(text, at, end, folds):  # type: ignore[no-untyped-def]
    """End of the number whose first digit ends at ``at``."""
    at = _digits_end(text, at, end, folds)
    if at < end:
        point, after = _code_point(text, at, end)
        if point == 0x2E or point == 0x2C or point == 0x060C or point == 0x066B or 0x2396 <= point <= 0x2398:
            beyond = _digits_end(text, after, end, folds)
            if beyond > after:
                at = beyond
    return at


@inlined
def _part(parts, kind, target, point, i):  # type: ignore[no-untyped-def]
    """The ``i``-th character that ``point`` folds to, 0 for none."""
    if kind == SEVERAL:
        return load32(parts, 4 * (N_PARTS * target + i))
    if kind != HANGUL:
        return target
    syllable = point - 0xAC00
    if i == 0:
        return 0x1100 + syllable // 588
    if i == 1:
        return 0x1161 + syllable % 588 // 28
    return 0x11A7 + syllable % 28 if syllable % 28 else 0


@inlined
def _put(key, held, n_held, point):  # type: ignore[no-untyped-def]
    """Add a character to the bytes held back for the hash: one byte if ASCII, else three with their high bits set."""
    size = 1
    code = np.uint64(point)
    if point >= 0x80:
        size = 3
        code = np.uint64(point >> 14 | point << 1 & 0x7F00 | point << 16 & 0x7F0000 | 0x808080)
    held |= code << np.uint64(8 * n_held)
    n_held += size
    if n_held >= 8:
        key = _mixed(key, held)
        n_held -= 8
        held = code >> np.uint64(8 * (size - n_held))
    return key, held, n_held


@compiled
def next_word(text, at, end, folds, parts):  # type: ignore[no-untyped-def]
    """The word that begins at ``at`` < ``end`` or after what separates it from there.

    Args:
        text: address of UTF-8 bytes (``machine_words.address``).
        at: offset to begin at.
        end: offset where the document ends; nothing from there on is read.
        folds: address of ``fold_tables().folds``.
        parts: address of ``fold_tables().parts``.

    Returns:
        (hash, start, after): uint64 and byte span; go on from ``after``. ``start == after`` where no word was found
        yet, which need not be at the end.
    """
    key, n_letters, chunk = _SEED, 8, np.uint64(0)
    while at < end and load8(text, at) < 0x30:
        at += 1
    start = at
    while n_letters == 8:
        chunk = _eight_bytes(text, at, end)
        n_letters = _letters(chunk)
        if n_letters == 8:
            key = _mixed(key, chunk | _LOWER)
        at += n_letters
    shift = np.uint64(8 * n_letters)
    held = (chunk | _LOWER) & ((np.uint64(1) << shift) - np.uint64(1))
    follows = (chunk >> shift) & _BYTE  # zero at the end, which ends a word as well
    if follows >= np.uint64(0x80) or np.uint64(0x30) <= follows <= np.uint64(0x39):
        return _fold_rest(text, at, end, folds, parts, key, held, n_letters, start)
    if start == at and at < end:
        at += 1
        start = at
    if n_letters > 0:
        key = _mixed(key, held)
    return _finished(key), start, at


@inlined
def _finished(key):  # type: ignore[no-untyped-def]
    key *= _LAST_MIX
    return key ^ (key >> _HALF)


@compiled
def _fold_rest(text, at, end, folds, parts, key, held, n_held, start):  # type: ignore[no-untyped-def]
    """As ``next_word``, character by character, from the state that the first letters of the word left."""
    empty, alone = start == at, False
    while at < end:
        point, after = _code_point(text, at, end)
        entry = load32(folds, 4 * point)
        kind = entry >> KIND_SHIFT
        if kind == BREAK:
            at = after if empty else at
            break
        if kind == MARK:
            at = after
            continue
        if (kind == ALONE and not empty) or (alone and kind != SPACING):
            break
        if empty:
            start = at
        if kind == DIGIT:
            after = _number_end(text, after, end, folds)
        for i in range(N_PARTS if kind >= SEVERAL else 1):
            target = _part(parts, kind, entry & TARGET, point, i)
            if target != 0:
                key, held, n_held = _put(key, held, n_held, target)
        empty, alone = False, alone or kind == ALONE
        at = after
    if empty:
        start = at
    if n_held > 0:
        key = _mixed(key, held)
    return _finished(key), start, at


@inlined
def _letters_hash(text, at, n_letters):  # type: ignore[no-untyped-def]
    """Hash of a word of 1 to 16 ASCII letters; 16 bytes from ``at`` are read. Without a branch, which text would mislead."""
    first, second = load64(text, at) | _LOWER, load64(text, at + 8) | _LOWER
    n_second = max(n_letters - 8, 1)
    short = _mixed(_SEED, first & (_ALL >> np.uint64(64 - 8 * min(n_letters, 8))))
    long = _mixed(short, second & (_ALL >> np.uint64(64 - 8 * n_second)))
    return _finished(short if n_letters <= 8 else long)


@inlined
def _keep(hashes, starts, ends, n_words, key, start, after):  # type: ignore[no-untyped-def]
    """Write down a word if it is one; how many there are then."""
    hashes[n_words] = key
    starts[n_words] = start
    ends[n_words] = after
    return n_words + (after > start)


@compiled
def fold_some(data, at, end, tables, hashes, starts, ends, n_words):  # type: ignore[no-untyped-def]
    """As ``fold_words``, from ``at`` on, until the document ends or fewer than 64 places are left in the arrays.

    Looks at 64 bytes at a time: which belong to words, which of these are not letters. Words of up to 16 letters are
    hashed from there, others by ``next_word``; a word that the 64 bytes cut off begins the next 64.

    Args:
        n_words: how many words the arrays hold already; new ones go behind them.

    Returns:
        (n_words, at): how many words they hold now, and where to go on; the document is done when ``at >= end``.
    """
    text, folds, parts = address(data), address(tables.folds), address(tables.parts)
    most = hashes.size - _WINDOW
    last_window = min(data.size - _WINDOW - 16, end - 1)
    while at <= last_window and n_words <= most:
        left = np.uint64(_WINDOW - min(end - at, _WINDOW))
        words = (word_bytes64(text, at) << left) >> left
        hard = words & ~letters64(text, at)
        beyond = _WINDOW
        while words != np.uint64(0):
            first = trailing_zeros(words)
            n_run = trailing_zeros(~(words >> np.uint64(first)))
            in_run = (_ALL >> np.uint64(64 - n_run)) << np.uint64(first)
            start = at + first
            after = start + n_run
            if hard & in_run != np.uint64(0) or n_run > 16:
                key, start, after = next_word(text, start, end, folds, parts)
            elif first + n_run == _WINDOW:
                beyond = first
                break
            else:
                key = _letters_hash(text, start, n_run)
            n_words = _keep(hashes, starts, ends, n_words, key, start, after)
            if after - at >= _WINDOW:
                beyond = after - at
                break
            words &= _ALL << np.uint64(after - at)
        at += beyond
    while last_window < at < end and n_words <= most:
        key, start, at = next_word(text, at, end, folds, parts)
        n_words = _keep(hashes, starts, ends, n_words, key, start, at)
    return n_words, at


@numba.njit(cache=True, nogil=True)
def fold_words(data, start, end, tables, hashes, starts, ends):  # type: ignore[no-untyped-def]
    """Hash and byte span of every normalised word of one document.

    Args:
        data: uint8, UTF-8.
        start: where the document begins in ``data``.
        end: where it ends.
        tables: ``fold_tables()``.
        hashes: uint64 with room for ``end - start + 1``; filled with one hash per word.
        starts: int64, likewise; filled with where the word begins in ``data``.
        ends: int64, likewise; filled with where it ends, its trailing marks included.

    Returns:
        How many words there are.
    """
    n_words, at = fold_some(data, start, end, tables, hashes, starts, ends, 0)
    text, folds, parts = address(data), address(tables.folds), address(tables.parts)
    while at < end:  # a short document, for which the arrays need not have 64 places
        key, first, at = next_word(text, at, end, folds, parts)
        n_words = _keep(hashes, starts, ends, n_words, key, first, at)
    return n_words
