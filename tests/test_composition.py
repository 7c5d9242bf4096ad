"""What a window did to the composition: by hand on a small table, conserved, and the same for any shards."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from selections import Row, over, rows_of, table_of

from curate.composition_table import composition_tables
from curate.errors import IntegrityError
from curate.selection import check_composition, composition, find_cuts, merge_tallies, parse_rules, resolve, tally, verdicts
from curate.selection.histograms import N_BINS, at_quantile, length_buckets, length_of, score_bins, score_edges, sketch
from curate.summary import summary
from pipelines import configuration, hashes, run, write_corpus


def composed(shards: Sequence[pa.Table], *rules: Row, tokens: str | None = None, limit: int = 1000) -> list[dict[str, Any]]:
    """The composition of rules over shards, checked and passed through JSON as a manifest is."""
    ready = resolve(parse_rules(rules), shards[0].schema, seed=1)
    cuts = find_cuts(ready, over(shards), limit)
    found = composition(ready, cuts, over(shards), tokens)
    counted = merge_tallies([tally(s, verdicts(ready, cuts, s), tokens) for s in shards])
    check_composition(found, ready, cuts, counted)
    return json.loads(json.dumps(found, allow_nan=False))


def test_by_hand() -> None:
    rows = rows_of(
        [1, 2, 3, 4, 5, 6, None], domains=["web", "web", "web", "code", "code", "code", "web"], weights=[10, 20, 30, 40, 50, 60, 70]
    )
    found = composed(
        [table_of(rows[:3]), table_of(rows[3:])],
        {"column": "n_bytes", "min": 15},
        {"column": "s", "window": "low", "rate": 0.6, "reason": "odd"},
        tokens="source_row",
    )
    # The first document is gone before, the last has no score: 2 3 | 4 5 6 are ranked, 2 3 4 kept.
    assert len(found) == 1
    told = found[0]
    histogram = told.pop("score_histogram")
    assert told == {
        "rule": 1,
        "code": "odd",
        "column": "s",
        "window": "low",
        "rate": 0.6,
        "by": "documents",
        "within": None,
        "domains": [
            {
                "domain": "code",
                "n_documents_before": 3,
                "n_documents_after": 1,
                "n_bytes_before": 150,
                "n_bytes_after": 40,
                "n_tokens_before": 3 + 4 + 5,
                "n_tokens_after": 3,
                "length_before": [40, 50, 60],
                "length_after": [40, 40, 40],
            },
            {
                "domain": "web",
                "n_documents_before": 2,
                "n_documents_after": 2,
                "n_bytes_before": 50,
                "n_bytes_after": 50,
                "n_tokens_before": 1 + 2,
                "n_tokens_after": 1 + 2,
                "length_before": [20, 20, 30],
                "length_after": [20, 20, 30],
            },
        ],
        "all": {
            "n_documents_before": 5,
            "n_documents_after": 3,
            "n_bytes_before": 200,
            "n_bytes_after": 90,
            "n_tokens_before": 15,
            "n_tokens_after": 6,
            "length_before": [20, 40, 60],
            "length_after": [20, 30, 40],
        },
        "n_groups": 1,
        "cuts": [{"group": None, "n_documents": 5, "lower": None, "upper": 5.0, "n_tied_lower": 0, "n_tied_upper": 0}],
        "n_tied": 0,
        "n_copies_split": 0,
        "n_copies_at_cut": 0,
    }
    assert (histogram["scale"], histogram["edges"][0], histogram["edges"][-1], len(histogram["edges"])) == ("linear", 2.0, 6.0, N_BINS + 1)
    # 2 3 4 5 6 lie at 0, 1/4, 1/2, 3/4 and 1 of the way.
    assert {i: n for i, n in enumerate(histogram["before"]) if n} == {0: 1, 15: 1, 30: 1, 45: 1, 59: 1}
    assert {i: n for i, n in enumerate(histogram["after"]) if n} == {0: 1, 15: 1, 30: 1}


def test_without_tokens_there_are_none() -> None:
    told = composed([table_of(rows_of([1.0, 2.0]))], {"column": "s", "window": "low", "rate": 0.5})[0]
    assert {told["all"][f"n_tokens_{when}"] for when in ("before", "after")} == {None}


def test_rules_that_do_not_rank_leave_nothing() -> None:
    assert composed([table_of(rows_of([1.0]))], {"column": "s", "min": 0}) == []


def test_ties_are_counted_where_the_edge_parts_them() -> None:
    # Of 1 2 2 2 3 the lower 0.4 holds one 2 of three; the lower 0.2 holds none and the lower 0.8 all.
    shards = [table_of(rows_of([1, 2, 2, 2, 3])[i::2]) for i in range(2)]
    tied = {rate: composed(shards, {"column": "s", "window": "low", "rate": rate})[0]["cuts"][0] for rate in (0.2, 0.4, 0.8)}
    assert {rate: cut["n_tied_upper"] for rate, cut in tied.items()} == {0.2: 0, 0.4: 3, 0.8: 0}
    assert tied[0.4]["upper"] == 2.0
    both = composed(shards, {"column": "s", "window": [0.4, 0.6]})[0]
    assert (both["cuts"][0]["n_tied_lower"], both["cuts"][0]["n_tied_upper"], both["n_tied"]) == (3, 3, 3)


def test_copies_on_both_sides_of_an_edge() -> None:
    rows = rows_of([1.0, 2.0, 2.0, 2.0, 3.0, 4.0])
    rows[2]["doc_id"] = rows[3]["doc_id"] = rows[1]["doc_id"]
    for window, n_split in (({"window": "low", "rate": 0.5}, 1), ({"window": [0.3, 0.5]}, 1), ({"window": "high", "rate": 0.3}, 0)):
        for n in (1, 4):
            told = composed([table_of(rows[i::n]) for i in range(n)], {"column": "s", **window}, limit=1)[0]
            assert (told["n_copies_split"], told["n_copies_at_cut"]) == (n_split, 3 * n_split)


def test_infinite_scores_and_weightless_documents_are_json() -> None:
    rows = rows_of([-np.inf, 1.0, np.inf, np.inf], weights=[0, 0, 0, 0])
    told = composed(
        [table_of(rows)], {"column": "s", "window": [0.1, 0.9], "by": "n_bytes"}, {"column": "s", "window": "low", "rate": 0.5}
    )[0]
    assert told["all"]["n_documents_after"] == 0
    assert told["all"]["length_after"] == [None, None, None]
    edges = composed([table_of(rows)], {"column": "s", "window": "low", "rate": 0.6})[0]["cuts"][0]
    assert edges["upper"] == pytest.approx(1.7976931348623157e308)


def test_a_random_window_leaves_the_scores_as_they_were() -> None:
    scores = np.random.default_rng(0).lognormal(5, 2, 4000)
    told = composed([table_of(rows_of(list(scores)))], {"column": "s", "window": "random", "rate": 0.5})[0]
    histogram = told["score_histogram"]
    assert histogram["scale"] == "log"
    before, after = np.array(histogram["before"]), np.array(histogram["after"])
    assert (before.sum(), after.sum()) == (4000, 2000)
    assert np.abs(np.cumsum(after) / 2000 - np.cumsum(before) / 4000).max() < 0.03
    assert told["cuts"][0]["upper"] == pytest.approx(0.5, abs=0.03)


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_it_is_conserved_and_the_same_for_any_shards(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 40))
    domains = data.draw(st.lists(st.sampled_from(["a", "b", "c"]), min_size=n, max_size=n))
    weights = data.draw(st.lists(st.integers(0, 5000), min_size=n, max_size=n))
    scores = data.draw(st.lists(st.one_of(st.none(), st.sampled_from([1.0, 2.0]), st.floats(allow_nan=False)), min_size=n, max_size=n))
    rows = rows_of(scores, domains, weights)
    for i in range(0, n, 3):
        rows[i]["doc_id"] = rows[0]["doc_id"]
    rules = [
        {
            "column": "s",
            "window": data.draw(st.sampled_from([[0.2, 0.8], [0, 0.5]])),
            "within": data.draw(st.sampled_from([None, "domain"])),
        },
        {"column": "s", "window": data.draw(st.sampled_from(["random", "medium"])), "rate": 0.5, "nulls": "keep"},
    ]
    order, n_shards = data.draw(st.permutations(rows)), data.draw(st.integers(2, 4))
    found = composed([table_of(rows)], *rules, tokens="n_bytes")
    assert found == composed([table_of(order[i::n_shards]) for i in range(n_shards)], *rules, tokens="n_bytes", limit=1)
    for told in found:
        for name in ("n_documents", "n_bytes", "n_tokens"):
            for when in ("before", "after"):
                assert sum(line[f"{name}_{when}"] for line in told["domains"]) == told["all"][f"{name}_{when}"]
            assert told["all"][f"{name}_after"] <= told["all"][f"{name}_before"]
        for when in ("before", "after"):
            assert sum(told["score_histogram"][when]) == told["all"][f"n_documents_{when}"]
    # What the first rule kept is what the second ranks.
    assert found[1]["all"]["n_documents_before"] == found[0]["all"]["n_documents_after"]


def test_a_composition_that_does_not_add_up_is_refused() -> None:
    table = table_of(rows_of([1.0, 2.0, 3.0, 4.0], ["a", "a", "b", "b"]))
    ready = resolve(parse_rules([{"column": "s", "window": "low", "rate": 0.5}]), table.schema)
    cuts = find_cuts(ready, over([table]))
    counted = tally(table, verdicts(ready, cuts, table))
    for change in ("n_documents_after", "n_bytes_before"):
        found = composition(ready, cuts, over([table]))
        found[0]["domains"][1][change] += 1
        with pytest.raises(IntegrityError, match="does not add up") as caught:
            check_composition(found, ready, cuts, counted)
        assert "'b'" in str(caught.value)
    found = composition(ready, cuts, over([table]))
    found[0]["all"]["n_documents_before"] += 1
    with pytest.raises(IntegrityError, match="rule low:s"):
        check_composition(found, ready, cuts, counted)
    with pytest.raises(IntegrityError, match="does not add up"):
        check_composition(composition(ready, cuts, over([table])), ready, cuts, counted.slice(0, 1))


# --- histograms ---


@given(st.lists(st.integers(0, 2**40), min_size=1, max_size=50))
def test_lengths_are_told_to_one_part_in_sixty_four(lengths: list[int]) -> None:
    array = np.array(sorted(lengths))
    buckets = length_buckets(array)
    assert (np.diff(buckets) >= 0).all()
    for length, bucket in zip(array.tolist(), buckets.tolist(), strict=True):
        told = length_of(bucket)
        assert told == length if length < 64 else abs(told - length) <= length / 64
    distinct, counts = np.unique(buckets, return_counts=True)
    for share in (Fraction(1, 10), Fraction(1, 2), Fraction(9, 10)):
        rank = max(1, -(-share.numerator * len(array) // share.denominator))
        assert distinct[at_quantile(counts, share)] == buckets[rank - 1]


def test_bins_span_all_but_the_tails_and_lose_nobody() -> None:
    random = np.random.default_rng(4)
    scores = np.concatenate([random.uniform(0.2, 0.4, 9980), random.uniform(1e6, 1e9, 20)])
    scale, edges = score_edges([sketch(part) for part in np.array_split(scores, 7)])
    assert scale == "linear"
    assert 0.2 <= edges[0] < 0.21
    assert 0.39 < edges[-1] <= 0.41
    assert np.array_equal(edges, score_edges([sketch(random.permutation(scores))])[1])
    binned = np.bincount(score_bins(scores, edges), minlength=N_BINS)
    assert binned.sum() == len(scores)
    inside = np.histogram(scores[(scores >= edges[0]) & (scores < edges[-1])], edges)[0]
    assert np.array_equal(binned[1:-1], inside[1:-1])


@pytest.mark.parametrize(
    "scores", [[], [0.0], [0.0, -0.0], [7.0] * 3, [-1e308, 1e308], [np.inf, -np.inf], [5e-324, 1e308], [2.0**60, 2.0**60 + 256]]
)
def test_edges_of_odd_scores_rise(scores: list[float]) -> None:
    _, edges = score_edges([sketch(np.array(scores, dtype=np.float64))])
    assert np.isfinite(edges).all()
    assert (np.diff(edges) >= 0).all()
    assert edges[0] < edges[-1]
    assert len(score_bins(np.array(scores), edges)) == len(scores)


# --- a run ---


def printed(blocks: Any, width: int) -> str:
    out = io.StringIO()
    Console(file=out, width=width).print(blocks)
    return out.getvalue()


def test_a_run_records_and_prints_it(tmp_path: Any) -> None:
    raw = write_corpus(tmp_path / "raw")
    select = [
        {"column": "n_bytes", "min": 60, "reason": "length"},
        {"column": "tokens.n_tokens", "window": "low", "rate": 0.5, "reason": "brief", "by": "tokens"},
        {"column": "n_bytes", "window": "random", "rate": 0.5, "within": ["domain", {"column": "tokens.n_tokens", "quantiles": 2}]},
    ]
    corpora = []
    for name, shard_bytes in (("a", 12_000), ("b", 40_000)):
        ingest = {"shard_bytes": shard_bytes, "split_bytes": 6_000, "sources": [{"path": str(raw), "domain": {"directory": 0}}]}
        corpora.append(run(configuration(raw, tmp_path / name, ingest=ingest, select=select)))
    one, other = (c.manifest.stages["select"] for c in corpora)
    assert len(one.shards) != len(other.shards)
    assert one.totals["composition"] == other.totals["composition"]
    assert one.ledger.kept == one.totals["composition"][1]["all"]["n_documents_after"]
    brief = {d["domain"]: d for d in one.totals["composition"][0]["domains"]}
    assert set(brief) == {"web", "forum", "news", "science", "books"}
    # Books are the longest texts by far: none is among the brief ones.
    assert brief["books"]["n_documents_after"] == 0
    assert [told["rule"] for told in one.totals["composition"]] == [1, 2]
    for width in (80, 120):
        shown = printed(summary(corpora[0], {}), width)
        assert "what brief did to the composition" in shown
        assert "what random:n_bytes did to the composition" in shown
        line = next(row for row in shown.splitlines() if row.startswith("books"))
        assert line.split() == ["books", "0.00%", line.split()[2], "0.00%", "0.000", f"{brief['books']['length_before'][1]:,}"]
        assert max(map(len, shown.splitlines())) <= width


def test_totals_are_made_again_when_only_the_manifest_is_missing(tmp_path: Any) -> None:
    config = configuration(
        write_corpus(tmp_path / "raw"), tmp_path / "out", select=[{"column": "n_bytes", "window": "medium", "rate": 0.5}]
    )
    before = run(config).manifest.stages["select"]
    verdicts_then = hashes(tmp_path / "out", "selection/*.parquet")
    path = tmp_path / "out" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["stages"] = {name: entry for name, entry in manifest["stages"].items() if name != "select" and "default" not in name}
    path.write_text(json.dumps(manifest))
    after = run(config).manifest.stages["select"]
    assert after.totals == before.totals
    assert hashes(tmp_path / "out", "selection/*.parquet") == verdicts_then


def test_many_domains_are_cut_short_and_old_corpora_have_no_table() -> None:
    table = table_of(rows_of(list(range(60)), [f"domain-{i % 30:02}" for i in range(60)], [5] * 60))
    shown = printed(composition_tables(composed([table], {"column": "s", "window": "low", "rate": 0.5}))[0], 80)
    assert "and 10 smaller domains" in shown
    assert "30 of 60 documents kept" in shown
    assert "share of documents" in shown
    assert composition_tables([]) == []
