"""Corrected labels by Bayes' rule, and the distance of matrices from what was said, both written out slowly."""

from __future__ import annotations

import numpy as np
import pytest
from stillhouse.methods.noisy_labels.crowd import reading

from .small_crowd import CLASSES, small_crowd, true_confusions

DATA = small_crowd(400, each=4)
TRUTH = DATA.truth
assert TRUTH is not None


def test_the_classifier_is_the_prior_and_the_answers_the_evidence() -> None:
    draw = np.random.default_rng(0)
    prior = draw.dirichlet(np.ones(CLASSES), len(DATA))
    found = reading.of_learner(prior, true_confusions(), DATA.answers)
    for item in (0, 17, 399):
        wanted = prior[item].copy()
        for m in np.flatnonzero(DATA.answers.items == item):
            wanted *= true_confusions()[DATA.answers.annotators[m], :, DATA.answers.labels[m]]
        np.testing.assert_allclose(found.posteriors[item], wanted / wanted.sum(), rtol=1e-9)


def test_right_matrices_correct_better_than_the_majority() -> None:
    flat = np.full((len(DATA), CLASSES), 1 / CLASSES)
    right = reading.of_learner(flat, true_confusions(), DATA.answers).label_accuracy(TRUTH)
    votes = reading.of_votes(DATA.answers, seed=0).label_accuracy(TRUTH)
    assert right > votes + 0.02


def test_votes_pick_one_of_the_winners_at_random() -> None:
    crowd = small_crowd(400, each=2)
    counts = crowd.answers.vote_counts()
    tied = (counts == counts.max(axis=1, keepdims=True)).sum(axis=1) > 1
    chosen = [reading.of_votes(crowd.answers, seed=seed).posteriors.argmax(axis=1) for seed in (0, 1)]
    for labels in chosen:
        assert (counts[np.arange(400), labels] == counts.max(axis=1)).all()
    assert (chosen[0][~tied] == chosen[1][~tied]).all()
    assert 0.3 < (chosen[0][tied] != chosen[1][tied]).mean() < 0.7


def test_the_error_of_matrices_is_a_weighted_distance() -> None:
    matrices = np.random.default_rng(1).dirichlet(np.ones(CLASSES), (10, CLASSES))
    total = weight = 0.0
    for r in range(10):
        for c in range(CLASSES):
            said = DATA.answers.labels[(DATA.answers.annotators == r) & (TRUTH[DATA.answers.items] == c)]
            frequencies = np.bincount(said, minlength=CLASSES) / max(len(said), 1)
            total += len(said) * np.abs(matrices[r, c] - frequencies).sum() / 2
            weight += len(said)
    assert reading.confusion_error(matrices, DATA.answers, TRUTH) == pytest.approx(total / weight)


def test_the_frequencies_themselves_have_no_error() -> None:
    counts = DATA.answers.confusion_counts(TRUTH) + 1e-12
    frequencies = counts / counts.sum(axis=2, keepdims=True)
    assert reading.confusion_error(frequencies, DATA.answers, TRUTH) == pytest.approx(0, abs=1e-9)
    assert reading.confusion_error(true_confusions(), DATA.answers, TRUTH) < 0.1
