"""Selection against hand-computed sets, and against a plain sort of the whole corpus in memory."""

from __future__ import annotations

import gzip
import math
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st
from selections import SCORES, Row, decide, expected, kept, over, rows_of, scores_kept, table_of

from curate.errors import InputError, IntegrityError
from curate.selection import check_conservation, find_cuts, merge_tallies, parse_rules, resolve, tally, verdicts
from curate.selection.ordering import keys_of, kind_of, value_of

# --- hand-computed ---


@pytest.mark.parametrize(("window", "answer"), [("low", [1, 2, 3]), ("medium", [4, 5, 6]), ("high", [7, 8, 9])])
def test_nine_documents_one_third(window: str, answer: list[int]) -> None:
    table = table_of(rows_of([5, 9, 1, 8, 2, 7, 3, 6, 4]))
    assert scores_kept(decide([table], {"column": "s", "window": window, "rate": 1 / 3})) == answer


def test_high_keeps_the_rate_and_not_its_complement() -> None:
    table = table_of(rows_of(list(range(100))))
    assert scores_kept(decide([table], {"column": "s", "window": "high", "rate": 0.1})) == list(range(90, 100))


@pytest.mark.parametrize("n", [1, 2, 7, 10, 99])
@pytest.mark.parametrize("rate", [0.05, 0.25, 0.35, 0.5, 0.9, 1.0])
def test_counts_are_exact_and_windows_partition(n: int, rate: float) -> None:
    table = table_of(rows_of([i * 7 % n for i in range(n)]))
    count = math.floor(Fraction(str(rate)) * n + Fraction(1, 2))
    low, medium = (kept(decide([table], {"column": "s", "window": w, "rate": rate})) for w in ("low", "medium"))
    assert len(low) == len(medium) == count
    rest = round(1 - rate, 10)
    high = kept(decide([table], {"column": "s", "window": "high", "rate": rest})) if rest else set()
    assert low | high == set(range(n))
    assert not low & high
    if rate < 0.5:
        tail = kept(decide([table], {"column": "s", "window": "high", "rate": rate}))
        middle = kept(decide([table], {"column": "s", "window": [rate, 1 - rate]}))
        assert low | middle | tail == set(range(n))
        assert len(low) + len(middle) + len(tail) == n
    if rate == 1.0:
        assert medium == set(range(n))


@pytest.mark.parametrize(("n", "rate", "answer"), [(4, 0.25, [1]), (5, 0.4, [1, 2]), (6, 0.5, [1, 2, 3]), (2, 0.5, [0]), (3, 0.1, [])])
def test_a_medium_window_that_cannot_be_centred_leans_low(n: int, rate: float, answer: list[int]) -> None:
    assert scores_kept(decide([table_of(rows_of(list(range(n))))], {"column": "s", "window": "medium", "rate": rate})) == answer


