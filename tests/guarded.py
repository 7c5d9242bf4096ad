"""Memory that may not be left: arrays that end, or begin, at a page which kills the process when touched."""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from curate.heuristics.scratch import scratch_for

ENDS, BEGINS = "ends at the fence", "begins at the fence"
JUNK = 0xA5
"""What working memory holds before use; no score may depend on it."""

_libc = ctypes.CDLL(None, use_errno=True)
_PAGE = mmap.PAGESIZE
_kept: list[mmap.mmap] = []


class Fence:
    """Room for ``n_bytes`` between two pages that may be neither read nor written."""

    def __init__(self, n_bytes: int) -> None:
        room = -(-max(n_bytes, 1) // _PAGE) * _PAGE
        region = mmap.mmap(-1, room + 2 * _PAGE)
        _kept.append(region)  # never unmapped: arrays may outlive this object
        everything = np.frombuffer(region, np.uint8)
        first = everything.ctypes.data
        for page in (first, first + _PAGE + room):
            if _libc.mprotect(ctypes.c_void_p(page), ctypes.c_size_t(_PAGE), 0):
                raise OSError(ctypes.get_errno(), "mprotect")
        self.inside = everything[_PAGE : _PAGE + room]

    def array(self, like: np.ndarray, side: str) -> np.ndarray:
        """Room for an array like another, whose first or last byte is next to a fence."""
        n_bytes = like.nbytes
        held = self.inside[len(self.inside) - n_bytes :] if side == ENDS else self.inside[:n_bytes]
        return held.view(like.dtype).reshape(like.shape)


def fenced(array: np.ndarray, side: str = ENDS) -> np.ndarray:
    """A copy of an array next to a fence, read-only if the array is."""
    copy = Fence(array.nbytes).array(array, side)
    copy[...] = array
    copy.flags.writeable = array.flags.writeable
    return copy


class TextFences:
    """Columns of texts in fenced memory, the memory used again for the next."""

    def __init__(self, n_bytes: int, n_texts: int) -> None:
        self._data, self._offsets = Fence(n_bytes), Fence(8 * (n_texts + 1))

    def batch(self, texts: Sequence[bytes | None], side: str, skipped: int = 0) -> pa.RecordBatch:
        """A batch of these texts but the first few; offsets and text are next to a fence. Valid until the next one."""
        content = np.frombuffer(b"".join(text or b"" for text in texts), np.uint8)
        bounds = np.cumsum([0, *(len(text or b"") for text in texts)], dtype=np.int64)
        data, offsets = self._data.array(content, side), self._offsets.array(bounds, side)
        data[...], offsets[...] = content, bounds
        validity = pa.array([text is not None for text in texts]).buffers()[1]
        buffers = [validity, _buffer(offsets), _buffer(data)]
        column = pa.Array.from_buffers(pa.large_string(), len(texts), buffers)
        return pa.record_batch({"text": column[skipped:]})


def _buffer(array: np.ndarray) -> pa.Buffer:
    return pa.foreign_buffer(array.ctypes.data, array.nbytes, base=array)


def ordinary(texts: Sequence[bytes | None]) -> pa.RecordBatch:
    """The same texts in memory that nobody watches."""
    return pa.record_batch({"text": pa.array(texts, pa.large_binary()).view(pa.large_string())})


class ScratchFences:
    """Working memory of ``scratch_for``, to the byte what it asks for, every array next to a fence and full of junk."""

    def __init__(self, longest: int, n_line_bytes: int = 0) -> None:
        self._fences = [Fence(array.nbytes) for array in scratch_for(longest, n_line_bytes)]

    def scratch(self, longest: int, n_line_bytes: int, side: str) -> Any:
        """As ``scratch_for``; the memory of the one before is used again."""
        wanted = scratch_for(longest, n_line_bytes)
        made: dict[int, np.ndarray] = {}
        arrays = []
        for fence, array in zip(self._fences, wanted, strict=True):
            place = array.ctypes.data
            if place not in made:
                made[place] = fence.array(array, side)
                made[place].view(np.uint8)[: 1 << 16] = JUNK
            twin = made[place]
            if not array.flags.writeable:
                twin = twin.view()
                twin.flags.writeable = False
            arrays.append(twin)
        return type(wanted)(*arrays)
