"""Weights to copies to slices: exact probabilities, realised shares, and no row lost or doubled."""

from __future__ import annotations

import re
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate import sampling
from curate.errors import InfeasibleMixtureError
from curate.hashing import mix64
from curate.sampling import (
    ONE,
    LengthGroups,
    Run,
    allocate,
    copies,
    fixed_point,
    length_groups,
    rows_in_slice,
    slices,
    walk_starts,
    water_fill,
)
from pipelines import real_configuration, run

NAMES = ["a", "b", "c", "d", "e"]


def walk(shards: list[tuple[np.ndarray, np.ndarray, np.ndarray]], seed: int) -> list[np.ndarray]:
    """Copies of every shard of (domain_N, length_N, fixed_N), the way the mix stage makes them."""
    groups = [length_groups(*shard) for shard in shards]
    keys = [mix64(np.arange(len(d), dtype=np.uint64) + np.uint64(1000 * i + seed)) for i, (d, _, _) in enumerate(shards)]
    starts = walk_starts(groups, NAMES, seed)
    return [copies(d, n, key, f, s) for (d, n, f), key, s in zip(shards, keys, starts, strict=True)]


@st.composite
def corpora(draw: st.DrawFn) -> tuple[list[tuple[np.ndarray, np.ndarray, np.ndarray]], np.ndarray]:
    """A few shards of documents with lengths, and a weight for each domain."""
    weights = np.array(draw(st.lists(st.floats(0, 3.5) | st.integers(0, 3).map(float), min_size=5, max_size=5)))
    fixed = fixed_point(weights)
    found = []
    for _ in range(draw(st.integers(1, 4))):
        n = draw(st.integers(0, 40))
        domain = np.array(draw(st.lists(st.integers(0, 4), min_size=n, max_size=n)), dtype=np.int64)
        length = np.array(draw(st.lists(st.integers(0, 12) | st.integers(0, 100_000), min_size=n, max_size=n)), dtype=np.int64)
        dropped = np.array(draw(st.lists(st.booleans(), min_size=n, max_size=n)), dtype=bool)
        found.append((domain, length, np.where(dropped, 0, fixed[domain] if n else 0).astype(np.int64)))
    return found, weights


@given(corpora(), st.integers(0, 2**32))
@settings(max_examples=300, deadline=None)
def test_a_domains_realised_length_is_within_its_longest_document_of_the_target(corpus, seed):
    shards, _ = corpus
    made = walk(shards, seed)
    for d in range(5):
        target, realised, longest = Fraction(0), 0, 0
        for (domain, length, fixed), copy in zip(shards, made, strict=True):
            chosen = (domain == d) & (fixed > 0)
            target += sum(Fraction(int(n) * int(f), ONE) for n, f in zip(length[chosen], fixed[chosen], strict=True))
            realised += int((length[chosen] * copy[chosen]).sum())
            longest = max([longest, *length[chosen].tolist()])
        assert abs(realised - target) <= longest


@given(corpora(), st.integers(0, 2**32))
@settings(max_examples=200, deadline=None)
def test_copies_are_the_weight_rounded_down_or_up_and_what_is_dropped_has_none(corpus, seed):
    shards, _ = corpus
    for (_, _, fixed), copy in zip(shards, walk(shards, seed), strict=True):
        assert np.all(copy >= fixed >> 32)
        assert np.all(copy <= -((-fixed) >> 32))


