"""The Spatial Predictive Module: masks, targets, references, losses."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from stillhouse.methods.recognition.naco.settings import Spatial
from stillhouse.methods.recognition.naco.spatial import (
    SpatialPrediction,
    deviations,
    draw_mask,
    interpolated,
    prediction_loss,
)
from stillhouse.platform.errors import BadInput


@given(st.integers(2, 24), st.floats(0.01, 0.99), st.integers(0, 2**31))
def test_exactly_the_share_is_masked_in_every_cell(length: int, ratio: float, seed: int) -> None:
    masked = draw_mask(3, 2, length, ratio, torch.Generator().manual_seed(seed))
    assert masked.shape == (3, 2, length)
    assert (masked.sum(-1) == min(max(round(ratio * length), 1), length - 1)).all()


def test_every_frame_is_masked_as_often_as_any_other() -> None:
    counts = draw_mask(4000, 1, 8, 0.25, torch.Generator().manual_seed(0)).sum((0, 1)).double()
    # Of 8 places 2 are drawn without replacement: the chi-square sum is smaller than that of 7 degrees by the factor 6/7.
    statistic = float(((counts - 1000) ** 2 / (1000 * 0.75)).sum()) * 7 / 8
    assert statistic < 24.3  # p = 0.001


@pytest.mark.parametrize(("ratio", "length"), [(0.0, 8), (1.0, 8), (-0.1, 8), (0.5, 1)])
def test_masks_that_hide_nothing_or_all_are_refused(ratio: float, length: int) -> None:
    with pytest.raises(BadInput, match="cannot be masked"):
        draw_mask(1, 1, length, ratio, torch.Generator())


def test_the_loss_by_hand() -> None:
    """Two channels, three frames, the last masked: targets are its deviation from the mean of the others."""
    module = SpatialPrediction(Spatial(), width=1, channels=2).eval()
    features = torch.tensor([[1.0, 10.0], [3.0, 20.0], [7.0, 9.0]]).reshape(1, 1, 3, 2)
    masked = torch.tensor([[[False, False, True]]])
    module.scale.copy_(torch.tensor([2.0, 3.0]))
    assert module.targets(features, masked)[masked].tolist() == [[2.5, -2.0]]
    for weight in module.predict.parameters():
        torch.nn.init.zeros_(weight)
    module.predict[-1].bias.data.copy_(torch.tensor([0.5, 1.0]))
    # ((0.5 - 2.5)^2 + (1 + 2)^2) / 2 = 6.5
    assert module(torch.zeros(1, 1, 3, 1), features, masked).item() == pytest.approx(6.5)


@pytest.mark.parametrize("kind", ["mse", "cosine", "smooth_l1"])
def test_a_perfect_prediction_costs_nothing_and_another_does(kind: str) -> None:
    wanted = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    assert prediction_loss(wanted, wanted, kind).item() == pytest.approx(0.0, abs=1e-6)
    assert prediction_loss(-wanted, wanted, kind).item() > 0.3


def test_losses_are_what_their_names_say() -> None:
    predicted, wanted = torch.tensor([[3.0, 0.2]]), torch.tensor([[0.0, 0.0]])
    assert prediction_loss(predicted, wanted, "mse").item() == pytest.approx((9 + 0.04) / 2)
    assert prediction_loss(predicted, wanted, "smooth_l1").item() == pytest.approx((2.5 + 0.02) / 2)
    cosine = prediction_loss(torch.tensor([[1.0, 1.0]]), torch.tensor([[0.0, 5.0]]), "cosine").item()
    assert cosine == pytest.approx(1 - 0.5**0.5)


@pytest.mark.parametrize("target", ["deviation", "feature"])
def test_no_gradient_reaches_the_features_through_the_target(target: str) -> None:
    module = SpatialPrediction(Spatial(target=target), width=4, channels=3)
    features = torch.randn(2, 1, 6, 3, requires_grad=True)
    represented = torch.randn(2, 1, 6, 4, requires_grad=True)
    module(represented, features, draw_mask(2, 1, 6, 0.5, torch.Generator().manual_seed(0))).backward()
    assert features.grad is None
    assert represented.grad is not None and represented.grad.abs().sum() > 0


def test_a_masked_frame_does_not_move_the_target_of_another() -> None:
    features = torch.randn(1, 1, 8, 3, generator=torch.Generator().manual_seed(0))
    masked = torch.tensor([False, True, False, False, True, False, True, False]).reshape(1, 1, 8)
    before = deviations(features, masked)
    features[0, 0, 4] += 100
    after = deviations(features, masked)
    kept = [0, 1, 2, 3, 5, 6, 7]
    assert torch.equal(before[:, :, kept], after[:, :, kept])


@given(st.integers(2, 9), st.integers(0, 2**31))
def test_interpolation_against_a_loop(length: int, seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    features, masked = torch.randn(2, 2, length, 3, generator=draw), draw_mask(2, 2, length, 0.6, draw)
    found = interpolated(features, masked)
    for clip in range(2):
        for cell in range(2):
            visible = [t for t in range(length) if not masked[clip, cell, t]]
            for t in range(length):
                before, after = [v for v in visible if v <= t], [v for v in visible if v >= t]
                first = before[-1] if before else after[0]
                last = after[0] if after else before[-1]
                part = 0.0 if first == last else (t - first) / (last - first)
                wanted = (1 - part) * features[clip, cell, first] + part * features[clip, cell, last]
                assert torch.allclose(found[clip, cell, t], wanted, atol=1e-5)


def test_the_references_are_in_the_units_of_the_target() -> None:
    """A clip in which features move along a line: interpolation inside it is exact, and the mean of the visible predicts zero."""
    module = SpatialPrediction(Spatial(), width=1, channels=1).eval()
    module.scale.fill_(4.0)
    features = (8.0 * torch.arange(5.0)).reshape(1, 1, 5, 1)
    masked = torch.tensor([False, True, False, True, False]).reshape(1, 1, 5)
    wanted, guesses = module.targets(features, masked), module.references(features, masked)
    assert torch.allclose(guesses["interpolation"][masked], wanted[masked])
    assert guesses["zero"][masked].abs().max() == 0
    raw = SpatialPrediction(Spatial(target="feature"), width=1, channels=1).eval()
    assert raw.references(features, masked)["zero"][masked].flatten().tolist() == [16.0, 16.0]


def test_the_scale_is_the_deviation_and_moves_slowly() -> None:
    module = SpatialPrediction(Spatial(), width=1, channels=1).train()
    features = torch.tensor([0.0, 0.0, 3.0, 4.0]).reshape(1, 1, 4, 1)
    masked = torch.tensor([False, False, True, True]).reshape(1, 1, 4)
    module.targets(features, masked)
    first = (12.5) ** 0.5
    assert module.scale.item() == pytest.approx(first)
    module.targets(features * 2, masked)
    assert module.scale.item() == pytest.approx(first + 0.01 * first)
    module.eval()
    module.targets(features * 100, masked)
    assert module.scale.item() == pytest.approx(1.01 * first)
