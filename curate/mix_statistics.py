"""What a mix of documents has left to try other settings on, and how often its documents are seen."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from curate.corpus import Corpus, statistics_path
from curate.errors import InputError, IntegrityError
from curate.manifest import file_hash, records
from curate.mixers.samplemix_sweep import Setting


def mix_statistics(corpus: Corpus) -> tuple[pa.Table, dict[str, Any]]:
    """The sums a samplemix has left, and the totals of its stage.

    Raises:
        InputError: there is no mix, or another mixer made it.
        IntegrityError: the file is not the one the mix has left.
    """
    stage = f"mix/{corpus.mix}"
    entry = corpus.manifest.stages.get(stage)
    path = statistics_path(corpus.mix)
    if entry is None or entry.totals.get("mixer") != "samplemix":
        raise InputError(
            "there is nothing to try settings on",
            where=corpus.folder.at(f"mixes/{corpus.mix}"),
            expected="a complete mix of the mixer samplemix",
            fix="run a pipeline with `mix: {use: samplemix}`, or name its mix with --mix",
        )
    stated = records(corpus.folder, stage, entry.fingerprint)["statistics"].files[path]
    if not corpus.folder.exists(path) or file_hash(corpus.folder, path) != stated["hash"]:
        raise IntegrityError(
            "the sums that a mix has left are missing or changed",
            where=corpus.folder.at(path),
            expected=str(stated["hash"]),
            fix=f"remove records/{stage}/statistics.json and run the pipeline again",
        )
    with corpus.folder.open(path) as file:
        return pq.read_table(file), entry.totals


def setting_of(mixed: dict[str, Any]) -> Setting:
    """The setting a mix was made with, from the totals of its stage."""
    told = mixed["diagnostics"]
    return Setting(told["alpha"], told["temperature"], mixed["budget"], told["max_epochs"], told["mode"])


def copies_of(corpus: Corpus) -> dict[int, int]:
    """Documents by number of copies, of those that have a weight; from the records of the mix."""
    entry = corpus.manifest.stages[f"mix/{corpus.mix}"]
    more: dict[int, int] = {}
    for record in records(corpus.folder, f"mix/{corpus.mix}", entry.fingerprint).values():
        for _, copy, n, _, _ in record.totals["runs"]:
            more[copy] = more.get(copy, 0) + n
    found = {copy + 1: n - more.get(copy + 1, 0) for copy, n in more.items()}
    return {0: entry.ledger.dropped.get("not_sampled", 0) + entry.ledger.dropped.get("weight_zero", 0)} | found


def seen(copies: dict[int, int]) -> dict[str, float]:
    """Shares of documents never, once, twice and more often seen."""
    total = max(sum(copies.values()), 1)
    grouped = [copies.get(0, 0), copies.get(1, 0), copies.get(2, 0), sum(n for c, n in copies.items() if c > 2)]
    return dict(zip(("never", "once", "twice", "more often"), (n / total for n in grouped), strict=True))
