"""Tokens of the sample's pages: made once for all models that share a tokenizer, and read from the disk by each."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyarrow as pa

from curate.evidence.page_sample import pages_path, read_scratch
from curate.storage import Folder
from curate.tokenization import Tokenizer


@dataclass(frozen=True)
class TokensTask:
    """One shard of pages under one tokenizer.

    Args:
        scratch: where the shard's pages lie.
        tokenizer: a name that ``Tokenizer.open`` knows.
        family: fingerprint of the tokenizer.
    """

    scratch: Folder
    shard: str
    tokenizer: str
    family: str


def tokens_folder(family: str) -> str:
    """Where the tokens of one tokenizer lie in the scratch folder."""
    return f"tokens/{family}"


def tokens_path(family: str, shard: str) -> str:
    """The tokens of one shard: one column of lists of int32, a row for each piece of each page, in order."""
    return f"{tokens_folder(family)}/{shard}.arrow"


@lru_cache(maxsize=1)
def _opened(name: str, family: str) -> Tokenizer:
    """The tokenizer, once per worker; the content may change under a name, so its fingerprint is part of the key."""
    return Tokenizer.open(name)


def write_tokens(task: TokensTask) -> int:
    """Tokenise one shard; returns the number of tokens."""
    pieces = read_scratch(task.scratch, pages_path(task.shard))["pieces"].combine_chunks()
    ids, offsets = _opened(task.tokenizer, task.family).encode_arrow(pieces.flatten())
    rows = pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), pa.array(ids, pa.int32()))
    table = pa.table({"ids": rows})
    with task.scratch.create(tokens_path(task.family, task.shard)) as out, pa.ipc.new_file(out, table.schema) as writer:
        writer.write_table(table)
    return len(ids)


def read_tokens(scratch: Folder, family: str, shard: str) -> tuple[np.ndarray, np.ndarray]:
    """Ids (T,) int32 of all pieces of a shard, and where each of C pieces begins (C + 1,) int64."""
    rows = read_scratch(scratch, tokens_path(family, shard))["ids"].combine_chunks()
    return rows.values.to_numpy(), rows.offsets.to_numpy()
