"""SampleMix: what must hold of weights, whatever the documents; and cases computed by hand."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from documents_to_mix import QUALITY, documents, table_of, weighed, weights
from hypothesis import given, settings
from hypothesis import strategies as st

from curate import sampling
from curate.errors import ConfigError, InfeasibleMixtureError, InputError
from curate.hashing import mix64
from curate.mixers.samplemix import SampleMix

seeds = st.integers(0, 2**32 - 1)
alphas = st.sampled_from([0.0, 0.2, 0.5, 0.8, 1.0])
temperatures = st.sampled_from([0.01, 0.1, 0.2, 1.0, 50.0])
modes = st.sampled_from(["exact", "paper"])


def softmax_weights(
    quality: np.ndarray,
    cluster: np.ndarray,
    distance: np.ndarray,
    separation: np.ndarray,
    length: np.ndarray,
    alpha: float,
    temperature: float,
) -> np.ndarray:
    """Equations of the paper, straight down; document counts scaled to as much text as there is."""
    compactness = {k: distance[cluster == k].mean() for k in np.unique(cluster)}
    raw = np.array([compactness[k] for k in cluster]) * separation
    diversity = (raw - raw.min()) / (raw.max() - raw.min())
    scaled = (quality - quality.min()) / (quality.max() - quality.min())
    p = alpha * diversity + (1 - alpha) * scaled
    e = np.exp(p / temperature)
    return np.asarray(len(length) * e / e.sum())


@given(seeds, alphas, st.sampled_from([0.1, 0.2, 1.0]))
@settings(max_examples=25, deadline=None)
def test_paper_mode_is_the_papers_softmax(seed: int, alpha: float, temperature: float) -> None:
    table, length = documents(200, seed=seed)
    columns = [table[name].to_numpy().astype(np.float64) for name in table.column_names]
    columns[1] = columns[1].astype(np.int64)
    expected = softmax_weights(*columns, length, alpha, temperature)
    np.testing.assert_allclose(weights(table, length, mode="paper", alpha=alpha, temperature=temperature), expected, rtol=1e-5)


def test_a_case_by_hand() -> None:
    """Two clusters, two qualities: diversities 0 and 1, p = 0.8 d + 0.2 q, tau = 0.2; exact on 40 tokens."""
    table = table_of([0, 9, 0, 9], [0, 0, 1, 1], [0.1, 0.1, 0.4, 0.4], [1, 1, 1, 1])
    length = np.array([10, 20, 30, 40])
    raw = np.exp(np.array([0.0, 0.2, 0.8, 1.0]) / 0.2)
    np.testing.assert_allclose(weights(table, length, 40.0), 40 / (raw @ length) * raw, rtol=1e-12)
    np.testing.assert_allclose(weights(table, length, 40.0, mode="paper"), 4 * 0.4 * raw / raw.sum(), rtol=1e-12)


@pytest.mark.parametrize("mode", ["exact", "paper"])
@pytest.mark.parametrize("alpha", [0.0, 0.8, 1.0])
def test_constant_signals_give_every_document_exactly_one_copy(mode: str, alpha: float) -> None:
    n = 1000
    table = table_of([3.0] * n, [i % 5 for i in range(n)], [0.25] * n, [0.5] * n)
    length = np.random.default_rng(0).integers(1, 500, n)
    found = weighed([table], [length], mode=mode, alpha=alpha)
    fixed = sampling.fixed_point(found.weights[0])
    assert (fixed == sampling.ONE).all()
    assert _copies(length, fixed).tolist() == [1] * n
    assert len(found.facts()["notes"]) == {0.0: 1, 0.8: 2, 1.0: 1}[alpha]


@given(seeds, modes)
@settings(max_examples=20, deadline=None)
def test_alpha_0_ignores_diversity_and_alpha_1_quality(seed: int, mode: str) -> None:
    (table, length), (other, _) = documents(300, seed=seed), documents(300, seed=seed + 1)
    mixed = pa.table({QUALITY: table[QUALITY], **{name: other[name] for name in other.column_names[1:]}})
    np.testing.assert_array_equal(*(weights(t, length, alpha=0.0, mode=mode) for t in (table, mixed)))
    mixed = pa.table({QUALITY: other[QUALITY], **{name: table[name] for name in table.column_names[1:]}})
    np.testing.assert_array_equal(*(weights(t, length, alpha=1.0, mode=mode) for t in (table, mixed)))


@given(seeds)
@settings(max_examples=20, deadline=None)
def test_preference_is_affine_in_alpha(seed: int) -> None:
    table, length = documents(200, seed=seed)
    logs = [np.log(weights(table, length, alpha=alpha, temperature=1.0)) for alpha in (0.2, 0.5, 0.8)]
    bend = logs[1] - (logs[0] + logs[2]) / 2
    np.testing.assert_allclose(bend, bend[0], atol=1e-9)  # the same for all: only the factor λ bends


@given(seeds, alphas, temperatures, modes)
@settings(max_examples=40, deadline=None)
def test_weights_rise_with_either_signal_and_stay_within_the_ratio(seed: int, alpha: float, temperature: float, mode: str) -> None:
    table, length = documents(300, classes=None, seed=seed)
    found = weighed([table], [length], alpha=alpha, temperature=temperature, mode=mode)
    w, shown = found.weights[0], found.mixer.columns(table, found.learned)
    p = alpha * shown["diversity"].to_numpy().astype(float) + (1 - alpha) * shown["quality"].to_numpy().astype(float)
    order = np.argsort(p)
    assert (np.diff(w[order]) >= -1e-6 * w.max())[np.diff(p[order]) > 1e-6].all()
    assert w.max() <= w.min() * math.exp(1 / temperature) * (1 + 1e-9) or w.min() == 0


@given(seeds, st.floats(-1e3, 1e3), st.floats(1e-3, 1e3))
@settings(max_examples=30, deadline=None)
def test_shift_and_scale_of_signals_change_nothing(seed: int, shift: float, scale: float) -> None:
    """Min-max scaling takes away units: of quality, and of embeddings, whose distances all scale."""
    table, length = documents(200, seed=seed)
    quality, cluster, distance, separation = (table[name].to_numpy().astype(np.float64) for name in table.column_names)
    other = table_of(quality * scale + shift, cluster, distance * 8, separation * 8)  # by a power of 2, exact in float32
    np.testing.assert_allclose(weights(table, length), weights(other, length), rtol=1e-6)


def test_extreme_temperatures() -> None:
    table, length = documents(500)
    np.testing.assert_allclose(weights(table, length, mode="paper", temperature=1e9), 1.0, rtol=1e-8)
    np.testing.assert_allclose(weights(table, length, temperature=1e9), 1.0, rtol=1e-8)
    w = weights(table, length, temperature=1e-3)
    assert np.isfinite(w).all() and w @ length == pytest.approx(length.sum(), rel=1e-9)
    assert (w > 1e-3).sum() < 20  # the mass is on the most preferred
    capped = weights(table, length, temperature=1e-3, cap=2.0)
    assert capped.max() == 2.0 and capped @ length == pytest.approx(length.sum(), rel=1e-9)


@given(seeds, st.floats(0.05, 3.9), temperatures, modes)
@settings(max_examples=60, deadline=None)
def test_caps_hold_and_the_budget_is_met(seed: int, epochs: float, temperature: float, mode: str) -> None:
    table, length = documents(150, classes=None, seed=seed)
    amount = epochs * float(length.sum())
    w = weights(table, length, amount, 4.0, mode=mode, temperature=temperature)
    assert w.max() <= 4.0
    met = w @ length if mode == "exact" else w.sum() * length.sum() / len(length)
    assert met == pytest.approx(amount, rel=1e-9)
    # Water-filling: what is not at the cap keeps its ratios.
    free = weights(table, length, amount, 1e9, mode=mode, temperature=temperature)
    below = w < 4.0
    if below.sum() > 1:
        np.testing.assert_allclose(w[below] / w[below].max(), free[below] / free[below].max(), rtol=1e-7)


def test_what_caps_cannot_hold_is_refused_with_numbers() -> None:
    table, length = documents(100)
    total = int(length.sum())
    with pytest.raises(InfeasibleMixtureError) as told:
        weights(table, length, 5.0 * total, 4.0)
    assert "5.00 epochs" in told.value.what and f"lower the budget to {4 * total:,}" in told.value.fix and "to 5" in told.value.fix
    assert weights(table, length, 4.0 * total, 4.0).tolist() == [4.0] * 100
    with pytest.raises(InfeasibleMixtureError, match="would be seen") as told:
        weights(table, length, float(total), 1.2, redistribute=False)
    assert "redistribute" in told.value.fix
    weights(table, length, float(total), 200.0, redistribute=False)


def _copies(length: np.ndarray, fixed: np.ndarray, seed: int = 0) -> np.ndarray:
    walk = np.zeros(len(length), np.int64)
    groups = sampling.length_groups(walk, length, fixed)
    (starts,) = sampling.walk_starts([groups], [""], seed)
    key = mix64(np.arange(len(length), dtype=np.uint64) + np.uint64(seed * 1_000_003))
    return sampling.copies(walk, length, key, fixed, starts)


def test_copies_have_the_expectation_and_variance_of_their_fractions() -> None:
    table, length = documents(60)
    w = weights(table, length)
    fixed = sampling.fixed_point(w)
    drawn = np.stack([_copies(length, fixed, seed) for seed in range(4000)])
    assert (np.abs(drawn - w) < 1).all()
    f = w - np.floor(w)
    deviation = np.sqrt(f * (1 - f) / len(drawn))
    assert (np.abs(drawn.mean(axis=0) - w) <= 4.5 * deviation + 1e-9).all()
    np.testing.assert_allclose(drawn.var(axis=0), f * (1 - f), atol=0.025)
    totals = drawn @ length
    assert np.abs(totals - length.sum()).max() <= length.max()  # where independent draws miss by several documents


@given(seeds, st.integers(1, 9), st.sampled_from(["range", "rank"]))
@settings(max_examples=30, deadline=None)
def test_parts_and_their_order_change_no_bit(seed: int, n_parts: int, scaling: str) -> None:
    table, length = documents(400, classes=None, seed=seed)
    options = {"quality_scaling": scaling, "diversity_scaling": scaling, "shrinkage": 3.0}
    whole = weights(table, length, **options)
    order = np.random.default_rng(seed).permutation(400)
    parts = np.array_split(order, n_parts)
    found = weighed([table.take(part) for part in parts], [length[part] for part in parts], **options)
    back = np.empty(400)
    back[order] = np.concatenate(found.weights)
    np.testing.assert_array_equal(back, whole)


@given(seeds)
@settings(max_examples=20, deadline=None)
def test_names_of_clusters_change_no_bit(seed: int) -> None:
    table, length = documents(300, seed=seed)
    renamed = np.random.default_rng(seed).permutation(40)[table["clusters.cluster"].to_numpy()]
    other = table.set_column(1, "clusters.cluster", pa.array(renamed, pa.int32()))
    np.testing.assert_array_equal(weights(table, length, 9e4, 2.0), weights(other, length, 9e4, 2.0))


def test_a_wide_cluster_is_more_diverse_and_near_copies_lower_it() -> None:
    wide, tight = [0.5] * 10, [0.1] * 10
    table = table_of([1.0] * 20, [0] * 10 + [1] * 10, wide + tight, [1.0] * 20)
    length = np.full(20, 100)
    w = weights(table, length, alpha=1.0, diversity_scaling="rank")
    assert w[:10].min() > w[10:].max()
    third = [0.3] * 10
    before = table_of([1.0] * 30, [0] * 10 + [1] * 10 + [2] * 10, wide + tight + third, [1.0] * 30)
    after = table_of([1.0] * 50, [0] * 10 + [1] * 10 + [2] * 30, wide + tight + third + [0.01] * 20, [1.0] * 50)
    w_before, w_after = weights(before, np.full(30, 100), 1500.0), weights(after, np.full(50, 100), 2500.0)
    assert w_after[20] < w_before[20]


def test_a_cluster_of_one_document_is_least_diverse_unless_shrunk() -> None:
    table = table_of([1.0] * 9, [0, 1, 1, 1, 1, 2, 2, 2, 2], [0.0, *[0.2] * 4, *[0.4] * 4], [1.0] * 9)
    plain, shrunk = (weighed([table], [np.full(9, 10)], shrinkage=kappa).learned.clusters for kappa in (0.0, 5.0))
    mean = (0.8 + 1.6) / 9
    assert plain.compactness_K == pytest.approx([0.0, 0.2, 0.4], abs=1e-7) and plain.diversity_K.tolist()[0] == 0
    assert shrunk.compactness_K == pytest.approx([5 * mean / 6, (0.8 + 5 * mean) / 9, (1.6 + 5 * mean) / 9], abs=1e-7)
    assert plain.facts()["singletons"] == 1
    assert plain.facts()["compactness"]["variance"] == pytest.approx(np.var([0.0, 0.2, 0.4]), abs=1e-7)


@pytest.mark.parametrize("missing", ["lowest", "drop", "refuse"])
def test_documents_without_a_signal(missing: str) -> None:
    table = table_of([5, None, 1, math.nan, 3, 1], [0, 0, 1, 1, None, 1], [0.2, 0.2, 0.4, 0.4, None, 0.4], [1, 1, 1, 1, None, 1])
    length = np.full(6, 10)
    if missing == "refuse":
        with pytest.raises(InputError, match="2 documents have no quality and 1 no cluster"):
            weights(table, length, missing=missing)
        return
    found = weighed([table], [length], missing=missing)
    w, told = found.weights[0], found.facts()
    assert told["quality"]["without_quality"] == 2 and told["clusters"]["without_cluster"] == 1
    lacking = np.array([1, 3, 4])
    if missing == "drop":
        assert np.isnan(w[lacking]).all() and (w[[0, 2, 5]] > 0).all()
        assert np.nan_to_num(w) @ length == pytest.approx(30)  # without a budget: as much as there is of what can be weighed
    else:
        assert w[3] == w[2] and w[1] < w[0] and w[4] < w.max() and w @ length == pytest.approx(60)
    shown = found.mixer.columns(table, found.learned)
    assert shown["quality"].null_count == (3 if missing == "drop" else 0)


def test_nothing_to_weigh_is_refused() -> None:
    with pytest.raises(InputError, match="none of 2 documents has a quality"):
        weights(table_of([None, None], [0, 1], [0.1, 0.2], [1, 1]), np.array([1, 1]))
    with pytest.raises(InputError, match="none of 2 documents is in a cluster"):
        weights(table_of([1, 2], [None, None], [None, None], [None, None]), np.array([1, 1]))
    with pytest.raises(InfeasibleMixtureError, match="nothing can be weighed"):
        weights(table_of([1, None], [None, 1], [None, 0.1], [None, 1.0]), np.array([1, 1]), missing="drop")


def test_several_columns_are_scaled_weighted_and_scaled_again() -> None:
    """0.75 of one, 0.25 of another of which less is better; their sum runs from 0 to 1 again."""
    table, length = documents(300, classes=None)
    ppl = np.random.default_rng(5).lognormal(4, 1, 300)
    table = table.append_column("ppl.perplexity", pa.array(ppl))
    options = {"quality": {QUALITY: 3.0, "ppl.perplexity": -1.0}, "alpha": 0.0, "temperature": 1.0}
    q = table[QUALITY].to_numpy()
    raw = 0.75 * (q - q.min()) / (q.max() - q.min()) + 0.25 * (ppl.max() - ppl) / (ppl.max() - ppl.min())
    expected = np.exp((raw - raw.min()) / (raw.max() - raw.min()))
    found = weights(table, length, **options)
    np.testing.assert_allclose(found, expected * length.sum() / (expected @ length), rtol=1e-12)
    thirds = np.array_split(np.arange(300), 3)
    parts = weighed([table.take(i) for i in thirds], [length[i] for i in thirds], **options)
    np.testing.assert_array_equal(np.concatenate(parts.weights), found)


def test_ranks_are_mid_ranks_and_know_no_outlier() -> None:
    table = table_of([1, 1, 2, 3, 1e9], [0] * 5, [0.1] * 5, [1] * 5)
    found = weighed([table], [np.full(5, 10)], alpha=0.0, quality_scaling="rank")
    shown = found.mixer.columns(table, found.learned)["quality"].to_pylist()
    assert shown == pytest.approx([0.2, 0.2, 0.5, 0.7, 0.9], abs=1e-7)


def test_classes_by_hand() -> None:
    for classes in range(2, 12):
        table = table_of(list(range(classes)), [0] * classes, [0.1] * classes, [1] * classes)
        w = weights(table, np.full(classes, 7), alpha=0.0, temperature=0.3)
        expected = np.exp(np.arange(classes) / (classes - 1) / 0.3)
        np.testing.assert_allclose(w, classes * expected / expected.sum(), rtol=1e-12)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"alpha": 1.1}, "alpha"),
        ({"alpha": -0.1}, "alpha"),
        ({"alpha": math.nan}, "alpha"),
        ({"temperature": 0.0}, "temperature"),
        ({"temperature": -1.0}, "temperature"),
        ({"temperature": 9e-4}, "temperature"),
        ({"temperature": math.inf}, "temperature"),
        ({"shrinkage": -1.0}, "shrinkage"),
        ({"quality": {}}, "quality"),
        ({"quality": {"a.b": 0.0}}, "quality"),
        ({"quality": {"a.b": math.nan}}, "quality"),
    ],
)
def test_options_that_cannot_be(options: dict[str, object], field: str) -> None:
    with pytest.raises(ConfigError) as told:
        SampleMix(**({"quality": QUALITY, "diversity": "clusters"} | options)).check()  # type: ignore[arg-type]
    assert f"field {field}" in told.value.where and told.value.fix


def test_directions_must_agree_with_signs() -> None:
    def reads(weight: float, direction: str, kind: pa.DataType = pa.float32(), clusters: pa.DataType = pa.int32()) -> None:  # noqa: B008
        fields = {f.name: f for f in documents(2)[0].schema} | {"clusters.cluster": pa.field("clusters.cluster", clusters)}
        fields[QUALITY] = pa.field(QUALITY, kind, metadata={"direction": direction})
        SampleMix({QUALITY: weight}, "clusters").reads(fields)

    reads(1.0, "higher")
    reads(-1.0, "lower")
    reads(1.0, "none")
    reads(-1.0, "none")
    with pytest.raises(ConfigError, match="lower is better") as told:
        reads(1.0, "lower")
    assert "-1" in told.value.fix
    with pytest.raises(ConfigError, match="higher is better"):
        reads(-1.0, "higher")
    with pytest.raises(ConfigError, match="cannot be a quality"):
        reads(1.0, "higher", pa.string())
    for clusters in (pa.string(), pa.float32(), pa.int64()):
        with pytest.raises(ConfigError, match=r"is string|is float|is int64"):
            reads(1.0, "higher", clusters=clusters)


def test_a_budget_that_the_most_preferred_fill_to_the_cap() -> None:
    """A quarter of the documents takes all of it: nothing is left for the others, and nothing is lost."""
    table, length = table_of([1.0] * 100 + [0.0] * 300, [0] * 400, [0.1] * 400, [1.0] * 400), np.full(400, 10)
    w = weights(table, length, 4000.0, 4.0, alpha=0.0, temperature=0.02)
    assert w[:100] == pytest.approx(4.0) and w @ length == pytest.approx(4000.0, rel=1e-9)


@given(seeds, st.floats(1e-3, 1e9))
@settings(max_examples=40, deadline=None)
def test_rounding_is_no_diversity_and_no_quality(seed: int, shrinkage: float) -> None:
    random = np.random.default_rng(seed)
    n = 300
    cluster = random.integers(0, 20, n)
    distance, separation = np.float32(random.random()), np.float32(random.random())
    table = table_of(random.random(n), cluster, [distance] * n, [separation] * n)
    np.testing.assert_allclose(weights(table, np.full(n, 5), shrinkage=shrinkage, alpha=1.0), 1.0, rtol=1e-12)
    table = table.append_column("other.score", pa.array(3 * table[QUALITY].to_numpy() + 1))
    w = weights(table, np.full(n, 5), quality={QUALITY: 1.0, "other.score": -1.0}, alpha=0.0)
    np.testing.assert_allclose(w, 1.0, rtol=1e-12)


def test_a_cluster_without_a_distance_is_none() -> None:
    nan = math.nan
    known = table_of([1, 2, 3, 4], [0, 0, 1, None], [0.1, 0.3, 0.2, None], [1, 1, 2, None])
    for distance, separation in ((None, 1), (nan, 1), (0.1, None), (0.1, nan)):
        table = table_of([1, 2, 3, 4], [0, 0, 1, 1], [0.1, 0.3, 0.2, distance], [1, 1, 2, separation])
        np.testing.assert_array_equal(weights(table, np.full(4, 9)), weights(known, np.full(4, 9)))
    negative = table_of([1, 2, 3, 4], [0, 0, 1, -2], [0.1, 0.3, 0.2, 0.1], [1, 1, 2, 1])
    np.testing.assert_array_equal(weights(negative, np.full(4, 9)), weights(known, np.full(4, 9)))
    with pytest.raises(InputError, match="away from its centroid"):
        weights(table_of([1, 2], [0, 0], [1e10, 0.1], [1, 1]), np.full(2, 9))


def test_ranks_of_any_finite_numbers() -> None:
    for values in ([1e39, 2e39, 8e39], [1e-46, 1e-300, 0.0], [-(2.0**70), -1.0, 1e300]):
        table = table_of(values, [0] * 3, [0.1] * 3, [1] * 3)
        found = weighed([table], [np.full(3, 1)], alpha=0.0, quality_scaling="rank")
        places = found.mixer.columns(table, found.learned)["quality"].to_numpy()
        assert sorted(places) == pytest.approx([1 / 6, 0.5, 5 / 6]) and (np.argsort(places) == np.argsort(values)).all()
    close = table_of([1.0 + 1e-12, 1.0, 1.0 + 2e-12], [0] * 3, [0.1] * 3, [1] * 3)
    assert weighed([close], [np.full(3, 1)], alpha=0.0, quality_scaling="rank").facts()["quality"]["constant"]


def test_the_order_of_quality_columns_changes_no_bit() -> None:
    table, length = documents(200, classes=None)
    random = np.random.default_rng(0)
    for name in ("a.x", "b.x"):
        table = table.append_column(name, pa.array(random.random(200)))
    given_weights = {QUALITY: 0.2, "a.x": 0.5, "b.x": 0.3}
    orders = [given_weights, dict(reversed(list(given_weights.items())))]
    np.testing.assert_array_equal(*(weights(table, length, quality=order) for order in orders))
    huge = {name: weight * 1e308 for name, weight in given_weights.items()}
    np.testing.assert_allclose(weights(table, length, quality=huge), weights(table, length, quality=given_weights), rtol=1e-9)


def test_caps_below_one_and_half_precision() -> None:
    table, length = documents(100)
    assert weights(table, length, cap=0.5) == pytest.approx(0.5)  # as much as the caps allow
    half = table.set_column(0, QUALITY, pc.cast(table[QUALITY], pa.float16()))
    np.testing.assert_array_equal(weights(half, length), weights(table, length))


def test_what_only_missing_moves_is_said() -> None:
    table = table_of([3.0] * 6 + [None] * 2, [0] * 8, [0.2] * 8, [1.0] * 8)
    found = weighed([table], [np.full(8, 5)], alpha=0.0)
    assert found.weights[0][0] > found.weights[0][7]
    assert found.facts()["notes"] == ["quality is the same for all documents that have it: only missing it moves a weight"]
