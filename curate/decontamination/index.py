"""The index of the n-grams of evaluation files: built once, kept as arrays, mapped by every worker.

Suffixes: F files, I items of all files, O occurrences of n-grams, P different pairs of n-gram and item,
G different n-grams, N documents.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from curate.decontamination.evaluation_files import EvaluationFile, read
from curate.decontamination.ngrams import Occurrences, Rules, by_file, occurrences, templates
from curate.documents import read_only, text_bytes
from curate.errors import ConfigError, InputError
from curate.kernels.folding import fold_tables
from curate.kernels.ngram_lookup import BLOOM_BITS, Found, Index, fill_filter, find, keys_at

FACTS = "index.json"
ROWS = "rows"
FEWEST_BITS = 6
"""The smallest table has 2^6 places, so that shifts stay below 64."""


class EvaluationIndex:
    """N-grams, and the items they are of.

    Args:
        index: what the kernel looks n-grams up in.
        rows: (I,) int64, row in its file of every item.
        facts: what was counted, as in ``index.json``: for each file its ``name`` and ``n_items``, of these ``n_whole`` that can
            be matched only as a whole, ``n_short`` too short to be found but with all their choices, ``n_left_out`` whose n-grams
            are all left out; and of different n-grams ``n_ngrams`` indexed, ``n_plain`` and ``n_template`` left out.
    """

    def __init__(self, index: Index, rows: np.ndarray, facts: dict[str, Any]) -> None:
        self.index, self.rows, self.facts = index, rows, facts
        self.names = tuple(file["name"] for file in facts["files"])
        self._first_items = np.cumsum([0, *(file["n_items"] for file in facts["files"])])

    def find(self, text: pa.Array) -> Found:
        """Look for the n-grams in N documents; null ones have no words."""
        data, bounds = text_bytes(text)
        return Found(*find(read_only(data), read_only(bounds), fold_tables(), self.index, len(self.rows)))

    def files_of(self, items: np.ndarray) -> np.ndarray:
        """The file of each item, as a place in ``names``."""
        return np.searchsorted(self._first_items, items, side="right") - 1

    def save(self, state: Path) -> None:
        """Write arrays and ``index.json`` into an existing folder."""
        for name, values in {**self.index._asdict(), ROWS: self.rows}.items():
            np.save(state / f"{name}.npy", values, allow_pickle=False)
        (state / FACTS).write_text(json.dumps(self.facts, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, state: Path) -> EvaluationIndex:
        """Map what ``save`` wrote."""
        try:
            facts = json.loads((state / FACTS).read_text(encoding="utf-8"))
            return cls(Index(*(_mapped(state, name) for name in Index._fields)), _mapped(state, ROWS), facts)
        except (OSError, ValueError) as error:
            raise InputError(
                f"the index of evaluation files cannot be read: {error}", where=str(state), expected="what fit wrote", fix="run `fit` again"
            ) from error


def _mapped(state: Path, name: str) -> np.ndarray:
    return np.asarray(np.load(state / f"{name}.npy", mmap_mode="r", allow_pickle=False))


@dataclass(frozen=True)
class _Sorted:
    """The occurrences of all files in the order of their keys, and of their items within a key.

    Args:
        order: (O,) places among the occurrences of the parts.
        pairs: (P,) places in ``order`` where a new pair of key and item begins.
        pair_grams: (P,) the n-gram of the pair, 0 to G - 1.
        items: (O,) int64, the item of each occurrence, in the order of the parts.
        grams: (O,) the n-gram of each occurrence, in the order of the parts.
    """

    order: np.ndarray
    pairs: np.ndarray
    pair_grams: np.ndarray
    items: np.ndarray
    grams: np.ndarray


def build(files: Sequence[EvaluationFile], fields: Sequence[str] | None, rules: Rules) -> EvaluationIndex:
    """Read evaluation files and index their n-grams.

    Raises:
        InputError: a file cannot be read.
        ConfigError: a field that no record has; a file of which nothing can be matched.
    """
    found = read(files, fields)
    parts = [occurrences(items, rules) for items in found]
    ordered = _sorted(parts)
    n_items = np.bincount(ordered.pair_grams)
    template = templates(parts, ordered.grams, n_items, rules)
    facts = _counted(files, parts, ordered.grams, template, rules)
    kept = ~np.concatenate([part.plain for part in parts]) & ~template
    rows = np.array([item.row for items in found for item in items], np.int64)
    totals = {"n_items": len(rows), "n_ngrams": len(_distinct(ordered.grams[kept]))}
    return EvaluationIndex(_laid_out(parts, ordered, kept), rows, {**totals, "files": facts})


def _sorted(parts: Sequence[Occurrences]) -> _Sorted:
    keys = np.concatenate([part.keys for part in parts])
    first_items = np.cumsum([0, *(part.n_items for part in parts)])
    items = np.concatenate([part.items + first for part, first in zip(parts, first_items[:-1], strict=True)])
    order = np.lexsort((items, keys))
    new_key = _changes(keys[order])
    gram = np.cumsum(new_key) - 1
    grams = np.empty(len(order), np.int64)
    grams[order] = gram
    pairs = np.flatnonzero(new_key | _changes(items[order]))
    return _Sorted(order, pairs, gram[pairs], items, grams)


def _changes(values: np.ndarray) -> np.ndarray:
    """Where a value differs from the one before it; the first always does."""
    return np.concatenate([np.ones(min(1, len(values)), bool), values[1:] != values[:-1]])


def _distinct(values: np.ndarray) -> np.ndarray:
    """As np.unique, which hashes integers and takes ten times as long here."""
    values = np.sort(values)
    return values[_changes(values)]


def _counted(
    files: Sequence[EvaluationFile], parts: Sequence[Occurrences], grams: np.ndarray, template: np.ndarray, rules: Rules
) -> list[dict[str, Any]]:
    """The facts of each file; see EvaluationIndex. Raises ConfigError for a file that nothing can match."""
    facts = []
    for file, part, gram, often in zip(files, parts, by_file(grams, parts), by_file(template, parts), strict=True):
        kept = ~part.plain & ~often
        some = part.items_with(np.ones(len(gram), bool))
        left = part.items_with(kept)
        n_short, n_left_out = int(part.short.sum()), int((some & ~left).sum())
        if not left.any():
            raise ConfigError(
                f"nothing of {file.name!r} can be matched: of {part.n_items} items, {n_short} have fewer than {rules.shortest} words and "
                f"{n_left_out} only n-grams that are left out",
                where=f"`files`: {file.path}",
                expected=f"items with {rules.shortest} words, {rules.distinct} of them different and no numbers",
                fix="leave the file out, or lower `shortest` or `distinct`",
            )
        facts.append(
            {
                "name": file.name,
                "n_items": part.n_items,
                "n_whole": int((left & ~part.items_with(kept & (part.lengths == rules.ngram))).sum()),
                "n_short": n_short,
                "n_left_out": n_left_out,
                "n_ngrams": len(_distinct(gram[kept])),
                "n_plain": len(_distinct(gram[part.plain])),
                "n_template": len(_distinct(gram[often & ~part.plain])),
            }
        )
    return facts


def _laid_out(parts: Sequence[Occurrences], ordered: _Sorted, kept: np.ndarray) -> Index:
    """The arrays of an Index from the occurrences that are kept, a mask of O."""
    keys = np.concatenate([part.keys for part in parts])
    # Whether an n-gram is kept depends on the n-gram alone, so that any occurrence of a pair speaks for it.
    at = ordered.order[ordered.pairs]
    at = at[kept[at]]
    firsts = np.flatnonzero(_changes(keys[at]))
    distinct = keys[at[firsts]]
    lengths = np.unique(np.concatenate([part.lengths for part in parts])[kept])
    heads = np.concatenate(
        [
            keys_at(part.words, part.starts[mask], np.full(int(mask.sum()), lengths[0]))
            for part, mask in zip(parts, by_file(kept, parts), strict=True)
        ]
    )
    short = np.concatenate([part.lengths for part in parts])[kept] < lengths[-1]
    bits = max(FEWEST_BITS, len(distinct).bit_length() - 3)
    prefixes = np.arange(1 << bits, dtype=np.uint64) << np.uint64(64 - bits)
    arrays = Index(
        lengths=lengths.astype(np.int64),
        keys=distinct,
        bounds=np.append(firsts, len(at)).astype(np.int64),
        items=ordered.items[at].astype(np.uint32),
        buckets=np.append(np.searchsorted(distinct, prefixes), len(distinct)).astype(np.int64),
        filter=_filter(_distinct(heads)),
        short_filter=_filter(_distinct(heads[short])),
    )
    return Index(*map(read_only, arrays))


def _filter(heads: np.ndarray) -> np.ndarray:
    """The Bloom filter over the distinct keys of heads."""
    return fill_filter(heads, max(FEWEST_BITS, (len(heads) * BLOOM_BITS // 64).bit_length()))
