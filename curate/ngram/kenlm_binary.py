"""Scoring with KenLM binary files, through the optional ``kenlm`` package.

Their layout is KenLM's own and changes with its build options, so KenLM reads them. Sentences, words and
spelt-out markers are treated as in ``curate.kernels.ngram``, so a model scores the same in either form.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from curate.errors import ConfigError, InputError

_MAGIC = b"mmap lm http://kheafield.com/code"
_SPACES = bytes.maketrans(b"\0\t\v\f\r", b"     ")
_MARKERS = {"<s>", "</s>"}


def is_binary(path: Path) -> bool:
    """Whether a file is a KenLM binary."""
    with path.open("rb") as file:
        return file.read(len(_MAGIC)) == _MAGIC


def require_kenlm(path: Path) -> None:
    """Raise ConfigError when the ``kenlm`` package, which reads this file, is not installed."""
    if importlib.util.find_spec("kenlm") is None:
        fix = "pip install 'curate[kenlm]', or give the .arpa file the binary was built from"
        raise ConfigError(
            "a KenLM binary needs the kenlm package, which is not installed", where=str(path), expected="an ARPA file, or kenlm", fix=fix
        )


class KenlmModel:
    """A KenLM binary with the ``score`` of ``curate.ngram.model.NgramModel``."""

    def __init__(self, path: Path) -> None:
        require_kenlm(path)
        import kenlm

        try:
            self._model: Any = kenlm.Model(str(path))
        except OSError as error:
            raise InputError(
                "kenlm cannot load the model", where=str(path), expected="a KenLM binary of this machine's kind", fix=str(error)
            ) from error

    def score(self, text: pa.Array, *, by_line: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(Σ log10 p, terms in that sum, unknown words) of every row, N float64, int64, int64; nulls score as empty text."""
        rows = [self._score_document(t or "", by_line) for t in text.to_pylist()]
        sums = np.array(rows, dtype=np.float64).reshape(-1, 3)
        return sums[:, 0].copy(), sums[:, 1].astype(np.int64), sums[:, 2].astype(np.int64)

    def _score_document(self, text: str, by_line: bool) -> tuple[float, int, int]:
        total, predicted, oov = 0.0, 0, 0
        for sentence in _sentences(text, by_line):
            for log10_p, _, unknown in self._model.full_scores(sentence):
                total += log10_p
                predicted += 1
                oov += unknown
        return total, predicted, oov


def _sentences(text: str, by_line: bool) -> list[str]:
    """The sentences of a document, words parted by single spaces."""
    plain = text.encode().translate(_SPACES)
    lines = plain.split(b"\n") if by_line else [plain.replace(b"\n", b" ")]
    spelled = [[word.decode() for word in line.split()] for line in lines]
    found = [" ".join("<unk>" if word in _MARKERS else word for word in words) for words in spelled if words]
    return found or [""]
