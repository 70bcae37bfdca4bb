"""Six points of a face that was drawn by formulas, so that they are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stillhouse.platform.data.mask_points import ALIGNED, FRONT, LEFT, RIGHT, aligned_points, points_of_68
from stillhouse.platform.errors import BadInput

from .landmark_face import face

MIRRORED = [*range(16, -1, -1), *range(26, 16, -1), *range(27, 31), *range(35, 30, -1), 45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40,
            *range(54, 47, -1), *range(59, 54, -1), *range(64, 59, -1), *range(67, 64, -1)]  # fmt: skip


def test_they_lie_where_the_lines_of_the_face_meet_the_jaw() -> None:
    points, looks = points_of_68(face())
    a, b, c, f, e, d = points
    assert looks == FRONT
    # The jaw is a chain between points of the ellipse, so it lies a little inside of it.
    across = 40 * math.sqrt(1 - (22 / 60) ** 2)
    assert a == pytest.approx([56 - across, 72], abs=0.5) and c == pytest.approx([56 + across, 72], abs=0.5)
    assert a[1] == pytest.approx(72) and c[1] == pytest.approx(72)
    assert b == pytest.approx([56, 62])
    lower = 40 * math.sqrt(1 - (47 / 60) ** 2)
    assert d == pytest.approx([56 - lower, 97], abs=0.8) and f == pytest.approx([56 + lower, 97], abs=0.8)
    assert e == pytest.approx([56, 110])


@given(st.floats(-1.2, 1.2), st.floats(0.3, 4), st.floats(-8, 8))
def test_they_turn_and_grow_with_the_face(angle: float, scale: float, nose: float) -> None:
    turn = scale * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    points, looks = points_of_68(face(nose))
    turned, same = points_of_68(face(nose) @ turn.T + [30, -20])
    assert same == looks
    assert turned == pytest.approx(points @ turn.T + [30, -20], abs=1e-6 * scale)


@pytest.mark.parametrize(("nose", "looks"), [(0, FRONT), (4, FRONT), (5.5, RIGHT), (-4, FRONT), (-5.5, LEFT)])
def test_a_nose_further_aside_than_13_degrees_is_a_turned_face(nose: float, looks: str) -> None:
    assert math.degrees(math.atan2(4, 20)) < 13 < math.degrees(math.atan2(5.5, 20))
    assert points_of_68(face(nose))[1] == looks


@given(st.floats(-8, 8))
def test_a_mirrored_face_has_mirrored_points(nose: float) -> None:
    points, looks = points_of_68(face(nose))
    mirrored, other = points_of_68(face(nose)[MIRRORED] * [-1, 1] + [112, 0])
    assert {looks, other} in ({FRONT}, {LEFT, RIGHT})
    assert mirrored[[2, 1, 0, 5, 4, 3]] == pytest.approx(points * [-1, 1] + [112, 0], abs=1e-9)


def test_a_jaw_that_ends_below_the_nose_still_has_cheeks() -> None:
    high = face()
    high[27:31, 1] -= 25
    points, _ = points_of_68(high)
    assert np.array_equal(points[0], high[0]) and np.array_equal(points[2], high[16])


def test_what_is_no_face_is_refused() -> None:
    for wrong in (face()[:67], np.full((68, 2), np.nan)):
        with pytest.raises(BadInput, match="68 finite"):
            points_of_68(wrong)
    with pytest.raises(BadInput, match="one place"):
        points_of_68(np.zeros((68, 2)))


def test_aligned_points_grow_with_the_crop() -> None:
    assert np.array_equal(aligned_points(), ALIGNED)
    assert aligned_points(224) == pytest.approx(2 * ALIGNED + 0.5)
