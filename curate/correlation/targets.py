"""Targets made of several benchmarks, and how much an estimate owes to any one of them.

The authors average errors, so that of LAMBADA's perplexities, which run from 3 to above a thousand, the widest
decides alone; an average of ranks gives each benchmark one voice. N models, B benchmarks, T targets, D groups,
L benchmarks left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from curate.correlation.column_ranks import centred_ranks
from curate.correlation.kinds import GroupedBy
from curate.errors import ConfigError, InputError, nearest
from curate.ranks import spearman

MOST_SPREAD = 10.0
"""Ratio of standard deviations above which a mean of errors is one benchmark's."""


class Grouped(NamedTuple):
    """Targets as a matrix.

    Args:
        errors_NT: lower is better; NaN where a model lacks one of the target's benchmarks.
        names: of the targets (T).
        notes: what to tell about how they were averaged.
    """

    errors_NT: np.ndarray
    names: list[str]
    notes: list[str]


def group_benchmarks(errors_NB: np.ndarray, names_B: Sequence[str], targets: Mapping[str, Sequence[str]], how: GroupedBy) -> Grouped:
    """One column for each target, from the columns of its benchmarks.

    A target of one benchmark is that benchmark's errors as they are. Of several, ``rank`` averages each model's
    mid-rank among the models that have all of them, scaled to (0, 1); ``mean`` averages errors, as the authors do.

    Args:
        errors_NB: lower is better; NaN means missing.

    Raises:
        ConfigError: as ``check_targets``.
        InputError: the matrix and the names do not fit.
    """
    errors_NB = np.asarray(errors_NB, np.float64)
    if errors_NB.ndim != 2 or errors_NB.shape[1] != len(names_B):
        raise InputError(
            f"results have the shape {errors_NB.shape} and {len(names_B)} names", where="benchmarks",
            expected="a column for each benchmark", fix="align them",
        )  # fmt: skip
    check_targets(targets, names_B)
    at = {name: b for b, name in enumerate(names_B)}
    columns, notes = [], []
    for target, members in targets.items():
        of_target = errors_NB[:, [at[name] for name in members]]
        columns.append(_averaged(of_target, how))
        if how == "mean":
            notes += _dominance(of_target, target, members)
    errors_NT = np.stack(columns, axis=1) if columns else np.empty((len(errors_NB), 0))
    return Grouped(errors_NT, list(targets), notes)


def check_targets(targets: Mapping[str, Sequence[str]], names_B: Sequence[str]) -> None:
    """Refuse what is no target of these benchmarks.

    Raises:
        ConfigError: a target names no benchmark, the same one twice, or one that there is not.
    """
    for target, members in targets.items():
        where = f"correlate.targets.{target}"
        if not members or len(set(members)) < len(members):
            raise ConfigError(
                f"the target {target!r} names {'a benchmark twice' if members else 'no benchmark'}", where=where,
                expected="one or more different benchmarks", fix="see what it should be made of",
            )  # fmt: skip
        for name in members:
            if name not in names_B:
                raise ConfigError(
                    f"there are no results of {name!r}", where=where, expected="a benchmark that was read", fix=nearest(name, list(names_B))
                )


def _averaged(errors_NB: np.ndarray, how: GroupedBy) -> np.ndarray:
    """The target's column (N), NaN where a model lacks a benchmark."""
    if errors_NB.shape[1] == 1 or how == "mean":
        return np.asarray(errors_NB.mean(axis=1))
    complete_N = ~np.isnan(errors_NB).any(axis=1)
    averages_N = np.full(len(errors_NB), np.nan)
    if complete_N.any():
        # Whole numbers, so that their sum is exact, whatever the order of benchmarks; + N and halved they are ranks from 0.5 on.
        ranks_BN = centred_ranks(errors_NB[complete_N].T, "mid")
        n_benchmarks, n_models = ranks_BN.shape
        averages_N[complete_N] = (ranks_BN.sum(axis=0) + n_benchmarks * n_models) / 2 / (n_benchmarks * n_models)
    return averages_N


def _dominance(errors_NB: np.ndarray, target: str, members: Sequence[str]) -> list[str]:
    """A line, where one benchmark's spread makes the mean its own."""
    if errors_NB.shape[1] == 1 or not (~np.isnan(errors_NB)).any(axis=0).all():
        return []
    spreads_B = np.nanstd(errors_NB, axis=0)
    wide, narrow = int(np.argmax(spreads_B)), int(np.argmin(spreads_B))
    if spreads_B[wide] <= MOST_SPREAD * spreads_B[narrow]:
        return []
    return [
        f"the target {target!r} is a mean of errors, and {members[wide]} varies by {spreads_B[wide]:.3g} (standard deviation), "
        f"{members[narrow]} by {spreads_B[narrow]:.3g}: the mean is hardly more than the first (`grouped: rank` gives each one voice)"
    ]


def leave_one_out(targets: Mapping[str, Sequence[str]]) -> dict[str, dict[str, list[str]]]:
    """For each target of two benchmarks or more: the benchmark left out -> those that remain."""
    return {
        target: {name: [other for other in members if other != name] for name in members}
        for target, members in targets.items()
        if len(members) > 1
    }


class Stability(NamedTuple):
    """An estimate beside those that lack one benchmark each (L): agreement in order, and in sign.

    Args:
        spearman_L: over groups; NaN where one of the two is constant.
        flipped_L: share of the groups with both estimates whose signs are opposite.
    """

    spearman_L: np.ndarray
    flipped_L: np.ndarray


def stability(estimate_D: np.ndarray, left_out_LD: np.ndarray) -> Stability:
    """How far an estimate moves when one benchmark is left out; groups without an estimate (NaN) do not count.

    Raises:
        InputError: the two are not of the same groups.
    """
    estimate_D, left_out_LD = np.asarray(estimate_D), np.asarray(left_out_LD)
    if left_out_LD.ndim != 2 or estimate_D.shape != left_out_LD.shape[1:]:
        raise InputError(
            f"estimates of shape {estimate_D.shape} and {left_out_LD.shape}",
            where="stability",
            expected="(D,) and (L, D)",
            fix="align them",
        )
    rhos, flips = [], []
    for other_D in left_out_LD:
        both_D = ~np.isnan(estimate_D) & ~np.isnan(other_D)
        rho = spearman(estimate_D[both_D], other_D[both_D]) if both_D.any() else None
        rhos.append(np.nan if rho is None else rho)
        flips.append(float(np.mean(estimate_D[both_D] * other_D[both_D] < 0)) if both_D.any() else np.nan)
    return Stability(np.array(rhos), np.array(flips))
