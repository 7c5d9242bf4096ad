"""Show: a corpus, one shard, or a mix, for a person to read."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Group
from rich.table import Table
from rich.text import Text

from curate.corpus import CORRELATE, DEDUP, Corpus, read_times, split_name
from curate.correlations_table import classifier_lines, correlations_detail, shift_tables
from curate.errors import InputError, nearest
from curate.manifest import Ledger
from curate.quantities import count, size
from curate.selection_shift import classifier_reports, selection_shift
from curate.summary import summary
from curate.weights_table import weighs_documents, weights_detail


def split_mix(url: str, mix: str | None) -> tuple[str, str | None]:
    """``CORPUS/mixes/NAME`` as the corpus and the name of its mix; anything else as it is."""
    above, _, name = url.rstrip("/").rpartition("/mixes/")
    return (above, name) if above and name and "/" not in name and mix is None else (url, mix)


def show_corpus(url: str, mix: str | None = None) -> Group:
    """Schema, counts, ledger of every stage, lineage."""
    corpus = Corpus.open(url, mix=mix)
    title = Text.assemble(("corpus ", "dim"), (url, "bold"), ("   pipeline ", "dim"), corpus.manifest.pipeline)
    beside = [*_agreements(corpus), *_ratings(corpus), *_duplicates(corpus), *_correlations(corpus), *_weights(corpus)]
    return Group(title, Text(), _schema(corpus), Text(), _ledgers(corpus), Text(), *beside, summary(corpus, read_times(corpus.folder)))


def _plain(title: str, *columns: str, right: tuple[str, ...] = ()) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for name in columns:
        table.add_column(name, justify="right" if name in right else "left")
    return table


def _schema(corpus: Corpus) -> Table:
    """Every column with type, unit and direction."""
    table = _plain(f"columns of {corpus.n_documents:,} documents in {len(corpus.parts)} parts", "column", "type", "unit", "better")
    fields = corpus.columns()
    bands = [name for name, field in fields.items() if (field.metadata or {}).get(b"unit") == b"band key"]
    for name, field in fields.items():
        if name in bands[1:]:
            continue
        said = {k.decode(): v.decode() for k, v in (field.metadata or {}).items()}
        better = {"higher": "higher", "lower": "lower"}.get(said.get("direction", ""), "")
        name = f"{name} … {split_name(bands[-1])[1]}" if name in bands[:1] else name
        table.add_row(Text(name, style="" if split_name(name)[0] else "bold"), str(field.type), said.get("unit", ""), better)
    return table


def _ledgers(corpus: Corpus) -> Table:
    """Where every stage's inputs went, and its fingerprint."""
    columns = ("stage", "shards", "in", "kept", "elsewhere", "fingerprint", "made from")
    table = _plain("ledger and lineage", *columns, right=("shards", "in", "kept"))
    for name, entry in corpus.manifest.stages.items():
        ledger = entry.ledger
        table.add_row(
            name,
            f"{len(entry.shards):,}",
            f"{ledger.n_in:,}",
            f"{ledger.kept:,}",
            _elsewhere(ledger),
            entry.fingerprint[:8],
            ", ".join(entry.parents),
        )
    return table


def _duplicates(corpus: Corpus) -> list[Any]:
    """Copies by domain and the largest clusters, where dedup has run."""
    entry = corpus.manifest.stages.get(DEDUP)
    if entry is None:
        return []
    found = entry.totals
    title = f"duplicates: {found['exact']:,} exact, {found['near']:,} near, in {found['clusters']:,} clusters"
    table = _plain("", "domain", "documents", "exact", "near", "share", right=("documents", "exact", "near", "share"))
    table.title = None
    for domain, own in found["by_domain"].items():
        copies = own["exact"] + own["near"]
        table.add_row(domain, f"{own['documents']:,}", f"{own['exact']:,}", f"{own['near']:,}", f"{copies / max(own['documents'], 1):.2%}")
    largest = ", ".join(f"{c['documents']:,} like {c['cluster'][:12]}" for c in found["largest"][:5])
    return [Text(title, style="bold"), table, Text(f"largest clusters: {largest}" if largest else "no clusters", style="dim"), Text()]


def _agreements(corpus: Corpus) -> list[Any]:
    """How two scores agree, overall and by domain, for every scorer that looked."""
    blocks: list[Any] = []
    for name in corpus.learned("agreement.json"):
        found = json.loads(corpus.folder.read(f"models/{name}/agreement.json"))
        halves = [f"{window} half" for window in found["overall"]["overlap"]]
        table = _plain("", "domain", "documents", "Spearman", *halves, right=("documents", "Spearman", *halves))
        table.title = f"{name}: {' and '.join(found['columns'])}, and how much of a half both would keep"
        for line in [{"domain": "all", **found["overall"]}, *found["domains"]]:
            rho, overlap = line["spearman"], line["overlap"] or {}
            shares = [f"{share:.1%}" for share in overlap.values()]
            table.add_row(line["domain"], f"{line['n']:,}", "" if rho is None else f"{rho:.3f}", *shares)
        blocks += [table, Text()]
    return blocks


