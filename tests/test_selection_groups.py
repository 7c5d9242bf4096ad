"""Random windows and strata: hand-computed sets, and what must hold for any corpus and any shards of it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from selections import Row, decide, kept, over, rows_of, scores_kept, table_of

from curate import graph
from curate.errors import ConfigError, IntegrityError
from curate.hashing import id_keys
from curate.selection import find_cuts, parse_rules, resolve, verdicts
from curate.selection.rules import Rule
from curate.selection.within import label_of, parts_of, text_of
from pipelines import configuration, pipeline

SCORES = [5, 9, 1, 8, 2, 7, 3, 6, 4]


def half_up(share: float, n: int) -> int:
    return math.floor(Fraction(str(share)) * n + Fraction(1, 2))


def in_shards(rows: Sequence[Row], n: int) -> list[pa.Table]:
    return [table_of(rows[i::n]) for i in range(n)]


# --- random ---


def test_a_random_window_of_nine_at_one_third_keeps_three_for_any_shards() -> None:
    rule = {"column": "s", "window": "random", "rate": 1 / 3}
    rows = rows_of(SCORES)
    by_hash = id_keys(7, "selection", table_of(rows)["doc_id"])
    answer = set(np.argsort(by_hash)[:3].tolist())
    for n in (1, 2, 4, 9):
        assert kept(decide(in_shards(rows, n), rule, seed=7)) == answer
    assert len(answer) == 3
    others = {frozenset(kept(decide([table_of(rows)], rule, seed=seed))) for seed in range(20)}
    assert len(others) > 10
    assert {len(o) for o in others} == {3}


def test_random_ranks_what_a_window_would_rank() -> None:
    rows = rows_of([None, math.nan, 1, 2, 3, 4, 5, 6], domains=["a", "b", "a", "a", "a", "b", "b", "c"])
    rules = [{"column": "n_bytes", "min": 1}, {"column": "s", "rate": 0.5, "within": "domain", "only": {"domain": ["a", "b"]}}]
    for window in ("low", "random"):
        decided = decide(in_shards(rows, 3), rules[0], rules[1] | {"window": window}).sort_by("source_row")
        reasons = decided["reason"].to_pylist()
        # Three ranked in a (two kept), two in b (one kept), c passes, and missing values are never ranked.
        assert reasons[:2] == [f"{window}:s:null"] * 2
        assert (reasons[2:5].count(None), reasons[5:7].count(None), reasons[7]) == (2, 1, None)


def test_random_by_bytes_keeps_the_share_of_bytes() -> None:
    sizes = np.random.default_rng(1).integers(1, 1000, 500).tolist()
    rows = rows_of([1.0] * 500, weights=sizes)
    decided = decide(in_shards(rows, 3), {"column": "s", "window": "random", "rate": 0.3, "by": "bytes"}, seed=2)
    held = sum(r["n_bytes"] for r in decided.to_pylist() if r["keep"])
    assert abs(held - 0.3 * sum(sizes)) <= max(sizes) / 2


def test_random_windows_of_one_seed_are_nested() -> None:
    tables = in_shards(rows_of(list(range(200))), 3)
    sets = [kept(decide(tables, {"column": "s", "window": "random", "rate": r}, seed=5)) for r in (0.1, 0.25, 0.5, 1.0)]
    assert [len(s) for s in sets] == [20, 50, 100, 200]
    assert sets[0] < sets[1] < sets[2] < sets[3]


def test_copies_fall_together_but_at_the_edge() -> None:
    rows = rows_of([1.0] * 120)
    for i, row in enumerate(rows):
        row["doc_id"] = rows[i % 40]["doc_id"]
    found = kept(decide(in_shards(rows, 4), {"column": "s", "window": "random", "rate": 0.5}, seed=3))
    per_text = Counter(i % 40 for i in found)
    assert len(found) == 60
    assert sum(n < 3 for n in per_text.values()) <= 1


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_a_random_window_sees_neither_scores_nor_shards(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 40))
    domains = data.draw(st.lists(st.sampled_from(["a", "b", None]), min_size=n, max_size=n))
    rate = data.draw(st.sampled_from([0.1, 0.25, 1 / 3, 0.5, 0.9, 1.0]))
    rule = {"column": "s", "window": "random", "rate": rate, "within": "domain"}
    one, other = (rows_of(data.draw(st.lists(st.floats(allow_nan=False), min_size=n, max_size=n)), domains) for _ in range(2))
    order = data.draw(st.permutations(other))
    found = kept(decide(in_shards(one, 1), rule, seed=9))
    assert found == kept(decide(in_shards(order, data.draw(st.integers(1, 4))), rule, limit=data.draw(st.sampled_from([1, 1000])), seed=9))
    for domain in set(domains):
        size = domains.count(domain)
        assert sum(domains[i] == domain for i in found) == half_up(rate, size)


def test_the_seed_enters_a_pipeline_only_with_a_random_rule(tmp_path: Any) -> None:
    (tmp_path / "raw" / "web").mkdir(parents=True)
    (tmp_path / "raw" / "web" / "a.jsonl").write_text('{"text": "one"}\n')

    def identity(seed: int, window: str) -> dict[str, Any]:
        select = [{"column": "n_bytes", "window": window, "rate": 0.5}]
        config = configuration(tmp_path / "raw", tmp_path / "out", seed=seed, score=[], select=select, emit={})
        return graph.build(pipeline(config).config, (), {})["select"].identity()

    assert identity(1, "low") == identity(2, "low")
    assert "seed" not in identity(1, "low")
    assert (identity(1, "random")["seed"], identity(2, "random")["seed"]) == (1, 2)


def test_a_rule_keeps_its_seed_when_resolved_again() -> None:
    schema = table_of([]).schema
    once = resolve(parse_rules([{"column": "s", "window": "random", "rate": 0.5}]), schema, seed=4)
    assert resolve(once, schema)[0].seed == 4
    assert parse_rules([{"column": "s", "window": "low", "rate": 0.5}])[0].seed is None


# --- strata ---


def strata_expected(rows: Sequence[Row], quantiles: int, outer: str | None = None) -> dict[int, Any]:
    """Every document's group by a plain sort: (outer value, stratum from 1, None without a value)."""
    found: dict[int, Any] = {}
    for value in {r[outer] if outer else None for r in rows}:
        own = [r for r in rows if not outer or r[outer] == value]
        scored = [r for r in own if r["s"] is not None]
        ordered = sorted((r for r in scored if r["n_bytes"] is not None), key=lambda r: (r["n_bytes"], r["doc_id"]))
        edges = [math.floor(Fraction(k * len(ordered), quantiles) + Fraction(1, 2)) for k in range(1, quantiles)]
        for i, row in enumerate(ordered):
            found[row["source_row"]] = (value, 1 + sum(i >= edge for edge in edges))
        found |= {r["source_row"]: (value, None) for r in scored if r["n_bytes"] is None}
    return found


