"""Multi-formation: one stored image holds factor x factor small ones, which are cut out and enlarged before they teach.

Partition and expand of IDC (Kim et al. 2022, arXiv 2205.14959, section 4).

>>> decode(torch.zeros(3, 1, 28, 28), 2).shape
torch.Size([12, 1, 28, 28])
>>> check_factor((1, 28, 28), 3)
'factor 3 does not divide 28 x 28 pixels: images are padded to 30 x 30, and part of the last tiles is never stored'
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ...platform.errors import BadInput

SHRINKS = ("nearest", "area")
# Mid-grey, in the middle of stored pixels 0 .. 1; it is what was published.
PADDING = 0.5


def check_factor(shape: Sequence[int], factor: int, strict: bool = False) -> str | None:
    """Return None if the factor divides the images' sides, else a note that says they are padded.

    Args:
        shape: of the images, (..., height, width) in pixels.
        factor: tiles along either side.
        strict: refuse padding too.

    Raises:
        BadInput: the factor is below 1 or larger than the images, a tile would hold padding only, or there is padding
            under `strict`.
    """
    height, width = shape[-2:]
    size = f"{height} x {width} pixels"
    if factor < 1:
        raise BadInput(f"factor {factor}", why="an image holds at least one tile", mend="use a factor of 1 or more")
    if factor > min(height, width):
        raise BadInput(f"factor {factor} for images of {size}", why="a tile is less than a pixel", mend="lower factor")
    if height % factor == 0 and width % factor == 0:
        return None
    tile_height, tile_width = _tile(height, factor), _tile(width, factor)
    if tile_height * (factor - 1) >= height or tile_width * (factor - 1) >= width:
        # Such a tile would be one grey image under every label, and no gradient could change it.
        raise BadInput(
            f"factor {factor} for images of {size}", why="a tile would hold padding only", mend="lower factor"
        )
    if strict:
        raise BadInput(f"factor {factor} does not divide {size}", mend="use a factor that divides both sides")
    return (
        f"factor {factor} does not divide {size}: images are padded to {tile_height * factor} x {tile_width * factor}, "
        "and part of the last tiles is never stored"
    )


def decode(images: Tensor, factor: int) -> Tensor:
    """Return the tiles (factor^2 * n, c, h, w) of stored images (n, c, h, w), each enlarged to a whole image.

    The order is tile-major: tile (0, 0) of all images, then tile (0, 1) of all, and so on. Enlarging is bilinear with
    `align_corners=False`; sides that the factor does not divide are padded at the bottom and the right. The gradient
    passes. Values stay in the range that pixels and padding span. Under factor 1 the input itself is returned.

    Raises:
        BadInput: the factor does not fit the images (`check_factor`), or the images are not floating point.
    """
    _check(images, factor)
    if factor == 1:
        return images
    count, channels, height, width = images.shape
    tile_height, tile_width = _tile(height, factor), _tile(width, factor)
    missing = (0, tile_width * factor - width, 0, tile_height * factor - height)
    grid = F.pad(images, missing, value=PADDING).reshape(count, channels, factor, tile_height, factor, tile_width)
    tiles = grid.permute(2, 4, 0, 1, 3, 5).reshape(factor**2 * count, channels, tile_height, tile_width)
    return F.interpolate(tiles, size=(height, width), mode="bilinear", align_corners=False)


def decoded_labels(labels: Tensor, factor: int) -> Tensor:
    """Return the labels (factor^2 * n,) of what `decode` makes of images with labels (n,)."""
    return labels.repeat(factor**2)


def compose(images: Tensor, factor: int, shrink: str = "nearest") -> Tensor:
    """Return stored images (n, c, h, w) whose tiles are images (n * factor^2, c, h, w), shrunk: the "mix" start.

    Tile k, counted row by row, of the n stored images shows images k * n .. (k + 1) * n - 1: the order of `decode`.
    Where the factor does not divide a side, the first tiles are one pixel larger, as published, so that no stored pixel
    is left blank; `decode` then cuts up to factor - 2 pixels beside the seams.

    Args:
        images: real images, floating point.
        factor: tiles along either side.
        shrink: "nearest" takes every factor-th pixel, as published; "area" takes means.

    Raises:
        BadInput: the number of images is no multiple of factor^2, the shrink is unknown, or as for `decode`.
    """
    _check(images, factor)
    if shrink not in SHRINKS:
        raise BadInput(f"unknown shrink {shrink!r}", mend=f"use one of {', '.join(SHRINKS)}")
    total, channels, height, width = images.shape
    if total % factor**2:
        raise BadInput(
            f"{total} images for tiles of factor {factor}",
            why=f"every stored image takes {factor**2}",
            mend=f"give a multiple of {factor**2} images",
        )
    groups = iter(images.reshape(factor**2, total // factor**2, channels, height, width))
    rows = [
        torch.cat([F.interpolate(next(groups), size=(high, wide), mode=shrink) for wide in _sides(width, factor)], 3)
        for high in _sides(height, factor)
    ]
    return torch.cat(rows, 2)


def _check(images: Tensor, factor: int) -> None:
    if not images.is_floating_point():
        raise BadInput(f"images to tile are {images.dtype}", mend="convert them to floating point in 0 .. 1")
    check_factor(images.shape, factor)


def _tile(side: int, factor: int) -> int:
    return -(-side // factor)


def _sides(side: int, factor: int) -> list[int]:
    return [side // factor + (k < side % factor) for k in range(factor)]
