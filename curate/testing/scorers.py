"""The contract of scorers as a suite."""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.documents import DOMAIN, doc_ids, text_sizes
from curate.scorers.scorer import FitAid, Scorer

DIRECTIONS = {b"higher", b"lower", b"none"}
ODD_TEXTS = (
    "\ufeffbyte order mark",
    "e\u0301 e\u0327 combining",
    "👩‍👩‍👧‍👦 family",
    "\u202eright to left\u202c",
    "a\0b null",
    "\r\n\v\f\u0085\u2028 ends",
    "𝔘𝔫𝔦",
    "\ufffd\uffff",
    "</s> __label__x <s>",
)


def sample_documents(n_documents: int = 48) -> pa.Table:
    """A small documents table made from a counter: three domains with vocabularies of their own, some copies."""
    subjects = {
        "cooking": "stir the onion until it is golden then add flour and butter to the warm pan",
        "law": "the court holds that section seven of the act applies to any party under this contract",
        "code": "def value ( self ) : return self . table [ key ] if key in self . table else None",
    }
    names = list(subjects)
    texts, domains = [], []
    for i in range(n_documents):
        words = subjects[names[i % 3]].split()
        kind = i % 36  # the rest are exact copies
        line = " ".join(words[(kind * 5 + j * (1 + kind % 4)) % len(words)] for j in range(5 + (kind * 7) % 23))
        texts.append(f"{line}.\nPart {kind}.")
        domains.append(names[i % 3])
    text = pa.array(texts, pa.large_string())
    return pa.table(
        {
            "doc_id": doc_ids(text),
            "text": text,
            "domain": pa.array(domains).dictionary_encode().cast(DOMAIN),
            "n_bytes": text_sizes(text),
            "source": pa.array(["sample"] * n_documents),
            "source_row": pa.array(range(n_documents), pa.int64()),
        }
    )


@dataclass
class _Case:
    """One scorer under test: how to make a fresh one, and the documents it is tried on."""

    pickled: bytes
    table: pa.Table
    state: Path | None
    tolerance: float

    def fresh(self) -> Scorer:
        """A loaded scorer that has seen nothing, as a new worker would have it."""
        scorer: Scorer = pickle.loads(self.pickled)
        scorer.load(self.state)
        return scorer

    def batch(self, rows: list[int] | None = None) -> pa.RecordBatch:
        """The input columns of these rows (all of them by default) as one batch."""
        scorer: Scorer = pickle.loads(self.pickled)
        table = self.table.select(list(scorer.inputs))
        return _one_batch(table if rows is None else table.take(pa.array(rows, pa.int64())))

    def with_texts(self, texts: list[str | None]) -> pa.RecordBatch:
        """The first rows with other texts and the doc_ids that belong to them."""
        rows = [i % self.table.num_rows for i in range(len(texts))]
        batch = self.batch(rows)
        text = pa.array(texts, pa.large_string())
        changed = {"text": text, "doc_id": doc_ids(pc.fill_null(text, ""))}
        arrays = [changed.get(name, batch[name]) for name in batch.schema.names]
        return pa.record_batch(arrays, names=batch.schema.names)


def check_scorer(
    scorer: Scorer, sample: pa.Table | None = None, *, tolerance: float = 0.0, lends: Mapping[str, Scorer] | None = None
) -> None:
    """Raise AssertionError unless the scorer keeps the contract of ``curate.scorers.scorer``.

    Args:
        scorer: as built, not loaded.
        sample: documents to try it on, with every column it reads (``score_name.column`` under that name);
            None for ``sample_documents()``.
        tolerance: relative difference allowed between batches of different make-up; 0 asks for equal bits,
            which a neural model run in padded batches cannot give.
        lends: the scorers that it ``uses`` while it fits, loaded, by name.
    """
    lent = dict(lends or {})
    lacking = [name for name in scorer.uses() if name not in lent]
    assert not lacking, f"uses: it runs {', '.join(lacking)} while it fits; give check_scorer these with `lends`"
    table = sample_documents() if sample is None else sample
    wanted = _sampled_columns(scorer)
    missing = [name for name in dict.fromkeys((*scorer.inputs, *wanted)) if name not in table.column_names]
    assert not missing, f"sample: it lacks {', '.join(missing)}; give check_scorer a sample with the columns the scorer reads"
    assert table.num_rows >= 4, f"sample: {table.num_rows} documents are too few, give at least 4"
    scorer.check()
    try:
        pickled = pickle.dumps(scorer)
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        raise AssertionError(f"pickles to a worker: the scorer cannot be pickled: {error}") from error
    with tempfile.TemporaryDirectory(prefix="curate-contract-") as folder:
        state = _fitted(pickled, table.select(list(wanted)) if wanted else None, Path(folder), FitAid(scorer=lent.__getitem__))
        case = _Case(pickled, table, state, tolerance)
        for clause in _SCORER_CLAUSES:
            clause(case)


