"""Every record is in exactly one place, the places are counted, and a single lost row is noticed."""

from __future__ import annotations

import gzip
import json
import shutil

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from curate import ingest
from curate.corpus import Corpus
from curate.errors import BadRecordsError, IntegrityError
from curate.manifest import records
from curate.verify import verify
from pipelines import configuration, emitted, lines, run, texts


def with_harm(text_lines: list[bytes], share: float, seed: int) -> tuple[list[bytes], int]:
    """The lines with about one in a hundred broken, in one of five ways; and how many."""
    random = np.random.default_rng(seed)
    broken = [b'{"text": "cut', b"\xff\xfe{}", b'{"text": 7}', b'{"other": "no text"}', b""]
    places = random.permutation(len(text_lines))[: max(1, round(share * len(text_lines)))]
    out = list(text_lines)
    for i, place in enumerate(places):
        out[place] = broken[i % len(broken)]
    return out, len(places)


def plant(ci_small, raw) -> dict[str, int]:
    """The real small corpus with 1 % broken lines in every JSON Lines file, over-long rows and an empty file. Returns how many of each."""
    raw.mkdir()
    planted = {"broken": 0, "long": 0, "empty": 0, "records": 0}
    for i, path in enumerate(sorted(ci_small.glob("*.jsonl.*"))):
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else zstandard.decompress(path.read_bytes())
        harmed, n = with_harm(content.rstrip(b"\n").split(b"\n"), 0.01, i)
        if i == 0:
            harmed.append(json.dumps({"text": "long " * 60_000}).encode())
            planted["long"] += 1
        planted["broken"] += n
        planted["records"] += len(harmed)
        (raw / path.name).write_bytes(gzip.compress(b"\n".join(harmed) + b"\n"))
        (raw / path.name).rename(raw / f"{path.name.split('.')[0]}.jsonl.gz")
    for path in ci_small.glob("*.parquet"):
        shutil.copy(path, raw / path.name)
        planted["records"] += pq.read_metadata(path).num_rows
    (raw / "nothing.jsonl").write_bytes(b"")
    planted["empty"] = 1
    planted["records"] += 1
    return planted


@pytest.fixture(scope="module")
def harmed(ci_small, tmp_path_factory):
    """A run over the harmed real corpus: (output, what was planted)."""
    folder = tmp_path_factory.mktemp("harmed")
    planted = plant(ci_small, folder / "raw")
    sources = [{"path": str(p), "domain": p.name.split(".")[0]} for p in sorted((folder / "raw").iterdir())]
    config = configuration(folder, folder / "out", mix={"use": "stratified", "max_epochs": 3})
    config["ingest"] = {"sources": sources, "shard_bytes": 100_000, "max_record_bytes": 200_000, "max_bad_fraction": 0.2}
    run(config)
    return folder / "out", planted


def test_every_planted_record_is_in_quarantine_once(harmed):
    output, planted = harmed
    corpus = Corpus.open(str(output))
    ledger = corpus.manifest.stages["ingest"].ledger
    n_bad = planted["broken"] + planted["long"] + planted["empty"]
    assert ledger.n_in == planted["records"]
    assert sum(ledger.quarantined.values()) == n_bad
    assert ledger.kept == planted["records"] - n_bad == corpus.n_documents
    assert ledger.quarantined["empty_file"] == 1
    entries = [e for path in corpus.manifest.stages["ingest"].totals["quarantine"] for e in ingest.read_quarantine(corpus.folder, path)]
    assert sum(entry["n_records"] for entry in entries) == n_bad
    places = {(e["source"], e["source_row"]) for e in entries}
    kept = {(r["source"], r["source_row"]) for r in corpus.table(["source", "source_row"]).to_pylist()}
    assert len(places) == n_bad
    assert not places & kept
    assert len(places | kept) == planted["records"]


def test_documents_are_the_good_lines(harmed):
    output, _ = harmed
    held = Corpus.open(str(output)).table(["text", "source", "source_row"], ["forum"]).to_pylist()
    content = gzip.decompress((output.parent / "raw" / "forum.jsonl.gz").read_bytes()).split(b"\n")
    for row in held:
        assert orjson.loads(content[row["source_row"]])["text"] == row["text"]
    assert len(held) > 5


