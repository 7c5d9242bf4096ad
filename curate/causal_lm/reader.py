"""The nats of every token of many documents: no padding worth the name, no (tokens x vocabulary) tensor.

What makes it fast, on any device:

- Windows of like length go through the model together, so that padding is a per cent or two; it stands on the
  right, where causal attention never looks, so no attention mask is needed and the fast kernels apply.
- The output layer is applied to predicted positions only, a slice at a time: logits take ``LOGIT_BYTES``
  at most whatever the length, and more only where ``LEAST_ROWS`` of a vocabulary above 65,536 ids need it. Models whose
  logits are no plain linear map (``slow_because``) have them made whole, for smaller batches.
- Nothing waits for the device between two batches; one transfer brings back all nats of a call.

N documents, T tokens, W windows, P predicted tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from curate.causal_lm.arithmetic import inference
from curate.causal_lm.windows import Windows, batches, cut
from curate.errors import InputError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

POSITIONS = {"cpu": 2048, "cuda": 65_536}
"""Padded positions of one batch: enough to fill the device, little enough to stay in its caches or memory."""
LOGIT_BYTES = {"cpu": 32 << 20, "cuda": 512 << 20}
LEAST_ROWS = 128
"""Predicted positions the output layer takes at once at least: fewer would read its whole matrix for nothing."""
PROBE_LENGTH = 24
PROBE_TOLERANCE = {2: 0.1, 4: 1e-4}
"""Nats by which the sliced output layer may differ from the model's own, by bytes of a number: rounding, and no more."""


@dataclass(frozen=True)
class Prepared:
    """Documents cut, sorted and laid out, ready for the device.

    Args:
        windows: of all documents (W), in document order.
        order: the window of each row, batch by batch (W).
        batches: inputs (rows, width), flat places of what is predicted from (P), and the ids predicted (P), all int64.
    """

    windows: Windows
    order: np.ndarray
    batches: Sequence[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]


