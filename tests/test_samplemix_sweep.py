"""What a sweep says of a setting is what a mix made with it comes to."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest
from documents_to_mix import documents, statistics, weighed
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.mixers.quality_bins import MOST_BINS
from curate.mixers.samplemix_sweep import Setting, grid, sweep

DOMAINS = ("books", "code", "web")


def statistics_of(table: pa.Table, length: np.ndarray, domain_N: np.ndarray) -> pa.Table:
    return statistics(weighed([table], [length]), table, length, domain_N, DOMAINS)


def outcome(table: pa.Table, length: np.ndarray, domain_N: np.ndarray, setting: Setting) -> dict[str, float]:
    """Of a mix made with the setting, one document at a time."""
    found = weighed(
        [table],
        [length],
        setting.budget,
        setting.max_epochs,
        alpha=setting.alpha,
        temperature=setting.temperature,
        mode=setting.mode,
    )
    w = found.weights[0]
    shown = found.mixer.columns(table, found.learned)
    chance = {k: 0.0 for k in range(4)}
    for weight in w:
        floor = math.floor(weight)
        chance[min(floor, 3)] += 1 - (weight - floor)
        chance[min(floor + 1, 3)] += weight - floor
    emitted = w * length
    means = {name: float((emitted * shown[name].to_numpy()).sum() / emitted.sum()) for name in ("quality", "diversity")}
    shares = {f"share:{name}": float(emitted[domain_N == d].sum() / emitted.sum()) for d, name in enumerate(DOMAINS)}
    often = dict(zip(("dropped", "once", "twice", "more"), (chance[k] / len(w) for k in range(4)), strict=True))
    often["capped"] = float((w >= setting.max_epochs * (1 - 1e-9)).mean())
    return {**often, **means, **shares, "heaviest": float(w.max()), "amount": float(emitted.sum())}


@given(
    st.integers(0, 10**6),
    st.sampled_from([0.0, 0.3, 0.8, 1.0]),
    st.sampled_from([1e-3, 1.2e-3, 0.02, 0.2, 1.0]),
    st.floats(0.05, 3.9),
    st.sampled_from(["exact", "paper"]),
)
@settings(max_examples=40, deadline=None)
def test_a_sweep_tells_what_a_mix_would_do(seed: int, alpha: float, temperature: float, epochs: float, mode: str) -> None:
    table, length = documents(200, classes=10, seed=seed)
    domain_N = np.random.default_rng(seed + 1).integers(0, 3, 200)
    setting = Setting(alpha, temperature, epochs * float(length.sum()), 4.0, mode)  # type: ignore[arg-type]
    (told,) = sweep(statistics_of(table, length, domain_N), [setting]).to_pylist()
    for name, value in outcome(table, length, domain_N, setting).items():
        assert told[name] == pytest.approx(value, rel=1e-6, abs=1e-9), name


def test_a_continuous_quality_is_binned_and_nearly_as_right() -> None:
    table, length = documents(4000, classes=None)
    domain_N = np.random.default_rng(1).integers(0, 3, 4000)
    found = statistics_of(table, length, domain_N)
    assert len(np.unique(found["quality"].to_numpy())) <= MOST_BINS
    setting = Setting(0.5, 0.2, 0.5 * float(length.sum()))
    (told,) = sweep(found, [setting]).to_pylist()
    for name, value in outcome(table, length, domain_N, setting).items():
        assert told[name] == pytest.approx(value, abs=0.01 * max(1.0, abs(value))), name


def test_a_grid_has_every_combination_and_says_what_cannot_be() -> None:
    table, length = documents(300)
    found = statistics_of(table, length, np.zeros(300, np.int64))
    total = float(length.sum())
    tried = grid([0.0, 1.0], [0.1, 0.2, 0.3], [total, 5 * total], 4.0, "exact")
    table = sweep(found, tried)
    assert table.num_rows == 12 and table["feasible"].to_pylist() == [True, False] * 6
    assert table["dropped"].null_count == table["share:books"].null_count == 6
    assert table["share:books"].to_pylist()[0] == pytest.approx(1.0)
    assert sweep(found, []).num_rows == 0


def test_sweeps_sort_settings_the_way_the_paper_says() -> None:
    """More weight on diversity: more diversity and less quality; a lower temperature: a steeper preference."""
    table, length = documents(2000)
    found = statistics_of(table, length, np.zeros(2000, np.int64))
    half = 0.5 * float(length.sum())
    by_alpha = sweep(found, [Setting(a, 0.2, half) for a in (0.0, 0.25, 0.5, 0.75, 1.0)])
    assert (np.diff(by_alpha["quality"].to_numpy()) < 0).all() and (np.diff(by_alpha["diversity"].to_numpy()) > 0).all()
    by_temperature = sweep(found, [Setting(0.5, t, half, 1e9) for t in (0.05, 0.1, 0.2, 0.5)])
    assert (np.diff(by_temperature["heaviest"].to_numpy()) < 0).all()
