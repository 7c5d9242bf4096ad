"""English words and sentences, cut as spaCy's blank English tokenizer cuts them, at the speed of a scan.

Published filter rules count the words of that tokenizer, so a threshold means the same only
on the same words. A document is cut at white space into chunks; a chunk of ASCII letters
is one word unless it is named (``cannot``). Any other chunk is taken apart in this order:

1. a chunk that is named (contraction, abbreviation, emoticon) is split or kept as named;
2. a prefix and a suffix are peeled off, again and again, until what is left is named or bare;
3. what is left is kept whole if it is an address, else parted at infixes (hyphens between
   letters, ellipses, symbols, a comma or full stop inside a word, operators between digits);
4. neighbouring words that spell a name together (``Mr`` + ``.``) are joined.

Characters and names are in :mod:`curate.heuristics.english_tables`, the rules of 2 and 3 in
:mod:`english_affixes` and :mod:`english_urls`, 4 in :mod:`english_names`.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np

from curate.heuristics.english_affixes import code_point, infix_end, prefix_end, suffix_start
from curate.heuristics.english_names import (
    NAME_SEED,
    UNIT_SEED,
    empty_hints,
    empty_slots,
    has_pieces,
    join_pieces,
    kernel,
    named,
    put_pieces,
    set_hints,
    store,
)
from curate.heuristics.english_tables import INFIX, PUNCTUATION, SPACE, TERMINAL, character_flags, named_words, unit_words
from curate.heuristics.english_urls import is_url
from curate.kernels.unicode_classes import inlined


class WordTables(NamedTuple):
    """What the kernels look up; read-only.

    Attributes:
        flags: classes of every code point, uint16[0x110000].
        hints: one bit for each shape a name may have, so that few other words are looked up; uint64.
        slots: hash table of names and units; uint64, three numbers each.
    """

    flags: np.ndarray
    hints: np.ndarray
    slots: np.ndarray


@cache
def word_tables() -> WordTables:
    """The tables of English, built once a process."""
    units = empty_slots()
    for unit in unit_words():
        store(_bytes(unit), UNIT_SEED, units, 0, 0)
    tables = WordTables(character_flags(), empty_hints(), units.copy())
    nameless = _frozen(WordTables(character_flags(), empty_hints(), units))
    for word, pieces in named_words().items():
        edges = np.cumsum([len(piece.encode()) for piece in pieces])
        by_rules = _cuts(_bytes(word), nameless)
        if len(pieces) > by_rules.bit_count() + 1:
            by_rules = 0  # joining makes no more words than there were; only °C. would, and a full stop after °C is peeled off anyway
        store(_bytes(word), NAME_SEED, tables.slots, sum(1 << int(edge) for edge in edges[:-1]), by_rules)
        set_hints(_bytes(word), by_rules, tables.hints)
    return _frozen(tables)


def _bytes(word: str) -> np.ndarray:
    return np.frombuffer(word.encode(), np.uint8)


def _frozen(tables: WordTables) -> WordTables:
    """The tables, read-only: numba would compile once more for arrays that are not."""
    for table in tables:
        table.flags.writeable = False
    return tables


def _cuts(name: np.ndarray, tables: WordTables) -> int:
    """Before which bytes the words of ``name`` begin but the first, one bit each."""
    starts, ends = np.empty((2, len(name) + 1), np.int64)
    n = split_words(name, 0, len(name), tables, starts, ends)
    return sum(1 << int(start) for start in starts[1:n])


@inlined
def _put_parts(data, start, end, flags, starts, ends, n):  # type: ignore[no-untyped-def]
    """Append a bare word, parted at its infixes unless it is an address; returns the new count."""
    at, begin, parted = start, start, False
    while at < end:
        point, after = code_point(data, at, end)
        if flags[point] & INFIX:
            beyond = infix_end(data, start, at, end, flags)
            if beyond > at and at > start:
                if not parted and is_url(data, start, end, flags):
                    break
                parted = True
                if at > begin:
                    starts[n], ends[n], n = begin, at, n + 1
                starts[n], ends[n], n = at, beyond, n + 1
                begin = beyond
            after = max(after, beyond)
        at = after
    if begin < end:
        starts[n], ends[n], n = begin, end, n + 1
    return n


@inlined
def _split_chunk(data, start, end, flags, hints, slots, starts, ends, n, top):  # type: ignore[no-untyped-def]
    """Append the words of a chunk without white space; returns the new count.

    Suffixes come last but are found first: their starts wait in ``starts`` from ``top`` downwards.
    """
    waiting, found = top, -1
    low, high = start, end
    while low < high:
        found = named(data, low, high, hints, slots)
        if found >= 0:
            break
        after = prefix_end(data, low, high, flags)
        if low < after < high:
            found = named(data, after, high, hints, slots)
            if found >= 0:
                starts[n], ends[n], n = low, after, n + 1
                low = after
                break
        before = suffix_start(data, start, after, high, flags, slots) if after < high else high
        if low < before < high:
            found = named(data, low, before, hints, slots)
            if found >= 0:
                starts[waiting], waiting = before, waiting - 1
                high = before
                break
        if after == low and before == high:
            break
        if after > low:
            starts[n], ends[n], n = low, after, n + 1
            low = after
        if before < high:
            starts[waiting], waiting = before, waiting - 1
            high = before
    if found >= 0:
        n = put_pieces(low, high, slots[found, 1], starts, ends, n)
    elif low < high:
        n = _put_parts(data, low, high, flags, starts, ends, n)
    while waiting < top:
        waiting += 1
        begin = starts[waiting]
        starts[n], ends[n], n = begin, (starts[waiting + 1] if waiting < top else end), n + 1
    return n


@kernel
def split_words(data, start, end, tables, starts, ends):  # type: ignore[no-untyped-def]
    """Cut ``data[start:end]`` (uint8, UTF-8) into words.

    ``starts`` and ``ends`` (int64, end - start + 1 or longer) receive the words' byte offsets in ``data``,
    in order; they cover every character but white space. Returns the number of words.
    """
    flags, hints, slots = tables.flags, tables.hints, tables.slots
    n, at, in_pieces = 0, start, False
    while at < end:
        begin = at
        while at < end and 0x61 <= data[at] | 0x20 <= 0x7A:
            at += 1
        if at > begin and (at == end or data[at] == 0x20 or data[at] == 0x0A):
            starts[n], ends[n] = begin, at
            slot = named(data, begin, at, hints, slots)
            n = n + 1 if slot < 0 else put_pieces(begin, at, slots[slot, 1], starts, ends, n)
            at += 1
            continue
        at, after = _chunk_end(data, at, end, flags)
        if at > begin:
            first = n
            n = _split_chunk(data, begin, at, flags, hints, slots, starts, ends, n, end - start)
            if n - first > 2 and not in_pieces:  # two words that spell a name would have been found whole
                in_pieces = has_pieces(data, first, n, hints, slots, starts, ends)
        at = after
    return join_pieces(data, n, hints, slots, starts, ends) if in_pieces else n


@inlined
def _chunk_end(data, at, end, flags):  # type: ignore[no-untyped-def]
    """Where the first white space character from ``at`` on begins and ends; ``end`` twice where there is none."""
    while at < end:
        point, after = code_point(data, at, end)
        if flags[point] & SPACE:
            return at, after
        at = after
    return end, end


@kernel
def count_sentences(data, start, end, tables, starts, ends):  # type: ignore[no-untyped-def]
    """Sentences of ``data[start:end]``, a stretch without line breaks, as spaCy's rule-based sentencizer counts them.

    A sentence ends at a word that is one terminal mark, and at all punctuation after it. White space other
    than one space between words is a word here. An empty stretch counts 1. ``starts`` and ``ends`` are
    scratch, as long as for :func:`split_words`.
    """
    n = split_words(data, start, end, tables, starts, ends)
    return sentences_of_words(data, start, end, tables, starts, ends, 0, n)[0]


@kernel
def sentences_of_words(data, start, end, tables, starts, ends, first, n):  # type: ignore[no-untyped-def]
    """As :func:`count_sentences`, from words found already in a longer text that has ``data[start:end]`` as a line.

    A line break parts words, and no name is joined across it: a line has the same words alone and in its text. This
    holds for every break of ``str.splitlines``, and where white space is stripped off the line.

    Args:
        data, start, end: the line.
        tables: ``word_tables``.
        starts, ends: the ``n`` words of the text, in order.
        first: a word from which on to look; none before it is in the line.

    Returns:
        Sentences, and the first word behind the line.
    """
    flags = tables.flags
    while first < n and starts[first] < start:
        first += 1
    sentences, ended, at = 1, False, start
    while first < n and starts[first] < end:
        begin, before = starts[first], at
        at = ends[first]
        first += 1
        if ended and _is_white_word(data, before, begin):
            sentences, ended = sentences + 1, False
        point, after = code_point(data, begin, at)
        if flags[point] & TERMINAL and after == at:
            ended = True
        elif ended and not _is_punctuation(data, begin, at, flags):
            sentences, ended = sentences + 1, False
    return (sentences + 1 if ended and _is_white_word(data, at, end) else sentences), first


@inlined
def _is_white_word(data, start, end):  # type: ignore[no-untyped-def]
    """Whether white space is more than the one space that parts two words."""
    return end - start > 1 or (end - start == 1 and data[start] != 0x20)


@inlined
def _is_punctuation(data, start, end, flags):  # type: ignore[no-untyped-def]
    """Whether a word is punctuation throughout."""
    at = start
    while at < end:
        point, at = code_point(data, at, end)
        if not flags[point] & PUNCTUATION:
            return False
    return True
