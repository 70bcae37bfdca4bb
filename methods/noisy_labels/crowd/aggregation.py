"""One label an item from many annotators' answers: majority vote, soft majority, and Dawid and Skene's EM.

Two annotators agree, a third does not; the vote goes to the two:

>>> answers = CrowdAnswers(np.array([0, 0, 0]), np.array([0, 1, 2]), np.array([1, 1, 0]), n_items=1, n_annotators=3, classes=2)
>>> majority_vote(answers, seed=0).tolist(), soft_majority(answers).round(2).tolist()
([1], [[0.33, 0.67]])

Dawid and Skene (1979): each annotator r has a matrix T_r, T_r[k, l] the probability of saying l when the item is of class k, and gives
answers independently of the others once the class is known. EM finds the matrices and the items' class probabilities together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp

from ....platform.data.crowd import CrowdAnswers
from ....platform.privacy.validate import non_negative, positive, positive_int


def soft_majority(answers: CrowdAnswers) -> np.ndarray:
    """The share of an item's answers that each class got: float64 (n_items, classes), rows sum to 1."""
    counts = answers.vote_counts()
    return counts / counts.sum(axis=1, keepdims=True)


def majority_vote(answers: CrowdAnswers, *, seed: int) -> np.ndarray:
    """The class with most answers, int64 (n_items,); ties are broken evenly at random, by the seed."""
    counts = answers.vote_counts()
    # A random number below 1 on top of whole numbers decides among equals only.
    return np.asarray(np.argmax(counts + np.random.default_rng(seed).random(counts.shape), axis=1))


@dataclass(frozen=True, eq=False)
class DawidSkene:
    """What EM ends with.

    Args:
        posteriors: probability of each class for each item, (n_items, classes).
        prior: probability of each class, (classes,).
        confusions: (n_annotators, classes, classes), rows the true class and sum to 1; uniform for whoever gave no answer.
        log_likelihoods: of the answers under the parameters that each E-step used (nats), one an iteration.
        log_posteriors: the same plus the smoothing's share, `smoothing` times the sum of log confusions: what EM climbs, so that it
            never falls. Without smoothing both are the same.
        converged: whether the last iteration moved no posterior by more than the tolerance.
    """

    posteriors: np.ndarray
    prior: np.ndarray
    confusions: np.ndarray
    log_likelihoods: tuple[float, ...]
    log_posteriors: tuple[float, ...]
    converged: bool

    @property
    def labels(self) -> np.ndarray:
        """The most probable class of each item, int64 (n_items,)."""
        return np.asarray(self.posteriors.argmax(axis=1))


def dawid_skene(
    answers: CrowdAnswers, *, smoothing: float = 0.01, tolerance: float = 1e-6, most_iterations: int = 100
) -> DawidSkene:
    """Aggregate by EM, from the soft majority.

    Args:
        answers: of the crowd.
        smoothing: added to every cell of every matrix before its rows are normalised (a Dirichlet prior with parameter 1 + smoothing);
            0: none, so that a label that an annotator never gave for a class is impossible.
        tolerance: EM ends when no posterior moves by more.
        most_iterations: at which it ends in any case.

    Costs memory and time in proportion to n_annotators x classes^2 and to answers x classes; no array is items x annotators.
    """
    non_negative(smoothing=smoothing)
    positive(tolerance=tolerance)
    positive_int(most_iterations=most_iterations)
    posteriors = soft_majority(answers)
    likelihoods: list[float] = []
    objectives: list[float] = []
    converged = False
    while not converged and len(likelihoods) < most_iterations:
        prior, confusions = _maximised(answers, posteriors, smoothing)
        updated, likelihood = posteriors_given(answers, prior, confusions)
        likelihoods.append(likelihood)
        objectives.append(likelihood + (smoothing * float(np.log(confusions).sum()) if smoothing else 0.0))
        converged = bool(np.abs(updated - posteriors).max() < tolerance)
        posteriors = updated
    return DawidSkene(posteriors, prior, confusions, tuple(likelihoods), tuple(objectives), converged)


def posteriors_given(answers: CrowdAnswers, prior: np.ndarray, confusions: np.ndarray) -> tuple[np.ndarray, float]:
    """The E-step: class probabilities of each item under these parameters, and the log-likelihood of all answers (nats).

    Args:
        answers: of the crowd.
        prior: (classes,), or (n_items, classes) if something else, such as a classifier, has a say about each item.
        confusions: (n_annotators, classes, classes), rows the true class.
    """
    with np.errstate(divide="ignore"):  # log 0 is what an impossible answer means
        log_confusions, log_prior = np.log(confusions), np.log(prior)
    evidence = np.stack(
        [
            np.bincount(
                answers.items, weights=log_confusions[answers.annotators, c, answers.labels], minlength=answers.n_items
            )
            for c in range(answers.classes)
        ],
        axis=1,
    )
    joint = log_prior + evidence
    of_items = logsumexp(joint, axis=1, keepdims=True)
    return np.exp(joint - of_items), float(of_items.sum())


def _maximised(answers: CrowdAnswers, posteriors: np.ndarray, smoothing: float) -> tuple[np.ndarray, np.ndarray]:
    """The M-step: prior and confusions from expected counts; a row without counts is uniform."""
    counts = answers.confusion_counts(posteriors) + smoothing
    totals = counts.sum(axis=2, keepdims=True)
    confusions = np.divide(counts, totals, out=np.full_like(counts, 1 / answers.classes), where=totals > 0)
    return posteriors.mean(axis=0), confusions
