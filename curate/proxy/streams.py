"""Documents of named domains as token streams, one for each domain, from which rows of one length are cut.

A stream is its documents in the order given, each after the token that begins one. Documents share rows, as in
ordinary pre-training; a document longer than a row goes on in the next.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.documents import text_bytes
from curate.errors import InputError
from curate.tokenization import Tokenizer

ENCODED_AT_ONCE = 16 << 20  # bytes of text


@dataclass(frozen=True)
class Streams:
    """Tokens by domain. D domains.

    Args:
        domains: names, sorted (D).
        tokens: a stream for each domain, uint16 or int32.
        n_bytes: UTF-8 bytes of each domain's documents (D).
        starts: where documents begin in each stream, ascending.
        ids: their doc_ids, in hex digits.
    """

    domains: tuple[str, ...]
    tokens: tuple[np.ndarray, ...]
    n_bytes: np.ndarray
    starts: tuple[np.ndarray, ...]
    ids: tuple[list[str], ...]

    @property
    def n_tokens(self) -> np.ndarray:
        """Tokens of each domain (D)."""
        return np.array([len(stream) for stream in self.tokens], np.int64)

    @property
    def natural(self) -> np.ndarray:
        """Natural proportions (D): as much of each domain as there is."""
        return self.n_tokens / self.n_tokens.sum()

    def documents(self, domain: int, first: int, last: int) -> list[str]:
        """Documents that have a token among ``first`` to ``last - 1`` of a stream, round its end, for messages."""
        places = np.arange(first, last) % len(self.tokens[domain])
        which = np.searchsorted(self.starts[domain], places, side="right") - 1
        return [self.ids[domain][i] for i in dict.fromkeys(which.tolist())]

    @classmethod
    def of(cls, table: pa.Table, tokenizer: Tokenizer, start_id: int) -> Streams:
        """Encode a table of documents.

        Args:
            table: columns ``text``, ``domain`` and ``doc_id``; documents without text are left out.
            tokenizer: encodes the text.
            start_id: token before every document.

        Raises:
            InputError: there is no text.
        """
        table = table.filter(pc.greater(pc.fill_null(pc.binary_length(table["text"]), 0), 0))
        if not len(table):
            raise InputError(
                "there is nothing to train on", where="the training sample", expected="documents with text", fix="raise the sample"
            )
        names = table["domain"].cast(pa.string())
        domains = sorted(set(names.to_pylist()))
        kind = np.uint16 if tokenizer.vocab_size <= 1 << 16 else np.int32
        parts = [_stream(table.filter(pc.equal(names, domain)), tokenizer, start_id, kind) for domain in domains]
        return cls(
            tuple(domains),
            tuple(p[0] for p in parts),
            np.array([p[1] for p in parts], np.int64),
            tuple(p[2] for p in parts),
            tuple(p[3] for p in parts),
        )


def _stream(table: pa.Table, tokenizer: Tokenizer, start_id: int, kind: type) -> tuple[np.ndarray, int, np.ndarray, list[str]]:
    """(tokens, text bytes, document starts, doc_ids) of one domain."""
    pieces, starts, n_bytes, filled = [], [], 0, 0
    text = table["text"].combine_chunks().cast(pa.large_string())
    text = text.combine_chunks() if isinstance(text, pa.ChunkedArray) else text
    bounds = text_bytes(text)[1]
    row = 0
    while row < len(text):
        last = max(row + 1, int(np.searchsorted(bounds, bounds[row] + ENCODED_AT_ONCE, side="right")) - 1)
        ids, offsets = tokenizer.encode_arrow(text[row:last])
        piece: np.ndarray = np.insert(ids, offsets[:-1], start_id).astype(kind)
        starts.append(filled + offsets[:-1] + np.arange(last - row))
        pieces.append(piece)
        filled += len(piece)
        n_bytes += int(bounds[last] - bounds[row])
        row = last
    ids_hex = [i.hex() for i in table["doc_id"].to_pylist()] if "doc_id" in table.column_names else [f"row {i}" for i in range(len(table))]
    return np.concatenate(pieces), n_bytes, np.concatenate(starts), ids_hex