def test_every_stages_ledger_adds_up_and_hands_on(harmed):
    output, _ = harmed
    corpus = Corpus.open(str(output))
    stages = corpus.manifest.stages
    n_documents = stages["ingest"].ledger.kept
    for name, entry in stages.items():
        entry.ledger.reconcile(name)
        found = records(corpus.folder, name, entry.fingerprint)
        assert set(found) == set(entry.shards)
        assert sum(r.ledger.kept for r in found.values()) == entry.ledger.kept
        if name not in ("ingest", "fit/tokens", "emit/default"):
            assert entry.ledger.n_in == n_documents
    table = corpus.table(["selection.keep", "selection.reason", "mix.copies"]).to_pylist()
    assert stages["select"].ledger.kept == sum(r["selection.keep"] for r in table)
    assert stages["mix/default"].ledger.kept == sum(r["mix.copies"] > 0 for r in table)
    assert stages["mix/default"].ledger.dropped["deselected"] == sum(not r["selection.keep"] for r in table)
    assert stages["emit/default"].ledger.kept == sum(r["mix.copies"] for r in table)


def test_emitted_rows_are_the_copies_each_once(harmed):
    output, _ = harmed
    corpus = Corpus.open(str(output))
    wanted = {
        (r["source"], r["source_row"], k)
        for r in corpus.table(["source", "source_row", "mix.copies"]).to_pylist()
        for k in range(r["mix.copies"])
    }
    got = [
        (r["source"], r["source_row"], r["copy"])
        for path in emitted(output)
        for r in pa.ipc.open_stream(path.read_bytes()).read_all().select(["source", "source_row", "copy"]).to_pylist()
    ]
    assert len(got) == len(set(got))
    assert set(got) == wanted


def test_the_whole_corpus_verifies(harmed):
    output, _ = harmed
    assert verify(str(output)) > 20


def test_too_many_bad_records_stop_the_run_and_name_where_to_look(tmp_path):
    (tmp_path / "raw" / "web").mkdir(parents=True)
    (tmp_path / "raw" / "web" / "a.jsonl").write_bytes(lines(texts(50, 0)) + b"broken\n" * 3)
    with pytest.raises(BadRecordsError) as caught:
        run(configuration(tmp_path / "raw", tmp_path / "out"))
    assert "3 of 53 records (5.66%) are bad" in caught.value.what
    quarantine = caught.value.where.split(",")[0]
    assert (tmp_path / "out" / quarantine).is_file()
    config = configuration(tmp_path / "raw", tmp_path / "out")
    config["ingest"]["max_bad_fraction"] = 0.1
    assert run(config).n_documents == 50


def test_an_input_of_nothing_but_broken_records_is_an_error(tmp_path):
    (tmp_path / "raw" / "web").mkdir(parents=True)
    (tmp_path / "raw" / "web" / "a.jsonl").write_bytes(b"broken\n" * 3)
    config = configuration(tmp_path / "raw", tmp_path / "out")
    config["ingest"]["max_bad_fraction"] = 1.0
    with pytest.raises(BadRecordsError, match="no document could be read"):
        run(config)


def without_a_row(path) -> None:
    """Write a shard or sidecar again, complete but for one row."""
    if path.suffix == ".parquet":
        table = pq.read_table(path)
        pq.write_table(table.slice(1), path)
        return
    table = pa.ipc.open_stream(path.read_bytes()).read_all()
    with pa.ipc.new_stream(str(path), table.schema) as out:
        out.write_table(table.slice(1))


