"""Votes as vectors that add up to histograms: one-hot, with a share of noise, modulo 2^32.

A sum of n such vectors is exact: counts are at most n, noise is far below 2^31 in size (`check_room` sees to it), and what wraps in a
member's own vector, a negative number, unwraps in the sum.

>>> parts = [encode(np.array(votes), classes=3, noise=np.array([[-2, 0, 1], [0, 0, 0]])) for votes in ([0, 2], [0, -1])]
>>> decode(parts[0] + parts[1], queries=2, classes=3).tolist()
[[-2, 0, 2], [0, 0, 1]]
"""

from __future__ import annotations

import numpy as np

from ..aggregator.counting import count
from ..errors import BadInput
from ..privacy.validate import integer_array, positive, positive_int

_HALF = 1 << 31
_TAIL = 40  # standard deviations: beyond is less likely than anything that is counted on elsewhere


def encode(votes: np.ndarray, *, classes: int, noise: np.ndarray) -> np.ndarray:
    """Q labels of one silo (-1: it abstains) and its noise (Q, K) as a vector (Q K,) uint32.

    Raises:
        BadInput: a vote lies outside of the classes, or shapes do not fit.
    """
    integer_array(votes=votes, noise=noise)
    positive_int(classes=classes)
    if votes.ndim != 1 or noise.shape != (len(votes), classes):
        raise BadInput("one silo's votes are a list, its noise has one row for each and one column for each class")
    one_hot = count(votes[None], queries=len(votes), teachers=1, classes=classes)
    return ((one_hot + noise.astype(np.int64)) % (1 << 32)).astype(np.uint32).ravel()


def decode(total: np.ndarray, *, queries: int, classes: int) -> np.ndarray:
    """The histograms (Q, K) int64 that a sum (Q K,) uint32 stands for; noise may have made counts negative."""
    if not isinstance(total, np.ndarray) or total.dtype != np.uint32 or total.shape != (queries * classes,):
        raise BadInput(
            f"a sum for {queries} queries and {classes} classes has {queries * classes} numbers of type uint32"
        )
    wide = total.astype(np.int64)
    return np.where(wide < _HALF, wide, wide - (1 << 32)).reshape(queries, classes)


def check_room(*, silos: int, deviation: float) -> None:
    """See that counts of so many silos and noise of this standard deviation in the sum stay within 31 bits.

    Raises:
        BadInput: they might not. (Wrapping would spoil an answer, not anybody's privacy.)
    """
    positive_int(silos=silos)
    positive(deviation=deviation)
    if silos + _TAIL * deviation >= _HALF:
        raise BadInput("the noise is too wide for sums modulo 2^32", mend="use a smaller sigma")
