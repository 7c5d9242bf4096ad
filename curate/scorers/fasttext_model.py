"""fastText model files and lines: checked before the library sees them, and read in bulk.

The library reads past the end of a damaged file and may take the interpreter down, so
the file's structure is walked first. A line of text goes to it as UTF-8 bytes taken
straight from the Arrow buffer. N documents, K predictions each, D labels.
"""

from __future__ import annotations

import ctypes
import mmap
import re
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.documents import text_bytes
from curate.errors import InputError
from curate.scorers import huge_pages

PREFIX = "__label__"
MAGIC = 793712314
VERSIONS = (11, 12)
SUPERVISED = 3
ONE_VERSUS_ALL = (2, 4)  # the losses `ns` and `ova`: every label has its own sigmoid
CENTROIDS = 256  # of a product quantiser, fixed by the format

_CONTROLS = bytes.maketrans(b"\n\r\t\v\f\0", b" " * 6)  # what fastText splits words on, besides the space
_RESERVED = re.compile(rb"(?<![^ \n])(?:</s>(?![^ \n])|__label__[^ \n]*)")


@dataclass(frozen=True)
class ModelFile:
    """What the header and the dictionary of a model file say.

    Args:
        labels: without their ``__label__``, most frequent first, as in the model.
        n_words: words in the dictionary.
        supervised: whether it predicts labels at all.
        exclusive: whether the label probabilities of one document sum to 1 (softmax, hs).
    """

    labels: tuple[str, ...]
    n_words: int
    supervised: bool
    exclusive: bool


class _Walk:
    """A position in the file that refuses to leave it."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data, self.at = data, 0

    def take(self, layout: str) -> tuple[Any, ...]:
        start = self.at
        self.skip(struct.calcsize("<" + layout))
        return struct.unpack_from("<" + layout, self.data, start)

    def skip(self, n_bytes: int) -> None:
        if n_bytes < 0 or self.at + n_bytes > len(self.data):
            raise ValueError(f"it ends at byte {len(self.data)}, its own sizes ask for byte {self.at + n_bytes}")
        self.at += n_bytes

    def word(self) -> bytes:
        end = self.data.find(b"\0", self.at)
        if end < 0:
            raise ValueError("a dictionary entry has no end")
        found = self.data[self.at : end]
        self.at = end + 1
        return found

    def matrix(self, quantized: bool) -> tuple[int, int]:
        """Pass over one matrix; its rows and columns."""
        if not quantized:
            rows, columns = self.take("qq")
            self._positive(rows, columns)
            self.skip(4 * rows * columns)
            return rows, columns
        normed, rows, columns, n_codes = self.take("?qqi")
        self._positive(rows, columns)
        self.skip(n_codes)
        self._quantizer()
        if normed:
            self.skip(rows)
            self._quantizer()
        return rows, columns

    def _quantizer(self) -> None:
        dim, *_ = self.take("iiii")
        self.skip(4 * dim * CENTROIDS)

    def _positive(self, rows: int, columns: int) -> None:
        if rows < 0 or columns < 0:
            raise ValueError(f"a matrix of {rows} by {columns} cannot be")


def inspect(path: Path) -> ModelFile:
    """Walk a ``.bin`` or ``.ftz`` file from end to end without loading it.

    Raises:
        InputError: the file is missing, is no fastText model, is damaged, or holds word vectors only.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            found = _inspect(_Walk(data))
    except FileNotFoundError:
        raise _unreadable(path, "the fastText model does not exist") from None
    except (ValueError, struct.error, OSError) as error:
        raise _unreadable(path, f"the fastText model cannot be read: {error}") from None
    if not found.supervised:
        raise _unreadable(path, "the fastText model holds word vectors and predicts no labels")
    return found


def _inspect(walk: _Walk) -> ModelFile:
    magic, version = walk.take("ii")
    if magic != MAGIC or version not in VERSIONS:
        raise ValueError(f"it starts with {magic}, version {version}, where a model has {MAGIC}, version {VERSIONS[-1]}")
    dim, _, _, _, _, _, loss, kind, bucket, _, _, _, _ = walk.take("12id")
    n_entries, n_words, n_labels, _, n_pruned = walk.take("iiiqq")
    labels = []
    for _ in range(n_entries):
        word = walk.word()
        _, entry_kind = walk.take("qb")
        if entry_kind == 1:
            labels.append(word.decode(errors="replace").removeprefix(PREFIX))
    walk.skip(8 * max(n_pruned, 0))
    (quantized,) = walk.take("?")
    in_rows, in_columns = walk.matrix(quantized)
    (quantized_output,) = walk.take("?")
    out_rows, out_columns = walk.matrix(quantized and quantized_output)
    needed = n_words + (n_pruned if n_pruned >= 0 else bucket)
    supervised = kind == SUPERVISED
    fits = n_words >= 0 and n_labels == len(labels) and in_rows >= needed and in_columns == out_columns == dim
    if not fits or (supervised and out_rows != n_labels) or walk.at != len(walk.data):
        raise ValueError("its dictionary, its matrices and its length do not fit together")
    return ModelFile(tuple(labels), n_words, supervised, loss not in ONE_VERSUS_ALL)


