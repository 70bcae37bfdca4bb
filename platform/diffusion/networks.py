"""The networks of denoisers: diffusers' U-Net for images, a perceptron for 8x8 digits. No sample meets another in either.

A denoiser takes x_r (B, c, h, w), step (B,) and label (B,), and returns a prediction of x_r's shape (see `schedule`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import BadInput
from ..privacy.validate import positive_int
from .library import from_diffusers

Shape = tuple[int, int, int]
KINDS = ("mlp", "unet")
TIME_WIDTH = 32


@dataclass(frozen=True)
class Network:
    """Which network.

    Args:
        kind: mlp or unet.
        hidden: width of the perceptron's two hidden layers (mlp).
        channels: of the first level (unet); must be a multiple of 8.
        multipliers: channels of each level over those of the first; each level halves the image.
        blocks: residual blocks a level.
        groups: of the group normalisation.
        attention: whether the coarsest level attends, with heads of `head_channels` channels each. Few wide heads are quicker than many
            narrow ones: at 28 x 28 with 32 channels, one head saves some three tenths of a step on a CPU.
        conditional: whether it is told the class.
    """

    kind: str = "mlp"
    hidden: int = 256
    channels: int = 32
    multipliers: tuple[int, ...] = (1, 2, 2)
    blocks: int = 1
    groups: int = 8
    attention: bool = True
    head_channels: int = 8
    conditional: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "multipliers", tuple(self.multipliers))
        positive_int(hidden=self.hidden, channels=self.channels, blocks=self.blocks, groups=self.groups)
        positive_int(head_channels=self.head_channels)
        for multiplier in self.multipliers:
            positive_int(multipliers=multiplier)
        if self.kind not in KINDS:
            raise BadInput(f"unknown network {self.kind!r}", mend=f"use one of {', '.join(KINDS)}")
        if self.channels % 8 or self.channels % self.groups or not self.multipliers:
            raise BadInput(
                f"{self.channels} channels in {self.groups} groups, {len(self.multipliers)} levels",
                why="channels are a multiple of 8 and of the groups, and there is at least one level",
                mend="use for example channels=32, groups=8, multipliers=[1,2,2]",
            )
        coarsest = self.channels * self.multipliers[-1]
        if self.attention and coarsest % self.head_channels:
            raise BadInput(
                f"{coarsest} channels in heads of {self.head_channels}", mend="use a head_channels that divides them"
            )

    def build(self, shape: Shape, classes: int) -> Denoiser:
        """Return the network with fresh weights from torch's generator.

        Raises:
            BadInput: the images cannot be halved as often as there are levels.
            MissingExtra: diffusers is not installed.
        """
        body = _Perceptron(self, shape, classes) if self.kind == "mlp" else _UNet(self, shape, classes)
        return Denoiser(body)


class Denoiser(nn.Module):
    """A network with the denoisers' signature."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, noisy: Tensor, step: Tensor, label: Tensor) -> Tensor:
        """The prediction at x_r (B, c, h, w), step (B,) and label (B,)."""
        found: Tensor = self.body(noisy, step, label)
        return found


class _UNet(nn.Module):
    def __init__(self, settings: Network, shape: Shape, classes: int) -> None:
        super().__init__()
        channels, height, width = shape
        levels = len(settings.multipliers)
        if height % 2 ** (levels - 1) or width % 2 ** (levels - 1):
            raise BadInput(
                f"images of {height}x{width} in {levels} levels",
                why="every level but the first halves the image",
                mend="use fewer method.network.multipliers",
            )
        plain, last = "{}Block2D", "Attn{}Block2D" if settings.attention else "{}Block2D"
        kinds = [plain] * (levels - 1) + [last]
        self._conditional = settings.conditional
        self.unet: Any = from_diffusers("models.unets.unet_2d", "UNet2DModel")(
            sample_size=(height, width), in_channels=channels, out_channels=channels,
            block_out_channels=tuple(settings.channels * m for m in settings.multipliers),
            layers_per_block=settings.blocks, down_block_types=tuple(kind.format("Down") for kind in kinds),
            up_block_types=tuple(kind.format("Up") for kind in reversed(kinds)), add_attention=settings.attention,
            attention_head_dim=settings.head_channels,
            norm_num_groups=settings.groups, num_class_embeds=classes if settings.conditional else None,
        )  # fmt: skip

    def forward(self, noisy: Tensor, step: Tensor, label: Tensor) -> Tensor:
        found: Tensor = self.unet(noisy, step, label if self._conditional else None, return_dict=False)[0]
        return found


class _Perceptron(nn.Module):
    def __init__(self, settings: Network, shape: Shape, classes: int) -> None:
        super().__init__()
        pixels, hidden = shape[0] * shape[1] * shape[2], settings.hidden
        self._classes = classes if settings.conditional else 0
        # A one-hot vector has length 1 beside noise of length sqrt(pixels), and would be learnt last: both get the same length.
        self._loud = math.sqrt(pixels)
        self._embed = from_diffusers("models.embeddings", "get_timestep_embedding")
        # Not `layers`, as it was while the class had length 1: weights of that time mean something else, and are refused by this name.
        self.hearing = nn.Sequential(
            nn.Linear(pixels + TIME_WIDTH + self._classes, hidden), nn.SiLU(),
            nn.Linear(hidden, hidden), nn.SiLU(),
            nn.Linear(hidden, pixels),
        )  # fmt: skip

    def forward(self, noisy: Tensor, step: Tensor, label: Tensor) -> Tensor:
        told = [noisy.flatten(1), self._embed(step, TIME_WIDTH).to(noisy)]
        if self._classes:
            told.append(self._loud * F.one_hot(label, self._classes).to(noisy))
        found: Tensor = self.hearing(torch.cat(told, 1))
        return found.view_as(noisy)


def fresh(settings: Network, shape: Shape, classes: int, seed: int) -> Denoiser:
    """A network whose weights follow from the seed; torch's generator is as before afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return settings.build(shape, classes)
