"""The ngram_perplexity scorer: units, nulls, the fit sample, buckets, CCNet's form, settings that cannot be."""

from __future__ import annotations

import math
import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from curate.documents import doc_ids
from curate.errors import ConfigError, InputError
from curate.ngram import ccnet, kenlm_binary
from curate.scorers.ngram_perplexity import NgramPerplexity

SMALL = Path(__file__).parents[2] / "shared" / "data" / "ci_small"
needs_data = pytest.mark.skipif(not SMALL.exists(), reason=f"real text is absent: {SMALL}")

# Every word has probability 1/8 in any context.
UNIFORM = "\\data\\\nngram 1=4\n\n\\1-grams:\n-0.90309\t<unk>\n0\t<s>\n-0.90309\t</s>\n-0.90309\ta\n\n\\end\\\n"


def rows(*texts: str | None) -> pa.RecordBatch:
    text = pa.array(texts, pa.large_string())
    return pa.record_batch([text, doc_ids(text.fill_null(""))], names=["text", "doc_id"])


@pytest.fixture
def uniform(tmp_path: Path) -> str:
    path = tmp_path / "uniform.arpa"
    path.write_text(UNIFORM)
    return str(path)


def fitted(state: Path, sample: pa.RecordBatch, **options) -> NgramPerplexity:
    state.mkdir()
    scorer = NgramPerplexity(**options)
    scorer.check()
    scorer.fit(pa.Table.from_batches([sample]), state)
    scorer.load(state)
    return scorer


def sentences(n: int) -> list[str]:
    """n different documents over few words."""
    words = ["the", "cat", "dog", "sat", "ran", "on", "a", "mat"]
    return [" ".join(words[(i * k + k * k) % 8] for k in range(1, 4 + i % 9)) + f" n{i % 40}" for i in range(n)]


def test_units_and_nulls(uniform):
    scorer = NgramPerplexity(model=uniform)
    scorer.check()
    assert scorer.sample() is None
    scorer.load(None)
    scored = scorer.score(rows("a a\nzz é", None, "", "a"))
    assert scored.schema == scorer.outputs
    bits, nats = 3.0, 3.0 * math.log(2)
    expected = {
        "nats": [6 * nats, None, nats, 2 * nats],
        "n_predicted": [6, None, 1, 2],
        "n_oov": [2, None, 0, 0],
        "perplexity": [8.0, None, 8.0, 8.0],
        "bpb": [6 * bits / 9, None, None, 2 * bits],
    }
    for name, values in expected.items():
        assert scored[name].is_valid().to_pylist() == [v is not None for v in values], name
        assert scored[name].drop_null().to_pylist() == pytest.approx([v for v in values if v is not None], rel=1e-6), name
    assert scored["in_fit_sample"].to_pylist() == [False, None, False, False]
    assert scorer.score(rows()).num_rows == 0


def test_documents_of_the_fit_sample_are_recognised(tmp_path):
    known, other = sentences(50), ["never seen", "the cat"]
    scorer = fitted(tmp_path / "s", rows(*known), order=3)
    assert scorer.score(rows(*other, *known))["in_fit_sample"].to_pylist() == [False] * 2 + [True] * 50


def test_fit_writes_the_same_bytes_for_the_sample_in_any_order(tmp_path):
    fitted(tmp_path / "one", rows(*sentences(60)), order=3, bucket_percentiles=(30, 60))
    fitted(tmp_path / "two", rows(*sentences(60)[::-1]), order=3, bucket_percentiles=(30, 60))
    names = sorted(p.name for p in (tmp_path / "one").iterdir())
    assert names == ["fit_ids.npy", "ngram.json", "ngram_edges.npy", "ngram_nodes.npy", "ngram_vocabulary.npy"]
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name


def test_a_fitted_folder_serves_as_model(tmp_path):
    scorer = fitted(tmp_path / "s", rows(*sentences(50)), order=3)
    again = NgramPerplexity(model=str(tmp_path / "s"))
    again.check()
    again.load(None)
    assert len(again.artifacts()) == 5
    batch = rows(*sentences(20), "else")
    assert again.score(batch).equals(scorer.score(batch))
    with pytest.raises(ConfigError, match="lines"):
        NgramPerplexity(model=str(tmp_path / "s"), lines="document").check()
    with pytest.raises(InputError, match="no learned"):
        NgramPerplexity(model=str(tmp_path)).check()


def test_survives_pickling_and_needs_loading(tmp_path):
    scorer = pickle.loads(pickle.dumps(fitted(tmp_path / "s", rows(*sentences(50)), order=2)))
    with pytest.raises(ConfigError, match="not loaded"):
        scorer.score(rows("a"))
    scorer.load(tmp_path / "s")
    assert scorer.score(rows("the cat"))["n_oov"].to_pylist() == [0]


