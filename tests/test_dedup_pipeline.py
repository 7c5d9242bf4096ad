"""Duplicates through the whole pipeline: planted copies are found across sources, dropped once, counted, explained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate import deduplication
from curate.corpus import Corpus
from curate.dedup import VERDICTS
from curate.errors import ConfigError
from curate.hashing import doc_id
from pipelines import WORDS, configuration, curate, hashes, lines, made_when, pipeline, rows, run, write_yaml

N_TEXTS = 30


def originals(n: int = N_TEXTS, seed: int = 5, n_words: int = 120) -> list[str]:
    """Texts without a 5-gram in common but by chance."""
    random = np.random.default_rng(seed)
    return [" ".join(f"{WORDS[w]}{i % 7}" for w in random.integers(0, len(WORDS), n_words)) for i in range(n)]


def edited(text: str, n_changed: int = 1) -> str:
    """The text with its last words replaced: n_changed + 4 of its 5-grams differ."""
    words = text.split()
    return " ".join([*words[:-n_changed], *["changed"] * n_changed])


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three sources: originals; exact copies of the first ten; longer near copies of the next ten, and re-cased ones."""
    raw = tmp_path_factory.mktemp("planted")
    texts = originals()
    sources = {
        "web": texts,
        "mirror": [*texts[:10], "alone here"],
        "forum": [edited(t) + " and a longer end" for t in texts[10:20]] + [t.upper().replace(" ", "  ") for t in texts[20:25]],
    }
    for name, texts_of in sources.items():
        (raw / name).mkdir()
        (raw / name / "a.jsonl").write_bytes(lines(texts_of))
    return raw


def config(raw: Path, output: Path, **changes: Any) -> dict[str, Any]:
    return configuration(
        raw,
        output,
        **({"score": [], "select": [], "mix": {"use": "natural"}, "emit": {"shard_bytes": 16_000}, "dedup": {"near": True}} | changes),
    )


def verdicts(corpus: Corpus) -> dict[tuple[str, int], dict[str, Any]]:
    """Verdicts by (domain, source_row)."""
    columns = ["doc_id", "domain", "source_row", *(f"dedup.{name}" for name in VERDICTS.names)]
    return {(row["domain"], row["source_row"]): row for row in corpus.table(columns).to_pylist()}


def test_planted_copies_are_found_and_nothing_else(planted: Path, tmp_path: Path) -> None:
    found = verdicts(run(config(planted, tmp_path / "out")))
    texts = originals()
    for i in range(10):
        pair = [found["web", i], found["mirror", i]]
        assert sorted(row["dedup.keep"] for row in pair) == [False, True]
        dropped = next(row for row in pair if not row["dedup.keep"])
        assert (dropped["dedup.reason"], dropped["dedup.similarity"]) == ("exact", 1.0)
        assert dropped["dedup.duplicate_of"] == doc_id(texts[i].encode())
    for i in range(10):
        short, long = found["web", 10 + i], found["forum", i]
        assert (short["dedup.keep"], long["dedup.keep"]) == (False, True)
        assert short["dedup.duplicate_of"] == long["doc_id"]
        assert short["dedup.reason"] == "near"
        assert 0.75 < short["dedup.similarity"] < 1
        assert short["dedup.cluster"] == long["dedup.cluster"] == min(short["doc_id"], long["doc_id"])
    for i in range(5):
        pair = [found["web", 20 + i], found["forum", 10 + i]]
        assert sorted(row["dedup.keep"] for row in pair) == [False, True]
        assert {row["dedup.cluster_size"] for row in pair} == {2}
    for place in [("web", i) for i in range(25, N_TEXTS)] + [("mirror", 10)]:
        row = found[place]
        assert row["dedup.keep"]
        assert row["dedup.cluster"] is None
        assert row["dedup.cluster_size"] == 1


