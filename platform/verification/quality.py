"""How good a picture is for recognition, what errors remain when the worst are left out, and where to abstain.

The length of an embedding before it is normalised tells much: networks trained with a softmax give blurred faces, and what is no face,
short ones.

>>> curve = error_versus_reject(wrong=[True, True, False, False], quality=[0.1, 0.2, 0.8, 0.9], rejected=[0, 0.25, 0.5])
>>> curve.error.round(4).tolist(), curve.area < curve.area_at_random
([0.5, 0.3333, 0.0], True)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import betaincinv

from ..errors import BadInput
from ..privacy.validate import positive_int, probability
from .scores import check_embeddings, check_labels, check_numbers, check_truths

REJECTED = tuple(step / 20 for step in range(16))  # 0 to 75 %


def norms(embeddings: Any) -> np.ndarray:
    """Quality of each picture: the length (n,) of its embedding, not normalised.

    Raises:
        BadInput: one is not finite, or all are of length 1, so that they were normalised before.
    """
    rows, lengths = check_embeddings(embeddings)
    if len(rows) > 1 and np.allclose(lengths, 1.0, rtol=0, atol=1e-5):
        raise BadInput(
            "all embeddings have length 1", why="it no longer tells anything", mend="give them as the network does"
        )
    return lengths


def pair_quality(quality: Any, first: Any, second: Any) -> np.ndarray:
    """Quality (m,) of pairs: that of the worse of both pictures, which are numbers into `quality` (n,)."""
    values = check_numbers(quality, "qualities")
    length = len(np.asarray(first))
    sides = [check_labels(side, length, "the pairs' numbers") for side in (first, second)]
    if any(side.size and not (side.min() >= 0 and side.max() < len(values)) for side in sides):
        raise BadInput(f"a pair names a picture beyond the {len(values)} that there are")
    return np.minimum(values[sides[0]], values[sides[1]])


@dataclass(frozen=True, eq=False)
class RejectCurve:
    """Error (k,) among what is kept, when the share `rejected` (k,) of lowest quality is left out.

    In all, `errors` of `count` are wrong. The threshold of the decisions stays fixed (Grother & Tabassi 2007, "Performance of biometric
    quality measures").
    """

    rejected: np.ndarray
    error: np.ndarray
    errors: int
    count: int

    @property
    def ideal(self) -> np.ndarray:
        """The error if a quality knew what is wrong."""
        rate = self.errors / self.count
        return np.maximum(0.0, rate - self.rejected) / (1 - self.rejected)

    @property
    def area(self) -> float:
        """Mean error over the rejected shares (trapezoids)."""
        return _mean(self.rejected, self.error)

    @property
    def area_at_random(self) -> float:
        """The same for a quality that tells nothing."""
        return self.errors / self.count


def error_versus_reject(wrong: Any, quality: Any, rejected: Sequence[float] = REJECTED) -> RejectCurve:
    """The curve of records with `wrong` (n,) and quality (n,), the higher the better.

    For the usual curve give genuine pairs only, with `scores < threshold` as wrong: the error is then FNMR. Records of equal quality
    leave together, in parts: the curve does not depend on their order.

    Args:
        rejected: shares, rising, at least two, from 0 on and below 1.

    Raises:
        BadInput: other shapes, or shares that are not so.
    """
    values = check_numbers(quality, "qualities")
    mistakes = check_truths(wrong, len(values), "wrong")
    shares = check_numbers(rejected, "rejected shares")
    if len(shares) < 2 or (np.diff(shares) <= 0).any() or shares[0] < 0 or shares[-1] >= 1:
        raise BadInput("rejected shares must rise, from 0 on and below 1, two or more", why="something has to be kept")
    left, lost = _cumulative(values, mistakes)
    gone = shares * len(values)
    kept_errors = lost[-1] - np.interp(gone, left, lost)
    return RejectCurve(shares, kept_errors / (len(values) - gone), int(lost[-1]), len(values))


@dataclass(frozen=True)
class Abstention:
    """Where to abstain: below `threshold` no decision is made.

    Args:
        threshold: quality at which a decision is still made.
        coverage: share of records that are decided.
        error: their share of wrong decisions, as found.
        bound: what the true share exceeds with probability 1 - confidence at most.
    """

    threshold: float
    coverage: float
    error: float
    bound: float
    confidence: float


def abstention_threshold(
    wrong: Any, quality: Any, *, error: float, confidence: float = 0.95, levels: int = 20
) -> Abstention:
    """The lowest quality threshold that keeps the error of what is decided below `error`, with confidence.

    `levels` coverages are looked at (1/levels, 2/levels, ..., 1), each with the exact upper bound of a binomial share (Clopper &
    Pearson) at (1 - confidence)/levels, so that all bounds hold together and the widest coverage may be picked (as Geifman & El-Yaniv
    2017, "Selective classification for deep neural networks", do with a search). It holds for records that are drawn independently, as
    those to come: take one pair a person where that matters.

    Raises:
        BadInput: no coverage reaches it: the records are too few, or the quality tells too little.
    """
    probability(error=error, confidence=confidence)
    positive_int(levels=levels)
    values = check_numbers(quality, "qualities")
    mistakes = check_truths(wrong, len(values), "wrong")
    falling = np.sort(values)[::-1]
    best = math.inf
    for level in range(levels, 0, -1):
        number = math.ceil(len(values) * level / levels)
        kept = values >= falling[number - 1]
        count, bad = int(np.count_nonzero(kept)), int(np.count_nonzero(mistakes & kept))
        bound = upper_bound(bad, count, 1 - (1 - confidence) / levels)
        if bound <= error:
            return Abstention(float(falling[number - 1]), count / len(values), bad / count, bound, confidence)
        best = min(best, bound)
    raise BadInput(
        f"no quality threshold keeps the error below {error:g} at confidence {confidence:g}",
        why=f"the best bound over {levels} coverages is {best:.3g}, from {len(values)} records",
        mend="give more records, allow more errors, or find a quality that tells more",
    )


def upper_bound(errors: int, count: int, confidence: float) -> float:
    """Exact upper bound of a share of which `errors` in `count` were found (Clopper & Pearson 1934, one-sided)."""
    return 1.0 if errors == count else float(betaincinv(errors + 1, count - errors, confidence))


def _cumulative(quality: np.ndarray, wrong: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """After each group of equal quality, from the worst on: how many records have left, and how many errors; from (0, 0)."""
    order = np.argsort(quality, kind="stable")
    last = np.append(np.flatnonzero(np.diff(quality[order])), len(order) - 1)
    errors = np.cumsum(wrong[order], dtype=np.int64)[last]
    return np.concatenate([[0], last + 1]), np.concatenate([[0], errors])


def _mean(x: np.ndarray, y: np.ndarray) -> float:
    return float(np.sum(np.diff(x) * (y[1:] + y[:-1])) / 2 / (x[-1] - x[0]))