def _sampled_columns(scorer: Scorer) -> tuple[str, ...]:
    sample = scorer.sample()
    return () if sample is None else tuple(dict.fromkeys(("doc_id", *sample.columns)))


def _fitted(pickled: bytes, sample: pa.Table | None, folder: Path, aid: FitAid) -> Path | None:
    """The state ``fit`` writes; AssertionError when it writes other bytes the second time."""
    if sample is None:
        return None
    states = []
    for name in ("first", "second"):
        state = folder / name
        state.mkdir()
        before = _copied(sample)
        pickle.loads(pickled).fit_with(sample, state, aid)
        assert sample.equals(before), "fit: it changed the sample"
        states.append({path.relative_to(state).as_posix(): path.read_bytes() for path in sorted(state.rglob("*")) if path.is_file()})
    first, second = states
    assert first.keys() == second.keys(), f"fit determinism: it wrote {sorted(first)}, then {sorted(second)}"
    for name in first:
        assert first[name] == second[name], f"fit determinism: {name} differs between two fits on one sample"
        assert not _is_pickle(first[name]), f"fit: {name} is a pickle, which runs code when it is read"
    return folder / "first"


def _is_pickle(content: bytes) -> bool:
    return len(content) > 2 and content[0] == 0x80 and content[1] in range(2, 6) and content.endswith(b".")


def _one_batch(table: pa.Table) -> pa.RecordBatch:
    combined = table.unify_dictionaries().combine_chunks()
    batches = combined.to_batches()
    return batches[0] if batches else pa.RecordBatch.from_pylist([], schema=table.schema)


