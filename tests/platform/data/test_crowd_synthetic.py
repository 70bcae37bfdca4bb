"""The synthetic crowd: workloads, labels an item, the kinds' errors and the copying, each against its own definition."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta
from stillhouse.platform.data.crowd_synthetic import (
    EXPERT,
    FASHION_LOOKALIKES,
    KINDS,
    LOOKALIKE,
    RING,
    SPAMMER,
    CrowdSettings,
    SyntheticCrowd,
    synthetic_crowd,
)
from stillhouse.platform.errors import BadInput

CLASSES = 10


def truth_of(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, CLASSES, n)


@pytest.fixture(scope="module")
def copying() -> tuple[SyntheticCrowd, np.ndarray]:
    truth = truth_of(6000)
    chosen = CrowdSettings(noise="correlated", rho=0.6, lookalikes=FASHION_LOOKALIKES)
    return synthetic_crowd(truth, CLASSES, chosen, seed=0), truth


@pytest.mark.parametrize("shape", [(0.5, 3.0), (1.0, 3.0), (2.0, 2.0)])
def test_workload_weights_have_the_quantiles_of_their_distribution(shape: tuple[float, float]) -> None:
    chosen = CrowdSettings(annotators=60_000, beta_a=shape[0], beta_b=shape[1])
    weights = synthetic_crowd(truth_of(3), CLASSES, chosen, seed=0).weights
    for level in (0.25, 0.5, 0.75, 0.95):
        assert np.quantile(weights, level) == pytest.approx(beta.ppf(level, *shape) + 1e-3, rel=0.05)


@pytest.mark.parametrize("mean", [1.0, 2.0, 2.5, 3.0])
def test_items_have_the_labels_they_should_and_one_at_least(mean: float) -> None:
    answers = synthetic_crowd(truth_of(6000), CLASSES, CrowdSettings(mean_labels=mean), seed=1).answers
    counts = answers.answers_per_item()
    assert counts.min() >= 1 and counts.mean() == pytest.approx(mean, rel=0.05)
    assert (counts - 1).var() == pytest.approx(mean - 1, rel=0.1)  # of a Poisson number, as its mean


def test_the_workload_is_long_tailed_as_drawn() -> None:
    """Quartiles of labels an annotator gave: those of the weights, where nobody is asked about too many items."""
    crowd = synthetic_crowd(truth_of(60_000), CLASSES, CrowdSettings(annotators=300), seed=2)
    given = crowd.answers.answers_per_annotator()
    expected = len(crowd.answers) * crowd.weights / crowd.weights.sum()
    for level in (0.25, 0.5, 0.75):
        assert np.quantile(given, level) == pytest.approx(np.quantile(expected, level), rel=0.05)
    assert np.quantile(given, 0.25) < 0.25 * given.mean() and given.max() > 4 * given.mean()


def test_who_is_asked_is_a_draw_without_replacement_by_weight() -> None:
    """Against numpy's own sequential draw, annotator by annotator, within 4 standard deviations."""
    n = 4000
    crowd = synthetic_crowd(truth_of(n), CLASSES, CrowdSettings(annotators=12, mean_labels=3.0), seed=3)
    share = crowd.weights / crowd.weights.sum()
    rng = np.random.default_rng(7)
    slow = np.zeros(12)
    for size in crowd.answers.answers_per_item():
        slow[rng.choice(12, size, replace=False, p=share)] += 1
    given = crowd.answers.answers_per_annotator()
    rate = slow / n
    assert (np.abs(given - slow) < 4 * np.sqrt(2 * n * rate * (1 - rate)) + 4).all()


def test_each_kind_errs_as_described() -> None:
    crowd = synthetic_crowd(
        truth_of(10), CLASSES, CrowdSettings(annotators=2000, lookalikes=FASHION_LOOKALIKES), seed=0
    )
    assert np.allclose(crowd.confusions.sum(axis=2), 1)
    assert np.bincount(crowd.kinds, minlength=4) / 2000 == pytest.approx([0.25, 0.3, 0.2, 0.25], abs=0.04)
    here = np.arange(CLASSES)
    right = crowd.confusions[:, here, here]
    assert KINDS[EXPERT] == "expert" and 0.75 <= right[crowd.kinds == EXPERT].min() < 0.76
    assert 0.89 < right[crowd.kinds == EXPERT].max() <= 0.9
    for kind, wrong in ((RING, (here + 1) % CLASSES), (LOOKALIKE, np.array(FASHION_LOOKALIKES))):
        of_kind, rate = crowd.confusions[crowd.kinds == kind], right[crowd.kinds == kind]
        assert 0.4 <= rate.min() < 0.41 and 0.54 < rate.max() <= 0.55
        assert np.allclose(of_kind[:, here, wrong], 0.9 * (1 - rate))
    assert (crowd.confusions[crowd.kinds == SPAMMER] == 0.1).all()


def test_answers_follow_the_matrices() -> None:
    """Pearson's statistic over all cells of busy annotators, for own answers: within 4 standard deviations of its degrees."""
    truth = truth_of(60_000)
    crowd = synthetic_crowd(truth, CLASSES, CrowdSettings(annotators=20, beta_a=2.0, beta_b=2.0), seed=4)
    counts = crowd.answers.confusion_counts(truth)
    expected = counts.sum(axis=2, keepdims=True) * crowd.confusions
    used = expected >= 5
    statistic = ((counts - expected)[used] ** 2 / expected[used]).sum()
    degrees = used.sum() - used.any(axis=2).sum()
    assert degrees > 500 and abs(statistic - degrees) < 4 * np.sqrt(2 * degrees)


