"""Whether a word is a web or mail address, which the English word splitter keeps whole.

The rule is that of spaCy's blank English tokenizer: an optional scheme, an optional user
up to an at sign, a host of dotted labels or an IPv4 address outside the private networks,
an optional port, an optional path. Written as one left-to-right scan of each candidate
host, of which there is one at the start, one after ``://`` and one after every at sign.
"""

from __future__ import annotations

import numpy as np

from curate.heuristics.english_affixes import code_point
from curate.heuristics.english_names import kernel
from curate.heuristics.english_tables import DIGIT, LETTER, LOWER
from curate.kernels.unicode_classes import inlined

DOT, HYPHEN, UNDERSCORE, COLON, SLASH, AT, PLUS, QUESTION, HASH = 0x2E, 0x2D, 0x5F, 0x3A, 0x2F, 0x40, 0x2B, 0x3F, 0x23

LONGEST_LABEL, LONGEST_DOMAIN = 64, 63
"""Characters of a label before a dot, and of the top level domain."""


@kernel
def is_url(data, start, end, flags):  # type: ignore[no-untyped-def]
    """Whether all of ``data[start:end]``, which holds no white space, is an address."""
    if _is_host_on(data, start, end, flags):
        return True
    at = _scheme_end(data, start, end, flags)
    if at > start and _is_host_on(data, at, end, flags):
        return True
    for at in range(start + 1, end):  # noqa: SIM110
        if data[at] == AT and _is_host_on(data, at + 1, end, flags):
            return True
    return False


@inlined
def _scheme_end(data, start, end, flags):  # type: ignore[no-untyped-def]
    """Where ``scheme://`` ends, the scheme two characters or more; ``start`` where there is none."""
    at, length = start, 0
    while at < end:
        point, after = code_point(data, at, end)
        if not (flags[point] & (LETTER | DIGIT) or point in (PLUS, DOT, HYPHEN, UNDERSCORE)):
            break
        at, length = after, length + 1
    if length >= 2 and at + 2 < end and data[at] == COLON and data[at + 1] == SLASH and data[at + 2] == SLASH:
        return at + 3
    return start


@kernel
def _is_host_on(data, at, end, flags):  # type: ignore[no-untyped-def]
    """Whether a host begins at ``at`` and nothing but a port and a path follows it up to ``end``."""
    after = _domain_end(data, at, end, flags)
    if after == at:
        after = _ipv4_end(data, at, end)
    return after > at and _is_tail(data, after, end)


@inlined
def _domain_end(data, start, end, flags):  # type: ignore[no-untyped-def]
    """End of dotted labels and a top level domain; ``start`` where they are not."""
    at, length, dots = start, 0, 0
    label, domain, joint = True, True, False  # the run may be a label; a top level domain; it ends in - or _
    while at < end:
        point, after = code_point(data, at, end)
        if point in (COLON, SLASH, QUESTION, HASH):
            break
        if point == DOT:
            if length == 0 or length > LONGEST_LABEL or not label or joint:
                return start
            dots, length, label, domain = dots + 1, 0, True, True
        else:
            plain = 0xA1 <= point <= 0xFFFF or (point < 0x80 and (flags[point] & (LETTER | DIGIT)) != 0)
            joint = point in (HYPHEN, UNDERSCORE)
            label = label and (plain or (joint and length > 0))
            domain = domain and (flags[point] & LOWER) != 0
            length += 1
            if not label and not domain:
                return start
        at = after
    if dots > 0 and domain and 2 <= length <= LONGEST_DOMAIN:
        return at
    return start


@inlined
def _ipv4_end(data, start, end):  # type: ignore[no-untyped-def]
    """End of a public IPv4 address; ``start`` where there is none."""
    at, first, second = start, 0, 0
    for octet in range(4):
        if octet > 0:
            if at >= end or data[at] != DOT:
                return start
            at += 1
        begin, number = at, 0
        while at < end and at - begin < 3 and 0x30 <= data[at] <= 0x39:
            number, at = 10 * number + np.int64(data[at]) - 0x30, at + 1
        inner = octet == 1 or octet == 2
        if at == begin or number > (255 if inner else 223 if octet == 0 else 254):
            return start
        if data[begin] == 0x30 and (not inner or at - begin == 3):
            return start
        first, second = (number if octet == 0 else first), (number if octet == 1 else second)
    if first == 10 or first == 127 or (first == 169 and second == 254) or (first == 192 and second == 168):
        return start
    return start if first == 172 and 16 <= second <= 31 else at


@inlined
def _is_tail(data, at, end):  # type: ignore[no-untyped-def]
    """Whether a port of two to five digits, a path, both or nothing stand between ``at`` and ``end``."""
    if at < end and data[at] == COLON:
        begin = at + 1
        at = begin
        while at < end and 0x30 <= data[at] <= 0x39:
            at += 1
        if not 2 <= at - begin <= 5:
            return False
    return at == end or data[at] == SLASH or data[at] == QUESTION or data[at] == HASH