def _unreadable(path: Path, what: str) -> InputError:
    return InputError(
        what,
        where=str(path),
        expected="a supervised fastText model written by save_model or quantize (.bin or .ftz)",
        fix="copy the file again, or name another one",
    )


def _holds(data: bytes, word: bytes) -> bool:
    """``word in data`` by the C library's search, three times faster, which shows beside a small model."""
    return word in data if _MEMMEM is None else bool(_MEMMEM(data, len(data), word, len(word)))


def _c_search() -> Callable[[bytes, int, bytes, int], int | None] | None:
    """The C library's memmem, None where it has none."""
    try:
        found = ctypes.CDLL(None).memmem
    except (AttributeError, OSError, TypeError):
        return None
    found.restype, found.argtypes = ctypes.c_void_p, [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t]
    return cast(Callable[[bytes, int, bytes, int], int | None], found)


_MEMMEM = _c_search()


def flat_lines(text: pa.Array) -> tuple[list[bytes], np.ndarray]:
    r"""A text column (N) as N fastText lines, and which of them are blank, (N,) bool.

    Words are split as fastText splits them (space and \n \r \t \v \f \0), and every document is
    one line. Two kinds of words would act on fastText itself and become spaces, when training
    and when predicting alike: a literal ``</s>``, which would end the document there, and
    ``__label__...``, which would add a label to it. Null is a blank line, as is white space.
    """
    text = pc.fill_null(text.cast(pa.large_string()), "")
    raw, bounds = text_bytes(text)
    data = raw[int(bounds[0]) : int(bounds[-1])].tobytes().translate(_CONTROLS)
    edges = (bounds - bounds[0]).tolist()
    lines = [data[a:b] + b"\n" for a, b in zip(edges[:-1], edges[1:], strict=True)]
    if _holds(data, b"</s>") or _holds(data, PREFIX.encode()):
        lines = [_RESERVED.sub(_spaces, line) for line in lines]
    flat = pa.LargeStringArray.from_buffers(len(text), pa.py_buffer(bounds - bounds[0]), pa.py_buffer(data))
    unicode_space = pc.utf8_is_space(flat).to_numpy(zero_copy_only=False).astype(bool)
    return lines, unicode_space | np.fromiter(map(bytes.isspace, lines), dtype=bool, count=len(lines))


def _spaces(found: re.Match[bytes]) -> bytes:
    return b" " * len(found[0])


class Predictor:
    """A loaded model that answers for a whole column at once.

    Args:
        path: the model file; its structure is checked first.

    Raises:
        InputError: the file is missing, damaged or not supervised.
    """

    def __init__(self, path: Path) -> None:
        self.file = inspect(path)
        from fasttext.FastText import _FastText

        try:
            self._model = _FastText(model_path=str(path)).f
        except (RuntimeError, ValueError, MemoryError) as error:
            raise _unreadable(path, f"fastText cannot load the model: {error}") from error
        with suppress(RuntimeError, ValueError):  # a quantised model shows no table, and is small
            huge_pages.move(np.asarray(self._model.getInputMatrix()))
        self._column = {PREFIX + label: d for d, label in enumerate(self.file.labels)}

    def top(self, lines: list[bytes], k: int) -> tuple[list[list[str]], list[np.ndarray]]:
        """The K most probable labels of N lines, best first, with ``__label__``, and their probabilities.

        A line without any feature the model knows has an empty list. ``k`` = -1 gives every label.
        """
        labels, probabilities = self._model.multilinePredict(lines, k, 0.0, "replace")
        return labels, probabilities

    def matrix(self, labels: list[list[str]], probabilities: list[np.ndarray]) -> np.ndarray:
        """Predictions of every label as an (N, D) float32 array in the model's label order; absent means 0."""
        dense = np.zeros((len(labels), len(self._column)), dtype=np.float32)
        counts = [len(row) for row in labels]
        if not sum(counts):
            return dense
        columns = np.fromiter(map(self._column.__getitem__, chain.from_iterable(labels)), dtype=np.int64, count=sum(counts))
        dense[np.repeat(np.arange(len(labels)), counts), columns] = np.concatenate(probabilities)
        return np.clip(dense, 0.0, 1.0)
