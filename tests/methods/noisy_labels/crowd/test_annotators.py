"""What is reported of annotators, against other ways to compute it, and that groups hide whoever is alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta, binomtest
from stillhouse.methods.noisy_labels.crowd.annotators import (
    AnnotatorReport,
    annotator_report,
    dirichlet_moments,
    grouped,
    wilson_interval,
)
from stillhouse.platform.data.crowd import CrowdAnswers
from stillhouse.platform.data.crowd_synthetic import EXPERT, SPAMMER, CrowdSettings, synthetic_crowd
from stillhouse.platform.errors import BadInput

CLASSES = 4


@pytest.fixture(scope="module")
def report() -> tuple[AnnotatorReport, CrowdAnswers, np.ndarray, np.ndarray]:
    """A synthetic crowd with the items' true classes as posteriors, and one silent annotator more."""
    truth = np.random.default_rng(0).integers(0, CLASSES, 4000)
    crowd = synthetic_crowd(truth, CLASSES, CrowdSettings(annotators=40, beta_a=2, beta_b=2, mean_labels=5.0), seed=0)
    drawn = crowd.answers
    answers = CrowdAnswers(drawn.items, drawn.annotators, drawn.labels, drawn.n_items, 41, CLASSES)
    names = [f"p{n}" for n in range(41)]
    made = annotator_report(answers, np.eye(CLASSES)[truth], names=names, groups=4, seed=0)
    return made, answers, truth, crowd.kinds


