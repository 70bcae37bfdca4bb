"""Weighted statistics against repeated records; intervals against formulas; coverage; people; determinism."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from stillhouse.platform.errors import BadInput
from stillhouse.platform.verification import bootstrap as module
from stillhouse.platform.verification.bootstrap import (
    Groups,
    PeopleOfPairs,
    Records,
    Statistic,
    Units,
    auc_of,
    average_of,
    bootstrap,
    eer_of,
    mean_of,
    paired_bootstrap,
)
from stillhouse.platform.verification.roc import auc, eer


@given(st.integers(0, 10_000), st.sampled_from([3, 30]))
@settings(max_examples=40)
def test_a_weight_is_a_record_repeated(seed: int, values: int) -> None:
    random = np.random.default_rng(seed)
    scores, positive = random.integers(0, values, size=15) / 4, np.arange(15) < 6
    weights = random.integers(0, 4, size=(8, 15)).astype(float)
    cases: list[tuple[Statistic, Callable[[Any, Any], float]]] = [
        (auc_of(scores, positive), auc), (eer_of(scores, positive), eer), (mean_of(scores), lambda s, _: float(s.mean())),
    ]  # fmt: skip
    for statistic, plain in cases:
        found = statistic(weights)
        for value, counts in zip(found, weights.astype(int), strict=True):
            drawn, kinds = np.repeat(scores, counts), np.repeat(positive, counts)
            if plain in (auc, eer) and (kinds.all() or not kinds.any()):
                assert np.isnan(value)
            else:
                assert value == pytest.approx(plain(drawn, kinds), abs=1e-12)


@pytest.mark.parametrize("statistic", [auc_of, eer_of])
def test_a_draw_without_one_kind_has_no_figure(statistic: Callable[[Any, Any], Statistic]) -> None:
    found = statistic([0.1, 0.5, 0.3], [True, False, True])(np.array([[1.0, 0, 1], [0, 2, 0], [1, 1, 0]]))
    assert np.isnan(found).tolist() == [True, True, False]


def test_each_kind_keeps_its_number() -> None:
    positive = np.arange(50) < 20
    weights = Records(positive).weights(np.random.default_rng(0), 300)
    assert (weights[:, positive].sum(axis=1) == 20).all() and (weights[:, ~positive].sum(axis=1) == 30).all()
    assert weights.mean(axis=0) == pytest.approx(np.ones(50), abs=0.4) and weights.max() > 2


def test_deviation_of_a_mean_is_that_of_the_formula() -> None:
    right = np.random.default_rng(0).random(500) < 0.8
    found = bootstrap(mean_of(right), Records(np.zeros(500, int)), seed=0, draws=4000)
    deviation = np.sqrt(right.mean() * (1 - right.mean()) / 500)
    assert found.value == right.mean() and found.deviation == pytest.approx(deviation, rel=0.05)
    assert (found.low, found.high) == pytest.approx(
        (found.value - 1.96 * deviation, found.value + 1.96 * deviation), abs=0.006
    )


def test_paired_records_cancel_what_both_find_hard() -> None:
    """Discordant pairs alone make the spread, as in McNemar's test."""
    random = np.random.default_rng(1)
    first = random.random(400) < 0.7
    second = first ^ (random.random(400) < 0.05)
    found = paired_bootstrap(mean_of(first), mean_of(second), Records(np.zeros(400, int)), seed=0, draws=4000)
    gap = first.astype(int) - second
    assert found.value == pytest.approx(gap.mean())
    assert found.deviation == pytest.approx(gap.std() / 20, rel=0.05)
    assert found.deviation < 0.5 * bootstrap(mean_of(first), Records(np.zeros(400, int)), seed=0).deviation
    # an excess of five deviations is found, and p is that of the normal law
    for better in (4, 10, 20):
        gap = np.repeat([1, -1, 0], [better + 10, 10, 380 - better])
        result = paired_bootstrap(
            mean_of(gap == 1), mean_of(gap == -1), Records(np.zeros(400, int)), seed=0, draws=8000
        )
        expected = 2 * norm.sf(gap.mean() / (gap.std() / 20))
        assert result.p == pytest.approx(expected, rel=0.35, abs=4e-3)


def test_swapped_methods_swap_the_signs() -> None:
    random = np.random.default_rng(0)
    positive = np.arange(200) < 80
    first, second = random.normal(positive, 1.0), random.normal(positive * 0.5, 1.0)
    there = paired_bootstrap(auc_of(first, positive), auc_of(second, positive), Records(positive), seed=3)
    back = paired_bootstrap(auc_of(second, positive), auc_of(first, positive), Records(positive), seed=3)
    assert (back.value, back.low, back.high, back.p) == pytest.approx((-there.value, -there.high, -there.low, there.p))
    assert there.value == pytest.approx(auc(first, positive) - auc(second, positive))
    assert there.low < there.value < there.high


def test_a_method_does_not_differ_from_itself() -> None:
    positive = np.arange(40) < 20
    same = auc_of(np.random.default_rng(0).normal(size=40), positive)
    found = paired_bootstrap(same, same, Records(positive), seed=0, draws=200)
    assert (found.value, found.low, found.high, found.p) == (0, 0, 0, 1)


