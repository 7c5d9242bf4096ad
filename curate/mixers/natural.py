"""Natural proportions: every domain in the share it has of what there is.

Also the baseline that other mixtures are compared with. D is the number of domains.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from curate.errors import InfeasibleMixtureError
from curate.mixers.mixer import Mixer, Mixture


@dataclass
class NaturalMixer(Mixer):
    """p_d proportional to the domain's amount; an empty domain gets 0. No parameters."""

    def mix(self, table: pa.Table, evidence: pa.Table | None) -> Mixture:
        """Proportions (D) from the ``amount`` column; evidence is not read.

        Raises:
            InfeasibleMixtureError: no domain has anything.
        """
        amounts_D = table["amount"].to_pylist()
        total = sum(amounts_D)
        if total == 0:
            raise InfeasibleMixtureError(
                "there is nothing to mix: every domain is empty",
                where="mixture natural",
                expected="at least one domain with text",
                fix="loosen `select:`",
            )
        empty = sorted(name for name, amount in zip(table["domain"].to_pylist(), amounts_D, strict=True) if amount == 0)
        shares_D = [amount / total for amount in amounts_D]
        return Mixture(np.array(shares_D), {"empty": empty})
