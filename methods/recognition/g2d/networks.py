"""Encoder and decoder of the inpainting that G2D starts with.

Their form is that of the guided up-sampler of ICT (Wan, Zhang, Chen & Liao, High-Fidelity Pluralistic Image Completion with
Transformers, ICCV 2021), cut behind its residual blocks: what the encoder gives there is the descriptor that G2D recognises by.

>>> encoder, decoder = Encoder(), Decoder()
>>> descriptor = encoder(torch.rand(2, 3, 64, 64), torch.zeros(2, 1, 64, 64))
>>> descriptor.shape, decoder(descriptor).shape
(torch.Size([2, 128, 16, 16]), torch.Size([2, 3, 64, 64]))
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from ....platform.errors import BadInput
from ....platform.privacy.validate import positive_int
from .partial_conv import PartialConv2d

KINDS = ("plain", "partial_conv")
GUIDES = ("mask", "coarse")
COLOURS = 3
VISIBLE_BELOW = 0.5
COARSE_SIDE = 32
FIRST_CONTRAST = 0.1


@dataclass(frozen=True)
class Descriptor:
    """Settings of encoder and decoder.

    Args:
        width: channels of the first convolution; the two after it, each at half the size, have twice and four times as many.
        blocks: residual blocks, at a quarter of the size.
        kind: plain, or partial_conv (what the map calls hidden does not enter; Liu et al. 2018).
        guide: what the plain encoder is shown beside the picture. mask: the map, 4 channels in all. coarse: a picture of at most 32
            pixels in which the hidden part is filled from its surroundings, 6 channels as in ICT, whose transformer draws it there.
    """

    width: int = 32
    blocks: int = 4
    kind: str = "plain"
    guide: str = "mask"

    def __post_init__(self) -> None:
        positive_int(width=self.width, blocks=self.blocks)
        for name, value, known in (("kind", self.kind, KINDS), ("guide", self.guide, GUIDES)):
            if value not in known:
                raise BadInput(f"descriptor.{name} is {value!r}", mend=f"use one of {', '.join(known)}")
        if self.kind == "partial_conv" and self.guide != "mask":
            raise BadInput(
                "partial convolutions are guided by the mask", mend="set method.network.descriptor.guide=mask"
            )

    @property
    def channels(self) -> int:
        """Of the descriptor."""
        return 4 * self.width


class Encoder(nn.Module):
    """Pictures (B, 3, s, s) in [0, 1] and maps of their masks (B, 1, s, s), 1 where hidden, to descriptors (B, 4 width, s/4, s/4).

    `s` is a multiple of 4, at least 16.
    """

    def __init__(self, settings: Descriptor | None = None) -> None:
        super().__init__()
        settings = settings or Descriptor()
        width = settings.width
        self.kind, self.guide = settings.kind, settings.guide
        partial = settings.kind == "partial_conv"
        convolution = PartialConv2d if partial else nn.Conv2d
        shown = COLOURS if partial else COLOURS + (1 if settings.guide == "mask" else COLOURS)
        self.down = nn.ModuleList(
            [
                convolution(shown, width, 7, padding=3, padding_mode="reflect"),
                convolution(width, 2 * width, 4, stride=2, padding=1),
                convolution(2 * width, 4 * width, 4, stride=2, padding=1),
            ]
        )
        block = PartialResidual if partial else Residual
        blocks = [block(4 * width) for _ in range(settings.blocks)]
        self.blocks = nn.ModuleList(blocks)
        he_initialise(self)
        with torch.no_grad():
            for (
                one
            ) in blocks:  # Without normalisation, so many sums would grow: together they add as much as there was.
                one.second.weight.mul_(settings.blocks**-0.5)

    def forward(self, seen: Tensor, hidden: Tensor) -> Tensor:
        """The descriptor."""
        check_pictures(seen, hidden)
        if self.kind == "partial_conv":
            return self._partially(_channels_last(_centred(seen)), (hidden < VISIBLE_BELOW).to(seen.dtype))
        beside = hidden if self.guide == "mask" else _centred(coarse_fill(seen, hidden))
        features = _channels_last(torch.cat([_centred(seen), beside], dim=1))
        for layer in self.down:
            features = functional.relu(layer(features))
        for block in self.blocks:
            features = block(features)
        return features

    def _partially(self, features: Tensor, visible: Tensor) -> Tensor:
        for layer in self.down:
            features, visible = layer(features, visible)
            features = functional.relu(features)
        for block in self.blocks:
            features, visible = block(features, visible)
        return features


class Residual(nn.Module):
    """x + conv(relu(conv(x))), 3 x 3, the first with dilation 2, without normalisation; borders are mirrored."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=2, dilation=2, padding_mode="reflect")
        self.second = nn.Conv2d(channels, channels, 3, padding=1, padding_mode="reflect")

    def forward(self, features: Tensor) -> Tensor:
        """Features of the same size."""
        return features + self.second(functional.relu(self.first(features)))


