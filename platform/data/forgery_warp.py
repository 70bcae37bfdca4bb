"""Warps of faces: pixels follow the face's points, by a similarity and what is left of each point spread to its surroundings.

A backward map: every pixel of the result asks where it comes from. Where the points of the target are t_i and those of the source s_i,
pixel q comes from S q + sum_i w_i(q) (s_i - S t_i), with S the similarity that brings t nearest to s, and weights w_i(q) that fall as a
Gaussian of the distance |q - t_i| and sum to 1. The sum is taken on a grid of 19 x 19 places and brought to all pixels by bicubic
interpolation; pixels are read bilinearly, those beyond the border as the border.

>>> ramp = np.broadcast_to(np.arange(32, dtype=np.float32), (1, 3, 32, 32))
>>> points = np.array([[[8.0, 8], [24, 8], [24, 24], [8, 24]]])
>>> warped(ramp, points + [3, 0], points, sigma=4.0)[0, 0, 16, 10:13].round(3).tolist()
[13.0, 14.0, 15.0]
"""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

from ..errors import BadInput
from .alignment import moved, similarity

GRID = 19


def warped(
    frames: np.ndarray,
    source: np.ndarray,
    target: np.ndarray,
    *,
    sigma: float,
    size: tuple[int, int] | None = None,
) -> np.ndarray:
    """Return the frames after bringing the points `source` to `target`.

    Args:
        frames: (t, c, height, width), of any numbers.
        source: float (t, p, 2): where the points are in the frames.
        target: float (t, p, 2): where they are to be.
        sigma: how far a point's own displacement reaches (pixels of the result).
        size: height and width of the result; the frames' own if None.

    Returns:
        float32 (t, c, *size).

    Raises:
        BadInput: there are not as many points as frames say.
    """
    if source.shape != target.shape or source.ndim != 3 or len(source) != len(frames):
        raise BadInput(f"points {source.shape} to be brought to {target.shape} in {len(frames)} frames")
    height, width = size or (int(frames.shape[2]), int(frames.shape[3]))
    y, x = np.meshgrid(np.linspace(0, height - 1, GRID), np.linspace(0, width - 1, GRID), indexing="ij")
    nodes = np.stack([x.ravel(), y.ravel()], 1)
    similar = np.stack([similarity(after, before) for before, after in zip(source, target, strict=True)])
    offsets = np.stack([
        spread(to, before - moved(to, transform), nodes, sigma)
        for before, to, transform in zip(source, target, similar, strict=True)
    ])  # fmt: skip
    coarse = torch.from_numpy(offsets.reshape(len(frames), GRID, GRID, 2)).permute(0, 3, 1, 2).float()
    residual = functional.interpolate(coarse, (height, width), mode="bicubic", align_corners=True)
    return _read(frames, placed(similar, height, width) + residual.permute(0, 2, 3, 1))


def moved_by(frames: np.ndarray, transforms: np.ndarray, size: tuple[int, int] | None = None) -> np.ndarray:
    """Return frames of which pixel q shows what lies at `transforms` q, float (t, 2, 3); float32 (t, c, *size)."""
    height, width = size or (int(frames.shape[2]), int(frames.shape[3]))
    return _read(frames, placed(transforms, height, width))


def spread(points: np.ndarray, values: np.ndarray, places: np.ndarray, sigma: float) -> np.ndarray:
    """Means of the points' values (p, k) at places (n, 2), weighted by exp(-distance^2 / (2 sigma^2)): (n, k)."""
    squares = ((places[:, None] - points[None]) ** 2).sum(2) / (2 * sigma**2)
    # Far from all points every weight would be 0; by less the nearest one's distance, the nearest counts there.
    weights = np.exp(squares.min(1, keepdims=True) - squares)
    return weights @ values / weights.sum(1, keepdims=True)


def placed(transforms: np.ndarray, height: int, width: int) -> torch.Tensor:
    """Where each pixel goes by each transform (t, 2, 3): float32 (t, height, width, 2) of x, y."""
    y, x = np.mgrid[:height, :width].astype(np.float64)
    whole = np.stack([x, y, np.ones_like(x)], 2)
    return torch.from_numpy(np.einsum("hwk,tik->thwi", whole, np.asarray(transforms, dtype=np.float64))).float()


def _read(frames: np.ndarray, places: torch.Tensor) -> np.ndarray:
    height, width = frames.shape[2:]
    pixels = torch.from_numpy(np.ascontiguousarray(frames, dtype=np.float32))
    unit = places * 2 / torch.tensor([width - 1, height - 1]) - 1
    read = functional.grid_sample(pixels, unit, mode="bilinear", padding_mode="border", align_corners=True)
    return read.numpy()
