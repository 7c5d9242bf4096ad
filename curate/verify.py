"""Verify: read everything a corpus claims to hold, and compare it with the records."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from curate import ingest
from curate.corpus import INGEST, Corpus
from curate.emit import dataset_files
from curate.errors import IntegrityError
from curate.manifest import Record, StageEntry, file_hash, records
from curate.storage import Folder

REPAIR = "restore the file, or remove the shard's record under records/ and run again"


def verify(url: str, mix: str | None = None) -> int:
    """Check every file of every complete stage: presence, size, hash, rows; then every ledger and the alignment.

    Returns:
        How many files were read.

    Raises:
        IntegrityError: naming the first file or stage that is not as recorded.
    """
    corpus = Corpus.open(url, mix=mix)
    n_files = 0
    for stage, entry in corpus.manifest.stages.items():
        corpus.manifest.verify_lineage(stage)
        entry.ledger.reconcile(stage)
        # Shards of the losses go by what their own model is made of, so that a longer list of models keeps them.
        current = {entry.fingerprint, *entry.totals.get("fingerprints", {}).values()}
        found = {shard: record for shard, record in records(corpus.folder, stage).items() if record.fingerprint in current}
        for shard in entry.shards:
            if shard not in found:
                raise IntegrityError(
                    f"shard {shard!r} has no record", where=stage, expected=f"records/{stage}/{shard}.json", fix="run the pipeline again"
                )
            found[shard].ledger.reconcile(f"{stage}, shard {shard}")
            for path, file in found[shard].files.items():
                _verify_file(corpus.folder, path, file)
                n_files += 1
        _verify_totals(corpus, stage, entry, found)
    for group in corpus.groups():
        corpus.read(corpus.parts[0], [f"{group}.{_any_column(corpus, group)}"])
    return n_files + _verify_quarantine(corpus)


def _any_column(corpus: Corpus, group: str) -> str:
    return next(name for name in corpus.columns() if name.startswith(f"{group}.")).removeprefix(f"{group}.")


def _verify_file(corpus: Folder, path: str, file: dict[str, object]) -> None:
    """One file is there, whole, unchanged, with the rows it had."""
    fix = REPAIR
    if not corpus.exists(path):
        raise IntegrityError("a file is missing", where=corpus.at(path), expected="the file its record names", fix=fix)
    rows = _rows(corpus, path)
    if rows is not None and rows != file["rows"]:
        raise IntegrityError(f"the file holds {rows:,} rows", where=corpus.at(path), expected=f"{file['rows']:,} rows", fix=fix)
    if corpus.size(path) != file["bytes"] or file_hash(corpus, path) != file["hash"]:
        raise IntegrityError("the file is not the one that was written", where=corpus.at(path), expected=str(file["hash"]), fix=fix)


def _rows(corpus: Folder, path: str) -> int | None:
    """Rows of a table file; None for other files."""
    try:
        if path.endswith(".parquet"):
            with corpus.open(path) as file:
                return int(pq.read_metadata(file).num_rows)
        if path.endswith(".arrow"):
            with corpus.open(path) as file, pa.ipc.open_stream(file) as stream:
                return sum(batch.num_rows for batch in stream)
    except (pa.ArrowException, OSError) as error:
        raise IntegrityError("the file cannot be read", where=corpus.at(path), expected="a whole file", fix=REPAIR) from error
    return None


def _verify_totals(corpus: Corpus, stage: str, entry: StageEntry, found: dict[str, Record]) -> None:
    """What a stage hands on is what the next one took in."""
    documents = corpus.manifest.stages[INGEST].ledger.kept
    kept = sum(found[shard].ledger.kept for shard in entry.shards)
    if kept != entry.ledger.kept:
        raise IntegrityError(
            f"the shards kept {kept:,}", where=stage, expected=f"{entry.ledger.kept:,}, as the manifest says", fix="run again"
        )
    if stage.startswith(("score/", "mix/")) or stage == "select":
        taken = sum(found[shard].ledger.n_in for shard in entry.shards)
        if taken != documents:
            raise IntegrityError(
                f"{taken:,} documents came in", where=stage, expected=f"{documents:,} documents of ingest", fix="run again"
            )
    if stage.startswith("emit/"):
        mix = stage.replace("emit/", "mix/")
        mixed = records(corpus.folder, mix, corpus.manifest.stages[mix].fingerprint)
        copies = sum(run[2] for record in mixed.values() for run in record.totals["runs"])
        if kept != copies:
            raise IntegrityError(
                f"{kept:,} rows were emitted", where=stage, expected=f"{copies:,} copies decided by the mix", fix="run again"
            )
        _verify_beside(corpus.folder, stage.removeprefix("emit/"), entry)


def _verify_beside(corpus: Folder, mix: str, entry: StageEntry) -> None:
    """The small files beside the shards are those that were written, and no shard of another run lies there."""
    folder = f"mixes/{mix}"
    expected = {f"{folder}/{name}": content for name, content in dataset_files(entry.shards, entry.fingerprint).items()}
    for path, content in expected.items():
        if not corpus.exists(path) or corpus.read(path) != content:
            raise IntegrityError(
                "a file that opens the shards is missing or changed", where=corpus.at(path), expected="what emit wrote", fix=REPAIR
            )
    account = f"{folder}/mixture.json"
    try:
        stated = json.loads(corpus.read(account))
    except (OSError, ValueError) as error:
        raise IntegrityError("the mixture's account cannot be read", where=corpus.at(account), expected="JSON", fix=REPAIR) from error
    if any(stated.get(key) != value for key, value in entry.totals.items()):
        raise IntegrityError("the mixture's account was changed", where=corpus.at(account), expected="what the manifest says", fix=REPAIR)
    shards = {f"{folder}/{name}.arrow" for name in entry.shards}
    for path in corpus.names(folder):
        if path.endswith(".arrow") and path not in shards:
            raise IntegrityError("a shard that is no part of the mix", where=corpus.at(path), expected="only its shards", fix="remove it")


def _verify_quarantine(corpus: Corpus) -> int:
    """Every quarantined record can still be read."""
    claimed = corpus.manifest.stages[INGEST].totals["quarantine"]
    for path, expected in claimed.items():
        if not corpus.folder.exists(path):
            raise IntegrityError(
                "a quarantine file is missing", where=corpus.folder.at(path), expected=f"{expected:,} records", fix="restore it"
            )
        try:
            held = sum(row["n_records"] for row in ingest.read_quarantine(corpus.folder, path))
        except (zstandard.ZstdError, ValueError) as error:
            raise IntegrityError(
                "a quarantine file cannot be read", where=corpus.folder.at(path), expected=f"{expected:,} records", fix="restore it"
            ) from error
        if held != expected:
            raise IntegrityError(
                f"the quarantine file holds {held:,} records",
                where=corpus.folder.at(path),
                expected=f"{expected:,} records",
                fix="restore it",
            )
    return len(claimed)
