"""What a trained learner says of training items and annotators: corrected labels, confusion matrices, and how right they are.

The classifier's probabilities are the prior of an item's class, the answers about it the evidence, each weighed by its annotator's
matrix: what an E-step of Dawid and Skene would say whose prior is the classifier.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ....platform.data.crowd import CrowdAnswers
from .aggregation import dawid_skene, majority_vote, posteriors_given, soft_majority
from .annotators import dirichlet_moments

# Of a uniform Dirichlet prior, where a matrix is counted.
STRENGTH = 1.0


@dataclass(frozen=True, eq=False)
class Reading:
    """Class probabilities (N, C) of the training items, and row-stochastic confusion matrices (R, C, C)."""

    posteriors: np.ndarray
    confusions: np.ndarray

    def label_accuracy(self, truth: np.ndarray) -> float:
        """Return the fraction of items whose likeliest class is the true one."""
        return float((self.posteriors.argmax(axis=1) == truth).mean())


def of_learner(probabilities: np.ndarray, confusions: np.ndarray, answers: CrowdAnswers) -> Reading:
    """Read a learner that has the annotators' matrices: its class probabilities (N, C), weighed against the answers."""
    return Reading(posteriors_given(answers, probabilities, confusions)[0], confusions)


def of_votes(answers: CrowdAnswers, *, seed: int) -> Reading:
    """Read the majority, ties broken by the seed; the matrices are counted against the votes."""
    votes = soft_majority(answers)
    winners = majority_vote(answers, seed=seed)
    # A winner of a tie gets a hair more, so that the likeliest class is the winner.
    votes[np.arange(len(votes)), winners] += 1e-9
    votes /= votes.sum(axis=1, keepdims=True)
    return Reading(votes, dirichlet_moments(answers.confusion_counts(votes), STRENGTH)[0])


def of_dawid_skene(answers: CrowdAnswers, *, smoothing: float) -> Reading:
    """Read Dawid and Skene's EM."""
    found = dawid_skene(answers, smoothing=smoothing)
    return Reading(found.posteriors, found.confusions)


def confusion_error(confusions: np.ndarray, answers: CrowdAnswers, truth: np.ndarray) -> float:
    """Return the mean total variation distance of an annotator's matrix from the frequencies of what he or she said, row by row.

    Each row of each annotator weighs as many as its answers. Few answers scatter, so that even the right matrices are not at 0.

    Args:
        confusions: (R, C, C), row-stochastic.
        answers: of the crowd.
        truth: (N,) true classes.
    """
    counts = answers.confusion_counts(truth).astype(np.float64)
    totals = counts.sum(axis=2)
    frequencies = counts / np.maximum(totals, 1)[:, :, None]
    distances = np.abs(confusions - frequencies).sum(axis=2) / 2
    return float((distances * totals).sum() / totals.sum())
