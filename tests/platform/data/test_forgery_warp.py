"""Warps: exact for similarities, through the points elsewhere, and the formula of the module's docstring by double loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stillhouse.platform.data.alignment import moved
from stillhouse.platform.data.forgery_warp import moved_by, spread, warped
from stillhouse.platform.errors import BadInput


def plane(side: int, transform: np.ndarray | None = None) -> np.ndarray:
    """A picture whose three channels are x, y and x + 2 y of where each pixel goes by the transform: bilinear reading is exact."""
    y, x = np.mgrid[:side, :side].astype(float)
    places = np.stack([x, y], 2)
    if transform is not None:
        places = moved(places, transform)
    return np.stack([places[..., 0], places[..., 1], places[..., 0] + 2 * places[..., 1]])[None].astype(np.float32)


@settings(max_examples=30)
@given(turn=st.floats(-0.4, 0.4), scale=st.floats(0.8, 1.2), seed=st.integers(0, 1000))
def test_similar_points_give_a_similarity(turn: float, scale: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    target = rng.uniform(8, 24, (1, 12, 2))
    linear = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    change = np.column_stack([linear, rng.uniform(-2, 2, 2) + 16 - linear @ [16, 16]])
    found = warped(plane(32), moved(target, change), target, sigma=4.0)
    expected = plane(32, change)
    inside = (np.abs(expected[0, :2] - 15.5) < 15).all(0)
    assert np.abs(found - expected)[0][:, inside].max() < 1e-3
    assert np.abs(moved_by(plane(32), change[None]) - found)[0][:, inside].max() < 1e-3


def test_no_displacement_changes_nothing() -> None:
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (2, 3, 20, 20), dtype=np.uint8)
    points = rng.uniform(0, 19, (2, 9, 2))
    assert np.abs(warped(frames, points, points, sigma=3.0) - frames).max() < 1e-2


def test_a_point_that_stands_alone_is_brought_where_it_is_to_be() -> None:
    """Read in the picture of places, a target point's pixel shows the source point."""
    target = np.array([[[12.0, 12], [52, 12], [12, 52], [52, 52], [32, 32]]])
    offset = np.array([[0, 0], [0, 0], [0, 0], [0, 0], [3.0, -2.0]])
    found = warped(plane(64), target + offset, target, sigma=6.0)[0]
    assert found[:2, 32, 32] == pytest.approx([35, 30], abs=0.35)
    assert found[:2, 12, 12] == pytest.approx([12, 12], abs=0.35)


@settings(max_examples=30)
@given(seed=st.integers(0, 10**6))
def test_spreading_is_a_weighted_mean(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points, values, places = rng.uniform(0, 9, (5, 2)), rng.normal(size=(5, 2)), rng.uniform(-3, 12, (4, 2))
    found = spread(points, values, places, 2.0)
    for i in range(4):
        above, below = np.zeros(2), 0.0
        for j in range(5):
            weight = np.exp(-((places[i] - points[j]) ** 2).sum() / (2 * 2.0**2))
            above, below = above + weight * values[j], below + weight
        assert found[i] == pytest.approx(above / below)


def test_far_away_the_nearest_point_counts() -> None:
    found = spread(np.array([[0.0, 0], [9, 0]]), np.array([[1.0], [2.0]]), np.array([[1e5, 0.0]]), 1.0)
    assert found.item() == pytest.approx(2.0)


def test_another_size_is_possible() -> None:
    target = np.array([[[2.0, 2], [10, 2], [10, 8], [2, 8]]])
    found = warped(plane(32), 2 * target + 3, target, sigma=3.0, size=(11, 13))
    assert found.shape == (1, 3, 11, 13) and found[0, :2, 5, 4] == pytest.approx([11, 13], abs=1e-3)


def test_other_numbers_of_points_are_refused() -> None:
    with pytest.raises(BadInput, match="points"):
        warped(plane(8), np.zeros((1, 4, 2)), np.zeros((1, 5, 2)), sigma=1.0)
