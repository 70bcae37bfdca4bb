"""DAFL's losses have their identities and gradients; a generator learns from a frozen classifier, and a collapsed one is refused."""

from __future__ import annotations

import hashlib
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from stillhouse.methods.dgd.divergence import kl
from stillhouse.methods.dgd.generation import (
    Generation,
    activation,
    check_not_collapsed,
    information_entropy,
    joint_moments,
    one_hot,
    total_variation,
    train_generator,
)
from stillhouse.methods.dgd.generator import Generator
from stillhouse.platform.errors import BadInput, RunFailed
from stillhouse.platform.training.progress import Silent
from stillhouse.platform.training.run import LocalRun
from torch import Tensor, nn

SHAPE = (1, 8, 8)
SMALL = Generation(steps=60, batch_size=32, latent=8, width=8, moments=0.0, one_hot=1.0)


class Discriminator(nn.Module):
    """Classes are told apart by which quarter of the image is bright."""

    def __init__(self) -> None:
        super().__init__()
        masks = torch.zeros(4, 1, 8, 8)
        for k in range(4):
            masks[k, :, 4 * (k // 2) : 4 * (k // 2) + 4, 4 * (k % 2) : 4 * (k % 2) + 4] = 1 / 16
        self.weight = nn.Parameter(masks.flatten(1))

    def features(self, images: Tensor) -> Tensor:
        return images.flatten(1) @ self.weight.T

    def classify(self, features: Tensor) -> Tensor:
        return 12 * features

    def forward(self, images: Tensor) -> Tensor:
        return self.classify(self.features(images))


def local(folder: Path) -> LocalRun:
    return LocalRun(folder, seed=3, reporter=Silent())


def test_one_hot_is_cross_entropy_to_the_likeliest_class_as_a_constant() -> None:
    logits = torch.randn(6, 5, dtype=torch.float64, requires_grad=True)
    expected = -(logits.log_softmax(1).max(1).values).mean()
    torch.testing.assert_close(one_hot(logits), expected)
    (gradient,) = torch.autograd.grad(one_hot(logits), logits)
    hard = torch.eye(5, dtype=torch.float64)[logits.argmax(1)]
    torch.testing.assert_close(gradient, (logits.softmax(1) - hard) / 6)


def test_activation_is_minus_the_mean_absolute_feature() -> None:
    features = torch.tensor([[1.0, -2.0], [3.0, 0.0]])
    assert float(activation(features)) == -1.5


@pytest.mark.parametrize("classes", [2, 10])
def test_information_entropy_lies_between_its_bounds(classes: int) -> None:
    balanced = 50.0 * torch.eye(classes)
    assert float(information_entropy(balanced)) == pytest.approx(-math.log10(classes), abs=1e-5)
    assert float(information_entropy(balanced[:1].expand(7, -1))) == pytest.approx(0.0, abs=1e-5)
    torch.manual_seed(0)
    for _ in range(20):
        assert -math.log10(classes) - 1e-6 <= float(information_entropy(3 * torch.randn(9, classes))) <= 1e-6


@pytest.mark.parametrize("gap", [200.0, 1000.0])
def test_a_class_that_every_answer_rules_out_leaves_the_entropys_gradient_finite(gap: float) -> None:
    """A classifier under heavy noise is that sure of itself: the share of the other classes is 0 in single precision."""
    logits = torch.zeros(64, 10)
    logits[:, 3] = gap
    logits.requires_grad_()
    value = information_entropy(logits)
    (gradient,) = torch.autograd.grad(value, logits)
    assert float(value.detach()) == 0 and gradient.isfinite().all()


def test_gradients_of_the_losses() -> None:
    logits = torch.randn(4, 5, dtype=torch.float64, requires_grad=True)
    images = torch.rand(2, 1, 4, 4, dtype=torch.float64, requires_grad=True)
    features = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(information_entropy, logits)
    assert torch.autograd.gradcheck(one_hot, logits)
    assert torch.autograd.gradcheck(total_variation, images)
    assert torch.autograd.gradcheck(activation, features)
    assert torch.autograd.gradcheck(joint_moments, (logits, features))


def test_total_variation_counts_steps_both_ways() -> None:
    image = torch.zeros(1, 1, 4, 4)
    image[..., 2:] = 1.0
    assert float(total_variation(image)) == pytest.approx(1 / 3)
    assert float(total_variation(image.transpose(2, 3))) == pytest.approx(1 / 3)


def test_joint_moments_of_sure_answers_are_class_means() -> None:
    features = torch.tensor([[1.0, 0.0], [3.0, 2.0], [5.0, 5.0]])
    logits = 60 * torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    expected = torch.tensor([[4.0, 2.0], [5.0, 5.0]]) / 3
    torch.testing.assert_close(joint_moments(logits, features), expected)


def shares(discriminator: Discriminator, generator: Generator) -> Tensor:
    images = generator.sample(400, torch.Generator().manual_seed(0)).float() / 255
    return torch.bincount(discriminator(images).argmax(1), minlength=4) / 400


def entropy_of(share: Tensor) -> float:
    return float(-torch.special.xlogy(share, share).sum())


def test_the_generator_makes_every_class_and_the_entropy_term_is_why(tmp_path: Path) -> None:
    """Check 9: every class is there, L_ie is near its least value; without L_ie classes are lost."""
    discriminator = Discriminator().requires_grad_(False)
    found = {}
    for name, weight in {"with": 5.0, "without": 0.0}.items():
        settings = replace(SMALL, information_entropy=weight)
        generator = train_generator(
            local(tmp_path / name), discriminator, SHAPE, settings, moments=None, student=None, name="g", inputs={}
        )
        found[name] = shares(discriminator, generator)
    assert float(found["with"].min()) > 0.05
    assert entropy_of(found["with"]) > entropy_of(found["without"]) + 0.1


def test_the_discriminator_learns_nothing(tmp_path: Path) -> None:
    """Check 10: no gradient reaches it and its parameters stay, bit for bit."""
    discriminator = Discriminator()
    before = hashlib.sha256(discriminator.weight.detach().numpy().tobytes()).hexdigest()
    discriminator.requires_grad_(False)
    train_generator(
        local(tmp_path), discriminator, SHAPE, replace(SMALL, steps=5), moments=None, student=None, name="g", inputs={}
    )
    assert hashlib.sha256(discriminator.weight.numpy().tobytes()).hexdigest() == before
    assert discriminator.weight.grad is None


def test_moments_draw_the_generator_to_the_data(tmp_path: Path) -> None:
    """Class k's images shall have feature k at .5 and the others at .1: what the answers alone leave open."""
    discriminator = Discriminator().requires_grad_(False)
    target = (torch.full((4, 4), 0.1) + 0.4 * torch.eye(4)) / 4
    settings = replace(SMALL, steps=200, moments=300.0, one_hot=0.1)

    def distance(moments: Tensor | None, folder: Path) -> float:
        generator = train_generator(
            local(folder), discriminator, SHAPE, settings, moments=moments, student=None, name="g", inputs={}
        )
        images = generator.sample(400, torch.Generator().manual_seed(0)).float() / 255
        features = discriminator.features(images)
        return float((joint_moments(discriminator.classify(features), features) - target).norm())

    assert distance(target, tmp_path / "with") < 0.5 * distance(None, tmp_path / "without")


def test_disagreement_seeks_images_on_which_the_student_errs(tmp_path: Path) -> None:
    discriminator, student = Discriminator().requires_grad_(False), Discriminator().requires_grad_(False)
    with torch.no_grad():
        student.weight[0].zero_()  # It cannot see class 0.
    found = {}
    for weight in (0.0, 0.3):
        settings = replace(SMALL, disagreement=weight, steps=150)
        generator = train_generator(
            local(tmp_path / str(weight)),
            discriminator,
            SHAPE,
            settings,
            moments=None,
            student=student,
            name="g",
            inputs={},
        )
        images = generator.sample(400, torch.Generator().manual_seed(0)).float() / 255
        found[weight] = float(kl(discriminator(images), student(images)).mean())
    assert found[0.3] > 1.2 * found[0.0]


def test_a_collapsed_generator_is_refused() -> None:
    discriminator = Discriminator()
    one_image = torch.rand(1, *SHAPE).expand(100, -1, -1, -1)
    with pytest.raises(RunFailed, match="collapsed"):
        check_not_collapsed(discriminator, one_image, 4)
    one_class = torch.rand(100, *SHAPE) * 0.1
    one_class[:, :, :4, :4] = 1.0
    with pytest.raises(RunFailed, match=r"commonest class has 100\.0%"):
        check_not_collapsed(discriminator, one_class, 4)


def test_healthy_images_give_their_shares() -> None:
    images = torch.zeros(200, *SHAPE)
    images[:100, :, :4, :4] = torch.rand(100, 1, 4, 4)
    images[100:, :, 4:, 4:] = torch.rand(100, 1, 4, 4)
    assert check_not_collapsed(Discriminator(), images, 4) == [0.5, 0.0, 0.0, 0.5]


@pytest.mark.parametrize("wrong", [{"momentum": 1.0}, {"batch_size": 1}, {"one_hot": -1.0}, {"steps": 0}])
def test_wrong_settings(wrong: dict[str, float]) -> None:
    with pytest.raises(BadInput):
        Generation(**wrong)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 10, 14), (1, 28, 28)])
def test_shapes_and_sampling(shape: tuple[int, int, int]) -> None:
    generator = Generator(shape, latent=5, width=4)
    buffers = {name: value.clone() for name, value in generator.named_buffers()}
    images = generator.sample(251, torch.Generator().manual_seed(0))
    assert images.shape == (251, *shape)
    assert images.dtype == torch.uint8
    assert torch.equal(images, generator.sample(251, torch.Generator().manual_seed(0)))
    for name, value in generator.named_buffers():
        assert torch.equal(value, buffers[name])
