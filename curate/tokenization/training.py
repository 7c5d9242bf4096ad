"""The default tokenizer: a byte-level BPE learned from the corpus itself, so that no download is needed."""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import Tokenizer as Library
from tokenizers import decoders, models, pre_tokenizers, trainers

from curate.errors import ConfigError
from curate.tokenization.tokenizer import Tokenizer

END_OF_TEXT = "<|endoftext|>"
SMALLEST_VOCABULARY = 257
"""256 bytes and the end of text."""


def train_bpe(texts: Iterable[str], vocab_size: int, *, min_frequency: int = 2) -> Tokenizer:
    """A GPT-2 style tokenizer: byte-level BPE (Sennrich et al. 2016, arXiv:1508.07909) with one special token.

    The same texts in the same order give the same bytes, whatever the number of threads.

    Args:
        texts: documents to learn from.
        vocab_size: ids wanted, of which 256 bytes and ``<|endoftext|>`` (id 0); fewer where the texts have no more pairs.
        min_frequency: a pair is merged if it occurs at least this often.

    Raises:
        ConfigError: ``vocab_size`` leaves no room for the bytes.
    """
    if vocab_size < SMALLEST_VOCABULARY:
        raise ConfigError(
            f"a vocabulary of {vocab_size} cannot hold every byte",
            where="vocab_size",
            expected=f"at least {SMALLEST_VOCABULARY}",
            fix="raise it; 16384 suits a few gigabytes of mixed text",
        )
    library = Library(models.BPE())
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    library.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=min_frequency,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    library.train_from_iterator(texts, trainer=trainer)
    return Tokenizer(library.to_str().encode(), where="the tokenizer just trained")
