"""The test of whether annotators differ: its size under the null hypothesis, its power, and what is known of real crowds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import chi2_contingency
from stillhouse.platform.data.crowd_heterogeneity import heterogeneity, heterogeneity_of
from stillhouse.platform.data.crowd_sets import LabelMe
from stillhouse.platform.data.crowd_synthetic import CrowdSettings, synthetic_crowd
from stillhouse.platform.errors import BadInput


def test_it_is_pearsons_statistic_of_the_table_annotators_by_right_and_wrong() -> None:
    rng = np.random.default_rng(0)
    who = rng.integers(0, 12, 900)
    right = rng.random(900) < np.linspace(0.4, 0.9, 12)[who]
    table = np.array([[((who == r) & right).sum(), ((who == r) & ~right).sum()] for r in range(12)])
    statistic, pvalue, degrees, _ = chi2_contingency(table, correction=False)
    found = heterogeneity(who, right)
    assert found.chi2 == pytest.approx(statistic, rel=1e-12) and found.degrees == degrees == 11
    assert found.pvalue == pytest.approx(pvalue, rel=1e-9)


def test_annotators_who_are_alike_give_about_one_a_degree_of_freedom() -> None:
    """Long-tailed workloads, many annotators with one answer only: the mean over 300 crowds is 1 within 3 standard errors."""
    rng = np.random.default_rng(1)
    workload = np.maximum(1, (60 * rng.beta(0.5, 3, 80)).astype(int))
    who = np.repeat(np.arange(80), workload)
    ratios = [heterogeneity(who, rng.random(len(who)) < 0.7).ratio for _ in range(300)]
    assert abs(np.mean(ratios) - 1) < 3 * np.std(ratios) / np.sqrt(300)
    assert np.std(ratios) < 0.3


def test_a_synthetic_crowd_of_experts_and_spammers_is_found_and_its_shuffled_workers_are_not() -> None:
    truth = np.random.default_rng(2).integers(0, 10, 3000)
    crowd = synthetic_crowd(truth, 10, CrowdSettings(), seed=0)
    found = heterogeneity_of(crowd.answers, truth)
    assert found.ratio > 10 and found.pvalue < 1e-10
    right = crowd.answers.labels == truth[crowd.answers.items]
    shuffled = np.random.default_rng(3).permutation(crowd.answers.annotators)
    assert heterogeneity(shuffled, right).ratio < 1.6  # about 95 degrees: 1.6 lies 4 standard deviations above 1


def test_what_cannot_differ_is_refused() -> None:
    with pytest.raises(BadInput, match="fewer than two"):
        heterogeneity(np.zeros(5, int), np.array([True, False, True, True, False]))
    with pytest.raises(BadInput, match="all answers are right"):
        heterogeneity(np.array([0, 1]), np.array([True, True]))
    with pytest.raises(BadInput, match="give both"):
        heterogeneity(np.array([0, 1]), np.array([True]))


@pytest.mark.shared_data
def test_labelmes_annotators_differ(shared_data: Path) -> None:
    data = LabelMe(root=str(shared_data / "crowd")).load(seed=0, key=b"")
    assert data.truth is not None
    found = heterogeneity_of(data.answers, data.truth)
    assert found.degrees == 58 and found.chi2 / 59 == pytest.approx(1.85, abs=0.005) and found.pvalue < 1e-4
