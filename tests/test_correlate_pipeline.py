"""`correlate:` in a pipeline: losses and results to weights, to domain shares and to a page classifier, however it is run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import causal_models
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from published_correlations import BENCHMARKS, PUBLISHED

from curate.corpus import Corpus
from curate.correlation import estimate, linear
from curate.correlation.weights import SCHEMA, by_of, filter_ratio_of
from curate.errors import ConfigError, CurateError, InfeasibleMixtureError, InputError
from curate.evidence.benchmark_results import read_benchmarks
from curate.evidence.estimation import find_weights
from curate.evidence.findings import Known
from curate.evidence.imported_losses import import_losses
from curate.evidence.settings import Correlate
from curate.storage import Folder
from pipelines import CI_SMALL, SHARED, configuration, curate, made_when, pipeline, real_configuration, run, write_yaml

TABLES = SHARED / "data/tables/perplexity_correlations"
DOMAINS = ("books", "forum", "news", "science", "web")
MODELS = [f"model-{i:02d}" for i in range(12)]
SMALL = {"dim": 8, "bucket": 2_000, "epoch": 3}


def tables(folder: Path, n_models: int = 12, good: tuple[str, ...] = ("news", "science"), sign: float = 1.0) -> tuple[Path, Path]:
    """Losses that rise with every model's weakness, most steadily on the good domains; and results that follow it."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(5)
    weakness = np.linspace(0, 1, n_models)
    names = MODELS[:n_models]
    losses = folder / "bpb.csv"
    rows = ["domain," + ",".join(names)]
    for domain in DOMAINS:
        noise = 0.05 if domain in good else 1.5
        rows.append(domain + "," + ",".join(f"{1 + w + noise * random.normal() ** 2:.6f}" for w in weakness))
    losses.write_text("\n".join(rows) + "\n")
    results = folder / "error.csv"
    benchmark = [f"qa,{','.join(f'{0.5 + sign * (0.3 * w - 0.15):.4f}' for w in weakness)}"]
    benchmark.append(f"cloze,{','.join(f'{5 + sign * 40 * w + (i % 3):.4f}' for i, w in enumerate(weakness))}")
    results.write_text("\n".join(["benchmark," + ",".join(names), *benchmark]) + "\n")
    return losses, results


def correlated(raw: Path, output: Path, evidence: Path, **changes: Any) -> dict[str, Any]:
    """A pipeline that mixes by imported losses."""
    losses, results = tables(evidence)
    correlate = {
        "losses": {"table": str(losses)},
        "benchmarks": [{"path": str(results), "values": "error"}],
        "targets": {"both": ["qa", "cloze"]},
        "filter_ratio": 0.4,
        "bootstrap": 50,
        "permutations": 50,
    }
    mix = {"use": "perplexity_correlation", "max_epochs": 1.0, "token_budget": 3_000}
    return configuration(raw, output, correlate=correlate, mix=mix) | changes


