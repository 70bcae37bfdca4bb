"""The curve against scikit-learn, scipy and plain loops; its figures under what must not change them; when it refuses."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import interp1d
from scipy.optimize import brentq
from scipy.stats import mannwhitneyu
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve
from stillhouse.platform.errors import BadInput
from stillhouse.platform.verification.roc import auc, eer, measurable, negatives_needed, roc, share, tar_at_far

# Few values, so that many tie; whole numbers, so that sums and products with them are exact.
records = st.lists(st.tuples(st.integers(-6, 6), st.booleans()), min_size=2, max_size=40).filter(
    lambda rows: 0 < sum(kind for _, kind in rows) < len(rows)
)


def columns(rows: list[tuple[int, bool]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([score for score, _ in rows], float), np.array([kind for _, kind in rows])


@given(records)
@settings(max_examples=25)
def test_area_is_the_share_of_pairs_in_right_order(rows: list[tuple[int, bool]]) -> None:
    scores, positive = columns(rows)
    wins = [(p > n) + (p == n) / 2 for p in scores[positive] for n in scores[~positive]]
    assert auc(scores, positive) == pytest.approx(sum(wins) / len(wins), abs=1e-15)
    assert auc(scores, positive) == pytest.approx(roc_auc_score(positive, scores), abs=1e-12)
    statistic = mannwhitneyu(scores[positive], scores[~positive], method="asymptotic").statistic
    assert auc(scores, positive) == pytest.approx(statistic / len(wins), abs=1e-12)


@given(records)
@settings(max_examples=25)
def test_curve_and_precision_are_those_of_scikit_learn(rows: list[tuple[int, bool]]) -> None:
    scores, positive = columns(rows)
    curve = roc(scores, positive)
    far, tar, thresholds = roc_curve(positive, scores, drop_intermediate=False)
    assert np.allclose(curve.far, far) and np.allclose(curve.tar, tar) and np.array_equal(curve.thresholds, thresholds)
    assert curve.average_precision == pytest.approx(average_precision_score(positive, scores), abs=1e-12)


@given(records)
@settings(max_examples=25)
def test_equal_error_rate_is_the_root_on_the_curve(rows: list[tuple[int, bool]]) -> None:
    scores, positive = columns(rows)
    far, tar, _ = roc_curve(positive, scores, drop_intermediate=False)
    # The curve with FAR as the argument is no function where it rises straight up: length along it is.
    along = np.concatenate([[0], np.cumsum(np.abs(np.diff(far)) + np.abs(np.diff(tar)))])
    gap = interp1d(along, far + tar - 1)
    assert eer(scores, positive) == pytest.approx(float(interp1d(along, far)(brentq(gap, 0, along[-1]))), abs=1e-9)


@given(records, st.integers(1, 5), st.integers(-50, 50))
@settings(max_examples=40)
def test_only_the_order_of_scores_counts(rows: list[tuple[int, bool]], factor: int, shift: int) -> None:
    scores, positive = columns(rows)
    for changed in (scores * factor + shift, np.exp(scores / 3), scores**3):
        assert auc(changed, positive) == auc(scores, positive) and eer(changed, positive) == eer(scores, positive)
    mixed = np.random.default_rng(factor).permutation(len(scores))
    assert np.array_equal(roc(scores[mixed], positive[mixed]).true_accepts, roc(scores, positive).true_accepts)


@given(records)
@settings(max_examples=40)
def test_swapped_kinds_mirror_the_curve(rows: list[tuple[int, bool]]) -> None:
    scores, positive = columns(rows)
    assert auc(scores, ~positive) == pytest.approx(1 - auc(scores, positive), abs=1e-15)
    assert auc(-scores, ~positive) == pytest.approx(auc(scores, positive), abs=1e-15)
    assert eer(-scores, ~positive) == pytest.approx(eer(scores, positive), abs=1e-12)


@given(records, st.integers(-7, 7), st.booleans())
@settings(max_examples=40)
def test_rates_at_a_threshold_are_counted(rows: list[tuple[int, bool]], threshold: int, half: bool) -> None:
    scores, positive = columns(rows)
    at = threshold + 0.5 * half
    point = roc(scores, positive).at(at)
    assert point.threshold == at
    assert point.fmr == np.mean(scores[~positive] >= at)
    assert point.fnmr == np.mean(scores[positive] < at)
    assert point.tar == pytest.approx(1 - point.fnmr)
    assert point.accuracy == pytest.approx(np.mean((scores >= at) == positive))


@given(records)
@settings(max_examples=25)
def test_the_curve_still_knows_the_negatives(rows: list[tuple[int, bool]]) -> None:
    scores, positive = columns(rows)
    assert np.array_equal(roc(scores, positive).negative_scores, np.sort(scores[~positive])[::-1])


def test_thresholds_without_end_accept_all_or_nobody() -> None:
    curve = roc([0.1, 0.2, 0.3], [False, True, True])
    assert (curve.at(math.inf).tar, curve.at(math.inf).fmr) == (0, 0)
    assert (curve.at(-math.inf).tar, curve.at(-math.inf).fmr) == (1, 1)
    with pytest.raises(BadInput, match="no number"):
        curve.at(math.nan)


def test_one_of_each_kind_and_ties_everywhere() -> None:
    assert (auc([2, 1], [1, 0]), eer([2, 1], [1, 0])) == (1, 0)
    assert (auc([1, 2], [1, 0]), eer([1, 2], [1, 0])) == (0, 1)
    assert (auc([5] * 7, [1, 0, 1, 1, 0, 0, 1]), eer([5] * 7, [1, 0, 1, 1, 0, 0, 1])) == (0.5, 0.5)


def brute_tar(scores: np.ndarray, positive: np.ndarray, far: float) -> float:
    """The best TAR over all thresholds that keep the FAR."""
    best = 0.0
    for threshold in np.unique(scores):
        if np.mean(scores[~positive] >= threshold) <= far * (1 + 1e-12):
            best = max(best, float(np.mean(scores[positive] >= threshold)))
    return best


@given(st.integers(0, 10_000), st.sampled_from([0.1, 0.29, 0.5, 0.07]), st.integers(3, 200))
@settings(max_examples=40)
def test_tar_is_the_best_that_keeps_the_far(seed: int, far: float, values: int) -> None:
    random = np.random.default_rng(seed)
    positive = random.permutation(np.repeat([True, False], [30, 150]))
    scores = random.integers(0, values, size=180) + 0.3 * values * positive
    point = tar_at_far(scores, positive, far)
    assert point.fmr <= far and point.tar == brute_tar(scores, positive, far)
    assert (point.negatives, point.positives) == (150, 30)
    if np.isfinite(point.threshold):
        assert point.tar == np.mean(scores[positive] >= point.threshold)


def test_a_far_is_met_exactly_where_it_can_be() -> None:
    scores = np.arange(200.0)  # the positives lie below all negatives
    positive = scores < 100
    assert [tar_at_far(scores, positive, far).false_accepts for far in (0.29, 0.57, 0.58, 0.1)] == [29, 57, 58, 10]
    assert share(0.29, 100) == 29 > 0.29 * 100
    assert share(1e-6, 10_000_000) == 10


def test_too_few_negatives_are_refused_and_it_is_said_how_many_are_needed() -> None:
    scores, positive = np.arange(1009.0), np.arange(1009) < 10
    with pytest.raises(BadInput, match=r"999 negatives.*at least 1,000 negatives"):
        tar_at_far(scores, positive, 0.01)
    assert tar_at_far(np.arange(1010.0), np.arange(1010) < 10, 0.01).false_accepts == 10
    assert [negatives_needed(far) for far in (0.1, 1e-2, 1e-4, 1e-6, 0.3)] == [100, 1000, 100_000, 10_000_000, 34]
    assert measurable([1e-1, 1e-3, 1e-2], 3000) == (1e-1, 1e-2)


@pytest.mark.parametrize("far", [0, 1, -0.1, math.nan, "a"])
def test_a_far_is_a_share(far: object) -> None:
    with pytest.raises(BadInput, match="far"):
        negatives_needed(far)  # type: ignore[arg-type]


def test_area_of_many_pairs_does_not_overflow() -> None:
    positive = np.repeat([True, False], [200_000, 800_000])
    scores = np.repeat([1.0, 0.0], [200_000, 800_000])
    assert auc(scores, positive) == 1.0
