"""Folders of images, Tiny-ImageNet's and ImageNet's layouts, from small files: read, split by a key, or refused with a way out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from stillhouse.platform.data import sources
from stillhouse.platform.data.image_folder import FOLDER_SETS
from stillhouse.platform.errors import BadInput

SUBSETS = ["imagenette", "imagewoof", "imagemeow", "imagesquawk", "imagefruit", "imageyellow"]


def save(path: Path, colour: Any, size: tuple[int, int] = (6, 4), mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three classes; 2 training and 10 test images each, of which the red value is 100 x class + number."""
    for label, name in enumerate(["ape", "bee", "cat"]):
        for part, n in (("train", 2), ("test", 10)):
            for i in range(n):
                save(tmp_path / part / name / f"{i}.png", (100 * label + i, 1, 2))
    return tmp_path


def test_classes_are_numbered_by_name_and_images_read_in_rgb(folder: Path) -> None:
    source = sources.load("image_folder", root=folder)
    assert source.private.shape == (3, 4, 6) and source.private.classes == 3
    assert source.private.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert source.private.images[:, :, 3, 5].tolist() == [[100 * k + i, 1, 2] for k in range(3) for i in range(2)]
    assert source.private.images.flags.c_contiguous and source.private.images.flags.writeable


def test_pool_and_score_are_disjoint_keyed_parts_of_the_test_set(folder: Path) -> None:
    source = sources.load("image_folder", root=folder)
    assert (len(source.pool), len(source.score)) == (27, 3)
    seen = np.concatenate([source.pool.images, source.score.images])[:, 0, 0, 0]
    assert sorted(seen.tolist()) == [100 * k + i for k in range(3) for i in range(10)]
    assert (np.concatenate([source.pool.labels, source.score.labels]) == seen // 100).all()
    # By position the score set would be the last class alone.
    assert len(set(source.score.labels.tolist())) > 1
    assert "27 of the 30 test images" in source.protocol and "the other 3." in source.protocol
    again = sources.load("image_folder", root=folder)
    assert again.score.content_hash() == source.score.content_hash()
    assert len(sources.whole_test_set(source).score) == 30


def test_the_order_looks_at_record_numbers_only(folder: Path) -> None:
    before = sources.load("image_folder", root=folder).score.labels.tolist()
    for file in folder.rglob("test/*/*.png"):
        save(file, (9, 9, 9))
    assert sources.load("image_folder", root=folder).score.labels.tolist() == before


def test_all_kinds_of_8_bit_images_are_taken_and_other_files_left(folder: Path) -> None:
    cat = folder / "train" / "cat"
    save(cat / "2.JPG", (200, 200, 200))
    save(cat / "3.jpeg", 50, mode="L")
    save(cat / "4.png", (7, 8, 9, 128), mode="RGBA")
    (cat / "._0.png").write_bytes(b"what macOS leaves")
    (cat / "notes.txt").write_text("not an image")
    (folder / "train" / ".cache").mkdir()
    private = sources.load("image_folder", root=folder).private
    assert private.images[4:, :, 0, 0].tolist() == [[200, 1, 2], [201, 1, 2], [200] * 3, [50] * 3, [7, 8, 9]]


def test_other_sizes_are_refused_with_the_size_to_resize_to(folder: Path) -> None:
    save(folder / "test" / "bee" / "secret.png", (1, 2, 3), size=(4, 6))
    with pytest.raises(BadInput, match=r"test/bee holds .* not 6 x 4 pixels.*resize all images to 6 x 4") as caught:
        sources.load("image_folder", root=folder)
    assert "secret" not in str(caught.value)


def damaged(raw: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / "train" / "bee" / "secret.png").write_bytes(raw) and None


def deep(folder: Path) -> None:
    save(folder / "train" / "bee" / "secret.png", 1000, mode="I;16")


def cut(folder: Path) -> None:
    rng = np.random.default_rng(0)
    path = folder / "train" / "bee" / "secret.jpg"
    Image.fromarray(rng.integers(0, 256, (4, 6, 3), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:-40])


def gif(folder: Path) -> None:
    save(folder / "other.gif", 1, mode="P")
    (folder / "other.gif").rename(folder / "train" / "bee" / "secret.png")


@pytest.mark.parametrize("damage", [damaged(b""), damaged(b"<html>"), damaged(b"\x89PNG\r\n\x1a\n"), deep, cut, gif])
def test_the_folder_of_a_damaged_image_is_named_and_not_the_image(folder: Path, damage: Callable[[Path], None]) -> None:
    damage(folder)
    with pytest.raises(BadInput, match=r"train/bee holds an image .*To mend it") as caught:
        sources.load("image_folder", root=folder)
    assert "secret" not in str(caught.value)


def test_both_parts_need_the_same_classes(folder: Path) -> None:
    save(folder / "test" / "dog" / "0.png", (0, 0, 0))
    with pytest.raises(BadInput, match="different classes: only one of them has dog"):
        sources.load("image_folder", root=folder)
    (folder / "train" / "dog").mkdir()
    with pytest.raises(BadInput, match="train/dog holds no png or jpg images"):
        sources.load("image_folder", root=folder)


def test_a_folder_with_one_class_or_none_is_refused(tmp_path: Path) -> None:
    for part in ("train", "test"):
        (tmp_path / part).mkdir()
    with pytest.raises(BadInput, match="holds 0 class folders: a classifier needs at least two"):
        sources.load("image_folder", root=tmp_path)
    for part in ("train", "test"):
        save(tmp_path / part / "ape" / "0.png", (0, 0, 0))
    with pytest.raises(BadInput, match="holds 1 class folders"):
        sources.load("image_folder", root=tmp_path)


@pytest.mark.parametrize("name", FOLDER_SETS)
def test_missing_folders_say_where_they_come_from(name: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"no folder was given.*data\.root=FOLDER"):
        sources.load(name, download=True)
    (tmp_path / "train").mkdir()
    with pytest.raises(BadInput, match=rf"lacks {FOLDER_SETS[name].test}\. To mend it: data\.root=FOLDER"):
        sources.load(name, root=tmp_path)
    assert name == "image_folder" or "no download" in FOLDER_SETS[name].origin


TINY = ["n01443537", "n01629819", "n01641577"]


def annotate(root: Path, lines: list[str]) -> None:
    (root / "val" / "val_annotations.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def tiny_lines() -> list[str]:
    return [f"val_{i}.JPEG\t{TINY[i * 2 % 3]}\t0\t32\t44\t62" for i in range(10)]


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(FOLDER_SETS, "tiny_imagenet", replace(FOLDER_SETS["tiny_imagenet"], count=3))
    for label, name in enumerate(TINY):
        for i in range(2):
            save(tmp_path / "train" / name / "images" / f"{name}_{i}.JPEG", 80 * label + i, (64, 64), "L")
        (tmp_path / "train" / name / f"{name}_boxes.txt").write_text("")
    for i in range(10):
        save(tmp_path / "val" / "images" / f"val_{i}.JPEG", (20 * i,) * 3, (64, 64))
    annotate(tmp_path, tiny_lines())
    return tmp_path


def test_tiny_imagenet_is_read_as_published(tiny: Path) -> None:
    source = sources.load("tiny_imagenet", root=tiny)
    assert source.private.shape == (3, 64, 64) and source.private.classes == 3
    assert source.private.images[:, 2, 9, 9].tolist() == [0, 1, 80, 81, 160, 161]
    assert source.private.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert (len(source.pool), len(source.score)) == (9, 1)
    whole = sources.whole_test_set(source)
    number = whole.score.images[:, 0, 0, 0] // 20
    assert sorted(number.tolist()) == [*range(10)]
    assert whole.score.labels.tolist() == [int(i) * 2 % 3 for i in number]
    assert "validation set" in source.protocol and "validation set" in whole.protocol


@pytest.mark.parametrize(
    "lines",
    [
        [],
        ["val_0.JPEG"],
        ["val_0.JPEG\tn00000000\t0"],
        [*tiny_lines(), tiny_lines()[0]],
        [line for line in tiny_lines() if TINY[2] not in line],
        [*tiny_lines(), f"val_10.JPEG\t{TINY[0]}"],
        [*tiny_lines(), f"../images/val_1.JPEG\t{TINY[0]}"],
    ],
)
def test_a_damaged_list_of_tiny_imagenet_is_named(tiny: Path, lines: list[str]) -> None:
    annotate(tiny, lines)
    with pytest.raises(
        BadInput, match=r"val_annotations\.txt.*To mend it: data\.root=FOLDER as tiny-imagenet-200\.zip"
    ):
        sources.load("tiny_imagenet", root=tiny)


def test_tiny_imagenet_has_all_its_classes_and_64_pixels(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tiny / "val" / "val_annotations.txt").unlink()
    with pytest.raises(BadInput, match=r"cannot read .*val_annotations\.txt"):
        sources.load("tiny_imagenet", root=tiny)
    annotate(tiny, tiny_lines())
    save(tiny / "val" / "images" / "val_3.JPEG", (0, 0, 0), (65, 64))
    with pytest.raises(BadInput, match=r"not 64 x 64 pixels.*this data set has"):
        sources.load("tiny_imagenet", root=tiny)
    monkeypatch.setitem(FOLDER_SETS, "tiny_imagenet", replace(FOLDER_SETS["tiny_imagenet"], count=200))
    with pytest.raises(BadInput, match="holds 3 class folders: there are 200 classes"):
        sources.load("tiny_imagenet", root=tiny)


def imagenet(root: Path, classes: list[str], size: tuple[int, int] = (200, 150)) -> None:
    for label, name in enumerate(classes):
        for part, n in (("train", 1), ("val", 2)):
            for i in range(n):
                save(root / part / name / f"{name}_{i}.JPEG", (20 * label, 0, 0), size)


@pytest.mark.parametrize("name", SUBSETS)
def test_a_subset_takes_its_ten_classes_out_of_imagenet(name: str, tmp_path: Path) -> None:
    classes = sorted(FOLDER_SETS[name].classes)
    imagenet(tmp_path, classes)
    save(tmp_path / "train" / "n00000001" / "0.JPEG", (0, 0, 0))  # a class of ImageNet outside the subset
    source = sources.load(name, root=tmp_path)
    assert source.private.shape == (3, 128, 128) and source.private.classes == 10
    assert source.private.labels.tolist() == [*range(10)]
    assert np.abs(source.private.images[:, 0, 64, 64].astype(int) - 20 * np.arange(10)).max() <= 3
    assert (len(source.pool), len(source.score)) == (18, 2)
    assert "128 x 128" in source.protocol and "128 x 128" in sources.whole_test_set(source).protocol


@pytest.mark.parametrize("name", SUBSETS)
def test_a_subset_has_ten_classes(name: str) -> None:
    classes = FOLDER_SETS[name].classes
    assert len(classes) == len(set(classes)) == 10
    assert all(len(wnid) == 9 and wnid[0] == "n" and wnid[1:].isdigit() for wnid in classes)


@pytest.mark.parametrize("size", [(256, 512), (512, 256)])
def test_the_shorter_side_is_resized_and_the_middle_cut_out(tmp_path: Path, size: tuple[int, int]) -> None:
    imagenet(tmp_path, list(FOLDER_SETS["imagenette"].classes), size)
    # Half as large it is 128 x 256: of the longer side 64 pixels fall off at either end.
    ramp = np.minimum(np.arange(512) // 2, 255).astype(np.uint8)
    pixels = np.broadcast_to(ramp[:, None], (512, 256))
    image = Image.fromarray(pixels if size == (256, 512) else pixels.T)
    image.save(tmp_path / "train" / "n01440764" / "n01440764_0.JPEG", quality=100)
    found = sources.load("imagenette", root=tmp_path).private.images[0, 0].astype(int)
    along = found[:, 64] if size == (256, 512) else found[64]
    assert np.abs(along - np.arange(64, 192)).max() <= 3


def test_a_subset_says_which_classes_are_missing(tmp_path: Path) -> None:
    classes = list(FOLDER_SETS["imagenette"].classes)
    imagenet(tmp_path, classes[:6])
    with pytest.raises(BadInput, match=r"lacks the classes n03417042, n03425413, n03445777 and 1 more.*image-net\.org"):
        sources.load("imagenette", root=tmp_path)
    imagenet(tmp_path, classes)
    for file in (tmp_path / "val" / classes[3]).iterdir():
        file.unlink()
    with pytest.raises(BadInput, match=rf"val/{classes[3]} holds no png or jpg images.*sorts val into class folders"):
        sources.load("imagenette", root=tmp_path)
