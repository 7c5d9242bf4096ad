"""Cross-entropy without the logits: the output layer, its loss and both gradients, a slice of the positions at a time.

The (positions x vocabulary) tensors of logits, probabilities and their gradient are what training a small model
spends most memory on, and much of its time. A slice of them fits a cache; the gradients of the hidden states and of the
output matrix are made while it is there, since the loss is a plain sum.

P positions, d width, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch

SLICE_BYTES = {"cpu": 16 << 20, "cuda": 512 << 20}
LEAST_ROWS = 128


class _Summed(torch.autograd.Function):
    """(sum of nats, nats of each position); only the sum carries a gradient."""

    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        rows = max(LEAST_ROWS, SLICE_BYTES[hidden.device.type] // (4 * len(weight)))
        to_hidden, to_weight = torch.empty_like(hidden), torch.zeros_like(weight)
        wide = torch.promote_types(hidden.dtype, torch.float32)
        nats = torch.empty(len(hidden), dtype=wide, device=hidden.device)
        near = weight.to(hidden.dtype)
        for start in range(0, len(hidden), rows):
            some, wanted = hidden[start : start + rows], targets[start : start + rows, None]
            logits = (some @ near.T).to(wide)
            most = logits.amax(1, keepdim=True)
            own = logits.gather(1, wanted)
            logits.sub_(most).exp_()
            total = logits.sum(1, keepdim=True)
            nats[start : start + rows] = (total.log() + most - own).squeeze(1)
            logits.div_(total)
            logits.scatter_add_(1, wanted, torch.full_like(own, -1.0))
            slope = logits.to(hidden.dtype)
            to_hidden[start : start + rows] = slope @ near
            to_weight += (slope.T @ some).to(weight.dtype)
        ctx.save_for_backward(to_hidden, to_weight)
        ctx.mark_non_differentiable(nats)
        return nats.sum(), nats

    @staticmethod
    def backward(ctx: Any, *upstream: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None]:
        to_hidden, to_weight = ctx.saved_tensors
        scale = upstream[0]
        # The scale is one over a number of tokens: rounded to bfloat16 it would be off by up to 0.2 %.
        return (to_hidden.to(scale.dtype) * scale).to(to_hidden.dtype), to_weight * scale.to(to_weight.dtype), None


def summed_nats(hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Summed negative log-likelihood, and that of each position (P) without gradient.

    Args:
        hidden: last hidden states (P, d).
        weight: output matrix (V, d).
        targets: ids predicted (P) int64.
    """
    found: tuple[torch.Tensor, torch.Tensor] = _Summed.apply(hidden, weight, targets)
    return found