def test_seeds_and_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    right = np.random.default_rng(0).random(60) < 0.7
    units = Records(np.zeros(60, int))
    whole = bootstrap(mean_of(right), units, seed=5, draws=301)
    assert bootstrap(mean_of(right), units, seed=5, draws=301) == whole
    assert bootstrap(mean_of(right), units, seed=6, draws=301) != whole
    assert whole.draws == 301
    monkeypatch.setattr(module, "BLOCK", 600)  # ten draws at a time
    assert bootstrap(mean_of(right), units, seed=5, draws=301) == whole


def test_groups_stay_whole_and_widen_the_interval() -> None:
    random = np.random.default_rng(0)
    group = np.repeat(np.arange(30), 20)
    right = random.random(600) < np.repeat(random.beta(1, 1, size=30), 20)
    weights = Groups(group).weights(random, 50)
    assert all(np.ptp(weights[:, group == g], axis=1).max() == 0 for g in range(30))
    assert (weights.sum(axis=1) == 600).all()
    by_group = bootstrap(mean_of(right), Groups(group), seed=0)
    means = right.reshape(30, 20).mean(axis=1)
    assert by_group.deviation == pytest.approx(means.std() / np.sqrt(30), rel=0.1)
    assert by_group.deviation > 2 * bootstrap(mean_of(right), Records(np.zeros(600, int)), seed=0).deviation


def test_a_pair_weighs_as_often_as_its_people_were_drawn() -> None:
    first, second = np.array([0, 0, 5, 7, 5]), np.array([0, 5, 7, 7, 0])
    weights = PeopleOfPairs(first, second).weights(np.random.default_rng(0), 400)
    zero, seven = weights[:, 0], weights[:, 3]
    five = 3 - zero - seven
    assert np.array_equal(weights[:, 1], zero * five) and np.array_equal(weights[:, 2], five * seven)
    assert np.array_equal(weights[:, 4], weights[:, 1])


def coverage(interval: Callable[[np.random.Generator, int], tuple[float, float]], truth: float) -> float:
    random = np.random.default_rng(0)
    bounds = [interval(random, trial) for trial in range(200)]
    return float(np.mean([low <= truth <= high for low, high in bounds]))


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    positive = np.arange(80) < 40

    def interval(random: np.random.Generator, trial: int) -> tuple[float, float]:
        found = bootstrap(
            auc_of(random.normal(positive, 1.0), positive), Records(positive), seed=trial, draws=300, level=0.9
        )
        return found.low, found.high

    assert 0.84 < coverage(interval, float(norm.cdf(0.5**0.5))) < 0.96


def test_intervals_over_people_hold_the_truth_where_those_over_pairs_do_not() -> None:
    """Impostor scores hang on who is in the pair: each person shifts all pairs it is in."""
    first, second = (side.ravel() for side in np.triu_indices(25, 1))

    def interval(units: Units) -> Callable[[np.random.Generator, int], tuple[float, float]]:
        def one(random: np.random.Generator, trial: int) -> tuple[float, float]:
            shift = random.normal(size=25)
            scores = shift[first] + shift[second] + random.normal(size=300)
            found = bootstrap(mean_of(scores), units, seed=trial, draws=300, level=0.9)
            return found.low, found.high

        return one

    assert coverage(interval(PeopleOfPairs(first, second)), 0.0) > 0.84
    assert coverage(interval(Records(np.zeros(300, int))), 0.0) < 0.6


def test_the_mean_over_seeds_is_taken_on_the_same_draws() -> None:
    random = np.random.default_rng(0)
    positive = np.arange(60) < 30
    runs = [auc_of(random.normal(positive, 1.0), positive) for _ in range(3)]
    weights = Records(positive).weights(random, 20)
    assert average_of(*runs)(weights) == pytest.approx(sum(run(weights) for run in runs) / 3)
    with pytest.raises(BadInput, match="no statistics"):
        average_of()


def test_too_little_to_draw_from_is_refused() -> None:
    positive = np.array([True, False, False, False])
    with pytest.raises(BadInput, match="over 1 groups"):
        bootstrap(mean_of([1.0, 0.0]), Groups(np.zeros(2, int)), seed=0)
    with pytest.raises(BadInput, match="over 1 people"):
        bootstrap(mean_of([1.0, 0.0]), PeopleOfPairs(np.zeros(2, int), np.zeros(2, int)), seed=0)
    with pytest.raises(BadInput, match=r"draws hold no positives or no negatives"):
        bootstrap(auc_of([0.5, 0.1, 0.2, 0.3], positive), Groups(np.arange(4)), seed=0)
    with pytest.raises(BadInput, match="3 units for 4 records"):
        bootstrap(auc_of([0.5, 0.1, 0.2, 0.3], positive), Groups(np.arange(3)), seed=0)
    with pytest.raises(BadInput, match="3 units for 2 records"):
        bootstrap(mean_of([0.5, 0.1]), Groups(np.arange(3)), seed=0)
    with pytest.raises(BadInput, match="no records"):
        bootstrap(mean_of([1.0]), Records(np.array([])), seed=0)
    for wrong in ({"draws": 0}, {"level": 1.0}):
        with pytest.raises(BadInput):
            bootstrap(mean_of([1.0, 0.0]), Records([0, 0]), seed=0, **wrong)  # type: ignore[arg-type]
