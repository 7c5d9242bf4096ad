"""Plots of a corpus, for notebooks and for ``curate report``. Needs matplotlib, the extra ``report``.

    from curate import Corpus, plots

    corpus = Corpus.open("runs/quickstart")
    plots.distribution(corpus, "prose.perplexity")

Every function returns a matplotlib Figure, which a notebook shows and ``savefig`` writes.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from curate.errors import ConfigError

try:
    from matplotlib.figure import Figure
except ModuleNotFoundError as error:
    raise ConfigError(
        f"plots need {error.name}, which is not installed",
        where="curate.plots",
        expected="the extra `report`",
        fix="pip install 'curate[report]'",
    ) from error

from curate.corpus import CORRELATE, Corpus
from curate.errors import InputError, nearest
from curate.evidence.interpretation import best_and_worst
from curate.mix_statistics import copies_of, mix_statistics, seen, setting_of
from curate.mixers.samplemix_sweep import Setting, sweep
from curate.plots import accounts, figures, perplexity_correlations, sweeps
from curate.plots.accounts import AFTER, ASKED, BEFORE, REALISED
from curate.plots.distributions import distributions
from curate.plots.hexagons import hexagons
from curate.selection_shift import selection_shift

__all__ = [
    "agreement",
    "copies",
    "correlations",
    "distribution",
    "estimates",
    "expected_composition",
    "group_intervals",
    "kept_composition",
    "mixture",
    "rule_domains",
    "rule_scores",
    "selection",
    "setting_shares",
    "settings",
    "training",
]


def distribution(corpus: Corpus, column: str) -> Figure:
    """A column's distribution in every domain: grey all documents, blue those kept, a bar at the median of all."""
    return figures.ridges(distributions(corpus, [column])[0])


def selection(corpus: Corpus) -> Figure:
    """Every domain's share of the text before selection and after it."""
    return _pair(corpus, BEFORE, AFTER, "select")


def mixture(corpus: Corpus) -> Figure:
    """Every domain's share of the mix, asked and realised."""
    return _pair(corpus, ASKED, REALISED, "emit")


def _pair(corpus: Corpus, first: str, second: str, stage: str) -> Figure:
    found = accounts.shares(corpus)
    if second not in found:
        raise InputError(
            f"there are no shares {second}", where=corpus.folder.url, expected=f"a corpus whose {stage} is complete", fix="run the pipeline"
        )
    return figures.pairs(found[first], found[second], (first, second))


def rule_scores(corpus: Corpus, index: int = 0) -> Figure:
    """The score that the ``index``-th ranking rule cut, before and after, its window shaded."""
    rule = _rule(corpus, index)
    return figures.score_window(rule["score_histogram"], accounts.windows(rule), rule["column"])


def rule_domains(corpus: Corpus, index: int = 0) -> Figure:
    """Every domain's share before and after the ``index``-th ranking rule."""
    _, before, after = accounts.composition_shares(_rule(corpus, index))
    return figures.dumbbells(before, after)


def _rule(corpus: Corpus, index: int) -> dict[str, Any]:
    found = accounts.compositions(corpus)
    if not 0 <= index < len(found):
        raise InputError(
            f"there is no ranking rule {index}",
            where=corpus.folder.url,
            expected=f"a number below {len(found)}: rules with `window`, `top` or `bottom` are counted from 0",
            fix="run a selection with such a rule, or give another number",
        )
    return found[index]


def agreement(corpus: Corpus, name: str = "agreement") -> Figure:
    """Documents by their percentile in the two scores of an ``agreement`` scorer."""
    first, second = accounts.agreement(corpus, name)["columns"]
    return figures.agreement_map(*hexagons(corpus, f"{name}.first", f"{name}.second"), (first, second))


def correlations(corpus: Corpus, name: str = "agreement") -> Figure:
    """Spearman's rho of an ``agreement`` scorer's two scores in every domain that has one, beside all documents."""
    found = accounts.agreement(corpus, name)
    by_domain = {line["domain"]: line["spearman"] for line in found["domains"] if line["spearman"] is not None}
    overall = found["overall"]["spearman"]
    return figures.correlations(by_domain, float("nan") if overall is None else overall)


def copies(corpus: Corpus) -> Figure:
    """Documents never, once, twice and more often seen: expected and sampled, of a mix that weighs documents."""
    _, mixed = mix_statistics(corpus)
    expected = mixed["diagnostics"]["expected"]
    sampled = seen(copies_of(corpus))
    often = dict(zip(sampled, (expected[name] for name in ("dropped", "once", "twice", "more")), strict=True))
    return figures.pairs(often, sampled, ("expected", "sampled"))


