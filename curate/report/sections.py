"""The sections of a report: each takes a corpus and gives its part of the page, or None where there is nothing to tell."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from curate import plots
from curate.corpus import DUPLICATE, INGEST, Corpus, read_times
from curate.manifest import Ledger
from curate.plots import accounts
from curate.plots.accounts import AFTER, ASKED, BEFORE, REALISED
from curate.plots.theme import share, svg
from curate.quantities import count, duration, size
from curate.report.page import Html, details, figure, joined, section, table, tag

SAID_DOMAINS = 6  # domains told in the text that stands for a drawing


def header(corpus: Corpus) -> Html:
    """Which corpus, and how much of it."""
    stages = corpus.manifest.stages
    ingest, emit = stages[INGEST], stages.get(f"emit/{corpus.mix}")
    n_bytes = sum(d["bytes"] for d in ingest.totals["domains"].values())
    tiles = [("documents", f"{ingest.ledger.kept:,}", f"{len(ingest.totals['domains']):,} domains"), ("text", size(n_bytes), None)]
    tally = accounts.tally(corpus)
    if accounts.unit(corpus) == "tokens":
        tokens = sum(row["n_tokens"] for row in tally)
        tiles.append(("tokens", count(tokens), f"{n_bytes / tokens:.2f} bytes each" if tokens else None))
    if tally:
        kept = [row for row in tally if row["reason"] is None]
        n_kept = sum(row["n_documents"] for row in kept)
        tiles.append(("selected", f"{n_kept:,}", f"{share(n_kept / max(ingest.ledger.kept, 1))} of documents"))
    if emit:
        unit = emit.totals["unit"]
        amount = emit.totals[f"realised_{unit}"]
        shown = count(amount) + " tokens" if unit == "tokens" else size(amount)
        tiles.append(("rows emitted", f"{emit.totals['rows']:,}", f"{shown}, {len(emit.shards):,} shards"))
    spent = read_times(corpus.folder)
    walls = {(name.partition("/")[0], line["wall"]) for name, line in spent.items() if name in stages}
    if walls:
        tiles.append(("time", duration(sum(wall for _, wall in walls)), "all stages, when each last ran"))
    said = [tag("div", tag("dt", name), tag("dd", value, tag("small", more) if more else "")) for name, value, more in tiles]
    mix = f", mix {corpus.mix!r}" if accounts.mixed(corpus) else ""
    return joined(
        [tag("h1", corpus.manifest.pipeline), tag("p", f"What became of its text{mix}", class_="soft"), tag("dl", *said, class_="tiles")]
    )


def funnel(corpus: Corpus) -> Html:
    """Where every record went."""
    stages = corpus.manifest.stages
    ledger = stages[INGEST].ledger
    held = stages[INGEST].totals["domains"].values()
    tally = accounts.tally(corpus)
    steps = _Steps(ledger.n_in)
    steps.total("records read", ledger.n_in)
    for reason, n in _by_count(ledger.quarantined):
        steps.lost(f"quarantined: {reason}", n)
    tokens = sum(row["n_tokens"] or 0 for row in tally)
    steps.total("documents", ledger.kept, _amounts(sum(d["bytes"] for d in held), tokens))
    if tally:
        sums: dict[str | None, list[int]] = {}
        for row in tally:
            own = sums.setdefault(row["reason"], [0, 0, 0])
            for i, key in enumerate(("n_documents", "n_bytes", "n_tokens")):
                own[i] += row[key] or 0
        order = _rule_order(corpus)
        for why in sorted((why for why in sums if why is not None), key=lambda why: (order(why), -sums[why][0], why)):
            n, n_bytes, n_tokens = sums[why]
            steps.lost(why if why.startswith(f"{DUPLICATE}:") else f"dropped: {why}", n, _amounts(n_bytes, n_tokens))
        n, n_bytes, n_tokens = sums.get(None, [0, 0, 0])
        steps.total("selected", n, _amounts(n_bytes, n_tokens))
    if mix := stages.get(f"mix/{corpus.mix}"):
        for reason in ("no_signal", "weight_zero", "not_sampled"):
            if n := mix.ledger.dropped.get(reason, 0):
                steps.lost(reason.replace("_", " "), n)
        steps.total("in the mix", mix.ledger.kept)
    if emit := stages.get(f"emit/{corpus.mix}"):
        amount = emit.totals.get("realised_tokens", 0)
        steps.total("rows emitted, with copies", emit.totals["rows"], _amounts(sum(d["bytes"] for d in emit.totals["domains"]), amount))
    intro = "Every record read is in exactly one line: kept to the end, or lost for the first reason that applied."
    return section("funnel", "Where the records went", tag("p", intro, class_="soft"), tag("ol", *steps.lines, class_="funnel"))


def _rule_order(corpus: Corpus) -> Callable[[str], int]:
    """Where the rule that gave a reason stands among the rules, as far as its name tells."""
    rules = corpus.manifest.stages["select"].identity.get("rules", [])
    names = [rule.get("reason") or rule.get("verdict") or rule.get("column", "") for rule in rules]

    def place(why: str) -> int:
        return next((i for i, name in enumerate(names) if why == name or why.startswith(f"{name}:")), len(names))

    return place


class _Steps:
    """The lines of a funnel, each with a bar: what is left, and what a reason took of it."""

    def __init__(self, n_in: int) -> None:
        self._in, self._left = max(n_in, 1), n_in
        self.lines: list[Html] = []

    def total(self, what: str, n: int, amounts: str = "") -> None:
        """What is left."""
        self._left = n
        bar = tag("i", style=f"left:0;width:{min(100 * n / self._in, 100):.3f}%")
        self._line(what, f"{n:,}", amounts, bar, "total")

    def lost(self, what: str, n: int, amounts: str = "") -> None:
        """What a reason took."""
        self._left -= n
        rest, gone = (100 * max(part, 0) / self._in for part in (self._left, n))
        bars = [
            tag("i", class_="rest", style=f"left:0;width:{rest:.3f}%"),
            tag("i", class_="gone", style=f"left:{rest:.3f}%;width:{gone:.3f}%"),
        ]
        self._line(what, f"−{n:,}", amounts, joined(bars), "lost")

    def _line(self, what: str, n: str, amounts: str, bars: Html, kind: str) -> None:
        counted = tag("span", n, tag("small", f"  {amounts}") if amounts else "", class_=f"count {kind}")
        self.lines.append(
            tag("li", tag("span", what, class_=f"what {kind}"), counted, tag("span", bars, class_="track", aria_hidden="true"))
        )


def _amounts(n_bytes: int, n_tokens: float) -> str:
    return size(n_bytes) + (f" · {count(n_tokens)} tokens" if n_tokens else "")


def _by_count(reasons: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(reasons.items(), key=lambda item: (-item[1], item[0]))


def domains(corpus: Corpus) -> Html:
    """Shares before and after selection, asked and realised."""
    found = accounts.shares(corpus)
    unit = accounts.unit(corpus)
    drawn = []
    if AFTER in found:
        alt = f"Shares of the {unit} before and after selection. {said_shares(found[BEFORE], found[AFTER])}"
        drawn.append(figure(svg(plots.selection(corpus), alt, "selection-"), caption("Selection", f"share of the {unit}")))
    if REALISED in found:
        unit_mixed = accounts.mixed(corpus)["unit"]
        alt = f"Shares of the {unit_mixed} asked for and realised. {said_shares(found[ASKED], found[REALISED])}"
        drawn.append(figure(svg(plots.mixture(corpus), alt, "mixture-"), caption("Mixture", f"share of the {unit_mixed}")))
    names = [name for name in (BEFORE, AFTER, ASKED, REALISED) if name in found]
    rows = [[domain, *(f"{found[name].get(domain, 0):.2%}" for name in names)] for domain in found[BEFORE]]
    figures_table = table(["domain", *names], rows, caption="Shares of domains")
    shown = [tag("div", *drawn, class_="grid"), details("The same as numbers", figures_table)] if drawn else [figures_table]
    return section("domains", "Domains", *shown)


def caption(title: str, more: str) -> Html:
    """A title, and softer what it measures."""
    return joined([title, tag("small", more)])


def said_shares(first: Mapping[str, float], second: Mapping[str, float]) -> str:
    """The largest domains in words."""
    largest = sorted(second, key=lambda d: (-second[d], d))[:SAID_DOMAINS]
    more = f" and {len(second) - SAID_DOMAINS} more" if len(second) > SAID_DOMAINS else ""
    return "; ".join(f"{d} {first.get(d, 0):.1%} to {second[d]:.1%}" for d in largest) + more


def mixture(corpus: Corpus) -> Html | None:
    """Asked and realised, with how often documents are repeated."""
    mix = accounts.mixed(corpus)
    if not mix:
        return None
    emit = corpus.manifest.stages.get(f"emit/{corpus.mix}")
    realised = {line["domain"]: line for line in emit.totals["domains"]} if emit else {}
    everything = max(sum(line["amount"] for line in mix["plan"]), 1)
    rows: list[Sequence[object]] = []
    for line in mix["plan"]:
        got = realised.get(line["domain"])
        amounts = [count(line["amount"]), f"{line['amount'] / everything:.2%}", f"{line['asked']:.2%}"]
        rows.append(
            [
                line["domain"],
                *amounts,
                f"{got['realised_share']:.2%}" if got else "",
                f"{line['weight']:.3f}",
                f"{got['rows']:,}" if got else "",
            ]
        )
    heads = ["domain", f"{mix['unit']} selected", "natural", "asked", "realised", "copies each", "rows"]
    said = f"Budget {count(mix['budget'])} {mix['unit']}."
    if emit:
        said += f" Realised {count(emit.totals['realised_' + mix['unit']])}, in {emit.totals['rows']:,} rows."
    return section("mixture", "Mixture", tag("p", said, class_="soft"), table(heads, rows, caption="The mixture"))


def lineage(corpus: Corpus) -> Html:
    """Every stage: its ledger, how long it took, its fingerprint and what it was made from."""
    spent = read_times(corpus.folder)
    rows = []
    for name, entry in corpus.manifest.stages.items():
        took = duration(spent[name]["seconds"]) if name in spent else ""
        made_from = tag("span", ", ".join(entry.parents), class_="wrap")
        counted = [f"{len(entry.shards):,}", f"{entry.ledger.n_in:,}", f"{entry.ledger.kept:,}", took]
        rows.append([name, tag("code", entry.fingerprint[:12]), made_from, tag("span", _elsewhere(entry.ledger), class_="wrap"), *counted])
    heads = ["stage", "fingerprint", "made from", "went elsewhere", "shards", "in", "kept", "worker time"]
    intro = "A stage's fingerprint names everything that bears on its output. Equal fingerprints mean equal results."
    return section("lineage", "Stages and lineage", tag("p", intro, class_="soft"), table(heads, rows, left=4, caption="Stages"))


def _elsewhere(ledger: Ledger) -> str:
    gone = ledger.dropped | ({DUPLICATE: ledger.duplicate} if ledger.duplicate else {}) | ledger.quarantined
    return ", ".join(f"{reason} {n:,}" for reason, n in _by_count(gone))
