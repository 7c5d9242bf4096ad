"""What a folder of the sentence-transformers library says beside pooling: how many tokens are read, and the default prompt.

A model that was trained with a text before every text gives other, worse vectors without it; the library puts it there
without being asked, and so does curate.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from curate.causal_lm.model_folder import TOKENIZER_CONFIG, is_whole, read_object, wrong_value

LENGTHS, PROMPTS = "sentence_bert_config.json", "config_sentence_transformers.json"
NO_LIMIT = 1_000_000_000
"""Tokenizers without a limit are saved with one of 10^30."""


def max_length(folder: Path) -> int | None:
    """Most tokens of a text, begin and end tokens included: the encoder's own setting, else its tokenizer's; None for no limit.

    Raises:
        InputError: it is no number of tokens.
    """
    for name, key in ((LENGTHS, "max_seq_length"), (TOKENIZER_CONFIG, "model_max_length")):
        length: Any = read_object(folder / name).get(key)
        if length is None:
            continue
        if isinstance(length, float) and length >= 1:
            length = int(min(length, NO_LIMIT))
        if not is_whole(length):
            raise wrong_value(folder / name, f"`{key}`", length, "a whole number of tokens, 1 or more")
        return int(length) if length < NO_LIMIT else None
    return None


def default_prompt(folder: Path) -> str:
    """The text that is put before every text unless another is asked for; empty where none is.

    Raises:
        InputError: the default is none of the prompts, or no text.
    """
    file = folder / PROMPTS
    said = read_object(file)
    name, prompts = said.get("default_prompt_name"), said.get("prompts") or {}
    if name is None:
        return ""
    if not isinstance(prompts, dict) or not isinstance(name, str) or not isinstance(prompts.get(name, ""), str | None):
        raise wrong_value(file, "the prompts", {"default_prompt_name": name, "prompts": prompts}, "texts by name, and one of their names")
    if name not in prompts:
        raise wrong_value(file, "`default_prompt_name`", name, f"one of `prompts`: {', '.join(sorted(prompts)) or 'there is none'}")
    return prompts[name] or ""
