"""The network of frames: pictures (N, 3, H, W) to maps of features (N, C, h, w).

Larger sizes are torchvision's ResNets without their classifier. The thin one is for two cores: a 5 x 5 stem and four basic blocks
(He et al. 2016) of widths 16, 32, 64, 128; 80 pixels become 5 x 5 cells.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ....platform.errors import BadInput
from .form import Form

WIDTHS = (16, 32, 64, 128)
STRIDES = (1, 2, 2, 2)
GROUPS = 8


class Block(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut."""

    def __init__(self, channels: int, width: int, stride: int, norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, width, 3, stride, 1, bias=False), norm(width), nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, 1, 1, bias=False), norm(width),
        )  # fmt: skip
        plain = stride == 1 and channels == width
        self.shortcut: nn.Module = (
            nn.Identity() if plain else nn.Sequential(nn.Conv2d(channels, width, 1, stride, bias=False), norm(width))
        )

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (N, channels, h, w) to (N, width, h / stride, w / stride)."""
        return torch.relu(self.body(maps) + self.shortcut(maps))


class ThinResNet(nn.Module):
    """Stem and four blocks, 0.3 M parameters."""

    def __init__(self, norm: str) -> None:
        super().__init__()
        make: Callable[[int], nn.Module] = (
            nn.BatchNorm2d if norm == "batch" else lambda width: nn.GroupNorm(GROUPS, width)
        )
        self.channels = WIDTHS[-1]
        self.stem = nn.Sequential(nn.Conv2d(3, WIDTHS[0], 5, 2, 2, bias=False), make(WIDTHS[0]), nn.ReLU(inplace=True))
        before = (WIDTHS[0], *WIDTHS[:-1])
        blocks = zip(before, WIDTHS, STRIDES, strict=True)
        self.blocks = nn.Sequential(*(Block(channels, width, stride, make) for channels, width, stride in blocks))
        _start(self)

    def forward(self, pictures: Tensor) -> Tensor:
        """Pictures (N, 3, H, W) to maps (N, 128, H / 16, W / 16), rounded up."""
        maps: Tensor = self.blocks(self.stem(pictures))
        return maps


class TorchvisionResNet(nn.Module):
    """A ResNet of torchvision up to its last maps."""

    def __init__(self, name: str, weights: str | None) -> None:
        super().__init__()
        # torchvision's models take a while to import, and the thin network does not need them.
        from torchvision import models

        whole = getattr(models, name)(weights=None)
        self.channels = int(whole.fc.in_features)
        if weights is not None:
            _load(whole, weights, name)
        self.body = nn.Sequential(*list(whole.children())[:-2])

    def forward(self, pictures: Tensor) -> Tensor:
        """Pictures (N, 3, H, W) to maps (N, C, H / 32, W / 32), rounded up."""
        maps: Tensor = self.body(pictures)
        return maps


def make_backbone(form: Form) -> ThinResNet | TorchvisionResNet:
    """The network of frames that a form names.

    Raises:
        BadInput: the file of weights cannot be read, or is of another network.
    """
    return ThinResNet(form.norm) if form.backbone == "thin" else TorchvisionResNet(form.backbone, form.weights)


def _start(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def _load(network: nn.Module, file: str, name: str) -> None:
    path = Path(file)
    if not path.is_file():
        raise BadInput(
            f"{path} does not exist", why="network.weights names it", mend=f"give a state dict of torchvision's {name}"
        )
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state: dict[str, Any] = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
        network.load_state_dict(state)
    except Exception as error:  # A file that is none fails in as many ways as there are libraries behind it.
        raise BadInput(
            f"{path} is no state dict of torchvision's {name}",
            why=type(error).__name__,
            mend="give the file as torchvision writes it, classifier included, as .pth or .safetensors",
        ) from None
