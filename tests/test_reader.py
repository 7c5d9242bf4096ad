"""Reading with a model: the nats of the plain loop, whatever the batches; memory; threads; models that cannot be read in slices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from causal_models import CAPPED, CONTEXT, FAMILIES, SPREAD, model, plain_nats, random_documents, uniform
from torch.utils._python_dispatch import TorchDispatchMode

from curate.causal_lm import Reader, reader
from curate.errors import InputError

SIZES = [1, 3, 40, 64, 65, 130, 7, 200, 1, 0, 64, 33]
NEAR = {"rtol": 1e-5, "atol": 1e-5}


def sums_of(read: Reader, ids: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return read.sums(read.prepare(ids, offsets), len(offsets) - 1)


def documents_of(ids: np.ndarray, offsets: np.ndarray) -> list[list[int]]:
    return [ids[a:b].tolist() for a, b in zip(offsets[:-1], offsets[1:], strict=True)]


def joined(documents: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    offsets = np.concatenate([[0], np.cumsum([len(one) for one in documents])]).astype(np.int64)
    return np.array([token for one in documents for token in one], np.int32), offsets


@pytest.mark.parametrize("family", ["pythia", "llama", "phi"])
@pytest.mark.parametrize("start", [0, None])
def test_a_uniform_model_has_a_perplexity_of_its_vocabulary(family: str, start: int | None) -> None:
    made = uniform(family)
    if made.get_output_embeddings().bias is not None:
        made.get_output_embeddings().bias.zero_()
    nats, n_predicted = sums_of(Reader(made, start, CONTEXT), *random_documents(SIZES))
    assert n_predicted.tolist() == [max(size - (start is None), 0) for size in SIZES]
    np.testing.assert_allclose(nats, n_predicted * math.log(320), rtol=1e-6)


@pytest.mark.parametrize("family", [*FAMILIES, *CAPPED])
def test_nats_are_those_of_the_plain_loop(family: str) -> None:
    made = model(family)
    read = Reader(made, 0, CONTEXT)
    assert bool(read.slow_because) == (family in CAPPED), read.slow_because
    ids, offsets = random_documents(SIZES)
    found = read.nats(read.prepare(ids, offsets))
    expected = np.concatenate([plain_nats(made, one) for one in documents_of(ids, offsets)])
    assert expected.std() > 0.5, "the model must prefer some tokens, or nothing would be tested"
    np.testing.assert_allclose(found, expected, **NEAR)
    nats, n_predicted = read.sums(read.prepare(ids, offsets), len(SIZES))
    assert n_predicted.tolist() == SIZES
    np.testing.assert_allclose(nats, [plain_nats(made, one).sum() for one in documents_of(ids, offsets)], rtol=1e-5)


@pytest.mark.parametrize("family", ["pythia", "llama"])
@pytest.mark.parametrize(("start", "overlap"), [(0, 1), (0, 20), (0, CONTEXT - 1), (None, 0), (None, 1), (None, 20)])
def test_overlap_and_start_follow_the_rule(family: str, start: int | None, overlap: int) -> None:
    made = model(family)
    ids, offsets = random_documents([1, 40, 64, 65, 66, 90])
    read = Reader(made, start, CONTEXT, overlap)
    expected = np.concatenate([plain_nats(made, one, start, CONTEXT, overlap) for one in documents_of(ids, offsets)])
    np.testing.assert_allclose(read.nats(read.prepare(ids, offsets)), expected, **NEAR)


@pytest.mark.parametrize("family", ["llama", "phi", "gemma2"])
@pytest.mark.parametrize("positions", [1, 100, 1000])
@pytest.mark.parametrize("rows", [1, 7])
def test_batches_and_slices_change_nothing(monkeypatch: pytest.MonkeyPatch, family: str, positions: int, rows: int) -> None:
    made = model(family)
    ids, offsets = random_documents(SIZES)
    whole = sums_of(Reader(made, 0, CONTEXT), ids, offsets)
    monkeypatch.setitem(reader.POSITIONS, "cpu", positions)
    monkeypatch.setitem(reader.LOGIT_BYTES, "cpu", rows * 4 * 320)
    monkeypatch.setattr(reader, "LEAST_ROWS", 1)
    parts = sums_of(Reader(made, 0, CONTEXT), ids, offsets)
    np.testing.assert_allclose(parts[0], whole[0], rtol=1e-5)
    assert parts[1].tolist() == whole[1].tolist()


def test_order_and_company_of_documents_change_nothing() -> None:
    read = Reader(model("pythia"), 0, CONTEXT)
    documents = documents_of(*random_documents(SIZES))
    together = sums_of(read, *joined(documents))[0]
    order = np.random.default_rng(1).permutation(len(documents))
    np.testing.assert_allclose(sums_of(read, *joined([documents[i] for i in order]))[0], together[order], rtol=1e-5)
    alone = [sums_of(read, *joined([one]))[0][0] for one in documents]
    np.testing.assert_allclose(alone, together, rtol=1e-5)


@pytest.mark.parametrize("filler", [0, 5, 319])
def test_what_pads_a_row_is_never_seen(filler: int) -> None:
    """The short document shares its batch with a long one; any content of the long one leaves it as it is, bit for bit."""
    read = Reader(model("llama"), 0, CONTEXT)
    short = [17, 4, 90]
    beside = [sums_of(read, *joined([short, [token] * 64]))[0][0] for token in (filler, 200)]
    assert beside[0] == beside[1]
    assert beside[0] == pytest.approx(plain_nats(model("llama"), short).sum(), rel=1e-5)


@pytest.mark.parametrize("family", ["pythia", "llama"])
def test_nats_add_up_over_windows_read_alone(family: str) -> None:
    read = Reader(model(family), 0, 16)
    (document,) = documents_of(*random_documents([75]))
    whole, n_predicted = sums_of(read, *joined([document]))
    parts, n_parts = sums_of(read, *joined([document[at : at + 16] for at in range(0, 75, 16)]))
    assert (n_predicted.tolist(), n_parts.tolist()) == ([75], [16, 16, 16, 16, 11])
    assert whole[0] == pytest.approx(parts.sum(), rel=1e-5)


def test_a_document_that_fits_is_read_whole_whatever_the_window() -> None:
    ids, offsets = random_documents([30, 16, 3])
    whole = sums_of(Reader(model("llama"), 0, CONTEXT), ids, offsets)[0]
    for context, overlap in ((30, 0), (30, 9), (40, 39)):
        np.testing.assert_allclose(sums_of(Reader(model("llama"), 0, context, overlap), ids, offsets)[0], whole, rtol=1e-5)


def test_more_overlap_is_more_context_for_each_token() -> None:
    """With all but one position repeated, every late token is predicted from the fifteen before it, as in a sliding window."""
    made = model("pythia")
    (document,) = documents_of(*random_documents([40]))
    read = Reader(made, 0, 16, 15)
    found = read.nats(read.prepare(*joined([document])))
    for at in (16, 25, 39):
        with torch.no_grad():
            logits = made(torch.tensor([[0, *document[at - 15 : at]]])).logits[0, -1].double()
        assert found[at] == pytest.approx(-float(logits.log_softmax(0)[document[at]]), rel=1e-5)


def test_without_a_start_token_the_first_token_is_given() -> None:
    made = model("llama")
    read = Reader(made, None, CONTEXT)
    nats, n_predicted = sums_of(read, *joined([[5], [5, 6], []]))
    assert n_predicted.tolist() == [0, 1, 0]
    assert nats[[0, 2]].tolist() == [0, 0]
    with torch.no_grad():
        expected = -float(made(torch.tensor([[5]])).logits[0, 0].double().log_softmax(0)[6])
    assert nats[1] == pytest.approx(expected, rel=1e-5)


def test_nothing_to_read_has_no_nats() -> None:
    read = Reader(model("llama"), 0, CONTEXT)
    for documents in ([], [[]], [[], []]):
        nats, n_predicted = sums_of(read, *joined(documents))
        assert nats.tolist() == [0] * len(documents) == n_predicted.tolist()


class Largest(TorchDispatchMode):
    """The most numbers that a tensor made by an operation held, views of these weights left out."""

    def __init__(self, made: Any) -> None:
        super().__init__()
        self.numbers = 0
        self._weights = {weight.untyped_storage().data_ptr() for weight in made.parameters()}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        if isinstance(found, torch.Tensor) and found.untyped_storage().data_ptr() not in self._weights:
            self.numbers = max(self.numbers, found.numel())
        return found


def largest(made: Any, sizes: list[int], vocab_size: int) -> int:
    read = Reader(made, 0, 1024)
    assert not read.slow_because
    prepared = read.prepare(*random_documents(sizes, vocab_size))
    with Largest(made) as seen:
        read.nats(prepared)
    return seen.numbers


def test_logits_do_not_grow_with_the_length() -> None:
    vocab_size = 40_000
    made = model("pythia", vocab_size, 1024)
    rows = max(reader.LEAST_ROWS, reader.LOGIT_BYTES["cpu"] // (4 * vocab_size))
    short, long = largest(made, [300], vocab_size), largest(made, [1000, 500], vocab_size)
    assert short == long == rows * vocab_size
    assert long < 1000 * vocab_size / 4


def test_logits_do_not_grow_with_the_vocabulary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "LEAST_ROWS", 1)
    monkeypatch.setitem(reader.LOGIT_BYTES, "cpu", 4 * 400_000)
    found = [largest(model("llama", vocab_size, 1024), [2000], vocab_size) for vocab_size in (4_000, 20_000)]
    assert max(found) <= 400_000


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_are_the_reader_s_while_it_reads_and_the_caller_s_after(threads: int) -> None:
    made, seen = model("llama"), []
    made.base_model.register_forward_pre_hook(lambda *_: seen.append(torch.get_num_threads()))
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        read = Reader(made, 0, CONTEXT, threads=threads)
        sums_of(read, *random_documents([5]))
        assert torch.get_num_threads() == 3
        assert set(seen) == {threads}
        made.base_model.register_forward_pre_hook(fails)
        with pytest.raises(RuntimeError, match="on purpose"):
            sums_of(read, *random_documents([5]))
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def fails(*_: object) -> None:
    raise RuntimeError("on purpose")


def test_reading_leaves_no_gradient_and_the_weights_alone() -> None:
    made = model("pythia").requires_grad_(True)
    before = [weight.clone() for weight in made.parameters()]
    sums_of(Reader(made, 0, CONTEXT), *random_documents(SIZES))
    assert all(torch.equal(a, b) and b.grad is None for a, b in zip(before, made.parameters(), strict=True))


@pytest.mark.parametrize("family", ["gemma2", "cohere"])
def test_small_differences_of_the_logits_are_noticed(family: str) -> None:
    """A cap or a scale that changes little still may not change the nats by more than rounding does."""
    made = model(family)
    if family == "gemma2":
        made.config.final_logit_softcapping = 200.0
    else:
        made.logit_scale = 1.0001
    ids, offsets = random_documents([64, 64])
    read = Reader(made, 0, CONTEXT)
    found = read.nats(read.prepare(ids, offsets))
    np.testing.assert_allclose(found, np.concatenate([plain_nats(made, one) for one in documents_of(ids, offsets)]), rtol=2e-5)


def test_a_model_that_looks_ahead_is_refused() -> None:
    config = transformers.BertConfig(
        vocab_size=320, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48, hidden_dropout_prob=0.0,
        max_position_embeddings=CONTEXT, initializer_range=SPREAD,
    )  # fmt: skip
    encoder = transformers.BertLMHeadModel(config).eval()
    with pytest.raises(InputError, match="sees the tokens it is to predict") as caught:
        Reader(encoder, 0, CONTEXT)
    assert caught.value.expected and caught.value.fix
