"""Alignment: every face in the same place of the same crop, which recognition networks take for granted.

The crop is ArcFace's (Deng et al., CVPR 2019): 112 pixels, two eyes, nose and mouth corners brought to `TEMPLATE` by the similarity
transform of least squares (Umeyama, IEEE TPAMI 1991). Crops that were made to another template cost more accuracy than most methods
gain, so there is one function, `align`, and a check of crops that come from elsewhere, `check_crops`.

Points are (x, y) in pixels; (0, 0) is the centre of the first pixel. "Left" is the picture's left, not the person's.

>>> moved = 2 * TEMPLATE + [30, 10]
>>> similarity(moved, TEMPLATE).round(3).tolist()
[[0.5, 0.0, -15.0], [-0.0, 0.5, -5.0]]
"""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image
from scipy.ndimage import map_coordinates

from ..errors import BadInput

SIDE = 112
# Left eye, right eye, nose, left and right corner of the mouth.
TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
# The same of the 68 points of iBUG 300-W (Sagonas et al., ICCV Workshops 2013): an eye is the middle of its two corners.
OF_68 = ((36, 39), (42, 45), (30,), (48,), (54,))


def similarity(source: Any, target: Any) -> np.ndarray:
    """Rotation, one scale and shift, (2, 3), that bring points nearest to others in the sense of least squares; it never mirrors.

    Args:
        source: (n, 2), n of at least 2.
        target: (n, 2).

    Raises:
        BadInput: the points are not so many, not finite, or all in one place.
    """
    source, target = _points(source, "source"), _points(target, "target")
    if source.shape != target.shape or len(source) < 2:
        raise BadInput(f"{len(source)} points to bring to {len(target)}", why="a similarity needs as many, at least 2")
    middle, to = source.mean(0), target.mean(0)
    centred = source - middle
    size = (centred**2).sum()
    if size <= 1e-12 * max(1.0, float(np.abs(source).max()) ** 2):
        raise BadInput("all landmarks lie in one place", why="that fixes neither scale nor rotation")
    left, stretch, right = np.linalg.svd((target - to).T @ centred)
    # Where the best orthogonal matrix would mirror, the weaker axis is turned back.
    signs = np.array([1.0, np.sign(np.linalg.det(left) * np.linalg.det(right))])
    linear = (stretch * signs).sum() / size * (left * signs) @ right
    return np.column_stack([linear, to - linear @ middle])


def moved(points: Any, transform: np.ndarray) -> np.ndarray:
    """The points (..., 2) after a transform (2, 3)."""
    return np.asarray(points) @ transform[:, :2].T + transform[:, 2]


def five_of_68(points: Any) -> np.ndarray:
    """(5, 2) of the 68 points (68, 2).

    >>> five_of_68(np.arange(136.0).reshape(68, 2)).tolist()
    [[75.0, 76.0], [87.0, 88.0], [60.0, 61.0], [96.0, 97.0], [108.0, 109.0]]

    Raises:
        BadInput: these are not 68 points.
    """
    array = _points(points, "landmarks")
    if len(array) != 68:
        raise BadInput(f"{len(array)} landmarks", why="68 points (x, y) are expected")
    return np.array([array[list(some)].mean(0) for some in OF_68])


def five_of_eyes(left: Any, right: Any) -> np.ndarray:
    """(5, 2) from two eyes alone: nose and mouth are where the template has them in relation to the eyes."""
    return moved(TEMPLATE, similarity(TEMPLATE[:2], np.array([left, right], dtype=float)))


def align(image: np.ndarray, landmarks: Any, size: int = SIDE) -> np.ndarray:
    """Cut out the face so that its landmarks lie on `TEMPLATE`, bilinearly; what lies outside the picture is black.

    A picture much larger than the crop is brought down by whole-number block means first: bilinear sampling alone would skip pixels.

    Args:
        image: uint8 (height, width, 3), RGB.
        landmarks: (5, 2), in the order of `TEMPLATE`.
        size: pixels of a side of the crop; the template grows with it.

    Returns:
        uint8 (size, size, 3).

    Raises:
        BadInput: the picture or the landmarks are not as said above.
    """
    check_image(image)
    points = _points(landmarks, "landmarks")
    if points.shape != TEMPLATE.shape:
        raise BadInput(
            f"landmarks of shape {points.shape}",
            why="alignment takes five points (x, y): eyes, nose, corners of the mouth",
            mend="of 68 points, five_of_68 takes them",
        )
    transform = similarity(points, template(size))
    scale = float(np.sqrt(abs(np.linalg.det(transform[:, :2]))))
    # A hair more than the whole number, since a scale of exactly 1/6 comes out a hair below.
    blocks = max(1, min(int(1 / scale + 1e-6), *image.shape[:2]))
    if blocks > 1:
        image = np.asarray(Image.fromarray(image).reduce(blocks))
        # Pixel i of the smaller picture is the mean of those from blocks * i on.
        points = (points - (blocks - 1) / 2) / blocks
        transform = similarity(points, template(size))
    back = _inverse(transform)
    y, x = np.mgrid[:size, :size]
    across, down = np.moveaxis(moved(np.stack([x, y], 2), back), 2, 0)
    # What lies outside is black, and the last row fades into it, as a pixel there is partly outside.
    sampled = [
        map_coordinates(image[..., channel], [down, across], output=float, order=1, mode="grid-constant")
        for channel in range(3)
    ]
    return np.rint(np.stack(sampled, 2)).astype(np.uint8)


def template(size: int = SIDE) -> np.ndarray:
    """Where the five points lie in a crop of `size` pixels, (5, 2)."""
    if size < 1:
        raise BadInput(f"crops of {size} pixels", why="they have at least one")
    return (TEMPLATE + 0.5) * size / SIDE - 0.5


def middle_square(image: np.ndarray, size: int = SIDE) -> np.ndarray:
    """Cut out the largest square about the middle and resize it, antialiased: for pictures that are crops already.

    Raises:
        BadInput: the picture is not uint8 (height, width, 3).
    """
    height, width = check_image(image).shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = Image.fromarray(image[top : top + side, left : left + side])
    return np.asarray(square.resize((size, size), Image.Resampling.BILINEAR))


def check_image(image: np.ndarray) -> np.ndarray:
    """Return the picture if it is uint8 (height, width, 3).

    Raises:
        BadInput: says what was given instead.
    """
    array = np.asarray(image)
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8 or not array.size:
        raise BadInput(
            f"a picture of {array.dtype} and shape {array.shape}",
            why="faces are cut from pictures uint8 (height, width, 3)",
            mend="convert with PIL's image.convert('RGB')",
        )
    return array


def _points(points: Any, name: str) -> np.ndarray:
    array = np.asarray(points, dtype=float)
    if array.ndim != 2 or array.shape[1] != 2 or not np.isfinite(array).all():
        raise BadInput(f"{name} of shape {array.shape} are no points", why="points are finite (x, y), one a row")
    return array


def _inverse(transform: np.ndarray) -> np.ndarray:
    linear = np.linalg.inv(transform[:, :2])
    return np.column_stack([linear, -linear @ transform[:, 2]])