def test_strata_by_hand() -> None:
    # Lengths 10 … 80 in two strata of four; in each, the half with the higher score.
    rows = rows_of([1, 2, 3, 4, 40, 30, 20, 10], weights=[10, 20, 30, 40, 50, 60, 70, 80])
    rule = {"column": "s", "window": "high", "rate": 0.5, "within": {"column": "n_bytes", "quantiles": 2}}
    for n in (1, 3):
        assert scores_kept(decide(in_shards(rows, n), rule)) == [3, 4, 30, 40]


def test_strata_inside_every_domain_and_those_without_a_value() -> None:
    rows = rows_of(
        [1, 2, 3, 4, 5, 6, 7, 8, 9, 10], domains=["a"] * 4 + ["b"] * 4 + ["a"] * 2, weights=[1, 2, 3, 4, 400, 300, 200, 100, 0, 0]
    )
    for row in rows[8:]:
        row["n_bytes"] = None
    rule = {"column": "s", "window": "low", "rate": 0.5, "within": ["domain", {"column": "n_bytes", "quantiles": 2}]}
    # a: {1, 2} and {3, 4}; b, whose longest come first: {7, 8} and {5, 6}; a without a length: {9, 10}.
    assert scores_kept(decide(in_shards(rows, 2), rule)) == [1, 3, 5, 7, 9]
    ready = resolve(parse_rules([rule]), table_of([]).schema)
    cut = find_cuts(ready, over(in_shards(rows, 2)))[0]
    assert cut is not None
    told = {text_of(ready[0].within, g.group): g.n_documents for g in cut.groups}
    assert told == {f"{d}, n_bytes {k} of 2": 2 for d in "ab" for k in (1, 2)} | {"a, n_bytes null": 2}


