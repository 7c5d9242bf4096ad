"""Rule filters: every rule and reason by hand, thresholds and settings, the contract of scorers."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pyarrow as pa
import pytest

from curate.errors import ConfigError
from curate.heuristics.presets import PARAMETERS
from curate.registry import build
from curate.scorers.heuristics import Heuristics
from curate.testing import check_scorer

PRESETS = ["gopher@datatrove", "fineweb@datatrove", "c4@datatrove"]


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
