"""How a small model is trained: the keys under ``train:``, all of them a part of what is computed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from pydantic import ConfigDict

from curate.causal_lm import SHAPES
from curate.errors import ConfigError, nearest
from curate.quantities import Bytes, Count

TOKENS_PER_PARAMETER = 20
"""Hoffmann et al. (arXiv 2203.15556): the number of tokens at which a model of a size is trained best for its cost."""
LEARNING_RATES = {"1m": 3e-3, "3m": 3e-3, "10m": 2e-3, "14m": 1e-3, "31m": 1e-3, "70m": 1e-3, "160m": 6e-4}
SMALLEST_VOCABULARY = 300


@dataclass
class Training:
    """A model's size, what teaches it, and how.

    Args:
        size: a name of ``curate.causal_lm.SHAPES``: pythia-1m … pythia-160m, llama-1m … llama-160m.
        fraction: of the corpus's text, by bytes, that is set aside to train on.
        sample_bytes: the same as an amount of text; overrides ``fraction``.
        domains: train on these only; empty means all.
        stratified: whether domains share the text, and the batches, equally, else in natural proportion.
        tokens: to train on; None takes 20 for each parameter, or ``max_epochs`` passes where that is less.
        max_epochs: most passes over what was set aside.
        tokenizer: a ``tokenizer.json``, the folder holding it, or a hub id.
        tokenizer_of: instead, the name of a tokens scorer of this pipeline; without either one is trained on what
            was set aside.
        vocab_size: ids of the tokenizer that is trained.
        context: tokens of a row, and most positions of a window when documents are scored.
        batch_tokens: tokens of one optimiser step.
        learning_rate: at its peak; None takes the size's own.
        warmup: share of the steps in which it rises; it then falls by a cosine to ``final_share`` of the peak.
        final_share: of the peak learning rate at the end.
        weight_decay: decoupled, on matrices only.
        beta1, beta2: of AdamW.
        clip: largest norm of a gradient.
        precision: ``float32``, ``bfloat16`` (weights stay float32), or ``auto``: bfloat16 on a GPU that has it.
        compile: whether torch compiles the model first; pays on a GPU, or for training of many minutes.
        threads: that arithmetic on a CPU uses; part of the result, since sums may differ by it in the last bit.
        seed: of the initial weights and the order of the rows.
    """

    size: str = "pythia-3m"
    fraction: float = 0.1
    sample_bytes: Bytes | None = None
    domains: tuple[str, ...] = ()
    stratified: bool = False
    tokens: Count | None = None
    max_epochs: float = 4.0
    tokenizer: str | None = None
    tokenizer_of: str | None = None
    vocab_size: Count = 8192
    context: int = 512
    batch_tokens: Count = 16_384
    learning_rate: float | None = None
    warmup: float = 0.05
    final_share: float = 0.1
    weight_decay: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.95
    clip: float = 1.0
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    compile: bool = False
    threads: int = 2
    seed: int = 0

    __pydantic_config__: ClassVar[Any] = ConfigDict(extra="forbid")

    @property
    def peak(self) -> float:
        """The peak learning rate."""
        return self.learning_rate if self.learning_rate is not None else LEARNING_RATES[self.size.rpartition("-")[2]]

    @property
    def batch_rows(self) -> int:
        """Rows of one optimiser step."""
        return max(1, self.batch_tokens // self.context)

    def check(self, where: str) -> None:
        """Raise ConfigError for what cannot be."""

        def require(holds: bool, name: str, expected: str) -> None:
            if not holds:
                given = getattr(self, name)
                raise ConfigError(f"{name} cannot be {given!r}", where=f"{where}.{name}", expected=expected, fix=f"change `{name}`")

        if self.size not in SHAPES:
            raise ConfigError(
                f"there is no model size {self.size!r}",
                where=f"{where}.size",
                expected="a known size",
                fix=nearest(self.size, list(SHAPES)),
            )
        require(self.tokenizer is None or self.tokenizer_of is None, "tokenizer_of", "either `tokenizer` or `tokenizer_of`")
        require(0 < self.fraction < 1, "fraction", "a share between 0 and 1, so that something is left to score")
        require(self.sample_bytes is None or self.sample_bytes > 0, "sample_bytes", "more than 0")
        require(self.max_epochs > 0, "max_epochs", "more than 0")
        require(self.vocab_size >= SMALLEST_VOCABULARY, "vocab_size", f"at least {SMALLEST_VOCABULARY}: every byte, and some pairs")
        require(self.context >= 8, "context", "at least 8 tokens")
        require(self.batch_tokens >= self.context, "batch_tokens", f"at least one row of {self.context} tokens (`context`)")
        require(self.learning_rate is None or self.learning_rate > 0, "learning_rate", "more than 0")
        require(0 <= self.warmup < 1, "warmup", "a share of the steps")
        require(0 <= self.final_share <= 1, "final_share", "a share of the peak")
        require(self.weight_decay >= 0, "weight_decay", "0 or more")
        require(0 <= self.beta1 < 1, "beta1", "0 or more, below 1")
        require(0 <= self.beta2 < 1, "beta2", "0 or more, below 1")
        require(self.clip > 0, "clip", "more than 0")
        require(self.threads >= 1, "threads", "1 or more")

    def n_steps(self, n_parameters: int, n_tokens: int) -> int:
        """Optimiser steps for a model of this many parameters and a stream of this many tokens."""
        asked = self.tokens if self.tokens is not None else TOKENS_PER_PARAMETER * n_parameters
        return max(1, round(min(asked, self.max_epochs * n_tokens) / (self.batch_rows * self.context)))

    def rate(self, step: int, n_steps: int) -> float:
        """The learning rate of a step, from 0: linear warm-up, then half a cosine."""
        from math import cos, pi

        rising = max(1, round(self.warmup * n_steps))
        if step < rising:
            return self.peak * (step + 1) / rising
        along = (step - rising) / max(1, n_steps - rising)
        return self.peak * (self.final_share + (1 - self.final_share) * 0.5 * (1 + cos(pi * along)))
