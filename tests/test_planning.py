"""Plan: what a run will come to, from a sample; and mixtures refused before the work."""

from __future__ import annotations

import gzip
import json

import pytest
import zstandard

from curate.errors import ConfigError, InfeasibleMixtureError
from curate.planning import check_domains, estimate, preflight
from pipelines import configuration, lines, pipeline, real_configuration, run, texts


def test_real_text_is_foreseen(ci_small, tmp_path):
    config = real_configuration(ci_small, tmp_path / "out", select=None, score=[{"tokens": {"vocab_size": 1024}}], emit={})
    found = estimate(pipeline(config), 400_000)
    corpus = run(config)
    n_bytes = {d: v["bytes"] for d, v in corpus.manifest.stages["ingest"].totals["domains"].items()}
    tokens = sum(line["amount"] for line in corpus.manifest.stages["mix/default"].totals["plan"])
    assert found.n_documents == pytest.approx(corpus.n_documents, rel=0.2)
    assert found.n_bytes == pytest.approx(sum(n_bytes.values()), rel=0.2)
    assert found.n_tokens == pytest.approx(tokens, rel=0.25)
    assert found.domains.keys() == n_bytes.keys()
    for domain, size in n_bytes.items():
        assert found.domains[domain] == pytest.approx(size, rel=0.35), domain


def test_a_sample_of_everything_is_exact(raw, tmp_path):
    config = configuration(raw, tmp_path / "out")
    found = estimate(pipeline(config), 10**9)
    corpus = run(config)
    assert found.n_documents == pytest.approx(corpus.n_documents)
    assert found.n_bytes == pytest.approx(sum(p.n_bytes for p in corpus.parts))


def test_planning_leaves_no_trace(raw, tmp_path):
    line = pipeline(configuration(raw, tmp_path / "out"))
    estimate(line, 20_000)
    assert not (tmp_path / "out").exists()


def test_what_is_done_costs_nothing_more(raw, damaged, tmp_path):
    done = estimate(pipeline(configuration(raw, damaged)), 20_000)
    assert done.pending == []
    fresh = estimate(pipeline(configuration(raw, tmp_path / "new")), 20_000)
    assert fresh.pending == ["ingest", "fit/tokens", "score/tokens", "select", "mix/default", "emit/default"]
    assert fresh.seconds.keys() >= set(fresh.pending)


def test_plan_prints_it(raw, tmp_path, command):
    from pipelines import write_yaml

    path = write_yaml(configuration(raw, tmp_path / "out"), tmp_path / "p.yaml")
    answer = command("plan", path, "--engine", "process", "--sample", "50kB")
    assert answer.code == 0
    assert all(word in answer.out for word in ("documents", "tokens", "memory, at the peak", "time still to go", "books"))
    short = command("plan", path, "--sample", "0")
    assert short.code == 0 and "estimated" not in short.out


@pytest.mark.parametrize("factor", [0.5, 3.0])
def test_the_preflight_refuses_what_is_far_out_of_reach_and_nothing_else(raw, tmp_path, factor):
    """Half of all that books can give is let through; three times as much is not."""
    corpus = run(configuration(raw, tmp_path / "whole"))
    plan = {line["domain"]: line["amount"] for line in corpus.manifest.stages["mix/default"].totals["plan"]}
    mix = {"use": "static", "proportions": {"books": 1.0}, "max_epochs": 2.0, "token_budget": int(2 * plan["books"] * factor)}
    line = pipeline(configuration(raw, tmp_path / "out", mix=mix))
    if factor < 1:
        preflight(line)
        line.run()
        return
    with pytest.raises(InfeasibleMixtureError, match="'books' cannot supply its share") as caught:
        line.run()
    assert "nothing has been run" in caught.value.where
    assert not (tmp_path / "out" / "documents").exists()


def test_the_preflight_asks_nothing_of_selection(raw, tmp_path):
    """What selection leaves cannot be told from a small sample: the mix stage is exact about it."""
    select = [{"column": "tokens.n_tokens", "window": "medium", "rate": 0.5, "within": "domain", "reason": "size"}]
    run(configuration(raw, tmp_path / "out", select=select, mix={"use": "stratified", "token_budget": 9_000}))


def test_domains_that_files_tell_are_checked(raw, tmp_path):
    mix = {"use": "static", "proportions": {"web": 0.5, "newz": 0.5}}
    with pytest.raises(ConfigError, match="'newz'"):
        check_domains(pipeline(configuration(raw, tmp_path / "out", mix=mix)))


@pytest.mark.slow
def test_all_real_text_is_foreseen(real_raw, tmp_path):
    sources = [
        {"path": str(real_raw / "books"), "format": "text", "domain": "books"},
        *({"path": str(real_raw / "*" / f"*.{end}"), "domain": {"directory": 0}} for end in ("jsonl.gz", "jsonl.zst", "parquet")),
    ]
    config = configuration(real_raw, tmp_path / "out", score=[], select=None, emit={"shard_bytes": "32MiB"})
    config["ingest"] = {"sources": sources, "shard_bytes": "32MiB", "max_bad_fraction": 0.001}
    found = estimate(pipeline(config), 4_000_000)
    corpus = run(config, until="ingest")
    assert found.n_documents == pytest.approx(corpus.n_documents, rel=0.2)
    assert found.n_bytes == pytest.approx(sum(p.n_bytes for p in corpus.parts), rel=0.2)


def test_files_of_several_compressed_streams_are_foreseen(tmp_path):
    """Concatenated gzip members and zstd frames: the first is not the file."""
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "a.jsonl.gz").write_bytes(b"".join(gzip.compress(lines(texts(50, i)), mtime=0) for i in range(30)))
    (raw / "b.jsonl.zst").write_bytes(b"".join(zstandard.compress(lines(texts(50, 100 + i))) for i in range(30)))
    config = configuration(raw, tmp_path / "out", score=[], emit={}, select=None)
    config["ingest"] = {"sources": [{"path": str(raw), "domain": "one"}]}
    assert estimate(pipeline(config), 100_000).n_documents == pytest.approx(3000, rel=0.2)


def test_a_domain_beyond_the_heads_of_files_is_not_missed(tmp_path):
    """Records tell their domain and lie sorted by it: a sample cannot see the second domain, and must not refuse it."""
    raw = tmp_path / "raw"
    raw.mkdir()
    records = [(text, domain) for domain in ("early", "late") for text in texts(2500, ord(domain[0]))]
    (raw / "a.jsonl").write_bytes(b"".join(json.dumps({"text": t, "d": d}).encode() + b"\n" for t, d in records))
    mix = {"use": "static", "proportions": {"early": 0.2, "late": 0.8}, "token_budget": 200_000}
    config = configuration(raw, tmp_path / "out", mix=mix, emit={"shard_bytes": "1MB"})
    config["ingest"] = {"sources": [{"path": str(raw / "a.jsonl"), "domain": {"field": "d"}}], "shard_bytes": "1MB"}
    estimate(pipeline(config), 100_000)
    assert run(config).domains == {"early": 2500, "late": 2500}
