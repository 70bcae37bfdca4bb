from __future__ import annotations

import math

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from stillhouse.methods.dgd.divergence import entropy, kl
from torch.distributions import Categorical, kl_divergence

logits = st.lists(st.lists(st.floats(-30, 30), min_size=3, max_size=3), min_size=2, max_size=2).map(
    lambda rows: torch.tensor(rows, dtype=torch.float64)
)


@settings(max_examples=100, deadline=None)
@given(logits, logits, st.floats(-100, 100))
def test_identities(a: torch.Tensor, b: torch.Tensor, shift: float) -> None:
    assert torch.equal(kl(a, a), torch.zeros(2, dtype=torch.float64))
    assert (kl(a, b) > -1e-12).all()
    oracle = kl_divergence(Categorical(logits=a), Categorical(logits=b))
    torch.testing.assert_close(kl(a, b), oracle, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(kl(a + shift, b), kl(a, b), rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(entropy(a), Categorical(logits=a).entropy(), rtol=1e-9, atol=1e-10)
    assert (entropy(a) > -1e-12).all() and (entropy(a) < math.log(3) + 1e-12).all()
    # KL to the uniform answer is what is missing from its entropy.
    torch.testing.assert_close(kl(a, torch.zeros_like(a)), math.log(3) - entropy(a), rtol=1e-9, atol=1e-9)


def test_the_divergence_asks_for_order() -> None:
    a, b = torch.tensor([[4.0, 0.0]]), torch.zeros(1, 2)
    p = 1 / (1 + math.exp(-4))
    assert kl(b, a).item() == pytest.approx(-math.log(2) - 0.5 * math.log(p * (1 - p)), rel=1e-6)
    assert kl(a, b).item() == pytest.approx(math.log(2) + p * math.log(p) + (1 - p) * math.log(1 - p), rel=1e-5)


def test_gradients_pass_through_the_perturbed_side_and_the_entropy_only() -> None:
    clean = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    perturbed = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    kl(clean, perturbed).sum().backward()
    assert clean.grad is None
    assert perturbed.grad is not None
    torch.testing.assert_close(perturbed.grad, (perturbed.softmax(1) - clean.softmax(1)).detach())
    entropy(clean).sum().backward()
    assert clean.grad is not None and clean.grad.abs().sum() > 0


def test_answers_that_underflow_are_finite() -> None:
    sure = torch.tensor([[500.0, 0.0, -500.0]])
    assert entropy(sure).item() == 0
    assert kl(sure, sure).item() == 0
    assert kl(torch.zeros(1, 3), sure).isfinite().all()
