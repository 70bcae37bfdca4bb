"""Crops of faces from pictures, with landmarks or without, and a check of crops that others made."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ..errors import BadInput
from .alignment import SIDE, align, check_image, middle_square, template
from .landmarks import Landmarks

BY_LANDMARKS = "similarity transform of five landmarks"
BY_SIZE = "no landmarks: the middle square, resized"


@dataclass(frozen=True, eq=False)
class Crop:
    """An aligned face, uint8 (size, size, 3), and how it was aligned: `BY_LANDMARKS` or `BY_SIZE`."""

    image: np.ndarray
    how: str


def crop_face(image: np.ndarray, finder: Landmarks, name: str | None = None, size: int = SIDE) -> Crop | None:
    """Find the landmarks and align; None where the finder finds no face.

    A finder that never looks (`none`) says that pictures are crops already, and then they are resized.

    Args:
        image: uint8 (height, width, 3), RGB.
        finder: what finds landmarks.
        name: of the picture, for a finder that looks it up.
        size: pixels of a side of the crop.
    """
    if not finder.looks:
        return Crop(middle_square(image, size), BY_SIZE)
    found = finder.find(image, name)
    return None if found is None else Crop(align(image, found, size), BY_LANDMARKS)


@dataclass(frozen=True)
class CropCheck:
    """How well crops are aligned.

    Args:
        crops: how many were looked at.
        found: in how many of them a face was found; errors are over these.
        mean_error: mean distance of a landmark from the template (pixels of a crop of 112).
        worst: largest mean distance of one crop.
        offset: mean (x, y) by which landmarks lie off: the same in all crops where they were made to another template.
    """

    crops: int
    found: int
    mean_error: float
    worst: float
    offset: tuple[float, float]

    def in_words(self) -> str:
        """One line for a report."""
        if not self.found:
            return f"no face found in {self.crops} crops"
        across, down = self.offset
        return (
            f"faces found in {self.found} of {self.crops} crops, landmarks {self.mean_error:.1f} px from the template "
            f"(worst crop {self.worst:.1f}), shifted by ({across:+.1f}, {down:+.1f}) on average"
        )


def check_crops(crops: Iterable[np.ndarray], finder: Landmarks, names: Iterable[str] | None = None) -> CropCheck:
    """Find landmarks in crops and measure how far they lie from the template.

    A few pixels are a finder's own error and the variety of faces; ten are another alignment.

    Args:
        crops: uint8 (side, side, 3), of any size.
        finder: what finds landmarks; it must look.
        names: of the crops, for a finder that looks them up.

    Raises:
        BadInput: the finder never looks, or there are no crops.
    """
    if not finder.looks:
        raise BadInput(
            "landmarks of crops cannot be checked without finding them", mend="choose another finder of landmarks"
        )
    held = list(crops)
    called: list[str | None] = [None] * len(held) if names is None else list(names)
    if not held:
        raise BadInput("no crops to check")
    off = []
    for crop, name in zip(held, called, strict=True):
        side = check_image(crop).shape[0]
        if crop.shape[1] != side:
            raise BadInput(f"a crop of {side} x {crop.shape[1]}", why="crops of aligned faces are square")
        points = finder.find(crop, name)
        if points is not None:
            off.append((points - template(side)) * SIDE / side)
    if not off:
        return CropCheck(len(held), 0, float("nan"), float("nan"), (float("nan"), float("nan")))
    distances = np.linalg.norm(off, axis=2).mean(1)
    across, down = np.mean(off, axis=(0, 1)).tolist()
    return CropCheck(len(held), len(off), float(distances.mean()), float(distances.max()), (across, down))
