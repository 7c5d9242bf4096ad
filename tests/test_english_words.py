"""The English splitter: cases by hand for every rule, invariants, and agreement with spaCy as datatrove calls it."""

from __future__ import annotations

import gzip
import io
import json
import re
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from curate.documents import text_bytes
from curate.errors import ConfigError
from curate.heuristics import english_tables, spacy_words
from curate.heuristics.english_words import count_sentences, split_words, word_tables
from pipelines import CI_SMALL

TABLES = word_tables()
CHARACTERS_PER_DOMAIN = 60_000
needs_spacy = pytest.mark.skipif(find_spec("spacy") is None, reason="spaCy is not installed")
needs_sample = pytest.mark.skipif(not CI_SMALL.is_dir(), reason="shared/data/ci_small is not beside the project")


def spans(text: str) -> tuple[np.ndarray, np.ndarray]:
    data = np.frombuffer(text.encode(), np.uint8)
    starts, ends = np.empty((2, len(data) + 1), np.int64)
    n = split_words(data, 0, len(data), TABLES, starts, ends)
    return starts[:n], ends[:n]


def words(text: str) -> list[str]:
    data = text.encode()
    return [data[a:b].decode() for a, b in zip(*(edge.tolist() for edge in spans(text)), strict=True)]


def sentences(text: str) -> int:
    data = np.frombuffer(text.encode(), np.uint8)
    starts, ends = np.empty((2, len(data) + 1), np.int64)
    return int(count_sentences(data, 0, len(data), TABLES, starts, ends))


# What stands between bars are the words.
CASES = """
plain words|plain|words
don't cannot Im its|do|n't|can|not|I|m|its
shouldn’t’ve Let's y'all|should|n’t|’ve|Let|'s|y'|all
Mr. Smith vs. them.|Mr.|Smith|vs.|them|.
10am 12p.m. 13pm|10|am|12|p.m.|13pm
:-) x:) (: 8-D|:-)|x|:)|(:|8-D
("Hello," she said)|(|"|Hello|,|"|she|said|)
dog's DOG'S dogs' ’s|dog|'s|DOG|'S|dogs|'|’s
$5 US$5 5$ 5US$ A$1 €|$|5|US$|5|5|$|5|US$|A$|1|€
5km 5km/h 10% 3m² x5kb. 5qm|5|km|5|km/h|10|%|3|m²|x5|kb|.|5qm
+5 +a 5+ a+|+5|+|a|5|+|a+
...and so on.... a..b …x|...|and|so|on|....|a|..|b|…|x
U.S. USA. McD. a. é. É. ß)|U.S.|USA|.|McD.|a.|é|.|É.|ß|)
25°C. °C. (°F.)|25|°|C|.|°|C|.|(|°|F|.|)
well-known 3-4 x-3 a--b a----b ~x~y|well|-|known|3|-|4|x-3|a|--|b|a----b|~x|~|y
end.Start end.start 1.5 a,b 1,5 a,1|end|.|Start|end.start|1.5|a|,|b|1,5|a,1
a/b 1/a a/1 x=y x<y and/or 2*3 2^-3 2*x|a|/|b|1|/|a|a/1|x|=|y|x|<|y|and/or|2|*|3|2|^|-3|2*x
x/Mr. (e.g.) f(x): i.e.,|x|/|Mr.|(|e.g.|)|f(x|):|i.e.|,
http://a-b.com/c-d?e=f, me@x-y.org a-b.c-d|http://a-b.com/c-d?e=f|,|me@x-y.org|a|-|b.c|-|d
8.8.8.8/a-b 10.0.0.1/a-b 300.1.1.1/a x.com:80/a x.com:a|8.8.8.8/a-b|10.0.0.1|/|a|-|b|300.1.1.1|/|a|x.com:80/a|x.com|:|a
漢字、かな。 中文,字 ไทยคำ|漢字、かな|。|中文|,|字|ไทยคำ
a\u0301-b e\u0301. ★x★y 😀😀|a\u0301-b|e\u0301.|★|x|★|y|😀|😀
a\u0085b\u2028c\u3000d\x1ce\u200bf|a|b|c|d|e\u200bf
……x x…… x………|…|…|x|x|……|x|…|……
x: ):y|x|:|)|:|y
x ):y|x|):|y
"""


@pytest.mark.parametrize("case", CASES.strip("\n").split("\n"))
def test_cases_by_hand(case: str) -> None:
    text, *expected = case.split("|")
    assert words(text) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", 1),
        (" ", 1),
        ("No mark", 1),
        ("One. Two! Three?", 3),
        ("One.) Two", 2),
        ("One... two", 1),
        ("Mr. Smith vs. Jones etc.", 1),
        ('He said "Stop." And left.', 2),
        ("One.  ", 2),
        ("One. ", 1),
        ("One.\t", 2),
        ("完了。次も。", 1),
        ("完了。 次も。", 2),
        ("क। ख।", 2),
        ("One.Two three.four", 2),
    ],
)
def test_sentences_by_hand(line: str, expected: int) -> None:
    assert sentences(line) == expected


