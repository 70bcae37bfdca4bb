"""Whether annotators differ at all: Pearson's statistic of their accuracies against one accuracy for all.

If every annotator were right with the same probability p, the sum over annotators of (right - n p)^2 / (n p (1 - p)) would be about
its degrees of freedom, however few labels each of them gave. Where it is not above that, nothing can be gained by modelling
annotators one by one, whoever they are.

>>> right = np.array([True] * 90 + [False] * 10 + [True] * 50 + [False] * 50)
>>> who = np.repeat([0, 1], 100)
>>> found = heterogeneity(who, right)
>>> round(found.chi2, 1), found.degrees, found.pvalue < 1e-6
(38.1, 1, True)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import BadInput
from .crowd import CrowdAnswers


@dataclass(frozen=True)
class Heterogeneity:
    """Pearson's statistic.

    Args:
        chi2: the statistic.
        degrees: of freedom: annotators with answers, less one.
        accuracy: of all answers together.
        pvalue: probability of so much or more, if all were alike; by the chi-square distribution, which is rough where annotators
            gave only a few answers.
    """

    chi2: float
    degrees: int
    accuracy: float
    pvalue: float

    @property
    def ratio(self) -> float:
        """The statistic a degree of freedom: about 1 if annotators do not differ (standard deviation about sqrt(2 / degrees))."""
        return self.chi2 / self.degrees


def heterogeneity(annotators: np.ndarray, right: np.ndarray) -> Heterogeneity:
    """Compare annotators' accuracies.

    Args:
        annotators: int (M,), who gave each answer.
        right: bool (M,), whether it was right.

    Raises:
        BadInput: there are fewer than two annotators, or all answers are right, or none is: then nobody can differ.
    """
    from scipy.stats import chi2 as chi_square

    who, correct = np.unique(annotators, return_inverse=True)[1], np.asarray(right, dtype=np.float64)
    if who.shape != correct.shape or who.ndim != 1:
        raise BadInput(f"{who.shape} annotators, but {correct.shape} answers", mend="give both for each answer")
    given = np.bincount(who).astype(np.float64)
    if len(given) < 2:
        raise BadInput("fewer than two annotators gave answers", why="there is nobody to compare")
    accuracy = float(correct.mean())
    if not 0 < accuracy < 1:
        raise BadInput("all answers are right, or none is", why="annotators cannot differ then")
    expected = given * accuracy
    statistic = float(((np.bincount(who, weights=correct) - expected) ** 2 / (expected * (1 - accuracy))).sum())
    degrees = len(given) - 1
    return Heterogeneity(statistic, degrees, accuracy, float(chi_square.sf(statistic, degrees)))


def heterogeneity_of(answers: CrowdAnswers, truth: np.ndarray) -> Heterogeneity:
    """The same for a crowd's answers about items whose classes (N,) are known."""
    return heterogeneity(answers.annotators, answers.labels == np.asarray(truth)[answers.items])
