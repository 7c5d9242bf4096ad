"""Hands fenced memory to the kernels: the child of ``test_kernel_bounds``, which may die of it.

It writes down what it is about to try, so that the parent knows what it died of.

    python bounds_child.py PART NOTES FOLDER
"""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from guarded import BEGINS, ENDS, ScratchFences, TextFences, fenced, ordinary

import curate.decontamination.index as evaluation_index
import curate.heuristics.counting as counting
import curate.kernels.minhash as minhash_kernels
import curate.kernels.shingles as shingle_kernels
from curate.decontamination.index import EvaluationIndex
from curate.documents import text_bytes
from curate.heuristics.english_words import word_tables
from curate.kernels.folding import fold_tables
from curate.kernels.shingles import shingle_sets
from curate.scorers.contamination import Contamination
from curate.scorers.heuristics import Heuristics
from curate.scorers.minhash import MinHash
from curate.scorers.scorer import Scorer

PRESETS = ["gopher@datatrove", "fineweb@datatrove", "c4@datatrove"]
UNUSUAL = {
    "top_n_grams": {1: 0.1, 2: 0.1, 64: 0.1},
    "dup_n_grams": {1: 0.1, 3: 0.1, 64: 0.1},
    "stop_words": [],
    "max_word_length": 1,
}
LONGEST = 130
LARGE = 1 << 19
FEW = (7, 7, 14, 14)

PASSAGES = {
    "one word": "abcdefghijklmnopqrstuvwxyz",
    "one-byte words": "a b ",
    "words": "It is a truth universally acknowledged, that a single man in possession of a good fortune ",
    "digits": "0123456789",
    "numbers": "3.14 1,000 a1b 2.2.2 ",
    "spaces": " ",
    "newlines": "\n",
    "one-byte lines": "a\n",
    "line breaks": "a.\r\nb\x1c\x85c\u2028",
    "punctuation": ".,;:!?()'\"-/",
    "full stops": ".",
    "brackets": "[edit] [12] [] [citation needed] {x} ",
    "citation cut off": "b. [1234567890",
    "phrases": "lorem ipsum javascript terms of use privacy policy uses cookies. ",
    "Kelvin": "use coo\u212aies ",
    "bullets": "• a…\n- b...\n",
    "English": "(I don't) U.S. it's cannot; 3km A$5 x/Mr. :-) °C. well-known--so ",
    "addresses": "http://ab.cd:80/e?f#g me@ij.kl 8.8.4.4 ",
    "apostrophes": "'s’s",
    "two bytes": "é",
    "modifier letters": "ʼa",
    "three bytes": "中",
    "alone and not": "中a",
    "Thai": "กำแพง ",
    "Hangul": "한국어 ",
    "marks": "e\u0301\u0301",
    "several": "ো한ǰ",
    "wide spaces": "\u3000a",
    "Arabic": "١٢٬٣ ، كتاب ",
    "four bytes": "😀",
    "four bytes at the end of a word": "ab😀",
    "beyond Unicode 14": "\U0010ffff",
    "mixed": "aé中😀 1.é\u0301",
}

_COUNTING: Any = counting
_FOLDING: tuple[Any, ...] = (minhash_kernels, shingle_kernels, evaluation_index)


class Target(NamedTuple):
    """Something to hand texts to.

    Args:
        score: gives what can be compared, one for each text.
        prepare: called with the longest text's bytes and the side before ``score``.
        steps: which lengths to try of a text alone, behind others, at the other fence, and cut off at its beginning: 1 for every.
    """

    score: Callable[[pa.RecordBatch], list[Any]]
    prepare: Callable[[int, str], None] = lambda longest, side: None
    steps: tuple[int, ...] = (1, 1, 4, 4)


def _rows(scorer: Scorer) -> Callable[[pa.RecordBatch], list[Any]]:
    def score(batch: pa.RecordBatch) -> list[Any]:
        scored = scorer.score(batch)
        columns = [column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column for column in scored]
        return list(zip(*(column.to_pylist() for column in columns), strict=True))

    return score


