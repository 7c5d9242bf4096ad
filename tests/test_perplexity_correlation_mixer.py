"""The mixer of projected estimates: hand-computed shares, largest shares from three places, and domains it leaves alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linprog

from curate.correlation.weights import BY, FILTER_RATIO, SCHEMA
from curate.errors import ConfigError, InfeasibleMixtureError
from curate.mixers.perplexity_correlation import PerplexityCorrelation
from curate.testing import check_mixer


def domains(amounts: dict[str, int], most: dict[str, float] | None = None) -> pa.Table:
    n = pa.array(list(amounts.values()), pa.int64())
    table = pa.table({"domain": pa.array(list(amounts), pa.string()), "n_documents": n, "n_bytes": n, "amount": n})
    return table if most is None else table.append_column("most", pa.array([most[name] for name in amounts], pa.float64()))


def evidence(estimates: dict[str, float], unsettled: tuple[str, ...] = (), ratio: float = 0.5, target: str = "qa") -> pa.Table:
    rows: list[dict[str, Any]] = [
        {field.name: None for field in SCHEMA} | {"target": target, "group": name, "estimate": value, "settled": name not in unsettled}
        for name, value in estimates.items()
    ]
    return pa.Table.from_pylist(rows, SCHEMA).replace_schema_metadata({BY: b"domain", FILTER_RATIO: repr(ratio).encode()})


def shares(mixer: PerplexityCorrelation, table: pa.Table, of: pa.Table) -> dict[str, float]:
    mixture = mixer.mix(table, of)
    return dict(zip(table["domain"].to_pylist(), mixture.proportions_D.tolist(), strict=True))


GOLDEN = {"a": -0.3, "b": 4.0, "c": 1.0, "d": 0.9, "e": 0.0}
LARGEST = {"a": 0.2, "b": 0.5, "c": 0.9, "d": 0.4, "e": 1.0}


@pytest.mark.parametrize(
    ("projection", "expected"),
    [("linear", [0, 0.5, 0.5, 0, 0]), ("l2", [0, 0.5, 0.3, 0.2, 0])],
)
def test_the_published_projections(projection: Any, expected: list[float]) -> None:
    """The two goldens of the authors' package."""
    found = shares(PerplexityCorrelation(projection=projection), domains(dict.fromkeys(GOLDEN, 10), LARGEST), evidence(GOLDEN))
    np.testing.assert_allclose(list(found.values()), expected, atol=1e-12)


def test_largest_shares_come_from_the_ratio_then_the_budget_then_the_weights() -> None:
    amounts = {"a": 60, "b": 40}
    of = evidence({"a": 0.1, "b": 0.9}, ratio=0.8)
    # Without a budget: b may weigh 0.4 / 0.8.
    assert shares(PerplexityCorrelation(), domains(amounts), of) == pytest.approx({"a": 0.5, "b": 0.5})
    # With one: as much as the budget allows.
    assert shares(PerplexityCorrelation(), domains(amounts, {"a": 1.2, "b": 0.8}), of) == pytest.approx({"a": 0.2, "b": 0.8})
    # A ratio that is said: 0.4 / 0.5.
    found = shares(PerplexityCorrelation(filter_ratio=0.5), domains(amounts, {"a": 0.6, "b": 0.4}), of)
    assert found == pytest.approx({"a": 0.2, "b": 0.8})


def test_unsettled_domains_keep_their_natural_share_if_asked() -> None:
    amounts = {"a": 50, "b": 30, "c": 20}
    of = evidence({"a": 0.1, "b": 0.9, "c": 0.5}, unsettled=("c",))
    most = {"a": 1.0, "b": 0.4, "c": 1.0}
    assert shares(PerplexityCorrelation(), domains(amounts, most), of) == pytest.approx({"a": 0.0, "b": 0.4, "c": 0.6})
    found = shares(PerplexityCorrelation(unsettled="natural"), domains(amounts, most), of)
    assert found == pytest.approx({"a": 0.4, "b": 0.4, "c": 0.2})


def test_a_domain_without_estimate_is_refused_or_left_alone() -> None:
    table, of = domains({"a": 50, "b": 30, "new": 20}, dict.fromkeys(("a", "b", "new"), 1.0)), evidence({"a": 0.1, "b": 0.9})
    with pytest.raises(ConfigError, match="new") as caught:
        PerplexityCorrelation().mix(table, of)
    assert "unsettled: natural" in caught.value.fix
    assert shares(PerplexityCorrelation(unsettled="natural"), table, of) == pytest.approx({"a": 0.0, "b": 0.8, "new": 0.2})
    empty = domains({"a": 50, "b": 30, "new": 0}, {"a": 1.0, "b": 1.0, "new": 0.0})
    assert shares(PerplexityCorrelation(), empty, of) == pytest.approx({"a": 0.0, "b": 1.0, "new": 0.0})


