"""What is done to a training picture before it is degraded: teacher and student see one and the same draw.

>>> draw = Augmentation(flip=1.0, shift=0, gain=0).draw(1, torch.Generator())
>>> augmented(torch.tensor([[[[0, 255]]]], dtype=torch.uint8), draw)
tensor([[[[1., 0.]]]])
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from ...platform.errors import BadInput
from ...platform.privacy.validate import non_negative


@dataclass(frozen=True)
class Augmentation:
    """How much: probability of a mirror image, largest shift as a share of the side, largest change of brightness (1 +- gain)."""

    flip: float = 0.5
    shift: float = 0.04
    gain: float = 0.2

    def __post_init__(self) -> None:
        non_negative(flip=self.flip, shift=self.shift, gain=self.gain)
        for name in ("flip", "shift", "gain"):
            if getattr(self, name) > 1:
                raise BadInput(f"{name} is {getattr(self, name)!r}", why="it is a share, in 0 .. 1")

    def draw(self, count: int, generator: Generator) -> Draw:
        """One draw for each of `count` pictures."""
        flip = torch.rand(count, generator=generator) < self.flip
        shift = (2 * torch.rand(2, count, generator=generator) - 1) * self.shift
        gain = 1 + (2 * torch.rand(count, generator=generator) - 1) * self.gain
        return Draw(flip, shift, gain)


@dataclass(frozen=True)
class Draw:
    """flip (n,) bool; shift (2, n) down and right, shares of the side; gain (n,) factors."""

    flip: Tensor
    shift: Tensor
    gain: Tensor


def augmented(pictures: Tensor, draw: Draw) -> Tensor:
    """Pictures (n, c, h, w) uint8 to floats in [0, 1]: mirrored, shifted by whole pixels (edges repeat), brightened."""
    n, _, height, width = pictures.shape
    device = pictures.device
    down, right = (draw.shift * torch.tensor([[height], [width]])).round().long().to(device)
    rows = (torch.arange(height, device=device) - down[:, None]).clamp(0, height - 1)
    columns = (torch.arange(width, device=device) - right[:, None]).clamp(0, width - 1)
    # Mirrored first: the mirror image of a shifted picture would be shifted the other way.
    columns = torch.where(draw.flip.to(device)[:, None], width - 1 - columns, columns)
    numbers = torch.arange(n, device=device)
    # Channels last while pixels are looked up: one look-up moves all channels of a pixel.
    moved = pictures.permute(0, 2, 3, 1)[numbers[:, None, None], rows[:, :, None], columns[:, None, :]]
    bright = moved.permute(0, 3, 1, 2).float() * (draw.gain.to(device)[:, None, None, None] / 255)
    return bright.clamp_(0, 1)