def test_copies_leave_the_mix_and_the_ledger_counts_them(planted: Path, tmp_path: Path) -> None:
    corpus = run(config(planted, tmp_path / "out"))
    dedup, select = corpus.manifest.stages["dedup"], corpus.manifest.stages["select"]
    assert (dedup.ledger.n_in, dedup.ledger.kept, dedup.ledger.duplicate) == (56, 31, 25)
    assert (select.ledger.kept, select.ledger.duplicate, select.ledger.dropped) == (31, 25, {})
    assert corpus.manifest.stages["mix/default"].ledger.kept == 31
    reasons = corpus.table(["selection.reason"])["selection.reason"].to_pylist()
    assert (reasons.count("duplicate:exact"), reasons.count("duplicate:near")) == (10, 15)
    assert dedup.totals["clusters"] == 25


def test_exact_alone_needs_no_signatures(planted: Path, tmp_path: Path) -> None:
    corpus = run(config(planted, tmp_path / "out", dedup={}))
    assert corpus.manifest.stages["dedup"].ledger.duplicate == 10
    assert "score/minhash" not in corpus.manifest.stages


def test_verified_pairs_carry_their_true_similarity(planted: Path, tmp_path: Path) -> None:
    near = {"near": {"threshold": 0.8}}
    found = verdicts(run(config(planted, tmp_path / "out", dedup=near)))
    texts = originals()
    for i in range(10):
        short, long = texts[10 + i].split(), (edited(texts[10 + i]) + " and a longer end").split()
        sets = [{tuple(words[k : k + 5]) for k in range(len(words) - 4)} for words in (short, long)]
        truth = len(sets[0] & sets[1]) / len(sets[0] | sets[1])
        assert found["web", 10 + i]["dedup.similarity"] == pytest.approx(truth, abs=1e-6)
    assert not (tmp_path / "out" / "spool" / "dedup").exists()
    strict = verdicts(run(config(planted, tmp_path / "strict", dedup={"near": {"threshold": 0.97}})))
    assert all(strict["web", 10 + i]["dedup.keep"] for i in range(10))
    assert not all(strict["web", 20 + i]["dedup.keep"] and strict["forum", 10 + i]["dedup.keep"] for i in range(5))


@pytest.mark.parametrize("verify", [False, True])
def test_shards_key_ranges_and_order_do_not_matter(planted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verify: bool) -> None:
    near = {"near": {"verify": verify}}
    one = verdicts(run(config(planted, tmp_path / "one", dedup=near)))
    monkeypatch.setattr(deduplication, "JOIN_BYTES", 1000)
    ingest = {"shard_bytes": 3_000, "split_bytes": 2_000, "sources": [{"path": str(planted), "domain": {"directory": 0}}]}
    many = run(config(planted, tmp_path / "many", dedup=near, ingest=ingest, seed=9))
    assert len(many.parts) > 5
    assert verdicts(many) == one


@pytest.mark.ray
def test_engines_agree_to_the_byte(planted: Path, tmp_path: Path, ray_engine: Any) -> None:
    run(config(planted, tmp_path / "process", dedup={"near": True}))
    run(config(planted, tmp_path / "ray", dedup={"near": True}), engine=ray_engine())
    assert hashes(tmp_path / "process", "dedup/*.parquet") == hashes(tmp_path / "ray", "dedup/*.parquet")


