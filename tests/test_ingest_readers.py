"""Each reader, each reason for quarantine, and splits at every place."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xxhash
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from curate.errors import InputError
from curate.ingest import Limits, Source, list_inputs, plan_splits, read_quarantine, scan_split
from curate.ingest.readers.reader import BadRecord, Raw, Records, reader_of
from curate.ingest.spool import read_rows
from curate.storage import Folder

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
# What str.splitlines, csv and JSON treat in their own ways.
NASTY = st.text(st.sampled_from('\u0085\u2028\u2029\v\f\x1c\x00\r\n",\t \ufeffaé漢😀\\'), min_size=1)
TEXTS = st.lists(TEXT | NASTY, min_size=1, max_size=12)
RELAXED = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def scan(folder: Path, source: Source, split_bytes: int = 1 << 30, limits: Limits | None = None):
    """(documents as dicts in source order, quarantine entries, results) of a source below ``folder``."""
    out = Folder(str(folder / "out"))
    out.remove("")
    listing = list_inputs([source], str(folder))
    results = [scan_split(split, source, out, 7, limits) for split in plan_splits(listing.files, [source], split_bytes)]
    documents = [d for r in results for c in r.chunks for d in read_rows(out, c, 0, c.n_documents).to_pylist()]
    bad = [entry for r in results if r.quarantine for entry in read_quarantine(out, r.quarantine)]
    for r in results:
        assert r.n_records == r.n_documents + sum(r.quarantined.values())
    assert sum(r.n_documents for r in results) == len(documents)
    assert sum(r.n_bytes for r in results) == sum(len(d["text"].encode()) for d in documents)
    for d in documents:
        assert d["doc_id"] == xxhash.xxh3_128_digest(d["text"].encode())
    return sorted(documents, key=lambda d: (d["source"], d["source_row"])), bad, results


def jsonl(texts: list[str]) -> bytes:
    return b"".join(json.dumps({"text": t}, ensure_ascii=i % 2 == 0).encode() + b"\n" for i, t in enumerate(texts))


def as_csv(texts: list[str], delimiter: str) -> bytes:
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    writer.writerow(["id", "text"])
    writer.writerows([str(i), t] for i, t in enumerate(texts))
    return out.getvalue().encode()


def as_table(texts: list[str], form: str) -> bytes:
    table = pa.table({"text": pa.array(texts, pa.string() if len(texts) % 2 else pa.large_string())})
    sink = pa.BufferOutputStream()
    if form == "parquet":
        pq.write_table(table, sink, row_group_size=3)
    else:
        make = pa.ipc.new_file if form == "arrow" else pa.ipc.new_stream
        with make(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=3)
    return sink.getvalue().to_pybytes()


ENCODERS = {
    "x.jsonl": jsonl,
    "x.jsonl.gz": lambda t: gzip.compress(jsonl(t)),
    "x.jsonl.zst": lambda t: zstandard.compress(jsonl(t[:1])) + zstandard.compress(jsonl(t[1:])),
    "x.csv": lambda t: as_csv(t, ","),
    "x.tsv.gz": lambda t: gzip.compress(as_csv(t, "\t")),
    "x.parquet": lambda t: as_table(t, "parquet"),
    "x.arrow": lambda t: as_table(t, "arrow"),
    "y.arrow": lambda t: as_table(t, "stream"),
}


@pytest.mark.parametrize("name", ENCODERS)
@RELAXED
@given(texts=TEXTS, split_bytes=st.sampled_from([1, 50, 1 << 30]), block_bytes=st.sampled_from([1, 7, 1 << 20]))
def test_any_text_survives_any_format(tmp_path, name, texts, split_bytes, block_bytes):
    (tmp_path / name).write_bytes(ENCODERS[name](texts))
    documents, bad, _ = scan(tmp_path, Source(path=name, domain="d"), split_bytes, Limits(block_bytes=block_bytes, chunk_bytes=64))
    assert [(d["text"], d["source_row"], d["source"], d["domain"]) for d in documents] == [(t, i, name, "d") for i, t in enumerate(texts)]
    assert not bad


@RELAXED
@given(text=TEXT | NASTY)
def test_a_text_file_is_one_document_less_its_bom(tmp_path, text):
    (tmp_path / "x.txt").write_bytes(b"\xef\xbb\xbf" + text.encode())
    (tmp_path / "y.txt.gz").write_bytes(gzip.compress((text.lstrip("\ufeff") or "-").encode()))
    documents, _, _ = scan(tmp_path, Source(path="*.txt*", domain="d"))
    assert [d["text"] for d in documents] == [text, text.lstrip("\ufeff") or "-"]


BAD_LINES = {
    b'{"text": "caf\xe9"}': "invalid_utf8",
    b'{"text": "\\ud800"}': "invalid_utf8",
    b'{"text": "a", "k": "\\udc00 b"}': "invalid_utf8",
    b'{"text": "a"': "broken_json",
    b'{"text": NaN}': "broken_json",
    b'{"text": "a"} {"text": "b"}': "broken_json",
    b'{"txt": "a"}': "missing_text",
    b'{"text": null}': "null_text",
    b'{"text": 5}': "wrong_type",
    b'{"text": {"a": "b"}}': "wrong_type",
    b'["text"]': "wrong_type",
    b'"text"': "wrong_type",
    b'{"text": ""}': "empty_text",
    b"": "blank_line",
    b" \t\r": "blank_line",
    b'{"text": "' + b"x" * 200 + b'"}': "over_long_record",
}


@pytest.mark.parametrize("line", BAD_LINES, ids=lambda line: f"{BAD_LINES[line]}-{zlib.crc32(line) % 100}")
def test_a_bad_json_line_costs_itself_only(tmp_path, line):
    content = b'{"text": "before"}\n' + line + b'\n{"text": "after"}\n'
    (tmp_path / "x.jsonl").write_bytes(content)
    documents, [entry], [result] = scan(tmp_path, Source(path="x.jsonl", domain="d"), limits=Limits(max_record_bytes=100))
    assert [(d["text"], d["source_row"]) for d in documents] == [("before", 0), ("after", 2)]
    assert result.quarantined == {BAD_LINES[line]: 1}
    assert (entry["source"], entry["source_row"], entry["offset"], entry["reason"]) == ("x.jsonl", 1, 19, BAD_LINES[line])
    assert entry["raw"] == line and entry["raw_n_bytes"] == len(line)
    assert entry["raw_hash"] == xxhash.xxh3_128_hexdigest(line) and entry["detail"]


def test_what_json_leaves_open_is_as_documented(tmp_path):
    (tmp_path / "x.jsonl").write_bytes(b'\xef\xbb\xbf{"text": "a", "text": "b"}\r\n{"text": "c\\r\\n", "n": 1}')
    documents, bad, _ = scan(tmp_path, Source(path="x.jsonl", domain="d"))
    assert [d["text"] for d in documents] == ["b", "c\r\n"] and not bad


GOOD_LINE = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6).map(lambda t: json.dumps({"text": t}).encode())
LINES = st.lists(st.sampled_from(list(BAD_LINES)) | GOOD_LINE, min_size=1, max_size=8)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=LINES, split_bytes=st.integers(1, 400), ends=st.booleans(), bom=st.booleans(), block_bytes=st.integers(1, 300))
def test_splits_anywhere_give_the_same_records(tmp_path, lines, split_bytes, ends, bom, block_bytes):
    content = b"\xef\xbb\xbf" * bom + b"\n".join(lines) + b"\n" * ends
    (tmp_path / "x.jsonl").write_bytes(content)
    source = Source(path="x.jsonl", domain="d")
    limits = Limits(max_record_bytes=100)
    whole = scan(tmp_path, source, limits=limits)
    parts = scan(tmp_path, source, split_bytes, Limits(max_record_bytes=100, block_bytes=block_bytes))
    assert parts[0] == whole[0]
    assert sorted(parts[1], key=lambda e: e["source_row"]) == sorted(whole[1], key=lambda e: e["source_row"])
    n_lines = len(lines) - (not ends and lines[-1] == b"")
    if n_lines:
        assert len(whole[0]) + len(whole[1]) == n_lines
        expected = {i: BAD_LINES[line] for i, line in enumerate(lines[:n_lines]) if line in BAD_LINES}
        assert {e["source_row"]: e["reason"] for e in whole[1]} == expected


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.fixed_dictionaries(
            {},
            optional={
                "text": TEXT | st.none() | st.just("") | st.integers(),
                "meta": st.none() | st.fixed_dictionaries({}, optional={"kind": TEXT | st.none() | st.integers()}),
                "n": st.none() | st.integers(-(2**64), 2**64) | st.booleans() | TEXT,
                "f": st.none() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
                "s": st.none() | TEXT | st.lists(st.integers(0, 9)) | st.dictionaries(TEXT, TEXT),
            },
        ),
        min_size=1,
        max_size=6,
    )
)
def test_both_json_paths_agree(records):
    from curate.ingest.readers.jsonl import Parser
    from curate.ingest.readers.lines import Lines
    from curate.ingest.readers.reader import Piece

    extras = {"n": {"type": "int64"}, "f": {"type": "float64"}, "s": {"type": "string"}}
    source = Source.model_validate({"path": "x", "domain": {"field": "meta.kind"}, "extras": extras})
    parser = Parser(Piece("x", "x", "jsonl", None, None), source, Limits())
    block = Lines([json.dumps(record).encode() for record in records], 0)

    def plain(items):
        bad = [item for item in items if isinstance(item, BadRecord)]
        good = [item for item in items if isinstance(item, Records)]
        columns = [(r.rows_N.tolist(), r.text, r.domain, sorted(r.extras.items())) for r in good]
        return bad, [(a, b.to_pylist(), c.to_pylist(), [(n, v.type, v.to_pylist()) for n, v in d]) for a, b, c, d in columns]

    assert plain(list(parser.block(block, 3))) == plain(list(parser.one_by_one(block, 3)))


DAMAGE = {
    "truncated_gzip": (gzip.compress, lambda z: z[: len(z) * 2 // 3]),
    "truncated_zstd": (zstandard.compress, lambda z: z[:-20]),
    "corrupt_gzip": (gzip.compress, lambda z: z[:-8] + bytes(4) + z[-4:]),
    "corrupt_zstd": (zstandard.compress, lambda z: z + b"garbage"),
}


@pytest.mark.parametrize("reason", DAMAGE)
@pytest.mark.parametrize("block_bytes", [1000, 1 << 20])
def test_records_before_damage_are_kept(tmp_path, reason, block_bytes):
    texts = [xxhash.xxh3_128_hexdigest(str(i).encode()) * 20 for i in range(3000)]
    compress, harm = DAMAGE[reason]
    name = "x.jsonl.gz" if "gzip" in reason else "x.jsonl.zst"
    content = jsonl(texts)
    (tmp_path / name).write_bytes(harm(compress(content)))
    documents, [entry], _ = scan(tmp_path, Source(path=name, domain="d"), limits=Limits(block_bytes=block_bytes))
    assert entry["reason"] == reason
    assert [d["text"] for d in documents] == texts[: len(documents)]
    kept = len(documents)
    assert kept == 3000 if "corrupt" in reason else 1000 < kept < 3000
    # What was cut is the line after the last document, from its first byte on.
    assert (entry["source_row"], entry["offset"]) == (kept, len(jsonl(texts[:kept])))
    assert content[entry["offset"] :].startswith(entry["raw"])


def test_salvage_finds_every_byte_the_decoder_can_give(tmp_path):
    content = jsonl([xxhash.xxh3_128_hexdigest(str(i).encode()) for i in range(400)])
    packed = gzip.compress(content)
    for cut in range(0, len(packed), 997):
        (tmp_path / "x.jsonl.gz").write_bytes(packed[:cut])
        expected = zlib.decompressobj(31).decompress(packed[:cut])
        documents, [entry], _ = scan(tmp_path, Source(path="x.jsonl.gz", domain="d"))
        assert entry["reason"] == ("empty_file" if cut == 0 else "truncated_gzip")
        assert len(documents) == expected.count(b"\n") and entry["raw"] == expected[expected.rfind(b"\n") + 1 :]


def test_a_multi_gigabyte_line_would_not_be_held(tmp_path):
    line = b'{"text": "' + b"x" * 3_000_000
    (tmp_path / "x.jsonl").write_bytes(b'{"text": "a"}\n' + line + b'"}\n{"text": "b"}')
    limits = Limits(max_record_bytes=10_000, block_bytes=1 << 12)
    for split_bytes in (1 << 30, 250_000):
        documents, [entry], _ = scan(tmp_path, Source(path="x.jsonl", domain="d"), split_bytes, limits)
        assert [(d["text"], d["source_row"]) for d in documents] == [("a", 0), ("b", 2)]
        assert entry["reason"] == "over_long_record" and entry["raw_n_bytes"] == len(line) + 2
        assert len(entry["raw"]) == 1 << 16 and entry["raw_hash"] == xxhash.xxh3_128_hexdigest(line + b'"}')


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("x.jsonl", b"", "empty_file"),
        ("x.jsonl", b"\xef\xbb\xbf", "empty_file"),
        ("x.txt", b"", "empty_file"),
        ("x.csv", b"", "empty_file"),
        ("x.jsonl.zst", zstandard.compress(b""), "empty_file"),
        ("x.txt", b"caf\xe9", "invalid_utf8"),
        ("x.txt", b"x" * 2000, "over_long_record"),
        ("x.txt.gz", gzip.compress(b"hello hello", mtime=0)[:-4], "truncated_gzip"),
        ("x.jsonl.gz", b"not gzip at all", "corrupt_gzip"),
    ],
)
def test_a_file_that_is_no_document_is_one_entry(tmp_path, name, content, reason):
    (tmp_path / name).write_bytes(content)
    documents, [entry], [result] = scan(tmp_path, Source(path=name, domain="d"), limits=Limits(max_record_bytes=1000))
    assert not documents and result.n_records == 1 and entry["reason"] == reason


def test_csv_records_are_judged_one_by_one(tmp_path):
    long = [b'8,"' + b"x" * 300 + b'"', b"9," + b"y" * 300]
    rows = [b"0,zero", b'1,"one\r\ntwo"', b"2", b"3,a,b", b'4,"a"b', b"", b"6,caf\xe9", b"7,", *long, b"10,ten"]
    (tmp_path / "x.csv").write_bytes(b"\xef\xbb\xbfid,text\r\n" + b"\r\n".join(rows))
    source = Source.model_validate({"path": "x.csv", "domain": "d", "extras": {"id": {"type": "int64"}}})
    for block_bytes in (1 << 20, 10):
        documents, bad, _ = scan(tmp_path, source, limits=Limits(max_record_bytes=200, block_bytes=block_bytes))
        assert [(d["source_row"], d["id"], d["text"]) for d in documents] == [(0, 0, "zero"), (1, 1, "one\r\ntwo"), (10, 10, "ten")]
        reasons = ["field_count", "field_count", "broken_csv", "blank_line", "invalid_utf8", "empty_text", *["over_long_record"] * 2]
        assert {e["source_row"]: e["reason"] for e in bad} == dict(enumerate(reasons, 2))
        content = (tmp_path / "x.csv").read_bytes()
        assert all(content[e["offset"] :].startswith(e["raw"]) for e in bad)


def test_an_unclosed_csv_quote_is_bounded(tmp_path):
    (tmp_path / "x.csv").write_bytes(b'text\na\n"b\n' + b"line\n" * 1000 + b"z\n")
    documents, bad, _ = scan(tmp_path, Source(path="x.csv", domain="d"), limits=Limits(max_record_bytes=100))
    assert bad[0]["reason"] == "over_long_record" and bad[0]["raw_n_bytes"] <= 110
    assert documents[0]["text"] == "a" and documents[-1]["text"] == "z"


def test_a_csv_header_without_the_column_is_told(tmp_path):
    (tmp_path / "x.csv").write_text("id,body\n1,a\n")
    with pytest.raises(InputError, match="'text'"):
        scan(tmp_path, Source(path="x.csv", domain="d"))


def test_domain_and_extras_of_every_format_are_alike(tmp_path):
    rows = [
        {"t": {"body": "a"}, "kind": "x", "n": 1, "f": 1.5, "ok": True, "meta": {"k": [1, 2]}},
        {"t": {"body": "b"}, "kind": "y", "n": None, "f": 2.0, "ok": False, "meta": None},
        {"t": {"body": "c"}, "kind": "", "n": 2, "f": None, "ok": None, "meta": None},
        {"t": {"body": "d"}, "kind": None, "n": 3, "f": None, "ok": None, "meta": None},
        {"t": {"body": None}, "kind": "x", "n": 3, "f": None, "ok": None, "meta": None},
        {"t": {"body": ""}, "kind": "x", "n": 3, "f": None, "ok": None, "meta": None},
    ]
    (tmp_path / "x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    table = pa.Table.from_pylist(rows)
    pq.write_table(table, tmp_path / "x.parquet")
    with pa.ipc.new_file(str(tmp_path / "x.arrow"), table.schema) as writer:
        writer.write_table(table)
    extras = {"n": {"type": "int64"}, "f": {"type": "float64"}, "good": {"type": "bool", "field": "ok"}, "meta": {"type": "string"}}
    seen = []
    for name in ("x.jsonl", "x.parquet", "x.arrow"):
        source = Source.model_validate({"path": name, "text": "t.body", "domain": {"field": "kind"}, "extras": extras})
        documents, bad, _ = scan(tmp_path, source)
        columns = ("text", "domain", "n", "f", "good", "meta", "source_row")
        seen.append(([tuple(d[c] for c in columns) for d in documents], {e["source_row"]: e["reason"] for e in bad}))
    assert seen[0][0] == [("a", "x", 1, 1.5, True, '{"k":[1,2]}', 0), ("b", "y", None, 2.0, False, None, 1)]
    assert seen[0][1] == {2: "missing_domain", 3: "missing_domain", 4: "null_text", 5: "empty_text"}
    assert seen[1] == seen[0] and seen[2] == seen[0]


@pytest.mark.parametrize(
    ("kind", "value"), [("int64", 1.5), ("int64", True), ("int64", 2**63), ("float64", "1"), ("bool", 1), ("string", 5), ("int64", "1")]
)
def test_an_extra_of_another_type_is_quarantined(tmp_path, kind, value):
    (tmp_path / "x.jsonl").write_text(json.dumps({"text": "a", "e": value}) + '\n{"text": "b"}\n')
    documents, [entry], _ = scan(tmp_path, Source.model_validate({"path": "x.jsonl", "domain": "d", "extras": {"e": {"type": kind}}}))
    assert entry["reason"] == "extra_wrong_type" and [(d["text"], d["e"]) for d in documents] == [("b", None)]


def test_invalid_utf8_in_a_parquet_string_is_quarantined(tmp_path):
    binary = pa.array([b"good", b"caf\xe9", None, b"x" * 50], pa.binary())
    lying = pa.Array.from_buffers(pa.string(), 4, binary.buffers(), 1)
    for column in (binary, lying):
        pq.write_table(pa.table({"text": column}), tmp_path / "x.parquet")
        documents, bad, _ = scan(tmp_path, Source(path="x.parquet", domain="d"), limits=Limits(max_record_bytes=40))
        assert [d["text"] for d in documents] == ["good"]
        assert {e["source_row"]: (e["reason"], e["raw"]) for e in bad} == {
            1: ("invalid_utf8", b"caf\xe9"), 2: ("null_text", b""), 3: ("over_long_record", b"x" * 50)
        }  # fmt: skip


def test_tables_that_cannot_be_opened_stop_before_work(tmp_path):
    for name in ("x.parquet", "x.arrow"):
        (tmp_path / name).write_bytes(b"PAR1 but not really")
        source = Source(path=name, domain="d")
        with pytest.raises(InputError, match="not a readable"):
            plan_splits(list_inputs([source], str(tmp_path)).files, [source], 1 << 20)
    pq.write_table(pa.table({"body": ["a"], "text": [1]}), tmp_path / "x.parquet")
    with pytest.raises(InputError, match="is int64"):
        scan(tmp_path, Source(path="x.parquet", domain="d"))
    with pytest.raises(InputError, match="no column 'txt'"):
        scan(tmp_path, Source(path="x.parquet", text="txt", domain="d"))


def test_a_corrupt_row_group_counts_all_its_rows(tmp_path):
    texts = [xxhash.xxh3_128_hexdigest(str(i).encode()) for i in range(300)]
    pq.write_table(pa.table({"text": texts}), tmp_path / "x.parquet", row_group_size=100, compression="zstd", use_dictionary=False)
    column = pq.ParquetFile(tmp_path / "x.parquet").metadata.row_group(1).column(0)
    content = bytearray((tmp_path / "x.parquet").read_bytes())
    content[column.data_page_offset : column.data_page_offset + column.total_compressed_size] = bytes(column.total_compressed_size)
    (tmp_path / "x.parquet").write_bytes(content)
    documents, [entry], _ = scan(tmp_path, Source(path="x.parquet", domain="d"))
    assert [d["text"] for d in documents] == texts[:100] + texts[200:] and documents[100]["source_row"] == 200
    assert (entry["reason"], entry["source_row"], entry["n_records"]) == ("corrupt_parquet", 100, 100)


def test_a_saved_data_set_is_read(tmp_path):
    datasets = pytest.importorskip("datasets")
    texts = [f"text {i}" for i in range(50)]
    datasets.Dataset.from_dict({"text": texts}).save_to_disk(str(tmp_path / "set"))
    source = Source(path="set", format="hf_dataset", domain="d")
    documents, bad, results = scan(tmp_path, source, split_bytes=200)
    assert [(d["text"], d["source_row"], d["source"]) for d in documents] == [(t, i, "set") for i, t in enumerate(texts)]
    assert len(results) > 1 and not bad


def test_a_format_can_be_plugged_in(tmp_path):
    import numpy as np

    from curate.ingest import InputFile, Reader, register
    from curate.ingest.readers import reader

    def read(piece, source, limits, options):
        yield Records(np.arange(2), pa.array(["a", "b"], pa.large_string()), pa.array(["x", "y"]), source=pa.array(["one", "two"]))
        yield replace(Raw(b"?").bad(7, None, "odd", "no text"), source="three")

    def inputs(source, entry, root, options):
        return [InputFile("made-up:", "made-up", entry, "made_up", None, None, source.options["size"], "1")]

    register("made_up", Reader(read=read, inputs=inputs))
    try:
        documents, [entry], _ = scan(tmp_path, Source(format="made_up", options={"size": 5}))
    finally:
        del reader.READERS["made_up"]
    assert [(d["text"], d["domain"], d["source"], d["source_row"]) for d in documents] == [("a", "x", "one", 0), ("b", "y", "two", 1)]
    assert (entry["source"], entry["source_row"], entry["reason"]) == ("three", 7, "odd")
    with pytest.raises(Exception, match="unknown input format 'jsnl'"):
        reader_of("jsnl")
