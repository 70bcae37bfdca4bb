"""dlib's face recognition network (Davis King 2017; weights CC0): a residual network of 29 layers, written here for PyTorch.

The original (dlib, examples/dnn_face_recognition_ex.cpp) follows each convolution by a scale and a shift per channel, which are part of
the convolution here. What is particular to it:

- "down" units: their first convolution strides by 2 without padding, and their shortcut is a 2x2 mean without weights;
- what is added to each other may differ in channels and, by one, in height and width: the smaller is continued by zeros, at the
  end of the channels, at the bottom and at the right;
- the embedding (128 numbers) is a linear map of the mean over space, without bias and not normalised. dlib calls two chips one person
  when they lie within a Euclidean distance of 0.6.

>>> network = DlibResNet()
>>> [tuple(one.shape[1:]) for one in network.trunk(torch.zeros(1, 3, 150, 150))]
[(32, 35, 35), (64, 17, 17), (128, 8, 8), (256, 4, 4), (256, 2, 2)]
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

SIDE = 150
LENGTH = 128
MEAN = (122.782, 117.001, 104.298)
SPREAD = 256.0
# The name of a unit, its width, and whether it goes down; a stage a line.
STAGES: tuple[tuple[tuple[str, int, bool], ...], ...] = (
    (("conv32_1", 32, False), ("conv32_2", 32, False), ("conv32_3", 32, False)),
    (("conv64_down", 64, True), ("conv64_1", 64, False), ("conv64_2", 64, False), ("conv64_3", 64, False)),
    (("conv128_down", 128, True), ("conv128_1", 128, False), ("conv128_2", 128, False)),
    (("conv256_down", 256, True), ("conv256_1", 256, False), ("conv256_2", 256, False)),
    (("conv256_down_out", 256, True),),
)
MAPS = tuple(stage[-1][1] for stage in STAGES)


class Unit(nn.Module):
    """A residual unit: maps (B, before, h, w) to (B, width, h', w')."""

    def __init__(self, before: int, width: int, *, down: bool) -> None:
        super().__init__()
        self.down = down
        self.first = nn.Conv2d(before, width, 3, stride=2 if down else 1, padding=0 if down else 1)
        self.second = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, maps: Tensor) -> Tensor:
        """Return the unit's maps."""
        body = self.second(torch.relu(self.first(maps)))
        shortcut = functional.avg_pool2d(maps, 2) if self.down else maps
        return torch.relu(add_extended(body, shortcut))


def add_extended(one: Tensor, other: Tensor) -> Tensor:
    """The sum of (B, c, h, w) and (B, c', h', w'), each continued by zeros to the larger of both sizes."""
    shape = [max(sizes) for sizes in zip(one.shape[1:], other.shape[1:], strict=True)]
    return _extended(one, shape) + _extended(other, shape)


def _extended(maps: Tensor, shape: list[int]) -> Tensor:
    channels, height, width = (wanted - there for wanted, there in zip(shape, maps.shape[1:], strict=True))
    return functional.pad(maps, (0, width, 0, height, 0, channels)) if channels or height or width else maps


class DlibResNet(nn.Module):
    """Chips (B, 3, 150, 150), RGB from 0 to 255, to embeddings (B, 128)."""

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 7, stride=2)
        self.stages = nn.ModuleList()
        before = 32
        for stage in STAGES:
            units = nn.ModuleDict()
            for name, width, down in stage:
                units[name] = Unit(before, width, down=down)
                before = width
            self.stages.append(units)
        self.embed = nn.Linear(before, LENGTH, bias=False)
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)

    def trunk(self, chips: Tensor) -> tuple[Tensor, ...]:
        """The maps after each stage, from early to late."""
        maps = torch.relu(self.stem((chips - self.mean) / SPREAD))
        maps = functional.max_pool2d(maps, 3, stride=2)
        found = []
        for stage in self.stages:
            for unit in stage.values():  # type: ignore[operator]
                maps = unit(maps)
            found.append(maps)
        return tuple(found)

    def forward(self, chips: Tensor) -> Tensor:
        """Return embeddings, not normalised."""
        return self.embedding(self.trunk(chips)[-1])

    def embedding(self, last: Tensor) -> Tensor:
        """The embeddings of the last maps."""
        return self.embed(last.mean(dim=(2, 3)))
