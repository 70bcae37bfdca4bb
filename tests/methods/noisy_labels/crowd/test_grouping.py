"""Groups of annotators: those alike are together, those with few answers do not pull the centres."""

from __future__ import annotations

import numpy as np
from stillhouse.methods.noisy_labels.crowd.grouping import group


def kinds() -> np.ndarray:
    """Six annotators of two kinds, a little apart."""
    draw = np.random.default_rng(0)
    return np.stack([np.eye(3)] * 3 + [np.eye(3)[[1, 2, 0]]] * 3) + 0.01 * draw.normal(size=(6, 3, 3))


def test_those_alike_are_together() -> None:
    for weights in (None, np.array([5, 1, 9, 2, 2, 7])):
        found = group(kinds(), weights, groups=2, seed=0)
        assert len(set(found[:3])) == len(set(found[3:])) == 1
        assert found[0] != found[5]
        assert found.dtype == np.int64


def test_never_more_groups_than_different_matrices() -> None:
    assert set(group(np.stack([np.eye(3)] * 5), None, groups=30, seed=0)) == {0}
    assert set(group(kinds(), None, groups=30, seed=0)) == set(range(6))


def test_who_gave_no_answer_joins_without_a_say() -> None:
    matrices = np.concatenate([kinds(), np.full((1, 3, 3), 50.0)])
    found = group(matrices, np.array([5, 1, 9, 2, 2, 7, 0]), groups=2, seed=0)
    # Had the seventh a say, it would be a group of its own.
    assert len(set(found[:3])) == len(set(found[3:6])) == 1
    assert found[0] != found[5]
    assert len(group(matrices, None, groups=2, seed=0)) == 7
    assert (group(matrices, None, groups=2, seed=0)[:6] == group(matrices, None, groups=2, seed=0)[0]).all()


def test_the_seed_decides() -> None:
    matrices = np.random.default_rng(1).random((40, 3, 3))
    first = group(matrices, None, groups=8, seed=3)
    np.testing.assert_array_equal(first, group(matrices, None, groups=8, seed=3))
    assert any((first != group(matrices, None, groups=8, seed=other)).any() for other in range(4, 8))
