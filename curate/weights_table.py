"""What a mixer of documents did, as a person wants to read it: how often documents are seen, which ones most, and why."""

from __future__ import annotations

from typing import Any

from rich.table import Table
from rich.text import Text

from curate.mix_statistics import seen
from curate.quantities import size

OFTEN = ("dropped", "once", "twice", "more")


def weighs_documents(mixed: dict[str, Any]) -> bool:
    """Whether these totals of a mix stage are of a mixer of documents."""
    return "heaviest" in mixed["diagnostics"]


def weights_summary(mixed: dict[str, Any], copies: dict[int, int]) -> list[Any]:
    """The lines printed at the end of a run.

    Args:
        mixed: totals of the mix stage.
        copies: documents by number of copies, of those that have a weight.
    """
    told = mixed["diagnostics"]
    table = Table(title="how often documents are seen", title_justify="left", box=None, pad_edge=False, title_style="bold")
    table.add_column("")
    for name in ("never", "once", "twice", "more often", "most"):
        table.add_column(name, justify="right")
    expected = told.get("expected")
    if expected:
        table.add_row("expected", *(f"{expected[name]:.2%}" for name in OFTEN), f"{expected['heaviest']:.2f}")
    table.add_row("sampled", *(f"{part:.2%}" for part in seen(copies).values()), f"{max(copies, default=0)}")
    lines = [Text(note, style="yellow") for note in told.get("notes", [])]
    if expected:
        means = ", ".join(f"{name} {ends['before']:.3f} -> {ends['after']:.3f}" for name, ends in expected["means"].items())
        said = [f"means over text, before -> after: {means}"] if means else []
        said += [f"{expected['capped']:.2%} of documents are at the cap"] if expected["capped"] else []
        lines += [Text("; ".join(said), style="dim")] if said else []
    return [table, *lines]


def weights_detail(mixed: dict[str, Any]) -> list[Any]:
    """The heaviest and lightest documents with their reasons, and what the clusters are like."""
    told = mixed["diagnostics"]
    blocks: list[Any] = []
    for end in ("heaviest", "lightest"):
        table = Table(title=f"{end} documents", title_justify="left", box=None, pad_edge=False, title_style="bold")
        for name in ("document", "domain", "text", "weight", "copies", "why"):
            table.add_column(name, justify="right" if name in ("text", "weight", "copies") else "left", overflow="fold")
        for line in told[end]:
            weight = f"{line['weight']:.4g}"
            table.add_row(line["doc_id"][:12], line["domain"], size(line["n_bytes"]), weight, str(line["copies"]), line["reason"])
        blocks += [table, Text()]
    if clusters := told.get("clusters"):
        blocks += [Text(clusters_told(clusters), style="dim"), Text()]
    return blocks


def clusters_told(told: dict[str, Any]) -> str:
    """How many clusters there are, and which factor of diversity tells them apart."""
    parts = [f"{told['clusters']:,} clusters, the largest of {told['largest']:,} documents"]
    parts += [f"{told[name]:,} {what}" for name, what in (("singletons", "of one document"), ("empty", "empty")) if told[name]]
    spread = [f"{name} {told[name]['mean']:.3f} ± {told[name]['variance'] ** 0.5:.3f}" for name in ("compactness", "separation")]
    shares = {name: told[name]["relative_variance"] for name in ("compactness", "separation")}
    total = sum(shares.values())
    decided = f"; compactness makes {shares['compactness'] / total:.0%} of their relative variance" if total else ""
    return f"{'; '.join(parts)}. {', '.join(spread)}{decided}"
