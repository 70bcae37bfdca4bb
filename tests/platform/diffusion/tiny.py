"""Small things that the tests of diffusion share."""

from __future__ import annotations

import numpy as np
import torch
from stillhouse.platform.data.images import ImageData
from stillhouse.platform.data.sources import load
from stillhouse.platform.diffusion.networks import Denoiser, Network, fresh
from stillhouse.platform.diffusion.teacher import DiffusionTeacher

SHAPE = (1, 8, 8)
CLASSES = 10
MLP = Network(hidden=16)
UNET = Network("unet", channels=8, multipliers=(1, 2), groups=4)
TEACHER = DiffusionTeacher(hidden=16, steps=10, batch_size=16, critic_width=16)


def digits(count: int, *, start: int = 0) -> ImageData:
    return load("digits").private.take(range(start, start + count))


def double(settings: Network = MLP, seed: int = 0) -> Denoiser:
    """A network in double precision."""
    return fresh(settings, SHAPE, CLASSES, seed).double()


def drawn(count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Noise, steps and labels."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(count, *SHAPE, generator=generator)
    return noise, torch.randint(500, (count,), generator=generator), torch.arange(count) % CLASSES


def question(count: int, *, student: bool = False) -> dict[str, np.ndarray]:
    """Inputs of a teacher's task."""
    noise, step, label = drawn(count)
    inputs = {
        "x": noise.numpy(),
        "step": step.numpy(),
        "label": label.numpy(),
        "signal": TEACHER.schedule.signal(step).numpy(),
    }
    return inputs | ({"student": torch.tanh(noise).numpy()} if student else {})
