"""The way back: from an id or an emitted row to the source it came from, and a corpus told to a person."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from curate.corpus import Corpus
from curate.why import find_copies
from pipelines import configuration, emitted, real_configuration, rows, run, write_yaml


def text_in_source(path: str, row: int) -> str:
    """A record's text as its file has it."""
    content = Path(path).read_bytes()
    if path.endswith(".parquet"):
        return pq.read_table(path)["text"][row].as_py()
    if path.endswith(".txt"):
        assert row == 0
        return content.decode("utf-8-sig")
    if path.endswith(".gz"):
        content = gzip.decompress(content)
    if path.endswith(".zst"):
        content = zstandard.decompress(content)
    return orjson.loads(content.split(b"\n")[row])["text"]


def told(answer) -> tuple[str, int]:
    """Source and row as `why` printed them."""
    line = next(line for line in answer.out.splitlines() if line.startswith("source"))
    source, _, row = line.removeprefix("source").strip().rpartition(", row ")
    return source, int(row.replace(",", ""))


@pytest.fixture
def why(command, monkeypatch):
    """`curate why` on a screen wide enough for any path."""

    def ask(document, corpus):
        from rich.console import Console

        monkeypatch.setattr("curate.cli.Console", lambda **k: Console(width=400, **k))
        return command("why", document, corpus)

    return ask


@pytest.mark.parametrize("row", [0, 7, 19])
def test_from_an_emitted_row_to_its_source(finished, why, row):
    for shard in emitted(finished)[:3]:
        answer = why(f"{shard.stem}:{row}", finished)
        record = pa.ipc.open_stream(shard.read_bytes()).read_all().slice(row, 1).to_pylist()[0]
        source, source_row = told(answer)
        assert (source, source_row) == (record["source"], record["source_row"])
        assert text_in_source(source, source_row) == record["text"]
        assert record["doc_id"].hex() in answer.out
        assert shard.stem in answer.out.split("emitted rows")[1]


@pytest.mark.parametrize("place", ["shard-00000:3", "shard-00000.arrow:3", "mixes/default/shard-00000-of-00005.arrow:3"])
def test_names_of_a_shard(finished, why, place):
    assert why(place, finished).code == 0


def test_every_emitted_row_of_real_text_leads_to_its_source(ci_small, tmp_path):
    config = real_configuration(ci_small, tmp_path / "out", score=[], mix={"use": "natural"}, emit={"shard_bytes": 200_000})
    run(config)
    table = rows(tmp_path / "out").select(["text", "source", "source_row", "domain"]).to_pylist()
    assert {row["domain"] for row in table} == {path.name.split(".")[0] for path in ci_small.iterdir()}
    cache: dict[str, list] = {}
    for row in table:
        path = row["source"]
        if path.endswith((".gz", ".zst")):
            unpack = gzip.decompress if path.endswith(".gz") else zstandard.decompress
            lines = cache.setdefault(path, unpack(Path(path).read_bytes()).split(b"\n"))
            assert orjson.loads(lines[row["source_row"]])["text"] == row["text"]
        elif path.endswith(".parquet"):
            assert cache.setdefault(path, pq.read_table(path)["text"].to_pylist())[row["source_row"]] == row["text"]
    assert len(cache) == 12


def test_by_id_and_by_prefix(finished, why):
    document = rows(finished).slice(5, 1).to_pylist()[0]
    whole = why(document["doc_id"].hex(), finished)
    assert told(whole) == (document["source"], document["source_row"])
    assert why(document["doc_id"].hex()[:10], finished).out == whole.out
    assert why(document["doc_id"].hex()[:10].upper(), finished).out == whole.out
    assert document["text"][:60] in whole.out
    for column in ("tokens.n_tokens", "selection.keep", "mix.weight", "mix.copies", "domain"):
        assert column in whole.out


def test_a_dropped_document_says_why(finished, why):
    dropped = [r for r in Corpus.open(str(finished)).table(["doc_id", "selection.keep"]).to_pylist() if not r["selection.keep"]]
    answer = why(dropped[0]["doc_id"].hex(), finished)
    assert "dropped: length" in answer.out
    assert "in no row of mixes/default" in answer.out


def test_a_verdict_the_mix_was_not_made_from_is_not_told(raw, damaged, command, tmp_path):
    path = write_yaml(configuration(raw, damaged, select=None), tmp_path / "p.yaml")
    answer = command("run", path, "--engine", "process")
    assert "dropped" not in answer.out and "in the mix" in answer.out
    dropped = [r for r in Corpus.open(str(damaged)).table(["doc_id", "selection.keep"]).to_pylist() if not r["selection.keep"]]
    assert "dropped:" not in command("why", dropped[0]["doc_id"].hex(), damaged).out


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("00000000", "no document 00000000"),
        ("xyz", "is no document id"),
        ("abc", "4 to 32 hex digits"),
        ("shard-00000:100000", "has no row 100000"),
        ("shard-00099:0", "no emitted row"),
        ("shard-00000:-1", "no emitted row"),
        ("shard-00000:²", "no emitted row"),
    ],
)
def test_what_is_not_there(finished, why, given, words):
    answer = why(given, finished)
    assert answer.code == 2
    assert words in " ".join(answer.err.split())


