"""The stages as a tree, with what is done and what it will cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from curate.corpus import INGEST
from curate.quantities import count, duration, size

if TYPE_CHECKING:
    from curate.dedup import Dedup
    from curate.pipeline import Pipeline
    from curate.planning import Estimate

SHOWN_COLUMNS = 6
MARKS = {"done": ("✓", "green"), "pending": ("○", "yellow"), "changed": ("↻", "yellow")}


def stage_tree(pipeline: Pipeline) -> Tree:
    """Every stage below the last of its parents."""
    statuses = {s.stage.name: s for s in pipeline.status()}
    tree = Tree(Text.assemble((pipeline.config.name, "bold"), f"  →  {pipeline.config.output}"))
    nodes: dict[str, Any] = {}
    order = list(statuses)
    for name, status in statuses.items():
        mark, colour = MARKS[status.state]
        label = Text.assemble((f"{mark} ", colour), (name, "bold"), f"  {_describe(pipeline, name)}")
        if status.state == "changed":
            label.append(f"  changed: {'; '.join(status.changes[:3])}", style="yellow")
        parents = [p for p in status.stage.parents if p in nodes]
        above = nodes[max(parents, key=order.index)] if parents else tree
        nodes[name] = above.add(label)
    return tree


def _describe(pipeline: Pipeline, name: str) -> str:
    """What a stage does, in a few words."""
    stage: Any = pipeline.stages[name]
    if name == INGEST:
        files = stage.listing.files
        skipped = f", {len(stage.listing.skipped)} skipped" if stage.listing.skipped else ""
        return f"{len(files)} files, {size(sum(f.size for f in files))}{skipped}"
    kind = name.split("/")[0]
    if kind == "fit":
        return f"learn from at most {size(stage.sample.n_bytes)}" if stage.sample.n_bytes else "learn from files of its own"
    if kind == "score":
        names = [*(["learned model"] if stage.learns else []), *stage.scorer.outputs.names]
        more = f" and {len(names) - SHOWN_COLUMNS} more" if len(names) > SHOWN_COLUMNS else ""
        return f"{stage.spec.use}: {', '.join(names[:SHOWN_COLUMNS])}{more}"
    if kind == "losses":
        names, settings = stage.model_names(), stage.settings
        pages = "imported" if settings.table is not None else f"{settings.pages} pages of each {settings.by}"
        return f"bits per byte of {len(names)} models, {pages}"
    if kind == "correlate":
        settings = stage.settings
        return f"{settings.estimator} with {len(stage.results.names_B)} benchmarks, {settings.projection}, keep {settings.filter_ratio:g}"
    if kind == "dedup":
        return _describe_dedup(stage.config)
    if kind == "select":
        return ", ".join(rule.code for rule in stage.rules)
    if kind == "mix":
        budget = stage.config.token_budget or stage.config.byte_budget
        return f"{stage.config.use}, " + (f"{count(budget)} {stage.unit}" if budget else f"as many {stage.unit} as repeat nothing")
    return f"{stage.config.format}, shards of {size(stage.config.shard_bytes)}"


def _describe_dedup(config: Dedup) -> str:
    """What counts as a copy, and which one stays."""
    near = config.near
    kinds = ["exact copies"] if config.exact else []
    if near is not None:
        verified = ", verified" if near.verify else ""
        kinds.append(f"near copies from {near.threshold:g} ({near.bands} x {near.rows} over {near.ngram}-grams{verified})")
    stays = f"best {config.column}" if config.column else config.keep
    return f"{' and '.join(kinds)}, the {stays} stays"


def estimate_table(pipeline: Pipeline, estimate: Estimate) -> Table:
    """What the whole pipeline will read, make and take."""
    table = Table(
        title=f"estimated from {size(estimate.sample_bytes)} of text", title_justify="left", box=None, pad_edge=False, title_style="bold"
    )
    table.add_column("")
    table.add_column("", justify="right")
    table.add_row("documents", count(estimate.n_documents))
    table.add_row("text", size(estimate.n_bytes))
    if estimate.n_tokens is not None:
        table.add_row("tokens", count(estimate.n_tokens))
    for domain, n_bytes in sorted(estimate.domains.items()):
        table.add_row(f"  {domain}", size(n_bytes))
    table.add_row("disk, at the peak", size(estimate.disk_bytes))
    table.add_row("memory, at the peak", size(estimate.memory_bytes))
    for name, seconds in estimate.seconds.items():
        state = "" if name in estimate.pending else "  (done)"
        table.add_row(f"time: {name}{state}", duration(seconds))
    table.add_row(
        f"time still to go, {estimate.workers} workers", duration(sum(estimate.seconds[n] for n in estimate.pending)), style="bold"
    )
    return table
