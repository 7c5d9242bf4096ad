"""The rule configuration: what it accepts, what it refuses and in which words."""

from __future__ import annotations

import pyarrow as pa
import pytest

from curate.errors import ConfigError
from curate.selection import Rule, columns, parse_rules, resolve

SCHEMA = pa.schema(
    [
        ("doc_id", pa.binary(16)),
        ("domain", pa.dictionary(pa.int32(), pa.string())),
        ("n_bytes", pa.int64()),
        ("source", pa.string()),
        ("source_row", pa.int64()),
        ("langid.label", pa.string()),
        ("dedup.keep", pa.bool_()),
        ("tokens.n", pa.int32()),
        pa.field("ppl.perplexity", pa.float32(), metadata={"direction": "lower"}),
        pa.field("rating.overall", pa.float64(), metadata={"direction": "higher"}),
        pa.field("caps.share", pa.float64(), metadata={"direction": "none"}),
        pa.field("mystery.value", pa.float64()),
    ]
)


def refused(**keys: object) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_rules([keys])
    return str(caught.value)


def test_every_form_of_rule_is_read() -> None:
    rules = parse_rules(
        [
            {"column": "n_bytes", "min": 200, "max": 1_000_000},
            {"column": "caps.share", "above": 0, "below": 0.5},
            {"column": "langid.label", "in": ["en", "fr"], "nulls": "keep"},
            {"column": "langid.label", "not_in": "de"},
            {"column": "dedup.keep", "equals": True},
            {"column": "ppl.perplexity", "window": "medium", "rate": 0.5, "within": "domain", "by": "tokens"},
            {"column": "ppl.perplexity", "window": [0.1, 0.9]},
            {"column": "rating.overall", "top": 0.25, "reason": "weak", "only": {"domain": "web"}},
            {"column": "rating.overall", "levels": [4, 5]},
        ]
    )
    assert [r.code for r in rules] == [
        "min-max:n_bytes",
        "above-below:caps.share",
        "in:langid.label",
        "not_in:langid.label",
        "equals:dedup.keep",
        "medium:ppl.perplexity",
        "window:ppl.perplexity",
        "weak",
        "levels:rating.overall",
    ]
    assert rules[3].not_in == ("de",)
    assert rules[7].only == {"domain": ("web",)}
    assert rules[7].null_code == "weak:null"
    assert [r.ranks for r in rules] == [False] * 5 + [True, True, True, False]
    assert columns(resolve(rules, SCHEMA, "tokens.n")) == (
        "doc_id",
        "source",
        "source_row",
        "n_bytes",
        "caps.share",
        "langid.label",
        "dedup.keep",
        "ppl.perplexity",
        "domain",
        "tokens.n",
        "rating.overall",
    )


def test_a_rule_survives_its_own_json() -> None:
    rule = parse_rules([{"column": "langid.label", "in": ["en"], "only": {"domain": ["web"]}}])[0]
    dumped = rule.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    assert dumped == {"column": "langid.label", "in": ["en"], "only": {"domain": ["web"]}}
    assert Rule.model_validate(dumped) == rule


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"column": "a", "mim": 3}, ["no key 'mim'", "did you mean 'min'"]),
        ({"column": "a"}, ["tests nothing", "window"]),
        ({"column": "a", "min": 1, "equals": 2}, ["2 tests: min, equals"]),
        ({"column": "a", "top": 0.5, "bottom": 0.5}, ["2 tests: top, bottom"]),
        ({"column": "a", "min": 1, "above": 1}, ["same side"]),
        ({"column": "a", "max": 1, "below": 1}, ["same side"]),
        ({"column": "a", "min": 2, "max": 1}, ["no value lies between 2 and 1"]),
        ({"column": "a", "min": 1, "below": 1}, ["no value lies between"]),
        ({"column": "a", "min": 1, "rate": 0.5}, ["`rate` belongs to"]),
        ({"column": "a", "window": [0.2, 0.8], "rate": 0.5}, ["`rate` belongs to"]),
        ({"column": "a", "window": "low"}, ["`window: low` needs the share"]),
        ({"column": "a", "window": "low", "rate": 0.5, "amount": 10}, ["`rate` and `amount`", "one of them"]),
        ({"column": "a", "window": [0.2, 0.8], "amount": 10}, ["`amount` belongs to"]),
        ({"column": "a", "top": 0.5, "amount": 10}, ["`amount` belongs to"]),
        ({"column": "a", "window": "high", "amount": 10, "within": "domain"}, ["`amount` is of all documents", "use `rate`"]),
        ({"column": "a", "window": "high", "amount": 0}, ["amount", "greater than 0"]),
        ({"column": "a", "window": "high", "amount": 2.5}, ["amount", "valid integer"]),
        ({"column": "a", "window": "high", "amount": "10MiB", "by": "tokens"}, ["amount", "a count such as 10M"]),
        ({"column": "a", "window": "high", "amount": "10 B", "by": "bytes"}, ["amount", "two ways", "10GB"]),
        ({"verdict": "filters", "amount": 5}, ["`amount` has no meaning beside `verdict`"]),
        ({"column": "a", "window": [0.5, 0.5]}, ["[0.5, 0.5] is empty"]),
        ({"column": "a", "window": "lo", "rate": 0.5}, ["window", "'low', 'medium', 'high' or 'random'"]),
        ({"column": "a", "window": "low", "rate": 0}, ["rate", "greater than 0"]),
        ({"column": "a", "window": "low", "rate": 1.5}, ["rate", "less than or equal to 1"]),
        ({"column": "a", "min": 1, "within": "domain"}, ["`within` has no meaning for `min`"]),
        ({"column": "a", "equals": 1, "by": "documents"}, ["`by` has no meaning for `equals`"]),
        ({"column": "a", "min": "200"}, ["min", "valid integer"]),
        ({"column": "a", "min": float("nan")}, ["min", "finite"]),
        ({"column": "a", "in": []}, ["in", "at least 1 item"]),
        ({"column": "a", "min": 1, "nulls": "dorp"}, ["nulls", "'drop' or 'keep'"]),
        ({"min": 1}, ["names no column", "`verdict:`"]),
        ({"verdict": "filters", "min": 1}, ["`min` has no meaning beside `verdict`"]),
        ({"verdict": "filters", "column": "a"}, ["`column` has no meaning beside `verdict`"]),
        ({"verdict": "filters", "within": "domain"}, ["`within` has no meaning beside `verdict`"]),
    ],
)
def test_contradictions_are_refused_in_words(keys: dict[str, object], words: list[str]) -> None:
    message = refused(**keys)
    for word in words:
        assert word in message


