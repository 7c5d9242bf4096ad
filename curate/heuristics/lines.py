r"""Lines as ``str.splitlines`` cuts them: bullets and ellipses (Gopher), and which lines C4 would keep.

C4 (Raffel et al., JMLR 21/140, section 2.2) looks at each stripped line in this order: a word too long drops it; wiki
citations are cut out of it; it must end in a mark, but not in three dots; it must have words enough; "lorem ipsum" or a
curly bracket condemns the document; a mention of javascript or of cookies and policies drops the line. Of the lines that
remain the sentences are counted.

Here condemned documents are read to their end, so that the counts do not depend on which rules are in force.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from curate.heuristics.characters import DIGIT, SPACE, character, compiled, stripped_end, stripped_start
from curate.heuristics.text_hashes import HIGH, ONES
from curate.heuristics.word_counts import store64
from curate.kernels.machine_words import address, load8, load64, trailing_zeros
from curate.kernels.unicode_classes import inlined

KEPT, LONG_WORD, NO_END_MARK, FEW_WORDS, JAVASCRIPT, POLICY = range(6)
"""What becomes of a line under C4."""

LOREM_IPSUM = 8
"""Beside JAVASCRIPT = 4 and POLICY = 5 as bits 1 << 4 and 1 << 5: the phrases found in a line."""

PHRASES = (
    ("lorem ipsum", LOREM_IPSUM),
    ("javascript", JAVASCRIPT),
    ("terms of use", POLICY),
    ("privacy policy", POLICY),
    ("cookie policy", POLICY),
    ("uses cookies", POLICY),
    ("use of cookies", POLICY),
    ("use cookies", POLICY),
)
_LETTERS = np.frombuffer("".join(phrase for phrase, _ in PHRASES).encode(), np.uint8)
_ENDS = np.cumsum([len(phrase) for phrase, _ in PHRASES])
_FOUND = np.array([1 << kind for _, kind in PHRASES])
_EDIT, _CITATION_NEEDED = (np.frombuffer(inside, np.uint8) for inside in (b"edit]", b"citation needed]"))
_BLANKS = ONES * np.uint64(0x20)


class LineRules(NamedTuple):
    """Which lines C4 keeps.

    Attributes:
        longest_word: code points of a word at most; -1 for any.
        fewest_words: words between white space at least.
        citations, end_marks, javascript, policy: whether the rule is in force.
    """

    longest_word: int
    fewest_words: int
    citations: bool
    end_marks: bool
    javascript: bool
    policy: bool


class Contents(NamedTuple):
    """What a scan of all bytes finds.

    Attributes:
        n_points, n_newlines, n_hashes, n_ellipses: code points, ``\\n``, ``#``, and ``...`` or ``…``.
        brackets, curly, phrases: whether there is a ``[``, a ``{``, and perhaps one of PHRASES.
    """

    n_points: int
    n_newlines: int
    n_hashes: int
    n_ellipses: int
    brackets: bool
    curly: bool
    phrases: bool


@compiled
def contents(text, n_bytes):  # type: ignore[no-untyped-def]
    """``Contents`` of the first ``n_bytes`` of an array, two bytes more to be read; its loops become vector instructions."""
    n_continuing, n_newlines, n_hashes, n_brackets, n_curly = 0, 0, 0, 0, 0
    for i in range(n_bytes):
        byte = text[i]
        n_continuing += (byte & 0xC0) == 0x80
        n_newlines += byte == 0x0A
        n_hashes += byte == 0x23
        n_brackets += byte == 0x5B
        n_curly += byte == 0x7B
    n_dots, n_signs = 0, 0
    for i in range(n_bytes):
        n_dots += (text[i] == 0x2E) & (text[i + 1] == 0x2E) & (text[i + 2] == 0x2E)
        n_signs += (text[i] == 0xE2) & (text[i + 1] == 0x80) & (text[i + 2] == 0xA6)
    n_ellipses = n_signs + (_n_three_dots(text, n_bytes) if n_dots else 0)
    phrases = _n_hints(text, n_bytes) > 0
    return Contents(n_bytes - n_continuing, n_newlines, n_hashes, n_ellipses, n_brackets > 0, n_curly > 0, phrases)


@compiled
def _n_hints(text, n_bytes):  # type: ignore[no-untyped-def]
    """How often three characters occur that every one of PHRASES has: 0 means that none of them is there."""
    n = 0
    for i in range(n_bytes):
        a, b, c = text[i] | 0x20, text[i + 1] | 0x20, text[i + 2] | 0x20
        n += (a == 0x6A) & (b == 0x61) & (c == 0x76)  # jav
        n += (a == 0x69) & (b == 0x70) & (c == 0x73)  # ips
        n += (a == 0x61) & (b == 0x63) & (c == 0x79)  # acy
        n += (a == 0x72) & (b == 0x6D) & (c == 0x73)  # rms
        n += (a == 0x63) & (b == 0x6F) & (c == 0x6F)  # coo
    return n


@compiled
def _n_three_dots(text, n_bytes):  # type: ignore[no-untyped-def]
    """``...`` without overlap: a third of every run of full stops, rounded down."""
    n, run = 0, 0
    for i in range(n_bytes):
        run = run + 1 if text[i] == 0x2E else 0
        if run == 3:
            n += 1
            run = 0
    return n


@inlined
def _break_length(text, at, n_bytes):  # type: ignore[no-untyped-def]
    """Bytes of the line break at ``at`` < ``n_bytes``, 0 where there is none."""
    byte = load8(text, at)
    if byte < 0x20:
        if byte == 0x0D:
            return 2 if at + 1 < n_bytes and load8(text, at + 1) == 0x0A else 1
        return 1 if 0x0A <= byte <= 0x0C or 0x1C <= byte <= 0x1E else 0
    if byte == 0xC2:
        return 2 if load8(text, at + 1) == 0x85 else 0
    if byte == 0xE2 and load8(text, at + 1) == 0x80:
        return 3 if load8(text, at + 2) & 0xFE == 0xA8 else 0
    return 0


@compiled
def line_end(text, at, n_bytes):  # type: ignore[no-untyped-def]
    """Where the line that begins at ``at`` < ``n_bytes`` ends, and where the next one begins."""
    while True:
        word = load64(text, at)
        unusual = (word | (word - _BLANKS)) & HIGH
        if not unusual:
            at += 8
            continue
        at += trailing_zeros(unusual) >> 3
        if at >= n_bytes:
            return n_bytes, n_bytes
        length = _break_length(text, at, n_bytes)
        if length > 0:
            return at, at + length
        at += 1


@compiled
def read_lines(text, n_bytes, flags, found, rules, judge, scratch, to, n_kept):  # type: ignore[no-untyped-def]
    """Judge every line.

    Args:
        text: address of the document.
        n_bytes: its size.
        flags: address of ``character_flags``.
        found: its ``Contents``.
        rules: ``LineRules``.
        judge: whether C4's outcomes are wanted; else they are 0.
        scratch: kept lines, cut down, are appended to its ``lines``, and where they end to its ``line_ends``. Its
            ``chosen`` receives where this document's kept lines begin in ``text``, -1 for one that lost a citation.
        to, n_kept: how much is there already, of ``lines`` and ``line_ends``.

    Returns:
        Lines; those that begin with a bullet; those that end with an ellipsis; lines of each of KEPT to POLICY, six
        numbers; the number of the first line, from 1, with "lorem ipsum", then with a curly bracket, 0 for none;
        new ``to`` and ``n_kept``.
    """
    lines, line_ends, line_starts = address(scratch.lines), scratch.line_ends, scratch.chosen
    n, n_bullets, n_ellipses, lorem_line, curly_line, at = 0, 0, 0, 0, 0, 0
    kept, long_word, no_end_mark, few_words, javascript, policy = 0, 0, 0, 0, 0, 0
    while at < n_bytes:
        end, after = line_end(text, at, n_bytes)
        start = stripped_start(text, at, end, flags)
        end = stripped_end(text, start, end, flags)
        at = after
        n += 1
        n_bullets += start < end and _is_bullet(text, start)
        n_ellipses += _is_ellipsis(text, start, end)
        if not judge:
            continue
        outcome, length, condemned = _judged(text, start, end, flags, found, rules, lines, to)
        if condemned & 1 and lorem_line == 0:
            lorem_line = n
        if condemned & 2 and curly_line == 0:
            curly_line = n
        kept += outcome == KEPT
        long_word += outcome == LONG_WORD
        no_end_mark += outcome == NO_END_MARK
        few_words += outcome == FEW_WORDS
        javascript += outcome == JAVASCRIPT
        policy += outcome == POLICY
        if outcome == KEPT:
            to += length
            line_ends[n_kept] = to
            line_starts[kept - 1] = start if length == end - start else -1
            n_kept += 1
    outcomes = (kept, long_word, no_end_mark, few_words, javascript, policy)
    return n, n_bullets, n_ellipses, outcomes, lorem_line, curly_line, to, n_kept


@inlined
def _is_bullet(text, at):  # type: ignore[no-untyped-def]
    byte = load8(text, at)
    return byte == 0x2D or (byte == 0xE2 and load8(text, at + 1) == 0x80 and load8(text, at + 2) == 0xA2)


@inlined
def _ends_in_dots(text, start, end):  # type: ignore[no-untyped-def]
    return end - start >= 3 and load8(text, end - 1) == 0x2E and load8(text, end - 2) == 0x2E and load8(text, end - 3) == 0x2E


@inlined
def _is_ellipsis(text, start, end):  # type: ignore[no-untyped-def]
    """Whether ``...`` or ``…`` ends the line."""
    if end - start < 3:
        return False
    sign = load8(text, end - 1) == 0xA6 and load8(text, end - 2) == 0x80 and load8(text, end - 3) == 0xE2
    return sign or _ends_in_dots(text, start, end)


@compiled
def _judged(text, start, end, flags, found, rules, lines, to):  # type: ignore[no-untyped-def]
    """What becomes of the stripped line ``text[start:end]``.

    Returns:
        One of KEPT to POLICY; the bytes of the line without citations, which stand at ``lines[to]``; and how it
        condemns the document: 1 for "lorem ipsum", 2 for a curly bracket, 3 for both.
    """
    if end - start > rules.longest_word >= 0 and _longest_word(text, start, end, flags) > rules.longest_word:
        return LONG_WORD, 0, 0
    cut = rules.citations and found.brackets
    length = _without_citations(text, start, end, flags, lines, to) if cut else _copied(text, start, end, lines, to)
    if rules.end_marks and not _has_end_mark(lines, to, to + length):
        return NO_END_MARK, length, 0
    if not _has_words(text, start, end, rules.fewest_words, flags):
        return FEW_WORDS, length, 0
    phrases = _phrases(lines, to, to + length) if found.phrases or length < end - start else 0
    condemned = (phrases >> LOREM_IPSUM) & 1
    if rules.javascript and (phrases >> JAVASCRIPT) & 1:
        return JAVASCRIPT, length, condemned
    if found.curly and _has_curly(lines, to, to + length):
        condemned |= 2
    if rules.policy and (phrases >> POLICY) & 1:
        return POLICY, length, condemned
    return KEPT, length, condemned


@inlined
def _copied(text, start, end, lines, to):  # type: ignore[no-untyped-def]
    """Copy ``text[start:end]`` to ``lines[to]``; returns its bytes."""
    for at in range(start, end, 8):
        store64(lines, to + at - start, load64(text, at))
    return end - start


@compiled
def _without_citations(text, start, end, flags, lines, to):  # type: ignore[no-untyped-def]
    """Copy ``text[start:end]`` to ``lines[to]`` without ``[12]``, ``[]``, ``[edit]`` and ``[citation needed]``; returns its bytes."""
    at, put = start, to
    while at < end:
        if load8(text, at) == 0x5B:
            after = _citation_end(text, at, end, flags)
            if after > at:
                at = after
                continue
        store64(lines, put, load64(text, at))
        at += 1
        put += 1
    return put - to


@compiled
def _citation_end(text, at, end, flags):  # type: ignore[no-untyped-def]
    """Where the citation ends that begins with the bracket at ``at``; ``at`` where there is none."""
    after = at + 1
    while after < end:
        kind, beyond = character(text, after, flags)
        if not kind & DIGIT:
            break
        after = beyond
    if after < end and load8(text, after) == 0x5D:
        return after + 1
    for inside in (_EDIT, _CITATION_NEEDED):
        if _matches(text, at + 1, end, inside, 0, len(inside)):
            return at + 1 + len(inside)
    return at


@compiled
def _matches(text, at, end, letters, first, last):  # type: ignore[no-untyped-def]
    """Whether ``letters[first:last]`` stand at ``at``, all of it before ``end``."""
    if last - first > end - at:
        return False
    for i in range(first, last):  # noqa: SIM110
        if load8(text, at + i - first) != letters[i]:
            return False
    return True


@inlined
def _has_end_mark(text, start, end):  # type: ignore[no-untyped-def]
    """Whether one of . ? ! " ' ends the line, and not three dots."""
    if end == start:
        return False
    last = load8(text, end - 1)
    marked = last == 0x2E or last == 0x3F or last == 0x21 or last == 0x22 or last == 0x27
    return marked and not _ends_in_dots(text, start, end)


@compiled
def _has_words(text, at, end, fewest, flags):  # type: ignore[no-untyped-def]
    """Whether ``text[at:end]``, stripped, has ``fewest`` words between white space."""
    n = 0
    while n < fewest and at < end:
        n += 1
        if n == fewest:
            break
        at = stripped_start(text, _word_end(text, at, end, flags)[0], end, flags)
    return n >= fewest


@compiled
def _word_end(text, at, end, flags):  # type: ignore[no-untyped-def]
    """Where the next white space begins in ``text[at:end]``, and the code points before it."""
    n_points = 0
    while at < end:
        kind, after = character(text, at, flags)
        if kind & SPACE:
            break
        at = after
        n_points += 1
    return at, n_points


@compiled
def _longest_word(text, at, end, flags):  # type: ignore[no-untyped-def]
    """Code points of the longest word between white space."""
    longest = 0
    while at < end:
        at, n_points = _word_end(text, at, end, flags)
        longest = max(longest, n_points)
        at = stripped_start(text, at, end, flags)
    return longest


@compiled
def _has_curly(text, at, end):  # type: ignore[no-untyped-def]
    n = 0
    for i in range(at, end):
        n += load8(text, i) == 0x7B
    return n > 0


@inlined
def _lowered(text, at):  # type: ignore[no-untyped-def]
    """An ASCII letter in lower case, the Kelvin sign as k, or the byte as it is; and where the next one is."""
    byte = load8(text, at)
    if byte == 0xE2 and load8(text, at + 1) == 0x84 and load8(text, at + 2) == 0xAA:
        return 0x6B, at + 3
    return (byte | 0x20 if 0x41 <= byte <= 0x5A else byte), at + 1


@compiled
def _phrases(text, start, end):  # type: ignore[no-untyped-def]
    """The PHRASES that ``text[start:end]`` has in any case, as bits 1 << LOREM_IPSUM, 1 << JAVASCRIPT, 1 << POLICY."""
    found = 0
    for start_at in range(start, end):
        first = load8(text, start_at) | 0x20
        if not (first == 0x6C or first == 0x6A or first == 0x74 or first == 0x70 or first == 0x63 or first == 0x75):
            continue
        begin = 0
        for i in range(len(_ENDS)):
            at, letter = start_at, begin
            while letter < _ENDS[i] and at < end:
                byte, at = _lowered(text, at)
                if byte != _LETTERS[letter]:
                    break
                letter += 1
            if letter == _ENDS[i]:
                found |= _FOUND[i]
            begin = _ENDS[i]
    return found