def test_buckets_by_cutoffs(uniform, tmp_path):
    names = []
    for cutoffs in ((9.0, 10.0), (7.0, 9.0), (6.0, 7.0)):
        scorer = NgramPerplexity(model=uniform, bucket_cutoffs=cutoffs)
        scorer.load(None)
        names.append(scorer.score(rows("a", None))["bucket"].to_pylist())
    assert names == [["head", None], ["middle", None], ["tail", None]]
    assert ccnet.buckets(np.array([1.0, 2.0, 3.0]), (2.0, 3.0)).to_pylist() == ["head", "middle", "tail"]


def test_buckets_by_percentiles_use_documents_kept_aside(tmp_path):
    documents = sorted(set(sentences(4000)))
    scorer = fitted(tmp_path / "s", rows(*documents), order=3, bucket_percentiles=(30, 60))
    scored = scorer.score(rows(*documents))
    aside = [not seen for seen in scored["in_fit_sample"].to_pylist()]
    assert 0.03 < np.mean(aside) < 0.1
    buckets = [b for b, out in zip(scored["bucket"].to_pylist(), aside, strict=True) if out]
    assert buckets.count("head") == pytest.approx(0.3 * len(buckets), abs=1)
    assert buckets.count("tail") == pytest.approx(0.4 * len(buckets), abs=1)
    with pytest.raises(InputError, match="percentiles"):
        fitted(tmp_path / "t", rows("a b", "c"), bucket_percentiles=(30, 60))


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("  Hello World \n", "hello world"),
        ("In 1984, 3.14", "in 0000, 0.00"),
        ("Café Ångström ñ İ", "cafe angstrom n i"),
        ("line\none\ttwo\x85\x7f", "lineonetwo"),
        ("“quoted” ‘left’ it’s", "\"quoted\" ‘left' it's"),
        ("a—b–c…", "a - b-c..."),
        ("你好，世界。１２٣", "你好,世界.000"),
        ("（A）：【b】％～", "(a):[b]%~"),
        ("《书》「名」", '"书""名"'),
        ("  ", ""),
    ],
)
def test_ccnet_form(text, form):
    assert ccnet.normalise(text) == form


def test_ccnet_form_is_learned_and_scored_but_bytes_are_the_document_s(tmp_path):
    scorer = fitted(tmp_path / "s", rows("CAFÉ 12", "cafe 99 cafe"), order=2, normalise="ccnet")
    scored = scorer.score(rows("Café 47", None))
    assert scored["n_oov"].to_pylist() == [0, None]
    assert scored["bpb"][0].as_py() == pytest.approx(scored["nats"][0].as_py() / math.log(2) / 8)
    assert scorer.score(rows("cafe\n12"))["n_predicted"].to_pylist() == [2]


@pytest.mark.parametrize(
    "options",
    [
        {"order": 0},
        {"sample_bytes": 0},
        {"min_count": 0},
        {"prune": (1,)},
        {"prune": (0, 2, 1)},
        {"prune": ()},
        {"lines": "words"},
        {"normalise": "nfc"},
        {"bucket_cutoffs": (2.0, 1.0)},
        {"bucket_percentiles": (30, 100)},
        {"bucket_percentiles": (30, 60), "bucket_cutoffs": (1.0, 2.0)},
    ],
)
def test_settings_that_cannot_be(options):
    with pytest.raises(ConfigError) as caught:
        NgramPerplexity(**options).check()
    assert caught.value.fix
    assert caught.value.expected


def test_models_that_cannot_be_read(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="does not exist"):
        NgramPerplexity(model=str(tmp_path / "absent.arpa")).check()
    binary = tmp_path / "m.bin"
    binary.write_bytes(b"mmap lm http://kheafield.com/code format version 5\n\0 cut")
    monkeypatch.setattr(kenlm_binary.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="kenlm package"):
        NgramPerplexity(model=str(binary)).check()


@needs_data
def test_real_text_reads_more_like_its_own_kind(tmp_path):
    """A model of one novel finds the other novel likelier than a list of its own words in alphabetical order."""
    halves = [
        (SMALL / "books" / name).read_text(encoding="utf-8-sig").split("\n\n") for name in ("Ford_Girl_1907.txt", "Ward_Milly_1881.txt")
    ]
    scorer = fitted(tmp_path / "s", rows(*halves[0]), order=4)
    real = [p for p in halves[1] if len(p) > 400]
    jumbled = [" ".join(sorted(p.split())) for p in real]
    a, b = (scorer.score(rows(*kind))["bpb"].to_numpy() for kind in (real, jumbled))
    assert (a < b).mean() > 0.95
    whole = scorer.score(rows(*real))
    parts = pa.Table.from_batches([scorer.score(rows(*real[i : i + 3])) for i in range(0, len(real), 3)])
    assert pa.Table.from_batches([whole]).equals(parts.combine_chunks())
