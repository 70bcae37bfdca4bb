"""The networks that distillation is compared with on images of 32 pixels, as trunks (feature maps, no classifier).

With a linear classifier of 100 classes on the mean of their last maps they have the numbers of parameters that Tian, Krishnan & Isola
(Contrastive Representation Distillation, ICLR 2020) compare:

>>> sum(p.numel() for p in CIFAR_NETWORKS["resnet20"](3, 32).parameters()) + 100 * (64 + 1)
278324

ResNet: He et al., CVPR 2016. Wide ResNet: Zagoruyko & Komodakis, BMVC 2016. VGG: Simonyan & Zisserman, ICLR 2015, with batch norm
and one classifier layer. ShuffleNet: Zhang et al., CVPR 2018; V2: Ma et al., ECCV 2018, both with a 1x1 stem. Images may be smaller
or larger than 32 pixels: all but the poolings of VGG, which stop at 2x2, are strides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

import torch
from torch import Tensor, nn

from .trunk import ResidualBlock, Trunk, he_initialise


def _normed(before: int, width: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    padding = kernel // 2
    return [
        nn.Conv2d(before, width, kernel, stride, padding=padding, groups=groups, bias=False), nn.BatchNorm2d(width)
    ]  # fmt: skip


class _Wide(nn.Module):
    """The block of Wide ResNet: norm and activation come before each convolution; a shortcut that convolves starts behind the first."""

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.before = nn.Sequential(nn.BatchNorm2d(before), nn.ReLU())
        self.body = nn.Sequential(
            *_normed(before, width, 3, stride), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1, bias=False)
        )
        self.shortcut = nn.Conv2d(before, width, 1, stride, bias=False) if before != width else None

    def forward(self, maps: Tensor) -> Tensor:
        active = self.before(maps)
        return self.body(active) + (maps if self.shortcut is None else self.shortcut(active))


class _Shuffle(nn.Module):
    """Interleave the channels of groups."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self._groups = groups

    def forward(self, maps: Tensor) -> Tensor:
        return maps.unflatten(1, (self._groups, -1)).transpose(1, 2).flatten(1, 2)


class _ShuffleV1(nn.Module):
    """The unit of ShuffleNet; one that strides concatenates its pooled input, others add it."""

    def __init__(self, before: int, width: int, stride: int, groups: int, *, first: bool) -> None:
        super().__init__()
        added = width - before if stride == 2 else width
        middle = added // 4
        outer = 1 if first else groups  # Images' first 24 channels are too few to be divided.
        self.body = nn.Sequential(
            *_normed(before, middle, 1, groups=outer), nn.ReLU(), _Shuffle(outer),
            *_normed(middle, middle, 3, stride, groups=middle), nn.ReLU(), *_normed(middle, added, 1, groups=groups),
        )  # fmt: skip
        self.pool = nn.AvgPool2d(3, 2, padding=1) if stride == 2 else None

    def forward(self, maps: Tensor) -> Tensor:
        changed = self.body(maps)
        return torch.relu(changed + maps if self.pool is None else torch.cat([changed, self.pool(maps)], 1))


class _ShuffleV2(nn.Module):
    """The unit of ShuffleNet V2: half of the channels pass, the others are convolved."""

    def __init__(self, width: int) -> None:
        super().__init__()
        half = width // 2
        self.body = nn.Sequential(
            *_normed(half, half, 1), nn.ReLU(), *_normed(half, half, 3, groups=half), *_normed(half, half, 1), nn.ReLU()
        )
        self.shuffle = _Shuffle(2)

    def forward(self, maps: Tensor) -> Tensor:
        passed, changed = maps.chunk(2, 1)
        return self.shuffle(torch.cat([passed, self.body(changed)], 1))


class _ShuffleV2Down(nn.Module):
    """The unit of ShuffleNet V2 that strides: both branches see all channels."""

    def __init__(self, before: int, width: int) -> None:
        super().__init__()
        half = width // 2
        self.left = nn.Sequential(*_normed(before, before, 3, 2, groups=before), *_normed(before, half, 1), nn.ReLU())
        self.right = nn.Sequential(
            *_normed(before, half, 1), nn.ReLU(), *_normed(half, half, 3, 2, groups=half), *_normed(half, half, 1), nn.ReLU()
        )  # fmt: skip
        self.shuffle = _Shuffle(2)

    def forward(self, maps: Tensor) -> Tensor:
        return self.shuffle(torch.cat([self.left(maps), self.right(maps)], 1))


