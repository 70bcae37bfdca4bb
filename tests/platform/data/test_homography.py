"""Homographies: exact where they exist, near the best fit where not, refused where the points allow several."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import least_squares
from stillhouse.platform.data.homography import homography, project
from stillhouse.platform.data.mask_points import ALIGNED
from stillhouse.platform.errors import BadInput

SQUARE = np.array([[0.0, 0], [100, 0], [100, 100], [0, 100]])


def true_map(seed: int) -> np.ndarray:
    """A rotation, a stretch and a slant, with the horizon well outside of a picture of 100 pixels."""
    rng = np.random.default_rng(seed)
    angle = rng.uniform(-3, 3)
    found = np.eye(3)
    found[:2, :2] = rng.uniform(0.2, 5) * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    found[:2, :2] += 0.1 * rng.normal(size=(2, 2)) * abs(found[0, 0])
    found[:2, 2] = rng.uniform(-200, 200, 2)
    found[2, :2] = rng.uniform(-0.003, 0.003, 2)
    return found


def by_hand(found: np.ndarray, points: np.ndarray) -> np.ndarray:
    moved = []
    for x, y in points:
        u, v, w = (row[0] * x + row[1] * y + row[2] for row in found)
        moved.append([u / w, v / w])
    return np.array(moved)


@given(st.integers(0, 10**6), st.integers(4, 12))
def test_points_of_one_map_give_that_map(seed: int, n: int) -> None:
    truth = true_map(seed)
    rng = np.random.default_rng(seed + 1)
    points = np.concatenate([SQUARE, rng.uniform(0, 100, (n - 4, 2))])
    found = homography(points, by_hand(truth, points))
    elsewhere = rng.uniform(0, 100, (20, 2))
    assert project(found, elsewhere) == pytest.approx(by_hand(truth, elsewhere), rel=1e-6, abs=1e-6)
    # The near side of the horizon is where the points are.
    assert (elsewhere @ found[2, :2] + found[2, 2] > 0).all()


@given(st.integers(0, 10**6))
def test_four_points_are_met_exactly_wherever_they_go(seed: int) -> None:
    corners = SQUARE + np.random.default_rng(seed).uniform(-20, 20, (4, 2))
    assert project(homography(SQUARE, corners), SQUARE) == pytest.approx(corners, abs=1e-8)
    assert homography(SQUARE, corners) @ homography(corners, SQUARE) / 1 == pytest.approx(
        np.eye(3) * (homography(SQUARE, corners) @ homography(corners, SQUARE))[2, 2], abs=1e-8
    )


@pytest.mark.parametrize("seed", range(5))
def test_six_noisy_points_are_met_nearly_as_well_as_can_be(seed: int) -> None:
    """The sum of squares in pixels against the least there is, which a general solver finds from several starts."""
    target = ALIGNED + np.random.default_rng(seed).normal(0, 2.5, ALIGNED.shape)
    found = homography(ALIGNED, target)
    reached = ((project(found, ALIGNED) - target) ** 2).sum()

    def off(entries: np.ndarray) -> np.ndarray:
        return (project(np.append(entries, 1).reshape(3, 3), ALIGNED) - target).ravel()

    best = min(
        least_squares(off, start.ravel()[:8], x_scale="jac").cost * 2 for start in (found / found[2, 2], np.eye(3))
    )
    assert best <= reached * (1 + 1e-9) and reached < 1.5 * best + 1e-9


@pytest.mark.parametrize(
    ("source", "target", "says"),
    [
        (SQUARE[:3], SQUARE[:3], "at least 4"),
        (SQUARE, SQUARE[:3], "at least 4"),
        (np.zeros((4, 3)), np.zeros((4, 3)), "at least 4"),
        (SQUARE * np.nan, SQUARE, "finite"),
        (SQUARE, np.zeros((4, 2)), "one place"),
        (SQUARE * [1, 0], SQUARE * [1, 0], "on a line"),
        (SQUARE, np.array([[0.0, 0], [1, 1], [2, 2], [3, 3.0]]), "on a line"),
        (np.array([[0.0, 0], [1, 0], [2, 0], [0, 1]]), SQUARE, "on a line"),
    ],
)
def test_points_that_allow_no_or_several_maps_are_refused(source: np.ndarray, target: np.ndarray, says: str) -> None:
    with pytest.raises(BadInput, match=says):
        homography(source, target)
