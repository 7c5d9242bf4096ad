"""Files that are whole or not there, on a disk and in a store."""

from __future__ import annotations

import errno
import os
import pickle

import fsspec
import pytest

from curate.errors import InputError
from curate.storage import TEMPORARY, Folder, explain


@pytest.fixture(params=["disk", "store"])
def folder(request, tmp_path):
    if request.param == "disk":
        yield Folder(str(tmp_path / "corpus"))
    else:
        yield Folder("memory://storage-test/corpus")
        fs = fsspec.filesystem("memory")
        if fs.exists("/storage-test"):
            fs.rm("/storage-test", recursive=True)


def test_write_read_list_remove(folder):
    assert folder.names() == [] and folder.names("a") == []
    folder.write("a/b.json", b"one")
    folder.write("a/c/d.json", b"three")
    folder.write("ab/e.json", b"")
    assert folder.names() == ["a/b.json", "a/c/d.json", "ab/e.json"]
    assert folder.names("a") == ["a/b.json", "a/c/d.json"]
    assert folder.read("a/b.json") == b"one" and folder.size("a/c/d.json") == 5
    assert folder.exists("a/b.json") and not folder.exists("a/x.json")
    with folder.open("a/c/d.json") as file:
        file.seek(2)
        assert file.read() == b"ree"
    folder.remove("a")
    folder.remove("never/was")
    assert folder.names() == ["ab/e.json"]


def test_a_failed_write_leaves_the_old_content(folder):
    folder.write("x", b"old")
    with pytest.raises(RuntimeError), folder.create("x") as out:
        out.write(b"half of the ne")
        raise RuntimeError
    assert folder.read("x") == b"old"
    assert folder.names() == ["x"]


def test_a_name_holds_nothing_before_the_block_ends(tmp_path):
    folder = Folder(str(tmp_path))
    with folder.create("deep/x") as out:
        out.write(b"content")
        out.flush()
        assert not folder.exists("deep/x")
        assert folder.names() == []  # the temporary file is no file of the folder
        assert [p.name.startswith(TEMPORARY) for p in (tmp_path / "deep").iterdir()] == [True]
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["x"]


def test_content_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    order = []
    sync, replace = os.fsync, type(tmp_path).replace
    monkeypatch.setattr(os, "fsync", lambda handle: (order.append("sync"), sync(handle))[1])
    monkeypatch.setattr(type(tmp_path), "replace", lambda self, target: (order.append("name"), replace(self, target))[1])
    Folder(str(tmp_path)).write("x", b"content")
    assert order == ["sync", "name", "sync"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_says_what_to_do(tmp_path, monkeypatch, number):
    def full(handle):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="no space left") as caught:
        Folder(str(tmp_path)).write("x", b"content")
    assert "x" in caught.value.where and "another disk" in caught.value.fix
    assert list(tmp_path.iterdir()) == []


def test_other_disk_errors_stay_what_they_are():
    error = OSError(errno.EIO, "input/output error")
    assert explain(error, "x") is error
    assert isinstance(explain(OSError(errno.EROFS, "read-only"), "x"), InputError)


def test_a_folder_travels_and_its_options_are_not_shown():
    folder = Folder("memory://x", {"secret": "password"})
    assert pickle.loads(pickle.dumps(folder)) == folder
    assert "password" not in repr(folder)
    assert folder.child("y").url == "memory://x/y" and folder.child("y").options == folder.options


def test_localize(folder, tmp_path):
    folder.write("models/m/a.bin", b"weights")
    path = folder.localize("models/m", tmp_path / "cache")
    assert (path / "a.bin").read_bytes() == b"weights"


def test_file_urls_are_local(tmp_path):
    Folder(f"file://{tmp_path}").write("x", b"1")
    assert (tmp_path / "x").read_bytes() == b"1"
