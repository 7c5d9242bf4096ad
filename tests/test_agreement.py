"""The scorer ``agreement``: percentiles and figures by hand and beside SciPy, ties, what is left out, and a whole pipeline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy import stats

from curate.corpus import Corpus
from curate.documents import DOC_ID, DOMAIN
from curate.errors import ConfigError, InputError
from curate.graph import build
from curate.ingest import gather
from curate.pipeline import Pipeline
from curate.planning import estimate
from curate.scorers import agreement
from curate.scorers.agreement import Agreement
from curate.testing import check_scorer
from pipelines import configuration, pipeline, run


def table_of(first: Any, second: Any, domains: list[str] | None = None, **more: Any) -> pa.Table:
    """Documents with two scores; ids rise with the row."""
    n = len(first)
    ids = pa.array([i.to_bytes(16, "big") for i in range(n)], DOC_ID)
    domain = pa.array(domains or ["web"] * n).dictionary_encode().cast(DOMAIN)
    return pa.table({"doc_id": ids, "a.x": first, "b.y": second, "domain": domain, **more})


def fitted(folder: Path, table: pa.Table, **options: Any) -> tuple[Agreement, dict[str, Any]]:
    """A loaded scorer and its report."""
    scorer = Agreement(columns=("a.x", "b.y"), **options)
    scorer.check()
    folder.mkdir(exist_ok=True)
    scorer.fit(table, folder)
    scorer.load(folder)
    return scorer, json.loads((folder / agreement.REPORT).read_text())


def scored(scorer: Agreement, table: pa.Table) -> dict[str, list[float | None]]:
    """Columns of all rows."""
    return scorer.score(table.select(list(scorer.inputs)).combine_chunks().to_batches()[0]).to_pydict()


def test_a_small_case_by_hand(tmp_path):
    """Five documents, of which the first score cannot tell two apart."""
    table = table_of([1.0, 2.0, 7.0, 7.0, 9.0], [20.0, 10.0, 30.0, 40.0, 50.0])
    scorer, report = fitted(tmp_path, table)
    found = scored(scorer, table)
    assert found["first"] == [0.1, 0.3, 0.6, 0.6, 0.9]
    assert found["second"] == [0.3, 0.1, 0.5, 0.7, 0.9]
    assert found["difference"] == pytest.approx([-0.2, 0.2, 0.1, -0.1, 0.0])
    # Centred ranks -2 -1 .5 .5 2 and -1 -2 0 1 2: products 2 + 2 + 0 + .5 + 4 over sqrt(9.5 * 10).
    assert report["overall"]["spearman"] == pytest.approx(8.5 / np.sqrt(95), abs=1e-9)
    # At places .1 .3 .5 .7 .9: low keeps documents 0 and 1 by either score, medium 1 2 3 by one and 0 2 3 by the other.
    assert report["overall"]["overlap"] == {"low": 1.0, "medium": pytest.approx(2 / 3), "high": 1.0}
    assert report["overall"]["n"] == 5


def test_between_below_and_above_the_sample(tmp_path):
    scorer, _ = fitted(tmp_path, table_of([0.0, 10.0, 20.0, 30.0], [3, 2, 1, 0]))
    found = scored(scorer, table_of([-1.0, 0.0, 15.0, 30.0, 31.0, None, float("nan")], [0, 1, 2, 3, 4, 5, 6]))
    assert found["first"] == [0.0, 0.125, 0.5, 0.875, 1.0, None, None]
    assert found["second"] == [0.125, 0.375, 0.625, 0.875, 1.0, None, None]
    assert found["difference"][-1] is None


@pytest.mark.parametrize("ties", [False, True])
def test_spearman_is_scipys(tmp_path, ties):
    random = np.random.default_rng(5)
    first = random.lognormal(size=4000)
    second = first * random.lognormal(size=4000)
    domains = ["web", "code", "books"]
    where = random.integers(0, 3, size=4000)
    if ties:
        first, second = np.floor(first), np.floor(2 * second)
    _, report = fitted(tmp_path, table_of(first, second, [domains[i] for i in where]))
    assert report["overall"]["spearman"] == pytest.approx(stats.spearmanr(first, second).statistic, abs=1e-8)
    assert [line["domain"] for line in report["domains"]] == ["books", "code", "web"]
    for line in report["domains"]:
        own = where == domains.index(line["domain"])
        assert line["n"] == own.sum()
        assert line["spearman"] == pytest.approx(stats.spearmanr(first[own], second[own]).statistic, abs=1e-8)


def test_a_rising_function_of_a_score_changes_nothing(tmp_path):
    random = np.random.default_rng(6)
    first, second = random.normal(size=700), random.normal(size=700)
    plain, told = fitted(tmp_path / "a", table_of(first, second))
    bent, told_bent = fitted(tmp_path / "b", table_of(np.exp(first), second**3))
    assert told["overall"] == told_bent["overall"]
    assert scored(plain, table_of(first, second)) == scored(bent, table_of(np.exp(first), second**3))


def test_one_score_reversed_mirrors_the_other(tmp_path):
    values = np.random.default_rng(7).permutation(100).astype(float)
    _, report = fitted(tmp_path, table_of(values, -values))
    assert report["overall"]["spearman"] == -1
    assert report["overall"]["overlap"] == {"low": 0.0, "medium": 1.0, "high": 0.0}


def test_many_values_are_thinned_to_a_thousandth_and_ties_keep_their_place(tmp_path):
    """Forty per cent of the documents share one value; percentiles around it may not smear."""
    random = np.random.default_rng(8)
    first = np.concatenate([np.zeros(8000), random.lognormal(size=12_000) + 1e-6])
    second = random.permutation(20_000)
    scorer, _ = fitted(tmp_path, table_of(first, second))
    found = scored(scorer, table_of(first, second))
    exact = (stats.rankdata(first) - 0.5) / 20_000
    assert np.abs(np.array(found["first"]) - exact).max() < 1 / agreement.POINTS
    assert set(found["first"][:8000]) == {0.2}
    assert min(found["first"][8000:]) > 0.4
    assert np.load(tmp_path / "tables.npy", allow_pickle=False).shape[0] < 4 * agreement.POINTS


def test_a_constant_score_has_no_correlation(tmp_path):
    scorer, report = fitted(tmp_path, table_of([4.0] * 6, list(range(6))))
    assert report["overall"]["spearman"] is None
    assert scored(scorer, table_of([4.0], [3]))["first"] == [0.5]


def test_within_domain_ranks_inside_each(tmp_path):
    domains = ["web", "web", "web", "code", "code", "code", "tiny"]
    table = table_of([1.0, 2.0, 3.0, 100.0, 200.0, 300.0, 5.0], [3, 2, 1, 10, 20, 30, 5], domains)
    scorer, report = fitted(tmp_path, table, within_domain=True)
    found = scored(scorer, table)
    sixth = [1 / 6, 0.5, 5 / 6]
    assert found["first"] == pytest.approx([*sixth, *sixth, None])
    assert found["second"] == pytest.approx([*sixth[::-1], *sixth, None])
    assert {line["domain"]: (line["n"], line["spearman"]) for line in report["domains"]} == {
        "web": (3, -1.0),
        "code": (3, 1.0),
        "tiny": (1, None),
    }
    elsewhere = table_of([2.0], [2], ["never seen"])
    assert scored(scorer, elsewhere) == {"first": [None], "second": [None], "difference": [None]}


def test_what_taught_a_model_is_left_out(tmp_path):
    seen = pa.array([False, False, True, False, None])
    table = table_of([1.0, 2.0, 50.0, 3.0, 4.0], [1, 2, -9, 3, 4], **{"b.in_fit_sample": seen})
    scorer, report = fitted(tmp_path, table, leave_out=("b.in_fit_sample",))
    assert report["overall"]["n"] == 4
    assert report["overall"]["spearman"] == 1
    assert scored(scorer, table)["first"] == [0.125, 0.375, None, 0.625, 0.875]


def test_the_contract_with_a_column_that_leaves_out(tmp_path):
    random = np.random.default_rng(9)
    first = pa.array(random.normal(size=40), mask=np.arange(40) % 7 == 0)
    table = table_of(first, random.normal(size=40), ["web", "code"] * 20, taught=pa.array(np.arange(40) % 5 == 0))
    for within in (False, True):
        check_scorer(Agreement(("a.x", "b.y"), within_domain=within, leave_out=("taught",)), table)


def test_too_few_documents(tmp_path):
    table = table_of([1.0, None, 3.0, 4.0], [1.0, 2.0, None, 4.0])
    with pytest.raises(InputError, match="only 2 of 4 documents") as caught:
        fitted(tmp_path, table)
    assert "sample_bytes" in caught.value.fix


def test_columns_that_cannot_be(tmp_path):
    with pytest.raises(ConfigError, match="agrees with itself"):
        Agreement(("a.x", "a.x")).check()
    with pytest.raises(ConfigError, match="sample_bytes"):
        Agreement(("a.x", "b.y"), sample_bytes=0).check()
    with pytest.raises(ConfigError, match=r"'b.y' is string and cannot be ranked"):
        fitted(tmp_path, table_of([1.0, 2.0, 3.0], ["p", "q", "r"]))
    with pytest.raises(ConfigError, match="boolean"):
        fitted(tmp_path, table_of([1.0, 2.0, 3.0], [1, 2, 3]), leave_out=("a.x",))
    with pytest.raises(ConfigError, match="no distribution is loaded"):
        scored(Agreement(("a.x", "b.y")), table_of([1.0], [1.0]))


JUDGES = [
    {"ngram_perplexity": {"name": "ref", "order": 3, "sample_bytes": 6_000}},
    {"ngram_perplexity": {"name": "cheap", "order": 1, "sample_bytes": 3_000}},
    {"agreement": {"columns": ["ref.bpb", "cheap.bpb"], "leave_out": ["ref.in_fit_sample", "cheap.in_fit_sample"]}},
]


def test_a_column_that_no_stage_makes(raw, tmp_path):
    config = configuration(raw, tmp_path / "out", score=[JUDGES[0], {"agreement": {"columns": ["ref.bpb", "ref.bbp"]}}])
    made = pipeline(config)
    with pytest.raises(ConfigError, match=r"ref\.bbp.*") as caught:
        build(made.config, made.plugin_paths, {})
    assert "ref.bpb" in caught.value.fix


@pytest.fixture(scope="module")
def judged(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus whose parts have several row groups, with two judges and their agreement."""
    output = tmp_path_factory.mktemp("judged") / "out"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(gather, "ROW_GROUP_BYTES", 2_000)
        run(configuration(raw, output, score=JUDGES, mix={"use": "natural"}, emit={}))
    return output


