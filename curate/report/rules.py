"""The section on ranking rules: what each window did to scores, domains and lengths, and what lay at its edges."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from curate.corpus import Corpus
from curate.plots import accounts, figures
from curate.plots.theme import per_cent, share, svg
from curate.quantities import count
from curate.report.page import Html, details, figure, joined, section, table, tag
from curate.report.sections import caption, said_shares

MOST_OPEN = 12  # rows of a table that is shown without being asked for


def rules(corpus: Corpus) -> Html | None:
    """What ranking rules did to the composition."""
    blocks = [block for index, rule in enumerate(accounts.compositions(corpus)) for block in _rule(rule, index)]
    intro = "Before are the documents that a rule ranked, after those of them that it kept."
    return section("rules", "What ranking rules changed", tag("p", intro, class_="soft"), *blocks) if blocks else None


def _rule(rule: Mapping[str, Any], index: int) -> list[Html]:
    """One rule: its score with the window, the shares, the numbers, and what lay at the cut."""
    counted, before, after = accounts.composition_shares(rule)
    said = _told(rule)
    title = rule["column"]
    drawn = []
    if rule.get("score_histogram"):
        drawing = figures.score_window(rule["score_histogram"], accounts.windows(rule), title)
        alt = f"Histogram of {title} before and after the rule. {said}"
        drawn.append(
            figure(svg(drawing, alt, f"window{index}-"), caption("Score and window", "documents; the outermost bins hold all beyond"))
        )
    alt = f"Shares of domains before and after the rule. {said_shares(before, after)}"
    drawing = figures.dumbbells(accounts.largest(before, after), accounts.largest(after, before))
    drawn.append(figure(svg(drawing, alt, f"domains{index}-"), caption("Domains", f"share of the {counted}, most grown first")))
    return [
        tag("h3", title, " ", tag("code", rule["code"])),
        tag("p", said),
        tag("div", *drawn, class_="grid"),
        details("Domains and lengths as numbers", _numbers(rule, before, after), is_open=len(before) <= MOST_OPEN),
        _at_the_cut(rule),
    ]


def _told(rule: Mapping[str, Any]) -> str:
    """The rule and how many it kept, in a sentence."""
    n_before, n_after = (rule["all"][f"n_documents_{when}"] for when in ("before", "after"))
    window = rule["window"] or "ranked"
    window = f"The {window} window" if isinstance(window, str) else f"The window from {per_cent(window[0])} to {per_cent(window[1])}"
    rate = _amount(rule) if rule.get("rate") is None else f" at rate {rule['rate']:.3g}"
    groups = f", inside each of {rule.get('n_groups', len(rule['cuts'])):,} groups" if rule.get("within") else ""
    by = rule["by"].rpartition(".")[2].removeprefix("n_")
    return f"{window}{rate} by {by}{groups} kept {n_after:,} of {n_before:,} documents ({share(n_after / max(n_before, 1))})."


def _amount(rule: Mapping[str, Any]) -> str:
    """The amount asked for, and what there was where that is less."""
    if rule.get("amount") is None:
        return ""
    return f" of {count(rule['amount'])}" + (f" (there were {count(rule['available'])})" if rule["available"] < rule["amount"] else "")


def _numbers(rule: Mapping[str, Any], before: Mapping[str, float], after: Mapping[str, float]) -> Html:
    """Every domain: documents, shares and their ratio, quantiles of length."""
    heads = ["domain", "documents", "kept", "share before", "after", "factor"]
    heads += [head for q in ("p10", "median", "p90") for head in (f"{q} bytes", "after")]
    rows = []
    for line in [{"domain": "all", **rule["all"]}, *rule["domains"]]:
        was, now = before.get(line["domain"], 1.0), after.get(line["domain"], 1.0)
        shares = [f"{was:.2%}", f"{now:.2%}", f"{now / was:.3f}" if was else ""]
        lengths = [
            "" if value is None else f"{value:,}"
            for pair in zip(line["length_before"], line["length_after"], strict=True)
            for value in pair
        ]
        n_before, n_after = line["n_documents_before"], line["n_documents_after"]
        rows.append([line["domain"], f"{n_before:,}", f"{n_after / max(n_before, 1):.1%}", *shares, *lengths])
    return table(heads, rows, caption=f"Domains and lengths before and after {rule['code']}")


def _at_the_cut(rule: Mapping[str, Any]) -> Html:
    """Equal scores and equal documents that a cut parts: they are told apart by their ids."""
    tied = rule.get("n_tied", sum(cut[f"n_tied_{end}"] or 0 for cut in rule["cuts"] for end in ("lower", "upper")))
    parted = rule.get("n_copies_split") or 0
    ties = f"{tied:,} documents share the score at an edge, and their ids decided" if tied else "No documents are tied at an edge"
    copies = f"{parted:,} texts have copies on both sides of one" if parted else "no text has copies on both sides of one"
    rows = []
    for cut in rule["cuts"]:
        bounds = ["" if cut[end] is None else f"{cut[end]:.6g}" for end in ("lower", "upper")]
        tied_at = [f"{cut[f'n_tied_{end}'] or 0:,}" for end in ("lower", "upper")]
        rows.append(["all" if cut["group"] is None else cut["group"], *bounds, *tied_at])
    cuts = table(["group", "lower edge", "upper edge", "tied at lower", "at upper"], rows, caption=f"Edges of {rule['code']}")
    return joined([tag("p", f"{ties}; {copies}.", class_="soft", style="margin:12px 0 0"), details("Edges", cuts)])
