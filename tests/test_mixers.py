"""The four mixers that need no evidence: hand-computed shares and what must hold for any table."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.errors import ConfigError, InfeasibleMixtureError
from curate.mixers.mixer import Mixer
from curate.mixers.natural import NaturalMixer
from curate.mixers.static import StaticMixer
from curate.mixers.stratified import StratifiedMixer
from curate.mixers.temperature import TemperatureMixer


def table_of(amounts: Sequence[int], names: Sequence[str] | None = None) -> pa.Table:
    """Amounts in tokens; bytes and documents deliberately tell another story."""
    names = names or [f"d{i}" for i in range(len(amounts))]
    counts = pa.array(range(1, len(amounts) + 1), pa.int64())
    return pa.table(
        {"domain": pa.array(names, pa.string()), "n_documents": counts, "n_bytes": counts, "amount": pa.array(amounts, pa.int64())}
    )


def shares(mixer: Mixer, amounts: Sequence[int]) -> list[float]:
    return mixer.mix(table_of(amounts), None).proportions_D.tolist()


def test_natural_follows_the_amounts() -> None:
    assert shares(NaturalMixer(), [1, 3, 4]) == [0.125, 0.375, 0.5]


def test_stratified_is_equal_over_domains_with_text() -> None:
    mixture = StratifiedMixer().mix(table_of([5, 0, 1000, 1, 0]), None)
    np.testing.assert_allclose(mixture.proportions_D, [1 / 3, 0, 1 / 3, 1 / 3, 0], atol=1e-15)
    assert mixture.diagnostics == {"empty": ["d1", "d4"]}


def test_temperature_two_takes_square_roots() -> None:
    mixture = TemperatureMixer(temperature=2).mix(table_of([1, 9, 0, 36]), None)
    np.testing.assert_allclose(mixture.proportions_D, [0.1, 0.3, 0, 0.6], atol=1e-15)
    assert mixture.diagnostics == {"exponent": 0.5, "empty": ["d2"]}


def test_temperature_below_one_sharpens() -> None:
    np.testing.assert_allclose(shares(TemperatureMixer(temperature=0.5), [1, 2, 3]), [1 / 14, 4 / 14, 9 / 14], atol=1e-15)


def test_temperature_meets_natural_and_stratified_at_its_ends() -> None:
    amounts = [7, 10**15, 3, 0, 123456]
    np.testing.assert_allclose(shares(TemperatureMixer(temperature=1), amounts), shares(NaturalMixer(), amounts), rtol=1e-14)
    np.testing.assert_allclose(shares(TemperatureMixer(temperature=1e12), amounts), shares(StratifiedMixer(), amounts), rtol=1e-9)
    assert shares(TemperatureMixer(temperature=1e-9), amounts) == [0, 1, 0, 0, 0]


def test_static_gives_what_was_asked_and_zero_to_the_rest() -> None:
    mixer = StaticMixer(proportions={"d2": 0.75, "d0": 0.25})
    assert shares(mixer, [5, 5, 5]) == [0.25, 0.0, 0.75]
    assert mixer.names() == ("d2", "d0")
    assert mixer.mix(table_of([5, 5, 5]), None).diagnostics["unnamed"] == ["d1"]


def test_static_scales_a_rounding_error_away_and_refuses_more() -> None:
    near = StaticMixer(proportions={"d0": 0.333333, "d1": 0.333333, "d2": 0.3333335})
    near.check()
    assert abs(sum(shares(near, [1, 1, 1])) - 1) < 1e-12
    with pytest.raises(ConfigError) as caught:
        StaticMixer(proportions={"d0": 2, "d1": 1, "d2": 1}).check()
    assert "sum to 4" in str(caught.value)
    assert "proportions: {d0: 0.5, d1: 0.25, d2: 0.25}" in caught.value.fix


def test_static_pasted_values_pass() -> None:
    given_shares = {f"d{i}": 1.0 / (i + 3) for i in range(40)}
    with pytest.raises(ConfigError) as caught:
        StaticMixer(proportions=given_shares).check()
    pasted = caught.value.fix.split("{")[1].split("}")[0]
    StaticMixer(proportions={k: float(v) for k, v in (item.split(": ") for item in pasted.split(", "))}).check()


@pytest.mark.parametrize(
    ("proportions", "words"),
    [
        ({}, "name no domain"),
        ({"a": -0.5, "b": 1.5}, "share of 'a' is -0.5"),
        ({"a": math.nan}, "share of 'a' is nan"),
        ({"a": "half"}, "share of 'a' is 'half'"),
        ({"a": True}, "share of 'a' is True"),
        ({"a": 0.0}, "all 0"),
    ],
)
def test_static_refuses_shares_that_cannot_be(proportions: dict[str, float], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        StaticMixer(proportions=proportions).check()


def test_static_names_unknown_and_empty_domains() -> None:
    table = table_of([5, 0, 5], ["books", "code", "forum"])
    with pytest.raises(ConfigError, match="'book', which is no domain") as caught:
        StaticMixer(proportions={"book": 0.5, "forum": 0.5}).mix(table, None)
    assert "did you mean 'books'" in caught.value.expected
    with pytest.raises(ConfigError, match="known: books, code, forum"):
        StaticMixer(proportions={"quite different": 1}).mix(table, None)
    with pytest.raises(ConfigError, match="'code', which is empty after selection"):
        StaticMixer(proportions={"code": 0.5, "forum": 0.5}).mix(table, None)
    assert StaticMixer(proportions={"code": 0, "forum": 1}).mix(table, None).proportions_D.tolist() == [0, 0, 1]


@pytest.mark.parametrize("temperature", [0, -1, math.inf, math.nan, "2", True])
def test_temperature_must_be_a_finite_positive_number(temperature: float) -> None:
    with pytest.raises(ConfigError, match="temperature is"):
        TemperatureMixer(temperature=temperature).check()


@pytest.mark.parametrize("mixer", [NaturalMixer(), StratifiedMixer(), TemperatureMixer(temperature=2)])
@pytest.mark.parametrize("amounts", [[], [0, 0]])
def test_nothing_to_mix_is_an_error(mixer: Mixer, amounts: list[int]) -> None:
    with pytest.raises(InfeasibleMixtureError, match="every domain is empty"):
        mixer.mix(table_of(amounts), None)


@given(
    amounts=st.lists(st.integers(0, 2**62 // 64), min_size=1, max_size=60).filter(any),
    temperature=st.floats(0.01, 1e6),
    seed=st.integers(0, 2**32 - 1),
)
def test_simplex_and_permutation_equivariance(amounts: list[int], temperature: float, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(amounts))
    table = table_of(amounts)
    full = [i for i, amount in enumerate(amounts) if amount]
    static = StaticMixer(proportions={f"d{i}": 1 / len(full) for i in full})
    for mixer in (NaturalMixer(), StratifiedMixer(), TemperatureMixer(temperature=temperature), static):
        straight, turned = mixer.mix(table, None), mixer.mix(table.take(pa.array(order)), None)
        p_D = straight.proportions_D
        assert p_D.dtype == np.float64
        assert p_D.min() >= 0
        assert abs(p_D.sum() - 1) < 1e-12
        assert all(p == 0 for p, amount in zip(p_D, amounts, strict=True) if amount == 0)
        assert turned.proportions_D.tolist() == p_D[order].tolist()
        assert turned.diagnostics == straight.diagnostics
