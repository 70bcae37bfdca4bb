"""Check 13: with true rates the noisy risk is the clean one; rates of zero change nothing; nothing becomes infinite."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from stillhouse.methods.noisy_labels.multilabel.risks import (
    RISKS,
    forward,
    generalised,
    make_risk,
    reweighted,
    weights,
)
from stillhouse.platform.errors import BadInput
from torch import Tensor
from torch.nn import functional as F

rate = st.floats(0.0, 0.45)


def draw(seed: int, *shape: int) -> Tensor:
    return 4 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(st.integers(0, 10**6), rate, rate)
def test_the_mean_over_given_labels_is_the_risk_under_true_ones(seed: int, fp: float, fn: float) -> None:
    """Where the network's own probabilities are the true ones, label by label, and for any loss."""
    logits = draw(seed, 7, 3)
    rates = torch.tensor([[fp, fn]] * 3, dtype=torch.float64)
    p = torch.sigmoid(logits)
    given_one = fp * (1 - p) + (1 - fn) * p
    one, zero = torch.ones_like(p), torch.zeros_like(p)
    for loss in (
        lambda y: F.binary_cross_entropy_with_logits(logits, y, reduction="none"), lambda y: (torch.sigmoid(logits / 3) - y) ** 2
    ):  # fmt: skip
        noisy = given_one * weights(logits, one, rates) * loss(one) + (1 - given_one) * weights(
            logits, zero, rates
        ) * loss(zero)
        clean = p * loss(one) + (1 - p) * loss(zero)
        assert (noisy - clean).abs().max() < 1e-10


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rates_of_zero_are_cross_entropy(dtype: torch.dtype) -> None:
    logits = (draw(0, 50, 4) * 5).to(dtype).requires_grad_()
    labels = (draw(1, 50, 4) > 0).to(dtype)
    zero = torch.zeros(4, 2, dtype=dtype)
    plain = F.binary_cross_entropy_with_logits(logits, labels)
    (expected,) = torch.autograd.grad(plain, logits)
    assert (weights(logits, labels, zero) == 1).all()
    same = reweighted(logits, labels, zero)
    assert torch.equal(same, plain)
    torch.testing.assert_close(torch.autograd.grad(same, logits)[0], expected, rtol=1e-6, atol=0)
    close = forward(logits, labels, zero)
    torch.testing.assert_close(close, plain)
    torch.testing.assert_close(torch.autograd.grad(close, logits)[0], expected)


@pytest.mark.parametrize("rates", [(0.0, 0.0), (0.0, 0.4), (0.4, 0.0), (0.2, 0.3)])
@pytest.mark.parametrize("name", RISKS)
def test_no_logit_makes_a_loss_infinite(name: str, rates: tuple[float, float]) -> None:
    logits = torch.tensor([[-1e4, -80.0, 0.0, 80.0, 1e4]]).T.requires_grad_()
    risk = make_risk(name, torch.tensor([rates], dtype=torch.float64), gce_power=0.7)
    for label in (0.0, 1.0):
        loss = risk(logits, torch.full_like(logits, label))
        (slope,) = torch.autograd.grad(loss, logits)
        assert torch.isfinite(loss)
        assert torch.isfinite(slope).all()
        given = weights(logits, torch.full_like(logits, label), torch.tensor([rates]))
        assert torch.isfinite(given).all()
        assert given.max() <= 1 / (1 - (rates[1] if label else rates[0])) + 1e-5


def test_forward_is_the_cross_entropy_of_given_labels() -> None:
    logits, labels = draw(2, 20, 3), (draw(3, 20, 3) > 0).double()
    rates = torch.tensor([[0.1, 0.3], [0.2, 0.2], [0.0, 0.4]], dtype=torch.float64)
    p = torch.sigmoid(logits)
    given_one = rates[:, 0] * (1 - p) + (1 - rates[:, 1]) * p
    assert float(forward(logits, labels, rates)) == pytest.approx(float(F.binary_cross_entropy(given_one, labels)))


@given(st.integers(0, 10**6), rate, rate)
def test_forward_and_reweighting_pull_the_same_way(seed: int, fp: float, fn: float) -> None:
    """Their gradients differ by the factor 1 - fp - fn of the class alone, since the weights are constants."""
    logits = draw(seed, 9, 2).requires_grad_()
    labels = (draw(seed + 1, 9, 2) > 0).double()
    rates = torch.tensor([[fp, fn]] * 2, dtype=torch.float64)
    one, other = (torch.autograd.grad(risk(logits, labels, rates), logits)[0] for risk in (forward, reweighted))
    torch.testing.assert_close(one, (1 - fp - fn) * other, rtol=1e-9, atol=1e-12)


def test_generalised_cross_entropy_lies_between_its_limits() -> None:
    logits, labels = draw(4, 30, 2), (draw(5, 30, 2) > 0).double()
    assert float(generalised(logits, labels, 1e-7)) == pytest.approx(
        float(F.binary_cross_entropy_with_logits(logits, labels)), rel=1e-5
    )
    chosen = torch.sigmoid(torch.where(labels == 1, logits, -logits))
    assert float(generalised(logits, labels, 1.0)) == pytest.approx(float((1 - chosen).mean()))
    assert float(generalised(logits, labels, 0.7)) == pytest.approx(float(((1 - chosen**0.7) / 0.7).mean()))


def test_rates_are_needed_by_those_that_use_them() -> None:
    for name in ("forward", "reweight"):
        with pytest.raises(BadInput, match="needs flip rates"):
            make_risk(name, None, gce_power=0.7)
