"""What a person wants to know of weights before anything is trained: JSON-able facts for a page, a table, a card.

Spread against chance, how sure signs are, which groups come first and last, and what text the weights would take.
D groups, T targets.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.correlation.direction import describe_spread
from curate.correlation.targets import stability
from curate.evidence.alignment import FEW, Aligned
from curate.evidence.group_amounts import AMOUNT, DESCRIBED, GROUP
from curate.evidence.settings import Correlate

HISTOGRAM_BINS = 40
SHOWN = 12
MOST_VALUES = 100
"""Of a described column: those with most text, before or after."""


@dataclass(frozen=True)
class Known:
    """What the corpus holds.

    Args:
        groups: names (G), sorted.
        amount_G: of each group, in ``unit``.
        amounts: by group, domain and further described columns, as ``group_amounts`` sums them; null groups included.
    """

    groups: pa.Array
    amount_G: np.ndarray
    amounts: pa.Table
    unit: str

    @property
    def total(self) -> float:
        """All there is, in whatever group or none."""
        return float(pc.sum(self.amounts[AMOUNT]).as_py() or 0)


@dataclass(frozen=True)
class Findings:
    """The table of weights, and what a person wants to know of them (JSON-able)."""

    weights: pa.Table
    facts: dict[str, Any]


@dataclass
class Estimated:
    """What all blocks came to: (T, D) each, NaN where there is nothing.

    Args:
        replicates_BTD: the bootstrap replicates that are kept, float32.
        left_out: by target and benchmark left out, the estimates without it (D).
        null_T: by target, estimates of permuted results on the first groups, for a picture.
        null_deviation: by target, how far estimates of permuted results spread; None where cells are missing.
    """

    estimate_TD: np.ndarray
    n_models_TD: np.ndarray
    low_TD: np.ndarray
    high_TD: np.ndarray
    p_value_TD: np.ndarray
    replicates_BTD: np.ndarray
    left_out: dict[str, dict[str, np.ndarray]]
    null_T: list[np.ndarray]
    null_deviation: list[dict[str, float]] | None
    notes: list[str]


def told_of(rows: pa.Table, benchmarks: Sequence[str], found: Estimated, t: int, known: Known) -> dict[str, Any]:
    """What a person wants to know of one target."""
    target = rows["target"][0].as_py()
    estimate_D = found.estimate_TD[t]
    spread = describe_spread(estimate_D)
    has_D = ~np.isnan(estimate_D)
    included_D = rows["included"].to_numpy()
    p_value_D = found.p_value_TD[t]
    null = found.null_deviation[t] if found.null_deviation is not None else None
    return {
        "target": target,
        "benchmarks": list(benchmarks),
        "n_models": int(found.n_models_TD[t].max(initial=0)),
        "spread": {
            "least": spread.least, "q10": spread.tenth, "median": spread.median, "q90": spread.ninetieth, "most": spread.greatest,
            "deviation": spread.standard_deviation,
        },
        "histogram": _histogram(estimate_D[has_D], found.null_T[t]),
        "null_deviation": null,
        "n_settled": int(pc.sum(rows["settled"]).as_py() or 0),
        "n_negative": int((estimate_D[has_D] < 0).sum()),
        "share_p05": None if np.isnan(p_value_D).all() else float(np.mean(p_value_D[has_D] < 0.05)),
        "stability": _stability(estimate_D, found.left_out.get(target, {})),
        "included": {
            "n_groups": int(included_D.sum()),
            "natural": float(rows["natural"].to_numpy()[included_D].sum()),
            "inclusion": _mean(rows["inclusion"].to_numpy()[included_D]),
        },
        **_ends(rows),
        "composition": _composition(rows, known),
    }  # fmt: skip


def _histogram(estimates: np.ndarray, null: np.ndarray) -> dict[str, list[float]]:
    """Counts of estimates in equal bins, and of as many estimates of permuted results."""
    both = np.concatenate([estimates, null])
    low, high = (float(both.min()), float(both.max())) if len(both) else (0.0, 1.0)
    edges = np.linspace(low, high if high > low else low + 1e-9, HISTOGRAM_BINS + 1)
    by_chance = np.histogram(null, edges)[0] * (len(estimates) / max(len(null), 1))
    return {"edges": edges.tolist(), "counts": np.histogram(estimates, edges)[0].tolist(), "null": by_chance.tolist()}


def _stability(estimate_D: np.ndarray, left_out: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    if not left_out:
        return []
    found = stability(estimate_D, np.stack(list(left_out.values())))
    pairs = zip(left_out, found.spearman_L.tolist(), found.flipped_L.tolist(), strict=True)
    return [{"left_out": name, "spearman": _number(rho), "flips": _number(flips)} for name, rho, flips in pairs]


def _ends(rows: pa.Table) -> dict[str, list[dict[str, Any]]]:
    """The groups with the highest and the lowest estimates."""
    known = rows.filter(pc.is_valid(rows["estimate"]))
    names = [name for name in rows.column_names if name not in ("target", "n_models", "included")]
    order = pc.sort_indices(known, [("estimate", "descending"), ("group", "ascending")])
    ordered = known.select(names).take(order)
    worst = ordered.slice(max(SHOWN, len(ordered) - SHOWN)).to_pylist()
    return {"best": ordered.slice(0, SHOWN).to_pylist(), "worst": worst[::-1]}


def _composition(rows: pa.Table, known: Known) -> dict[str, list[dict[str, Any]]]:
    """Shares of text by described column before, and as the weights would have it."""
    amount = known.amounts[AMOUNT].to_numpy().astype(np.float64)
    group = known.amounts[GROUP].combine_chunks()

    def of_group(values: np.ndarray, names: pa.Array) -> np.ndarray:
        """A value for every row of the amounts; 0 for a group that has none."""
        at = pc.index_in(group, names)
        return np.where(np.asarray(pc.is_valid(at)), np.append(values, 0.0)[np.asarray(pc.fill_null(at, len(values)))], 0.0)

    held, weight = of_group(known.amount_G, known.groups), of_group(rows["weight"].to_numpy(), rows["group"].combine_chunks())
    after = np.divide(weight * amount, held, out=np.zeros(len(amount)), where=held > 0)
    told = {}
    for column in (name for name in known.amounts.column_names if name.startswith(DESCRIBED)):
        coded = pc.fill_null(known.amounts[column], "").combine_chunks().dictionary_encode()
        values, at = np.array(coded.dictionary.to_pylist(), dtype=object), np.asarray(coded.indices)
        before_V, after_V = (np.bincount(at, weights=w, minlength=len(values)) for w in (amount / max(known.total, 1.0), after))
        order = np.lexsort((values.astype(str), -np.maximum(before_V, after_V)))[:MOST_VALUES]
        lines = [{"value": str(values[v]) or "(none)", "before": float(before_V[v]), "after": float(after_V[v])} for v in order]
        told[column.removeprefix(DESCRIBED)] = lines
    return told


def few(aligned: Aligned, told: list[dict[str, Any]], confidence: float) -> list[str]:
    """What few models leave open, said with an interval."""
    lines = [line for line in told[0]["best"] if line["low"] is not None]
    shown = f": {confidence:.0%} interval of {lines[0]['group']!r} {lines[0]['low']:.2f} to {lines[0]['high']:.2f}" if lines else ""
    return [f"only {len(aligned.models)} models; estimates are rough below {FEW}{shown}"]


def facts_of(
    aligned: Aligned,
    settings: Correlate,
    known: Known,
    groups: pa.Array,
    natural_D: np.ndarray,
    notes: list[str],
    told: list[dict[str, Any]],
) -> dict[str, Any]:
    """All of it, JSON-able."""
    unknown = known.groups.filter(pc.invert(pc.is_in(known.groups, groups)))
    nowhere = int((natural_D == 0).sum())
    return {
        "unit": known.unit,
        "by": settings.losses.by,
        **{
            k: getattr(settings, k)
            for k in ("estimator", "ties", "grouped", "projection", "filter_ratio", "confidence", "bootstrap", "permutations", "missing")
        },
        "models": list(aligned.models),
        "n_families": len(set(aligned.families_N)),
        "n_groups": len(groups),
        "groups_left_out": dict(aligned.dropped_groups),
        "groups_without_text": nowhere,
        "without_estimate": {
            "n_groups": len(unknown),
            "share": max(0.0, 1.0 - float(natural_D.sum())),
            "examples": unknown[:5].to_pylist(),
        },
        "notes": notes,
        "targets": told,
    }


def _mean(values: np.ndarray) -> float | None:
    return None if not len(values) or np.isnan(values).any() else float(values.mean())


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value
