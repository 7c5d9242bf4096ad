"""Signals of the rule filters: a slow twin of all of them in plain Python, odd texts, repetition by hand."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.documents import text_bytes
from curate.heuristics.characters import DIGIT, END_MARK, NOT_PUNCTUATION, SPACE, character_flags
from curate.heuristics.english_words import count_sentences, split_words, word_tables
from curate.scorers.heuristics import Heuristics

PRESETS = ["gopher@datatrove", "fineweb@datatrove", "c4@datatrove"]
TOPS, REPEATED = (2, 3, 4), (5, 6, 7, 8, 9, 10)


def scored(texts: list[str], **options: Any) -> list[dict[str, Any]]:
    scorer = Heuristics(**options)
    scorer.load(None)
    rows: list[dict[str, Any]] = scorer.score(pa.record_batch([pa.array(texts, pa.large_string())], names=["text"])).to_pylist()
    return rows


def measured(text: str, **options: Any) -> dict[str, Any]:
    return scored([text], **(options or {"preset": PRESETS}))[0]


def unique_words(n: int, length: int = 5) -> list[str]:
    """Words of letters, no two alike: base 26, the smallest digit last."""
    return ["".join(chr(97 + i // 26**k % 26) for k in reversed(range(length))) for i in range(n)]


def own_words(text: str) -> list[str]:
    """The words of the fast splitter, which has tests of its own."""
    data, bounds = text_bytes(pa.array([text], pa.large_string()))
    starts, ends = np.empty((2, len(data) + 2), np.int64)
    n = split_words(data, int(bounds[0]), int(bounds[1]), word_tables(), starts, ends)
    content = text.encode()
    return [content[a:b].decode() for a, b in zip(starts[:n], ends[:n], strict=True)]


def own_sentences(line: str) -> int:
    data = np.frombuffer(line.encode() + b" ", np.uint8)
    starts, ends = np.empty((2, len(data) + 2), np.int64)
    return int(count_sentences(data, 0, len(data) - 1, word_tables(), starts, ends))


def repeats(parts: list[str]) -> tuple[int, int]:
    seen: set[str] = set()
    n = characters = 0
    for part in parts:
        if part in seen:
            n, characters = n + 1, characters + len(part)
        seen.add(part)
    return n, characters


def ratio(a: int, b: int) -> float | None:
    return a / b if b else None


def top(words: list[str], n: int) -> int | None:
    grams = [" ".join(words[i : i + n]) for i in range(len(words) - n + 1)]
    if not grams:
        return None
    counts = Counter(grams)
    best = max(grams, key=lambda gram: counts[gram])
    return len(best) * counts[best]


def repeated(words: list[str], n: int) -> int:
    seen: set[str] = set()
    at = characters = 0
    while at + n <= len(words):
        gram = "".join(words[at : at + n])
        again = gram in seen
        characters += len(gram) * again
        at += n if again else 1
        seen.add(gram)
    return characters


def gopher_twin(text: str, words: list[str]) -> dict[str, Any]:
    n = len(text)
    paragraphs = re.split(r"\n{2,}", text.strip())
    gopher_lines = re.split(r"\n+", text)
    lines = text.splitlines()
    flags = character_flags()
    proper = [word for word in words if any(flags[ord(character)] & NOT_PUNCTUATION for character in word)]
    found: dict[str, Any] = {
        "n_words": len(words),
        "dup_para_frac": ratio(repeats(paragraphs)[0], len(paragraphs)),
        "dup_para_char_frac": ratio(repeats(paragraphs)[1], n),
        "dup_line_frac": ratio(repeats(gopher_lines)[0], len(gopher_lines)),
        "dup_line_char_frac": ratio(repeats(gopher_lines)[1], n),
        "n_non_symbol_words": len(proper),
        "mean_word_length": ratio(sum(map(len, proper)), len(proper)),
        "hash_ratio": ratio(text.count("#"), len(words)),
        "ellipsis_ratio": ratio(text.count("...") + text.count("…"), len(words)),
        "bullet_lines_ratio": ratio(sum(line.lstrip().startswith(("•", "-")) for line in lines), len(lines)),
        "ellipsis_lines_ratio": ratio(sum(line.rstrip().endswith(("...", "…")) for line in lines), len(lines)),
        "alpha_words_ratio": ratio(sum(any(character.isalpha() for character in word) for word in words), len(words)),
        "n_stop_words": len({"the", "be", "to", "of", "and", "that", "have", "with"} & set(words)),
    }
    for size in TOPS:
        covered = top(words, size)
        found[f"top_{size}_gram"] = None if covered is None else ratio(covered, n)
    for size in REPEATED:
        found[f"duplicated_{size}_n_grams"] = ratio(repeated(words, size), n)
    return found


def fineweb_twin(text: str, words: list[str]) -> dict[str, Any]:
    flags = character_flags()
    full = [line for line in text.split("\n") if line.strip() != ""]
    return {
        "n_full_lines": len(full),
        "line_punct_ratio": ratio(sum(bool(flags[ord(line[-1])] & END_MARK) for line in full), len(full)),
        "short_line_ratio": ratio(sum(len(line) <= 30 for line in full), len(full)),
        "char_dup_ratio": ratio(repeats(full)[1], len(text.replace("\n", ""))),
        "list_ratio": ratio(text.count("\n"), len(words)),
    }


def c4_twin(text: str) -> dict[str, Any]:
    policies = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")
    outcomes = ("kept", "too_long_word", "no_terminal_punct", "too_few_words", "javascript", "policy")
    found: dict[str, Any] = {f"c4_lines_{name}": 0 for name in outcomes}
    found |= {"c4_n_lines": 0, "c4_lorem_ipsum_line": None, "c4_curly_bracket_line": None, "c4_n_sentences": 0}
    for number, raw in enumerate(text.splitlines(), 1):
        found["c4_n_lines"] = number
        words = raw.split()
        line = re.sub(r"\[\d*]|\[edit]|\[citation needed]", "", raw.strip())
        lowered = line.lower()
        if any(len(word) > 1000 for word in words):
            outcome = "too_long_word"
        elif not line.endswith((".", "?", "!", '"', "'")) or line.endswith("..."):
            outcome = "no_terminal_punct"
        elif len(words) < 3:
            outcome = "too_few_words"
        else:
            if "lorem ipsum" in lowered and found["c4_lorem_ipsum_line"] is None:
                found["c4_lorem_ipsum_line"] = number
            outcome = "javascript" if "javascript" in lowered else "kept"
            if outcome == "kept" and "{" in line and found["c4_curly_bracket_line"] is None:
                found["c4_curly_bracket_line"] = number
            if outcome == "kept" and any(phrase in lowered for phrase in policies):
                outcome = "policy"
        found[f"c4_lines_{outcome}"] += 1
        if outcome == "kept":
            found["c4_n_sentences"] += own_sentences(line)
    return found


def assert_twins(texts: list[str]) -> None:
    """All signals of all texts, in one batch, to the last bit."""
    for text, row in zip(texts, scored(texts, preset=PRESETS), strict=True):
        words = own_words(text)
        expected = {"n_characters": len(text), **gopher_twin(text, words), **fineweb_twin(text, words), **c4_twin(text)}
        assert {name: row[name] for name in expected} == expected, repr(text)
        assert set(row) - set(expected) == {"keep", "reason", "gopher_reason", "c4_reason", "fineweb_reason"}


ODD = [
    "",
    "a",
    "word",
    ".",
    "#",
    "\n",
    "\n\n",
    " \n ",
    "\n\n\n\n",
    "\na\n",
    "\n\n a\n\n a \n\n",
    "a\n \na\n \na",
    "-",
    "•",
    "...",
    "….",
    "....",
    "one line only with some words in it",
    "x" * 100_000,
    "word " * 20_000,
    ". " * 300,
    "a b " * 500,
    "- a ...\n" * 100,
    "他在那里。他在那里。\n我們不知道\n他在那里。" * 5,
    "ฉันไม่รู้ว่าเขาอยู่ที่ไหน" * 8,
    "e\u0301e\u0327 e\u0301e\u0327 \u0301\u0301 a\u0300",
    "\x00\x01 \x02\x1f \x7f\x80\x9f",
    "a\x85b\x85a\u2028c\u2029a",
    "a\r\nb\r\na\r\n",
    "\ufeffa\ufeff",
    "👩‍👩‍👧‍👦 👍🏽 " * 20,
    "\U0010ffff\U0001d518 \ufffd",
    "[1][2].",
    "[[1].",
    "[citation needed",
    "[edit]].",
    "{",
    "[",
    "\u3000\u3000",
    "a\u3000\n\n\u3000b",
    "Kelvin \u212a uses coo\u212aies\u00a0now.",
    "İstanbul javascrİpt İ.",
    "the be to of and that have with The",
    "word. " * 9 + "\n" + "word. " * 9,
]


def test_odd_texts_against_the_twin() -> None:
    assert_twins(ODD)
    for text in ODD[:20]:
        assert_twins([text])


PIECES = st.sampled_from(
    [
        "a",
        "bb",
        "ccc",
        "the",
        "of",
        "fox",
        "x" * 9,
        "é",
        "日本",
        "。",
        ".",
        "...",
        "…",
        "!",
        '"',
        "'",
        "#",
        "-",
        "•",
        "[1]",
        "[edit]",
        "{",
        "12",
        "，",
        " ",
        " ",
        " ",
        "  ",
        "\n",
        "\n",
        "\n\n",
        "\r\n",
        "\t",
        "\x85",
        "\u2028",
        "\x1c",
        "\u3000",
        "\x00",
        "lorem ipsum",
        "JavaScript",
        "privacy policy",
        "use coo\u212aies",
        "A good line of words.\n",
        "Another good line of words!\n",
    ]
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(PIECES, max_size=60).map("".join), min_size=1, max_size=4))
def test_made_up_texts_against_the_twin(texts: list[str]) -> None:
    assert_twins(texts)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["a", "b", "cd", "efghijklm"]), max_size=120), st.sampled_from([" ", "\n", "  "]))
def test_repetitive_texts_against_the_twin(words: list[str], between: str) -> None:
    assert_twins([between.join(words)])


def test_many_occurrences_against_the_twin() -> None:
    """More than a counter of one byte can hold, of several n-grams equally often."""
    assert_twins(["ab cd ef " * 700, " ".join(["x y", "z"] * 300 + ["y z", "x"] * 300), " ".join(unique_words(3000) + unique_words(1500))])


def test_what_a_character_is_agrees_with_python() -> None:
    flags = character_flags()
    points = range(0x110000)
    assert [point for point in points if bool(flags[point] & SPACE) != chr(point).isspace()] == []
    digits = re.compile(r"\d")
    ours = {point for point in points if flags[point] & DIGIT}
    assert {point for point in range(0x3000) if digits.match(chr(point))} <= ours | {0x1E140}  # newer Pythons know newer digits


def test_line_breaks_of_all_kinds() -> None:
    text = "-a\r\n-b\r-c\v-d\f-e\x1c-f\x1d-g\x1e-h\x85-i\u2028-j\u2029-k\x1f-l\n"
    row = measured(text)
    assert row["c4_n_lines"] == len(text.splitlines()) == 11
    assert row["bullet_lines_ratio"] == 1.0
    assert row["n_full_lines"] == 2


def test_repeated_n_grams_are_compared_glued_together() -> None:
    """ "xy z" and "x yz" are the same five words' worth of characters; the most frequent n-gram tells them apart."""
    filler = " ".join(unique_words(8))
    row = measured(f"the quick brown fox jumps {filler} thequick brown fox jum ps", preset="gopher@datatrove")
    assert row["duplicated_5_n_grams"] == len("thequickbrownfoxjumps") / row["n_characters"]
    assert row["duplicated_6_n_grams"] == 0.0
    assert row["top_2_gram"] == len("brown fox") * 2 / row["n_characters"]


