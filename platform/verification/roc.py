"""How well scores separate positives from negatives: the curve of errors over all thresholds, and what is read off it.

A pair of one person is a positive, a pair of two people (an impostor) a negative; for forged videos, the forged ones are the
positives. What scores at or above the threshold is accepted.

>>> curve = roc([0.9, 0.8, 0.7, 0.2, 0.1], [True, True, False, True, False])
>>> round(curve.auc, 4), round(curve.eer, 4)
(0.8333, 0.3333)
>>> curve.at(0.75)
OperatingPoint(threshold=0.75, false_accepts=0, true_accepts=2, negatives=2, positives=3)
>>> negatives_needed(0.01), measurable([0.1, 0.01, 0.001], negatives=5000)
(1000, (0.1, 0.01))

FMR and FAR are one thing here, the share of negatives that are accepted; FNMR is the share of positives that are not, TAR the rest.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np

from ..errors import BadInput
from ..privacy.validate import probability
from .scores import check_scores

LEAST_ACCEPTED = 10  # negatives that a rate must let pass, or it is not measured


@dataclass(frozen=True)
class OperatingPoint:
    """What one threshold does, in counts; the rates follow."""

    threshold: float
    false_accepts: int
    true_accepts: int
    negatives: int
    positives: int

    @property
    def fmr(self) -> float:
        """Share of negatives that are accepted."""
        return self.false_accepts / self.negatives

    @property
    def tar(self) -> float:
        """Share of positives that are accepted."""
        return self.true_accepts / self.positives

    @property
    def fnmr(self) -> float:
        """Share of positives that are not accepted."""
        return (self.positives - self.true_accepts) / self.positives

    @property
    def accuracy(self) -> float:
        """Share of all that are judged rightly."""
        right = self.true_accepts + self.negatives - self.false_accepts
        return right / (self.negatives + self.positives)


@dataclass(frozen=True, eq=False)
class Roc:
    """The whole curve, in counts: entry k is what the threshold `thresholds[k]` accepts.

    Args:
        thresholds: float64 (k,), falling: infinity, which accepts nothing, then every score that occurs.
        false_accepts: int64 (k,), negatives at or above the threshold; the last entry is all of them.
        true_accepts: int64 (k,), positives likewise.
    """

    thresholds: np.ndarray
    false_accepts: np.ndarray
    true_accepts: np.ndarray

    @property
    def negatives(self) -> int:
        """Number of negatives."""
        return int(self.false_accepts[-1])

    @property
    def positives(self) -> int:
        """Number of positives."""
        return int(self.true_accepts[-1])

    @property
    def far(self) -> np.ndarray:
        """FAR (FMR) at each threshold, rising."""
        return self.false_accepts / self.negatives

    @property
    def tar(self) -> np.ndarray:
        """TAR at each threshold, rising."""
        return self.true_accepts / self.positives

    @property
    def negative_scores(self) -> np.ndarray:
        """Scores float64 (negatives,) of the negatives, falling."""
        return np.repeat(self.thresholds[1:], np.diff(self.false_accepts))

    @cached_property
    def auc(self) -> float:
        """Area under the curve: the chance that a positive scores above a negative, half of it where they tie (Mann & Whitney)."""
        twice = np.sum(np.diff(self.false_accepts) * (self.true_accepts[1:] + self.true_accepts[:-1]))
        return int(twice) / (2 * self.negatives * self.positives)

    @cached_property
    def eer(self) -> float:
        """The rate at which FMR and FNMR are equal, on straight lines between the points of the curve."""
        far, gap = self.far, self.far + self.tar - 1  # from -1 to 1, and every point adds to it
        after = int(np.argmax(gap >= 0))
        before = after - 1
        part = -gap[before] / (gap[after] - gap[before])
        return float(far[before] + part * (far[after] - far[before]))

    @cached_property
    def average_precision(self) -> float:
        """Mean precision over the positives, a tied group at the precision of its end; no interpolation."""
        precision = self.true_accepts[1:] / (self.true_accepts[1:] + self.false_accepts[1:])
        return float(np.sum(np.diff(self.true_accepts) * precision) / self.positives)

    def point(self, number: int) -> OperatingPoint:
        """Entry `number` of the curve."""
        return OperatingPoint(
            float(self.thresholds[number]),
            int(self.false_accepts[number]),
            int(self.true_accepts[number]),
            self.negatives,
            self.positives,
        )

    def at(self, threshold: float) -> OperatingPoint:
        """What a threshold fixed elsewhere does here."""
        if math.isnan(threshold):
            raise BadInput("the threshold is no number")
        found = self.point(int(np.searchsorted(-self.thresholds, -threshold, side="right")) - 1)
        return OperatingPoint(float(threshold), *(getattr(found, name) for name in _COUNTS))

    def at_far(self, far: float) -> OperatingPoint:
        """The most accepting threshold among the scores whose share of accepted negatives is at most `far`: TAR at FAR.

        Nothing is interpolated: `.fmr` says what was really accepted.

        Raises:
            BadInput: fewer than 10/far negatives, so that the rate would hang on a handful of pairs.
        """
        needed = negatives_needed(far)
        if self.negatives < needed:
            raise BadInput(
                f"TAR at FAR {far:g} from {self.negatives:,} negatives",
                why=f"fewer than {LEAST_ACCEPTED} of them may be accepted, so the figure would hang on a handful",
                mend=f"give at least {needed:,} negatives, or ask for a higher FAR",
            )
        return self.point(int(np.searchsorted(self.false_accepts, share(far, self.negatives), side="right")) - 1)


_COUNTS = ("false_accepts", "true_accepts", "negatives", "positives")


def roc(scores: Any, positive: Any) -> Roc:
    """The curve of scores (n,), higher for positives, and the truth (n,).

    Raises:
        BadInput: a score that is not finite, other shapes, or positives or negatives that are missing.
    """
    values, truth = check_scores(scores, positive)
    order = np.argsort(-values, kind="stable")
    falling = values[order]
    last = np.append(np.flatnonzero(np.diff(falling)), len(falling) - 1)  # of each group of equal scores
    accepted = last + 1
    true = np.cumsum(truth[order], dtype=np.int64)[last]
    return Roc(
        np.concatenate([[np.inf], falling[last]]),
        np.concatenate([[0], accepted - true]).astype(np.int64),
        np.concatenate([[0], true]).astype(np.int64),
    )


def negatives_needed(far: float) -> int:
    """How many negatives a FAR needs before it is measured: ten that may be accepted."""
    probability(far=far)
    return math.ceil(LEAST_ACCEPTED / Fraction(str(float(far))))


def measurable(fars: Iterable[float], negatives: int) -> tuple[float, ...]:
    """Those of the rates for which there are negatives enough. Say which were left out."""
    return tuple(far for far in fars if negatives_needed(far) <= negatives)


def share(far: float, negatives: int) -> int:
    """How many of the negatives a FAR lets pass: 29 of 100 at 0.29, although 0.29 * 100 in floating point is less than 29."""
    return int(Fraction(str(float(far))) * negatives)


def auc(scores: Any, positive: Any) -> float:
    """Area under the ROC curve."""
    return roc(scores, positive).auc


def eer(scores: Any, positive: Any) -> float:
    """Equal error rate."""
    return roc(scores, positive).eer


def tar_at_far(scores: Any, positive: Any, far: float) -> OperatingPoint:
    """TAR at a FAR, refused where there are too few negatives; see `Roc.at_far`."""
    return roc(scores, positive).at_far(far)
