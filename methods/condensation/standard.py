"""Pixels to what networks see: minus a mean, over a standard deviation, both public or of data that may be looked at."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...platform.data.images import ImageData


@dataclass(frozen=True)
class Standard:
    """Mean and standard deviation of each channel, of pixels in [0, 1].

    >>> Standard((0.5,), (0.25,))(torch.ones(1, 1, 2, 2)).flatten().tolist()
    [2.0, 2.0, 2.0, 2.0]
    """

    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    @classmethod
    def of(cls, data: ImageData) -> Standard:
        """Those of a data set (Fashion-MNIST: .2860, .3530)."""
        pixels = data.images.astype(np.float32).transpose(1, 0, 2, 3).reshape(data.shape[0], -1) / 255
        deviation = np.maximum(pixels.std(axis=1, dtype=np.float64), 1e-3)
        return cls(tuple(map(float, pixels.mean(axis=1, dtype=np.float64))), tuple(map(float, deviation)))

    @classmethod
    def constant(cls, channels: int) -> Standard:
        """One that looks at no data."""
        return cls((0.5,) * channels, (0.25,) * channels)

    def __call__(self, pixels: Tensor) -> Tensor:
        """Pixels (B, c, h, w) in [0, 1] to network inputs."""
        return (pixels - self._column(self.mean, pixels)).mul_(self._column(self.deviation, pixels).reciprocal())

    def inverse(self, inputs: Tensor) -> Tensor:
        """Network inputs to pixels."""
        return inputs * self._column(self.deviation, inputs) + self._column(self.mean, inputs)

    @staticmethod
    def _column(values: tuple[float, ...], like: Tensor) -> Tensor:
        return torch.tensor(values, dtype=like.dtype, device=like.device).view(1, -1, 1, 1)