def test_followers_copy_with_the_probability_set(copying: tuple[SyntheticCrowd, np.ndarray]) -> None:
    crowd, _ = copying
    follows = crowd.leaders[crowd.answers.annotators] >= 0
    assert not crowd.copied[~follows].any()
    n, rate = follows.sum(), crowd.copied[follows].mean()
    assert n > 3000 and abs(rate - 0.6) < 3 * np.sqrt(0.6 * 0.4 / n)


def test_copies_are_seen_in_the_answers_alone(copying: tuple[SyntheticCrowd, np.ndarray]) -> None:
    """Followers agree with their leader as often as copying and chance agreement make it, from the answers without the flags."""
    crowd, truth = copying
    answers = crowd.answers
    follows = np.flatnonzero(crowd.leaders[answers.annotators] >= 0)
    who, what = answers.annotators[follows], truth[answers.items[follows]]
    by_chance = (crowd.confusions[who, what] * crowd.confusions[crowd.leaders[who], what]).sum(axis=1)
    expected = 0.6 + 0.4 * by_chance
    agree = answers.labels[follows] == crowd.followed[follows]
    assert abs(agree.sum() - expected.sum()) < 3 * np.sqrt((expected * (1 - expected)).sum())
    # Far from what independent annotators would do.
    assert agree.sum() > by_chance.sum() + 20 * np.sqrt((by_chance * (1 - by_chance)).sum())


def test_a_leader_has_one_answer_to_an_item_asked_or_not(copying: tuple[SyntheticCrowd, np.ndarray]) -> None:
    crowd, _ = copying
    answers = crowd.answers
    said: dict[tuple[int, int], set[int]] = {}
    for m in range(len(answers)):
        item, who = int(answers.items[m]), int(answers.annotators[m])
        if crowd.leaders[who] >= 0:
            said.setdefault((item, int(crowd.leaders[who])), set()).add(int(crowd.followed[m]))
        else:
            said.setdefault((item, who), set()).add(int(answers.labels[m]))
    assert all(len(labels) == 1 for labels in said.values())
    assert np.array_equal(answers.labels[crowd.copied], crowd.followed[crowd.copied])
    leaders = np.unique(crowd.leaders[crowd.leaders >= 0])
    assert len(leaders) == 3 and (crowd.leaders[leaders] == -1).all()
    followers = np.flatnonzero(crowd.leaders >= 0)
    assert (crowd.kinds[crowd.leaders[followers]] == crowd.kinds[followers]).all()
    assert not (crowd.kinds[followers] == EXPERT).any()


def test_marginal_confusions_hold_copies(copying: tuple[SyntheticCrowd, np.ndarray]) -> None:
    crowd, truth = copying
    counts = crowd.answers.confusion_counts(truth)
    expected = counts.sum(axis=2, keepdims=True) * crowd.marginal_confusions()
    busy = crowd.leaders >= 0
    # Group errors by kind: cells of single annotators are small.
    found, wanted = counts[busy].sum(axis=0), expected[busy].sum(axis=0)
    assert np.abs(found - wanted).max() < 4 * np.sqrt(wanted.max())


@given(seed=st.integers(0, 2**32 - 1), rho=st.sampled_from([0.0, 0.3, 1.0]))
@settings(max_examples=20, deadline=None)
def test_a_seed_fixes_everything_and_noise_changes_only_copies(seed: int, rho: float) -> None:
    truth = truth_of(60)
    one, again = (
        synthetic_crowd(truth, CLASSES, CrowdSettings(noise="correlated", rho=rho), seed=seed) for _ in range(2)
    )
    assert one.answers.content_hash() == again.answers.content_hash()
    assert np.array_equal(one.confusions, again.confusions)
    alone = synthetic_crowd(truth, CLASSES, CrowdSettings(), seed=seed)
    assert np.array_equal(alone.answers.annotators, one.answers.annotators)
    assert np.array_equal(alone.answers.labels[~one.copied], one.answers.labels[~one.copied])
    other = synthetic_crowd(truth, CLASSES, CrowdSettings(), seed=seed + 1)
    assert other.answers.content_hash() != alone.answers.content_hash()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"mean_labels": 0.5}, "every item has a label"),
        ({"annotators": 7, "mean_labels": 2.5}, "at least 8 annotators"),
        ({"annotators": 10.0}, "whole number"),
        ({"beta_a": 0.0}, "beta_a"),
        ({"noise": "pairs"}, "unknown noise"),
        ({"noise": "correlated", "rho": 1.5}, "probability"),
        ({"rho": 0.3}, "nobody copies"),
    ],
)
def test_bad_settings_are_refused(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        CrowdSettings(**changed)


def test_bad_items_are_refused() -> None:
    with pytest.raises(BadInput, match="three classes"):
        synthetic_crowd(np.array([0, 1]), 2, CrowdSettings(), seed=0)
    with pytest.raises(BadInput, match="true classes"):
        synthetic_crowd(np.array([], int), 3, CrowdSettings(), seed=0)
    with pytest.raises(BadInput, match="true classes"):
        synthetic_crowd(np.array([3]), 3, CrowdSettings(), seed=0)
    with pytest.raises(BadInput, match="10 lookalikes for 3"):
        synthetic_crowd(np.array([1]), 3, CrowdSettings(lookalikes=FASHION_LOOKALIKES), seed=0)
    with pytest.raises(BadInput, match="its own lookalike"):
        synthetic_crowd(np.array([1]), 3, CrowdSettings(lookalikes=(1, 1, 0)), seed=0)
