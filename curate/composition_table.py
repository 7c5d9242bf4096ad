"""What each percentile rule of a selection did to domains and lengths, as a person wants to read it.

A window over all documents keeps more of some domains than of others, because scores differ
between domains more than within them: whoever compares models trained on two windows compares
two mixtures as well, unless rules rank ``within: domain``. The table shows by how much.
"""

from __future__ import annotations

from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from curate.quantities import count

MOST_ROWS = 20


def composition_tables(composition: list[dict[str, Any]]) -> list[Group]:
    """A table for every rule, from ``totals["composition"]`` of the select stage."""
    return [_of_rule(told) for told in composition]


def _of_rule(told: dict[str, Any]) -> Group:
    """Shares of domains before and after one rule, median lengths, and what was decided at the edges."""
    everything = told["all"]
    unit = "tokens" if everything["n_tokens_before"] else "documents"
    table = Table(title=f"what {told['code']} did to the composition", title_justify="left", box=None, pad_edge=False, title_style="bold")
    table.add_column("\ndomain", overflow="fold")
    for name in ("documents\nkept", f"share of {unit}\nbefore", "\nafter", "\nfactor", "median bytes\nbefore", "\nafter"):
        table.add_column(name, justify="right")
    shown = sorted(told["domains"], key=lambda line: -line[f"n_{unit}_before"])
    for line in shown[:MOST_ROWS]:
        table.add_row(line["domain"], *_cells(line, everything, unit))
    if len(shown) > 1:
        table.add_row("all", *_cells(everything, everything, unit), style="bold")
    notes = [_window(told), *_decided(told)]
    if len(shown) > MOST_ROWS:
        notes.insert(0, f"and {len(shown) - MOST_ROWS:,} smaller domains")
    return Group(table, Text("\n".join(notes), style="dim"))


def _cells(line: dict[str, Any], everything: dict[str, Any], unit: str) -> list[str]:
    """One row without its name: documents kept, share before and after with their ratio, median length before and after."""
    before, after = (line[f"n_{unit}_{when}"] / max(everything[f"n_{unit}_{when}"], 1) for when in ("before", "after"))
    return [
        f"{line['n_documents_after'] / max(line['n_documents_before'], 1):.2%}",
        f"{before:.2%}",
        f"{after:.2%}",
        f"{after / before:.3f}" if before else "",
        *(f"{line[f'length_{when}'][1]:,}" if line[f"length_{when}"][1] is not None else "" for when in ("before", "after")),
    ]


def _window(told: dict[str, Any]) -> str:
    """What the rule asked for, in one line."""
    window = told["window"] if isinstance(told["window"], str) else f"[{told['window'][0]:g}, {told['window'][1]:g}]"
    rate = f" {told['rate']:.4g}" if told["rate"] is not None else _amount(told)
    groups = f" in {told['n_groups']:,} groups" if told["n_groups"] > 1 else ""
    kept = f"{told['all']['n_documents_after']:,} of {told['all']['n_documents_before']:,} documents kept"
    return f"{window}{rate} of {told['column']} by {told['by']}{groups}: {kept}"


def _amount(told: dict[str, Any]) -> str:
    """The amount asked for, and what there was where that is less."""
    if told.get("amount") is None:
        return ""
    return f" {count(told['amount'])}" + (f" (all there is: {count(told['available'])})" if told["available"] < told["amount"] else "")


def _decided(told: dict[str, Any]) -> list[str]:
    """What scores alone did not decide: equal ones at an edge, and copies on both sides of it."""
    notes = []
    if told["n_tied"] and told["window"] != "random":
        notes.append(f"ties: {told['n_tied']:,} documents share the score at an edge; their ids decided")
    if told["n_copies_split"]:
        texts = f"{told['n_copies_split']:,} text{'s have' if told['n_copies_split'] > 1 else ' has'} copies on both sides of an edge"
        notes.append(f"copies: {texts}, {told['n_copies_at_cut']:,} documents")
    return notes or ["no ties at the edges"]
