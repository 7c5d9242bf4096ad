"""Emitted shards as the outside sees them: opened by datasets, packed without loss, carrying what was asked."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
import tokenizers

from curate.corpus import Corpus
from pipelines import configuration, emitted, rows, run, texts, write_corpus


@pytest.fixture(scope="module")
def packed(raw, tmp_path_factory):
    """Three runs over one corpus: text, packed with and without its remainders. By name, their outputs."""
    folder = tmp_path_factory.mktemp("packed")
    made = {}
    for name, emit in (
        ("text", {"shard_bytes": 16_000}),
        ("drop", {"shard_bytes": 16_000, "format": "packed", "sequence_length": 100}),
        ("keep", {"shard_bytes": 16_000, "format": "packed", "sequence_length": 100, "remainder": "keep"}),
    ):
        made[name] = folder / name
        run(configuration(raw, made[name], emit=emit))
    return made


def test_datasets_opens_the_folder(finished):
    datasets = pytest.importorskip("datasets")
    found = datasets.load_from_disk(str(finished / "mixes" / "default"))
    table = rows(finished)
    assert found["text"][:] == table["text"].to_pylist()
    assert found.column_names == table.column_names
    assert found.features["weight"].dtype == "float32"


def test_datasets_opens_the_files(finished, tmp_path):
    datasets = pytest.importorskip("datasets")
    files = [str(path) for path in emitted(finished)]
    found = datasets.load_dataset("arrow", data_files=files, split="train", cache_dir=str(tmp_path))
    assert found["doc_id"][:] == rows(finished)["doc_id"].to_pylist()


def test_datasets_streams_packed_shards(packed, tmp_path):
    datasets = pytest.importorskip("datasets")
    files = [str(path) for path in emitted(packed["drop"])]
    found = datasets.load_dataset("arrow", data_files=files, split="train", streaming=True, cache_dir=str(tmp_path))
    assert {len(row["input_ids"]) for row in found} == {100}
    assert len(datasets.load_from_disk(str(packed["keep"] / "mixes" / "default"))) == rows(packed["keep"]).num_rows


def test_columns_of_text_shards(finished):
    table = rows(finished)
    assert table.column_names == ["doc_id", "text", "domain", "n_bytes", "source", "source_row", "weight", "copy", "tokens.n_tokens"]
    assert table.schema.field("weight").type == pa.float32()
    assert table.schema.field("copy").type == pa.int16()
    assert table.schema.field("domain").type == pa.string()


def test_rows_are_the_documents_with_their_columns(finished):
    columns = ["text", "domain", "n_bytes", "source", "source_row", "tokens.n_tokens", "mix.weight"]
    held = {(r["source"], r["source_row"]): r for r in Corpus.open(str(finished)).table(columns).to_pylist()}
    for row in rows(finished).to_pylist():
        document = held[row["source"], row["source_row"]]
        assert row["weight"] == document["mix.weight"]
        assert all(row[name] == document[name] for name in columns[:-1])


def test_every_shard_holds_the_mixture(finished):
    totals = Corpus.open(str(finished)).manifest.stages["emit/default"].totals
    longest = {d["domain"]: 0 for d in totals["domains"]}
    tables = [pa.ipc.open_stream(path.read_bytes()).read_all().to_pandas() for path in emitted(finished)]
    for table in tables:
        for domain, size in table.groupby("domain").n_bytes.max().items():
            longest[domain] = max(longest[domain], size)
    for line in totals["domains"]:
        even = line["bytes"] / len(tables)
        for table in tables:
            assert abs(table[table.domain == line["domain"]].n_bytes.sum() - even) <= longest[line["domain"]] + 1


def test_rows_of_a_shard_are_shuffled(finished):
    table = pa.ipc.open_stream(emitted(finished)[0].read_bytes()).read_all()
    changes = np.count_nonzero(np.diff(table["domain"].combine_chunks().dictionary_encode().indices.to_numpy()))
    assert changes > 5


def test_mixture_json_tells_asked_and_realised(finished):
    account = json.loads((finished / "mixes" / "default" / "mixture.json").read_text())
    table = rows(finished).to_pandas()
    total = table["tokens.n_tokens"].sum()
    assert account["realised_tokens"] == total and account["rows"] == len(table)
    assert sum(line["asked_share"] for line in account["domains"]) == pytest.approx(1)
    for line in account["domains"]:
        own = table[table.domain == line["domain"]]
        assert line["tokens"] == own["tokens.n_tokens"].sum()
        assert line["realised_share"] == pytest.approx(line["tokens"] / total)
        assert line["rows"] == len(own)
    assert {s["name"] for s in account["shards"]} == {p.name for p in emitted(finished)}
    assert account["lineage"]["fingerprints"].keys() >= {"ingest", "score/tokens", "select", "mix/default", "emit/default"}


def stream_of(path, tokenizer, separator) -> tuple[list[int], list[bytes]]:
    """The tokens a text shard stands for, by the tokenizers library; and its documents in order."""
    table = pa.ipc.open_stream(path.read_bytes()).read_all()
    ids: list[int] = []
    for text in table["text"].to_pylist():
        ids += [*tokenizer.encode(text, add_special_tokens=False).ids, separator]
    return ids, table["doc_id"].to_pylist()


def test_packed_tokens_are_the_documents_encoded_in_order(packed):
    tokenizer = tokenizers.Tokenizer.from_file(str(packed["text"] / "models" / "tokens" / "tokenizer.json"))
    separator = tokenizer.token_to_id("<|endoftext|>")
    assert separator is not None
    assert len(emitted(packed["text"])) == len(emitted(packed["drop"])) > 2
    for text, drop, keep in zip(*(emitted(packed[name]) for name in ("text", "drop", "keep")), strict=True):
        expected, documents = stream_of(text, tokenizer, separator)
        kept = pa.ipc.open_stream(keep.read_bytes()).read_all()
        assert [t for row in kept["input_ids"].to_pylist() for t in row] == expected
        assert list(dict.fromkeys(d for row in kept["doc_ids"].to_pylist() for d in row)) == list(dict.fromkeys(documents))
        whole = pa.ipc.open_stream(drop.read_bytes()).read_all()["input_ids"].to_pylist()
        assert {len(row) for row in whole} == {100}
        assert [t for row in whole for t in row] == expected[: len(expected) // 100 * 100]
        assert [len(row) for row in kept["input_ids"].to_pylist()[:-1]] == [100] * (kept.num_rows - 1)


@pytest.mark.parametrize("name", ["drop", "keep"])
def test_no_token_is_lost_unnoticed(packed, name):
    totals = Corpus.open(str(packed[name])).manifest.stages["emit/default"].totals
    counts, domains = totals["packed"], totals["domains"]
    assert counts["tokens_in"] == counts["tokens_out"] + counts["tokens_dropped"]
    assert counts["tokens_in"] == sum(d["tokens"] for d in domains) + totals["rows"]  # a separator for each document
    assert totals["exact_tokens"] == {d["domain"]: d["tokens"] for d in domains}
    assert counts["tokens_out"] == sum(len(row) for row in rows(packed[name])["input_ids"].to_pylist())
    assert (counts["tokens_dropped"] == 0) == (name == "keep")


@pytest.mark.parametrize("shard_bytes", [20, 400, 10**9])
def test_any_number_of_shards(raw, finished, tmp_path, shard_bytes):
    sources = [{"path": str(raw / "books"), "format": "text", "domain": "books"}]
    config = configuration(raw, tmp_path / "out", emit={"shard_bytes": shard_bytes}, mix={"use": "natural", "byte_budget": "12kB"})
    config["ingest"] = {"sources": sources, "shard_bytes": 2000}
    corpus = run(config)
    table = rows(tmp_path / "out")
    copies = corpus.table(["mix.copies"])["mix.copies"].to_pylist()
    assert table.num_rows == sum(copies) > 4
    assert len(set(zip(table["doc_id"].to_pylist(), table["copy"].to_pylist(), strict=True))) == table.num_rows


def test_one_document(tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "only.txt").write_text(texts(1, 0)[0])
    config = configuration(tmp_path / "raw", tmp_path / "out", score=[], mix={"use": "natural"}, emit={"shard_bytes": 10})
    config["ingest"]["sources"] = [{"path": str(tmp_path / "raw"), "domain": "only"}]
    run(config)
    assert rows(tmp_path / "out")["text"].to_pylist() == texts(1, 0)


def test_copies_of_a_document_are_numbered_and_apart(tmp_path):
    raw = write_corpus(tmp_path / "raw", documents=30)
    mix = {"use": "static", "proportions": {"books": 0.5, "web": 0.5}, "token_budget": 40_000, "max_epochs": 50}
    corpus = run(configuration(raw, tmp_path / "out", mix=mix))
    books = rows(tmp_path / "out").to_pandas().query("domain == 'books'")
    copies = corpus.table(["doc_id", "mix.copies"], ["books"]).to_pylist()
    for one in copies:
        assert sorted(books[books.doc_id == one["doc_id"]]["copy"]) == list(range(one["mix.copies"]))
    shard_of = [set(pa.ipc.open_stream(p.read_bytes()).read_all()["doc_id"].to_pylist()) for p in emitted(tmp_path / "out")]
    assert sum(copies[0]["doc_id"] in held for held in shard_of) > 1


def test_an_extra_that_measures_documents_stays_a_column(raw, tmp_path):
    source = {"path": str(raw / "science"), "domain": "science", "extras": {"n": {"type": "int64"}}}
    web = {"path": str(raw / "web"), "domain": "web", "extras": {"n": {"type": "int64"}}}
    config = configuration(raw, tmp_path / "out", mix={"use": "natural", "length": "n"}, emit={"shard_bytes": 9000})
    config["ingest"] = {"sources": [source, web], "shard_bytes": 9000}
    corpus = run(config)
    assert "n" in rows(tmp_path / "out").column_names
    # web documents have no length: they count as nothing, in the mix and in what was realised.
    totals = corpus.manifest.stages["emit/default"].totals
    assert totals["realised_tokens"] == sum(range(40))


def test_compressed_shards_hold_the_same_rows(raw, finished, tmp_path):
    emit = {"shard_bytes": 16_000, "carry": ["tokens.n_tokens"], "compression": "zstd"}
    run(configuration(raw, tmp_path / "out", emit=emit))
    # The order inside a shard is keyed by document and copy, so the rows come out alike.
    assert rows(tmp_path / "out").equals(rows(finished))
    assert sum(p.stat().st_size for p in emitted(tmp_path / "out")) < sum(p.stat().st_size for p in emitted(finished))
