"""Packing: hand-worked rows, every token accounted for, documents restored from the starts."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.documents import DOC_ID
from curate.errors import ConfigError, IntegrityError
from curate.packing import PACKED, Packer, pack

SEPARATOR = 0
documents = st.lists(st.lists(st.integers(0, 50), max_size=30), max_size=25)


def arrays(docs: list[list[int]], first: int = 0) -> tuple[np.ndarray, np.ndarray, pa.Array]:
    ids = np.array([token for doc in docs for token in doc], dtype=np.int32)
    offsets = np.cumsum([0, *map(len, docs)])
    return ids, offsets, pa.array([(first + i).to_bytes(16, "big") for i in range(len(docs))], DOC_ID)


def unpacked(rows: list[dict[str, list]]) -> dict[bytes, list[int]]:
    """Tokens of every document, put together from its pieces token by token; checks that pieces join."""
    found: dict[bytes, list[int]] = {}
    for row in rows:
        ends = [*row["doc_starts"][1:], len(row["input_ids"])]
        for doc, start, end in zip(row["doc_ids"], row["doc_starts"], ends, strict=True):
            assert len(found.setdefault(doc, [])) == max(-start, 0)
            found[doc] += row["input_ids"][max(start, 0) : end]
    return found


def test_by_hand() -> None:
    rows, counts = pack(*arrays([[1, 2, 3], [], [4, 5, 6, 7]]), sequence_length=4, separator=SEPARATOR, remainder="keep")
    a, b, c = (i.to_bytes(16, "big") for i in range(3))
    assert rows.to_pylist() == [
        {"input_ids": [1, 2, 3, 0], "doc_ids": [a], "doc_starts": [0]},
        {"input_ids": [0, 4, 5, 6], "doc_ids": [b, c], "doc_starts": [0, 1]},
        {"input_ids": [7, 0], "doc_ids": [c], "doc_starts": [-3]},
    ]
    assert (counts.n_documents, counts.tokens_in, counts.n_rows, counts.tokens_out, counts.tokens_dropped) == (3, 10, 3, 10, 0)
    dropped, counts = pack(*arrays([[1, 2, 3], [], [4, 5, 6, 7]]), sequence_length=4, separator=SEPARATOR)
    assert dropped == rows.slice(0, 2)
    assert (counts.n_rows, counts.tokens_out, counts.tokens_dropped) == (2, 8, 2)


def test_a_document_longer_than_many_rows() -> None:
    rows, _ = pack(*arrays([list(range(1, 12))]), sequence_length=3, separator=SEPARATOR)
    assert rows["doc_starts"].to_pylist() == [[0], [-3], [-6], [-9]]
    assert rows["input_ids"].to_pylist()[-1] == [10, 11, 0]


@settings(max_examples=200, deadline=None)
@given(docs=documents, length=st.integers(1, 40))
def test_kept_rows_restore_the_documents(docs: list[list[int]], length: int) -> None:
    rows, counts = pack(*arrays(docs), sequence_length=length, separator=SEPARATOR, remainder="keep")
    assert rows.schema == PACKED
    assert unpacked(rows.to_pylist()) == {i.to_bytes(16, "big"): [*doc, SEPARATOR] for i, doc in enumerate(docs)}
    stream = [token for doc in docs for token in [*doc, SEPARATOR]]
    assert rows["input_ids"].to_pylist() == [stream[i : i + length] for i in range(0, len(stream), length)]
    assert counts.tokens_in == counts.tokens_out == len(stream)


@settings(max_examples=200, deadline=None)
@given(docs=documents, length=st.integers(1, 40), cuts=st.lists(st.integers(0, 25), max_size=5), per_batch=st.integers(1, 5))
def test_rows_do_not_depend_on_how_documents_come(docs: list[list[int]], length: int, cuts: list[int], per_batch: int) -> None:
    whole, counts = pack(*arrays(docs), sequence_length=length, separator=SEPARATOR)
    packer = Packer(length, SEPARATOR, rows_per_batch=per_batch)
    edges = sorted({0, len(docs), *(min(cut, len(docs)) for cut in cuts)})
    batches = [b for a, z in zip(edges[:-1], edges[1:], strict=True) for b in packer.add(*arrays(docs[a:z], first=a))]
    assert all(batch.num_rows == per_batch for batch in batches)
    batches += packer.finish()
    assert pa.Table.from_batches(batches, schema=PACKED).combine_chunks() == whole.combine_chunks()
    assert packer.counts == counts
    assert counts.tokens_in == sum(len(doc) + 1 for doc in docs) == counts.tokens_out + counts.tokens_dropped
    assert counts.tokens_dropped < length
    assert counts.n_rows == whole.num_rows
    assert counts.tokens_out == whole.num_rows * length


def test_repeated_documents_stay_apart() -> None:
    ids, offsets, _ = arrays([[1], [1], [1]])
    same = pa.array([b"x" * 16] * 3, DOC_ID)
    rows, _ = pack(ids, offsets, same, sequence_length=3, separator=SEPARATOR)
    assert rows["doc_starts"].to_pylist() == [[0, 2], [-1, 1]]


def test_sliced_ids_and_other_integers() -> None:
    ids, offsets, doc_ids = arrays([[1, 2], [3]])
    expected, _ = pack(ids, offsets, doc_ids, sequence_length=2, separator=9, remainder="keep")
    padded = pa.concat_arrays([doc_ids, doc_ids]).slice(2, 2)
    assert pack(ids.astype(np.uint32), offsets.astype(np.int32), padded, sequence_length=2, separator=9, remainder="keep")[0] == expected


def test_arrays_that_do_not_fit() -> None:
    ids, offsets, doc_ids = arrays([[1, 2], [3]])
    wrong_offsets = (offsets[:-1], offsets + 1, offsets[[0, 2, 1]])
    for wrong in [(ids[:-1], offsets, doc_ids), *((ids, other, doc_ids) for other in wrong_offsets)]:
        with pytest.raises(IntegrityError, match="do not belong together"):
            Packer(4, SEPARATOR).add(*wrong)


@pytest.mark.parametrize(
    "wrong", [{"sequence_length": 0}, {"separator": -1}, {"remainder": "pad"}, {"rows_per_batch": 0}, {"rows_per_batch": 2**30}]
)
def test_impossible_arguments(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        Packer(**{"sequence_length": 4, "separator": 0, **wrong})  # type: ignore[arg-type]
