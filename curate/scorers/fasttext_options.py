"""The hyper-parameters that every scorer shares that trains a fastText classifier, and what they cannot be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from curate.errors import ConfigError

_LEAST = {"dim": 1, "epoch": 1, "min_count": 1, "word_ngrams": 1, "minn": 0, "maxn": 0, "bucket": 1, "sample_bytes": 1}


@dataclass
class FastTextOptions:
    """fastText's own, with its own defaults for classifiers but for two: ``word_ngrams`` 2 and ``bucket``.

    Args:
        sample_bytes: text of the corpus to learn from.
        per_domain: whether that text is shared equally between domains.
        held_out: fraction of the examples kept from training and measured, chosen by content.
        lr: learning rate.
        bucket: rows for hashed n-grams; 200,000 of 100 dimensions are 80 MB.
        seed: of the split, the order and the initial weights.
    """

    sample_bytes: int = 20_000_000
    per_domain: bool = True
    held_out: float = 0.1
    lr: float = 0.1
    dim: int = 100
    epoch: int = 5
    min_count: int = 1
    word_ngrams: int = 2
    minn: int = 0
    maxn: int = 0
    bucket: int = 200_000
    seed: int = 0

    def check_options(self) -> None:
        """Raise ConfigError for hyper-parameters that cannot be."""
        for name, smallest in _LEAST.items():
            if getattr(self, name) < smallest:
                raise ConfigError(f"`{name}` is {getattr(self, name)}", expected=f"at least {smallest}", fix=f"raise `{name}`")
        if not 0 <= self.held_out < 1:
            raise ConfigError(f"`held_out` is {self.held_out}", expected="a fraction from 0 up to, not including, 1", fix="0.1 is usual")
        if not (np.isfinite(self.lr) and self.lr > 0):
            raise ConfigError(f"`lr` is {self.lr}", expected="a positive number", fix="0.1 is usual")
        if self.minn > self.maxn:
            raise ConfigError(
                f"`minn` {self.minn} is above `maxn` {self.maxn}", expected="minn <= maxn", fix="lower `minn`, or raise `maxn`"
            )

    def library_options(self, loss: str = "softmax") -> dict[str, Any]:
        """The hyper-parameters under the names the library's Python binding takes."""
        same = {name: getattr(self, name) for name in ("lr", "dim", "epoch", "minn", "maxn", "bucket", "seed")}
        return {**same, "loss": loss, "minCount": self.min_count, "wordNgrams": self.word_ngrams}
