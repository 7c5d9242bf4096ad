"""The sliced output layer against torch's own cross-entropy: value, nats of each position, and both gradients."""

from __future__ import annotations

import pytest
import torch

from curate.proxy import loss
from curate.proxy.loss import summed_nats

P, D, V = 37, 12, 53


def problem(dtype: torch.dtype = torch.float32, spread: float = 1.0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Hidden states, an output matrix, targets."""
    dice = torch.Generator().manual_seed(3)
    hidden = (torch.randn(P, D, generator=dice, dtype=torch.float64) * spread).to(dtype).requires_grad_()
    weight = torch.randn(V, D, generator=dice, dtype=torch.float64).to(dtype).requires_grad_()
    return hidden, weight, torch.randint(0, V, (P,), generator=dice)


def plainly(hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, scale: float) -> list[torch.Tensor]:
    """(nats of each position, gradients of hidden states and matrix) by torch, in double precision."""
    hidden, weight = (tensor.detach().double().requires_grad_() for tensor in (hidden, weight))
    nats = torch.nn.functional.cross_entropy(hidden @ weight.T, targets, reduction="none")
    (nats.sum() * scale).backward()
    assert hidden.grad is not None
    assert weight.grad is not None
    return [nats.detach(), hidden.grad, weight.grad]


@pytest.mark.parametrize("rows", [1, 5, 36, 37, 128])
@pytest.mark.parametrize("scale", [1.0, 1 / 512, -3.0])
def test_value_and_both_gradients_are_those_of_cross_entropy(monkeypatch, rows, scale):
    """In slices of any size, and whatever is done with the sum afterwards."""
    monkeypatch.setattr(loss, "LEAST_ROWS", 1)
    monkeypatch.setitem(loss.SLICE_BYTES, "cpu", rows * 4 * V)
    hidden, weight, targets = problem()
    wanted = plainly(hidden, weight, targets, scale)
    total, nats = summed_nats(hidden, weight, targets)
    (total * scale).backward()
    torch.testing.assert_close(total.double(), wanted[0].sum(), rtol=1e-6, atol=0)
    torch.testing.assert_close(nats.double(), wanted[0], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(hidden.grad.double(), wanted[1], rtol=1e-6, atol=1e-6 * abs(scale))
    torch.testing.assert_close(weight.grad.double(), wanted[2], rtol=1e-6, atol=1e-6 * abs(scale) * P)


def test_slices_hold_no_more_than_their_bytes_nor_less_than_the_fewest_rows(monkeypatch):
    """Rows of a slice, seen by the product that makes its logits."""
    hidden, weight, targets = problem(torch.float64)
    seen = []
    exp_ = torch.Tensor.exp_
    monkeypatch.setattr(torch.Tensor, "exp_", lambda self: seen.append(len(self)) or exp_(self))
    monkeypatch.setattr(loss, "LEAST_ROWS", 3)
    for n_bytes, wanted in ((10 * 4 * V, [10, 10, 10, 7]), (0, [3] * 12 + [1]), (1 << 30, [37])):
        seen.clear()
        monkeypatch.setitem(loss.SLICE_BYTES, "cpu", n_bytes)
        summed_nats(hidden, weight, targets)
        assert seen == wanted


@pytest.mark.parametrize("rows", [2, 128])
def test_gradients_in_double_precision_are_those_of_finite_differences(monkeypatch, rows):
    monkeypatch.setattr(loss, "LEAST_ROWS", 1)
    monkeypatch.setitem(loss.SLICE_BYTES, "cpu", rows * 4 * 7)
    hidden, weight, targets = problem(torch.float64)
    hidden, weight = (tensor.detach()[:n, :4].clone().requires_grad_() for tensor, n in ((hidden, 5), (weight, 7)))
    assert torch.autograd.gradcheck(lambda h, w: summed_nats(h, w, targets[:5] % 7)[0], (hidden, weight))


def test_the_nats_of_positions_carry_no_gradient():
    hidden, weight, targets = problem()
    total, nats = summed_nats(hidden, weight, targets)
    assert total.requires_grad
    assert not nats.requires_grad
    assert nats.shape == (P,)
    assert total.item() == nats.sum().item()


def test_large_logits_overflow_nothing():
    hidden, weight, targets = problem(spread=1000.0)
    total, nats = summed_nats(hidden, weight, targets)
    total.backward()
    wanted = plainly(hidden, weight, targets, 1.0)
    torch.testing.assert_close(nats.double(), wanted[0], rtol=1e-6, atol=1e-3)
    assert bool(torch.isfinite(hidden.grad).all())
    assert bool(torch.isfinite(weight.grad).all())


def test_hidden_states_in_bfloat16_and_a_matrix_in_float32():
    """As in training on a GPU: the matrix keeps its precision, and so does its gradient; nats are in float32."""
    hidden, weight, targets = problem()
    low = hidden.detach().bfloat16().requires_grad_()
    total, nats = summed_nats(low, weight, targets)
    (total / P).backward()
    assert nats.dtype == total.dtype == torch.float32
    assert low.grad.dtype == torch.bfloat16
    assert weight.grad.dtype == torch.float32
    wanted = plainly(low, weight.bfloat16(), targets, 1 / P)
    # bfloat16 has 8 bits: logits of a size of ten are right to a thirtieth.
    torch.testing.assert_close(nats.double(), wanted[0], rtol=1e-2, atol=5e-2)
    for found, right in ((low.grad, wanted[1]), (weight.grad, wanted[2])):
        assert float((found.double() - right).norm() / right.norm()) < 0.02


def test_a_tied_matrix_gets_both_gradients():
    """The table that gives the hidden states and the one that predicts may be one tensor."""
    _, weight, targets = problem()
    inputs = torch.arange(P) % V
    total, _ = summed_nats(torch.nn.functional.embedding(inputs, weight), weight, targets)
    total.backward()
    other = weight.detach().clone().requires_grad_()
    logits = torch.nn.functional.embedding(inputs, other) @ other.T
    torch.nn.functional.cross_entropy(logits, targets, reduction="sum").backward()
    torch.testing.assert_close(weight.grad, other.grad, rtol=1e-6, atol=1e-5)
