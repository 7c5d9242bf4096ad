"""Words after folding: against a plain Python twin, against datatrove's own normaliser, on odd and on real text."""

from __future__ import annotations

import gzip
import json
import unicodedata
from functools import cache

import numpy as np
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.kernels.folding import fold_some, fold_tables, fold_words
from pipelines import CI_SMALL

U64 = (1 << 64) - 1
AT_14 = unicodedata.unidata_version == "14.0.0"

# The list of datatrove 0.10 (utils/text.py), beyond ASCII and controls.
PUNCTUATION = set("—”：％〈（、━【「」，】；～“《„’∶´．–？！«〉》）。…►»")
SEPARATORS = set(".,،٫⎖⎗⎘")
# But U+02BC, a letter of many scripts that Thai borrows.
SPACELESS = r"[[\p{scx=Han}\p{scx=Hira}\p{scx=Kana}\p{scx=Thai}\p{scx=Laoo}\p{scx=Khmr}\p{scx=Mymr}]--[\u02BC]]"


def words_of(text: str) -> list[tuple[int, str]]:
    """(hash, original) of every word the kernel finds; other documents lie before and behind this one."""
    before, inside, after = b"\xc3\xa9t\xc3\xa9 12", text.encode(), b"suite 34" * 16
    data = np.frombuffer(before + inside + after, np.uint8)
    start, end = len(before), len(before) + len(inside)
    hashes = np.zeros(end - start + 1, np.uint64)
    starts, ends = np.zeros(end - start + 1, np.int64), np.zeros(end - start + 1, np.int64)
    n = fold_words(data, start, end, fold_tables(), hashes, starts, ends)
    edges = list(zip(starts[:n].tolist(), ends[:n].tolist(), strict=True))
    assert all(start <= a < b <= end for a, b in edges)
    assert all(b <= c for (_, b), (c, _) in zip(edges, edges[1:], strict=False))
    return [(key, data[a:b].tobytes().decode()) for key, (a, b) in zip(hashes[:n].tolist(), edges, strict=True)]


def hashes_of(text: str) -> list[int]:
    return [key for key, _ in words_of(text)]


def hash_of(word: str) -> int:
    """The hash of a folded word, as the module defines it: eight bytes at a time, three bytes for what is not ASCII."""
    stream = bytearray()
    for c in map(ord, word):
        stream += bytes([c]) if c < 0x80 else bytes([0x80 | c >> 14, 0x80 | c >> 7 & 0x7F, 0x80 | c & 0x7F])
    key = 0x2545F4914F6CDD1D
    for i in range(0, len(stream), 8):
        key = ((key ^ int.from_bytes(stream[i : i + 8], "little")) * 0x9E3779B97F4A7C15) & U64
        key ^= key >> 32
    key = key * 0xD6E8FEB86659FD93 & U64
    return key ^ key >> 32


@cache
def spaceless_words():  # type: ignore[no-untyped-def]
    regex = pytest.importorskip("regex")
    letter = rf"[{SPACELESS}&&[\p{{L}}\p{{Nl}}]]"
    vowel = rf"[{SPACELESS}&&\p{{Mc}}]"
    return regex.compile(rf"{letter}{vowel}*|(?:(?!{letter})\S)+", regex.V1)


@cache
def breaks(c: str) -> bool:
    if unicodedata.category(c) == "Nd":
        return False
    listed = c in PUNCTUATION or (c < "\x7f" and not c.isalnum()) or "\x7f" <= c <= "\x9f"
    return listed or c.isspace() or any(breaks(d) for d in unicodedata.normalize("NFD", c) if d != c)


def folded(text: str) -> list[str]:
    """The words of a text in plain Python, step by step as the module's docstring says."""
    out: list[str] = []
    i = 0
    text = text.lower().replace("ς", "σ")
    digit = [unicodedata.category(c) == "Nd" for c in text] + [False, False]
    while i < len(text):
        if digit[i]:
            while digit[i]:
                i += 1
            if i < len(text) and text[i] in SEPARATORS and digit[i + 1]:
                i += 1
                while digit[i]:
                    i += 1
            out.append("0")
        else:
            out.append(" " if breaks(text[i]) else text[i])
            i += 1
    plain = "".join(c for c in unicodedata.normalize("NFD", "".join(out)) if unicodedata.category(c) != "Mn")
    return [word for run in plain.split() for word in spaceless_words().findall(run)]


