"""Pictures out of whole-number arithmetic only, so that they are the same to the last bit everywhere."""

from __future__ import annotations

import numpy as np


def chip(seed: int, side: int = 150) -> np.ndarray:
    """A smooth colour picture, uint8 (side, side, 3): ten random patches a side, blurred three times."""
    rng = np.random.default_rng(seed)
    cell = -(-side // 10)
    patches = rng.integers(0, 256, (10, 10, 3), dtype=np.int64)
    picture = patches.repeat(cell, 0).repeat(cell, 1)[:side, :side]
    for _ in range(3):
        for axis in (0, 1):
            total = sum(np.roll(picture, shift, axis) for shift in range(-4, 5))
            picture = total // 9
    return picture.astype(np.uint8)
