"""A verdict rule drops what a scorer decided against, for the reasons the scorer gives."""

from __future__ import annotations

import pyarrow as pa
import pytest

from curate import selection
from curate.errors import ConfigError, IntegrityError

CODES = pa.field("reason", pa.dictionary(pa.int32(), pa.string()), metadata={"codes": "short,long,loud"})
SCHEMA = pa.schema(
    [
        pa.field("domain", pa.string()),
        pa.field("n_bytes", pa.int64()),
        pa.field("filters.keep", pa.bool_()),
        CODES.with_name("filters.reason"),
        pa.field("mine.keep", pa.bool_()),
        pa.field("scores.keep", pa.float64()),
    ]
)


def table(keep: list[bool | None], reason: list[str | None], mine: list[bool] | None = None) -> pa.Table:
    n = len(keep)
    columns = {
        "doc_id": pa.array([i.to_bytes(16, "big") for i in range(n)], pa.binary(16)),
        "source": ["s"] * n,
        "source_row": pa.array(range(n), pa.int64()),
        "domain": ["web" if i % 2 else "books" for i in range(n)],
        "n_bytes": pa.array([10] * n, pa.int64()),
        "filters.keep": pa.array(keep, pa.bool_()),
        "filters.reason": pa.array(reason, pa.string()).dictionary_encode(),
        "mine.keep": pa.array(mine or [True] * n, pa.bool_()),
    }
    return pa.table(columns)


def reasons(given: list[dict[str, object]], rows: pa.Table) -> list[str | None]:
    rules = selection.resolve(selection.parse_rules(given), SCHEMA)
    return selection.verdicts(rules, [None] * len(rules), rows)["reason"].to_pylist()


def test_each_document_gets_the_reason_the_scorer_gave() -> None:
    rows = table([True, False, False, True], [None, "long", "short", None])
    assert reasons([{"verdict": "filters"}], rows) == [None, "long", "short", None]
    assert reasons([{"verdict": "filters", "reason": "rules"}], rows) == [None, "rules:long", "rules:short", None]


def test_rules_before_and_after_keep_their_own_reasons() -> None:
    rows = table([False, False, True], ["loud", "short", None], mine=[False, True, False])
    assert reasons([{"verdict": "mine"}, {"verdict": "filters"}], rows) == ["verdict:mine", "short", "verdict:mine"]
    assert reasons([{"verdict": "filters"}, {"verdict": "mine", "reason": "mine"}], rows) == ["loud", "short", "mine"]


def test_a_verdict_can_concern_one_domain_only() -> None:
    rows = table([False, False], ["loud", "short"])
    assert reasons([{"verdict": "filters", "only": {"domain": ["web"]}}], rows) == [None, "short"]


def test_a_missing_verdict_drops_unless_told_otherwise() -> None:
    rows = table([None, True], [None, None])
    assert reasons([{"verdict": "filters"}], rows) == ["verdict:filters:null", None]
    assert reasons([{"verdict": "filters", "nulls": "keep"}], rows) == [None, None]


def test_all_shards_share_one_list_of_reasons() -> None:
    rules = selection.resolve(selection.parse_rules([{"verdict": "filters"}]), SCHEMA)
    one, other = (selection.verdicts(rules, [None], table([False], [reason])) for reason in ("short", "loud"))
    assert one["reason"].chunk(0).dictionary == other["reason"].chunk(0).dictionary
    assert one["reason"].chunk(0).dictionary.to_pylist() == ["short", "long", "loud", "verdict:filters:null"]


def test_a_reason_that_was_not_announced_is_a_defect_of_the_scorer() -> None:
    rules = selection.resolve(selection.parse_rules([{"verdict": "filters"}]), SCHEMA)
    for reason in ("other", None):
        with pytest.raises(IntegrityError, match=r"without one of the reasons announced"):
            selection.verdicts(rules, [None], table([False], [reason]))


@pytest.mark.parametrize("group", ["filter", "scores", "langid"])
def test_a_group_that_decides_nothing_is_refused(group: str) -> None:
    with pytest.raises(ConfigError, match="decides nothing"):
        selection.resolve(selection.parse_rules([{"verdict": group}]), SCHEMA)
