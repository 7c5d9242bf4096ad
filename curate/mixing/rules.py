"""What gives a document its weight: its domain, or a mixer that looks at the document itself.

N documents of one part, D domains.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from curate import sampling
from curate.mixers.document_mixer import NO_CELL, Decision, DocumentMixer


class Rule(Protocol):
    """How weights follow from columns."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns it reads besides domain and length."""
        ...

    @property
    def walks(self) -> tuple[str, ...] | None:
        """Names of the walks that copies are sampled along; None for one a domain."""
        ...

    def fixed(self, table: pa.Table, domain_N: np.ndarray, keep_N: np.ndarray) -> np.ndarray:
        """Weights in units of 2^-32 copies: int64 (N), 0 for what is not kept."""
        ...


@dataclass(frozen=True)
class ByDomain:
    """Every document of a domain has one weight."""

    fixed_D: tuple[int, ...]
    columns: tuple[str, ...] = ()
    walks: tuple[str, ...] | None = None

    def fixed(self, table: pa.Table, domain_N: np.ndarray, keep_N: np.ndarray) -> np.ndarray:
        """See Rule."""
        return np.where(keep_N, np.array(self.fixed_D, np.int64)[domain_N], 0)


@dataclass(frozen=True)
class ByDocument:
    """A mixer weighs documents.

    Args:
        learned: what makes columns comparable; None before it is known.
        decision: from which weights follow; None before it is known.
        binning: how the mixer gathers cells in bins, for statistics.
    """

    mixer: DocumentMixer
    learned: Any = None
    decision: Decision | None = None
    binning: Any = None
    # One walk for all: a document's copies must not depend on what its domain is called.
    walks: tuple[str, ...] | None = ("",)

    @property
    def columns(self) -> tuple[str, ...]:
        """Those of the mixer."""
        return self.mixer.inputs

    def cells(self, table: pa.Table, keep_N: np.ndarray) -> np.ndarray:
        """The cell of every document: int64 (N), NO_CELL for what is not kept."""
        kept = table.select(list(self.columns)).filter(pa.array(keep_N))
        cell_N = np.full(len(keep_N), NO_CELL, np.int64)
        cell_N[keep_N] = self.mixer.cells(kept, self.learned)
        return cell_N

    def fixed(self, table: pa.Table, domain_N: np.ndarray, keep_N: np.ndarray) -> np.ndarray:
        """See Rule."""
        return self.fixed_of(self.cells(table, keep_N))

    def fixed_of(self, cell_N: np.ndarray) -> np.ndarray:
        """Weights of cells in units of 2^-32 copies."""
        assert self.decision is not None
        return sampling.fixed_point(self.mixer.weights(self.decision, cell_N))

    def reason(self, row: Mapping[str, Any]) -> str:
        """Why a document has its weight."""
        return self.mixer.reason(row)
