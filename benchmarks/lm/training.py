"""Training: curate's loop beside the one that everybody writes, on the same rows, with the same weights at the start."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow.parquet as pq

from benchmarks.child import timed

VOCABULARY = 8192
SIZE = "pythia-1m"
AT_ONCE = 4096
"""Tokens of one forward in both loops."""


def _settings(threads: int) -> Any:
    from curate.proxy import Training

    return Training(size=SIZE, vocab_size=VOCABULARY, threads=threads)


def _start(model: str, text: str, threads: int) -> tuple[Any, Any, Any]:
    """(model, streams, settings)."""
    from curate.causal_lm import open_checkpoint
    from curate.proxy import Streams

    checkpoint = open_checkpoint(model)
    table = pq.read_table(text)
    streams = Streams.of(table, checkpoint.tokenizer, checkpoint.config["bos_token_id"])
    return checkpoint.load(), streams, _settings(threads)


def curate(model: str, text: str, n_steps: int, threads: int) -> dict[str, Any]:
    """``curate.proxy.train`` without checkpoints, after one untimed step."""
    from curate.proxy import Fixed, train

    network, streams, settings = _start(model, text, threads)
    train(network, streams, Fixed(streams.natural), settings, n_steps=1)
    network, streams, settings = _start(model, text, threads)
    reading: dict[str, Any] = {}
    with timed(reading):
        trained = train(network, streams, Fixed(streams.natural), settings, n_steps=n_steps)
    losses = trained.losses.group_by("step", use_threads=False).aggregate([("nats", "sum"), ("n_predicted", "sum")])
    found = losses["nats_sum"].to_numpy() / losses["n_predicted_sum"].to_numpy()
    return reading | {"losses": found.tolist(), "tokens": trained.n_tokens}


def plain(model: str, text: str, n_steps: int, threads: int) -> dict[str, Any]:
    """transformers' own loss over all logits, AdamW as it comes; rows are drawn before the time starts."""
    import torch

    from curate.proxy import Draws

    network, streams, settings = _start(model, text, threads)
    draws = Draws(streams, settings.context, settings.seed)
    batches = [torch.from_numpy(draws.batch(streams.natural, settings.batch_rows).rows) for _ in range(n_steps)]
    torch.set_num_threads(threads)
    _steps(network, batches[:1], settings, 1)
    network = _start(model, text, threads)[0]
    reading: dict[str, Any] = {}
    with timed(reading):
        losses = _steps(network, batches, settings, n_steps)
    return reading | {"losses": losses, "tokens": n_steps * settings.batch_rows * settings.context}


def _steps(network: Any, batches: list[Any], settings: Any, n_steps: int) -> list[float]:
    """Mean nats of each step's batch."""
    import torch

    network = network.train().requires_grad_(True)
    options = {"betas": (settings.beta1, settings.beta2), "weight_decay": settings.weight_decay}
    optimizer = torch.optim.AdamW(network.parameters(), lr=settings.peak, **options)
    rows_at_once = max(1, AT_ONCE // settings.context)
    losses = []
    for step, rows in enumerate(batches):
        for group in optimizer.param_groups:
            group["lr"] = settings.rate(step, n_steps)
        total = 0.0
        for first in range(0, len(rows), rows_at_once):
            some = rows[first : first + rows_at_once]
            # The inputs are all but the last token, as in curate's loop; the labels are told to be shifted already.
            found = network(some[:, :-1], labels=some[:, 1:], shift_labels=some[:, 1:].contiguous(), use_cache=False)
            loss = found.loss * (len(some) / len(rows))
            loss.backward()
            total += loss.item()
        torch.nn.utils.clip_grad_norm_(network.parameters(), settings.clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(total)
    return losses


def apart(ours: list[float], theirs: list[float]) -> tuple[float, float]:
    """Relative difference of the losses of the first step, and of the last."""
    difference = np.abs(np.array(ours) - np.array(theirs)) / np.array(theirs)
    return float(difference[0]), float(difference[-1])
