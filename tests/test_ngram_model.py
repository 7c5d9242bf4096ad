"""ARPA files and the scoring automaton: hand-computed cases, a dictionary oracle, corrupt files, KenLM."""

from __future__ import annotations

import gzip
import importlib.util
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.documents import read_only
from curate.errors import InputError
from curate.ngram import arpa
from curate.ngram.arpa import Level, NgramRows
from curate.ngram.kenlm_binary import KenlmModel
from curate.ngram.kneser_ney import estimate
from curate.ngram.model import NgramModel, compile_model

SMALL = Path(__file__).parents[2] / "shared" / "data" / "ci_small"
needs_data = pytest.mark.skipif(not SMALL.exists(), reason=f"real text is absent: {SMALL}")
needs_kenlm = pytest.mark.skipif(importlib.util.find_spec("kenlm") is None, reason="the kenlm package is not installed")

HAND = """\\data\\
ngram 1=5
ngram 2=4

\\1-grams:
-1.0\t<unk>\t0
0\t<s>\t-0.5
-0.9\t</s>
-0.6\ta\t-0.3
-0.7\tb\t-0.2

\\2-grams:
-0.2\t<s> a
-0.4\ta b
-0.3\tb </s>
-0.8\tb a

\\end\\
"""


def texts(*rows: str) -> pa.Array:
    return pa.array(rows, pa.large_string())


def book() -> pa.Array:
    """Paragraphs of a novel, as documents."""
    text = (SMALL / "books" / "Ward_Milly_1881.txt").read_text(encoding="utf-8-sig")
    return pa.array([p for p in text.split("\n\n") if p.strip()], pa.large_string())


def learned(text: pa.Array, **options) -> NgramRows:
    data = "\n".join(text.to_pylist()).encode()
    return estimate(read_only(np.frombuffer(data, np.uint8)), np.array([0, len(data)]), by_line=True, **options).rows


@pytest.fixture
def hand(tmp_path: Path) -> Path:
    path = tmp_path / "hand.arpa"
    path.write_text(HAND)
    return path


# -0.4-0.3 after <s> a: -0.9.  "b a": backoff(<s>)+b, b a, backoff(a)+</s> = (-.5-.7) + -.8 + (-.3-.9) = -3.2.
# "a c": -.2 + (-.3-1.0) + (0-.9) = -2.4.  "": -.5-.9 = -1.4.  One line "a b b a": -.2-.4+(-.2-.7)-.8+(-.3-.9) = -3.5.
@pytest.mark.parametrize(
    ("text", "log10_p", "n_predicted", "n_oov"),
    [
        ("a b", -0.9, 3, 0),
        ("b a", -3.2, 3, 0),
        ("a c", -2.4, 3, 1),
        ("", -1.4, 1, 0),
        ("a b\nb a", -4.1, 6, 0),
        ("a b b a", -3.5, 5, 0),
        ("\n \n\r\n", -1.4, 1, 0),
        ("\n\na b\n\n", -0.9, 3, 0),
        ("\ta\0b\v\f\r", -0.9, 3, 0),
        ("<s>", -1.0 - 0.5 - 0.9, 2, 1),
        ("a </s> <unk>", -0.2 - 1.3 - 1.0 - 0.9, 4, 2),
    ],
)
def test_hand_cases(hand, text, log10_p, n_predicted, n_oov):
    p, n, oov = compile_model(arpa.read(hand)).score(texts(text), by_line=True)
    assert p[0] == pytest.approx(log10_p, abs=1e-6)
    assert (n[0], oov[0]) == (n_predicted, n_oov)


def test_perplexities_of_hand_cases(hand):
    p, n, _ = compile_model(arpa.read(hand)).score(texts("a b", "b a", "a c", "", "a b\nb a", "a b b a"), by_line=True)
    assert 10 ** (-p / n) == pytest.approx([1.995262, 11.659144, 6.309573, 25.118864, 4.823179, 5.011872], rel=1e-6)


def test_document_mode_takes_newlines_for_spaces(hand):
    model = compile_model(arpa.read(hand))
    assert model.score(texts("a\nb\n\nb a"), by_line=False)[0] == model.score(texts("a b b a"), by_line=True)[0]


