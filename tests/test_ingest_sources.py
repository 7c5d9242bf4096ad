"""Which files a source stands for, and what they are called."""

from __future__ import annotations

import os
from pathlib import Path

import fsspec
import pytest
from pydantic import ValidationError

from curate.errors import ConfigError, InputError
from curate.ingest import Source, extras_schema, list_inputs, plan_splits
from curate.ingest.splits import Split


def make(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b'{"text": "a"}\n')


def test_globs_and_folders_are_sorted_and_leave_out_hidden_files(tmp_path):
    make(tmp_path, "raw/b/2.jsonl", "raw/b/10.jsonl", "raw/a/1.jsonl.gz", "raw/a/_manifest.jsonl", "raw/.x/3.jsonl", "raw/a/_tmp/4.jsonl")
    for path in ("raw", "raw/", "./raw/**/*.jsonl*", "raw/*"):
        listing = list_inputs([Source(path=path)], str(tmp_path))
        assert [(f.source, f.domain, f.compression) for f in listing.files] == [
            ("raw/a/1.jsonl.gz", "a", "gz"), ("raw/b/10.jsonl", "b", None), ("raw/b/2.jsonl", "b", None)
        ], path  # fmt: skip
        assert "raw/a/_manifest.jsonl" in listing.skipped
    listing = list_inputs([Source(path="raw")], str(tmp_path))
    assert listing.skipped == ["raw/.x/3.jsonl", "raw/a/_manifest.jsonl", "raw/a/_tmp/4.jsonl"]
    assert [(f.size, f.marker) for f in listing.files] == [(14, str(os.stat(f.url).st_mtime_ns)) for f in listing.files]  # noqa: PTH116


def test_listing_order_does_not_matter(tmp_path, monkeypatch):
    make(tmp_path, *(f"raw/{i}.jsonl" for i in range(20)))
    source = Source(path="raw/*.jsonl", domain="d")
    first = list_inputs([source], str(tmp_path))
    scandir = os.scandir

    class Backwards:
        def __init__(self, path):
            self.entries = sorted(scandir(path), key=lambda e: e.name, reverse=True)

        def __enter__(self):
            return iter(self.entries)

        def __iter__(self):
            return iter(self.entries)

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(os, "scandir", Backwards)
    assert list_inputs([source], str(tmp_path)) == first


@pytest.mark.parametrize(
    ("path", "k", "domain"),
    [
        ("data/en/news/x.jsonl", -1, "news"),
        ("data/en/news/x.jsonl", 0, "data"),
        ("data/*/*/x.jsonl", 0, "en"),
        ("data/*/*/x.jsonl", 1, "news"),
        ("data", 1, "news"),
        ("data/en/news", -1, "news"),
        ("data/en/news", -2, "en"),
    ],
)
def test_a_directory_names_the_domain(tmp_path, path, k, domain):
    make(tmp_path, "data/en/news/x.jsonl")
    [file] = list_inputs([Source.model_validate({"path": path, "domain": {"directory": k}})], str(tmp_path)).files
    assert (file.domain, file.source) == (domain, "data/en/news/x.jsonl")


def test_a_missing_directory_is_told(tmp_path):
    make(tmp_path, "data/x.jsonl", "y.jsonl")
    with pytest.raises(InputError, match="no directory 0"):
        list_inputs([Source.model_validate({"path": "data", "domain": {"directory": 0}})], str(tmp_path))
    with pytest.raises(InputError, match="no directory -1"):
        list_inputs([Source(path="y.jsonl")], str(tmp_path))


def test_paths_outside_and_absolute_keep_their_form(tmp_path):
    make(tmp_path, "raw/a/x.jsonl", "pipelines/p.yaml")
    below = str(tmp_path / "pipelines")
    [relative] = list_inputs([Source(path="../raw/*/*.jsonl")], below).files
    [absolute] = list_inputs([Source(path=str(tmp_path / "raw/a/x.jsonl"))], below).files
    assert (relative.source, relative.domain) == ("../raw/a/x.jsonl", "a")
    assert (absolute.source, absolute.domain) == (str(tmp_path / "raw/a/x.jsonl"), "a")


