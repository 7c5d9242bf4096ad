"""Large tables that are read at random, in huge pages.

A row of a model of hashed n-grams lies anywhere in hundreds of megabytes, so that with pages of 4 KiB nearly every
row costs a walk of the page table besides the wait for memory: a fifth of the time of a fastText model of 800 MB.
Linux moves memory into pages of 2 MiB when asked; elsewhere, and where it has none to give, all stays as it was.
"""

from __future__ import annotations

import ctypes
import mmap

import numpy as np

PAGE_BYTES = 2 << 20
LEAST_BYTES = 64 << 20
"""A smaller table gains less than the move takes."""
_COLLAPSE = 25  # MADV_COLLAPSE, since Linux 6.1


def move(table: np.ndarray) -> bool:
    """Move a contiguous array's memory into huge pages, as far as it fills any; its content and address stay.

    Returns:
        Whether it was moved: False for a small table, another system, an older kernel, or fragmented memory.
    """
    if table.nbytes < LEAST_BYTES or not table.flags.c_contiguous or not hasattr(mmap, "MADV_HUGEPAGE"):
        return False
    start = -(-table.ctypes.data // PAGE_BYTES) * PAGE_BYTES
    length = (table.ctypes.data + table.nbytes) // PAGE_BYTES * PAGE_BYTES - start
    try:
        advise = ctypes.CDLL(None).madvise
    except (AttributeError, OSError, TypeError):
        return False
    advise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return all(advise(start, length, advice) == 0 for advice in (mmap.MADV_HUGEPAGE, _COLLAPSE))
