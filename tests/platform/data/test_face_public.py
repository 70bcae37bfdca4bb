"""LFW's and CelebA's layouts, from small files; only torchvision fetches anything, and only when asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torchvision
from PIL import Image
from stillhouse.platform.data.alignment import align
from stillhouse.platform.data.face_public import read_celeba, read_lfw
from stillhouse.platform.data.picture_files import Exact, Resized
from stillhouse.platform.errors import BadInput
from support.face_files import LANDMARKS, write_celeba, write_lfw_like

PAIRS = "1\t2\nAda_Lovelace\t1\t3\nDido\t2\t4\nAda_Lovelace\t2\tDido\t4\nCarl_Gauss\t1\tFermat\t1\n"


@pytest.mark.parametrize("below", ["", "lfw-py", "twice"])
def test_lfw_is_found_where_torchvision_and_archives_put_it(tmp_path: Path, below: str) -> None:
    base = tmp_path / "lfw-py" if below == "lfw-py" else tmp_path
    inside = "lfw-deepfunneled/lfw-deepfunneled" if below == "twice" else "lfw-deepfunneled"
    write_lfw_like(base / inside, 4, side=20)
    (base / "pairs.txt").write_text(PAIRS)
    faces, read = read_lfw(tmp_path, "deepfunneled", prepare=Resized(10, 0.5))
    assert len(faces) == 24 and faces.size == (10, 10)
    assert read.pairs.same.tolist() == [True, True, False, False] and read.dialect == "lfw"
    with pytest.raises(BadInput, match=r"files of 'lfw' are not there.*lfw_funneled"):
        read_lfw(tmp_path, "funneled", prepare=Exact(20))
    with pytest.raises(BadInput, match=r"20 x 20 pixels instead of 112"):
        read_lfw(tmp_path, "deepfunneled", prepare=Exact())


def test_lfw_is_fetched_by_torchvision_only_when_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    class Loader:
        def __init__(self, root: str, **settings: object) -> None:
            asked.append(settings)
            write_lfw_like(Path(root) / "lfw-py" / "lfw_funneled", 4)
            (Path(root) / "lfw-py" / "pairs.txt").write_text(PAIRS)

    monkeypatch.setattr(torchvision.datasets, "LFWPairs", Loader)
    with pytest.raises(BadInput, match=r"no folder was given"):
        read_lfw(None, "funneled", prepare=Exact(12))
    with pytest.raises(BadInput, match=r"does not hold them"):
        read_lfw(tmp_path, "funneled", prepare=Exact(12))
    assert not asked
    for _ in range(2):  # the second time it is there
        faces, _ = read_lfw(tmp_path, "funneled", prepare=Exact(12), download=True)
    assert len(faces) == 24 and asked == [{"split": "10fold", "image_set": "funneled", "download": True}]
    with pytest.raises(BadInput, match=r"unknown version"):
        read_lfw(tmp_path, "aligned", prepare=Exact(12))


def test_torchvision_says_itself_that_lfw_is_gone(tmp_path: Path) -> None:
    """Its own loader refuses, without a look at the network."""
    with pytest.raises(BadInput, match=r"LFWPairs could not be fetched.*To mend it: data\.root=FOLDER"):
        read_lfw(tmp_path, "deepfunneled", prepare=Exact(), download=True)


def test_celeba_is_aligned_by_its_landmarks_and_split_as_published(tmp_path: Path) -> None:
    train, test = read_celeba(write_celeba(tmp_path), aligned=True, prepare=Exact())
    assert train.people_names == ("4", "30") and train.identities.tolist() == [1, 1, 0, 0]
    assert test.people_names == ("17",) and test.names == ("000005.jpg", "000006.jpg")
    assert not set(train.people_names) & set(test.people_names)
    with Image.open(tmp_path / "celeba" / "img_align_celeba" / "000006.jpg") as image:
        expected = align(np.asarray(image.convert("RGB")), np.array(LANDMARKS.split(), float).reshape(5, 2))
    assert (test.read([1])[0] == np.asarray(expected).transpose(2, 0, 1)).all() and test.size == (112, 112)


def test_celeba_can_be_resized_instead_and_its_root_be_its_own_folder(tmp_path: Path) -> None:
    write_celeba(tmp_path)
    train, test = read_celeba(tmp_path / "celeba", aligned=False, prepare=Resized(32), decode=True)
    assert train.size == (32, 32) and len(train) == 4 and len(test) == 2


def test_what_is_wrong_with_celeba_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadInput, match=r"no folder was given.*data\.download=true"):
        read_celeba(None, aligned=True, prepare=Exact())

    def refused(root: str, **settings: object) -> None:
        raise RuntimeError("Too many users have viewed this file\nrecently")

    monkeypatch.setattr(torchvision.datasets, "CelebA", refused)
    with pytest.raises(BadInput, match=r"CelebA could not be fetched: Too many users have viewed this file. To mend"):
        read_celeba(tmp_path, aligned=True, prepare=Exact(), download=True)
    folder = write_celeba(tmp_path) / "celeba"
    (folder / "img_align_celeba" / "000003.jpg").unlink()
    with pytest.raises(BadInput, match=r"lacks 1 of 6 pictures: 000003\.jpg"):
        read_celeba(tmp_path, aligned=True, prepare=Exact())
    (folder / "img_align_celeba" / "000003.jpg").write_bytes(b"")
    with pytest.raises(BadInput, match=r"1 of 6 pictures .*000003\.jpg cannot be read"):
        read_celeba(tmp_path, aligned=True, prepare=Exact())
    landmarks = (folder / "list_landmarks_align_celeba.txt").read_text()
    (folder / "list_landmarks_align_celeba.txt").write_text(landmarks.replace("000003.jpg", "000007.jpg"))
    with pytest.raises(BadInput, match=r"name different pictures"):
        read_celeba(tmp_path, aligned=True, prepare=Exact())
    (folder / "list_landmarks_align_celeba.txt").write_text(landmarks.replace("154", "x", 1))
    write = Image.fromarray(np.zeros((218, 178, 3), np.uint8))
    write.save(folder / "img_align_celeba" / "000003.jpg")
    with pytest.raises(BadInput, match=r"does not have the numbers it should"):
        read_celeba(tmp_path, aligned=True, prepare=Exact())
