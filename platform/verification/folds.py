"""Verification by folds: the threshold is learnt on all folds but one and applied to that one, each in turn (the protocol of LFW).

>>> scores = np.array([0.9, 0.8, 0.2, 0.1, 0.7, 0.6, 0.3, 0.4])
>>> same = np.array([1, 1, 0, 0, 1, 1, 0, 0], bool)
>>> found = verify(scores, same, np.array([0, 0, 0, 0, 1, 1, 1, 1]))
>>> found.accuracies, found.mean, found.thresholds
((1.0, 1.0), 1.0, (0.5, 0.5))
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import BadInput
from .roc import OperatingPoint, Roc, roc
from .scores import check_labels, check_scores


@dataclass(frozen=True, eq=False)
class Verification:
    """What verification by folds found.

    Args:
        accuracies: of each fold, with the threshold learnt on the others.
        thresholds: those thresholds.
        correct: bool (n,), whether each pair was judged rightly, in the order of the pairs: what two methods are compared by.
        roc: the curve of all pairs together.
    """

    accuracies: tuple[float, ...]
    thresholds: tuple[float, ...]
    correct: np.ndarray
    roc: Roc

    @property
    def mean(self) -> float:
        """Mean accuracy over the folds."""
        return statistics.fmean(self.accuracies)

    @property
    def deviation(self) -> float:
        """Sample standard deviation over the folds (n - 1). It is no error of the mean: that is smaller by the root of their number."""
        return statistics.stdev(self.accuracies)

    @property
    def auc(self) -> float:
        """Area under the ROC curve of all pairs."""
        return self.roc.auc

    @property
    def eer(self) -> float:
        """Equal error rate of all pairs."""
        return self.roc.eer

    def at_far(self, far: float) -> OperatingPoint:
        """TAR at a FAR, over all pairs; refused where there are too few impostors."""
        return self.roc.at_far(far)


def best_threshold(scores: Any, positive: Any) -> float:
    """The threshold with the highest accuracy, out of all that differ in what they accept.

    It lies half-way between two neighbouring scores; of several that are equally good, the middle one is taken (the more accepting one
    of the two in the middle). So it depends neither on the order of the pairs nor on a grid.
    """
    curve = roc(scores, positive)
    right = curve.true_accepts - curve.false_accepts  # plus a constant
    best = np.flatnonzero(right == right.max())
    number = int(best[len(best) // 2])
    lowest_accepted = float(curve.thresholds[number])
    if number == 0:
        return float(np.nextafter(curve.thresholds[1], np.inf))
    if number == len(curve.thresholds) - 1:
        return lowest_accepted
    highest_refused = float(curve.thresholds[number + 1])
    middle = highest_refused / 2 + lowest_accepted / 2
    return middle if highest_refused < middle <= lowest_accepted else lowest_accepted  # neighbours among the floats


def verify(scores: Any, same: Any, fold: Any) -> Verification:
    """Verify pairs with scores (n,), the truth (n,) and folds (n,), numbered 0 .. folds - 1.

    Raises:
        BadInput: scores that are not finite, fewer than two folds, an empty fold, or folds whose others lack positives or negatives.
    """
    values, truth = check_scores(scores, same, what="same")
    numbers = check_folds(fold, len(values))
    correct = np.zeros(len(values), dtype=bool)
    accuracies, thresholds = [], []
    for number in range(int(numbers.max()) + 1):
        here = numbers == number
        threshold = threshold_without(values, truth, here, number)
        correct[here] = (values[here] >= threshold) == truth[here]
        accuracies.append(float(np.mean(correct[here])))
        thresholds.append(threshold)
    return Verification(tuple(accuracies), tuple(thresholds), correct, roc(values, truth))


def threshold_without(scores: np.ndarray, same: np.ndarray, left_out: np.ndarray, fold: int) -> float:
    """The best threshold on all pairs but those of a fold."""
    kept = same[~left_out]
    if kept.all() or not kept.any():
        raise BadInput(
            f"without fold {fold} there are {np.count_nonzero(kept)} positives and {np.count_nonzero(~kept)} negatives",
            why="the threshold is learnt on them, and needs both",
            mend="deal pairs of both kinds to every fold",
        )
    return best_threshold(scores[~left_out], kept)


def check_folds(fold: Any, pairs: int) -> np.ndarray:
    """Folds (n,) as int64: two or more, numbered from 0, each with a pair."""
    numbers = check_labels(fold, pairs, "folds")
    count = len(np.unique(numbers))
    if count < 2 or numbers.min() != 0 or numbers.max() != count - 1:
        raise BadInput(
            f"{count} folds, numbered {numbers.min()} to {numbers.max()}",
            why="two folds or more are needed, numbered from 0, none of them empty",
        )
    return numbers


def identities_in_several_folds(first: Any, second: Any, fold: Any) -> np.ndarray:
    """Identities (k,) that occur in pairs of more than one fold. `first` and `second` (n,) are the identities of both sides."""
    numbers = check_labels(fold, len(np.asarray(fold)), "folds")
    sides = np.concatenate([check_labels(side, len(numbers), "identities of a side") for side in (first, second)])
    occurring = np.unique(np.stack([sides, np.tile(numbers, 2)], axis=1), axis=0)
    identities, folds = np.unique(occurring[:, 0], return_counts=True)
    return np.asarray(identities[folds > 1])


def check_identity_disjoint(first: Any, second: Any, fold: Any) -> None:
    """Refuse folds that share a person: the threshold would be learnt on whom it is applied to, and the folds would not be independent.

    Raises:
        BadInput: it says how many people are shared, not whom.
    """
    shared = len(identities_in_several_folds(first, second, fold))
    if shared:
        raise BadInput(
            f"{shared} people occur in more than one fold",
            why="the threshold would be learnt on people it is then scored on",
            mend="deal people to folds first, and make pairs within a fold",
        )
