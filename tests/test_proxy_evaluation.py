"""What a model makes of documents, summed by domain, against a plain loop over them."""

from __future__ import annotations

import math
from typing import Any

import pyarrow as pa
import pytest
import torch
from causal_models import plain_nats
from proxy_training import START, documents, settings, tiny_shapes, tokenizer

from curate.proxy import evaluate, new_model
from pipelines import texts

pytestmark = pytest.mark.usefixtures(tiny_shapes.__name__)


def uneven() -> tuple[Any, pa.Table]:
    """A model with an opinion, and documents of two domains, with empty and missing ones, some longer than a window."""
    made = new_model(settings(seed=3), tokenizer().vocab_size, START)
    with torch.no_grad():
        for weight in made.parameters():
            weight.mul_(8 if weight.ndim > 1 else 1)
    column = [*texts(5, 20), None, "", "x", *texts(3, 21, (2, 6))]
    return made.eval(), documents(b=column, a=texts(4, 22))


@pytest.mark.parametrize("overlap", [0, 9])
def test_sums_of_the_evaluation_are_those_of_a_plain_loop(overlap):
    made, table = uneven()
    found = evaluate(made, tokenizer(), table, start_id=START, context=32, overlap=overlap)
    assert found["domain"].to_pylist() == ["a", "b"]
    assert found["n_documents"].to_pylist() == [4, 11]
    for row in found.to_pylist():
        column = [t for t, d in zip(table["text"].to_pylist(), table["domain"].to_pylist(), strict=True) if d == row["domain"] and t]
        ids = [tokenizer().encode_arrow(pa.array([text], pa.large_string()))[0].tolist() for text in column]
        nats = sum(float(plain_nats(made, i, START, 32, overlap).sum()) for i in ids)
        assert row["nats"] == pytest.approx(nats, rel=1e-6)
        assert row["n_predicted"] == sum(map(len, ids))
        assert row["n_bytes"] == sum(len(text.encode()) for text in column)
        assert row["bpb"] == pytest.approx(nats / math.log(2) / row["n_bytes"], rel=1e-6)


def test_sums_of_the_evaluation_add_up_over_any_split_of_the_table(monkeypatch):
    made, table = uneven()
    whole = evaluate(made, tokenizer(), table, start_id=START, context=32)

    def sums(*pieces: pa.Table) -> list[pa.Table]:
        return [evaluate(made, tokenizer(), piece, start_id=START, context=32) for piece in pieces]

    def summed(pieces: list[pa.Table]) -> list[dict[str, Any]]:
        names = ["n_documents", "nats", "n_predicted", "n_bytes"]
        added = pa.concat_tables(pieces).group_by("domain").aggregate([(n, "sum") for n in names]).sort_by("domain")
        return added.rename_columns([c.removesuffix("_sum") for c in added.column_names]).to_pylist()

    backwards = table.take(list(range(len(table)))[::-1])
    for pieces in (sums(table.slice(0, 3), table.slice(3, 9), table.slice(12)), sums(backwards)):
        for row, wanted in zip(summed(pieces), whole.to_pylist(), strict=True):
            assert all(row[name] == wanted[name] for name in ("domain", "n_documents", "n_predicted", "n_bytes"))
            assert row["nats"] == pytest.approx(wanted["nats"], rel=1e-6)
    monkeypatch.setattr("curate.proxy.evaluation.BATCH_BYTES", 1)
    assert sums(table)[0]["nats"].to_pylist() == pytest.approx(whole["nats"].to_pylist(), rel=1e-6)


def test_an_evaluation_of_no_documents_or_no_text_has_no_bits_per_byte():
    made, table = uneven()
    assert len(evaluate(made, tokenizer(), table.slice(0, 0), start_id=START, context=32)) == 0
    row = evaluate(made, tokenizer(), documents(a=[None, ""]), start_id=START, context=32).to_pylist()[0]
    assert row == {"domain": "a", "n_documents": 2, "nats": 0.0, "n_predicted": 0, "n_bytes": 0, "bpb": None}
