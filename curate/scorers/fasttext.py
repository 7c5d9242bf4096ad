"""A fastText classifier as a scorer: language, domain, or quality as the probability of a positive label.

The bag-of-n-grams classifier of Joulin et al. (2017, "Bag of Tricks for Efficient Text
Classification"); as a quality filter it is the one of DCLM (Li et al. 2024) and of
perplexity correlations (Thrush et al. 2025). The model is supplied, or trained here from
labelled files or from a column of the corpus.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.errors import ConfigError, nearest
from curate.hashing import DOC_ID_BYTES
from curate.scorers.fasttext_model import PREFIX, ModelFile, Predictor, flat_lines, inspect
from curate.scorers.fasttext_options import FastTextOptions
from curate.scorers.fasttext_training import Examples, decode_label, from_files, from_table, report, split, train
from curate.scorers.scorer import Sample, Scorer, columns

MODEL_NAME, REPORT_NAME, IDS_NAME = "model.bin", "report.json", "fit_sample.npy"


@dataclass
class FastText(FastTextOptions, Scorer):
    """Label and probability of every document under a fastText classifier.

    Give exactly one of ``model``, ``label`` and ``labelled``. Null, empty and blank documents,
    and those without a feature the model knows, have null scores.

    Columns: ``label``, ``probability`` of that label; ``score`` = P(positive) with ``positive``; ``labels`` and
    ``probabilities`` with ``k`` > 1; ``probability_<label>`` for each of ``per_label``; ``in_fit_sample`` when
    trained here: whether the document (by content) was trained on. fastText adds 1e-5 to every probability it
    reports; they are passed on as they are, clipped to [0, 1].

    Args:
        model: a supplied ``.bin`` or ``.ftz`` file.
        label: train on this column of the corpus: ``domain``, an extra, or ``<score>.<column>``.
        labelled: train on these files: Parquet or JSONL with the two fields, or lines of ``__label__x text``.
        text_field: the text in labelled files.
        label_field: the label in labelled files.
        threshold: turns a number into the labels ``high`` (at or above) and ``low``.
        positive: the label or labels whose probability is ``score``. Under ``ova`` and ``ns``, whose labels do
            not exclude each other, several count as the most probable of them.
        k: how many labels to give for each document.
        per_label: labels that get a column of their own.
        domains: only these domains of the corpus; empty means all.
        loss: fastText's own, as are the others; see ``FastTextOptions``, which also has how much text is learned from and held
            out.
    """

    model: Path | None = None
    label: str = ""
    labelled: tuple[Path, ...] = ()
    text_field: str = "text"
    label_field: str = "label"
    threshold: float | None = None
    positive: str | tuple[str, ...] = ()
    k: int = 1
    per_label: tuple[str, ...] = ()
    domains: tuple[str, ...] = ()
    loss: Literal["softmax", "hs", "ova", "ns"] = "softmax"

    inputs = ("text", "doc_id")

    @property
    def outputs(self) -> pa.Schema:
        """Depends on ``positive``, ``k``, ``per_label`` and on where the model comes from."""
        described: dict[str, tuple[pa.DataType, str, str]] = {
            "label": (pa.string(), "label", "none"),
            "probability": (pa.float32(), "probability", "none"),
        }
        if self._positive:
            described["score"] = (pa.float32(), "probability", "higher")
        if self.k > 1:
            described["labels"] = (pa.list_(pa.string()), "label", "none")
            described["probabilities"] = (pa.list_(pa.float32()), "probability", "none")
        described |= {f"probability_{label}": (pa.float32(), "probability", "none") for label in self.per_label}
        if self.model is None:
            described["in_fit_sample"] = (pa.bool_(), "boolean", "none")
        return columns(**described)

    @property
    def _positive(self) -> tuple[str, ...]:
        return (self.positive,) if isinstance(self.positive, str) else tuple(self.positive)

    def check(self) -> None:
        """See Scorer.check; walks a supplied model from end to end."""
        given = [name for name in ("model", "label", "labelled") if getattr(self, name)]
        if len(given) != 1:
            what = f"a fastText model can come from one place only, given: {', '.join(given) or 'none'}"
            raise ConfigError(what, expected="exactly one of `model`, `label`, `labelled`", fix="keep one of the three")
        if self.k < 1:
            raise ConfigError(f"`k` is {self.k}", expected="at least 1", fix="raise `k`")
        self.check_options()
        if self.model is not None:
            self._check_labels(inspect(Path(self.model)).labels)

    def _check_labels(self, known: tuple[str, ...]) -> None:
        """Raise ConfigError for a label asked for that the model does not have."""
        for name, asked in (("positive", self._positive), ("per_label", self.per_label)):
            for label in asked:
                if label not in known:
                    raise ConfigError(
                        f"the model has no label {label!r}",
                        where=f"`{name}`",
                        expected="a label of the model",
                        fix=nearest(label, list(known)),
                    )

    def artifacts(self) -> tuple[Path, ...]:
        """The supplied model, or the labelled files."""
        return (Path(self.model),) if self.model is not None else tuple(Path(path) for path in self.labelled)

    def sample(self) -> Sample | None:
        """None with a supplied model; an empty sample with labelled files, which are all that is learned from."""
        if self.model is not None:
            return None
        if self.labelled:
            return Sample(n_bytes=0, columns=("text",))
        return Sample(self.sample_bytes, self.per_domain, ("text", self.label), self.domains)

    def fit(self, sample: pa.Table, state: Path) -> None:
        """Train, measure on the held-out examples, and write ``model.bin``, ``report.json`` and ``fit_sample.npy``.

        Raises:
            InputError: fewer than two labels, or a labelled file that cannot be read.
            ConfigError: training fails with these hyper-parameters.
        """
        training, held_out = split(self._examples(sample), self.held_out, self.seed)
        self._check_labels(tuple(training.counts()))
        train(training, self.library_options(self.loss), state / MODEL_NAME)
        found = report(Predictor(state / MODEL_NAME), training, held_out)
        (state / REPORT_NAME).write_text(json.dumps(found, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
        np.save(state / IDS_NAME, np.unique(_keys(training.ids)).view(np.uint8).reshape(-1, DOC_ID_BYTES), allow_pickle=False)

    def _examples(self, sample: pa.Table) -> Examples:
        if self.labelled:
            return from_files([Path(path) for path in self.labelled], self.text_field, self.label_field, self.threshold)
        return from_table(sample, "text", self.label, self.threshold, "the corpus sample")

    def load(self, state: Path | None) -> None:
        """See Scorer.load."""
        supplied = self.model is not None
        if state is None and not supplied:
            raise ConfigError("the fastText scorer was trained nowhere", expected="the state written by `fit`", fix="run `fit` first")
        folder = Path() if state is None else state
        self._predictor = Predictor(Path(self.model) if self.model is not None else folder / MODEL_NAME)
        file: ModelFile = self._predictor.file
        self._names = file.labels if supplied else tuple(decode_label(label) for label in file.labels)
        self._shown = dict(zip((PREFIX + label for label in file.labels), self._names, strict=True))
        self._fitted = None if supplied else np.load(folder / IDS_NAME, allow_pickle=False).reshape(-1).view(f"S{DOC_ID_BYTES}")

    def score(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """See Scorer.score."""
        lines, blank = flat_lines(batch["text"])
        every = bool(self._positive or self.per_label)
        labels, probabilities = self._predictor.top(lines, -1 if every else self.k)
        absent = blank | np.fromiter((not row for row in labels), dtype=bool, count=len(labels))
        best = [None if skip else self._shown[row[0]] for row, skip in zip(labels, absent, strict=True)]
        top = np.fromiter((row[0] if len(row) else 0.0 for row in probabilities), dtype=np.float32, count=len(labels))
        arrays = {"label": pa.array(best, pa.string()), "probability": pa.array(np.clip(top, 0, 1), pa.float32(), mask=absent)}
        if every:
            dense = self._predictor.matrix(labels, probabilities)
            single = {f"probability_{name}": dense[:, self._names.index(name)] for name in self.per_label}
            single |= {"score": self._combined(dense)} if self._positive else {}
            arrays |= {name: pa.array(values, pa.float32(), mask=absent) for name, values in single.items()}
        if self.k > 1:
            arrays |= self._several(labels, probabilities, absent)
        if self._fitted is not None:
            arrays["in_fit_sample"] = self._membership(batch["doc_id"], batch["text"])
        schema = self.outputs
        return pa.record_batch([arrays[name] for name in schema.names], schema=schema)

    def _several(self, labels: list[list[str]], probabilities: list[np.ndarray], absent: np.ndarray) -> dict[str, pa.Array]:
        """The K best labels of N rows and their probabilities, as list columns."""
        shown = [None if skip else [self._shown[word] for word in row[: self.k]] for row, skip in zip(labels, absent, strict=True)]
        clipped = [None if skip else np.clip(row[: self.k], 0, 1) for row, skip in zip(probabilities, absent, strict=True)]
        return {"labels": pa.array(shown, pa.list_(pa.string())), "probabilities": pa.array(clipped, pa.list_(pa.float32()))}

    def _combined(self, dense: np.ndarray) -> np.ndarray:
        """P(positive) of N rows from the (N, D) probabilities."""
        of_positive = dense[:, [self._names.index(label) for label in self._positive]]
        together = of_positive.sum(axis=1) if self._predictor.file.exclusive else of_positive.max(axis=1)
        return np.minimum(together, np.float32(1))

    def _membership(self, ids: pa.Array, text: pa.Array) -> pa.Array:
        """Whether each document was trained on; null where there is no text."""
        assert self._fitted is not None
        keys = _keys(ids)
        at = np.minimum(np.searchsorted(self._fitted, keys), len(self._fitted) - 1)
        return pc.if_else(pc.is_valid(text), pa.array(self._fitted[at] == keys, pa.bool_()), None)


def _keys(ids: pa.Array) -> np.ndarray:
    """doc_ids (N) as N numpy strings of 16 bytes, which sort and compare as the bytes do."""
    if len(ids) == 0:
        return np.empty(0, dtype=f"S{DOC_ID_BYTES}")
    return np.frombuffer(ids.buffers()[1], dtype=f"S{DOC_ID_BYTES}", count=len(ids), offset=DOC_ID_BYTES * ids.offset)
