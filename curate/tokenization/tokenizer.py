"""A tokenizer as training will use it: text of documents in, ids out, nothing added.

The ``tokenizers`` library defines the ids. Where the file is a byte-level BPE of a known
kind our own kernel produces the same ids some tens of times faster; on opening, both encode
a probe text, and if they ever differ the library does all the work.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tokenizers
import xxhash

from curate.documents import text_bytes
from curate.errors import ConfigError, InputError
from curate.kernels.unicode_classes import LETTERS, NUMBERS, SPACES, runs
from curate.tokenization.byte_bpe import ByteBpe, NotByteBpeError
from curate.tokenization.location import locate

LIBRARY_BATCH_BYTES = 1 << 22
"""Text handed to the library at once; its Python objects take some fifty times as much."""
_SEPARATORS = ("<|endoftext|>", "<|end_of_text|>", "<|im_end|>", "</s>", "<eos>", "<|eos|>", "[SEP]")
_FIRST_COMBINING = "\u0300"


class Tokenizer:
    """Ids of documents under one ``tokenizer.json``.

    Special tokens that stand literally in a document are encoded as the ordinary text they are;
    truncation, padding and the post-processor (begin and end tokens) are off.

    Args:
        content: bytes of a ``tokenizer.json``.
        where: what to call it in an error.

    Attributes:
        content: the bytes given.
        fingerprint: xxh3-128 of ``content``, 32 hex digits.
        vocab_size: number of ids, added tokens included.
        slow_because: why the library does the work; empty where the fast kernel does.

    Raises:
        InputError: the content is no tokenizer.
    """

    def __init__(self, content: bytes, *, where: str = "tokenizer.json") -> None:
        self.content, self._where = content, where
        self.fingerprint = xxhash.xxh3_128_hexdigest(content)
        self._library = _parse(content, where)
        self.vocab_size = int(self._library.get_vocab_size(with_added_tokens=True))
        self.slow_because = ""
        try:
            self._fast: ByteBpe | None = ByteBpe(json.loads(self._library.to_str()))
        except NotByteBpeError as reason:
            self._fast, self.slow_because = None, str(reason)
        if self._fast is not None and not self._agrees():
            self._fast, self.slow_because = None, "the fast kernel and the library differ on the probe text"

    @classmethod
    def open(cls, name: str | Path) -> Tokenizer:
        """The tokenizer of a name: a ``tokenizer.json``, a directory holding one, or a hub id.

        Raises:
            InputError: missing, unreadable or corrupt.
        """
        path = locate(name)
        try:
            content = path.read_bytes()
        except OSError as error:
            raise InputError("the tokenizer cannot be read", where=str(path), expected="a readable file", fix=str(error)) from error
        return cls(content, where=str(path))

    def __reduce__(self) -> tuple[object, ...]:
        return Tokenizer, (self.content,)

    def encode_arrow(self, text: pa.Array) -> tuple[np.ndarray, np.ndarray]:
        """Ids of N documents, concatenated.

        Args:
            text: large_string (or string) array of N rows; a null has no ids.

        Returns:
            ids (T,) int32, and offsets (N + 1,) int64: document i has ``ids[offsets[i]:offsets[i + 1]]``.
        """
        if self._fast is None:
            return self._encode_slowly(text)
        return self._encode(self._fast, text, write=True)

    def count(self, text: pa.Array) -> np.ndarray:
        """Number of ids of each of N rows: (N,) int64, 0 for a null."""
        if self._fast is None:
            return np.diff(self._encode_slowly(text)[1])
        return np.diff(self._encode(self._fast, text, write=False)[1])

    def separator_id(self, token: str | None = None) -> int:
        """Id of the token that ends a document.

        Args:
            token: its text; None picks the vocabulary's own, by the names in use.

        Raises:
            ConfigError: the vocabulary has no such token.
        """
        candidates = _SEPARATORS if token is None else (token,)
        for candidate in candidates:
            found = self._library.token_to_id(candidate)
            if found is not None:
                return int(found)
        special = sorted(t.content for t in self._library.get_added_tokens_decoder().values() if t.special)
        raise ConfigError(
            "the tokenizer has no token to end documents with" if token is None else f"the tokenizer has no token {token!r}",
            where=self._where,
            expected=f"one of its special tokens: {', '.join(special[:20]) or 'it has none'}",
            fix="name one of them as the separator",
        )

    def text_of(self, token: int) -> str:
        """A token as the vocabulary writes it."""
        return str(self._library.id_to_token(token))

    def pieces(self, text: str) -> list[str]:
        """The stretch of text that each id of one document stands for, in order.

        A character that several tokens share belongs to the first of them; the others are empty.
        """
        found, reached = [], 0
        for begin, end in self._library.encode(text, add_special_tokens=False).offsets:
            found.append(text[max(begin, reached) : end])
            reached = max(reached, end)
        return found

    def _encode(self, fast: ByteBpe, text: pa.Array, *, write: bool) -> tuple[np.ndarray, np.ndarray]:
        text = _without_nulls(text)
        data, bounds = _read_only_bytes(text)
        apart = fast.holds_added_tokens(data, bounds)
        if fast.needs_nfc:
            text = self._normalized(text, ~apart)
            data, bounds = _read_only_bytes(text)
            apart |= fast.holds_added_tokens(data, bounds)
        if not apart.any():
            return fast.encode(data, bounds, write)
        slow = self._encode_slowly(text.filter(pa.array(apart)))
        quick = fast.encode(*_read_only_bytes(text.filter(pa.array(~apart))), write)
        return _interleave(apart, slow, quick, write)

    def _normalized(self, text: pa.Array, wanted: np.ndarray) -> pa.Array:
        """The wanted rows in normal form C, where a character from U+0300 on makes that a question."""
        open_question = np.asarray(pc.match_substring_regex(text, f"[{_FIRST_COMBINING}-\U0010ffff]"))
        rows = np.flatnonzero(open_question & wanted)
        if len(rows) == 0:
            return text
        written = text.to_pylist()
        for row in rows:
            written[row] = self._library.normalizer.normalize_str(written[row])
        return pa.array(written, pa.large_string())

    def _encode_slowly(self, text: pa.Array) -> tuple[np.ndarray, np.ndarray]:
        """Ids by the library, a few megabytes of text at a time."""
        text = _without_nulls(text)
        _, bounds = text_bytes(text)
        parts: list[np.ndarray] = [np.empty(0, np.int32)]
        lengths = np.zeros(len(text) + 1, np.int64)
        first = 0
        while first < len(text):
            last = max(first + 1, int(np.searchsorted(bounds, bounds[first] + LIBRARY_BATCH_BYTES, side="right")) - 1)
            batch = self._library.encode_batch_fast(text[first:last].to_pylist(), add_special_tokens=False)
            lengths[first + 1 : last + 1] = [len(encoding.ids) for encoding in batch]
            parts.extend(np.array(encoding.ids, dtype=np.int32) for encoding in batch)
            first = last
        return np.concatenate(parts), np.cumsum(lengths)

    def _agrees(self) -> bool:
        """Whether kernel and library give the same ids for the probe text."""
        probe = pa.array(_probe_texts(), pa.large_string())
        ours, theirs = self.encode_arrow(probe), self._encode_slowly(probe)
        return np.array_equal(ours[0], theirs[0]) and np.array_equal(ours[1], theirs[1])


def _parse(content: bytes, where: str) -> tokenizers.Tokenizer:
    try:
        library = tokenizers.Tokenizer.from_str(content.decode())
    except Exception as error:  # the library raises plain Exception
        raise InputError(
            "this file is no tokenizer that the tokenizers library can read",
            where=where,
            expected=f"a tokenizer.json ({error})",
            fix="fetch the file again; a Git LFS pointer or an HTML page under this name is a frequent cause",
        ) from error
    library.no_truncation()
    library.no_padding()
    library.encode_special_tokens = True
    return library


def _without_nulls(text: pa.Array) -> pa.Array:
    """As large_string, with nulls as empty documents."""
    if not pa.types.is_large_string(text.type):
        text = text.cast(pa.large_string())
    return text.fill_null("") if text.null_count else text


def _read_only_bytes(text: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Bytes and bounds, always read-only: numba compiles anew for an array that may be written."""
    data, bounds = text_bytes(text)
    data, bounds = data.view(), bounds.view()
    data.flags.writeable = bounds.flags.writeable = False
    return data, bounds


