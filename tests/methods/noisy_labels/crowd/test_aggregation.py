"""Majority vote and Dawid-Skene against a dense, slow EM, by what EM guarantees, and on real crowds."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stillhouse.methods.noisy_labels.crowd.aggregation import (
    dawid_skene,
    majority_vote,
    posteriors_given,
    soft_majority,
)
from stillhouse.platform.data.crowd import CrowdAnswers
from stillhouse.platform.data.crowd_sets import LabelMe
from stillhouse.platform.data.crowd_synthetic import CrowdSettings, synthetic_crowd
from stillhouse.platform.errors import BadInput


def sparse(table: np.ndarray, classes: int) -> CrowdAnswers:
    items, annotators = np.nonzero(table >= 0)
    return CrowdAnswers(items, annotators, table[items, annotators], *table.shape, classes)


@st.composite
def crowds(draw: st.DrawFn) -> tuple[np.ndarray, int]:
    """A dense table with -1 for no answer; annotators may be silent, or give one answer only."""
    n, r, c = draw(st.integers(1, 10)), draw(st.integers(1, 5)), draw(st.integers(2, 4))
    table = np.array(draw(st.lists(st.integers(-1, c - 1), min_size=n * r, max_size=n * r))).reshape(n, r)
    for item in np.flatnonzero((table < 0).all(axis=1)):
        table[item, draw(st.integers(0, r - 1))] = draw(st.integers(0, c - 1))
    return table, c


def slow_em(
    table: np.ndarray, classes: int, smoothing: float, iterations: int
) -> tuple[np.ndarray, list[list[list[float]]], list[float]]:
    """Dawid and Skene's EM as their paper writes it, one number at a time, on the dense table."""
    n, r = table.shape
    votes = [[sum(answer == c for answer in row) for c in range(classes)] for row in table.tolist()]
    q = [[count / sum(row) for count in row] for row in votes]
    likelihoods = []
    for _ in range(iterations):
        prior = [sum(q[i][k] for i in range(n)) / n for k in range(classes)]
        confusion = []
        for who in range(r):
            matrix = []
            for k in range(classes):
                row = [smoothing + sum(q[i][k] for i in range(n) if table[i, who] == c) for c in range(classes)]
                matrix.append([value / sum(row) for value in row])
            confusion.append(matrix)
        total, new = 0.0, []
        for i in range(n):
            joint = [
                prior[k] * math.prod(confusion[who][k][table[i, who]] for who in range(r) if table[i, who] >= 0)
                for k in range(classes)
            ]
            total += math.log(sum(joint))
            new.append([value / sum(joint) for value in joint])
        q = new
        likelihoods.append(total)
    return np.array(q), confusion, likelihoods


@given(crowds(), st.integers(1, 6))
@settings(max_examples=60, deadline=None)
def test_em_is_that_of_the_paper(drawn: tuple[np.ndarray, int], iterations: int) -> None:
    table, classes = drawn
    posteriors, confusion, likelihoods = slow_em(table, classes, 0.01, iterations)
    found = dawid_skene(sparse(table, classes), tolerance=1e-300, most_iterations=iterations)
    done = len(found.log_likelihoods)  # it may stand still before
    assert done == iterations or found.converged
    assert np.allclose(found.log_likelihoods, likelihoods[:done], rtol=1e-10, atol=1e-10)
    assert np.allclose(found.posteriors, posteriors, atol=1e-9)
    assert np.allclose(found.confusions, confusion, atol=1e-9)


@given(crowds(), st.sampled_from([0.0, 0.01, 1.0]))
@settings(max_examples=80, deadline=None)
def test_what_em_climbs_never_falls(drawn: tuple[np.ndarray, int], smoothing: float) -> None:
    table, classes = drawn
    found = dawid_skene(sparse(table, classes), smoothing=smoothing)
    assert np.isfinite(found.log_posteriors).all() and (np.diff(found.log_posteriors) > -1e-9).all()
    assert np.allclose(found.posteriors.sum(axis=1), 1) and np.allclose(found.confusions.sum(axis=2), 1)
    if smoothing == 0:
        assert found.log_likelihoods == found.log_posteriors


