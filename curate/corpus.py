"""A corpus on disk: documents, the columns beside them, and the notebook's entrance.

    corpus = Corpus.open("runs/quickstart")
    corpus.table(["domain", "langid.label", "ppl.perplexity"]).to_pandas()

A column is named bare when it belongs to the documents (``n_bytes``), and by its group
when it lies beside them: ``langid.label`` (scores/langid), ``selection.keep``,
``mix.weight`` (mixes/<mix>/weights). Same parts, same rows, same order: that is checked
by the hash of the doc_id column when a group is opened, never assumed.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import xxhash

from curate import documents
from curate.errors import ConfigError, InputError, IntegrityError, nearest
from curate.manifest import HashingWriter, Manifest, Record, StageEntry, records
from curate.storage import Folder

INGEST = "ingest"
SELECTION = "selection"
DEDUP = "dedup"
LOSSES, CORRELATE = "losses", "correlate"
LOSSES_FOLDER, WEIGHTS_FOLDER = "evidence/bits_per_byte", "evidence/weights"
EVIDENCE_TABLE, EVIDENCE_CARD = "table.parquet", "README.md"
DUPLICATE = "duplicate"  # what the reasons of dropped copies begin with
RUN_FILE = "run.json"


def read_times(corpus: Folder) -> dict[str, Any]:
    """How long each stage took when it last ran: provenance, no part of any identity."""
    if not corpus.exists(RUN_FILE):
        return {}
    found: dict[str, Any] = json.loads(corpus.read(RUN_FILE))["stages"]
    return found


def group_stage(group: str, mix: str = "default") -> str:
    """The stage that makes a column group; '' is the documents."""
    if group == "":
        return INGEST
    return {SELECTION: "select", DEDUP: DEDUP, "mix": f"mix/{mix}"}.get(group, f"score/{group}")


def group_path(group: str, mix: str = "default") -> str:
    """The folder of a column group."""
    if group == "":
        return "documents"
    return {SELECTION: SELECTION, DEDUP: DEDUP, "mix": f"mixes/{mix}/weights"}.get(group, f"scores/{group}")


def statistics_path(mix: str) -> str:
    """Where a mix keeps the sums that other settings of its mixer can be tried on."""
    return f"mixes/{mix}/statistics.parquet"


def read_weights(corpus: Folder) -> pa.Table:
    """The weights of groups of pages that ``correlate:`` made; see ``curate.correlation.weights``."""
    with corpus.open(f"{WEIGHTS_FOLDER}/{EVIDENCE_TABLE}") as file:
        return pq.read_table(file)


def split_name(column: str) -> tuple[str, str]:
    """``langid.label`` as (langid, label); a bare name as ('', name)."""
    group, _, name = column.rpartition(".")
    return group, name


def _id_bytes(doc_ids: pa.Array) -> memoryview:
    """The bytes of a doc_id array, one id after another."""
    width = documents.DOC_ID.byte_width
    return memoryview(doc_ids.buffers()[1] or b"")[width * doc_ids.offset : width * (doc_ids.offset + len(doc_ids))]


def ids_hash(doc_ids: Iterable[pa.Array]) -> str:
    """xxh3-128 over a doc_id column: equal hashes mean the same rows in the same order."""
    hasher = xxhash.xxh3_128()
    for chunk in doc_ids:
        hasher.update(_id_bytes(chunk))
    return hasher.hexdigest()


def read_part(corpus: Folder, part: str, columns: Sequence[str], row_groups: Sequence[int] | None = None, mix: str = "default") -> pa.Table:
    """Columns of one part, from whichever groups hold them, as one table with the names asked for and what their fields state.

    Args:
        row_groups: of the documents' file, all when None. Files beside it have row groups of their own, so their
            columns are read whole and the same rows taken.
    """
    by_group: dict[str, list[str]] = {}
    for column in columns:
        group, name = split_name(column)
        by_group.setdefault(group, []).append(name)
    read: dict[str, tuple[pa.Field, pa.ChunkedArray]] = {}
    for group, names in by_group.items():
        with corpus.open(f"{group_path(group, mix)}/{part}.parquet") as file, pq.ParquetFile(file) as parquet:
            wanted = row_groups if row_groups is not None and not group else range(parquet.num_row_groups)
            table = parquet.read_row_groups(list(wanted), columns=names, use_threads=False)
        if row_groups is not None and group:
            table = pa.concat_tables([table.slice(0, 0), *(table.slice(a, n) for a, n in _row_ranges(corpus, part, row_groups))])
        for name in names:
            column, values = f"{group}.{name}" if group else name, table[name]
            read[column] = (pa.field(column, values.type, metadata=table.schema.field(name).metadata), values)
    return pa.table([read[column][1] for column in columns], schema=pa.schema([read[column][0] for column in columns]))


def _row_ranges(corpus: Folder, part: str, row_groups: Sequence[int]) -> list[tuple[int, int]]:
    """First row and number of rows of some row groups of a documents file."""
    with corpus.open(f"{group_path('')}/{part}.parquet") as file, pq.ParquetFile(file) as parquet:
        sizes = [parquet.metadata.row_group(i).num_rows for i in range(parquet.num_row_groups)]
    return [(sum(sizes[:i]), sizes[i]) for i in row_groups]


class SidecarWriter:
    """Writes one part of a column group row group by row group, doc_id first."""

    def __init__(self, corpus: Folder, group: str, part: str, schema: pa.Schema, mix: str = "default") -> None:
        self.path = f"{group_path(group, mix)}/{part}.parquet"
        self._schema = pa.schema([pa.field("doc_id", documents.DOC_ID, nullable=False), *schema])
        self._create = corpus.create(self.path)
        self._ids = xxhash.xxh3_128()
        self.rows = 0

    def __enter__(self) -> SidecarWriter:
        self._hashing = HashingWriter(self._create.__enter__())
        self._parquet = pq.ParquetWriter(self._hashing, self._schema, compression="zstd", store_schema=True)
        return self

    def write(self, doc_ids: pa.Array, scores: pa.RecordBatch | pa.Table) -> None:
        """One row group."""
        table = pa.table([doc_ids, *scores.columns], schema=self._schema)
        self._parquet.write_table(table, row_group_size=max(1, len(table)))
        for chunk in table["doc_id"].chunks:
            self._ids.update(_id_bytes(chunk))
        self.rows += len(table)

    def __exit__(self, *error: Any) -> None:
        # After an error the file is thrown away, but a writer left open would complain when it is collected.
        with contextlib.suppress(*(() if error[0] is None else (Exception,))):
            self._parquet.close()
        self._create.__exit__(*error)

    def file(self) -> dict[str, dict[str, Any]]:
        """The file's line in a record, with the hash that proves alignment."""
        return {self.path: self._hashing.entry(self.rows) | {"ids": self._ids.hexdigest()}}


