"""Training that was killed goes on at its last checkpoint and ends with the same weights.

A checkpoint is weights and moments (safetensors), what was drawn and learned so far (JSON), and the losses (Parquet).
It is written under a number, and the number is published last, so a checkpoint is whole or does not exist.
"""

from __future__ import annotations

import json
import tempfile
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

if TYPE_CHECKING:
    import torch

LATEST = "latest.json"
TENSORS, STATE, LOSSES = "tensors.safetensors", "state.json", "losses.parquet"


class Store(Protocol):
    """Where files can be left that outlive a process; ``curate.storage.Folder`` is one."""

    def exists(self, name: str) -> bool:
        """Whether the name holds a file."""
        ...

    def names(self) -> list[str]:
        """Every file."""
        ...

    def read(self, name: str) -> bytes:
        """A file's content."""
        ...

    def create(self, name: str) -> AbstractContextManager[BinaryIO]:
        """Write a file that appears whole or not at all."""
        ...

    def remove(self, below: str) -> None:
        """Remove a file; the empty name removes all of them."""
        ...


@dataclass(frozen=True)
class Saved:
    """One checkpoint.

    Args:
        step: steps taken.
        tensors: weights and moments by name.
        state: everything else, JSON.
        losses: of the steps taken.
    """

    step: int
    tensors: dict[str, torch.Tensor]
    state: dict[str, Any]
    losses: pa.Table


@dataclass(frozen=True)
class Checkpoints:
    """Where the checkpoints of one training lie.

    Args:
        folder: for these alone.
        identity: of the training; a checkpoint of another one is not taken up.
    """

    folder: Store
    identity: str

    def save(self, saved: Saved) -> None:
        """Write a checkpoint, publish it, remove the ones before."""
        from safetensors.torch import save_file

        place = f"step-{saved.step:08d}"
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / TENSORS
            save_file(saved.tensors, path)
            with self.folder.create(f"{place}/{TENSORS}") as out, path.open("rb") as written:
                while block := written.read(1 << 24):
                    out.write(block)
        with self.folder.create(f"{place}/{LOSSES}") as out:
            pq.write_table(saved.losses, out)
        self._write(f"{place}/{STATE}", saved.state)
        self._write(LATEST, {"step": saved.step, "identity": self.identity})
        for name in self.folder.names():
            if name != LATEST and not name.startswith(f"{place}/"):
                self.folder.remove(name)

    def latest(self) -> Saved | None:
        """The last whole checkpoint of this training, None where there is none."""
        from safetensors.torch import load

        if not self.folder.exists(LATEST):
            return None
        latest = json.loads(self.folder.read(LATEST))
        if latest["identity"] != self.identity:
            return None
        place = f"step-{latest['step']:08d}"
        losses = pq.read_table(pa.BufferReader(self.folder.read(f"{place}/{LOSSES}")))
        return Saved(latest["step"], load(self.folder.read(f"{place}/{TENSORS}")), json.loads(self.folder.read(f"{place}/{STATE}")), losses)

    def _write(self, name: str, content: Any) -> None:
        with self.folder.create(name) as out:
            out.write(json.dumps(content).encode())

    def clear(self) -> None:
        """Remove them all: the model is complete."""
        self.folder.remove("")
