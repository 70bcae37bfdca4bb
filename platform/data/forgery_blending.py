"""Laying a forged layer over the frames of a track: colours brought together, then a soft mask.

>>> frames = np.full((1, 3, 4, 4), 100, np.uint8)
>>> cover = np.zeros((1, 4, 4), np.float32)
>>> cover[0, 1, 1:3] = 1.0, 0.5
>>> laid_over(frames, np.full((1, 3, 4, 4), 200.0, np.float32), cover)[0, 0, 1].tolist()
[100, 200, 150, 100]
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch.nn import functional

INSIDE = 0.5


def laid_over(frames: np.ndarray, layer: np.ndarray, cover: np.ndarray, alpha: float = 1.0) -> np.ndarray:
    """Return the frames with the layer on them where the cover is above 0, and bit for bit as they were elsewhere.

    Args:
        frames: uint8 (t, 3, h, w).
        layer: float32 (t, 3, h, w), levels of 255.
        cover: float32 (t, h, w) in [0, 1].
        alpha: the most the layer counts.
    """
    share = (alpha * cover)[:, None]
    mixed = frames + share * (layer - frames)
    return np.rint(np.clip(mixed, 0, 255)).astype(np.uint8)


def coloured_like(layer: np.ndarray, frames: np.ndarray, cover: np.ndarray) -> np.ndarray:
    """Return the layer with mean and standard deviation of each channel as the frames have them inside the mask (cover above 1/2).

    A frame whose mask is empty keeps its colours, and so does a channel without any spread but its mean.
    """
    inside = (cover > INSIDE).astype(np.float32)[:, None]
    count = np.maximum(inside.sum((2, 3), keepdims=True), 1)

    def moments(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        mean = (images * inside).sum((2, 3), keepdims=True) / count
        return mean, np.sqrt((((images - mean) ** 2) * inside).sum((2, 3), keepdims=True) / count)

    (mean, spread), (wanted, wide) = moments(layer), moments(frames.astype(np.float32))
    ratio = np.where(spread > 1e-3, wide / np.maximum(spread, 1e-3), 1.0)
    matched = (layer - mean) * ratio + wanted
    return np.where(inside.any((2, 3), keepdims=True), matched, layer).astype(np.float32)


def coarsened(image: np.ndarray, factor: float) -> np.ndarray:
    """A picture (3, h, w) brought down by a factor and up again, bilinear; float32."""

    whole = torch.from_numpy(np.ascontiguousarray(image, dtype=np.float32))[None]
    height, width = image.shape[1:]
    small = (max(1, round(height / factor)), max(1, round(width / factor)))
    down = functional.interpolate(whole, small, mode="bilinear", align_corners=False)
    return functional.interpolate(down, (height, width), mode="bilinear", align_corners=False)[0].numpy()


def sharpened(image: np.ndarray, amount: float) -> np.ndarray:
    """A picture (3, h, w) plus `amount` of what a blur of one pixel takes from it; float32."""
    whole = image.astype(np.float32)
    return whole + amount * (whole - gaussian_filter(whole, (0, 1, 1), mode="nearest"))