def test_two_string_columns_make_pairs() -> None:
    rows = rows_of([1, 2, 3, 4, 5, 6], domains=["a", "a", "a", "a", None, None])
    for row, source in zip(rows, ["x", "x", "y", "y", "x", "x"], strict=True):
        row["source"] = source
    assert scores_kept(decide(in_shards(rows, 2), {"column": "s", "window": "high", "rate": 0.5, "within": ["domain", "source"]})) == [
        2,
        4,
        6,
    ]


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_strata_are_even_exact_and_the_same_for_any_shards(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 50))
    outer = data.draw(st.sampled_from([None, "domain"]))
    quantiles = data.draw(st.sampled_from([2, 3, 4, 5, 7, 10]))
    domains = data.draw(st.lists(st.sampled_from(["a", "b", None]), min_size=n, max_size=n))
    rows = rows_of(data.draw(st.lists(st.sampled_from([None, 1.0, 2.0, 3.5]), min_size=n, max_size=n)), domains)
    for row, size in zip(rows, data.draw(st.lists(st.sampled_from([None, 1, 5, 6, 2**40]), min_size=n, max_size=n)), strict=True):
        row["n_bytes"] = size
    order = data.draw(st.permutations(rows))
    shards = in_shards(order, data.draw(st.integers(1, 4)))
    stratum = {"column": "n_bytes", "quantiles": quantiles}
    rule = {"column": "s", "window": "low", "rate": 0.5, "within": [outer, stratum] if outer else stratum}
    ready = resolve(parse_rules([rule]), shards[0].schema)
    cut = find_cuts(ready, over(shards), data.draw(st.sampled_from([1, 5, 1000])))[0]
    assert cut is not None
    wanted = Counter(strata_expected(rows, quantiles, outer).values())
    groups = {parts_of(ready[0].within, g.group): g.n_documents for g in cut.groups}
    assert groups == {(value, k) if outer else (k,): size for (value, k), size in wanted.items()}
    for value in {v for v, _ in wanted}:
        sizes = [wanted[value, k] for k in range(1, quantiles + 1)]
        assert max(sizes) - min(sizes) <= 1
    found = kept(decide(shards, rule, limit=3))
    assert len(found) == sum(half_up(0.5, size) for size in groups.values())
    by_group = Counter(strata_expected(rows, quantiles, outer)[i] for i in found)
    assert all(by_group[group] == half_up(0.5, size) for group, size in wanted.items())


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.floats(-1e6, 1e6, allow_subnormal=False).map(lambda x: round(x, 3)), min_size=2, max_size=40),
    st.sampled_from([0.1, 0.25, 0.5, 0.75]),
    st.sampled_from([None, {"column": "n_bytes", "quantiles": 3}]),
)
def test_windows_part_the_corpus_and_only_the_order_of_scores_matters(scores: list[float], rate: float, within: Any) -> None:
    sizes = [(i * 37) % 11 for i in range(len(scores))]
    tables = in_shards(rows_of(scores, weights=sizes), 2)
    stretched = in_shards(rows_of([2 * s - 7 for s in scores], weights=sizes), 3)
    if len({2 * s - 7 for s in scores}) < len(set(scores)):
        return
    sets = {}
    for window, share in (("low", rate), ("high", 1 - rate), ("medium", rate)):
        rule = {"column": "s", "window": window, "rate": share, "within": within}
        sets[window] = kept(decide(tables, rule))
        assert sets[window] == kept(decide(stretched, rule))
    assert sets["low"] | sets["high"] == set(range(len(scores)))
    assert not sets["low"] & sets["high"]
    assert len(sets["medium"]) == len(sets["low"])
    thirds = [kept(decide(tables, {"column": "s", "window": w, "within": within})) for w in ([0, 0.3], [0.3, 0.7], [0.7, 1])]
    assert set.union(*thirds) == set(range(len(scores)))
    assert sum(map(len, thirds)) == len(scores)


