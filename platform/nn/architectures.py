"""Networks by name, to see whether images condensed on one network also train the others: any image shape, no weights.

>>> build_network("resnet10", (1, 8, 8), 10)(torch.rand(2, 1, 8, 8)).shape
torch.Size([2, 10])
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import nn
from torchvision import models
from torchvision.models import vgg

from ..errors import BadInput
from .cnn import SmallCnn
from .convnet import ConvNet

Shape = tuple[int, int, int]

LEAST_SIDE = 4
LARGE_SIDE = 128
MOST_PATCH = 16


class ResNetAP10(nn.Module):
    """ResNet-10 with instance norm that shrinks by average pooling: float images (B, c, h, w) to logits (B, K).

    One block each of 64, 128, 256 and 512 channels, as in Kim et al. (Dataset Condensation via Efficient Synthetic-Data
    Parameterization, ICML 2022). The stem keeps images of up to 64 pixels, halves those of up to 128 and quarters larger ones.
    Poolings that would leave less than 2x2 are left out: instance norm turns a map of one pixel into a constant.
    """

    feature_size = 512

    def __init__(self, shape: Shape, classes: int) -> None:
        super().__init__()
        channels, side = shape[0], min(shape[1:])
        kernel, shrink = (3, 1) if side <= 64 else (3, 2) if side <= 128 else (7, 4)
        layers: list[nn.Module] = [_convolution(channels, 64, kernel), nn.ReLU(), nn.AvgPool2d(shrink)]
        side //= shrink
        before = 64
        for width in (64, 128, 256, 512):
            halve = width != before and side >= 4
            layers.append(_ResidualBlock(before, width, halve=halve))
            before, side = width, side // 2 if halve else side
        self.blocks = nn.Sequential(*layers)
        self.head = nn.Linear(self.feature_size, classes)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Return the last maps' means, (B, 512)."""
        return self.blocks(images).mean((2, 3))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits (B, K)."""
        return self.head(self.features(images))


class _ResidualBlock(nn.Module):
    def __init__(self, before: int, width: int, *, halve: bool) -> None:
        super().__init__()
        self.first = nn.Sequential(_convolution(before, width, 3), nn.ReLU())
        self.second = _convolution(width, width, 3)
        self.shortcut = nn.Identity() if before == width else _convolution(before, width, 1)
        self.pool = nn.AvgPool2d(2) if halve else nn.Identity()

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        changed = self.second(self.pool(self.first(maps)))
        # Pooling and a 1x1 convolution commute; this order convolves a quarter of the pixels.
        return torch.relu(changed + self.shortcut(self.pool(maps)))


def _convolution(before: int, width: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(before, width, kernel, padding=kernel // 2, bias=False), nn.GroupNorm(width, width))


def _resnet18(shape: Shape, classes: int) -> nn.Module:
    network = models.resnet18(weights=None, num_classes=classes)
    if min(shape[1:]) <= 64:
        network.conv1 = nn.Conv2d(shape[0], 64, 3, padding=1, bias=False)
        network.register_module("maxpool", nn.Identity())
    else:
        network.conv1 = nn.Conv2d(shape[0], 64, 7, stride=2, padding=3, bias=False)
    return network


def _vgg11(shape: Shape, classes: int) -> nn.Module:
    side = min(shape[1:])
    plan: list[int | str] = []
    for entry in vgg.cfgs["A"]:
        if entry == "M":
            if side < 2:
                continue
            side //= 2
        plan.append(entry)
    layers = vgg.make_layers(plan, batch_norm=True)
    layers[0] = nn.Conv2d(shape[0], 64, 3, padding=1)
    return nn.Sequential(layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, classes))


def _alexnet(shape: Shape, classes: int) -> nn.Module:
    channels, height, span = shape
    if min(height, span) >= LARGE_SIDE:
        network = models.alexnet(weights=None, num_classes=classes)
        network.features[0] = nn.Conv2d(channels, 64, 11, stride=4, padding=2)
        return network
    # The widths for small images are those of Zhao, Mopuri & Bilen (Dataset Condensation with Gradient Matching, ICLR 2021).
    layers: list[nn.Module] = []
    for width, kernel, pools in ((128, 5, True), (192, 5, True), (256, 3, False), (192, 3, False), (192, 3, True)):
        layers += [nn.Conv2d(channels, width, kernel, padding=kernel // 2), nn.ReLU()]
        channels = width
        if pools and min(height, span) >= 2:
            layers.append(nn.MaxPool2d(2))
            height, span = height // 2, span // 2
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * height * span, classes))


def _vit_tiny(shape: Shape, classes: int) -> nn.Module:
    channels, side, span = shape
    if side != span:
        raise BadInput(f"vit_tiny cannot take images of {side}x{span}", mend="use square images")
    # The largest patches that still give a grid of 7x7; tiny images get 2x2 patches and so a smaller grid.
    patch = max(p for p in range(1, min(MOST_PATCH, max(2, side // 7)) + 1) if side % p == 0)
    network = models.VisionTransformer(side, patch, 6, 3, 192, 384, num_classes=classes)
    projection = nn.Conv2d(channels, 192, patch, stride=patch)
    nn.init.trunc_normal_(projection.weight, std=(channels * patch * patch) ** -0.5)
    nn.init.zeros_(projection.bias)  # type: ignore[arg-type]
    network.conv_proj = projection
    return network


NETWORKS: Mapping[str, Callable[[Shape, int], nn.Module]] = MappingProxyType(
    {
        "convnet": ConvNet,
        "cnn": SmallCnn,
        "resnet10": ResNetAP10,
        "resnet18": _resnet18,
        "vgg11": _vgg11,
        "alexnet": _alexnet,
        "vit_tiny": _vit_tiny,
    }
)


def build_network(name: str, shape: Shape, classes: int) -> nn.Module:
    """Return a fresh network from standardised float images (B, *shape) to logits (B, classes).

    `convnet` and `resnet10` also give `features(images)`, (B, `feature_size`). `resnet18` and `vgg11` hold batch norms: while they
    train, the images of a batch touch one another, and one small image alone is no batch. `vit_tiny` begins with logits of zero.

    Args:
        name: one of `NETWORKS`.
        shape: (c, h, w) of the images, each side at least 4.
        classes: number of classes.

    Raises:
        BadInput: no network has this name, or it cannot take images of this shape.
    """
    if name not in NETWORKS:
        near = difflib.get_close_matches(name, list(NETWORKS), n=1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise BadInput(f"no network is called '{name}'{hint}", mend=f"use one of {', '.join(sorted(NETWORKS))}")
    if min(shape[1:]) < LEAST_SIDE:
        raise BadInput(f"images of {shape[1]}x{shape[2]} are too small for {name}", mend="use 4x4 or more")
    return NETWORKS[name](shape, classes)
