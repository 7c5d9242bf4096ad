"""The contract of mixers of documents as a suite."""

from __future__ import annotations

import pickle

import numpy as np
import pyarrow as pa

from curate.errors import CurateError
from curate.mixers.document_mixer import NO_BIN, Budget, DocumentMixer, learn_all

CAP = 4.0
TOLERANCE = 1e-6
"""Of what weights emit against what was asked for."""


def check_document_mixer(mixer: DocumentMixer, table: pa.Table, length_N: np.ndarray) -> None:
    """Raise AssertionError unless the mixer keeps the contract of ``curate.mixers.document_mixer``.

    Args:
        mixer: as built.
        table: documents it can weigh, with the columns of ``inputs``; at least 8.
        length_N: int64, of every document in the budget's unit.
    """
    mixer.check()
    missing = [name for name in mixer.inputs if name not in table.column_names]
    assert not missing, f"sample: it lacks {', '.join(missing)}, which the mixer reads"
    assert table.num_rows >= 8, f"sample: {table.num_rows} documents are too few, give at least 8"
    table = table.select(list(mixer.inputs)).combine_chunks()
    before = table.to_pydict()
    budget = Budget(0.5 * float(length_N.sum()), CAP)
    whole_N = _weights(mixer, [table], [length_N], budget, "weights")
    _sound(whole_N, table, length_N)
    _same(whole_N, _weights(mixer, [table], [length_N], budget, "pure"), "pure: the same documents weighed twice")
    assert table.to_pydict() == before, "pure: the mixer changed the table it was given"
    _any_parts(mixer, table, length_N, budget, whole_N)
    _pickled(mixer, table, length_N, budget, whole_N)
    _caps(mixer, table, length_N)
    _columns_and_bins(mixer, table, length_N, budget, whole_N)


def _weights(mixer: DocumentMixer, tables: list[pa.Table], lengths: list[np.ndarray], budget: Budget, clause: str) -> np.ndarray:
    try:
        learned = learn_all(mixer, tables, lengths, budget)
        return np.concatenate([mixer.weights(table, learned) for table in tables])
    except CurateError as error:
        raise AssertionError(f"{clause}: the mixer refused documents that it can weigh: {error}") from error


def _sound(weight_N: np.ndarray, table: pa.Table, length_N: np.ndarray) -> None:
    assert weight_N.dtype == np.float64, f"weights: they are {weight_N.dtype}, expected float64"
    assert weight_N.shape == (table.num_rows,), f"weights: their shape is {weight_N.shape}, expected ({table.num_rows},)"
    known = weight_N[~np.isnan(weight_N)]
    assert bool(np.all(np.isfinite(known))) and bool(np.all(known >= 0)), "weights: some are negative or infinite"
    assert known.sum() > 0, "weights: all are 0"


def _same(expected_N: np.ndarray, found_N: np.ndarray, clause: str) -> None:
    differ = np.flatnonzero(~((expected_N == found_N) | (np.isnan(expected_N) & np.isnan(found_N))))
    assert not len(differ), f"{clause}: document {differ[0]} weighs {found_N[differ[0]]!r}, was {expected_N[differ[0]]!r}"


def _any_parts(mixer: DocumentMixer, table: pa.Table, length_N: np.ndarray, budget: Budget, whole_N: np.ndarray) -> None:
    """The same bits however documents lie in parts, an empty part among them."""
    order = np.random.default_rng(0).permutation(table.num_rows)
    for n_parts in (2, 5):
        parts = [*np.array_split(order, n_parts), np.empty(0, np.int64)]
        found = _weights(mixer, [table.take(part) for part in parts], [length_N[part] for part in parts], budget, "parts")
        back_N = np.empty_like(found)
        back_N[order] = found
        _same(whole_N, back_N, f"parts: documents shuffled into {n_parts} parts and an empty one")


def _pickled(mixer: DocumentMixer, table: pa.Table, length_N: np.ndarray, budget: Budget, whole_N: np.ndarray) -> None:
    """Mixer and what it learned go to workers."""
    learned = learn_all(mixer, [table], [length_N], budget)
    other, sent = pickle.loads(pickle.dumps((mixer, learned)))
    _same(whole_N, other.weights(table, sent), "pickles to a worker: after a round trip")
    size = len(pickle.dumps(learned))
    assert size < 1 << 24, f"pickles to a worker: what is learned takes {size:,} bytes, expected less than 16 MiB"


def _caps(mixer: DocumentMixer, table: pa.Table, length_N: np.ndarray) -> None:
    """No weight above the cap, and a budget beyond all caps is refused."""
    for share in (0.1, 1.0, 2.0):
        weight_N = _weights(mixer, [table], [length_N], Budget(share * float(length_N.sum()), CAP), "caps")
        assert np.nanmax(weight_N) <= CAP * (1 + TOLERANCE), f"caps: a weight is {np.nanmax(weight_N)}, expected at most {CAP}"
    try:
        learn_all(mixer, [table], [length_N], Budget(10 * CAP * float(length_N.sum()), CAP))
    except CurateError:
        return
    raise AssertionError("infeasible raises: a budget of ten times what the caps allow was accepted, expected a CurateError")


def _columns_and_bins(mixer: DocumentMixer, table: pa.Table, length_N: np.ndarray, budget: Budget, whole_N: np.ndarray) -> None:
    """Columns beside weights have the stated schema; bins hold the documents that have a weight."""
    learned = learn_all(mixer, [table], [length_N], budget)
    assert mixer.budget(learned) == budget.amount, f"budget: it is {mixer.budget(learned)}, asked was {budget.amount}"
    shown = mixer.columns(table, learned)
    assert shown.schema.equals(mixer.shown, check_metadata=True), f"columns: they are\n{shown.schema}\nexpected `shown`\n{mixer.shown}"
    assert not mixer.shown or shown.num_rows == table.num_rows, f"columns: {shown.num_rows} rows, expected {table.num_rows}"
    bin_N = mixer.bins(table, learned)
    if bin_N is None:
        return
    assert bin_N.shape == (table.num_rows,), f"bins: their shape is {bin_N.shape}, expected ({table.num_rows},)"
    assert np.array_equal(bin_N == NO_BIN, np.isnan(whole_N)), "bins: documents without a weight, and no others, are in no bin"
    distinct = np.unique(bin_N[bin_N != NO_BIN])
    found = mixer.statistics(distinct, learned)
    assert found.num_rows == len(distinct), f"statistics: {found.num_rows} rows for {len(distinct)} bins"
