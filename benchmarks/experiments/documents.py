"""Documents for experiments: a part of every domain to curate, and another to evaluate on that nothing else sees."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate import Pipeline
from curate.config import PipelineConfig, validate
from curate.corpus import Corpus
from curate.hashing import id_keys

HELD_OUT_SEED = 20_240_520


def corpus_of(raw: Path, domains: tuple[str, ...], scratch: Path) -> Corpus:
    """The named domains of a folder with one directory for each, ingested once."""
    patterns = {name: sorted({f"{raw}/{name}/*{''.join(f.suffixes[-2:])}" for f in _files(raw / name)}) for name in domains}
    sources = [{"path": pattern, "domain": name} for name, found in patterns.items() for pattern in found]
    config = {"name": "documents", "output": str(scratch / "documents"), "ingest": {"sources": sources, "max_bad_fraction": 0.01}}
    return pipeline_of(config).run(until="ingest")


def pipeline_of(config: dict[str, Any]) -> Pipeline:
    """A pipeline that runs in this process."""
    pipeline = Pipeline(validate(PipelineConfig, config, "experiment"))
    pipeline.circumstance = pipeline.circumstance.model_copy(update={"engine": "process"})
    return pipeline


def _files(folder: Path) -> list[Path]:
    return [f for f in sorted(folder.iterdir()) if f.is_file() and not f.name.startswith("_")]


def divide(
    corpus: Corpus, seed: int, pool_bytes: int | Mapping[str, int], held_out_bytes: int, longest: int
) -> tuple[pa.Table, pa.Table, pa.Table]:
    """(pool, held-out, rest): distinct documents of every domain, ``pool_bytes`` and ``held_out_bytes`` of each.

    The held-out part is the same for every seed; the pool is drawn anew by each from the others. The rest is what is in
    neither, in the seed's order within each domain.

    Args:
        pool_bytes: of every domain, or by its name.
        longest: documents of more bytes are left out, so that a domain is many documents.
    """
    pools, aside, left = [], [], []
    for domain in sorted(corpus.domains):
        table = corpus.table(["doc_id", "text", "domain", "n_bytes"], domains=[domain])
        table = table.filter(pc.less_equal(table["n_bytes"], longest)).combine_chunks()
        _, first = np.unique(np.asarray(table["doc_id"].cast(pa.binary()).to_pylist(), dtype=object), return_index=True)
        table = table.take(pa.array(np.sort(first)))
        held, rest = prefix(table, HELD_OUT_SEED, held_out_bytes)
        pool, rest = prefix(rest, seed, pool_bytes if isinstance(pool_bytes, int) else pool_bytes[domain])
        aside.append(held)
        pools.append(pool)
        left.append(rest)
    return pa.concat_tables(pools), pa.concat_tables(aside), pa.concat_tables(left)


def prefix(table: pa.Table, seed: int, n_bytes: int) -> tuple[pa.Table, pa.Table]:
    """The first documents in the order of a keyed hash until ``n_bytes`` are full, and the others."""
    order = np.argsort(id_keys(seed, "experiment", table["doc_id"]), kind="stable")
    table = table.take(pa.array(order))
    count = int((np.cumsum(table["n_bytes"].to_numpy()) <= n_bytes).sum())
    return table.slice(0, count), table.slice(count)
