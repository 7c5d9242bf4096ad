"""What a job is given, and the table of all jobs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.data import Data


@dataclass
class Run:
    """One execution of the benchmarks.

    Args:
        data: the text.
        speeds: primitive speeds measured in this run, names and units as in ``benchmarks.primitives.LABELS``.
        quick: small data and one repeat: shows that a job works, not how fast it is.
    """

    data: Data
    speeds: dict[str, float]
    quick: bool = False
    lines: list[str] = field(default_factory=list)

    def megabytes(self, full: int, quick: int) -> int:
        """Bytes of a set; ``full`` is cut down to the text there is."""
        return (quick if self.quick else full) * 1_000_000

    def repeats(self, full: int) -> int:
        """Turns of every side."""
        return 1 if self.quick else full

    def note(self, line: str) -> None:
        """Progress on the terminal."""
        print(f"  {line}", file=sys.stderr, flush=True)

    def seconds(self, **amounts: float) -> dict[str, float]:
        """The least time of each primitive step: ``gunzip=100`` is the seconds of 100 MB at this run's speed."""
        return {name: amount / self.speeds[name] for name, amount in amounts.items()}

    @property
    def scratch(self) -> Path:
        """Where sides write what is thrown away."""
        folder = self.data.work / "out"
        folder.mkdir(parents=True, exist_ok=True)
        return folder


Job = Callable[[Run], object]


def steps(parts: dict[str, float]) -> str:
    """Floor seconds as a sum in words."""
    return " + ".join(f"{name.replace('_', ' ')} {seconds:.2f} s" for name, seconds in parts.items()) + f" = {sum(parts.values()):.2f} s"
