"""Losses against plain formulas, and what has no gradient."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from stillhouse.methods.recognition.g2d.batches import Batch
from stillhouse.methods.recognition.g2d.distilling import Distilling, Relations
from stillhouse.methods.recognition.g2d.inpainting import (
    Adversary,
    Opponent,
    feature_distance,
    hidden_error,
    mean_fill,
    rebuilding_loss,
)
from stillhouse.methods.recognition.g2d.training import Training
from stillhouse.methods.recognition.kept import weights_hash
from stillhouse.methods.recognition.seen import Seen
from stillhouse.platform.errors import BadInput
from stillhouse.platform.training.progress import Silent
from stillhouse.platform.training.run import LocalRun
from torch import Tensor, nn


@settings(max_examples=15)
@given(seed=st.integers(0, 2**16), weight=st.floats(0.5, 10))
def test_rebuilding_loss_is_the_formula(seed: int, weight: float) -> None:
    stream = torch.Generator().manual_seed(seed)
    drawn, true = torch.rand(2, 2, 3, 8, 8, generator=stream, dtype=torch.float64)
    hidden = torch.rand(2, 1, 8, 8, generator=stream, dtype=torch.float64)
    inside = outside = mask = 0.0
    for b in range(2):
        for i in range(8):
            for j in range(8):
                m = float(hidden[b, 0, i, j])
                mask += m
                for c in range(3):
                    error = abs(float(drawn[b, c, i, j] - true[b, c, i, j]))
                    inside, outside = inside + m * error, outside + (1 - m) * error
    wanted = weight * inside / 384 / (mask / 128) + outside / 384
    assert float(rebuilding_loss(drawn, true, hidden, weight=weight)) == pytest.approx(wanted, rel=1e-9)


def test_a_batch_without_masks_has_the_visible_term_only() -> None:
    drawn, true = torch.rand(2, 3, 8, 8, requires_grad=True), torch.rand(2, 3, 8, 8)
    loss = rebuilding_loss(drawn, true, torch.zeros(2, 1, 8, 8))
    assert float(loss.detach()) == pytest.approx(float((drawn - true).abs().mean().detach()))
    loss.backward()
    assert drawn.grad is not None
    assert torch.isfinite(drawn.grad).all()


def test_errors_and_fillings_of_one_picture() -> None:
    true = torch.zeros(2, 3, 4, 4)
    true[0, :, :2], true[0, :, 2:] = 0.2, 0.8
    hidden = torch.zeros(2, 1, 4, 4)
    hidden[0, :, 2:] = 1
    filled = mean_fill(true, hidden)
    assert torch.allclose(filled[0], torch.full((3, 4, 4), 0.2))
    assert torch.equal(filled[1], true[1])
    errors = hidden_error(filled, true, hidden)
    assert float(errors[0]) == pytest.approx(0.6)
    assert torch.isnan(errors[1])


def plain_relations(teacher: np.ndarray, student: np.ndarray) -> tuple[float, float]:
    """RKD by loops, on unit embeddings."""

    def huber(x: float) -> float:
        return 0.5 * x * x if abs(x) < 1 else abs(x) - 0.5

    units = [one / np.linalg.norm(one, axis=1, keepdims=True) for one in (teacher, student)]
    n = len(teacher)
    apart = []
    for one in units:
        distances = np.array([[np.linalg.norm(one[i] - one[j]) for j in range(n)] for i in range(n)])
        apart.append(distances / distances[distances > 0].mean())
    distance = sum(huber(apart[1][i, j] - apart[0][i, j]) for i in range(n) for j in range(n)) / n**2
    cosines = []
    for one in units:
        table = np.zeros((n, n, n))
        for j in range(n):
            for i in range(n):
                for k in range(n):
                    left, right = one[i] - one[j], one[k] - one[j]
                    sizes = np.linalg.norm(left) * np.linalg.norm(right)
                    table[j, i, k] = left @ right / sizes if sizes > 0 else 0.0
        cosines.append(table)
    angle = sum(huber(x) for x in (cosines[1] - cosines[0]).ravel()) / n**3
    return distance, angle


@settings(max_examples=15)
@given(seed=st.integers(0, 2**16))
def test_relation_loss_is_rkd_on_unit_embeddings_and_a_cosine(seed: int) -> None:
    stream = torch.Generator().manual_seed(seed)
    teacher, student = torch.randn(6, 5, generator=stream), torch.randn(6, 4, generator=stream)
    mapped = torch.randn(6, 5, generator=stream)
    found = Relations(distance=2.0, angle=3.0, cosine=4.0).loss(teacher, student, mapped)
    distance, angle = plain_relations(teacher.double().numpy(), student.double().numpy())
    assert float(found["distance"]) == pytest.approx(distance, rel=1e-3, abs=1e-6)
    assert float(found["angle"]) == pytest.approx(angle, rel=1e-3, abs=1e-6)
    cosine = 1 - float(nn.functional.cosine_similarity(teacher.double(), mapped.double(), dim=1).mean())
    assert float(found["cosine"]) == pytest.approx(cosine, rel=1e-4)
    wanted = 2 * distance + 3 * angle + 4 * cosine
    assert float(found["relation"]) == pytest.approx(wanted, rel=1e-3)


def test_a_student_that_sees_as_its_teacher_has_no_loss_and_scale_does_not_matter() -> None:
    teacher = torch.randn(8, 6)
    found = Relations().loss(teacher, 3 * teacher, 5 * teacher)
    assert float(found["relation"]) == pytest.approx(0, abs=1e-4)
    assert float(Relations().loss(teacher, teacher.roll(1, 0), teacher.roll(1, 0))["relation"]) > 1


class Maps(nn.Module):
    def __init__(self, shown: bool) -> None:
        super().__init__()
        self.shown, self.scale = shown, nn.Parameter(torch.tensor(2.0))

    def forward(self, pictures: Tensor) -> Seen:
        return Seen(pictures.mean((2, 3)), (self.scale * pictures, pictures.square()) if self.shown else ())


def test_feature_distance_by_hand_and_without_maps() -> None:
    drawn, true = torch.full((1, 3, 16, 16), 0.5, requires_grad=True), torch.full((1, 3, 16, 16), 0.25)
    found = feature_distance(Maps(True), drawn, true)
    assert float(found.detach()) == pytest.approx((2 * 0.25 + (0.25 - 0.0625)) / 2)
    found.backward()
    assert drawn.grad is not None
    assert drawn.grad.abs().sum() > 0
    with pytest.raises(BadInput, match="the teacher shows none"):
        feature_distance(Maps(False), drawn, true)


@pytest.mark.parametrize("kind", ["hinge", "nsgan"])
def test_the_critic_learns_by_itself_and_leaves_a_gradient_in_the_picture_only(kind: str, tmp_path: Path) -> None:
    run = LocalRun(tmp_path, reporter=Silent())
    opponent = Opponent(run, Adversary(weight=0.01, loss=kind, width=4, learning_rate_ratio=1.0), Training())
    critic = opponent.parts()["critic"]
    assert isinstance(critic, nn.Module)
    before = weights_hash(critic)
    true, drawn = torch.rand(4, 3, 32, 32), torch.full((4, 3, 32, 32), 0.5, requires_grad=True)
    batch = Batch(true, true, torch.zeros(4, 1, 32, 32), torch.arange(4), torch.zeros(4, dtype=torch.bool))
    passed = opponent.judge(batch, drawn)
    assert weights_hash(critic) != before
    left = [None if one.grad is None else one.grad.clone() for one in critic.parameters()]
    passed.backward()
    assert drawn.grad is not None
    assert drawn.grad.abs().sum() > 0
    for one, was in zip(critic.parameters(), left, strict=True):
        assert (one.grad is None) if was is None else torch.equal(one.grad, was)
    first = float(passed.detach())
    for _ in range(30):
        last = float(opponent.judge(batch, drawn.detach()))
    assert last > first  # it tells them apart better and better, so what is drawn passes worse


def test_settings_are_checked() -> None:
    with pytest.raises(BadInput, match=r"adversary\.loss"):
        Adversary(loss="wgan")
    with pytest.raises(BadInput, match="relations are between the faces of a batch"):
        Distilling(training=Training(batch_size=4))
    with pytest.raises(BadInput, match="optimizer"):
        Training(optimizer="lamb")
    with pytest.raises(BadInput, match="milestone"):
        Training(milestones=(0.5, 1.5))
    with pytest.raises(BadInput, match="warm_up"):
        Training(warm_up=1.0)


def test_schedules() -> None:
    parameter = nn.Parameter(torch.zeros(1))

    def rates(training: Training) -> list[float]:
        optimizer, scheduler = training.start([parameter], 10)
        found = []
        for _ in range(10):
            found.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
        return found

    cosine = rates(Training(learning_rate=1.0))
    assert cosine[0] == 1.0
    assert cosine[5] == pytest.approx(0.5)
    steps = rates(Training(optimizer="sgd", learning_rate=1.0, milestones=(0.5, 0.8)))
    assert steps == pytest.approx([1.0] * 5 + [0.1] * 3 + [0.01] * 2)
    warmed = rates(Training(learning_rate=1.0, warm_up=0.3))
    assert warmed[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])  # then the cosine over what is left
    assert warmed[4:] == pytest.approx([(1 + math.cos(math.pi * step / 7)) / 2 for step in range(1, 7)])
    together = rates(Training(learning_rate=1.0, warm_up=0.2, milestones=(0.5,)))
    assert together == pytest.approx([1 / 3, 2 / 3, 1, 1, 1] + [0.1] * 5)