def test_many_shards_and_domains_get_fewer_buckets_and_the_same_cuts(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = rows_of(list(np.random.default_rng(5).normal(0, 1e6, 6000)), domains=["a", "b", "c"] * 2000)
    shards = [table_of(rows[i::20]) for i in range(20)]
    sizes: list[int] = []
    bits: list[int] = []

    def measured(task: Callable[[pa.Table], Any]) -> list[Any]:
        results = [task(shard) for shard in shards]
        if task.func.__name__ == "histogram":  # type: ignore[attr-defined]
            sizes.append(sum(map(len, results)))
            bits.append(max(s.bits for s in task.keywords["slots"]))  # type: ignore[attr-defined]
        return results

    monkeypatch.setattr("curate.selection.search._HISTOGRAM_ROWS", 8 * 20 * 6)
    rules = resolve(parse_rules([{"column": "s", "window": "medium", "rate": 0.5, "within": "domain"}]), shards[0].schema)
    cuts = find_cuts(rules, measured, limit=6)
    assert max(sizes) <= 8 * 20 * 6
    assert bits[0] == 3
    assert cuts == find_cuts(rules, over(shards))


def test_a_monotone_transform_changes_nothing() -> None:
    values = np.random.default_rng(3).normal(0, 4, 200)
    sets = [
        kept(decide([table_of(rows_of(list(v)))], {"column": "s", "window": "medium", "rate": 0.3}))
        for v in (values, np.exp(values), values**3 * 5 - 1)
    ]
    assert sets[0] == sets[1] == sets[2]


def test_rules_apply_in_order_and_the_first_failure_is_the_reason() -> None:
    rows = rows_of([1, 2, 3, 4, None, 6, 7, 8], weights=[1, 1, 100, 100, 100, 100, 100, 100])
    decided = decide(
        [table_of(rows[:5]), table_of(rows[5:])],
        {"column": "n_bytes", "min": 50, "reason": "short"},
        {"column": "s", "window": "low", "rate": 0.6},
        {"column": "s", "below": 4},
    )
    # Five documents with a score survive the first rule: 3 4 6 7 8. The lower 60 % of those are 3 4 6.
    assert decided["reason"].to_pylist() == ["short", "short", None, "below:s", "low:s:null", "below:s", "low:s", "low:s"]
    assert decided["keep"].to_pylist() == [r is None for r in decided["reason"].to_pylist()]


def test_shards_agree_on_the_reason_dictionary() -> None:
    parts = [table_of(rows_of([1.0])), table_of(rows_of([9.0]))]
    rules = resolve(parse_rules([{"column": "s", "min": 5}, {"column": "s", "max": 7}]), parts[0].schema)
    columns = [verdicts(rules, (None, None), p)["reason"].combine_chunks() for p in parts]
    assert columns[0].dictionary == columns[1].dictionary == pa.array(["min:s", "min:s:null", "max:s", "max:s:null"])


def test_nulls_and_nan_are_missing_never_ranked() -> None:
    rows = rows_of([None, math.nan, 1.0, 2.0, 3.0, 4.0, math.inf, -math.inf])
    dropped = decide([table_of(rows)], {"column": "s", "window": "low", "rate": 0.5})
    assert kept(dropped) == {7, 2, 3}
    assert dropped["reason"].to_pylist()[:2] == ["low:s:null"] * 2
    assert kept(decide([table_of(rows)], {"column": "s", "window": "low", "rate": 0.5, "nulls": "keep"})) == {0, 1, 7, 2, 3}
    assert kept(decide([table_of(rows)], {"column": "s", "max": 2, "nulls": "keep"})) == {0, 1, 7, 2, 3}
    assert kept(decide([table_of(rows)], {"column": "s", "not_in": [1, 2], "nulls": "drop"})) == {4, 5, 6, 7}


def test_only_restricts_the_rule_to_some_domains() -> None:
    rows = rows_of([5, 1, 4, 2, 3, 0], domains=["web", "web", "web", "web", "code", "code"])
    assert kept(decide([table_of(rows)], {"column": "s", "window": "low", "rate": 0.5, "only": {"domain": "web"}})) == {1, 3, 4, 5}
    assert kept(decide([table_of(rows)], {"column": "s", "min": 4, "only": {"domain": ["web"]}})) == {0, 2, 4, 5}


def test_within_ranks_every_domain_alone_and_nulls_as_a_group() -> None:
    rows = rows_of([1, 2, 3, 4, 10, 20, 7, 8], domains=["a", "a", "a", "a", "b", "b", None, None])
    decided = decide([table_of(rows[::2]), table_of(rows[1::2])], {"column": "s", "window": "high", "rate": 0.5, "within": "domain"})
    assert kept(decided) == {2, 3, 5, 7}


def test_weights_decide_by_midpoint() -> None:
    # Cumulative midpoints of weights 1 1 2 4 2 are 0.5 1.5 3 6 9 of 10.
    rows = rows_of([1, 2, 3, 4, 5], weights=[1, 1, 2, 4, 2])
    by_bytes = {"column": "s", "by": "bytes"}
    assert kept(decide([table_of(rows)], {**by_bytes, "window": "low", "rate": 0.5})) == {0, 1, 2}
    assert kept(decide([table_of(rows)], {**by_bytes, "window": "low", "rate": 0.6})) == {0, 1, 2, 3}
    assert kept(decide([table_of(rows)], {**by_bytes, "window": "high", "rate": 0.5})) == {3, 4}
    assert kept(decide([table_of(rows)], {**by_bytes, "window": "medium", "rate": 0.6})) == {2, 3}


def test_a_ranked_document_without_a_weight_is_an_error() -> None:
    rows = rows_of([1.0, 2.0, None], weights=[1, 1, 1])
    rows[1]["n_bytes"], rows[2]["n_bytes"] = None, None
    with pytest.raises(InputError, match="1 documents have a score") as caught:
        decide([table_of(rows)], {"column": "s", "window": "low", "rate": 0.5, "by": "bytes"})
    assert "file-1 row 1" in str(caught.value)


@pytest.mark.parametrize(
    ("rule", "answer"),
    [
        ({"min": 2, "max": 4}, {2, 3, 4}),
        ({"min": 1.5}, {2, 3, 4, 5}),
        ({"max": 2.5}, {0, 1, 2}),
        ({"below": 2.5}, {0, 1, 2}),
        ({"below": 2}, {0, 1}),
        ({"above": 2, "below": 4}, {3}),
        ({"above": 1.5, "max": 3.0}, {2, 3}),
        ({"equals": 3}, {3}),
        ({"in": [1, 5, 99]}, {1, 5}),
        ({"not_in": [1, 5]}, {0, 2, 3, 4}),
        ({"levels": [4, 5]}, {4, 5}),
    ],
)
@pytest.mark.parametrize("kind", [pa.float64(), pa.float32(), pa.int64(), pa.uint8(), pa.int16()])
def test_thresholds_on_every_numeric_type(rule: Row, answer: set[int], kind: pa.DataType) -> None:
    assert kept(decide([table_of(rows_of([0, 1, 2, 3, 4, 5]), kind)], {"column": "s", **rule})) == answer


def test_levels_round_fractional_ratings_halves_upwards() -> None:
    assert kept(decide([table_of(rows_of([3.4, 3.5, 4.49, 4.5, 5.0]))], {"column": "s", "levels": [4]})) == {1, 2}


def test_texts_and_booleans() -> None:
    texts = table_of(rows_of(["en", None, "fr", "de"]), pa.string())
    assert kept(decide([texts], {"column": "s", "in": ["en", "fr"]})) == {0, 2}
    assert kept(decide([texts], {"column": "s", "not_in": ["en"], "nulls": "keep"})) == {1, 2, 3}
    assert kept(decide([texts], {"column": "s", "equals": "de"})) == {3}
    flags = table_of(rows_of([True, False, None]), pa.bool_())
    assert kept(decide([flags], {"column": "s", "equals": True})) == {0}
    assert kept(decide([flags], {"column": "s", "equals": False, "nulls": "keep"})) == {1, 2}


def test_large_integers_are_not_rounded_to_float() -> None:
    values = [2**63 - 1, 2**63 - 2, 2**53 + 1, 2**53, -(2**63), -(2**63) + 1]
    table = table_of(rows_of(values), pa.int64())
    assert kept(decide([table], {"column": "s", "window": "low", "rate": 1 / 6})) == {4}
    assert kept(decide([table], {"column": "s", "window": "high", "rate": 1 / 6})) == {0}
    assert kept(decide([table], {"column": "s", "above": 2**53, "max": 2**63 - 2})) == {1, 2}
    assert kept(decide([table], {"column": "s", "equals": 2**53 + 1})) == {2}
    assert kept(decide([table], {"column": "s", "min": -(2**70)})) == set(range(6))


def test_both_zeros_tie() -> None:
    rows = rows_of([0.0, -0.0, 0.0, -0.0])
    by_id = [r["source_row"] for r in sorted(rows, key=lambda r: r["doc_id"])]
    assert kept(decide([table_of(rows)], {"column": "s", "window": "low", "rate": 0.5})) == set(by_id[:2])


@given(st.lists(st.floats(allow_nan=False), min_size=2, max_size=30), st.sampled_from([np.float64, np.int64, np.uint64]))
def test_keys_keep_order_and_can_be_read_back(values: list[float], kind: type) -> None:
    array = np.array(values) if kind is np.float64 else np.array(values).view(kind)
    keys, plain = keys_of(array).tolist(), array.tolist()
    for a, b, x, y in zip(keys, keys[1:], plain, plain[1:], strict=False):
        assert (a < b, a == b) == (x < y, x == y)
    assert [value_of(k, kind_of(array)) for k in keys] == plain


# --- against the plain sort ---

WINDOWS = st.one_of(
    st.tuples(st.sampled_from(["low", "medium", "high"]), st.sampled_from([0.01, 0.1, 0.25, 1 / 3, 0.5, 0.75, 1.0])),
    st.tuples(st.sampled_from([[0, 0.3], [0.25, 0.75], [0.1, 1], [0.4, 0.41]]), st.none()),
)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_sharding_keeps_what_a_plain_sort_keeps(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 60), "n")
    domains = data.draw(st.lists(st.sampled_from(["a", "b", None]), min_size=n, max_size=n), "domains")
    weights = data.draw(st.lists(st.sampled_from([0, 1, 2, 7, 1000, 2**40]), min_size=n, max_size=n), "weights")
    rows = rows_of(data.draw(st.lists(SCORES, min_size=n, max_size=n), "scores"), domains, weights)
    for i in range(0, n, 4):  # exact copies: only source and row tell them apart
        rows[i]["doc_id"] = rows[0]["doc_id"]
    window, rate = data.draw(WINDOWS, "window")
    by = data.draw(st.sampled_from(["documents", "n_bytes"]), "by")
    within = data.draw(st.sampled_from([None, "domain"]), "within")
    order = data.draw(st.permutations(rows), "order")
    edges = sorted(data.draw(st.lists(st.integers(0, n), max_size=4), "edges"))
    # Slices of a table of many chunks: offsets, and dictionaries that differ from chunk to chunk.
    whole = pa.concat_tables([table_of(order[i : i + 7]) for i in range(0, n, 7)])
    shards = [whole.slice(a, b - a) for a, b in zip([0, *edges], [*edges, n], strict=True)]
    rule = {"column": "s", "window": window, "by": by, "within": within} | ({"rate": rate} if rate else {})
    limit = data.draw(st.sampled_from([1, 5, 1000]), "limit")
    assert kept(decide(shards, rule, limit=limit)) == expected(rows, window, rate, by, within)


