"""Folders and archives of faces: people by folder, media by name, people split by name, and all that is wrong is told."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from stillhouse.platform.data.face_folder import (
    Names,
    picture_number,
    read_faces,
    split_people,
    with_at_least,
    with_mask_labels,
)
from stillhouse.platform.data.faces import FaceImages, InMemory
from stillhouse.platform.data.picture_files import Exact
from stillhouse.platform.errors import BadInput
from support.face_files import PEOPLE, colours, packed, write_lfw_like

TWELVE = Exact(12)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_lfw_like(tmp_path / "faces")


@pytest.mark.parametrize("stored", ["folder", "tar"])
def test_people_are_numbered_by_name_and_pictures_sorted(folder: Path, tmp_path: Path, stored: str) -> None:
    (folder / "pairs.txt").write_text("not a picture")
    (folder / ".cache").mkdir()
    Image.fromarray(colours(0, 0)).save(folder / ".cache" / "hidden.png")
    shutil.copy(folder / "Dido" / "Dido_0001.png", folder / "Dido" / "._Dido_0001.png")
    if stored == "folder":
        faces, lost = read_faces(folder, prepare=TWELVE)
    else:
        shutil.rmtree(folder / ".cache")
        faces, lost = read_faces(packed(folder, tmp_path / "faces.tar"), prepare=TWELVE)
    assert lost == 0 and len(faces) == 24 and faces.people_names == PEOPLE
    assert faces.identities.tolist() == np.repeat(np.arange(6), 4).tolist()
    assert faces.names[5] == "Blaise_Pascal/Blaise_Pascal_0002.png"
    pixels = faces.read(np.arange(24))
    assert (pixels[:, 0, 0, 0] == 20 * faces.identities + 5).all()
    assert pixels[:, 1, 0, 0].tolist() == [10, 20, 30, 40] * 6
    assert faces.media is None and faces.masked is None


def test_an_archive_and_a_folder_hold_the_same(folder: Path, tmp_path: Path) -> None:
    one, _ = read_faces(folder, prepare=TWELVE)
    two, _ = read_faces(packed(folder, tmp_path / "faces.tar"), prepare=TWELVE)
    assert one.names == two.names and one.content_hash() == two.content_hash()


@pytest.mark.parametrize("stored", ["faces", "faces.tar"])
def test_files_are_found_from_wherever_the_program_goes_on(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stored: str
) -> None:
    packed(folder, tmp_path / "faces.tar")
    monkeypatch.chdir(tmp_path)
    faces, _ = read_faces(Path(stored), prepare=TWELVE, decode=False)
    monkeypatch.chdir("/")
    assert faces.read([0]).shape == (1, 3, 12, 12)


def test_a_compressed_archive_is_refused_with_what_to_do(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"compressed one.*To mend it: uncompress it"):
        read_faces(packed(folder, tmp_path / "faces.tar.gz", "gz"), prepare=TWELVE)
    (tmp_path / "faces.tar").write_bytes(b"nothing of the sort" * 100)
    with pytest.raises(BadInput, match=r"cannot read"):
        read_faces(tmp_path / "faces.tar", prepare=TWELVE)


def test_media_are_a_persons_own(tmp_path: Path) -> None:
    for person in ("a", "b"):
        (tmp_path / person / "late").mkdir(parents=True)
        for name in ("v0_1", "v0_2", "v11_1", "other", "another", "late/v0_3"):
            Image.fromarray(colours(0, 0)).save(tmp_path / person / f"{name}.png")
    faces, _ = read_faces(tmp_path, prepare=TWELVE, names=Names(media=r"v(\d+)_"))
    medium = dict(zip(faces.names, faces.media.tolist(), strict=True))
    assert medium["a/v0_1.png"] == medium["a/v0_2.png"] == medium["a/late/v0_3.png"]
    assert len(set(medium.values())) == 2 * 4  # v0, v11, and two of their own, for each of both
    faces, _ = read_faces(tmp_path, prepare=TWELVE, names=Names(media="^late", mask="late/"))
    assert len(set(faces.media.tolist())) == 2 * 6
    assert [name for name, masked in zip(faces.names, faces.masked, strict=True) if masked] == [
        "a/late/v0_3.png",
        "b/late/v0_3.png",
    ]


def test_a_pattern_must_be_one() -> None:
    with pytest.raises(BadInput, match=r"pattern of media is no regular expression"):
        Names(media="(")


@pytest.mark.parametrize("decode", [True, False])
def test_unusable_pictures_are_named_and_counted_or_left_out(folder: Path, decode: bool) -> None:
    for name in ("Dido", "Fermat"):
        (folder / name / f"{name}_0002.png").write_bytes(b"")
    Image.fromarray(colours(0, 0, 13)).save(folder / "Dido" / "Dido_0004.png")
    with pytest.raises(BadInput) as caught:
        read_faces(folder, prepare=TWELVE, decode=decode)
    text = str(caught.value)
    assert (
        "3 of 24 pictures" in text and "Dido/Dido_0002.png cannot be read" in text and "data.damaged=leave_out" in text
    )
    assert "Dido/Dido_0004.png is 13 x 13 pixels instead of 12 x 12" in text
    faces, lost = read_faces(folder, prepare=TWELVE, decode=decode, damaged="leave_out")
    assert lost == 3 and len(faces) == 21 and faces.people == 6
    assert faces.read(np.arange(21)).shape == (21, 3, 12, 12)


def test_a_person_all_of_whose_pictures_are_damaged_is_no_person(folder: Path) -> None:
    for file in (folder / "Carl_Gauss").iterdir():
        file.write_bytes(b"")
    faces, lost = read_faces(folder, prepare=TWELVE, damaged="leave_out")
    assert lost == 4 and faces.people_names == tuple(name for name in PEOPLE if name != "Carl_Gauss")
    assert faces.people == 5


def test_nothing_usable_and_wrong_layouts_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"is not there.*a folder for each person"):
        read_faces(tmp_path / "nowhere")
    with pytest.raises(BadInput, match=r"holds no pictures"):
        read_faces(tmp_path)
    Image.fromarray(colours(0, 0)).save(tmp_path / "loose.png")
    with pytest.raises(BadInput, match=r"lie in no person's folder: loose\.png"):
        read_faces(tmp_path)
    (tmp_path / "loose.png").unlink()
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.png").write_bytes(b"")
    with pytest.raises(BadInput, match=r"none of the 1 pictures"):
        read_faces(tmp_path, damaged="leave_out")


def test_people_are_split_as_the_protocol_says(folder: Path) -> None:
    faces, _ = read_faces(folder, prepare=TWELVE)
    names = sorted(PEOPLE)
    random.Random(7).shuffle(names)
    train, test = split_people(faces, 2, 7)
    assert set(test.people_names) == set(names[:2]) and set(train.people_names) == set(names[2:])
    assert len(train) + len(test) == 24 and not set(train.names) & set(test.names)
    assert (train.read([0])[0, 0, 0, 0] - 5) // 20 == PEOPLE.index(train.people_names[0])
    for people in (0, 6):
        with pytest.raises(BadInput, match=r"both parts need people"):
            split_people(faces, people, 7)
    nameless = FaceImages(InMemory(np.zeros((2, 3, 4, 4), np.uint8)), np.array([0, 1]), ("a", "b"))
    with pytest.raises(BadInput, match=r"people without names"):
        split_people(nameless, 1, 7)


def test_people_with_few_pictures_are_left_out_and_counted(folder: Path) -> None:
    for number in (2, 3, 4):
        (folder / "Dido" / f"Dido_000{number}.png").unlink()
    faces, _ = read_faces(folder, prepare=TWELVE)
    kept, without = with_at_least(faces, 2)
    assert without == 1 and "Dido" not in kept.people_names and len(kept) == 20 and kept.people == 5
    assert with_at_least(faces, 1) == (faces, 0)
    with pytest.raises(BadInput, match=r"0 of 6 people have 5 pictures or more"):
        with_at_least(faces, 5)


def test_mfr2s_labels_tell_who_wears_a_mask(folder: Path, tmp_path: Path) -> None:
    faces, _ = read_faces(folder, prepare=TWELVE)
    labels = tmp_path / "labels.txt"
    kinds = ["no-mask", "surgical", "n95", "No-Mask"]
    lines = [f"{name}, {number}, {kinds[number - 1]}" for name in PEOPLE for number in range(1, 5)]
    labels.write_text("\n".join([*lines, "Somebody_Else, 1, cloth", ""]))
    assert with_mask_labels(faces, labels).masked.tolist() == [False, True, True, False] * 6
    for wrong, message in (
        (lines[1:], r"does not tell of 1 pictures: Ada_Lovelace/Ada_Lovelace_0001\.png"),
        ([*lines, "Dido, 1"], "line 25 of .* is not a person, a number and a mask"),
        ([*lines, "Dido, one, cloth"], "line 25"),
        ([*lines, lines[0]], "line 25 of .* an earlier line"),
    ):
        labels.write_text("\n".join(wrong))
        with pytest.raises(BadInput, match=message):
            with_mask_labels(faces, labels)
    with pytest.raises(BadInput, match=r"cannot read"):
        with_mask_labels(faces, tmp_path / "none.txt")


def test_numbers_at_the_end_of_names() -> None:
    assert [picture_number(name) for name in ("a/b_0003.jpg", "a/12.png", "a/b.jpg", "a.1/b2c.jpg")] == [
        3,
        12,
        None,
        None,
    ]
