"""Does an estimate from some models tell how others rank on a benchmark, and better than their mean loss does?

``python -m benchmarks.experiments.rank_prediction --data ../shared/data`` (a minute or two); without ``--data`` it prints
the tables of the results that are kept. No model is trained: losses and results are other people's.

Models are parted into folds, families whole. From the others a held-out model i is given the score

    s_i = sum_j w_j x_ij,    w = projection(estimate; tau),    tau_j = 1 / (FILTER_RATIO D)

x_ij being its loss on group j, or the share of the other models whose loss there is lower (``ranks``). The share of
the other models whose score is lower is its predicted rank. The mean loss is the same with w_j = 1 / D. Thrush et al.
(arXiv 2409.05816) predict ranks by the same inner product. N models, D groups, T benchmarks, B bootstrap replicates,
R repeats of the split, A arms.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc_csv

from benchmarks.experiments.rank_prediction_report import ALL, MEANS, SHOWN, report
from benchmarks.experiments.rank_prediction_tables import ModelTable, read_all
from curate.correlation import Estimator, estimate, l2, linear, tau_of
from curate.correlation.bootstrap import Bootstrap
from curate.hashing import seed_of
from curate.ranks import mid_ranks

N_FOLDS, N_REPEATS, N_REPLICATES = 5, 5, 1000
FILTER_RATIO, LEVEL = 0.1, 0.95
FEATURES = ("ranks", "losses")
PROJECTIONS = {"linear": linear, "l2": l2}
RESULTS = Path(__file__).with_suffix(".csv")


class Arm(NamedTuple):
    """One way of weighing groups; without an estimator, the mean loss."""

    estimator: Estimator | Literal[""]
    projection: str
    features: str


ESTIMATORS: tuple[Estimator, ...] = ("spearman", "sign_cdf", "sign")
BASELINES = [Arm("", "", features) for features in FEATURES]
ARMS = [Arm(*parts) for parts in product(ESTIMATORS, PROJECTIONS, FEATURES)]


def folds_of(families: Sequence[str], n_folds: int, seed: int) -> np.ndarray:
    """The fold of every model (N), families whole: in an order drawn by the seed, each joins the smallest fold."""
    names, family_N, counts = np.unique(np.asarray(families), return_inverse=True, return_counts=True)
    fold_F, sizes = np.zeros(len(names), int), [0] * n_folds
    for f in sorted(range(len(names)), key=lambda f: seed_of(seed, f"fold {names[f]}")):
        fold_F[f] = int(np.argmin(sizes))
        sizes[fold_F[f]] += int(counts[f])
    return fold_F[family_N]


def share_below(sorted_M: np.ndarray, values_N: np.ndarray) -> np.ndarray:
    """The share of some numbers that is below each value, equal ones counted half (N)."""
    return (np.searchsorted(sorted_M, values_N, "left") + np.searchsorted(sorted_M, values_N, "right")) / (2 * len(sorted_M))


def weights_of(losses_ND: np.ndarray, errors_NT: np.ndarray, usable_TD: np.ndarray, arm: Arm) -> np.ndarray:
    """Weights of groups for every benchmark, each row summing to 1: (T, D). Groups that are not usable get 0."""
    if not arm.estimator:
        return usable_TD / usable_TD.sum(axis=1, keepdims=True)
    estimates_TD = estimate(losses_ND, errors_NT, arm.estimator)
    tau_TD = [tau_of(usable_D.astype(float), FILTER_RATIO) for usable_D in usable_TD]
    return np.stack([PROJECTIONS[arm.projection](*pair) for pair in zip(estimates_TD, tau_TD, strict=True)])


def predicted(table: ModelTable, arms: Sequence[Arm], seed: int) -> np.ndarray:
    """Predicted ranks of every model by a fit to the other folds, from 0 (best) to 1: (A, N, T)."""
    fold_N = folds_of(table.families, N_FOLDS, seed)
    ranks_ANT = np.empty((len(arms), *table.errors_NT.shape))
    for fold in np.unique(fold_N):
        held_N, rest_N = fold_N == fold, fold_N != fold
        losses_MD = table.losses_ND[rest_N]
        shares_ND = np.stack([share_below(np.sort(rest), all_) for rest, all_ in zip(losses_MD.T, table.losses_ND.T, strict=True)], axis=1)
        for a, arm in enumerate(arms):
            weights_TD = weights_of(losses_MD, table.errors_NT[rest_N], table.usable_TD, arm)
            scores_NT = (shares_ND if arm.features == "ranks" else table.losses_ND) @ weights_TD.T
            found = [share_below(np.sort(scores_N[rest_N]), scores_N[held_N]) for scores_N in scores_NT.T]
            ranks_ANT[a, held_N] = np.stack(found, axis=1)
    return ranks_ANT


class Agreement(NamedTuple):
    """How predicted ranks agree with true ones: of the models as they are, and of replicates of their families."""

    spearman_A: np.ndarray
    rank_error_A: np.ndarray
    spearman_BA: np.ndarray
    rank_error_BA: np.ndarray


def agreement(predicted_RAN: np.ndarray, errors_N: np.ndarray, families: Sequence[str]) -> Agreement:
    """Spearman's correlation, and the mean distance of ranks (of all models = 1), both averaged over repeats."""
    n_repeats, n_arms, n_models = predicted_RAN.shape
    columns_NC = predicted_RAN.reshape(-1, n_models).T
    bootstrap = Bootstrap(errors_N[:, None], families, n=N_REPLICATES)
    replicates_BC = bootstrap.replicates(columns_NC)[:, 0].astype(np.float64)
    distances_AN = np.abs(predicted_RAN - mid_ranks(errors_N) / n_models).mean(axis=0)
    copies_BN = bootstrap.copies_NB.T / bootstrap.copies_NB.sum(axis=0)[:, None]
    return Agreement(
        estimate(columns_NC, errors_N[:, None])[0].reshape(n_repeats, n_arms).mean(axis=0),
        distances_AN.mean(axis=1),
        replicates_BC.reshape(-1, n_repeats, n_arms).mean(axis=1),
        copies_BN @ distances_AN.T,
    )


