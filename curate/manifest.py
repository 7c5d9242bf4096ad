"""What is complete: shard records, the ledger, and the manifest that is written last.

A *record* commits one shard of one stage: its files with their hashes, its ledger and
its sums. The *manifest* commits whole stages. A data file that no record of the current
fingerprint names does not exist for any reader.

    corpus/
      manifest.json                    stages that are complete
      records/<stage>/<shard>.json     shards that are complete
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import xxhash

from curate.errors import IntegrityError, StaleOutputError
from curate.hashing import fingerprint
from curate.storage import Folder

FORMAT = 1
HASH = "xxh3-128"
MANIFEST = "manifest.json"


@dataclass
class Ledger:
    """Where every input went: n_in = kept + Σ dropped + duplicate + Σ quarantined, in records or documents."""

    n_in: int = 0
    kept: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    duplicate: int = 0
    quarantined: dict[str, int] = field(default_factory=dict)

    def reconcile(self, where: str) -> None:
        """Raise IntegrityError unless every input is in exactly one bucket."""
        out = self.kept + sum(self.dropped.values()) + self.duplicate + sum(self.quarantined.values())
        if out != self.n_in:
            raise IntegrityError(
                f"the ledger does not balance: {self.n_in:,} in, {out:,} accounted for",
                where=where,
                expected="in = kept + dropped + duplicate + quarantined",
                fix="this is a defect in the stage: please report it with this message",
            )

    def __add__(self, other: Ledger) -> Ledger:
        return Ledger(
            self.n_in + other.n_in,
            self.kept + other.kept,
            dict(sorted((Counter(self.dropped) + Counter(other.dropped)).items())),
            self.duplicate + other.duplicate,
            dict(sorted((Counter(self.quarantined) + Counter(other.quarantined)).items())),
        )

    def to_json(self) -> dict[str, Any]:
        """As written in records and manifests."""
        return {"in": self.n_in, "kept": self.kept, "dropped": self.dropped, "duplicate": self.duplicate, "quarantined": self.quarantined}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Ledger:
        """The inverse of ``to_json``."""
        return cls(data["in"], data["kept"], data["dropped"], data["duplicate"], data["quarantined"])


@dataclass(frozen=True)
class Record:
    """One committed shard of one stage.

    Args:
        stage: e.g. ``ingest``, ``score/langid``.
        shard: name without extension, unique in its stage.
        fingerprint: of the stage when it was made.
        files: path in the corpus -> {"bytes", "hash", "rows"}.
        ledger: where the shard's inputs went.
        totals: sums that add up over shards, and whatever the next stage plans with.
    """

    stage: str
    shard: str
    fingerprint: str
    files: dict[str, dict[str, Any]]
    ledger: Ledger
    totals: dict[str, Any] = field(default_factory=dict)

    def commit(self, corpus: Folder) -> None:
        """Check the ledger, then write the record: from here on the shard exists."""
        self.ledger.reconcile(f"{self.stage}, shard {self.shard}")
        data = {"fingerprint": self.fingerprint, "files": self.files, "ledger": self.ledger.to_json(), "totals": self.totals}
        corpus.write(f"records/{self.stage}/{self.shard}.json", dump(data))

    @classmethod
    def read(cls, corpus: Folder, stage: str, shard: str) -> Record:
        """Read one record."""
        path = f"records/{stage}/{shard}.json"
        try:
            data = json.loads(corpus.read(path))
            return cls(stage, shard, data["fingerprint"], data["files"], Ledger.from_json(data["ledger"]), data["totals"])
        except (ValueError, KeyError, TypeError) as error:
            raise IntegrityError(
                "a record cannot be read", where=corpus.at(path), expected="JSON written by curate", fix="remove it and run again"
            ) from error


def records(corpus: Folder, stage: str, current: str | None = None) -> dict[str, Record]:
    """Committed shards of a stage by name; only those of fingerprint ``current`` when given."""
    found = {}
    for name in corpus.names(f"records/{stage}"):
        shard = name.removeprefix(f"records/{stage}/").removesuffix(".json")
        record = Record.read(corpus, stage, shard)
        if current is None or record.fingerprint == current:
            found[shard] = record
    return found


@dataclass
class StageEntry:
    """One complete stage in the manifest.

    Args:
        identity: everything that bears on its output, as configured.
        parents: stage -> fingerprint it was made from.
        fingerprint: hash of identity and parents.
        ledger: sum over shards.
        totals: what the summary and later stages need of it.
    """

    identity: dict[str, Any]
    parents: dict[str, str]
    ledger: Ledger = field(default_factory=Ledger)
    shards: list[str] = field(default_factory=list)
    totals: dict[str, Any] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """Hash of what bears on the output."""
        return fingerprint({"identity": self.identity, "parents": self.parents})

    def to_json(self) -> dict[str, Any]:
        """As written in the manifest."""
        return {
            "fingerprint": self.fingerprint,
            "identity": self.identity,
            "parents": self.parents,
            "ledger": self.ledger.to_json(),
            "shards": self.shards,
            "totals": self.totals,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> StageEntry:
        """The inverse of ``to_json``."""
        return cls(data["identity"], data["parents"], Ledger.from_json(data["ledger"]), data["shards"], data["totals"])


@dataclass
class Manifest:
    """The complete stages of a corpus, by name, in the order they were completed."""

    pipeline: str
    stages: dict[str, StageEntry] = field(default_factory=dict)

    @classmethod
    def read(cls, corpus: Folder) -> Manifest | None:
        """The manifest of a corpus, None where nothing is complete yet."""
        if not corpus.exists(MANIFEST):
            return None
        try:
            data = json.loads(corpus.read(MANIFEST))
            if data["format"] != FORMAT:
                raise StaleOutputError(
                    f"the corpus has format {data['format']}",
                    where=corpus.at(MANIFEST),
                    expected=f"format {FORMAT}",
                    fix="open it with the version of curate that wrote it",
                )
            return cls(data["pipeline"], {name: StageEntry.from_json(entry) for name, entry in data["stages"].items()})
        except (ValueError, KeyError, TypeError) as error:
            raise IntegrityError(
                "the manifest cannot be read",
                where=corpus.at(MANIFEST),
                expected="JSON written by curate",
                fix="restore the file, or remove the corpus and run again",
            ) from error

    def write(self, corpus: Folder) -> None:
        """Replace the manifest atomically."""
        stages = {name: entry.to_json() for name, entry in self.stages.items()}
        corpus.write(MANIFEST, dump({"format": FORMAT, "pipeline": self.pipeline, "stages": stages}))

    def invalidate(self, changed: Iterable[str]) -> list[str]:
        """Forget the changed stages and every stage made from them; returns the names forgotten."""
        gone = {name for name in changed if name in self.stages}
        while more := {n for n, e in self.stages.items() if n not in gone and gone & set(e.parents)}:
            gone |= more
        for name in gone:
            del self.stages[name]
        return sorted(gone)

    def verify_lineage(self, stage: str) -> StageEntry:
        """The entry of a stage whose parents are still what it was made from.

        Raises:
            StaleOutputError: the stage is not complete, or a parent has changed since; names the differing fields.
        """
        entry = self.stages.get(stage)
        if entry is None:
            raise StaleOutputError(
                f"stage {stage!r} is not complete",
                where="manifest.json",
                expected=f"one of: {', '.join(self.stages) or 'nothing is complete'}",
                fix="run the pipeline to that stage",
            )
        for parent, made_from in entry.parents.items():
            now = self.stages.get(parent)
            if now is None or now.fingerprint != made_from:
                raise StaleOutputError(
                    f"stage {stage!r} was made from another {parent!r}",
                    where="manifest.json",
                    expected=f"fingerprint {made_from}",
                    fix="run the pipeline again",
                )
        return entry


def differences(old: Any, new: Any, path: str = "") -> list[str]:
    """Field-level differences between two JSON-able identities: ``field: old -> new``."""
    if isinstance(old, dict) and isinstance(new, dict):
        return [d for key in sorted({*old, *new}) for d in differences(old.get(key), new.get(key), f"{path}.{key}".lstrip("."))]
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return [d for i, (a, b) in enumerate(zip(old, new, strict=True)) for d in differences(a, b, f"{path}[{i}]")]
    return [] if old == new else [f"{path}: {_short(old)} -> {_short(new)}"]


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."


def dump(data: Any) -> bytes:
    """JSON as the project writes it: readable, key order as given, newline at the end."""
    return (json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


class HashingWriter:
    """A binary file that takes the xxh3-128 of what passes through."""

    def __init__(self, out: BinaryIO) -> None:
        self._out, self._hash, self.n_bytes, self.closed = out, xxhash.xxh3_128(), 0, False

    def write(self, data: Any) -> int:
        """Write and hash."""
        view = memoryview(data)
        self._hash.update(view)
        self._out.write(view)
        self.n_bytes += view.nbytes
        return view.nbytes

    def flush(self) -> None:
        """Flush the file beneath."""
        self._out.flush()

    def tell(self) -> int:
        """Bytes written so far."""
        return self.n_bytes

    def seekable(self) -> bool:
        """Never: writers append."""
        return False

    def readable(self) -> bool:
        """Never."""
        return False

    def writable(self) -> bool:
        """Always."""
        return True

    def close(self) -> None:
        """The file beneath stays open: its owner commits it."""
        self.closed = True

    def entry(self, rows: int) -> dict[str, Any]:
        """The file's line in a record."""
        return {"bytes": self.n_bytes, "rows": rows, "hash": f"{HASH}:{self._hash.hexdigest()}"}


def file_hash(corpus: Folder, name: str) -> str:
    """The hash of a file on disk in the form records hold."""
    hasher = xxhash.xxh3_128()
    with corpus.open(name) as file:
        while block := file.read(1 << 24):
            hasher.update(block)
    return f"{HASH}:{hasher.hexdigest()}"


def hash_at(url: str, options: dict[str, Any] | None = None) -> str:
    """As ``file_hash``, of a file by its path or URL."""
    above, _, name = url.rpartition("/")
    return file_hash(Folder(above or ("/" if url.startswith("/") else "."), options or {}), name)
