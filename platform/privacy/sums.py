"""Sums of bounded vectors over records, exact: whole numbers on a grid, so that one record moves a sum by no more than its bound.

sums = integer_sums(vectors, labels, classes=10, bound=SUM_UNITS / sigma)
noisy = sums + noise.gaussian(SUM_UNITS, sums.shape)        # times sigma / SUM_UNITS: the sum, with noise `sigma`
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

# Noise in grid units: the finest grid whose noise table is still small.
SUM_UNITS = 2048


def integer_sums(vectors: Tensor, labels: np.ndarray, classes: int, *, bound: float) -> np.ndarray:
    """Sum each class's vectors (n, F), of length at most 1, on a grid on which that length is `bound`: int64 (K, F).

    Every vector is cut towards zero on the grid, which never lengthens it, so one record's part is at most `bound` long, exactly: the
    sums are of whole numbers, and no rounding of a long sum can move more than one record may.
    """
    sums = np.zeros((classes, vectors.shape[1]), dtype=np.int64)
    for part, own in zip(vectors.split(4096), np.array_split(labels, range(4096, len(labels), 4096)), strict=True):
        exact = part.double().numpy()
        # A vector that is no vector counts as zero: still a function of its one record.
        exact[~np.isfinite(exact).all(axis=1)] = 0.0
        lengths = np.maximum(np.linalg.norm(exact, axis=1, keepdims=True), 1.0)
        # A hair inside the bound, for the rounding of the length itself.
        units = np.trunc(exact * (bound * (1 - 1e-9) / lengths))
        np.add.at(sums, own, units.astype(np.int64))
    return sums
