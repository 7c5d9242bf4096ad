"""Losses and benchmark results set side by side: the same models in both, and what is done where a number is missing.

Estimates compare models in pairs, so a model that one table lacks, or a cell that is empty, changes what is
compared. Nothing is left out unasked: ``missing: refuse`` stops and says what each policy would keep. Models that
are there twice under two names, and families of many, make evidence look stronger than it is; notes say so.

    refuse         an error if anything is missing
    drop_models    models with any missing loss or result go
    drop_domains   groups with any missing loss go; every model needs all results
    pairwise       all stay: each estimate rests on the models that have both numbers

N models, D groups of pages, Db of them in a block, B benchmarks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import xxhash

from curate.errors import InputError
from curate.evidence.benchmark_results import BenchmarkResults
from curate.evidence.loss_table import ROWS, LossTable, counted, first_of
from curate.evidence.model_matching import near_misses
from curate.evidence.settings import Missing

FEWEST = 3
FEW = 10


@dataclass(frozen=True)
class Aligned:
    """Losses and results of the same N models.

    Args:
        losses: the table that blocks are read from.
        models: N names, sorted.
        families_N: the family of each.
        rows_D: rows of the loss table that are kept, ascending.
        names_B: of benchmarks.
        errors_NB: float64, NaN where missing.
        dropped_models: name -> why it was left out.
        dropped_groups: why groups were left out -> how many.
        n_missing_losses: cells without a loss among those kept.
        n_missing_results: cells without a result among those kept.
        notes: for a person: what was left out, and what is odd.
    """

    losses: LossTable
    models: tuple[str, ...]
    families_N: tuple[str, ...]
    rows_D: np.ndarray
    names_B: tuple[str, ...]
    errors_NB: np.ndarray
    dropped_models: dict[str, str]
    dropped_groups: dict[str, int]
    n_missing_losses: int
    n_missing_results: int
    notes: list[str]

    @property
    def is_complete(self) -> bool:
        """Whether every model has every loss and every result."""
        return not (self.n_missing_losses or self.n_missing_results)

    @property
    def groups(self) -> pa.Array:
        """(D,) names of the groups kept."""
        return self.losses.groups.take(pa.array(self.rows_D))

    def blocks(self, size: int = ROWS) -> Iterator[tuple[pa.Array, np.ndarray]]:
        """Names of at most ``size`` groups kept and their losses (N, Db), in the order of ``rows_D``; no block is empty."""
        start = 0
        for groups, losses_ND in self.losses.blocks(self.models, size):
            first, last = np.searchsorted(self.rows_D, (start, start + len(groups)))
            if last > first:
                kept = self.rows_D[first:last] - start
                whole = len(kept) == len(groups)
                yield (groups, losses_ND) if whole else (groups.take(pa.array(kept)), losses_ND[:, kept])
            start += len(groups)


def check_before_losses(models: Sequence[str], results: BenchmarkResults, missing: Missing) -> None:
    """Refuse what is known of results before any loss is, as losses are dear.

    Args:
        models: that will have losses.

    Raises:
        InputError: a model that one of both lacks or a missing result, where the policy does not bear it; fewer than 3
            models could stay.
    """
    dropped = results.check_models(models, missing)
    shared = sorted(set(models) & set(results.models))
    errors_NB = results.errors_of(shared)
    n_results_N = (~np.isnan(errors_NB)).sum(axis=1)
    if missing in ("refuse", "drop_domains") and (n_results_N < len(results.names_B)).any():
        raise _lacks_results(results, shared, errors_NB)
    stay_N = n_results_N > 0 if missing == "pairwise" else n_results_N == len(results.names_B)
    dropped |= {name: "something missing" for name, stays in zip(shared, stay_N, strict=True) if not stays}
    _check_models_left(results.where, int(stay_N.sum()), missing, dropped)


@dataclass(frozen=True)
class _Looked:
    """What one pass over the losses of some models tells.

    Args:
        n_missing_N: missing losses by model.
        n_missing_D: and by group.
        low_D: the smallest loss of a group, and ``high_D`` the largest; NaN where there is none.
        prints: of each model's losses; equal where these are.
    """

    n_missing_N: np.ndarray
    n_missing_D: np.ndarray
    low_D: np.ndarray
    high_D: np.ndarray
    prints: list[str]


def align(losses: LossTable, results: BenchmarkResults, missing: Missing = "refuse") -> Aligned:
    """The models that both tables know, without what the policy leaves out.

    Args:
        losses: read in blocks: once, and again where models went.
        results: of benchmarks.
        missing: the policy.

    Raises:
        InputError: something is missing and the policy is to refuse; a model lacks results and the policy is to drop groups;
            fewer than 3 models or no group are left.
    """
    shared = sorted(set(losses.models) & set(results.models))
    dropped = results.check_models(losses.models, missing, losses.groups.to_pylist() if losses.n_groups <= ROWS else ())
    errors_NB = results.errors_of(shared)
    looked = _look(losses, shared)
    no_result_N = np.isnan(errors_NB).any(axis=1)
    if missing == "refuse":
        _refuse(losses, results, shared, errors_NB, looked)
    keep_N, why = _models_kept(missing, errors_NB, looked)
    dropped |= {name: why[n] for n, name in enumerate(shared) if not keep_N[n]}
    if missing == "drop_domains" and no_result_N.any():
        raise _lacks_results(results, shared, errors_NB)
    kept = np.flatnonzero(keep_N).tolist()
    if len(kept) < len(shared):
        looked = _look(losses, [shared[n] for n in kept])
    keep_D, dropped_groups = _groups_kept(missing, looked)
    _check_models_left(losses.where, len(kept), missing, dropped)
    _check_groups_left(losses, int(keep_D.sum()))
    n_missing = int(looked.n_missing_D[keep_D].sum())
    models = tuple(shared[n] for n in kept)
    families = tuple(losses.families[name] if losses.families[name] != name else results.families.get(name, name) for name in models)
    aligned = Aligned(
        losses, models, families, np.flatnonzero(keep_D), results.names_B, errors_NB[kept], dropped, dropped_groups,
        n_missing, int(np.isnan(errors_NB[kept]).sum()), [],
    )  # fmt: skip
    aligned.notes.extend([*results.notes, *_left_out(aligned), *_odd(aligned, looked, keep_D)])
    return aligned


def _look(losses: LossTable, models: Sequence[str]) -> _Looked:
    """One pass over the losses of some models."""
    n_missing_N = np.zeros(len(models), dtype=np.int64)
    n_missing_D, low_D, high_D = np.zeros(losses.n_groups, dtype=np.int32), np.empty(losses.n_groups), np.empty(losses.n_groups)
    prints = [xxhash.xxh3_128() for _ in models]
    start = 0
    for groups, losses_ND in losses.blocks(models) if models else ():
        rows = slice(start, start + len(groups))
        missing_ND = np.isnan(losses_ND)
        n_missing_N += missing_ND.sum(axis=1)
        n_missing_D[rows] = missing_ND.sum(axis=0)
        low_D[rows], high_D[rows] = np.fmin.reduce(losses_ND, axis=0), np.fmax.reduce(losses_ND, axis=0)
        for fingerprint, row in zip(prints, losses_ND, strict=True):
            fingerprint.update(np.ascontiguousarray(row).tobytes())
        start += len(groups)
    return _Looked(n_missing_N, n_missing_D, low_D, high_D, [fingerprint.hexdigest() for fingerprint in prints])


def _refuse(losses: LossTable, results: BenchmarkResults, models: Sequence[str], errors_NB: np.ndarray, looked: _Looked) -> None:
    """An error if a cell is missing, with what each policy would keep."""
    n_losses, no_result_N = int(looked.n_missing_N.sum()), np.isnan(errors_NB).any(axis=1)
    n_results = int(np.isnan(errors_NB).sum())
    if not (n_losses or n_results):
        return
    parts = []
    if n_losses:
        groups = losses.groups
        by_model = [f"{models[n]!r} ({looked.n_missing_N[n]:,})" for n in np.flatnonzero(looked.n_missing_N).tolist()]
        rows = np.flatnonzero(looked.n_missing_D)
        by_group = [f"{groups[int(d)].as_py()!r} ({looked.n_missing_D[d]:,})" for d in rows[:FEW]]
        parts.append(f"missing losses: {n_losses:,}, of {counted(len(by_model), 'model')}: {_listed(by_model)}")
        parts.append(f"in {counted(len(rows), 'group')}: {_listed(by_group, len(rows))}")
    if n_results:
        by_model = [f"{models[n]!r} ({int(np.isnan(errors_NB[n]).sum())})" for n in np.flatnonzero(no_result_N).tolist()]
        parts.append(f"missing results: {n_results:,}, of {counted(len(by_model), 'model')}: {_listed(by_model)}")
    n, d = len(models), losses.n_groups
    whole = int((~no_result_N & (looked.n_missing_N == 0)).sum())
    if no_result_N.any():
        domains = f"drop_domains is out of question, as results of {counted(int(no_result_N.sum()), 'model')} are missing"
    else:
        domains = f"drop_domains {counted(n, 'model')} and {counted(int((looked.n_missing_D == 0).sum()), 'group')}"
    raise InputError(
        "; ".join(parts), where=losses.where if n_losses else results.where, expected="a number in every cell, or a policy",
        fix=f"set `missing:` to what may go. drop_models keeps {counted(whole, 'model')} and {counted(d, 'group')}, {domains}, "
        f"pairwise all {counted(n, 'model')} and {counted(d, 'group')} on the models that have both numbers",
    )  # fmt: skip


def _listed(told: Sequence[str], n: int | None = None) -> str:
    """The first few, and how many more there are."""
    more = (len(told) if n is None else n) - 5
    return ", ".join(told[:5]) + (f" and {more:,} more" if more > 0 else "")


def _models_kept(missing: Missing, errors_NB: np.ndarray, looked: _Looked) -> tuple[np.ndarray, list[str]]:
    """Which models stay, and why each of the others goes."""
    n_results_N = np.isnan(errors_NB).sum(axis=1)
    if missing == "drop_models":
        keep_N = (n_results_N == 0) & (looked.n_missing_N == 0)
    elif missing == "pairwise":
        keep_N = (n_results_N < errors_NB.shape[1]) & (looked.n_missing_N < len(looked.n_missing_D))
    else:
        keep_N = np.ones(len(errors_NB), dtype=bool)
    counts = zip(looked.n_missing_N, n_results_N, strict=True)
    why = ["; ".join(f"{n:,} {what} missing" for n, what in ((a, "losses"), (b, "results")) if n) for a, b in counts]
    return keep_N, why


def _lacks_results(results: BenchmarkResults, models: Sequence[str], errors_NB: np.ndarray) -> InputError:
    """The error of a policy that drops groups where it is results that are missing."""
    counts = [(name, int(np.isnan(errors_B).sum())) for name, errors_B in zip(models, errors_NB, strict=True)]
    lacking = [f"{name!r} ({n})" for name, n in counts if n]
    return InputError(
        f"results of {counted(len(lacking), 'model')} are missing: {_listed(lacking)}", where=results.where,
        expected="all results of every model: leaving groups out cannot mend these",
        fix="add the results, or name fewer benchmarks with `targets:` or `tasks:`, or set `missing:` to drop_models, which keeps "
        f"{len(models) - len(lacking):,} of {counted(len(models), 'model')}, or to pairwise",
    )  # fmt: skip


def _groups_kept(missing: Missing, looked: _Looked) -> tuple[np.ndarray, dict[str, int]]:
    """Which groups stay, and how many go why."""
    none_D = np.isnan(looked.low_D)
    if missing == "drop_domains":
        gone_D, why = looked.n_missing_D > 0, "a loss is missing"
    elif missing == "pairwise":
        gone_D, why = none_D, "no model has a loss"
    else:
        gone_D, why = np.zeros(len(none_D), dtype=bool), ""
    return ~gone_D, {why: int(gone_D.sum())} if gone_D.any() else {}


def _check_models_left(where: str, n_models: int, missing: Missing, dropped: dict[str, str]) -> None:
    """Refuse what no correlation can be had of."""
    if n_models < FEWEST:
        reasons = Counter(why if why in ("no results", "no losses") else "something missing" for why in dropped.values())
        told = "".join(f"; {n:,} went: {why}" for why, n in sorted(reasons.items()))
        raise InputError(
            f"{counted(n_models, 'model')} left{told}", where=where, expected=f"at least {FEWEST}, better {FEW} or more",
            fix=f"add models{'' if missing == 'pairwise' else ', map their names with `models:`, or set `missing: pairwise`'}",
        )  # fmt: skip


def _check_groups_left(losses: LossTable, n_groups: int) -> None:
    if n_groups == 0:
        raise InputError(
            "no group is left: each lacks the loss of some model", where=losses.where, expected="groups with all losses",
            fix="set `missing:` to drop_models or pairwise",
        )  # fmt: skip


def _left_out(aligned: Aligned) -> list[str]:
    """What went, in a few lines."""
    by_reason: dict[str, list[str]] = {}
    for name, why in sorted(aligned.dropped_models.items()):
        by_reason.setdefault(why if why in ("no results", "no losses") else "numbers missing", []).append(name)
    notes = [f"{counted(len(names), 'model')} left out, {why}: {first_of(names)}" for why, names in sorted(by_reason.items())]
    near = near_misses(by_reason.get("no results", []), by_reason.get("no losses", []))
    if near:
        told = ", ".join(f"{there}: {here}" for there, here in list(near.items())[:3])
        notes.append(f"{len(near):,} of these may be there under two names; `models: {{{told}}}` would bring them together")
    notes += [f"{counted(n, 'group')} left out: {why}" for why, n in aligned.dropped_groups.items()]
    if aligned.n_missing_losses or aligned.n_missing_results:
        gone = f"missing losses: {aligned.n_missing_losses:,}, missing results: {aligned.n_missing_results:,}"
        notes.append(f"{gone}; estimates rest on the models that have both")
    return notes


def _odd(aligned: Aligned, looked: _Looked, keep_D: np.ndarray) -> list[str]:
    """What makes evidence weaker than its size."""
    notes = []
    same: dict[tuple[str, bytes], list[str]] = {}
    for fingerprint, name, errors_B in zip(looked.prints, aligned.models, aligned.errors_NB, strict=True):
        same.setdefault((fingerprint, np.where(np.isnan(errors_B), np.nan, errors_B + 0.0).tobytes()), []).append(name)
    notes += [
        f"{len(names)} models have the same losses and results, as if one: {first_of(names)}" for names in same.values() if len(names) > 1
    ]
    large = [(family, n) for family, n in Counter(aligned.families_N).most_common() if n > 1]
    if large:
        told = ", ".join(f"{family} {n}" for family, n in sorted(large, key=lambda item: (-item[1], item[0])))
        notes.append(f"{len(aligned.models)} models are of {len(set(aligned.families_N))} families; more than one: {told}")
    low_B, high_B = np.fmin.reduce(aligned.errors_NB, axis=0), np.fmax.reduce(aligned.errors_NB, axis=0)
    flat = [name for name, low, high in zip(aligned.names_B, low_B, high_B, strict=True) if not low < high]
    if flat:
        notes.append(f"{counted(len(flat), 'benchmark')} of the same result for every model, which tell nothing: {first_of(flat)}")
    n_flat = int((~(looked.low_D < looked.high_D) & keep_D).sum())
    if n_flat:
        notes.append(f"{counted(n_flat, 'group')} of the same loss for every model, which tell nothing")
    return notes
