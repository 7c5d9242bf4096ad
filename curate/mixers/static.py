"""Static proportions: the shares a person wrote down, for instance from a published recipe.

D is the number of domains.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from curate.errors import ConfigError, nearest
from curate.mixers.mixer import Mixer, Mixture

TOLERANCE = 1e-6


@dataclass
class StaticMixer(Mixer):
    """p_d as given; a domain that is not named gets 0.

    Args:
        proportions: share of the budget per domain, 0 or more, summing to 1 within 1e-6
            (the rest is scaled away).
    """

    proportions: dict[str, float]

    def check(self) -> None:
        """Raise ConfigError for shares that are no numbers, negative, or do not sum to 1; the error has the scaled values."""
        if not isinstance(self.proportions, dict) or not self.proportions:
            raise ConfigError(
                "static proportions name no domain",
                where="mixture static, field proportions",
                expected="a mapping {domain: share}",
                fix="write for example `proportions: {web: 0.7, code: 0.3}`",
            )
        for domain, share in self.proportions.items():
            if isinstance(share, bool) or not isinstance(share, int | float) or not math.isfinite(share) or share < 0:
                raise ConfigError(
                    f"the share of {domain!r} is {share!r}",
                    where="mixture static, field proportions",
                    expected="a number of 0 or more",
                    fix=f"correct the share of {domain!r}",
                )
        total = math.fsum(self.proportions.values())
        if abs(total - 1.0) <= TOLERANCE:
            return
        if total == 0:
            raise ConfigError(
                "static proportions are all 0",
                where="mixture static, field proportions",
                expected="shares that sum to 1",
                fix="give at least one domain a share",
            )
        scaled = ", ".join(f"{domain}: {share / total:.9g}" for domain, share in self.proportions.items())
        raise ConfigError(
            f"static proportions sum to {total:.9g}",
            where="mixture static, field proportions",
            expected=f"a sum of 1 within {TOLERANCE}",
            fix=f"to keep their ratios, paste `proportions: {{{scaled}}}`",
        )

    def names(self) -> tuple[str, ...]:
        """The domains that are given a share."""
        return tuple(self.proportions)

    def mix(self, table: pa.Table, evidence: pa.Table | None) -> Mixture:
        """Proportions (D) in the order of ``table``; evidence is not read.

        Raises:
            ConfigError: a share for a domain that does not exist or has nothing left; see also ``check``.
        """
        self.check()
        amounts = dict(zip(table["domain"].to_pylist(), table["amount"].to_pylist(), strict=True))
        for domain, share in self.proportions.items():
            if share > 0 and domain not in amounts:
                raise ConfigError(
                    f"a share is given to {domain!r}, which is no domain of this corpus",
                    where="mixture static, field proportions",
                    expected=nearest(domain, list(amounts)),
                    fix="correct the name, or remove it and rescale",
                )
            if share > 0 and amounts[domain] == 0:
                full = sorted(name for name, amount in amounts.items() if amount > 0)
                raise ConfigError(
                    f"a share is given to {domain!r}, which is empty after selection",
                    where="mixture static, field proportions",
                    expected=f"a domain with text: {', '.join(full)}",
                    fix=f"loosen `select:` for {domain!r}, or set its share to 0 and rescale",
                )
        total = math.fsum(self.proportions.values())
        shares_D = [self.proportions.get(domain, 0.0) / total for domain in amounts]
        unnamed = sorted(set(amounts) - set(self.proportions))
        return Mixture(np.array(shares_D, dtype=np.float64), {"sum_given": total, "unnamed": unnamed})
