"""CelebA at 64 x 64 (Liu, Luo, Wang & Tang, ICCV 2015), an attribute as the class, from the files that torchvision leaves in a folder.

The aligned images are 178 wide and 218 high; the middle square is resized. Its authors divide it by person: nobody is in two parts. A
person has some twenty images, so an epsilon of neighbours that differ in one image protects an image, not a person.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import BadInput
from .colour_sets import fetch
from .images import ImageData

SIDE = 64
FOLDER = "celeba"  # torchvision's, below the folder that it is given
IMAGES, ATTRIBUTES, PARTS = "img_align_celeba", "list_attr_celeba.txt", "list_eval_partition.txt"
TRAIN, TEST = 0, 2
INSTALL = (
    f"data.root=FOLDER with {FOLDER}/{IMAGES}/*.jpg, {FOLDER}/{ATTRIBUTES} and {FOLDER}/{PARTS}, or data.download=true "
    "(torchvision fetches it with gdown)"
)
ABOUT = (
    "CelebA, the middle square of the aligned images at 64 x 64; its validation part is left out. People have several images each: "
    "neighbours differ in one image, so what is promised protects an image, not a person. "
)


@dataclass(frozen=True)
class CelebaSet:
    """Which images, and what is their class.

    Args:
        attributes: one: the class is whether an image has it (0 or 1). Several: the class is which of them it has, and images that
            have none or more than one are left out.
        about: what the protocol has to say.
    """

    attributes: tuple[str, ...]
    about: str

    @property
    def classes(self) -> int:
        """How many there are."""
        return max(2, len(self.attributes))


CELEBA_SETS: Mapping[str, CelebaSet] = {
    "celeba64": CelebaSet(("Male",), f"{ABOUT}The class is the attribute 'Male' (two classes). "),
    "celeba64_hair": CelebaSet(
        ("Black_Hair", "Blond_Hair", "Brown_Hair"),
        f"{ABOUT}The class is the colour of the hair, black, blond or brown; images with none or more than one of them are left out. ",
    ),
}


def read_celeba(name: str, known: CelebaSet, *, root: str | Path | None, download: bool) -> tuple[ImageData, ImageData]:
    """Return training and test set, images (n, 3, 64, 64) in RGB, from the folder `root` or, if `download`, by torchvision's loader.

    Raises:
        BadInput: files are missing, damaged, or not what they should be.
    """
    missing = _missing(root)
    if missing and download:
        root = Path(root or "data")
        # A missing gdown is a RuntimeError there.
        fetch("CelebA", root, ({"split": "all"},), install=INSTALL)
        missing = _missing(root)
    if missing or root is None:
        raise BadInput(
            f"the files of '{name}' are not there",
            why=f"{root} lacks {', '.join(missing)}" if root else "no folder was given",
            mend=INSTALL,
        )
    folder = _folder(Path(root))
    label_of, part_of = _labels(folder / ATTRIBUTES, known), _parts(folder / PARTS)
    if label_of.keys() - part_of.keys():
        raise BadInput(f"{folder / PARTS} lacks images that {ATTRIBUTES} names", mend=INSTALL)
    found = []
    for part in (TRAIN, TEST):
        files = sorted(file for file, own in part_of.items() if own == part and label_of.get(file, -1) >= 0)
        labels = np.array([label_of[file] for file in files], dtype=np.int64)
        if len(set(labels.tolist())) < known.classes:
            raise BadInput(f"a part of '{name}' has no image of some class", mend=INSTALL)
        found.append(ImageData(_squares(folder / IMAGES, files), labels, known.classes, name))
    return found[0], found[1]


def _labels(path: Path, known: CelebaSet) -> dict[str, int]:
    """Each image's class by its file's name; -1 for those that are left out.

    The list: how many, the attributes' names, a line an image.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        places = [lines[1].split().index(name) for name in known.attributes]
        found = {}
        for line in lines[2:]:
            file, *values = line.split()
            has = [_yes(values[place]) for place in places]
            if len(has) == 1:
                found[file] = int(has[0])
            else:
                found[file] = has.index(True) if sum(has) == 1 else -1
    except (OSError, ValueError, IndexError) as error:
        raise BadInput(
            f"cannot read {path}", why=f"it is no list of CelebA's attributes ({type(error).__name__})", mend=INSTALL
        ) from None
    return found


def _yes(value: str) -> bool:
    if value not in ("1", "-1"):
        raise ValueError("an attribute is neither 1 nor -1")
    return value == "1"


def _parts(path: Path) -> dict[str, int]:
    try:
        pairs = [line.split() for line in path.read_text(encoding="utf-8").splitlines()]
        found = {file: int(part) for file, part in pairs}
    except (OSError, ValueError) as error:
        raise BadInput(
            f"cannot read {path}", why=f"it is no list of images and parts ({type(error).__name__})", mend=INSTALL
        ) from None
    if any(Path(file).name != file for file in found):
        raise BadInput(f"{path} names files outside {IMAGES}", mend=INSTALL)
    return found


def _squares(folder: Path, files: Sequence[str]) -> np.ndarray:
    images = np.empty((len(files), 3, SIDE, SIDE), np.uint8)
    for pixels, file in zip(images, files, strict=True):
        try:
            with Image.open(folder / file, formats=["JPEG", "PNG"]) as image:
                width, height = image.size
                side = min(width, height)
                left, top = (width - side) // 2, (height - side) // 2
                # PIL's filter grows with the factor, so nothing is skipped where an image shrinks.
                small = image.convert("RGB").resize(
                    (SIDE, SIDE), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side)
                )
        except Exception as error:  # Of a damaged image PIL raises whatever it stumbles on.
            raise BadInput(
                f"{folder} lacks an image, or holds one that cannot be read", why=type(error).__name__, mend=INSTALL
            ) from None
        pixels[:] = np.asarray(small).transpose(2, 0, 1)
    return images


def _folder(root: Path) -> Path:
    """Torchvision's place in the folder given, or that folder itself."""
    inside = root / FOLDER
    return inside if inside.is_dir() else root


def _missing(root: str | Path | None) -> list[str]:
    if root is None:
        return [IMAGES, ATTRIBUTES, PARTS]
    folder = _folder(Path(root))
    absent = [] if (folder / IMAGES).is_dir() else [IMAGES]
    return absent + [name for name in (ATTRIBUTES, PARTS) if not (folder / name).is_file()]
