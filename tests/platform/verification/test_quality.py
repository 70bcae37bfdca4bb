"""Error over rejected shares against expected values of a random order; abstention that keeps its word; lengths of embeddings."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from stillhouse.platform.errors import BadInput
from stillhouse.platform.verification.quality import (
    abstention_threshold,
    error_versus_reject,
    norms,
    pair_quality,
    upper_bound,
)


@given(st.lists(st.tuples(st.integers(0, 2), st.booleans()), min_size=2, max_size=6))
@settings(max_examples=40)
def test_ties_leave_as_in_the_mean_over_all_orders(rows: list[tuple[int, bool]]) -> None:
    quality, wrong = np.array([q for q, _ in rows]), np.array([w for _, w in rows])
    count = len(rows)
    curve = error_versus_reject(wrong, quality, [gone / count for gone in range(count)])
    orders = [order for order in permutations(range(count)) if (np.diff(quality[list(order)]) >= 0).all()]
    for gone in range(count):
        expected = np.mean([wrong[list(order)][gone:].mean() for order in orders])
        assert curve.error[gone] == pytest.approx(expected)
    assert (curve.errors, curve.count) == (wrong.sum(), count)


def test_best_and_idle_qualities_are_bounds_of_the_area() -> None:
    random = np.random.default_rng(0)
    wrong = random.random(4000) < 0.2
    knowing = error_versus_reject(wrong, 1.0 - wrong)
    assert np.allclose(knowing.error, knowing.ideal)
    idle = error_versus_reject(wrong, np.ones(4000))
    assert np.allclose(idle.error, wrong.mean()) and idle.area == pytest.approx(idle.area_at_random)
    some = error_versus_reject(wrong, random.normal(size=4000) - wrong)
    assert knowing.area < some.area < idle.area
    assert error_versus_reject(wrong, wrong.astype(float)).area > idle.area  # a quality that is upside down


@pytest.mark.parametrize("rejected", [[0.1], [0.2, 0.1], [0, 1.0], [-0.1, 0.5], [0, np.nan]])
def test_shares_that_leave_nothing_are_refused(rejected: list[float]) -> None:
    with pytest.raises(BadInput, match="rejected shares"):
        error_versus_reject([True, False], [0.1, 0.2], rejected)


@given(st.integers(0, 30), st.integers(1, 30), st.floats(0.5, 0.999))
@settings(max_examples=30)
def test_bound_is_that_of_clopper_and_pearson(errors: int, more: int, confidence: float) -> None:
    exact = binomtest(errors, errors + more, alternative="less").proportion_ci(confidence, method="exact").high
    assert upper_bound(errors, errors + more, confidence) == pytest.approx(exact, abs=1e-9)
    assert upper_bound(more, more, confidence) == 1


def records(random: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Wrong with probability (1 - quality)/2; the error of what has quality q or more is (1 - q)/4."""
    quality = random.random(count)
    return random.random(count) < (1 - quality) / 2, quality


def test_what_is_decided_keeps_to_the_error_asked_for() -> None:
    random = np.random.default_rng(1)
    broken, coverage = 0, []
    for _ in range(300):
        wrong, quality = records(random, 1500)
        found = abstention_threshold(wrong, quality, error=0.18, confidence=0.9)
        kept = quality >= found.threshold
        assert (
            found.coverage == kept.mean() and found.error == wrong[kept].mean() and found.error <= found.bound <= 0.18
        )
        broken += (1 - found.threshold) / 4 > 0.18
        coverage.append(found.coverage)
    assert broken <= 30
    assert np.mean(coverage) > 0.4  # with the truth known: 0.72


def test_more_allowed_errors_decide_more() -> None:
    wrong, quality = records(np.random.default_rng(2), 2000)
    coverage = [abstention_threshold(wrong, quality, error=error).coverage for error in (0.1, 0.15, 0.2, 0.4)]
    assert coverage == sorted(coverage) and coverage[0] < coverage[-1] == 1
    tied = abstention_threshold(wrong, np.round(quality), error=0.2)
    assert tied.coverage == np.mean(quality >= 0.5)  # of equal quality all are decided


def test_abstention_refuses_what_it_cannot_keep() -> None:
    with pytest.raises(BadInput, match=r"below 0.05.*best bound"):
        abstention_threshold([False] * 50, np.arange(50.0), error=0.05)
    with pytest.raises(BadInput, match="error"):
        abstention_threshold([False] * 50, np.arange(50.0), error=0.0)


def test_quality_is_the_length_before_normalising() -> None:
    random = np.random.default_rng(0)
    embeddings = random.normal(size=(9, 4))
    assert np.allclose(norms(embeddings), [np.sqrt(row @ row) for row in embeddings])
    with pytest.raises(BadInput, match="all embeddings have length 1"):
        norms(embeddings / norms(embeddings)[:, None])
    quality = norms(embeddings)
    assert pair_quality(quality, [0, 3], [5, 3]).tolist() == [min(quality[0], quality[5]), quality[3]]
    with pytest.raises(BadInput, match="beyond the 9"):
        pair_quality(quality, [0], [9])
    with pytest.raises(BadInput, match="not finite"):
        norms(np.array([[np.inf, 0.0]]))
