"""Selections against greedy searches that try every row, and against what their papers promise."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from stillhouse.methods.condensation.selection import SELECTIONS, select
from stillhouse.platform.errors import BadInput

DETERMINISTIC = ("herding", "k_center")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def features(n: int, width: int = 5, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, width, dtype=torch.float64, generator=generator(seed)) + 3


def herd_slowly(points: np.ndarray, count: int) -> list[int]:
    chosen: list[int] = []
    for _ in range(count):
        left = [i for i in range(len(points)) if i not in chosen]
        chosen.append(min(left, key=lambda i: np.linalg.norm(points.mean(0) - points[[*chosen, i]].mean(0))))
    return chosen


def farthest_first_slowly(points: np.ndarray, count: int) -> list[int]:
    chosen = [int(np.argmin([np.linalg.norm(p - points.mean(0)) for p in points]))]
    while len(chosen) < count:
        chosen.append(int(np.argmax([min(np.linalg.norm(p - points[c]) for c in chosen) for p in points])))
    return chosen


def radius(points: np.ndarray, chosen: tuple[int, ...]) -> float:
    return np.linalg.norm(points[:, None] - points[list(chosen)][None], axis=2).min(1).max()


@given(st.integers(1, 25), st.integers(0, 10_000), st.data())
@settings(max_examples=30, deadline=None)
def test_greedy_selections_agree_with_trying_every_row(n: int, seed: int, data: st.DataObject) -> None:
    assume(n != 2)  # two rows are equally far from their mean: rounding decides which one is first
    count = data.draw(st.integers(1, n))
    points = features(n, seed=seed)
    assert select("herding", points, count, generator()).tolist() == herd_slowly(points.numpy(), count)
    assert select("k_center", points, count, generator()).tolist() == farthest_first_slowly(points.numpy(), count)


@given(st.integers(0, 10_000))
@settings(max_examples=15, deadline=None)
def test_k_center_is_at_most_twice_the_best(seed: int) -> None:
    points = features(11, width=2, seed=seed)
    for count in (2, 3):
        best = min(radius(points.numpy(), subset) for subset in combinations(range(11), count))
        found = radius(points.numpy(), tuple(select("k_center", points, count, generator()).tolist()))
        assert found <= 2 * best + 1e-12


def test_herding_keeps_the_mean_better_than_chance() -> None:
    points = features(400, width=8)
    herded, drawn = (
        (points[select(kind, points, 20, generator())].mean(0) - points.mean(0)).norm()
        for kind in ("herding", "random")
    )
    assert herded < drawn / 4


def test_k_means_takes_one_medoid_of_each_cluster() -> None:
    centres = torch.eye(4, dtype=torch.float64) * 50
    points = (centres[:, None] + features(30, width=4)).reshape(120, 4)
    chosen = select("k_means", points, 4, generator())
    assert sorted((chosen // 30).tolist()) == [0, 1, 2, 3]
    for row in chosen.tolist():
        own = points[row // 30 * 30 : row // 30 * 30 + 30]
        distances = (own - own.mean(0)).norm(dim=1)
        assert distances[row % 30] == distances.min()


@pytest.mark.parametrize("kind", SELECTIONS)
def test_rows_are_distinct_and_repeat_with_the_generator(kind: str) -> None:
    points = features(50).float()
    for count in (1, 7, 50):
        chosen = select(kind, points, count, generator(3))
        assert chosen.dtype == torch.long and chosen.shape == (count,)
        assert len(set(chosen.tolist())) == count and set(chosen.tolist()) <= set(range(50))
        torch.manual_seed(count)
        assert torch.equal(chosen, select(kind, points, count, generator(3)))


@pytest.mark.parametrize("kind", ["random", "k_means"])
def test_another_seed_chooses_otherwise(kind: str) -> None:
    points = features(200)
    chosen = [frozenset(select(kind, points, 10, generator(seed)).tolist()) for seed in range(4)]
    assert len(set(chosen)) > 1


def test_random_is_uniform() -> None:
    source, points = generator(), torch.zeros(5, 1)
    counts = torch.zeros(5)
    for _ in range(2000):
        counts[select("random", points, 2, source)] += 1
    # 800 each; the standard deviation is about 22.
    assert (counts - 800).abs().max() < 110


@pytest.mark.parametrize("kind", DETERMINISTIC)
def test_a_smaller_count_is_the_beginning_and_nothing_is_drawn(kind: str) -> None:
    points, source = features(60), generator()
    before = source.get_state()
    many = select(kind, points, 30, source)
    assert torch.equal(select(kind, points, 8, source), many[:8])
    assert torch.equal(source.get_state(), before)


@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
@pytest.mark.parametrize("kind", SELECTIONS)
def test_equal_rows_are_not_chosen_twice(kind: str) -> None:
    assert sorted(select(kind, torch.ones(6, 3), 6, generator()).tolist()) == list(range(6))
    pairs = torch.tensor([[0.0], [0.0], [1.0], [1.0]])
    assert len(set(select(kind, pairs, 3, generator()).tolist())) == 3


@pytest.mark.parametrize("kind", SELECTIONS)
def test_far_from_the_origin_and_half_precision(kind: str) -> None:
    # In float32, |x|^2 - 2xy + |y|^2 would see no difference at all here.
    points = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 8.0], [1.0, 8.0]])
    near, far = (select(kind, p, 2, generator()).tolist() for p in (points, points + 8192))
    assert near == far == select(kind, points.half(), 2, generator()).tolist()


@pytest.mark.parametrize("kind", SELECTIONS)
def test_features_are_left_alone(kind: str) -> None:
    points = features(20).requires_grad_()
    before = points.detach().clone()
    assert not select(kind, points, 5, generator()).requires_grad
    assert torch.equal(points.detach(), before)


def test_refusals() -> None:
    points = features(4)
    with pytest.raises(BadInput, match="did you mean 'k_center'"):
        select("kcenter", points, 2, generator())
    with pytest.raises(BadInput, match="use one of random, herding, k_center, k_means"):
        select("greedy", points, 2, generator())
    for count in (0, 5):
        with pytest.raises(BadInput, match=f"{count} images to choose from a class of 4"):
            select("random", points, count, generator())
    with pytest.raises(BadInput, match="flatten"):
        select("random", torch.zeros(4, 2, 2), 2, generator())
    points[1, 1] = torch.nan
    with pytest.raises(BadInput, match="not finite"):
        select("herding", points, 2, generator())