def test_a_large_tie_is_narrowed_through_ids_sources_and_rows() -> None:
    n = 3000
    rows = rows_of([7.0] * n)
    for i, row in enumerate(rows):
        row["source"] = "one-file"
        row["doc_id"] = rows[i % 2]["doc_id"]
    shards = [table_of(rows[i::4]) for i in range(4)]
    rounds: list[str] = []

    def counting(task: Callable[[pa.Table], Any]) -> list[Any]:
        rounds.append(task.func.__name__)  # type: ignore[attr-defined]
        return [task(shard) for shard in shards]

    rules = resolve(parse_rules([{"column": "s", "window": [0.25, 0.6]}]), shards[0].schema)
    cuts = find_cuts(rules, counting, limit=1)
    found = {r for s in shards for r, k in zip(s["source_row"].to_pylist(), verdicts(rules, cuts, s)["keep"].to_pylist(), strict=True) if k}
    assert found == expected(rows, [0.25, 0.6], None)
    assert rounds.count("histogram") > 8
    assert (rounds[0], rounds[-1]) == ("survey", "candidates")


def test_a_row_read_twice_is_an_integrity_error() -> None:
    row = rows_of([1.0])[0]
    with pytest.raises(IntegrityError, match="share one source and source_row"):
        decide([table_of([row] * 50)], {"column": "s", "window": "low", "rate": 0.5}, limit=1)


