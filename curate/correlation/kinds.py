"""The words that settings, mixers and scorers share for how correlations are estimated and become weights."""

from __future__ import annotations

from typing import Literal

Estimator = Literal["product", "sign", "sign_cdf", "sign_sign", "spearman", "pearson"]
Ties = Literal["mid", "order"]
GroupedBy = Literal["rank", "mean"]
Projection = Literal["linear", "l2"]