@cache
def real_texts() -> dict[str, list[str]]:
    """Real documents by domain."""
    if not CI_SMALL.is_dir():
        pytest.skip(f"real text is absent: {CI_SMALL}")
    found: dict[str, list[str]] = {}
    for path in sorted(CI_SMALL.iterdir()):
        if path.is_dir():
            found[path.name] = [book.read_text() for book in sorted(path.glob("*.txt"))]
        elif path.suffix == ".parquet":
            found[path.name] = pq.read_table(path, columns=["text"])["text"].to_pylist()
        else:
            content = path.read_bytes()
            lines = gzip.decompress(content) if path.suffix == ".gz" else zstandard.ZstdDecompressor().stream_reader(content).read()
            found[path.name] = [json.loads(line)["text"] for line in lines.splitlines()]
    return found


@pytest.mark.parametrize(
    ("text", "words", "spans"),
    [
        ("", [], []),
        (" \t\r\n\u0085\u2028\u00a0…—!", [], []),
        ("Hello, World", ["hello", "world"], ["Hello", "World"]),
        ("don't don’t", ["don", "t", "don", "t"], ["don", "t", "don", "t"]),
        ("snake_case", ["snake", "case"], ["snake", "case"]),
        ("3.14 1.2.3 1,000,000 7", ["0", "0", "0", "0", "0", "0"], ["3.14", "1.2", "3", "1,000", "000", "7"]),
        ("v2.0b A1B22", ["v0b", "a0b0"], ["v2.0b", "A1B22"]),
        ("٣٫١٤ 1،2 １２", ["0", "0", "0"], ["٣٫١٤", "1،2", "１２"]),
        ("5. 6", ["0", "0"], ["5", "6"]),
        ("Crème BRÛLÉE naïve", ["creme", "brulee", "naive"], ["Crème", "BRÛLÉE", "naïve"]),
        ("cre\u0300me\u0301 x", ["creme", "x"], ["cre\u0300me\u0301", "x"]),
        ("\u0301abc \u0301 d", ["abc", "d"], ["abc", "d"]),
        ("İstanbul STRASSE ẞ", ["istanbul", "strasse", "ß"], ["İstanbul", "STRASSE", "ẞ"]),
        ("ΟΔΟΣ οδός", ["οδοσ", "οδοσ"], ["ΟΔΟΣ", "οδός"]),
        ("Москва ёлка", ["москва", "елка"], ["Москва", "ёлка"]),
        ("a≠b a=\u0338b", ["a", "b", "a", "b"], ["a", "b", "a", "b"]),
        ("第5章。世界", ["第", "0", "章", "世", "界"], ["第", "5", "章", "世", "界"]),
        ("がか\u3099x", ["か", "か", "x"], ["が", "か\u3099", "x"]),
        ("ที่นี่", ["ท", "น"], ["ที่", "นี่"]),
        ("ကာမ", ["ကာ", "မ"], ["ကာ", "မ"]),
        ("한국", ["\u1112\u1161\u11ab\u1100\u116e\u11a8"], ["한국"]),
        ("a\u200db 👍🏽", ["a\u200db", "👍🏽"], ["a\u200db", "👍🏽"]),
        ("a\0b", ["a", "b"], ["a", "b"]),
    ],
)
def test_words_by_hand(text: str, words: list[str], spans: list[str]) -> None:
    assert words_of(text) == list(zip(map(hash_of, words), spans, strict=True))


@pytest.mark.parametrize("length", [*range(1, 40), 63, 64, 65, 130])
def test_long_words_anywhere(length: int) -> None:
    """Word lengths and places that straddle 8, 16 and 64 bytes."""
    word = "abcdefghijklmnopqrstuvwxyz"[:7] * 20
    for shift in (0, 1, 7, 50, 57, 63):
        for tail in ("", "é", "9"):
            text = "x" * shift + " " + word[:length].upper() + tail + " z"
            expected = [*(["x" * shift] if shift else []), word[:length] + {"": "", "é": "e", "9": "0"}[tail], "z"]
            assert hashes_of(text) == [hash_of(w) for w in expected]


