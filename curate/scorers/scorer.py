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
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import pyarrow as pa

if TYPE_CHECKING:
    from curate.proxy.resume import Store


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
        fraction: instead of ``n_bytes``, this share of the text of those domains.
    """

    n_bytes: int
    per_domain: bool = False
    columns: tuple[str, ...] = ("text", "domain")
    domains: tuple[str, ...] = ()
    fraction: float | None = None


class Told(Protocol):
    """What a long fit may say of itself, for the person who waits."""

    def __call__(self, done: float, of: float, unit: str, detail: str) -> None:
        """``done`` of ``of`` units, and a few words more."""
        ...


@dataclass(frozen=True)
class FitAid:
    """What a fit that takes long may use. None of it bears on what is learned.

    Args:
        device: to compute on, as torch names it.
        borrowed: what other scorers learned, by their names in the pipeline; see ``Scorer.borrows``.
        scorer: another scorer of the pipeline, loaded, by its name; see ``Scorer.uses``.
        weights: the weights of groups that the pipeline's ``correlate:`` made; see ``Scorer.reads_weights``.
        checkpoints: where to leave work that a killed fit goes on from; None for nowhere.
        identity: of this fit: work left under another identity is another fit's.
        tell: called as it goes on.
    """

    device: str = "cpu"
    borrowed: Mapping[str, Path] = field(default_factory=dict)
    scorer: Callable[[str], Scorer] | None = None
    weights: Callable[[], pa.Table] | None = None
    checkpoints: Store | None = None
    identity: str = ""
    tell: Told | None = None


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
        longer: how many times longer the last ``fit`` or ``score`` takes in earnest; above 1 in a ``rehearsal`` only.
        accelerated: whether it computes on a GPU where there is one; a worker then occupies one GPU besides.
        version: raised whenever the same inputs would give other outputs; part of the fingerprint.
    """

    inputs: ClassVar[tuple[str, ...]] = ("text",)
    outputs: ClassVar[pa.Schema]
    resources: ClassVar[Resources] = Resources()
    accelerated: ClassVar[bool] = False
    longer = 1.0
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

    def reads(self, fields: Mapping[str, pa.Field]) -> None:
        """Raise ConfigError for columns this scorer cannot read.

        Called before any work starts, with the field of every input and of every column of the sample, by its name in
        the pipeline: type, unit, direction, and whatever else its scorer states of it.
        """

    def uses(self) -> tuple[str, ...]:
        """Names of scorers of the same pipeline that ``fit_with`` runs on texts of its own; it reads their columns too."""
        return ()

    def borrows(self) -> tuple[str, ...]:
        """Names of scorers of the same pipeline whose learned files ``fit_with`` reads."""
        return ()

    def reads_weights(self) -> str | None:
        """The column whose groups' weights ``fit_with`` reads from the pipeline's ``correlate:``; None for none."""
        return None

    @property
    def fit_accelerated(self) -> bool:
        """Whether learning computes on a GPU where there is one; as scoring does, where a scorer does not say."""
        return self.accelerated

    @property
    def fit_cpus(self) -> int:
        """CPUs that learning occupies."""
        return 1

    def fit_with(self, sample: pa.Table, state: Path, aid: FitAid) -> None:
        """As ``fit``; override this one where learning takes long, needs a GPU, or reads what other scorers learned."""
        self.fit(sample, state)

    def fit_work(self, n_bytes: float) -> float:
        """How much work it is to learn from a sample of this size, in any unit."""
        return n_bytes

    def rehearsal(self) -> Scorer:
        """What a plan tries on a small sample: the same columns for little work. Override where the work is long."""
        return self

    def place(self, device: str) -> None:
        """Compute on this device; called before ``load``, for an ``accelerated`` scorer only."""

    def load(self, state: Path | None) -> None:
        """Make ready to score, once per worker. ``state`` is what ``fit`` wrote, None when nothing was learned."""

    def hear(self, share: float) -> None:
        """Called by a scorer whose batches take long, with the share of the batch that is done; who scores listens."""

    def prepare(self, batch: pa.RecordBatch) -> Any:
        """What can be done for a batch before it is its turn: called by the thread that reads ahead, after ``load``."""
        return None

    def score_prepared(self, batch: pa.RecordBatch, prepared: Any) -> pa.RecordBatch:
        """As ``score``, given what ``prepare`` returned for the batch; override both or neither."""
        return self.score(batch)

    @abstractmethod
    def score(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Scores for every row of ``batch``, same order, schema ``outputs``; null where a row has no score."""


class PickledAsBuilt:
    """What a scorer derives from besides, if ``load`` gives it attributes that should not travel: it goes to a worker as it was
    built, its fields alone, and the worker loads it."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    def __getstate__(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.__post_init__()

    def __post_init__(self) -> None:
        """Set what ``load`` fills, to nothing."""
