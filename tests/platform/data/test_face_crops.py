"""Crops with landmarks and without, and the check that tells crops made to another template."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from stillhouse.platform.data.alignment import TEMPLATE, align, middle_square
from stillhouse.platform.data.face_crops import BY_LANDMARKS, BY_SIZE, check_crops, crop_face
from stillhouse.platform.data.landmarks import NoLandmarks
from stillhouse.platform.errors import BadInput

IMAGE = np.random.default_rng(0).integers(0, 256, (150, 130, 3), dtype=np.uint8)
CROPS = [np.zeros((112, 112, 3), np.uint8)] * 4


def moved(right: float, down: float) -> np.ndarray:
    return TEMPLATE + np.array([right, down])


@dataclass(frozen=True)
class Named:
    """Landmarks by name."""

    points: dict[str, np.ndarray]
    looks: bool = True

    def find(self, image: np.ndarray, name: str | None = None) -> np.ndarray | None:
        assert name is not None
        return self.points.get(name)


def test_a_found_face_is_aligned_and_one_not_found_is_no_crop() -> None:
    finder = Named({"a": TEMPLATE + 9})
    crop = crop_face(IMAGE, finder, "a")
    assert crop is not None and crop.how == BY_LANDMARKS and np.array_equal(crop.image, align(IMAGE, TEMPLATE + 9))
    assert crop_face(IMAGE, finder, "b") is None


def test_without_a_finder_the_middle_square_is_resized_and_said_so() -> None:
    crop = crop_face(IMAGE, NoLandmarks(), size=96)
    assert crop is not None and crop.how == BY_SIZE and np.array_equal(crop.image, middle_square(IMAGE, 96))


def test_aligned_crops_have_no_error_and_shifted_ones_have_their_shift() -> None:
    good = check_crops(CROPS[:2], Named({"a": TEMPLATE, "b": TEMPLATE}), ["a", "b"])
    assert (good.crops, good.found, good.mean_error, good.worst, good.offset) == (2, 2, 0, 0, (0, 0))
    off = check_crops(CROPS, Named({"a": moved(3, 4), "b": moved(6, 8), "c": TEMPLATE}), ["a", "b", "c", "d"])
    assert (off.crops, off.found) == (4, 3)
    assert (off.mean_error, off.worst, *off.offset) == pytest.approx((5, 10, 3, 4))
    assert "3 of 4" in off.in_words() and "+3.0, +4.0" in off.in_words()


def test_errors_are_in_pixels_of_112_whatever_the_crop() -> None:
    large = (TEMPLATE + 0.5) * 2 - 0.5 + np.array([6, 0])
    assert check_crops([np.zeros((224, 224, 3), np.uint8)], Named({"a": large}), ["a"]).mean_error == pytest.approx(3)


def test_no_face_at_all_is_said() -> None:
    checked = check_crops(CROPS[:1], Named({}), ["a"])
    assert checked.found == 0 and np.isnan(checked.mean_error) and "no face" in checked.in_words()


def test_what_cannot_be_checked_is_refused() -> None:
    with pytest.raises(BadInput, match="without finding"):
        check_crops(CROPS, NoLandmarks())
    with pytest.raises(BadInput, match="no crops"):
        check_crops([], Named({}), [])
    with pytest.raises(BadInput, match="square"):
        check_crops([IMAGE], Named({}), ["a"])
