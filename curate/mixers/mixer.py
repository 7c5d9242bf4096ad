"""What a mixer is: a pure function from small tables to proportions.

Mixers import no engine, open no file and train no model. One that weighs documents instead
of domains is a ``curate.mixers.document_mixer.DocumentMixer``. D is the number of domains.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa


@dataclass(frozen=True)
class Mixture:
    """What a mixer decided.

    Args:
        proportions_D: share of the token budget for each row of the table given to ``mix``; sums to 1.
        diagnostics: JSON-able facts worth showing beside the mixture.
    """

    proportions_D: np.ndarray
    diagnostics: dict[str, Any] = field(default_factory=dict)


@dataclass
class AnyMixer:
    """What mixers of domains and of documents share; a mixer of yours is one of these two."""

    version: ClassVar[int] = 1

    def check(self) -> None:
        """Raise ConfigError for hyper-parameters that cannot be, before any work starts."""

    def names(self) -> tuple[str, ...]:
        """Domains the configuration names, so that a misspelt one is found before work starts."""
        return ()


@dataclass
class Mixer(AnyMixer, ABC):
    """Turns what is known of each domain into its share of the budget.

    The dataclass fields are the hyper-parameters and the YAML keys. ``mix`` sees one row
    per domain, in any order: ``domain`` string, ``n_documents`` int64, ``n_bytes`` int64
    and ``amount`` int64 (what there is of it in the budget's unit), all after selection; and ``most`` float64, the
    largest share that the budget and ``max_epochs`` allow it, null where there is no budget. ``evidence`` is the table of
    weights (``curate.correlation.weights``) where ``reads_weights`` names a column.
    """

    def reads_weights(self) -> str | None:
        """The column whose groups' weights, from the pipeline's ``correlate:``, are its evidence; None for none."""
        return None

    @abstractmethod
    def mix(self, table: pa.Table, evidence: pa.Table | None) -> Mixture:
        """Proportions for the domains of ``table``, row by row."""
