"""The sections that read columns: distributions of scores, how two of them agree, and how a model learned."""

from __future__ import annotations

from collections.abc import Iterable

from curate import plots
from curate.corpus import Corpus, split_name
from curate.plots import accounts, figures
from curate.plots.distributions import Column, Distribution, distributions, numeric_columns
from curate.plots.hexagons import hexagons
from curate.plots.theme import number, svg
from curate.report.page import Html, details, figure, section, table, tag
from curate.report.sections import caption

MOST_OPEN = 8  # figures of one scorer that are shown without being asked for
BETTER = {"higher": "higher is better", "lower": "lower is better"}


def scores(corpus: Corpus) -> Html:
    """Every numeric column by domain."""
    by_group: dict[str, list[str]] = {}
    for name in numeric_columns(corpus):
        by_group.setdefault(split_name(name)[0], []).append(name)
    alone = [names[0] for names in by_group.values() if len(names) == 1]
    groups = {"documents": alone} | {group: names for group, names in by_group.items() if len(names) > 1}
    blocks = []
    for group, names in groups.items():
        drawn = [_column(column) for column in distributions(corpus, names)]
        grid = tag("div", *drawn, class_="grid")
        told = f"{group} · {len(names)} column{'s' * (len(names) > 1)}"
        blocks.append(tag("details", tag("summary", told), grid, class_="group", open="" if len(names) <= MOST_OPEN else None))
    kept = " Blue is what selection kept of it." if corpus.is_selected else ""
    drawing = "The bar is the median; one in a thousand at either end is not drawn."
    intro = f"Grey is all documents, every domain drawn to the same height.{kept} {drawing}"
    return section("scores", "Scores by domain", tag("p", intro, class_="soft"), *blocks)


def _column(column: Column) -> Html:
    """One column: drawing, and quantiles as a table."""
    said = ", ".join(part for part in (column.unit, BETTER.get(column.direction, "")) if part)
    title = caption(column.name, said)
    if not column.n:
        return tag("figure", tag("figcaption", title), tag("p", "No document has a value.", class_="soft"))
    middles = "; ".join(f"{domain} {number(whole.quantile(0.5))}" for domain, whole in list(column.whole.items())[:8] if whole.n)
    drawing = svg(figures.ridges(column), f"Distribution of {column.name} by domain. Medians: {middles}", f"{column.name}-scores")
    rows = [[domain, *_quantiles(whole), *_quantiles(column.kept.get(domain))] for domain, whole in column.whole.items()]
    heads = ["domain", "documents", "null", "p10", "median", "p90"]
    if column.kept:
        heads += ["kept", "null", "p10", "median", "p90"]
    return figure(drawing, title, details("Quantiles", table(heads, rows, caption=f"Quantiles of {column.name}")))


def _quantiles(held: Distribution | None) -> list[str]:
    if held is None:
        return []
    return [f"{held.n:,}", f"{held.n_null:,}", *(number(held.quantile(q)) if held.n else "" for q in (0.1, 0.5, 0.9))]


def agreements(corpus: Corpus) -> Html | None:
    """How two scores agree, for every scorer that looked."""
    blocks = [block for name in corpus.learned(accounts.AGREEMENT) for block in _agreement(corpus, name)]
    return section("agreement", "How two scores agree", *blocks) if blocks else None


def _agreement(corpus: Corpus, name: str) -> Iterable[Html]:
    found = accounts.agreement(corpus, name)
    first, second = found["columns"]
    overall = found["overall"]
    rho = overall["spearman"]
    told = "one of them is constant" if rho is None else f"Spearman's rank correlation is {rho:.3f}"
    kept = ", ".join(f"{share:.0%} of the {window} half" for window, share in overall["overlap"].items())
    said = f"Over {overall['n']:,} documents {told}. At rate {found['kept']:g} both would keep {kept}; chance would be 50%."
    drawn = []
    if f"{name}.first" in corpus.columns():
        within = ", each domain ranked by itself" if found["within_domain"] else ""
        drawing = figures.agreement_map(*hexagons(corpus, f"{name}.first", f"{name}.second"), (first, second))
        alt = f"Documents by their percentile in {first} and in {second}; on the diagonal both agree. {told}."
        more = f"stronger is more; on the line both agree{within}"
        drawn.append(figure(svg(drawing, alt, f"{name}-map-"), caption("Documents by percentile", more)))
    by_domain = {line["domain"]: line["spearman"] for line in found["domains"] if line["spearman"] is not None}
    if by_domain and rho is not None:
        alt = "Rank correlation by domain: " + "; ".join(f"{domain} {value:.3f}" for domain, value in list(by_domain.items())[:12])
        drawn.append(figure(svg(plots.correlations(corpus, name), alt, f"{name}-rho-"), caption("Rank correlation", "by domain")))
    rows = [
        [line["domain"], f"{line['n']:,}", "" if line["spearman"] is None else f"{line['spearman']:.3f}"]
        + ([f"{share:.1%}" for share in line["overlap"].values()] if line["overlap"] else [""] * len(overall["overlap"]))
        for line in [{"domain": "all", **overall}, *found["domains"]]
    ]
    heads = ["domain", "documents", "Spearman", *(f"{window} half" for window in overall["overlap"])]
    yield tag("h3", f"{first} and {second}")
    yield tag("p", said)
    yield tag("div", *drawn, class_="grid")
    yield details("The same as numbers, with the share of each half that both keep", table(heads, rows, caption="Agreement by domain"))


def training(corpus: Corpus) -> Html | None:
    """How learned language models learned."""
    blocks = []
    for name in corpus.learned(accounts.LOSSES):
        curve = accounts.training(corpus, name)
        if not len(curve):
            continue
        first, last = (curve["loss"][i].as_py() for i in (0, len(curve) - 1))
        tokens, steps = curve["tokens"][len(curve) - 1].as_py(), curve["step"][len(curve) - 1].as_py()
        said = f"Loss went from {first:.3f} to {last:.3f} nats a token over {tokens:,} tokens in {steps:,} steps."
        drawing = svg(figures.losses(curve), f"Training curve of {name}. {said}", f"{name}-loss-")
        blocks.append(figure(drawing, caption(name, said)))
    return section("training", "How models learned", tag("div", *blocks, class_="grid")) if blocks else None