def test_stores_are_listed_like_disks():
    fs = fsspec.filesystem("memory")
    fs.pipe("/bucket/raw/a/x.jsonl", b'{"text": "a"}\n')
    fs.pipe("/bucket/raw/b/_y.jsonl", b"")
    try:
        for path in ("memory://bucket/raw/*/*.jsonl", "memory://bucket/raw", "memory://bucket/raw/a/x.jsonl"):
            [file] = list_inputs([Source(path=path)], "/nowhere").files
            assert (file.source, file.domain, file.size) == ("memory://bucket/raw/a/x.jsonl", "a", 14)
            with fsspec.open(file.url) as content:
                assert content.read() == b'{"text": "a"}\n'
        [file] = list_inputs([Source(path="raw/*/*.jsonl")], "memory://bucket").files
        assert (file.source, file.domain) == ("raw/a/x.jsonl", "a")
    finally:
        fs.rm("/bucket", recursive=True)


def test_what_cannot_be_read_is_told(tmp_path, monkeypatch):
    make(tmp_path, "a/x.jsonl", "a/y.bin", "b/_z.jsonl", "c/x.parquet.gz")
    missing = [("nope.jsonl", "cannot be listed"), ("a/*.csv", "no file matches")]
    for path, message in [*missing, ("b", "skipping 1"), ("a", "format of"), ("c", "inside gz")]:
        with pytest.raises(InputError, match=message):
            list_inputs([Source(path=path)], str(tmp_path))
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(InputError, match="cannot be read"):
        list_inputs([Source(path="a/x.jsonl")], str(tmp_path))


def test_a_file_belongs_to_one_source(tmp_path):
    make(tmp_path, "a/x.jsonl", "a/y.jsonl")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    for other in ("a/x.jsonl", str(tmp_path / "a/x.jsonl"), "link/x.jsonl"):
        with pytest.raises(InputError, match="two sources"):
            list_inputs([Source(path="a"), Source(path=other)], str(tmp_path))


def test_the_configuration_is_checked(tmp_path):
    make(tmp_path, "a/x.txt")
    for bad in (
        {"path": "x", "extras": {"text": {"type": "string"}}},
        {"path": "x", "domain": ""},
        {},
        {"path": "x", "frmat": "jsonl"},
        {"path": "x", "extras": {"e": {"type": "int"}}},
    ):
        with pytest.raises(ValidationError):
            Source.model_validate(bad)
    with pytest.raises(ConfigError, match="no fields"):
        list_inputs([Source.model_validate({"path": "a", "domain": {"field": "k"}})], str(tmp_path))
    with pytest.raises(ConfigError, match="unknown input format"):
        list_inputs([Source(path="a", format="jsnl")], str(tmp_path))
    one = Source.model_validate({"path": "x", "extras": {"e": {"type": "int64"}, "a": {"type": "bool"}}})
    two = Source.model_validate({"path": "y", "extras": {"e": {"type": "string"}}})
    assert [f.name for f in extras_schema([one])] == ["a", "e"]
    with pytest.raises(ConfigError, match="'e' is int64 in one source and string"):
        extras_schema([one, two])


def test_small_files_share_a_split_and_splits_are_plain_values(tmp_path):
    make(tmp_path, *(f"a/{i}.jsonl" for i in range(10)), "b/x.jsonl")
    sources = [Source(path="a"), Source(path="b")]
    splits = plan_splits(list_inputs(sources, str(tmp_path)).files, sources, 60)
    assert [(s.entry, len(s.pieces), s.n_bytes) for s in splits] == [(0, 4, 56), (0, 4, 56), (0, 2, 28), (1, 1, 14)]
    assert [Split.from_json(s.to_json()) for s in splits] == splits
