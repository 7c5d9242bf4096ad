"""Copies of real documents with known edits, among everything else: what finding near duplicates is scored on.

Every original has one copy, so that a pair is found when one of the two is removed. Originals of the
kind ``alone`` have none: how many of them are removed all the same says what a score is worth.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.data import Data
from benchmarks.peers import documents

WORD = re.compile(r"\w+")
FEWEST, MOST = 100, 3000
"""Words of an original."""
SPREAD = 0x9E3779B1
ALONE = "alone"
Edit = Callable[[str, list[str], np.random.Generator], str]


def changed(share: float) -> Edit:
    """Some words replaced by words of other documents."""

    def edit(text: str, vocabulary: list[str], random: np.random.Generator) -> str:
        words = list(WORD.finditer(text))
        pieces, end = [], 0
        for i in sorted(random.choice(len(words), max(1, round(share * len(words))), replace=False)):
            pieces += [text[end : words[i].start()], vocabulary[random.integers(len(vocabulary))]]
            end = words[i].end()
        return "".join([*pieces, text[end:]])

    return edit


def truncated(text: str, _: list[str], __: np.random.Generator) -> str:
    """The last tenth of the words left out."""
    words = list(WORD.finditer(text))
    return text[: words[int(len(words) * 0.9)].start()]


def recased(text: str, _: list[str], __: np.random.Generator) -> str:
    """Capital letters."""
    return text.upper()


KINDS: dict[str, Edit] = {f"{share:.0%} of words changed": changed(share) for share in (0.01, 0.05, 0.1, 0.2)}
KINDS |= {"last tenth cut": truncated, "upper case": recased}


@dataclass(frozen=True)
class Plant:
    """A pair, by the numbers of its documents.

    Args:
        jaccard: of the sets of 5-grams of lower-case words.
    """

    kind: str
    original: int
    copy: int
    jaccard: float


def planted(data: Data, n_bytes: int, per_kind: int, ngram: int) -> tuple[Path, list[Plant]]:
    """A folder as ``documents.numbered`` makes it, copies at its end, and the pairs in it."""
    folder = data.work / f"planted-{n_bytes // 10**6}MB-{per_kind}"
    listed = folder.with_suffix(".json")
    if not folder.exists():
        texts = pa.concat_tables(data.prefix(n_bytes))
        copies, found = _plants(texts, per_kind, ngram)
        listed.write_text(json.dumps([asdict(plant) for plant in found]))
        documents.write(folder, chain(data.prefix(n_bytes), [copies]))
    return folder, [Plant(**plant) for plant in json.loads(listed.read_text())]


def _plants(table: pa.Table, per_kind: int, ngram: int) -> tuple[pa.Table, list[Plant]]:
    random = np.random.default_rng(0)
    wanted = per_kind * (len(KINDS) + 1)
    originals: list[int] = []
    for number in (i * SPREAD % len(table) for i in range(len(table))):
        n_words = len(WORD.findall(table["text"][number].as_py()))
        if FEWEST <= n_words <= MOST and number not in originals:
            originals.append(number)
        if len(originals) == wanted:
            break
    texts = {number: table["text"][number].as_py() for number in originals}
    vocabulary = sorted({word for text in texts.values() for word in WORD.findall(text)})
    copies: list[str] = []
    domains: list[str] = []
    found: list[Plant] = []
    for i, (number, text) in enumerate(texts.items()):
        kind = [*KINDS, ALONE][i % (len(KINDS) + 1)]
        if kind == ALONE:
            found.append(Plant(kind, number, number, 1.0))
            continue
        copy = KINDS[kind](text, vocabulary, random)
        found.append(Plant(kind, number, len(table) + len(copies), jaccard(text, copy, ngram)))
        copies.append(copy)
        domains.append(table["domain"][number].as_py())
    return pa.table({"text": pa.array(copies, pa.large_string()), "domain": domains}), found


def jaccard(left: str, right: str, ngram: int) -> float:
    """Of two sets of n-grams of lower-case words."""
    a, b = (grams(WORD.findall(text.lower()), ngram) for text in (left, right))
    return len(a & b) / max(1, len(a | b))


def grams(words: list[str], n: int) -> set[tuple[str, ...]]:
    """All runs of ``n`` words."""
    return set(zip(*(words[k:] for k in range(n)), strict=False))


def recall(plants: Iterable[Plant], kept: set[int]) -> dict[str, tuple[float, float, int]]:
    """By kind: the share of pairs of which one was removed, their mean similarity, and their number."""
    found: dict[str, list[tuple[bool, float]]] = {}
    for plant in plants:
        hit = plant.original not in kept or plant.copy not in kept
        found.setdefault(plant.kind, []).append((hit, plant.jaccard))
    return {
        kind: (sum(hit for hit, _ in pairs) / len(pairs), sum(j for _, j in pairs) / len(pairs), len(pairs))
        for kind, pairs in found.items()
    }