def test_the_smoothing_s_share_is_a_dirichlet_prior() -> None:
    table = np.array([[0, 1, 1], [1, 1, -1], [0, -1, 0]])
    found = dawid_skene(sparse(table, 2), smoothing=0.5, most_iterations=3)
    share = 0.5 * np.log(found.confusions).sum()
    assert found.log_posteriors[-1] - found.log_likelihoods[-1] == pytest.approx(share, rel=1e-12)


@given(crowds(), st.permutations(range(4)))
@settings(max_examples=40, deadline=None)
def test_names_of_classes_and_annotators_do_not_matter(drawn: tuple[np.ndarray, int], order: list[int]) -> None:
    table, classes = drawn
    renamed = np.array([c for c in order if c < classes])
    found = dawid_skene(sparse(table, classes), most_iterations=5)
    swapped = np.where(table >= 0, renamed[table], -1)[:, ::-1]
    other = dawid_skene(sparse(swapped, classes), most_iterations=5)
    assert np.allclose(other.posteriors[:, renamed], found.posteriors, atol=1e-9)
    assert np.allclose(other.confusions[::-1][:, renamed][:, :, renamed], found.confusions, atol=1e-9)


@given(crowds(), st.integers(0, 2**32 - 1))
def test_the_majority_wins_and_shares_are_the_votes(drawn: tuple[np.ndarray, int], seed: int) -> None:
    table, classes = drawn
    answers = sparse(table, classes)
    counts = answers.vote_counts()
    won = majority_vote(answers, seed=seed)
    assert (counts[np.arange(len(table)), won] == counts.max(axis=1)).all()
    assert np.array_equal(majority_vote(answers, seed=seed), won)
    assert np.allclose(soft_majority(answers) * (table >= 0).sum(axis=1, keepdims=True), counts)


def test_ties_are_broken_evenly() -> None:
    n = 6000
    table = np.tile([0, 2, 3, 3, 2], (n, 1))
    won = np.bincount(majority_vote(sparse(table, 4), seed=0), minlength=4)
    assert won[0] == won[1] == 0 and abs(won[2] - n / 2) < 3 * math.sqrt(n / 4)


def test_a_crowd_that_agrees_is_believed() -> None:
    truth = np.array([0, 1, 2, 1])
    found = dawid_skene(sparse(np.tile(truth[:, None], (1, 3)), 3))
    assert found.converged and np.array_equal(found.labels, truth) and found.posteriors.max(axis=1).min() > 0.999


def test_a_label_in_every_row_and_a_class_nobody_chose_stay_finite() -> None:
    for smoothing in (0.0, 0.01):
        found = dawid_skene(sparse(np.zeros((5, 2), int), 3), smoothing=smoothing)
        assert found.converged and (found.labels == 0).all() and np.isfinite(found.log_likelihoods).all()
        assert found.prior.tolist() == [1, 0, 0]
        assert np.isfinite(found.confusions).all()


def test_a_silent_annotator_has_a_uniform_matrix() -> None:
    table = np.array([[0, -1, 1], [1, -1, 1]])
    for smoothing in (0.0, 0.01):
        assert (dawid_skene(sparse(table, 2), smoothing=smoothing).confusions[1] == 0.5).all()


