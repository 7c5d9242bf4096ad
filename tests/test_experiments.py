"""Experiments with trained models: what is planted, how signals are judged, and the tables that pages quote."""

from __future__ import annotations

import gzip
import json
import re
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pc_csv
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata, spearmanr

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.experiments import (
    perplexity_correlations,
    perplexity_correlations_models,
    perplexity_correlations_pages,
    perplexity_correlations_report,
    perplexity_pruning,
    planting,
    ranking,
    samplemix,
    samplemix_report,
)
from curate.hashing import doc_id

METHODS = Path(__file__).parents[1] / "docs/methods"


def pool(n: int, *domains: str) -> pa.Table:
    """Documents of 40 words that no other document has."""
    texts = [" ".join(f"d{i}w{j}" for j in range(40)) for i in range(n)]
    ids = pa.array([doc_id(text.encode()) for text in texts], pa.binary(16))
    return pa.table({"doc_id": ids, "text": texts, "domain": [domains[i % len(domains)] for i in range(n)]})


def by_kind(before: pa.Table, after: pa.Table, kind: str) -> list[tuple[str, str, str]]:
    """(domain, text before, text after) of one kind."""
    rows = zip(
        after["planted"].to_pylist(), after["domain"].to_pylist(), before["text"].to_pylist(), after["text"].to_pylist(), strict=True
    )
    return [row[1:] for row in rows if row[0] == kind]


def test_planted_shares_are_met_and_others_are_let_be():
    before = pool(2000, "a", "b")
    after = planting.plant(before, 3, {"shuffled": 0.3, "copied": 0.3})
    n = {kind: after["planted"].to_pylist().count(kind) for kind in ("", "shuffled", "copied", "boilerplate")}
    assert abs(n["shuffled"] - 600) < 80
    assert abs(n["copied"] - 600) < 80
    assert n["boilerplate"] == 0
    assert all(text == made for _, text, made in by_kind(before, after, ""))
    assert after["domain"].to_pylist() == before["domain"].to_pylist()


def test_shuffled_documents_keep_their_words_and_lose_their_order():
    before = pool(200, "a")
    for _, text, made in by_kind(before, planting.plant(before, 0, {"shuffled": 0.5}), "shuffled"):
        assert made != text
        assert sorted(made.split()) == sorted(text.split())


def test_copies_are_near_copies_of_few_documents_of_their_domain():
    before = pool(1000, "a", "b")
    after = planting.plant(before, 0, {"shuffled": 0.2, "copied": 0.4})
    clean = {text: domain for domain, text, _ in by_kind(before, after, "")}
    of: dict[str, int] = {}
    for domain, text, made in by_kind(before, after, "copied"):
        words = set(made.split())
        source = max(clean, key=lambda one: len(words & set(one.split())))
        assert clean[source] == domain
        assert len(words & set(source.split())) >= 34  # of 40: 3 % are changed on average
        assert words - set(source.split()) <= set(text.split())
        of[source] = of.get(source, 0) + 1
    assert max(of.values()) <= planting.COPIES
    assert sum(of.values()) / len(of) > 0.8 * planting.COPIES


def test_a_share_of_the_words_moves_and_the_others_stay():
    text = " ".join(map(str, range(4000)))
    moved = [a != b for a, b in zip(text.split(), planting.shuffled(text, np.uint64(9), 1 / 3).split(), strict=True)]
    assert 0.29 < np.mean(moved) < 0.37
    assert planting.shuffled(text, np.uint64(9), 0.0) == text


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=30).filter(lambda v: len({b for _, b in v}) == 2))
def test_auc_is_the_chance_over_all_pairs(values: list[tuple[int, bool]]):
    score, wanted = np.array([v for v, _ in values]), np.array([b for _, b in values])
    pairs = [(a > b) + (a == b) / 2 for a in score[wanted] for b in score[~wanted]]
    assert ranking.auc(score, wanted) == pytest.approx(np.mean(pairs))


def test_a_group_of_one_kind_says_nothing_about_the_others():
    score, wanted = np.array([1.0, 2.0, 5.0, 1.0]), np.array([False, True, True, True])
    assert ranking.within(score, wanted, np.array(["a", "a", "b", "b"])) == 1.0


@pytest.mark.parametrize(("target", "steps"), [(3.0, 20.0), (2.5, 25.0), (2.0, 30.0), (1.9, None), (5.0, 10.0)])
def test_steps_to_a_loss_lie_between_two_evaluations(target: float, steps: float | None):
    assert samplemix_report.steps_to({10: 4.0, 20: 3.0, 30: 2.0}, target) == steps


@pytest.mark.parametrize(
    ("report", "results", "page", "quoted"),
    [
        (perplexity_pruning.report, perplexity_pruning.RESULTS, "perplexity_pruning.md", r"\| (held_out|eval)"),
        (samplemix_report.report, samplemix.RESULTS, "samplemix.md", r"\| .*\d"),
        (perplexity_correlations_report.report, perplexity_correlations.RESULTS, "perplexity_correlations.md", r"\| .*\d"),
    ],
)
def test_a_page_quotes_what_its_experiment_prints(report, results: Path, page: str, quoted: str):
    text = (METHODS / page).read_text()
    printed = [line for line in report(pc_csv.read_csv(results)).splitlines() if re.match(quoted, line)]
    assert len(printed) > 40
    assert not [line for line in printed if line not in text]