def minhash(folder: Path) -> Iterator[Target]:
    yield Target(_rows(MinHash()))
    yield Target(_rows(MinHash(ngram=1, bands=1, rows=3)), steps=FEW)


def shingles(folder: Path) -> Iterator[Target]:
    def sets(ngram: int) -> Callable[[pa.RecordBatch], list[Any]]:
        def score(batch: pa.RecordBatch) -> list[Any]:
            bounds, hashes = shingle_sets(*text_bytes(batch["text"]), ngram)
            return [hashes[a:b].tobytes() for a, b in zip(bounds[:-1], bounds[1:], strict=True)]

        return score

    yield Target(sets(1))
    yield Target(sets(5), steps=FEW)


def contamination(folder: Path) -> Iterator[Target]:
    """Of the very passages: every longer text has matches."""
    passages = folder / "passages.txt"
    passages.write_text("\n".join((passage.replace("\n", " ") * 60)[:300] for passage in PASSAGES.values()) + "\n", encoding="utf-8")
    scorer = Contamination(files=str(passages), ngram=6, shortest=4, distinct=1)
    scorer.fit(pa.table({"text": pa.array([], pa.large_string())}), folder)
    scorer.load(folder)
    index: EvaluationIndex = scorer._index
    index.index = type(index.index)(*map(fenced, index.index))
    yield Target(_rows(scorer))


def _fenced_heuristics(longest: int, steps: tuple[int, ...], whole: bool = False, **options: Any) -> Target:
    """The counting of the rules, the only part with kernels; or all of the scorer, fifteen times slower."""
    scorer = Heuristics(**options)
    scorer.check()
    scorer.load(None)
    counter: Any = scorer._counter
    counter.lexicon = type(counter.lexicon)(*(fenced(part) if isinstance(part, np.ndarray) else part for part in counter.lexicon))
    fences = {}
    sides = [ENDS]

    def make(n_bytes: int, n_line_bytes: int = 0) -> Any:
        size = max(longest, n_line_bytes, n_bytes)
        if size not in fences:
            fences[size] = ScratchFences(size, size)
        return fences[size].scratch(n_bytes, n_line_bytes, sides[0])

    def prepare(n_bytes: int, side: str) -> None:
        sides[0] = side
        counter._scratch = make(n_bytes)

    _COUNTING.scratch_for = make  # asked for more, or with spaCy's words for every batch
    rows = _rows(scorer) if whole else lambda batch: counter.counts(batch["text"]).tolist()

    def score(batch: pa.RecordBatch) -> list[Any]:
        given = counter._scratch
        scored = rows(batch)
        if given is not counter._scratch:
            raise AssertionError("the working memory was changed for other: none of what was scored stood next to a fence")
        return scored

    return Target(score, prepare, steps)


def heuristics(folder: Path) -> Iterator[Target]:
    yield _fenced_heuristics(600, (1, 4, 4, 4), preset=PRESETS)
    for preset in PRESETS:
        yield _fenced_heuristics(600, FEW, preset=preset)
    yield _fenced_heuristics(600, (32, 32, 64, 64), whole=True, preset=PRESETS)
    yield _fenced_heuristics(600, FEW, preset=PRESETS, thresholds=UNUSUAL)


def large_heuristics(folder: Path) -> Iterator[Target]:
    yield _fenced_heuristics(LARGE, (), preset=PRESETS)
    yield _fenced_heuristics(LARGE, (), preset=PRESETS, thresholds=UNUSUAL)


def spacy_words(folder: Path) -> Iterator[Target]:
    yield _fenced_heuristics(1 << 14, FEW, preset=PRESETS, words="spacy")


def fence_tables() -> None:
    """Let the kernels look things up in tables that end at a fence."""
    folds, words = type(fold_tables())(*map(fenced, fold_tables())), type(word_tables())(*map(fenced, word_tables()))
    for module in _FOLDING:
        module.fold_tables = lambda: folds
    _COUNTING.word_tables = lambda: words


