"""Temperature proportions: natural ones flattened, the usual compromise between large and small domains.

p_d ∝ amount_d^(1/T). T = 1 is natural, T → ∞ stratified, T < 1 sharpens. Recipes often
state the exponent α = 1/T instead (multilingual BERT: α = 0.7; XLM-R: α = 0.3).
D is the number of domains.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from curate.errors import ConfigError, InfeasibleMixtureError
from curate.mixers.mixer import Mixer, Mixture


@dataclass
class TemperatureMixer(Mixer):
    """p_d proportional to amount_d^(1/temperature); an empty domain gets 0.

    Args:
        temperature: greater than 0, without unit. The exponent is 1/temperature: 2 means square roots.
    """

    temperature: float

    def check(self) -> None:
        """Raise ConfigError for a temperature that is not a finite number above 0."""
        t = self.temperature
        if isinstance(t, bool) or not isinstance(t, int | float) or not math.isfinite(t) or t <= 0:
            raise ConfigError(
                f"temperature is {t!r}",
                where="mixture temperature, field temperature",
                expected="a finite number above 0; the exponent is 1/temperature",
                fix="use 1 for natural proportions, or the mixer `stratified` for equal ones",
            )

    def mix(self, table: pa.Table, evidence: pa.Table | None) -> Mixture:
        """Proportions (D) from the ``amount`` column; evidence is not read.

        Raises:
            InfeasibleMixtureError: no domain has anything.
        """
        self.check()
        amounts_D = table["amount"].to_pylist()
        largest = max(amounts_D, default=0)
        if largest == 0:
            raise InfeasibleMixtureError(
                "there is nothing to mix: every domain is empty",
                where="mixture temperature",
                expected="at least one domain with text",
                fix="loosen `select:`",
            )
        exponent = 1.0 / self.temperature
        # Relative to the largest, so that no power overflows; one at a time, so that no result depends on its row.
        powers_D = [(amount / largest) ** exponent if amount else 0.0 for amount in amounts_D]
        empty = sorted(name for name, amount in zip(table["domain"].to_pylist(), amounts_D, strict=True) if amount == 0)
        return Mixture(np.array(powers_D) / math.fsum(powers_D), {"exponent": exponent, "empty": empty})