def flip(path) -> None:
    """Change one bit in the middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def swap_rows(path) -> None:
    """The same rows in another order."""
    table = pq.read_table(path)
    pq.write_table(table.take(list(range(len(table)))[::-1]), path)


HARMS = {
    "row of an emitted shard": ("mixes/default/*.arrow", without_a_row),
    "row of documents": ("documents/*.parquet", without_a_row),
    "row of scores": ("scores/tokens/*.parquet", without_a_row),
    "row of verdicts": ("selection/*.parquet", without_a_row),
    "row of weights": ("mixes/default/weights/*.parquet", without_a_row),
    "order of scores": ("scores/tokens/*.parquet", swap_rows),
    "bit of an emitted shard": ("mixes/default/*.arrow", flip),
    "bit of documents": ("documents/*.parquet", flip),
    "bit of a model": ("models/tokens/tokenizer.json", flip),
    "emitted shard gone": ("mixes/default/*.arrow", lambda p: p.unlink()),
    "documents gone": ("documents/*.parquet", lambda p: p.unlink()),
    "first sidecar gone": ("scores/tokens/part-00000*", lambda p: p.unlink()),
    "model gone": ("models/tokens/*", lambda p: p.unlink()),
    "record gone": ("records/emit/default/*", lambda p: p.unlink()),
    "record of documents cut": ("records/ingest/*", lambda p: p.write_bytes(p.read_bytes()[:40])),
    "shard cut": ("mixes/default/*.arrow", lambda p: p.write_bytes(p.read_bytes()[:-500])),
    "shard empty": ("mixes/default/*.arrow", lambda p: p.write_bytes(b"")),
    "documents empty": ("documents/part-00000*", lambda p: p.write_bytes(b"")),
    "state.json gone": ("mixes/default/state.json", lambda p: p.unlink()),
    "mixture.json changed": ("mixes/default/mixture.json", lambda p: p.write_text(p.read_text().replace('"rows": ', '"rows": 1'))),
    "a foreign shard": ("mixes/default/*.arrow", lambda p: shutil.copy(p, p.with_name("shard-00009-of-00099.arrow"))),
    "manifest cut": ("manifest.json", lambda p: p.write_bytes(p.read_bytes()[:-100])),
}


@pytest.mark.parametrize("name", HARMS)
def test_verify_exits_with_2(damaged, command, name):
    pattern, harm = HARMS[name]
    victim = sorted(damaged.glob(pattern))[0]
    harm(victim)
    answer = command("show", damaged, "--verify")
    assert answer.code == 2
    assert "Traceback" not in answer.err
    assert "change" in answer.err and len(answer.err.splitlines()) < 12


def test_an_unharmed_copy_verifies(damaged, command):
    answer = command("show", damaged, "--verify")
    assert answer.code == 0
    assert "files and every ledger verified" in answer.out


@pytest.mark.parametrize("pattern", ["documents/*", "mixes/default/*.arrow", "scores/tokens/*"])
def test_any_changed_byte_is_noticed(damaged, pattern):
    victim = sorted(damaged.glob(pattern))[0]
    content = victim.read_bytes()
    random = np.random.default_rng(0)
    places = {*random.integers(0, len(content), 40).tolist(), *range(12), *range(len(content) - 12, len(content))}
    for place in sorted(places):
        victim.write_bytes(content[:place] + bytes([content[place] ^ 0x41]) + content[place + 1 :])
        with pytest.raises(IntegrityError):
            verify(str(damaged))
    victim.write_bytes(content)
    verify(str(damaged))


@pytest.mark.parametrize(
    ("record", "file"),
    [
        ("records/emit/default/{}.json", "mixes/default/*.arrow"),
        ("records/score/tokens/{}.json", "scores/tokens/*.parquet"),
        ("records/ingest/{}.json", "documents/*.parquet"),
    ],
)
def test_a_damaged_shard_is_made_again_once_its_record_is_removed(raw, damaged, finished, record, file):
    victim = sorted(damaged.glob(file))[1]
    before = victim.read_bytes()
    flip(victim)
    with pytest.raises(IntegrityError, match="not the one that was written"):
        verify(str(damaged))
    (damaged / record.format(victim.name.split(".")[0])).unlink()
    run(configuration(raw, damaged))
    assert victim.read_bytes() == before
    verify(str(damaged))


@pytest.mark.parametrize("harm", [flip, lambda p: p.write_bytes(p.read_bytes()[:-9]), lambda p: p.write_bytes(b""), lambda p: p.unlink()])
def test_harm_to_the_quarantine_is_noticed(tmp_path, command, harm):
    (tmp_path / "raw" / "web").mkdir(parents=True)
    (tmp_path / "raw" / "web" / "a.jsonl").write_bytes(lines(texts(300, 0)) + b"broken\n")
    run(configuration(tmp_path / "raw", tmp_path / "out"))
    assert command("show", tmp_path / "out", "--verify").code == 0
    harm(next((tmp_path / "out").glob("quarantine/*")))
    answer = command("show", tmp_path / "out", "--verify")
    assert answer.code == 2 and "quarantine" in answer.err


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_all_real_text_from_raw_files_to_shards(real_raw, tmp_path):
    """Thirteen domains, 265 MB: every record accounted for, shares to one document, everything verified."""
    books = {"path": str(real_raw / "books"), "format": "text", "domain": "books"}
    globs = [{"path": str(real_raw / "*" / f"*.{end}"), "domain": {"directory": 0}} for end in ("jsonl.gz", "jsonl.zst", "parquet")]
    mix = {"use": "temperature", "temperature": 2.0, "byte_budget": "150MB"}
    config = configuration(real_raw, tmp_path / "out", score=[], select=None, mix=mix, emit={"shard_bytes": "16MiB"})
    config["ingest"] = {"sources": [books, *globs], "shard_bytes": "16MiB"}
    corpus = run(config)
    ledger = corpus.manifest.stages["ingest"].ledger
    assert ledger.n_in == ledger.kept + sum(ledger.quarantined.values()) == 123_907
    assert len(corpus.domains) == 13
    table = corpus.table(["domain", "n_bytes", "mix.copies"]).to_pandas()
    plan = corpus.manifest.stages["mix/default"].totals
    for line in plan["plan"]:
        own = table[table.domain == line["domain"]]
        assert abs(int((own.n_bytes * own["mix.copies"]).sum()) - line["asked"] * plan["budget"]) <= own.n_bytes.max() + 1
    assert verify(str(tmp_path / "out")) > 30
