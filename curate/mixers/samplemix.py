"""SampleMix (Xi et al. 2025, arXiv 2503.01506): every document its own weight, from quality and diversity.

    p(x) = α · diversity(x) + (1 − α) · quality(x),   weight(x) ∝ exp(p(x) / τ)

over the whole pool: no domain has a weight, and domain shares are what comes out. Both
signals are brought to [0, 1] first; diversity is one number per cluster
(``cluster_diversity``). N documents of a part, K clusters, S quality steps.

Quality is taken in steps of 1/2520, or coarser where clusters are very many: documents
of one cluster and one step are a cell. Classes 0..9, and any other up to eleven at equal
distances, lie on steps exactly; a continuous quality is rounded, which moves a weight by a
factor of at most exp((1 − α) / (5040 τ)). In return everything about weights follows from
one table of sums, to the bit, for any sharding.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.errors import ConfigError, InfeasibleMixtureError, InputError
from curate.kernels.cells import cell_weights, cells_of
from curate.mixers.capped_weights import log_factor
from curate.mixers.cluster_diversity import ClusterFacts, Clusters, cluster_facts, clusters_of
from curate.mixers.copies_outcome import Outcome
from curate.mixers.document_mixer import Budget, Cells, Decision, DocumentMixer
from curate.mixers.scaling import Scale, Scaling, ValueFacts, scale_of, value_facts

STEPS = (2520, 840, 360, 120, 60, 20, 10)
"""Numbers of quality steps, each with many divisors."""
MOST_CELLS = 1 << 25
MOST_BINS = 32
"""Quality bins of the statistics that other settings are tried on."""
WHERE = "mixture samplemix"
Missing = Literal["lowest", "drop", "refuse"]


@dataclass(frozen=True)
class Facts:
    """What one part tells of its documents."""

    quality: tuple[ValueFacts, ...]
    n_without_quality: int
    clusters: ClusterFacts | None


@dataclass(frozen=True)
class Learned:
    """What makes documents comparable.

    Args:
        columns: the scale of every quality column.
        combined: of their weighted sum, where there are several; None before it is known.
        steps: of quality.
    """

    columns: tuple[Scale, ...]
    combined: Scale | None
    clusters: Clusters
    steps: int
    n_without_quality: int


@dataclass(frozen=True)
class QualityBins:
    """Steps of quality gathered for what is only tried.

    Args:
        bin_S: of every step.
        quality_B: mean quality of the documents in each bin.
    """

    bin_S: np.ndarray
    quality_B: np.ndarray


@dataclass(frozen=True)
class Preferences:
    """From which every weight follows: min(cap, exp(diversity + quality + factor)).

    Args:
        diversity_K: α · diversity / τ of every cluster, and at the end of documents in none (K + 1).
        quality_S: (1 − α) · quality / τ of every step (S + 1).
        factor: log λ.
        cap: most copies on average.
    """

    diversity_K: np.ndarray
    quality_S: np.ndarray
    factor: float
    cap: float


@dataclass
class SampleMix(DocumentMixer):
    """Weights from quality and diversity.

    Args:
        quality: a score column, or several with the weight of each: ``{rater.rating: 0.7, ppl.perplexity: -0.3}``. A
            negative weight is for a score of which less is better. Each column is scaled first, then their sum.
        diversity: the clusters scorer whose columns to use.
        alpha: share of diversity in a document's preference; 0 looks at quality alone, 1 at diversity alone.
        temperature: of the softmax, above 0. The heaviest weight is at most exp(1 / temperature) times the lightest.
        mode: ``exact`` makes the expected tokens equal the budget; ``paper`` scales the number of documents instead
            (documents x budget / tokens there are), which misses the budget where weight goes with length.
        quality_scaling: ``range`` (least 0, greatest 1) or ``rank`` (share of documents below).
        diversity_scaling: likewise; ``range`` is set by the extreme clusters.
        shrinkage: documents at the mean distance added to every cluster before its compactness is taken; 0 as published,
            which gives clusters of one document, or of copies, the least diversity.
        missing: what a document without quality or without cluster gets: ``lowest`` (0 for that signal), ``drop``
            (weight 0), or ``refuse`` the mix. They are counted in any case.
    """

    quality: str | dict[str, float]
    diversity: str
    alpha: float = 0.8
    temperature: float = 0.2
    mode: Literal["exact", "paper"] = "exact"
    quality_scaling: Scaling = "range"
    diversity_scaling: Scaling = "range"
    shrinkage: float = 0.0
    missing: Missing = "lowest"

    shown: ClassVar[pa.Schema] = pa.schema(
        [
            pa.field("quality", pa.float32(), metadata={"unit": "scaled to 0..1 over what is kept", "direction": "higher"}),
            pa.field("diversity", pa.float32(), metadata={"unit": "scaled to 0..1 over what is kept", "direction": "higher"}),
        ]
    )

    def check(self) -> None:
        """Refuse an alpha outside [0, 1], a temperature or shrinkage that cannot be, and weights of columns that are no weights."""
        _within("alpha", self.alpha, 0.0, 1.0, "0.8 is the paper's; 0 is quality alone, 1 diversity alone")
        _within("temperature", self.temperature, 1e-6, math.inf, "0.2 is usual; larger is nearer to no preference at all")
        _within("shrinkage", self.shrinkage, 0.0, math.inf, "0 is the paper's; 5 or so keeps small clusters from extremes")
        for column, weight in self._quality.items():
            if isinstance(weight, bool) or not math.isfinite(weight) or weight == 0:
                raise ConfigError(
                    f"the weight of {column!r} is {weight!r}",
                    where=f"{WHERE}, field quality",
                    expected="a number other than 0; negative where less is better",
                    fix=f"correct the weight of {column!r}, or leave the column out",
                )
        if not self._quality:
            raise ConfigError(
                "no quality column is named", where=f"{WHERE}, field quality", expected="a score column", fix="name one, e.g. rater.rating"
            )

    @property
    def _quality(self) -> dict[str, float]:
        return {self.quality: 1.0} if isinstance(self.quality, str) else self.quality

    @property
    def inputs(self) -> tuple[str, ...]:
        """The quality columns and the cluster columns."""
        return (*self._quality, *(f"{self.diversity}.{name}" for name in ("cluster", "distance", "separation")))

    @property
    def rounds(self) -> int:  # type: ignore[override]
        """A weighted sum of scaled columns is scaled again, once its range is known."""
        return 1 if len(self._quality) == 1 else 2

    def reads(self, fields: Mapping[str, pa.Field]) -> None:
        """Refuse columns that are no numbers, or whose stated direction goes against the sign of their weight."""
        for column, weight in self._quality.items():
            kind = fields[column].type
            if not (pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind)):
                raise ConfigError(
                    f"{column!r} is {kind} and cannot be a quality",
                    where=f"{WHERE}, field quality",
                    expected="a column of numbers",
                    fix="name another column",
                )
            better = (fields[column].metadata or {}).get(b"direction", b"none")
            if (better == b"lower" and weight > 0) or (better == b"higher" and weight < 0):
                raise ConfigError(
                    f"of {column!r} {better.decode()} is better, and its weight is {weight:g}",
                    where=f"{WHERE}, field quality",
                    expected="a negative weight where less is better, a positive one where more is",
                    fix=f"write `quality: {{{column}: {-weight:g}}}`",
                )

    def facts(self, table: pa.Table, learned: Learned | None) -> Facts:
        """Ranges and cluster sums; in a second round, the range of the weighted quality."""
        values = [_numbers(table[column]) for column in self._quality]
        if learned is not None:
            combined = self._combined(values, learned.columns)
            return Facts((value_facts(combined, self.quality_scaling),), 0, None)
        signed = [np.copysign(1.0, w) * v for w, v in zip(self._quality.values(), values, strict=True)]
        lacking = ~np.logical_and.reduce([np.isfinite(v) for v in values])
        cluster_N = self._clusters(table)
        distance_N, separation_N = (_numbers(table[f"{self.diversity}.{name}"]) for name in ("distance", "separation"))
        found = cluster_facts(cluster_N, distance_N, separation_N)
        return Facts(tuple(value_facts(v, self.quality_scaling) for v in signed), int(lacking.sum()), found)

    def learn(self, facts: Sequence[Facts], learned: Learned | None) -> Learned:
        """Scales of quality and the diversity of every cluster."""
        scales = tuple(scale_of([f.quality[i] for f in facts], self.quality_scaling) for i in range(len(facts[0].quality)))
        if learned is not None:
            return Learned(learned.columns, scales[0], learned.clusters, learned.steps, learned.n_without_quality)
        found = [f.clusters for f in facts if f.clusters is not None]
        clusters = clusters_of(found, self.diversity_scaling, self.shrinkage, f"{WHERE}: {self.diversity}")
        without = sum(f.n_without_quality for f in facts)
        n = int(clusters.n_K.sum()) + clusters.n_missing
        if without == n:
            raise InputError(
                f"none of {n:,} documents has a quality",
                where=f"{WHERE}: {', '.join(self._quality)}",
                expected="numbers",
                fix="look at the column: `curate show` lists it",
            )
        if self.missing == "refuse" and (without or clusters.n_missing):
            raise InputError(
                f"{without:,} documents have no quality and {clusters.n_missing:,} no cluster",
                where=f"{WHERE}: missing: refuse",
                expected=f"both for all {n:,} documents",
                fix="select documents that have them, or set `missing: lowest` or `drop`",
            )
        steps = next((s for s in STEPS if (len(clusters.n_K) + 1) * (s + 1) <= MOST_CELLS), STEPS[-1])
        return Learned(scales, None, clusters, steps, without)

    def n_cells(self, learned: Learned) -> int:
        """Clusters, one more for documents in none, times steps."""
        return (len(learned.clusters.n_K) + 1) * (learned.steps + 1)

    def cells(self, table: pa.Table, learned: Learned) -> np.ndarray:
        """cluster * (steps + 1) + step of quality."""
        values = [_numbers(table[column]) for column in self._quality]
        quality_N = self._combined(values, learned.columns)
        if learned.combined is not None:
            quality_N = learned.combined.place(quality_N)
        cell_N = np.empty(len(quality_N), np.int64)
        n_clusters = len(learned.clusters.n_K)
        cells_of(quality_N, self._clusters(table), n_clusters, learned.steps, self.missing == "drop", cell_N)
        return cell_N

    def _combined(self, values: list[np.ndarray], scales: Sequence[Scale]) -> np.ndarray:
        """The weighted mean of scaled columns, float64 (N) in [0, 1]; NaN where one is missing."""
        weights = list(self._quality.values())
        total = math.fsum(map(abs, weights))
        parts = [abs(w) / total * s.place(np.copysign(1.0, w) * v) for w, v, s in zip(weights, values, scales, strict=True)]
        return np.sum(parts, axis=0) if len(parts) > 1 else scales[0].place(np.copysign(1.0, weights[0]) * values[0])

    def _clusters(self, table: pa.Table) -> np.ndarray:
        """Cluster of every document, -1 for none."""
        return pc.fill_null(table[f"{self.diversity}.cluster"].cast(pa.int64()), -1).to_numpy()

    def decide(self, learned: Learned, cells: Cells, budget: Budget) -> Decision:
        """Solve for the factor that meets the budget under the cap."""
        held = np.flatnonzero(cells.n_C)
        n_C, amount_C = cells.n_C[held], cells.amount_C[held]
        n, amount = int(n_C.sum()), int(amount_C.sum())
        if not amount:
            raise InfeasibleMixtureError(
                "no document has both a quality and a cluster", where=WHERE, expected="at least one", fix="set `missing: lowest`"
            )
        wanted = float(amount) if budget.amount is None else budget.amount
        if budget.max_epochs * amount < wanted * (1 - 1e-12):
            raise _infeasible(amount, wanted, budget)
        diversity_K = np.append(learned.clusters.diversity_K, 0.0)
        quality_S = np.arange(learned.steps + 1) / learned.steps
        by_diversity, by_quality = diversity_K * (self.alpha / self.temperature), quality_S * ((1 - self.alpha) / self.temperature)
        row_C, column_C = np.divmod(held, learned.steps + 1)
        preference_C = by_diversity[row_C] + by_quality[column_C]
        mass_C, total = (amount_C, wanted) if self.mode == "exact" else (n_C, n * wanted / amount)
        if not budget.redistribute:
            self._refuse_over_cap(preference_C, mass_C, total, budget)
        factor = log_factor(preference_C, mass_C, total, budget.max_epochs)
        made = Decision(Preferences(by_diversity, by_quality, factor, budget.max_epochs), 0.0)
        weight_C = self.weights(made, held)
        outcome = Outcome.of(weight_C, n_C, amount_C, quality_S[column_C], diversity_K[row_C], budget.max_epochs)
        return Decision(made.parameters, wanted, self._diagnostics(learned, outcome, n, budget))

    def weights(self, decision: Decision, cell_N: np.ndarray) -> np.ndarray:
        """min(cap, exp(diversity + quality + factor)) of each document's cell."""
        made: Preferences = decision.parameters
        weight_N = np.empty(len(cell_N))
        cell_weights(cell_N, made.diversity_K, made.quality_S, made.factor, made.cap, weight_N)
        return weight_N

    def columns(self, learned: Learned, cell_N: np.ndarray) -> pa.Table:
        """Quality and diversity as weights saw them; null for a document without a cell."""
        none_N = cell_N < 0
        row_N, step_N = np.divmod(np.maximum(cell_N, 0), learned.steps + 1)
        diversity_K = np.append(learned.clusters.diversity_K, 0.0).astype(np.float32)
        shown = (step_N / learned.steps).astype(np.float32), diversity_K[row_N]
        return pa.table([pa.array(values, mask=none_N) for values in shown], schema=self.shown)

    def reason(self, row: Mapping[str, Any]) -> str:
        """The parts of a document's preference, e.g. ``0.8 x diversity 0.93 + 0.2 x quality 0.11 = 0.766 (cluster 17)``."""
        quality, diversity, cluster = row["quality"], row["diversity"], row[f"{self.diversity}.cluster"]
        if quality is None or diversity is None:
            return "no quality or no cluster"
        where = "in no cluster" if cluster is None else f"cluster {cluster}"
        if any(row[column] is None for column in self._quality):
            where += ", no quality"
        total = self.alpha * diversity + (1 - self.alpha) * quality
        return f"{self.alpha:g} x diversity {diversity:.3f} + {1 - self.alpha:g} x quality {quality:.3f} = {total:.3f} ({where})"

    def binning(self, learned: Learned, cells: Cells) -> QualityBins:
        """Steps of quality as they are where few occur, else gathered into as many bins of about equally many documents."""
        n_S = cells.n_C.reshape(-1, learned.steps + 1).sum(axis=0)
        held = np.flatnonzero(n_S)
        if len(held) > MOST_BINS:
            before = np.cumsum(n_S[held]) - n_S[held]
            group = (before * MOST_BINS // n_S.sum()).astype(np.int64)
            _, group = np.unique(group, return_inverse=True)
        else:
            group = np.arange(len(held))
        bin_S = np.zeros(learned.steps + 1, np.int64)
        bin_S[held] = group
        total = np.bincount(group, weights=n_S[held])
        return QualityBins(bin_S, np.bincount(group, weights=n_S[held] * held) / total / learned.steps)

    def bins(self, binning: QualityBins, learned: Learned, cell_N: np.ndarray) -> np.ndarray:
        """cluster * (number of quality bins) + quality bin."""
        row_N, step_N = np.divmod(cell_N, learned.steps + 1)
        return row_N * len(binning.quality_B) + binning.bin_S[step_N]

    def statistics(self, binning: QualityBins, learned: Learned, bin_B: np.ndarray) -> pa.Table:
        """Cluster (null for documents in none), quality and diversity of bins."""
        row_B, quality_B = np.divmod(bin_B, len(binning.quality_B))
        none_B = row_B == len(learned.clusters.n_K)
        diversity_K = np.append(learned.clusters.diversity_K, 0.0)
        columns = pa.array(row_B.astype(np.int32), mask=none_B), binning.quality_B[quality_B], diversity_K[row_B]
        return pa.table(dict(zip(("cluster", "quality", "diversity"), columns, strict=True)))

    def _refuse_over_cap(self, preference_C: np.ndarray, mass_C: np.ndarray, total: float, budget: Budget) -> None:
        """Where pouring over is not wanted, no document may need more copies than the cap."""
        log_heaviest = log_factor(preference_C, mass_C, total, math.inf) + float(preference_C.max())
        if log_heaviest <= math.log(budget.max_epochs) + 1e-9:
            return
        heaviest = math.exp(min(log_heaviest, 300.0))
        raise InfeasibleMixtureError(
            f"the heaviest documents would be seen {heaviest:,.2f} times",
            where=f"{WHERE}: alpha {self.alpha:g}, temperature {self.temperature:g}",
            expected=f"at most max_epochs = {budget.max_epochs:g}",
            fix="raise the temperature or max_epochs, lower the budget, or set `on_shortage: redistribute`",
        )

    def _diagnostics(self, learned: Learned, outcome: Outcome, n: int, budget: Budget) -> dict[str, Any]:
        """Facts beside the mixture."""
        scales = [*learned.columns, *([learned.combined] if learned.combined else [])]
        quality = {
            "columns": {c: {"weight": w, "low": s.low, "high": s.high} for (c, w), s in zip(self._quality.items(), scales, strict=False)},
            "without_quality": learned.n_without_quality,
            "constant": scales[-1].is_constant,
            "steps": learned.steps,
        }
        notes = []
        if scales[-1].is_constant and self.alpha < 1:
            notes.append("quality is the same for all documents: it moves no weight")
        if learned.clusters.is_constant and self.alpha > 0:
            notes.append("diversity is the same for all documents: it moves no weight")
        settings = {name: getattr(self, name) for name in ("alpha", "temperature", "mode", "missing")} | {"max_epochs": budget.max_epochs}
        return {
            **settings,
            "documents": n,
            "expected": asdict(outcome),
            "quality": quality,
            "clusters": learned.clusters.facts(),
            "notes": notes,
        }


def _numbers(column: pa.ChunkedArray) -> np.ndarray:
    """A column as float64, NaN for null."""
    return np.asarray(pc.fill_null(column.cast(pa.float64(), safe=False), math.nan).to_numpy())


def _within(name: str, value: float, low: float, high: float, fix: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or not low <= value <= high:
        expected = f"a finite number of at least {low:g}" + (f", at most {high:g}" if math.isfinite(high) else "")
        raise ConfigError(f"{name} is {value!r}", where=f"{WHERE}, field {name}", expected=expected, fix=fix)


def _infeasible(amount: int, wanted: float, budget: Budget) -> InfeasibleMixtureError:
    return InfeasibleMixtureError(
        f"the budget of {wanted:,.0f} {budget.unit} is {wanted / amount:.2f} epochs of the {amount:,} there are",
        where=WHERE,
        expected=f"at most max_epochs = {budget.max_epochs:g}, which is {budget.max_epochs * amount:,.0f} {budget.unit}",
        fix=f"lower the budget to {int(budget.max_epochs * amount):,}, or raise max_epochs to {math.ceil(100 * wanted / amount) / 100:g}",
    )
