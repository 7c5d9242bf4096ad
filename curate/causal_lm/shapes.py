"""Model shapes by name, from one million to 160 million parameters, as transformers configurations.

``pythia-14m`` to ``pythia-160m`` are those of Biderman et al. (arXiv 2304.01373, Table 1); the smaller ones
continue the family downwards, for experiments that a laptop can repeat. ``llama-*`` have the same width and
depth with Llama's blocks (Touvron et al., arXiv 2302.13971: RMSNorm, SwiGLU of 8/3 the width, no biases).
The names count the blocks of a Pythia plus two tables of 16,384 tokens only roughly; ``n_parameters`` is exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

Family = Literal["pythia", "llama"]
FEED_FORWARD_MULTIPLE = 16


@dataclass(frozen=True)
class Shape:
    """A decoder's family, width, depth and number of attention heads."""

    family: Family
    hidden: int
    layers: int
    heads: int

    @property
    def feed_forward(self) -> int:
        """Width between the two linear maps of a block."""
        if self.family == "pythia":
            return 4 * self.hidden
        return round(8 * self.hidden / 3 / FEED_FORWARD_MULTIPLE) * FEED_FORWARD_MULTIPLE

    def n_parameters(self, vocab_size: int) -> int:
        """Trainable parameters with a vocabulary of this size; Pythia has two tables of it, Llama shapes share one."""
        d, f = self.hidden, self.feed_forward
        if self.family == "pythia":
            block = 4 * d * d + 4 * d + 2 * d * f + d + f + 4 * d
            return self.layers * block + 2 * d + 2 * vocab_size * d
        return self.layers * (4 * d * d + 3 * d * f + 2 * d) + d + vocab_size * d

    def config(self, vocab_size: int, context: int, start_id: int) -> PreTrainedConfig:
        """The transformers configuration.

        Args:
            vocab_size: ids of the tokenizer.
            context: most positions of one window.
            start_id: token that begins and separates documents.
        """
        from transformers import GPTNeoXConfig, LlamaConfig

        shared = {
            "vocab_size": vocab_size,
            "hidden_size": self.hidden,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "intermediate_size": self.feed_forward,
            "max_position_embeddings": context,
            "bos_token_id": start_id,
            "eos_token_id": start_id,
            "use_cache": False,
        }
        if self.family == "pythia":
            return GPTNeoXConfig(**shared, attention_dropout=0.0, hidden_dropout=0.0, tie_word_embeddings=False)
        return LlamaConfig(**shared, attention_dropout=0.0, tie_word_embeddings=True)


_SIZES = {
    "1m": (128, 4, 4),
    "3m": (192, 6, 6),
    "10m": (256, 8, 8),
    "14m": (128, 6, 4),
    "31m": (256, 6, 8),
    "70m": (512, 6, 8),
    "160m": (768, 12, 12),
}

SHAPES: dict[str, Shape] = {
    **{f"pythia-{size}": Shape("pythia", *dimensions) for size, dimensions in _SIZES.items()},
    **{f"llama-{size}": Shape("llama", *dimensions) for size, dimensions in _SIZES.items()},
}