def records(folder: Path, domain: str, rows: list[dict]) -> None:
    """A domain's folder with one file."""
    (folder / domain).mkdir(parents=True)
    lines = [json.dumps({"id": f"{domain}-{i}", "provenance": {"repo": "a/b", "path": "p"}} | row) for i, row in enumerate(rows)]
    (folder / domain / "x.jsonl.gz").write_bytes(gzip.compress("\n".join(lines).encode()))


def test_what_shares_a_key_takes_one_role_and_groups_are_named_by_what_records_tell(tmp_path: Path):
    rows = [{"text": f"{i} " + "word " * 40, "meta": {"movie": f"m{i % 40}", "rating": i % 2 + 1}} for i in range(400)]
    records(tmp_path, "reviews", rows)
    found = perplexity_correlations_pages._domain(tmp_path / "reviews", "reviews")
    role_of: dict[int, set[str]] = {}
    for text, role in zip(found["text"].to_pylist(), found["role"].to_pylist(), strict=True):
        role_of.setdefault(int(text.split()[0]) % 40, set()).add(role)
    assert len(found) == 400
    assert all(len(roles) == 1 for roles in role_of.values())
    assert set.union(*role_of.values()) == {"judges", "pool", "held_out"}
    assert set(found["group"].to_pylist()) == {"reviews/rating 1", "reviews/rating 2"}


def test_small_groups_are_one_and_a_text_is_a_page_once(tmp_path: Path):
    rows = [
        {"text": f"{i} " + "word " * 40, "meta": {"newsgroup": "big" if i < 150 else f"small{i}", "subject": str(i)}} for i in range(170)
    ]
    records(tmp_path, "forum", [*rows, *rows[:20]])
    found = perplexity_correlations_pages._domain(tmp_path / "forum", "forum")
    groups = found["group"].to_pylist()
    assert len(found) == 170
    assert {group: groups.count(group) for group in set(groups)} == {"forum/big": 150, "forum/other": 20}


@given(st.lists(st.integers(0, 4000), max_size=30))
def test_pages_are_whole_lines_of_a_bounded_length(sizes: list[int]):
    text = "\n".join(f"{i:04}" + "x" * n for i, n in enumerate(sizes))
    found = list(perplexity_correlations_pages._pieces(text))
    assert all(100 <= len(page) <= perplexity_correlations_pages.LONGEST for page in found)
    lines = [line for page in found for line in page.split("\n")]
    assert len(set(lines)) == len(lines)
    assert set(lines) <= set(text.split("\n"))


def test_a_drawn_pool_has_as_much_of_each_group_as_of_others_where_there_is_so_much():
    groups = ["a/x"] * 300 + ["a/y"] * 300 + ["a/z"] * 20 + ["b/x"] * 200
    texts = [f"{i}" for i in range(len(groups))]
    table = pa.table(
        {
            "doc_id": pa.array([doc_id(text.encode()) for text in texts], pa.binary(16)),
            "text": texts, "domain": [g[0] for g in groups], "group": groups, "role": ["pool"] * 800 + ["judges"] * 20,
            "n_bytes": [100] * len(groups),
        }
    )  # fmt: skip
    pools = [perplexity_correlations_pages.drawn(table, "pool", seed, {"a": 22_000, "b": 5_000}) for seed in (0, 0, 1)]
    counts = [{group: pool["group"].to_pylist().count(group) for group in set(groups)} for pool in pools]
    assert counts[0] == {"a/x": 100, "a/y": 100, "a/z": 20, "b/x": 50}
    assert counts[2] == counts[0]
    assert pools[0].equals(pools[1])
    assert pools[0]["text"].to_pylist() != pools[2]["text"].to_pylist()
    assert not set(pools[0]["text"].to_pylist()) & {str(i) for i in range(800, 820)}


def test_judges_differ_in_data_and_size_and_have_names_of_their_own():
    judges = perplexity_correlations_models.JUDGES
    assert len({judge.name for judge in judges}) == len(judges) >= 8
    assert len({judge.mixture for judge in judges}) >= 8
    assert len({(judge.size, judge.thousands) for judge in judges}) >= 4
    assert {judge.vocabulary for judge in judges} == set(perplexity_correlations_models.VOCABULARIES)
    assert set(perplexity_correlations_report.TARGET_BENCHMARKS) < set(perplexity_correlations_models.BENCHMARKS)


def test_the_kept_losses_and_errors_of_the_judges_give_the_estimates_that_selected():
    losses, errors = (pc_csv.read_csv(file) for file in (perplexity_correlations.LOSSES, perplexity_correlations.ERRORS))
    judges = [judge.name for judge in perplexity_correlations_models.JUDGES]
    errors = errors.filter(pc.is_in(errors["benchmark"], pa.array(perplexity_correlations_report.TARGET_BENCHMARKS)))
    ranks = [rankdata([row[name] for name in judges]) for row in errors.to_pylist()]
    assert len(ranks) == len(perplexity_correlations_report.TARGET_BENCHMARKS)
    target = np.mean(ranks, axis=0)
    expected = {row["group"]: spearmanr([row[name] for name in judges], target).statistic for row in losses.to_pylist()}
    rows = pc_csv.read_csv(perplexity_correlations.RESULTS).to_pylist()
    found = {(row["seed"], row["name"]): row["value"] for row in rows if row["name"].startswith("group/")}
    for seed in {seed for seed, _ in found}:
        kept = {group: found[seed, f"group/{group}/estimate"] for group in expected}
        assert kept == pytest.approx(expected, abs=2e-6)
