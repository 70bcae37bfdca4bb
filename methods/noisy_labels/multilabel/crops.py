"""Multi-scale crops and mirror images for training, as in Li et al. (NeurIPS 2022).

Width and height of a crop are parts (1, .875, .75, .66 or .5) of the shorter side, at most two steps apart; it lies at one of five
places (corners and middle) or between them, and is resized to the image's size. Images come resized to one square already, so a crop is
one of the resized image.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

PARTS = (1.0, 0.875, 0.75, 0.66, 0.5)
MOST_APART = 2
# Quarters of the room that a crop leaves: corners and middle at 0, 2, 4, and what is between.
QUARTERS = 5
PAIRS = tuple((a, b) for i, a in enumerate(PARTS) for j, b in enumerate(PARTS) if abs(i - j) <= MOST_APART)


def cropped(images: Tensor, generator: torch.Generator) -> Tensor:
    """Images (n, c, h, w), uint8, as floats in [0, 1], each cropped, and mirrored with probability one half.

    The generator is on the CPU, so that every device draws the same.
    """
    count, _, height, width = images.shape
    side = min(height, width)
    size = torch.randint(len(PAIRS), (count,), generator=generator).tolist()
    places = torch.randint(QUARTERS, (count, 2), generator=generator).tolist()
    mirrored = (torch.rand(count, generator=generator) < 0.5).tolist()
    found = []
    for image, pair, (down, right), mirror in zip(images, size, places, mirrored, strict=True):
        tall, wide = (max(1, int(side * part)) for part in PAIRS[pair])
        top, left = (height - tall) * down // (QUARTERS - 1), (width - wide) * right // (QUARTERS - 1)
        piece = image[None, :, top : top + tall, left : left + wide].float() / 255
        resized = F.interpolate(piece, size=(height, width), mode="bilinear", align_corners=False)
        found.append(resized.flip(3) if mirror else resized)
    return torch.cat(found)
