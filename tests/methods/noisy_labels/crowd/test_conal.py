"""CoNAL's head against its formula, one answer at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from stillhouse.methods.noisy_labels.crowd.answers import Answers
from stillhouse.methods.noisy_labels.crowd.backbones import Backbone, build
from stillhouse.methods.noisy_labels.crowd.conal import Conal, ConalHead
from torch.nn import functional as F

from .small_crowd import CLASSES, small_crowd


def moved_head(inputs: int) -> ConalHead:
    torch.manual_seed(0)
    head = ConalHead(10, CLASSES, inputs)
    with torch.no_grad():
        head.own += torch.randn_like(head.own)
        head.common += torch.randn_like(head.common)
    return head


@pytest.mark.parametrize("images", [False, True], ids=["features", "images"])
def test_the_loss_is_the_published_formula(images: bool) -> None:
    data = small_crowd(20, images=images)
    network = build(Backbone(hidden=8, width=4), data.inputs, CLASSES).eval()
    head = moved_head(int(np.prod(data.inputs.shape[1:])))
    items = torch.from_numpy(data.inputs)
    model = Conal([network], [head], items, Answers(data.answers), averaged=float, spread=0.01).eval()
    found = float(model(torch.arange(20))["loss"].detach())

    total = 0.0
    with torch.no_grad():
        for n, r, y in zip(data.answers.items, data.answers.annotators, data.answers.labels, strict=True):
            p = torch.softmax(network(items[[n]]), 1)[0]
            v = head.of_item(network.standardised(items[[n]]).reshape(1, -1))[0]
            u = head.of_annotator.weight[r]
            w = torch.sigmoid(v @ u / v.norm() / u.norm())
            logits = w * (p @ head.common) + (1 - w) * (p @ head.own[r])
            total += float(F.cross_entropy(logits, torch.tensor(int(y))))
        spread = sum(float((head.common - own).norm()) for own in head.own)
    assert found == pytest.approx(total / len(data.answers) - 0.01 * spread, rel=1e-5)


def test_gates_are_between_the_common_and_the_own_matrix() -> None:
    head = moved_head(2)
    own, common = (torch.softmax(matrix, -1) for matrix in (head.own, head.common))
    torch.testing.assert_close(head.confusions(torch.zeros(10)), own)
    torch.testing.assert_close(head.confusions(torch.ones(10)), common.expand(10, -1, -1))


def test_matrices_that_are_alike_have_a_gradient_of_the_answers_only() -> None:
    """At the start the norms are of zero matrices: their derivative is taken as zero, not as 0/0."""
    head = ConalHead(4, 3, 2)
    head.spread().backward()
    assert head.own.grad is not None
    assert (head.own.grad == 0).all()


def test_a_reading_uses_the_mean_gate_of_an_annotator_s_answers() -> None:
    data = small_crowd(20)
    network = build(Backbone(hidden=8), data.inputs, CLASSES).eval()
    head, items = moved_head(2), torch.from_numpy(data.inputs)
    model = Conal([network], [head], items, Answers(data.answers), averaged=float, spread=0.0)
    who = int(data.answers.annotators[0])
    about = torch.from_numpy(data.answers.items[data.answers.annotators == who])
    with torch.no_grad():
        gates = head.gate(items[about], torch.arange(len(about)), torch.full((len(about),), who))
        wanted = head.confusions(torch.full((10,), float(gates.mean())))[who]
    torch.testing.assert_close(model.confusions()[who], wanted)
