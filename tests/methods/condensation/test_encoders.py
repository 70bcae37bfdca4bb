"""Encoders: a line from first weights to trained ones, fresh networks by number, and what an expert thinks of what is made."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from stillhouse.methods.condensation.augment import Augmentation
from stillhouse.methods.condensation.condensing import Loop, Steps, condense
from stillhouse.methods.condensation.discrepancy import MeanDifference
from stillhouse.methods.condensation.encoders import MiddleEncoders, RandomEncoders, fresh_network, frozen, mix
from stillhouse.methods.condensation.forward import Forward
from stillhouse.methods.condensation.matching import Calibration, RealMatching, Term
from stillhouse.methods.condensation.real import RealImages
from stillhouse.methods.condensation.recipe import Recipe, accuracy_of, logits_of, train_network
from stillhouse.methods.condensation.standard import Standard
from stillhouse.platform.data.sources import Source, load
from stillhouse.platform.nn.architectures import build_network
from stillhouse.platform.training.progress import Silent
from stillhouse.platform.training.run import LocalRun
from stillhouse.platform.training.seeds import seed_for
from torch import Tensor, nn
from torch.nn import functional as F

SHAPE, CPU = (1, 8, 8), torch.device("cpu")
Ends = dict[str, dict[str, Tensor]]


def seeds(seed: int) -> Callable[..., int]:
    return lambda *names: seed_for(seed, *names)


def ends(first: int, trained: int, architecture: str = "convnet") -> Ends:
    states = [fresh_network(architecture, SHAPE, 10, seed).state_dict() for seed in (first, trained)]
    return {"first": states[0], "trained": states[1]}


def weights(network: object) -> Tensor:
    assert isinstance(network, nn.Module)
    return torch.cat([parameter.flatten() for parameter in network.parameters()]).clone()


@pytest.mark.parametrize("architecture", ["convnet", "resnet10"])
def test_the_ends_are_exact_and_the_middle_is_in_the_middle(architecture: str) -> None:
    line = ends(0, 1, architecture)
    first, trained = (frozen(fresh_network(architecture, SHAPE, 10, seed), CPU) for seed in (0, 1))
    middle = frozen(build_network(architecture, SHAPE, 10), CPU)
    images = torch.randn(3, *SHAPE)
    for weight, end in ((1.0, first), (0.0, trained)):
        mix(middle, line["first"], line["trained"], weight=weight)
        assert torch.equal(weights(middle), weights(end))
        assert torch.equal(middle(images), end(images))
    mix(middle, line["first"], line["trained"], weight=0.5)
    torch.testing.assert_close(weights(middle), (weights(first) + weights(trained)) / 2, rtol=0, atol=1e-7)
    mix(middle, line["first"], line["trained"], weight=0.2)
    torch.testing.assert_close(weights(middle), 0.2 * weights(first) + 0.8 * weights(trained), rtol=0, atol=1e-6)
    # Nothing of the ends was changed on the way, and nothing but parameters needs mixing.
    assert torch.equal(weights(first), torch.cat([line["first"][n].flatten() for n, _ in first.named_parameters()]))
    assert list(middle.buffers()) == []


def test_middle_encoders_are_drawn_anew_each_iteration_and_follow_from_the_seed() -> None:
    experts = [ends(0, 1), ends(2, 3), ends(4, 5)]
    build = lambda seed: MiddleEncoders(experts, "convnet", SHAPE, 10, seed_for=seeds(seed), device=CPU)
    encoders, same, other = build(0), build(0), build(1)
    draws = [encoders.draw(number) for number in range(300)]
    assert draws == [same.draw(number) for number in range(300)] != [other.draw(number) for number in range(300)]
    places = torch.tensor([weight for _, weight in draws])
    assert len(set(places.tolist())) == 300
    assert 0 <= float(places.min()) < 0.02
    assert 0.98 < float(places.max()) < 1
    assert abs(float(places.mean()) - 0.5) < 0.06  # 3.6 standard deviations
    assert {which for which, _ in draws} == {0, 1, 2}
    for number in (7, 3, 7):  # any order
        which, weight = draws[number]
        expected = frozen(build_network("convnet", SHAPE, 10), CPU)
        mix(expected, experts[which]["first"], experts[which]["trained"], weight=weight)
        assert torch.equal(weights(encoders.at(number)), weights(expected))
        assert torch.equal(
            weights(encoders.expert(number)), weights(fresh_network("convnet", SHAPE, 10, 2 * which + 1))
        )


@pytest.mark.parametrize("every", [1, 5])
def test_random_encoders_change_when_they_should_and_are_found_again(every: int) -> None:
    build = lambda seed: RandomEncoders("convnet", SHAPE, 10, every=every, seed_for=seeds(seed), device=CPU)
    encoders = build(0)
    seen = [weights(encoders.at(number)) for number in range(11)]
    changes = [number for number in range(1, 11) if not torch.equal(seen[number], seen[number - 1])]
    assert changes == [number for number in range(1, 11) if number % every == 0]
    assert not torch.equal(seen[0], seen[10])
    fresh = build(0)
    for number in (10, 0, 7):  # a restart, or another process
        assert torch.equal(weights(fresh.at(number)), seen[number])
    assert not torch.equal(weights(build(1).at(0)), seen[0])


def test_fresh_networks_leave_the_global_stream_alone() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    fresh_network("convnet", SHAPE, 10, 0)
    assert torch.equal(torch.rand(3), expected)


def test_frozen_weights_give_the_same_gradient_of_the_image() -> None:
    """Check E3, and that instance norm makes the convolutions' biases idle."""
    gradients = []
    for freeze in (True, False):
        network = fresh_network("convnet", SHAPE, 10, 0)
        images = torch.rand(4, *SHAPE, generator=torch.Generator().manual_seed(0)).requires_grad_()
        features = (frozen(network, CPU) if freeze else network).features(images)  # type: ignore[operator]
        features.mean(0).square().sum().backward()
        assert images.grad is not None
        gradients.append(images.grad)
        assert all(
            (parameter.grad is None) == freeze for name, parameter in network.named_parameters() if "blocks" in name
        )
    assert torch.equal(gradients[0], gradients[1])
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    for module in convolutions:
        assert module.bias is not None
        assert module.bias.grad.abs().max() < 1e-4 * module.weight.grad.abs().max()  # type: ignore[union-attr, operator]


