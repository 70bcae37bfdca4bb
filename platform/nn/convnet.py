"""The ConvNet on which sets of images are condensed: blocks of convolution, instance norm, ReLU and average pooling.

Every image is normalised by itself, so the samples of a batch do not touch one another and training equals evaluation.

>>> network = ConvNet((1, 28, 28), 10)
>>> network.feature_size, sum(p.numel() for p in network.parameters())
(2048, 317706)
"""

from __future__ import annotations

import torch
from torch import nn

from ..errors import BadInput

MNIST_SHAPE = (1, 28, 28)


class ConvNet(nn.Module):
    """Standardised float images (B, c, h, w) to logits (B, K), by way of features (B, `feature_size`).

    The shape is that of Gidaris & Komodakis (Dynamic Few-Shot Visual Learning without Forgetting, CVPR 2018), as Zhao & Bilen
    (Dataset Condensation with Distribution Matching, WACV 2023) and their successors use it. An MNIST-like image, 28x28 in one
    channel, is padded to 32x32 by the first convolution.

    Args:
        shape: (c, h, w) of the images.
        classes: number of classes, K.
        width: channels of every block.
        depth: number of blocks, each of which halves the image. By default the last map is 4x4 for images of 32, 64, 128...
            pixels (3, 4, 5... blocks); smaller images get at most 3 blocks and keep a last map of at least 2x2.

    Raises:
        BadInput: the images are too small for one block, or for `depth` blocks.
    """

    def __init__(
        self, shape: tuple[int, int, int], classes: int, *, width: int = 128, depth: int | None = None
    ) -> None:
        super().__init__()
        channels, height, span = shape
        first_padding = 1
        if tuple(shape) == MNIST_SHAPE:
            first_padding, height, span = 3, 32, 32
        depth = _usual_depth(min(height, span)) if depth is None else depth
        if depth < 1 or min(height, span) >> depth < 1:
            raise BadInput(
                f"{depth} blocks do not fit images of {shape[1]}x{shape[2]}",
                why="every block halves the image and one pixel must be left",
                mend=f"use a depth of 1 to {min(height, span).bit_length() - 1}",
            )
        layers: list[nn.Module] = []
        for block in range(depth):
            layers += [
                nn.Conv2d(width if block else channels, width, 3, padding=1 if block else first_padding),
                nn.GroupNorm(width, width), nn.ReLU(), nn.AvgPool2d(2),
            ]  # fmt: skip
        self.blocks = nn.Sequential(*layers, nn.Flatten())
        self.head = nn.Linear(width * (height >> depth) * (span >> depth), classes)

    @property
    def feature_size(self) -> int:
        """Length D of an image's feature vector."""
        return self.head.in_features

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Return the last block's maps, flattened and not normalised: (B, D) of standardised float images (B, c, h, w)."""
        return self.blocks(images)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits (B, K) of standardised float images (B, c, h, w)."""
        return self.head(self.features(images))


def _usual_depth(side: int) -> int:
    if side < 4:
        raise BadInput(f"images with a side of {side} are too small for a ConvNet", mend="use 4x4 or more")
    doublings = side.bit_length() - 1
    return min(3, doublings - 1) if side < 32 else doublings - 2
