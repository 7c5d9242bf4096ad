"""Trainings and runs in processes that are killed: started from a server that has imported torch once."""

from __future__ import annotations

import multiprocessing as mp
import os
import time
from functools import cache
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from proxy_training import START, TINY, settings
from safetensors.torch import save_file

from curate import telling
from curate.causal_lm import SHAPES
from curate.proxy import Checkpoints, Streams, Trained, new_model, train, training
from curate.storage import Folder
from pipelines import ROOT, run

N_STEPS = 24
SETTINGS = {"threads": 1, "batch_tokens": 256}
WEIGHTS, LOSSES, STEPS = "weights.safetensors", "losses.parquet", "steps.txt"


class Leaning:
    """Leans towards the domain that cost most so far: what it remembers decides every later batch.

    Args:
        log: gets a line for each step asked for.
    """

    def __init__(self, log: Path) -> None:
        self._log, self._sums = log, np.ones((2, 2))

    def proportions(self, step: int) -> np.ndarray:
        with self._log.open("a") as out:
            out.write(f"{step}\n")
        loss = self._sums[0] / self._sums[1]
        return loss**4 / np.sum(loss**4)

    def observe(self, step: int, nats_D: np.ndarray, n_predicted_D: np.ndarray) -> None:
        self._sums += [nats_D, n_predicted_D]

    def state(self) -> dict[str, Any]:
        return {"sums": [[x.hex() for x in row] for row in self._sums.tolist()]}

    def restore(self, state: dict[str, Any]) -> None:
        self._sums = np.array([[float.fromhex(x) for x in row] for row in state["sums"]])


def trained(place: Path, made: Streams, identity: str = "one", seed: int = 0, checkpoints: bool = True) -> Trained:
    """Train with checkpoints in a folder; go on from there."""
    given = settings(**SETTINGS, seed=seed)
    kept = Checkpoints(Folder(str(place / "kept")), identity) if checkpoints else None
    model = new_model(given, given.vocab_size, START)
    return train(model, made, Leaning(place / STEPS), given, n_steps=N_STEPS, checkpoints=kept)


def _prepare() -> None:
    SHAPES.update(TINY)
    training.CHECKPOINT_SECONDS = 0.0


def train_and_write(place: Path, made: Streams) -> None:
    """In a process of its own: a checkpoint after every step, and in the end weights and losses."""
    _prepare()
    found = trained(place, made)
    save_file({name: weight.contiguous() for name, weight in found.model.named_parameters()}, place / WEIGHTS)
    pq.write_table(found.losses, place / LOSSES)


class _Hurrying:
    """A clock on which seconds pass between any two looks, so that a short training has much to say."""

    now = 0.0

    @classmethod
    def monotonic(cls) -> float:
        cls.now += telling.QUIET_SECONDS
        return cls.now


def run_pipeline(config: dict[str, Any], log: Path) -> None:
    """In a process of its own: the pipeline, with a line in ``log`` for the step that each training begins at.

    Steps take a while, so that whoever wants to kill it can.
    """
    _prepare()
    take_up, step = training._Run.take_up, training._Run._take_step

    def logged(self: Any) -> None:
        take_up(self)
        with log.open("a") as out:
            out.write(f"{self.step}\n")

    def slow(self: Any) -> None:
        step(self)
        time.sleep(0.02)

    training._Run.take_up, training._Run._take_step = logged, slow  # type: ignore[method-assign]
    training.time = telling.time = _Hurrying  # type: ignore[assignment]
    run(config)


@cache
def server() -> Any:
    """Where such processes come from."""
    context = mp.get_context("forkserver")
    context.set_forkserver_preload(["training_child", "transformers.models.llama.modeling_llama"])
    with pytest.MonkeyPatch.context() as patch:
        # Python 3.11 does not tell the server where to import from.
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(ROOT / "tests")]))
        forkserver.ensure_running()
    return context
