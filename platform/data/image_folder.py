"""Data sets of image files in folders, one folder a class: anybody's own, Tiny-ImageNet, and subsets of ImageNet.

Errors name the folder that an image lies in, not the image: they may travel further than records.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import BadInput
from .images import ImageData

SUFFIXES = {".png", ".jpg", ".jpeg"}
ANNOTATIONS = "val_annotations.txt"
Files = Sequence[tuple[Path, int]]


@dataclass(frozen=True)
class FolderSet:
    """What a folder of images has to hold. A class' number is the place of its folder's name among the sorted names.

    Args:
        origin: where the folder must come from, for the messages.
        about: what the protocol has to say of the images.
        test: the folder beside `train` with the test set.
        classes: the class folders that belong to it; none: all of them.
        count: how many classes there must be, if they are not named.
        side: height and width of the images (pixels); None: those of the first training image.
        crop: take images of any size, the shorter side resized to `side` and the middle cut out.
        published_tiny: Tiny-ImageNet's layout, with a folder `images` below each class, and the test set's classes in a file.
    """

    origin: str
    about: str = ""
    test: str = "test"
    classes: Sequence[str] = ()
    count: int | None = None
    side: int | None = None
    crop: bool = False
    published_tiny: bool = False


def read_folder_set(name: str, known: FolderSet, root: str | Path | None) -> tuple[ImageData, ImageData]:
    """Return training and test set, images (n, 3, height, width) in RGB, from the folder `root`.

    Raises:
        BadInput: folders or images are missing, damaged, of different sizes, or not of the same classes in both sets.
    """
    parts = ["train", known.test]
    missing = [part for part in parts if root is None or not (Path(root) / part).is_dir()]
    if missing or root is None:
        raise BadInput(
            f"the folders of '{name}' are not there",
            why=f"{root} lacks {' and '.join(missing)}" if root else "no folder was given",
            mend=known.origin,
        )
    train, test = (Path(root) / part for part in parts)
    classes = _classes(known, train)
    if known.published_tiny:
        files = [_by_class(train, classes, known, "images"), _annotated(test, classes, known)]
    else:
        if not known.classes and _folders(test) != classes:
            raise BadInput(
                f"{train} and {test} hold different classes",
                why=f"only one of them has {_some(set(classes) ^ set(_folders(test)))}",
                mend="give both a folder for each class, with the same names",
            )
        files = [_by_class(part, classes, known) for part in (train, test)]
    size = (known.side, known.side) if known.side else _opened(files[0][0][0]).size
    both = [
        ImageData(_stacked(part, size, known), np.array([label for _, label in part]), len(classes), name)
        for part in files
    ]
    return both[0], both[1]


def _classes(known: FolderSet, train: Path) -> list[str]:
    found = _folders(train)
    absent = set(known.classes) - set(found)
    if absent:
        raise BadInput(f"{train} lacks the classes {_some(absent)}", mend=known.origin)
    classes = sorted(known.classes) or found
    if len(classes) < 2:
        raise BadInput(
            f"{train} holds {len(classes)} class folders", why="a classifier needs at least two", mend=known.origin
        )
    if known.count and len(classes) != known.count:
        raise BadInput(
            f"{train} holds {len(classes)} class folders", why=f"there are {known.count} classes", mend=known.origin
        )
    return classes


def _folders(part: Path) -> list[str]:
    return sorted(entry.name for entry in part.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _some(names: set[str]) -> str:
    shown = sorted(names)[:3]
    return ", ".join(shown) + (f" and {len(names) - len(shown)} more" if len(names) > len(shown) else "")


def _by_class(part: Path, classes: Sequence[str], known: FolderSet, inside: str = "") -> Files:
    """All images of the classes' folders, class after class, each sorted by name."""
    files: list[tuple[Path, int]] = []
    for label, folder in enumerate(part / name / inside for name in classes):
        entries = sorted(folder.iterdir()) if folder.is_dir() else []
        here = [e for e in entries if e.suffix.lower() in SUFFIXES and not e.name.startswith(".") and e.is_file()]
        if not here:
            raise BadInput(f"{folder} holds no png or jpg images", mend=known.origin)
        files += [(file, label) for file in here]
    return files