def test_a_pipeline_of_two_judges(judged):
    assert pq.ParquetFile(min((judged / "documents").glob("*.parquet"))).num_row_groups > 1
    columns = ["domain", "ref.bpb", "cheap.bpb", "ref.in_fit_sample", "cheap.in_fit_sample"]
    frame = Corpus.open(str(judged)).table([*columns, *(f"agreement.{name}" for name in ("first", "second", "difference"))]).to_pandas()
    taught = frame["ref.in_fit_sample"] | frame["cheap.in_fit_sample"]
    assert (frame["agreement.first"].isna() == taught).all()
    left = frame[~taught]
    report = json.loads((judged / "models" / "agreement" / agreement.REPORT).read_text())
    # The sample holds the whole corpus, so the figures are those of its columns.
    assert report["overall"]["n"] == len(left)
    assert report["overall"]["spearman"] == pytest.approx(stats.spearmanr(left["ref.bpb"], left["cheap.bpb"]).statistic, abs=1e-8)
    for place, score in (("first", "ref.bpb"), ("second", "cheap.bpb")):
        exact = (stats.rankdata(left[score]) - 0.5) / len(left)
        np.testing.assert_allclose(left[f"agreement.{place}"], exact, atol=1e-12)


def test_show_tells_spearman(judged, command):
    answer = command("show", judged)
    report = json.loads((judged / "models" / "agreement" / agreement.REPORT).read_text())
    assert "agreement: ref.bpb and cheap.bpb" in answer.out
    assert f"{report['overall']['spearman']:.3f}" in answer.out


def test_a_plan_of_two_judges(raw, tmp_path):
    """The sample that a plan tries teaches the judges a part of itself, and leaves the rest to be compared."""
    judges = [{name: options | {"sample_bytes": 10**8} for name, options in entry.items()} for entry in JUDGES]
    config = configuration(raw, tmp_path / "out", score=[{"tokens": {"vocab_size": 300}}, *judges])
    made: Pipeline = pipeline(config)
    assert "score/agreement" in estimate(made, 200_000).seconds
