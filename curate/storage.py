"""Folders on any fsspec URL, written so that a name either holds a whole file or nothing.

On a local disk: write to a temporary name, fsync, rename, fsync the folder. On an
object store a put is atomic already. Readers use memory maps where the disk is local.
"""

from __future__ import annotations

import errno
import os
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import fsspec
import pyarrow as pa

from curate.errors import InputError

TEMPORARY = ".tmp-"


@dataclass(frozen=True)
class Folder:
    """A directory at a URL. ``options`` are fsspec storage options; they never enter a fingerprint or a log."""

    url: str
    options: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def local(self) -> Path | None:
        """The directory as a local path, None when it is remote."""
        if "://" not in self.url:
            return Path(self.url)
        return Path(self.url.removeprefix("file://")) if self.url.startswith("file://") else None

    @property
    def _fs(self) -> tuple[Any, str]:
        return fsspec.core.url_to_fs(self.url, **self.options)

    def at(self, name: str) -> str:
        """The URL of one name inside."""
        return f"{self.url.rstrip('/')}/{name}"

    def child(self, name: str) -> Folder:
        """A folder inside."""
        return Folder(self.at(name), self.options)

    def exists(self, name: str) -> bool:
        """Whether the name holds a file."""
        if self.local is not None:
            return (self.local / name).exists()
        fs, root = self._fs
        return bool(fs.exists(f"{root}/{name}"))

    def names(self, below: str = "") -> list[str]:
        """File names below a sub-folder, relative to this folder, sorted; temporary ones left out."""
        if self.local is not None:
            root = self.local / below
            found = [p.relative_to(self.local).as_posix() for p in root.rglob("*") if p.is_file()] if root.exists() else []
        else:
            fs, base = self._fs
            found = [p.removeprefix(base).lstrip("/") for p in fs.find(f"{base}/{below}".rstrip("/"))]
        return sorted(n for n in found if not n.rsplit("/", 1)[-1].startswith(TEMPORARY))

    def size(self, name: str) -> int:
        """Bytes of one file."""
        if self.local is not None:
            return (self.local / name).stat().st_size
        fs, root = self._fs
        return int(fs.size(f"{root}/{name}"))

    def read(self, name: str) -> bytes:
        """The whole content of a small file."""
        if self.local is not None:
            return (self.local / name).read_bytes()
        fs, root = self._fs
        return bytes(fs.cat_file(f"{root}/{name}"))

    def open(self, name: str) -> pa.NativeFile:
        """A random-access file for pyarrow: memory-mapped when local."""
        if self.local is not None:
            return pa.memory_map(str(self.local / name))
        fs, root = self._fs
        return pa.PythonFile(fs.open(f"{root}/{name}", "rb"), mode="r")

    @contextmanager
    def create(self, name: str, durable: bool = True) -> Iterator[BinaryIO]:
        """Write one file; it appears under its name only if the block ends without an error.

        Args:
            durable: False for scratch that can be made again: it survives the process, not a power cut.
        """
        if self.local is None:
            fs, root = self._fs
            with tempfile.TemporaryFile() as spool:
                yield spool
                spool.seek(0)
                with fs.open(f"{root}/{name}", "wb") as out:
                    while block := spool.read(1 << 24):
                        out.write(block)
            return
        final = self.local / name
        final.parent.mkdir(parents=True, exist_ok=True)
        partial = final.with_name(f"{TEMPORARY}{uuid.uuid4().hex}-{final.name}")
        try:
            with partial.open("wb") as out:
                yield out
                if durable:
                    out.flush()
                    os.fsync(out.fileno())
            partial.replace(final)
            if durable:
                _sync_folder(final.parent)
        except OSError as error:
            raise explain(error, str(final)) from error
        finally:
            partial.unlink(missing_ok=True)

    def write(self, name: str, content: bytes) -> None:
        """Write one small file whole."""
        with self.create(name) as out:
            out.write(content)

    def remove(self, below: str) -> None:
        """Remove a file or a whole sub-folder; absent is fine."""
        fs, root = self._fs
        if fs.exists(f"{root}/{below}"):
            fs.rm(f"{root}/{below}", recursive=True)

    def localize(self, below: str, cache: Path) -> Path:
        """A local directory with the content of a sub-folder: itself when local, a copy in ``cache`` otherwise."""
        if self.local is not None:
            return self.local / below
        target = cache / below
        for name in self.names(below):
            copy = cache / name
            if not copy.exists():
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_bytes(self.read(name))
        return target


def explain(error: OSError, path: str) -> OSError | InputError:
    """A disk error that a person can act on, told as such."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return InputError(
            "no space left on the disk",
            where=path,
            expected="room for the file",
            fix="free space, or point `output:` at another disk; a rerun continues from what is committed",
        )
    if error.errno in (errno.EACCES, errno.EROFS):
        return InputError(
            "the output folder cannot be written", where=path, expected="a writable folder", fix="change `output:` or its permissions"
        )
    return error


def _sync_folder(path: Path) -> None:
    """Make a rename durable."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