def settings(corpus: Corpus, field: str = "alpha") -> Figure:
    """Mean quality and diversity of what a samplemix would emit, over values of ``alpha``, ``temperature`` or ``budget``."""
    values, found, made = _swept(corpus, field)
    return sweeps.signals(values, found["quality"].to_pylist(), found["diversity"].to_pylist(), made, field)


def setting_shares(corpus: Corpus, field: str = "alpha") -> Figure:
    """Shares of domains in what a samplemix would emit, over values of ``alpha``, ``temperature`` or ``budget``."""
    values, found, made = _swept(corpus, field)
    by_domain = {name.removeprefix("share:"): found[name].to_pylist() for name in found.column_names if name.startswith("share:")}
    return sweeps.shares(values, by_domain, made, field)


def _swept(corpus: Corpus, field: str) -> tuple[list[float], pa.Table, float]:
    """Values of one setting that the caps allow, what each would do, and the mix's own."""
    statistics, mixed = mix_statistics(corpus)
    made = setting_of(mixed)
    total = float(sum(statistics["amount"].to_pylist()))
    ranges = {"alpha": (0.0, 1.0), "temperature": (0.05, 1.0), "budget": (0.05 * total, made.max_epochs * total)}
    if field not in ranges:
        raise InputError(f"{field!r} is no setting", where="curate.plots", expected=", ".join(ranges), fix=nearest(field, list(ranges)))
    own = float(getattr(made, field))
    values = sweeps.steps(*ranges[field], made=own)
    varied = {name: getattr(made, name) for name in ("alpha", "temperature", "budget", "max_epochs", "mode")}
    return values, sweep(statistics, [Setting(**(varied | {field: value})) for value in values]), own


def estimates(corpus: Corpus, target: str | None = None) -> Figure:
    """Estimates of all groups for a target of ``correlate:``, over what permuted results give."""
    facts, found = _correlated(corpus, target)
    return perplexity_correlations.estimates(found["histogram"], facts["estimator"])


def group_intervals(corpus: Corpus, target: str | None = None) -> Figure:
    """The groups with the highest and the lowest estimates for a target, with their intervals."""
    facts, found = _correlated(corpus, target)
    return perplexity_correlations.intervals(*best_and_worst(found), facts["estimator"])


def expected_composition(corpus: Corpus, target: str | None = None, column: str = "domain") -> Figure:
    """Shares of the text by a described column, before and as the weights for a target would have it."""
    found = _correlated(corpus, target)[1]["composition"]
    return perplexity_correlations.composition(_described(found, column, corpus), ("before", "expected"))


def kept_composition(corpus: Corpus, column: str = "domain") -> Figure:
    """Shares of the text by a column that ``correlate:`` describes, before and after selection."""
    shift = selection_shift(corpus)
    if shift is None:
        raise InputError(
            "there are no correlations and selection to compare",
            where=corpus.folder.url,
            expected="a corpus whose correlate and select are complete",
            fix="run the pipeline",
        )
    return perplexity_correlations.composition(_described(shift.composition, column, corpus), ("before", "kept"))


def _correlated(corpus: Corpus, target: str | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """What ``correlate:`` found, of all and of one target; of the first where none is named."""
    entry = corpus.manifest.stages.get(CORRELATE)
    if entry is None:
        raise InputError(
            "there are no correlations", where=corpus.folder.url, expected="a corpus with a stage `correlate`", fix="add `correlate:`"
        )
    by_name = {found["target"]: found for found in entry.totals["targets"]}
    name = next(iter(by_name)) if target is None else target
    if name not in by_name:
        raise InputError(
            f"no target {name!r}", where=corpus.folder.url, expected="a target of `correlate:`", fix=nearest(name, list(by_name))
        )
    return entry.totals, by_name[name]


def _described(found: dict[str, list[dict[str, Any]]], column: str, corpus: Corpus) -> list[dict[str, Any]]:
    if column not in found:
        raise InputError(
            f"{column!r} is not described",
            where=corpus.folder.url,
            expected=", ".join(found),
            fix="name it in `describe:` of `correlate:`, and run again",
        )
    return found[column]


def training(corpus: Corpus, name: str) -> Figure:
    """The training curve of the language model that a scorer learned."""
    return figures.losses(accounts.training(corpus, name))
