"""Text normalisation and quality buckets as CCNet defines them (Wenzek et al., arXiv 1911.00359, sections 3 and 4).

CCNet's language models were learned from, and score, text in this form: stripped, lower case, canonically
decomposed with accents removed, every digit a 0, typographic punctuation as ASCII, control characters
deleted. Newlines are control characters: a document becomes one line, and words on either side of a newline
that has no space beside it become one. A model scores sensibly only text normalised like what it was learned from.
"""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

HEAD, MIDDLE, TAIL = "head", "middle", "tail"

# What stands for what, by the ASCII it becomes. Code points, since several look alike in print.
_PUNCTUATION: dict[str, tuple[int, ...]] = {
    '"': (0x201C, 0x201D, 0x201E, 0x00AB, 0x00BB, 0x300A, 0x300B, 0x300C, 0x300D),
    "'": (0x2019, 0x00B4),
    ",": (0xFF0C, 0x3001),
    ".": (0x3002,),
    ". ": (0xFF0E,),
    "...": (0x2026,),
    ":": (0xFF1A, 0x2236),
    ";": (0xFF1B,),
    "?": (0xFF1F,),
    "!": (0xFF01,),
    "(": (0xFF08,),
    ")": (0xFF09,),
    "<": (0x3008,),
    ">": (0x3009,),
    "[": (0x3010,),
    "]": (0x3011,),
    "-": (0x2013, 0x2501, 0x25BA),
    " - ": (0x2014,),
    "~": (0xFF5E,),
    "%": (0xFF05,),
}
_DELETED = (*range(0x00, 0x20), *range(0x7F, 0xA0))


def _table(code_points: Sequence[int]) -> dict[int, str | None]:
    """What each code point becomes; the ones that stay are absent."""
    table: dict[int, str | None] = {}
    for code in code_points:
        category = unicodedata.category(chr(code))
        if category == "Mn":
            table[code] = None
        elif category == "Nd":
            table[code] = "0"
    table.update({code: ascii_ for ascii_, codes in _PUNCTUATION.items() for code in codes})
    table.update(dict.fromkeys(_DELETED))
    return table


_ASCII = _table(range(0x80))
_ALL = _table(range(sys.maxunicode + 1))


def normalise(text: str) -> str:
    """One document in CCNet's form."""
    text = text.strip().lower()
    if text.isascii():
        return text.translate(_ASCII)
    return unicodedata.normalize("NFD", text).translate(_ALL)


def normalise_column(text: pa.Array) -> pa.Array:
    """A text column in CCNet's form; nulls stay null."""
    return pa.array([None if t is None else normalise(t) for t in text.to_pylist()], pa.large_string())


def buckets(perplexity_N: np.ndarray, cutoffs: tuple[float, float]) -> pa.Array:
    """head below the first cutoff, middle below the second, tail from there on: N strings."""
    names = pa.array([HEAD, MIDDLE, TAIL])
    return names.take(pa.array(np.searchsorted(np.asarray(cutoffs), perplexity_N, side="right")))
