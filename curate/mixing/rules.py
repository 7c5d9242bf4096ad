"""What gives a document its weight: its domain, or a mixer that looks at the document itself.

N documents of one part, D domains.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from curate import sampling
from curate.mixers.document_mixer import DocumentMixer

LEFT_OUT = -1
"""The weight of a document that its mixer cannot weigh."""


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
        """Weights in units of 2^-32 copies: int64 (N), 0 for what is not kept, LEFT_OUT for what cannot be weighed."""
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
        learned: what it knows of all documents; None before anything is known.
    """

    mixer: DocumentMixer
    learned: Any = None
    # One walk for all: a document's copies must not depend on what its domain is called.
    walks: tuple[str, ...] | None = ("",)

    @property
    def columns(self) -> tuple[str, ...]:
        """Those of the mixer."""
        return self.mixer.inputs

    def fixed(self, table: pa.Table, domain_N: np.ndarray, keep_N: np.ndarray) -> np.ndarray:
        """See Rule."""
        weight_N = np.zeros(len(keep_N))
        weight_N[keep_N] = self.mixer.weights(_kept(table, self.columns, keep_N), self.learned)
        return np.where(np.isnan(weight_N), LEFT_OUT, sampling.fixed_point(np.nan_to_num(weight_N, nan=0.0)))

    def shown(self, table: pa.Table, keep_N: np.ndarray) -> pa.Table:
        """What weights were made from; null for what is not kept."""
        found = self.mixer.columns(_kept(table, self.columns, keep_N), self.learned)
        if keep_N.all():
            return found
        at = np.cumsum(keep_N) - 1
        return found.take(pa.array(at, pa.int64(), mask=~keep_N))

    def bins(self, table: pa.Table, keep_N: np.ndarray) -> np.ndarray | None:
        """The bin of every document that is kept."""
        return self.mixer.bins(_kept(table, self.columns, keep_N), self.learned)


def _kept(table: pa.Table, columns: tuple[str, ...], keep_N: np.ndarray) -> pa.Table:
    chosen = table.select(list(columns))
    return chosen if keep_N.all() else chosen.filter(pa.array(keep_N))
