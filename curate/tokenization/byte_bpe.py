"""A ``tokenizer.json`` that the fast kernel can follow, as the tables it needs.

Most language models of today split text by one of three patterns and merge bytes by
rank. Such a file becomes arrays; anything else says why not, and the ``tokenizers``
library then does the work.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from curate.kernels.bpe import Tables, WordTable, contains_any, encode, fill_pairs, fill_words, word_table
from curate.kernels.unicode_classes import GPT2_PATTERN, PATTERNS, character_classes

N_RECENT_SLOTS = 1 << 18
"""Slots of a table of recent words: 131,072 words in 13 MB."""


class NotByteBpeError(Exception):
    """The tokenizer does something the kernel does not; the message names it."""


class ByteBpe:
    """The arrays of one byte-level BPE tokenizer.

    Args:
        described: a parsed ``tokenizer.json`` in the form the library writes.

    Raises:
        NotByteBpeError: it is not of the known kind.
    """

    def __init__(self, described: dict[str, Any]) -> None:
        model = described["model"]
        _check_model(model)
        self.needs_nfc = _needs_nfc(described["normalizer"])
        self._pattern = _split_pattern(described["pre_tokenizer"])
        self._whole_words = bool(model["ignore_merges"])
        self._tables = _tables(model, self._whole_words)
        ordinary = [token["content"].encode() for token in described["added_tokens"] if not token["special"]]
        self._needles = np.frombuffer(b"".join(ordinary), np.uint8)
        self._needle_bounds = np.cumsum([0, *map(len, ordinary)], dtype=np.int64)
        self._idle: list[WordTable] = []

    def encode(self, data: np.ndarray, bounds: np.ndarray, write: bool) -> tuple[np.ndarray, np.ndarray]:
        """Ids (T,) int32 and offsets (N + 1,) int64 of the documents ``data[bounds[i]:bounds[i + 1]]``.

        ``data`` is read-only uint8. Several threads may call at once: each borrows a table of recent words.
        """
        try:
            words = self._idle.pop()
        except IndexError:
            words = word_table(N_RECENT_SLOTS, 8 * N_RECENT_SLOTS)
        ids, offsets = encode(data, bounds, self._tables, self._pattern, self._whole_words, words, write)
        self._idle.append(words)
        return ids, offsets

    def holds_added_tokens(self, data: np.ndarray, bounds: np.ndarray) -> np.ndarray:
        """N bool: documents that hold an added token which is not special, and so is no ordinary text."""
        if len(self._needle_bounds) == 1:
            return np.zeros(len(bounds) - 1, dtype=bool)
        return contains_any(data, bounds, self._needles, self._needle_bounds)


def byte_characters() -> dict[str, int]:
    """The printable character that stands for each byte in a vocabulary (GPT-2, Radford et al. 2019)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(others)}


def _check_model(model: dict[str, Any]) -> None:
    if model["type"] != "BPE":
        raise NotByteBpeError(f"the model is {model['type']}, not BPE")
    for name in ("dropout", "continuing_subword_prefix", "end_of_word_suffix"):
        if model[name]:
            raise NotByteBpeError(f"the model sets {name}")
    missing = [character for character in byte_characters() if character not in model["vocab"]]
    if missing:
        raise NotByteBpeError(f"{len(missing)} of the 256 bytes have no token")


def _needs_nfc(normalizer: dict[str, Any] | None) -> bool:
    if normalizer is not None and normalizer["type"] != "NFC":
        raise NotByteBpeError(f"the normalizer is {normalizer['type']}")
    return normalizer is not None


def _split_pattern(pre_tokenizer: dict[str, Any] | None) -> int:
    """The known split pattern behind a pre-tokenizer: ByteLevel alone, or Split followed by ByteLevel."""
    steps = [pre_tokenizer] if pre_tokenizer is None or pre_tokenizer["type"] != "Sequence" else pre_tokenizer["pretokenizers"]
    last = steps[-1] if steps else None
    if last is None or last["type"] != "ByteLevel" or last["add_prefix_space"]:
        raise NotByteBpeError("the pre-tokenizer does not end in ByteLevel without a prefix space")
    if len(steps) == 1 and last["use_regex"]:
        return PATTERNS[GPT2_PATTERN]
    first = steps[0] if len(steps) == 2 else None
    if first is None or last["use_regex"] or first["type"] != "Split" or first["behavior"] != "Isolated" or first["invert"]:
        raise NotByteBpeError("the pre-tokenizer is another sequence than Split, ByteLevel")
    pattern = first["pattern"].get("Regex")
    if pattern not in PATTERNS:
        raise NotByteBpeError("the split pattern is not one of those known")
    return PATTERNS[pattern]


def _tables(model: dict[str, Any], whole_words: bool) -> Tables:
    vocabulary: dict[str, int] = model["vocab"]
    merges: list[list[str]] = model["merges"]
    left, right, merged = (np.empty(len(merges), np.int64) for _ in range(3))
    for rank, (first, second) in enumerate(merges):
        left[rank], right[rank], merged[rank] = vocabulary[first], vocabulary[second], vocabulary[first + second]
    pairs = np.full((_table_size(len(merges)), 2), -1, np.int64)
    fill_pairs(pairs, left, right, merged)
    of_character = byte_characters()
    byte_ids = np.empty(256, np.int32)
    for character, byte in of_character.items():
        byte_ids[byte] = vocabulary[character]
    return Tables(character_classes(), byte_ids, pairs, _whole_words(vocabulary if whole_words else {}, of_character))


def _whole_words(vocabulary: dict[str, int], of_character: dict[str, int]) -> WordTable:
    """The vocabulary's words as bytes; entries that are no byte string can never match and are left out."""
    spelled = {word: [of_character.get(c, -1) for c in word] for word in vocabulary}
    found = {bytes(spelling): vocabulary[word] for word, spelling in spelled.items() if spelling and min(spelling) >= 0}
    text = np.frombuffer(b"".join(found), np.uint8)
    bounds = np.cumsum([0, *map(len, found)], dtype=np.int64)
    table = word_table(_table_size(len(found)), len(text))
    fill_words(table, text, bounds, np.fromiter(found.values(), np.int32, len(found)))
    return table


def _table_size(n_entries: int) -> int:
    """A power of two of more than twice as many slots as entries."""
    return 1 << (2 * n_entries + 1).bit_length()
