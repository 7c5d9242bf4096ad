"""The ``dedup:`` section: its forms, the probability curve against hand figures and simulation, and what is refused."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from curate.config import PipelineConfig
from curate.dedup.settings import Best, Dedup, Near, better_end, curve, inflection, nearest_workable, probability, workable
from curate.errors import ConfigError
from curate.scorers.minhash import MOST_PERMUTATIONS


def test_defaults_and_short_forms() -> None:
    assert Dedup.model_validate({}) == Dedup(exact=True, near=None, keep="longest", prefer=())
    assert Dedup.model_validate({"near": True}).near == Near(threshold=0.8, ngram=5, bands=14, rows=8, verify=True)
    assert Dedup.model_validate({"near": False}).near is None
    assert Dedup.model_validate({"near": {"verify": False}}).near == Near(verify=False)
    assert Dedup.model_validate({"exact": False, "near": True, "prefer": ["wiki/*"]}).prefer == ("wiki/*",)


@pytest.mark.parametrize("form", ["best quality.score", " best  quality.score ", {"best": "quality.score"}])
def test_forms_of_best(form: Any) -> None:
    found = Dedup.model_validate({"keep": form})
    assert found.keep == Best(best="quality.score")
    assert found.column == "quality.score"
    assert Dedup.model_validate(found.model_dump()) == found


def test_a_single_name_is_a_list_of_one() -> None:
    assert Dedup.model_validate({"prefer": "web/*", "among": "rules"}) == Dedup(prefer=("web/*",), among=("rules",))
    properties = Dedup.model_json_schema()["properties"]
    for name in ("prefer", "among"):
        assert [form["type"] for form in properties[name]["anyOf"]] == ["array", "string"]
        assert "description" in properties[name]


@pytest.mark.parametrize(("given_", "words"), [(True, "write `dedup: {}`"), (True, "`dedup: {near: true}`"), (False, "remove `dedup:`")])
def test_a_switch_says_what_to_write(given_: bool, words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        PipelineConfig.model_validate({"name": "p", "output": "o", "ingest": {"sources": [{"path": "x"}]}, "dedup": given_})
    assert words in str(caught.value)


def test_column_is_none_for_other_policies() -> None:
    assert [Dedup.model_validate({"keep": keep}).column for keep in ("longest", "first")] == [None, None]


def test_curve_by_hand() -> None:
    # 0.8^8 = 0.16777216; 1 - 0.83222784^14 = 0.9235…
    assert probability(0.8, 14, 8) == pytest.approx(0.924, abs=5e-4)
    # 0.5^8 = 1/256; 1 - (255/256)^14
    assert probability(0.5, 14, 8) == pytest.approx(0.0533, abs=5e-5)
    assert probability(0.7, 20, 5) == pytest.approx(1 - (1 - 0.16807) ** 20)
    assert probability(0.0, 14, 8) == 0
    assert probability(1.0, 14, 8) == 1
    assert inflection(14, 8) == pytest.approx(0.719, abs=5e-4)
    assert inflection(16, 4) == pytest.approx(0.5)
    lines = curve(14, 8).splitlines()
    assert lines[0].split() == ["similarity", *(f"{s / 100:.2f}" for s in range(50, 101, 5))]
    assert lines[1].split()[1:] == ["0.053", "0.111", "0.211", "0.365", "0.565", "0.772", "0.924", "0.988", "1.000", "1.000", "1.000"]


def test_the_curve_shows_the_threshold() -> None:
    for threshold, column, probability_ in [(0.825, "0.825", "0.966"), (0.2, "0.20", "0.000"), (0.82, "0.82", "0.959")]:
        names, values = (line.split() for line in curve(14, 8, threshold).splitlines())
        assert names == ["similarity", *sorted([*(f"{s / 100:.2f}" for s in range(50, 101, 5)), column])]
        assert values[names.index(column)] == probability_
    assert curve(14, 8, 0.85) == curve(14, 8)
    with pytest.raises(ConfigError, match=r"0.75   0.80  0.825   0.85"):
        Near(threshold=0.825, bands=4, rows=20)


@given(threshold=st.floats(0.2, 1.0), bands=st.integers(1, 300), rows=st.integers(1, 300), verify=st.booleans())
@settings(max_examples=150, deadline=None)
def test_a_threshold_that_is_advised_is_accepted(threshold: float, bands: int, rows: int, verify: bool) -> None:
    try:
        Near(threshold=threshold, bands=bands, rows=rows, verify=verify)
    except ConfigError as error:
        if advised := re.search(r"or a threshold of ([\d.]+)$", error.fix or ""):
            Near(threshold=float(advised[1]), bands=bands, rows=rows, verify=verify)


def test_curve_against_simulation() -> None:
    """Bands of independent events of probability s collide as often as the formula says."""
    agree = np.random.default_rng(5).random((20_000, 14, 8)) < 0.75
    assert agree.all(axis=2).any(axis=1).mean() == pytest.approx(probability(0.75, 14, 8), abs=0.012)


@pytest.mark.parametrize(
    ("near", "words"),
    [
        ({"bands": 4, "rows": 20}, ["4 bands x 20 rows cannot reach the threshold 0.8", "0.045", "at least 0.5", "bands: 8, rows: 10"]),
        ({"bands": 9, "rows": 13}, ["0.399", "bands: 13, rows: 9 (again 117 permutations) find 0.846", "threshold of 0.819"]),
        (
            {"bands": 100, "rows": 2, "verify": False},
            ["too loose for the threshold 0.8", "only 0.4 similar", "at most 0.2", "bands: 25, rows: 8"],
        ),
        ({"bands": 1, "rows": 13, "verify": False}, ["cannot reach", "bands: 5, rows: 4 (20 permutations instead of 13)"]),
        ({"bands": 100, "rows": 2}, ["too loose", "at most 0.5"]),
        ({"bands": 450, "rows": 20}, ["are 9000 permutations", "at most 1024", "bands: 68, rows: 15 (1020 permutations instead of 9000)"]),
        ({"bands": 1024, "rows": 1024}, ["are 1048576 permutations", "at most 1024", "bands: 68, rows: 15"]),
        ({"bands": 1, "rows": 1000, "threshold": 0.2, "verify": False}, ["cannot reach", "bands: 223, rows: 3", "threshold of 1"]),
    ],
)
def test_refused_curves(near: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        Dedup.model_validate({"near": near})
    shown = str(caught.value)
    assert caught.value.where == "dedup.near"
    for word in [*words, "similarity    0.", "probability  ", "1.000"]:
        assert word in shown


def test_verification_allows_looser_bands() -> None:
    loose = {"threshold": 0.8, "bands": 14, "rows": 4}
    assert probability(0.4, 14, 4) == pytest.approx(0.304, abs=1e-3)
    with pytest.raises(ConfigError):
        Near.model_validate(loose | {"verify": False})
    assert Near.model_validate(loose).verify


@pytest.mark.parametrize(
    ("threshold", "bands", "rows"), [(0.8, 14, 8), (0.75, 14, 8), (0.7, 20, 5), (0.7, 25, 10), (0.8, 68, 15), (0.8, 20, 13), (0.5, 25, 5)]
)
def test_usual_settings_are_accepted(threshold: float, bands: int, rows: int) -> None:
    Near(threshold=threshold, bands=bands, rows=rows)


@given(threshold=st.floats(0.2, 1.0), bands=st.integers(1, 1024), rows=st.integers(1, 1024), verify=st.booleans())
@settings(max_examples=150, deadline=None)
def test_what_is_advised_is_accepted(threshold: float, bands: int, rows: int, verify: bool) -> None:
    asked = Near.model_construct(threshold=threshold, ngram=5, bands=bands, rows=rows, verify=verify)
    advised_bands, advised_rows = nearest_workable(asked)
    Near(threshold=threshold, bands=advised_bands, rows=advised_rows, verify=verify)
    assert advised_bands * advised_rows <= MOST_PERMUTATIONS
    if workable(asked, bands, rows):
        assert (advised_bands, advised_rows) == (bands, rows)


@pytest.mark.parametrize(
    ("given_", "words"),
    [
        ({"exact": False}, "exact and near are both off"),
        ({"exact": False, "near": False}, "exact and near are both off"),
        ({"keep": "best"}, "name the column"),
        ({"keep": "longst"}, "did you mean 'longest'"),
        ({"keep": {"best": "a", "worst": "b"}}, "expected longest, first or best <column>"),
        ({"keep": 3}, "expected longest, first or best <column>"),
        ({"prefer": ["a", "a"]}, "prefer names a pattern twice"),
        ({"near": {"bands": 0}}, "near.bands"),
        ({"near": {"bands": 1025}}, "near.bands"),
        ({"prefer": ""}, "prefer"),
        ({"among": [""]}, "among"),
        ({"near": {"threshold": 1.5}}, "near.threshold"),
        ({"near": {"threshold": 0.1}}, "near.threshold"),
        ({"near": {"treshold": 0.8}}, "near.treshold"),
        ({"nearly": True}, "nearly"),
    ],
)
def test_bad_settings(given_: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Dedup.model_validate(given_)
    assert len(caught.value.errors()) == 1
    assert words in str(caught.value)


def test_editors_know_the_short_forms() -> None:
    properties = Dedup.model_json_schema()["properties"]
    assert {"type": "boolean"} in properties["near"]["anyOf"]
    assert any(form.get("pattern") == r"^best \S+$" for form in properties["keep"]["anyOf"])


def test_better_end() -> None:
    schema = pa.schema(
        [
            pa.field("q.score", pa.float32(), metadata={"direction": "higher"}),
            pa.field("q.loss", pa.int64(), metadata={"direction": "lower"}),
            pa.field("q.label", pa.string(), metadata={"direction": "higher"}),
            pa.field("n_bytes", pa.int64()),
        ]
    )
    assert better_end("q.score", schema) == "higher"
    assert better_end("q.loss", schema) == "lower"
    for column, words in [("q.scor", "did you mean 'q.score'"), ("q.label", "which is string"), ("n_bytes", "neither end")]:
        with pytest.raises(ConfigError) as caught:
            better_end(column, schema)
        assert words in str(caught.value)
        assert column in caught.value.where
