r"""What the rules ask of a character, one byte per code point, and how to step through UTF-8 with it.

Five questions decide every rule: is it white space (Python's ``str.isspace``, which ``strip`` and ``split`` use), a letter
(``str.isalpha``), a decimal digit (``\d``), anything else than one of the owner's punctuation marks, and does it end a
sentence. Letters are those of :mod:`curate.kernels.unicode_classes`, a Unicode version ahead of Python 3.11's: letters
that Python learns later are letters here already.

Sets are kept as runs: base-36 numbers, alternately how many code points to skip and how many to take.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numba
import numpy as np

from curate.kernels.machine_words import load8
from curate.kernels.unicode_classes import LETTERS, inlined, runs

SPACE, LETTER, DIGIT, NOT_PUNCTUATION, END_MARK = 1, 2, 4, 8, 16

compiled = numba.njit(cache=True, nogil=True, _nrt=False)  # type: ignore[call-overload]
"""For kernels: they allocate nothing, so that no reference is counted where an array is handed on."""

SPACES = "9 5 e 5 2s 1 q 1 4bj 1 1vj b t 2 5 1 1b 1 334 1"
DIGITS = """
1c a 17q a 3q a 5i a bg a 3a a 3a a 3a a 3a a 3a a 3a a 3a a 3a a 3a a 2o a 3a a 1y a 7q a 1y a 1fq a 12 a 8c a 3k a 4m a 6 a 52 a 2e
a 3q a 6 a r7q a iu a 12 a 5i a m a 2e a ba a geu a 13a a 1om a mk a 3k a 1o a 40 a 7q a 9i a 3a a ae a 2u a 2u a bq a 2u a l2 a 6u a
1y a f5i a 2e a 3q a lf8 1e 1ts a bq a 192 a 3o6 a
"""
PUNCTUATION = """
0 9 2 l 1 f a 7 q 6 q 11 b 1 8 1 6 1 66v 2 4 1 2 3 7 1 en 1 ju 1 54 1 212 2 5 6 2 2 14vj 1 3 1 2 2 2 1 1 1 2 1 8 2 3 1 1q 1
"""
END_MARKS = """
x 1 c 1 g 1 11l 1 43 3 50 1 17 3 6u 1 1p 1 1 1 3 2 85 2 1d0 2 ly 1 4 2 lh 1 5i 2 4d 3 2 2 14 1 5 1 8q 2 9u 4 4u 2 2 2 t 2 58 2 1t 2
qk 2 9 3 2qs 1 d 1 m 2 bx 1 n3w 1 7i 2 6b 1 3 1 am 2 2e 2 2n 1 48 2 43 3 40 2 6x 1 g9y 1 3 2 4p 1 c 1 g 1 1t 1 25w 2 zh 5 18 4 59 2
39 4 3j 3 3l 2 6 1 g 2 2g 2 1 2 30 1 bl 2 ad 2 5 f 2x 2 6x 3 ed 1 1 1 6z 2 2f 2 bo 2 j8 2 22 2 euh 2 3p 1 1t 2 b 1 nn 1 feu 1 5wo 1
"""


@cache
def character_flags(end_marks: Sequence[str] | None = None) -> np.ndarray:
    """Classes of every code point: read-only uint8[0x110000], bits SPACE to END_MARK.

    Args:
        end_marks: the characters that end a line well; None for the terminal punctuation of all scripts.
    """
    flags = np.full(0x110000, NOT_PUNCTUATION, np.uint8)
    for packed in (PUNCTUATION, END_MARKS):
        for first, end in runs(packed):
            flags[first:end] &= ~np.uint8(NOT_PUNCTUATION)
    for packed, flag in ((SPACES, SPACE), (LETTERS, LETTER), (DIGITS, DIGIT)):
        for first, end in runs(packed):
            flags[first:end] |= np.uint8(flag)
    if end_marks is None:
        for first, end in runs(END_MARKS):
            flags[first:end] |= np.uint8(END_MARK)
    else:
        flags[[ord(mark) for mark in end_marks]] |= np.uint8(END_MARK)
    flags.flags.writeable = False
    return flags


@inlined
def character(text, at, flags):  # type: ignore[no-untyped-def]
    """Classes of the character at ``at`` and where the next one begins; ``text`` and ``flags`` are addresses."""
    lead = load8(text, at)
    if lead < 0x80:
        return load8(flags, lead), at + 1
    point, after = _wide_character(text, at, lead)
    return load8(flags, point), after


@compiled
def _wide_character(text, at, lead):  # type: ignore[no-untyped-def]
    """Code point of a character of two bytes or more, and where the next one begins."""
    if lead < 0xE0:
        return (lead & 0x1F) << 6 | (load8(text, at + 1) & 0x3F), at + 2
    middle = (load8(text, at + 1) & 0x3F) << 6 | (load8(text, at + 2) & 0x3F)
    if lead < 0xF0:
        return (lead & 0x0F) << 12 | middle, at + 3
    return min((lead & 0x07) << 18 | middle << 6 | (load8(text, at + 3) & 0x3F), 0x10FFFF), at + 4


@compiled
def stripped_start(text, at, end, flags):  # type: ignore[no-untyped-def]
    """Where the first character that is no white space begins in ``text[at:end]``; ``end`` where there is none."""
    while at < end:
        kind, after = character(text, at, flags)
        if not kind & SPACE:
            return at
        at = after
    return end


@compiled
def stripped_end(text, start, end, flags):  # type: ignore[no-untyped-def]
    """Where the last character that is no white space ends in ``text[start:end]``; ``start`` where there is none."""
    while end > start:
        kind, begin = last_character(text, start, end, flags)
        if not kind & SPACE:
            return end
        end = begin
    return start


@compiled
def last_character(text, start, end, flags):  # type: ignore[no-untyped-def]
    """Classes of the character that ends at ``end`` > ``start``, and where it begins."""
    begin = end - 1
    while begin > start and load8(text, begin) & 0xC0 == 0x80:
        begin -= 1
    kind, _ = character(text, begin, flags)
    return kind, begin
