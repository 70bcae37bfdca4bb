"""The generator: latents to images in [0, 1], convolutional, so that smooth shapes are easy for it and noise is hard.

The layers are those of DAFL's generator (Chen et al. 2019, arXiv 1904.01186) with two differences: bilinear instead of nearest
upsampling, and a sigmoid at the end, so that images are in [0, 1] and a fixed normalisation is the classifier's business.
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F

DARK = 1.0  # The last layer starts this far below mid-grey: most small images have a dark ground.
SAMPLED_AT_ONCE = 250


class Generator(nn.Module):
    """Latents (B, `latent`) to images (B, c, h, w) in (0, 1)."""

    def __init__(self, shape: tuple[int, int, int], *, latent: int = 64, width: int = 64) -> None:
        super().__init__()
        self.shape, self.latent = shape, latent
        self._start = (math.ceil(shape[1] / 4), math.ceil(shape[2] / 4))
        self._width = width
        self.stem = nn.Linear(latent, 2 * width * self._start[0] * self._start[1])
        self.normal = nn.BatchNorm2d(2 * width)
        self.middle = nn.Sequential(nn.Conv2d(2 * width, width, 3, padding=1), nn.BatchNorm2d(width), nn.LeakyReLU(0.2))
        self.last = nn.Sequential(
            nn.Conv2d(width, width // 2, 3, padding=1), nn.BatchNorm2d(width // 2), nn.LeakyReLU(0.2),
            nn.Conv2d(width // 2, shape[0], 3, padding=1),
        )  # fmt: skip

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        """Return images."""
        maps = self.normal(self.stem(latents).view(len(latents), 2 * self._width, *self._start))
        middle = tuple(math.ceil(side / 2) for side in self.shape[1:])
        maps = self.middle(F.interpolate(maps, size=middle, mode="bilinear", align_corners=False))
        maps = self.last(F.interpolate(maps, size=self.shape[1:], mode="bilinear", align_corners=False))
        return torch.sigmoid(maps - DARK)

    def draw(self, n: int, generator: torch.Generator) -> torch.Tensor:
        """Return n latents, standard normal, on the generator's own device (CPU) first."""
        return torch.randn(n, self.latent, generator=generator).to(self.stem.weight.device)

    @torch.no_grad()
    def sample(self, n: int, generator: torch.Generator) -> torch.Tensor:
        """Return n images as uint8 (n, c, h, w).

        In training mode, on batches: with the running statistics of batch normalisation the images come out otherwise than those
        that the losses saw. Statistics that are tracked are left as they were.
        """
        tracked = {name: value.clone() for name, value in self.named_buffers()}
        was_training = self.training
        self.train()
        # Batches of equal size, and never of one image, which has no statistics.
        count = math.ceil(n / SAMPLED_AT_ONCE)
        size = max(2, math.ceil(n / count))
        images = torch.cat([self(self.draw(size, generator)) for _ in range(count)])[:n]
        for name, buffer in self.named_buffers():
            buffer.copy_(tracked[name])
        self.train(was_training)
        return (images * 255).round().to(torch.uint8).cpu()