def test_errors_name_the_rule_by_number() -> None:
    with pytest.raises(ConfigError, match="selection rule 2 is not valid"):
        parse_rules([{"column": "a", "min": 1}, "n_bytes > 3"])


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"column": "ppl.perplexty", "min": 1}, ["no column 'ppl.perplexty'", "did you mean 'ppl.perplexity'"]),
        ({"column": "n_bytes", "window": "low", "rate": 0.5, "within": "domian"}, ["did you mean 'domain'"]),
        ({"column": "n_bytes", "min": 1, "only": {"domian": ["web"]}}, ["did you mean 'domain'"]),
        ({"column": "n_bytes", "window": "low", "rate": 0.5, "within": "source_row"}, ["int64", "a string column"]),
        ({"column": "n_bytes", "window": "low", "rate": 0.5, "by": "caps.share"}, ["an integer column"]),
        ({"column": "langid.label", "min": 1}, ["string", "a column of numbers"]),
        ({"column": "dedup.keep", "top": 0.5}, ["bool", "a column of numbers"]),
        ({"column": "doc_id", "equals": "x"}, ["numbers, strings or booleans"]),
        ({"column": "n_bytes", "equals": "12"}, ["'12' can never equal", "int64"]),
        ({"column": "n_bytes", "in": [1, 2.5]}, ["2.5 can never equal"]),
        ({"column": "langid.label", "in": ["en", True]}, ["True can never equal"]),
        ({"column": "mystery.value", "top": 0.5}, ["higher or lower is better"]),
    ],
)
def test_rules_are_checked_against_the_columns_there_are(keys: dict[str, object], words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve(parse_rules([keys]), SCHEMA)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("by", "written", "amount"),
    [
        ("tokens", "10M", 10_000_000),
        ("tokens", "1.5B", 1_500_000_000),
        ("documents", "2k", 2000),
        ("bytes", "64MiB", 64 << 20),
        ("n_bytes", "1.5 GB", 1_500_000_000),
        ("bytes", "10M", 10_000_000),
        ("bytes", 12, 12),
        ("source_row", 10**13, 10**13),
    ],
)
def test_amounts_are_read_by_what_is_counted(by: str, written: object, amount: int) -> None:
    # In a mapping whose keys come in any order.
    for keys in ({"amount": written, "by": by}, {"by": by, "amount": written}):
        rule = parse_rules([{"column": "rating.overall", "window": "high"} | keys])[0]
        assert rule.amount == amount
        assert Rule.model_validate(rule.model_dump(mode="json", by_alias=True, exclude_defaults=True)) == rule
    ready = resolve(parse_rules([{"column": "rating.overall", "window": "high", "amount": written, "by": by}]), SCHEMA, "tokens.n")
    assert ready[0].amount == amount


@pytest.mark.parametrize(
    ("column", "test", "window"),
    [
        ("rating.overall", "top", "high"),
        ("rating.overall", "bottom", "low"),
        ("ppl.perplexity", "top", "low"),
        ("ppl.perplexity", "bottom", "high"),
        ("caps.share", "top", "high"),
        ("n_bytes", "top", "high"),
    ],
)
def test_top_follows_the_direction_of_the_column(column: str, test: str, window: str) -> None:
    once = resolve(parse_rules([{"column": column, test: 0.25}]), SCHEMA)
    assert (once[0].window, once[0].rate, once[0].code) == (window, 0.25, f"{test}:{column}")
    assert resolve(once, SCHEMA) == once


def test_tokens_need_a_tokenizer_and_bytes_do_not() -> None:
    by_tokens = parse_rules([{"column": "n_bytes", "window": "low", "rate": 0.5, "by": "tokens"}])
    with pytest.raises(ConfigError, match="needs token counts"):
        resolve(by_tokens, SCHEMA)
    assert resolve(by_tokens, SCHEMA, "tokens.n")[0].weight_column == "tokens.n"
    by_bytes = parse_rules([{"column": "ppl.perplexity", "window": "low", "rate": 0.5, "by": "bytes"}])
    assert resolve(by_bytes, SCHEMA)[0].weight_column == "n_bytes"
