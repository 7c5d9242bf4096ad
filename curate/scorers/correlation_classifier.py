"""From groups of pages to pages: a fastText classifier of whether a page's group was given weight.

Perplexity correlations weigh whole groups, such as web domains, of which a corpus has many that no model was asked
about. Thrush et al. (arXiv 2409.05816) therefore train a classifier on the pages of weighed groups, and rank every page
of the corpus by it up to a budget of tokens: ``select: [{column: pages.score, window: high, amount: 10M, by: tokens}]``.
Its labels are those of groups and not of pages, and most pages of a good group look like those of others: at the
threshold 0.5 the published classifiers find from 2 to 75 of 100 pages. It is a score to rank by.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate import fit_ids
from curate.correlation.weights import by_of, of_target
from curate.errors import ConfigError, InputError
from curate.ranks import mid_ranks
from curate.scorers.fasttext_model import Predictor, flat_lines
from curate.scorers.fasttext_options import FastTextOptions
from curate.scorers.fasttext_training import Examples, from_table, split, train
from curate.scorers.scorer import FitAid, Sample, Scorer, columns

MODEL_NAME, REPORT_NAME, TABLE_NAME = "model.bin", "report.json", "table.parquet"
INCLUDE, EXCLUDE = "include", "exclude"
CUT = 0.5
MOST_TOLD = 1000  # values of a column that the report names, those with the most pages


@dataclass
class CorrelationClassifier(FastTextOptions, Scorer):
    """P(include): how much a page reads like those of groups with a weight above 0.

    Null, empty and blank pages, and those without a word the model knows, have no score. Pages of the sample whose group
    has no weight are not learned from, and are counted. fastText adds 1e-5 to every probability; clipped to 1 here.

    Columns: ``score`` float32, ``in_fit_sample``: whether the page (by content) was trained on.

    Args:
        weights: a supplied table of weights, or the folder with it, as ``correlate:`` writes them; default: the pipeline's.
        target: whose weights; may be left out where the table has one target.
        by: the column whose values are the groups, the same as of the weights.
        within: measure inside each value of this column too: a classifier that only tells languages apart does well
            overall, and at an area of 0.5 inside each language.
        bucket: rows for hashed bigrams; 2,000,000 of them make a model of 800 MB. This and the others are fastText's own, as in
            the paper; see ``FastTextOptions``, which also has how much text is learned from and held out.
    """

    weights: Path | None = None
    target: str | None = None
    by: str = "domain"
    within: str = ""
    bucket: int = 2_000_000

    inputs = ("text", "doc_id")
    outputs = columns(score=(pa.float32(), "probability", "higher"), in_fit_sample=(pa.bool_(), "boolean", "none"))

    def check(self) -> None:
        """See Scorer.check; of a supplied table, whether it is one of weights, of ``by``, and has the target."""
        self.check_options()
        if self.weights is not None:
            self._weighed(_stated(self._file))

    def reads(self, fields: Mapping[str, pa.Field]) -> None:
        """See Scorer.reads."""
        for option, name in (("by", self.by), ("within", self.within)):
            kind = fields[name].type if name else pa.string()
            kind = kind.value_type if pa.types.is_dictionary(kind) else kind
            if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_integer(kind)):
                raise ConfigError(
                    f"{name!r} is {fields[name].type}", where=f"`{option}`", expected="a column of strings or whole numbers",
                    fix="name `domain`, or another column of strings",
                )  # fmt: skip

    def reads_weights(self) -> str | None:
        """``by``, unless a table is supplied."""
        return self.by if self.weights is None else None

    def artifacts(self) -> tuple[Path, ...]:
        """The supplied table."""
        return () if self.weights is None else (self._file,)

    @property
    def _file(self) -> Path:
        path = Path(cast(Path, self.weights))
        return path / TABLE_NAME if path.is_dir() else path

    def sample(self) -> Sample | None:
        """Pages with their groups."""
        wanted = ("text", self.by, *((self.within,) if self.within else ()))
        return Sample(self.sample_bytes, self.per_domain, tuple(dict.fromkeys(wanted)))

    def fit(self, sample: pa.Table, state: Path) -> None:
        """As ``fit_with``, for a supplied table."""
        self.fit_with(sample, state, FitAid())

    def fit_with(self, sample: pa.Table, state: Path, aid: FitAid) -> None:
        """Train, measure on the held-out pages, and write ``model.bin``, ``report.json`` and ``fit_ids.npy``.

        Raises:
            ConfigError: no weights, none for the target, or of another column; fastText fails with these options.
            InputError: the sample has no page of a group with weight, or none of one without.
        """
        if self.weights is None and aid.weights is None:
            raise ConfigError(
                "there are no weights of groups to learn from", expected="a section `correlate:`, or `weights:`", fix="add one of the two"
            )
        table = aid.weights() if self.weights is None and aid.weights is not None else _read(self._file)
        weights = self._weighed(table)
        labels = labels_of(_as_text(sample[self.by]), weights)
        self._check_both(labels, sample)
        known = pc.is_valid(labels)
        labelled = sample.select(["doc_id", "text"]).append_column("label", labels).filter(known)
        training, held_out = split(from_table(labelled, "text", "label", None, "the corpus sample"), self.held_out, self.seed)
        train(training, self.library_options(), state / MODEL_NAME)
        found = {
            "labels": "whether the weight of a page's group is above 0; of its quality they say nothing",
            "by": self.by,
            "target": weights["target"][0].as_py() if len(weights) else self.target,
            "pages_trained_on": training.counts(),
            "pages_held_out": held_out.counts(),
            "pages_blank": training.n_skipped,
            "pages_of_groups_without_weight": _counted(_as_text(sample[self.by]).filter(pc.invert(known)).to_pylist()),
            "held_out_against_labels_of_groups": self._measured(Predictor(state / MODEL_NAME), held_out, sample),
        }
        (state / REPORT_NAME).write_text(json.dumps(found, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
        fit_ids.save(training.ids, state)

    def _weighed(self, table: pa.Table) -> pa.Table:
        """The rows of the target, of a table whose groups are values of ``by``."""
        where = "the pipeline's weights" if self.weights is None else str(self._file)
        weights = of_target(table, self.target, where)
        if by_of(table) != self.by:
            raise ConfigError(
                f"the weights are of values of {by_of(table)!r}, and `by` is {self.by!r}",
                where=where,
                expected="groups that are values of one column",
                fix=f"set `by: {by_of(table)}`, or name another table",
            )
        return weights

    def _check_both(self, labels: pa.ChunkedArray, sample: pa.Table) -> None:
        """Raise InputError unless the sample has pages of groups with weight and of groups without."""
        found = Counter(labels.to_pylist())
        for label, what in ((INCLUDE, "with a weight above 0"), (EXCLUDE, "with weight 0")):
            if not found[label]:
                raise InputError(
                    f"no page of the sample is of a group {what}",
                    where=f"{sample.num_rows:,} pages by {self.by!r}: {found[INCLUDE]:,} included, {found[EXCLUDE]:,} excluded, "
                    f"{found[None]:,} of groups without a weight",
                    expected="pages of both",
                    fix="raise `sample_bytes`, or choose a projection or filter_ratio that leaves some groups out and some in",
                )

    def _measured(self, predictor: Predictor, held_out: Examples, sample: pa.Table) -> dict[str, Any]:
        """Figures of N held-out pages, overall and inside the values of ``within``."""
        score_N, absent_N = _included(predictor, held_out.text)
        score_N = np.where(absent_N, -1.0, score_N)  # what has no score is not kept: it ranks below all
        truth_N = np.array([row == (INCLUDE,) for row in held_out.labels], dtype=bool)
        found: dict[str, Any] = {**figures(score_N, truth_N), "n_without_score": int(absent_N.sum())}
        if not self.within:
            return found
        value_of = dict(zip(sample["doc_id"].to_pylist(), _as_text(sample[self.within]).to_pylist(), strict=True))
        value_N = np.array([value_of[page] or "null" for page in held_out.ids.to_pylist()], dtype=object)
        inside = {value: value_N == value for value in _counted(value_N.tolist())["largest"]}
        each = {value: figures(score_N[rows], truth_N[rows]) for value, rows in inside.items()}
        pairs = {value: row["n_include"] * row["n_exclude"] for value, row in each.items()}
        area = sum(each[value]["roc_auc"] * n for value, n in pairs.items() if n)
        return found | {"within": self.within, "inside_each": each, "roc_auc_inside": area / sum(pairs.values()) if area else None}

    def load(self, state: Path | None) -> None:
        """See Scorer.load."""
        if state is None:
            raise ConfigError("the classifier was trained nowhere", expected="the state written by `fit`", fix="run `fit` first")
        self._predictor = Predictor(state / MODEL_NAME)
        self._fit_ids = fit_ids.FitIds(state)

    def score(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """See Scorer.score."""
        score_N, absent_N = _included(self._predictor, batch["text"])
        seen = pa.array(self._fit_ids.among(batch["doc_id"]), mask=~pc.is_valid(batch["text"]).to_numpy(zero_copy_only=False))
        return pa.record_batch([pa.array(score_N, pa.float32(), mask=absent_N), seen], schema=self.outputs)


def labels_of(groups: pa.ChunkedArray, weights: pa.Table) -> pa.ChunkedArray:
    """``include`` or ``exclude`` for the groups (N) of pages: whether the weight is above 0; null where there is none.

    Args:
        weights: of one target, a row for each group.

    Raises:
        InputError: a group has several weights.
    """
    known, several = weights["group"].combine_chunks(), Counter(weights["group"].to_pylist()).most_common(1)
    if several and several[0][1] > 1:
        raise InputError(
            f"the group {several[0][0]!r} has {several[0][1]} weights", expected="one for each group and target", fix="mend the table"
        )
    weight = weights["weight"].combine_chunks()
    weight = pc.if_else(pc.is_nan(weight), None, weight)
    label = pc.if_else(pc.greater(weight, 0), INCLUDE, EXCLUDE)
    return pa.chunked_array([label.take(pc.index_in(groups, value_set=known).combine_chunks())], pa.string())


def figures(score_N: np.ndarray, truth_N: np.ndarray) -> dict[str, Any]:
    """How well scores (N) find the true ones of N pages (bool); null where there is nothing to count.

    Precision, recall and F1 of the pages above 0.5, and the area under the receiver operating characteristic: the
    chance that an included page has a higher score than an excluded one, equal scores half (Mann and Whitney 1947).
    """
    above_N = score_N > CUT
    n_include, n_above, n_both = int(truth_N.sum()), int(above_N.sum()), int((above_N & truth_N).sum())
    n_exclude = len(truth_N) - n_include
    area = None
    if n_include and n_exclude:
        # mid_ranks begin at 0.5, so that the least sum of n ranks is n²/2.
        area = (float(mid_ranks(score_N)[truth_N].sum()) - n_include**2 / 2) / (n_include * n_exclude)
    return {
        "n_include": n_include,
        "n_exclude": n_exclude,
        "precision_above_0.5": n_both / n_above if n_above else None,
        "recall_above_0.5": n_both / n_include if n_include else None,
        "f1_above_0.5": 2 * n_both / (n_above + n_include) if n_above + n_include else None,
        "roc_auc": area,
    }


def _included(predictor: Predictor, text: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """P(include) of N pages (N) float32, and which have none (N) bool."""
    lines, blank = flat_lines(text)
    labels, probabilities = predictor.top(lines, -1)
    dense = predictor.matrix(labels, probabilities)
    unknown = np.fromiter((not row for row in labels), dtype=bool, count=len(labels))
    return dense[:, predictor.file.labels.index(INCLUDE)], blank | unknown


def _counted(values: list[str | None]) -> dict[str, Any]:
    """How many there are, of how many values, and how many of the most frequent ones; null counts as a value."""
    found = sorted(Counter("null" if value is None else value for value in values).items(), key=lambda item: (-item[1], item[0]))
    return {"n_pages": len(values), "n_values": len(found), "largest": dict(found[:MOST_TOLD])}


def _as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Strings or whole numbers as tables of weights name them."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    return column.cast(pa.string())


def _read(path: Path, only: list[str] | None = None) -> pa.Table:
    """A supplied table, or those of these columns that it has."""
    try:
        return pq.read_table(path, columns=None if only is None else [name for name in pq.read_schema(path).names if name in only])
    except FileNotFoundError:
        raise InputError(
            "the table of weights does not exist", where=str(path), expected="a Parquet file", fix="change `weights:`"
        ) from None
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(
            f"the table of weights cannot be read: {error}", where=str(path), expected="a Parquet file", fix="write it again"
        ) from None


def _stated(path: Path) -> pa.Table:
    """A table with the columns of a supplied one, and one row for each target, otherwise empty: enough to check it."""
    targets = _read(path, ["target"])
    schema = pq.read_schema(path)
    if not targets.num_columns:
        return schema.empty_table()
    named = targets["target"].unique()
    blank = [named if field.name == "target" else pa.nulls(len(named), field.type) for field in schema]
    return pa.table(blank, names=schema.names).replace_schema_metadata(schema.metadata)
