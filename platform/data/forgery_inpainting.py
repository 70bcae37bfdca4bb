"""Filling holes in pictures from their rims, front by front, after Telea, "An image inpainting technique based on the fast marching
method", Journal of Graphics Tools 9(1), 2004.

A pixel becomes the mean of the known ones within a radius, weighted by how well each lies in the direction of the front, how near it
is, and how close its level is to the pixel's. Telea marches pixel by pixel in the order of the distance to the rim; here all pixels of
one front (a distance between k - 1 and k) are filled at once, from the fronts before them. Telea also carries each known pixel on along
its gradient. That is left out, as good as it is in OpenCV's program, where it counts for one or two levels of 255: behind a hard edge,
such as that of lips, it overshoots into black and white spots. What is filled here never leaves the range of what surrounds it.

>>> image = np.full((1, 16, 16), 50.0)
>>> image[:, :, 8:] = 70
>>> hole = np.zeros((16, 16), bool)
>>> hole[4:12, 5:11] = True
>>> found = filled(np.where(hole, 255, image), hole)
>>> found.min().round(3), found.max().round(3), found[0, 7, [5, 10]].round().tolist()
(np.float32(50.0), np.float32(70.0), [50.0, 70.0])
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import distance_transform_edt

from ..errors import BadInput

RADIUS = 3


def filled(image: np.ndarray, hole: np.ndarray, radius: int = RADIUS) -> np.ndarray:
    """Return the picture with its hole filled; what lay in the hole has no influence.

    Args:
        image: (c, height, width).
        hole: bool (height, width).
        radius: how far the known pixels that count may lie (pixels).

    Returns:
        float32 (c, height, width); outside the hole equal to `image`.

    Raises:
        BadInput: the shapes differ, nothing is known, or the radius is below 2.
    """
    if image.ndim != 3 or image.shape[1:] != hole.shape or radius < 2:
        raise BadInput(f"a hole of shape {hole.shape} in a picture {image.shape}, radius {radius}")
    if hole.all():
        raise BadInput("a hole as large as the picture", why="there is nothing to fill it from")
    out = image.astype(np.float32)
    if not hole.any():
        return out
    rows, columns = np.flatnonzero(hole.any(1)), np.flatnonzero(hole.any(0))
    around = radius + 1
    window = (
        slice(max(rows[0] - around, 0), rows[-1] + around + 1),
        slice(max(columns[0] - around, 0), columns[-1] + around + 1),
    )
    out[:, *window] = _filled(out[:, *window], hole[window], radius)
    return out


def _filled(image: np.ndarray, hole: np.ndarray, radius: int) -> np.ndarray:
    """A border of unknown pixels about the picture lets every neighbourhood be read."""
    pad = radius
    # Levels are signed distances to the rim, as the front passes them.
    inside, outside = distance_transform_edt(hole), distance_transform_edt(~hole)
    level = np.pad((inside - outside).astype(np.float32), pad, mode="edge")
    normal = np.stack(np.gradient(level))
    known = np.pad(~hole, pad)
    pixels = np.pad(np.where(hole, 0, image), ((0, 0), (pad, pad), (pad, pad)))
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    near = (y**2 + x**2 <= radius**2) & ((y != 0) | (x != 0))
    steps = np.stack([y[near], x[near]], 1)
    fronts = np.pad(np.ceil(inside).astype(int), pad)
    for front in range(1, int(fronts.max()) + 1):
        here = np.argwhere(fronts == front)
        if not len(here):
            continue
        there = here[:, None] + steps[None]
        at = there[..., 0], there[..., 1]
        away = -steps.astype(np.float32)  # from the neighbour to the pixel
        squares = (away**2).sum(1)
        slope = normal[:, here[:, 0], here[:, 1]].T
        direction = np.abs(slope @ away.T) / np.sqrt(squares)
        levels = 1 / (1 + np.abs(level[at] - level[here[:, 0], here[:, 1]][:, None]))
        # A neighbour square to the front's direction still counts a little, as in Telea's program.
        weights = known[at] * np.maximum(direction, 1e-3) / squares * levels
        pixels[:, here[:, 0], here[:, 1]] = (weights * pixels[:, *at]).sum(2) / weights.sum(1)
        known[here[:, 0], here[:, 1]] = True
    return pixels[:, pad:-pad, pad:-pad]
