"""Which pages stand for each group of pages, the same for any sharding of the corpus and any number of workers.

Of every group the distinct documents with the smallest keyed hash are drawn: a random sample without a state. Two
passes: every part names its candidates, of which there are few; the driver decides; then the chosen texts are read
once and laid into shards of bounded size, in the order of the corpus. That order is one of contents (domain, hash of
the document), so the shards, and whatever a model computes on one, do not depend on how the corpus is cut.

P pages of the sample, D groups.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.corpus import Part, group_path, read_part
from curate.documents import DOC_ID
from curate.errors import InputError
from curate.evidence.chunks import ChunkRule, chunker
from curate.evidence.group_amounts import as_text
from curate.hashing import id_halves, id_keys
from curate.storage import Folder

PURPOSE = "losses/pages"
SHARD_BYTES = 8 << 20
"""Text of one shard at most, unless one page is longer: a few million tokens, what a kill loses."""
SHARD_PAGES = 1 << 14
MERGED_AT_ONCE = 1 << 20
"""Candidates that wait for the driver's next decision at most, beside those that are the best so far."""
NAMED_GROUPS = 5

_CANDIDATES = pa.schema([("group", pa.string()), ("doc_id", DOC_ID), ("n_bytes", pa.int64()), ("row", pa.int64())])
_PAGES = pa.schema([("doc_id", DOC_ID), ("group", pa.string()), ("n_bytes", pa.int64()), ("pieces", pa.list_(pa.large_string()))])


@dataclass(frozen=True)
class SampleRule:
    """How pages are drawn.

    Args:
        by: the column whose values are the groups.
        pages: drawn from each group at most.
        min_pages: distinct documents that a group must have.
    """

    by: str
    pages: int
    min_pages: int
    seed: int

    @property
    def depth(self) -> int:
        """Documents of a group that decide whether it is in, and which of them are."""
        return max(self.pages, self.min_pages)


@dataclass(frozen=True)
class CandidatesTask:
    """The first pass over one part; candidates go to ``scratch/candidates``."""

    corpus: Folder
    scratch: Folder
    part: Part
    rule: SampleRule

    @property
    def path(self) -> str:
        """In the scratch folder."""
        return f"candidates/{self.part.name}.arrow"


@dataclass(frozen=True)
class PageSample:
    """The pages that were drawn, in the order of the corpus.

    Args:
        groups: names of the groups that are in, sorted (D).
        table: of P pages: ``group`` (index into groups, int64), ``doc_id``, ``n_bytes``, ``part`` (index, int64), ``row``.
        counts: ``n_documents`` looked at, ``n_without_group`` of them, ``n_groups_left_out`` and ``n_pages_left_out``
            of groups with too few, ``left_out`` (some of those groups and how many pages each has).
    """

    groups: pa.Array
    table: pa.Table
    counts: dict[str, Any]

    @cached_property
    def group_of_page(self) -> np.ndarray:
        """Index of each page's group (P) int64."""
        return self.table["group"].to_numpy()

    @cached_property
    def _bounds(self) -> list[int]:
        """Pages at which shards begin, and the end."""
        bounds, held = [0], 0
        for i, size in enumerate(self.table["n_bytes"].to_pylist()):
            if i > bounds[-1] and (held + size > SHARD_BYTES or i - bounds[-1] == SHARD_PAGES):
                bounds.append(i)
                held = 0
            held += size
        return [*bounds, self.table.num_rows]

    @cached_property
    def shards(self) -> dict[str, slice]:
        """Name of each shard -> its pages."""
        n = len(self._bounds) - 1
        return {f"pages-{i:05d}-of-{n:05d}": slice(a, b) for i, (a, b) in enumerate(zip(self._bounds, self._bounds[1:], strict=False))}

    def n_bytes(self, shard: str) -> int:
        """Text bytes of one shard."""
        return int(self.table["n_bytes"].to_numpy()[self.shards[shard]].sum())

    def amounts(self) -> tuple[np.ndarray, np.ndarray]:
        """Pages and UTF-8 bytes of every group (D) int64."""
        n_bytes = np.zeros(len(self.groups), np.int64)
        np.add.at(n_bytes, self.group_of_page, self.table["n_bytes"].to_numpy())
        return np.bincount(self.group_of_page, minlength=len(self.groups)), n_bytes

    def save(self, scratch: Folder, name: str) -> None:
        """Keep it, so that a run that was killed need not decide again."""
        groups = pa.DictionaryArray.from_arrays(pa.array(self.group_of_page, pa.int32()), self.groups)
        table = self.table.set_column(0, "group", groups).replace_schema_metadata({"counts": json.dumps(self.counts)})
        with scratch.create(name) as out, pa.ipc.new_file(out, table.schema) as writer:
            writer.write_table(table.combine_chunks())

    @classmethod
    def read(cls, scratch: Folder, name: str) -> PageSample:
        """The inverse of ``save``."""
        table = read_scratch(scratch, name)
        group, counts = table["group"].chunk(0), json.loads(table.schema.metadata[b"counts"])
        return cls(group.dictionary, table.set_column(0, "group", group.indices.cast(pa.int64())), counts)


