"""SampleMix (Xi et al. 2025, arXiv 2503.01506): every document its own weight, from quality and diversity.

    p(x) = α · diversity(x) + (1 − α) · quality(x),   weight(x) ∝ exp(p(x) / τ)

over the whole pool: no domain has a weight, and domain shares are what comes out. Both
signals are brought to [0, 1] first; diversity is one number per cluster
(``cluster_diversity``). N documents of a part, K clusters.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.errors import ConfigError, InfeasibleMixtureError, InputError
from curate.kernels.preferences import known_clusters, preferences, weigh_preferences
from curate.mixers.capped_budget import Histogram, Solution, histogram, in_bucket, together
from curate.mixers.cluster_diversity import ClusterFacts, Clusters, cluster_facts, clusters_of
from curate.mixers.document_mixer import NO_BIN, Budget, DocumentMixer
from curate.mixers.quality_bins import QualityBins, count_steps, quality_bins
from curate.mixers.scaling import Scale, Scaling, ValueFacts, scale_of, value_facts

WHERE = "mixture samplemix"
NOISE = 1e-12
"""What rounding makes of a weighted mean of scaled columns that should be one value."""
MOST_SHRINKAGE = 1e9
Missing = Literal["lowest", "drop", "refuse"]


@dataclass(frozen=True)
class Ranges:
    """First and second round: what one part tells of its values.

    Args:
        clusters: None in the second.
    """

    quality: tuple[ValueFacts, ...]
    n_without_quality: int = 0
    clusters: ClusterFacts | None = None


@dataclass(frozen=True)
class Preferred:
    """Third round: what one part tells of its preferences, and of the steps of quality."""

    histogram: Histogram
    steps: np.ndarray


Capped = tuple[np.ndarray, np.ndarray]
"""Fourth round, where documents are capped: preferences of the interval that decides, and their masses."""


@dataclass(frozen=True)
class Learned:
    """What is known of all documents.

    Args:
        columns: the scale of every quality column.
        combined: of their weighted sum, where there are several; None before it is known.
        bins: of quality; None before preferences were looked at.
        preferences: of all documents.
        solution: the factor of weights, as far as it is found.
        wanted: amount to emit.
    """

    columns: tuple[Scale, ...]
    clusters: Clusters
    n_without_quality: int
    combined: Scale | None = None
    bins: QualityBins | None = None
    preferences: Histogram | None = None
    solution: Solution | None = None
    wanted: float = 0.0


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
        _within("temperature", self.temperature, 1e-3, math.inf, "0.2 is usual; larger is nearer to no preference at all")
        _within("shrinkage", self.shrinkage, 0.0, MOST_SHRINKAGE, "0 is the paper's; 5 or so keeps small clusters from extremes")
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
        # In the order of names: sums must not hang on the order in the file, which is no part of identity.
        return {self.quality: 1.0} if isinstance(self.quality, str) else dict(sorted(self.quality.items()))

    @property
    def inputs(self) -> tuple[str, ...]:
        """The quality columns and the cluster columns."""
        clusters = (f"{self.diversity}.{name}" for name in ("cluster", "distance", "separation"))
        return tuple(dict.fromkeys((*self._quality, *clusters)))

    def reads(self, fields: Mapping[str, pa.Field]) -> None:
        """Refuse columns that are no numbers, or whose stated direction goes against the sign of their weight."""
        for name, is_kind in (("cluster", pa.types.is_integer), ("distance", pa.types.is_floating), ("separation", pa.types.is_floating)):
            kind = fields[f"{self.diversity}.{name}"].type
            if not is_kind(kind) or kind in (pa.int64(), pa.uint64(), pa.uint32()):
                raise ConfigError(
                    f"'{self.diversity}.{name}' is {kind}",
                    where=f"{WHERE}, field diversity",
                    expected="int32 clusters, and floats for distance and separation",
                    fix="name a clusters scorer",
                )
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

    def facts(self, table: pa.Table, length_N: np.ndarray, learned: Learned | None) -> Ranges | Preferred | Capped:
        """Ranges and cluster sums; the range of several columns together; then preferences."""
        values = [_numbers(table[column]) for column in self._quality]
        if learned is None:
            signed = [np.copysign(1.0, w) * v if w < 0 else v for w, v in zip(self._quality.values(), values, strict=True)]
            found = tuple(value_facts(v, self.quality_scaling) for v in signed)
            lacking = len(table) - found[0].n
            if len(values) > 1:
                lacking = int((~np.logical_and.reduce([np.isfinite(v) for v in values])).sum())
            distance_N, separation_N = (_numbers(table[f"{self.diversity}.{name}"]) for name in ("distance", "separation"))
            where = f"{WHERE}: {self.diversity}"
            return Ranges(found, lacking, cluster_facts(self._clusters(table), distance_N, separation_N, where))
        if self._lacks_range(learned):
            return Ranges((value_facts(self._combined(values, learned.columns), self.quality_scaling),))
        quality_N = self._scaled(table, learned)
        preference_N = self._preferences(table, quality_N, learned)
        if learned.solution is None:
            return Preferred(histogram(preference_N, length_N, self.mode == "paper", self.temperature), count_steps(quality_N))
        return in_bucket(preference_N, length_N, self.mode == "paper", learned.solution.bucket)

    def _lacks_range(self, learned: Learned) -> bool:
        return len(self._quality) > 1 and learned.combined is None

    def learn(self, facts: Sequence[Ranges | Preferred | Capped], learned: Learned | None, budget: Budget) -> Learned:
        """Scales of quality and the diversity of every cluster; then the factor that meets the budget."""
        ranges = [f for f in facts if isinstance(f, Ranges)]
        if ranges:
            noise = 0.0 if learned is None else NOISE
            scales = tuple(scale_of([f.quality[i] for f in ranges], self.quality_scaling, noise) for i in range(len(ranges[0].quality)))
            return self._of_signals(scales, ranges) if learned is None else replace(learned, combined=scales[0])
        assert learned is not None
        preferred = [f for f in facts if isinstance(f, Preferred)]
        if not preferred:
            assert learned.solution is not None
            return replace(learned, solution=learned.solution.after_bucket([f for f in facts if isinstance(f, tuple)]))
        found = together([f.histogram for f in preferred])
        solution, wanted = self._start(found, budget)
        bins = quality_bins([f.steps for f in preferred])
        return replace(learned, bins=bins, preferences=found, wanted=wanted, solution=solution)

    def _of_signals(self, scales: tuple[Scale, ...], ranges: Sequence[Ranges]) -> Learned:
        """What the first round teaches; refuses documents without signals where they are to be refused."""
        found = [f.clusters for f in ranges if f.clusters is not None]
        clusters = clusters_of(found, self.diversity_scaling, self.shrinkage, f"{WHERE}: {self.diversity}")
        without = sum(f.n_without_quality for f in ranges)
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
        return Learned(scales, clusters, without)

    def _start(self, found: Histogram, budget: Budget) -> tuple[Solution, float]:
        """The factor, as far as the histogram tells it, and the amount it emits; refuses a budget that cannot be met."""
        if not found.amount:
            raise InfeasibleMixtureError(
                "nothing can be weighed: no document has a quality, a cluster, and a length above 0",
                where=WHERE,
                expected="at least one",
                fix="look at the columns with `curate show`, or set `missing: lowest`",
            )
        there = min(1.0, budget.max_epochs) * found.amount
        wanted = float(there) if budget.amount is None else budget.amount
        if budget.max_epochs * found.amount < wanted * (1 - 1e-12):
            raise _infeasible(found.amount, wanted, budget)
        mass = wanted if self.mode == "exact" else found.n * wanted / found.amount
        if not budget.redistribute:
            self._refuse_over_cap(Solution(mass, math.inf, self.temperature).after_histogram(found).log_weight(found.highest), budget)
        return Solution(mass, budget.max_epochs, self.temperature).after_histogram(found), wanted

    def is_ready(self, learned: Learned) -> bool:
        """Whether the factor is found."""
        return learned.solution is not None and learned.solution.is_settled

    def budget(self, learned: Learned) -> float:
        """What was asked for, or as much as there is of what can be weighed."""
        return learned.wanted

    def weights(self, table: pa.Table, learned: Learned) -> np.ndarray:
        """min(cap, exp((preference - 1) / temperature + factor)); NaN for a document that is dropped."""
        assert learned.solution is not None
        preference_N = self._preferences(table, self._scaled(table, learned), learned)
        weight_N = np.empty(len(table))
        weigh_preferences(preference_N, self.temperature, learned.solution.factor, learned.solution.cap, weight_N)
        return weight_N

    def columns(self, table: pa.Table, learned: Learned) -> pa.Table:
        """Quality and diversity as weights saw them: 0 for what is missing, both null for a document that is dropped."""
        quality_N, cluster_N = self._scaled(table, learned), self._clusters(table)
        diversity_N = np.append(learned.clusters.diversity_K, 0.0)[cluster_N]  # -1, for no cluster, is the last
        none_N = (np.isnan(quality_N) | (cluster_N < 0)) & (self.missing == "drop")
        shown = np.nan_to_num(quality_N, nan=0.0).astype(np.float32), diversity_N.astype(np.float32)
        return pa.table([pa.array(values, mask=none_N) for values in shown], schema=self.shown)

    def _scaled(self, table: pa.Table, learned: Learned) -> np.ndarray:
        """Quality in [0, 1], NaN where it is missing."""
        quality_N = self._combined([_numbers(table[column]) for column in self._quality], learned.columns)
        return quality_N if learned.combined is None else learned.combined.place(quality_N)

    def _preferences(self, table: pa.Table, quality_N: np.ndarray, learned: Learned) -> np.ndarray:
        preference_N = np.empty(len(table))
        preferences(quality_N, self._clusters(table), learned.clusters.diversity_K, self.alpha, self.missing == "drop", preference_N)
        return preference_N

    def _combined(self, values: list[np.ndarray], scales: Sequence[Scale]) -> np.ndarray:
        """The weighted mean of scaled columns, float64 (N) in [0, 1]; NaN where one is missing."""
        weights = list(self._quality.values())
        placed = [s.place(-v if w < 0 else v) for w, v, s in zip(weights, values, scales, strict=True)]
        if len(placed) == 1:
            return placed[0]
        most = max(map(abs, weights))
        weights = [w / most for w in weights]
        total = math.fsum(map(abs, weights))
        return np.asarray(np.sum([abs(w) / total * place for w, place in zip(weights, placed, strict=True)], axis=0))

    def _clusters(self, table: pa.Table) -> np.ndarray:
        """Cluster of every document, int32 (N), -1 for none."""
        column = table[f"{self.diversity}.cluster"].cast(pa.int32())
        cluster_N = np.asarray((pc.fill_null(column, -1) if column.null_count else column).to_numpy())
        distance_N, separation_N = (_numbers(table[f"{self.diversity}.{name}"]) for name in ("distance", "separation"))
        known_N = np.empty(len(cluster_N), np.int32)
        known_clusters(cluster_N, distance_N, separation_N, known_N)
        return known_N

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

    def bins(self, table: pa.Table, learned: Learned) -> np.ndarray:
        """(cluster + 1) * (number of quality bins) + quality bin."""
        assert learned.bins is not None
        quality_N, cluster_N = self._scaled(table, learned), self._clusters(table)
        bin_N = (cluster_N.astype(np.int64) + 1) * len(learned.bins.quality_B) + learned.bins.of(quality_N)
        return np.where(np.isnan(quality_N) | (cluster_N < 0), NO_BIN, bin_N) if self.missing == "drop" else bin_N

    def statistics(self, bin_B: np.ndarray, learned: Learned) -> pa.Table:
        """Cluster (null for documents in none), quality and diversity of bins."""
        assert learned.bins is not None
        row_B, quality_B = np.divmod(bin_B, len(learned.bins.quality_B))
        diversity_B = np.append(learned.clusters.diversity_K, 0.0)[row_B - 1]
        cluster_B = pa.array((row_B - 1).astype(np.int32), mask=row_B == 0)
        return pa.table({"cluster": cluster_B, "quality": learned.bins.quality_B[quality_B], "diversity": diversity_B})

    def diagnostics(self, learned: Learned) -> dict[str, Any]:
        """Settings, and what the signals are like."""
        assert learned.solution is not None and learned.preferences is not None
        scale = learned.combined or learned.columns[-1]
        columns = {c: {"weight": w, "low": s.low, "high": s.high} for (c, w), s in zip(self._quality.items(), learned.columns, strict=True)}
        quality = {"columns": columns, "without_quality": learned.n_without_quality, "constant": scale.is_constant}
        notes = []
        for name, constant, share, missing in (
            ("quality", scale.is_constant, 1 - self.alpha, learned.n_without_quality),
            ("diversity", learned.clusters.is_constant, self.alpha, learned.clusters.n_missing),
        ):
            if constant and share > 0:
                only = "only missing it moves a weight" if missing and self.missing == "lowest" else "it moves no weight"
                notes.append(f"{name} is the same for all documents that have it: {only}")
        settings = {name: getattr(self, name) for name in ("alpha", "temperature", "mode", "missing")}
        settings |= {"max_epochs": learned.solution.cap, "documents": learned.preferences.n}
        return {**settings, "quality": quality, "clusters": learned.clusters.facts(), "notes": notes}

    def _refuse_over_cap(self, log_heaviest: float, budget: Budget) -> None:
        """Where pouring over is not wanted, no document may need more copies than the cap."""
        if log_heaviest <= math.log(budget.max_epochs) + 1e-9:
            return
        raise InfeasibleMixtureError(
            f"the heaviest documents would be seen {math.exp(min(log_heaviest, 300.0)):,.2f} times",
            where=f"{WHERE}: alpha {self.alpha:g}, temperature {self.temperature:g}",
            expected=f"at most max_epochs = {budget.max_epochs:g}",
            fix="raise the temperature or max_epochs, lower the budget, or set `on_shortage: redistribute`",
        )


def _numbers(column: pa.ChunkedArray) -> np.ndarray:
    """A column as float64, or as the floats it has; NaN for null."""
    if column.null_count == 0 and column.type in (pa.float32(), pa.float64()):
        return np.asarray(column.to_numpy())
    return np.asarray(pc.fill_null(column.cast(pa.float64(), safe=False), math.nan).to_numpy())


def _within(name: str, value: float, low: float, high: float, fix: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or not low <= value <= high:
        expected = f"a finite number of at least {low:g}" + (f", at most {high:g}" if math.isfinite(high) else "")
        raise ConfigError(f"{name} is {value!r}", where=f"{WHERE}, field {name}", expected=expected, fix=fix)


def _infeasible(amount: int, wanted: float, budget: Budget) -> InfeasibleMixtureError:
    most = math.floor(budget.max_epochs * amount)
    epochs = math.ceil(100 * wanted / amount) / 100
    return InfeasibleMixtureError(
        f"the budget of {wanted:,.0f} {budget.unit} is {wanted / amount:.2f} epochs of the {amount:,} there are",
        where=WHERE,
        expected=f"at most max_epochs = {budget.max_epochs:g}, which is {most:,} {budget.unit}",
        fix=f"lower the budget to {most:,}, or raise max_epochs to {epochs:g}",
    )
