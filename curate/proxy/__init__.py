"""The laboratory: small causal language models, trained to learn how data act.

Text of named domains becomes token streams, batches are drawn from them under proportions that may change at any
step, and one loop trains. What comes out is a checkpoint in Hugging Face format and tables of losses.
"""

from curate.proxy.draws import Draws
from curate.proxy.evaluation import evaluate
from curate.proxy.mixture import Fixed, LiveMixture
from curate.proxy.resume import Checkpoints
from curate.proxy.settings import Training
from curate.proxy.streams import Streams
from curate.proxy.training import Progress, Trained, new_model, train

__all__ = ["Checkpoints", "Draws", "Fixed", "LiveMixture", "Progress", "Streams", "Trained", "Training", "evaluate", "new_model", "train"]