def test_policies_decide_which_copy_stays(planted: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    first = verdicts(run(config(planted, output, dedup={"near": True, "keep": "first"})))
    assert all(first["forum", i]["dedup.keep"] for i in range(15)), "forum is read first"
    prefer = verdicts(run(config(planted, output, dedup={"near": True, "prefer": ["web/*"]})))
    assert all(prefer["web", i]["dedup.keep"] for i in range(N_TEXTS))
    shortest = [{"ngram_perplexity": {"name": "ppl", "order": 2, "sample_bytes": 20_000}}]
    best = run(config(planted, output, score=shortest, dedup={"near": True, "keep": "best ppl.bpb"}))
    table = best.table(["dedup.cluster", "dedup.keep", "ppl.bpb"]).to_pylist()
    clusters: dict[bytes, list[dict[str, Any]]] = {}
    for row in table:
        if row["dedup.cluster"] is not None:
            clusters.setdefault(row["dedup.cluster"], []).append(row)
    for members in clusters.values():
        assert min(members, key=lambda r: (r["ppl.bpb"], not r["dedup.keep"]))["dedup.keep"]


def test_another_policy_reads_no_text_and_makes_no_signature_again(planted: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    run(config(planted, output))
    before = made_when(output, "scores/minhash/*") | made_when(output, "documents/*")
    run(config(planted, output, dedup={"near": True, "keep": "first"}))
    assert made_when(output, "scores/minhash/*") | made_when(output, "documents/*") == before


def test_a_missing_shard_is_made_again_alike(planted: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    run(config(planted, output))
    before = hashes(output, "dedup/*.parquet")
    totals = json.loads((output / "manifest.json").read_text())["stages"]["dedup"]["totals"]
    for record in list((output / "records" / "dedup").glob("*.json"))[:1]:
        record.unlink()
    run(config(planted, output))
    assert hashes(output, "dedup/*.parquet") == before
    assert json.loads((output / "manifest.json").read_text())["stages"]["dedup"]["totals"] == totals


def test_why_and_show_tell_of_copies(planted: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    corpus = run(config(planted, output))
    dropped = next(row for row in verdicts(corpus).values() if row["dedup.reason"] == "near")
    told = curate("why", dropped["doc_id"].hex(), output).stdout
    for words in (dropped["dedup.duplicate_of"].hex()[:12], "kept", "duplicate:near"):
        assert words in told
    assert "band_00" not in told
    shown = curate("show", output, "--verify")
    assert shown.returncode == 0, shown.stderr
    assert "25 clusters" in shown.stdout


def test_documents_without_words_have_no_near_copies(tmp_path: Path) -> None:
    (tmp_path / "raw" / "web").mkdir(parents=True)
    (tmp_path / "raw" / "web" / "a.jsonl").write_bytes(lines(["!!!", "???", "...", "!!!", "中文没有空格", "中文 没有空格"]))
    found = verdicts(run(config(tmp_path / "raw", tmp_path / "out")))
    assert [found["web", i]["dedup.reason"] for i in range(3)].count("near") == 0
    assert sorted([found["web", 0]["dedup.keep"], found["web", 3]["dedup.keep"]]) == [False, True]
    assert sorted([found["web", 4]["dedup.keep"], found["web", 5]["dedup.keep"]]) == [False, True]


def test_signatures_never_meet_a_scorer_of_the_same_name(planted: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="give yours another `name:`"):
        pipeline(config(planted, tmp_path / "out", score=["minhash"]))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"near": {"threshold": 0.8, "bands": 4, "rows": 30}}, ["cannot reach the threshold 0.8", "probability", "bands:"]),
        ({"keep": "best quality.score"}, ["quality.score", "no such column"]),
        ({"keep": "best n_bytes"}, ["n_bytes", "higher or lower"]),
        ({"prefer": ["wikki/*"]}, ["wikki/*", "no source has that name"]),
        ({"among": ["heuristic"]}, ["'heuristic' decides nothing"]),
        ({"among": ["dedup"]}, ["'dedup' decides nothing"]),
        ({"keep": "best dedup.similarity"}, ["dedup.similarity", "no such column"]),
        ({"exact": False}, ["both off"]),
        ({"neer": True}, ["unknown key 'neer'", "near"]),
    ],
)
def test_bad_settings_are_refused_before_work(planted: Path, tmp_path: Path, given: dict[str, Any], words: list[str]) -> None:
    file = write_yaml(config(planted, tmp_path / "out", dedup=given), tmp_path / "bad.yaml")
    answer = curate("check", file)
    assert answer.returncode == 2
    said = " ".join(answer.stderr.split())
    for word in words:
        assert word in said, said
    assert not (tmp_path / "out").exists()


