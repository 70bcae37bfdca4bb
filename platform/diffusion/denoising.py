"""The usual training of a denoiser (Ho, Jain & Abbeel 2020): predict what was mixed into an image at a random step.

Nothing in here protects anything: a denoiser trained on records by `train_denoiser` never leaves their owner.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..data.images import ImageData
from ..errors import BadInput
from ..privacy.validate import positive, positive_int
from ..training.loop import train
from ..training.run import Run
from .average import Average
from .networks import Denoiser
from .sampling import centred
from .schedule import Schedule


@dataclass(frozen=True)
class Training:
    """How a denoiser is trained on images.

    Args:
        steps: batches in all, rounded up to whole passes over the images.
        batch_size, learning_rate: of Adam.
        averaging: decay of the average of the weights, which is the result.
        clip_norm: largest length of a batch's gradient.
    """

    steps: int = 2000
    batch_size: int = 64
    learning_rate: float = 1e-3
    averaging: float = 0.999
    clip_norm: float = 1.0

    def __post_init__(self) -> None:
        positive_int(steps=self.steps, batch_size=self.batch_size)
        positive(learning_rate=self.learning_rate, clip_norm=self.clip_norm)
        if not 0 <= self.averaging < 1:
            raise BadInput(f"averaging must be at least 0 and below 1, not {self.averaging!r}")


def denoising_losses(
    network: nn.Module, schedule: Schedule, images: Tensor, label: Tensor, step: Tensor, noise: Tensor
) -> Tensor:
    """|target - prediction|^2 of each image (B, c, h, w) in [-1, 1], summed over pixels: (B,)."""
    prediction = network(schedule.noisy(images, step, noise), step, label)
    return (prediction - schedule.target(images, step, noise)).square().flatten(1).sum(1)


def drawn_losses(network: nn.Module, schedule: Schedule, images: Tensor, label: Tensor) -> Tensor:
    """`denoising_losses` at steps and noise from torch's generator."""
    step = torch.randint(schedule.steps, (len(images),), device=images.device)
    return denoising_losses(network, schedule, images, label, step, torch.randn_like(images))


def train_denoiser(
    run: Run, network: Denoiser, schedule: Schedule, data: ImageData, settings: Training, *, name: str, inputs: Any
) -> dict[str, Tensor]:
    """Train in place, with checkpoints and on as many processes as the run has; return the averaged weights.

    `inputs` (JSON) names what else the weights depend on.
    """
    network.to(run.device)
    numbers = math.prod(data.shape)
    loader = run.loader(
        (torch.from_numpy(data.images), torch.from_numpy(data.labels)), min(settings.batch_size, len(data))
    )
    optimizer = torch.optim.Adam(network.parameters(), settings.learning_rate)
    average = Average(network, settings.averaging)

    def loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        return drawn_losses(model, schedule, centred(batch[0]), batch[1]).mean() / numbers

    train(
        run, network, loss, loader, optimizer, epochs=max(1, math.ceil(settings.steps / len(loader))), name=name,
        clip_norm=settings.clip_norm, after_step=lambda step: average.update(), extras={"average": average},
        inputs=inputs,
    )  # fmt: skip
    return average.weights