@cache
def cut_passages(name: str) -> list[bytes]:
    """A passage again and again, cut off after every number of bytes up to LONGEST, in the middle of characters too."""
    content = (PASSAGES[name] * LONGEST).encode()
    return [content[:n] for n in range(LONGEST + 1)]


def tail_passages(name: str) -> list[bytes]:
    """The same, but whole at its end: it may begin in the middle of a character."""
    content = (PASSAGES[name] * LONGEST).encode()
    return [content[len(content) - n :] for n in range(LONGEST + 1)]


class Notes:
    """Where the parent reads what was tried last."""

    WIDTH = 2000

    def __init__(self, file: int, subject: str = "") -> None:
        self._file, self._subject = file, subject

    def about(self, subject: str) -> Notes:
        """Notes that begin with this word."""
        return Notes(self._file, f"{subject}: ")

    def __call__(self, note: str) -> None:
        os.pwrite(self._file, (self._subject + note).encode()[: self.WIDTH].ljust(self.WIDTH), 0)


def _same(target: Target, batch: pa.RecordBatch, expected: Sequence[Any], what: str) -> None:
    found = target.score(batch)
    if found != list(expected):
        raise AssertionError(f"what surrounds a text changes its score: {what}: {found} is not {list(expected)}")


def all_lengths(targets: Iterator[Target], note: Notes) -> None:
    """Every passage at every length: alone, behind another text, and with a null row and a row cut off by slicing."""
    fences = TextFences(LONGEST + 100, 8)
    before = (PASSAGES["words"] * 2).encode()[:100]
    for number, target in enumerate(targets):
        ways: list[tuple[int, str, Callable[[str], list[bytes]], list[bytes | None], str]] = [
            (target.steps[0], ENDS, cut_passages, [], ""),
            (target.steps[1], ENDS, cut_passages, [before, None], ", behind a sliced-off text and a null"),
            (target.steps[2], BEGINS, cut_passages, [], ""),
            (target.steps[3], ENDS, tail_passages, [], ", cut off at the beginning"),
        ]
        for name, (step, side, cut, others, how) in itertools.product(PASSAGES, ways):
            texts = cut(name)[::step]
            target.prepare(LONGEST, ENDS)
            others_expected = target.score(ordinary(others[1:]))
            expected = target.score(ordinary(texts))
            for text, score in zip(texts, expected, strict=True):
                what = f"variant {number}, {len(text)} bytes of {name!r}{how}, {side}"
                note(what)
                target.prepare(len(text), side)
                batch = fences.batch([*others, text], side, skipped=min(1, len(others)))
                _same(target, batch, [*others_expected, score], what)


DEMANDING = {
    "one-byte words": b"a b ",
    "one-byte words that differ": b"a b c d e f g h i j k l m n o p q r s t u v w x y z ",
    "characters of three bytes": "中文".encode(),
    "words of one and three bytes": "中a".encode(),
    "words of one and two bytes": "ʼa".encode(),
    "newlines": b"\n",
    "one-byte lines": b"a\n",
    "kept lines": b"a.\n",
    "one word": b"a",
    "one word beyond ASCII": "é".encode(),
    "marks": "\u0301".encode(),
    "brackets": b"(",
    "closing brackets and full stops": b").",
    "citations": b"[1].\n",
    "names in pieces": b"x/Mr. ",
    "contractions": b"don't ",
    "spaces": b" ",
    "digits": b"1",
}  # fmt: skip


