"""The similarity transform against linear least squares, and crops against a double loop over their pixels."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from stillhouse.platform.data.alignment import (
    TEMPLATE,
    align,
    five_of_68,
    five_of_eyes,
    middle_square,
    moved,
    similarity,
    template,
)
from stillhouse.platform.errors import BadInput

POINTS = arrays(float, (6, 2), elements=st.floats(-100, 100, width=32))


def turned(angle: float, scale: float, shift: tuple[float, float]) -> np.ndarray:
    cos, sin = scale * math.cos(angle), scale * math.sin(angle)
    return np.array([[cos, -sin, shift[0]], [sin, cos, shift[1]]])


def least_squares(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """A similarity without mirroring is linear in a = s cos and b = s sin, so numpy's solver finds the same."""
    rows = np.concatenate([[[x, -y, 1, 0], [y, x, 0, 1]] for x, y in source])
    a, b, right, down = np.linalg.lstsq(rows, target.reshape(-1), rcond=None)[0]
    return np.array([[a, -b, right], [b, a, down]])


@given(st.floats(-math.pi, math.pi), st.floats(0.05, 20), st.tuples(st.floats(-500, 500), st.floats(-500, 500)))
def test_a_transformed_template_is_brought_back(angle: float, scale: float, shift: tuple[float, float]) -> None:
    points = moved(TEMPLATE, turned(angle, scale, shift))
    assert moved(points, similarity(points, TEMPLATE)) == pytest.approx(TEMPLATE, abs=1e-8)
    assert similarity(TEMPLATE, points) == pytest.approx(turned(angle, scale, shift), abs=1e-8)


@given(POINTS, POINTS)
def test_it_is_the_least_squares_solution(source: np.ndarray, target: np.ndarray) -> None:
    assume(np.ptp(source, axis=0).max() > 1)
    found, expected = similarity(source, target), least_squares(source, target)
    # Where the target fits several rotations equally, the scale is 0 and all of them are the same map.
    assert found == pytest.approx(expected, abs=1e-5)


def test_a_mirrored_face_is_turned_not_mirrored() -> None:
    mirrored = TEMPLATE * [-1, 1] + [112, 0]
    found = similarity(mirrored, TEMPLATE)
    assert np.linalg.det(found[:, :2]) > 0
    assert found == pytest.approx(least_squares(mirrored, TEMPLATE), abs=1e-8)
    # The eyes have changed sides, so no rotation fits.
    assert np.linalg.norm(moved(mirrored, found) - TEMPLATE, axis=1).max() > 10


def test_points_on_a_line_are_enough() -> None:
    line = np.array([[0.0, 0], [1, 0], [2, 0]])
    transform = turned(0.7, 3, (5, 6))
    assert similarity(line, moved(line, transform)) == pytest.approx(transform, abs=1e-9)


@pytest.mark.parametrize(
    ("source", "target", "says"),
    [
        (np.zeros((5, 2)), TEMPLATE, "one place"),
        (np.full((5, 2), 1e6), TEMPLATE, "one place"),
        (TEMPLATE[:4], TEMPLATE, "4 points"),
        (TEMPLATE[:1], TEMPLATE[:1], "at least 2"),
        (TEMPLATE * np.nan, TEMPLATE, "finite"),
        (np.zeros((5, 3)), TEMPLATE, "no points"),
    ],
)
def test_points_that_fix_no_transform_are_refused(source: np.ndarray, target: np.ndarray, says: str) -> None:
    with pytest.raises(BadInput, match=says):
        similarity(source, target)


def scene(height: int, width: int) -> np.ndarray:
    """Smooth colours, so that sampling between pixels is well-behaved."""
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / 9 + y / 23), np.cos(x / 14 - y / 11), np.sin((x + y) / 17)]
    return np.rint(127.5 + 120 * np.stack(waves, 2)).astype(np.uint8)


@settings(max_examples=6)
@given(st.floats(-0.6, 0.6), st.floats(0.6, 1.9), st.tuples(st.integers(-10, 40), st.integers(-10, 40)))
def test_a_crop_is_bilinear_sampling(angle: float, scale: float, shift: tuple[int, int]) -> None:
    image = scene(90, 120)
    to_picture = turned(angle, scale, shift)
    crop = align(image, moved(TEMPLATE, to_picture))
    assert crop.shape == (112, 112, 3) and crop.dtype == np.uint8
    for y in range(0, 112, 5):
        for x in range(0, 112, 5):
            across, down = moved([x, y], to_picture)
            left, top = math.floor(across), math.floor(down)
            if 0 <= left < 119 and 0 <= top < 89:
                part_x, part_y = across - left, down - top
                expected = (
                    (1 - part_x) * (1 - part_y) * image[top, left].astype(float)
                    + part_x * (1 - part_y) * image[top, left + 1]
                    + (1 - part_x) * part_y * image[top + 1, left]
                    + part_x * part_y * image[top + 1, left + 1]
                )
                assert np.abs(crop[y, x] - expected).max() <= 0.501
            elif across < -1 or across > 120 or down < -1 or down > 90:
                assert not crop[y, x].any()


