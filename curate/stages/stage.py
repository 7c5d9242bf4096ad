"""What a stage is to the pipeline, and what a running pipeline is to a stage."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from curate.config import Circumstance, PipelineConfig
from curate.corpus import INGEST, Part, parts_of
from curate.engine import Engine
from curate.errors import ConfigError
from curate.manifest import Ledger, Manifest, Record, StageEntry, records
from curate.progress import Progress
from curate.storage import Folder

_SHARD = re.compile(r"(part|shard)-\d+-of-\d+\.(parquet|arrow)")


def device_of(circumstance: Circumstance, engine: Engine) -> str:
    """What accelerated scorers compute on, as torch names it.

    Raises:
        ConfigError: a GPU is asked for and there is none.
    """
    if circumstance.device == "cpu":
        return "cpu"
    if engine.gpus():
        return "cuda"
    if circumstance.device == "cuda":
        raise ConfigError(
            "a GPU is asked for, and there is none",
            where="conf: device",
            expected="a CUDA device that torch and Ray see",
            fix="run where there is one, or use `device: auto` or `cpu`",
        )
    return "cpu"


@dataclass
class Run:
    """One execution: the circumstances a stage runs in.

    Args:
        fingerprints: of every stage of the pipeline, by name.
        seconds: wall time by stage, filled as stages end.
        forgotten: whether ``manifest`` lacks stages that the one on disk still has.
    """

    config: PipelineConfig
    circumstance: Circumstance
    corpus: Folder
    engine: Engine
    manifest: Manifest
    progress: Progress
    fingerprints: dict[str, str]
    seconds: dict[str, float] = field(default_factory=dict)
    forgotten: bool = False

    @cached_property
    def device(self) -> str:
        """What accelerated scorers compute on; see ``device_of``."""
        return device_of(self.circumstance, self.engine)

    @cached_property
    def parts(self) -> list[Part]:
        """The documents shards; ingest is complete."""
        return parts_of(self.corpus, self.manifest.stages[INGEST])

    def _publish_forgotten(self) -> None:
        """Before the first stale file goes, the manifest on disk must no longer vouch for it.

        Until then the earlier output stays readable, so that a mixture that is refused costs nothing.
        """
        if self.forgotten:
            self.manifest.write(self.corpus)
            self.forgotten = False

    def pending(self, stage: str, shards: Sequence[str], fingerprint: str | None = None) -> tuple[list[str], dict[str, Record]]:
        """Shards of a stage still to do, and the records of those already committed.

        Records and files of another fingerprint are removed: they were made by a configuration that is gone.

        Args:
            fingerprint: that records must have; the stage's own when left out.
        """
        current, wanted = fingerprint or self.fingerprints[stage], set(shards)
        done = {}
        for shard, record in records(self.corpus, stage).items():
            if record.fingerprint == current and shard in wanted:
                done[shard] = record
                continue
            self._publish_forgotten()
            self.corpus.remove(f"records/{stage}/{shard}.json")
            for path in record.files:
                self.corpus.remove(path)
        return [shard for shard in shards if shard not in done], done

    def clear_orphans(self, folder: str, found: dict[str, Record]) -> None:
        """Remove shards that none of the stage's records names.

        A run killed between a file and its record leaves one, and if the shards were cut otherwise since then
        nothing overwrites it: whoever reads the folder by a glob would read it too.
        """
        named = {path for record in found.values() for path in record.files}
        for path in self.corpus.names(folder):
            above, _, name = path.rpartition("/")
            if above == folder and _SHARD.fullmatch(name) and path not in named:
                self.corpus.remove(path)


@dataclass(frozen=True)
class Outcome:
    """What a finished stage puts into the manifest."""

    ledger: Ledger
    shards: list[str]
    totals: dict[str, Any] = field(default_factory=dict)


class Stage(ABC):
    """A node of the pipeline.

    Attributes:
        name: as in the manifest, e.g. ``score/langid``.
        parents: names of the stages whose output it reads.
    """

    name: str
    parents: tuple[str, ...]

    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """Everything that bears on the output, JSON-able: options, code version, hashes of what it reads from outside."""

    @abstractmethod
    def run(self, run: Run) -> Outcome:
        """Do what is still to do."""

    def tidy(self, corpus: Folder) -> None:  # noqa: B027 - most stages leave nothing behind
        """Remove what only served to make the output; called when the stage is in the manifest."""

    @cached_property
    def _identity(self) -> dict[str, Any]:
        return self.identity()

    def entry(self, fingerprints: dict[str, str]) -> StageEntry:
        """The manifest entry this stage would have, given its parents' fingerprints."""
        return StageEntry(self._identity, {parent: fingerprints[parent] for parent in self.parents})


def total_ledger(found: dict[str, Record]) -> Ledger:
    """Sum over shards."""
    total = Ledger()
    for record in found.values():
        total = total + record.ledger
    return total
