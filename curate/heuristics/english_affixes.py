"""What is peeled off a word's ends, and what parts it in the middle: the rules, one function each.

The rules are those of spaCy's blank English tokenizer, as functions over UTF-8 bytes. Its
patterns look at no more than two characters before and one after, but for units, which
stand between the last digit and the end of the word.
"""

from __future__ import annotations

import numpy as np

from curate.heuristics.english_names import UNIT_SEED, slot_of
from curate.heuristics.english_tables import BEFORE_PERIOD, DIGIT, LETTER, LOWER, PREFIX, QUOTE, SUFFIX, SYMBOL, UPPER
from curate.kernels.unicode_classes import inlined

LONGEST_UNIT = 12
"""Bytes of the longest unit, at most."""


@inlined
def code_point(data, at, end):  # type: ignore[no-untyped-def]
    """The code point at ``at`` < ``end`` and where the next begins, never beyond ``end``."""
    lead = np.int64(data[at])
    if lead < 0x80:
        return lead, at + 1
    size = 2 + (lead >= 0xE0) + (lead >= 0xF0)
    after = min(at + size, end)
    point = lead & (0x7F >> size)
    for i in range(at + 1, after):
        point = (point << 6) | (np.int64(data[i]) & 0x3F)
    return min(point, 0x10FFFF), after


@inlined
def _before(data, start, at, flags):  # type: ignore[no-untyped-def]
    """Classes of the character that ends at ``at`` > ``start``, and where it begins."""
    begin = at - 1
    while begin > start and data[begin] & 0xC0 == 0x80:
        begin -= 1
    point, _ = code_point(data, begin, at)
    return np.int64(flags[point]), begin


@inlined
def _dots_end(data, at, end):  # type: ignore[no-untyped-def]
    """End of the run of full stops at ``at``."""
    while at < end and data[at] == 0x2E:
        at += 1
    return at


@inlined
def prefix_end(data, start, end, flags):  # type: ignore[no-untyped-def]
    """End of what is peeled off the front of a word, ``start`` where nothing is."""
    point, after = code_point(data, start, end)
    if flags[point] & PREFIX:
        return after
    if point == 0x2E:
        dots = _dots_end(data, start, end)
        return dots if dots > after else start
    if point == 0x2B:
        return start if after < end and flags[data[after]] & DIGIT else after
    if (point == 0x41 or point == 0x43) and after < end and data[after] == 0x24:  # A$ C$
        return after + 1
    if point == 0x55 and start + 2 < end and data[after] == 0x53 and data[after + 1] == 0x24:  # US$
        return start + 3
    return start


@inlined
def suffix_start(data, chunk, start, end, flags, slots):  # type: ignore[no-untyped-def]
    """Start of what is peeled off the end of a word, ``end`` where nothing is; ``chunk`` is where its chunk began."""
    last, begin = _before(data, start, end, flags)
    if data[begin] == 0x2E:
        return _period_start(data, chunk, start, end, flags)
    if last & SUFFIX:
        ellipsis = last & SYMBOL and end - begin == 3 and begin - 3 >= start
        if ellipsis and _is_ellipsis(data, begin) and _is_ellipsis(data, begin - 3):
            return begin - 3
        return begin
    if data[begin] | 0x20 == 0x73 and begin > start:  # 's ’s
        if data[begin - 1] == 0x27:
            return begin - 1
        if begin - start >= 3 and data[begin - 3] == 0xE2 and data[begin - 2] == 0x80 and data[begin - 1] == 0x99:
            return begin - 3
    return _unit_start(data, start, end, flags, slots)


@inlined
def _is_ellipsis(data, at):  # type: ignore[no-untyped-def]
    return data[at] == 0xE2 and data[at + 1] == 0x80 and data[at + 2] == 0xA6


@inlined
def _period_start(data, chunk, start, end, flags):  # type: ignore[no-untyped-def]
    """Start of the full stops at the end of a word, ``end`` where they stay."""
    at = end - 1
    if at == start:
        return end
    if data[at - 1] == 0x2E:
        while at > start and data[at - 1] == 0x2E:
            at -= 1
        return at
    last, begin = _before(data, start, at, flags)
    if last & BEFORE_PERIOD:
        return at
    scale = data[begin] == 0x43 or data[begin] == 0x46 or data[begin] == 0x4B  # °C. °F. °K.
    if scale and begin - chunk >= 2 and data[begin - 2] == 0xC2 and data[begin - 1] == 0xB0:
        return at
    return at if begin > start and last & UPPER and _before(data, start, begin, flags)[0] & UPPER else end


@inlined
def _unit_start(data, start, end, flags, slots):  # type: ignore[no-untyped-def]
    """Start of a unit after a digit at the end of a word, ``end`` where there is none."""
    at = end
    while at > start and end - at <= LONGEST_UNIT and not flags[data[at - 1]] & DIGIT:
        at -= 1
    if at in (start, end) or end - at > LONGEST_UNIT or slot_of(data, at, end, UNIT_SEED, slots) < 0:
        return end
    return at


@inlined
def infix_end(data, start, at, end, flags):  # type: ignore[no-untyped-def]
    """End of what parts a word at ``at``, ``at`` where nothing does; the word is ``data[start:end]``."""
    point, after = code_point(data, at, end)
    if flags[point] & SYMBOL:
        return after
    if point == 0x2E and after < end and data[after] == 0x2E:
        return _dots_end(data, after, end)
    if at == start or after >= end:
        return at
    last = _before(data, start, at, flags)[0]
    following = np.int64(flags[code_point(data, after, end)[0]])
    if point == 0x2E:
        return after if last & (LOWER | QUOTE) and following & (UPPER | QUOTE) else at
    if point == 0x2B or point == 0x2A or point == 0x5E:  # + * ^
        return after if last & DIGIT and (following & DIGIT or data[after] == 0x2D) else at
    if point == 0x2C:
        return after if last & LETTER and following & LETTER else at
    if not last & (LETTER | DIGIT):
        return at
    if point == 0x2D and last & DIGIT and (following & DIGIT or data[after] == 0x2D):
        return after
    if following & LETTER:  # one of - – — ~ : < > = /
        return after
    return _dashes_end(data, at, end, flags)


@inlined
def _dashes_end(data, at, end, flags):  # type: ignore[no-untyped-def]
    """End of ``--``, ``---`` or two em dashes before a letter, ``at`` where there are none."""
    after = at
    if data[at] == 0x2D:
        while after < end and data[after] == 0x2D:
            after += 1
        dashes = after - at <= 3
    else:
        dashes = end - at > 6 and data[at] == 0xE2 and data[at + 1] == 0x80 and data[at + 2] == 0x94
        dashes = dashes and data[at + 3] == 0xE2 and data[at + 4] == 0x80 and data[at + 5] == 0x94
        after = at + 6 if dashes else at
    if dashes and after < end and flags[code_point(data, after, end)[0]] & LETTER:
        return after
    return at
