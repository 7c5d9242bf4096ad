"""The documents table: its columns, and how rows of it are built.

    doc_id      fixed_size_binary(16)   xxh3-128 of the text's UTF-8 bytes
    text        large_string            the document
    domain      dictionary<string>      the group whose share a mixer sets
    n_bytes     int64                   UTF-8 bytes of text
    source      string                  the file the record came from
    source_row  int64                   its row there, from 0, counting bad records too
    …           declared typed extras

(``source``, ``source_row``) is unique; exact copies share a ``doc_id``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from curate.hashing import DOC_ID_BYTES, doc_id

DOC_ID = pa.binary(DOC_ID_BYTES)
DOMAIN = pa.dictionary(pa.int32(), pa.string())

CORE = pa.schema(
    [
        pa.field("doc_id", DOC_ID, nullable=False, metadata={"unit": "xxh3-128 of text"}),
        pa.field("text", pa.large_string(), nullable=False),
        pa.field("domain", DOMAIN, nullable=False),
        pa.field("n_bytes", pa.int64(), nullable=False, metadata={"unit": "UTF-8 bytes"}),
        pa.field("source", pa.string(), nullable=False),
        pa.field("source_row", pa.int64(), nullable=False, metadata={"unit": "row in source, from 0"}),
    ]
)


def schema(extras: Sequence[pa.Field] = ()) -> pa.Schema:
    """The documents schema with the declared extras appended."""
    return pa.schema([*CORE, *extras])


def text_bytes(text: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """A text column as (data, offsets): uint8 bytes and N+1 int64 offsets into them, no copy where possible.

    Null rows have zero length.
    """
    if not pa.types.is_large_string(text.type):
        text = text.cast(pa.large_string())
    _, offsets, data = text.buffers()
    if len(text) == 0:
        return np.empty(0, np.uint8), np.zeros(1, np.int64)
    bounds = np.frombuffer(offsets, dtype=np.int64, count=len(text) + 1, offset=8 * text.offset)
    raw = np.frombuffer(data, dtype=np.uint8) if data is not None and data.size else np.empty(0, np.uint8)
    return raw, bounds


def read_only(array: np.ndarray) -> np.ndarray:
    """A read-only view, so that a kernel is compiled once, whoever owns the memory."""
    view = array.view()
    view.flags.writeable = False
    return view


def doc_ids(text: pa.Array) -> pa.Array:
    """doc_id of every row of a large_string column, without decoding it."""
    data, bounds = text_bytes(text)
    view = data.data
    edges = bounds.tolist()
    digests = b"".join([doc_id(view[a:b]) for a, b in zip(edges[:-1], edges[1:], strict=True)])
    return pa.FixedSizeBinaryArray.from_buffers(DOC_ID, len(text), [None, pa.py_buffer(digests)])


def text_sizes(text: pa.Array) -> pa.Array:
    """UTF-8 byte length of every row."""
    _, bounds = text_bytes(text)
    return pa.array(np.diff(bounds), type=pa.int64())
