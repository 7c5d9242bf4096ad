"""The text all jobs measure on: a folder of the user's, or what this machine already has.

The folder is ingested once; every set below is a prefix of each domain, in the order that
ingest gave them, which is a hash's: so a set of 16 MB is a fair sample of one of 256 MB,
and the same for everyone who has the folder.
"""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.environments import WORK
from curate.config import PipelineConfig, validate
from curate.corpus import Corpus
from curate.documents import doc_ids
from curate.engine import InProcess
from curate.hashing import fingerprint
from curate.pipeline import Pipeline

DEFAULT = Path(__file__).parents[2] / "shared" / "data" / "raw"
MACHINE_BYTES_PER_DOMAIN = 50_000_000
PATTERNS = {"txt": "text", "jsonl": None, "jsonl.gz": None, "jsonl.zst": None, "parquet": None}
ROWS_AT_ONCE = 1000


def pipeline(name: str, output: Path, sources: list[dict[str, Any]], **sections: Any) -> Pipeline:
    """A pipeline from plain values."""
    ingest = {"sources": sources, "max_bad_fraction": 0.02, "shard_bytes": "32MiB", **sections.pop("ingest", {})}
    config = {"name": name, "output": str(output), "seed": 7, "ingest": ingest, **sections}
    return Pipeline(validate(PipelineConfig, config, f"benchmarks, {name}"))


@dataclass(frozen=True)
class Data:
    """Where the text comes from.

    Args:
        folder: one directory per domain of .txt, .jsonl, .jsonl.gz, .jsonl.zst or .parquet files; None for machine text.
    """

    folder: Path | None

    @classmethod
    def choose(cls, given: str | None) -> Data:
        """The folder given, else the default one where it exists, else the machine's text."""
        if given:
            return cls(Path(given).resolve())
        return cls(DEFAULT.resolve() if DEFAULT.is_dir() else None)

    @property
    def work(self) -> Path:
        """Where sets of this data are kept."""
        return WORK / ("machine_text" if self.folder is None else f"{self.folder.name}-{fingerprint(str(self.folder))[:8]}")

    @property
    def sources(self) -> list[dict[str, Any]]:
        """The ``sources:`` of a pipeline that reads it."""
        if self.folder is None:
            return [{"format": "machine_text", "options": {"max_bytes_per_domain": MACHINE_BYTES_PER_DOMAIN}}]
        found = []
        for suffix, kind in PATTERNS.items():
            if any(self.folder.glob(f"*/[!_.]*.{suffix}")):
                domain = {"domain": {"directory": 0}}
                found.append({"path": f"{self.folder}/*/*.{suffix}", **domain} | ({"format": kind} if kind else {}))
        if not found:
            raise SystemExit(f"no domain folders with text in {self.folder}")
        return found

    def corpus(self) -> Corpus:
        """Everything, ingested."""
        return pipeline("benchmark_data", self.work / "corpus", self.sources).run(until="ingest", engine=InProcess())

    def size(self) -> int:
        """Text bytes of everything."""
        return sum(part.n_bytes for part in self.corpus().parts)

    def prefix(self, n_bytes: int) -> Iterator[pa.Table]:
        """``text`` and ``domain`` of about ``n_bytes`` in the domains' natural proportions, some rows at a time."""
        corpus = self.corpus()
        sizes: dict[str, int] = {}
        for part in corpus.parts:
            for domain, _, size in part.domains:
                sizes[domain] = sizes.get(domain, 0) + size
        left = {domain: size * n_bytes / sum(sizes.values()) for domain, size in sizes.items()}
        for table in corpus.batches(["text", "domain", "n_bytes"]):
            for batch in table.to_batches(ROWS_AT_ONCE):
                names, keep = batch["domain"].to_pylist(), []
                for name, size in zip(names, batch["n_bytes"].to_pylist(), strict=True):
                    keep.append(left[name] > 0)
                    left[name] -= size
                yield pa.table({"text": batch["text"], "domain": batch["domain"].cast(pa.string())}).filter(pa.array(keep))

    def documents(self, n_bytes: int) -> pa.RecordBatch:
        """The prefix as one batch with ``doc_id``."""
        table = pa.concat_tables(self.prefix(n_bytes)).combine_chunks()
        table = table.append_column("doc_id", doc_ids(table["text"].combine_chunks()))
        return table.combine_chunks().to_batches()[0]

    def jsonl_gz(self, n_bytes: int, n_files: int) -> Path:
        """A folder of .jsonl.gz files (gzip level 6) of {"id", "text", "domain"}; documents dealt out in turn, so all files are alike."""
        folder = self.work / f"jsonl-{n_bytes // 10**6}MB-{n_files}"
        if not folder.exists():
            partial = _fresh(folder)
            number = 0
            with ExitStack() as stack:
                files = [stack.enter_context(gzip.open(partial / f"{i:02d}.jsonl.gz", "wb", 6)) for i in range(n_files)]
                for record in chain.from_iterable(table.to_pylist() for table in self.prefix(n_bytes)):
                    files[number % n_files].write(orjson.dumps({"id": str(number), **record}) + b"\n")
                    number += 1
            partial.rename(folder)
        return folder

    def parquet(self, n_bytes: int, copies: int = 1) -> Path:
        """A folder of Parquet files with ``text`` and ``domain``.

        Copies beyond the first are made distinct documents by a line at their head.
        """
        folder = self.work / f"parquet-{n_bytes // 10**6}MB-x{copies}"
        if not folder.exists():
            partial = _fresh(folder)
            for copy in range(copies):
                with pq.ParquetWriter(
                    partial / f"{copy:02d}.parquet", pa.schema([("text", pa.large_string()), ("domain", pa.string())])
                ) as out:
                    for table in self.prefix(n_bytes):
                        head, nothing = (pa.scalar(value, pa.large_string()) for value in (f"copy {copy}\n", ""))
                        text = pc.binary_join_element_wise(head, table["text"], nothing)
                        out.write_table(table.set_column(0, "text", text) if copy else table)
            partial.rename(folder)
        return folder


def parquet_source(folder: Path) -> list[dict[str, Any]]:
    """The ``sources:`` of a folder made by ``Data.parquet``."""
    return [{"path": f"{folder}/*.parquet", "domain": {"field": "domain"}}]


def jsonl_source(folder: Path) -> list[dict[str, Any]]:
    """The ``sources:`` of a folder made by ``Data.jsonl_gz``."""
    return [{"path": f"{folder}/*.jsonl.gz", "domain": {"field": "domain"}}]


def scratch_copy(corpus: Path, name: str) -> Path:
    """The same corpus under another folder by hard links: files are never changed in place, so runs there leave it as it is."""
    target = corpus.with_name(f"{corpus.name}-{name}")
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(corpus, target, copy_function=lambda a, b: Path(b).hardlink_to(a), ignore=shutil.ignore_patterns(".lock"))
    return target


def _fresh(folder: Path) -> Path:
    """An empty folder to fill before it gets its name."""
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    return partial


def groups(items: list[Any], size: int) -> list[list[Any]]:
    """Runs of ``size`` items."""
    found = iter(items)
    return list(iter(lambda: list(islice(found, size)), []))
