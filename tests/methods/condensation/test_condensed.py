"""A condensed set in a file, and in a picture."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from stillhouse.methods.condensation.condensed import CondensedSet, grid
from stillhouse.methods.condensation.formation import decode
from stillhouse.methods.condensation.standard import Standard
from stillhouse.platform.errors import BadInput


def stored(factor: int = 2) -> CondensedSet:
    images = torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    standard = Standard((0.1, 0.2, 0.3), (0.4, 0.5, 1 / 3))
    return CondensedSet(images, torch.tensor([0, 0, 1, 1, 2, 2]), factor, standard, ("cat", "dog", "Füchslein"))


def test_what_is_written_is_read(tmp_path: Path) -> None:
    own = stored()
    own.write(tmp_path / "set.safetensors")
    found = CondensedSet.read(tmp_path / "set.safetensors")
    assert torch.equal(found.images, own.images)
    assert torch.equal(found.labels, own.labels)
    assert (found.factor, found.standard, found.classes) == (own.factor, own.standard, own.classes)


def test_parts_of_larger_tensors_are_written_as_they_are(tmp_path: Path) -> None:
    whole = torch.rand(8, 8, 5, 1)
    own = CondensedSet(whole.permute(2, 3, 0, 1)[::2], torch.arange(6)[::2], 1, Standard.constant(1))
    own.write(tmp_path / "set.safetensors")
    assert torch.equal(CondensedSet.read(tmp_path / "set.safetensors").images, own.images)


@pytest.mark.parametrize("factor", [1, 2])
def test_decoded_images_and_the_data_set(factor: int) -> None:
    own = stored(factor)
    images, labels = own.decoded()
    assert images.shape == (6 * factor**2, 3, 8, 8)
    assert torch.equal(images, decode(own.images, factor))
    assert labels.tolist() == [0, 0, 1, 1, 2, 2] * factor**2
    assert labels.dtype == torch.int64
    data = own.dataset()
    assert len(data) == 6 * factor**2
    pixels, label = data[3]
    assert pixels.shape == (3, 8, 8)
    assert label == 1
    torch.testing.assert_close(pixels, own.standard(images[3:4])[0])


def test_files_that_are_no_condensed_set_are_refused(tmp_path: Path) -> None:
    about = {"factor": 1, "standard": {"mean": [0.5], "deviation": [0.2]}, "classes": []}
    images, labels = torch.rand(1, 1, 4, 4), torch.zeros(1, dtype=torch.long)
    foreign = {
        "missing": None, "folder": None, "text": None, "cut": None,
        "untold": ({"images": images, "labels": labels}, None),
        "other": ({"images": images, "labels": labels}, {"condensed": "no JSON"}),
        "list": ({"images": images, "labels": labels}, {"condensed": "[]"}),
        "no labels": ({"images": images}, {"condensed": json.dumps(about)}),
        "no factor": ({"images": images, "labels": labels}, {"condensed": json.dumps({**about, "factor": None})}),
    }  # fmt: skip
    (tmp_path / "folder").mkdir()
    (tmp_path / "text").write_text("images and labels")
    stored().write(tmp_path / "cut")
    (tmp_path / "cut").write_bytes((tmp_path / "cut").read_bytes()[:-100])
    for name, content in foreign.items():
        if content is not None:
            save_file(content[0], tmp_path / name, metadata=content[1])
        with pytest.raises(BadInput, match=f"{name} is not a condensed set"):
            CondensedSet.read(tmp_path / name)


def test_the_picture_shows_each_image_at_its_place() -> None:
    images = torch.stack([torch.full((1, 3, 4), value / 10) for value in range(5)])
    picture = grid(images, rows=2, margin=1)
    assert picture.shape == (1, 2 * 4 + 1, 3 * 5 + 1)
    expected = torch.ones(1, 9, 16)
    for number in range(5):
        top, left = 1 + 4 * (number // 3), 1 + 5 * (number % 3)
        expected[:, top : top + 3, left : left + 4] = number / 10
    assert torch.equal(picture, expected)


def test_one_row_a_class() -> None:
    stored_images = stored().images
    picture = grid(stored_images, rows=3)
    assert picture.shape == (3, 3 * 10 + 2, 2 * 10 + 2)
    assert torch.equal(picture[:, 12:20, 2:10], stored_images[2])  # the first image of the second class
    assert (picture[:, :2] == 1).all()