TEXT = st.text(
    st.one_of(
        st.sampled_from(list("aabBxsSCK019..,,:;!?()[]<>-–—~'\"’…/=+*^&#_@$%|°²€☃漢ก\u0301é \n\t\x85\u2028\u3000\x00")),
        st.characters(codec="utf-8"),
    ),
    max_size=60,
)
CHUNKS = st.lists(st.one_of(st.sampled_from([*english_tables.named_words(), *english_tables.unit_words(), " ", " "]), TEXT), max_size=8)
TEXTS = st.one_of(TEXT, CHUNKS.map("".join))


@given(TEXTS)
@settings(max_examples=600, deadline=None)
def test_words_cover_everything_but_white_space(text: str) -> None:
    starts, ends = spans(text)
    edges = np.stack([starts, ends], axis=1).ravel()
    assert (starts < ends).all()
    assert (np.diff(edges) >= 0).all()
    assert "".join(words(text)) == "".join(text.split())  # decodes: no character is cut
    assert all(len(word.split()) == 1 for word in words(text))


@given(TEXTS, TEXTS, st.sampled_from(["\n", "\r\n", *"\v\f\r\x1c\x1d\x1e\x85\u2028\u2029"]))
@settings(max_examples=200, deadline=None)
def test_a_line_break_parts_what_surrounds_it(first: str, second: str, line_break: str) -> None:
    assert words(f"{first}{line_break}{second}") == words(first) + words(second)


@given(TEXTS, TEXTS)
@settings(max_examples=200, deadline=None)
def test_bytes_outside_the_document_do_not_matter(text: str, other: str) -> None:
    before, inside, after = f"{other}°".encode(), text.encode(), f".{other}".encode()
    data = np.frombuffer(before + inside + after, np.uint8)
    starts, ends = np.full((2, len(inside) + 2), -7)
    n = split_words(data, len(before), len(before) + len(inside), TABLES, starts, ends)
    alone = spans(text)
    assert (starts[:n] - len(before)).tolist() == alone[0].tolist()
    assert (ends[:n] - len(before)).tolist() == alone[1].tolist()
    assert starts[-1] == ends[-1] == -7


@pytest.mark.parametrize("unit", ["a", "漢", "(", ")", ".", "...a", "a.", "a@", "1-", "):", "°C.", "\u0301", "a.b/", "'", "x-y"])
def test_a_million_bytes_without_a_space(unit: str) -> None:
    text = unit * (1_000_000 // len(unit.encode()))
    starts, ends = spans(text)
    assert starts[0] == 0 and ends[-1] == len(text.encode()) and (starts[1:] == ends[:-1]).all()


def test_empty_and_one_word() -> None:
    assert words("") == words(" \n\u3000") == []
    assert words("word") == words(" word\x85") == ["word"]


def classes() -> dict[str, tuple[str, int]]:
    """spaCy's own character classes, and the bits they are here."""
    from spacy.lang import char_classes as spacy_classes

    return {
        "letters": (spacy_classes.ALPHA, english_tables.LETTER),
        "lower": (spacy_classes.ALPHA_LOWER, english_tables.LOWER),
        "upper": (spacy_classes.ALPHA_UPPER, english_tables.UPPER),
        "quotes": (spacy_classes.CONCAT_QUOTES, english_tables.QUOTE),
        "symbols": (spacy_classes.CONCAT_ICONS + "…", english_tables.SYMBOL),
    }


@needs_spacy
@pytest.mark.parametrize("name", ["letters", "lower", "upper", "quotes", "symbols"])
def test_character_classes_are_spacys(name: str) -> None:
    characters, flag = classes()[name]
    everything = "".join(map(chr, [*range(0xD800), *range(0xE000, 0x110000)]))
    theirs = {ord(c) for c in re.findall(f"[{characters}]", everything)}
    ours = set(np.flatnonzero(english_tables.character_flags() & flag).tolist())
    assert ours == theirs


@needs_spacy
def test_affixes_and_names_are_spacys() -> None:
    import spacy

    tokenizer = spacy.blank("en").tokenizer
    flags = english_tables.character_flags()
    for point in [*range(0xD800), *range(0xE000, 0x20000)]:
        character = chr(point)
        if character != "+":
            assert bool(flags[point] & english_tables.PREFIX) == bool(tokenizer.find_prefix(character)), character
        assert bool(flags[point] & english_tables.SUFFIX) == bool(tokenizer.find_suffix("A" + character)), character
        if character != ".":
            assert bool(flags[point] & english_tables.BEFORE_PERIOD) == bool(tokenizer.find_suffix(character + ".")), character
    rules = {word: tuple(piece[65] for piece in pieces) for word, pieces in tokenizer.rules.items() if not word.isspace()}
    assert english_tables.named_words() == rules


def documents(path: Path) -> Iterator[str]:
    """Texts of one domain of the sample."""
    if path.is_dir():
        yield from (file.read_text(encoding="utf-8-sig") for file in sorted(path.glob("*.txt")))
    elif path.suffix == ".parquet":
        yield from pq.read_table(path, columns=["text"])["text"].to_pylist()
    else:
        data = path.read_bytes()
        raw = gzip.decompress(data) if path.suffix == ".gz" else zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data)).read()
        yield from (json.loads(line)["text"] for line in raw.decode().split("\n") if line)


