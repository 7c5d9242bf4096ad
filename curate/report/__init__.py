"""Report: a corpus as one HTML page that a person would rather look at than read tables.

The page fetches nothing and runs nothing, follows the reader's light or dark mode, and is the same bytes for the same
corpus: figures come from the manifest, from columns read part by part, and from what scorers learned.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from curate import __version__
from curate.corpus import Corpus
from curate.report import correlations, rules, scores, sections, weights
from curate.report.page import Html, document, joined, tag
from curate.storage import explain

FILE = "report.html"
SECTIONS: dict[str, Callable[[Corpus], Html | None]] = {
    "funnel": sections.funnel,
    "domains": sections.domains,
    "correlations": correlations.correlations,
    "rules": rules.rules,
    "shift": correlations.shift,
    "agreement": scores.agreements,
    "scores": scores.scores,
    "training": scores.training,
    "mixture": sections.mixture,
    "weights": weights.weights,
    "lineage": sections.lineage,
}


def report(corpus: Corpus) -> str:
    """The page, as far as the stages that are complete."""
    made = {name: part for name, make in SECTIONS.items() if (part := make(corpus)) is not None}
    links = tag("nav", *(tag("a", name, href=f"#{name}") for name in made), aria_label="sections")
    foot = tag("footer", f"curate {__version__}")
    return document(f"{corpus.manifest.pipeline}: report", tag("main", sections.header(corpus), links, joined(made.values(), "\n"), foot))


def write_report(url: str, out: Path | None = None, mix: str | None = None) -> str:
    """Write the page of the corpus at ``url``; returns where it lies.

    Args:
        out: a local file; None for ``report.html`` in the corpus.
        mix: which mix, where there are several.
    """
    corpus = Corpus.open(url, mix=mix)
    content = report(corpus).encode()
    if out is None:
        corpus.folder.write(FILE, content)
        return corpus.folder.at(FILE)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_bytes(content)
    except OSError as error:
        raise explain(error, str(out)) from error
    return str(out)
