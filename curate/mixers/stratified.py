"""Stratified proportions: every domain the same share, however much there is of it.

D is the number of domains.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from curate.errors import InfeasibleMixtureError
from curate.mixers.mixer import Mixer, Mixture


@dataclass
class StratifiedMixer(Mixer):
    """p_d = 1 / (number of domains that have text); an empty domain gets 0. No parameters."""

    def mix(self, table: pa.Table, evidence: pa.Table | None) -> Mixture:
        """Proportions (D), equal over domains whose ``amount`` is not 0; evidence is not read.

        Raises:
            InfeasibleMixtureError: no domain has anything.
        """
        present_D = table["amount"].to_numpy() > 0
        n_present = int(present_D.sum())
        if n_present == 0:
            raise InfeasibleMixtureError(
                "there is nothing to mix: every domain is empty",
                where="mixture stratified",
                expected="at least one domain with text",
                fix="loosen `select:`",
            )
        empty = sorted(name for name, present in zip(table["domain"].to_pylist(), present_D, strict=True) if not present)
        return Mixture(np.where(present_D, 1.0 / n_present, 0.0), {"empty": empty})
