"""What other settings of SampleMix would do, from sums alone.

A mix leaves a table of documents and amounts by domain, cluster and quality bin
(``mixes/<mix>/statistics.parquet``). Everything here follows from it, without a look at a
document: a thousand settings take less than a second. Quality is binned, so a setting's
figures agree with those of a mix made with it to about a thousandth; the order of settings
does not hang on it. E entries of the table, C cells of equal preference, D domains, S settings.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa

from curate.kernels.settings_sweep import sweep_settings

ALPHAS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
TEMPERATURES = (0.05, 0.1, 0.2, 0.4, 0.8)
BUDGETS = (0.25, 0.5, 1.0, 2.0, 4.0)  # times what there is
_SUMS = 9
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
    quality, diversity = (statistics[name].to_numpy() for name in ("quality", "diversity"))
    pairs, cell_E = np.unique(np.stack([diversity, quality]), axis=1, return_inverse=True)
    cell_E = cell_E.reshape(-1)
    n_E, amount_E = statistics["n_documents"].to_numpy(), statistics["amount"].to_numpy()
    n_C, amount_C = (np.bincount(cell_E, weights=values, minlength=pairs.shape[1]) for values in (n_E, amount_E))
    domain = statistics["domain"].combine_chunks().dictionary_encode() if len(statistics) else pa.array([], pa.string()).dictionary_encode()
    names = domain.dictionary.to_pylist()
    given = np.array([[s.alpha, s.temperature, s.budget, s.max_epochs, s.mode == "paper"] for s in settings], np.float64).reshape(-1, 5)
    amount_CD = np.zeros((len(n_C), len(names)))
    np.add.at(amount_CD, (cell_E, domain.indices.to_numpy()), amount_E)
    sums = np.zeros((len(settings), _SUMS))
    shares = np.zeros((len(settings), len(names)))
    weight_SC = np.empty((BLOCK, len(n_C)))
    for start in range(0, len(settings), BLOCK):
        block = slice(start, min(start + BLOCK, len(settings)))
        weights = weight_SC[: block.stop - block.start]
        sweep_settings(given[block], pairs[0], pairs[1], n_C, amount_C, sums[block], weights)
        shares[block] = weights @ amount_CD
    return _table(settings, sums, shares, float(n_C.sum()), names)


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
