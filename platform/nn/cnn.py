"""A small convolutional network in the manner of PATE's teachers: two convolutions with pooling, then two dense layers.

No normalisation layer: batch statistics would couple the samples of a batch, and stacked copies must train as single ones do.
"""

from __future__ import annotations

import torch
from torch import nn

from ..errors import BadInput


class SmallCnn(nn.Module):
    """Images (B, c, h, w), floats in [0, 1], to logits (B, K)."""

    def __init__(self, shape: tuple[int, int, int], classes: int, *, width: int = 16, hidden: int = 64) -> None:
        super().__init__()
        channels, height, span = shape
        if min(height, span) < 4:
            raise BadInput(f"images of {height}x{span} are too small for two poolings", mend="use 4x4 or more")
        self.features = nn.Sequential(
            nn.Conv2d(channels, width, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(width, 2 * width, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        )  # fmt: skip
        self.head = nn.Sequential(
            nn.Linear(2 * width * (height // 4) * (span // 4), hidden), nn.ReLU(), nn.Linear(hidden, classes)
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits. Pixels are centred by a public constant, not by the shard's statistics."""
        return self.head(self.features(images - 0.5))