def _copied(table: pa.Table) -> pa.Table:
    """The table through IPC: it shares no memory, so that a write into the buffers of the original shows."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return pa.ipc.open_stream(sink.getvalue()).read_all()


def _schema_and_rows(case: _Case) -> None:
    scorer, batch = case.fresh(), case.batch()
    for field in scorer.outputs:
        metadata = field.metadata or {}
        assert metadata.get(b"unit"), f"metadata: output {field.name!r} states no unit; build `outputs` with columns(...)"
        direction = metadata.get(b"direction")
        assert direction in DIRECTIONS, f"metadata: output {field.name!r} has direction {direction!r}, expected higher, lower or none"
    found = scorer.score(batch)
    assert isinstance(found, pa.RecordBatch), f"schema: score returned a {type(found).__name__}, expected a pyarrow RecordBatch"
    same = found.schema.equals(scorer.outputs, check_metadata=True)
    assert same, f"schema: score returned\n{found.schema}\nexpected `outputs`\n{scorer.outputs}"
    assert found.num_rows == batch.num_rows, f"row count: {batch.num_rows} documents in, {found.num_rows} rows out"
    found.validate(full=True)


def _input_not_mutated(case: _Case) -> None:
    batch = case.batch()
    before = _copied(pa.Table.from_batches([batch]))
    case.fresh().score(batch)
    assert pa.Table.from_batches([batch]).equals(before), "input not mutated: score changed the batch it was given"


def _repeatable(case: _Case) -> None:
    batch = case.batch()
    scorer = case.fresh()
    first = scorer.score(batch)
    _same(first, scorer.score(batch), 0.0, "independent of earlier batches: the same batch scored twice")
    busy = case.fresh()
    busy.score(case.batch([case.table.num_rows - 1, 0, 0]))
    _same(first, busy.score(batch), 0.0, "independent of earlier batches: after another batch")


def _batch_split(case: _Case) -> None:
    n = case.table.num_rows
    whole = case.fresh().score(case.batch())
    for size in (1, 3, max(4, n // 2)):
        scorer = case.fresh()
        parts = [scorer.score(case.batch(list(range(start, min(start + size, n))))) for start in range(0, n, size)]
        joined = _one_batch(pa.Table.from_batches(parts))
        _same(whole, joined, case.tolerance, f"batch-split invariance: in batches of {size}")
    middle = case.fresh().score(case.batch().slice(1, n - 2))
    _same(whole.slice(1, n - 2), middle, case.tolerance, "batch-split invariance: as a slice with an offset")


def _permutation(case: _Case) -> None:
    order = np.random.default_rng(0).permutation(case.table.num_rows).tolist()
    whole = case.fresh().score(case.batch())
    shuffled = case.fresh().score(case.batch(order))
    _same(whole.take(pa.array(order, pa.int64())), shuffled, case.tolerance, "permutation equivariance: rows in another order")


def _empty_batch(case: _Case) -> None:
    scorer = case.fresh()
    found = scorer.score(case.batch([]))
    assert found.num_rows == 0, f"empty batch: {found.num_rows} rows out of none"
    assert found.schema.equals(scorer.outputs, check_metadata=True), "empty batch: the schema is not `outputs`"


def _null_text(case: _Case) -> None:
    if "text" not in pickle.loads(case.pickled).inputs:
        return
    text = case.table["text"].to_pylist()[:2]
    found = _scored(case, [text[0], None, text[1]], "null text")
    for name, column in zip(found.schema.names, found.columns, strict=True):
        measured = not pa.types.is_boolean(column.type)
        assert not (measured and column[1].is_valid), f"null text: column {name!r} is {column[1]}, expected null"
    alone = case.fresh().score(case.with_texts([text[0]]))
    _same(alone, found.slice(0, 1), case.tolerance, "null text: a document beside it")


def _hard_texts(case: _Case) -> None:
    if "text" not in pickle.loads(case.pickled).inputs:
        return
    _scored(case, ["", "a", " \n\t "], "empty text")
    _scored(case, ["word " * 40_000, "x" * 100_000, "a"], "very long text")
    _scored(case, list(ODD_TEXTS), "odd unicode")


def _scored(case: _Case, texts: list[str | None], clause: str) -> pa.RecordBatch:
    """Scores of these texts; AssertionError when they raise or rows are lost."""
    try:
        found = case.fresh().score(case.with_texts(texts))
    except Exception as error:
        raise AssertionError(f"{clause}: score raised {type(error).__name__}: {error}") from error
    assert found.num_rows == len(texts), f"{clause}: {len(texts)} documents in, {found.num_rows} rows out"
    found.validate(full=True)
    return found


def _pickled_worker(case: _Case) -> None:
    again = pickle.dumps(pickle.loads(case.pickled))
    second = _Case(again, case.table, case.state, case.tolerance)
    _same(case.fresh().score(case.batch()), second.fresh().score(case.batch()), 0.0, "pickles to a worker: after a round trip")


_SCORER_CLAUSES: tuple[Callable[[_Case], None], ...] = (
    _schema_and_rows,
    _input_not_mutated,
    _repeatable,
    _batch_split,
    _permutation,
    _empty_batch,
    _null_text,
    _hard_texts,
    _pickled_worker,
)


def _same(expected: pa.RecordBatch, found: pa.RecordBatch, tolerance: float, clause: str) -> None:
    """Raise AssertionError naming the first column and row that differ."""
    assert found.num_rows == expected.num_rows, f"{clause}: {expected.num_rows} rows became {found.num_rows}"
    for name in expected.schema.names:
        pairs = zip(expected[name].to_pylist(), found[name].to_pylist(), strict=True)
        for row, (a, b) in enumerate(pairs):
            assert _close(a, b, tolerance), f"{clause}: column {name!r}, row {row} is {b!r}, was {a!r}"


def _close(a: Any, b: Any, tolerance: float) -> bool:
    if isinstance(a, float) and isinstance(b, float):
        both_nan = a != a and b != b
        return both_nan or a == b or abs(a - b) <= tolerance * max(abs(a), abs(b))
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(_close(x, y, tolerance) for x, y in zip(a, b, strict=True))
    return bool(a == b)
