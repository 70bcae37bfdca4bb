"""Parts of a face and masks about them: which points, which pixels, how soft."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import distance_transform_edt
from scipy.spatial import Delaunay
from stillhouse.platform.data.forgery_points import (
    HEAD_COUNTS,
    PARTS,
    MarkedTrack,
    face_points,
    hull_cover,
    softened,
)
from stillhouse.platform.errors import BadInput


@pytest.mark.parametrize("number", [68, 127, 468, 478])
def test_parts_are_points_of_the_set(number: int) -> None:
    which = face_points(number)
    assert set(which.parts) == set(PARTS) == set(HEAD_COUNTS)
    for name in PARTS:
        numbers = which.of(name)
        assert (
            len(set(numbers.tolist())) == len(numbers) >= 3 and numbers.min() >= 0 and numbers.max() < min(number, 468)
        )
    # Only the oval of the 68 points borrows from the brows, having none on the forehead.
    others = [name for name in PARTS if name != "oval"]
    assert len(set(which.of(*others).tolist())) == sum(len(which.of(name)) for name in others)
    assert not set(which.steady.tolist()) & set(which.of("lips", "left_eye", "left_brow").tolist())
    assert set(which.of(*PARTS).tolist()) <= set(which.warped)


def test_unknown_sets_of_points_are_refused() -> None:
    with pytest.raises(BadInput, match="68, 127, 468, 478"):
        face_points(5)


@pytest.mark.shared_data
def test_the_meshs_parts_lie_where_a_face_has_them(shared_data: Path) -> None:
    files = sorted((shared_data / "video" / "landmarks").glob("*.npz"))[:6]
    if not files:
        pytest.skip("no landmarks of clips are there")
    for file in files:
        points = np.load(file)["lm16"][:5].astype(float) / 8
        which = face_points(points.shape[1])
        middle = {name: points[:, which.of(name)].mean(1) for name in PARTS}
        assert (middle["left_eye"][:, 0] < middle["nose"][:, 0]).all() and (
            middle["nose"][:, 0] < middle["right_eye"][:, 0]
        ).all()
        assert (middle["left_brow"][:, 1] < middle["left_eye"][:, 1]).all()
        assert (middle["right_brow"][:, 1] < middle["right_eye"][:, 1]).all()
        assert (middle["left_eye"][:, 1] < middle["nose"][:, 1]).all() and (
            middle["nose"][:, 1] < middle["lips"][:, 1]
        ).all()
        for frame in points:
            hull = Delaunay(frame[which.of("oval")])
            assert (hull.find_simplex(frame[which.of("left_eye", "right_eye", "lips", "inner_lips")]) >= 0).all()
            # The inner line of the lips lies inside the outer one, but for the corners.
            assert np.ptp(frame[which.of("inner_lips")], axis=0)[0] < np.ptp(frame[which.of("lips")], axis=0)[0]


@given(seed=st.integers(0, 10**6), count=st.integers(3, 30))
def test_a_hull_covers_what_lies_inside(seed: int, count: int) -> None:
    points = np.random.default_rng(seed).uniform(2, 21, (1, count, 2))
    cover = hull_cover(points, 24)[0]
    y, x = np.mgrid[:24, :24]
    inside = Delaunay(points[0]).find_simplex(np.stack([x, y], 2).astype(float)) >= 0
    sure = np.abs(cover - 0.5) > 1e-4
    assert ((cover > 0.5) == inside)[sure].all() and cover.min() >= 0 and cover.max() <= 1


def test_erosion_is_by_a_disc() -> None:
    """Against distances to the nearest pixel outside, on a convex outline with soft corners."""
    turn = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    points = np.stack([40 + 30 * np.cos(turn), 40 + 22 * np.sin(turn)], 1)[None]
    whole = hull_cover(points, 80)[0]
    away = distance_transform_edt(whole > 0.5)
    for pixels in (3.0, 7.0):
        eroded = hull_cover(points, 80, -pixels)[0] > 0.5
        assert eroded[away > pixels + 1].all() and not eroded[away < pixels - 1].any()
        grown = hull_cover(points, 80, pixels)[0] > 0.5
        beyond = distance_transform_edt(whole <= 0.5)
        assert grown[(beyond > 0) & (beyond < pixels - 1)].all() and not grown[beyond > pixels + 1].any()


def test_the_area_of_a_cover_is_the_hulls() -> None:
    box = np.array([[[3.25, 4.5], [17.75, 4.5], [17.75, 12.0], [3.25, 12.0]]])
    assert hull_cover(box, 24).sum() == pytest.approx(14.5 * 7.5, rel=0.01)


def test_points_on_a_line_have_no_hull() -> None:
    with pytest.raises(BadInput, match="on a line"):
        hull_cover(np.stack([np.arange(5.0), np.arange(5.0)], 1)[None], 16)


def test_softening_is_a_gaussian_that_ends() -> None:
    point = np.zeros((1, 31, 31), np.float32)
    point[0, 15, 15] = 1
    soft = softened(point, 9)[0]
    assert soft.sum() == pytest.approx(1, abs=1e-5)
    where = np.argwhere(soft > 0) - 15
    assert np.abs(where).max() == 4  # (9 - 1) / 2
    sigma = 0.3 * ((9 - 1) / 2 - 1) + 0.8
    line = np.exp(-(np.arange(-4, 5) ** 2) / (2 * sigma**2))
    assert np.allclose(soft[11:20, 11:20], np.outer(line, line) / line.sum() ** 2, atol=1e-6)
    assert (softened(point, 1) == point).all()
    assert np.allclose(softened(np.ones((1, 9, 9), np.float32), 15), 1)


def test_the_unit_follows_the_face() -> None:
    points = np.random.default_rng(0).uniform(20, 60, (3, 127, 2))
    frames = np.zeros((3, 3, 80, 80), np.uint8)
    small, large = MarkedTrack(frames, points), MarkedTrack(frames, 1.3 * points)
    assert large.unit == pytest.approx(1.3 * small.unit)
    as_said = points.copy()
    as_said[:, :36, 1] = np.linspace(0, 0.68 * 144, 36)
    assert MarkedTrack(frames, as_said).unit == pytest.approx(1)


@pytest.mark.parametrize(
    ("points", "match"),
    [
        (np.zeros((2, 127, 2)), "shape"),
        (np.zeros((3, 127, 3)), "shape"),
        (np.full((3, 127, 2), np.nan), "finite"),
        (np.zeros((3, 127, 2)), "one place"),
        (np.zeros((3, 9, 2)), "9 points"),
    ],
)
def test_points_that_are_none_are_refused(points: np.ndarray, match: str) -> None:
    with pytest.raises(BadInput, match=match):
        MarkedTrack(np.zeros((3, 3, 16, 16), np.uint8), points)
