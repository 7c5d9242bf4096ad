"""The report: every section, escaped text, the same bytes twice, corpora that are only begun; and the sums behind the plots."""

from __future__ import annotations

import importlib
import json
import re
import shutil
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate import plots
from curate.corpus import Corpus
from curate.errors import ConfigError, InputError
from curate.plots import accounts, figures, theme
from curate.plots.distributions import Distribution, distributions, edges, numeric_columns, shown_domains
from curate.plots.hexagons import hexagons, outline
from curate.report import SECTIONS, report
from curate.report.page import Html, table, tag, text
from pipelines import configuration, lines, run, texts

EVIL = "<script>alert(\"1\")</script> & $x^2$ 'q'"
JUDGES = [
    {"tokens": {"vocab_size": 300, "sample_bytes": 20_000}},
    {"ngram_perplexity": {"name": "ref", "order": 3, "sample_bytes": 6_000}},
    {"ngram_perplexity": {"name": "cheap", "order": 1, "sample_bytes": 3_000}},
    {"agreement": {"columns": ["ref.bpb", "cheap.bpb"], "leave_out": ["ref.in_fit_sample"]}},
]
RULES = [
    {"column": "n_bytes", "min": 60, "reason": "length"},
    {"column": "ref.bpb", "window": "medium", "rate": 0.5, "reason": "perplexity"},
    {"column": "cheap.bpb", "window": [0.1, 0.9], "within": "domain", "reason": "odd"},
]