class Reader:
    """Reads documents with one model on one device.

    Args:
        model: in evaluation mode, on the device.
        start_id: token that windows begin with; None for none.
        context: most positions of a window.
        overlap: tokens a window repeats from the one before.
        threads: that the arithmetic on a CPU uses; fixed, because results may differ by it in the last bit.

    Raises:
        InputError: the model is not causal: what it predicts depends on what comes later.
    """

    def __init__(self, model: PreTrainedModel, start_id: int | None, context: int, overlap: int = 0, threads: int = 1) -> None:
        import torch

        self._torch, self._model = torch, model
        self._start, self._context, self._overlap, self._threads = start_id, context, overlap, threads
        self._device = next(model.parameters()).device
        self._body: Any = model.base_model
        self._head: Any = model.get_output_embeddings()
        with inference(self._threads):
            self.slow_because = self._differs()

    def prepare(self, ids: np.ndarray, offsets: np.ndarray) -> Prepared:
        """Lay out N documents; touches no model, so a thread can do it ahead.

        Args:
            ids: tokens of all documents (T).
            offsets: where each begins (N + 1).
        """
        windows = cut(offsets, self._context, self._overlap, self._start is not None)
        groups = batches(windows.lengths, self._positions)
        order = np.concatenate(groups) if groups else np.empty(0, np.int64)
        return Prepared(windows, order, [self._lay_out(ids, windows.take(group)) for group in groups])

    @property
    def _positions(self) -> int:
        """Positions of one batch: fewer where all their logits must be held."""
        device = self._device.type
        if not self.slow_because:
            return POSITIONS[device]
        return min(POSITIONS[device], max(LEAST_ROWS, LOGIT_BYTES[device] // (4 * self._model.config.get_text_config().vocab_size)))

    def _lay_out(self, ids: np.ndarray, windows: Windows) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """One batch: a row for each window, padded on the right."""
        lengths = windows.lengths
        columns = np.arange(int(lengths.max()))
        at = (windows.first - windows.n_context - int(windows.has_start))[:, None] + columns
        real = columns < lengths[:, None]
        inputs = np.where(real, ids[np.clip(at, 0, len(ids) - 1)], 0).astype(np.int64)
        if self._start is not None:
            inputs[:, 0] = self._start
        places = np.flatnonzero(real & (columns >= (lengths - windows.n_predicted)[:, None]))
        wanted = ids[at.reshape(-1)[places] + 1].astype(np.int64)
        found = [self._torch.from_numpy(array) for array in (inputs, places, wanted)]
        if self._device.type == "cuda":
            found = [array.pin_memory() for array in found]
        return found[0], found[1], found[2]

    def nats(self, prepared: Prepared, hear: Callable[[float], None] | None = None) -> np.ndarray:
        """Negative log-likelihood of every predicted token (P) float32, in the order of documents and their tokens.

        Args:
            hear: called with the share that is done; on a GPU that is what has been handed to it.
        """
        if not prepared.batches:
            return np.empty(0, np.float32)
        with inference(self._threads):
            pieces, done, of = [], 0, sum(batch[0].numel() for batch in prepared.batches)
            for batch in prepared.batches:
                pieces.append(self._of_batch(*(a.to(self._device, non_blocking=True) for a in batch)))
                done += batch[0].numel()
                if hear is not None:
                    hear(done / of)
            found = self._torch.cat(pieces).cpu().numpy()
        # Rows come back in the order of batches; each window's tokens go to their place among all predicted ones.
        size = prepared.windows.n_predicted
        begins = (np.cumsum(size) - size)[prepared.order]
        counts = size[prepared.order]
        out = np.empty_like(found)
        out[np.repeat(begins - (np.cumsum(counts) - counts), counts) + np.arange(len(found))] = found
        return out

    def sums(self, prepared: Prepared, n_documents: int, hear: Callable[[float], None] | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Summed nats (N) float64 and predicted tokens (N) int64 of every document; ``hear`` as for ``nats``."""
        nats = self.nats(prepared, hear).astype(np.float64)
        document = np.repeat(prepared.windows.document, prepared.windows.n_predicted)
        return np.bincount(document, nats, n_documents), np.bincount(document, minlength=n_documents)

    def _of_batch(self, inputs: torch.Tensor, places: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        """Nats of one batch's predicted tokens (P)."""
        if self.slow_because:
            logits = self._model(inputs, use_cache=False).logits
            return self._nats(logits.reshape(-1, logits.shape[-1])[places].float(), wanted)
        hidden = self._body(inputs, use_cache=False).last_hidden_state
        hidden = hidden.reshape(-1, hidden.shape[-1])[places]
        weight, bias = self._head.weight, self._head.bias
        rows = max(LEAST_ROWS, LOGIT_BYTES[self._device.type] // (4 * len(weight)))
        space = hidden.new_empty((min(rows, len(hidden)), len(weight)))
        pieces = []
        for start in range(0, len(hidden), rows):
            some = hidden[start : start + rows]
            logits = self._torch.mm(some, weight.T, out=space[: len(some)])
            if bias is not None:
                logits += bias
            pieces.append(self._nats(logits.float(), wanted[start : start + rows]))
        return self._torch.cat(pieces)

    def _nats(self, logits: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        """-log softmax(logits)[wanted] of each row; ``logits`` is overwritten, which halves the memory it moves."""
        own = logits.gather(1, wanted[:, None]).squeeze(1)
        most = logits.amax(1, keepdim=True)
        return logits.sub_(most).exp_().sum(1).log_().add_(most.squeeze(1)).sub_(own)

    def _differs(self) -> str:
        """Why the model's own output layer must be used whole; empty where slices of it give the same.

        Some architectures scale, cap or project between their last hidden state and their logits. No list of
        them stays complete, so a probe decides.
        """
        torch = self._torch
        n, vocab_size = min(PROBE_LENGTH, self._context), self._model.config.get_text_config().vocab_size
        ids = (torch.arange(n, device=self._device) * 7919 + 13) % vocab_size
        places = torch.arange(n - 1, device=self._device)
        tolerance = PROBE_TOLERANCE[next(self._model.parameters()).element_size()]
        self.slow_because = "being compared"
        whole = self._of_batch(ids[None], places, ids[1:])
        self._refuse_if_it_looks_ahead(ids, places, whole, tolerance)
        if not isinstance(self._head, torch.nn.Linear):
            return "its output layer is no linear map"
        self.slow_because = ""
        sliced = self._of_batch(ids[None], places, ids[1:])
        worst = float((sliced - whole).abs().max())
        if worst <= tolerance:
            return ""
        return f"its logits are more than a linear map of the last hidden state (nats differ by {worst:.3g})"

    def _refuse_if_it_looks_ahead(self, ids: torch.Tensor, places: torch.Tensor, nats: torch.Tensor, tolerance: float) -> None:
        """An encoder opened as a decoder sees what it is to predict: another last token must change nothing before it."""
        changed = ids.clone()
        changed[-1] = (ids[-1] + 1) % self._model.config.get_text_config().vocab_size
        if float((self._of_batch(changed[None], places, ids[1:]) - nats).abs().max()) > tolerance:
            raise InputError(
                f"the model sees the tokens it is to predict ({type(self._model).__name__})",
                where=str(self._model.config.name_or_path),
                expected="a causal language model, whose predictions depend on earlier tokens only",
                fix="name a decoder; an encoder such as BERT is none",
            )
