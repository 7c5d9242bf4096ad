"""Shard plans by hand, and whole ingests that must not depend on how they were cut."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.documents import schema
from curate.hashing import row_keys
from curate.ingest import Limits, ShardPlan, Source, gather_shard, list_inputs, plan_shards, plan_splits, read_histogram, scan_split, slices
from curate.ingest.gather import ROW_GROUP_BYTES
from curate.ingest.scan import ScanResult
from curate.ingest.shards import Range
from curate.ingest.sources import extras_schema
from curate.ingest.spool import HISTOGRAM, Chunk, document_order
from curate.storage import Folder

SHARED = Path(__file__).parents[2] / "shared" / "data"
needs_data = pytest.mark.skipif(not SHARED.exists(), reason="the real text is not on this machine")
BOOKS = {"path": "books", "domain": "books"}


def ingest(out: Path, root: Path, sources: list[Source], split_bytes=1 << 30, shard_bytes=1 << 20, limits=None, seed=3):
    """(parts, results, plan): all steps, spools of odd splits in another folder, slices in reverse."""
    folders = [Folder(str(out)), Folder(str(out / "other"))]
    listing = list_inputs(sources, str(root))
    splits = plan_splits(listing.files, sources, split_bytes)
    results = [scan_split(s, sources[s.entry], folders[i % 2], seed, limits) for i, s in enumerate(splits)]
    results = [ScanResult.from_json(json.loads(json.dumps(r.to_json()))) for r in results]
    where = {c.name: folders[i % 2] for i, r in enumerate(results) for c in r.chunks}
    chunks = [(c, read_histogram(where[c.name], c)) for r in results for c in r.chunks]
    plan = plan_shards((h for _, h in chunks), shard_bytes)
    assert ShardPlan.from_json(json.loads(json.dumps(plan.to_json()))) == plan
    parts = []
    for i, found in enumerate(slices(plan, chunks)):
        part = gather_shard([(where[s.chunk.name], s) for s in reversed(found)], folders[0], plan.part_name(i), extras_schema(sources))
        assert (part.n_documents, part.n_bytes) == (plan.shards[i].n_documents, plan.shards[i].n_bytes)
        parts.append(part)
    return parts, results, plan


def histogram(*rows: tuple[str, int, int, int]) -> pa.Table:
    rows = tuple(sorted(rows))
    columns = list(zip(*rows, strict=True)) if rows else [[], [], [], []]
    domain = pa.array(columns[0], pa.string()).dictionary_encode()
    return pa.table([domain, *(pa.array(c, t) for c, t in zip(columns[1:], HISTOGRAM.types[1:], strict=True))], schema=HISTOGRAM)


def test_a_plan_by_hand():
    # a and b (30 + 40) fit one shard of 100, c (45) no longer; d is large: 260 bytes, three shards; e follows alone.
    small = [("a", 5, 3, 30), ("b", 1, 1, 40), ("c", 9, 2, 45), ("e", 0, 1, 1)]
    h = histogram(*small, ("d", 0, 1, 90), ("d", 10, 1, 80), ("d", 20, 1, 90))
    plan = plan_shards([h], 100)
    full = 1 << 16
    assert [s.ranges for s in plan.shards] == [
        (Range("a", 0, full), Range("b", 0, full)),
        (Range("c", 0, full),),
        (Range("d", 0, 1),),
        (Range("d", 1, 20),),
        (Range("d", 20, full),),
        (Range("e", 0, full),),
    ]
    assert [(s.n_documents, s.n_bytes) for s in plan.shards] == [(4, 70), (2, 45), (1, 90), (1, 80), (1, 90), (1, 1)]
    assert plan.part_name(2) == "part-00002-of-00006.parquet"


def test_a_huge_document_does_not_make_empty_shards():
    plan = plan_shards([histogram(("d", 7, 1, 1000), ("d", 9, 1, 1))], 100)
    assert sum(s.n_documents for s in plan.shards) == 2 and all(s.n_documents for s in plan.shards)
    assert plan.shards[0].ranges[0].low == 0 and plan.shards[-1].ranges[-1].high == 1 << 16
    assert plan_shards([], 100).shards == ()


DOMAIN_AND_BUCKET = st.tuples(st.sampled_from("abcd"), st.integers(0, 65535))
BINS = st.dictionaries(DOMAIN_AND_BUCKET, st.tuples(st.integers(1, 5), st.integers(1, 90)), max_size=40)


@settings(max_examples=60, deadline=None)
@given(st.lists(BINS, min_size=1, max_size=4), st.integers(1, 400))
def test_shards_cover_every_row_of_every_chunk_once(all_bins, shard_bytes):
    tables = [histogram(*((d, b, n, size) for (d, b), (n, size) in bins.items())) for bins in all_bins]
    chunks = [(Chunk(str(i), sum(t["n_documents"].to_pylist()), 0, ()), t) for i, t in enumerate(tables)]
    plan = plan_shards(tables, shard_bytes)
    assert plan_shards(tables[::-1], shard_bytes) == plan
    found = slices(plan, chunks)
    for shard, parts in zip(plan.shards, found, strict=True):
        assert sum(s.stop - s.start for s in parts) == shard.n_documents > 0
        for s in parts:
            table = tables[int(s.chunk.name)]
            rows = np.repeat(np.arange(len(table)), table["n_documents"].to_numpy())[s.start : s.stop]
            touched = table.take(pa.array(np.unique(rows))).to_pylist()
            assert all(any(r.domain == t["domain"] and r.low <= t["bucket"] < r.high for r in shard.ranges) for t in touched)
    for chunk, _ in chunks:
        edges = [(s.start, s.stop) for parts in found for s in parts if s.chunk == chunk]
        assert [a for a, _ in edges] == [0, *(b for _, b in edges[:-1])][: len(edges)]
        assert (edges[-1][1] if edges else 0) == chunk.n_documents


def test_a_large_domain_is_cut_into_equal_shards():
    rng = np.random.default_rng(1)
    sizes = rng.integers(50, 2000, 5000)
    h = histogram(*(("d", int(b), 1, int(s)) for b, s in zip(rng.choice(65536, 5000, replace=False), sizes, strict=True)))
    plan = plan_shards([h], int(sizes.sum()) // 10)
    assert len(plan.shards) == 10
    assert max(abs(s.n_bytes - sizes.sum() / 10) for s in plan.shards) <= 2000


def test_equal_keys_fall_back_on_what_the_document_is():
    ids = pa.array([b"b" * 16, b"a" * 16, b"a" * 16, b"a" * 16], pa.binary(16))
    table = pa.table({"doc_id": ids, "source": ["s", "t", "s", "s"], "source_row": [0, 0, 5, 2]})
    order = document_order(table, np.zeros(4, np.uint64), np.zeros(4, np.int64))
    assert order.tolist() == [3, 2, 1, 0]


def small_sources(**changes) -> list[Source]:
    names = ["code.parquet", "dialog.jsonl.gz", "docs.jsonl.zst", "news.jsonl.gz", "noisy.jsonl.zst", "science.parquet"]
    tagged = {"id": {"type": "string"}, "where": {"type": "string", "field": "provenance"}}
    return [Source.model_validate({"path": n, "domain": {"field": "source"}, "extras": tagged, **changes}) for n in names] + [
        Source.model_validate(BOOKS)
    ]


@needs_data
def test_no_byte_depends_on_how_the_work_was_cut(tmp_path):
    root = SHARED / "ci_small"
    whole, results, _ = ingest(tmp_path / "a", root, small_sources(), shard_bytes=100_000)
    cut, _, _ = ingest(tmp_path / "b", root, small_sources(), 5_000, 100_000, Limits(block_bytes=999, chunk_bytes=20_000))
    assert len(whole) > 8 and cut == whole
    for part in whole:
        assert (tmp_path / "a" / part.name).read_bytes() == (tmp_path / "b" / part.name).read_bytes()
    other, _, _ = ingest(tmp_path / "c", root, small_sources(), shard_bytes=100_000, seed=4)
    assert [p.file["hash"] for p in other] != [p.file["hash"] for p in whole]
    assert sum(p.n_documents for p in other) == sum(r.n_documents for r in results) == 5 * 60 + 59 + 2


@needs_data
def test_parts_hold_the_documents_in_order(tmp_path):
    parts, _, _ = ingest(tmp_path, SHARED / "ci_small", small_sources(), shard_bytes=300_000)
    tables = [pq.read_table(tmp_path / p.name) for p in parts]
    extras = [pa.field("id", pa.string()), pa.field("where", pa.string())]
    seen = []
    for part, table in zip(parts, tables, strict=True):
        assert table.schema.equals(schema(extras))
        assert (tmp_path / part.name).stat().st_size == part.file["bytes"]
        keys = row_keys(3, "ingest", table).tolist()
        names = table["domain"].cast(pa.string()).to_pylist()
        seen += list(zip(names, keys, strict=True))
        assert {n: names.count(n) for n in set(names)} == {n: c["n_documents"] for n, c in part.domains.items()}
        assert sum(c["n_bytes"] for c in part.domains.values()) == part.n_bytes == sum(len(t.encode()) for t in table["text"].to_pylist())
    assert seen == sorted(seen) and len(set(seen)) == len(seen)
    rows = pa.concat_tables(tables).to_pylist()
    original = pq.read_table(SHARED / "ci_small" / "code.parquet").to_pylist()
    mine = {r["source_row"]: r for r in rows if r["source"] == "code.parquet"}
    assert len(mine) == len(original)
    for i, row in enumerate(original):
        assert (mine[i]["text"], mine[i]["id"], mine[i]["domain"]) == (row["text"], row["id"], row["source"])
        assert json.loads(mine[i]["where"]) == row["provenance"]
    assert all(r["id"] is None for r in rows if r["domain"] == "books")


@needs_data
def test_row_groups_are_small(tmp_path):
    root = SHARED / "raw"
    source = Source(path="books/*.txt")
    parts, _, _ = ingest(tmp_path, root, [source], shard_bytes=1 << 28)
    [part] = parts
    file = pq.ParquetFile(tmp_path / part.name)
    sizes = [file.read_row_group(i, ["n_bytes"])["n_bytes"].to_pylist() for i in range(file.num_row_groups)]
    assert sum(map(len, sizes)) == 27
    # A group ends with the document that reaches the limit.
    assert all(sum(group[:-1]) < ROW_GROUP_BYTES for group in sizes) and len(sizes) >= part.n_bytes / (ROW_GROUP_BYTES + 2_000_000)


@needs_data
@pytest.mark.slow
def test_every_real_document_arrives(tmp_path):
    """The counts of the data's own table: 13 domains, 123,907 documents; 27 books less their BOM of 3 bytes."""
    expected = {
        "books": (27, 20_509_066 - 27 * 3), "code": (3_140, 23_279_789), "dialog": (15_482, 16_255_676), "docs": (4_849, 18_291_743),
        "encyclopedia": (551, 14_497_681), "forum": (11_062, 20_867_488), "legal": (5_184, 23_472_240), "math": (2_238, 18_897_793),
        "multilingual": (28_730, 28_315_971), "news": (19_399, 15_723_770), "noisy": (1_874, 21_329_198), "reviews": (15_076, 19_886_912),
        "science": (16_295, 23_385_946),
    }  # fmt: skip
    source = Source(path="raw")
    assert list_inputs([source], str(SHARED)).skipped == ["raw/books/_manifest.jsonl"]
    parts, results, _ = ingest(tmp_path, SHARED, [source], 32 << 20, 8 << 20)
    found: dict[str, list[int]] = {}
    for part in parts:
        for name, counts in part.domains.items():
            total = found.setdefault(name, [0, 0])
            total[0] += counts["n_documents"]
            total[1] += counts["n_bytes"]
    assert {n: tuple(c) for n, c in found.items()} == expected
    assert not any(r.quarantined for r in results)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_file(tmp_path):
    """Scanning 400 MB of text, and a line of 300 MB, takes less than 300 MB more than scanning next to nothing."""
    line = json.dumps({"text": "word " * 400}).encode() + b"\n"
    with (tmp_path / "big.jsonl").open("wb") as big:
        for _ in range(200):
            big.write(line * 1000)
        big.write(b'{"text": "')
        for _ in range(300):
            big.write(b"x" * 1_000_000)
        big.write(b'"}\n')
    (tmp_path / "small.jsonl").write_bytes(line)
    program = """
import resource, sys
from curate.ingest import Source, list_inputs, plan_splits, scan_split
from curate.storage import Folder
source = Source(path=sys.argv[1], domain="d")
split, = plan_splits(list_inputs([source], sys.argv[2]).files, [source], 1 << 40)
result = scan_split(split, source, Folder(sys.argv[2] + "/out"), 0)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10, result.n_documents, result.n_records)
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    used = []
    for name in ("small.jsonl", "big.jsonl"):
        command = [sys.executable, "-c", program, name, str(tmp_path)]
        run = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        used.append([int(n) for n in run.stdout.split()])
    assert used[1][1:] == [200_000, 200_001]
    assert used[1][0] - used[0][0] < 300
