"""The Temporal Contrastive Module: distances and both losses, by hand and by loops."""

from __future__ import annotations

import math

import pytest
import torch
from stillhouse.methods.recognition.naco.settings import Temporal
from stillhouse.methods.recognition.naco.temporal import distance, infonce_loss, temporal_loss, triplet_loss


def rows(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_the_triplet_loss_by_hand() -> None:
    """D = 4: distances are Euclidean over 2. d(a, p) = 1; d(a, n) = 1.5 and 0.5; margin 0.75: (0.25 + 1.25) / 2."""
    anchor = torch.zeros(1, 4)
    positive = torch.tensor([[2.0, 0.0, 0.0, 0.0]])
    shuffled = torch.tensor([[[0.0, 3.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]]])
    assert triplet_loss(anchor, positive, shuffled, margin=0.75).item() == pytest.approx(0.75, abs=1e-6)


def test_the_natural_order_as_its_own_negative_costs_the_margin_exactly() -> None:
    anchor, positive = rows(5, 8), rows(5, 8, seed=1)
    shuffled = positive[:, None].repeat(1, 3, 1)
    assert triplet_loss(anchor, positive, shuffled, margin=0.5).item() == 0.5


def test_far_negatives_cost_nothing() -> None:
    anchor = rows(3, 8)
    assert triplet_loss(anchor, anchor, anchor[:, None] + 10, margin=0.5).item() == 0


def test_the_distance_is_not_squared_and_has_a_gradient_at_equal_inputs() -> None:
    near = torch.zeros(2, 9, requires_grad=True)
    value = distance(near, torch.zeros(2, 9))
    value.sum().backward()
    assert near.grad is not None and torch.isfinite(near.grad).all()
    assert distance(torch.zeros(1, 9), torch.full((1, 9), 7.0)).item() == pytest.approx(7.0, rel=1e-6)
    # Just off the point the slope is that of a distance: 1 / sqrt(D) for a step along one axis, not near zero.
    step = torch.zeros(1, 9)
    step[0, 0] = 0.1
    step.requires_grad_(True)
    distance(step, torch.zeros(1, 9)).sum().backward()
    assert step.grad is not None and step.grad[0, 0].item() == pytest.approx(1 / 3, rel=1e-3)


def test_infonce_against_a_loop() -> None:
    anchor, positive, shuffled = rows(4, 6), rows(4, 6, seed=1), rows(4, 2, 6, seed=2)
    videos = torch.tensor([3, 5, 3, 9])

    def cosine(one: torch.Tensor, other: torch.Tensor) -> float:
        return float((one @ other) / (one.norm() * other.norm()))

    for known in (None, videos):
        total = 0.0
        for b in range(4):
            own = math.exp(cosine(anchor[b], positive[b]) / 0.2)
            others = [
                math.exp(cosine(anchor[b], positive[c]) / 0.2)
                for c in range(4)
                if c != b and (known is None or known[b] != known[c])
            ]
            shuffles = [math.exp(cosine(anchor[b], shuffled[b, k]) / 0.2) for k in range(2)]
            total -= math.log(own / (own + sum(others) + sum(shuffles)))
        found = infonce_loss(anchor, positive, shuffled, temperature=0.2, videos=known)
        assert found.item() == pytest.approx(total / 4, rel=1e-5)


def test_the_settings_choose_the_loss() -> None:
    given = rows(4, 6), rows(4, 6, seed=1), rows(4, 2, 6, seed=2)
    assert temporal_loss(Temporal(), *given).item() == triplet_loss(*given, margin=0.5).item()
    chosen = temporal_loss(Temporal(loss="infonce", temperature=0.5), *given).item()
    assert chosen == infonce_loss(*given, temperature=0.5).item()
