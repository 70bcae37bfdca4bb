"""Forgeries of order alone: every frame is real, and none is where it belongs.

>>> local_order(8, np.random.default_rng(0)).tolist()
[2, 0, 1, 3, 5, 7, 4, 6]
"""

from __future__ import annotations

import numpy as np

from ..errors import BadInput

CLIP, LOCAL = 16, 4
HELD = 6  # of the frames of a clip


def shuffled_order(frames: int, rng: np.random.Generator) -> np.ndarray:
    """SHUF: within each clip of 16 frames a random order in which at least half are elsewhere and which is not the exact reversal."""
    return _by_window(frames, CLIP, rng)


def local_order(frames: int, rng: np.random.Generator) -> np.ndarray:
    """LOCAL: the same within windows of 4."""
    return _by_window(frames, LOCAL, rng)


def held_order(frames: int, rng: np.random.Generator) -> np.ndarray:
    """HOLD: of each 16 frames 6 repeat the one shown before them."""
    _check(frames)
    shown = np.arange(frames)
    for start in range(0, frames, CLIP):
        here = min(CLIP, frames - start)
        # The first frame of all has none before it.
        can = np.arange(start + (start == 0), start + here)
        for number in np.sort(rng.choice(can, min(round(here * HELD / CLIP), len(can)), replace=False)):
            shown[number] = shown[number - 1]
    return shown


def _by_window(frames: int, window: int, rng: np.random.Generator) -> np.ndarray:
    _check(frames)
    order = np.arange(frames)
    for start in range(0, frames, window):
        here = min(window, frames - start)
        # A last window of one or two frames has no order that is neither the natural one nor its reversal.
        if here >= 3:
            order[start : start + here] = start + _moved_order(here, rng)
    return order


def _moved_order(frames: int, rng: np.random.Generator) -> np.ndarray:
    while True:
        order = rng.permutation(frames)
        natural = np.arange(frames)
        if (order != natural).sum() * 2 >= frames and (order != natural[::-1]).any():
            return order


def _check(frames: int) -> None:
    if frames < 3:
        raise BadInput(f"a track of {frames} frames", why="an order that is not natural needs three frames")
