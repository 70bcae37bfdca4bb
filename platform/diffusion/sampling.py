"""Images from a denoiser: DDIM by diffusers' scheduler, from pure noise down the rungs of a chain. Images are in [-1, 1]."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .schedule import Schedule

Predict = Callable[[Tensor, Tensor, Tensor], Tensor]
AT_ONCE = 500


@torch.no_grad()
def descend(
    predict: Predict, schedule: Schedule, noise: Tensor, label: Tensor, *, rungs: int, down_to: int | None = None,
    clip: bool = True,
) -> Tensor:  # fmt: skip
    """Follow the chain of `rungs` steps from `noise` (B, c, h, w) for labels (B,); deterministic.

    `down_to`: how many of its steps are taken; the result is then x_r at the next rung's step. None: all of them, to the image.
    `clip`: whether estimates of the image are kept in [-1, 1].
    """
    scheduler = schedule.scheduler(clip=clip)
    schedule.ladder(rungs)  # Refuses what the scheduler would step beside.
    scheduler.set_timesteps(rungs)
    parts = []
    for start in range(0, len(noise), AT_ONCE):
        found, own = noise[start : start + AT_ONCE], label[start : start + AT_ONCE]
        for step in scheduler.timesteps[: rungs if down_to is None else down_to].tolist():
            prediction = predict(found, torch.full((len(found),), step, device=found.device), own)
            found = scheduler.step(prediction, step, found).prev_sample
        parts.append(found)
    return torch.cat(parts) if parts else noise


def sample(
    predict: Predict, schedule: Schedule, label: Tensor, shape: tuple[int, int, int], *, rungs: int,
    generator: torch.Generator, device: torch.device,
) -> Tensor:  # fmt: skip
    """Images (B, c, h, w) in [-1, 1] for labels (B,), on the CPU; the noise comes from the (CPU) generator."""
    parts = []
    for own in label.split(AT_ONCE):
        noise = torch.randn(len(own), *shape, generator=generator)
        parts.append(descend(predict, schedule, noise.to(device), own.to(device), rungs=rungs).clamp(-1, 1).cpu())
    return torch.cat(parts)


def pixels(images: Tensor) -> Tensor:
    """Images in [-1, 1] to pixels, uint8."""
    return ((images.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def centred(images: Tensor) -> Tensor:
    """Pixels, uint8, to images in [-1, 1]."""
    return images.float() / 127.5 - 1