def read_scratch(scratch: Folder, name: str) -> pa.Table:
    """A whole Arrow file, each column in one piece."""
    with scratch.open(name) as file, pa.ipc.open_file(file) as reader:
        return reader.read_all().combine_chunks()


def find_candidates(task: CandidatesTask) -> tuple[int, int]:
    """Write the documents of one part that may be drawn. Returns how many documents it has, and how many without a group."""
    columns = list(dict.fromkeys(["doc_id", "n_bytes", task.rule.by]))
    table = read_part(task.corpus, task.part.name, columns)
    group = as_text(table[task.rule.by])
    group = pc.if_else(pc.equal(group, ""), None, group)  # as no name: a table of losses has one in every row
    table = pa.table([group, table["doc_id"], table["n_bytes"], pa.array(np.arange(len(table)))], schema=_CANDIDATES)
    named = table.filter(group.is_valid())
    kept = named.take(pa.array(_smallest(named, task.rule)))
    with task.scratch.create(task.path, durable=False) as out, pa.ipc.new_file(out, kept.schema) as writer:
        writer.write_table(kept)
    return len(table), len(table) - len(named)


def _smallest(table: pa.Table, rule: SampleRule) -> np.ndarray:
    """Rows of the ``depth`` smallest keys of each group, copies of one document counted once; ascending.

    Rows that stand further ahead stand for their copies.
    """
    codes = table["group"].combine_chunks().dictionary_encode().indices.to_numpy()
    ids = table["doc_id"].combine_chunks()
    halves, keys = id_halves(ids), id_keys(rule.seed, PURPOSE, ids)
    # The sort is stable: among copies the first row stays first.
    order = np.lexsort((halves[:, 1], halves[:, 0], keys, codes))
    codes, halves = codes[order], halves[order]
    new = np.ones(len(order), bool)
    new[1:] = (codes[1:] != codes[:-1]) | (halves[1:] != halves[:-1]).any(axis=1)
    order, codes = order[new], codes[new]
    return np.sort(order[_rank(codes) < rule.depth])


def _rank(codes: np.ndarray) -> np.ndarray:
    """The place of every row within its run of equal codes."""
    places = np.arange(len(codes))
    begins = np.ones(len(codes), bool)
    begins[1:] = codes[1:] != codes[:-1]
    return places - np.maximum.accumulate(np.where(begins, places, 0))


def decide(tasks: Sequence[CandidatesTask], looked_at: Iterable[tuple[int, int]]) -> PageSample:
    """The sample, from all candidates.

    Args:
        tasks: of all parts, done, in the order of the corpus.
        looked_at: what each of them returned.

    Raises:
        InputError: no group has enough pages.
    """
    rule = tasks[0].rule
    best: list[pa.Table] = []
    waiting = 0
    for i, task in enumerate(tasks):
        found = read_scratch(task.scratch, task.path)
        best.append(found.append_column("part", pa.array(np.full(len(found), i, np.int64))))
        waiting += len(found)
        if waiting > MERGED_AT_ONCE:
            best, waiting = [_best(best, rule)], 0
    n_documents, n_without = (sum(counts) for counts in zip(*looked_at, strict=True))
    return _drawn(_best(best, rule), rule, {"n_documents": n_documents, "n_without_group": n_without})


def _best(tables: list[pa.Table], rule: SampleRule) -> pa.Table:
    table = pa.concat_tables(tables).combine_chunks()
    return table.take(pa.array(_smallest(table, rule)))


