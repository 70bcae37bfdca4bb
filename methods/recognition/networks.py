"""Recognisers: a trunk, and what makes one embedding of its last maps.

>>> student = Recogniser("resnet_small", side=16, embedding_length=128)
>>> sum(p.numel() for p in student.parameters())
957728
>>> seen = student.eval()(torch.rand(2, 3, 16, 16))
>>> seen.embedding.shape, [tuple(one.shape[1:]) for one in seen.maps]
(torch.Size([2, 128]), [(32, 16, 16), (64, 8, 8), (128, 4, 4)])
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...platform.errors import BadInput
from ...platform.nn.trunks import build_trunk, check_trunk
from ...platform.privacy.validate import positive_int
from ...platform.training.seeds import seeded
from .seen import Seen


class Recogniser(nn.Module):
    """Pictures (B, channels, side, side), floats in [0, 1], to a `Seen`.

    Args:
        architecture: one of `platform.nn.trunks.TRUNKS`.
        side: pixels of a side.
        embedding_length: the last maps are flattened and projected to so many numbers, batch-normalised, as face recognition does
            (ArcFace: Deng et al., CVPR 2019); None: the embedding is their mean, as classification of objects does.
        channels: of the pictures.

    Raises:
        BadInput: no such architecture, or pictures that are too small for it.
    """

    def __init__(self, architecture: str, *, side: int, embedding_length: int | None, channels: int = 3) -> None:
        super().__init__()
        self.architecture, self.side, self.channels = architecture, side, channels
        self.trunk = build_trunk(architecture, channels=channels, side=side)
        self.maps = self.trunk.maps
        if embedding_length is None:
            self.neck: nn.Module = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
            self.embedding_length = self.maps[-1]
        else:
            with torch.no_grad():
                last = self.trunk.eval()(torch.zeros(1, channels, side, side))[-1]
            self.trunk.train()
            self.neck = nn.Sequential(
                nn.Flatten(), nn.Linear(last[0].numel(), embedding_length, bias=False), nn.BatchNorm1d(embedding_length)
            )
            self.embedding_length = embedding_length

    def forward(self, pictures: Tensor) -> Seen:
        """Return the embedding and the maps."""
        if pictures.shape[1:] != (self.channels, self.side, self.side):
            raise BadInput(
                f"pictures of shape {tuple(pictures.shape[1:])}",
                why=f"this network sees {self.channels} channels of {self.side} x {self.side} pixels",
                mend="resize them as its card says",
            )
        maps = self.trunk((pictures - 0.5) / 0.5)
        return Seen(self.neck(maps[-1]), maps)


@dataclass(frozen=True)
class Architecture:
    """Which network, and the length of its embedding; None: the mean of its last maps. Faces need a length."""

    name: str = "resnet_small"
    embedding_length: int | None = 128

    def __post_init__(self) -> None:
        check_trunk(self.name)
        if self.embedding_length is not None:
            positive_int(embedding_length=self.embedding_length)

    def fresh(self, *, side: int, channels: int, seed: int) -> Recogniser:
        """A network whose first weights depend on `seed` alone."""
        with seeded(seed):
            return Recogniser(self.name, side=side, embedding_length=self.embedding_length, channels=channels)
