"""Why: everything about one document, and the way back from an emitted row to its source."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Group
from rich.table import Table
from rich.text import Text

from curate.config import Circumstance
from curate.corpus import DEDUP, Corpus, Part, read_part
from curate.documents import DOC_ID
from curate.errors import ConfigError, InputError, nearest

SHOWN_TEXT = 300
SHOWN_COPIES = 10


@dataclass(frozen=True)
class Copy:
    """One emitted row of a document."""

    shard: str
    row: int
    copy: int


def explain(url: str, document: str, mix: str | None = None, tokens: bool = False) -> Group:
    """The account of a document given by id, unique prefix of one, or ``SHARD:ROW`` of an emitted row.

    Args:
        tokens: also tell the nats of every token, under each language model that scored the document.

    Raises:
        InputError: no such document, or several with that prefix.
    """
    corpus = Corpus.open(url, mix=mix)
    ids = _of_row(corpus, document) if ":" in document else [_by_prefix(corpus, document)]
    blocks = [block for doc_id in ids for block in _account(corpus, doc_id)]
    if tokens:
        from curate.why_tokens import explain_tokens

        part, row = corpus.find(ids[0])[0]
        text = corpus.read(part, ["text"])["text"][row].as_py()
        blocks.append(explain_tokens(corpus, text, Path(Circumstance().cache)))
    return Group(*blocks)


def _by_prefix(corpus: Corpus, given: str) -> bytes:
    """The doc_id that begins with these hex digits."""
    prefix = given.lower().removeprefix("0x")
    if not re.fullmatch(r"[0-9a-f]{4,32}", prefix):
        raise ConfigError(
            f"{given!r} is no document id",
            where="DOC_ID",
            expected="4 to 32 hex digits, or SHARD:ROW",
            fix="copy it from `curate show` or a shard",
        )
    low = bytes.fromhex(prefix.ljust(32, "0"))
    high = bytes.fromhex(prefix.ljust(32, "f"))
    found: set[bytes] = set()
    for part in corpus.parts:
        ids = read_part(corpus.folder, part.name, ["doc_id"])["doc_id"].cast(pa.binary())
        inside = pc.and_(pc.greater_equal(ids, pa.scalar(low)), pc.less_equal(ids, pa.scalar(high)))
        found |= set(ids.filter(inside).to_pylist())
    if not found:
        raise InputError(
            f"no document {given}", where=corpus.folder.url, expected="a doc_id of this corpus", fix="copy it from `curate show` or a shard"
        )
    if len(found) > 1:
        raise InputError(
            f"{len(found)} documents begin with {given}",
            where=corpus.folder.url,
            expected="a unique prefix",
            fix=f"one of: {', '.join(sorted(i.hex() for i in found)[:4])}",
        )
    return found.pop()


def _shards(corpus: Corpus) -> list[str]:
    entry = corpus.manifest.stages.get(f"emit/{corpus.mix}")
    return entry.shards if entry else []


def _of_row(corpus: Corpus, place: str) -> list[bytes]:
    """The document of an emitted row; all of them for a packed one."""
    name, _, row = place.rpartition(":")
    name = name.rsplit("/", 1)[-1].removesuffix(".arrow")
    matching = [s for s in _shards(corpus) if s == name or s.startswith(f"{name}-of-")]
    if not matching or not row.isdecimal():
        raise InputError(
            f"no emitted row {place!r}",
            where=corpus.folder.url,
            expected="SHARD:ROW, e.g. shard-00000:17",
            fix=nearest(name, _shards(corpus)),
        )
    wanted = int(row)
    for start, batch in _batches(corpus, matching[0]):
        if wanted < start + batch.num_rows:
            record = batch.slice(wanted - start, 1).to_pylist()[0]
            return [record["doc_id"]] if "doc_id" in record else list(dict.fromkeys(record["doc_ids"]))
    raise InputError(
        f"{matching[0]} has no row {wanted}",
        where=corpus.folder.url,
        expected="a row of the shard, from 0",
        fix="see `curate show CORPUS SHARD`",
    )


def _batches(corpus: Corpus, shard: str) -> Iterator[tuple[int, pa.RecordBatch]]:
    start = 0
    with corpus.folder.open(f"mixes/{corpus.mix}/{shard}.arrow") as file, pa.ipc.open_stream(file) as stream:
        for batch in stream:
            yield start, batch
            start += batch.num_rows


def _account(corpus: Corpus, doc_id: bytes) -> list[Any]:
    """The blocks printed for one document: where it came from, columns, copies."""
    places = corpus.find(doc_id)
    blocks: list[Any] = [Text.assemble(("document ", "dim"), (doc_id.hex(), "bold"))]
    if len(places) > 1:
        blocks.append(Text(f"{len(places)} exact copies in the corpus", style="yellow"))
    copies = find_copies(corpus, doc_id)
    for part, row in places[:SHOWN_COPIES]:
        blocks += [Text(), _one(corpus, part, row)]
    if len(places) > SHOWN_COPIES:
        blocks += [Text(), Text(f"and {len(places) - SHOWN_COPIES:,} more exact copies", style="dim")]
    # The rows of exact copies are of one cluster.
    blocks += _cluster(corpus, *places[0])
    blocks += [Text(), _copies(corpus, copies)]
    return blocks


def _one(corpus: Corpus, part: Part, row: int) -> Table:
    """Every column of one row."""
    fields = corpus.columns()
    names = [name for name, field in fields.items() if not _for_machines(field)]
    values = corpus.read(part, names).slice(row, 1).to_pylist()[0]
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="dim")
    table.add_column()
    table.add_row("source", f"{values['source']}, row {values['source_row']:,}")
    table.add_row("in the corpus", f"documents/{part.name}.parquet, row {row:,}")
    for name in names:
        if name in ("doc_id", "source", "source_row", "text"):
            continue
        table.add_row(name, _shown(values[name]))
    if corpus.is_selected and not values["selection.keep"]:
        table.add_row("verdict", Text(f"dropped: {values['selection.reason']}", style="red"))
    for group, span in _matched(values):
        table.add_row(f"{group}: matched", Text(_visible(span), style="yellow"))
    text = _visible(values["text"])
    table.add_row("text", Text(text[:SHOWN_TEXT] + ("…" if len(text) > SHOWN_TEXT else "")))
    return table


def _for_machines(field: pa.Field) -> bool:
    """Columns that only serve a later stage: band keys, sketches and vectors say nothing to a person."""
    is_sketch = pa.types.is_fixed_size_binary(field.type) and field.type != DOC_ID
    return is_sketch or pa.types.is_fixed_size_list(field.type) or (field.metadata or {}).get(b"unit") == b"band key"


def _cluster(corpus: Corpus, part: Part, row: int) -> list[Any]:
    """The documents that dedup takes for one, the kept one first; nothing where a document is alone."""
    if DEDUP not in corpus.groups():
        return []
    cluster = corpus.read(part, [f"{DEDUP}.cluster"])[f"{DEDUP}.cluster"][row]
    if not cluster.is_valid:
        return []
    columns = ["doc_id", "source", "source_row", *(f"{DEDUP}.{name}" for name in ("keep", "similarity"))]
    found = []
    for other in corpus.parts:
        own = corpus.read(other, [f"{DEDUP}.cluster"])[f"{DEDUP}.cluster"]
        hits = pc.indices_nonzero(pc.equal(own, cluster))
        if len(hits):
            found.append(corpus.read(other, columns).take(hits))
    members = pa.concat_tables(found)
    order = pc.sort_indices(
        members,
        sort_keys=[
            (f"{DEDUP}.keep", "descending"),
            (f"{DEDUP}.similarity", "descending"),
            ("source", "ascending"),
            ("source_row", "ascending"),
        ],
    )
    table = Table(title="one document to dedup", title_justify="left", title_style="bold", box=None, pad_edge=False, show_header=False)
    for m in members.take(order[:SHOWN_COPIES]).to_pylist():
        kept = m[f"{DEDUP}.keep"]
        said = "kept" if kept else f"similarity {m[f'{DEDUP}.similarity']:.3f}"
        table.add_row(m["doc_id"].hex()[:12], f"{m['source']}, row {m['source_row']:,}", Text(said, style="green" if kept else "red"))
    if len(members) > SHOWN_COPIES:
        table.add_row("", f"and {len(members) - SHOWN_COPIES:,} more")
    return [Text(), table]


def _matched(values: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Stretches of the text that a scorer points at with byte offsets ``start`` and ``end``."""
    for name, start in values.items():
        group = name.removesuffix(".start")
        end = values.get(f"{group}.end")
        if name.endswith(".start") and isinstance(start, int) and isinstance(end, int):
            yield group, values["text"].encode()[start:end].decode(errors="replace")


