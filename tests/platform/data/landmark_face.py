"""68 landmarks of a face that is drawn by formulas."""

from __future__ import annotations

import numpy as np


def face(nose: float = 0.0) -> np.ndarray:
    """68 points: the jaw a half ellipse about (56, 50), 40 wide and 60 high to each side; `nose` moves its tip to the right."""
    points = np.zeros((68, 2))
    turn = np.pi * (1 - np.arange(17) / 16)
    points[:17] = np.stack([56 + 40 * np.cos(turn), 50 + 60 * np.sin(turn)], 1)
    points[17:27] = np.stack([np.linspace(25, 87, 10), np.full(10, 42.0)], 1)
    points[27:31] = np.stack([56 + nose * np.arange(4) / 3, np.linspace(52, 72, 4)], 1)
    points[31:36] = np.stack([np.linspace(50, 62, 5), np.full(5, 75.0)], 1)
    for start, middle in ((36, 38), (42, 74)):
        points[start : start + 6] = np.array([[-6, 0], [-2, -2], [2, -2], [6, 0], [2, 2], [-2, 2]])
        points[start : start + 6] += (middle, 52)
    ring = np.linspace(np.pi, 3 * np.pi, 12, endpoint=False)
    points[48:60] = np.stack([56 + 15 * np.cos(ring), 92 + 5 * np.sin(ring)], 1)
    ring = np.linspace(np.pi, 3 * np.pi, 8, endpoint=False)
    points[60:] = np.stack([56 + 10 * np.cos(ring), 92 + 2 * np.sin(ring)], 1)
    return points