def test_too_little_text_names_the_amount_missing() -> None:
    with pytest.raises(InfeasibleMixtureError) as caught:
        PerplexityCorrelation().mix(domains({"a": 1, "b": 1}, {"a": 0.3, "b": 0.45}), evidence({"a": 0.1, "b": 0.2}))
    assert "0.25" in str(caught.value)


def test_targets_are_told_apart() -> None:
    two = pa.concat_tables([evidence({"a": 1.0, "b": 0.0}, target="one"), evidence({"a": 0.0, "b": 1.0}, target="two")])
    table = domains({"a": 1, "b": 1}, {"a": 1.0, "b": 1.0})
    assert shares(PerplexityCorrelation(target="one"), table, two) == {"a": 1.0, "b": 0.0}
    assert shares(PerplexityCorrelation(target="two"), table, two) == {"a": 0.0, "b": 1.0}
    for mixer in (PerplexityCorrelation(), PerplexityCorrelation(target="three")):
        with pytest.raises(ConfigError, match="target"):
            mixer.mix(table, two)


def test_equal_estimates_are_taken_by_name_whatever_the_order() -> None:
    of, most = evidence({"a": 0.5, "b": 0.5, "c": 0.5}), {"a": 0.6, "b": 0.6, "c": 0.6}
    forwards = shares(PerplexityCorrelation(), domains({"a": 1, "b": 1, "c": 1}, most), of)
    backwards = shares(PerplexityCorrelation(), domains({"c": 1, "b": 1, "a": 1}, most), of)
    assert forwards == pytest.approx({"a": 0.6, "b": 0.4, "c": 0.0})
    assert backwards == pytest.approx(forwards)


@pytest.mark.parametrize("ratio", [0.0, -1.0, 1.5])
def test_ratios_that_cannot_be(ratio: float) -> None:
    with pytest.raises(ConfigError, match="filter_ratio"):
        PerplexityCorrelation(filter_ratio=ratio).check()


@pytest.mark.parametrize("projection", ["linear", "l2"])
@pytest.mark.parametrize("unsettled", ["estimate", "natural"])
def test_the_contract(projection: Any, unsettled: Any) -> None:
    check_mixer(PerplexityCorrelation(projection=projection, unsettled=unsettled))


@given(st.lists(st.tuples(st.floats(-1, 1), st.integers(1, 50)), min_size=1, max_size=8), st.floats(0.05, 1.0))
def test_linear_shares_are_what_a_solver_of_linear_programs_finds(rows: list[tuple[float, int]], ratio: float) -> None:
    names = [f"d{i}" for i in range(len(rows))]
    estimates, amounts = {n: e for n, (e, _) in zip(names, rows, strict=True)}, {n: a for n, (_, a) in zip(names, rows, strict=True)}
    found = shares(PerplexityCorrelation(filter_ratio=ratio), domains(amounts), evidence(estimates))
    tau = np.array(list(amounts.values())) / sum(amounts.values()) / ratio
    theta = np.array(list(estimates.values()))
    solved = linprog(-theta, A_eq=np.ones((1, len(rows))), b_eq=[1.0], bounds=[(0, t) for t in tau * (1 + 1e-12)])
    assert solved.success
    assert float(theta @ np.array(list(found.values()))) == pytest.approx(-solved.fun, abs=1e-7)
    assert (np.array(list(found.values())) <= tau + 1e-9).all()


def test_what_is_left_by_natural_shares_goes_to_the_nearest() -> None:
    """Half is natural. Of the other half, (0.5, 0.1) less 0.05 each is nearest; the shares of all would be nearest to (1, 0.2)."""
    found = shares(
        PerplexityCorrelation(projection="l2", unsettled="natural", filter_ratio=0.5),
        domains({"a": 25, "b": 25, "c": 50}),
        evidence({"a": 0.5, "b": 0.1, "c": 0.3}, unsettled=("c",)),
    )
    assert found == pytest.approx({"a": 0.45, "b": 0.05, "c": 0.5})


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=12))
def test_an_empty_domain_beside_unsettled_ones_gets_nothing(amounts: list[int]) -> None:
    """Whatever rounding leaves of natural shares that sum to 1."""
    table = {f"d{i}": n for i, n in enumerate(amounts)} | {"empty": 0}
    found = shares(PerplexityCorrelation(unsettled="natural"), domains(table), evidence(dict.fromkeys(table, 0.5), unsettled=tuple(table)))
    assert found == pytest.approx({name: n / sum(amounts) for name, n in table.items()})
