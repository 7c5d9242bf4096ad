"""Tokenizers: opened by name, trained on a corpus, and applied to Arrow text at the speed of a table look-up."""

from curate.tokenization.tokenizer import Tokenizer
from curate.tokenization.training import END_OF_TEXT, train_bpe

__all__ = ["END_OF_TEXT", "Tokenizer", "train_bpe"]
