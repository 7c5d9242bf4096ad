"""The training loop: AdamW, warm-up and cosine, over batches whose mixture may change at every step.

Killed at any step it goes on from its last checkpoint and ends with the same weights, bit for bit on a CPU:
everything that passes from one step to the next is weights, moments, two numbers for each domain, and the
mixture's memory. No dropout, so no generator has a state.

D domains, B rows of a batch, L tokens of a row.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from curate.causal_lm import SHAPES
from curate.errors import CurateError, InputError
from curate.proxy.draws import Batch, Draws
from curate.proxy.mixture import LiveMixture
from curate.proxy.resume import Checkpoints, Saved
from curate.proxy.settings import Training
from curate.proxy.streams import Streams

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

FORWARD_TOKENS = {"cpu": 4096, "cuda": 65_536}
"""Tokens that go through the model at once; larger batches accumulate gradients."""
FEWEST_ROWS = 4
CHECKPOINT_SECONDS = 60.0
SHOWN_DOCUMENTS = 3

LOSSES = pa.schema(
    [
        pa.field("step", pa.int64(), metadata={"unit": "optimiser steps taken before this one"}),
        pa.field("domain", pa.string()),
        pa.field("n_rows", pa.int64(), metadata={"unit": "rows drawn"}),
        pa.field("nats", pa.float64(), metadata={"unit": "nats"}),
        pa.field("n_predicted", pa.int64(), metadata={"unit": "tokens"}),
        pa.field("proportion", pa.float64(), metadata={"unit": "share asked for"}),
        pa.field("learning_rate", pa.float64()),
        pa.field("gradient_norm", pa.float64(), metadata={"unit": "before clipping"}),
    ]
)


@dataclass(frozen=True)
class Progress:
    """How far training is.

    Args:
        step, n_steps: optimiser steps taken, and all of them.
        n_tokens: trained on so far.
        loss: mean nats per token over the last steps.
        tokens_per_second: of this run.
        seconds_left: at that speed.
    """

    step: int
    n_steps: int
    n_tokens: int
    loss: float
    tokens_per_second: float
    seconds_left: float


@dataclass(frozen=True)
class Trained:
    """What came out.

    Args:
        model: on the device, in evaluation mode.
        losses: schema ``LOSSES``, a row for each step and domain drawn.
        n_steps: steps taken.
        n_tokens: trained on, repeats included.
        epochs: passes over each domain (D).
        seconds: that the steps of this process took.
    """

    model: PreTrainedModel
    losses: pa.Table
    n_steps: int
    n_tokens: int
    epochs: np.ndarray
    seconds: float


def new_model(settings: Training, vocab_size: int, start_id: int) -> PreTrainedModel:
    """A model of the settings' size with initial weights from their seed, on the CPU; the caller's generators are left alone."""
    import torch
    from transformers import AutoModelForCausalLM

    config = SHAPES[settings.size].config(vocab_size, settings.context, start_id)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    return model


def check_enough(streams: Streams, settings: Training) -> None:
    """Raise InputError where there is too little text to fill a handful of rows."""
    n_tokens = int(streams.n_tokens.sum())
    wanted = FEWEST_ROWS * (settings.context + 1)
    if n_tokens < wanted:
        raise InputError(
            f"the reference part is too small to train on: {n_tokens:,} tokens",
            where="train",
            expected=f"at least {wanted:,}, {FEWEST_ROWS} rows of {settings.context} tokens",
            fix="raise `fraction` (or `sample_bytes`), add text, or lower `context`",
        )


def train(
    model: PreTrainedModel,
    streams: Streams,
    mixture: LiveMixture,
    settings: Training,
    *,
    n_steps: int | None = None,
    device: str = "cpu",
    checkpoints: Checkpoints | None = None,
    report: Callable[[Progress], None] | None = None,
    after_step: Callable[[int, PreTrainedModel], None] | None = None,
) -> Trained:
    """Train a model from its present weights.

    Args:
        model: as ``new_model`` makes it, or opened from a checkpoint folder to be trained on.
        streams: what there is to learn from.
        mixture: shares of the domains at each step.
        settings: how.
        n_steps: optimiser steps; None takes what the settings say for this model and these streams.
        device: as torch names it.
        checkpoints: where to leave and take up checkpoints; None for none.
        report: called about once a second.
        after_step: called after every step with the number of steps taken and the model, which it may read but not change.

    Raises:
        InputError: too little text.
        CurateError: the loss is no number; the message names the step and the documents.
    """
    check_enough(streams, settings)
    steps = n_steps if n_steps is not None else settings.n_steps(model.num_parameters(), int(streams.n_tokens.sum()))
    run = _Run(model, streams, mixture, settings, steps, device, checkpoints)
    run.take_up()
    return run.through(report, after_step)


@dataclass
class _Run:
    """One training in progress."""

    model: Any
    streams: Streams
    mixture: LiveMixture
    settings: Training
    n_steps: int
    device: str
    checkpoints: Checkpoints | None
    step: int = 0
    losses: list[pa.Table] = field(default_factory=list)

    def __post_init__(self) -> None:
        import torch

        self._torch = torch
        self.model = self.model.to(self.device).train().requires_grad_(True)
        self.draws = Draws(self.streams, self.settings.context, self.settings.seed)
        named = dict(self.model.named_parameters())
        decayed = [p for p in named.values() if p.ndim >= 2]
        plain = [p for p in named.values() if p.ndim < 2]
        s = self.settings
        groups = [{"params": decayed, "weight_decay": s.weight_decay}, {"params": plain, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=s.peak, betas=(s.beta1, s.beta2), eps=1e-8, fused=True)
        self._named = named
        body = self.model.base_model
        self._body = torch.compile(body) if s.compile else body
        self._head = self.model.get_output_embeddings()
        bf16 = self.device.startswith("cuda") and torch.cuda.is_bf16_supported()
        self._low = s.precision == "bfloat16" or (s.precision == "auto" and bf16)
        self._unread: list[_Step] = []

    def through(self, report: Callable[[Progress], None] | None, after_step: Callable[[int, PreTrainedModel], None] | None) -> Trained:
        """Every step that is left."""
        torch, s = self._torch, self.settings
        before = torch.get_num_threads()
        torch.set_num_threads(s.threads)
        began, first, saved, spoke = time.monotonic(), self.step, time.monotonic(), 0.0
        try:
            while self.step < self.n_steps:
                self._take_step()
                if after_step is not None:
                    after_step(self.step, self.model)
                now = time.monotonic()
                if report is not None and (now - spoke >= 1.0 or self.step == self.n_steps):
                    spoke = now
                    report(self._progress(first, now - began))
                if self.checkpoints is not None and now - saved >= CHECKPOINT_SECONDS and self.step < self.n_steps:
                    self.leave()
                    saved = time.monotonic()
            self._read()
        finally:
            torch.set_num_threads(before)
        n_tokens = self.n_steps * s.batch_rows * s.context
        losses = pa.concat_tables(self.losses) if self.losses else LOSSES.empty_table()
        return Trained(self.model.eval(), losses.combine_chunks(), self.n_steps, n_tokens, self.draws.epochs, time.monotonic() - began)

    def _progress(self, first: int, seconds: float) -> Progress:
        self._read()
        tokens = self.settings.batch_rows * self.settings.context
        last = self.losses[-1]
        speed = (self.step - first) * tokens / max(seconds, 1e-9)
        left = (self.n_steps - self.step) * tokens / max(speed, 1e-9)
        loss = float(np.sum(last["nats"].to_numpy()) / max(np.sum(last["n_predicted"].to_numpy()), 1))
        return Progress(self.step, self.n_steps, self.step * tokens, loss, speed, left)

    def _take_step(self) -> None:
        """Draw, forward and backward in slices that fit, clip, step."""
        torch, s = self._torch, self.settings
        proportions = self.mixture.proportions(self.step)
        batch = self.draws.batch(proportions, s.batch_rows)
        rate = s.rate(self.step, self.n_steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        rows_at_once = max(1, FORWARD_TOKENS[self._kind] // s.context)
        total = batch.rows.shape[0] * s.context
        nats = []
        for start in range(0, len(batch.rows), rows_at_once):
            rows = torch.from_numpy(batch.rows[start : start + rows_at_once]).to(self.device, non_blocking=True)
            nats.append(self._backward(rows, total))
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), s.clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self._unread.append(_Step(self.step, batch, proportions, rate, torch.cat(nats), norm))
        self.step += 1
        # A mixture that learns must see each loss before the next batch; others are read when somebody looks.
        if self._kind == "cpu" or not _is_fixed(self.mixture):
            self._read()

    @property
    def _kind(self) -> str:
        return self.device.partition(":")[0]

    def _backward(self, rows: torch.Tensor, total: int) -> torch.Tensor:
        """Gradients of some rows of the batch; their summed nats (rows)."""
        from curate.proxy.loss import summed_nats

        torch = self._torch
        with torch.autocast(self._kind, torch.bfloat16, enabled=self._low):
            hidden = self._body(rows[:, :-1], use_cache=False).last_hidden_state
        flat = hidden.reshape(-1, hidden.shape[-1])
        if self._low:
            flat = flat.to(torch.bfloat16)
        loss, nats = summed_nats(flat, self._head.weight, rows[:, 1:].reshape(-1))
        (loss / total).backward()
        return nats.reshape(len(rows), -1).sum(1)

    def _read(self) -> None:
        """Losses of the steps taken since, from the device into the table."""
        for done in self._unread:
            nats = done.nats.double().cpu().numpy()
            self._check(done, nats)
            n_domains = len(self.streams.domains)
            nats_D = np.bincount(done.batch.domain, nats, n_domains)
            n_rows_D = np.bincount(done.batch.domain, minlength=n_domains)
            self.mixture.observe(done.step, nats_D, n_rows_D * self.settings.context)
            self.losses.append(_rows(done, self.streams.domains, nats_D, n_rows_D, self.settings.context))
        self._unread = []

    def _check(self, done: _Step, nats: np.ndarray) -> None:
        """Raise CurateError where the loss is no number."""
        bad = np.flatnonzero(~np.isfinite(nats))
        if not len(bad) and math.isfinite(float(done.norm)):
            return
        row = int(bad[0]) if len(bad) else 0
        domain, first = int(done.batch.domain[row]), int(done.batch.first[row])
        named = self.streams.documents(domain, first, first + self.settings.context + 1)[:SHOWN_DOCUMENTS]
        raise CurateError(
            f"the loss is no longer a number at step {done.step:,} of {self.n_steps:,}",
            where=f"domain {self.streams.domains[domain]!r}, document {', '.join(named)}",
            expected="a finite loss",
            fix="lower `learning_rate` or `clip`, or use `precision: float32`",
        )

    def take_up(self) -> None:
        """Go on from the last checkpoint, where there is one."""
        saved = self.checkpoints.latest() if self.checkpoints is not None else None
        if saved is None:
            return
        self.step, self.losses = saved.step, [saved.losses]
        with self._torch.no_grad():
            for name, weight in self._named.items():
                weight.copy_(saved.tensors[f"weight.{name}"].to(self.device))
                self.optimizer.state[weight] = {
                    "step": self._torch.tensor(float(saved.step), device=self.device if self._kind == "cuda" else "cpu"),
                    "exp_avg": saved.tensors[f"first.{name}"].to(self.device),
                    "exp_avg_sq": saved.tensors[f"second.{name}"].to(self.device),
                }
        self.draws.restore(saved.state["draws"])
        self.mixture.restore(saved.state["mixture"])

    def leave(self) -> None:
        """Write a checkpoint."""
        assert self.checkpoints is not None
        self._read()
        tensors = {}
        for name, weight in self._named.items():
            moments = self.optimizer.state[weight]
            tensors[f"weight.{name}"] = weight.detach().cpu().contiguous()
            tensors[f"first.{name}"] = moments["exp_avg"].cpu().contiguous()
            tensors[f"second.{name}"] = moments["exp_avg_sq"].cpu().contiguous()
        state = {"draws": self.draws.state(), "mixture": self.mixture.state()}
        self.checkpoints.save(Saved(self.step, tensors, state, pa.concat_tables(self.losses)))


@dataclass(frozen=True)
class _Step:
    """What one step drew and cost; ``nats`` and ``norm`` may still be on the device."""

    step: int
    batch: Batch
    proportions: np.ndarray
    rate: float
    nats: torch.Tensor
    norm: torch.Tensor


def _is_fixed(mixture: LiveMixture) -> bool:
    from curate.proxy.mixture import Fixed

    return isinstance(mixture, Fixed)


def _rows(done: _Step, domains: tuple[str, ...], nats_D: np.ndarray, n_rows_D: np.ndarray, length: int) -> pa.Table:
    """The step's rows of the table of losses: the domains that were drawn."""
    drawn = np.flatnonzero(n_rows_D)
    n = len(drawn)
    columns = [
        np.full(n, done.step, np.int64), [domains[d] for d in drawn], n_rows_D[drawn], nats_D[drawn], n_rows_D[drawn] * length,
        done.proportions[drawn], np.full(n, done.rate), np.full(n, float(done.norm)),
    ]  # fmt: skip
    return pa.table([pa.array(c, f.type) for c, f in zip(columns, LOSSES, strict=True)], schema=LOSSES)