def largest_demands(targets: Iterator[Target], note: Notes) -> None:
    """Half a megabyte of the worst, then many short texts with the working memory as the long one left it."""
    fences = TextFences(LARGE + (1 << 18), 600)
    short = [text for name in PASSAGES for text in cut_passages(name)[1:130:8]]
    for number, target in enumerate(targets):
        note(f"variant {number}, short texts")
        target.prepare(LONGEST, ENDS)
        alone = target.score(ordinary(short))
        for name, repeated in DEMANDING.items():
            what = f"variant {number}, {LARGE} bytes of {name!r}"
            text = (repeated * (LARGE // len(repeated) + 1))[:LARGE]
            note(f"{what}, {BEGINS}")
            target.prepare(LARGE, BEGINS)
            first = target.score(fences.batch([text], BEGINS))
            note(f"{what}, short texts behind it, {ENDS}")
            target.prepare(LARGE, ENDS)
            _same(target, fences.batch([text, *short], ENDS), [*first, *alone], what)


def valid_texts(targets: Iterator[Target], note: Notes) -> None:
    """As ``all_lengths``, for what needs valid UTF-8: many texts a batch."""
    fences = TextFences(1 << 14, LONGEST + 1)
    for number, target in enumerate(targets):
        for name in PASSAGES:
            texts: list[bytes | None] = [text.decode(errors="ignore").encode() for text in cut_passages(name)]
            target.prepare(LONGEST, ENDS)
            expected = target.score(ordinary(texts))
            for side in (ENDS, BEGINS):
                note(f"variant {number}, all lengths of {name!r}, {side}")
                target.prepare(LONGEST, side)
                _same(target, fences.batch(texts, side), expected, name)


def arbitrary_texts(targets: Iterator[Target], note: Notes) -> None:
    """Texts of up to 600 bytes, of pieces of the passages or of any bytes at all, drawn from a seed."""
    fences = TextFences(600, 1)
    for number, target in enumerate(targets):
        random = np.random.default_rng(7)
        pieces = [content for name in PASSAGES for content in cut_passages(name)[1:30]]
        for i in range(200):
            chosen = [pieces[at] for at in random.integers(0, len(pieces), random.integers(1, 60))]
            text = b"".join(chosen)[:600] if i % 2 else random.bytes(int(random.integers(1, 300)))
            what = f"variant {number}, {text.hex()}"
            note(what)
            target.prepare(len(text), ENDS)
            expected = target.score(ordinary([text]))
            for side in (ENDS, BEGINS):
                target.prepare(len(text), side)
                _same(target, fences.batch([text], side), expected, what)


def read_beyond(note: Notes, side: str) -> None:
    """Commit the very crime, to prove that it is found."""
    array = fenced(np.zeros(100, np.uint8), side)
    bounds = np.array([0, 101] if side == ENDS else [-1, 100], np.int64)
    note(f"reading one byte too much, {side}")
    shingle_sets(array, bounds, 1)


def short_memory(note: Notes, n_too_few: int) -> None:
    """Count in working memory for fewer bytes than the text has."""
    scorer = Heuristics(preset=PRESETS)
    scorer.load(None)
    counter: Any = scorer._counter
    text = b"a b " * 100
    scratch = ScratchFences(len(text)).scratch(len(text) - n_too_few, 0, ENDS)
    counter._scratch_for = lambda longest: scratch
    note(f"working memory for {n_too_few} bytes too few")
    scorer.score(ordinary([text]))


SMALL, LARGER = (all_lengths, arbitrary_texts), (largest_demands,)
FOLDING = (minhash, shingles, contamination)


def _each(ways: Sequence[Any], sources: Sequence[Any]) -> Callable[[Path, Notes], None]:
    def go(folder: Path, note: Notes) -> None:
        for way, source in itertools.product(ways, sources):
            way(source(folder), note.about(source.__name__))

    return go


PARTS: dict[str, Callable[[Path, Notes], None]] = {
    "folding": _each(SMALL, FOLDING),
    "large folding": _each(LARGER, FOLDING),
    "heuristics": _each(SMALL, [heuristics]),
    "large heuristics": _each(LARGER, [large_heuristics]),
    "spacy": _each([valid_texts], [spacy_words]),
    "read beyond the end": lambda folder, note: read_beyond(note, ENDS),
    "read before the start": lambda folder, note: read_beyond(note, BEGINS),
    "short memory": lambda folder, note: short_memory(note, 200),
}


def main(part: str, notes: str, folder: str) -> None:
    note = Notes(os.open(notes, os.O_CREAT | os.O_WRONLY | os.O_TRUNC))
    note("building tables")
    fence_tables()
    PARTS[part](Path(folder), note)
    note("done")


if __name__ == "__main__":
    main(*sys.argv[1:])
