"""Cut a stream of documents' tokens into rows of one length, losing nothing unnoticed.

The token stream is: the tokens of the first document, a separator, the tokens of the
second, a separator, … . Row r of length L is tokens r·L … (r+1)·L - 1 of it, so a document may
begin in one row and end in a later one, and no token is repeated or padded.

    input_ids   list<int32>                   L token ids
    doc_ids     list<fixed_size_binary(16)>   the documents with a token (or their separator) in the row, in order
    doc_starts  list<int32>                   where each begins, counted from the row's first token:
                                              negative when it began in an earlier row

So ``max(doc_starts, 0)`` are the segment bounds an attention mask needs, and a negative
start is also how many tokens of that document came before.

Suffixes: N documents, T tokens, R rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa

from curate.documents import DOC_ID
from curate.errors import ConfigError, IntegrityError

PACKED = pa.schema(
    [
        pa.field("input_ids", pa.list_(pa.int32()), nullable=False, metadata={"unit": "token ids"}),
        pa.field("doc_ids", pa.list_(DOC_ID), nullable=False),
        pa.field("doc_starts", pa.list_(pa.int32()), nullable=False, metadata={"unit": "tokens from the row's first"}),
    ]
)

Remainder = Literal["drop", "keep"]


@dataclass
class PackedCounts:
    """The account of a packing: ``tokens_in`` = ``tokens_out`` + ``tokens_dropped`` once finished.

    Args:
        n_documents: documents taken in.
        tokens_in: their tokens, one separator for each document included.
        n_rows: rows given out.
        tokens_out: tokens in those rows.
        tokens_dropped: tokens of the last, incomplete row when it was dropped.
    """

    n_documents: int = 0
    tokens_in: int = 0
    n_rows: int = 0
    tokens_out: int = 0
    tokens_dropped: int = 0


class Packer:
    """Takes documents as they come and gives full record batches; the rows do not depend on how they came.

    Args:
        sequence_length: tokens of a row (L).
        separator: token id put after every document.
        remainder: what becomes of the last, incomplete row: ``drop`` it (and count it) or ``keep`` it short.
        rows_per_batch: rows of a record batch; only the last may have fewer.

    Raises:
        ConfigError: a length or batch below 1, a separator no int32 holds, an unknown remainder.
    """

    def __init__(self, sequence_length: int, separator: int, remainder: Remainder = "drop", rows_per_batch: int = 1024) -> None:
        _check(sequence_length, separator, remainder, rows_per_batch)
        self.sequence_length, self.separator = sequence_length, separator
        self.remainder, self.rows_per_batch = remainder, rows_per_batch
        self.counts = PackedCounts()
        self._tokens: list[np.ndarray] = []
        self._starts: list[np.ndarray] = []
        self._ids: list[pa.Array] = []
        self._waiting = 0

    def add(self, ids_T: np.ndarray, offsets_N1: np.ndarray, doc_ids_N: pa.Array) -> list[pa.RecordBatch]:
        """Take N documents; return the record batches (schema ``PACKED``) that are now full.

        Args:
            ids_T: the token ids of all of them, one after another.
            offsets_N1: N+1 bounds into ``ids_T``; the first is 0 and the last is T.
            doc_ids_N: their doc_id column, fixed_size_binary(16).

        Raises:
            IntegrityError: the three do not fit together.
        """
        ids_T, offsets_N1 = np.asarray(ids_T), np.asarray(offsets_N1, dtype=np.int64)
        _check_documents(ids_T, offsets_N1, doc_ids_N)
        n = len(doc_ids_N)
        if n == 0:
            return []
        tokens, starts = _with_separators(ids_T, offsets_N1, self.separator)
        self._starts.append(starts + self._waiting)
        self._tokens.append(tokens)
        self._ids.append(doc_ids_N.cast(DOC_ID))
        self._waiting += len(tokens)
        self.counts.n_documents += n
        self.counts.tokens_in += len(tokens)
        n_batches = self._waiting // (self.sequence_length * self.rows_per_batch)
        return self._give(n_batches * self.rows_per_batch) if n_batches else []

    def finish(self) -> list[pa.RecordBatch]:
        """The rows still waiting, at most one record batch; then the packer is empty."""
        n_rows, rest = divmod(self._waiting, self.sequence_length)
        if rest and self.remainder == "keep":
            batches = self._give(n_rows + 1)
        else:
            batches = self._give(n_rows) if n_rows else []
            self.counts.tokens_dropped += rest
        self._tokens, self._starts, self._ids, self._waiting = [], [], [], 0
        return batches

    def _give(self, n_rows: int) -> list[pa.RecordBatch]:
        """Turn the first ``n_rows`` rows of what waits into record batches and keep the rest waiting."""
        tokens, starts, ids = np.concatenate(self._tokens), np.concatenate(self._starts), pa.concat_arrays(self._ids)
        bounds = np.minimum(np.arange(n_rows + 1, dtype=np.int64) * self.sequence_length, len(tokens))
        given = int(bounds[-1])
        edges = [*range(0, n_rows, self.rows_per_batch), n_rows]
        batches = [_rows(tokens, bounds[a : b + 1], starts, ids) for a, b in zip(edges[:-1], edges[1:], strict=True)]
        all_given = given == len(tokens)
        first = len(starts) if all_given else int(np.searchsorted(starts, given, side="right")) - 1  # what the next row goes on with
        self._tokens, self._starts, self._ids = [tokens[given:].copy()], [starts[first:] - given], [ids[first:]]
        self._waiting = len(tokens) - given
        self.counts.n_rows += n_rows
        self.counts.tokens_out += given
        return batches


def pack(
    ids_T: np.ndarray, offsets_N1: np.ndarray, doc_ids_N: pa.Array, *, sequence_length: int, separator: int, remainder: Remainder = "drop"
) -> tuple[pa.Table, PackedCounts]:
    """All documents at once: the packed rows (schema ``PACKED``) and their account. See ``Packer``."""
    packer = Packer(sequence_length, separator, remainder)
    batches = [*packer.add(ids_T, offsets_N1, doc_ids_N), *packer.finish()]
    return pa.Table.from_batches(batches, schema=PACKED), packer.counts


def _with_separators(ids_T: np.ndarray, offsets_N1: np.ndarray, separator: int) -> tuple[np.ndarray, np.ndarray]:
    """The token stream of the documents and where each begins in it."""
    n = len(offsets_N1) - 1
    ends = offsets_N1[1:] + np.arange(n)
    tokens = np.empty(len(ids_T) + n, dtype=np.int32)
    is_text = np.ones(len(tokens), dtype=bool)
    is_text[ends] = False
    tokens[is_text] = ids_T
    tokens[ends] = separator
    return tokens, offsets_N1[:-1] + np.arange(n)


def _rows(tokens: np.ndarray, bounds_R1: np.ndarray, starts_N: np.ndarray, ids_N: pa.Array) -> pa.RecordBatch:
    """The rows of the token stream between the bounds, each with the documents that overlap it.

    ``starts_N`` is strictly increasing, since every document has at least its separator, and begins at or
    before 0: the document at position x is the last one that starts at or before x.
    """
    first_token = bounds_R1[0]
    first_R = np.searchsorted(starts_N, bounds_R1[:-1], side="right") - 1
    last_R = np.searchsorted(starts_N, bounds_R1[1:], side="left")
    counts_R = last_R - first_R
    edges = np.concatenate([[0], np.cumsum(counts_R)]).astype(np.int32)
    member = np.arange(edges[-1]) - np.repeat(edges[:-1] - first_R, counts_R)
    starts = (starts_N[member] - np.repeat(bounds_R1[:-1], counts_R)).astype(np.int32)
    return pa.record_batch(
        [
            pa.ListArray.from_arrays(pa.array((bounds_R1 - first_token).astype(np.int32)), pa.array(tokens[first_token : bounds_R1[-1]])),
            pa.ListArray.from_arrays(pa.array(edges), ids_N.take(pa.array(member))),
            pa.ListArray.from_arrays(pa.array(edges), pa.array(starts)),
        ],
        schema=PACKED,
    )


def _check(sequence_length: int, separator: int, remainder: str, rows_per_batch: int) -> None:
    if sequence_length < 1 or rows_per_batch < 1:
        raise ConfigError(
            "a packed row needs at least one token",
            where="sequence_length",
            expected="1 or more",
            fix="set it to the model's context length",
        )
    if sequence_length * rows_per_batch >= 2**31:
        raise ConfigError(
            "a record batch of packed rows passes 2^31 tokens",
            where="rows_per_batch",
            expected=f"below {2**31 // sequence_length}",
            fix="lower rows_per_batch",
        )
    if not 0 <= separator < 2**31:
        raise ConfigError(
            "the separator is no token id", where="separator", expected="0 … 2^31 - 1", fix="give the tokenizer's end-of-text id"
        )
    if remainder not in ("drop", "keep"):
        raise ConfigError(f"unknown remainder {remainder!r}", where="remainder", expected="drop or keep", fix="choose one of them")


def _check_documents(ids_T: np.ndarray, offsets_N1: np.ndarray, doc_ids_N: pa.Array) -> None:
    fits = (
        len(offsets_N1) == len(doc_ids_N) + 1
        and offsets_N1[0] == 0
        and offsets_N1[-1] == len(ids_T)
        and bool(np.all(np.diff(offsets_N1) >= 0))
    )
    if not fits:
        raise IntegrityError(
            "token ids, offsets and document ids do not belong together",
            where=f"{len(ids_T)} ids, {len(offsets_N1)} offsets, {len(doc_ids_N)} documents",
            expected="one offset more than documents, rising from 0 to the number of ids",
            fix="pass the arrays of one batch of documents",
        )
