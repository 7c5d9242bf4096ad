"""Where records go that cannot become documents: one JSON object each, with the reason and the bytes.

JSON Lines under zstd opens with ``zstdcat`` and with pyarrow, pandas and DuckDB alike:

    source, source_row   where the record is; source_row is that of the first of n_records
    n_records            how many records were lost together (1 but for a corrupt row group)
    offset               byte in the decompressed stream, null where the format has none
    reason, detail       why
    raw_hash             xxh3-128 of all its bytes
    raw_n_bytes          how many they are
    raw_base64           the bytes, at most the first 64 KiB
"""

from __future__ import annotations

import base64
from collections import Counter
from contextlib import ExitStack
from types import TracebackType
from typing import Any

import orjson
import zstandard

from curate.ingest.readers.reader import BadRecord
from curate.storage import Folder

FOLDER = "quarantine"


class Quarantine:
    """Writes the bad records of one split; makes no file when there are none.

    Used as a context: the file appears when the block ends without an error.
    """

    def __init__(self, out: Folder, split_name: str) -> None:
        self._out, self._name = out, f"{FOLDER}/{split_name}.jsonl.zst"
        self._stack = ExitStack()
        self._stream: Any = None
        self.counts: Counter[str] = Counter()

    @property
    def file(self) -> str | None:
        """The name of the file within the folder, None when nothing was bad."""
        return self._name if self._stream is not None else None

    def add(self, source: str, bad: BadRecord) -> None:
        """Write one entry."""
        if self._stream is None:
            out = self._stack.enter_context(self._out.create(self._name))
            self._stream = self._stack.enter_context(zstandard.ZstdCompressor(3, write_checksum=True).stream_writer(out, closefd=False))
        entry = {
            "source": source,
            "source_row": bad.row,
            "n_records": bad.n_records,
            "offset": bad.offset,
            "reason": bad.reason,
            "detail": bad.detail,
            "raw_hash": bad.digest,
            "raw_n_bytes": bad.n_bytes,
            "raw_base64": base64.b64encode(bad.raw).decode(),
        }
        self._stream.write(orjson.dumps(entry) + b"\n")
        self.counts[bad.reason] += bad.n_records

    def __enter__(self) -> Quarantine:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.__exit__(kind, error, trace)


def read_quarantine(out: Folder, file: str) -> list[dict[str, Any]]:
    """The entries of one quarantine file, ``raw`` being the decoded bytes."""
    content = zstandard.ZstdDecompressor().decompressobj().decompress(out.read(file))
    entries = [orjson.loads(line) for line in content.splitlines()]
    return [{**entry, "raw": base64.b64decode(entry["raw_base64"])} for entry in entries]
