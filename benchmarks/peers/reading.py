"""A pass over rows or batches, the same for every reader."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterable
from typing import Any

from benchmarks.child import timed

SECONDS = 1.0


def read(begin: Callable[[], Iterable[Any]], content: Callable[[Any], Any]) -> dict[str, Any]:
    """Mean of timed passes that drop what they read; one before them, untimed, takes a checksum of the content."""
    reading: dict[str, Any] = {"rows": 0, "checksum": 0}
    for item in begin():
        value = content(item)
        if value is None:
            continue
        for one in [value] if isinstance(value, str) or getattr(value, "ndim", 2) == 1 else value:
            raw = one.encode() if isinstance(one, str) else one.astype("int32").tobytes()
            reading["checksum"] = zlib.crc32(raw, reading["checksum"])
            reading["rows"] += 1
    start = time.perf_counter()
    for _ in begin():
        pass
    passes = max(1, int(SECONDS / (time.perf_counter() - start)))
    with timed(reading):
        for _ in range(passes):
            for _ in begin():
                pass
    reading |= {"seconds": reading["seconds"] / passes, "cpu_seconds": reading["cpu_seconds"] / passes}
    return reading
