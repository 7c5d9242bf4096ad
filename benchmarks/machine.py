"""What the figures were taken on: processor, memory, versions, load."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

PACKAGES = (
    "curate", "pyarrow", "numpy", "numba", "orjson", "isal", "zstandard", "xxhash",
    "ray", "tokenizers", "fasttext-numpy2-wheel", "kenlm", "torch", "transformers",
)  # fmt: skip
QUIET = 0.7


def describe() -> str:
    """Processor, cores, memory and system, in one line."""
    info = Path("/proc/cpuinfo")
    models = (
        [line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")] if info.exists() else []
    )
    model = models[0] if models else platform.processor() or platform.machine()
    memory = psutil.virtual_memory().total / 2**30
    return f"{model}, {os.cpu_count()} cores, {memory:.0f} GiB memory, {platform.system()} {platform.release().split('-')[0]}"


def versions() -> dict[str, str]:
    """Of Python and the packages that bear on speed."""
    found = {"Python": sys.version.split()[0]}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    found["curate"] += commit()
    return found


def commit() -> str:
    """The checkout's commit, where git knows it."""
    try:
        said = subprocess.run(["git", "describe", "--always"], capture_output=True, text=True, check=True, cwd=Path(__file__).parent)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return f" ({said.stdout.strip()})"


def wait_until_quiet(minutes: float) -> float:
    """Wait until the load is below ``QUIET``, at most so long; returns the load."""
    end = time.monotonic() + 60 * minutes
    while (load := os.getloadavg()[0]) >= QUIET and time.monotonic() < end:
        time.sleep(5)
    return load
