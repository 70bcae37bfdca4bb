"""Sums of bounded vectors over records, exact: whole numbers on a grid, so that one record moves a sum by no more than its bound.

sums = integer_sums(vectors, labels, classes=10, bound=SUM_UNITS / sigma)
noisy = sums + noise.gaussian(SUM_UNITS, sums.shape)    # times sigma / SUM_UNITS / HEADROOM: the sum, with noise `sigma / HEADROOM`
event = sums_event(sigma)                               # what that costs

A record that comes or goes moves a sum by the bound; one that is replaced by its opposite, by twice the bound.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from .events import GaussianEvent
from .neighbours import Relation

# Noise in grid units: the finest grid whose noise table is still small.
SUM_UNITS = 2048
# Room for the rounding of a vector of full length; the sums are that much smaller, and their noise as much larger, relatively.
HEADROOM = 0.98


def sums_event(sigma: float) -> GaussianEvent:
    """One release of the sums with noise `sigma` times the bound. It holds for adding or removing one record, not for replacing one."""
    return GaussianEvent(sigma, squared_sensitivity=1, holds_for=(Relation.ADD_OR_REMOVE_ONE,))


def integer_sums(vectors: Tensor, labels: np.ndarray, classes: int, *, bound: float) -> np.ndarray:
    """Sum each class's vectors (n, F), of length at most 1, on a grid on which that length is `bound`: int64 (K, F).

    A vector is made `HEADROOM` times as long and rounded to the nearest point of the grid; where that comes out longer than `bound`, it
    is cut towards zero instead, which never lengthens. So one record's part is at most `bound` long, exactly: the sums are of whole
    numbers, and no rounding of a long sum can move more than one record may. (Cutting all of them would shrink the sums by as much as
    the noise of a few thousand records.)
    """
    sums = np.zeros((classes, vectors.shape[1]), dtype=np.int64)
    for part, own in zip(vectors.split(4096), np.array_split(labels, range(4096, len(labels), 4096)), strict=True):
        exact = part.double().numpy()
        # A vector that is no vector counts as zero: still a function of its one record.
        exact[~np.isfinite(exact).all(axis=1)] = 0.0
        lengths = np.maximum(np.linalg.norm(exact, axis=1, keepdims=True), 1.0)
        scaled = exact * (bound * HEADROOM / lengths)
        units = np.rint(scaled)
        # Squares of whole numbers below 2^26 and their sums are exact here.
        long = (units**2).sum(axis=1) > bound**2 * (1 - 1e-12)
        units[long] = np.trunc(scaled[long])
        np.add.at(sums, own, units.astype(np.int64))
    return sums
