"""Perplexity correlations: estimates and their bootstrap beside the authors' package, and a table of a million groups."""

from __future__ import annotations

from typing import Any

import numpy as np
import perplexity_correlations.estimation as package

from benchmarks import harness
from benchmarks.child import in_turns, timed
from benchmarks.harness import Ratio, Result, child
from benchmarks.job import Run
from curate.correlation import Bootstrap, Estimator, Permutations, estimate, linear, tau_of

N_MODELS, N_TARGETS, N_REPLICATES = 90, 22, 200
PACKAGE = {
    "product": package.product,
    "sign": package.sign,
    "sign_cdf": package.sign_cdf,
    "sign_sign": package.sign_sign,
    "spearman": package.spearmanr,
}
ESTIMATORS: tuple[Estimator, ...] = ("product", "sign", "sign_cdf", "sign_sign", "spearman")


def _tables(n_groups: int) -> tuple[np.ndarray, np.ndarray]:
    """Losses and errors without ties, in [0, 1]."""
    random = np.random.default_rng(0)
    return random.random((N_MODELS, n_groups)), random.random((N_MODELS, N_TARGETS))


def estimators(n_groups: int, repeats: int) -> dict[str, Any]:
    """All five, of every target: curate in one call each, the package target by target."""
    losses, errors = _tables(n_groups)
    ours: dict[str, np.ndarray] = {}
    theirs: dict[str, np.ndarray] = {}
    works = {
        "curate": lambda: ours.update({name: estimate(losses, errors, name) for name in ESTIMATORS}),
        "perplexity-correlations": lambda: theirs.update({name: np.stack([f(losses, y) for y in errors.T]) for name, f in PACKAGE.items()}),
    }
    readings = in_turns(works, repeats)
    return {"readings": readings, "apart": max(float(np.abs(ours[name] - theirs[name]).max()) for name in ESTIMATORS)}


def bootstrap(n_groups: int, repeats: int) -> dict[str, Any]:
    """Intervals from replicates of the default estimator for one target, draws included; one estimate of the package."""
    losses, errors = _tables(n_groups)
    families = [f"family {i}" for i in range(N_MODELS)]
    works = {
        f"curate, intervals of {N_REPLICATES} replicates": lambda: Bootstrap(errors[:, :1], families, n=N_REPLICATES).intervals(losses),
        "perplexity-correlations, one estimate": lambda: package.spearmanr(losses, errors[:, 0]),
    }
    return {"readings": in_turns(works, repeats)}


def large(n_groups: int) -> dict[str, Any]:
    """A table in memory: estimates and weights of all targets; intervals and p-values of one."""
    losses, errors = _tables(n_groups)
    reading: dict[str, Any] = {}
    tau = tau_of(np.ones(n_groups), 0.1)
    with timed(reading):
        estimates = estimate(losses, errors)
        for row in estimates:
            linear(row, tau)
    certain: dict[str, Any] = {}
    with timed(certain):
        Bootstrap(errors[:, :1], [f"family {i}" for i in range(N_MODELS)], n=N_REPLICATES).intervals(losses)
        Permutations(errors[:, :1], n=N_REPLICATES).p_values(losses)
    return {**reading, "certain_seconds": certain["seconds"], "certain_cpu_seconds": certain["cpu_seconds"]}


def run(run: Run) -> Result:
    """See the module."""
    n, n_large = (1000, 20_000) if run.quick else (10_000, 1_000_000)
    estimated = child(__name__, "estimators", n_groups=n, repeats=run.repeats(3))
    run.note("estimators done")
    drawn = child(__name__, "bootstrap", n_groups=n, repeats=run.repeats(5))
    run.note("bootstrap done")
    held = child(__name__, "large", n_groups=n_large)
    rows = harness.rows_in_turns(estimated.facts["readings"], 5 * N_TARGETS * n / 1e3, "thousand estimates", estimated.peak_bytes)
    rows += harness.rows_in_turns(drawn.facts["readings"], n, "groups", drawn.peak_bytes)
    rows.append(harness.row(f"curate, {n_large:,} groups: estimates and weights of {N_TARGETS} targets", [held], n_large, "groups"))
    certain = harness.Reading(held.facts["certain_seconds"], held.facts["certain_cpu_seconds"], held.peak_bytes, held.load)
    rows.append(harness.row("the same table: intervals and p-values of one target", [certain], n_large, "groups"))
    read = N_MODELS * n * 8 / 1e6
    return Result(
        "correlations",
        "Perplexity correlations",
        f"all five estimators of {N_MODELS} models, 10,000 groups and {N_TARGETS} targets at 20 times the authors' package; intervals from "
        f"{N_REPLICATES} bootstrap replicates within ten times one estimate by it; a million groups in 2 GiB.",
        f"losses of {N_MODELS} models on {n:,} groups of pages and errors on {N_TARGETS} targets, random, without ties, in memory",
        [f"the table, {read:.0f} MB, read once: {read / run.speeds['copy']:.4f} s; sorting its columns and the products come on top"],
        rows,
        [
            harness.ratio("five estimators, curate / perplexity-correlations", rows[0], rows[1], 20),
            Ratio(
                "time of intervals / one estimate by perplexity-correlations",
                rows[2].seconds / rows[3].seconds,
                10,
                True,
                rows[2].cpu_seconds / rows[3].cpu_seconds,
            ),
            Ratio(
                f"GiB held for {n_large:,} groups, the table of {N_MODELS * n_large * 8 / 2**30:.2f} included",
                held.peak_bytes / 2**30,
                2,
                True,
            ),
        ],
        f"the two sides' estimates differ by at most {estimated.facts['apart']:.1e}",
        ["The package handles one target a call; curate is given all of them at once, as a pipeline does."],
        harness.loads([estimated, drawn, held]),
    )