def test_every_character() -> None:
    """Each character of Unicode 14 alone, after letters, between digits, and next to a character that is a word."""
    if not AT_14:
        pytest.skip("this Python follows another version of Unicode than the tables")
    assigned = [c for c in map(chr, range(0x110000)) if unicodedata.category(c) not in ("Cn", "Cs", "Co")]
    rare = [c for c in assigned if not 0x3400 <= ord(c) <= 0x9FFF and not 0x17000 <= ord(c) <= 0x18CFF and not 0x20000 <= ord(c) <= 0x2F7FF]
    lines = [f"{c} ab{c}cd 1{c}2 1.{c} ก{c}" for c in rare if not 0xAC00 < ord(c) < 0xD780]
    text = "\n".join(lines)
    assert hashes_of(text) == [hash_of(w) for w in folded(text)]


ALPHABET = "abcXYZabc 019.,،٫-'\u0301\u0308กาึကိံ一が한éİßΣσς≠１٣\u200d\n’—αя"


@settings(max_examples=400, deadline=None)
@given(
    st.text(st.one_of(st.sampled_from(ALPHABET), st.characters(exclude_categories=["Cs", "Cn", "Co"], max_codepoint=0x2FFFF)), max_size=150)
)
def test_any_text_is_as_the_twin_says(text: str) -> None:
    if not AT_14:
        text = "".join(c for c in text if c in ALPHABET)
    assert hashes_of(text) == [hash_of(w) for w in folded(text)]


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=100))
def test_composition_does_not_matter(text: str) -> None:
    if AT_14:
        assert hashes_of(unicodedata.normalize("NFD", text)) == hashes_of(text)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_bytes_that_are_no_text_do_no_harm(content: bytes) -> None:
    data = np.frombuffer(content, np.uint8)
    room = len(content) + 1
    hashes, starts, ends = np.zeros(room, np.uint64), np.zeros(room, np.int64), np.zeros(room, np.int64)
    n = fold_words(data, 0, len(content), fold_tables(), hashes, starts, ends)
    assert 0 <= n < room
    assert np.all(starts[:n] < ends[:n]) and np.all(ends[:n] <= len(content))


def test_in_pieces_as_in_one() -> None:
    """``fold_some`` stopped again and again gives what ``fold_words`` gives."""
    text = "\n".join("\n".join(texts[:20]) for texts in real_texts().values())
    data = np.frombuffer(text.encode(), np.uint8)
    hashes, starts, ends = np.zeros(100, np.uint64), np.zeros(100, np.int64), np.zeros(100, np.int64)
    at, found = 0, []
    while at < len(data):
        n, at = fold_some(data, at, len(data), fold_tables(), hashes, starts, ends, 0)
        found += hashes[:n].tolist()
    assert found == hashes_of(text)


def test_real_text_is_as_the_twin_says() -> None:
    """Every domain, every language."""
    if not AT_14:
        pytest.skip("this Python follows another version of Unicode than the tables")
    seen: dict[int, str] = {}
    for name, texts in real_texts().items():
        text = "\n\n".join(texts)[:300_000]
        words = folded(text)
        assert hashes_of(text) == [hash_of(w) for w in words], name
        for word in set(words):
            assert seen.setdefault(hash_of(word), word) == word


def test_latin_text_is_as_datatrove_says() -> None:
    """Documents of Latin letters: the words of datatrove's own normaliser, split at white space."""
    simplify_text = pytest.importorskip("datatrove.utils.text").simplify_text
    n_words = n_ascii = 0
    for texts in real_texts().values():
        for text in texts:
            letters = {c for c in text if c > "\x7f" and c.isalpha()}
            if len(text) > 50_000 or "≠" in text or not all(unicodedata.name(c, "").startswith("LATIN") for c in letters):
                continue
            words = simplify_text(text).split()
            assert hashes_of(text) == [hash_of(w) for w in words]
            n_words += len(words)
            n_ascii += text.isascii()
    assert n_words > 100_000
    assert n_ascii > 100