@given(n=st.integers(1, 500), data=st.data())
def test_the_interval_is_wilsons(n: int, data: st.DataObject) -> None:
    right = data.draw(st.integers(0, n))
    expected = binomtest(right, n).proportion_ci(0.95, method="wilson")
    assert wilson_interval(right, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_moments_are_those_of_beta_margins() -> None:
    counts = np.array([[3.0, 0.0, 1.5], [0.0, 0.0, 0.0]])
    mean, deviation = dirichlet_moments(counts, 0.5)
    for row in range(2):
        for cell in range(3):
            a = counts[row, cell] + 0.5
            margin = beta(a, counts[row].sum() + 1.5 - a)
            assert mean[row, cell] == pytest.approx(margin.mean()) and deviation[row, cell] == pytest.approx(
                margin.std()
            )


def test_a_report_counts_what_annotators_got_right(report: Any) -> None:
    made, answers, truth, _ = report
    for who in range(40):
        own = answers.annotators == who
        right = (answers.labels[own] == truth[answers.items[own]]).mean()
        assert made.accuracy[who] == pytest.approx(right) and made.answers[who] == own.sum()
        assert made.interval[who, 0] < right < made.interval[who, 1]
    assert np.allclose(made.confusion.sum(axis=2), 1)
    assert np.array_equal(made.expected_counts, answers.confusion_counts(truth))
    row = made.rows()[40]
    assert row == {"annotator": "p40", "answers": 0, "accuracy": None, "low": None, "high": None, "group": None}
    assert made.groups[40] == -1 and np.allclose(made.confusion[40], 1 / CLASSES)


def test_unsure_posteriors_give_expected_accuracy() -> None:
    answers = CrowdAnswers(np.array([0, 1]), np.array([0, 0]), np.array([0, 1]), 2, 1, 2)
    made = annotator_report(answers, np.array([[0.7, 0.3], [0.6, 0.4]]), names=["p"], groups=1, seed=0)
    assert made.accuracy[0] == pytest.approx((0.7 + 0.4) / 2)
    assert np.allclose(made.expected_counts[0], [[0.7, 0.6], [0.3, 0.4]])


def test_groups_tell_experts_from_spammers_and_are_in_order_of_accuracy(report: Any) -> None:
    made, _, _, kinds = report
    experts, spammers = set(made.groups[:40][kinds == EXPERT]), set(made.groups[:40][kinds == SPAMMER])
    assert experts == {0} and not experts & spammers
    groups = grouped(made, smallest=1).groups
    assert [g.accuracy for g in groups] == sorted((g.accuracy for g in groups), reverse=True)
    assert groups[0].accuracy == pytest.approx(0.82, abs=0.03)


def test_one_answer_an_annotator_and_equal_annotators_are_grouped() -> None:
    answers = CrowdAnswers(np.arange(6), np.arange(6), np.zeros(6, int), 6, 6, 2)
    made = annotator_report(answers, np.eye(2)[[0] * 6], names=list("abcdef"), groups=5, seed=0)
    assert made.groups.tolist() == [0] * 6
    (only,) = grouped(made, smallest=6).groups
    assert (only.annotators, only.answers, only.accuracy) == (6, 6, 1.0)


def test_groups_weigh_annotators_by_their_answers() -> None:
    """Two with a thousand answers, right in 90 and in 70 %, stay apart; the third, far from both, has four answers and joins one."""
    given = (1000, 1000, 4)
    annotators = np.repeat(np.arange(3), given)
    items = np.concatenate([np.arange(n) for n in given])
    truth = np.arange(1000) % 2
    rank = items // 2  # so that both classes have the same share of wrong answers
    wrong = np.choose(annotators, [rank % 10 == 0, rank % 10 < 3, True])
    labels = np.where(wrong, 1 - truth[items], truth[items])
    answers = CrowdAnswers(items, annotators, labels, 1000, 3, 2)
    made = annotator_report(answers, np.eye(2)[truth], names=list("abc"), groups=2, seed=0)
    assert made.accuracy.round(2).tolist() == [0.9, 0.7, 0.0] and made.groups.tolist() == [0, 1, 1]
    distance = [np.abs(made.confusion[who] - made.confusion[1]).max() for who in (0, 2)]
    assert distance[1] > 2 * distance[0]  # without weights the first two would be one group


def hand_made(groups: list[int], answers: list[int]) -> AnnotatorReport:
    count = len(groups)
    given = np.array(answers)
    counts = np.zeros((count, 2, 2))
    counts[:, 0, 0] = given
    ones = np.ones(count)
    return AnnotatorReport(
        tuple(map(str, range(count))), given, ones, np.ones((count, 2)), counts, counts, counts, np.array(groups), 1.0
    )


@given(groups=st.lists(st.integers(-1, 4), min_size=1, max_size=30), smallest=st.integers(1, 8), data=st.data())
@settings(deadline=None)
def test_no_group_is_too_small_and_everybody_is_counted(groups: list[int], smallest: int, data: st.DataObject) -> None:
    answers = [0 if g < 0 else data.draw(st.integers(1, 9)) for g in groups]
    found = grouped(hand_made(groups, answers), smallest=smallest)
    assert all(entry.annotators >= smallest for entry in found.groups)
    assert found.left_out == (0 if found.groups else sum(g >= 0 for g in groups)) < smallest
    assert sum(e.annotators for e in found.groups) + found.left_out + found.without_answers == len(groups)
    assert found.without_answers == groups.count(-1)
    names = [entry.name for entry in found.groups]
    assert names == [f"group {n + 1}" for n in range(len(names))] or (
        names[-1] == "other" and names[:-1] == [f"group {n + 1}" for n in range(len(names) - 1)]
    )
    if not found.left_out:
        assert sum(e.answers for e in found.groups) == sum(answers)


def test_small_groups_become_other_and_what_stays_too_small_joins_the_smallest_group() -> None:
    told = lambda found: [(e.name, e.annotators, e.answers) for e in found.groups]
    found = grouped(hand_made([0] * 5 + [1] * 3 + [2] * 2, [1] * 10), smallest=5)
    assert told(found) == [("group 1", 5, 5), ("other", 5, 5)] and found.left_out == 0
    # Whoever knows the total could subtract the groups from it: with nobody left out nothing remains.
    found = grouped(hand_made([0] * 6 + [1] * 5 + [2], [2] * 12), smallest=5)
    assert told(found) == [("group 1", 6, 12), ("other", 6, 12)] and found.left_out == 0
    found = grouped(hand_made([0] * 5 + [1] * 3 + [2], [2] * 9), smallest=5)
    assert told(found) == [("other", 9, 18)] and found.left_out == 0
    # Of equally small groups the least accurate one takes the rest.
    found = grouped(hand_made([0] * 5 + [1] * 5 + [2] * 4, [1] * 5 + [2] * 5 + [1] * 4), smallest=5)
    assert told(found) == [("group 1", 5, 5), ("other", 9, 14)]


def test_who_cannot_make_a_group_is_left_out_and_counted() -> None:
    found = grouped(hand_made([0] * 3 + [1, -1], [2] * 4 + [0]), smallest=5)
    assert (found.groups, found.left_out, found.without_answers) == ((), 4, 1)
    assert grouped(hand_made([-1, -1], [0, 0])).groups == ()


def test_what_does_not_fit_is_refused(report: Any) -> None:
    _, answers, truth, _ = report
    names, good = [str(n) for n in range(41)], np.eye(CLASSES)[truth]
    for posteriors in (good[:5], good * 2, np.where(good > 0, np.nan, 0.0), 1.5 * good - 0.125):
        with pytest.raises(BadInput, match="posteriors"):
            annotator_report(answers, posteriors, names=names, groups=4, seed=0)
    with pytest.raises(BadInput, match="names"):
        annotator_report(answers, good, names=names[:3], groups=4, seed=0)
    with pytest.raises(BadInput, match="groups"):
        annotator_report(answers, good, names=names, groups=0, seed=0)
    with pytest.raises(BadInput, match="smallest"):
        grouped(hand_made([0], [1]), smallest=0)