@dataclass(frozen=True)
class Part:
    """One documents shard.

    Args:
        name: file name without extension.
        domains: (domain, rows, text bytes) in file order; rows of a domain are contiguous.
        ids: hash of the doc_id column.
    """

    name: str
    domains: tuple[tuple[str, int, int], ...]
    ids: str

    @property
    def n_rows(self) -> int:
        """Documents."""
        return sum(rows for _, rows, _ in self.domains)

    @property
    def n_bytes(self) -> int:
        """Text bytes."""
        return sum(size for _, _, size in self.domains)

    @classmethod
    def of(cls, record: Record) -> Part:
        """From an ingest record."""
        return cls(record.shard, tuple((d, r, b) for d, r, b in record.totals["domains"]), record.totals["ids"])


def parts_of(corpus: Folder, entry: StageEntry) -> list[Part]:
    """The documents shards of a complete ingest, in order."""
    found = records(corpus, INGEST, entry.fingerprint)
    missing = [name for name in entry.shards if name not in found]
    if missing:
        raise IntegrityError(
            f"{len(missing)} documents shards have no record",
            where=missing[0],
            expected="a record for every shard",
            fix="run the pipeline again",
        )
    return [Part.of(found[name]) for name in entry.shards]


@dataclass
class Corpus:
    """A corpus opened for reading. Only complete stages of an unbroken lineage are visible."""

    folder: Folder
    manifest: Manifest
    mix: str = "default"
    _aligned: set[str] = field(default_factory=set)

    @classmethod
    def open(cls, url: str, *, mix: str | None = None, storage_options: dict[str, Any] | None = None) -> Corpus:
        """Open the corpus at a directory or fsspec URL.

        Args:
            mix: which mix the ``mix.`` columns mean; default: the only or first one.

        Raises:
            InputError: there is no corpus.
            IntegrityError: its manifest cannot be read.
        """
        folder = Folder(str(url), storage_options or {})
        manifest = Manifest.read(folder)
        if manifest is None or INGEST not in manifest.stages:
            raise InputError(
                "no corpus here",
                where=str(url),
                expected="a directory with manifest.json",
                fix="give the `output:` of a pipeline that has run",
            )
        mixes = [name.removeprefix("mix/") for name in manifest.stages if name.startswith("mix/")]
        if mix is not None and mix not in mixes:
            raise InputError(f"no mix called {mix!r}", where=str(url), expected="a complete mix", fix=nearest(mix, mixes))
        return cls(folder, manifest, mix or (mixes[0] if mixes else "default"))

    @cached_property
    def parts(self) -> list[Part]:
        """The documents shards, in order."""
        return parts_of(self.folder, self.manifest.stages[INGEST])

    @property
    def n_documents(self) -> int:
        """Documents over all parts."""
        return sum(part.n_rows for part in self.parts)

    @property
    def domains(self) -> dict[str, int]:
        """Documents per domain."""
        count: dict[str, int] = {}
        for part in self.parts:
            for domain, rows, _ in part.domains:
                count[domain] = count.get(domain, 0) + rows
        return count

    def groups(self) -> list[str]:
        """Column groups beside the documents that are complete."""
        stages = self.manifest.stages
        scores = [name.removeprefix("score/") for name in stages if name.startswith("score/")]
        return scores + [DEDUP] * (DEDUP in stages) + [SELECTION] * ("select" in stages) + ["mix"] * (f"mix/{self.mix}" in stages)

    def learned(self, file: str) -> list[str]:
        """Scorers that left a file of this name in what they learned; it lies at ``models/<scorer>/<file>``."""
        fitted = [name.removeprefix("fit/") for name in self.manifest.stages if name.startswith("fit/")]
        return [name for name in fitted if self.folder.exists(f"models/{name}/{file}")]

    @property
    def is_selected(self) -> bool:
        """Whether verdicts exist and, where there is a mix, it was made from them."""
        mix = self.manifest.stages.get(f"mix/{self.mix}")
        return "select" in self.manifest.stages and (mix is None or "select" in mix.parents)

    def columns(self) -> dict[str, pa.Field]:
        """Every column by full name; fields carry ``unit`` and ``direction`` where stated."""
        found = {f.name: f for f in self._schema("")}
        for group in self.groups():
            found |= {f"{group}.{f.name}": f for f in self._schema(group) if f.name != "doc_id"}
        return found

    def _schema(self, group: str) -> pa.Schema:
        with self.folder.open(f"{group_path(group, self.mix)}/{self.parts[0].name}.parquet") as file:
            return pq.read_schema(file)

    def _require(self, columns: Sequence[str]) -> None:
        """Every column is known, its lineage unbroken, and its group aligned with the documents."""
        for column in columns:
            group, name = split_name(column)
            if group and group not in self.groups():
                raise ConfigError(
                    f"no column {column!r}",
                    where=self.folder.url,
                    expected="a column of this corpus",
                    fix=nearest(column, list(self.columns())),
                )
            if group not in self._aligned:
                self._align(group)
            if name not in self._schema(group).names:
                raise ConfigError(
                    f"no column {column!r}",
                    where=self.folder.url,
                    expected="a column of this corpus",
                    fix=nearest(column, list(self.columns())),
                )

    def _align(self, group: str) -> None:
        stage = group_stage(group, self.mix)
        entry = self.manifest.verify_lineage(stage)
        if group:
            found = records(self.folder, stage, entry.fingerprint)
            for part in self.parts:
                path = f"{group_path(group, self.mix)}/{part.name}.parquet"
                made = found[part.name].files[path]["ids"] if part.name in found else "nothing"
                if made != part.ids:
                    raise IntegrityError(
                        f"{group!r} does not line up with the documents",
                        where=path,
                        expected=f"doc_id hash {part.ids}, found {made}",
                        fix="run the pipeline again",
                    )
        self._aligned.add(group)

    def read(self, part: Part, columns: Sequence[str]) -> pa.Table:
        """Columns of one part."""
        self._require(columns)
        return read_part(self.folder, part.name, columns, mix=self.mix)

    def batches(self, columns: Sequence[str], domains: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """Columns part by part, in bounded memory; only some domains when named."""
        self._require(columns)
        for domain in domains or []:
            if domain not in self.domains:
                raise ConfigError(
                    f"no domain {domain!r}",
                    where=self.folder.url,
                    expected="a domain of this corpus",
                    fix=nearest(domain, list(self.domains)),
                )
        for part in self.parts:
            if domains is None:
                yield read_part(self.folder, part.name, columns, mix=self.mix)
                continue
            start = 0
            wanted = []
            for domain, rows, _ in part.domains:
                wanted += [(start, rows)] if domain in domains else []
                start += rows
            if wanted:
                table = read_part(self.folder, part.name, columns, mix=self.mix)
                yield pa.concat_tables([table.slice(a, n) for a, n in wanted])

    def table(self, columns: Sequence[str] | None = None, domains: Sequence[str] | None = None) -> pa.Table:
        """Columns of the whole corpus as one table; default: everything but the text."""
        wanted = list(columns) if columns is not None else [name for name in self.columns() if name != "text"]
        return pa.concat_tables(self.batches(wanted, domains)).unify_dictionaries()

    def find(self, doc_id: bytes) -> list[tuple[Part, int]]:
        """Every place of a document: exact copies share a doc_id."""
        target = pa.scalar(doc_id, documents.DOC_ID)
        places = []
        for part in self.parts:
            ids = read_part(self.folder, part.name, ["doc_id"])["doc_id"]
            hits = pc.indices_nonzero(pc.equal(ids, target)).to_pylist()
            places += [(part, row) for row in hits]
        return places
