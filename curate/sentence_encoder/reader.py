"""The vectors of many documents by one encoder on one device.

Nothing waits for the device between two batches; one transfer brings back all vectors of a call.

The floor is the model's matrix products: 2 FLOPs for each weight of its linear maps and each token, and attention's
4 · width · tokens of the document for each token and layer. Looking up, pooling and tokens are a few per cent of that.

N documents, d the model's width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from curate.causal_lm.arithmetic import inference
from curate.errors import InputError
from curate.sentence_encoder.batching import MOST_PADDING, MOST_POSITIONS, group, lay_out
from curate.sentence_encoder.checkpoint import EncoderCheckpoint, no_encoder
from curate.sentence_encoder.pooling import Pooling, pool

if TYPE_CHECKING:
    import torch

PROBE_LENGTH = 8
PROBE_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Laid:
    """Documents laid out, ready for the device.

    Args:
        order: documents by batch (those that have tokens).
        batches: tokens (rows, width) int64, which are no padding (None for all), and how many rows are documents.
        n_documents: N.
    """

    order: np.ndarray
    batches: Sequence[tuple[torch.Tensor, torch.Tensor | None, int]]
    n_documents: int


class EncoderReader:
    """Reads documents with one encoder on one device.

    Args:
        checkpoint: of the encoder, which is loaded here.
        pooling: which states make the vector.
        device: as torch names it.
        precision: ``float32``, or ``bfloat16`` for the products (weights and sums stay float32).
        threads: that the arithmetic on a CPU uses; fixed, because results may differ by it in the last bit.

    Raises:
        InputError: the model is no encoder: its states do not depend on later tokens, or have another shape.
    """

    def __init__(
        self, checkpoint: EncoderCheckpoint, pooling: Pooling, device: str = "cpu", precision: str = "float32", threads: int = 1
    ) -> None:
        import torch

        self._torch, self._checkpoint, self._pooling, self._threads = torch, checkpoint, pooling, threads
        self._device = torch.device(device)
        self._low = precision == "bfloat16"
        self._model: Any = checkpoint.load(device)
        self.width = checkpoint.width
        with inference(threads):
            self._refuse_what_is_no_encoder()

    def prepare(self, ids: np.ndarray, offsets: np.ndarray) -> Laid:
        """Lay out N documents; touches no model, so a thread can do it ahead.

        Args:
            ids: tokens of all documents.
            offsets: where each begins (N + 1); one without tokens has no vector.
        """
        lengths, kind = np.diff(offsets), self._device.type
        some = np.flatnonzero(lengths)
        groups = [some[rows] for rows in group(lengths[some], MOST_POSITIONS[kind], MOST_PADDING[kind])]
        batches = []
        for rows in groups:
            tokens, kept = lay_out(ids, offsets, rows, self._checkpoint.pad_id)
            batches.append((self._tensor(tokens), None if kept is None else self._tensor(kept), len(rows)))
        return Laid(np.concatenate([np.empty(0, np.int64), *groups]), batches, len(lengths))

    def _tensor(self, array: np.ndarray) -> torch.Tensor:
        found = self._torch.from_numpy(array)
        return found.pin_memory() if self._device.type == "cuda" else found

    def vectors(self, laid: Laid, hear: Callable[[float], None] | None = None) -> np.ndarray:
        """Vectors (N, d) float32 of L2 norm 1; zero for a document without tokens.

        Args:
            hear: called with the share that is done; on a GPU that is what has been handed to it.
        """
        found = np.zeros((laid.n_documents, self.width), np.float32)
        if not laid.batches:
            return found
        with inference(self._threads):
            pieces, done, of = [], 0, sum(batch[0].numel() for batch in laid.batches)
            for tokens, kept, rows in laid.batches:
                here = None if kept is None else kept.to(self._device, non_blocking=True)
                states = self._states(tokens.to(self._device, non_blocking=True), here)
                pieces.append(pool(states[:rows], None if here is None else here[:rows], self._pooling))
                done += tokens.numel()
                if hear is not None:
                    hear(done / of)
            found[laid.order] = self._torch.cat(pieces).cpu().numpy()
        return found

    def _states(self, tokens: torch.Tensor, kept: torch.Tensor | None) -> torch.Tensor:
        """States of the last layer (rows, positions, d)."""
        mask = {} if kept is None else {"attention_mask": kept.long()}
        with self._torch.autocast(self._device.type, self._torch.bfloat16) if self._low else nullcontext():
            states: torch.Tensor = self._model(input_ids=tokens, **mask).last_hidden_state
        return states

    def _refuse_what_is_no_encoder(self) -> None:
        """Another last token must change what the first one's state is: a decoder under an encoder's name shows here."""
        torch, size = self._torch, self._checkpoint.config.get("vocab_size") or 2
        ids = (torch.arange(PROBE_LENGTH, device=self._device) * 7919 + 13)[None] % size
        changed = ids.clone()
        changed[0, -1] = (ids[0, -1] + 1) % size
        try:
            first, second = (self._states(tokens, None) for tokens in (ids, changed))
        except (AttributeError, ValueError, TypeError, RuntimeError) as error:
            raise no_encoder(self._checkpoint, f"the model {self._checkpoint.name!r} does not read tokens alone ({error})") from error
        if first.shape[-1] != self.width:
            raise InputError(
                f"the model {self._checkpoint.name!r} gives {first.shape[-1]} numbers for a token and says {self.width}",
                where=str(self._checkpoint.folder),
                expected="a configuration that fits the weights",
                fix="fetch it again",
            )
        own, apart = (float((first[:, at] - second[:, at]).abs().max()) for at in (-1, 0))
        if own <= PROBE_TOLERANCE * float(first.abs().max()):
            raise InputError(
                f"the model {self._checkpoint.name!r} gives every token the same state, whatever it is",
                where=str(self._checkpoint.folder),
                expected="trained weights; these are all zero, or damaged",
                fix="fetch or save it again, or give another in `model:`",
            )
        if apart <= PROBE_TOLERANCE * float(first[:, 0].abs().max()):
            raise no_encoder(
                self._checkpoint,
                f"in {self._checkpoint.name!r} a token's state knows nothing of what comes after it: it is a decoder, or without layers",
            )
