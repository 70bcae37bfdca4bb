"""A low-pass filter on images: what it keeps of white noise is little, what it keeps of a picture is most."""

from __future__ import annotations

import math

from torch import Tensor
from torchvision.transforms.functional import gaussian_blur


def smoothed(images: Tensor, deviation: float) -> Tensor:
    """Images (B, c, h, w) under a Gaussian of this standard deviation in pixels, mirrored at the edges; 0 leaves them as they are.

    White noise keeps about 1 / (2 deviation sqrt(pi)) of its standard deviation, from a deviation of one pixel on.
    """
    if not deviation:
        return images
    # As wide as three deviations, and no wider than mirroring can fill.
    reach = min(math.ceil(3 * deviation), min(images.shape[-2:]) - 1)
    return gaussian_blur(images, [2 * reach + 1] * 2, [deviation] * 2)
