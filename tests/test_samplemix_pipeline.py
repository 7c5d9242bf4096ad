"""SampleMix in a pipeline: weights, copies, account and diagnostics, the same however it is run."""

from __future__ import annotations

import copy
import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from curate.corpus import Corpus
from curate.errors import ConfigError, InfeasibleMixtureError, InputError
from curate.manifest import Manifest, records
from pipelines import configuration, curate, hashes, pipeline, rows, run, write_yaml

SCORES = [
    {"tokens": {"vocab_size": 300, "sample_bytes": 20_000}},
    {"ngram_perplexity": {"name": "prose", "order": 2, "sample_bytes": 20_000}},
    {"static_embedding": {"name": "embedding", "dimension": 8, "sample_bytes": 60_000}},
    {"clusters": {"embedding": "embedding.vector", "k": 12, "sample_bytes": 1_000_000}},
]
MIX: dict[str, Any] = {
    "use": "samplemix",
    "quality": {"prose.perplexity": -1.0},
    "quality_scaling": "rank",
    "diversity": "clusters",
    "alpha": 0.6,
    "temperature": 0.3,
    "token_budget": 9_000,
}


def samplemix(raw: Path, output: Path, **mix: Any) -> dict[str, Any]:
    return configuration(raw, output, score=copy.deepcopy(SCORES), mix=MIX | mix)