@pytest.fixture(scope="module")
def mixed(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("correlate")
    run(correlated(raw, folder / "output", folder / "evidence"))
    return folder / "output"


def weights(output: Path) -> pa.Table:
    return pq.read_table(output / "evidence/weights/table.parquet")


def test_weights_are_the_projected_estimates(mixed: Path) -> None:
    table = weights(mixed)
    assert table.schema.equals(SCHEMA)
    assert (by_of(table), filter_ratio_of(table)) == ("domain", 0.4)
    assert table["group"].to_pylist() == list(DOMAINS)
    losses = np.loadtxt(mixed.parent / "evidence/bpb.csv", delimiter=",", skiprows=1, usecols=range(1, 13)).T
    errors = np.loadtxt(mixed.parent / "evidence/error.csv", delimiter=",", skiprows=1, usecols=range(1, 13))
    ranks = np.argsort(np.argsort(errors, axis=1), axis=1).mean(axis=0)[:, None]
    expected = estimate(losses, ranks)[0]
    np.testing.assert_allclose(table["estimate"].to_numpy(), expected, atol=1e-12)
    documents = Corpus.open(str(mixed)).table(["domain", "tokens.n_tokens"])
    amount = np.array([sum(n for d, n in zip(*documents.to_pydict().values(), strict=True) if d == name) for name in DOMAINS])
    np.testing.assert_allclose(table["natural"].to_numpy(), amount / amount.sum(), atol=1e-12)
    np.testing.assert_allclose(table["weight"].to_numpy(), linear(expected, amount / amount.sum() / 0.4), atol=1e-12)
    assert (table["included"].to_numpy() == (table["weight"].to_numpy() > 0)).all()


def test_the_mixture_takes_all_there_is_of_the_best_domains(mixed: Path) -> None:
    entry = Corpus.open(str(mixed)).manifest.stages["mix/default"]
    plan = {line["domain"]: line for line in entry.totals["plan"]}
    best = sorted(weights(mixed).to_pylist(), key=lambda row: -row["estimate"])
    left = 3_000.0
    for row in best:
        line = plan[row["group"]]
        assert line["weight"] * line["amount"] == pytest.approx(min(left, line["amount"]), abs=1.0)
        left -= min(left, line["amount"])
    told = entry.totals["diagnostics"]
    assert told["target"] == "both"
    assert {line["domain"] for line in told["correlations"]} == set(DOMAINS)
    json.dumps(told)


def test_facts_say_how_sure_the_estimates_are(mixed: Path) -> None:
    facts = Corpus.open(str(mixed)).manifest.stages["correlate"].totals
    (target,) = facts["targets"]
    assert (facts["n_groups"], len(facts["models"]), facts["n_families"]) == (5, 12, 12)
    assert [line["left_out"] for line in target["stability"]] == ["qa", "cloze"]
    assert target["best"][0]["estimate"] >= target["best"][-1]["estimate"]
    assert sum(line["before"] for line in target["composition"]["domain"]) == pytest.approx(1)
    assert sum(line["after"] for line in target["composition"]["domain"]) == pytest.approx(1)
    for row in target["best"]:
        assert row["low"] <= row["estimate"] <= row["high"] or abs(row["estimate"]) == 1
    assert (mixed / "evidence/weights/README.md").read_text().startswith("---\n")


def test_the_same_bytes_for_any_workers_and_shards(raw: Path, mixed: Path, tmp_path: Path) -> None:
    config = correlated(raw, tmp_path / "output", tmp_path / "evidence")
    config["ingest"]["shard_bytes"] = 1_000_000
    run(config)
    for artifact in ("bits_per_byte", "weights"):
        for file in ("table.parquet", "README.md"):
            path = f"evidence/{artifact}/{file}"
            assert (tmp_path / "output" / path).read_bytes() == (mixed / path).read_bytes(), path


def test_published_tables_are_imported_as_they_are(raw: Path, mixed: Path, tmp_path: Path) -> None:
    """What one corpus published is another's input, and comes to the same weights."""
    config = correlated(raw, tmp_path / "output", tmp_path / "evidence")
    config["correlate"]["losses"] = {"table": str(mixed / "evidence/bits_per_byte")}
    run(config)
    assert weights(tmp_path / "output").equals(weights(mixed))


def test_a_classifier_learns_what_was_included(raw: Path, tmp_path: Path) -> None:
    config = correlated(raw, tmp_path / "output", tmp_path / "evidence")
    config["score"].append({"correlation_classifier": {"name": "pages", "sample_bytes": 100_000, **SMALL}})
    config["select"].append({"column": "pages.score", "window": "high", "amount": 2_000, "by": "tokens", "reason": "pages"})
    config["mix"] = {"use": "natural"}
    corpus = run(config)
    stages = list(corpus.manifest.stages)
    assert stages.index("losses") < stages.index("correlate") < stages.index("fit/pages") < stages.index("score/pages")
    table = corpus.table(["pages.score", "selection.keep", "tokens.n_tokens", "domain"])
    kept = table.filter(table["selection.keep"])
    longest = max(table["tokens.n_tokens"].to_pylist())
    assert abs(sum(kept["tokens.n_tokens"].to_pylist()) - 2_000) <= longest
    assert min(kept["pages.score"].to_pylist()) >= 0
    report = json.loads((tmp_path / "output/models/pages/report.json").read_text())
    assert report


def test_a_change_of_estimator_recomputes_weights_and_what_follows_alone(raw: Path, tmp_path: Path) -> None:
    config = correlated(raw, tmp_path / "output", tmp_path / "evidence")
    run(config)
    before = made_when(tmp_path / "output")
    config["correlate"]["estimator"] = "sign_sign"
    run(config)
    changed = {path for path, when in made_when(tmp_path / "output").items() if before.get(path) != when}
    assert not {path for path in changed if path.startswith(("documents", "scores", "evidence/bits_per_byte"))}
    assert "evidence/weights/table.parquet" in changed
    assert "sign_sign" in (tmp_path / "output/evidence/weights/README.md").read_text()


def refused(config: dict[str, Any], kind: type[CurateError], *words: str) -> None:
    with pytest.raises(kind) as caught:
        pipeline(config).check()
        run(config)
    for word in words:
        assert word in str(caught.value), str(caught.value)


def test_accuracies_passed_as_errors_are_refused_until_confirmed(raw: Path, tmp_path: Path) -> None:
    config = correlated(raw, tmp_path / "output", tmp_path / "evidence")
    _, results = tables(tmp_path / "evidence", sign=-1.0)
    results.write_text("\n".join(line for line in results.read_text().splitlines() if not line.startswith("cloze")) + "\n")
    config["correlate"]["targets"] = {}
    refused(config, InputError, "inverted", "qa", "values: accuracy", "confirmed")
    run(config | {"correlate": config["correlate"] | {"confirmed": ["qa"]}})
    right = config["correlate"] | {"benchmarks": [{"path": str(results), "values": "accuracy"}]}
    run(config | {"correlate": right})
    best = max(weights(tmp_path / "output").to_pylist(), key=lambda row: row["estimate"])
    assert best["group"] in ("news", "science")


def test_few_models_are_told_with_an_interval(raw: Path, tmp_path: Path) -> None:
    config = correlated(raw, tmp_path / "output", tmp_path / "evidence")
    tables(tmp_path / "evidence", n_models=6)
    notes = run(config).manifest.stages["correlate"].totals["notes"]
    assert any("only 6 models" in note and "interval" in note for note in notes), notes


def test_what_cannot_be_is_refused_before_work(raw: Path, tmp_path: Path) -> None:
    config = correlated(raw, tmp_path / "output", tmp_path / "evidence")
    correlate = config["correlate"]

    def without(**changes: Any) -> dict[str, Any]:
        return config | {"correlate": correlate | changes}

    with pytest.raises(ConfigError, match="no stage makes the column"):
        pipeline(without(losses=correlate["losses"] | {"by": "site"})).check()
    with pytest.raises(ConfigError, match="arc"):
        pipeline(without(targets={"arc": ["arc"]})).check()
    for members, says in (([], "names no benchmark"), (["qa", "qa"], "a benchmark twice")):
        with pytest.raises(ConfigError, match=says):
            pipeline(without(targets={"t": members})).check()
    with pytest.raises(ConfigError, match="no results of 'both'"):
        pipeline(without(confirmed=["both"])).check()
    with pytest.raises(ConfigError, match="no model 'x'"):
        pipeline(without(losses=correlate["losses"] | {"families": {"x": "y"}})).check()
    with pytest.raises(ConfigError, match="no weights for the target 'other'"):
        pipeline(config | {"mix": config["mix"] | {"target": "other"}}).check()
    with pytest.raises(ConfigError, match="weights for 2 targets"):
        pipeline(without(targets={})).check()
    classifier = {"correlation_classifier": {"name": "pages", "target": "other"}}
    with pytest.raises(ConfigError, match="no weights for the target 'other'"):
        pipeline(config | {"score": [*config["score"], classifier]}).check()
    with pytest.raises(ConfigError, match="no weights of groups"):
        pipeline({k: v for k, v in config.items() if k != "correlate"}).check()
    with pytest.raises(ConfigError, match="exactly one of"):
        pipeline(without(losses={"by": "domain"})).check()
    missing = str(tmp_path / "nowhere.csv")
    with pytest.raises(InputError, match=r"nowhere\.csv"):
        pipeline(without(losses={"table": missing})).check()
    renamed = (tmp_path / "evidence/error.csv").read_text().replace("model-03", "other")
    (tmp_path / "evidence/renamed.csv").write_text(renamed)
    with pytest.raises(InputError, match="model-03"):
        pipeline(without(benchmarks=[{"path": str(tmp_path / "evidence/renamed.csv"), "values": "error"}])).check()
    assert not (tmp_path / "output").exists()


def test_a_result_of_no_target_may_be_missing(raw: Path, tmp_path: Path) -> None:
    config = correlated(raw, tmp_path / "output", tmp_path / "evidence")
    results = tmp_path / "evidence/error.csv"
    with results.open("a") as file:
        file.write("rest,0.5" + "," * 11 + "\n")
    pipeline(config).check()
    config["correlate"]["targets"] = {}
    with pytest.raises(InputError, match="results of 11 models are missing"):
        pipeline(config).check()


def test_described_columns_may_have_any_name(tmp_path: Path) -> None:
    """An extra that is called as a column of the account is no group."""
    lines = [{"text": f"Text {i} " + "word " * 30, "group": "ab"[i % 2], "amount": "xyz"[i % 3]} for i in range(60)]
    for domain in DOMAINS:
        (tmp_path / "raw" / domain).mkdir(parents=True)
        (tmp_path / "raw" / domain / "a.jsonl").write_text("\n".join(json.dumps(line | {"text": domain + line["text"]}) for line in lines))
    config = correlated(tmp_path / "raw", tmp_path / "output", tmp_path / "evidence")
    config["ingest"]["sources"][0]["extras"] = {"group": {"type": "string"}, "amount": {"type": "string"}}
    config["correlate"]["describe"] = ["group", "amount"]
    (target,) = run(config | {"mix": {"use": "natural"}}).manifest.stages["correlate"].totals["targets"]
    told = {name: sorted(line["value"] for line in lines) for name, lines in target["composition"].items()}
    assert told == {"domain": list(DOMAINS), "group": ["a", "b"], "amount": ["x", "y", "z"]}
    for lines in target["composition"].values():
        for when in ("before", "after"):
            assert sum(line[when] for line in lines) == pytest.approx(1)


def test_groups_that_hold_too_little_are_refused_with_what_is_missing(raw: Path, tmp_path: Path) -> None:
    config = correlated(raw, tmp_path / "output", tmp_path / "evidence")
    losses = tmp_path / "evidence/bpb.csv"
    losses.write_text("\n".join(line for line in losses.read_text().splitlines() if not line.startswith(("web", "forum", "news"))) + "\n")
    config["correlate"]["filter_ratio"] = 0.9
    refused(config, InfeasibleMixtureError, "0.")


def test_domains_without_estimate_keep_their_natural_share_if_asked(raw: Path, tmp_path: Path) -> None:
    config = correlated(raw, tmp_path / "output", tmp_path / "evidence")
    losses = tmp_path / "evidence/bpb.csv"
    losses.write_text("\n".join(line for line in losses.read_text().splitlines() if not line.startswith("web")) + "\n")
    refused(config, ConfigError, "web", "natural")
    config["mix"]["unsettled"] = "natural"
    plan = {line["domain"]: line for line in run(config).manifest.stages["mix/default"].totals["plan"]}
    total = sum(line["amount"] for line in plan.values())
    assert plan["web"]["asked"] == pytest.approx(plan["web"]["amount"] / total)


def test_the_command_line_shows_it(raw: Path, tmp_path: Path) -> None:
    config = correlated(raw, tmp_path / "output", tmp_path / "evidence")
    file = write_yaml(config, tmp_path / "p.yaml")
    done = curate("run", str(file), "--engine", "process")
    assert done.returncode == 0, done.stderr
    shown = curate("show", str(tmp_path / "output"))
    assert shown.returncode == 0, shown.stderr
    assert "both" in shown.stdout
    verified = curate("show", str(tmp_path / "output"), "--verify")
    assert verified.returncode == 0, verified.stdout + verified.stderr


@pytest.mark.slow
@pytest.mark.skipif(not CI_SMALL.is_dir(), reason=f"the real corpora are absent: no {CI_SMALL}")
def test_the_whole_path_on_real_pages(tmp_path: Path) -> None:
    """Models read pages, their losses become weights, a classifier learns them, and its best pages fill a budget."""
    names = [f"model-{i}" for i in range(4)]
    for i, name in enumerate(names):
        made = causal_models.model("pythia", causal_models.tokenizer().vocab_size, seed=i)
        causal_models.saved(tmp_path / "models" / name, made=made)
    (tmp_path / "errors.csv").write_text(f"benchmark,{','.join(names)}\nqa,0.5,0.6,0.7,0.8\ncloze,0.4,0.6,0.5,0.9\n")
    config = real_configuration(
        CI_SMALL,
        tmp_path / "output",
        correlate={
            "losses": {"models": [str(tmp_path / "models" / "*")], "pages": 10, "context": 64},
            "benchmarks": [{"path": str(tmp_path / "errors.csv"), "values": "error"}],
            "targets": {"both": ["qa", "cloze"]},
            "confirmed": ["qa", "cloze"],
            "filter_ratio": 0.3,
            "bootstrap": 20,
            "permutations": 20,
        },
        score=[{"tokens": {"vocab_size": 400, "sample_bytes": 100_000}}, {"correlation_classifier": {"name": "pages", **SMALL}}],
        select=[{"column": "pages.score", "window": "high", "amount": 60_000, "by": "tokens", "reason": "pages"}],
        mix={"use": "natural"},
        emit={"carry": ["pages.score"]},
    )
    corpus = run(config)
    table = weights(tmp_path / "output")
    few = {domain for domain, n in corpus.domains.items() if n < 10}
    assert set(table["group"].to_pylist()) == set(corpus.domains) - few
    assert corpus.manifest.stages["losses"].totals["n_groups_left_out"] == len(few)
    included = set(table.filter(table["included"])["group"].to_pylist())
    kept = corpus.table(["domain", "selection.keep", "tokens.n_tokens", "pages.score"])
    chosen = kept.filter(kept["selection.keep"])
    assert abs(sum(chosen["tokens.n_tokens"].to_pylist()) - 60_000) <= max(kept["tokens.n_tokens"].to_pylist())
    of_included = [domain in included for domain in chosen["domain"].to_pylist()]
    of_all = [domain in included for domain in kept["domain"].to_pylist()]
    assert np.mean(of_included) > np.mean(of_all)
    assert not list((tmp_path / "output").rglob(".checkpoints/*"))
    done = curate("show", str(tmp_path / "output"), "--verify")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "output/evidence/bits_per_byte/README.md").read_text().startswith("---\n")


