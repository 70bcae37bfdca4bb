"""Pictures on disk: read as they are, by whatever way they are stored; damaged ones are named and counted."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from stillhouse.platform.data.picture_files import Exact, FolderFiles, HeldFiles, PictureFiles, Resized, Unusable
from stillhouse.platform.errors import BadInput
from support.face_files import PEOPLE, colours, write_lfw_like


@pytest.fixture
def files(tmp_path: Path) -> FolderFiles:
    write_lfw_like(tmp_path, 2, PEOPLE[:3])
    return FolderFiles(tmp_path, tuple(sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*.png"))))


def test_they_are_read_in_the_order_asked_for(files: FolderFiles) -> None:
    pictures = PictureFiles(files, Exact(12))
    expected = [colours(person, number).transpose(2, 0, 1) for person in range(3) for number in (1, 2)]
    assert len(pictures) == 6 and pictures.size == (12, 12)
    for _ in range(2):  # decoded, then kept
        assert (pictures.read([5, 0, 5, -1]) == np.stack([expected[i] for i in (5, 0, 5, 5)])).all()
    assert pictures.read([]).shape == (0, 3, 12, 12)


def test_what_is_read_can_be_changed_without_changing_what_is_kept(files: FolderFiles) -> None:
    pictures = PictureFiles(files, Exact(12))
    before = pictures.read([1])
    pictures.read([1])[:] = 0
    assert (pictures.read([1]) == before).all()


@pytest.mark.parametrize(("room", "kept"), [(0, 0), (3 * 432 + 431, 3), (1 << 20, 6)])
def test_no_more_is_kept_than_there_is_room_for(files: FolderFiles, room: int, kept: int) -> None:
    pictures = PictureFiles(files, Exact(12), keep_bytes=room)
    first = pictures.read(range(6))
    for path in files.root.rglob("*.png"):
        path.unlink()
    assert (pictures.read(range(kept)) == first[:kept]).all()
    if kept < 6:
        with pytest.raises(BadInput, match="cannot be used"):
            pictures.read([kept])


def test_another_process_is_not_sent_what_is_kept(files: FolderFiles) -> None:
    pictures = PictureFiles(files, Exact(12))
    empty = len(pickle.dumps(pictures))
    first = pictures.read(range(6))
    assert len(pickle.dumps(pictures)) == empty
    assert (pickle.loads(pickle.dumps(pictures)).read(range(6)) == first).all()
    assert len(pictures._kept) == 6


def test_all_unusable_pictures_are_found_with_their_reasons(files: FolderFiles) -> None:
    names, root = files.names, files.root
    Image.fromarray(colours(0, 0, 13)).save(root / names[1])
    (root / names[2]).write_bytes(b"<html>")
    Image.fromarray(np.zeros((12, 12), np.uint16)).save(root / names[3])
    whole = (root / names[4]).read_bytes()
    (root / names[4]).write_bytes(whole[: len(whole) // 2])
    (root / names[5]).unlink()
    pictures = PictureFiles(files, Exact(12))
    found = pictures.unusable(decode=True)
    assert sorted(found) == [1, 2, 3, 4, 5]
    assert found[1] == "is 13 x 13 pixels instead of 12 x 12" and "JPEG or PNG" in found[2] and "8 bits" in found[3]
    # A cut-off file has a header.
    assert sorted(pictures.unusable(decode=False)) == [1, 2, 3, 5]
    with pytest.raises(BadInput, match=rf"{names[4]} in .* cannot be used: it cannot be decoded"):
        pictures.read([0, 4])


def test_a_gif_named_jpg_is_not_taken(tmp_path: Path) -> None:
    Image.new("P", (12, 12)).save(tmp_path / "a.gif")
    (tmp_path / "a.gif").rename(tmp_path / "a.jpg")
    assert "JPEG or PNG" in PictureFiles(FolderFiles(tmp_path, ("a.jpg",)), Exact(12)).unusable(decode=False)[0]


def test_the_middle_square_is_cut_out_and_resized_with_antialiasing() -> None:
    ramp = np.broadcast_to(np.arange(80, dtype=np.uint8)[:, None, None], (80, 40, 3))
    found = Resized(10, crop=0.5)(Image.fromarray(ramp), 0)
    # Rows 30 .. 49, two a pixel; a triangle over both sides keeps a ramp a ramp.
    assert found.shape == (10, 10, 3) and np.abs(found[:, 0, 0].astype(float) - (30.5 + 2 * np.arange(10))).max() <= 1
    board = (np.indices((40, 40)).sum(0) % 2 * 255).astype(np.uint8)
    grey = Resized(10)(Image.fromarray(np.repeat(board[..., None], 3, 2)), 0)
    assert np.abs(grey.astype(int) - 127).max() <= 2


@pytest.mark.parametrize("crop", [0.0, -1.0, 1.5])
def test_a_crop_is_a_fraction(crop: float) -> None:
    with pytest.raises(BadInput, match="fraction"):
        Resized(10, crop)


def test_an_exact_size_is_checked() -> None:
    with pytest.raises(Unusable):
        Exact(12).check((12, 11))
    assert Exact(12).check((12, 12)) is None


def test_hashes_name_bytes_names_and_preparation(files: FolderFiles) -> None:
    held = HeldFiles("here", files.names, tuple(files.raw(number) for number in range(6)))
    base = PictureFiles(files, Exact(12)).content_hash()
    assert base == PictureFiles(held, Exact(12)).content_hash()
    others = [
        PictureFiles(held, Resized(12)),
        PictureFiles(held, Resized(12, 0.5)),
        PictureFiles(HeldFiles("here", files.names[::-1], held.held), Exact(12)),
        PictureFiles(HeldFiles("here", files.names, (held.held[0] + b"\0", *held.held[1:])), Exact(12)),
    ]
    assert len({base, *(one.content_hash() for one in others)}) == 5
