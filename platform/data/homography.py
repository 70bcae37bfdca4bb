"""The plane-to-plane map that brings points nearest to others: the direct linear transform with Hartley's normalisation.

Hartley, "In defense of the eight-point algorithm", IEEE TPAMI 1997; Hartley & Zisserman, "Multiple View Geometry", section 4.1.

>>> square = np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]])
>>> lifted = homography(square, 2 * square + [5, 3])
>>> project(lifted, np.array([[0.5, 0.5]])).round(6).tolist()
[[6.0, 4.0]]
"""

from __future__ import annotations

import numpy as np

from ..errors import BadInput

# Relative size below which a singular value counts as zero: the points then allow more than one map.
FLAT = 1e-7


def homography(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return H (3, 3) with target ~ H source: exact for four points, least squares of the algebraic error for more.

    Its scale is such that the middle of the source points has a positive third coordinate; where that is not positive, a point lies
    beyond the horizon and is on no picture.

    Args:
        source: (n, 2), n of at least 4, no three of some four on a line.
        target: (n, 2).

    Raises:
        BadInput: the points are fewer, not finite, or allow more than one map.
    """
    source, target = np.asarray(source, dtype=float), np.asarray(target, dtype=float)
    if source.shape != target.shape or source.ndim != 2 or source.shape[1] != 2 or len(source) < 4:
        raise BadInput(
            f"points of shapes {source.shape} and {target.shape}", why="a homography needs as many (x, y), at least 4"
        )
    if not (np.isfinite(source).all() and np.isfinite(target).all()):
        raise BadInput("points of a homography are not finite")
    before, after = _normaliser(source), _normaliser(target)
    x, y = (source @ before[:2, :2] + before[:2, 2]).T
    u, v = (target @ after[:2, :2] + after[:2, 2]).T
    one, zero = np.ones_like(x), np.zeros_like(x)
    rows = np.concatenate([
        np.stack([x, y, one, zero, zero, zero, -u * x, -u * y, -u], 1),
        np.stack([zero, zero, zero, x, y, one, -v * x, -v * y, -v], 1),
    ])  # fmt: skip
    _, sizes, directions = np.linalg.svd(rows)
    found = np.linalg.inv(after) @ directions[-1].reshape(3, 3) @ before
    if sizes[7] < FLAT * sizes[0] or abs(np.linalg.det(directions[-1].reshape(3, 3))) < FLAT**2:
        raise BadInput("points of a homography lie on a line", why="they allow more than one map")
    return found / np.linalg.norm(found) * (1 if found[2] @ [*source.mean(0), 1] > 0 else -1)


def project(found: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The points (..., 2) after a homography."""
    lifted = np.asarray(points) @ found[:, :2].T + found[:, 2]
    return lifted[..., :2] / lifted[..., 2:]


def _normaliser(points: np.ndarray) -> np.ndarray:
    """Shift and scale that bring the middle of the points to 0 and their mean distance from it to the root of 2."""
    middle = points.mean(0)
    size = np.linalg.norm(points - middle, axis=1).mean()
    if size <= 1e-9 * max(1.0, float(np.abs(points).max())):
        raise BadInput("points of a homography lie in one place", why="they allow more than one map")
    scale = np.sqrt(2) / size
    return np.array([[scale, 0, -scale * middle[0]], [0, scale, -scale * middle[1]], [0, 0, 1]])
