"""Perplexity correlations as arithmetic on small matrices: estimates, their uncertainty, projections.

Thrush et al. (arXiv 2409.05816). N models, D groups of pages, T targets, B benchmarks.
"""

from curate.correlation.bootstrap import Bootstrap, Intervals, interval
from curate.correlation.direction import SpreadOfEstimates, Suspicion, describe_spread, inverted
from curate.correlation.estimators import complete_parts, estimate, estimate_pairwise
from curate.correlation.kinds import Estimator, GroupedBy, Projection, Ties
from curate.correlation.permutations import Permutations, Spread
from curate.correlation.projections import l2, linear, tau_of
from curate.correlation.targets import Grouped, Stability, group_benchmarks, leave_one_out, stability

__all__ = [
    "Bootstrap",
    "Estimator",
    "Grouped",
    "GroupedBy",
    "Intervals",
    "Permutations",
    "Projection",
    "Spread",
    "SpreadOfEstimates",
    "Stability",
    "Suspicion",
    "Ties",
    "complete_parts",
    "describe_spread",
    "estimate",
    "estimate_pairwise",
    "group_benchmarks",
    "interval",
    "inverted",
    "l2",
    "leave_one_out",
    "linear",
    "stability",
    "tau_of",
]
