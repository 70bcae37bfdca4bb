"""The closed form against the definition: a virtual step kept in the graph, differentiated through by autograd."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from stillhouse.methods.noisy_labels.crowd.backbones import Backbone, Network, build
from stillhouse.methods.noisy_labels.crowd.heads import CrowdHead, crowd_loss, directional_gradient
from stillhouse.methods.noisy_labels.crowd.meta_step import (
    VIRTUAL_STEPS,
    MetaStep,
    Pass,
    max_normalised,
    meta_gradient,
)
from stillhouse.platform.training.seeds import seeded
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F

ANNOTATORS, CLASSES, GROUPS = 7, 5, 4
META_SEED = 5


@dataclass
class Scene:
    """A model and two batches. Annotator 6 gave no answer; group 3 has no member but that one."""

    network: Network
    head: CrowdHead
    batch: Tensor
    places: Tensor
    annotators: Tensor
    labels: Tensor
    meta_batch: Tensor
    meta_labels: Tensor
    groups: Tensor
    masks: Tensor

    def seen(self) -> Pass:
        torch.set_rng_state(self.masks)
        features = self.network.features(self.batch)
        logits = self.network.last(features)
        return Pass(features, logits, self.places, self.annotators, self.labels, float(len(self.labels)))

    def closed_form(self, step: MetaStep) -> tuple[Tensor, Tensor]:
        return meta_gradient(
            self.network, self.head, self.seen(), self.meta_batch, self.meta_labels, self.groups, GROUPS, step,
            seed=META_SEED,
        )  # fmt: skip


def scene(*, official: bool, images: bool, dtype: torch.dtype, seed: int = 0) -> Scene:
    torch.manual_seed(seed)
    draw = np.random.default_rng(seed)
    if images:  # batch norm and dropout
        items = draw.integers(0, 256, (48, 2, 9, 9)).astype(np.uint8)
    else:  # dropout
        items = draw.normal(size=(48, 12)).astype(np.float32)
    network = build(Backbone(hidden=20, width=4), items, CLASSES).to(dtype).train()
    head = CrowdHead(ANNOTATORS, CLASSES, diagonal=1.5, official=official).to(dtype)
    with torch.no_grad():
        head.matrices += 0.5 * torch.randn_like(head.matrices)
    tensors = torch.from_numpy(items) if images else torch.from_numpy(items).to(dtype)
    return Scene(
        network, head, tensors[:24], torch.randint(24, (40,)), torch.randint(ANNOTATORS - 1, (40,)),
        torch.randint(CLASSES, (40,)), tensors[24:], torch.randint(CLASSES, (24,)),
        torch.tensor([0, 1, 2, 0, 1, 2, 3]), torch.get_rng_state(),
    )  # fmt: skip


def by_autograd(at: Scene, step: MetaStep) -> Tensor:
    """dJ/dU at U = 0, all of it in one graph."""
    correction = torch.zeros(GROUPS, CLASSES, CLASSES, dtype=at.head.matrices.dtype, requires_grad=True)
    weights = dict(at.network.named_parameters())

    def copied() -> dict[str, Tensor]:
        return {name: buffer.clone() for name, buffer in at.network.named_buffers()}

    torch.set_rng_state(at.masks)
    logits = functional_call(at.network, (weights, copied()), (at.batch,))
    p = torch.softmax(logits, dim=1)[at.places]
    answered = at.head.probabilities(p, at.annotators, at.labels, correction[at.groups[at.annotators]])
    loss = crowd_loss(answered, len(at.labels))
    virtual = {}
    for (name, weight), slope in zip(
        weights.items(), torch.autograd.grad(loss, list(weights.values()), create_graph=True), strict=True
    ):
        if step.virtual != "second_order" and not name.startswith("last."):
            slope = torch.zeros_like(slope) if step.virtual == "last_layer" else slope.detach()
        virtual[name] = weight - step.rate * slope
    with seeded(META_SEED):
        value = F.cross_entropy(functional_call(at.network, (virtual, copied()), (at.meta_batch,)), at.meta_labels)
    return torch.autograd.grad(value, correction)[0]


@pytest.fixture(autouse=True)
def own_generator() -> Iterator[None]:
    with seeded(0):
        yield


@pytest.mark.parametrize("virtual", VIRTUAL_STEPS)
@pytest.mark.parametrize("images", [False, True], ids=["features", "images"])
@pytest.mark.parametrize("official", [False, True], ids=["rows", "official"])
@pytest.mark.parametrize(("dtype", "allowed"), [(torch.float32, 1e-4), (torch.float64, 1e-9)])
def test_the_closed_form_is_the_second_derivative(
    dtype: torch.dtype, allowed: float, official: bool, images: bool, virtual: str
) -> None:
    """Must-show 1, with dropout and, for images, batch norm."""
    at = scene(official=official, images=images, dtype=dtype)
    step = MetaStep(rate=0.3, confusion_rate=0.3, eta=0.5, virtual=virtual)
    wanted = by_autograd(at, step)
    found, _ = at.closed_form(step)
    assert wanted.norm() > 1e-4
    assert (found - wanted).norm() < allowed * wanted.norm()


def test_the_three_virtual_steps_are_not_the_same() -> None:
    """Else the comparison above would compare one thing thrice."""
    at = scene(official=False, images=True, dtype=torch.float64)
    found = [at.closed_form(MetaStep(0.3, 0.3, 0.5, virtual))[0] for virtual in VIRTUAL_STEPS]
    for first, second in ((0, 1), (0, 2), (1, 2)):
        assert (found[first] - found[second]).norm() > 1e-3 * found[first].norm()


def test_a_correction_against_the_gradient_lowers_what_the_meta_batch_loses() -> None:
    """H is a derivative: J at theta'(U) falls by <H, H> h along -H, to first order. No autograd is asked."""
    at = scene(official=False, images=False, dtype=torch.float64)
    step = MetaStep(rate=0.5, confusion_rate=0.5, eta=0.5, virtual="second_order")
    gradient, _ = at.closed_form(step)

    def loss_at(correction: Tensor) -> Tensor:
        seen = at.seen()
        p = torch.softmax(seen.logits, dim=1)[seen.places]
        answered = at.head.probabilities(p, seen.annotators, seen.labels, correction[at.groups[seen.annotators]])
        weights = dict(at.network.named_parameters())
        slopes = torch.autograd.grad(crowd_loss(answered, seen.count), list(weights.values()))
        moved = {
            name: (weight - step.rate * slope).detach()
            for (name, weight), slope in zip(weights.items(), slopes, strict=True)
        }
        with seeded(META_SEED), torch.no_grad():
            return F.cross_entropy(functional_call(at.network, moved, (at.meta_batch,)), at.meta_labels)

    width = 1e-4 / gradient.norm()
    difference = (loss_at(-width * gradient) - loss_at(width * gradient)) / (2 * width)
    assert difference < 0
    assert float(difference / -gradient.square().sum()) == pytest.approx(1, abs=1e-4)