def test_an_aligned_crop_stays_as_it_is() -> None:
    image = scene(112, 112)
    assert np.array_equal(align(image, TEMPLATE), image)


@pytest.mark.parametrize("scale", [0.5, 1.0, 3.4, 8.0])
@pytest.mark.parametrize("angle", [0.0, 0.5, -2.5])
def test_landmarks_come_to_lie_on_the_template(scale: float, angle: float) -> None:
    """Whatever the size of the face in the picture: a spot on each landmark is found at its place in the crop."""
    side = 1400
    to_picture = turned(angle, scale, (0, 0))
    to_picture[:, 2] = side / 2 - to_picture[:, :2] @ [56, 72]
    points = moved(TEMPLATE, to_picture)
    y, x = np.mgrid[:side, :side]
    for i, (across, down) in enumerate(points):
        spot = np.exp(-((x - across) ** 2 + (y - down) ** 2) / (2 * (2.5 * scale) ** 2))
        crop = align(np.repeat(np.rint(255 * spot).astype(np.uint8)[..., None], 3, 2), points)[..., 0].astype(float)
        rows, columns = np.mgrid[:112, :112]
        centre = np.array([(columns * crop).sum(), (rows * crop).sum()]) / crop.sum()
        assert centre == pytest.approx(TEMPLATE[i], abs=0.15)


def test_a_large_picture_is_averaged_not_sub_sampled() -> None:
    y, x = np.mgrid[:900, :900]
    checks = np.repeat((255 * ((x + y) % 2)).astype(np.uint8)[..., None], 3, 2)
    crop = align(checks, TEMPLATE * 6 + 100)
    assert np.abs(crop.astype(int) - 127).max() <= 1


def test_other_sizes_have_the_template_in_their_middle_too() -> None:
    assert template(112) == pytest.approx(TEMPLATE)
    assert template(224) == pytest.approx(TEMPLATE * 2 + 0.5)
    image = scene(112, 112)
    large = align(image, TEMPLATE, 224)
    blocks = large.reshape(112, 2, 112, 2, 3).mean((1, 3))
    assert np.abs(blocks[1:-1, 1:-1] - image[1:-1, 1:-1]).max() < 4


def test_five_of_68_are_eyes_nose_and_mouth() -> None:
    points = np.random.default_rng(0).random((68, 2))
    five = five_of_68(points)
    assert five[0] == pytest.approx((points[36] + points[39]) / 2)
    assert five[1] == pytest.approx((points[42] + points[45]) / 2)
    assert np.array_equal(five[2:], points[[30, 48, 54]])
    with pytest.raises(BadInput, match="68 points"):
        five_of_68(points[:67])


@given(st.floats(-1, 1), st.floats(0.2, 5))
def test_two_eyes_place_the_rest_of_the_face(angle: float, scale: float) -> None:
    transform = turned(angle, scale, (40, 50))
    points = moved(TEMPLATE, transform)
    assert five_of_eyes(points[0], points[1]) == pytest.approx(points, abs=1e-8)


def test_the_middle_square_is_cut_and_resized() -> None:
    wide = np.zeros((20, 50, 3), np.uint8)
    wide[:, 15:35] = 200
    assert (middle_square(wide, 10) == 200).all() and middle_square(wide).shape == (112, 112, 3)
    assert np.array_equal(middle_square(wide.transpose(1, 0, 2)), middle_square(wide))
    image = scene(112, 112)
    assert np.array_equal(middle_square(image), image)


@pytest.mark.parametrize(
    "image",
    [np.zeros((9, 9), np.uint8), np.zeros((9, 9, 4), np.uint8), np.zeros((9, 9, 3)), np.zeros((0, 9, 3), np.uint8)],
)
def test_what_is_no_colour_picture_is_refused(image: np.ndarray) -> None:
    with pytest.raises(BadInput, match="height, width, 3"):
        align(image, TEMPLATE)
    with pytest.raises(BadInput, match="height, width, 3"):
        middle_square(image)


def test_other_landmarks_than_five_are_refused() -> None:
    with pytest.raises(BadInput, match="five_of_68"):
        align(scene(20, 20), np.zeros((68, 2)))
    with pytest.raises(BadInput, match="crops of 0 pixels"):
        align(scene(20, 20), TEMPLATE, 0)
