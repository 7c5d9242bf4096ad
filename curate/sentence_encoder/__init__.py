"""Sentence encoders in Hugging Face format: opening them, and one vector for every document.

What is asked of an encoder and not of a decoder: which tokens make the vector (``pooling``), begin and end tokens around
a text that is cut where the encoder stops reading (``tokens``), batches that give equal bits whatever stands beside a
document (``batching``).
"""

from curate.sentence_encoder.checkpoint import EncoderCheckpoint, open_encoder
from curate.sentence_encoder.reader import EncoderReader

__all__ = ["EncoderCheckpoint", "EncoderReader", "open_encoder"]
