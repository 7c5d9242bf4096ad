"""Ingest: raw files of several domains to one documents table in a hashed order, every bad record accounted for.

    list_inputs → plan_splits → scan_split (per split) → plan_shards → slices → gather_shard (per shard)

Each step is a function of its arguments and of the files they name; who runs them where is
another module's concern, and no result depends on it.
"""

from curate.ingest.gather import Part, gather_shard
from curate.ingest.quarantine import read_quarantine
from curate.ingest.readers.reader import BadRecord, Limits, Piece, Reader, Records, register
from curate.ingest.scan import ScanResult, scan_split
from curate.ingest.shards import Shard, ShardPlan, Slice, plan_shards, slices
from curate.ingest.sources import InputFile, Listing, Source, extras_schema, list_files, list_inputs
from curate.ingest.splits import Split, plan_splits
from curate.ingest.spool import Chunk, read_histogram

__all__ = [
    "BadRecord",
    "Chunk",
    "InputFile",
    "Limits",
    "Listing",
    "Part",
    "Piece",
    "Reader",
    "Records",
    "ScanResult",
    "Shard",
    "ShardPlan",
    "Slice",
    "Source",
    "Split",
    "extras_schema",
    "gather_shard",
    "list_files",
    "list_inputs",
    "plan_shards",
    "plan_splits",
    "read_histogram",
    "read_quarantine",
    "register",
    "scan_split",
    "slices",
]
