"""Causal language models in Hugging Face format: opening them, and reading documents with them.

What a scorer and the proxy laboratory share: shapes by name, checkpoints, the rule by which long
documents are cut into windows, and the nats of every token computed without padding or a
vocabulary-sized tensor per token.
"""

from curate.causal_lm.checkpoint import Checkpoint, open_checkpoint
from curate.causal_lm.reader import Reader
from curate.causal_lm.shapes import SHAPES, Shape
from curate.causal_lm.windows import Windows, cut

__all__ = ["SHAPES", "Checkpoint", "Reader", "Shape", "Windows", "cut", "open_checkpoint"]