def test_nothing_is_left_behind() -> None:
    """Neither weights, nor running statistics, nor gradients, nor generators; and the pass can still be gone back through."""
    at = scene(official=False, images=True, dtype=torch.float32)
    seen = at.seen()
    before = {name: tensor.clone() for name, tensor in at.network.state_dict().items()}
    generator = torch.get_rng_state()
    for virtual in VIRTUAL_STEPS:
        meta_gradient(
            at.network, at.head, seen, at.meta_batch, at.meta_labels, at.groups, GROUPS,
            MetaStep(0.3, 0.3, 0.5, virtual), seed=META_SEED,
        )  # fmt: skip
    assert all(torch.equal(before[name], tensor) for name, tensor in at.network.state_dict().items())
    assert all(weight.grad is None for weight in at.network.parameters())
    assert at.head.matrices.grad is None
    assert torch.equal(torch.get_rng_state(), generator)
    seen.logits.sum().backward()


def test_a_group_without_an_answer_has_no_gradient() -> None:
    at = scene(official=False, images=False, dtype=torch.float64)
    found, _ = at.closed_form(MetaStep(0.3, 0.3, 0.5))
    assert (found[3] == 0).all()
    assert all((found[group] != 0).any() for group in range(3))


def test_the_virtual_matrices_are_one_step_of_gradient_descent() -> None:
    at = scene(official=False, images=False, dtype=torch.float64)
    _, virtual = at.closed_form(MetaStep(rate=0.3, confusion_rate=15.0, eta=0.5))
    seen = at.seen()
    p = torch.softmax(seen.logits, dim=1)[seen.places]
    crowd_loss(at.head.probabilities(p, seen.annotators, seen.labels), seen.count).backward()
    assert at.head.matrices.grad is not None
    expected = at.head.matrices.detach() - 15.0 * at.head.matrices.grad
    torch.testing.assert_close(virtual, expected)