def _interleave(
    apart: np.ndarray, slow: tuple[np.ndarray, np.ndarray], quick: tuple[np.ndarray, np.ndarray], write: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Put two groups of rows back in their order: N bool says which of the two a row is in."""
    lengths = np.zeros(len(apart) + 1, np.int64)
    for rows, (_, offsets) in ((apart, slow), (~apart, quick)):
        lengths[1:][rows] = np.diff(offsets)
    ends = np.cumsum(lengths)
    ids = np.empty(ends[-1] if write else 0, np.int32)
    for rows, (part, offsets) in ((apart, slow), (~apart, quick)) if write else ():
        for row, begin, end in zip(np.flatnonzero(rows), offsets[:-1], offsets[1:], strict=True):
            ids[ends[row] : ends[row + 1]] = part[begin:end]
    return ids, ends


def _probe_texts() -> list[str]:
    """Texts on which a wrong split, class or merge would show: the edges of every run of letters, numbers and spaces."""
    edges = np.concatenate([runs(packed).ravel() for packed in (LETTERS, NUMBERS, SPACES)])
    points = np.unique(np.concatenate([edges - 1, edges]))
    characters = "a".join(chr(p) for p in points if not 0xD800 <= p < 0xE000)
    cases = "I'm you'll it's we've don't they're I'd I'M YOU'LL 'Tis 's'sx ''s 'ſ '\u0130 x'\n's"
    white = "a  b   c\n d \n\n e\t\tf\r\n\r\ng \u00a0\u3000h\u0085i\u2028 \n "
    mixed = "3.14159 1234567890 ½²Ⅷ ٣٤ (foo)[bar] _x __init__(self, *args): $100 €5 e\u0301 naïve 日本語テキスト。中文 한국어"
    odd = "👩\u200d👩\u200d👧🏽 \x00\x1c\x7f\ufeff\ufffd \u0345\U000e0041"
    long = "ab" * 100 + "A" * 300 + "0123456789abcdef" * 20
    return [characters, cases, white, mixed, odd, long, "", " ", "<|endoftext|></s>", f"{cases}{white}{mixed}  "]
