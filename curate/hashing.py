"""Keyed hashes: every random decision is a function of seed, purpose and document.

Nothing here depends on worker, batch or time, so neither does any result.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
import xxhash

U64 = np.uint64
_GOLDEN = U64(0x9E3779B97F4A7C15)
_MIX_A = U64(0xBF58476D1CE4E5B9)
_MIX_B = U64(0x94D049BB133111EB)

DOC_ID_BYTES = 16


def doc_id(text: bytes | memoryview) -> bytes:
    """The content hash of a document: xxh3-128 of its UTF-8 bytes, big-endian."""
    return xxhash.xxh3_128_digest(text)


def seed_of(seed: int, purpose: str) -> int:
    """A 64-bit seed for one purpose, so that no two decisions share their randomness."""
    return xxhash.xxh3_64_intdigest(f"{seed}/{purpose}".encode())


def mix64(x: np.ndarray) -> np.ndarray:
    """SplitMix64 finaliser, elementwise on uint64: a bijection that spreads every bit."""
    x = x + _GOLDEN
    x = (x ^ (x >> U64(30))) * _MIX_A
    x = (x ^ (x >> U64(27))) * _MIX_B
    return x ^ (x >> U64(31))


def id_halves(doc_ids: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """doc_id column (N) as an (N, 2) big-endian-ordered uint64 array: compares like the bytes."""
    if isinstance(doc_ids, pa.ChunkedArray):
        doc_ids = doc_ids.combine_chunks()
    if len(doc_ids) == 0:
        return np.empty((0, 2), dtype=U64)
    raw = np.frombuffer(doc_ids.buffers()[1], dtype=">u8", count=2 * len(doc_ids), offset=DOC_ID_BYTES * doc_ids.offset)
    return raw.astype(U64).reshape(-1, 2)


def source_keys(sources: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """source column (N strings) as N uint64 hashes, computed once per distinct source."""
    if isinstance(sources, pa.ChunkedArray):
        sources = sources.combine_chunks()
    if not pa.types.is_dictionary(sources.type):
        sources = sources.dictionary_encode()
    distinct = np.array([xxhash.xxh3_64_intdigest(s.encode()) for s in sources.dictionary.to_pylist()], dtype=U64)
    return distinct[sources.indices.to_numpy(zero_copy_only=False)] if len(distinct) else np.empty(0, dtype=U64)


def row_keys(seed: int, purpose: str, table: pa.Table | pa.RecordBatch, repetition: np.ndarray | None = None) -> np.ndarray:
    """One uint64 per row, keyed by seed, purpose, doc_id, source, source_row (and copy number)."""
    halves = id_halves(table["doc_id"])
    rows = np.asarray(table["source_row"].to_numpy(), dtype=np.int64).view(U64)
    key = mix64(rows ^ source_keys(table["source"]) ^ U64(seed_of(seed, purpose)))
    if repetition is not None:
        key = mix64(key ^ repetition.astype(U64))
    return mix64(mix64(key ^ halves[:, 0]) ^ halves[:, 1])


def id_keys(seed: int, purpose: str, doc_ids: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """One uint64 per row from seed, purpose and doc_id alone: exact copies fall together."""
    halves = id_halves(doc_ids)
    return mix64(mix64(halves[:, 0] ^ U64(seed_of(seed, purpose))) ^ halves[:, 1])


def unit_interval(keys: np.ndarray) -> np.ndarray:
    """uint64 keys as float64 in [0, 1), exact to 53 bits."""
    return (keys >> U64(11)).astype(np.float64) * 2.0**-53


def fingerprint(identity: Any) -> str:
    """32 hex digits naming a JSON-able identity; key order does not matter."""
    canonical = json.dumps(identity, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return xxhash.xxh3_128_hexdigest(canonical.encode())