def sample(name: str) -> list[str]:
    """Whole documents of a domain, or their beginnings, up to CHARACTERS_PER_DOMAIN."""
    taken, size = [], 0
    for text in documents(CI_SMALL / name):
        taken.append(text[: CHARACTERS_PER_DOMAIN // 3])
        size += len(taken[-1])
        if size > CHARACTERS_PER_DOMAIN:
            break
    return taken


SAMPLES = sorted(path.name for path in CI_SMALL.iterdir()) if CI_SMALL.is_dir() else []


@needs_spacy
@needs_sample
@pytest.mark.parametrize("name", SAMPLES)
def test_all_three_agree_on_real_text(name: str) -> None:
    """datatrove's words, spaCy's through our cache, and ours: the same, word for word, in every document."""
    tokenizers = pytest.importorskip("datatrove.utils.word_tokenizers", reason="datatrove is not installed")
    owner = tokenizers.load_word_tokenizer("eng")
    texts = sample(name)
    expected = [owner.word_tokenize(text) for text in texts]
    column = pa.array(texts, pa.large_string())
    data = text_bytes(column)[0].tobytes()
    starts, ends, bounds = spacy_words.word_spans(column)
    cached = [data[a:b].decode() for a, b in zip(starts.tolist(), ends.tolist(), strict=True)]
    assert [cached[a:b] for a, b in pairwise(bounds.tolist())] == expected
    assert [words(text) for text in texts] == expected


@needs_spacy
@needs_sample
@pytest.mark.parametrize("name", SAMPLES)
def test_all_three_count_the_same_sentences(name: str) -> None:
    text = pytest.importorskip("datatrove.utils.text", reason="datatrove is not installed")
    lines = [line for document in sample(name) for line in document.splitlines()][:150]
    expected = [len(text.split_into_sentences(line, "eng")) for line in lines]
    assert spacy_words.sentence_counts(lines).tolist() == expected
    assert [sentences(line) for line in lines] == expected


@needs_spacy
@given(TEXTS)
@settings(max_examples=400, deadline=None, derandomize=True)
def test_any_text_is_split_as_spacy_splits_it(text: str) -> None:
    assume("°" not in text)  # °C. in front of an infix is the known difference
    column = pa.array([text], pa.large_string())
    starts, ends, _ = spacy_words.word_spans(column)
    assert [edge.tolist() for edge in spans(text)] == [starts.tolist(), ends.tolist()]
    assert sentences(text) == spacy_words.sentence_counts([text])[0]


@needs_spacy
def test_word_spans_of_slices_nulls_and_nothing() -> None:
    column = pa.array(["left out", "don't", None, "", "x y"], pa.large_string())[1:]
    starts, ends, bounds = spacy_words.word_spans(column)
    data = text_bytes(column)[0].tobytes()
    assert [data[a:b] for a, b in zip(starts, ends, strict=True)] == [b"do", b"n't", b"x", b"y"]
    assert bounds.tolist() == [0, 2, 2, 2, 4]
    assert [len(part) for part in spacy_words.word_spans(column[:0])] == [0, 0, 1]


@needs_spacy
def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    before = spacy_words.word_spans(pa.array(["f(x): y ):z, Mr.: a"]))
    monkeypatch.setattr(spacy_words, "MOST_LEXEMES", 1)
    again = spacy_words.word_spans(pa.array(["f(x): y ):z, Mr.: a"]))
    assert [part.tolist() for part in before] == [part.tolist() for part in again]


def test_without_spacy_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    spacy_words._new_splitter.cache_clear()
    monkeypatch.setitem(sys.modules, "spacy", None)
    with pytest.raises(ConfigError, match=r"pip install 'curate\[spacy\]'"):
        spacy_words.sentence_counts(["a line"])