def test_the_most_frequent_n_gram_is_the_first_of_equals() -> None:
    row = measured("aa bb c d aa bb c d", preset="gopher@datatrove")
    assert row["top_2_gram"] == 2 * len("aa bb") / 19
    assert measured("a bb ccc dddd", preset="gopher@datatrove")["top_2_gram"] == len("a bb") / 13


def test_short_n_grams_beside_long_ones() -> None:
    """Five words of one letter have fewer bytes than the filters look at, ten of them may have more."""
    text = "a b c d e fghijklmnopqr s t u v . a b c d e fghijklmnopqr s t u v"
    row = measured(text, preset="gopher@datatrove")
    assert row["duplicated_10_n_grams"] == len("abcdefghijklmnopqrstuv") / len(text)
    assert row["duplicated_5_n_grams"] == len("abcdefghijklmnopqrstuv") / len(text)


def test_n_grams_of_other_sizes() -> None:
    text = "a b a b c " * 4
    row = measured(text, thresholds={"top_n_grams": {1: 0.9, "6": 1}, "dup_n_grams": [[2, 0.1], [12, 1]]})
    words = own_words(text)
    for n in (1, 6):
        assert row[f"top_{n}_gram"] == top(words, n) / len(text)
    for n in (2, 12):
        assert row[f"duplicated_{n}_n_grams"] == repeated(words, n) / len(text)
    assert row["reason"] == "duplicated_2_n_grams"
