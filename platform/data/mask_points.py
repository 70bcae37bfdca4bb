"""Where a mask sits on a face: six points, from 68 landmarks, or the same for every aligned crop.

The points and how they follow from landmarks are those of MaskTheFace (Anwar & Raychowdhury, arXiv 2008.11104): round the mask from the
picture's upper left over the nose to the chin and back. The code is this project's own.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import BadInput
from .alignment import SIDE

NAMES = ("a", "b", "c", "f", "e", "d")
# On crops aligned to the template of 112 pixels: left cheek, bridge of the nose, right cheek, right jaw, chin, left jaw.
ALIGNED = np.array([[18, 66], [56, 60], [94, 66], [86, 96], [56, 113], [26, 96]], dtype=float)
# A nose that points further to a side than this (degrees) shows a turned head.
TURNED = 13.0
FRONT, LEFT, RIGHT = "front", "left", "right"


def aligned_points(size: int = SIDE) -> np.ndarray:
    """The six points (6, 2) in aligned crops of `size` pixels."""
    return (ALIGNED + 0.5) * size / SIDE - 0.5


def points_of_68(landmarks: Any) -> tuple[np.ndarray, str]:
    """The six points (6, 2) of a face with 68 landmarks (68, 2), and which way it looks in the picture: front, left or right.

    The cheeks are where the line through the tip of the nose, in the direction of the eyes, crosses the jaw; the jaw points where that
    through the lower lip does; the chin is where the line of the nose does.

    Raises:
        BadInput: these are not 68 finite points, or the eyes or the nose have no length.
    """
    points = np.asarray(landmarks, dtype=float)
    if points.shape != (68, 2) or not np.isfinite(points).all():
        raise BadInput(f"landmarks of shape {points.shape}", why="a mask is put on by 68 finite points (x, y)")
    jaw, nose, lip = points[:17], points[27:31], points[57]
    across = points[42:48].mean(0) - points[36:42].mean(0)
    along = nose[-1] - nose[0]
    if not (np.linalg.norm(across) > 0 and np.linalg.norm(along) > 0):
        raise BadInput("the landmarks of eyes or nose lie in one place", mend="look at what the finder returns")
    across, along = across / np.linalg.norm(across), along / np.linalg.norm(along)
    left, right = (_crossing(nose[-1], side * across, jaw, end) for side, end in ((-1, jaw[0]), (1, jaw[-1])))
    lower = [_crossing(lip, side * across, jaw, end) for side, end in ((-1, jaw[4]), (1, jaw[-5]))]
    chin = _crossing(nose[-1], along, jaw, jaw[8])
    down = np.array([-across[1], across[0]])
    angle = np.degrees(np.arctan2(along @ across, along @ down))
    looks = FRONT if abs(angle) <= TURNED else RIGHT if angle > 0 else LEFT
    return np.array([left, nose.mean(0), right, lower[1], chin, lower[0]]), looks


def _crossing(origin: np.ndarray, direction: np.ndarray, line: np.ndarray, otherwise: np.ndarray) -> np.ndarray:
    """Where a ray first crosses a chain of points (n, 2); `otherwise` where it does not."""
    off = line - origin
    side = direction[0] * off[:, 1] - direction[1] * off[:, 0]
    found, nearest = otherwise, np.inf
    for i in range(len(line) - 1):
        if side[i] * side[i + 1] > 0 or side[i] == side[i + 1]:
            continue
        part = side[i] / (side[i] - side[i + 1])
        point = line[i] + part * (line[i + 1] - line[i])
        distance = (point - origin) @ direction
        if 0 < distance < nearest:
            found, nearest = point, distance
    return found
