"""Margin heads against the angles that define them."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from stillhouse.methods.recognition.heads import Head, Margin
from stillhouse.platform.errors import BadInput
from torch.nn import functional as F


def head(kind: str, scale: float = 24.0, margin: float = 0.2, classes: int = 3) -> Head:
    torch.manual_seed(0)
    return Head(Margin(kind, scale, margin), length=4, classes=classes)


@given(st.floats(0.0, math.pi), st.sampled_from([0.1, 0.2, 0.5]))
def test_arcface_adds_the_margin_to_the_angle_and_never_rises(angle: float, margin: float) -> None:
    own = head("arcface", 10.0, margin)
    logits = torch.full((1, 3), 1.0, dtype=torch.float64)
    logits[0, 1] = 10 * math.cos(angle)
    moved = own.margined(logits, torch.tensor([1]))
    assert moved[0, [0, 2]].tolist() == [1.0, 1.0]
    if angle + margin < math.pi - 1e-3 and angle > 1e-3:
        assert moved[0, 1].item() == pytest.approx(10 * math.cos(angle + margin), abs=1e-4)
    assert moved[0, 1] < logits[0, 1]
    wider = logits.clone()
    wider[0, 1] = 10 * math.cos(min(math.pi, angle + 0.05))
    # Around the joint of both pieces the rule of the paper has a step, downwards or up by less than (1 - cos m)/2 of the scale.
    step = 10 * (1 - math.cos(margin))
    assert own.margined(wider, torch.tensor([1]))[0, 1] <= moved[0, 1] + step


def test_cosface_takes_the_margin_from_the_cosine() -> None:
    own = head("cosface", 30.0, 0.25)
    logits = torch.tensor([[15.0, -3.0, 6.0]])
    assert own.margined(logits, torch.tensor([2])).tolist() == [[15.0, -3.0, pytest.approx(6.0 - 7.5)]]


def test_logits_are_scaled_cosines_without_margin() -> None:
    own = head("arcface")
    embeddings = torch.randn(5, 4)
    cosines = F.cosine_similarity(embeddings[:, None], own.weight[None], dim=2)
    assert torch.allclose(own(embeddings), 24 * cosines, atol=1e-5)
    assert torch.allclose(own(7 * embeddings), own(embeddings), atol=1e-4)


def test_softmax_is_a_linear_layer() -> None:
    own = head("softmax")
    embeddings, labels = torch.randn(5, 4), torch.tensor([0, 1, 2, 0, 1])
    assert own.bias is not None
    assert torch.equal(own(embeddings), F.linear(embeddings, own.weight, own.bias))
    assert torch.equal(own.loss(own(embeddings), labels), F.cross_entropy(own(embeddings), labels))


@pytest.mark.parametrize("kind", ["arcface", "cosface"])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_gradients_are_finite_where_an_embedding_meets_a_centre(kind: str, sign: float) -> None:
    own = head(kind)
    embeddings = (sign * own.weight.detach()).clone().requires_grad_()
    own.loss(own(embeddings), torch.arange(3)).backward()
    assert embeddings.grad is not None and embeddings.grad.isfinite().all()
    assert own.weight.grad is not None and own.weight.grad.isfinite().all()


def test_the_margin_makes_the_task_harder() -> None:
    labels, embeddings = torch.tensor([0, 1, 2, 1]), torch.randn(4, 4)
    plain = head("arcface", margin=0.0)
    assert all(
        head(kind).loss(head(kind)(embeddings), labels) > plain.loss(plain(embeddings), labels)
        for kind in ("arcface", "cosface")
    )


def test_usual_values_follow_from_the_number_of_identities() -> None:
    assert Margin("arcface").for_classes(247) == (24.0, 0.2)
    assert Margin("arcface").for_classes(10_575) == (64.0, 0.5)
    assert Margin("arcface", scale=30.0).for_classes(10_575) == (30.0, 0.5)


def test_bad_settings_are_refused() -> None:
    with pytest.raises(BadInput, match="head is 'acrface'"):
        Margin("acrface")
    with pytest.raises(BadInput, match="below half of pi"):
        Margin("arcface", margin=1.6)
    with pytest.raises(BadInput, match="nothing to tell apart"):
        Head(Margin(), length=4, classes=1)
