"""Mixers that weigh every document by itself; shares of domains are what comes out.

Such a mixer never holds the corpus. It puts every document into a *cell*, decides one
weight per cell from what all cells hold, and so sees a billion documents through sums:

    learn       columns of a part -> facts -> merged: what makes columns comparable
    cells       columns of a part -> the cell of each document
    decide      what each cell holds -> the weight of each cell

Facts and sums must not depend on how documents lie in parts: whole numbers, extremes, and
nothing that is rounded on the way. Weights then have the same bits for any sharding.

N documents of a part, C cells.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from curate.kernels.length_walk import cell_sums
from curate.mixers.mixer import AnyMixer

NO_CELL = -1


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


@dataclass(frozen=True)
class Cells:
    """What every cell holds.

    Args:
        n_C: documents, int64.
        amount_C: their length in the budget's unit, int64.
    """

    n_C: np.ndarray
    amount_C: np.ndarray


@dataclass(frozen=True)
class Decision:
    """What a mixer decided, small enough to be sent to every worker.

    Args:
        parameters: from which ``weights`` computes the weight of a cell.
        budget: what was asked for, or as much as there is, in the budget's unit.
        diagnostics: JSON-able facts worth showing beside the mixture.
    """

    parameters: Any
    budget: float
    diagnostics: dict[str, Any] = field(default_factory=dict)


@dataclass
class DocumentMixer(AnyMixer, ABC):
    """Turns columns of documents into weights of documents.

    The dataclass fields are the hyper-parameters and the YAML keys. Tables have the columns
    of ``inputs`` and no row that selection dropped.

    Class attributes:
        rounds: how often the documents are looked at before cells are known.
        shown: what ``columns`` gives, written beside weight and copies.
    """

    rounds: ClassVar[int] = 1
    shown: ClassVar[pa.Schema] = pa.schema([])

    @property
    @abstractmethod
    def inputs(self) -> tuple[str, ...]:
        """Columns it reads, as ``scorer.column``, or bare for those of documents."""

    def reads(self, fields: Mapping[str, pa.Field]) -> None:
        """Raise ConfigError for columns it cannot read; called with the field of every input before any work."""

    @abstractmethod
    def facts(self, table: pa.Table, learned: Any) -> Any:
        """What one part tells of its documents, picklable and small.

        Args:
            learned: of the round before; None in the first.
        """

    @abstractmethod
    def learn(self, facts: Sequence[Any], learned: Any) -> Any:
        """The facts of all parts, in any order, as what ``cells`` needs (or the next round)."""

    @abstractmethod
    def n_cells(self, learned: Any) -> int:
        """How many cells there are."""

    @abstractmethod
    def cells(self, table: pa.Table, learned: Any) -> np.ndarray:
        """The cell of every document: int64 (N), ``NO_CELL`` for one that gets no weight."""

    @abstractmethod
    def decide(self, learned: Any, cells: Cells, budget: Budget) -> Decision:
        """One weight per cell.

        Raises:
            InfeasibleMixtureError: the caps cannot hold the budget; with the numbers, and the knob.
        """

    @abstractmethod
    def weights(self, decision: Decision, cell_N: np.ndarray) -> np.ndarray:
        """Expected copies of every document: float64 (N), 0 where there is no cell."""

    def columns(self, learned: Any, cell_N: np.ndarray) -> pa.Table:
        """The columns of ``shown`` for every document: what its weight was made from."""
        return pa.table([], schema=self.shown)

    def reason(self, row: Mapping[str, Any]) -> str:
        """A row of ``inputs`` and ``shown`` in words: why its weight is what it is."""
        return ""

    def binning(self, learned: Any, cells: Cells) -> Any:
        """How cells gather in few bins, from whose sums other settings can be tried; None where there is no such thing."""
        return None

    def bins(self, binning: Any, learned: Any, cell_N: np.ndarray) -> np.ndarray:
        """The bin of every document that has a cell: int64."""
        raise NotImplementedError

    def statistics(self, binning: Any, learned: Any, bin_B: np.ndarray) -> pa.Table:
        """What is known of each of these bins, a row each."""
        raise NotImplementedError


@dataclass(frozen=True)
class Weighed:
    """Tables that a mixer has weighed in memory.

    Args:
        learned: what made their columns comparable.
        weights: expected copies, an array a table.
        cells: of every document, an array a table.
    """

    learned: Any
    decision: Decision
    weights: list[np.ndarray]
    cells: list[np.ndarray]


def weigh(mixer: DocumentMixer, tables: Sequence[pa.Table], lengths: Sequence[np.ndarray], budget: Budget) -> Weighed:
    """All rounds of a mixer over tables in memory: for notebooks and tests; a pipeline runs the same rounds over parts.

    Args:
        tables: with the columns of ``inputs``.
        lengths: int64, of every document in the budget's unit, an array a table.
    """
    learned = None
    for _ in range(mixer.rounds):
        learned = mixer.learn([mixer.facts(table, learned) for table in tables], learned)
    sums = [cell_sums(mixer.cells(table, learned), length) for table, length in zip(tables, lengths, strict=True)]
    cells = gather(mixer.n_cells(learned), sums)
    decision = mixer.decide(learned, cells, budget)
    found = [mixer.cells(table, learned) for table in tables]
    return Weighed(learned, decision, [mixer.weights(decision, cell_N) for cell_N in found], found)


def gather(n_cells: int, parts: Iterable[np.ndarray]) -> Cells:
    """What every cell holds, from the sums of parts: cell, documents, amount (3, E) each."""
    cells = Cells(np.zeros(n_cells, np.int64), np.zeros(n_cells, np.int64))
    for held, n_E, amount_E in parts:
        cells.n_C[held] += n_E
        cells.amount_C[held] += amount_E
    return cells
