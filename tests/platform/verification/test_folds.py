"""Verification by folds against a plain loop over all thresholds; ties, folds that cannot be used, people in two folds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stillhouse.platform.data.faces import FacePairs
from stillhouse.platform.errors import BadInput
from stillhouse.platform.verification.folds import (
    best_threshold,
    check_identity_disjoint,
    identities_in_several_folds,
    verify,
)


def reference_threshold(scores: np.ndarray, same: np.ndarray) -> float:
    """All thresholds one by one: between neighbours, below everything, above everything."""
    values = sorted(set(scores.tolist()))
    candidates = [np.nextafter(values[-1], np.inf)]
    candidates += [(high + low) / 2 for low, high in zip(values[-2::-1], values[:0:-1], strict=True)]
    candidates += [values[0]]
    right = [sum(bool(s >= c) == bool(t) for s, t in zip(scores, same, strict=True)) for c in candidates]
    best = [c for c, r in zip(candidates, right, strict=True) if r == max(right)]
    return float(best[len(best) // 2])


def reference(scores: np.ndarray, same: np.ndarray, fold: np.ndarray) -> list[float]:
    accuracies = []
    for number in range(max(fold) + 1):
        training = [(s, t) for s, t, f in zip(scores, same, fold, strict=True) if f != number]
        testing = [(s, t) for s, t, f in zip(scores, same, fold, strict=True) if f == number]
        threshold = reference_threshold(np.array([s for s, _ in training]), np.array([t for _, t in training]))
        accuracies.append(sum(bool(s >= threshold) == bool(t) for s, t in testing) / len(testing))
    return accuracies


def drawn(seed: int, *, folds: int = 10, each: int = 6, values: int = 40) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    same = np.tile([True, False], folds * each // 2)
    fold = np.repeat(np.arange(folds), each)
    return random.integers(0, values, size=len(same)) / 8 + same * values / 20, same, fold


@given(st.integers(0, 10_000), st.integers(2, 10), st.sampled_from([3, 40, 4000]))
@settings(max_examples=30)
def test_it_equals_a_plain_loop(seed: int, folds: int, values: int) -> None:
    scores, same, fold = drawn(seed, folds=folds, values=values)
    found = verify(scores, same, fold)
    expected = reference(scores, same, fold)
    assert found.accuracies == pytest.approx(expected)
    assert found.mean == pytest.approx(np.mean(expected)) and found.deviation == pytest.approx(np.std(expected, ddof=1))
    assert found.accuracies == pytest.approx([found.correct[fold == f].mean() for f in range(folds)])


@given(st.integers(0, 10_000), st.integers(1, 4), st.integers(-20, 20))
@settings(max_examples=30)
def test_neither_order_nor_scale_nor_shift_counts(seed: int, power: int, shift: int) -> None:
    scores, same, fold = drawn(seed)
    found = verify(scores, same, fold)
    mixed = np.random.default_rng(seed).permutation(len(scores))
    assert verify(scores[mixed], same[mixed], fold[mixed]).thresholds == found.thresholds
    moved = verify(scores * 2.0**power + shift, same, fold)
    assert np.array_equal(moved.correct, found.correct)
    assert moved.thresholds == pytest.approx(np.array(found.thresholds) * 2.0**power + shift)


@given(st.integers(0, 10_000), st.sampled_from([2, 5, 50]))
@settings(max_examples=30)
def test_no_threshold_does_better(seed: int, values: int) -> None:
    random = np.random.default_rng(seed)
    scores = random.integers(0, values, size=25).astype(float)
    same = random.permutation(np.arange(25) < random.integers(1, 25))
    found = np.mean((scores >= best_threshold(scores, same)) == same)
    grid = np.concatenate([np.unique(scores), [np.inf], np.arange(-1, values, 0.25)])
    assert found == max(np.mean((scores >= threshold) == same) for threshold in grid)


def test_the_middle_of_equally_good_thresholds_is_taken() -> None:
    assert best_threshold([0.1, 0.9], [False, True]) == 0.5
    assert best_threshold([0.9, 0.1], [False, True]) == pytest.approx(0.1)  # to accept all and to refuse all is as good
    # right: 3 of 5 at 0.45, 0.25 and 0.05; the middle one is taken
    assert best_threshold([0.5, 0.4, 0.3, 0.2, 0.1], [True, False, True, False, True]) == pytest.approx(0.25)


def test_neighbouring_floats_are_still_told_apart() -> None:
    for low in (1.0, 0.3, -0.7, 5e-324, 0.0):
        high = np.nextafter(low, np.inf)
        threshold = best_threshold([low, high], [False, True])
        assert low < threshold <= high


def test_a_threshold_is_not_learnt_on_what_it_judges() -> None:
    # Fold 1 alone would be judged perfectly by 0.15; the others say 0.5.
    scores = np.array([0.9, 0.1, 0.2, 0.1, 0.9, 0.1])
    found = verify(scores, np.array([1, 0, 1, 0, 1, 0]), np.array([0, 0, 1, 1, 2, 2]))
    assert found.thresholds[1] == 0.5 and found.accuracies[1] == 0.5


@pytest.mark.parametrize(
    ("same", "fold", "message"),
    [
        ([1, 0, 1, 0], [0, 0, 0, 0], "1 folds"),
        ([1, 0, 1, 0], [0, 0, 2, 2], "none of them empty"),
        ([1, 0, 1, 0], [1, 1, 2, 2], "numbered 1 to 2"),
        ([1, 1, 0, 0], [0, 0, 1, 1], "without fold 0 there are 0 positives and 2 negatives"),
        ([1, 1, 1, 1], [0, 0, 1, 1], "4 positives and 0 negatives"),
        ([1, 0, 1, 0], [0, 0, 1], "folds"),
    ],
)
def test_folds_that_cannot_be_used_are_refused(same: list[int], fold: list[int], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        verify(np.array([0.1, 0.2, 0.3, 0.4]), np.array(same), np.array(fold))


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8), st.integers(0, 3)), min_size=1, max_size=12))
@settings(max_examples=30)
def test_people_in_two_folds_are_found(rows: list[tuple[int, int, int]]) -> None:
    first, second, fold = np.array(rows).T
    seen: dict[int, set[int]] = {}
    for one, other, number in rows:
        seen.setdefault(one, set()).add(number)
        seen.setdefault(other, set()).add(number)
    shared = sorted(person for person, folds in seen.items() if len(folds) > 1)
    assert identities_in_several_folds(first, second, fold).tolist() == shared
    if shared:
        with pytest.raises(BadInput, match=f"^{len(shared)} people occur"):
            check_identity_disjoint(first, second, fold)
    else:
        check_identity_disjoint(first, second, fold)


def test_it_takes_pairs_as_they_come() -> None:
    people = np.array([0, 0, 1, 1, 2, 2, 3, 3])
    pairs = FacePairs(
        np.array([0, 0, 4, 4]), np.array([1, 2, 5, 6]), np.array([True, False, True, False]), np.array([0, 0, 1, 1])
    )
    check_identity_disjoint(people[pairs.first], people[pairs.second], pairs.fold)
    assert verify(np.array([0.8, 0.1, 0.9, 0.2]), pairs.same, pairs.fold).mean == 1
