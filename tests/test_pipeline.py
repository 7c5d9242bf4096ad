"""The whole path: the same bytes however it is run, and nothing computed twice."""

from __future__ import annotations

import copy
import shutil

import fsspec
import numpy as np
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.local import LocalFileSystem

from curate import scoring
from curate.corpus import Corpus
from curate.errors import StaleOutputError
from curate.manifest import Manifest
from curate.scorers.scorer import Sample
from pipelines import configuration, emitted, hashes, made_when, pipeline, rows, run

# No stage is in a hurry to share a scorer's bytes: any change of these tests' expectations is a change of the format.
TWO_SCORERS = [
    {"tokens": {"vocab_size": 300, "sample_bytes": 20_000}},
    {"ngram_perplexity": {"name": "prose", "order": 2, "sample_bytes": 20_000}},
]


def test_documents_are_those_of_the_sources(raw, finished):
    corpus = Corpus.open(str(finished))
    assert corpus.domains == {"books": 4, "forum": 40, "news": 40, "science": 40, "web": 80}
    table = corpus.table(["text", "source", "source_row"])
    of_parquet = {r["source_row"]: r["text"] for r in table.to_pylist() if r["source"].endswith("a.parquet")}
    assert [of_parquet[i] for i in range(40)] == pq.read_table(raw / "science" / "a.parquet")["text"].to_pylist()
    assert len({(r["source"], r["source_row"]) for r in table.to_pylist()}) == len(table) == 204


def test_the_same_configuration_gives_the_same_bytes(raw, finished, tmp_path):
    run(configuration(raw, tmp_path / "again"))
    assert hashes(tmp_path / "again") == hashes(finished)
    assert len(hashes(finished)) > 3


def test_another_seed_gives_other_shards(raw, finished, tmp_path):
    run(configuration(raw, tmp_path / "other", seed=4))
    assert not set(hashes(tmp_path / "other").values()) & set(hashes(finished).values())


def test_the_order_in_which_a_disk_lists_files_does_not_matter(raw, finished, tmp_path, monkeypatch):
    find = LocalFileSystem.find

    def shuffled(self, *arguments, **more):
        found = find(self, *arguments, **more)
        names = list(found)
        np.random.default_rng(0).shuffle(names)
        assert names != list(found)
        return {name: found[name] for name in names}

    monkeypatch.setattr(LocalFileSystem, "find", shuffled)
    fsspec.clear_instance_cache() if hasattr(fsspec, "clear_instance_cache") else None
    run(configuration(raw, tmp_path / "listed"))
    assert hashes(tmp_path / "listed") == hashes(finished)


def test_the_order_of_sources_does_not_matter(raw, tmp_path):
    sources = [{"path": str(folder), "domain": {"directory": -1}} for folder in sorted(raw.iterdir())]
    made = []
    for name, order in (("forth", sources), ("back", sources[::-1])):
        config = configuration(raw, tmp_path / name)
        config["ingest"]["sources"] = order
        run(config)
        made.append(hashes(tmp_path / name))
    assert made[0] == made[1]


def test_the_size_of_a_split_does_not_matter(raw, finished, tmp_path):
    config = configuration(raw, tmp_path / "split")
    config["ingest"] = config["ingest"] | {"split_bytes": 1_000_000}
    run(config)
    assert hashes(tmp_path / "split") == hashes(finished)
    assert hashes(tmp_path / "split", "documents/*") == hashes(finished, "documents/*")


def test_a_fits_sample_does_not_depend_on_where_shards_end(raw, tmp_path):
    drawn = []
    for shard_bytes in (2_000, 12_000, 10**7):
        config = configuration(raw, tmp_path / str(shard_bytes))
        config["ingest"]["shard_bytes"] = shard_bytes
        corpus = run(config, until="ingest")
        table = scoring.draw_sample(corpus.folder, corpus.parts, Sample(n_bytes=20_000, per_domain=True))
        drawn.append(table.select(["doc_id", "text"]).to_pydict())
        sizes = sum(len(t.encode()) for t in table["text"].to_pylist())
        assert 10_000 < sizes <= 20_000
    assert drawn[0] == drawn[1] == drawn[2]


def test_running_again_writes_nothing(raw, damaged):
    config = configuration(raw, damaged)
    before = made_when(damaged), hashes(damaged, "**/*.json")
    run(config)
    after = made_when(damaged), {k: v for k, v in hashes(damaged, "**/*.json").items() if k != "run.json"}
    assert after == (before[0], {k: v for k, v in before[1].items() if k != "run.json"})


def test_workers_and_engine_are_no_part_of_the_identity(raw, damaged):
    config = configuration(raw, damaged)
    for circumstance in ({"engine": "ray", "workers": 7}, {"engine": "process"}, {"engine": "ray", "workers": 1, "address": "ray://x:1"}):
        assert {s.state for s in pipeline(config, **circumstance).status()} == {"done"}


def changed_files(before, after):
    return {path.rsplit("/", 1)[0] for path in after if after[path] != before.get(path)}


def test_adding_a_scorer_recomputes_no_other(raw, damaged):
    config = configuration(raw, damaged, score=TWO_SCORERS)
    before = made_when(damaged)
    corpus = run(config)
    assert changed_files(before, made_when(damaged)) == {"scores/prose"}
    assert before.keys() <= made_when(damaged).keys()
    assert corpus.table(["prose.perplexity", "tokens.n_tokens"]).num_rows == 204


def test_taking_a_scorer_out_and_putting_it_back_computes_nothing(raw, damaged):
    run(configuration(raw, damaged, score=TWO_SCORERS))
    before = made_when(damaged)
    run(configuration(raw, damaged))
    run(configuration(raw, damaged, score=TWO_SCORERS))
    assert made_when(damaged) == before