def _annotated(part: Path, classes: Sequence[str], known: FolderSet) -> Files:
    """The images that Tiny-ImageNet's list names, sorted by name; a line has the file's name, its class, and a box."""
    source = part / ANNOTATIONS
    try:
        lines = [line.split("\t")[:2] for line in source.read_text(encoding="utf-8").splitlines()]
        label_of = {file: classes.index(name) for file, name in lines}
    except (OSError, ValueError) as error:
        why = f"it is no list of files and their classes ({type(error).__name__})"
        raise BadInput(f"cannot read {source}", why=why, mend=known.origin) from None
    if len(label_of) != len(lines) or set(label_of.values()) != set(range(len(classes))):
        raise BadInput(f"{source} names a file twice, or none of some class", mend=known.origin)
    if any(Path(file).name != file or not (part / "images" / file).is_file() for file in label_of):
        raise BadInput(f"{source} names files that are not in {part / 'images'}", mend=known.origin)
    return [(part / "images" / file, label_of[file]) for file in sorted(label_of)]


def _stacked(files: Files, size: tuple[int, int], known: FolderSet) -> np.ndarray:
    width, height = size
    images = np.empty((len(files), 3, height, width), np.uint8)
    for pixels, (path, _) in zip(images, files, strict=True):
        image = _opened(path)
        if known.crop:
            image = _middle(image, width)
        if image.size != size:
            raise BadInput(
                f"{path.parent} holds an image that is not {width} x {height} pixels (width x height)",
                why=f"all images are of one size, {'this data set has' if known.side else 'the first training image has'} that",
                mend=f"resize all images to {width} x {height}",
            )
        pixels[:] = np.asarray(image).transpose(2, 0, 1)
    return images


def _middle(image: Image.Image, side: int) -> Image.Image:
    from torchvision.transforms.functional import center_crop, resize

    return center_crop(resize(image, side), side)


def _opened(path: Path) -> Image.Image:
    try:
        with Image.open(path, formats=["JPEG", "PNG"]) as image:
            if image.mode.startswith(("I", "F")):
                raise BadInput(
                    f"{path.parent} holds an image of more than 8 bits a colour",
                    why="it would lose what is above 255",
                    mend="convert all images to 8 bits",
                )
            return image.convert("RGB")
    except BadInput:
        raise
    except Exception as error:  # Of a damaged image PIL raises whatever it stumbles on.
        raise BadInput(
            f"{path.parent} holds an image that cannot be read", why=type(error).__name__, mend="replace or remove it"
        ) from None


def _subset(name: str, *classes: str) -> FolderSet:
    return FolderSet(
        "data.root=FOLDER with ImageNet's train/<wnid>/*.JPEG and val/<wnid>/*.JPEG (image-net.org; torchvision's ImageNet sorts "
        f"val into class folders), of which {name} needs {', '.join(classes)}; there is no download",
        about=f"{name}, ten classes of ImageNet, resized and cropped in the middle to 128 x 128; the test set is the folder val. ",
        test="val", classes=classes, side=128, crop=True,
    )  # fmt: skip


FOLDER_SETS = {
    "image_folder": FolderSet("data.root=FOLDER with train/<class>/*.png or *.jpg, and test/<class> with the same classes"),
    "tiny_imagenet": FolderSet(
        "data.root=FOLDER as tiny-imagenet-200.zip unpacks it (cs231n.stanford.edu): train/<wnid>/images/*.JPEG of 200 classes, "
        f"val/images and val/{ANNOTATIONS}; there is no download",
        about="The test set is Tiny-ImageNet's validation set, since its test set has no public labels. ",
        test="val", count=200, side=64, published_tiny=True,
    ),
    "imagenette": _subset(
        "Imagenette", "n01440764", "n02102040", "n02979186", "n03000684", "n03028079", "n03394916", "n03417042", "n03425413",
        "n03445777", "n03888257",
    ),
    "imagewoof": _subset(
        "Imagewoof", "n02086240", "n02087394", "n02088364", "n02089973", "n02093754", "n02096294", "n02099601", "n02105641",
        "n02111889", "n02115641",
    ),
    "imagemeow": _subset(
        "ImageMeow", "n02123045", "n02123159", "n02123394", "n02123597", "n02124075", "n02127052", "n02128757", "n02128925",
        "n02129165", "n02129604",
    ),
    "imagesquawk": _subset(
        "ImageSquawk", "n01518878", "n01614925", "n01806143", "n01818515", "n01819313", "n01843383", "n01860187", "n02007558",
        "n02051845", "n02056570",
    ),
    # Published code disagrees on one class of each of these two; they are DANCE's.
    "imagefruit": _subset(
        "ImageFruit (DANCE's ten classes)", "n07753275", "n07753592", "n07745940", "n07747607", "n07749582", "n07768694",
        "n07753113", "n07720875", "n07718472", "n07760859",
    ),
    "imageyellow": _subset(
        "ImageYellow (DANCE's ten classes)", "n02206856", "n12057211", "n07753592", "n07749582", "n12144580", "n04146614",
        "n03530642", "n02129165", "n01773797", "n01531178",
    ),
}  # fmt: skip
