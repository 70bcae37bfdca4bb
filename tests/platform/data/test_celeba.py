"""CelebA's files in their published layout, with generated pictures: cut, labelled, divided, refused where damaged, fetched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torchvision
from PIL import Image
from stillhouse.cluster.config.compose import compose
from stillhouse.platform.data import sources
from stillhouse.platform.data.celeba import ATTRIBUTES, IMAGES, PARTS
from stillhouse.platform.errors import BadInput

NAMES = ["Bald", "Black_Hair", "Blond_Hair", "Brown_Hair", "Male", "Young"]
COUNT = 40


def parts_of(number: int) -> int:
    return (0, 0, 1, 2)[number % 4]


def attributes_of(number: int) -> list[int]:
    """Male for every third; hair: none, black, blond, brown, black and brown, in turn."""
    hair = [(), (0,), (1,), (2,), (0, 2)][number % 5]
    return [-1, *(1 if k in hair else -1 for k in range(3)), 1 if number % 3 == 0 else -1, 1]


def write_layout(folder: Path) -> None:
    """178 x 218 pictures whose middle square is one colour, the image's number; what lies above and below is white."""
    (folder / IMAGES).mkdir(parents=True)
    lines, parts = [str(COUNT), " ".join(NAMES) + " "], []
    for number in range(COUNT):
        file = f"{number + 1:06d}.jpg"
        pixels = np.full((218, 178, 3), 255, np.uint8)
        pixels[20:198] = (5 * number, 200 - 5 * number, 7)
        Image.fromarray(pixels).save(folder / IMAGES / file, quality=95, subsampling=0)
        lines.append(f"{file} " + " ".join(f"{value:2d}" for value in attributes_of(number)))
        parts.append(f"{file} {parts_of(number)}")
    (folder / ATTRIBUTES).write_text("\n".join(lines) + "\n")
    (folder / PARTS).write_text("\n".join(parts) + "\n")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_layout(tmp_path / "celeba")
    return tmp_path


def test_an_attribute_is_the_class_and_the_middle_square_the_image(root: Path) -> None:
    source = sources.load("celeba64", root=root)
    private = [number for number in range(COUNT) if parts_of(number) == 0]
    test = [number for number in range(COUNT) if parts_of(number) == 2]
    assert source.private.images.shape == (len(private), 3, 64, 64)
    assert (
        source.private.labels.tolist() == [int(number % 3 == 0) for number in private] and source.private.classes == 2
    )
    for image, number in zip(source.private.images, private, strict=True):
        # Nothing of the white stripes is in it, up to JPEG's rounding and its blurring at the border.
        inner = image[:, 3:-3].astype(int)
        assert np.abs(inner - np.array([5 * number, 200 - 5 * number, 7])[:, None, None]).max() <= 6
    assert (len(source.pool), len(source.score)) == (9, 1)
    together = np.concatenate([source.pool.labels, source.score.labels])
    assert together.tolist() == [int(number % 3 == 0) for number in test]
    assert "not a person" in source.protocol and source.about in sources.whole_test_set(source).protocol
    inside = sources.load("celeba64", root=root / "celeba")
    assert inside.content_hash() == source.content_hash()


def test_of_several_attributes_an_image_has_one_or_is_left_out(root: Path) -> None:
    source = sources.load("celeba64_hair", root=root)
    kept = [number for number in range(COUNT) if parts_of(number) == 0 and number % 5 in (1, 2, 3)]
    assert source.private.labels.tolist() == [number % 5 - 1 for number in kept] and source.private.classes == 3
    assert [round(float(image[0, 32, 32]) / 5) for image in source.private.images] == kept


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda f: (f / ATTRIBUTES).unlink(), "lacks list_attr"),
        (lambda f: (f / ATTRIBUTES).write_text("3\nBald Young\n"), "no list of CelebA's attributes"),
        (lambda f: (f / ATTRIBUTES).write_text((f / ATTRIBUTES).read_text().replace(" 1", " 2")), "no list of CelebA's"),
        (lambda f: (f / PARTS).write_text("000001.jpg\n"), "no list of images and parts"),
        (lambda f: (f / PARTS).write_text("../up.jpg 0\n" + (f / PARTS).read_text()), "outside"),
        (lambda f: (f / PARTS).write_text("000001.jpg 0\n"), "lacks images"),
        (lambda f: (f / PARTS).write_text((f / PARTS).read_text().replace(" 2\n", " 1\n")), "no image of some class"),
        (lambda f: (f / IMAGES / "000001.jpg").write_bytes(b"no picture"), "cannot be read"),
        (lambda f: (f / IMAGES / "000005.jpg").unlink(), "lacks an image"),
    ],
)  # fmt: skip
def test_what_is_damaged_is_refused(root: Path, damage: Any, says: str) -> None:
    damage(root / "celeba")
    with pytest.raises(BadInput, match=says):
        sources.load("celeba64", root=root)


def test_only_a_download_asks_torchvision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, dict[str, Any]]] = []

    def fetch(root: str, **options: Any) -> None:
        asked.append((root, options))
        write_layout(Path(root) / "celeba")

    monkeypatch.setattr(torchvision.datasets, "CelebA", fetch)
    with pytest.raises(BadInput, match=r"data\.download=true"):
        sources.load("celeba64", root=tmp_path)
    assert not asked
    assert len(sources.load("celeba64", root=tmp_path, download=True).private) == COUNT // 2
    assert asked == [(str(tmp_path), {"split": "all", "download": True})]
    sources.load("celeba64", root=tmp_path, download=True)
    assert len(asked) == 1, "what is there is not fetched again"

    def offline(root: str, **options: Any) -> None:
        raise RuntimeError("to download from a drive, gdown is needed\nmore")

    monkeypatch.setattr(torchvision.datasets, "CelebA", offline)
    with pytest.raises(BadInput, match="could not be downloaded: to download from a drive, gdown is needed"):
        sources.load("celeba64", root=tmp_path / "other", download=True)


@pytest.mark.parametrize("data", ["celeba64", "celeba64_hair"])
def test_the_paper_s_scale_composes(data: str) -> None:
    words = [
        f"data={data}",
        "data.root=nowhere",
        "method=dpsad_celeba_paper",
        "silos=diffusion",
        "silos.teacher.network=unet",
    ]
    resolved = compose(words)
    assert resolved.method.student.multipliers == (1, 2, 2, 4) and resolved.method.queries == 5000
    assert resolved.config.privacy.target_delta == 1e-6 and resolved.config.silos.teachers == 250
