"""Mixers that weigh every document by itself; shares of domains are what comes out.

Such a mixer never holds the corpus. Parts tell it facts of their documents, it learns from
the facts of all parts, and asks for others until it knows the weight of any document:

    facts    columns of a part, what is learned so far -> what the part tells
    learn    what all parts tell -> what is learned
    weights  columns of a part, what is learned -> expected copies

Facts must not depend on how documents lie in parts: whole numbers, extremes, exact sums
(``curate.kernels.exact_sums``), and nothing that is rounded on the way. Weights then have
the same bits for any sharding. N documents of a part, B bins.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from curate.mixers.mixer import AnyMixer

NO_BIN = -1


@dataclass(frozen=True)
class Budget:
    """What is asked of a mixture.

    Args:
        amount: to emit, in the unit; None for as much as there is.
        max_epochs: most copies of a document on average.
        redistribute: give what a capped document cannot take to the others, instead of refusing.
        unit: ``tokens`` or ``bytes``, for messages.
    """

    amount: float | None
    max_epochs: float
    redistribute: bool = True
    unit: str = "tokens"


@dataclass
class DocumentMixer(AnyMixer, ABC):
    """Turns columns of documents into weights of documents.

    The dataclass fields are the hyper-parameters and the YAML keys. Tables have the columns
    of ``inputs`` and no row that selection dropped.

    Class attributes:
        shown: what ``columns`` gives, written beside weight and copies.
    """

    shown: ClassVar[pa.Schema] = pa.schema([])

    @property
    @abstractmethod
    def inputs(self) -> tuple[str, ...]:
        """Columns it reads, as ``scorer.column``, or bare for those of documents."""

    def reads(self, fields: Mapping[str, pa.Field]) -> None:
        """Raise ConfigError for columns it cannot read; called with the field of every input before any work."""

    @abstractmethod
    def facts(self, table: pa.Table, length_N: np.ndarray, learned: Any) -> Any:
        """What one part tells of its documents, picklable and small.

        Args:
            length_N: of every document in the budget's unit, int64.
            learned: of the round before; None in the first.
        """

    @abstractmethod
    def learn(self, facts: Sequence[Any], learned: Any, budget: Budget) -> Any:
        """The facts of all parts, in any order, as what the next round or ``weights`` needs; picklable and small.

        Raises:
            InfeasibleMixtureError: the caps cannot hold the budget; with the numbers, and the knob.
        """

    @abstractmethod
    def is_ready(self, learned: Any) -> bool:
        """Whether weights follow from what is learned."""

    @abstractmethod
    def budget(self, learned: Any) -> float:
        """What was asked for, or as much as there is, in the budget's unit."""

    @abstractmethod
    def weights(self, table: pa.Table, learned: Any) -> np.ndarray:
        """Expected copies of every document: float64 (N); NaN where it cannot be weighed and is left out."""

    def columns(self, table: pa.Table, learned: Any) -> pa.Table:
        """The columns of ``shown`` for every document: what its weight was made from."""
        return pa.table([], schema=self.shown)

    def reason(self, row: Mapping[str, Any]) -> str:
        """A row of ``inputs`` and ``shown`` in words: why its weight is what it is."""
        return ""

    def bins(self, table: pa.Table, learned: Any) -> np.ndarray | None:
        """The bin of every document, int64 (N), ``NO_BIN`` for one without weight: few, and such that other settings can be
        tried on sums over them; None where there is no such thing."""
        return None

    def statistics(self, bin_B: np.ndarray, learned: Any) -> pa.Table:
        """What is known of each of these bins, a row each."""
        raise NotImplementedError

    def diagnostics(self, learned: Any) -> dict[str, Any]:
        """JSON-able facts worth showing beside the mixture; ``notes``, a list of sentences, are printed after a run."""
        return {}


def learn_all(mixer: DocumentMixer, tables: Sequence[pa.Table], lengths: Sequence[np.ndarray], budget: Budget) -> Any:
    """All rounds of a mixer over tables in memory: for notebooks and tests; a pipeline runs the same rounds over parts.

    Args:
        tables: with the columns of ``inputs``.
        lengths: int64, of every document in the budget's unit, an array a table.
    """
    learned = None
    while learned is None or not mixer.is_ready(learned):
        facts = [mixer.facts(table, length, learned) for table, length in zip(tables, lengths, strict=True)]
        learned = mixer.learn(facts, learned, budget)
    return learned
