"""What other settings of SampleMix would do, from sums alone.

A mix leaves a table of documents and amounts by domain, cluster and quality bin
(``mixes/<mix>/statistics.parquet``). Everything here follows from it, without a look at a
document: a thousand settings take about a second. Up to 48 values of quality have a bin
each, and figures are those of a mix; more are gathered in 48 bins of equal width, and
shares then agree to about a hundredth, the worse the more a weight changes over 1/48
of quality (low temperature, low alpha). R diversities, L qualities, D domains, S settings.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import pyarrow as pa

from curate.kernels.settings_sweep import outcome_sums, weigh_table

ALPHAS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
TEMPERATURES = (0.05, 0.1, 0.2, 0.4, 0.8)
BUDGETS = (0.25, 0.5, 1.0, 2.0, 4.0)  # times what there is
_SUMS = 9
_SPAN = 300.0  # of preferences, within which products of factors neither vanish nor overflow
BLOCK = 32
"""Settings whose weights are held at a time."""


@dataclass(frozen=True)
class Setting:
    """One setting to try.

    Args:
        budget: in the unit of the statistics.
        max_epochs: most copies of a document on average.
    """

    alpha: float
    temperature: float
    budget: float
    max_epochs: float = 4.0
    mode: Literal["exact", "paper"] = "exact"


def grid(
    alphas: Iterable[float], temperatures: Iterable[float], budgets: Iterable[float], max_epochs: float, mode: Literal["exact", "paper"]
) -> list[Setting]:
    """Every combination."""
    return [Setting(a, t, b, max_epochs, mode) for a, t, b in itertools.product(alphas, temperatures, budgets)]


def sweep(statistics: pa.Table, settings: Sequence[Setting]) -> pa.Table:
    """What each setting would do.

    Args:
        statistics: domain, quality, diversity, n_documents, amount.

    Returns:
        A row a setting: its fields; ``feasible``; shares of documents ``dropped``, seen ``once``, ``twice``, ``more`` often,
        and ``capped``, at the cap; ``quality`` and ``diversity``, means over what is emitted, weighted by length;
        ``heaviest`` weight; ``amount`` emitted; and ``share:<domain>`` of it. Figures are null where the caps cannot hold
        the budget.
    """
    cells = _Cells.of(statistics)
    sums, shares = np.zeros((len(settings), _SUMS)), np.zeros((len(settings), len(cells.names)))
    weight_SC = np.zeros((BLOCK, cells.n_RL.size))
    for start in range(0, len(settings), BLOCK):
        block = settings[start : start + BLOCK]
        for i, setting in enumerate(block):
            weight_SC[i] = 0.0
            if cells.weigh(setting, weight_SC[i]):
                held = cells.n_RL.ravel(), cells.amount_RL.ravel(), cells.cell_quality, cells.cell_diversity
                outcome_sums(weight_SC[i], *held, setting.max_epochs, sums[start + i])
        shares[start : start + len(block)] = weight_SC[: len(block)] @ cells.amount_CD
    return _table(settings, sums, shares, float(cells.n_RL.sum()), cells.names)


@dataclass(frozen=True)
class _Cells:
    """The statistics as tables of diversity by quality.

    Args:
        amount_CD: of every cell and domain, cells row by row (C = R * L).
    """

    diversity_R: np.ndarray
    quality_L: np.ndarray
    n_RL: np.ndarray
    amount_RL: np.ndarray
    amount_CD: np.ndarray
    names: list[str]

    @classmethod
    def of(cls, statistics: pa.Table) -> _Cells:
        """From the table a mix has left."""
        quality_L, column_E = np.unique(statistics["quality"].to_numpy(), return_inverse=True)
        diversity_R, row_E = np.unique(statistics["diversity"].to_numpy(), return_inverse=True)
        n_E, amount_E = (statistics[name].to_numpy().astype(np.float64) for name in ("n_documents", "amount"))
        cell_E, shape = row_E * len(quality_L) + column_E, (len(diversity_R), len(quality_L))
        n_RL, amount_RL = (np.bincount(cell_E, weights=values, minlength=shape[0] * shape[1]).reshape(shape) for values in (n_E, amount_E))
        domain = statistics["domain"].combine_chunks()
        domain = domain if pa.types.is_dictionary(domain.type) else domain.dictionary_encode()
        names = domain.dictionary.to_pylist()
        amount_CD = np.zeros((n_RL.size, len(names)))
        np.add.at(amount_CD, (cell_E, domain.indices.to_numpy()), amount_E)
        return cls(diversity_R, quality_L, n_RL, amount_RL, amount_CD, names)

    @cached_property
    def cell_quality(self) -> np.ndarray:
        """Of every cell."""
        return np.tile(self.quality_L, len(self.diversity_R))

    @cached_property
    def cell_diversity(self) -> np.ndarray:
        """Of every cell."""
        return np.repeat(self.diversity_R, len(self.quality_L))

    def weigh(self, setting: Setting, weight_C: np.ndarray) -> bool:
        """Weights of all cells under a setting; false where the caps cannot hold its budget."""
        there = float(self.amount_RL.sum())
        if not there or setting.max_epochs * there < setting.budget * (1 - 1e-12):
            return False
        mass_RL = self.n_RL if setting.mode == "paper" else self.amount_RL
        total = setting.budget * float(mass_RL.sum()) / there
        rows = self.diversity_R * (setting.alpha / setting.temperature)
        columns = self.quality_L * ((1 - setting.alpha) / setting.temperature)
        if np.ptp(rows) + np.ptp(columns) < _SPAN:
            factors = np.exp(rows - rows.max()), np.exp(columns - columns.max())
            if weigh_table(*factors, mass_RL, total, setting.max_epochs, weight_C.reshape(self.n_RL.shape)):
                return True
        preference_C = np.add.outer(rows, columns).ravel()
        weight_C[:] = _in_logarithms(preference_C, mass_RL.ravel(), total, setting.max_epochs)
        return True


def _in_logarithms(preference_C: np.ndarray, mass_C: np.ndarray, total: float, cap: float) -> np.ndarray:
    """Weights min(cap, λ·exp(preference)) whose masses sum to ``total``, however far preferences lie apart; slower."""
    held = np.flatnonzero(mass_C)
    order = held[np.argsort(-preference_C[held], kind="stable")]
    logs, mass = preference_C[order], mass_C[order]
    # The j most preferred are at the cap, so λ is at least what puts the j-th there.
    left = total - cap * np.concatenate([[0.0], np.cumsum(mass)])
    least = np.concatenate([[-math.inf], math.log(cap) - logs])
    below = np.append(np.logaddexp.accumulate((np.log(mass) + logs)[::-1])[::-1], -math.inf)
    with np.errstate(invalid="ignore", divide="ignore"):
        factors = np.fmax(np.log(left) - below, least)
    fits = factors[:-1] + logs <= math.log(cap) + 1e-12 * (1 + np.abs(logs))
    factor = factors[np.argmax(fits)] if fits.any() else factors[-1]
    return np.asarray(np.exp(np.minimum(preference_C + factor, math.log(cap))))


def _table(settings: Sequence[Setting], sums: np.ndarray, shares: np.ndarray, n: float, names: list[str]) -> pa.Table:
    """Sums as the columns a person wants."""
    emitted = sums[:, 4]
    feasible = emitted > 0
    safe = np.where(feasible, emitted, 1.0)
    columns: dict[str, pa.Array] = {
        name: pa.array([getattr(s, name) for s in settings]) for name in ("alpha", "temperature", "budget", "max_epochs", "mode")
    }
    columns["feasible"] = pa.array(feasible)
    measured = {name: sums[:, i] / n for i, name in enumerate(("dropped", "once", "twice", "more"))}
    measured["capped"] = sums[:, 8] / n
    measured |= {"quality": sums[:, 5] / safe, "diversity": sums[:, 6] / safe, "heaviest": sums[:, 7], "amount": emitted}
    measured |= {f"share:{name}": shares[:, d] / safe for d, name in enumerate(names)}
    return pa.table(columns | {name: pa.array(values, mask=~feasible) for name, values in measured.items()})
