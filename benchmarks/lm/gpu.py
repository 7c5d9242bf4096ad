"""A model of 160 million parameters on a GPU, from stored shards to a written sidecar: how much of the device is used.

Share of arithmetic: what the model needs for the real tokens, over what square bfloat16 products reach in the same run.
Share of time: how often ``nvidia-smi`` saw a kernel running, from the start of the stage to its end.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import time
from pathlib import Path
from typing import Any

from benchmarks import stage
from benchmarks.child import timed
from benchmarks.lm.material import Layout, flops, lay_out
from curate.engine import InProcess

SQUARE = 8192
PRODUCTS = 50
SAMPLED_EVERY_MS = 100


def available() -> dict[str, Any]:
    """Whether torch sees a GPU, and its name."""
    import torch

    return {"name": torch.cuda.get_device_name() if torch.cuda.is_available() else ""}


def products_a_second() -> float:
    """Floating-point operations a second of large bfloat16 products."""
    import torch

    left, right = (torch.randn(SQUARE, SQUARE, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    left @ right
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(PRODUCTS):
        left @ right
    torch.cuda.synchronize()
    return PRODUCTS * 2.0 * SQUARE**3 / (time.perf_counter() - start)


class Busy:
    """Samples the share of time that a kernel runs, within a ``with``."""

    def __enter__(self) -> Busy:
        query = ["nvidia-smi", "--id=0", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", f"--loop-ms={SAMPLED_EVERY_MS}"]
        self._process = subprocess.Popen(query, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(self, *error: object) -> None:
        self._process.terminate()
        self._said = self._process.communicate()[0]

    @property
    def share(self) -> float:
        """Mean of the samples; 0 where there were none."""
        percent = [float(line) for line in self._said.split() if line.isdigit()]
        return statistics.fmean(percent) / 100 if percent else 0.0


def score(
    model: str,
    output: str,
    sources: list[dict[str, Any]],
    warm: list[dict[str, Any]],
    sections: dict[str, Any],
    until: str,
) -> dict[str, Any]:
    """Ingest and the warm text untimed; then the stage over everything."""
    for folder in (output, f"{output}-warm"):
        shutil.rmtree(folder, ignore_errors=True)
    stage.ingest(output, sources, sections, "64MiB")
    stage.work(f"{output}-warm", warm, sections).run(until=until, engine=InProcess())
    pending = stage.work(output, sources, sections, "64MiB")
    reading: dict[str, Any] = {}
    with Busy() as busy, timed(reading):
        pending.run(until=until, engine=InProcess())
    counts = lay_out(output, model, f"{output}.npz")
    tokens = len(Layout.read(f"{output}.npz").ids)
    for folder in (output, f"{output}-warm"):
        shutil.rmtree(folder)
    Path(f"{output}.npz").unlink()
    reading |= {"tokens": tokens, "documents": counts["documents"], "flops": flops(model, tokens, counts["squares"])}
    return reading | {"rate": products_a_second(), "busy": busy.share}
