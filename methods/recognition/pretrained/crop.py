"""From a face aligned for ArcFace to the crop that dlib's network learnt from: larger, and lower in the picture.

Both templates know where the eyes are, which fixes scale and shift (the ArcFace eyes stand 0.2 pixels apart in height: no rotation).
The crop is bilinear and separable, so that it is two products of matrices and has a gradient. Pixel i has its centre at i.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ....platform.data.alignment import SIDE as ALIGNED
from ....platform.data.alignment import TEMPLATE
from ....platform.errors import BadInput

# In a chip of 150 pixels, as (x, y), left and right as one looks at the picture.
DLIB_EYES = ((47.7, 47.1), (100.3, 47.1))


class DlibCrop(nn.Module):
    """Faces (B, 3, 112, 112) to chips (B, 3, side, side); what lies outside the picture continues its edge."""

    rows: Tensor
    columns: Tensor

    def __init__(self, side: int) -> None:
        super().__init__()
        (left, top), (right, low) = TEMPLATE[:2].tolist()
        (chip_left, chip_top), (chip_right, _) = DLIB_EYES
        scale = (chip_right - chip_left) / (right - left)
        across = (left + right) / 2 - (chip_left + chip_right) / 2 / scale
        down = (top + low) / 2 - chip_top / scale
        self.scale = scale
        self.register_buffer("rows", _weights(side, scale, down), persistent=False)
        self.register_buffer("columns", _weights(side, scale, across), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return the chips.

        Raises:
            BadInput: the pictures are of another size.
        """
        if images.ndim != 4 or tuple(images.shape[1:]) != (3, ALIGNED, ALIGNED):
            raise BadInput(
                f"pictures of shape {tuple(images.shape)}",
                why=f"this network takes aligned faces of shape (n, 3, {ALIGNED}, {ALIGNED})",
                mend="align them, or resize pictures that are aligned already",
            )
        return self.rows @ images @ self.columns.T


def _weights(side: int, scale: float, start: float) -> Tensor:
    """(side, 112): a chip's pixel as a mean of the two pixels around the place start + index/scale."""
    places = (start + torch.arange(side, dtype=torch.float64) / scale).clamp(0, ALIGNED - 1)
    return (1 - (places[:, None] - torch.arange(ALIGNED, dtype=torch.float64)).abs()).clamp(min=0).float()