def _visible(text: str) -> str:
    """Text without what a terminal would obey: control characters become U+FFFD."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text[: SHOWN_TEXT + 1])


def _shown(value: Any) -> str:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return "null" if value is None else str(value)


def find_copies(corpus: Corpus, doc_id: bytes) -> list[Copy]:
    """Every emitted row that holds the document."""
    found = []
    for shard in _shards(corpus):
        for start, batch in _batches(corpus, shard):
            if "doc_id" in batch.schema.names:
                rows = pc.indices_nonzero(pc.equal(batch["doc_id"], pa.scalar(doc_id, DOC_ID))).to_pylist()
                found += [Copy(shard, start + r, batch["copy"][r].as_py()) for r in rows]
            else:
                hits = pc.equal(batch["doc_ids"].flatten(), pa.scalar(doc_id, DOC_ID))
                rows = pc.list_parent_indices(batch["doc_ids"]).filter(hits).to_pylist()
                found += [Copy(shard, start + r, -1) for r in rows]
    return found


def _copies(corpus: Corpus, copies: list[Copy]) -> Table | Text:
    """Where each copy went."""
    if not _shards(corpus):
        return Text("nothing has been emitted yet", style="dim")
    if not copies:
        return Text(f"in no row of mixes/{corpus.mix}", style="dim")
    table = Table(title=f"emitted rows in mixes/{corpus.mix}", title_justify="left", title_style="bold", box=None, pad_edge=False)
    for name in ("shard", "row", "copy"):
        table.add_column(name, justify="left" if name == "shard" else "right")
    for c in copies:
        table.add_row(c.shard, f"{c.row:,}", "packed" if c.copy < 0 else str(c.copy))
    return table