def test_what_a_filter_drops_is_nobodys_original(planted: Path, tmp_path: Path) -> None:
    judge = tmp_path / "judging.py"
    judge.write_text(
        "import pyarrow as pa\nfrom dataclasses import dataclass\nfrom curate import Scorer, columns\n\n\n"
        "@dataclass\nclass Judge(Scorer):\n    '''Drops long ends.'''\n"
        "    outputs = columns(keep=(pa.bool_(), 'true: fit', 'none'))\n\n"
        "    def score(self, batch):\n"
        "        keep = [None if t is None else 'longer end' not in t for t in batch['text'].to_pylist()]\n"
        "        return pa.record_batch([pa.array(keep, pa.bool_())], schema=self.outputs)\n"
    )
    changes = {"plugins": ["judging"], "score": [{"judging:Judge": {"name": "judge"}}], "select": [{"verdict": "judge"}]}
    without = verdicts(run(config(planted, tmp_path / "without", **changes)))
    among = verdicts(run(config(planted, tmp_path / "among", dedup={"near": True, "among": ["judge"]}, **changes)))
    assert not any(without["web", 10 + i]["dedup.keep"] for i in range(10))
    assert all(among["web", 10 + i]["dedup.keep"] and among["forum", i]["dedup.cluster"] is None for i in range(10))


def test_what_reads_the_verdict_too_early_is_refused(planted: Path, tmp_path: Path) -> None:
    early = config(planted, tmp_path / "out", score=[{"fasttext": {"label": "dedup.reason"}}])
    with pytest.raises(ConfigError, match=r"no stage makes the column 'dedup\.reason'"):
        pipeline(early).check()
    shared = config(planted, tmp_path / "out", select=[{"column": "n_bytes", "min": 3, "reason": "exact"}, {"verdict": "dedup"}])
    with pytest.raises(ConfigError, match="'exact' is given by dedup too"):
        pipeline(shared).check()


def test_verdict_columns_can_be_carried_under_a_budget(planted: Path, tmp_path: Path) -> None:
    emit = {"shard_bytes": 16_000, "carry": ["dedup.cluster_size"]}
    run(config(planted, tmp_path / "out", emit=emit, mix={"use": "natural", "byte_budget": 5000}))
    assert max(rows(tmp_path / "out")["dedup.cluster_size"].to_pylist()) == 2


def test_a_preference_that_matches_nothing_is_refused_on_a_later_run_too(planted: Path, tmp_path: Path) -> None:
    run(config(planted, tmp_path / "out"))
    with pytest.raises(ConfigError, match="no source has that name"):
        run(config(planted, tmp_path / "out", dedup={"near": True, "prefer": ["wbe/*"]}))


def test_why_stays_short_for_a_text_that_everyone_copied(tmp_path: Path) -> None:
    (tmp_path / "raw" / "web").mkdir(parents=True)
    (tmp_path / "raw" / "web" / "a.jsonl").write_bytes(lines(["the same text over and over again"] * 200 + ["another one here"]))
    run(config(tmp_path / "raw", tmp_path / "out"))
    told = curate("why", doc_id(b"the same text over and over again").hex(), tmp_path / "out").stdout
    assert "200 exact copies" in told
    assert "and 190 more" in told
    assert len(told.splitlines()) < 400


def test_verdicts_are_aligned_and_described(planted: Path, tmp_path: Path) -> None:
    corpus = run(config(planted, tmp_path / "out"))
    for part in corpus.parts:
        beside, documents = (pq.read_table(tmp_path / "out" / folder / f"{part.name}.parquet") for folder in ("dedup", "documents"))
        assert beside["doc_id"].equals(documents["doc_id"])
    fields = corpus.columns()
    assert fields["dedup.similarity"].type == pa.float32()
    assert all((fields[f"dedup.{name}"].metadata or {}).get(b"unit") for name in ("keep", "cluster", "duplicate_of", "similarity"))