class _PoolIfLarge(nn.Module):
    """Halve maps of 4 pixels and more."""

    def forward(self, maps: Tensor) -> Tensor:
        return nn.functional.max_pool2d(maps, 2) if min(maps.shape[2:]) >= 4 else maps


def _resnet(depth: int, stem: int, widths: tuple[int, ...], channels: int, side: int) -> Trunk:
    blocks, before, stages = (depth - 2) // 6, stem, []
    for number, width in enumerate(widths):
        stage: list[nn.Module] = []
        for block in range(blocks):
            stage.append(ResidualBlock(before, width, 2 if number and not block else 1))
            before = width
        stages.append(nn.Sequential(*stage))
    return _initialised(Trunk(nn.Sequential(*_normed(channels, stem, 3), nn.ReLU()), stages, widths))


def _wide_resnet(depth: int, factor: int, channels: int, side: int) -> Trunk:
    blocks, before, stages = (depth - 4) // 6, 16, []
    widths = tuple(factor * width for width in (16, 32, 64))
    for number, width in enumerate(widths):
        stage: list[nn.Module] = []
        for block in range(blocks):
            stage.append(_Wide(before, width, 2 if number and not block else 1))
            before = width
        if number == len(widths) - 1:
            stage += [nn.BatchNorm2d(width), nn.ReLU()]
        stages.append(nn.Sequential(*stage))
    return _initialised(Trunk(nn.Conv2d(channels, 16, 3, padding=1, bias=False), stages, widths))


def _vgg(convolutions: tuple[int, ...], channels: int, side: int) -> Trunk:
    widths, before, stages = (64, 128, 256, 512, 512), channels, []
    for number, (width, count) in enumerate(zip(widths, convolutions, strict=True)):
        stage: list[nn.Module] = [_PoolIfLarge()] if number in (1, 2, 3) else []
        for _ in range(count):
            stage += [nn.Conv2d(before, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
            before = width
        stages.append(nn.Sequential(*stage))
    return _initialised(Trunk(nn.Identity(), stages, widths))


def _shufflenet_v1(channels: int, side: int) -> Trunk:
    widths, before, stages = (240, 480, 960), 24, []
    for width, count in zip(widths, (4, 8, 4), strict=True):
        stage = []
        for unit in range(count):
            stage.append(_ShuffleV1(before, width, 1 if unit else 2, 3, first=before == 24))
            before = width
        stages.append(nn.Sequential(*stage))
    return _initialised(Trunk(nn.Sequential(*_normed(channels, 24, 1), nn.ReLU()), stages, widths))


def _shufflenet_v2(channels: int, side: int) -> Trunk:
    widths, before, last, stages = (116, 232, 464), 24, 1024, []
    for width, count in zip(widths, (3, 7, 3), strict=True):
        stages.append(nn.Sequential(_ShuffleV2Down(before, width), *(_ShuffleV2(width) for _ in range(count))))
        before = width
    stages.append(nn.Sequential(*_normed(before, last, 1), nn.ReLU()))
    return _initialised(Trunk(nn.Sequential(*_normed(channels, 24, 1), nn.ReLU()), stages, (*widths, last)))


def _initialised(trunk: Trunk) -> Trunk:
    he_initialise(trunk)
    return trunk


# By name: from channels and side of the images to a fresh trunk.
CIFAR_NETWORKS: Mapping[str, Callable[[int, int], Trunk]] = MappingProxyType(
    {
        **{f"resnet{depth}": partial(_resnet, depth, 16, (16, 32, 64)) for depth in (20, 32, 56, 110)},
        **{f"resnet{depth}x4": partial(_resnet, depth, 32, (64, 128, 256)) for depth in (8, 32)},
        **{f"wrn_{d}_{factor}": partial(_wide_resnet, d, factor) for d, factor in ((16, 2), (40, 1), (40, 2))},
        "vgg8": partial(_vgg, (1, 1, 1, 1, 1)),
        "vgg11": partial(_vgg, (1, 1, 2, 2, 2)),
        "vgg13": partial(_vgg, (2, 2, 2, 2, 2)),
        "shufflenet_v1": _shufflenet_v1,
        "shufflenet_v2": _shufflenet_v2,
    }
)