@pytest.mark.skipif(not TABLES.is_dir(), reason=f"the published tables are absent: no {TABLES}")
def test_published_tables_come_to_the_published_lists(tmp_path: Path) -> None:
    """As a user imports them: names that are pairs of family and model, titles with line ends, errors far above 1."""
    settings = Correlate.model_validate(
        {
            "losses": {"table": str(TABLES / "bpb_quality_articles.csv")},
            "benchmarks": [{"path": str(TABLES / "error.csv"), "values": "error"}],
            "targets": BENCHMARKS,
            "grouped": "mean",
            "bootstrap": 10,
            "permutations": 10,
        }
    )
    table = import_losses(settings.losses, Folder(str(tmp_path)))
    results = read_benchmarks(settings.benchmarks, table.models)
    groups = pa.array(sorted(table.groups.to_pylist()))
    ones = pa.array(np.ones(len(groups), np.int64))
    amounts = pa.table({"group": groups, "domain": pa.array(["text"] * len(groups)), "n_documents": ones, "amount": ones})
    found = find_weights(table, results, settings, Known(groups, np.ones(len(groups)), amounts, "bytes"), 0)
    assert (len(found.facts["models"]), found.facts["n_groups"], found.facts["n_families"]) == (90, 263, 39)
    rows = table.groups.to_pylist()
    for target, members in BENCHMARKS.items():
        of_target = found.weights.filter(pc.equal(found.weights["target"], target))
        best = of_target.take(pc.sort_indices(of_target, [("estimate", "descending")])).slice(0, 10)
        places = {rows.index(name) for name in best["group"].to_pylist()}
        assert len(places & PUBLISHED[target]) >= (10 if members[0].startswith("lambada") else 9), target
        assert sum(of_target["weight"].to_pylist()) == pytest.approx(1)
    assert any("Amber" in note for note in found.facts["notes"])
