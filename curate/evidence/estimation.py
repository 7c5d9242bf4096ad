"""From losses and benchmark results to weights: estimates of every group, how sure they are, and their projection.

    found = find_weights(table, results, settings, known, seed)

Groups pass in blocks, so that a million of them need little more memory than the table of weights. What is kept of
bootstrap replicates, to tell how often a group would be included, is bounded by ``REPLICATE_BYTES``.
N models, D groups, Db of them in a block, T targets.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.correlation.bootstrap import Bootstrap, interval
from curate.correlation.direction import inverted
from curate.correlation.estimators import complete_parts, estimate_pairwise
from curate.correlation.permutations import Permutations
from curate.correlation.permutations import permutations as permutations_of
from curate.correlation.projections import l2, linear
from curate.correlation.targets import group_benchmarks, leave_one_out
from curate.correlation.weights import BY, CARD, FILTER_RATIO, SCHEMA
from curate.errors import InputError, nearest
from curate.evidence.alignment import FEW, Aligned, align
from curate.evidence.benchmark_results import BenchmarkResults
from curate.evidence.findings import Estimated, Findings, Known, facts_of, few, told_of
from curate.evidence.loss_table import LossTable
from curate.evidence.settings import Correlate

BLOCK_GROUPS = 16_384
REPLICATE_BYTES = 256 << 20
SHOWN_PERMUTATIONS = 20
LEVEL = 0.05
MOST_PARTS = 64
_SEED_OF_DIRECTION = 0


def find_weights(
    table: LossTable, results: BenchmarkResults, settings: Correlate, known: Known, seed: int, trusting: bool = False
) -> Findings:
    """Estimates, intervals, p-values and projected weights of every target and group.

    Args:
        known: the groups of the corpus and how much they hold: what shares and the largest weights follow from.
        seed: of bootstrap and permutations.
        trusting: whether losses are known to mean nothing, as in a rehearsal: no sign looks inverted then.

    Raises:
        InputError: what ``align`` refuses; results whose sign looks inverted; groups that the corpus does not have.
        ConfigError: a target of benchmarks that there are not.
        InfeasibleMixtureError: the groups with estimates hold too little text for ``filter_ratio``.
    """
    aligned = align(table, results, settings.missing)
    targets: dict[str, Sequence[str]] = dict(settings.targets) or {name: [name] for name in aligned.names_B}
    grouped = group_benchmarks(aligned.errors_NB, aligned.names_B, targets, settings.grouped)
    notes = [*aligned.notes, *grouped.notes]
    if not trusting:
        notes += _check_direction(aligned, sorted({name for members in targets.values() for name in members}), settings.confirmed)
    groups = aligned.groups
    natural_D = _natural(groups, known, table.where)
    found = _estimate(aligned, grouped.errors_NT, targets, settings, seed)
    tau_D = natural_D / settings.filter_ratio
    project = linear if settings.projection == "linear" else l2
    columns, told = [], []
    for t, target in enumerate(grouped.names):
        has_D = ~np.isnan(found.estimate_TD[t]) & (natural_D > 0)
        weight_D = np.zeros(len(groups))
        weight_D[has_D] = project(found.estimate_TD[t][has_D], tau_D[has_D])
        inclusion_D = _inclusion(found.replicates_BTD[:, t], has_D, tau_D, project)
        rows = _rows(target, groups, found, t, natural_D, tau_D, weight_D, inclusion_D)
        columns.append(rows)
        told.append(told_of(rows, targets[target], found, t, known, settings.confidence))
    if len(aligned.models) < FEW:
        notes += few(aligned, told, settings.confidence)
    facts = facts_of(aligned, settings, known, groups, natural_D, [*notes, *found.notes], told)
    card = json.dumps({name: value for name, value in facts.items() if name != "targets"}, ensure_ascii=False)
    metadata = {BY: settings.losses.by.encode(), FILTER_RATIO: repr(settings.filter_ratio).encode(), CARD: card.encode()}
    return Findings(pa.concat_tables(columns).replace_schema_metadata(metadata), facts)


def _check_direction(aligned: Aligned, names: Sequence[str], confirmed: Sequence[str]) -> list[str]:
    """Errors that fall where losses rise were most likely accuracies; constant ones tell nothing."""
    sums_N, n_groups = np.zeros(len(aligned.models)), 0
    for _, losses_ND in aligned.blocks(BLOCK_GROUPS):
        # Relative to the group's mean, so that what a model lacks neither raises nor lowers its own.
        sums_N += np.nan_to_num(losses_ND - np.nanmean(losses_ND, axis=0)).sum(axis=1)
        n_groups += losses_ND.shape[1]
    columns = [aligned.names_B.index(name) for name in names]
    # One in twenty would be suspected by chance: with many benchmarks, of all together.
    looked = inverted(sums_N / n_groups, aligned.errors_NB[:, columns], LEVEL / len(names), _SEED_OF_DIRECTION)
    suspicious = [s for s in looked.suspicious if names[s.target] not in confirmed]
    if suspicious:
        said = ", ".join(f"{names[s.target]} (Spearman {s.correlation:.2f}, p {s.p_value:.2g})" for s in suspicious[:5])
        raise InputError(
            f"{len(suspicious)} benchmark(s) look inverted: models with higher loss have lower error on {said}",
            where="correlate.benchmarks: values",
            expected="errors, which rise with loss",
            fix="declare `values: accuracy` if they are accuracies, or name those that are right in `correlate.confirmed`",
        )
    constant = [names[b] for b in looked.constant]
    return [f"the same result for every model, which tells nothing: {', '.join(constant[:5])}"] if constant else []


def _natural(groups: pa.Array, known: Known, where: str) -> np.ndarray:
    """Share of the corpus of every group (D); 0 for one the corpus does not have."""
    at = pc.index_in(groups, known.groups)
    found_D = pc.is_valid(at).to_numpy(zero_copy_only=False)
    if not found_D.any():
        examples = [name for name in known.groups[:20].to_pylist() if name is not None]
        raise InputError(
            f"none of the {len(groups):,} groups with losses is a group of the corpus",
            where=where,
            expected=f"groups such as {', '.join(examples[:3])}",
            fix=nearest(str(groups[0]), examples) if examples else "check `correlate.losses.by`",
        )
    amount_D = np.zeros(len(groups))
    amount_D[found_D] = known.amount_G[at.drop_null().to_numpy()]
    return amount_D / max(known.total, 1.0)


def _estimate(aligned: Aligned, errors_NT: np.ndarray, targets: Mapping[str, Sequence[str]], settings: Correlate, seed: int) -> Estimated:
    """All blocks, one after another."""
    n_groups, n_targets = len(aligned.rows_D), errors_NT.shape[1]
    left_out = leave_one_out(targets)
    without = {t: group_benchmarks(aligned.errors_NB, aligned.names_B, m, settings.grouped).errors_NT for t, m in left_out.items()}
    n_kept = min(settings.bootstrap, max(1, REPLICATE_BYTES // max(1, 4 * n_groups * n_targets)))
    nothing = (n_targets, n_groups)
    found = Estimated(
        *(
            np.full(nothing, np.nan),
            np.zeros(nothing, np.int64),
            np.full(nothing, np.nan),
            np.full(nothing, np.nan),
            np.full(nothing, np.nan),
        ),
        np.full((n_kept, *nothing), np.nan, np.float32),
        {t: {name: np.full(n_groups, np.nan) for name in m} for t, m in left_out.items()},
        [],
        None,
        [],
    )
    sure = _Sure(aligned.families_N, errors_NT, settings, seed)
    start = 0
    for _, losses_ND in aligned.blocks(BLOCK_GROUPS):
        at = slice(start, start + losses_ND.shape[1])
        found.estimate_TD[:, at], found.n_models_TD[:, at] = estimate_pairwise(losses_ND, errors_NT, settings.estimator, settings.ties)
        for target, errors in without.items():
            for name, row in zip(left_out[target], estimate_pairwise(losses_ND, errors, settings.estimator, settings.ties)[0], strict=True):
                found.left_out[target][name][at] = row
        sure.look(losses_ND, found, at)
        if start == 0:
            found.null_T = _by_chance(losses_ND, errors_NT, settings, seed)
        start = at.stop
    found.null_deviation = sure.null_deviation()
    found.notes += sure.notes
    return found


def _by_chance(losses_ND: np.ndarray, errors_NT: np.ndarray, settings: Correlate, seed: int) -> list[np.ndarray]:
    """Estimates of some groups had results been given to models by chance, by target."""
    n = min(settings.permutations, SHOWN_PERMUTATIONS)
    orders = permutations_of(len(errors_NT), n, seed)
    found = [estimate_pairwise(losses_ND, errors_NT[order], settings.estimator, settings.ties)[0] for order in orders]
    return [np.concatenate([of[t][~np.isnan(of[t])] for of in found]) if found else np.empty(0) for t in range(errors_NT.shape[1])]


class _Sure:
    """Intervals and p-values, block by block; tables with missing cells in parts that have none.

    Args:
        families_N: what replicates draw.
    """

    def __init__(self, families_N: Sequence[str], errors_NT: np.ndarray, settings: Correlate, seed: int) -> None:
        self._families_N, self._errors_NT, self._settings, self._seed = np.array(families_N), errors_NT, settings, seed
        self._parts: dict[bytes, tuple[Bootstrap | None, Permutations | None]] = {}
        self._n_parts = 0
        self.notes: list[str] = []
        if settings.bootstrap and len(set(families_N)) < 2:
            self.notes.append("all models are of one family: there are no intervals")

    def look(self, losses_ND: np.ndarray, found: Estimated, at: slice) -> None:
        """Fill one block of what was found."""
        for models_N, targets, groups in complete_parts(losses_ND, self._errors_NT):
            bootstrap, permutations = self._part(models_N, targets)
            losses = losses_ND if models_N.all() and len(groups) == losses_ND.shape[1] else losses_ND[np.ix_(models_N, groups)]
            places = np.ix_(targets, at.start + groups)
            if bootstrap is not None:
                self._resampled(bootstrap, losses, found, targets, at.start + groups)
            if permutations is not None:
                found.p_value_TD[places] = permutations.p_values(losses)

    def _resampled(self, bootstrap: Bootstrap, losses: np.ndarray, found: Estimated, targets: np.ndarray, groups: np.ndarray) -> None:
        """Intervals of one part, and the replicates that are kept; some groups at a time, since replicates are many."""
        step = max(1, REPLICATE_BYTES // 4 // (8 * self._settings.bootstrap * len(targets)))
        for start in range(0, len(groups), step):
            some = groups[start : start + step]
            replicates_BTD = bootstrap.replicates(losses[:, start : start + step])
            ends = interval(replicates_BTD, self._settings.confidence)
            found.low_TD[np.ix_(targets, some)], found.high_TD[np.ix_(targets, some)] = ends.low_TD, ends.high_TD
            found.replicates_BTD[np.ix_(np.arange(len(found.replicates_BTD)), targets, some)] = replicates_BTD[: len(found.replicates_BTD)]

    def _part(self, models_N: np.ndarray, targets: np.ndarray) -> tuple[Bootstrap | None, Permutations | None]:
        """What resamples these models, made once."""
        key = models_N.tobytes() + targets.tobytes()
        if key not in self._parts:
            self._n_parts += 1
            if len(self._parts) == MOST_PARTS:
                # Cells missing here and there make as many parts as groups: those made first go first.
                del self._parts[next(iter(self._parts))]
            s, errors, families = self._settings, self._errors_NT[np.ix_(models_N, targets)], self._families_N[models_N].tolist()
            has_both = s.bootstrap and len(set(families)) > 1
            bootstrap = Bootstrap(errors, families, s.estimator, s.ties, s.bootstrap, self._seed) if has_both else None
            permutations = (
                Permutations(errors, s.estimator, s.ties, s.permutations, self._seed) if s.permutations and len(errors) > 1 else None
            )
            self._parts[key] = bootstrap, permutations
        return self._parts[key]

    def null_deviation(self) -> list[dict[str, float]] | None:
        """How far estimates of permuted results spread over groups, by target; None where cells are missing or nothing was permuted."""
        made = [permutations for _, permutations in self._parts.values()]
        if self._n_parts != 1 or made[0] is None:
            return None
        spread = made[0].spread()
        return [
            {"mean": float(null.mean()), "high": float(np.quantile(null, 0.95)), "p_value": float(p)}
            for null, p in zip(spread.null_TP, spread.p_value_T, strict=True)
        ]


def _inclusion(replicates_BD: np.ndarray, has_D: np.ndarray, tau_D: np.ndarray, project: Any) -> np.ndarray:
    """Share of the replicates that would include each group; NaN without any."""
    if not len(replicates_BD) or np.isnan(replicates_BD[:, has_D]).any():
        return np.full(len(has_D), np.nan)
    count_D = np.zeros(len(has_D))
    for replicate_D in replicates_BD:
        count_D[has_D] += project(replicate_D[has_D].astype(np.float64), tau_D[has_D]) > 0
    return np.where(has_D, count_D / len(replicates_BD), np.nan)


def _rows(
    target: str,
    groups: pa.Array,
    found: Estimated,
    t: int,
    natural_D: np.ndarray,
    tau_D: np.ndarray,
    weight_D: np.ndarray,
    inclusion_D: np.ndarray,
) -> pa.Table:
    """The rows of one target."""
    low_D, high_D = found.low_TD[t], found.high_TD[t]
    has_ends_D = ~np.isnan(low_D)
    columns = {
        "target": pa.array([target] * len(groups), pa.string()),
        "group": groups.cast(pa.string()),
        "estimate": found.estimate_TD[t],
        "low": low_D,
        "high": high_D,
        "p_value": found.p_value_TD[t],
        "settled": pa.array((low_D > 0) | (high_D < 0), mask=~has_ends_D),
        "n_models": found.n_models_TD[t],
        "natural": natural_D,
        "tau": tau_D,
        "weight": weight_D,
        "included": weight_D > 0,
        "inclusion": inclusion_D,
    }
    arrays = [
        pa.array(v, f.type, from_pandas=True) if isinstance(v, np.ndarray) else v for f, v in zip(SCHEMA, columns.values(), strict=True)
    ]
    return pa.table(arrays, schema=SCHEMA)
