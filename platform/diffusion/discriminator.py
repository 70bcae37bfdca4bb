"""The critic that tells a teacher's images from a student's: spectral norm, the class by projection, one logit a sample.

Spectral norm: Miyato et al. 2018, arXiv 1802.05957; projection: Miyato & Koyama 2018, arXiv 1802.05637. The last layer starts from
zero and has no spectral norm: an untrained critic says one half of everything. There is no batch normalisation and no minibatch
statistic, so a sample's logit, and the gradient by its pixels, is its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from ..errors import BadInput
from ..privacy.validate import positive_int
from .networks import Shape

KINDS = ("mlp", "conv")
INPUTS = ("batch", "pair")
SLOPE = 0.2
LEVELS = 4


@dataclass(frozen=True)
class Critic:
    """Which discriminator.

    Args:
        kind: mlp (two hidden layers) or conv (up to four strided convolutions, each twice as wide as the one before).
        width: of the hidden layers, or of the first convolution.
        conditional: whether it is told the class.
        inputs: batch: an image is a teacher's or a student's. pair: two images by channels, is the teacher's the first?
    """

    kind: str = "mlp"
    width: int = 128
    conditional: bool = True
    inputs: str = "batch"

    def __post_init__(self) -> None:
        positive_int(width=self.width)
        for name, value, known in (("kind", self.kind, KINDS), ("inputs", self.inputs, INPUTS)):
            if value not in known:
                raise BadInput(f"discriminator {name} is {value!r}", mend=f"use one of {', '.join(known)}")

    @property
    def pair(self) -> bool:
        """Whether it looks at two images at once."""
        return self.inputs == "pair"

    def build(self, shape: Shape, classes: int) -> Discriminator:
        """Return the network with fresh weights from torch's generator."""
        channels, height, width = shape
        seen = (channels * (2 if self.pair else 1), height, width)
        features, size = _perceptron(seen, self.width) if self.kind == "mlp" else _convolutions(seen, self.width)
        return Discriminator(features, size, classes if self.conditional else 0)


class Discriminator(nn.Module):
    """Images (B, c, h, w) (pairs: (B, 2c, h, w)) and labels (B,) to logits (B,) of being the teacher's."""

    def __init__(self, features: nn.Module, size: int, classes: int) -> None:
        super().__init__()
        self.features = features
        self.head = nn.Linear(size, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.projection = nn.Embedding(classes, size) if classes else None
        if self.projection is not None:
            nn.init.zeros_(self.projection.weight)

    def forward(self, images: Tensor, label: Tensor) -> Tensor:
        """The logits."""
        features = self.features(images)
        logits = self.head(features).squeeze(1)
        return logits if self.projection is None else logits + (self.projection(label) * features).sum(1)


def fresh_critic(settings: Critic, shape: Shape, classes: int, seed: int) -> Discriminator:
    """A discriminator whose weights follow from the seed; torch's generator is as before afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return settings.build(shape, classes)


def _perceptron(shape: Shape, width: int) -> tuple[nn.Module, int]:
    pixels = shape[0] * shape[1] * shape[2]
    layers = nn.Sequential(
        nn.Flatten(), spectral_norm(nn.Linear(pixels, width)), nn.LeakyReLU(SLOPE),
        spectral_norm(nn.Linear(width, width)), nn.LeakyReLU(SLOPE),
    )  # fmt: skip
    return layers, width


def _convolutions(shape: Shape, width: int) -> tuple[nn.Module, int]:
    before, side = shape[0], min(shape[1:])
    layers: list[nn.Module] = []
    for level in range(LEVELS):
        if side < 2:
            break
        after = width * 2**level
        layers += [spectral_norm(nn.Conv2d(before, after, 4, stride=2, padding=1)), nn.LeakyReLU(SLOPE)]
        before, side = after, side // 2
    if not layers:
        raise BadInput(f"images of {shape[1]}x{shape[2]} for a convolution", mend="use kind=mlp for the discriminator")
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()), before
