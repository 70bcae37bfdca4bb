"""Exports of a condensed set say what it says: arrays, pictures and the shipped loader agree with `CondensedSet`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from stillhouse.methods.condensation.condensed import FILE, CondensedSet, grid
from stillhouse.methods.condensation.export import class_folders, export, formats_of, read_checked
from stillhouse.methods.condensation.standard import Standard
from stillhouse.platform.errors import BadInput

DUMP = """
import sys
sys.path.insert(0, sys.argv[1])
import numpy, load
images, labels = load.load().tensors
assert "stillhouse" not in sys.modules
numpy.savez(sys.argv[2], images=images.numpy(), labels=labels.numpy())
"""


def condensed(
    factor: int = 2,
    *,
    channels: int = 1,
    side: int = 28,
    labels: tuple[int, ...] = (0, 0, 1, 1, 2, 2),
    classes: tuple = (),
) -> CondensedSet:
    images = torch.rand(len(labels), channels, side, side, generator=torch.Generator().manual_seed(1))
    standard = Standard(
        tuple(0.286 + 0.1 * c for c in range(channels)), tuple(0.353 + 0.1 * c for c in range(channels))
    )
    return CondensedSet(images, torch.tensor(labels), factor, standard, classes)


def exported(tmp_path: Path, stored: CondensedSet, *formats: str, decoded: bool = False) -> Path:
    stored.write(tmp_path / FILE)
    (tmp_path / "out").mkdir()
    checked = read_checked(tmp_path / FILE)
    export(checked, tmp_path / FILE, tmp_path / "out", formats, decoded=decoded, told=["Privacy: none"])
    return tmp_path / "out"


def rounded(images: torch.Tensor) -> np.ndarray:
    return np.rint(images.numpy() * 255).astype(np.uint8)


@pytest.mark.parametrize(("factor", "channels"), [(1, 1), (2, 3), (3, 1)])
def test_the_loader_gives_the_sets_own_dataset(tmp_path: Path, factor: int, channels: int) -> None:
    stored = condensed(factor, channels=channels)
    out = exported(tmp_path, stored, "npz")
    command = [sys.executable, "-I", "-c", DUMP, str(out), str(tmp_path / "found.npz")]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    with np.load(tmp_path / "found.npz") as found:
        images, labels = torch.from_numpy(found["images"]), torch.from_numpy(found["labels"])
    wanted, wanted_labels = stored.dataset().tensors
    assert labels.dtype == torch.int64 and torch.equal(labels, wanted_labels)
    assert images.dtype == torch.float32 and images.shape == wanted.shape
    # Rounding moves a pixel by half a step at most, and enlarging only takes means of pixels.
    assert (images - wanted).abs().max() <= 0.501 / 255 / min(stored.standard.deviation)
    # Of pixels that are already rounded it is the same to the bit.
    whole = CondensedSet(torch.from_numpy(rounded(stored.images)).float() / 255, stored.labels, factor, stored.standard)
    assert torch.equal(images, whole.dataset().tensors[0])


def test_the_loader_runs_as_a_script(tmp_path: Path) -> None:
    out = exported(tmp_path, condensed(), "npz")
    done = subprocess.run([sys.executable, out / "load.py"], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert done.stdout == "24 training images of shape (1, 28, 28), 3 classes\n"


@pytest.mark.parametrize("decoded", [False, True])
def test_arrays(tmp_path: Path, decoded: bool) -> None:
    stored = condensed(channels=3)
    with np.load(exported(tmp_path, stored, "npz", decoded=decoded) / "condensed.npz", allow_pickle=False) as held:
        arrays = dict(held)
    assert arrays["images"].dtype == np.uint8 and np.array_equal(arrays["images"], rounded(stored.images))
    assert arrays["labels"].dtype == np.int64 and arrays["labels"].tolist() == [0, 0, 1, 1, 2, 2]
    assert arrays["factor"] == 2
    assert Standard(tuple(arrays["mean"]), tuple(arrays["deviation"])) == stored.standard
    assert ("decoded" in arrays) == ("decoded_labels" in arrays) == decoded
    if decoded:
        images, labels = stored.decoded()
        assert np.array_equal(arrays["decoded"], rounded(images))
        assert arrays["decoded_labels"].tolist() == labels.tolist()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("decoded", [False, True])
def test_one_file_an_image(tmp_path: Path, channels: int, decoded: bool) -> None:
    stored = condensed(channels=channels, labels=(0, 1, 10))
    out = exported(tmp_path, stored, "images", decoded=decoded)
    images, labels = stored.decoded() if decoded else (stored.images, stored.labels)
    digits = len(str(len(images) - 1))
    for number, (pixels, label) in enumerate(zip(rounded(images), labels.tolist(), strict=True)):
        with Image.open(out / "images" / f"{label:02}" / f"{number:0{digits}}.png") as picture:
            found = np.asarray(picture)
        assert np.array_equal(found, pixels[0] if channels == 1 else pixels.transpose(1, 2, 0))
    assert len(list(out.rglob("*.png"))) == len(images)


def test_the_grid_has_a_row_for_each_class(tmp_path: Path) -> None:
    stored = condensed(labels=(2, 0, 2, 2), side=8)
    with Image.open(exported(tmp_path, stored, "grid") / "grid.png") as picture:
        found = np.asarray(picture)
    white = torch.ones(1, 8, 8)
    images = stored.images
    wanted = grid(torch.stack([images[1], white, white, images[0], images[2], images[3]]), rows=2)
    assert np.array_equal(found, rounded(wanted)[0])


def test_safetensors_are_the_runs_own(tmp_path: Path) -> None:
    stored = condensed(classes=("a", "b", "c"))
    out = exported(tmp_path, stored, "torch")
    assert (out / FILE).read_bytes() == (tmp_path / FILE).read_bytes()
    assert torch.equal(CondensedSet.read(out / FILE).images, stored.images)
    assert {f.name for f in out.iterdir()} == {FILE, "README.txt"}


def test_the_readme_says_how_to_read_the_set(tmp_path: Path) -> None:
    text = (exported(tmp_path, condensed(3, classes=("T-shirt/top", "bag", "boot")), "npz") / "README.txt").read_text()
    assert "6 stored images of 28 x 28 pixels, 1 channel, 3 classes." in text
    assert "Labels: 0 T-shirt/top, 1 bag, 2 boot." in text and "\nPrivacy: none\n" in text
    assert "mean (0.286)" in text and "deviation (0.353)" in text and "load.py" in text
    assert "pad with 0.5 (of 0 .. 1) at the bottom and the right to 30 x 30" in " ".join(text.split())


def test_the_readme_names_only_files_that_are_there(tmp_path: Path) -> None:
    text = (exported(tmp_path, condensed(1), "grid") / "README.txt").read_text()
    assert "grid.png" in text and "npz" not in text and "load.py" not in text and "images/" not in text
    assert "the stored images are the training images" in text


@pytest.mark.parametrize(
    ("classes", "folders"),
    [
        ((), ["0", "1", "2"]),
        (("cat", "dog/wolf", "été 2"), ["cat", "dog_wolf", "été_2"]),
        (("Cat", "cat", "dog"), ["0-Cat", "1-cat", "2-dog"]),
        (("../..", "dog", "."), ["0", "1-dog", "2"]),
        (("nul", "dog", "fox"), ["0-nul", "1-dog", "2-fox"]),
        (("cat",), ["0-cat", "1", "2"]),
    ],
)
def test_folders_of_classes_are_names_that_files_can_have(classes: tuple[str, ...], folders: list[str]) -> None:
    assert list(class_folders([0, 1, 2], classes).values()) == folders


def test_a_set_with_other_channels_has_no_pictures() -> None:
    assert formats_of(condensed(channels=3)) == ("npz", "images", "grid", "torch")
    assert formats_of(condensed(channels=2)) == ("npz", "torch")


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        ({"images": torch.full((6, 1, 28, 28), float("nan"))}, "outside 0 .. 1"),
        ({"images": torch.full((6, 1, 28, 28), 1.5)}, "outside 0 .. 1"),
        ({"images": torch.zeros(6, 1, 28, 28, dtype=torch.uint8)}, "not floating point"),
        ({"images": torch.zeros(6, 28, 28)}, "not floating point"),
        ({"images": torch.zeros(0, 1, 28, 28), "labels": torch.zeros(0, dtype=torch.int64)}, "not floating point"),
        ({"labels": torch.tensor([0, 1])}, "one number from 0 up"),
        ({"labels": torch.tensor([0, 0, 1, 1, 2, -1])}, "one number from 0 up"),
        ({"standard": Standard.constant(3)}, "does not fit 1 channels"),
        ({"standard": Standard((0.5,), (0.0,))}, "does not fit 1 channels"),
        ({"factor": 29}, "less than a pixel"),
    ],
)
def test_sets_whose_parts_do_not_fit_are_refused(tmp_path: Path, change: dict, hint: str) -> None:
    CondensedSet(**{**vars(condensed()), **change}).write(tmp_path / FILE)
    with pytest.raises(BadInput, match=hint):
        read_checked(tmp_path / FILE)


def test_a_missing_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="not a condensed set"):
        read_checked(tmp_path / FILE)
