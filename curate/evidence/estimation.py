"""From losses and benchmark results to weights: estimates of every group, how sure they are, and their projection.

    found = find_weights(table, results, settings, known, seed)

Groups pass in blocks, so that a million of them need little more memory than the table of weights. What is kept of
bootstrap replicates, to tell how often a group would be included, is bounded by ``REPLICATE_BYTES``.
N models, D groups, Db of them in a block, T targets.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.correlation import Projection
from curate.correlation.bootstrap import Bootstrap, interval
from curate.correlation.direction import MeanLosses, inverted, mean_ranks
from curate.correlation.estimators import complete_parts, estimate_pairwise, fewest_models
from curate.correlation.permutations import Permutations
from curate.correlation.permutations import permutations as permutations_of
from curate.correlation.projections import PROJECTIONS
from curate.correlation.targets import group_benchmarks, leave_one_out
from curate.correlation.weights import BY, CARD, FILTER_RATIO, SCHEMA
from curate.errors import InfeasibleMixtureError, InputError, nearest
from curate.evidence.alignment import FEW, Aligned, align
from curate.evidence.benchmark_results import BenchmarkResults
from curate.evidence.findings import Estimated, Findings, Known, facts_of, few, told_of
from curate.evidence.loss_table import LossTable
from curate.evidence.settings import Correlate

BLOCK_GROUPS = 16_384
REPLICATE_BYTES = 256 << 20
SHOWN_PERMUTATIONS, SHOWN_GROUPS = 20, 1000
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
        used = {name for members in targets.values() for name in members}
        _check_direction(aligned, sorted(used.difference(settings.confirmed)))
    groups = aligned.groups
    natural_D = _natural(groups, known, table.where)
    found = _estimate(aligned, grouped.errors_NT, targets, settings, seed)
    tau_D = natural_D / settings.filter_ratio
    # By name, so that equal estimates are taken in an order that no table decides.
    by_name_D = pc.sort_indices(groups).to_numpy()
    columns, told = [], []
    for t, target in enumerate(grouped.names):
        has_D = ~np.isnan(found.estimate_TD[t]) & (natural_D > 0)
        at = by_name_D[has_D[by_name_D]]
        weight_D, inclusion_D = np.zeros(len(groups)), np.full(len(groups), np.nan)
        weight_D[at] = _projected(found.estimate_TD[t, at], tau_D[at], settings, target, known.unit)
        inclusion_D[at] = _inclusion(found.replicates_BTD[:, t], at, tau_D[at], settings.projection)
        rows = _rows(target, groups, found, t, natural_D, tau_D, weight_D, inclusion_D)
        columns.append(rows)
        told.append(told_of(rows, targets[target], found, t, known))
    if len(aligned.models) < FEW:
        notes += few(aligned, told, settings.confidence)
    facts = facts_of(aligned, settings, known, groups, natural_D, [*notes, *found.notes], told)
    card = json.dumps({name: value for name, value in facts.items() if name != "targets"}, ensure_ascii=False)
    metadata = {BY: settings.losses.by.encode(), FILTER_RATIO: repr(settings.filter_ratio).encode(), CARD: card.encode()}
    return Findings(pa.concat_tables(columns).replace_schema_metadata(metadata), facts)


def _check_direction(aligned: Aligned, names: Sequence[str]) -> None:
    """Refuse errors that fall where losses rise: most likely they are accuracies.

    Each benchmark is looked at, at a level that allows for their number; where there are several also all together, as
    few models cannot pass such a level on one.
    """
    if not names:
        return
    means = MeanLosses(len(aligned.models))
    for _, losses_ND in aligned.blocks(BLOCK_GROUPS):
        means.add(losses_ND)
    errors_NB = aligned.errors_NB[:, [aligned.names_B.index(name) for name in names]]
    suspicious = inverted(means.mean(), errors_NB, LEVEL / len(names), _SEED_OF_DIRECTION)
    called, said = [names[s.target] for s in suspicious], f"{len(suspicious)} benchmark(s) look"
    if not suspicious and len(names) > 1:
        suspicious = inverted(means.mean(), mean_ranks(errors_NB)[:, None], LEVEL, _SEED_OF_DIRECTION)
        called, said = [f"the mean rank over {', '.join(names[:5])}{', …' * (len(names) > 5)}"], f"{len(names)} benchmarks together look"
    if suspicious:
        told = ", ".join(
            f"{name} (Spearman {s.correlation:.2f}, p {s.p_value:.2g})" for name, s in zip(called[:5], suspicious, strict=False)
        )
        raise InputError(
            f"{said} inverted: models with higher loss have lower error on {told}",
            where="correlate.benchmarks: values",
            expected="errors, which rise with loss",
            fix="declare `values: accuracy` if they are accuracies, or name those that are right in `correlate.confirmed`",
        )


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
    notes = [f"inclusion is told by {n_kept:,} of the {settings.bootstrap:,} replicates"] if n_kept < settings.bootstrap else []
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
        notes,
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
    losses_ND = losses_ND[:, :: -(-losses_ND.shape[1] // SHOWN_GROUPS)]
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
            if models_N.sum() < fewest_models(self._settings.estimator):
                continue
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


def _projected(estimate_A: np.ndarray, tau_A: np.ndarray, settings: Correlate, target: str, unit: str) -> np.ndarray:
    """Weights of the groups that have an estimate and text (A)."""
    if not len(estimate_A):
        raise InputError(
            f"no group of the corpus has an estimate for the target {target!r}", where=f"correlate.targets.{target}",
            expected=f"groups with text, and {fewest_models(settings.estimator)} models with a loss on them and a result",
            fix="bring more results, or leave the target out",
        )  # fmt: skip
    try:
        return PROJECTIONS[settings.projection](estimate_A, tau_A)
    except InfeasibleMixtureError as error:
        held = float(tau_A.sum()) * settings.filter_ratio
        raise InfeasibleMixtureError(
            error.what, where=f"correlate.filter_ratio: {settings.filter_ratio:g}, target {target!r}",
            expected=f"at most {held:.6g}: the share of the {unit} that groups with an estimate hold",
            fix="lower it, or bring losses of more groups",
        ) from error  # fmt: skip


def _inclusion(replicates_BD: np.ndarray, at: np.ndarray, tau_A: np.ndarray, projection: Projection) -> np.ndarray:
    """Share of the replicates that would include each of some groups (A); NaN without any."""
    if not len(replicates_BD) or np.isnan(replicates_BD[:, at]).any():
        return np.full(len(at), np.nan)
    count_A = np.zeros(len(at))
    for replicate_D in replicates_BD:
        count_A += PROJECTIONS[projection](replicate_D[at].astype(np.float64), tau_A) > 0
    return np.asarray(count_A / len(replicates_BD))


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
