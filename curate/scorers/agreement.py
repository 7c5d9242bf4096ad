"""Agreement: how two scores rank the same documents, the cheap one beside the dear one.

    - agreement: {columns: [neural.bpb, ngram.bpb], leave_out: [ngram.in_fit_sample]}

Two perplexities of different models cannot be compared as numbers, their ranks can. ``fit`` learns the distribution of
both scores from a sample of their columns, without text, and writes down how well they agree; ``score`` gives every
document its place in both, so that a rule or a reader finds those the two judge differently.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.errors import ConfigError, InputError
from curate.hashing import id_halves
from curate.ranks import spearman
from curate.scorers.scorer import PickledAsBuilt, Sample, Scorer, columns

POINTS = 1001  # percentiles a table is sure to hold, so that interpolation errs by less than 0.001
LEAST = 3  # documents: ranks of two agree wholly or not at all
KEPT = 0.5  # the rate that overlaps are told for
WINDOWS = {"low": (0.0, 0.5), "medium": (0.25, 0.75), "high": (0.5, 1.0)}
REPORT = "agreement.json"
DIGITS = 9  # of the figures: sums may differ in the last bits between machines

_TABLES = "tables.npy"

_PLACES = columns(
    first=(pa.float64(), "percentile, from 0 to 1", "none"),
    second=(pa.float64(), "percentile, from 0 to 1", "none"),
    difference=(pa.float64(), "percentiles, first minus second", "none"),
)


@dataclass
class Agreement(PickledAsBuilt, Scorer):
    """Percentiles of every document in two scores, and the difference between them.

    A percentile is the mid-rank: the share of the sample below, and half of what is equal. Between values of the
    sample it is interpolated; below all of them it is 0, above all 1. Documents without one of the scores, or with one
    that is not finite, have null.

    ``agreement.json`` in the learned state has, overall and by domain: ``n`` documents, Spearman's rho from mid-ranks
    (null where a score is constant), and the overlap of the lowest, middle and highest halves: of the documents
    that one score would keep at rate 0.5, the share that the other would keep too. 0.5 is chance.

    Args:
        columns: the two scores, numbers of documents or of other scorers.
        within_domain: rank inside each domain; documents of a domain with fewer than 3 in the sample then have null.
        sample_bytes: how many bytes of text the documents have that the distributions are learned from. Of these,
            only the columns named here are read.
        leave_out: boolean columns; documents with a true one teach nothing and get null, such as those that taught
            one of the models.
    """

    columns: tuple[str, str]
    within_domain: bool = False
    sample_bytes: int = 200_000_000
    leave_out: tuple[str, ...] = ()

    outputs = _PLACES

    def __post_init__(self) -> None:
        self._tables: dict[str | None, tuple[np.ndarray, np.ndarray]] | None = None

    @property
    def inputs(self) -> tuple[str, ...]:  # type: ignore[override]
        """The two scores, the domain, and what leaves documents out."""
        return (*self.columns, "domain", *self.leave_out)

    def check(self) -> None:
        """Refuse a score beside itself, and an empty sample."""
        if self.columns[0] == self.columns[1]:
            raise ConfigError(
                f"{self.columns[0]!r} agrees with itself",
                where="agreement.columns",
                expected="two columns",
                fix="name another second column",
            )
        if self.sample_bytes <= 0:
            raise ConfigError(
                f"sample_bytes is {self.sample_bytes}", where="agreement.sample_bytes", expected="more than 0", fix="200 MB is usual"
            )

    def reads(self, fields: Mapping[str, pa.Field]) -> None:
        """Refuse columns that cannot be ranked, and others to leave documents out by than booleans."""
        for name in self.columns:
            _require_numbers(fields[name].type, name)
        for name in self.leave_out:
            _require_boolean(fields[name].type, name)

    def sample(self) -> Sample | None:
        """Documents in natural proportion, without their text."""
        return Sample(self.sample_bytes, columns=self.inputs)

    def fit(self, sample: pa.Table, state: Path) -> None:
        """Learn both distributions and tell how the scores agree.

        Raises:
            ConfigError: a column is of the wrong type.
            InputError: fewer than 3 documents of the sample have both scores.
        """
        scores_CN, known_N = self._scores(sample)
        if known_N.sum() < LEAST:
            raise InputError(
                f"only {known_N.sum():,} of {len(known_N):,} documents of the sample have both scores and are not left out",
                where=f"agreement of {self.columns[0]} and {self.columns[1]}",
                expected=f"at least {LEAST}, and thousands for percentiles worth having",
                fix="raise `sample_bytes`, or let fewer documents teach the models compared",
            )
        ids_N = id_halves(sample["doc_id"])
        # Documents of one score stand in the order of their ids, as they do where a rule cuts.
        orders_CN = np.stack([np.lexsort((ids_N[:, 1], ids_N[:, 0], scores)) for scores in scores_CN])
        by_domain = {domain: known_N & rows for domain, rows in _domains(sample["domain"])}
        facts: dict[str, Any] = {
            "columns": list(self.columns),
            "within_domain": self.within_domain,
            "kept": KEPT,
            "overall": _agreement(scores_CN, orders_CN, known_N),
            "domains": [{"domain": domain, **_agreement(scores_CN, orders_CN, rows)} for domain, rows in sorted(by_domain.items())],
        }
        wanted: dict[str | None, np.ndarray] = dict(sorted(by_domain.items())) if self.within_domain else {None: known_N}
        tables, rows = [], 0
        facts["tables"] = []
        for domain, chosen in wanted.items():
            if chosen.sum() < LEAST:
                continue
            own = [_table(scores[chosen]) for scores in scores_CN]
            facts["tables"].append({"domain": domain, "start": rows, "rows": [len(table) for table in own]})
            tables += own
            rows += sum(map(len, own))
        np.save(state / _TABLES, np.concatenate(tables or [np.empty((0, 2))]), allow_pickle=False)
        (state / REPORT).write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    def load(self, state: Path | None) -> None:
        """Read the tables."""
        if state is None:
            return
        self._tables = {}
        whole = np.load(state / _TABLES, allow_pickle=False)
        for entry in json.loads((state / REPORT).read_text(encoding="utf-8"))["tables"]:
            start, (n_first, n_second) = entry["start"], entry["rows"]
            both = whole[start : start + n_first], whole[start + n_first : start + n_first + n_second]
            self._tables[entry["domain"]] = both

    def score(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Place every document in both distributions."""
        if self._tables is None:
            raise ConfigError("no distribution is loaded", where="agreement", expected="`load` before `score`", fix="call load(state)")
        scores_CN, known_N = self._scores(batch)
        placed_CN = np.zeros_like(scores_CN)
        has_table_N = np.zeros(len(known_N), bool)
        groups = _domains(batch["domain"]) if self.within_domain else [(None, known_N)]
        for domain, rows in groups:
            if domain in self._tables:
                chosen = np.flatnonzero(known_N & rows)
                has_table_N[chosen] = True
                for c, table in enumerate(self._tables[domain]):
                    placed_CN[c, chosen] = np.interp(scores_CN[c, chosen], table[:, 0], table[:, 1], left=0.0, right=1.0)
        made = [pa.array(values, mask=~has_table_N) for values in (*placed_CN, placed_CN[0] - placed_CN[1])]
        return pa.record_batch(made, schema=self.outputs)

    def _scores(self, table: pa.Table | pa.RecordBatch) -> tuple[np.ndarray, np.ndarray]:
        """Both scores as (2, N) float64, and which documents have both and are not left out."""
        scores_CN = np.stack([_numbers(table[name], name) for name in self.columns])
        known_N = np.isfinite(scores_CN).all(axis=0)
        for name in self.leave_out:
            _require_boolean(table[name].type, name)
            known_N &= ~np.asarray(pc.fill_null(table[name], False))
        return scores_CN, known_N


