"""A trunk: a stem, then stages whose outputs are the feature maps; and the residual block that several are made of."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn


class Trunk(nn.Module):
    """Images (B, c, h, w) to the maps (B, C_i, h_i, w_i) after each stage.

    Args:
        stem: applied first; its output is no map.
        stages: in order.
        maps: channels after each stage.
    """

    def __init__(self, stem: nn.Module, stages: Iterable[nn.Module], maps: tuple[int, ...]) -> None:
        super().__init__()
        self.stem, self.stages, self.maps = stem, nn.ModuleList(stages), maps

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the maps, from early to late."""
        found = []
        current = self.stem(images)
        for stage in self.stages:
            current = stage(current)
            found.append(current)
        return tuple(found)


def he_initialise(network: nn.Module) -> None:
    """Convolutions by He et al. (ICCV 2015, fan out), batch norms to the identity."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with batch norm and a shortcut (He et al., CVPR 2016)."""

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(before, width, 3, stride, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width),
        )  # fmt: skip
        same = before == width and stride == 1
        self.shortcut: nn.Module = nn.Identity()
        if not same:
            self.shortcut = nn.Sequential(nn.Conv2d(before, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, maps: Tensor) -> Tensor:
        """Return maps of the block's width."""
        return torch.relu(self.body(maps) + self.shortcut(maps))
