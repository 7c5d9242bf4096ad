"""What a scorer is: a dataclass that adds columns to documents.

A scorer's dataclass fields are its hyper-parameters and its YAML keys. It states
its output columns with unit and direction, emits sums (nats, bytes, tokens) so
that they add up across batches and shards, and touches no file in ``score``.

    @dataclass
    class Shouting(Scorer):
        '''Share of capital letters.'''
        minimum_length: int = 1
        outputs = columns(share_capital=(pa.float64(), "fraction", "none"))

        def score(self, batch):
            share = [sum(map(str.isupper, t)) / len(t) if t else None for t in batch["text"].to_pylist()]
            return pa.record_batch([pa.array(share, pa.float64())], schema=self.outputs)
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pyarrow as pa


@dataclass(frozen=True)
class Resources:
    """What one worker of a scorer occupies. Scorers with equal resources share one pass over the text."""

    cpus: float = 1.0
    gpus: float = 0.0


@dataclass(frozen=True)
class Sample:
    """The deterministic sample of documents that ``fit`` learns from.

    Documents are taken whole in the order of a hash of their content, so the sample
    is the same for any sharding and any number of workers.

    Args:
        n_bytes: text bytes to take at most, over all domains.
        per_domain: whether the bytes are shared equally between domains (else taken in natural proportion).
        columns: the columns ``fit`` sees; ``doc_id`` is always among them.
        domains: only these domains; empty means all.
    """

    n_bytes: int
    per_domain: bool = False
    columns: tuple[str, ...] = ("text", "domain")
    domains: tuple[str, ...] = ()


def columns(**described: tuple[pa.DataType, str, str]) -> pa.Schema:
    """An output schema from ``name=(type, unit, direction)``; direction is higher, lower or none."""
    return pa.schema(
        [pa.field(name, kind, metadata={"unit": unit, "direction": better}) for name, (kind, unit, better) in described.items()]
    )


@dataclass
class Scorer(ABC):
    """One column group beside the documents.

    Class attributes:
        inputs: columns ``score`` reads: of documents, or ``score_name.column`` of another scorer.
        outputs: schema of what ``score`` returns; each field states ``unit`` and ``direction``.
            May be a property where it depends on hyper-parameters.
        resources: what one worker occupies.
        version: raised whenever the same inputs would give other outputs; part of the fingerprint.
    """

    inputs: ClassVar[tuple[str, ...]] = ("text",)
    outputs: ClassVar[pa.Schema]
    resources: ClassVar[Resources] = Resources()
    version: ClassVar[int] = 1

    def check(self) -> None:
        """Raise ConfigError for hyper-parameters that cannot be, InputError for files that are missing or corrupt.

        Called before any work starts; reads no corpus.
        """

    def artifacts(self) -> tuple[Path, ...]:
        """Files this scorer reads besides the corpus (models, labels); their content enters the fingerprint."""
        return ()

    def sample(self) -> Sample | None:
        """The sample ``fit`` needs, or None when there is nothing to learn."""
        return None

    def fit(self, sample: pa.Table, state: Path) -> None:
        """Learn from the sample, once per run, and write what was learned into the existing directory ``state``.

        Must write the same bytes for the same sample. No pickle.
        """

    def load(self, state: Path | None) -> None:
        """Make ready to score, once per worker. ``state`` is what ``fit`` wrote, None when nothing was learned."""

    @abstractmethod
    def score(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Scores for every row of ``batch``, same order, schema ``outputs``; null where a row has no score."""