def test_a_model_without_unk_gives_unknown_words_the_kenlm_default(hand):
    hand.write_text(HAND.replace("-1.0\t<unk>\t0\n", "").replace("1=5", "1=4"))
    assert compile_model(arpa.read(hand)).score(texts("c"), by_line=True)[0][0] == pytest.approx(-0.5 - 100 - 0.9)


def test_uniform_model_gives_its_vocabulary_size():
    words = pa.array([b"<unk>", b"<s>", b"</s>", b"a", b"b"], pa.large_binary())
    level = Level(np.arange(5, dtype=np.int32)[:, None], np.full(5, -np.log10(4), np.float32), np.zeros(5, np.float32))
    p, n, _ = compile_model(NgramRows(words, (level,))).score(texts("a b zz b\na", ""), by_line=True)
    assert 10 ** (-p / n) == pytest.approx(4.0)


@pytest.mark.parametrize("name", ["m.arpa", "m.arpa.gz"])
def test_write_then_read_gives_the_same_rows_and_bytes(hand, tmp_path, name):
    rows = arpa.read(hand)
    arpa.write(rows, tmp_path / name)
    arpa.write(arpa.read(tmp_path / name), tmp_path / f"again-{name}")
    assert (tmp_path / name).read_bytes() == (tmp_path / f"again-{name}").read_bytes()
    again = arpa.read(tmp_path / name)
    assert again.words == rows.words
    for a, b in zip(rows.levels, again.levels, strict=True):
        for one, other in zip(vars(a).values(), vars(b).values(), strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("-0.4\ta b", "-0.4\ta q", "line 14"),
        ("-0.4\ta b", "x\ta b", "line 14"),
        ("-0.4\ta b", "-0.4\ta", "line 14"),
        ("-0.4\ta b", "-0.4\ta b -0.1 -0.2", "line 14"),
        ("-0.4\ta b", "0.4\ta b", "line 14"),
        ("-0.6\ta", "-0.6\tb", "line 10"),
        ("-0.8\tb a\n", "", "fewer rows"),
        ("-0.8\tb a\n", "-0.8\tb a\n-0.8\ta a\n", "line 17"),
        ("-0.8\tb a\n", "-0.8\ta b\n", "listed twice"),
        ("\\end\\\n", "", "\\end\\"),
        ("\\2-grams:\n", "", "\\2-grams:"),
        ("ngram 2=4", "ngram 3=4", "line 3"),
        ("\\data\\", "data", "\\data\\"),
        ("-0.9\t</s>\n", "-0.9\tc\n", "</s>"),
    ],
)
def test_corrupt_files_are_told_with_their_line(hand, old, new, said):
    hand.write_text(HAND.replace(old, new))
    with pytest.raises(InputError) as caught:
        compile_model(arpa.read(hand))
    assert said in str(caught.value)


def test_missing_and_cut_files(hand, tmp_path):
    with pytest.raises(InputError):
        arpa.read(tmp_path / "absent.arpa")
    cut = tmp_path / "cut.arpa.gz"
    cut.write_bytes(gzip.compress(HAND.encode())[:-20])
    with pytest.raises(InputError, match="gzip"):
        arpa.read(cut)


def test_context_that_is_not_listed(hand):
    trigram = HAND.replace("ngram 2=4\n", "ngram 2=4\nngram 3=1\n").replace("\\end\\", "\\3-grams:\n-0.1\ta a b\n\n\\end\\")
    hand.write_text(trigram)
    with pytest.raises(InputError, match="context is not listed") as caught:
        compile_model(arpa.read(hand))
    assert "a a b" in str(caught.value)


def test_numbers_in_every_spelling(hand):
    for spelling, value in {
        "-4e-1": -0.4,
        "-.4": -0.4,
        "-0.40000000000000000000001": -0.4,
        "-40E-2": -0.4,
        "-0": 0.0,
        "-1e-30": -1e-30,
    }.items():
        hand.write_text(HAND.replace("-0.4\ta b", f"{spelling}\ta b"))
        assert arpa.read(hand).levels[1].log10_p_R[1] == np.float32(value)


WORDS = ["a", "b", "c"]