def averaged(found: Sequence[Agreement]) -> Agreement:
    """The mean over benchmarks; replicates draw the same families for all, and so are averaged one by one."""
    return Agreement(*(np.mean(parts, axis=0) for parts in zip(*found, strict=True)))


def rows_of(table: ModelTable) -> Iterator[dict[str, Any]]:
    """A row for each benchmark under the arm that is shown, and for the mean over benchmarks under every arm."""
    arms = [*BASELINES, *ARMS]
    predicted_RANT = np.stack([predicted(table, arms, seed) for seed in range(N_REPEATS)])
    found = [agreement(predicted_RANT[..., t], errors_N, table.families) for t, errors_N in enumerate(table.errors_NT.T)]
    estimates_TD = estimate(table.losses_ND, table.errors_NT)
    spreads = [np.quantile(row[usable], [0.05, 0.5, 0.95]) for row, usable in zip(estimates_TD, table.usable_TD, strict=True)]
    single = [t for t in range(len(found)) if table.benchmarks[t] != ALL]
    found.append(averaged([found[t] for t in single]))
    spreads.append(np.mean([spreads[t] for t in single], axis=0))
    facts = {
        "table": table.name,
        "n_models": len(table.families),
        "n_families": len(set(table.families)),
        "n_losses": table.losses_ND.shape[1],
    }
    for benchmark, agreed, spread in zip([*table.benchmarks, MEANS], found, spreads, strict=True):
        of_benchmark = (
            facts | {"benchmark": benchmark} | {f"estimate_{q}": round(float(v), 5) for q, v in zip((5, 50, 95), spread, strict=True)}
        )
        for a, arm in enumerate(arms):
            if arm == SHOWN or (arm.estimator and benchmark == MEANS):
                yield of_benchmark | arm._asdict() | _against(agreed, a, BASELINES.index(Arm("", "", arm.features)))


def _against(found: Agreement, a: int, base: int) -> dict[str, float]:
    """An arm beside the mean loss: figures of both, and the difference with the ends of its interval."""
    row: dict[str, float] = {}
    pairs = {"spearman": (found.spearman_A, found.spearman_BA), "rank_error": (found.rank_error_A, found.rank_error_BA)}
    for name, (of_all_A, replicates_BA) in pairs.items():
        low, high = np.quantile(replicates_BA[:, a] - replicates_BA[:, base], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        row |= {name: of_all_A[a], f"mean_loss_{name}": of_all_A[base], f"{name}_low": low, f"{name}_high": high}
    return {name: round(float(value), 5) for name, value in row.items()}


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.experiments.rank_prediction", description=__doc__)
    parser.add_argument("--data", type=Path, help="a folder with tables/; without it the tables of the kept results are printed")
    data = parser.parse_args().data
    if data is not None:
        pc_csv.write_csv(pa.Table.from_pylist([row for table in read_all(data) for row in rows_of(table)]), RESULTS)
    print(report(pc_csv.read_csv(RESULTS)))


if __name__ == "__main__":
    main()