def test_a_prefix_of_several(raw, tmp_path, why):
    many = tmp_path / "raw"
    many.mkdir()
    (many / "a.jsonl").write_bytes(b"".join(json.dumps({"text": f"document number {i}"}).encode() + b"\n" for i in range(3000)))
    config = configuration(many, tmp_path / "out", score=[], emit={"shard_bytes": 10**6}, mix={"use": "natural"}, select=None)
    config["ingest"]["sources"] = [{"path": str(many), "domain": "one"}]
    corpus = run(config)
    ids = [i.hex() for i in corpus.table(["doc_id"])["doc_id"].to_pylist()]
    shared = next(i[:4] for i in ids if sum(j.startswith(i[:4]) for j in ids) > 1)
    answer = why(shared, tmp_path / "out")
    assert answer.code == 2 and f"documents begin with {shared}" in answer.err


def test_exact_copies_are_all_told(raw, tmp_path, why):
    twice = tmp_path / "raw"
    twice.mkdir()
    (twice / "a.jsonl").write_bytes(b'{"text": "said twice, by two people, in one file"}\n{"text": "another"}\n' * 2)
    config = configuration(twice, tmp_path / "out", score=[], emit={}, mix={"use": "natural"}, select=None)
    config["ingest"]["sources"] = [{"path": str(twice), "domain": "one"}]
    corpus = run(config)
    first = corpus.table(["doc_id"])["doc_id"][0].as_py()
    answer = why(first.hex(), tmp_path / "out")
    assert "2 exact copies in the corpus" in answer.out
    assert len(find_copies(corpus, first)) == 2


def test_from_a_packed_row(raw, tmp_path, why):
    run(configuration(raw, tmp_path / "out", emit={"format": "packed", "sequence_length": 64, "shard_bytes": 16_000}))
    shard = emitted(tmp_path / "out")[0]
    record = pa.ipc.open_stream(shard.read_bytes()).read_all().slice(4, 1).to_pylist()[0]
    answer = why(f"{shard.stem}:4", tmp_path / "out")
    assert answer.code == 0
    assert all(i.hex() in answer.out for i in record["doc_ids"])
    assert "packed" in answer.out


def test_show_tells_counts_ledgers_and_lineage(finished, command):
    answer = command("show", finished)
    assert answer.code == 0
    out = " ".join(answer.out.split())
    assert "columns of 204 documents in 8 parts" in out
    for word in ("records read 204", "tokens.n_tokens int64", "dropped: length", "emit/default", "mixture 'default'"):
        assert word in out


@pytest.mark.parametrize("shard", ["part-00000-of-00008", "shard-00000-of-00005.arrow"])
def test_show_a_shard(finished, command, shard):
    answer = command("show", finished, shard)
    assert answer.code == 0
    assert "doc_id" in answer.out and "by domain" in answer.out


def test_show_a_packed_shard(raw, tmp_path, command):
    run(configuration(raw, tmp_path / "out", emit={"format": "packed", "sequence_length": 64}))
    answer = command("show", tmp_path / "out", emitted(tmp_path / "out")[0].name)
    assert answer.code == 0 and "input_ids" in answer.out


def test_show_what_is_complete_so_far(raw, tmp_path, command):
    for stage in ("ingest", "tokens", "select", "mix"):
        run(configuration(raw, tmp_path / "out"), until=stage)
        assert command("show", tmp_path / "out", "--verify").code == 0


def test_square_brackets_of_the_users_are_shown_and_not_obeyed(tmp_path, command):
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "a.jsonl").write_bytes(json.dumps({"text": "[b]bold in a forum[/b] and [/nothing] closed", "d": "[/odd]"}).encode() + b"\n")
    config = configuration(raw, tmp_path / "out", score=[], emit={}, mix={"use": "natural"}, select=None)
    config["ingest"] = {"sources": [{"path": str(raw / "a.jsonl"), "domain": {"field": "d"}}]}
    path = write_yaml(config, tmp_path / "p.yaml")
    for verb in ("run", "plan"):
        answer = command(verb, path, "--engine", "process")
        assert answer.code == 0 and "[/odd]" in answer.out
    document = Corpus.open(str(tmp_path / "out")).table(["doc_id"])["doc_id"][0].as_py().hex()
    for question in (["why", document, tmp_path / "out"], ["show", tmp_path / "out", emitted(tmp_path / "out")[0].name]):
        answer = command(*question)
        assert answer.code == 0
        assert "[b]bold in a forum[/b] and [/nothing] closed" in answer.out
