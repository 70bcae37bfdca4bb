"""GNMax on histograms that are noisy already: labels, the two-step one, what it costs, and planning."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from stillhouse.platform.errors import BadInput
from stillhouse.platform.privacy.discrete_noise import ShareNoise
from stillhouse.platform.privacy.distributed_mechanisms import (
    SharedConfidentGNMax,
    SharedGNMax,
    pass_probability,
    shared_from_json,
    threshold_for,
)
from stillhouse.platform.privacy.distributed_noise import NoiseShare
from stillhouse.platform.privacy.mechanisms import ConfidentGNMax, Decision
from stillhouse.platform.privacy.noise import SystemNoise
from support.noise import RepeatableBytes

ALPHA = 1e-6
SILOS = 40


def two_steps(sigma1: float = 20.0, sigma2: float = 12.0, threshold: float = 30.0) -> SharedConfidentGNMax:
    return SharedConfidentGNMax(threshold, NoiseShare(sigma1, SILOS, 4, 1), NoiseShare(sigma2, SILOS, 4, 1))


def test_the_label_is_the_largest_count_and_the_lowest_of_equals() -> None:
    noisy = np.array([[1, 5, 5], [-3, -7, -3], [0, 0, 9]])
    assert SharedGNMax(NoiseShare(20.0, SILOS)).labels(noisy).tolist() == [1, 0, 2]


def test_a_query_passes_from_the_threshold_on() -> None:
    noisy = np.array([[29, -50], [30, 0], [0, 31]])
    assert two_steps(threshold=29.5).passes(noisy).tolist() == [False, True, True]
    assert two_steps(threshold=30).passes(noisy).tolist() == [False, True, True]


@settings(max_examples=100)
@given(seed=st.integers(0, 2**32), checked=st.integers(36, 40), answered=st.integers(36, 40))
def test_labels_weigh_both_histograms_by_the_precision_that_is_in_them(seed: int, checked: int, answered: int) -> None:
    generator = np.random.default_rng(seed)
    check, answer = generator.integers(-60, 90, (2, 5, 4))
    mechanism = two_steps()
    found = mechanism.labels(check, answer, checked_by=checked, answered_by=answered)
    first = 1 / (20.0**2 / 35 * checked)
    second = 1 / (12.0**2 / 35 * answered)
    for row in range(5):
        scores = [first * int(a) + second * int(b) for a, b in zip(check[row], answer[row], strict=True)]
        assert scores[found[row]] >= max(scores) - 1e-9


def test_the_combination_is_worth_what_it_costs() -> None:
    """Both steps cost as much as GNMax with the combined sigma, and their label errs as seldom: counted against the exact chance."""
    mechanism = two_steps(30.0, 14.0, 0.0)
    sigma = mechanism.answer_sigma
    assert sigma == pytest.approx(1 / math.sqrt(1 / 900 + 1 / 196))
    paid = mechanism.check_event().nano_rho() + mechanism.answer_event().nano_rho()
    assert paid == pytest.approx(1e9 / sigma**2, abs=3)
    # The winner has the higher index, so that ties, which go to the lower one, are errors.
    counts, rounds = np.array([14, 26]), 20_000
    noise = ShareNoise(RepeatableBytes(1))
    n = mechanism.check.counted
    check = counts + sum(mechanism.check.draw((rounds, 2), noise) for _ in range(n))
    answer = counts + sum(mechanism.answer.draw((rounds, 2), noise) for _ in range(n))
    right = int((mechanism.labels(check, answer, checked_by=n, answered_by=n) == 1).sum())
    expected = stats.norm.cdf(12 / (sigma * math.sqrt(2)))
    assert stats.binomtest(right, rounds, expected).pvalue > ALPHA
    # The controls: the second histogram alone errs more often, and so does a sum that ignores the weights.
    alone = int((np.argmax(answer, axis=1) == 1).sum())
    plain = int((np.argmax(check + answer, axis=1) == 1).sum())
    assert stats.binomtest(alone, rounds, expected).pvalue < ALPHA
    assert stats.binomtest(plain, rounds, expected).pvalue < ALPHA


def test_the_chance_to_pass_is_that_of_the_noise() -> None:
    mechanism = two_steps(20.0, 12.0, 40.0)
    noise, rounds = ShareNoise(RepeatableBytes(2)), 20_000
    counts = np.array([[34, 4, 2], [14, 13, 13], [0, 0, 0]])
    sums = sum(mechanism.check.draw((rounds, 3, 3), noise) for _ in range(mechanism.check.counted))
    chances = pass_probability(counts, threshold=40.0, sigma=20.0)
    for row in range(3):
        passed = int(mechanism.passes(counts[row] + sums[:, row]).sum())
        assert stats.binomtest(passed, rounds, float(chances[row])).pvalue > ALPHA
    assert np.all(np.diff(chances) < 0)


@settings(max_examples=50)
@given(sigma=st.floats(1.0, 200.0), passing=st.floats(0.001, 0.9))
def test_the_threshold_is_the_least_that_holds_back_enough(sigma: float, passing: float) -> None:
    counts = np.full(10, 25)
    found = threshold_for(counts=counts, sigma=sigma, passing=passing)
    assert pass_probability(counts[None], threshold=found, sigma=sigma)[0] <= passing
    if found > 0:
        assert pass_probability(counts[None], threshold=found - 1, sigma=sigma)[0] > passing


@pytest.mark.parametrize("mechanism", [SharedGNMax(NoiseShare(20.0, SILOS, 3)), two_steps()], ids=lambda m: m.name)
def test_settings_come_back_from_json(mechanism: SharedGNMax | SharedConfidentGNMax) -> None:
    assert shared_from_json(json.loads(json.dumps(mechanism.to_json()))) == mechanism
    assert set(mechanism.shares()) == {"answer"} | ({"check"} if mechanism.check_event() else set())


def test_what_cannot_be_is_refused() -> None:
    share = NoiseShare(20.0, SILOS)
    for data in (
        {}, {"name": "gnmax"}, {"name": "shared_gnmax"}, {"name": "shared_gnmax", "answer": {}},
        {"name": "shared_gnmax", "answer": share.to_json(), "colour": 1}, {"name": "shared_gnmax", "answer": 3},
        "shared_gnmax", ["a"], 5, None, {"name": "shared_gnmax", "answer": share.to_json() | {"sigma": 10**400}},
    ):  # fmt: skip
        with pytest.raises(BadInput):
            shared_from_json(data)
    with pytest.raises(BadInput, match="different numbers of silos"):
        SharedConfidentGNMax(1.0, share, NoiseShare(20.0, SILOS + 1))
    with pytest.raises(BadInput):
        SharedConfidentGNMax(-1.0, share, share)
    for noisy in (np.zeros((2, 3)), np.zeros(3, int), np.zeros((2, 1), int)):
        with pytest.raises(BadInput):
            SharedGNMax(share).labels(noisy)
    with pytest.raises(BadInput, match="different numbers of counts"):
        two_steps().labels(np.zeros((2, 3), int), np.zeros((1, 3), int), checked_by=40, answered_by=40)


@pytest.mark.slow
def test_the_two_steps_on_published_votes_answer_as_many_as_well_for_a_fifth_more(votes: dict[str, np.ndarray]) -> None:
    """640 queries of 250 MNIST teachers: Confident-GNMax with T 200, noise 150 and 40, against check 80 and the same 40 in all."""
    counts = votes["mnist_250_teachers.npy"][:640]
    best, sure = counts.argmax(axis=1), counts.max(axis=1) >= 150
    noise, system, rounds = ShareNoise(RepeatableBytes(4)), SystemNoise(RepeatableBytes(5)), 20
    trusted = ConfidentGNMax(200.0, 150.0, 40.0)
    one = {"silos": 1, "dropped": 0, "colluding": 0}  # the law of the sum, drawn at once
    shared = SharedConfidentGNMax(202.0, NoiseShare(80.0, **one), NoiseShare(40 / math.sqrt(0.75), **one))
    found: dict[str, list[tuple[float, float, float, float]]] = {"trusted": [], "shared": []}
    for _ in range(rounds):
        passed = trusted.check(counts, system, teachers=250) == Decision.ANSWER
        labels = trusted.answer(counts, system)
        cost = 640 / (2 * 150**2) + passed.sum() / 40**2
        found["trusted"].append((passed.sum(), (labels == best)[passed].mean(), sure[passed].mean(), cost))
        check = counts + shared.check.draw(counts.shape, noise)
        passed = shared.passes(check)
        answer = counts[passed] + shared.answer.draw(counts[passed].shape, noise)
        labels = shared.labels(check[passed], answer, checked_by=1, answered_by=1)
        cost = 640 / 80**2 + passed.sum() * 0.75 / 40**2
        found["shared"].append((passed.sum(), (labels == best[passed]).mean(), sure[passed].mean(), cost))
    (a_count, a_right, a_sure, a_cost), (b_count, b_right, b_sure, b_cost) = (
        np.mean(rows, axis=0) for rows in found.values()
    )
    print(f"trusted: {a_count:.1f} answered, {a_right:.4f} as the plurality, {a_sure:.3f} sure, rho {a_cost:.4f}")
    print(f"shared:  {b_count:.1f} answered, {b_right:.4f} as the plurality, {b_sure:.3f} sure, rho {b_cost:.4f}")
    assert abs(a_count - b_count) < 10
    assert b_right > a_right - 0.01 and b_sure > a_sure
    assert 1.15 < b_cost / a_cost < 1.28
