"""How surprising a document is to a causal language model, supplied or trained here on a part of the corpus.

Ankner et al. ("Perplexed by Perplexity", arXiv 2405.20541, Algorithm 1): a small reference model is trained on a random
part of the corpus; the other part is scored by its perplexity, and a window of the scores is kept. The paper takes
2 to the power of a mean of natural logarithms; only ranks matter to it, and the usual exp is taken here.

Definitions. nats = Σ -ln p(token | what its window shows before it). perplexity = exp(nats / n_predicted), per token of the
model's own tokenizer, so comparable under one model only. bpb = nats / (ln 2 · n_bytes), comparable between
tokenizers. Sums add up over documents, ratios do not.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate import fit_ids
from curate.causal_lm import SHAPES, Checkpoint, Reader, open_checkpoint
from curate.causal_lm.checkpoint import NO_START
from curate.causal_lm.reader import Prepared
from curate.documents import text_bytes
from curate.errors import ConfigError, CurateError
from curate.extras import LANGUAGE_MODELS, require
from curate.hashing import id_halves
from curate.proxy.settings import Training
from curate.scorers.scorer import FitAid, PickledAsBuilt, Sample, Scorer, columns
from curate.tokenization import Tokenizer
from curate.tokenization.location import locate

LONGEST_DEFAULT_CONTEXT = 2048
REHEARSED_STEPS, REHEARSED_TOKENS, USUAL_TOKENS_PER_BYTE = 4, 4096, 0.3
REFERENCE_PART, TOO_SHORT = "reference_part", "too_short"

_REASONS = {b"codes": f"{REFERENCE_PART},{TOO_SHORT}".encode(), b"unit": b"why there is no score", b"direction": b"none"}


@dataclass
class _Ready:
    """A batch made ready: which rows are scored, and their windows.

    N rows of the batch, S distinct documents that are scored.
    """

    rows: np.ndarray  # the scored document that each row is a copy of (N), -1 for none
    windows: Prepared
    n_tokens: np.ndarray  # of the scored documents (S)
    reason: np.ndarray  # object (N)
    seen: np.ndarray  # bool (N)


@dataclass
class BitsPerByte(PickledAsBuilt, Scorer):
    """Nats, perplexity and bits per byte of every document under a causal language model.

    Give exactly one of ``model`` and ``train``. What taught a model trained here is not scored: those documents have
    ``in_fit_sample`` true and the reason ``reference_part``. A document longer than the context is read in windows
    (``curate.causal_lm.windows`` states the rule), all of whose tokens count.

    Args:
        model: a folder in Hugging Face format with safetensors weights, or a hub id.
        revision: of the model on the hub.
        tokenizer: folder of the model's tokenizer, where it lies elsewhere.
        train: trains the model here; see ``curate.proxy.Training``.
        context: positions of a window; None takes the model's own, at most 2048.
        overlap: tokens that a window repeats from the one before; 0 reads every window as if a document began there.
        start: token that windows begin with: ``auto`` for the model's own, ``none``, or its text. Without one a
            document's first token is not predicted.
        min_tokens: documents of fewer tokens have no score: their perplexity says little, and they crowd both tails.
            Without a start token it is 2 at least.
        precision: of the arithmetic, ``float32`` or ``bfloat16``.
    """

    model: str | None = None
    revision: str | None = None
    tokenizer: str | None = None
    train: Training | None = None
    context: int | None = None
    overlap: int = 0
    start: str = "auto"
    min_tokens: int = 8
    precision: Literal["float32", "bfloat16"] = "float32"

    inputs = ("text", "doc_id")
    accelerated = True
    outputs = pa.schema(
        [
            *columns(
                nats=(pa.float64(), "nats", "lower"),
                n_predicted=(pa.int64(), "tokens of the model's tokenizer", "none"),
                n_bytes=(pa.int64(), "UTF-8 bytes", "none"),
                bpb=(pa.float64(), "bits per UTF-8 byte", "lower"),
                perplexity=(pa.float64(), "perplexity per token of the model's tokenizer", "lower"),
                in_fit_sample=(pa.bool_(), "bool", "none"),
            ),
            pa.field("reason", pa.string(), metadata=_REASONS),
        ]
    )

    def __post_init__(self) -> None:
        self._device, self._rehearses = "cpu", False
        self._in_earnest: Training | None = None
        self._reader: Reader | None = None

    def check(self) -> None:
        """Refuse settings that cannot be, and a model that is missing, incomplete or pickled."""
        require(LANGUAGE_MODELS, "lm", "bits_per_byte")
        if (self.model is None) == (self.train is None):
            raise _wrong("model", "a model is either supplied or trained here", "one of `model:` and `train:`", "remove or add one of them")
        if self.overlap < 0:
            raise _wrong("overlap", f"overlap cannot be {self.overlap}", "0 or more tokens", "0 reads windows on their own")
        if self.min_tokens < 1:
            raise _wrong("min_tokens", f"min_tokens cannot be {self.min_tokens}", "1 or more", "8 is usual")
        if self.train is not None:
            self._check_training(self.train)
        elif self.model is not None:
            self._check_model(open_checkpoint(self.model, self.revision, self.tokenizer))

    def _check_training(self, train: Training) -> None:
        train.check("bits_per_byte.train")
        for name in ("revision", "tokenizer"):
            if getattr(self, name) is not None:
                raise _wrong(
                    name, f"`{name}` belongs to a supplied model", "no such key beside `train:`", "remove it, or put it below `train:`"
                )
        if self.start not in ("auto", NO_START):
            raise _wrong(
                "start", f"a model trained here begins documents as its tokenizer ends them, not with {self.start!r}",
                f"auto or {NO_START}", "remove `start:`",
            )  # fmt: skip
        if train.tokenizer is not None:
            Tokenizer.open(train.tokenizer).separator_id()
        self._check_window(train.context)

    def _check_model(self, checkpoint: Checkpoint) -> None:
        checkpoint.start_id(self.start)
        self._check_window(checkpoint.context)

    def _check_window(self, longest: int | None) -> None:
        """The window fits the model, and the overlap the window."""
        if longest is not None and self.context is not None and self.context > longest:
            raise _wrong(
                "context", f"a window of {self.context} tokens does not fit the model", f"at most {longest}", f"use `context: {longest}`"
            )
        window = self._window(longest)
        if window < 2 or self.overlap >= window:
            raise _wrong("overlap", f"an overlap of {self.overlap} leaves nothing to predict in a window of {window}",
                         "an overlap below `context`, which is at least 2", "lower `overlap`, or raise `context`")  # fmt: skip

    def _window(self, longest: int | None) -> int:
        if self.context is not None:
            return self.context
        return min(longest, LONGEST_DEFAULT_CONTEXT) if longest is not None else LONGEST_DEFAULT_CONTEXT

    def artifacts(self) -> tuple[Path, ...]:
        """The supplied model's files, or the supplied tokenizer of one that is trained."""
        if self.train is not None:
            return () if self.train.tokenizer is None else (locate(self.train.tokenizer),)
        assert self.model is not None
        checkpoint = open_checkpoint(self.model, self.revision, self.tokenizer)
        # A model that was trained here says which documents it may not judge.
        taught = checkpoint.folder / fit_ids.FILE
        return (*checkpoint.files, taught) if taught.is_file() else checkpoint.files

    def sample(self) -> Sample | None:
        """The reference part, random because ingest made the order so."""
        if self.train is None:
            return None
        t = self.train
        fraction = None if t.sample_bytes else t.fraction
        return Sample(t.sample_bytes or 0, per_domain=t.stratified, domains=tuple(t.domains), fraction=fraction)

    def borrows(self) -> tuple[str, ...]:
        """The tokens scorer whose tokenizer the model is trained with."""
        return (self.train.tokenizer_of,) if self.train is not None and self.train.tokenizer_of is not None else ()

    @property
    def fit_cpus(self) -> int:
        """The threads of the training."""
        return self.train.threads if self.train is not None else 1

    def fit(self, sample: pa.Table, state: Path) -> None:
        """Train the reference model; see ``fit_with``."""
        self.fit_with(sample, state, FitAid())

    def fit_with(self, sample: pa.Table, state: Path, aid: FitAid) -> None:
        """Train the reference model and write it in Hugging Face format, with its losses and the ids of what taught it."""
        from curate.proxy.reference import train_reference

        assert self.train is not None
        began = time.monotonic()
        trained = train_reference(sample, self.train, state, aid)
        fit_ids.save(sample["doc_id"], state)
        if self._rehearses and self._in_earnest is not None:
            n_bytes = float(pc.sum(pc.binary_length(sample["text"])).as_py() or 0)
            times = replace(self, train=self._in_earnest).fit_work(n_bytes) / max(trained.n_tokens, 1)
            spent = time.monotonic() - began
            self.longer = 1 + trained.seconds * (times - 1) / max(spent, trained.seconds)

    def fit_work(self, n_bytes: float) -> float:
        """Tokens trained on, where ``n_bytes`` are set aside."""
        if self.train is None:
            return n_bytes
        n_parameters = SHAPES[self.train.size].n_parameters(self.train.vocab_size)
        return self.train.n_steps(n_parameters, int(n_bytes * USUAL_TOKENS_PER_BYTE)) * self.train.batch_rows * self.train.context

    def rehearsal(self) -> BitsPerByte:
        """A few steps of training, and a few documents of each batch read; the others are given the mean of those."""
        train = self.train and replace(self.train, tokens=REHEARSED_STEPS * self.train.batch_rows * self.train.context)
        found = replace(self, train=train)
        found._rehearses, found._in_earnest = True, self.train
        return found

    def place(self, device: str) -> None:
        """See Scorer."""
        self._device = device

    def load(self, state: Path | None) -> None:
        """Open the model that was trained or supplied."""
        checkpoint = open_checkpoint(str(state) if state is not None else str(self.model), self.revision, self.tokenizer)
        self._tokenizer = checkpoint.tokenizer
        self._fit_ids = fit_ids.FitIds(checkpoint.folder)
        model, start_id = checkpoint.load(self._device, self.precision), checkpoint.start_id(self.start)
        # Without a start token the first token is given, so a document of one has nothing to be judged by.
        self._begins = start_id is not None
        self._fewest = max(self.min_tokens, 1 if self._begins else 2)
        self._reader = Reader(model, start_id, self._window(checkpoint.context), self.overlap)

    def prepare(self, batch: pa.RecordBatch) -> _Ready:
        """Tokens of the documents that are to be scored, each distinct one once, cut into windows."""
        text = batch["text"]
        null = np.asarray(pc.is_null(text))
        seen = self._loaded._fit_ids.among(batch["doc_id"])
        rows = np.flatnonzero(~null & ~seen)
        halves = id_halves(batch["doc_id"])[rows]
        # Exact copies have one doc_id and one score.
        _, first, copy_of = np.unique(halves, axis=0, return_index=True, return_inverse=True)
        ids, offsets = self._loaded._tokenizer.encode_arrow(text.take(pa.array(rows[first], pa.int64())))
        scored = np.diff(offsets) >= self._loaded._fewest
        ids, kept = _only(ids, offsets, scored)
        assert self._reader is not None
        read = self._read_in_rehearsal(kept) if self._rehearses else len(kept)
        windows = self._reader.prepare(ids[: kept[read - 1]], kept[:read])
        place = np.full(len(batch), -1, np.int64)
        place[rows] = np.where(scored, np.cumsum(scored) - 1, -1)[copy_of.reshape(-1)]
        reason = np.full(len(batch), None, object)
        reason[rows[place[rows] < 0]] = TOO_SHORT
        reason[seen & ~null] = REFERENCE_PART
        return _Ready(place, windows, np.diff(kept), reason, seen)

    @property
    def _loaded(self) -> BitsPerByte:
        if self._reader is None:
            raise ConfigError("the model is not loaded", where="bits_per_byte", expected="`load` before `score`", fix="call load(state)")
        return self

    def score(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Score documents; null text gives nulls."""
        return self.score_prepared(batch, self.prepare(batch))

    def score_prepared(self, batch: pa.RecordBatch, prepared: _Ready) -> pa.RecordBatch:
        """Run the model over the windows.

        Raises:
            CurateError: a score that is no number; the document is named.
        """
        assert self._reader is not None
        nats_S, n_predicted_S = self._reader.sums(prepared.windows, len(prepared.n_tokens), self.hear)
        if self._rehearses:
            nats_S, n_predicted_S = self._supposed(prepared, nats_S, n_predicted_S)
        at, missing = np.maximum(prepared.rows, 0), prepared.rows < 0
        nats = np.zeros(len(batch)) if not len(prepared.n_tokens) else nats_S[at]
        n_predicted = np.ones(len(batch), np.int64) if not len(prepared.n_tokens) else n_predicted_S[at]
        self._check_finite(batch, nats, missing)
        n_bytes = np.diff(text_bytes(batch["text"])[1])
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            bpb, perplexity = nats / (math.log(2) * n_bytes), np.exp(nats / n_predicted)
        null = np.asarray(pc.is_null(batch["text"]))
        made = [pa.array(values, mask=missing) for values in (nats, n_predicted, n_bytes, bpb, perplexity)]
        made += [pa.array(prepared.seen, mask=null), pa.array(prepared.reason, pa.string())]
        return pa.record_batch(made, schema=self.outputs)

    def token_sums(
        self, ids: np.ndarray, offsets: np.ndarray, wanted: np.ndarray, hear: Callable[[float], None] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """What ``score`` sums, for N documents whose tokens under the model's own tokenizer are known.

        Args:
            ids: tokens of all documents (T), without the start token.
            offsets: where each begins (N + 1).
            wanted: which to read (N) bool.
            hear: called with the share that is done.

        Returns:
            Nats (N) float64, not checked to be finite, and predicted tokens (N) int64; 0 of both where a document is not
            wanted or has fewer than ``min_tokens``.
        """
        reader, scored = self._loaded._reader, wanted & (np.diff(offsets) >= self._loaded._fewest)
        assert reader is not None
        nats_N, n_predicted_N = np.zeros(len(scored)), np.zeros(len(scored), np.int64)
        n_scored = int(scored.sum())
        nats_N[scored], n_predicted_N[scored] = reader.sums(reader.prepare(*_only(ids, offsets, scored)), n_scored, hear)
        return nats_N, n_predicted_N

    def taught_by(self, doc_ids: pa.Array) -> np.ndarray:
        """Which of N documents taught a model that was trained here, so that it may not judge them (N) bool."""
        return self._loaded._fit_ids.among(doc_ids)

    @property
    def begins(self) -> bool:
        """Whether windows begin with a start token; the model is loaded."""
        return self._loaded._begins

    def _read_in_rehearsal(self, kept: np.ndarray) -> int:
        """How many entries of the offsets hold the documents that a rehearsal reads."""
        return max(int(np.searchsorted(kept, REHEARSED_TOKENS, side="right")), min(2, len(kept)))

    def _supposed(self, prepared: _Ready, nats_S: np.ndarray, n_predicted_S: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The documents that were read as they are, the others at the mean of those."""
        n_read = int(n_predicted_S.sum())
        total = int(prepared.n_tokens.sum())
        self.longer = total / n_read if n_read else 1.0
        unread = n_predicted_S == 0
        mean = nats_S.sum() / max(n_read, 1)
        return np.where(unread, mean * prepared.n_tokens, nats_S), np.where(unread, prepared.n_tokens, n_predicted_S)

    def _check_finite(self, batch: pa.RecordBatch, nats: np.ndarray, missing: np.ndarray) -> None:
        bad = np.flatnonzero(~missing & ~np.isfinite(nats))
        if len(bad):
            raise CurateError(
                f"the model gives {len(bad)} documents a loss that is no number",
                where=f"document {batch['doc_id'][int(bad[0])].as_py().hex()}",
                expected="finite nats",
                fix="use `precision: float32`, or another model",
            )

    def token_scores(self, text: str) -> pa.Table:
        """Nats of every token of one text: columns ``piece``, ``nats`` (null where a token is given, not predicted)."""
        reader = self._loaded._reader
        assert reader is not None
        pieces = self._tokenizer.pieces(text)
        ids, offsets = self._tokenizer.encode_arrow(pa.array([text], pa.large_string()))
        prepared = reader.prepare(ids, offsets)
        nats = np.full(len(ids), np.nan)
        windows = prepared.windows
        sizes = windows.n_predicted
        at = np.repeat(windows.first - (np.cumsum(sizes) - sizes), sizes) + np.arange(int(sizes.sum()))
        nats[at] = reader.nats(prepared)
        return pa.table({"piece": pa.array(pieces, pa.string()), "nats": pa.array(nats, mask=np.isnan(nats))})


def _only(ids: np.ndarray, offsets: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Tokens and offsets of the wanted ones (N) bool of N documents."""
    counts = np.diff(offsets)
    return ids[np.repeat(wanted, counts)], np.concatenate([np.zeros(1, np.int64), np.cumsum(counts[wanted], dtype=np.int64)])


def _wrong(name: str, what: str, expected: str, fix: str) -> ConfigError:
    return ConfigError(what, where=f"bits_per_byte.{name}", expected=expected, fix=fix)
