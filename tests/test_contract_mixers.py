"""The contract suite of mixers catches each way of breaking it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pytest

from curate.errors import InfeasibleMixtureError
from curate.mixers.mixer import Mixer, Mixture
from curate.testing import check_mixer, sample_domains


@dataclass
class Equal(Mixer):
    """A correct mixer, which the broken ones below each spoil in one way."""

    calls: ClassVar[int] = 0

    def mix(self, table: pa.Table, evidence: pa.Table | None) -> Mixture:
        present_D = table["amount"].to_numpy() > 0
        if not present_D.any():
            raise InfeasibleMixtureError("nothing to mix")
        return Mixture(self.spoilt(present_D / present_D.sum(), table))

    def spoilt(self, shares_D: np.ndarray, table: pa.Table) -> np.ndarray:
        return shares_D


class SumsToLess(Equal):
    def spoilt(self, shares_D: np.ndarray, table: pa.Table) -> np.ndarray:
        return shares_D * (1 - 1e-8)


class Negative(Equal):
    def spoilt(self, shares_D: np.ndarray, table: pa.Table) -> np.ndarray:
        return shares_D + np.array([1.0, -1.0, *[0.0] * (len(shares_D) - 2)]) if len(shares_D) > 1 else shares_D


class WrongShape(Equal):
    def spoilt(self, shares_D: np.ndarray, table: pa.Table) -> np.ndarray:
        return shares_D[:, None]


class SinglePrecision(Equal):
    def spoilt(self, shares_D: np.ndarray, table: pa.Table) -> np.ndarray:
        return shares_D.astype(np.float32)


class ByRow(Equal):
    def spoilt(self, shares_D: np.ndarray, table: pa.Table) -> np.ndarray:
        rising = np.arange(1.0, len(shares_D) + 1) * (shares_D > 0)
        return rising / rising.sum()


class Impure(Equal):
    def spoilt(self, shares_D: np.ndarray, table: pa.Table) -> np.ndarray:
        Impure.calls += 1
        tilted = shares_D * (1 + np.arange(len(shares_D)) * Impure.calls)
        return tilted / tilted.sum()


class FillsTheEmpty(Equal):
    def spoilt(self, shares_D: np.ndarray, table: pa.Table) -> np.ndarray:
        return np.full(len(shares_D), 1 / len(shares_D))


class FailsAlone(Equal):
    def spoilt(self, shares_D: np.ndarray, table: pa.Table) -> np.ndarray:
        return shares_D / (len(shares_D) > 1)


class Careless(Equal):
    def mix(self, table: pa.Table, evidence: pa.Table | None) -> Mixture:
        amounts_D = table["amount"].to_numpy()
        return Mixture(np.array([amount / sum(amounts_D.tolist()) for amount in amounts_D.tolist()]))


class MixesNothing(Equal):
    def mix(self, table: pa.Table, evidence: pa.Table | None) -> Mixture:
        if table.num_rows and not sum(table["amount"].to_pylist()):
            return Mixture(np.zeros(table.num_rows))
        return super().mix(table, evidence)


class Crashes(Equal):
    def mix(self, table: pa.Table, evidence: pa.Table | None) -> Mixture:
        if not table.num_rows:
            raise KeyError("domain")
        return super().mix(table, evidence)


BROKEN_MIXERS: list[tuple[type[Mixer], str]] = [
    (SumsToLess, "simplex: proportions sum to"),
    (Negative, "simplex: .* not all finite and 0 or more"),
    (WrongShape, r"simplex: proportions have shape \(3, 1\)"),
    (SinglePrecision, "simplex: proportions are float32"),
    (ByRow, "domain-permutation equivariance"),
    (Impure, "pure: the same table gave"),
    (FillsTheEmpty, "zero-amount domain: a domain with nothing"),
    (FailsAlone, "one domain: proportions"),
    (Careless, "infeasible raises: no domains gave"),
    (MixesNothing, "infeasible raises: nothing in any domain"),
    (Crashes, "no domains: mix raised KeyError"),
]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(("broken", "message"), BROKEN_MIXERS, ids=[broken.__name__ for broken, _ in BROKEN_MIXERS])
def test_the_suite_catches_a_broken_mixer(broken: type[Mixer], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_mixer(broken())


def test_the_suite_passes_a_good_mixer() -> None:
    check_mixer(Equal())
    check_mixer(Equal(), sample_domains().slice(0, 2))
