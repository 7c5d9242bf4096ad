"""Shares of domains from perplexity correlations: as much as there is of the domains whose losses go with benchmark errors.

Thrush et al. (arXiv 2409.05816, Theorem 2): with estimates θ of how each domain's bits per byte go with a benchmark's error
over many models, the best shares under the largest shares τ are max ⟨θ, p⟩ (``linear``: whole domains, the best first), or
the shares nearest to θ (``l2``). The estimates come from the pipeline's ``correlate:``. D domains.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.correlation import Projection
from curate.correlation.projections import PROJECTIONS, tau_of
from curate.correlation.weights import filter_ratio_of, of_target
from curate.errors import ConfigError, InfeasibleMixtureError
from curate.mixers.mixer import Mixer, Mixture

WHERE = "mixture perplexity_correlation"


@dataclass
class PerplexityCorrelation(Mixer):
    """Projected estimates as shares of the budget.

    The largest share τ of a domain is what the budget and ``max_epochs`` allow, or its share of the tokens divided by
    ``filter_ratio`` where that is given (the paper's τ); without a budget, by the ``filter_ratio`` of ``correlate:``.

    Args:
        target: whose weights; may be left out where ``correlate:`` has one target.
        projection: ``linear`` or ``l2``; l2 compares estimates with shares, so it wants estimates of a natural scale
            (product or sign).
        filter_ratio: share of the tokens to keep, in (0, 1].
        unsettled: what domains get whose interval holds 0, or that have no estimate: what their ``estimate`` says (without
            one that is an error), or their ``natural`` share, the others being projected into what is left.
    """

    target: str | None = None
    projection: Projection = "linear"
    filter_ratio: float | None = None
    unsettled: Literal["estimate", "natural"] = "estimate"

    def check(self) -> None:
        """Raise ConfigError for a ratio that cannot be."""
        if self.filter_ratio is not None and not 0 < self.filter_ratio <= 1:
            raise ConfigError(
                f"filter_ratio is {self.filter_ratio!r}", where=f"{WHERE}, field filter_ratio", expected="a share in (0, 1]",
                fix="0.1 keeps a tenth of the tokens",
            )  # fmt: skip

    def reads_weights(self) -> str:
        """Estimates are of domains."""
        return "domain"

    def mix(self, table: pa.Table, evidence: pa.Table | None) -> Mixture:
        """Proportions (D) from ``amount``, ``most`` (largest shares, where there is a budget) and the weights of ``correlate:``.

        Raises:
            ConfigError: no weights, no such target, a domain without an estimate.
            InfeasibleMixtureError: the largest shares sum to less than 1; the amount missing is named.
        """
        self.check()
        if evidence is None:
            raise ConfigError("there are no estimates to mix by", where=WHERE, expected="a section `correlate:`", fix="add it")
        # By name, so that equal estimates are taken in an order that no table decides.
        order = np.argsort(np.array(table["domain"].to_pylist(), dtype=object), kind="stable") if len(table) else np.empty(0, np.int64)
        names = [table["domain"][int(i)].as_py() for i in order]
        amount_D = table["amount"].to_numpy()[order].astype(np.float64)
        if not amount_D.sum():
            raise InfeasibleMixtureError(
                "there is nothing to mix: every domain is empty", where=WHERE, expected="at least one domain with text",
                fix="loosen `select:`",
            )  # fmt: skip
        rows = of_target(evidence, self.target, f"{WHERE}, field target")
        estimate_D, settled_D = self._estimates(rows, names, amount_D > 0)
        tau_D = self._largest(table, order, amount_D, filter_ratio_of(evidence))
        share_D = self._project(estimate_D, settled_D, tau_D, amount_D / amount_D.sum())
        proportions_D = np.empty(len(order))
        proportions_D[order] = share_D
        return Mixture(proportions_D, self._told(rows, names, estimate_D, settled_D, tau_D, share_D))

    def _estimates(self, rows: pa.Table, names: list[str], has_text_D: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Estimates of the domains, NaN where there is none, and whether their signs are settled; an empty domain needs neither."""
        known = {row["group"]: row for row in rows.select(["group", "estimate", "settled"]).to_pylist()}
        found = [known.get(name, {"estimate": None, "settled": False}) for name in names]
        estimate_D = np.array([np.nan if row["estimate"] is None else row["estimate"] for row in found], np.float64)
        settled_D = np.array([bool(row["settled"]) for row in found]) & ~np.isnan(estimate_D) | ~has_text_D
        estimate_D = np.where(np.isnan(estimate_D) & ~has_text_D, 0.0, estimate_D)
        lacking = [name for name, value in zip(names, estimate_D.tolist(), strict=True) if np.isnan(value)]
        if lacking and self.unsettled == "estimate":
            raise ConfigError(
                f"{len(lacking)} domains have no estimate: {', '.join(lacking[:5])}",
                where=f"{WHERE}, target {rows['target'][0].as_py() if len(rows) else self.target!r}",
                expected="losses of every domain of the corpus",
                fix="lower `min_pages:` of correlate.losses, or leave them their natural share with `unsettled: natural`",
            )
        return estimate_D, settled_D

    def _largest(self, table: pa.Table, order: np.ndarray, amount_D: np.ndarray, usual_ratio: float) -> np.ndarray:
        """The largest share of every domain."""
        if self.filter_ratio is None and "most" in table.column_names and not table["most"].null_count:
            return table["most"].to_numpy()[order].astype(np.float64)
        return tau_of(amount_D, self.filter_ratio or usual_ratio)

    def _project(self, estimate_D: np.ndarray, settled_D: np.ndarray, tau_D: np.ndarray, natural_D: np.ndarray) -> np.ndarray:
        """The shares: projected, but for domains that are left at their natural share."""
        project = PROJECTIONS[self.projection]
        if self.unsettled == "estimate" or settled_D.all():
            return project(estimate_D, tau_D)
        share_D = np.where(settled_D, 0.0, natural_D)
        left = 1.0 - float(share_D.sum())
        # Domains without text count as settled, and leave nothing to be projected into.
        moves_D = settled_D & (natural_D > 0)
        if moves_D.any():
            share_D[moves_D] = left * project(estimate_D[moves_D] / left, tau_D[moves_D] / left)
        return share_D / share_D.sum()

    def _told(
        self, rows: pa.Table, names: list[str], estimate_D: np.ndarray, settled_D: np.ndarray, tau_D: np.ndarray, share_D: np.ndarray
    ) -> dict[str, Any]:
        """What a person wants to see beside the shares."""
        chosen = rows.filter(pc.is_in(rows["group"], pa.array(names, pa.string())))
        ends = {row["group"]: (row["low"], row["high"]) for row in chosen.to_pylist()}
        lines = [
            {
                "domain": name,
                "estimate": None if np.isnan(e) else float(e),
                "low": ends.get(name, (None, None))[0],
                "high": ends.get(name, (None, None))[1],
                "settled": bool(s),
                "largest": float(t),
                "share": float(p),
            }
            for name, e, s, t, p in zip(names, estimate_D, settled_D, tau_D, share_D, strict=True)
        ]
        target = rows["target"][0].as_py() if len(rows) else self.target
        return {"target": target, "projection": self.projection, "correlations": lines}