def _drawn(table: pa.Table, rule: SampleRule, counts: dict[str, Any]) -> PageSample:
    """Leave out groups with too few pages, and of the others all but the first pages by their keys."""
    encoded = table["group"].combine_chunks().dictionary_encode()
    codes = encoded.indices.to_numpy()
    held = np.bincount(codes, minlength=len(encoded.dictionary))
    inside = held >= rule.min_pages
    names = encoded.dictionary.to_pylist()
    if not inside.any():
        most = f"; the largest, {names[int(held.argmax())]!r}, has {int(held.max()):,}" if len(held) else ""
        raise InputError(
            f"no group of {rule.by!r} has {rule.min_pages:,} distinct pages{most}", where="correlate.losses",
            expected=f"groups of at least {rule.min_pages:,} pages", fix="lower `min_pages` (and `pages`), or group by another column",
        )  # fmt: skip
    keys = id_keys(rule.seed, PURPOSE, table["doc_id"])
    halves = id_halves(table["doc_id"])
    order = np.lexsort((halves[:, 1], halves[:, 0], keys, codes))
    order = np.sort(order[(_rank(codes[order]) < rule.pages) & inside[codes[order]]])
    few = np.flatnonzero(~inside)
    named = {names[i]: int(held[i]) for i in sorted(few, key=lambda i: names[i])[:NAMED_GROUPS]}
    counts |= {"n_groups_left_out": len(few), "n_pages_left_out": int(held[few].sum()), "left_out": named}
    kept = pc.sort_indices(encoded.dictionary.filter(pa.array(inside)))
    groups = encoded.dictionary.filter(pa.array(inside)).take(kept)
    place = pc.index_in(encoded.dictionary, groups).fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    drawn = table.take(pa.array(order))
    group = pa.array(place[codes[order]], pa.int64())
    return PageSample(groups, pa.table([group, *(drawn[n] for n in ("doc_id", "n_bytes", "part", "row"))],
                                       names=["group", "doc_id", "n_bytes", "part", "row"]), counts)  # fmt: skip


@dataclass(frozen=True)
class GatherTask:
    """The second pass: the texts of one shard of the sample, written to ``scratch/pages``.

    Args:
        parts: names of parts and rows of them, in order.
        pages: columns ``doc_id`` and ``group`` (names) of the shard's pages.
        chunks: how pages are cut into pieces; None leaves them whole.
    """

    corpus: Folder
    scratch: Folder
    shard: str
    parts: tuple[tuple[str, np.ndarray], ...]
    pages: pa.Table
    chunks: ChunkRule | None


def gather_task(
    corpus: Folder, scratch: Folder, parts: Sequence[Part], sample: PageSample, shard: str, chunks: ChunkRule | None
) -> GatherTask:
    """The task for one shard."""
    where = sample.shards[shard]
    some = sample.table.slice(where.start, where.stop - where.start)
    part, row = some["part"].to_numpy(), some["row"].to_numpy()
    wanted = tuple((parts[p].name, row[part == p]) for p in np.unique(part).tolist())
    names = sample.groups.take(some["group"].combine_chunks())
    return GatherTask(corpus, scratch, shard, wanted, pa.table({"doc_id": some["doc_id"], "group": names}), chunks)


def pages_path(shard: str) -> str:
    """Where the texts of a shard lie in the scratch folder: doc_id, group, n_bytes, and the page's pieces in order."""
    return f"pages/{shard}.arrow"


def gather_pages(task: GatherTask) -> int:
    """Write one shard's pages; returns their text bytes."""
    texts = [text for part, rows in task.parts for text in _texts(task.corpus, part, rows)]
    text = pa.chunked_array(texts, pa.large_string()).combine_chunks()
    n_bytes = pc.binary_length(text).cast(pa.int64())
    if task.chunks is None:
        pieces = pa.ListArray.from_arrays(pa.array(np.arange(len(text) + 1), pa.int32()), text)
    else:
        pieces = pa.array(chunker(task.chunks).cut(text.to_pylist()), _PAGES.field("pieces").type)
    pages = pa.table([task.pages["doc_id"], task.pages["group"], n_bytes, pieces], schema=_PAGES).combine_chunks()
    with task.scratch.create(pages_path(task.shard)) as out, pa.ipc.new_file(out, pages.schema) as writer:
        writer.write_table(pages)
    return int(pc.sum(n_bytes).as_py() or 0)


def _texts(corpus: Folder, part: str, rows: np.ndarray) -> list[pa.Array]:
    """Texts of some rows of a part (ascending), reading only the row groups they lie in, one at a time."""
    found = []
    with corpus.open(f"{group_path('')}/{part}.parquet") as file, pq.ParquetFile(file) as parquet:
        sizes = [parquet.metadata.row_group(i).num_rows for i in range(parquet.num_row_groups)]
        edges = np.concatenate([[0], np.cumsum(sizes)])
        bounds = np.searchsorted(rows, edges)
        for i in np.flatnonzero(np.diff(bounds)).tolist():
            text = parquet.read_row_group(i, columns=["text"], use_threads=False)["text"]
            found += text.take(pa.array(rows[bounds[i] : bounds[i + 1]] - edges[i])).cast(pa.large_string()).chunks
    return found
