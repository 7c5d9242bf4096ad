"""Where a document's perplexity comes from: the nats of each of its tokens, under every model that scored it.

A single rare token can dominate the perplexity of a short document, which no sum shows.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pyarrow as pa
from rich.console import Group
from rich.table import Table
from rich.text import Text

from curate.corpus import Corpus, read_times
from curate.errors import InputError
from curate.scoring import ScorerSpec, model_path

SHOWN_TOKENS = 400
SHOWN_HEAVIEST = 8
CONTEXT_PIECES = 6
LEVELS = ((2.0, "dim"), (4.0, "default"), (7.0, "yellow"), (10.0, "bold red"), (float("inf"), "bold white on red"))
"""Nats below which a token is shown in a style: 2 nats are a choice among seven, 10 nats one among 22,000."""


@runtime_checkable
class ScoresTokens(Protocol):
    """A scorer that can say what each token of a text cost."""

    def load(self, state: Path | None) -> None:
        """See Scorer."""
        ...

    def token_scores(self, text: str) -> pa.Table:
        """Columns ``piece`` and ``nats``."""
        ...


def explain_tokens(corpus: Corpus, text: str, cache: Path) -> Group:
    """The account of every model of the corpus that scores tokens.

    Args:
        text: of the document.
        cache: directory for local copies of remote models.

    Raises:
        InputError: no scorer of this corpus scores tokens.
    """
    blocks: list[Any] = []
    for name, scorer in _scorers(corpus):
        learned = f"fit/{name}" in corpus.manifest.stages
        scorer.load(corpus.folder.localize(model_path(name), cache.expanduser()) if learned else None)
        blocks += [Text(), *_account(name, scorer.token_scores(text))]
    if not blocks:
        raise InputError(
            "no model of this corpus scores tokens",
            where=corpus.folder.url,
            expected="a scorer such as bits_per_byte that has run here",
            fix="add one under `score:`, or leave out --tokens",
        )
    return Group(*blocks)


def _scorers(corpus: Corpus) -> list[tuple[str, ScoresTokens]]:
    """Built-in scorers of this corpus that score tokens, made again from what the run wrote of them."""
    found = []
    for stage, spent in read_times(corpus.folder).items():
        made, name = spent.get("scorer"), stage.removeprefix("score/")
        # A plugin's code is run only by a pipeline that allows it.
        if made is None or ":" in made["use"] or stage not in corpus.manifest.stages:
            continue
        scorer: object = ScorerSpec(name, made["use"], made["options"]).build()
        if isinstance(scorer, ScoresTokens):
            found.append((name, scorer))
    return found


def _account(name: str, table: pa.Table) -> list[Any]:
    """The text coloured by nats, and the tokens that weigh most."""
    pieces, nats = table["piece"].to_pylist(), np.nan_to_num(table["nats"].to_numpy())
    predicted = table["nats"].is_valid().to_numpy()
    total, n = float(nats.sum()), int(predicted.sum())
    if not n:
        return [Text(f"{name}: no token of this document is predicted", style="yellow")]
    title = f"{name}: {total:,.1f} nats over {n:,} tokens, perplexity {np.exp(total / n):,.4g}"
    return [Text(title, style="bold"), _legend(), _coloured(pieces, nats, predicted), Text(), _heaviest(pieces, nats, total, n)]


def _legend() -> Text:
    legend, low = Text("nats  "), 0.0
    for high, style in LEVELS:
        legend.append(f"{low:g}-{high:g}" if np.isfinite(high) else f"over {low:g}", style=style)
        legend.append("  ")
        low = high
    return legend


def _coloured(pieces: list[str], nats: np.ndarray, predicted: np.ndarray) -> Text:
    text = Text()
    for piece, cost, known in zip(pieces[:SHOWN_TOKENS], nats, predicted, strict=False):
        style = next(style for high, style in LEVELS if cost < high) if known else "underline dim"
        text.append(_visible(piece), style=style)
    if len(pieces) > SHOWN_TOKENS:
        text.append(f" … and {len(pieces) - SHOWN_TOKENS:,} more tokens", style="dim italic")
    return text


def _heaviest(pieces: list[str], nats: np.ndarray, total: float, n: int) -> Table:
    """The dearest tokens in their places, and what the perplexity would be without each."""
    table = Table(title="dearest tokens", title_justify="left", title_style="bold", box=None, pad_edge=False)
    for column in ("at", "nats", "of all", "perplexity without", "in its place"):
        table.add_column(column, justify="left" if column.startswith("in") else "right", overflow="fold")
    for at in np.argsort(-nats, kind="stable")[:SHOWN_HEAVIEST].tolist():
        place = Text("".join(_visible(p, line=True) for p in pieces[max(0, at - CONTEXT_PIECES) : at]), style="dim")
        place.append(_visible(pieces[at], line=True) or "(part of a character)", style="bold red")
        place.append("".join(_visible(p, line=True) for p in pieces[at + 1 : at + 1 + CONTEXT_PIECES]))
        without = np.exp((total - nats[at]) / (n - 1)) if n > 1 else float("nan")
        table.add_row(f"{at:,}", f"{nats[at]:.2f}", f"{nats[at] / total:.1%}" if total else "", f"{without:,.4g}", place)
    return table


def _visible(piece: str, line: bool = False) -> str:
    """Text without what a terminal would obey; on one line where asked for."""
    shown = "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in piece)
    return shown.replace("\n", "⏎").replace("\t", " ") if line else shown
