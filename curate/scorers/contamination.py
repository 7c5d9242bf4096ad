"""Contamination: which documents hold n-grams of evaluation files, and where.

N-gram overlap after Brown et al. (2020, "Language Models are Few-Shot Learners", appendix C), with the normalised
words of ``kernels.folding``: an item is found whatever was done to its case, spacing, line breaks, punctuation,
numbers and accents, and not found once its words are changed more often than every ``ngram`` words.
What is an n-gram of an evaluation file is decided in ``curate.decontamination.index``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from curate.decontamination import evaluation_files
from curate.decontamination.index import EvaluationIndex, build
from curate.decontamination.ngrams import Rules
from curate.errors import ConfigError
from curate.scorers.scorer import Sample, Scorer, columns

REASON = pa.dictionary(pa.int32(), pa.string())
LEAST_NGRAM, MOST_NGRAM = 4, 256


@dataclass
class Contamination(Scorer):
    """Overlap of each document with evaluation files.

    Columns: the verdict ``keep`` with ``reason`` (``contaminated:<file>``, null where kept), ``n_matches``, ``overlap``, and of the
    longest matched span ``start``, ``end`` (byte offsets in the text) and ``item`` (``<file>:<row>``). A document without text has nulls.

    Args:
        files: paths or globs of evaluation files on local disks: .jsonl, .ndjson, .txt (also .gz, .zst, .bz2) and .parquet.
        fields: dotted paths of the fields that are evaluation text; None takes every string but identifiers and provenance.
        ngram: words in a row that count as a match.
        shortest: texts and items of fewer words than ``ngram`` are matched whole, if they have at least this many.
        common: n-grams of more items than this are templates and are not matched.
        distinct: n-grams with fewer different words than this, numbers not counted, are not matched.
        max_overlap: a document is dropped where more than this share of its words is matched; 0.0, any match, when neither is given.
        min_matches: a document is dropped where at least this many n-grams are matched.
    """

    files: str | tuple[str, ...]
    fields: tuple[str, ...] | None = None
    ngram: int = 13
    shortest: int = 8
    common: int = 10
    distinct: int = 6
    max_overlap: float | None = None
    min_matches: int | None = None

    @property
    def outputs(self) -> pa.Schema:
        """The codes of ``reason`` depend on the files."""
        loaded: EvaluationIndex | None = getattr(self, "_index", None)
        names = loaded.names if loaded is not None else tuple(file.name for file in self._found())
        schema = columns(
            keep=(pa.bool_(), "boolean", "none"),
            reason=(REASON, "code", "none"),
            n_matches=(pa.int64(), "n-grams", "lower"),
            overlap=(pa.float64(), "fraction of words", "lower"),
            start=(pa.int64(), "byte of the text", "none"),
            end=(pa.int64(), "byte of the text", "none"),
            item=(pa.string(), "evaluation file:row", "none"),
        )
        at = schema.get_field_index("reason")
        field = schema.field(at)
        return schema.set(at, field.with_metadata({**field.metadata, b"codes": ",".join(_codes(names)).encode()}))

    def _found(self) -> list[evaluation_files.EvaluationFile]:
        return evaluation_files.find([self.files] if isinstance(self.files, str) else self.files)

    def check(self) -> None:
        """See Scorer.check; reads the evaluation files."""
        self._check_options()
        evaluation_files.read(self._found(), self.fields)

    def _check_options(self) -> None:
        if not self.files:
            raise _refused("files", self.files, "at least one path or glob", "name the evaluation files")
        if self.fields is not None and not self.fields:
            raise _refused("fields", list(self.fields), "field names, or null for all", "remove it")
        if not LEAST_NGRAM <= self.ngram <= MOST_NGRAM:
            raise _refused("ngram", self.ngram, f"{LEAST_NGRAM} to {MOST_NGRAM} words", "13 is usual")
        if not 1 <= self.shortest <= self.ngram:
            raise _refused("shortest", self.shortest, f"1 to `ngram`, {self.ngram}", "8 is usual; set it to `ngram` to match nothing whole")
        if self.common < 1:
            raise _refused("common", self.common, "at least 1 item", "10 is usual")
        if not 1 <= self.distinct <= self.shortest:
            raise _refused("distinct", self.distinct, f"1 to `shortest`, {self.shortest}", "6 is usual")
        if self.max_overlap is not None and not (math.isfinite(self.max_overlap) and 0 <= self.max_overlap < 1):
            raise _refused("max_overlap", self.max_overlap, "a fraction from 0 up to, not including, 1", "0.0 drops on any match")
        if self.min_matches is not None and self.min_matches < 1:
            raise _refused("min_matches", self.min_matches, "at least 1", "1 drops on any match")

    def artifacts(self) -> tuple[Path, ...]:
        """The evaluation files."""
        return tuple(file.path for file in self._found())

    def sample(self) -> Sample:
        """An empty sample: all that is learned is in the evaluation files."""
        return Sample(n_bytes=0, columns=("text",))

    def fit(self, sample: pa.Table, state: Path) -> None:
        """Index the evaluation files; ``index.json`` tells what each holds and what cannot be matched."""
        rules = Rules(self.ngram, self.shortest, self.common, self.distinct)
        build(self._found(), self.fields, rules).save(state)

    def load(self, state: Path | None) -> None:
        """See Scorer.load."""
        if state is None:
            raise ConfigError("the evaluation files were indexed nowhere", expected="the state written by `fit`", fix="run `fit` first")
        self._index = EvaluationIndex.load(state)

    def score(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """See Scorer.score."""
        index, text = self._index, batch["text"]
        null = np.asarray(text.is_null())
        found = index.find(text)
        overlap = found.n_covered / np.maximum(found.n_words, 1)
        dropped = self._dropped(found.n_matches, overlap) & ~null
        unmatched = found.items < 0
        files = index.files_of(np.maximum(found.items, 0))
        spans = [pa.array(found.spans[:, side], pa.int64(), mask=unmatched) for side in (0, 1)]
        items = [None if item < 0 else f"{index.names[file]}:{index.rows[item]}" for item, file in zip(found.items, files, strict=True)]
        codes = pa.array(files.astype(np.int32), pa.int32(), mask=~dropped)
        return pa.record_batch(
            [
                pa.array(~dropped, pa.bool_(), mask=null),
                pa.DictionaryArray.from_arrays(codes, pa.array(_codes(index.names), pa.string())),
                pa.array(found.n_matches, pa.int64(), mask=null),
                pa.array(overlap, pa.float64(), mask=null),
                *spans,
                pa.array(items, pa.string()),
            ],
            schema=self.outputs,
        )

    def _dropped(self, n_matches: np.ndarray, overlap: np.ndarray) -> np.ndarray:
        """Which of N documents fail; either bound is enough."""
        neither = self.max_overlap is None and self.min_matches is None
        most = 0.0 if neither else self.max_overlap
        dropped = np.zeros(len(overlap), bool)
        if most is not None:
            dropped |= overlap > most
        if self.min_matches is not None:
            dropped |= n_matches >= self.min_matches
        return dropped


def _codes(names: tuple[str, ...]) -> list[str]:
    """The reasons there can be, one to a file, in their order."""
    return [f"contaminated:{name}" for name in names]


def _refused(name: str, value: object, expected: str, fix: str) -> ConfigError:
    return ConfigError(f"`{name}` is {value}", where=f"contamination.{name}", expected=expected, fix=fix)