def test_an_adversary_is_turned_round() -> None:
    """One annotator always says the next class: the vote of two loses half of the ties, Dawid-Skene learns to read the lie."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 600)
    noisy = np.stack([np.where(rng.random(600) < 0.75, truth, rng.integers(0, 3, 600)) for _ in range(2)], axis=1)
    table = np.concatenate([noisy, (truth[:, None] + 1) % 3], axis=1)
    found = dawid_skene(sparse(table, 3))
    assert (found.labels == truth).mean() > 0.97
    assert (majority_vote(sparse(table, 3), seed=0) == truth).mean() < 0.9
    assert np.allclose(found.confusions[2], np.roll(np.eye(3), 1, axis=1), atol=0.05)


def test_confusions_of_a_synthetic_crowd_are_recovered() -> None:
    truth = np.random.default_rng(1).integers(0, 5, 3000)
    crowd = synthetic_crowd(truth, 5, CrowdSettings(annotators=15, beta_a=2, beta_b=2, mean_labels=5.0), seed=0)
    found = dawid_skene(crowd.answers)
    given_labels = crowd.answers.answers_per_annotator()
    distance = 0.5 * np.abs(found.confusions - crowd.confusions).sum(axis=2).mean(axis=1)
    assert np.average(distance, weights=given_labels) < 0.1
    assert (found.labels == truth).mean() > (majority_vote(crowd.answers, seed=0) == truth).mean() + 0.05


def test_a_prior_for_each_item_has_its_say() -> None:
    table = np.array([[0, 1], [0, 1]])
    confusion = np.tile(np.array([[0.8, 0.2], [0.2, 0.8]]), (2, 1, 1))
    posteriors, likelihood = posteriors_given(sparse(table, 2), np.array([[0.9, 0.1], [0.3, 0.7]]), confusion)
    assert np.allclose(posteriors, [[0.9, 0.1], [0.3, 0.7]]) and likelihood == pytest.approx(2 * math.log(0.16))


def test_bad_settings_are_refused() -> None:
    answers = sparse(np.array([[0, 1]]), 2)
    for wrong in ({"smoothing": -1.0}, {"tolerance": 0.0}, {"most_iterations": 0}):
        with pytest.raises(BadInput):
            dawid_skene(answers, **wrong)  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of pandas, about crowd-kit
def test_it_agrees_with_crowd_kit() -> None:
    """Ten iterations of each, without smoothing, which theirs has not."""
    aggregation = pytest.importorskip("crowdkit.aggregation")
    pandas = pytest.importorskip("pandas")
    truth = np.random.default_rng(1).integers(0, 4, 300)
    answers = synthetic_crowd(truth, 4, CrowdSettings(annotators=12, mean_labels=4.0), seed=0).answers
    frame = pandas.DataFrame({"task": answers.items, "worker": answers.annotators, "label": answers.labels})
    theirs = aggregation.DawidSkene(n_iter=10, tol=0.0).fit_predict_proba(frame).sort_index()[range(4)].to_numpy()
    ours = dawid_skene(answers, smoothing=0.0, most_iterations=10, tolerance=1e-300).posteriors
    assert np.abs(theirs - ours).max() < 1e-8


@pytest.mark.shared_data
def test_labelme_s_labels_are_as_good_as_measured(shared_data: Path) -> None:
    data = LabelMe(root=str(shared_data / "crowd")).load(seed=0, key=b"")
    found = dawid_skene(data.answers)
    assert (found.labels == data.truth).mean() == pytest.approx(0.789, abs=0.005)
    voted = [(majority_vote(data.answers, seed=seed) == data.truth).mean() for seed in range(20)]
    assert np.mean(voted) == pytest.approx(0.766, abs=0.005)
    assert (np.diff(found.log_posteriors) > 0).all()


@pytest.mark.shared_data
def test_the_majority_of_cifar10n_is_as_good_as_measured(shared_data: Path) -> None:
    with np.load(shared_data / "images" / "cifar10" / "cifar10n_labels.npz") as held:
        table = np.stack([held[f"random_label{n}"] for n in (1, 2, 3)], axis=1).astype(np.int64)
        clean = held["clean_label"]
    voted = majority_vote(sparse(table, 10), seed=0)
    assert (voted == clean).mean() == pytest.approx(0.9110, abs=0.002)