def test_cuts_of_other_documents_are_refused() -> None:
    here, there = table_of(rows_of([1.0, 2.0], ["a", "a"])), table_of(rows_of([1.0], ["new"]))
    rules = resolve(parse_rules([{"column": "s", "window": "low", "rate": 0.5, "within": "domain"}]), here.schema)
    with pytest.raises(IntegrityError, match="no cut was found for the group 'new'"):
        verdicts(rules, find_cuts(rules, over([here])), there)


def test_nothing_to_select_from() -> None:
    empty = table_of([])
    rules = resolve(parse_rules([{"column": "s", "window": "low", "rate": 0.5, "within": "domain"}]), empty.schema)
    for shards in ([], [empty], [empty, table_of(rows_of([None]))]):
        cuts = find_cuts(rules, over(shards))
        assert cuts[0] is not None
        assert cuts[0].groups == ()
        assert [verdicts(rules, cuts, s)["keep"].to_pylist() for s in shards] == [[False] * len(s) for s in shards]


def test_a_cut_describes_itself_in_scores() -> None:
    table = table_of(rows_of([1.0, 2.0, 3.0, 4.0]))
    cut = find_cuts(parse_rules([{"column": "s", "window": [0.25, 1]}]), over([table]))[0]
    assert cut is not None
    assert cut.describe() == [{"group": None, "n_documents": 4, "weight": 4, "lower": 2.0, "upper": None}]