def _ratings(corpus: Corpus) -> list[Any]:
    """How right raters are on documents held out from them, for every one that learned here."""
    blocks: list[Any] = []
    for name in corpus.learned("rating.json"):
        path = f"models/{name}/rating.json"
        try:
            blocks += [*_rating(name, json.loads(corpus.folder.read(path))), Text()]
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                "what a rater has left is damaged",
                where=corpus.folder.at(path),
                expected="the figures of its heads",
                fix=f"remove records/fit/{name}/model.json and run the pipeline again",
            ) from error
    return blocks


def _rating(name: str, found: dict[str, Any]) -> list[Any]:
    """One rater: both heads on the same documents, and whether they were learned to the end."""
    names = ("accuracy", "within one", "absolute error", "squared error", "Spearman")
    table = _plain("", "head", *names, right=names)
    labels = f"{found['n_records']:,} labels from 0 to {found['classes'] - 1} of {found['n_texts']:,} texts"
    table.title = f"{name}: {labels}, on {found['n_held_out']:,} held out"
    for line in found["heads"]:
        share = [line[key] for key in ("accuracy", "within_one")]
        error = [line[key] for key in ("mean_absolute_error", "mean_squared_error", "spearman")]
        cells = [*("" if x is None else f"{x:.1%}" for x in share), *("" if x is None else f"{x:.3f}" for x in error)]
        table.add_row(line["head"] + (", used" if line["head"] == found["head"] else ""), *cells)
    lost = [f"{line['head']} did not converge, in {line['n_steps']:,} steps" for line in found["heads"] if not line["converged"]]
    return [table, *(Text(f"{said}: raise `l2`", style="yellow") for said in lost)]


def _correlations(corpus: Corpus) -> list[Any]:
    """What correlations found, what the selection then did, and what page classifiers find of their labels."""
    entry, shift = corpus.manifest.stages.get(CORRELATE), selection_shift(corpus)
    blocks = correlations_detail(entry.totals) if entry else []
    return [*blocks, *(shift_tables(shift) if shift else []), *classifier_lines(classifier_reports(corpus))]


def _weights(corpus: Corpus) -> list[Any]:
    """The heaviest and lightest documents, where the mixer weighs documents."""
    entry = corpus.manifest.stages.get(f"mix/{corpus.mix}")
    return weights_detail(entry.totals) if entry and weighs_documents(entry.totals) else []


def _elsewhere(ledger: Ledger) -> str:
    gone = ledger.dropped | ({"duplicate": ledger.duplicate} if ledger.duplicate else {}) | ledger.quarantined
    return ", ".join(f"{reason} {n:,}" for reason, n in sorted(gone.items(), key=lambda item: -item[1]))


def show_shard(url: str, shard: str, mix: str | None = None) -> Group:
    """One documents part or one output shard: its schema, counts by domain, first rows."""
    corpus = Corpus.open(url, mix=mix)
    emitted = corpus.manifest.stages.get(f"emit/{corpus.mix}")
    outputs = emitted.shards if emitted else []
    name = shard.rsplit("/", 1)[-1].removesuffix(".parquet").removesuffix(".arrow")
    if name in {part.name for part in corpus.parts}:
        path = f"documents/{name}.parquet"
        with corpus.folder.open(path) as file:
            table = pq.read_table(file)
    elif name in outputs:
        path = f"mixes/{corpus.mix}/{name}.arrow"
        with corpus.folder.open(path) as file, pa.ipc.open_stream(file) as stream:
            table = stream.read_all()
    else:
        known = [part.name for part in corpus.parts] + list(outputs)
        raise InputError(f"no shard {shard!r}", where=url, expected="a documents part or an output shard", fix=nearest(name, known))
    head = Text.assemble((path, "bold"), f"   {table.num_rows:,} rows, {size(corpus.folder.size(path))} on disk")
    blocks: list[Any] = [head, Text(), _fields(table)]
    if "domain" in table.column_names:
        blocks += [Text(), _by_domain(table)]
    return Group(*blocks)


def _fields(table: pa.Table) -> Table:
    """The schema with the first row."""
    shown = _plain("columns", "column", "type", "first row")
    first = table.slice(0, 1).to_pylist()[0] if len(table) else {}
    for field in table.schema:
        value = first.get(field.name)
        text = value.hex() if isinstance(value, bytes) else repr(value)
        shown.add_row(field.name, str(field.type), text if len(text) <= 80 else text[:77] + "...")
    return shown


def _by_domain(table: pa.Table) -> Table:
    """Rows and bytes by domain."""
    plain = pa.table({"domain": table["domain"].cast(pa.string()), "n_bytes": table["n_bytes"]})
    sums = plain.group_by("domain").aggregate([("n_bytes", "count"), ("n_bytes", "sum")]).sort_by("domain")
    total = sum(sums["n_bytes_sum"].to_pylist())
    shown = _plain("by domain", "domain", "rows", "text", "share", right=("rows", "text", "share"))
    for row in sums.to_pylist():
        shown.add_row(row["domain"], count(row["n_bytes_count"]), size(row["n_bytes_sum"]), f"{row['n_bytes_sum'] / max(total, 1):.2%}")
    return shown
