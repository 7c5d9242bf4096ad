"""Ledgers that must balance, records that commit, fingerprints that follow what bears on the output."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.errors import IntegrityError, StaleOutputError
from curate.hashing import fingerprint
from curate.manifest import Ledger, Manifest, Record, StageEntry, differences, dump, records
from curate.storage import Folder

counts = st.integers(0, 1000)
by_reason = st.dictionaries(st.sampled_from(["length", "language", "broken"]), st.integers(1, 1000))
ledgers = st.builds(
    lambda kept, dropped, duplicate, bad: Ledger(
        kept + sum(dropped.values()) + duplicate + sum(bad.values()), kept, dropped, duplicate, bad
    ),
    counts,
    by_reason,
    counts,
    by_reason,
)


@given(ledgers, ledgers)
def test_ledgers_add_up(a, b):
    total = a + b
    total.reconcile("sum")
    assert total.n_in == a.n_in + b.n_in
    assert total == b + a
    assert Ledger.from_json(json.loads(dump(total.to_json()))) == total


@given(ledgers, st.integers(-3, 3).filter(bool))
def test_a_lost_or_doubled_record_fails(ledger, off):
    ledger.n_in += off
    with pytest.raises(IntegrityError, match="the ledger does not balance"):
        ledger.reconcile("score/x, shard part-00000")


def test_a_record_whose_ledger_does_not_balance_is_not_committed(tmp_path):
    with pytest.raises(IntegrityError, match="3 in, 2 accounted for"):
        Record("select", "part-0", "f", {}, Ledger(3, 1, {"length": 1})).commit(Folder(str(tmp_path)))
    assert records(Folder(str(tmp_path)), "select") == {}


def test_records_of_another_fingerprint_do_not_count(tmp_path):
    folder = Folder(str(tmp_path))
    for shard, mark in (("part-0", "old"), ("part-1", "new")):
        Record("score/x", shard, mark, {"a": {"bytes": 1}}, Ledger(1, 1), {"n": 2}).commit(folder)
    assert set(records(folder, "score/x")) == {"part-0", "part-1"}
    found = records(folder, "score/x", "new")
    assert set(found) == {"part-1"}
    assert found["part-1"] == Record("score/x", "part-1", "new", {"a": {"bytes": 1}}, Ledger(1, 1), {"n": 2})


def test_a_stage_that_begins_with_anothers_name_is_another(tmp_path):
    folder = Folder(str(tmp_path))
    Record("score/x", "part-0", "f", {}, Ledger()).commit(folder)
    Record("score/xy", "part-0", "f", {}, Ledger()).commit(folder)
    Record("ingest-scan", "0", "f", {}, Ledger()).commit(folder)
    assert set(records(folder, "score/x")) == {"part-0"}
    assert records(folder, "ingest") == {}


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"fingerprint": "f"}', b"\xff"])
def test_a_record_that_cannot_be_read(tmp_path, content):
    folder = Folder(str(tmp_path))
    folder.write("records/select/part-0.json", content)
    with pytest.raises(IntegrityError, match="a record cannot be read"):
        records(folder, "select")


def chain() -> Manifest:
    """ingest <- score/a <- select <- mix/default <- emit/default; score/b beside."""
    stages: dict[str, StageEntry] = {}
    for name, parents in (
        ("ingest", []),
        ("score/a", ["ingest"]),
        ("score/b", ["ingest"]),
        ("select", ["ingest", "score/a"]),
        ("mix/default", ["ingest", "select"]),
        ("emit/default", ["ingest", "mix/default"]),
    ):
        stages[name] = StageEntry({"name": name}, {p: stages[p].fingerprint for p in parents})
    return Manifest("p", stages)


def test_forgetting_a_stage_forgets_its_descendants():
    manifest = chain()
    assert manifest.invalidate(["score/a"]) == ["emit/default", "mix/default", "score/a", "select"]
    assert set(manifest.stages) == {"ingest", "score/b"}
    assert chain().invalidate(["nothing"]) == []


def test_a_fingerprint_follows_identity_and_parents():
    manifest = chain()
    before = manifest.stages["select"].fingerprint
    manifest.stages["select"].parents["score/a"] = "another"
    assert manifest.stages["select"].fingerprint != before
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1}) != fingerprint({"a": 2, "b": 1})


def test_lineage(tmp_path):
    manifest = chain()
    for name in manifest.stages:
        manifest.verify_lineage(name)
    manifest.stages["ingest"].identity["seed"] = 5
    with pytest.raises(StaleOutputError, match="'select' was made from another 'ingest'"):
        manifest.verify_lineage("select")
    with pytest.raises(StaleOutputError, match="'nowhere' is not complete"):
        manifest.verify_lineage("nowhere")


def test_written_and_read_again(tmp_path):
    manifest, folder = chain(), Folder(str(tmp_path))
    assert Manifest.read(folder) is None
    manifest.write(folder)
    assert Manifest.read(folder) == manifest


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b'{"format": 1}', b"\xff\xfe"])
def test_a_manifest_that_cannot_be_read(tmp_path, content):
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(IntegrityError, match="the manifest cannot be read"):
        Manifest.read(Folder(str(tmp_path)))


def test_a_later_format_is_refused(tmp_path):
    (tmp_path / "manifest.json").write_bytes(b'{"format": 99}')
    with pytest.raises(StaleOutputError, match="format 99"):
        Manifest.read(Folder(str(tmp_path)))


def test_differences_name_the_field():
    old = {"a": {"b": [1, 2], "c": "x"}, "gone": 1}
    new = {"a": {"b": [1, 3], "c": "x"}, "come": None, "list": [1]}
    assert differences(old, new) == ["a.b[1]: 2 -> 3", "gone: 1 -> null", "list: null -> [1]"]
    assert differences(old, old) == []
    assert differences([1], [1, 2]) == [": [1] -> [1, 2]"]