@pytest.fixture(scope="module")
def mixed(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("samplemix") / "output"
    run(samplemix(raw, output))
    return output


def test_weights_are_the_equations_of_the_columns(mixed: Path) -> None:
    """Everything again from the published columns, in numpy, on the whole corpus at once."""
    names = ["prose.perplexity", *(f"clusters.{c}" for c in ("cluster", "distance", "separation")), "tokens.n_tokens", "selection.keep"]
    table = Corpus.open(str(mixed)).table([*names, "mix.weight", "mix.copies", "mix.quality", "mix.diversity"])
    keep = table["selection.keep"].to_numpy()
    assert not keep.all()
    kept = table.filter(table["selection.keep"])
    length = kept["tokens.n_tokens"].to_numpy()
    ppl = kept["prose.perplexity"].to_numpy().astype(np.float32).view(np.int32) >> 8  # 16 significant digits are ranked
    quality = np.array([((ppl > v).sum() + (ppl == v).sum() / 2) / len(ppl) for v in ppl])
    cluster, distance = kept["clusters.cluster"].to_numpy(), kept["clusters.distance"].to_numpy().astype(float)
    compactness = np.array([distance[cluster == k].mean() for k in cluster])
    raw_diversity = compactness * kept["clusters.separation"].to_numpy()
    diversity = (raw_diversity - raw_diversity.min()) / (raw_diversity.max() - raw_diversity.min())
    np.testing.assert_allclose(kept["mix.quality"].to_numpy(), quality, atol=1 / 5000)
    np.testing.assert_allclose(kept["mix.diversity"].to_numpy(), diversity, atol=1e-5)
    w = np.exp((0.6 * diversity + 0.4 * quality) / 0.3)
    w *= 9_000 / (w @ length)
    assert w.max() < 4.0
    np.testing.assert_allclose(kept["mix.weight"].to_numpy(), w, rtol=5e-3)
    copies, weight = table["mix.copies"].to_numpy(), table["mix.weight"].to_numpy()
    assert (np.abs(copies - weight) < 1).all() and not copies[~keep].any() and not weight[~keep].any()
    assert abs(int(copies[keep] @ length) - 9_000) <= length.max()


def test_shards_hold_the_copies_and_the_ledger_adds_up(mixed: Path) -> None:
    corpus, manifest = Corpus.open(str(mixed)), Manifest.read(Corpus.open(str(mixed)).folder)
    assert manifest is not None
    copies = corpus.table(["mix.copies"])["mix.copies"].to_numpy()
    assert rows(mixed).num_rows == copies.sum()
    ledger = manifest.stages["mix/default"].ledger
    assert ledger.n_in == len(copies) == ledger.kept + sum(ledger.dropped.values()) and ledger.kept == (copies > 0).sum()
    plan = manifest.stages["mix/default"].totals["plan"]
    assert math.fsum(line["asked"] for line in plan) == pytest.approx(1.0, abs=1e-12)
    weight = corpus.table(["domain", "mix.weight", "tokens.n_tokens"]).to_pandas()
    expected = (weight["mix.weight"] * weight["tokens.n_tokens"]).groupby(weight["domain"].astype(str)).sum()
    for line in plan:
        assert line["asked"] * 9_000 == pytest.approx(expected[line["domain"]], rel=1e-5)


def test_diagnostics_name_the_heaviest_and_lightest_with_reasons(mixed: Path) -> None:
    corpus = Corpus.open(str(mixed))
    told = corpus.manifest.stages["mix/default"].totals["diagnostics"]
    kept = corpus.table(["doc_id", "mix.weight", "selection.keep"]).to_pylist()
    weights = sorted(line["mix.weight"] for line in kept if line["selection.keep"])
    assert [line["weight"] for line in told["lightest"]] == weights[:5]
    assert [line["weight"] for line in told["heaviest"]] == weights[-5:][::-1]
    assert "0.6 x diversity" in told["heaviest"][0]["reason"] and "cluster" in told["heaviest"][0]["reason"]
    assert told["clusters"]["clusters"] <= 12 and told["expected"]["amount"] == pytest.approx(9_000, rel=1e-9)
    for name in ("quality", "diversity"):
        assert told["expected"]["means"][name]["after"] > told["expected"]["means"][name]["before"]


def test_statistics_hold_every_kept_document_once(mixed: Path) -> None:
    found = pq.read_table(mixed / "mixes" / "default" / "statistics.parquet").to_pandas()
    corpus = Corpus.open(str(mixed)).table(["domain", "tokens.n_tokens", "selection.keep"]).to_pandas()
    kept = corpus[corpus["selection.keep"]]
    by_domain = kept.groupby(kept["domain"].astype(str))["tokens.n_tokens"]
    found_by = found.groupby(found["domain"].astype(str))
    assert found_by["n_documents"].sum().to_dict() == by_domain.count().to_dict()
    assert found_by["amount"].sum().to_dict() == by_domain.sum().to_dict()


@pytest.mark.ray
def test_workers_change_no_byte(raw: Path, mixed: Path, tmp_path: Path) -> None:
    pipeline(samplemix(raw, tmp_path / "ray"), engine="ray", workers=2).run()
    assert hashes(tmp_path / "ray") == hashes(mixed)
    statistics = "mixes/*/statistics.parquet"
    assert hashes(tmp_path / "ray", statistics) == hashes(mixed, statistics)


def test_weights_do_not_depend_on_how_documents_lie_in_shards(raw: Path, mixed: Path, tmp_path: Path) -> None:
    """Fits draw the same samples, so every document has the same bits of weight in 2 shards as in 20."""
    config = samplemix(raw, tmp_path / "few")
    config["ingest"] = config["ingest"] | {"shard_bytes": 60_000}
    run(config)
    few, many = Corpus.open(str(tmp_path / "few")), Corpus.open(str(mixed))
    assert len(few.parts) < len(many.parts)
    tables = [
        c.table(["source", "source_row", "mix.weight"]).sort_by([("source", "ascending"), ("source_row", "ascending")]) for c in (few, many)
    ]
    assert tables[0].equals(tables[1])


def test_names_of_domains_change_no_weight_and_no_count(raw: Path, tmp_path: Path) -> None:
    """All documents in one domain, or each directory its own: within one part, every document has the same copies."""
    found = []
    shutil.copy(Path(__file__).parent / "plugins" / "documents_plugin.py", tmp_path)
    for name, domain in (("apart", {"directory": 0}), ("together", "all")):
        config = samplemix(raw, tmp_path / name)
        config["ingest"] = {"shard_bytes": 10_000_000, "sources": [{"path": str(raw), "domain": domain}]}
        # What learns draws its sample by domain; here only the mix is looked at, so scores come from what learns nothing.
        config |= {"score": ["documents_plugin:Signals"], "plugins": ["documents_plugin"], "emit": {}}
        config["mix"] = MIX | {"quality": "Signals.quality", "diversity": "Signals", "byte_budget": 40_000}
        del config["mix"]["token_budget"]
        run(config)
        table = Corpus.open(str(tmp_path / name)).table(["source", "source_row", "mix.weight", "mix.copies"])
        found.append(table.sort_by([("source", "ascending"), ("source_row", "ascending")]))
    assert found[0].equals(found[1])


def test_another_setting_makes_only_the_mix_again(raw: Path, mixed: Path, tmp_path: Path) -> None:
    output = tmp_path / "again"
    run(samplemix(raw, output))
    states = {s.stage.name: s.state for s in pipeline(samplemix(raw, output, alpha=0.2)).status()}
    assert [name for name, state in states.items() if state != "done"] == ["mix/default", "emit/default"]
    corpus = run(samplemix(raw, output, alpha=0.2))
    found = records(corpus.folder, "mix/default", corpus.manifest.stages["mix/default"].fingerprint)
    assert set(found) == {part.name for part in corpus.parts} | {"statistics"}
    assert corpus.manifest.stages["mix/default"].totals["diagnostics"]["alpha"] == 0.2


def test_show_and_why_tell_it(mixed: Path) -> None:
    shown = curate("show", mixed)
    assert shown.returncode == 0, shown.stderr
    for words in ("heaviest documents", "lightest documents", "0.6 x diversity", "clusters, the largest of", "compactness makes"):
        assert words in shown.stdout, words
    doc_id = json.loads((mixed / "manifest.json").read_text())["stages"]["mix/default"]["totals"]["diagnostics"]["heaviest"][0]["doc_id"]
    why = curate("why", doc_id, mixed)
    assert "mix.diversity" in why.stdout and "mix.weight" in why.stdout
    assert "clusters.distance" in why.stdout and "embedding.vector" not in why.stdout


def test_a_sweep_reads_no_document(mixed: Path, tmp_path: Path) -> None:
    """It works on a copy that has lost documents, scores and weights."""
    bare = Path(shutil.copytree(mixed, tmp_path / "bare"))
    for folder in ("documents", "scores", "mixes/default/weights"):
        shutil.rmtree(bare / folder)
    shown = curate("show", bare / "mixes" / "default", "--sweep", "--out", tmp_path / "grid.parquet")
    assert shown.returncode == 0, shown.stderr
    assert "alpha, the rest as it is" in shown.stdout and "beyond the caps" not in shown.stdout
    grid = pq.read_table(tmp_path / "grid.parquet")
    made = [row for row in grid.to_pylist() if (row["alpha"], row["temperature"]) == (0.6, 0.3) and row["budget"] == 9_000]
    assert len(made) == 1 and made[0]["amount"] == pytest.approx(9_000)
    assert {"share:books", "share:web"} <= set(grid.column_names)
    refused = curate("show", bare, "--sweep", "--out", tmp_path / "grid.xlsx")
    assert refused.returncode == 2 and "neither CSV nor Parquet" in refused.stderr


@pytest.mark.parametrize("harm", ["gone", "cut"])
def test_sums_that_were_harmed_are_not_believed(raw: Path, mixed: Path, tmp_path: Path, harm: str) -> None:
    output = tmp_path / "output"
    shutil.copytree(mixed, output)
    path = output / "mixes" / "default" / "statistics.parquet"
    whole = path.read_bytes()
    if harm == "gone":
        path.unlink()
    else:
        pq.write_table(pq.read_table(path).slice(0, 3), path)
    for told in (curate("show", output, "--sweep"), curate("show", output, "--verify")):
        assert told.returncode == 2 and "statistics.parquet" in told.stderr
    (output / "records" / "mix" / "default" / "statistics.json").unlink()
    run(samplemix(raw, output))
    assert path.read_bytes() == whole
    run(configuration(raw, output, score=copy.deepcopy(SCORES), mix={"use": "natural"}))
    assert not path.exists()


def test_a_cap_below_one_is_shown(raw: Path, tmp_path: Path) -> None:
    run(samplemix(raw, tmp_path / "low", max_epochs=0.5, token_budget=3_000))
    shown = curate("show", tmp_path / "low")
    assert shown.returncode == 0, shown.stderr
    assert "of documents are at the cap" in shown.stdout or "how often documents are seen" in shown.stdout


def test_a_default_may_be_written_out(raw: Path, mixed: Path) -> None:
    states = {s.stage.name: s.state for s in pipeline(samplemix(raw, mixed, on_shortage="redistribute")).status()}
    assert states["mix/default"] == "done"


def test_a_sweep_of_another_mixer_is_refused(finished: Path) -> None:
    refused = curate("show", finished, "--sweep")
    assert refused.returncode == 2 and "nothing to try settings on" in refused.stderr and "samplemix" in refused.stderr


def test_the_report_draws_it(mixed: Path, finished: Path) -> None:
    pytest.importorskip("matplotlib")
    from curate import plots
    from curate.report import report

    corpus = Corpus.open(str(mixed))
    page = report(corpus)
    assert "clusters.distance" in page and "clusters.cluster<" not in page
    assert 'id="weights"' in page and "Weights of documents" in page and "0.6 x diversity" in page
    assert 'id="weights"' not in report(Corpus.open(str(finished)))
    for field in ("alpha", "temperature", "budget"):
        (axes,) = plots.settings(corpus, field).axes
        quality, diversity = (line.get_ydata() for line in axes.lines[:2])
        assert len(quality) == len(diversity) >= 21 and np.isfinite(quality).all()
        shares = [line.get_ydata() for line in plots.setting_shares(corpus, field).axes[0].lines[:5]]
        np.testing.assert_allclose(np.sum(shares, axis=0), 1.0, rtol=1e-9)
    assert plots.copies(corpus).axes
    with pytest.raises(InputError, match="no setting"):
        plots.settings(corpus, "beta")
    with pytest.raises(InputError, match="nothing to try settings on"):
        plots.copies(Corpus.open(str(finished)))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"quality": "prose.perplexty"}, "no stage makes the column 'prose.perplexty'"),
        ({"diversity": "cluster"}, "no stage makes the column 'cluster.cluster'"),
        ({"quality": "prose.perplexity"}, "lower is better"),
        ({"temperature": 0}, "temperature is 0"),
        ({"alpha": 2}, "alpha is 2"),
        ({"mode": "papers"}, "mode"),
        ({"on_shortage": "sometimes"}, "on_shortage"),
    ],
)
def test_what_is_wrong_is_found_before_any_work(raw: Path, tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as told:
        pipeline(samplemix(raw, tmp_path / "wrong", **changes)).check()
    assert words in str(told.value)
    assert not (tmp_path / "wrong" / "manifest.json").exists()


def test_a_budget_beyond_the_caps_is_refused_and_leaves_the_mix_as_it_was(raw: Path, mixed: Path, tmp_path: Path) -> None:
    output = tmp_path / "kept"
    run(samplemix(raw, output))
    before = hashes(output)
    with pytest.raises(InfeasibleMixtureError, match="epochs of the"):
        run(samplemix(raw, output, token_budget=10_000_000))
    assert hashes(output) == before
    with pytest.raises(InfeasibleMixtureError, match="would be seen"):
        run(samplemix(raw, output, temperature=0.01, on_shortage="error"))
    poured = run(samplemix(raw, output, temperature=0.01))
    told = poured.manifest.stages["mix/default"].totals["diagnostics"]["expected"]
    assert told["heaviest"] == 4.0 and told["capped"] > 0 and told["amount"] == pytest.approx(9_000)


def test_a_plan_tries_it_on_few_documents(raw: Path, tmp_path: Path) -> None:
    """More clusters than the sample has documents: the trial makes fewer."""
    config = samplemix(raw, tmp_path / "planned")
    config["score"][3]["clusters"]["k"] = 150
    file = write_yaml(config, tmp_path / "planned.yaml")
    shown = curate("plan", file, "--sample", "20kB", "--engine", "process")
    assert shown.returncode == 0, shown.stderr
    assert "time: fit/clusters" in shown.stdout and "samplemix, 9,000 tokens" in shown.stdout
