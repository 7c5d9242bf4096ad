"""One side of a comparison in a process of its own, timed from inside.

    python -m benchmarks.child MODULE FUNCTION '{"argument": "value"}'

The function returns a dict; it wraps the work it answers for, and nothing else, in
``timed``, so imports and preparation do not count. This file needs only psutil, because
peers run it with the Python of their own environment.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any

import psutil

MARK = "benchmark result: "


@contextmanager
def timed(reading: dict[str, Any]) -> Iterator[None]:
    """Put wall seconds, and CPU seconds of this process and all below it, into ``reading``."""
    cpu, wall = cpu_seconds(), time.perf_counter()
    yield
    reading["seconds"] = time.perf_counter() - wall
    reading["cpu_seconds"] = cpu_seconds() - cpu


def cpu_seconds() -> float:
    """User and system time of this process, its living descendants, and the children it has waited for."""
    here = psutil.Process()
    total = 0.0
    for process in [here, *here.children(recursive=True)]:
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
        if process == here:
            total += times.children_user + times.children_system
    return total


def in_turns(works: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, list[dict[str, float]]]:
    """Readings of single-threaded work in this process, one after the other, again and again; each runs once untimed first."""
    readings: dict[str, list[dict[str, float]]] = {name: [] for name in works}
    for work in works.values():
        work()
    for _ in range(repeats):
        for name, work in works.items():
            gc.collect()
            cpu, wall = time.process_time(), time.perf_counter()
            work()
            readings[name].append({"seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu})
    return readings


def _import_lazily_imported() -> None:
    """pyarrow imports pandas, where it is installed, at the first array it makes of numpy's: a fifth of a second that is no side's work."""
    with suppress(ImportError):
        import numpy as np
        import pyarrow as pa

        pa.array(np.zeros(1))


def main() -> None:
    module, function, arguments = sys.argv[1:]
    _import_lazily_imported()
    result = getattr(import_module(module), function)(**json.loads(arguments))
    print(MARK + json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
