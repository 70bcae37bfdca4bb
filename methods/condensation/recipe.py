"""How a network is trained on images: the experts of DANCE, the judges of a condensed set, and the full-data reference alike.

SGD, a fifth of the rate at two thirds and five sixths of the training, CutMix in half of the batches, one augmentation draw for each
image: the evaluation of IDC (Kim et al. 2022), which M3D and DANCE keep, and the default here. DM's own is a matter of settings.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ...platform.data.images import ImageData
from ...platform.errors import BadInput
from ...platform.privacy.validate import non_negative, positive, positive_int
from ...platform.training.loop import train
from ...platform.training.run import Run
from .augment import Augmentation
from .cutmix import cutmix, mixed_cross_entropy
from .forward import Forward
from .standard import Standard


@dataclass(frozen=True)
class Recipe:
    """Settings of a training.

    Args:
        epochs: passes over the images; None: as many as make `steps`.
        steps: batches in all, where `epochs` does not say it.
        batch_size, learning_rate, momentum, weight_decay: of SGD.
        milestones, decay: parts of the training, each above 0 and below 1, after which the rate is multiplied by `decay`.
        cutmix: probability that a batch is mixed.
        augmentation: what is done to each image; cutout is left out where CutMix is on.
    """

    epochs: int | None = None
    steps: int = 300
    batch_size: int = 64
    learning_rate: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 5e-4
    milestones: tuple[float, ...] = (2 / 3, 5 / 6)
    decay: float = 0.2
    cutmix: float = 0.5
    augmentation: Augmentation = field(default_factory=lambda: Augmentation("color_crop_cutout_scale_rotate"))

    def __post_init__(self) -> None:
        object.__setattr__(self, "milestones", tuple(self.milestones))
        positive_int(steps=self.steps, batch_size=self.batch_size)
        if self.epochs is not None:
            positive_int(epochs=self.epochs)
        positive(learning_rate=self.learning_rate, decay=self.decay)
        non_negative(weight_decay=self.weight_decay)
        for name in ("momentum", "cutmix"):
            if not 0 <= getattr(self, name) <= 1:
                raise BadInput(f"{name} is {getattr(self, name)!r}", why="it must be in [0, 1]")
        if not all(0 < part < 1 for part in self.milestones):
            raise BadInput(f"milestones are {self.milestones}", why="each must be above 0 and below 1")

    def passes(self, batches: int) -> int:
        """Epochs, for so many batches an epoch."""
        return self.epochs if self.epochs is not None else max(1, math.ceil(self.steps / batches))


def train_network(
    run: Run, network: nn.Module, images: Tensor, labels: Tensor, recipe: Recipe, standard: Standard, *, name: str,
    inputs: Any, evaluate: Callable[[nn.Module, int, int], Mapping[str, float]] | None = None,
) -> None:  # fmt: skip
    """Train on images (n, c, h, w), uint8 or floats in [0, 1], and labels (n,).

    `evaluate` gets the network, the epoch, and how many there are.
    """
    loader = run.loader((images, labels), min(recipe.batch_size, len(images)))
    epochs = recipe.passes(len(loader))
    optimizer = torch.optim.SGD(
        network.parameters(), recipe.learning_rate, momentum=recipe.momentum, weight_decay=recipe.weight_decay
    )
    steps = epochs * len(loader)
    at_steps = [max(1, int(steps * part)) for part in recipe.milestones]
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, at_steps, recipe.decay)
    augmentation = recipe.augmentation.without("cutout") if recipe.cutmix else recipe.augmentation

    def loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        pixels, answers = batch
        # One number of the training's stream seeds the augmentation, so a resumed training draws what it would have drawn.
        generator = torch.Generator().manual_seed(int(torch.randint(2**62, (1,))))
        found = augmentation.single(standard(as_floats(pixels)), generator)
        mixed = cutmix(found, answers, generator, probability=recipe.cutmix)
        return mixed_cross_entropy(model(mixed.images), mixed)

    at = 0

    def note(step: int) -> None:
        nonlocal at
        at = step

    def after_epoch(model: nn.Module) -> Mapping[str, float]:
        return evaluate(model, at // len(loader), epochs) if evaluate is not None else {}

    train(
        run, network, loss, loader, optimizer, epochs=epochs, name=name, scheduler=schedule, scheduler_every="step",
        evaluate=after_epoch if evaluate is not None else None, after_step=note,
        inputs={"recipe": asdict(recipe), "of": inputs},
    )  # fmt: skip


def as_floats(images: Tensor) -> Tensor:
    """Pixels in [0, 1]."""
    return images.float() / 255 if images.dtype == torch.uint8 else images


@torch.no_grad()
def logits_of(network: nn.Module, images: Tensor, standard: Standard, forward: Forward, device: torch.device) -> Tensor:
    """Logits (n, K) of images (n, c, h, w), uint8 or floats in [0, 1], on the CPU."""
    network.eval()
    found = [
        forward(network, [standard(as_floats(part.to(device)))])[0].cpu()
        for part in images.split(max(forward.piece, 250))
    ]
    return torch.cat(found)


def accuracy_of(
    network: nn.Module, test: ImageData, standard: Standard, forward: Forward, device: torch.device
) -> float:
    """Fraction of right answers on a test set."""
    found = logits_of(network, torch.from_numpy(test.images), standard, forward, device).argmax(1)
    return float((found.numpy() == test.labels).mean())
