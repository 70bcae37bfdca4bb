"""The one recipe of experts and judges."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from stillhouse.cluster.config.compose import compose
from stillhouse.methods.condensation import recipe as module
from stillhouse.methods.condensation.augment import Augmentation
from stillhouse.methods.condensation.encoders import fresh_network
from stillhouse.methods.condensation.forward import Forward
from stillhouse.methods.condensation.recipe import Recipe, accuracy_of, as_floats, logits_of, train_network
from stillhouse.methods.condensation.standard import Standard
from stillhouse.platform.data.sources import load
from stillhouse.platform.errors import BadInput
from stillhouse.platform.training.metrics import read_metrics
from stillhouse.platform.training.progress import Silent
from stillhouse.platform.training.run import LocalRun
from torch import Tensor, nn

SHAPE, CPU, STANDARD = (1, 8, 8), torch.device("cpu"), Standard((0.3,), (0.4,))


def run_of(folder: Path, seed: int = 0) -> LocalRun:
    return LocalRun(folder, seed=seed, reporter=Silent())


def linear() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))


def images_of(count: int) -> tuple[Tensor, Tensor]:
    return torch.rand(count, *SHAPE), torch.arange(count) % 10


def test_digits_are_learnt_in_few_steps(tmp_path: Path) -> None:
    digits = load("digits")
    standard = Standard.of(digits.private)
    network = fresh_network("convnet", SHAPE, 10, 0)
    images, labels = torch.from_numpy(digits.private.images), torch.from_numpy(digits.private.labels)
    recipe = Recipe(steps=80, learning_rate=0.05, augmentation=Augmentation("color_crop_cutout"))
    train_network(run_of(tmp_path), network, images, labels, recipe, standard, name="net", inputs=None)
    assert accuracy_of(network, digits.score, standard, Forward(), CPU) > 0.8


def test_the_rate_falls_to_a_fifth_at_two_thirds_and_at_five_sixths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates: list[float] = []
    real_train = module.train

    def spy(run: Any, model: Any, loss: Any, loader: Any, optimizer: torch.optim.Optimizer, **more: Any) -> Any:
        def counted(net: Any, batch: Any) -> Tensor:
            rates.append(optimizer.param_groups[0]["lr"])
            return loss(net, batch)

        (group,) = optimizer.param_groups
        assert (group["momentum"], group["weight_decay"], more["scheduler_every"]) == (0.8, 1e-3, "step")
        return real_train(run, model, counted, loader, optimizer, **more)

    monkeypatch.setattr(module, "train", spy)
    recipe = Recipe(steps=12, batch_size=5, learning_rate=0.1, momentum=0.8, weight_decay=1e-3)
    train_network(run_of(tmp_path), linear(), *images_of(10), recipe, STANDARD, name="net", inputs=None)
    assert rates == pytest.approx([0.1] * 8 + [0.02] * 2 + [0.004] * 2)


@pytest.mark.parametrize(
    ("milestones", "expected"),
    [
        ((0.5,), [0.1] * 6 + [0.01] * 6),
        ([], [0.1] * 12),
        ((0.25, 0.5), [0.1] * 3 + [0.01] * 3 + [0.001] * 6),
    ],
)
def test_where_and_how_far_the_rate_falls_is_a_setting(
    milestones: Any, expected: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates: list[float] = []
    real_train = module.train

    def spy(run: Any, model: Any, loss: Any, loader: Any, optimizer: torch.optim.Optimizer, **more: Any) -> Any:
        def counted(net: Any, batch: Any) -> Tensor:
            rates.append(optimizer.param_groups[0]["lr"])
            return loss(net, batch)

        return real_train(run, model, counted, loader, optimizer, **more)

    monkeypatch.setattr(module, "train", spy)
    recipe = Recipe(steps=12, batch_size=5, learning_rate=0.1, milestones=milestones, decay=0.1)
    train_network(run_of(tmp_path), linear(), *images_of(10), recipe, STANDARD, name="net", inputs=None)
    assert rates == pytest.approx(expected)


@pytest.mark.parametrize(("data", "flip"), [("cifar10", "flip_"), ("svhn", "")])
def test_dm_as_published_is_judged_as_published(data: str, flip: str) -> None:
    """Exactly one of the listed operations, a tenth of the rate after epoch 500 of 1,000, the last accuracy only."""
    method = compose([f"data={data}", "data.root=nowhere", "method=dm_paper"]).method
    recipe = method.evaluation.recipe
    assert recipe.augmentation == method.augmentation == Augmentation(f"color_crop_{flip}scale_rotate_cutout", one=True)
    assert (recipe.epochs, recipe.batch_size, recipe.learning_rate, recipe.momentum) == (1000, 256, 0.01, 0.9)
    assert (recipe.milestones, recipe.decay, recipe.weight_decay, recipe.cutmix) == ((0.5,), 0.1, 5e-4, 0.0)
    assert method.evaluation.looks == 1


@pytest.mark.parametrize(("cutmix", "cut", "mixed"), [(0.5, False, True), (1.0, False, True), (0.0, True, False)])
def test_cutout_gives_way_to_cutmix(
    cutmix: float, cut: bool, mixed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: set[str] = set()
    pasted: list[float] = []
    real_single, real_cutmix = Augmentation.single, module.cutmix

    def single(self: Augmentation, images: Tensor, generator: torch.Generator) -> Tensor:
        used.add(self.strategy)
        return real_single(self, images, generator)

    def mix(*args: Any, **more: Any) -> Any:
        found = real_cutmix(*args, **more)
        pasted.append(found.weight)
        return found

    monkeypatch.setattr(Augmentation, "single", single)
    monkeypatch.setattr(module, "cutmix", mix)
    recipe = Recipe(steps=20, batch_size=5, cutmix=cutmix, augmentation=Augmentation("color_crop_cutout"))
    train_network(run_of(tmp_path), linear(), *images_of(10), recipe, STANDARD, name="net", inputs=None)
    assert used == {"color_crop_cutout" if cut else "color_crop"}
    share = sum(weight < 1 for weight in pasted) / 20
    assert (share > 0) == mixed
    assert share < 1 or cutmix == 1


def test_epochs_or_steps() -> None:
    assert Recipe(steps=100).passes(16) == 7  # at least as many steps as asked for
    assert Recipe(steps=3).passes(16) == 1
    assert Recipe(epochs=5, steps=100).passes(16) == 5


def test_it_is_looked_at_after_every_epoch(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []

    def evaluate(network: nn.Module, epoch: int, epochs: int) -> dict[str, float]:
        assert not network.training
        seen.append((epoch, epochs))
        return {"score": float(epoch)}

    recipe = Recipe(epochs=3, batch_size=4)
    train_network(
        run_of(tmp_path), linear(), *images_of(10), recipe, STANDARD, name="net", inputs=None, evaluate=evaluate
    )
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert read_metrics(tmp_path / "metrics.jsonl")["net/score"] == [(3, 1.0), (6, 2.0), (9, 3.0)]


def trained(folder: Path, seed: int = 0, images: Tensor | None = None, **more: Any) -> Tensor:
    network = linear()
    given, labels = images_of(12)
    recipe = Recipe(steps=6, batch_size=64, **more)
    torch.manual_seed(5)  # a training draws from a stream of its own
    train_network(
        run_of(folder, seed),
        network,
        given if images is None else images,
        labels,
        recipe,
        STANDARD,
        name="net",
        inputs=None,
    )
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


def test_a_training_follows_from_the_seed_and_bytes_are_pixels(tmp_path: Path) -> None:
    torch.manual_seed(9)
    bytes_ = torch.randint(256, (12, *SHAPE), dtype=torch.uint8)
    first = trained(tmp_path / "a", images=bytes_)
    assert torch.equal(trained(tmp_path / "b", images=bytes_.float() / 255), first)
    assert not torch.equal(trained(tmp_path / "c", seed=1, images=bytes_), first)
    # Another recipe in the same folder does not find the first one's network.
    assert not torch.equal(trained(tmp_path / "a", images=bytes_, learning_rate=0.2), first)


def test_a_network_is_scored_in_evaluation_mode_on_standardised_pixels() -> None:
    images = torch.randint(256, (7, *SHAPE), dtype=torch.uint8)
    network = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, 10)).train()
    found = logits_of(network, images, STANDARD, Forward(3), CPU)
    assert not found.requires_grad
    expected = network.eval()(STANDARD(as_floats(images)))
    torch.testing.assert_close(found, expected.detach(), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "value"), [("steps", 0), ("epochs", 0), ("batch_size", -1), ("learning_rate", 0), ("weight_decay", -1),
                        ("momentum", 1.5), ("cutmix", -0.1), ("milestones", (0.5, 1.0)), ("milestones", (0,)), ("decay", 0)],
)  # fmt: skip
def test_settings_out_of_range_are_named(name: str, value: Any) -> None:
    with pytest.raises(BadInput, match=name):
        Recipe(**{name: value})
