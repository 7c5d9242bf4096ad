"""The section on mixers of documents: how often documents are seen, which ones most and why, and what other settings would do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from curate import plots
from curate.corpus import Corpus
from curate.mix_statistics import copies_of, seen
from curate.plots import accounts
from curate.plots.theme import share, svg
from curate.quantities import size
from curate.report.page import Html, details, figure, section, table, tag
from curate.report.sections import caption
from curate.weights_table import OFTEN, clusters_told, weighs_documents


def weights(corpus: Corpus) -> Html | None:
    """How documents are weighed; nothing where weights are of domains."""
    mixed = accounts.mixed(corpus)
    if not mixed or not weighs_documents(mixed):
        return None
    told = mixed["diagnostics"]
    blocks: list[Html] = []
    if expected := told.get("expected"):
        often = dict(zip(("never", "once", "twice", "more often"), (expected[name] for name in OFTEN), strict=True))
        sampled = seen(copies_of(corpus))
        said = ", ".join(f"{name} {share(value)}" for name, value in sampled.items())
        drawn = [
            figure(
                svg(plots.copies(corpus), f"Documents by how often they are seen: {said}", "copies-"),
                caption("Copies", "share of documents"),
            )
        ]
        for name, title, more in (
            ("settings", "Quality and diversity", "means over text emitted, by alpha"),
            ("setting_shares", "Domains", "share of what is emitted, by alpha"),
        ):
            drawing = getattr(plots, name)(corpus)
            drawn.append(figure(svg(drawing, f"{title} of what would be emitted, over alpha.", f"{name}-"), caption(title, more)))
        blocks += [tag("p", _said(told, often), class_="soft"), tag("div", *drawn, class_="grid")]
    blocks += [details(f"The {end} documents", _documents(told[end])) for end in ("heaviest", "lightest")]
    if clusters := told.get("clusters"):
        blocks.append(tag("p", clusters_told(clusters), class_="soft"))
    return section("weights", "Weights of documents", *(tag("p", note) for note in told.get("notes", [])), *blocks)


def _said(told: Mapping[str, Any], often: Mapping[str, float]) -> str:
    """The setting and what it does to the means."""
    expected = told["expected"]
    means = " and ".join(f"{name} from {ends['before']:.3f} to {ends['after']:.3f}" for name, ends in expected["means"].items())
    setting = ", ".join(f"{name} {told[name]:g}" for name in ("alpha", "temperature") if name in told)
    left_out = f"{share(often['never'])} of documents are left out"
    return "; ".join([*([setting] if setting else []), left_out, *([f"over the text emitted, mean {means}"] if means else [])]) + "."


def _documents(lines: Sequence[Mapping[str, Any]]) -> Html:
    rows = []
    for line in lines:
        why = tag("span", line["reason"], class_="wrap")
        weight, copies = f"{line['weight']:.4g}", str(line["copies"])
        rows.append([tag("code", line["doc_id"][:12]), line["domain"], why, size(line["n_bytes"]), weight, copies])
    return table(["document", "domain", "why", "text", "weight", "copies"], rows, left=3, caption="Documents")
