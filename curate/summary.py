"""What a run did, as a person wants to read it: from the manifest, never recounted."""

from __future__ import annotations

from typing import Any

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from curate.composition_table import composition_tables
from curate.corpus import CORRELATE, DUPLICATE, INGEST, Corpus
from curate.correlations_table import correlations_summary
from curate.mix_statistics import copies_of
from curate.quantities import count, duration, size
from curate.weights_table import weighs_documents, weights_summary


def summary(corpus: Corpus, times: dict[str, Any]) -> Group:
    """Everything printed at the end of a run, as far as the stages that are complete."""
    stages = corpus.manifest.stages
    blocks: list[Any] = [_documents(corpus)]
    if CORRELATE in stages:
        blocks += [Text(), *correlations_summary(stages[CORRELATE].totals)]
    # Absent where an earlier version made the selection.
    for table in composition_tables(stages["select"].totals.get("composition", []) if corpus.is_selected else []):
        blocks += [Text(), table]
    if f"mix/{corpus.mix}" in stages:
        blocks += [Text(), _mixture(corpus)]
        mixed = stages[f"mix/{corpus.mix}"].totals
        if weighs_documents(mixed):
            blocks += [Text(), *weights_summary(mixed, copies_of(corpus))]
    blocks += [Text(), _times(corpus, times)]
    if f"emit/{corpus.mix}" in stages:
        blocks += [Text(), _where(corpus)]
    return Group(*blocks)


def _documents(corpus: Corpus) -> Table:
    """The funnel: records in, and where each went."""
    stages = corpus.manifest.stages
    table = Table(title="documents", title_justify="left", box=None, pad_edge=False, title_style="bold")
    table.add_column("")
    table.add_column("documents", justify="right")
    table.add_column("text", justify="right")
    table.add_column("tokens", justify="right")
    ingest = stages[INGEST]
    held = ingest.totals["domains"].values()
    table.add_row("records read", f"{ingest.ledger.n_in:,}")
    for reason, n in ingest.ledger.quarantined.items():
        table.add_row(f"  quarantined: {reason}", f"-{n:,}")
    tally = stages["select"].totals["tally"] if corpus.is_selected else []
    tokens = _tokens(corpus, tally)
    table.add_row("documents", f"{ingest.ledger.kept:,}", size(sum(d["bytes"] for d in held)), tokens)
    reasons: dict[str | None, list[int]] = {}
    for row in tally:
        sums = reasons.setdefault(row["reason"], [0, 0, 0])
        for i, key in enumerate(("n_documents", "n_bytes", "n_tokens")):
            sums[i] += row[key] or 0
    for why, (n, n_bytes, n_tokens) in sorted(reasons.items(), key=lambda item: -item[1][0]):
        if why is not None:
            label = why if why.startswith(f"{DUPLICATE}:") else f"dropped: {why}"
            table.add_row(f"  {label}", f"-{n:,}", size(n_bytes), count(n_tokens) if n_tokens else "")
    if None in reasons:
        n, n_bytes, n_tokens = reasons[None]
        table.add_row("selected", f"{n:,}", size(n_bytes), count(n_tokens) if n_tokens else "")
    mix = stages.get(f"mix/{corpus.mix}")
    if mix:
        for reason in ("no_signal", "weight_zero", "not_sampled"):
            if n := mix.ledger.dropped.get(reason, 0):
                table.add_row(f"  {reason.replace('_', ' ')}", f"-{n:,}")
        table.add_row("in the mix", f"{mix.ledger.kept:,}")
    emit = stages.get(f"emit/{corpus.mix}")
    if emit:
        unit = emit.totals["unit"]
        realised = emit.totals[f"realised_{unit}"]
        n_bytes = sum(d["bytes"] for d in emit.totals["domains"])
        table.add_row(
            "rows emitted, with copies",
            f"{emit.totals['rows']:,}",
            size(n_bytes),
            count(realised) if unit == "tokens" else "",
            style="bold",
        )
    return table


def _tokens(corpus: Corpus, tally: list[dict[str, Any]]) -> str:
    """Tokens of all documents, where something counted them."""
    if tally and tally[0]["n_tokens"] is not None:
        return count(sum(row["n_tokens"] for row in tally))
    mix = corpus.manifest.stages.get(f"mix/{corpus.mix}")
    if mix and mix.totals["unit"] == "tokens" and not corpus.is_selected:
        return count(sum(line["amount"] for line in mix.totals["plan"]))
    return ""


def _mixture(corpus: Corpus) -> Table:
    """Shares asked for and realised."""
    mix = corpus.manifest.stages[f"mix/{corpus.mix}"].totals
    emit = corpus.manifest.stages.get(f"emit/{corpus.mix}")
    realised = {d["domain"]: d for d in emit.totals["domains"]} if emit else {}
    everything = sum(line["amount"] for line in mix["plan"])
    budget = f"{count(mix['budget'])} {mix['unit']}"
    table = Table(title=f"mixture {corpus.mix!r}, budget {budget}", title_justify="left", box=None, pad_edge=False, title_style="bold")
    for name in ("domain", mix["unit"], "natural", "asked", "realised", "copies each", "rows"):
        table.add_column(name, justify="left" if name == "domain" else "right")
    for line in mix["plan"]:
        got = realised.get(line["domain"], {})
        table.add_row(
            line["domain"],
            count(line["amount"]),
            f"{line['amount'] / everything:.2%}",
            f"{line['asked']:.2%}",
            f"{got['realised_share']:.2%}" if got else "",
            f"{line['weight']:.3f}",
            f"{got['rows']:,}" if got else "",
        )
    return table


def _times(corpus: Corpus, times: dict[str, Any]) -> Table:
    """How long each stage took when it last ran."""
    table = Table(title="time", title_justify="left", box=None, pad_edge=False, title_style="bold")
    table.add_column("stage")
    table.add_column("worker time", justify="right")
    table.add_column("wall", justify="right")
    table.add_column("MB/s", justify="right")
    n_bytes = sum(d["bytes"] for d in corpus.manifest.stages[INGEST].totals["domains"].values())
    for name in corpus.manifest.stages:
        if name in times:
            spent = times[name]
            speed = "" if name.startswith("fit/") or spent["wall"] < 0.05 else f"{n_bytes / 1e6 / spent['wall']:,.0f}"
            table.add_row(name, duration(spent["seconds"]), duration(spent["wall"]), speed)
    return table


def _where(corpus: Corpus) -> Text:
    """Where the shards are and how to open them."""
    emit = corpus.manifest.stages[f"emit/{corpus.mix}"]
    path = corpus.folder.at(f"mixes/{corpus.mix}")
    packed = emit.totals.get("packed")
    lines = [f"{len(emit.shards)} Arrow shards in {path}"]
    if packed:
        lines.append(f"{packed['rows']:,} packed rows; {packed['tokens_dropped']:,} tokens left over at shard ends")
    lines += [
        f'  datasets.load_from_disk("{path}")',
        f'  curate.stream.Stream("{path}")',
        f"  curate show {corpus.folder.url}      curate why DOC_ID {corpus.folder.url}",
    ]
    return Text("\n".join(lines))


def show_summary(console: Console, corpus: Corpus, times: dict[str, Any]) -> None:
    """Print it."""
    console.print()
    console.print(summary(corpus, times))