def _require_numbers(kind: pa.DataType, name: str) -> None:
    if not (pa.types.is_floating(kind) or pa.types.is_integer(kind)):
        raise ConfigError(
            f"{name!r} is {kind} and cannot be ranked", where="agreement.columns", expected="a column of numbers", fix="name another"
        )


def _require_boolean(kind: pa.DataType, name: str) -> None:
    if not pa.types.is_boolean(kind):
        raise ConfigError(
            f"{name!r} is {kind} and says of no document whether to leave it out",
            where="agreement.leave_out",
            expected="a boolean column",
            fix="name one, for instance <scorer>.in_fit_sample",
        )


def _numbers(column: pa.Array | pa.ChunkedArray, name: str) -> np.ndarray:
    """A score as N float64, NaN where it is null."""
    _require_numbers(column.type, name)
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    return column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)


def _domains(column: pa.Array | pa.ChunkedArray) -> list[tuple[str, np.ndarray]]:
    """Every domain of a dictionary column with the rows of it, as N bool."""
    if isinstance(column, pa.ChunkedArray):
        column = column.unify_dictionaries().combine_chunks()
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    indices = column.indices.to_numpy(zero_copy_only=False)
    names = column.dictionary.to_pylist()
    return [(names[i], indices == i) for i in np.unique(indices).tolist()]


def _agreement(scores_CN: np.ndarray, orders_CN: np.ndarray, rows: np.ndarray) -> dict[str, Any]:
    """The figures of some of the documents.

    Args:
        scores_CN: both scores of the sample.
        orders_CN: the sample's rows by each score.
        rows: which of the sample, N bool.
    """
    n = int(rows.sum())
    if n < LEAST:
        return {"n": n, "spearman": None, "overlap": None}
    place_C = []
    for order in orders_CN:
        ranked = order[rows[order]]
        place = np.empty(len(rows))
        place[ranked] = (np.arange(n) + 0.5) / n
        place_C.append(place[rows])
    overlap = {}
    for window, (low, high) in WINDOWS.items():
        kept = [(place >= low) & (place < high) for place in place_C]
        overlap[window] = round(float((kept[0] & kept[1]).sum() / kept[0].sum()), DIGITS)
    rho = spearman(*scores_CN[:, rows])
    return {"n": n, "spearman": None if rho is None else round(rho, DIGITS), "overlap": overlap}


def _table(values_N: np.ndarray) -> np.ndarray:
    """Distinct values and their mid-rank percentiles, (R, 2); of many, those on both sides of POINTS even percentiles.

    So a value that many documents share keeps its own place and those of its neighbours.
    """
    distinct, counts = np.unique(values_N, return_counts=True)
    places = (np.cumsum(counts) - counts / 2) / len(values_N)
    if len(distinct) > POINTS:
        above = np.searchsorted(places, np.linspace(places[0], places[-1], POINTS))
        kept = np.unique(np.clip([above - 1, above], 0, len(distinct) - 1))
        distinct, places = distinct[kept], places[kept]
    return np.column_stack([distinct, places])
