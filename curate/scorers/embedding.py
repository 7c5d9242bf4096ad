"""What a document is about, as the vector that a sentence encoder gives its beginning.

    - embedding: {model: sentence-transformers/all-MiniLM-L6-v2}

Clusters and raters read the vectors (SampleMix, Xi et al., arXiv 2503.01506, takes diversity from them). ``static_embedding``
is the cheap one that needs no model.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.errors import ConfigError, CurateError
from curate.extras import LANGUAGE_MODELS, require
from curate.hashing import id_halves
from curate.scorers.scorer import PickledAsBuilt, Scorer, columns
from curate.sentence_encoder import EncoderCheckpoint, EncoderReader, open_encoder
from curate.sentence_encoder.reader import Laid
from curate.sentence_encoder.tokens import DocumentTokens

UNIT = "embedding, L2 norm 1"
REHEARSED_TOKENS = 4096


@dataclass
class _Ready:
    """A batch made ready: which rows have a vector, and the tokens of the distinct documents.

    N rows of the batch, S distinct documents.
    """

    rows: np.ndarray  # the document that each row is a copy of (N), -1 for null
    laid: Laid
    n_tokens: np.ndarray  # (S)
    truncated: np.ndarray  # bool (S)


@dataclass
class Embedding(PickledAsBuilt, Scorer):
    """The vector of every document by a sentence encoder, of L2 norm 1, in half precision.

    Only a document's first ``max_length`` tokens are read: ``truncated`` says whether there are more, ``n_tokens`` how many
    were read, begin and end tokens and the prefix included. A document without a token of its own (empty, white space)
    has a null vector and 0 tokens; null text has nulls. Tokens such as [SEP] that stand literally in a text are read as the
    ordinary text they are.

    The field's metadata has under ``model`` the identity of the vectors' space: a hash of weights, configuration,
    tokenizer, pooling and prefix. Vectors of different spaces cannot be compared.

    On a CPU documents of one length are computed together without padding, and a vector has the same bits in whatever
    batch; on a GPU they differ in the last ones. Nothing can be faster than the model's matrix products
    (``curate.sentence_encoder.reader``).

    Args:
        model: a folder in Hugging Face or sentence-transformers format with safetensors weights, or a hub id.
        revision: of the model on the hub.
        pooling: ``mean`` of all tokens, ``cls`` for the first one, or ``auto``, which is what the model's folder says, else
            mean.
        max_length: tokens read of a document; None for what the model's folder says, at most 512.
        prefix: text put before each document, for models trained with one (``passage: `` for e5); None for the prompt that
            the model's folder names as its default, if any, and an empty text for none.
        precision: of the products, ``float32`` or ``bfloat16``.
    """

    model: str
    revision: str | None = None
    pooling: Literal["auto", "mean", "cls"] = "auto"
    max_length: int | None = None
    prefix: str | None = None
    precision: Literal["float32", "bfloat16"] = "float32"

    inputs = ("text", "doc_id")
    accelerated = True

    def __post_init__(self) -> None:
        self._device, self._rehearses = "cpu", False
        self._outputs: pa.Schema | None = None
        self._reader: EncoderReader | None = None
        self._tokens: DocumentTokens | None = None

    @property
    def outputs(self) -> pa.Schema:
        """The vector (N, d), the tokens read, and whether there were more; d is read from the model's configuration."""
        if self._outputs is None:
            checkpoint = self._open()
            made = columns(
                vector=(pa.list_(pa.float16(), checkpoint.width), UNIT, "none"),
                n_tokens=(pa.int32(), "tokens of the model's tokenizer, begin and end included", "none"),
                truncated=(pa.bool_(), "bool", "none"),
            )
            identity = checkpoint.identity(checkpoint.pooling(self.pooling), self._prefix(checkpoint))
            vector = made.field("vector")
            self._outputs = made.set(0, vector.with_metadata({**vector.metadata, b"model": identity.encode()}))
        return self._outputs

    def check(self) -> None:
        """Refuse settings that cannot be, and a model that is missing, incomplete, pickled, or no encoder."""
        require(LANGUAGE_MODELS, "lm", "embedding", "use static_embedding, which needs no model")
        checkpoint = self._open()
        pooling = checkpoint.pooling(self.pooling)
        prefix = self._prefix(checkpoint)
        tokens = DocumentTokens(checkpoint.tokenizer, self._length(checkpoint), prefix)
        if prefix and self.pooling == "auto" and checkpoint.leaves_out_prompts:
            what = f"the vectors of {self.model!r} leave out the tokens of a prompt, which is not done here"
            fix = "set `prefix:` to an empty text, or `pooling:` to take vectors that the model was not trained to give"
            raise _wrong("prefix", what, f"no prompt; it would be {prefix!r}", fix)
        if pooling == "cls" and not len(tokens.head):
            raise _wrong("pooling", f"the model {self.model!r} puts no token before a text", "a first token to take", "set `pooling: mean`")
        longest, length = checkpoint.positions, self._length(checkpoint)
        if longest is not None and length > longest:
            raise _wrong("max_length", f"{length} tokens do not fit the model", f"at most {longest}", f"use `max_length: {longest}`")
        if length <= tokens.n_fixed:
            what = f"{length} tokens leave no room for a document: {tokens.n_fixed} are begin and end tokens and the prefix"
            raise _wrong("max_length", what, f"more than {tokens.n_fixed}", "raise `max_length`, or shorten `prefix`")

    def _open(self) -> EncoderCheckpoint:
        return open_encoder(self.model, self.revision)

    def _prefix(self, checkpoint: EncoderCheckpoint) -> str:
        return checkpoint.default_prompt if self.prefix is None else self.prefix

    def _length(self, checkpoint: EncoderCheckpoint) -> int:
        return checkpoint.default_length if self.max_length is None else self.max_length

    def artifacts(self) -> tuple[Path, ...]:
        """The model's files."""
        return self._open().files

    def rehearsal(self) -> Embedding:
        """A few documents of each batch read; the others are given their vectors."""
        found = replace(self)
        found._rehearses = True
        return found

    def place(self, device: str) -> None:
        """See Scorer."""
        self._device = device

    def load(self, state: Path | None) -> None:
        """Open the model."""
        checkpoint = self._open()
        self._tokens = DocumentTokens(checkpoint.tokenizer, self._length(checkpoint), self._prefix(checkpoint))
        self._reader = EncoderReader(checkpoint, checkpoint.pooling(self.pooling), self._device, self.precision)

    @property
    def _loaded(self) -> tuple[EncoderReader, DocumentTokens]:
        if self._reader is None or self._tokens is None:
            raise ConfigError("the model is not loaded", where="embedding", expected="`load` before `score`", fix="call load(state)")
        return self._reader, self._tokens

    def prepare(self, batch: pa.RecordBatch) -> _Ready:
        """Tokens of the documents, each distinct one once, laid out by length."""
        reader, tokens = self._loaded
        text = batch["text"].cast(pa.large_string())
        rows = np.flatnonzero(~np.asarray(pc.is_null(text)))
        # Exact copies have one doc_id and one vector.
        _, first, copy_of = np.unique(id_halves(batch["doc_id"])[rows], axis=0, return_index=True, return_inverse=True)
        encoded = tokens.encode(text.take(pa.array(rows[first], pa.int64())))
        offsets = encoded.offsets
        if self._rehearses:
            read = max(int(np.searchsorted(offsets, REHEARSED_TOKENS, side="right")), min(2, len(offsets)))
            offsets = np.minimum(offsets, offsets[read - 1])
        place = np.full(len(batch), -1, np.int64)
        place[rows] = copy_of.reshape(-1)
        return _Ready(place, reader.prepare(encoded.ids, offsets), np.diff(encoded.offsets), encoded.truncated)

    def score(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Vectors of documents; null text gives nulls."""
        return self.score_prepared(batch, self.prepare(batch))

    def score_prepared(self, batch: pa.RecordBatch, prepared: _Ready) -> pa.RecordBatch:
        """Run the encoder over the documents.

        Raises:
            CurateError: a vector that is no numbers; the document is named.
        """
        reader, _ = self._loaded
        vectors_SD = reader.vectors(prepared.laid, self.hear)
        if self._rehearses:
            vectors_SD = self._supposed(prepared, vectors_SD)
        null, at = prepared.rows < 0, np.maximum(prepared.rows, 0)
        if len(vectors_SD):
            vectors_ND, n_tokens, truncated = vectors_SD[at], prepared.n_tokens[at], prepared.truncated[at]
        else:
            vectors_ND = np.zeros((len(batch), reader.width), np.float32)
            n_tokens, truncated = np.zeros(len(batch), np.int64), np.zeros(len(batch), bool)
        _check_finite(batch, vectors_ND, null)
        values = pa.array(vectors_ND.astype(np.float16).reshape(-1))
        vector = pa.FixedSizeListArray.from_arrays(values, reader.width, mask=pa.array(null | (n_tokens == 0)))
        made = [vector, pa.array(n_tokens.astype(np.int32), mask=null), pa.array(truncated, mask=null)]
        return pa.record_batch(made, schema=self.outputs)

    def _supposed(self, prepared: _Ready, vectors_SD: np.ndarray) -> np.ndarray:
        """The documents that were not read take the vectors of those that were, in turn."""
        read = np.sort(prepared.laid.order)
        total, done = int(prepared.n_tokens.sum()), int(prepared.n_tokens[read].sum())
        self.longer = total / done if done else 1.0
        return vectors_SD[read[np.arange(len(vectors_SD)) % len(read)]] if len(read) else vectors_SD


def _check_finite(batch: pa.RecordBatch, vectors_ND: np.ndarray, null: np.ndarray) -> None:
    bad = np.flatnonzero(~np.isfinite(vectors_ND).all(1) & ~null)
    if len(bad):
        raise CurateError(
            f"the model gives {len(bad)} documents a vector that is no numbers",
            where=f"document {batch['doc_id'][int(bad[0])].as_py().hex()}",
            expected="finite numbers",
            fix="use `precision: float32`, or another model",
        )


def _wrong(name: str, what: str, expected: str, fix: str) -> ConfigError:
    return ConfigError(what, where=f"embedding.{name}", expected=expected, fix=fix)
