"""Windows that keep an amount and not a share: exact, the same for any sharding, and all there is where that is less."""

from __future__ import annotations

import io
import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from selections import SCORES, decide, expected, kept, over, rows_of, scores_kept, table_of

from curate.composition_table import composition_tables
from curate.quantities import count
from curate.selection import composition, find_cuts, parse_rules, resolve


@pytest.mark.parametrize(("window", "answer"), [("low", [0, 1]), ("high", [7, 8]), ("medium", [3, 4]), ("random", None)])
def test_an_amount_of_documents_is_kept_exactly(window: str, answer: list[int] | None) -> None:
    table = table_of(rows_of([5, 0, 7, 2, 8, 1, 3, 6, 4]))
    found = scores_kept(decide([table.slice(0, 4), table.slice(4)], {"column": "s", "window": window, "amount": 2}))
    assert found == answer if answer is not None else len(found) == 2


def test_an_amount_of_bytes_is_as_near_as_half_a_document() -> None:
    # From the best on: 30, 50, 20, 10, with their middles at 15, 55, 90 and 105. What lies half inside is out at this end, in at the other.
    table = table_of(rows_of([4, 3, 2, 1], weights=[30, 50, 20, 10]))
    for amount, answer in ((15, []), (16, [4]), (55, [4]), (56, [3, 4]), (90, [3, 4]), (91, [2, 3, 4]), (106, [1, 2, 3, 4])):
        assert scores_kept(decide([table], {"column": "s", "window": "high", "amount": amount, "by": "bytes"})) == answer, amount
    for amount, answer in ((4, []), (5, [1]), (19, [1]), (20, [1, 2]), (55, [1, 2, 3]), (95, [1, 2, 3, 4])):
        assert scores_kept(decide([table], {"column": "s", "window": "low", "amount": amount, "by": "bytes"})) == answer, amount


@pytest.mark.parametrize("window", ["low", "medium", "high", "random"])
def test_an_amount_that_is_not_there_keeps_everything_and_says_so(window: str) -> None:
    table = table_of(rows_of([4, 3, 2, None], weights=[30, 50, 20, 10]))
    for amount in (100, 101, 10**15):
        rule = {"column": "s", "window": window, "amount": amount, "by": "bytes"}
        assert scores_kept(decide([table], rule)) == [2, 3, 4]
        ready = resolve(parse_rules([rule]), table.schema)
        told = composition(ready, find_cuts(ready, over([table])), over([table]))[0]
        assert (told["amount"], told["available"], told["rate"], told["all"]["n_bytes_after"]) == (amount, 100, None, 100)
        out = io.StringIO()
        Console(file=out, width=200).print(composition_tables([told])[0])
        assert f"{window} {count(amount)} {'' if amount == 100 else '(all there is: 100) '}of s by bytes" in out.getvalue()
    weightless = table_of(rows_of([1, 2], weights=[0, 0]))
    assert scores_kept(decide([weightless], {"column": "s", "window": window, "amount": 5, "by": "bytes"})) == [1, 2]


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_an_amount_keeps_the_same_of_any_sharding(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 40), "n")
    weights = data.draw(st.lists(st.sampled_from([0, 1, 2, 7, 1000, 2**40]), min_size=n, max_size=n), "weights")
    rows = rows_of(data.draw(st.lists(SCORES, min_size=n, max_size=n), "scores"), None, weights)
    window = data.draw(st.sampled_from(["low", "medium", "high", "random"]), "window")
    by = data.draw(st.sampled_from(["documents", "n_bytes"]), "by")
    amount = data.draw(st.one_of(st.integers(1, 50), st.integers(1, 2**45)), "amount")
    edges = sorted(data.draw(st.lists(st.integers(0, n), max_size=4), "edges"))
    whole = table_of(data.draw(st.permutations(rows), "order"))
    shards = [whole.slice(a, b - a) for a, b in zip([0, *edges], [*edges, n], strict=True)]
    rule = {"column": "s", "window": window, "amount": amount, "by": by}
    found = kept(decide(shards, rule, limit=data.draw(st.sampled_from([1, 1000]), "limit")))
    assert found == kept(decide([table_of(rows)], rule))
    ranked = [row for row in rows if row["s"] is not None and not math.isnan(row["s"])]
    weight = {row["source_row"]: row["n_bytes"] if by == "n_bytes" else 1 for row in ranked}
    if amount >= sum(weight.values()):
        assert found == weight.keys()
    elif window in ("low", "high"):
        # Half a document at the one edge.
        assert abs(sum(weight[row] for row in found) - amount) <= max(weight.values()) / 2
    if window != "random" and amount < sum(weight.values()):
        share = Fraction(amount, sum(weight.values()))
        assert found == expected(rows, window, share, by)