@given(corpora(), st.integers(0, 2**32), st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
def test_the_order_of_rows_inside_a_shard_does_not_matter(corpus, seed, random):
    shards, _ = corpus
    groups = [length_groups(*shard) for shard in shards]
    for (domain, length, fixed), start in zip(shards, walk_starts(groups, NAMES, seed), strict=True):
        key = mix64(np.arange(len(domain), dtype=np.uint64))
        order = np.array(random.sample(range(len(domain)), len(domain)), dtype=np.int64)
        straight = copies(domain, length, key, fixed, start)
        shuffled = copies(domain[order], length[order], key[order], fixed[order], start)
        assert np.array_equal(straight[order], shuffled)


def test_every_document_keeps_its_exact_probability(monkeypatch):
    # Weights in eighths and the eight possible starts in eighths: each outcome can be counted.
    eighths = np.array([3, 8, 11, 0, 1, 5, 5, 16, 7, 2, 2, 2], dtype=np.int64)
    fixed = eighths * (ONE // 8)
    length = np.array([5, 1, 5, 2, 9, 9, 3, 3, 100, 7, 7, 7], dtype=np.int64)
    domain = np.zeros(12, np.int64)
    halves = [slice(0, 5), slice(5, 12)]
    total = np.zeros(12, np.int64)
    for start in range(8):
        monkeypatch.setattr(sampling, "seed_of", lambda seed, purpose, start=start: start * (ONE // 8))
        total += np.concatenate(walk([(domain[h], length[h], fixed[h]) for h in halves], 0))
    assert np.array_equal(total, eighths)


def test_over_many_seeds_the_average_is_the_weight():
    random = np.random.default_rng(1)
    n, seeds = 60, 3000
    domain, length = random.integers(0, 2, n), random.integers(1, 500, n)
    weight = np.array([0.37, 1.81])[domain]
    fixed = fixed_point(weight)
    third = [slice(0, 20), slice(20, 40), slice(40, 60)]
    total = sum(np.concatenate(walk([(domain[t], length[t], fixed[t]) for t in third], seed)) for seed in range(seeds))
    share = weight - np.floor(weight)
    # Five standard errors of a coin with that probability.
    assert np.all(np.abs(total / seeds - weight) < 5 * np.sqrt(share * (1 - share) / seeds))


def test_by_hand():
    # One domain, lengths 1 2 3, weights 1/2, start 0: the walk stands at 1/2, 1, 3/2 and passes a whole number once, at length 2.
    fixed = np.full(3, ONE // 2, np.int64)
    groups = [LengthGroups(np.zeros(3, np.int64), np.array([1, 2, 3]), fixed)]
    begin = np.array([0, ONE // 2, 0], np.int64)
    assert [len(s) for s in walk_starts(groups, ["a"], 0)] == [3]
    assert copies(np.zeros(3, np.int64), np.array([1, 2, 3]), np.arange(3, dtype=np.uint64), fixed, begin).tolist() == [0, 1, 0]


@given(
    st.lists(st.tuples(st.just(0.0) | st.floats(1.0, 1e9), st.floats(1.0, 1e9)), min_size=1, max_size=8).filter(
        lambda rows: any(need > 0 for need, _ in rows)
    )
)
@settings(deadline=None)
def test_water_filling(rows):
    need, cap = np.array(rows).T
    names = [str(i) for i in range(len(rows))]
    if cap[need > 0].sum() < need.sum() * (1 - 1e-12):
        with pytest.raises(InfeasibleMixtureError, match="together cannot supply"):
            water_fill(need, cap, names, "tokens", 1.0)
        return
    out = water_fill(need, cap, names, "tokens", 1.0)
    assert np.isclose(out.sum(), need.sum(), rtol=1e-9)
    assert np.all(out <= cap * (1 + 1e-9))
    assert np.all(out[need == 0] == 0)
    # All that are below their cap are raised by one factor, and none at its cap would have got less by it.
    free = (need > 0) & (out < cap * (1 - 1e-9))
    if free.any():
        factor = out[free] / need[free]
        assert np.allclose(factor, factor[0], rtol=1e-6)
        assert np.all(cap[(need > 0) & ~free] <= factor.max() * need[(need > 0) & ~free] * (1 + 1e-6))
    order = np.random.default_rng(0).permutation(len(rows))
    assert np.allclose(water_fill(need[order], cap[order], names, "tokens", 1.0), out[order], rtol=1e-9, atol=1e-6)


def test_without_a_budget_nothing_is_repeated_and_one_domain_is_used_up():
    found = allocate(["a", "b", "c"], np.array([0.5, 0.3, 0.2]), np.array([100.0, 1000.0, 60.0]), None, 4.0, False, "tokens")
    assert found.budget == 200  # a has 100 for half of it; c would allow 300, b more
    assert np.allclose(found.weights_D, [1.0, 0.06, 2 / 3])
    assert np.allclose(found.proportions_D, [0.5, 0.3, 0.2])


def test_an_infeasible_share_names_domain_need_have_and_knobs_that_work():
    asked, amount = np.array([0.6, 0.4]), np.array([100.0, 5000.0])
    with pytest.raises(InfeasibleMixtureError) as caught:
        allocate(["rare", "common"], asked, amount, 1000.0, 2.0, False, "tokens")
    error = caught.value
    assert "'rare'" in error.what
    assert "needs 600 tokens, has 100" in error.what
    budget = float(re.search(r"lower the budget to ([\d,]+)", error.fix)[1].replace(",", ""))
    epochs = float(re.search(r"raise max_epochs to ([\d.]+)", error.fix)[1])
    share = float(re.search(r"lower the share to ([\d.]+)", error.fix)[1])
    assert allocate(["rare", "common"], asked, amount, budget, 2.0, False, "tokens").budget == budget == 333
    assert allocate(["rare", "common"], asked, amount, 1000.0, epochs, False, "tokens").weights_D[0] == 6.0
    allocate(["rare", "common"], np.array([share, 1 - share]), amount, 1000.0, 2.0, False, "tokens")
    poured = allocate(["rare", "common"], asked, amount, 1000.0, 2.0, True, "tokens")
    assert np.allclose(poured.proportions_D, [0.2, 0.8])


def test_a_share_of_an_empty_domain_is_refused():
    with pytest.raises(InfeasibleMixtureError, match=r"'gone' has share 0\.5 but no bytes"):
        allocate(["gone", "here"], np.array([0.5, 0.5]), np.array([0.0, 10.0]), None, 1.0, True, "bytes")


@st.composite
def streams(draw: st.DrawFn) -> dict[tuple[str, int, int], np.ndarray]:
    """(domain, copy, part) -> sizes of its documents; copy k holds some of copy k - 1."""
    found = {}
    for domain in NAMES[: draw(st.integers(1, 4))]:
        for part in range(draw(st.integers(1, 3))):
            sizes = np.array(draw(st.lists(st.integers(1, 60) | st.integers(1, 5000), min_size=1, max_size=25)), dtype=np.int64)
            for copy in range(draw(st.integers(1, 3))):
                found[domain, copy, part] = sizes[: max(1, len(sizes) - 2 * copy)]
    return found


@given(streams(), st.integers(1, 40), st.integers(0, 2**40))
@settings(max_examples=300, deadline=None)
def test_every_copy_is_in_exactly_one_output_shard_and_shards_are_alike(held, n_shards, seed):
    dealt = slices([Run(d, c, p, int(sizes.sum())) for (d, c, p), sizes in held.items()], n_shards, seed)
    assert len(dealt) == n_shards
    taken: dict[tuple[str, int, int], list[int]] = {key: [] for key in held}
    of_domain = np.zeros((n_shards, 5), np.int64)
    for shard, own in enumerate(dealt):
        for s in own:
            rows = rows_in_slice(held[s.domain, s.copy, s.part], s.low, s.high)
            taken[s.domain, s.copy, s.part] += rows.tolist()
            of_domain[shard, NAMES.index(s.domain)] += held[s.domain, s.copy, s.part][rows].sum()
    for key, rows in taken.items():
        assert sorted(rows) == list(range(len(held[key])))
    for d, name in enumerate(NAMES):
        sizes = [s for (domain, _, _), s in held.items() if domain == name]
        if sizes:
            even = sum(int(s.sum()) for s in sizes) / n_shards
            assert np.all(np.abs(of_domain[:, d] - even) <= max(int(s.max()) for s in sizes) + 1)


def test_one_document_and_many_shards():
    dealt = slices([Run("a", 0, 0, 10)], 7, 5)
    assert sum(len(rows_in_slice(np.array([10]), s.low, s.high)) for own in dealt for s in own) == 1


MIXES = {
    "natural": {"use": "natural"},
    "stratified": {"use": "stratified", "token_budget": 300_000},
    "temperature": {"use": "temperature", "temperature": 2.0, "token_budget": "250k"},
    "static": {"use": "static", "proportions": {"books": 0.35, "code": 0.3, "math": 0.25, "legal": 0.1}, "token_budget": 400_000},
}


@pytest.mark.parametrize("name", MIXES)
def test_real_text_has_the_asked_shares_to_one_document(ci_small, tmp_path, name):
    config = real_configuration(
        ci_small, tmp_path / "out", select=None, mix=MIXES[name] | {"max_epochs": 60}, emit={"shard_bytes": 100_000}
    )
    config["score"] = [{"tokens": {"vocab_size": 1024, "sample_bytes": 200_000}}]
    corpus = run(config)
    table = corpus.table(["domain", "tokens.n_tokens", "mix.copies", "mix.weight"]).to_pandas()
    totals = corpus.manifest.stages["mix/default"].totals
    assert len(totals["plan"]) == 13
    for line in totals["plan"]:
        own = table[table.domain == line["domain"]]
        realised = int((own["tokens.n_tokens"] * own["mix.copies"]).sum())
        assert abs(realised - line["asked"] * totals["budget"]) <= own["tokens.n_tokens"].max() + 1
    emitted = {d["domain"]: d for d in corpus.manifest.stages["emit/default"].totals["domains"]}
    counted = (table["tokens.n_tokens"] * table["mix.copies"]).groupby(table["domain"].astype(str)).sum()
    assert {d: line["tokens"] for d, line in emitted.items()} == counted.to_dict()
