"""Convolution over what is visible only.

Partial convolution: Liu, Reda, Shih, Wang, Tao & Catanzaro, Image Inpainting for Irregular Holes Using Partial Convolutions, ECCV 2018:
hidden pixels do not enter the sum, the sum is scaled up by (window size / visible pixels), and what saw anything becomes visible.

>>> layer = PartialConv2d(3, 8, 3, padding=1)
>>> features, visible = layer(torch.rand(2, 3, 16, 16), torch.zeros(2, 1, 16, 16))
>>> features.abs().max().item(), visible.max().item()
(0.0, 0.0)
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class PartialConv2d(nn.Conv2d):
    """`nn.Conv2d` on features (B, C, h, w) and their visibility (B, 1, h, w), which is 0 or 1; gives both for its output.

    Zero padding counts as hidden; a reflected border is as visible as what it mirrors.
    """

    ones: Tensor
    padding: tuple[int, ...]

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.register_buffer("ones", torch.ones(1, 1, *self.kernel_size), persistent=False)

    def forward(self, features: Tensor, visible: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """Features and visibility, both of the output's size; an output that saw nothing is 0."""
        features, padding = features * visible, self.padding
        if self.padding_mode != "zeros":
            around = self._reversed_padding_repeated_twice
            features = functional.pad(features, around, mode=self.padding_mode)
            visible, padding = functional.pad(visible, around, mode=self.padding_mode), (0, 0)
        seen = functional.conv2d(visible, self.ones.to(visible.dtype), None, self.stride, padding, self.dilation)
        sums = functional.conv2d(features, self.weight, None, self.stride, padding, self.dilation, self.groups)
        # Counts are whole numbers, but convolutions may round.
        after = (seen > 0.5).to(sums.dtype)
        scaled = sums * (math.prod(self.kernel_size) / seen.clamp(min=1.0))
        if self.bias is not None:
            scaled = scaled + self.bias.view(1, -1, 1, 1)
        return scaled * after, after