class PartialResidual(nn.Module):
    """The same of partial convolutions. What is visible only grows: both windows hold their own centre."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = PartialConv2d(channels, channels, 3, padding=2, dilation=2, padding_mode="reflect")
        self.second = PartialConv2d(channels, channels, 3, padding=1, padding_mode="reflect")

    def forward(self, features: Tensor, visible: Tensor) -> tuple[Tensor, Tensor]:
        """Features and visibility of the same size."""
        more, after = self.first(features, visible)
        more, after = self.second(functional.relu(more), after)
        return features + more, after


class Decoder(nn.Module):
    """Descriptors (B, 4 width, s/4, s/4) to pictures (B, 3, s, s) in [0, 1]."""

    def __init__(self, settings: Descriptor | None = None) -> None:
        super().__init__()
        width = (settings or Descriptor()).width
        last = nn.Conv2d(width, COLOURS, 7, padding=3, padding_mode="reflect")
        self.layers = nn.Sequential(
            nn.ConvTranspose2d(4 * width, 2 * width, 4, stride=2, padding=1), nn.ReLU(),
            nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1), nn.ReLU(), last,
        )  # fmt: skip
        he_initialise(self)
        with torch.no_grad():
            last.weight.mul_(FIRST_CONTRAST)  # The first pictures are grey, where tanh is not flat.

    def forward(self, descriptor: Tensor) -> Tensor:
        """The pictures."""
        drawn: Tensor = (torch.tanh(self.layers(descriptor)) + 1) / 2
        return drawn


def _centred(pictures: Tensor) -> Tensor:
    """From [0, 1] to [-1, 1]: without normalisation, layers learn several times as fast from values around 0."""
    return 2 * pictures - 1


def _channels_last(features: Tensor) -> Tensor:
    """The order of memory in which dilated convolutions take half the time on a CPU."""
    return features.contiguous(memory_format=torch.channels_last)


def he_initialise(network: nn.Module) -> None:
    """Draw weights so that layers with ReLU keep the size of what they pass on (He et al. 2015, arXiv 1502.01852); biases are 0."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            inputs = layer.in_channels * math.prod(layer.kernel_size)
            if isinstance(layer, nn.ConvTranspose2d):
                inputs //= math.prod(layer.stride)  # so many enter a pixel
            nn.init.normal_(layer.weight, std=math.sqrt(2 / inputs))
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def coarse_fill(seen: Tensor, hidden: Tensor) -> Tensor:
    """Pictures (B, 3, s, s) of at most 32 pixels, enlarged again, with the hidden part filled from what is around it.

    Visible pixels are averaged over squares of 1, 2, 4... coarse pixels; a coarse pixel takes the smallest square that holds something
    visible. A picture that is hidden as a whole becomes grey.
    """
    size = seen.shape[-1]
    side = min(COARSE_SIDE, size)
    visible = 1 - hidden.clamp(0, 1)
    colours = functional.adaptive_avg_pool2d(seen * visible, side)
    weights = functional.adaptive_avg_pool2d(visible, side)
    filled = torch.full_like(colours, 0.5)
    level = side
    steps = []
    while level >= 1:
        steps.append((functional.adaptive_avg_pool2d(colours, level), functional.adaptive_avg_pool2d(weights, level)))
        level //= 2
    for colour, weight in reversed(steps):  # from the whole picture to single pixels, each going over the one before
        known = functional.interpolate((weight > 1e-3).to(seen.dtype), size=(side, side), mode="nearest")
        mean = functional.interpolate(colour / weight.clamp(min=1e-3), size=(side, side), mode="nearest")
        filled = known * mean + (1 - known) * filled
    return functional.interpolate(filled, size=(size, size), mode="bilinear", align_corners=False)


def check_pictures(seen: Tensor, hidden: Tensor) -> None:
    """Refuse what the encoder cannot take.

    Raises:
        BadInput: pictures or maps are of another form.
    """
    count, channels, height, width = seen.shape if seen.ndim == 4 else (0, 0, 0, 0)
    if channels != COLOURS or height != width or height % 4 or height < 16 or hidden.shape != (count, 1, height, width):
        raise BadInput(
            f"pictures of shape {tuple(seen.shape)} with maps of shape {tuple(hidden.shape)}",
            why="the encoder takes (B, 3, s, s) and (B, 1, s, s), s a multiple of 4 from 16 up",
            mend="set method.size to such a number",
        )
