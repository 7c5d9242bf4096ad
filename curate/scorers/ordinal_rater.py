"""An ordinal rater: the quality of documents, learned from some that a person or a large model gave a class from 0 to C.

    - ordinal_rater: {name: quality, labelled: labels.jsonl, embedding: embedding.vector}

SampleMix (Xi et al., arXiv 2503.01506, section 3.1): a large model labels a sample, and a small head on embeddings
extends its judgment to the corpus. ``curate.rating.heads`` has the head and its loss. The labelled texts are embedded
here by the scorer that embeds the corpus, so they need not be part of it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from curate.clustering.vectors import FLOATS, vectors
from curate.documents import text_bytes
from curate.embedding_identity import LEARNED, model_behind, model_of
from curate.errors import ConfigError, InputError
from curate.hashing import id_keys, unit_interval
from curate.learned_folder import LearnedFolder, short
from curate.rating import labelled as labelled_files
from curate.rating.figures import figures
from curate.rating.heads import KINDS, Head, Kind, Trained, train
from curate.scorers.scorer import FitAid, PickledAsBuilt, Sample, Scorer, columns

REPORT, WEIGHTS = "rating.json", "weights.npy"
BATCH_BYTES, BATCH_TEXTS = 4 << 20, 4096
REHEARSED_TEXTS = 500
LEAST_L2 = 1e-10  # below it rounding decides where the search ends

_OUTPUTS = columns(
    rating=(pa.float32(), "classes, expected number reached", "higher"),
    label=(pa.int16(), "classes reached", "higher"),
)


@dataclass
class OrdinalRater(PickledAsBuilt, Scorer):
    """Rating from 0 to C and label 0..C of every document, by a linear head on its embedding.

    Give exactly one of ``labelled`` and ``model``. Both columns are null where there is no embedding, or one that is not
    finite. The rating of the ordinal head is the sum of P(label >= k) over k = 1..C, of the classifier the mean of
    its classes; see ``curate.rating.heads``.

    Labelled documents are held out by their text, so that copies are never on both sides; the head used is the one
    that was measured on them. ``rating.json`` in the learned state compares both heads on the held-out documents:
    accuracy, accuracy within one class, mean absolute and mean squared error, Spearman's rho and the confusion of
    classes; it counts labels, texts without an embedding (which teach nothing), and texts and records held out. The
    order of the records has no effect.

    Args:
        labelled: files of labelled documents, JSONL (also compressed) or Parquet.
        text_field: their field of the text.
        label_field: their field of the label, whole numbers from 0.
        embedding: the column of embeddings; its scorer embeds the labelled texts too.
        classes: C + 1, labels are 0 to one less; None takes the largest label that occurs.
        head: ``ordinal``, or ``classifier`` for multinomial logistic regression.
        l2: weight of half the squared weights beside the mean loss, on standardised dimensions; from 1e-10.
        held_out: share of the texts kept from training to measure on; 0 measures nothing.
        seed: of the choice of the held-out texts.
        model: a folder that another run learned a rater in (``models/<scorer>``); nothing is learned then. Where that run
            learned its embedding too, this pipeline's has that one as its ``model``.
    """

    labelled: Path | tuple[Path, ...] = ()
    text_field: str = "text"
    label_field: str = "label"
    embedding: str = "embedding.vector"
    classes: int | None = None
    head: Kind = "ordinal"
    l2: float = 1e-3
    held_out: float = 0.1
    seed: int = 0
    model: Path | None = None

    outputs = _OUTPUTS

    def __post_init__(self) -> None:
        self._head: Head | None = None
        self._most_texts: int | None = None

    @property
    def inputs(self) -> tuple[str, ...]:  # type: ignore[override]
        """The embedding alone."""
        return (self.embedding,)

    @property
    def _files(self) -> tuple[Path, ...]:
        return (self.labelled,) if isinstance(self.labelled, Path) else tuple(self.labelled)

    @property
    def _source(self) -> labelled_files.Source:
        return labelled_files.Source(self._files, self.text_field, self.label_field, self.classes)

    def check(self) -> None:
        """Refuse options that cannot be, and read every labelled record, or the supplied rater, once."""
        if bool(self._files) == (self.model is not None):
            raise ConfigError(
                "a rater is either learned from labels or supplied",
                where="ordinal_rater",
                expected="exactly one of `labelled:` and `model:`",
                fix="remove or add one of them",
            )
        if not self.embedding.rpartition(".")[0]:
            raise _cannot(self, "embedding", "`scorer.column`, the scorer that embeds the labelled texts too")
        if self.model is not None:
            self._check_supplied(self.model)
            return
        if self.head not in KINDS:
            raise _cannot(self, "head", " or ".join(KINDS))
        if self.classes is not None and not 2 <= self.classes <= labelled_files.MOST_CLASSES:
            raise _cannot(self, "classes", f"2 to {labelled_files.MOST_CLASSES}, or null")
        if not (np.isfinite(self.l2) and self.l2 >= LEAST_L2):
            raise _cannot(self, "l2", f"{LEAST_L2:g} or more; 0.001 is usual")
        if not 0 <= self.held_out < 1:
            raise _cannot(self, "held_out", "a fraction from 0 up to, not including, 1; 0.1 is usual")
        labelled_files.check(self._source)

    def _check_supplied(self, folder: Path) -> None:
        """An option that the supplied rater cannot follow would be passed over in silence."""
        for name in ("text_field", "label_field", "classes", "head", "l2", "held_out", "seed"):
            if getattr(self, name) != type(self).__dataclass_fields__[name].default:
                raise ConfigError(
                    f"`{name}` is for learning, and the rater is supplied",
                    where=f"ordinal_rater.{name}",
                    expected="none of the options of learning beside `model:`",
                    fix=f"remove `{name}:`",
                )
        _load(folder)

    def artifacts(self) -> tuple[Path, ...]:
        """The labelled documents, or the supplied rater's files."""
        return self._files if self.model is None else (self.model / REPORT, self.model / WEIGHTS)

    def sample(self) -> Sample | None:
        """An empty sample, since texts come from files; it names the embedding, which has to be made before."""
        return None if self.model is not None else Sample(0, columns=(self.embedding,))

    def uses(self) -> tuple[str, ...]:
        """The scorer of the embedding."""
        return () if self.model is not None else (self.embedding.rpartition(".")[0],)

    def reads(self, fields: Mapping[str, pa.Field]) -> None:
        """The column holds embeddings, and those that a supplied rater learned from."""
        field = fields[self.embedding]
        if not (pa.types.is_fixed_size_list(field.type) and field.type.value_type in FLOATS and field.type.list_size > 0):
            raise ConfigError(
                f"{self.embedding!r} holds {field.type}",
                where="ordinal_rater.embedding",
                expected="embeddings: fixed-size lists of float16 or float32",
                fix="name the `vector` column of an embedding scorer, as `embedding: embedding.vector`",
            )
        if self.model is not None:
            self._check_same(field, self.model, *_load(self.model))

    def _check_same(self, field: pa.Field, folder: Path, head: Head, facts: dict[str, Any]) -> None:
        """Weights for one embedding mean nothing to another."""
        here, there = model_of(field), model_behind(folder, facts["embedding_model"], str(facts.get("embedding")))
        expected, fix = (
            f"the embedding that {folder} learned from",
            "give the embedding the same `model:`, for a learned one the folder beside the rater's, or learn from `labelled:`",
        )
        where = "ordinal_rater.model"
        if field.type.list_size != head.n_dimensions:
            what = f"{self.embedding!r} has {field.type.list_size} dimensions, the rater learned from {head.n_dimensions}"
            raise ConfigError(what, where=where, expected=expected, fix=fix)
        if LEARNED in (here, there) or here is None:
            whose = "of this pipeline" if there not in (LEARNED, None) else f"that {folder} learned from"
            what = f"the embedding {whose} is not named by a model's files, and cannot be known to be the same"
            raise ConfigError(what, where=where, expected=expected, fix=fix)
        if here != there:
            what = f"{self.embedding!r} is made by the model {here}, the rater learned from {there}"
            raise ConfigError(what, where=where, expected=expected, fix=fix)

    def fit(self, sample: pa.Table, state: Path) -> None:
        """Cannot be: see ``fit_with``.

        Raises:
            ConfigError: always, since labelled texts are embedded by another scorer.
        """
        self.fit_with(sample, state, FitAid())

    def fit_with(self, sample: pa.Table, state: Path, aid: FitAid) -> None:
        """Embed the labelled texts, train both heads and write one of them, with figures of both.

        Raises:
            ConfigError: there is no scorer of the embedding.
            InputError: too few labelled texts have an embedding, or those that teach have one label only.
        """
        (lender,) = self.uses()
        if aid.scorer is None:
            raise ConfigError(
                f"labelled texts are embedded by {lender!r}, which is not here",
                where="ordinal_rater",
                expected="`fit_with` and an aid that lends it",
                fix="fit in a pipeline, or call check_scorer with `lends=`",
            )
        began = time.perf_counter()
        given = labelled_files.read(self._source)
        n_texts = len(given.texts)
        if self._most_texts is not None:
            given = given.some(self._most_texts)
        was_read = time.perf_counter()
        self._learn(given, aid.scorer(lender), aid, state)
        ended = time.perf_counter()
        self.longer = 1 + (ended - was_read) / (ended - began) * (n_texts / len(given.texts) - 1)

    def _learn(self, given: labelled_files.Labelled, lender: Scorer, aid: FitAid, state: Path) -> None:
        column = self.embedding.rpartition(".")[2]
        field = lender.outputs.field(column)
        self.reads({self.embedding: field})
        vectors_TD, known_T = _embedded(given, lender, column, aid)
        out_T = unit_interval(id_keys(self.seed, "ordinal_rater", given.doc_ids)) < self.held_out
        self._check_enough(given.counts_TK, known_T, out_T)
        teaching_T, held_T = known_T & ~out_T, known_T & out_T
        kinds = KINDS if held_T.any() else (self.head,)
        trained = {kind: train(kind, vectors_TD[teaching_T], given.counts_TK[teaching_T], self.l2) for kind in kinds}
        np.save(state / WEIGHTS, trained[self.head].head.weights, allow_pickle=False)
        facts = {
            "head": self.head,
            "classes": given.counts_TK.shape[1],
            "dimensions": int(vectors_TD.shape[1]),
            "embedding": self.embedding,
            "embedding_model": model_of(field),
            "l2": self.l2,
            "n_records": given.n_records,
            "n_texts": len(given.texts),
            "n_texts_without_embedding": int((~known_T).sum()),
            "n_texts_held_out": int(held_T.sum()),
            "n_held_out": int(given.counts_TK[held_T].sum()),
            "labels": given.counts_TK.sum(axis=0).tolist(),
            "labels_trained_on": given.counts_TK[teaching_T].sum(axis=0).tolist(),
            "heads": [_compared(found, vectors_TD[held_T], given.counts_TK[held_T]) for found in trained.values()],
        }
        (state / REPORT).write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    def _check_enough(self, counts_TK: np.ndarray, known_T: np.ndarray, out_T: np.ndarray) -> None:
        taught_K = counts_TK[known_T & ~out_T].sum(axis=0)
        n_known = int(counts_TK[known_T].sum())
        if taught_K.sum() < labelled_files.LEAST // 2 or (taught_K > 0).sum() < 2:
            raise InputError(
                f"{taught_K.sum():,} labelled documents are left to learn from, with {(taught_K > 0).sum()} different labels: "
                f"{n_known:,} of {counts_TK.sum():,} have an embedding, and {n_known - taught_K.sum():,} of these are held out",
                where=f"ordinal_rater.labelled: {', '.join(map(str, self._files))}",
                expected=f"at least {labelled_files.LEAST // 2} with two labels, and thousands for a rater worth having",
                fix="label more documents, lower `held_out`, or use an embedding that knows their words",
            )

    def fit_work(self, n_bytes: float) -> float:
        """Always the same: it does not learn from the corpus."""
        return 1.0

    def rehearsal(self) -> OrdinalRater:
        """Some of the labelled texts."""
        found = replace(self)
        found._most_texts = REHEARSED_TEXTS
        return found

    def load(self, state: Path | None) -> None:
        """Read the weights."""
        folder = self.model if self.model is not None else state
        if folder is not None:
            self._head = _load(folder)[0]

    def score(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Rate every document of the batch; null where there is no finite embedding."""
        if self._head is None:
            raise ConfigError("no rater is loaded", where="ordinal_rater", expected="`load` before `score`", fix="call load(state)")
        values_ND, known_N = vectors(batch[self.embedding])
        if values_ND.shape[1] != self._head.n_dimensions:
            raise ConfigError(
                f"{self.embedding!r} has {values_ND.shape[1]} dimensions, the rater learned from {self._head.n_dimensions}",
                where="ordinal_rater.embedding",
                expected="the embedding that it learned from",
                fix="name that one",
            )
        values_ND, known_N = _finite(values_ND, known_N)
        return pa.record_batch([pa.array(column, mask=~known_N) for column in self._head.rate(values_ND)], schema=self.outputs)


def _finite(values_ND: np.ndarray, known_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(vectors, which are known): float32 with zeros where there is no finite vector."""
    known_N = known_N & np.isfinite(values_ND).all(axis=1)
    values_ND = values_ND.astype(np.float32)
    values_ND[~known_N] = 0.0
    return values_ND, known_N


def _embedded(given: labelled_files.Labelled, lender: Scorer, column: str, aid: FitAid) -> tuple[np.ndarray, np.ndarray]:
    """The vectors of T texts (T, D) float32, and which have one (T)."""
    n, edges = len(given.texts), text_bytes(given.texts)[1]
    columns_of = {"text": given.texts, "doc_id": given.doc_ids}
    table = pa.table({name: columns_of[name] for name in lender.inputs})
    parts, start = [], 0
    while start < n:
        fits = int(np.searchsorted(edges, edges[start] + BATCH_BYTES, side="right")) - 1
        end = min(max(fits, start + 1), start + BATCH_TEXTS, n)
        batch = table.slice(start, end - start).combine_chunks().to_batches()[0]
        parts.append(_finite(*vectors(lender.score(batch)[column])))
        start = end
        if aid.tell is not None:
            aid.tell(end, n, "texts", "embedding labelled texts")
    return np.concatenate([values for values, _ in parts]), np.concatenate([known for _, known in parts])


def _compared(trained: Trained, vectors_TD: np.ndarray, counts_TK: np.ndarray) -> dict[str, Any]:
    """What a head gives held-out texts, beside their labels."""
    head = trained.head
    facts: dict[str, Any] = {"head": head.kind, "n_steps": trained.n_steps, "converged": trained.converged}
    rating_T, label_T = head.rate(vectors_TD)
    text_N, true_N = np.repeat(np.indices(counts_TK.shape).reshape(2, -1), counts_TK.reshape(-1), axis=1)
    if head.kind == "ordinal":
        facts["n_texts_out_of_order"] = head.n_out_of_order(vectors_TD)
    return facts | figures(true_N, label_T[text_N], rating_T[text_N], counts_TK.shape[1])


def _load(folder: Path) -> tuple[Head, dict[str, Any]]:
    """A rater that ``fit_with`` wrote, and its report."""
    files = LearnedFolder(folder, "learned rater", "model")
    facts = files.facts(REPORT, ("dimensions", "classes"))
    kind, n_classes, model = facts.get("head"), facts["classes"], facts.get("embedding_model", 0)
    if kind not in KINDS:
        raise files.wrong(REPORT, f"has the head {short(kind)}", " or ".join(KINDS))
    if not 2 <= n_classes <= labelled_files.MOST_CLASSES:
        raise files.wrong(REPORT, f"has classes {short(n_classes)}", f"2 to {labelled_files.MOST_CLASSES}")
    if not isinstance(model, str | None):
        raise files.wrong(REPORT, "has no embedding_model", "the name of the embedding's model, or null")
    shape = (facts["dimensions"] + 1, n_classes - (kind == "ordinal"))
    weights = files.array(WEIGHTS, shape, np.float64, finite=False)
    biases = weights[-1]
    if not np.isfinite(weights[:-1]).all() or np.isnan(biases).any() or (kind == "classifier" and not np.isfinite(biases.max())):
        raise files.wrong(WEIGHTS, "holds numbers that no head has", "finite weights; biases may be infinite for classes out of reach")
    return Head(kind, weights), facts


def _cannot(scorer: OrdinalRater, name: str, expected: str) -> ConfigError:
    return ConfigError(
        f"{name} cannot be {short(getattr(scorer, name))}", where=f"ordinal_rater.{name}", expected=expected, fix=f"change `{name}:`"
    )