CHANGES = {
    "emit": (lambda c: c["emit"].update(shard_bytes=30_000), {"mixes/default"}),
    "carry": (lambda c: c["emit"].update(carry=[]), {"mixes/default"}),
    "mix": (lambda c: c["mix"].update(temperature=3.0), {"mixes/default", "mixes/default/weights"}),
    "select": (lambda c: c["select"][0].update(min=80), {"selection", "mixes/default", "mixes/default/weights"}),
    "scorer": (
        lambda c: c["score"][0]["tokens"].update(vocab_size=310),
        {"scores/tokens", "selection", "mixes/default", "mixes/default/weights"},
    ),
    "seed": (lambda c: c.update(seed=9), {"documents", "scores/tokens", "selection", "mixes/default", "mixes/default/weights"}),
}


@pytest.mark.parametrize("name", CHANGES)
def test_one_changed_field_recomputes_its_descendants_and_nothing_else(raw, damaged, tmp_path, name):
    change, expected = CHANGES[name]
    config = copy.deepcopy(configuration(raw, damaged))
    change(config)
    before = made_when(damaged)
    run(config)
    assert changed_files(before, made_when(damaged)) == expected
    # And what was changed in place is what a fresh run would have made.
    config["output"] = str(tmp_path / "fresh")
    run(config)
    assert hashes(damaged) == hashes(tmp_path / "fresh")


def test_changing_back_gives_the_first_bytes_again(raw, damaged, finished):
    config = configuration(raw, damaged)
    config["mix"] = {"use": "stratified"}
    run(config)
    assert hashes(damaged) != hashes(finished)
    run(configuration(raw, damaged))
    assert hashes(damaged) == hashes(finished)


def test_a_changed_source_file_is_read_again(raw, tmp_path):
    mine = shutil.copytree(raw, tmp_path / "raw")
    config = configuration(mine, tmp_path / "out")
    run(config)
    with (mine / "web" / "a.jsonl").open("ab") as file:
        file.write(b'{"text": "one more document than before"}\n')
    assert run(config).domains["web"] == 81


def test_another_pipelines_output_is_refused(raw, damaged):
    with pytest.raises(StaleOutputError, match="belongs to the pipeline 'small'"):
        pipeline(configuration(raw, damaged, name="other")).run()


def test_status_tells_the_fields_that_differ(raw, damaged):
    config = configuration(raw, damaged, mix={"use": "temperature", "temperature": 5.0, "max_epochs": 2})
    states = {s.stage.name: s for s in pipeline(config).status()}
    assert states["score/tokens"].state == "done"
    assert states["mix/default"].state == "changed"
    assert set(states["mix/default"].changes) == {"max_epochs: 4.0 -> 2.0", "mixer.options.temperature: 2.0 -> 5.0"}
    assert states["emit/default"].changes == ("parent mix/default",)


def test_a_stage_whose_parent_changed_is_not_served(damaged):
    manifest = Manifest.read(Corpus.open(str(damaged)).folder)
    manifest.stages["score/tokens"].identity["scorer"]["version"] = 99
    manifest.write(Corpus.open(str(damaged)).folder)
    with pytest.raises(StaleOutputError, match="'select' was made from another 'score/tokens'"):
        Corpus.open(str(damaged)).table(["selection.keep"])


def test_only_and_until(raw, tmp_path):
    config = configuration(raw, tmp_path / "out")
    line = pipeline(config)
    line.run(until="tokens")
    assert list(line.run(until="select").manifest.stages) == ["ingest", "fit/tokens", "score/tokens", "select"]
    line.run(only="mix")
    assert not emitted(tmp_path / "out")
    line.run(only="emit")
    assert rows(tmp_path / "out").num_rows > 50


def test_two_mixes_side_by_side(raw, damaged, finished):
    run(configuration(raw, damaged, mix={"use": "stratified", "name": "even"}))
    assert hashes(damaged, "mixes/default/*.arrow") == hashes(finished, "mixes/default/*.arrow")
    even, first = Corpus.open(str(damaged), mix="even"), Corpus.open(str(damaged), mix="default")
    assert even.table(["mix.weight"]) != first.table(["mix.weight"])


def test_an_output_in_a_store_is_the_same_corpus(raw, finished, tmp_path):
    import pyarrow as pa

    store = fsspec.filesystem("memory")
    config = configuration(raw, tmp_path / "remote") | {"output": "memory://curate-test/out"}
    from curate.pipeline import Pipeline
    from pipelines import write_yaml

    line = Pipeline.from_yaml(write_yaml(config, tmp_path / "remote.yaml"), engine="process", cache=str(tmp_path / "cache"))
    corpus = line.run()
    for path in emitted(finished):
        assert store.cat(f"/curate-test/out/mixes/default/{path.name}") == path.read_bytes()
    assert corpus.table(["mix.copies"]).equals(Corpus.open(str(finished)).table(["mix.copies"]))
    assert {s.state for s in line.status()} == {"done"}
    assert isinstance(pa.ipc.open_stream(corpus.folder.open("mixes/default/" + emitted(finished)[0].name)).schema, pa.Schema)
    store.rm("/curate-test", recursive=True)


def test_a_budget_below_any_document_emits_nothing_and_says_so(raw, tmp_path):
    config = configuration(raw, tmp_path / "out", mix={"use": "static", "proportions": {"books": 1.0}, "token_budget": 1})
    corpus = run(config)
    assert corpus.manifest.stages["emit/default"].totals["rows"] <= 1
    assert rows(tmp_path / "out").num_rows == corpus.manifest.stages["emit/default"].totals["rows"]
