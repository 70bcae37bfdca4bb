"""Pictures of any kind come in the aligned size, what was done to them is said, and those that cannot be read are named."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from stillhouse.methods.recognition.given_pictures import ALIGNED, AS_IS, NO_FACE, RESIZED, read_given
from stillhouse.platform.data.alignment import align, middle_square
from stillhouse.platform.data.landmarks import NoLandmarks
from stillhouse.platform.errors import BadInput
from support.small_recogniser import write_picture

POINTS = np.array([[60.0, 70], [110, 72], [85, 100], [65, 130], [105, 131]])


@dataclass(frozen=True)
class OnlyWide:
    """Finds a face in pictures that are wider than high."""

    looks: bool = True

    def find(self, image: np.ndarray, name: str | None = None) -> np.ndarray | None:
        return POINTS if image.shape[1] > image.shape[0] else None


def test_what_was_done_to_each(tmp_path: Path) -> None:
    exact = write_picture(tmp_path / "b" / "exact.png", 1)
    wide = write_picture(tmp_path / "a" / "wide.png", 2, size=(200, 160))
    high = write_picture(tmp_path / "high.PNG", 3, size=(90, 120))
    (tmp_path / ".hidden").mkdir()
    write_picture(tmp_path / ".hidden" / "x.png", 4)
    (tmp_path / "notes.txt").write_text("no picture")
    given = read_given([tmp_path], side=112, finder=NoLandmarks())
    assert list(given.names) == ["a/wide.png", "b/exact.png", "high.PNG"] and len(given) == 3
    assert given.how == (RESIZED, AS_IS, RESIZED)
    found = given.pictures.read([0, 1, 2]).transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(found, [middle_square(wide), exact, middle_square(high)])
    given = read_given([tmp_path], side=112, finder=OnlyWide())
    assert given.how == (ALIGNED, AS_IS, NO_FACE)
    np.testing.assert_array_equal(given.pictures.read([0])[0].transpose(1, 2, 0), align(wide, POINTS))


def test_files_keep_the_names_they_were_given_by(tmp_path: Path) -> None:
    write_picture(tmp_path / "one.png", 1)
    write_picture(tmp_path / "more" / "two.png", 2)
    one, more = tmp_path / "one.png", tmp_path / "more"
    given = read_given([one, more, one], side=112, finder=NoLandmarks())
    assert list(given.names) == [str(one), str(more / "two.png")]
    assert given.pictures.read([1]).shape == (1, 3, 112, 112)


def test_a_camera_held_sideways_and_colours_of_other_kinds(tmp_path: Path) -> None:
    upright = write_picture(tmp_path / "upright.png", 5, size=(120, 120))
    turned = Image.fromarray(np.ascontiguousarray(np.rot90(upright)))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by 90 degrees, clockwise
    turned.save(tmp_path / "turned.png", exif=exif)
    Image.fromarray(upright[..., 0]).save(tmp_path / "grey.png")
    Image.fromarray(np.dstack([upright, upright[..., 0]])).save(tmp_path / "transparent.png")
    given = read_given([tmp_path], side=112, finder=NoLandmarks())
    pixels = dict(zip(given.names, given.pictures.read(range(4)), strict=True))
    np.testing.assert_array_equal(pixels["turned.png"], pixels["upright.png"])
    assert (pixels["grey.png"] == pixels["grey.png"][:1]).all()


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    write_picture(tmp_path / "good.png", 1)
    whole = (tmp_path / "good.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "poisoned.jpg").write_bytes(b"\x80\x04cos\nsystem\n(S'touch /tmp/poisoned'\ntR.")
    with pytest.raises(BadInput, match="2 of 3 pictures cannot be used") as caught:
        read_given([tmp_path], side=112, finder=NoLandmarks())
    assert "cut.png" in str(caught.value) and "poisoned.jpg" in str(caught.value)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no pictures"):
        read_given([tmp_path], side=112, finder=NoLandmarks())
    with pytest.raises(BadInput, match=r"nowhere\.png not found"):
        read_given([tmp_path, tmp_path / "nowhere.png"], side=112, finder=NoLandmarks())