@given(eta=st.floats(0.01, 3), size=st.floats(1e-12, 1e6), seed=st.integers(0, 100))
@settings(max_examples=40, deadline=None)
def test_the_largest_entry_of_a_correction_is_eta_times_that_of_the_matrices(
    eta: float, size: float, seed: int
) -> None:
    """Must-show 2."""
    draw = torch.Generator().manual_seed(seed)
    gradient = size * torch.randn(GROUPS, CLASSES, CLASSES, generator=draw, dtype=torch.float64)
    matrices = torch.rand(ANNOTATORS, CLASSES, CLASSES, generator=draw, dtype=torch.float64)
    found = max_normalised(gradient, matrices, eta)
    assert float(found.abs().max()) == pytest.approx(eta * float(matrices.max()), rel=1e-9)
    assert float((found * gradient).sum()) < 0


def test_no_gradient_is_no_correction() -> None:
    zero = torch.zeros(GROUPS, CLASSES, CLASSES)
    found = max_normalised(zero, torch.ones(ANNOTATORS, CLASSES, CLASSES), 0.5)
    assert (found == 0).all()
    assert (max_normalised(torch.ones_like(zero), torch.ones(1, 2, 2), 0.0) == 0).all()


@given(seed=st.integers(0, 1000), official=st.booleans(), scale=st.floats(0.1, 4))
@settings(max_examples=40, deadline=None)
def test_the_head_s_mixed_derivative(seed: int, official: bool, scale: float) -> None:
    """`directional_gradient` alone, on any direction, against two passes of autograd."""
    draw = torch.Generator().manual_seed(seed)
    head = CrowdHead(4, 3, diagonal=1.0, official=official).double()
    with torch.no_grad():
        head.matrices += scale * torch.randn(4, 3, 3, generator=draw, dtype=torch.float64)
    logits = (scale * torch.randn(9, 3, generator=draw, dtype=torch.float64)).requires_grad_()
    direction = torch.randn(9, 3, generator=draw, dtype=torch.float64)
    annotators, labels = torch.randint(4, (9,), generator=draw), torch.randint(3, (9,), generator=draw)
    groups = torch.tensor([0, 1, 1, 0])
    correction = torch.zeros(2, 3, 3, dtype=torch.float64, requires_grad=True)
    answered = head.probabilities(torch.softmax(logits, 1), annotators, labels, correction[groups[annotators]])
    (slope,) = torch.autograd.grad(crowd_loss(answered, 9), logits, create_graph=True)
    (wanted,) = torch.autograd.grad((slope * direction).sum(), correction)
    found = directional_gradient(head, torch.softmax(logits, 1).detach(), direction, annotators, labels, groups, 9, 2)
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-12)
