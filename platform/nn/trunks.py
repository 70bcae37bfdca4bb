"""Convolutional trunks: images to feature maps, from early to late, without a classifier.

>>> import torch
>>> trunk = build_trunk("resnet20", channels=3, side=32)
>>> [tuple(one.shape) for one in trunk(torch.rand(2, 3, 32, 32))], trunk.maps
([(2, 16, 32, 32), (2, 32, 16, 16), (2, 64, 8, 8)], (16, 32, 64))
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

from torch import nn
from torchvision import models

from ..errors import BadInput
from .cifar_networks import CIFAR_NETWORKS
from .trunk import ResidualBlock, Trunk, he_initialise

SMALL_SIDE = 40  # images up to this side are convolved at their own resolution
MIDDLE_SIDE = 64
LEAST_SIDE = 8


def small_resnet(channels: int, side: int, *, widths: tuple[int, ...] = (32, 64, 128)) -> Trunk:
    """Two residual blocks a width. The stem strides so that the first maps have some 16 to 40 pixels a side."""
    stride = 1 if side <= SMALL_SIDE else 2 if side <= 2 * SMALL_SIDE else 4
    stem = nn.Sequential(
        nn.Conv2d(channels, widths[0], 2 * stride + 1, stride, padding=stride, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU()
    )  # fmt: skip
    stages, before = [], widths[0]
    for number, width in enumerate(widths):
        stages.append(nn.Sequential(ResidualBlock(before, width, 2 if number else 1), ResidualBlock(width, width, 1)))
        before = width
    trunk = Trunk(stem, stages, widths)
    he_initialise(trunk)
    return trunk


def _torchvision(make: Callable[..., models.ResNet], expansion: int, channels: int, side: int) -> Trunk:
    """torchvision's ResNet with a 3x3 stem and no pooling after it, so that images of 16 pixels leave 2x2 maps."""
    network = make(weights=None)
    first = nn.Conv2d(channels, 64, 3, 1 if side <= MIDDLE_SIDE else 2, padding=1, bias=False)
    nn.init.kaiming_normal_(first.weight, mode="fan_out", nonlinearity="relu")
    stem = nn.Sequential(first, network.bn1, nn.ReLU())
    stages = [network.layer1, network.layer2, network.layer3, network.layer4]
    return Trunk(stem, stages, tuple(expansion * width for width in (64, 128, 256, 512)))


TRUNKS: Mapping[str, Callable[[int, int], Trunk]] = MappingProxyType(
    {
        "resnet_small": small_resnet,
        "resnet18": partial(_torchvision, models.resnet18, 1),
        "resnet34": partial(_torchvision, models.resnet34, 1),
        "resnet50": partial(_torchvision, models.resnet50, 4),
        "wide_resnet50_2": partial(_torchvision, models.wide_resnet50_2, 4),
        **CIFAR_NETWORKS,
    }
)


def build_trunk(name: str, *, channels: int, side: int) -> Trunk:
    """Return a fresh trunk for standardised float images (B, channels, side, side).

    Raises:
        BadInput: no trunk has this name, or the images are smaller than 8 pixels.
    """
    check_trunk(name)
    if side < LEAST_SIDE:
        raise BadInput(f"images of {side} pixels are too small for {name}", mend=f"use {LEAST_SIDE} or more")
    return TRUNKS[name](channels, side)


def check_trunk(name: str) -> None:
    """Refuse a name that no trunk has, with the nearest."""
    if name not in TRUNKS:
        near = difflib.get_close_matches(name, list(TRUNKS), n=1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise BadInput(f"no network is called '{name}'{hint}", mend=f"use one of {', '.join(sorted(TRUNKS))}")
