"""Kneser-Ney estimation: a model worked by hand, lmplz's own numbers, probabilities that sum to 1, order independence."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.documents import read_only
from curate.errors import InputError
from curate.ngram import arpa
from curate.ngram.kneser_ney import FALLBACK_DISCOUNTS, Estimate, estimate
from curate.ngram.model import compile_model

SMALL = Path(__file__).parents[2] / "shared" / "data" / "ci_small"
needs_data = pytest.mark.skipif(not SMALL.exists(), reason=f"real text is absent: {SMALL}")


def learn(*documents: str, order: int, by_line: bool = True, **options) -> Estimate:
    raw = [d.encode() for d in documents]
    bounds = np.cumsum([0, *map(len, raw)]).astype(np.int64)
    return estimate(read_only(np.frombuffer(b"".join(raw), np.uint8)), bounds, order=order, by_line=by_line, **options)


def listed(learned: Estimate) -> dict[str, tuple[float, float]]:
    """n-gram -> (p, back-off weight)."""
    words = [w.decode() for w in learned.rows.words.to_pylist()]
    table = {}
    for level in learned.rows.levels:
        for ids, p, b in zip(level.words_R, level.log10_p_R.astype(float), level.log10_backoff_R.astype(float), strict=True):
            table[" ".join(words[i] for i in ids)] = (10**p, 10**b)
    return table


def test_worked_by_hand():
    # Sentences "a b" and "a". a(w) of unigrams = distinct words before: a {<s>} 1, b {a} 1, </s> {a, b} 2; sum 4.
    # No unigram has a = 3, so D = .5, 1, 1.5. gamma = (.5 + .5 + 1)/4 = .5; uniform over <unk> </s> a b = 1/4.
    #   p(<unk>) = .5/4 = .125, p(a) = p(b) = (1-.5)/4 + .125 = .25, p(</s>) = (2-1)/4 + .125 = .375.
    # Bigrams by raw count: <s> a 2, a b 1, a </s> 1, b </s> 1; again the fallback.
    #   gamma(<s>) = 1/2, p(a|<s>) = (2-1)/2 + .5*.25 = .625.  gamma(a) = (.5+.5)/2 = .5, p(b|a) = .25 + .5*.25 = .375,
    #   p(</s>|a) = .25 + .5*.375 = .4375.  gamma(b) = .5, p(</s>|b) = .5 + .5*.375 = .6875.
    learned = learn("a b\na", order=2)
    assert learned.fell_back == (1, 2)
    expected = {
        "<unk>": (0.125, 1),
        "<s>": (1, 0.5),
        "</s>": (0.375, 1),
        "a": (0.25, 0.5),
        "b": (0.25, 0.5),
        "<s> a": (0.625, 1),
        "a b": (0.375, 1),
        "a </s>": (0.4375, 1),
        "b </s>": (0.6875, 1),
    }
    found = listed(learned)
    assert found.keys() == expected.keys()
    for gram, values in expected.items():
        assert found[gram] == pytest.approx(values, rel=1e-6), gram


TINY = "a b a b c\nb a c a\nc c b a b\na d\nthe a b c\n"

# lmplz of KenLM 0.3.0 on TINY with --discount_fallback: "log10 p, words, log10 back-off".
LMPLZ_2 = """
-1.2304488 <unk> 0|0 <s> -0.17609128|-0.68638086 </s> 0|-0.68638086 a -0.47712132|-0.8325089 b -0.41017452|-0.68638086 c -0.17609128
-1.0543576 d -0.17609128|-1.0543576 the -0.17609128|-0.93462014 a </s>|-0.8676733 b </s>|-0.567691 c </s>|-0.3273589 d </s>
-0.567691 <s> a|-0.2802464 b a|-0.6905368 c a|-0.3273589 the a|-0.78329086 <s> b|-0.24197492 a b|-0.78329086 c b|-0.6905368 <s> c
-0.93462014 a c|-0.7185656 b c|-0.6905368 c c|-1.1133355 a d|-0.9013902 <s> the
"""
_LMPLZ_UNIGRAMS = """
-1.2304488 <unk> 0|0 <s> -0.30103|-0.68638086 </s> 0|-0.68638086 a -0.30103|-0.8325089 b -0.30103|-0.68638086 c -0.30103
-1.0543576 d -0.30103|-1.0543576 the -0.30103|"""
LMPLZ_3 = f"""{_LMPLZ_UNIGRAMS}-0.72984654 a </s> 0|-0.6926298 b </s> 0|-0.6421772 c </s> 0|-0.21972507 d </s> 0
-0.51864165 <s> a -0.30103|-0.39475834 b a -0.30103|-0.6421772 c a -0.30103|-0.21972507 the a -0.30103|-0.7606269 <s> b -0.30103
-0.49008623 a b -0.30103|-0.70217514 c b -0.30103|-0.6926298 <s> c -0.30103|-0.72984654 a c -0.30103|-0.6926298 b c -0.30103
-0.6421772 c c -0.30103|-0.8946568 a d -0.30103|-0.84128284 <s> the -0.30103
-0.2268448 c a </s>|-0.6449882 a b </s>|-0.21185245 b c </s>|-0.096112415 a d </s>|-0.15399052 <s> b a|-0.48615593 a b a
-0.15399052 c b a|-0.21185245 a c a|-0.096112415 <s> the a|-0.38535088 <s> a b|-0.3053088 b a b|-0.17929637 the a b
-0.22238128 c c b|-0.58535427 b a c|-0.454111 a b c|-0.21185245 <s> c c|-0.50345016 <s> a d
"""
LMPLZ_3_PRUNED = f"""{_LMPLZ_UNIGRAMS}-0.72984654 a </s> 0|-0.6926298 b </s> 0|-0.6421772 c </s> 0|-0.21972507 d </s> 0
-0.51864165 <s> a 0|-0.39475834 b a -0.17609124|-0.6421772 c a 0|-0.21972507 the a 0|-0.7606269 <s> b 0
-0.49008623 a b -0.12493875|-0.70217514 c b 0|-0.6926298 <s> c 0|-0.72984654 a c 0|-0.6926298 b c -0.30103
-0.6421772 c c 0|-0.8946568 a d 0|-0.84128284 <s> the 0|-0.21185245 b c </s>|-0.26041213 b a b|-0.3955516 a b c
"""


@pytest.mark.parametrize(
    ("order", "prune", "golden", "fell_back"),
    [(2, (0,), LMPLZ_2, (1,)), (3, (0,), LMPLZ_3, (1, 2, 3)), (3, (0, 0, 1), LMPLZ_3_PRUNED, (1, 2, 3))],
)
def test_agrees_with_lmplz(order, prune, golden, fell_back):
    learned = learn(TINY, order=order, prune=prune)
    found = listed(learned)
    entries = [entry.split() for entry in golden.replace("\n", "|").split("|") if entry]
    assert len(entries) == len(found)
    for first, *rest in entries:
        has_backoff = rest[-1].lstrip("-").replace(".", "").isdigit()
        p, backoff = found[" ".join(rest[:-1] if has_backoff else rest)]
        assert np.log10(p) == pytest.approx(float(first), abs=2e-6), rest
        assert np.log10(backoff) == pytest.approx(float(rest[-1]) if has_backoff else 0.0, abs=2e-6), rest
    if order == 2:
        assert learned.discounts == pytest.approx(np.array([FALLBACK_DISCOUNTS, (2 / 3, 4 / 3, 1 / 3)]))
    assert learned.fell_back == fell_back


def probability(table: dict[str, tuple[float, float]], context: tuple[str, ...], word: str) -> float:
    if " ".join((*context, word)) in table:
        return table[" ".join((*context, word))][0]
    return table.get(" ".join(context), (0, 1.0))[1] * probability(table, context[1:], word)


sentence = st.lists(st.sampled_from(["a", "b", "c", "d", "e", "<s>", "<unk>"]), min_size=1, max_size=8).map(" ".join)


@settings(max_examples=60, deadline=None)
@given(st.lists(sentence, min_size=1, max_size=12), st.integers(1, 4), st.sampled_from([(0,), (0, 1), (0, 0, 1, 2)]), st.integers(1, 3))
def test_every_context_sums_to_one(sentences, order, prune, min_count):
    learned = learn("\n".join(sentences), order=order, prune=prune, min_count=min_count)
    table = listed(learned)
    predicted = [w.decode() for w in learned.rows.words.to_pylist() if w != b"<s>"]
    contexts = {()} | {tuple(gram.split()) for gram in table if len(gram.split()) < order and not gram.endswith("</s>")}
    for context in contexts:
        assert sum(probability(table, context, word) for word in predicted) == pytest.approx(1.0, abs=1e-5), context


@settings(max_examples=30, deadline=None)
@given(st.lists(sentence, min_size=1, max_size=10), st.randoms(use_true_random=False))
def test_the_order_of_documents_does_not_matter(documents, random):
    shuffled = random.sample(documents, len(documents))
    one, other = learn(*documents, order=3), learn(*shuffled, order=3)
    assert one.rows.words == other.rows.words
    for a, b in zip(one.rows.levels, other.rows.levels, strict=True):
        assert [v.tobytes() for v in vars(a).values()] == [v.tobytes() for v in vars(b).values()]


def test_lines_and_documents_as_sentences():
    assert listed(learn("a b\n\n a\n", order=2)) == listed(learn("a\tb", "a", "", order=2, by_line=False))
    # Words at the edge of neighbouring documents stay apart.
    assert {"ab", "cd"} <= listed(learn("x ab", "cd", order=1)).keys()


def test_rare_words_and_spelt_markers_are_learned_as_unknown():
    table = listed(learn("a a b\na <s> a", order=2, min_count=2))
    assert "b" not in table
    assert {"a <unk>", "<unk> a", "<unk> </s>"} <= table.keys()
    assert "a <s>" not in table


def test_text_without_words_is_an_error():
    with pytest.raises(InputError, match="no word"):
        learn(" \n", "", order=3)


@needs_data
def test_real_text_counts_as_a_dictionary_does(tmp_path):
    """Highest-order maximum shares on a novel: raw counts recomputed with Python dictionaries, D and gamma from them."""
    text = (SMALL / "books" / "Ford_Girl_1907.txt").read_text(encoding="utf-8-sig")[:200_000]
    learned = learn(text, order=2)
    assert not learned.fell_back
    counts: dict[tuple[str, str], int] = {}
    for line in io.StringIO(text, newline="\n"):
        words = line.encode().split()
        for pair in zip(["<s>", *(w.decode() for w in words)], [*(w.decode() for w in words), "</s>"], strict=True) if words else ():
            counts[pair] = counts.get(pair, 0) + 1
    table = listed(learned)
    assert {f"{a} {b}" for a, b in counts} == {gram for gram in table if " " in gram}
    total: dict[str, int] = {}
    for (context, _), n in counts.items():
        total[context] = total.get(context, 0) + n
    for (context, word), n in list(counts.items())[::50]:
        share = (n - learned.discounts[1][min(n, 3) - 1]) / total[context]
        assert table[f"{context} {word}"][0] == pytest.approx(share + table[context][1] * table[word][0], rel=1e-4)
    arpa.write(learned.rows, tmp_path / "m.arpa")
    reread = compile_model(arpa.read(tmp_path / "m.arpa"))
    direct = compile_model(learned.rows)
    assert len(reread.nodes) == len(direct.nodes)