def test_many_groups_take_the_same_few_passes() -> None:
    rows = rows_of(
        list(np.random.default_rng(2).normal(size=900)), ["a", "b", "c"] * 300, np.random.default_rng(3).integers(1, 99, 900).tolist()
    )
    passes: list[str] = []
    shards = in_shards(rows, 3)

    def counting(task: Any) -> list[Any]:
        passes.append(task.func.__name__)
        return [task(shard) for shard in shards]

    rule = {"column": "s", "window": "medium", "rate": 0.5, "within": ["domain", {"column": "n_bytes", "quantiles": 10}]}
    find_cuts(resolve(parse_rules([rule]), shards[0].schema), counting)
    assert passes == ["survey", "candidates"] * 2


def test_strata_of_other_documents_are_refused() -> None:
    rows = rows_of([1, 2, 3], domains=["a", "a", "new"])
    rule = {"column": "s", "window": "low", "rate": 0.5, "within": ["domain", {"column": "n_bytes", "quantiles": 2}]}
    ready = resolve(parse_rules([rule]), table_of([]).schema)
    cuts = find_cuts(ready, over([table_of(rows[:2])]))
    with pytest.raises(IntegrityError, match="no strata were found for the group"):
        verdicts(ready, cuts, table_of(rows[2:]))


def test_a_shard_without_ranked_documents_needs_no_group() -> None:
    shards = [table_of(rows_of([1.0, 2.0])), table_of(rows_of([None])), table_of([])]
    for within in (None, {"column": "n_bytes", "quantiles": 2}, ["domain", "source"]):
        for window in ("low", "random"):
            decided = decide(shards, {"column": "s", "window": window, "rate": 0.5, "within": within})
            assert sum(decided["keep"].to_pylist()) == (1 if within is None else 2)


# --- the words of errors ---


@pytest.mark.parametrize(
    ("within", "words"),
    [
        ({"column": "n_bytes", "quantiles": 1}, ["cannot cut 'n_bytes' into 1 groups", "from 2 to 100"]),
        ({"column": "n_bytes", "quantiles": 101}, ["101", "from 2 to 100"]),
        ({"column": "n_bytes", "quantiles": 2.5}, ["2.5", "whole number"]),
        ({"column": "n_bytes", "quantiles": True}, ["True", "whole number"]),
        ({"column": "n_bytes"}, ["names 'n_bytes' alone", "quantiles"]),
        ({"quantiles": 4}, ["quantiles of no column"]),
        ({"column": "n_bytes", "quantile": 4}, ["no key 'quantile'", "did you mean 'quantiles'"]),
        ([], ["cannot be []"]),
        (3, ["cannot be 3"]),
        (["domain", 3], ["lists 3"]),
        (["domain", "domain"], ["a column twice"]),
        ([{"column": "n_bytes", "quantiles": 2}, {"column": "s", "quantiles": 2}], ["2 columns with quantiles: n_bytes, s", "one at most"]),
        ({"column": "domain", "quantiles": 2}, ["`quantiles` of 'domain'", "a column of numbers"]),
        ({"column": "n_byte", "quantiles": 2}, ["no column 'n_byte'", "did you mean 'n_bytes'"]),
        (["domain", "n_bytes"], ["int64", "a string column", "quantiles"]),
    ],
)
def test_within_is_refused_in_words(within: Any, words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve(parse_rules([{"column": "s", "window": "low", "rate": 0.5, "within": within}]), table_of([]).schema)
    for word in [*words, "rule on 's'"]:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("within", "dumped"),
    [
        ("domain", "domain"),
        (["domain"], "domain"),
        ([{"column": "n_bytes", "quantiles": 3}], {"column": "n_bytes", "quantiles": 3}),
        ([{"column": "n_bytes", "quantiles": 3}, "domain"], ["domain", {"column": "n_bytes", "quantiles": 3}]),
    ],
)
def test_within_survives_its_own_json(within: Any, dumped: Any) -> None:
    rule = parse_rules([{"column": "s", "window": "low", "rate": 0.5, "within": within}])[0]
    said = rule.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    assert said["within"] == dumped
    assert Rule.model_validate(said) == rule


@given(st.lists(st.one_of(st.none(), st.text(), st.integers(1, 9)), max_size=4).map(tuple))
def test_labels_can_be_read_back(parts: tuple[Any, ...]) -> None:
    within = ("a", "b")
    assert parts_of(within, label_of(within, parts)) == parts
