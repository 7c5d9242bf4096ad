"""Tiny causal language models, their folders on disk, and the plain loop that every faster way of reading must agree with."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from curate.causal_lm import Shape, checkpoint
from curate.tokenization import Tokenizer, train_bpe
from pipelines import texts

torch.set_num_threads(1)  # several cost such small models more than they give

START = "<|endoftext|>"
CONTEXT = 64
SPREAD = 0.25
"""Standard deviation of the weights: at the usual 0.02 a model is nearly uniform, and no mistake would show."""
FAMILIES = ("pythia", "llama", "gpt2", "phi")
CAPPED = ("gemma2", "cohere")
"""Their logits are more than a linear map of the last hidden state."""


@cache
def tokenizer(vocab_size: int = 320) -> Tokenizer:
    """A byte-level BPE learned from made text."""
    return train_bpe(texts(60, 99), vocab_size)


def configuration(family: str, vocab_size: int, context: int = CONTEXT) -> Any:
    """A transformers configuration of width 32 and two layers."""
    own = {"vocab_size": vocab_size, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
    own |= {"max_position_embeddings": context, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    if family in ("pythia", "llama"):
        return Shape(family, 32, 2, 4).config(vocab_size, context, 0)  # type: ignore[arg-type]
    if family == "gpt2":  # weights of input and output are one table
        sizes = {"vocab_size": vocab_size, "n_positions": context, "n_embd": 32, "n_layer": 2, "n_head": 4}
        return transformers.GPT2Config(**sizes, bos_token_id=0, eos_token_id=0, attn_pdrop=0.0, embd_pdrop=0.0, resid_pdrop=0.0)
    if family == "phi":  # the output layer has a bias
        return transformers.PhiConfig(**own)
    if family == "gemma2":
        return transformers.Gemma2Config(**own, head_dim=8, num_key_value_heads=2, final_logit_softcapping=3.0, sliding_window=16)
    if family == "cohere":
        return transformers.CohereConfig(**own, num_key_value_heads=2, logit_scale=0.5)
    raise AssertionError(family)


def model(family: str, vocab_size: int = 320, context: int = CONTEXT, seed: int = 0) -> Any:
    """Random weights, the same for the same seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = transformers.AutoModelForCausalLM.from_config(configuration(family, vocab_size, context), dtype=torch.float32)
        with torch.no_grad():
            for weight in made.parameters():
                if weight.ndim > 1:
                    weight.normal_(0, SPREAD)
                else:
                    weight.add_(torch.randn_like(weight), alpha=SPREAD / 4)
    return made.eval().requires_grad_(False)


def smallest(vocab_size: int = 320) -> Any:
    """Width 16 and one layer: for the contract suite, which reads hundreds of thousands of tokens."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = Shape("pythia", 16, 1, 2).config(vocab_size, CONTEXT, 0)
        config.initializer_range = SPREAD
        return transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)


def uniform(family: str, vocab_size: int = 320) -> Any:
    """A model to which all tokens are equally likely, whatever it has read."""
    made = model(family, vocab_size)
    with torch.no_grad():
        made.get_output_embeddings().weight.zero_()
    return made


def saved(folder: Path, family: str = "pythia", made: Any = None, context: int = CONTEXT) -> Path:
    """A model's folder in Hugging Face format, with the tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint.save(made if made is not None else model(family, tokenizer().vocab_size, context), tokenizer(), START, folder)
    return folder


def opened(folder: Path) -> tuple[Any, Any]:
    """Model and tokenizer as anybody opens them: by transformers alone."""
    made = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    return made, transformers.AutoTokenizer.from_pretrained(folder)


def pieces(ids: Sequence[int], start: int | None, context: int, overlap: int = 0) -> Iterator[tuple[list[int], list[int]]]:
    """What is seen before the first prediction, and what is predicted, window by window: the rule, followed token by token."""
    begin = [] if start is None else [start]
    at = 0 if begin else min(1, len(ids))
    repeat = overlap if begin else max(overlap, 1)
    while at < len(ids):
        seen = begin + list(ids[max(0, at - repeat) : at])
        room = context - len(seen) + 1  # the last one predicted is not read
        yield seen, list(ids[at : at + room])
        at += room


def plain_nats(made: Any, ids: Sequence[int], start: int | None = 0, context: int = CONTEXT, overlap: int = 0) -> np.ndarray:
    """Nats of every predicted token of one document: a forward call for each window, softmax in double precision."""
    found = []
    for seen, predicted in pieces(ids, start, context, overlap):
        with torch.no_grad():
            logits = made(torch.tensor([seen + predicted[:-1]])).logits[0, len(seen) - 1 :].double()
        found += torch.nn.functional.cross_entropy(logits, torch.tensor(predicted), reduction="none").tolist()
    return np.array(found)


def plain_bpb(made: Any, ids: Sequence[int], text: str, context: int = CONTEXT) -> float:
    """Bits per byte by the plain loop."""
    return float(plain_nats(made, ids, 0, context).sum()) / math.log(2) / len(text.encode())


def random_documents(sizes: Sequence[int], vocab_size: int = 320, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Ids of documents of these sizes, concatenated, and where each begins."""
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    return np.random.default_rng(seed).integers(1, vocab_size, size=offsets[-1]).astype(np.int32), offsets