class Reader(HTMLParser):
    """Elements of a page, with their nesting checked."""

    VOID = frozenset({"meta", "br"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.open += [] if tag in self.VOID else [tag]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def losses() -> pa.Table:
    step = np.arange(1, 30)
    return pa.table({"step": step, "tokens": step * 512, "loss": 3 + 5 / step, "learning_rate": 1e-3 / step})


@pytest.fixture(scope="module")
def judged(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished corpus with two judges, ranking rules, copies, and a domain whose name is markup."""
    folder = tmp_path_factory.mktemp("report")
    (folder / "evil.jsonl").write_bytes(lines(texts(30, 9)))
    (folder / "copies.jsonl").write_bytes(lines(texts(30, 9)[:10]) + b"{broken\n")
    sources = [{"path": str(raw), "domain": {"directory": 0}}]
    sources += [{"path": str(folder / f"{name}.jsonl"), "domain": EVIL} for name in ("evil", "copies")]
    ingest = {"shard_bytes": 12_000, "split_bytes": 6_000, "max_bad_fraction": 0.1, "sources": sources}
    output = folder / "out"
    run(configuration(raw, output, ingest=ingest, score=JUDGES, select=RULES, dedup={"exact": True}))
    pq.write_table(losses(), output / "models" / "ref" / "losses.parquet")
    return output


@pytest.fixture(scope="module")
def page(judged: Path) -> str:
    return report(Corpus.open(str(judged)))


def test_every_section_is_there(page):
    read = Reader(page)
    assert read.open == []
    # Of mixers of documents: tests/test_samplemix_pipeline.py. Of correlations: tests/test_correlations_report.py.
    sections = [name for name in SECTIONS if name not in ("weights", "correlations", "shift")]
    assert [given["id"] for name, given in read.tags if name == "section"] == sections
    links = [given["href"] for name, given in read.tags if name == "a"]
    assert links == [f"#{name}" for name in sections]
    said = " ".join(read.words)
    for words in ("quarantined: broken_json", "duplicate:exact", "dropped: perplexity", "dropped: odd", "selected", "rows emitted"):
        assert words in said
    for words in ("Spearman", "Score and window", "nats a token", "copies each", "fit/agreement"):
        assert words in said


def test_the_page_is_self_contained(page):
    read = Reader(page)
    names = {name for name, _ in read.tags}
    assert not names & {"script", "link", "img", "iframe", "object", "image", "a:href"}
    for name, given in read.tags:
        for key, value in given.items():
            assert not key.startswith("on")
            if key in ("href", "xlink:href", "src"):
                assert value is not None
                assert value.startswith("#"), (name, value)
    assert "url(http" not in page
    assert "@import" not in page


def test_text_from_data_is_escaped_and_still_readable(page):
    assert "<script" not in page
    read = Reader(page)
    assert EVIL in read.words
    shown = [words for words in read.words if words.startswith("<script>")]
    assert theme.label(EVIL) in shown  # in drawings


def test_ids_are_unique_and_drawings_are_told(page):
    read = Reader(page)
    ids = [given["id"] for _, given in read.tags if "id" in given]
    assert len(ids) == len(set(ids))
    drawings = [given for name, given in read.tags if name == "svg"]
    assert len(drawings) > 10
    assert all(given["role"] == "img" and len(given["aria-label"] or "") > 20 for given in drawings)
    used = set(re.findall(r'url\(#([^)]+)\)|xlink:href="#([^"]+)"', page))
    assert {a or b for a, b in used} <= set(ids)


def test_colours_of_drawings_follow_the_page(page):
    for style in re.findall(r'<(?:path|g|text|use|rect|line)[^>]* style="([^"]*)"', page):
        assert not re.search(r"(?<!, )#[0-9a-f]{6}", style), style


def test_the_command_writes_the_same_bytes_from_anywhere(judged, page, tmp_path, command):
    elsewhere = shutil.copytree(judged, tmp_path / "elsewhere")
    answer = command("report", elsewhere, "--out", tmp_path / "deep" / "page.html")
    assert answer.code == 0
    assert answer.out.strip() == str(tmp_path / "deep" / "page.html")
    assert (tmp_path / "deep" / "page.html").read_text(encoding="utf-8") == page
    assert command("report", tmp_path).code == 2


def test_a_corpus_that_was_only_ingested(raw, tmp_path, command):
    """Its page lies in it by default, and it is whole with it."""
    run(configuration(raw, tmp_path / "out"), until="ingest")
    assert command("report", tmp_path / "out").out.strip() == str(tmp_path / "out" / "report.html")
    assert command("show", tmp_path / "out", "--verify").code == 0
    read = Reader((tmp_path / "out" / "report.html").read_text(encoding="utf-8"))
    assert [given["id"] for name, given in read.tags if name == "section"] == ["funnel", "domains", "scores", "lineage"]


def test_a_corpus_without_selection_or_tokens(raw, tmp_path):
    corpus = run(configuration(raw, tmp_path / "out", score=[], select=[], emit={}))
    shown = [given["id"] for name, given in Reader(report(corpus)).tags if name == "section"]
    assert shown == ["funnel", "domains", "scores", "mixture", "lineage"]


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib" or name.startswith(("curate.plots", "curate.report"))]:
        monkeypatch.delitem(sys.modules, name)
    for name in ("matplotlib", "matplotlib.figure"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigError, match="matplotlib") as caught:
        importlib.import_module("curate.report")
    assert "curate[report]" in caught.value.fix


def test_shares_add_up(judged):
    corpus = Corpus.open(str(judged))
    found = accounts.shares(corpus)
    assert list(found) == [accounts.BEFORE, accounts.AFTER, accounts.ASKED, accounts.REALISED]
    for shares in found.values():
        assert sum(shares.values()) == pytest.approx(1)
    frame = corpus.table(["domain", "tokens.n_tokens", "selection.keep"]).to_pandas()
    kept = frame[frame["selection.keep"]].groupby("domain", observed=False)["tokens.n_tokens"].sum()
    for domain, share in (kept / kept.sum()).items():
        assert found[accounts.AFTER][domain] == pytest.approx(share)


def test_every_plot_of_a_notebook(judged):
    corpus = Corpus.open(str(judged))
    drawn = [
        plots.distribution(corpus, "ref.perplexity"),
        plots.selection(corpus),
        plots.mixture(corpus),
        plots.rule_scores(corpus, 1),
        plots.rule_domains(corpus),
        plots.agreement(corpus),
        plots.correlations(corpus),
        plots.training(corpus, "ref"),
    ]
    for figure in drawn:
        assert theme.svg(figure, "alt").startswith("<svg")
        assert figure.get_size_inches()[0] * 72 == pytest.approx(theme.WIDTH)
    with pytest.raises(InputError, match="no ranking rule 2"):
        plots.rule_scores(corpus, 2)
    with pytest.raises(InputError, match="'cheap' has left no losses"):
        plots.training(corpus, "cheap")
    with pytest.raises(ConfigError, match="no column"):
        plots.distribution(corpus, "ref.perplexities")


def test_numeric_columns_are_those_that_mean_something(judged):
    found = numeric_columns(Corpus.open(str(judged)))
    assert found[0] == "n_bytes"
    assert {"tokens.n_tokens", "ref.bpb", "agreement.difference"} <= set(found)
    assert not {name for name in found if name.endswith("in_fit_sample") or name.startswith(("mix.", "dedup.", "selection."))}


def test_distributions_of_a_corpus(judged):
    corpus = Corpus.open(str(judged))
    (column,) = distributions(corpus, ["ref.bpb"])
    frame = corpus.table(["domain", "ref.bpb", "selection.keep"]).to_pandas()
    for domain, rows in frame.groupby("domain", observed=True):
        own = column.whole[domain]
        assert (own.n, own.n_null) == (rows["ref.bpb"].notna().sum(), rows["ref.bpb"].isna().sum())
        assert column.kept[domain].n == rows["selection.keep"].sum()
        exact = np.quantile(rows["ref.bpb"], 0.5, method="inverted_cdf")
        assert own.quantile(0.5) == pytest.approx(exact, rel=2**-10)


def test_a_distribution_is_right_to_a_thousandth_and_adds_up():
    random = np.random.default_rng(1)
    values = np.concatenate([random.normal(size=5000) * 10.0 ** random.integers(-8, 8, size=5000), [0.0, np.nan, np.inf, -np.inf]])
    whole = Distribution.of(values)
    finite = values[np.isfinite(values)]
    assert (whole.n, whole.n_null) == (5001, 3)
    for q in (0.001, 0.1, 0.5, 0.9, 1.0):
        assert whole.quantile(q) == pytest.approx(np.quantile(finite, q, method="inverted_cdf"), rel=2**-10)
    parts = sum((Distribution.of(part) for part in np.array_split(values, 7)), Distribution())
    np.testing.assert_array_equal(parts.keys, whole.keys)
    np.testing.assert_array_equal(parts.counts, whole.counts)
    counts = Distribution.of(np.array([0.0, 1, 1, 2, 2047, 2048])).histogram(np.array([-0.5, 0.5, 1.5, 2.5, 2046.5, 2047.5, 2048.5]))
    assert counts.tolist() == [1, 2, 1, 0, 1, 1]


def test_scales():
    def of(values: Any) -> tuple[np.ndarray, bool]:
        return edges([Distribution.of(np.asarray(values, np.float64))])

    random = np.random.default_rng(2)
    assert of(random.lognormal(sigma=2, size=2000))[1]
    assert not of(random.normal(size=2000))[1]
    assert not of(random.random(2000))[1]  # fractions
    at, is_log = of([3, 4, 4, 7])
    assert (at.tolist(), is_log) == ([2.5, 3.5, 4.5, 5.5, 6.5, 7.5], False)
    assert of([5, 5])[0].tolist() == [4.5, 5.5]
    assert of([])[0].tolist() == [-0.5, 0.5]


def test_hexagons_hold_every_document_in_the_nearest():
    points = np.random.default_rng(4).random((3000, 2))

    class Parts:
        """A corpus of three parts, and a document without scores."""

        def batches(self, columns: list[str]) -> Iterator[pa.Table]:
            for part in np.array_split(points, 3):
                yield pa.table({name: [None, *part[:, i]] for i, name in enumerate(columns)})

    centres, counts = hexagons(Parts(), "x", "y", across=6)  # type: ignore[arg-type]
    nearest = np.linalg.norm(points[:, None, :] - centres[None], axis=2)
    assert nearest.min(axis=1).max() <= np.linalg.norm(outline(6), axis=1).max() + 1e-9
    np.testing.assert_array_equal(np.bincount(nearest.argmin(axis=1), minlength=len(counts)), counts)


def test_many_domains_are_shown_together(raw, tmp_path):
    (tmp_path / "many.jsonl").write_bytes(
        b"".join(json.dumps({"text": t, "d": f"d{i % 40:02}"}).encode() + b"\n" for i, t in enumerate(texts(120, 3)))
    )
    ingest = {"shard_bytes": 12_000, "sources": [{"path": str(tmp_path / "many.jsonl"), "domain": {"field": "d"}}]}
    corpus = run(configuration(raw, tmp_path / "out", ingest=ingest, score=[], emit={}))
    assert len(set(shown_domains(corpus).values())) == 25
    assert "all others" in report(corpus)


def test_a_random_window_is_not_shaded():
    histogram = {"scale": "linear", "edges": [0, 1, 2], "before": [3, 4], "after": [1, 2]}
    cut = {"group": None, "lower": None, "upper": 0.5}
    assert accounts.windows({"window": "random", "cuts": [cut]}) == []
    drawn = [theme.svg(figures.score_window(histogram, cuts, "x"), "alt") for cuts in ([], [cut])]
    assert ["accent" in one for one in drawn] == [False, True]


def test_text_of_a_page():
    assert text("<a b='c'>&\x00\x1b") == "&lt;a b=&#x27;c&#x27;&gt;&amp;\ufffd\ufffd"
    assert text(Html("<b>")) == "<b>"
    assert tag("td", "<", class_="n", title='"', rowspan=None) == '<td class="n" title="&quot;">&lt;</td>'
    assert "and 3 more rows" in table(["a"], [[str(i)] for i in range(203)])
    assert [theme.number(v) for v in (0, 0.1234, 9_999, 12_345, 1.5e6, 2e9)] == ["0", "0.123", "9,999", "12.3 k", "1.5 M", "2 B"]
    assert theme.label("a\nb" + "x" * 40) == "a\ufffdbxxxxxxxxxxxx…"
