"""Running sides of a comparison by turns, and what came of it.

Every side is a process of its own (``benchmarks.child``). This process only watches: it
adds up the memory of the child and all below it, and notes the load of the machine.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil

from benchmarks.child import MARK

ROOT = Path(__file__).parents[1]
ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "RAYON_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "ARROW_NUM_THREADS"), "1"
)
# Without an address, Ray would join any cluster that somebody else runs on this machine.
SETTINGS = {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1", "PYTHONHASHSEED": "0", "RAY_ADDRESS": "local"}
SAMPLES_A_SECOND = 10


@dataclass(frozen=True)
class Reading:
    """One run of one side.

    Args:
        seconds: wall time of the work itself.
        cpu_seconds: of all processes of the side.
        peak_bytes: most anonymous memory of all processes together, start to end; file pages are the kernel's to drop.
        load: runnable processes in the minute before, the machine's own figure.
        facts: whatever else the side reported.
    """

    seconds: float
    cpu_seconds: float
    peak_bytes: int
    load: float
    facts: dict[str, Any] = field(default_factory=dict)


Side = Callable[[], Reading]


def child(module: str, function: str, *, python: str = sys.executable, **arguments: Any) -> Reading:
    """Run a function of a module in a new process."""
    load = os.getloadavg()[0]
    command = [python, "-m", "benchmarks.child", module, function, json.dumps(arguments)]
    environment = os.environ | ONE_THREAD | SETTINGS
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    watch = _Watch(process.pid)
    out, err = process.communicate()
    peak = watch.stop()
    lines = [line for line in out.splitlines() if line.startswith(MARK)]
    if process.returncode or not lines:
        raise SystemExit(f"{module}.{function} ended with {process.returncode}:\n{err[-4000:]}")
    facts = json.loads(lines[-1].removeprefix(MARK))
    return Reading(facts.pop("seconds", 0.0), facts.pop("cpu_seconds", 0.0), peak, load, facts)


class _Watch:
    """Samples the memory of a process tree until stopped."""

    def __init__(self, pid: int) -> None:
        self._pid, self._peak, self._end = pid, 0, threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def _work(self) -> None:
        while not self._end.wait(1 / SAMPLES_A_SECOND):
            self._peak = max(self._peak, tree_anonymous_bytes(self._pid))

    def stop(self) -> int:
        self._end.set()
        self._thread.join()
        return self._peak


def tree_anonymous_bytes(pid: int) -> int:
    """Anonymous resident memory of a process and all below it."""
    try:
        root = psutil.Process(pid)
        pids = [pid, *(p.pid for p in root.children(recursive=True))]
    except psutil.NoSuchProcess:
        return 0
    return sum(_anonymous(p) for p in pids)


def _anonymous(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    found = [line for line in status.splitlines() if line.startswith("RssAnon:")]
    return int(found[0].split()[1]) * 1024 if found else 0


def by_turns(sides: Mapping[str, Side], repeats: int, note: Callable[[str], None]) -> dict[str, list[Reading]]:
    """Readings of every side: all sides once, then all again, so that a change of the machine's mood meets all of them."""
    readings: dict[str, list[Reading]] = {name: [] for name in sides}
    for turn in range(repeats):
        for name, side in sides.items():
            reading = side()
            readings[name].append(reading)
            note(f"{name}, {turn + 1} of {repeats}: {reading.seconds:.2f} s, {reading.cpu_seconds:.2f} CPU s")
    return readings


@dataclass
class Row:
    """One side in a result table: medians over the repeats.

    Args:
        amount: what one run handled, in ``unit``.
        spread: largest over smallest wall time.
    """

    name: str
    seconds: float
    cpu_seconds: float
    amount: float
    unit: str
    peak_mb: float
    spread: float
    repeats: int

    @property
    def speed(self) -> float:
        """Amount a second."""
        return self.amount / self.seconds if self.seconds else 0.0


@dataclass
class Ratio:
    """One claim with its figure: ``value`` should be at least (or, with ``most``, at most) ``bar``; None only informs."""

    claim: str
    value: float
    bar: float | None = None
    most: bool = False
    by_cpu: float | None = None

    @property
    def verdict(self) -> str:
        """In words."""
        if self.bar is None:
            return "informative"
        return "met" if (self.value <= self.bar if self.most else self.value >= self.bar) else "**missed**"


@dataclass
class Result:
    """What a job found.

    Args:
        title, claim: one line each.
        floor: what cannot be avoided, computed from the primitive speeds of the same run.
        agreement: what was checked to be equal between the sides.
        load: the machine's, at each reading: smallest and largest.
    """

    job: str
    title: str
    claim: str
    data: str
    floor: list[str]
    rows: list[Row]
    ratios: list[Ratio]
    agreement: str
    notes: list[str] = field(default_factory=list)
    load: tuple[float, float] = (0.0, 0.0)
    date: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Result:
        """The inverse of ``to_json``."""
        rows, ratios = [Row(**row) for row in data["rows"]], [Ratio(**ratio) for ratio in data["ratios"]]
        return cls(**{**data, "rows": rows, "ratios": ratios, "load": tuple(data["load"])})


def row(name: str, readings: list[Reading], amount: float, unit: str = "MB") -> Row:
    """The medians of a side."""
    walls = [r.seconds for r in readings]
    return Row(
        name,
        statistics.median(walls),
        statistics.median(r.cpu_seconds for r in readings),
        amount,
        unit,
        max(r.peak_bytes for r in readings) / 1e6,
        max(walls) / max(min(walls), 1e-9),
        len(readings),
    )


def rows_in_turns(readings: dict[str, list[dict[str, float]]], amounts: dict[str, float] | float, unit: str, peak: int) -> list[Row]:
    """Rows of sides that shared one process, and so its peak memory."""
    found = []
    for name, values in readings.items():
        amount = amounts[name] if isinstance(amounts, dict) else amounts
        found.append(row(name, [Reading(v["seconds"], v["cpu_seconds"], peak, 0.0) for v in values], amount, unit))
    return found


def faster(ours: Row, other: Row) -> tuple[float, float]:
    """How many times faster ours is per amount: by wall time, by CPU time."""
    return ours.speed / other.speed, (ours.amount / ours.cpu_seconds) / (other.amount / other.cpu_seconds)


def ratio(claim: str, ours: Row, other: Row, bar: float | None = None) -> Ratio:
    """A claim about the speed of one row over another's."""
    wall, cpu = faster(ours, other)
    return Ratio(claim, wall, bar, by_cpu=cpu)


def loads(*groups: list[Reading]) -> tuple[float, float]:
    """Smallest and largest load at any reading."""
    values = [r.load for group in groups for r in group]
    return (min(values), max(values)) if values else (0.0, 0.0)
