"""Text files: each one whole is a document. A leading BOM is dropped, CRLF is kept."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from curate.ingest.readers.reader import BadRecord, Limits, Options, Piece, Raw, Reader, Records, over_long, register
from curate.ingest.sources import Source
from curate.ingest.streams import Damage, blocks, without_bom


def read(piece: Piece, source: Source, limits: Limits, options: Options) -> Iterator[Records | BadRecord]:
    """The one document, or the one bad record, of a file."""
    parts: list[bytes] = []
    n_held = 0
    long: Raw | None = None
    damage: Damage | None = None
    _, content_blocks = without_bom(blocks(piece.url, piece.compression, limits.block_bytes, options))
    for block in content_blocks:
        if isinstance(block, Damage):
            damage = block
        elif long is not None:
            long.add(block)
        else:
            parts.append(block)
            n_held += len(block)
            if n_held > limits.max_record_bytes:
                long, parts = Raw(b"".join(parts)), []
    content = b"".join(parts)
    if damage is not None:
        yield (long or Raw(content)).bad(0, 0, damage.reason, damage.detail)
    elif long is not None:
        yield over_long(long, 0, 0, limits)
    elif not content:
        yield Raw().bad(0, 0, "empty_file", "the file holds no text")
    else:
        yield _document(content, piece)


def _document(content: bytes, piece: Piece) -> Records | BadRecord:
    try:
        text = pa.array([content.decode()], pa.large_string())
    except UnicodeDecodeError as error:
        return Raw(content).bad(0, 0, "invalid_utf8", f"byte {error.start} of the text: {error.reason}")
    return Records(np.zeros(1, np.int64), text, str(piece.domain))


register("text", Reader(read=read))
