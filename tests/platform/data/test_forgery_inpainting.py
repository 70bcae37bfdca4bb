"""Holes filled from their rims: nothing of the hole is used, nothing new comes up in it, everything else stays."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import distance_transform_edt, gaussian_filter
from stillhouse.platform.data.forgery_inpainting import filled
from stillhouse.platform.errors import BadInput

LARGE = 1e4


def a_hole(seed: int, parts: int = 2, side: int = 26) -> np.ndarray:
    """Ellipses, some over a border."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    hole = np.zeros((side, side), bool)
    for _ in range(parts):
        middle, axes = rng.uniform(3, side - 3, 2), rng.uniform(1.5, 6, 2)
        hole |= ((y - middle[0]) / axes[0]) ** 2 + ((x - middle[1]) / axes[1]) ** 2 <= 1
    return hole


@settings(max_examples=40)
@given(seed=st.integers(0, 10**6))
def test_no_level_comes_up_that_does_not_surround_the_hole(seed: int) -> None:
    """The largest and the least lie on the rim, within the radius; one level is continued as it is."""
    hole = a_hole(seed)
    image = gaussian_filter(np.random.default_rng(seed).uniform(0, 255, (3, 26, 26)), (0, 1, 1)).astype(np.float32)
    found = filled(np.where(hole, LARGE, image), hole)
    rim = ~hole & (distance_transform_edt(~hole) <= 3)
    for channel in range(3):
        seen = image[channel][rim]
        inside = found[channel][hole]
        assert seen.min() - 1e-3 <= inside.min() and inside.max() <= seen.max() + 1e-3
    assert np.allclose(filled(np.where(hole, LARGE, 77.0)[None], hole), 77)


def test_a_hole_takes_the_colour_of_the_nearer_side() -> None:
    image = np.full((1, 20, 20), 40.0)
    image[:, :, 10:] = 200
    hole = np.zeros((20, 20), bool)
    hole[4:16, 5:15] = True
    found = filled(image, hole)[0]
    assert found[10, 5] == pytest.approx(40, abs=3) and found[10, 14] == pytest.approx(200, abs=3)
    # A mirrored picture is filled to the mirrored picture.
    assert np.allclose(found[:, ::-1], filled(240 - image, hole)[0], atol=1e-3)


@settings(max_examples=30)
@given(seed=st.integers(0, 10**6))
def test_what_was_in_the_hole_does_not_matter_and_the_rest_stays(seed: int) -> None:
    rng = np.random.default_rng(seed)
    hole, image = a_hole(seed), rng.uniform(0, 255, (3, 26, 26)).astype(np.float32)
    one, other = filled(np.where(hole, 0, image), hole), filled(np.where(hole, LARGE, image), hole)
    assert (one == other).all() and (one == image)[:, ~hole].all() and np.isfinite(one).all()


def test_the_first_front_is_the_weighted_mean_of_the_formula() -> None:
    """A hole of one front, by loops over its pixels and their neighbours."""
    rng = np.random.default_rng(1)
    image = rng.uniform(0, 255, (1, 13, 13))
    hole = np.zeros((13, 13), bool)
    hole[6, 5:8] = True  # one pixel high: all of it is within a pixel of the rim
    level = distance_transform_edt(hole) - distance_transform_edt(~hole)
    down, right = np.gradient(level)
    found = filled(image, hole)[0]
    for y, x in np.argwhere(hole):
        above = below = 0.0
        for v in range(y - 3, y + 4):
            for u in range(x - 3, x + 4):
                square = (v - y) ** 2 + (u - x) ** 2
                if hole[v, u] or square > 9:
                    continue
                along = abs(down[y, x] * (y - v) + right[y, x] * (x - u)) / np.sqrt(square)
                weight = max(along, 1e-3) / square / (1 + abs(level[v, u] - level[y, x]))
                above, below = above + weight * image[0, v, u], below + weight
        assert found[y, x] == pytest.approx(above / below, rel=1e-4)


def test_no_hole_changes_nothing() -> None:
    image = np.random.default_rng(0).uniform(0, 255, (3, 9, 9)).astype(np.float32)
    assert (filled(image, np.zeros((9, 9), bool)) == image).all()


@pytest.mark.parametrize(
    ("hole", "radius"), [(np.ones((9, 9), bool), 3), (np.zeros((8, 9), bool), 3), (np.zeros((9, 9), bool), 1)]
)
def test_impossible_holes_are_refused(hole: np.ndarray, radius: int) -> None:
    with pytest.raises(BadInput):
        filled(np.zeros((3, 9, 9)), hole, radius)
