"""Rule filters: every rule and reason by hand, odd texts, and a slow twin of all signals in plain Python."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.documents import text_bytes
from curate.errors import ConfigError
from curate.heuristics.characters import DIGIT, NOT_PUNCTUATION, SPACE, character_flags
from curate.heuristics.english_words import count_sentences, split_words, word_tables
from curate.heuristics.presets import PARAMETERS
from curate.registry import build
from curate.scorers.heuristics import Heuristics
from curate.testing import check_scorer

PRESETS = ["gopher@datatrove", "fineweb@datatrove", "c4@datatrove"]
TOPS, REPEATED = (2, 3, 4), (5, 6, 7, 8, 9, 10)


def scored(texts: list[str | None], **options: Any) -> list[dict[str, Any]]:
    scorer = Heuristics(**options)
    scorer.check()
    scorer.load(None)
    rows: list[dict[str, Any]] = scorer.score(pa.record_batch([pa.array(texts, pa.large_string())], names=["text"])).to_pylist()
    return rows


def measured(text: str, **options: Any) -> dict[str, Any]:
    return scored([text], **(options or {"preset": PRESETS}))[0]


def unique_words(n: int, length: int = 5) -> list[str]:
    """Words of letters, no two alike: base 26, the smallest digit last."""
    return ["".join(chr(97 + i // 26**k % 26) for k in reversed(range(length))) for i in range(n)]


def planted(size: int, copies: int, n_characters: int, length: int = 5) -> str:
    """One n-gram of ``size`` words again and again, different words between the copies, about so many characters."""
    words = unique_words(n_characters // (length + 1))
    gram, others = words[-size:], words[: (n_characters - copies * size * (length + 1)) // (length + 1)]
    gap = len(others) // copies
    pieces = [gram + others[i * gap : (i + 1) * gap] for i in range(copies)]
    return " ".join(word for piece in pieces for word in piece)


def prose(n: int) -> list[str]:
    """``n`` different words, "the" and "of" among them."""
    words = unique_words(n - 2)
    return [words[0], "the", "of", *words[1:]]


LONG_LINE = "A line that goes on for a while and says what others have said before it in as many words"
LINES = ["one short", "two short", "three short", "four short", "five short", "six short"]

GOPHER_CASES = {
    "empty": "",
    "dup_para_frac": "a\n\nb\n\na",
    "dup_para_char_frac": "\n\n".join([LONG_LINE, *LINES, LONG_LINE]),
    "dup_line_frac": "a\nb\na",
    "dup_line_char_frac": "\n".join([LONG_LINE, *LINES, LONG_LINE]),
    "top_2_gram": "ab cd ab cd ab cd",
    "top_3_gram": planted(3, 2, 150),
    "top_4_gram": planted(4, 2, 250),
    "duplicated_5_n_grams": planted(5, 50, 7400),
    "duplicated_6_n_grams": planted(6, 50, 8500),
    "duplicated_7_n_grams": planted(7, 50, 10800),
    "duplicated_8_n_grams": planted(8, 50, 13500),
    "duplicated_9_n_grams": planted(9, 50, 16700),
    "duplicated_10_n_grams": planted(10, 50, 20500),
    "gopher_short_doc": " ".join(prose(49)),
    "gopher_long_doc": " ".join(prose(100_001)),
    "gopher_below_avg_threshold": " ".join(["to", "of", *unique_words(60, 2)]),
    "gopher_above_avg_threshold": " ".join(["the", "of", *unique_words(60, 11)]),
    "gopher_too_many_hashes": " ".join(f"{word} #" if i % 5 == 0 else word for i, word in enumerate(prose(60))),
    "gopher_too_many_ellipsis": " ".join(f"{word} …" if i % 5 == 0 else word for i, word in enumerate(prose(60))),
    "gopher_too_many_bullets": "\n".join(
        f"  - {a} {b} {c}" for a, b, c in zip(prose(60)[::3], prose(60)[1::3], prose(60)[2::3], strict=True)
    ),
    "gopher_too_many_end_ellipsis": "\n".join(" ".join(prose(200)[i : i + 20]) + ("..." if i % 40 == 0 else "") for i in range(0, 200, 20)),
    "gopher_below_alpha_threshold": " ".join(f"{word} {1000 + i}" if i % 3 == 0 else word for i, word in enumerate(prose(60))),
    "gopher_enough_stop_words": " ".join(unique_words(60)),
}


@pytest.mark.parametrize("code", GOPHER_CASES)
def test_every_reason_of_gopher(code: str) -> None:
    row = measured(GOPHER_CASES[code], preset="gopher@datatrove")
    assert (row["reason"], row["gopher_reason"], row["keep"]) == (code, code, False)


SENTENCE = "He said that this was a sentence."
C4_CASES = {
    "lorem_ipsum": f"{SENTENCE}\nNow Lorem IPSUM dolor sit amet.",
    "curly_bracket": f"{SENTENCE}\nNow this is { {} } a bracket.",
    "too_few_sentences": "\n".join([SENTENCE] * 4),
}


@pytest.mark.parametrize("code", C4_CASES)
def test_every_reason_of_c4(code: str) -> None:
    row = measured(C4_CASES[code], preset="c4@datatrove")
    assert (row["reason"], row["c4_reason"], row["keep"]) == (code, code, False)


FINEWEB_CASES = {
    "empty": " \n\t\n\u3000",
    "line_punct_ratio": "\n".join(f"A line of more than thirty characters {i}" for i in range(9)),
    "short_line_ratio": "\n".join(f"Short {i}." for i in range(9)),
    "char_dup_ratio": "\n".join(
        ["A line of more than thirty characters.", *(f"And other lines like it, number {i}." for i in range(9))] * 2
    ),
    "list_ratio": "\n".join(f"Counterrevolutionaries electroencephalographs{i}." for i in range(12)),
}


@pytest.mark.parametrize("code", FINEWEB_CASES)
def test_every_reason_of_fineweb(code: str) -> None:
    row = measured(FINEWEB_CASES[code], preset="fineweb@datatrove")
    assert (row["reason"], row["fineweb_reason"], row["keep"]) == (code, code, False)


def test_a_good_document_passes_everything() -> None:
    words = prose(200)
    text = "\n".join(" ".join(words[i : i + 20]).capitalize() + "." for i in range(0, 200, 20))
    row = measured(text)
    assert row["keep"] is True
    assert [row[name] for name in ("reason", "gopher_reason", "fineweb_reason", "c4_reason")] == [None] * 4


def test_the_codes_are_all_reasons_in_order() -> None:
    codes = {}
    for preset in PRESETS:
        field = Heuristics(preset=preset).outputs.field("reason")
        codes[preset] = field.metadata[b"codes"].decode().split(",")
    assert codes == {
        "gopher@datatrove": list(GOPHER_CASES),
        "c4@datatrove": list(C4_CASES),
        "fineweb@datatrove": list(FINEWEB_CASES),
    }
    together = Heuristics(preset=PRESETS).outputs.field("reason").metadata[b"codes"].decode().split(",")
    assert together == [*GOPHER_CASES, *list(FINEWEB_CASES)[1:], *C4_CASES]


def test_every_batch_lists_the_same_reasons() -> None:
    scorer = Heuristics(preset=PRESETS)
    scorer.load(None)
    for texts in (["", "a b c"], []):
        batch = scorer.score(pa.record_batch([pa.array(texts, pa.large_string())], names=["text"]))
        for name in ("reason", "gopher_reason", "c4_reason", "fineweb_reason"):
            listed = batch[name].dictionary.to_pylist()
            assert ",".join(listed).encode() == batch.schema.field(name).metadata[b"codes"]


def test_the_first_rule_that_fails_gives_the_reason() -> None:
    assert measured("a", preset=["c4@datatrove", "gopher@datatrove"])["reason"] == "too_few_sentences"
    row = measured("a", preset=["fineweb@datatrove", "c4@datatrove"])
    assert (row["reason"], row["c4_reason"]) == ("line_punct_ratio", "too_few_sentences")


def test_the_earlier_of_lorem_ipsum_and_bracket_counts() -> None:
    lorem, bracket = "Here is lorem ipsum again.", "Here is a { bracket."
    both = "Here is { lorem ipsum again."
    for text, code, lines in (
        (f"{lorem}\n{bracket}", "lorem_ipsum", (1, 2)),
        (f"{bracket}\n{lorem}", "curly_bracket", (2, 1)),
        (both, "lorem_ipsum", (1, 1)),
    ):
        row = measured(text, preset="c4@datatrove")
        assert (row["reason"], row["c4_lorem_ipsum_line"], row["c4_curly_bracket_line"]) == (code, *lines)
    text = f"{bracket}\n{lorem}"
    assert measured(text, preset="c4@datatrove", thresholds={"filter_curly_bracket": None})["reason"] == "lorem_ipsum"


C4_LINES = [
    ("A good line of words.", "kept"),
    ("Ends after a citation. [12]", "no_terminal_punct"),
    ("Ends with a citation.[12][edit][citation needed][]", "kept"),
    ("Ends with digits of another script.[\u0661\u0662]", "kept"),
    ("Ends with no citation.[12 ]", "no_terminal_punct"),
    ("Ends in three dots...", "no_terminal_punct"),
    ("Ends in a quote \"'", "kept"),
    ("Ends in an ellipsis\u2026", "no_terminal_punct"),
    ("Two words.", "too_few_words"),
    ("\u3000Three\u00a0good\u2003words.\u001f", "kept"),
    ("", "no_terminal_punct"),
    (f"A word too long {'x' * 1001}.", "too_long_word"),
    (f"A word just right {'é' * 999}.", "kept"),
    ("We have JavaScript in it.", "javascript"),
    ("We have java[1]script in it.", "javascript"),
    ("Please read our Terms of Use.", "policy"),
    ("This site uses coo\u212aies here.", "policy"),
    ("This site used to use cookie.", "kept"),
    ("Our use of cookies is sweet.", "policy"),
]


@pytest.mark.parametrize(("line", "outcome"), C4_LINES)
def test_what_c4_does_with_a_line(line: str, outcome: str) -> None:
    row = measured(f"{line}\nlast", preset="c4@datatrove")
    names = ("kept", "no_terminal_punct", "too_few_words", "too_long_word", "javascript", "policy")
    expected = Counter([outcome, "no_terminal_punct"])
    assert {name: row[f"c4_lines_{name}"] for name in names} == {name: expected[name] for name in names}


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


# A plain Python twin


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
        "line_punct_ratio": ratio(sum(bool(flags[ord(line[-1])] & 16) for line in full), len(full)),
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
    for text, row in zip(texts, scored(list(texts), preset=PRESETS), strict=True):
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


# Thresholds


def test_own_thresholds_alone_switch_on_only_themselves() -> None:
    scorer = Heuristics(thresholds={"min_doc_words": 3})
    assert scorer.outputs.field("reason").metadata[b"codes"] == b"gopher_short_doc"
    assert [row["keep"] for row in scored(["a b", "a b c", ""], thresholds={"min_doc_words": 3})] == [False, True, False]
    assert "c4_n_sentences" not in scorer.outputs.names and "line_punct_ratio" not in scorer.outputs.names


def test_a_threshold_over_a_preset() -> None:
    text = " ".join(prose(40))
    assert measured(text, preset="gopher@datatrove")["reason"] == "gopher_short_doc"
    assert measured(text, preset="gopher@datatrove", thresholds={"min_doc_words": 30})["keep"] is True
    assert (
        measured("a b", preset="gopher@datatrove", thresholds={"min_doc_words": None, "top_n_grams": None})["reason"] != "gopher_short_doc"
    )


def test_rules_without_a_denominator_are_silent() -> None:
    """Where the owner divides by no words or no lines, nothing can be said."""
    off = {"min_doc_words": None, "min_stop_words": None}
    row = measured(" ", preset="gopher@datatrove", thresholds=off)
    assert row["keep"] is True
    assert [row[name] for name in ("hash_ratio", "alpha_words_ratio", "mean_word_length", "top_2_gram")] == [None] * 4


def test_bounds_are_inclusive() -> None:
    text = " ".join(prose(50))
    assert measured(text, thresholds={"min_doc_words": 50, "max_doc_words": 50})["keep"] is True
    assert measured(text, thresholds={"min_doc_words": 51})["keep"] is False
    assert measured(text, thresholds={"max_doc_words": 49})["reason"] == "gopher_long_doc"


def test_n_grams_of_other_sizes() -> None:
    text = "a b a b c " * 4
    row = measured(text, thresholds={"top_n_grams": {1: 0.9, "6": 1}, "dup_n_grams": [[2, 0.1], [12, 1]]})
    words = own_words(text)
    for n in (1, 6):
        assert row[f"top_{n}_gram"] == top(words, n) / len(text)
    for n in (2, 12):
        assert row[f"duplicated_{n}_n_grams"] == repeated(words, n) / len(text)
    assert row["reason"] == "duplicated_2_n_grams"


def test_parameters_that_change_what_is_counted() -> None:
    assert measured("yes and no", thresholds={"min_stop_words": 2, "stop_words": ["yes", "no"]})["n_stop_words"] == 2
    fineweb = {"line_punct_thr": 0.5, "stop_chars": [";"], "short_line_length": 3, "short_line_thr": 0.5}
    row = measured("abc;\nabc\n", thresholds=fineweb)
    assert (row["line_punct_ratio"], row["short_line_ratio"], row["keep"]) == (0.5, 0.5, True)
    bare = "no mark {here} at all"
    assert measured(bare, thresholds={"min_num_sentences": 1})["reason"] == "too_few_sentences"
    row = measured(bare, thresholds={"min_num_sentences": 1, "filter_no_terminal_punct": False})
    assert (row["keep"], row["c4_curly_bracket_line"]) == (True, 1)
    spared = {"line_punct_thr": 0.5, "line_punct_exclude_zero": True}
    assert [row["keep"] for row in scored(["a", "a.\nb\nc"], thresholds=spared)] == [True, False]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"preset": "gofer@datatrove"}, "did you mean 'gopher@datatrove'"),
        ({"preset": "gopher"}, "c4@datatrove, fineweb@datatrove, gopher@datatrove"),
        ({"preset": ["c4@datatrove", "c4@datatrove"]}, "twice"),
        ({}, "no rule is in force"),
        ({"thresholds": {"short_line_length": 20}}, "no rule is in force"),
        ({"preset": "c4@datatrove", "words": "nltk"}, "'nltk'"),
        ({"thresholds": {"min_doc_word": 3}}, "did you mean 'min_doc_words'"),
        ({"thresholds": {"min_doc_words": 30, "max_doc_words": 20}}, "no document passes"),
        ({"preset": "gopher@datatrove", "thresholds": {"min_doc_words": 200_000}}, "max_doc_words is 100000"),
        ({"preset": "gopher@datatrove", "thresholds": {"min_avg_word_length": 10.5}}, "no document passes"),
        ({"thresholds": {"min_doc_words": -1}}, "-1"),
        ({"thresholds": {"min_doc_words": 2.5}}, "2.5"),
        ({"thresholds": {"dup_line_frac": 1.2}}, "from 0 to 1"),
        ({"thresholds": {"dup_line_frac": float("nan")}}, "nan"),
        ({"thresholds": {"dup_line_frac": "0.3"}}, "'0.3'"),
        ({"thresholds": {"filter_lorem_ipsum": 1}}, "true or false"),
        ({"thresholds": {"top_n_grams": {0: 0.2}}}, "top_n_grams"),
        ({"thresholds": {"top_n_grams": [[2, 0.2], [2, 0.3]]}}, "top_n_grams"),
        ({"thresholds": {"line_punct_thr": 0.1, "stop_chars": ["ab"]}}, "single characters"),
        ({"thresholds": {"short_line_thr": 0.1, "short_line_length": None}}, "short_line_length"),
    ],
)
def test_settings_that_cannot_be(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        build(Heuristics, options)
    assert message in str(error.value)


def test_spacy_may_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("curate.scorers.heuristics.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="spaCy"):
        Heuristics(preset="c4@datatrove", words="spacy").check()


def test_every_threshold_can_be_set() -> None:
    """The owner's defaults are values that a person may write."""
    for name, parameter in PARAMETERS.items():
        default = list(parameter.default) if isinstance(parameter.default, tuple) else parameter.default
        build(Heuristics, {"preset": PRESETS, "thresholds": {name: default}})


# The contract


@pytest.mark.parametrize(
    "options",
    [{"preset": PRESETS}, {"preset": "c4@datatrove"}, {"thresholds": {"new_line_ratio": 0.3, "max_symbol_word_ratio": 0.1}}],
    ids=["all", "c4", "own"],
)
def test_contract(options: dict[str, Any]) -> None:
    check_scorer(Heuristics(**options))


def test_a_null_text_has_nulls_throughout() -> None:
    rows = scored([None, "a", None], preset=PRESETS)
    assert set(rows[0].values()) == set(rows[2].values()) == {None}
    assert rows[1]["keep"] is False