@pytest.fixture(scope="module")
def digits() -> Source:
    return load("digits")


@pytest.fixture(scope="module")
def expert(digits: Source, tmp_path_factory: pytest.TempPathFactory) -> Ends:
    """First and trained weights of a network that learnt the digits."""
    run = LocalRun(tmp_path_factory.mktemp("expert"), reporter=Silent())
    network = fresh_network("convnet", SHAPE, 10, 0)
    first = {name: value.clone() for name, value in network.state_dict().items()}
    images, labels = torch.from_numpy(digits.private.images), torch.from_numpy(digits.private.labels)
    recipe = Recipe(steps=96, learning_rate=0.05, augmentation=Augmentation("color_crop"))
    train_network(run, network, images, labels, recipe, Standard.of(digits.private), name="expert", inputs=None)
    return {"first": first, "trained": network.state_dict()}


def test_accuracy_falls_along_the_line_from_trained_to_first_weights(digits: Source, expert: Ends) -> None:
    standard, middle = Standard.of(digits.private), frozen(build_network("convnet", SHAPE, 10), CPU)

    def accuracy(weight: float) -> float:
        mix(middle, expert["first"], expert["trained"], weight=weight)
        return accuracy_of(middle, digits.score, standard, Forward(), CPU)

    found = [accuracy(weight) for weight in (0.0, 0.25, 0.5, 0.75, 0.9, 1.0)]
    assert all(later <= earlier + 0.02 for earlier, later in pairwise(found)), found
    middle.load_state_dict(expert["trained"])
    assert found[0] == accuracy_of(middle, digits.score, standard, Forward(), CPU) > 0.88
    assert found[-1] < 0.25


def test_calibration_makes_the_expert_see_the_class_that_is_meant(digits: Source, expert: Ends, tmp_path: Path) -> None:
    """Check T2, from images of wrong classes. On digits matching alone convinces the expert in the end, too, only later."""
    standard, augmentation = Standard.of(digits.private), Augmentation("color_crop")
    real = RealImages(digits.private, batch=16, seed_for=seeds(0))
    fresh = RandomEncoders("convnet", SHAPE, 10, every=1, seed_for=seeds(0), device=CPU)
    middle = MiddleEncoders([expert], "convnet", SHAPE, 10, seed_for=seeds(0), device=CPU)
    matching = RealMatching(real, standard, fresh, MeanDifference(), augmentation, Forward(), seeds(1))
    calibration = Calibration(standard, middle, augmentation, Forward(), seeds(2))
    trained = frozen(build_network("convnet", SHAPE, 10), CPU)
    trained.load_state_dict(expert["trained"])
    start = torch.stack([real.of_class((c + 1) % 10)[:1] for c in range(10)])

    def judged(images: Tensor) -> tuple[float, float]:
        logits, answers = (
            logits_of(trained, images.clamp(0, 1).flatten(0, 1), standard, Forward(), CPU),
            torch.arange(10),
        )
        return float((logits.argmax(1) == answers).float().mean()), float(F.cross_entropy(logits, answers))

    def condensed(name: str, rate: float, iterations: int, *terms: Term) -> tuple[float, float]:
        loop = Loop(terms, Steps(rate, 0.5, 10), factor=1, most=200, iterations=iterations, together=1)
        return judged(condense(LocalRun(tmp_path / name, reporter=Silent()), loop, start, key={}))

    assert judged(start)[0] <= 0.1
    assert condensed("calibration", 0.03, 25, calibration)[0] == 1.0
    both, alone = condensed("both", 0.01, 10, matching, calibration), condensed("alone", 0.01, 10, matching)
    assert both[0] == 1.0
    assert both[1] < 0.7 * alone[1]
