"""Which of a face's points belong to which part of it, and soft masks about such parts.

Three sets of points are known, told apart by their number: MediaPipe's mesh (468, or 478 with the irises), the 68 of iBUG 300-W, and
the 127 that drawn heads come with. "Left" is the picture's left. Points are (x, y) in pixels, (0, 0) the centre of the first pixel.

Lengths of the recipes are said for a crop of 144 pixels in which the oval of the face is 0.68 of the side long, and follow the face
where it is larger or smaller: `unit` is how many of a track's pixels are one of those.

>>> square = np.array([[[2.0, 2], [10, 2], [10, 10], [2, 10]]])
>>> hull_cover(square, 13)[0, 6, 6:].tolist()
[1.0, 1.0, 1.0, 1.0, 0.5, 0.0, 0.0]
>>> hull_cover(square, 13, grow=-2.0)[0, 6, 6:].tolist()
[1.0, 1.0, 0.5, 0.0, 0.0, 0.0, 0.0]
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.spatial import ConvexHull, QhullError

from ..errors import BadInput
from .videos import check_track

OVAL_HEIGHT = 0.68 * 144
PARTS = ("oval", "left_brow", "right_brow", "left_eye", "right_eye", "nose", "lips", "inner_lips")
EYES = ("left_eye", "right_eye")
# What an expression moves.
EXPRESSIVE = (*EYES, "lips", "inner_lips")

_MESH: dict[str, tuple[int, ...]] = {
    "oval": (10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
             152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109),
    "left_brow": (70, 63, 105, 66, 107, 55, 65, 52, 53, 46),
    "right_brow": (336, 296, 334, 293, 300, 276, 283, 282, 295, 285),
    "left_eye": (33, 246, 161, 160, 159, 158, 157, 173, 133, 155, 154, 153, 145, 144, 163, 7),
    "right_eye": (362, 398, 384, 385, 386, 387, 388, 466, 263, 249, 390, 373, 374, 380, 381, 382),
    "nose": (168, 6, 197, 195, 5, 4, 1, 19, 94, 2, 98, 97, 326, 327, 294, 278, 344, 440, 275, 45, 220, 115, 48, 64),
    "lips": (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146),
    "inner_lips": (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95),
}  # fmt: skip
# Of the mesh, every sixth point is looked at besides, so that a warp has some on the cheeks and on the forehead.
_BETWEEN = tuple(range(0, 468, 6))
_SIXTY_EIGHT: dict[str, tuple[int, ...]] = {
    "oval": tuple(range(27)),  # the jaw, closed over the brows: there is no point on the forehead
    "left_brow": tuple(range(17, 22)),
    "right_brow": tuple(range(22, 27)),
    "left_eye": tuple(range(36, 42)),
    "right_eye": tuple(range(42, 48)),
    "nose": tuple(range(27, 36)),
    "lips": tuple(range(48, 60)),
    "inner_lips": tuple(range(60, 68)),
}
# Drawn heads: one part after another.
HEAD_COUNTS = {
    "oval": 36, "left_brow": 5, "right_brow": 5, "left_eye": 16, "right_eye": 16, "nose": 9, "lips": 20, "inner_lips": 20,
}  # fmt: skip


@dataclass(frozen=True)
class FacePoints:
    """Numbers of the points of each of `PARTS`, and of all that a warp looks at."""

    parts: Mapping[str, tuple[int, ...]]
    warped: tuple[int, ...]

    def of(self, *names: str) -> np.ndarray:
        """Numbers of the points of some parts, int64."""
        return np.array([number for name in names for number in self.parts[name]])

    @property
    def steady(self) -> np.ndarray:
        """Numbers of the points that no expression moves much: those to place a face by."""
        moving = set(self.of(*EXPRESSIVE, "left_brow", "right_brow").tolist())
        return np.array([number for number in self.of("oval", "nose").tolist() if number not in moving])


def _in_order(counts: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
    ends = np.cumsum(list(counts.values())).tolist()
    return {name: tuple(range(end - count, end)) for (name, count), end in zip(counts.items(), ends, strict=True)}


_HEAD = _in_order(HEAD_COUNTS)
_BY_NUMBER = {
    468: FacePoints(_MESH, tuple(sorted({number for part in _MESH.values() for number in part} | {*_BETWEEN}))),
    68: FacePoints(_SIXTY_EIGHT, tuple(range(68))),
    127: FacePoints(_HEAD, tuple(range(127))),
}
_BY_NUMBER[478] = _BY_NUMBER[468]


def face_points(number: int) -> FacePoints:
    """Return what is what among so many points.

    Raises:
        BadInput: no known set has this number.
    """
    if number not in _BY_NUMBER:
        known = ", ".join(map(str, sorted(_BY_NUMBER)))
        raise BadInput(f"{number} points a face", why=f"sets of {known} points are known, by their number")
    return _BY_NUMBER[number]


@dataclass(frozen=True, eq=False)
class MarkedTrack:
    """A track and the points of its face.

    Args:
        frames: uint8 (t, 3, side, side).
        points: float (t, p, 2), as they were found in each frame: smoothed ones would hide what a forgery trembles by.

    Raises:
        BadInput: the shapes do not fit each other, or a point is not finite.
    """

    frames: np.ndarray
    points: np.ndarray

    def __post_init__(self) -> None:
        check_track(self.frames)
        points = np.asarray(self.points, dtype=np.float64)
        if points.ndim != 3 or len(points) != len(self.frames) or points.shape[2] != 2:
            raise BadInput(f"points of shape {points.shape} for {len(self.frames)} frames", why="they are (t, p, 2)")
        if not np.isfinite(points).all():
            raise BadInput("points of a face are not finite", mend="leave out the frames without a face")
        object.__setattr__(self, "points", points)
        if self.unit <= 0:
            raise BadInput("points of a face lie in one place")

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def side(self) -> int:
        """Height and width (pixels)."""
        return int(self.frames.shape[2])

    @property
    def which(self) -> FacePoints:
        """What is what among its points."""
        return face_points(self.points.shape[1])

    @property
    def unit(self) -> float:
        """Pixels of this track that are one pixel of the crop that lengths are said for: by the median height of the oval."""
        heights = np.ptp(self.points[:, self.which.of("oval"), 1], axis=1)
        return float(np.median(heights)) / OVAL_HEIGHT

    def part(self, *names: str) -> np.ndarray:
        """The points of some parts, float (t, n, 2)."""
        return self.points[:, self.which.of(*names)]


def hull_cover(points: np.ndarray, side: int, grow: float = 0.0) -> np.ndarray:
    """How much of each pixel lies in the convex hull of each frame's points: float32 (t, side, side) in [0, 1].

    A pixel's cover is 1/2 on the outline and falls from 1 to 0 within a pixel across it.

    Args:
        points: float (t, n, 2), n of at least 3.
        side: of the frames (pixels).
        grow: how far the hull's sides are moved outwards (pixels); negative erodes, as a disc of that radius would.

    Raises:
        BadInput: the points of a frame lie on a line.
    """
    y, x = np.mgrid[:side, :side].astype(np.float32)
    covers = np.empty((len(points), side, side), np.float32)
    for cover, found in zip(covers, points, strict=True):
        try:
            sides = ConvexHull(found).equations.astype(np.float32)
        except QhullError:
            raise BadInput("points of a face lie on a line", why="they have no hull") from None
        outside = np.full((side, side), -np.inf, np.float32)
        for right, down, away in np.unique(sides, axis=0):
            np.maximum(outside, right * x + down * y + away, out=outside)
        np.clip(0.5 - (outside - grow), 0, 1, out=cover)
    return covers


def softened(cover: np.ndarray, size: float) -> np.ndarray:
    """Covers (t, h, w) blurred by a Gaussian that reaches `size` pixels across, with the width OpenCV gives a kernel of that size.

    sigma = 0.3 ((size - 1) / 2 - 1) + 0.8 pixels; nothing is left beyond half the size, so masks end.
    """
    reach = int(size) // 2
    if reach < 1:
        return cover
    sigma = 0.3 * ((size - 1) / 2 - 1) + 0.8
    down = gaussian_filter1d(cover, sigma, axis=1, radius=reach, mode="nearest")
    return gaussian_filter1d(down, sigma, axis=2, radius=reach, mode="nearest")