@st.composite
def models(draw) -> dict[tuple[str, ...], tuple[float, float]]:
    """A back-off model with every context listed, but not every suffix."""
    value = st.floats(-3, 0, width=32)
    backoff = st.one_of(st.just(0.0), value)
    model = {(w,): (draw(value), draw(backoff)) for w in ["<unk>", "<s>", "</s>", *WORDS]}
    for n in (2, 3, 4):
        contexts = sorted(gram for gram in model if len(gram) == n - 1 and gram[-1] != "</s>")
        if not contexts:
            break
        for gram in draw(
            st.lists(st.tuples(st.sampled_from(contexts), st.sampled_from([*WORDS, "</s>", "<unk>"])), max_size=8, unique=True)
        ):
            model[(*gram[0], gram[1])] = (draw(value), draw(backoff) if n < 4 else 0.0)
    return model


def as_rows(model: dict[tuple[str, ...], tuple[float, float]]) -> NgramRows:
    names = [gram[0] for gram in model if len(gram) == 1]
    levels = []
    for n in range(1, max(map(len, model)) + 1):
        grams = [gram for gram in model if len(gram) == n]
        ids = np.array([[names.index(w) for w in gram] for gram in grams], np.int32).reshape(-1, n)
        levels.append(Level(ids, *(np.array([model[g][i] for g in grams], np.float32) for i in (0, 1))))
    return NgramRows(pa.array([w.encode() for w in names], pa.large_binary()), tuple(levels))


def oracle(model: dict[tuple[str, ...], tuple[float, float]], context: tuple[str, ...], word: str) -> float:
    """p(word | context) by the definition of the format."""
    if (*context, word) in model:
        return model[(*context, word)][0]
    return model.get(context, (0, 0.0))[1] + oracle(model, context[1:], word)


@settings(max_examples=150, deadline=None)
@given(models(), st.lists(st.lists(st.sampled_from([*WORDS, "zz"]), min_size=1, max_size=8), min_size=1, max_size=40))
def test_automaton_agrees_with_the_definition(model, sentences):
    expected = []
    order = max(map(len, model))
    for words in sentences:
        history, total = ["<s>"], 0.0
        for word in [*(w if w in WORDS else "<unk>" for w in words), "</s>"]:
            total += oracle(model, tuple(history[max(0, len(history) - order + 1) :]), word)
            history.append(word)
        expected.append(total)
    compiled = compile_model(as_rows(model))
    rows = texts(*(" ".join(s) for s in sentences))
    np.testing.assert_allclose(compiled.score(rows, by_line=True)[0], expected, atol=1e-5)
    together = compiled.score(texts("\n".join(rows.to_pylist())), by_line=True)[0]
    np.testing.assert_allclose(together, sum(expected), atol=1e-4)


@needs_data
def test_saved_tables_score_the_same_bits_in_any_batch(tmp_path):
    text = book()
    model = compile_model(learned(text.slice(0, 200), order=4, prune=(0, 0, 1)))
    model.save(tmp_path)
    mapped = NgramModel.load(tmp_path)
    whole = model.score(text, by_line=True)[0]
    pieces = [mapped.score(text.slice(i, 7), by_line=True)[0] for i in range(0, len(text), 7)]
    np.testing.assert_array_equal(whole, np.concatenate(pieces))
    (tmp_path / "ngram_edges.npy").write_bytes(b"nonsense")
    with pytest.raises(InputError, match="ngram_edges"):
        NgramModel.load(tmp_path)


@needs_data
@needs_kenlm
@pytest.mark.parametrize("order", [2, 5])
def test_kenlm_scores_the_same_file_the_same(tmp_path, order):
    text = book()
    path = tmp_path / "m.arpa"
    arpa.write(learned(text.slice(0, 250), order=order, prune=(0, 0, 1)), path)
    ours = compile_model(arpa.read(path))
    rows = pa.array([*text.to_pylist()[200:], "", "a \0 b", "<s> the </s> <unk> of", "\n\n"], pa.large_string())
    for by_line in (True, False):
        for mine, theirs in zip(ours.score(rows, by_line=by_line), KenlmModel(path).score(rows, by_line=by_line), strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=1e-4)