# --- the ledger ---


def test_counts_by_domain_and_reason_add_up() -> None:
    rows = rows_of([1, 2, None, 4, 5], domains=["b", "a", "a", "a", "b"], weights=[10, 20, 30, 40, 50])
    shards = [table_of(rows[:2]), table_of(rows[2:])]
    rules = resolve(parse_rules([{"column": "s", "min": 2}]), shards[0].schema)
    parts = [tally(s, verdicts(rules, (None,), s), tokens="source_row") for s in shards]
    total = merge_tallies(parts)
    assert total.to_pylist() == merge_tallies(parts[::-1]).to_pylist()
    assert [tuple(r.values()) for r in total.to_pylist()] == [
        ("a", None, 2, 60, 4),
        ("a", "min:s:null", 1, 30, 2),
        ("b", None, 1, 50, 4),
        ("b", "min:s", 1, 10, 0),
    ]
    check_conservation(total, {"a": (3, 90), "b": (2, 60)})
    for wrong in ({"a": (3, 91), "b": (2, 60)}, {"a": (3, 90)}, {"a": (3, 90), "b": (2, 60), "c": (1, 1)}):
        with pytest.raises(IntegrityError, match="lost or invented"):
            check_conservation(total, wrong)
    assert tally(shards[0], verdicts(rules, (None,), shards[0]))["n_tokens"].to_pylist() == [None, None]


SMALL = Path(__file__).parents[2] / "shared" / "data" / "ci_small"


@pytest.mark.skipif(not SMALL.exists(), reason="the shared sample data are not beside this checkout")
def test_real_documents_by_bytes_within_domain() -> None:
    files = sorted(SMALL.glob("*.jsonl.gz"))
    lines = [(path, i, line) for path in files for i, line in enumerate(gzip.decompress(path.read_bytes()).splitlines())]
    assert len(lines) > 100
    rows: list[Row] = [
        {
            "doc_id": xxhash.xxh3_128_digest(line),
            "domain": path.name.split(".")[0],
            "n_bytes": len(line),
            "source": path.name,
            "source_row": i,
            "s": line.count(b" ") / len(line),
        }
        for path, i, line in lines
    ]
    shards = [table_of(rows[i::5]) for i in range(5)]
    decided = decide(shards, {"column": "s", "window": "medium", "rate": 0.5, "within": "domain", "by": "bytes"}, limit=10)
    for domain in {r["domain"] for r in rows}:
        sizes: list[int] = [r["n_bytes"] for r in rows if r["domain"] == domain]
        held = sum(r["n_bytes"] for r in decided.select(["domain", "n_bytes", "keep"]).to_pylist() if r["keep"] and r["domain"] == domain)
        assert abs(held - sum(sizes) / 2) <= max(sizes)
