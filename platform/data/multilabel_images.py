"""Pascal VOC and COCO as multi-label images: an image has a label if one object of that class is marked in it, difficult ones too.

All images are resized to one square (bilinear), without regard to their proportions, as the published protocols score them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from ..errors import BadInput

VOC_CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog", "horse", "motorbike",
    "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
VOC_INSTALL = (
    "data.root=FOLDER with VOCdevkit/VOC2007 (trainval and test) and, for voc2012, VOCdevkit/VOC2012, as the archives of "
    "host.robots.ox.ac.uk/pascal/VOC unpack; there is no download"
)
COCO_INSTALL = (
    "data.root=FOLDER with train2014/, val2014/ and annotations/instances_{train,val}2014.json (cocodataset.org), the layout that "
    "torchvision's CocoDetection reads; there is no download"
)


def read_voc(root: Path, year: str, part: str, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, 3, side, side) uint8 and labels (n, 20) of one part of one year.

    Raises:
        BadInput: files are missing or damaged.
    """
    from torchvision.datasets import VOCDetection

    try:
        found = VOCDetection(str(root), year=year, image_set=part, download=False)
    except (RuntimeError, OSError, ValueError):
        raise BadInput(
            f"VOC{year} {part} is not there", why=f"torchvision does not find it in {root}", mend=VOC_INSTALL
        ) from None
    labels = np.zeros((len(found), len(VOC_CLASSES)), np.uint8)
    for row, annotation in zip(labels, found.annotations, strict=True):
        row[_voc_objects(Path(annotation))] = 1
    return _squares(found.images, side, root), labels


def read_coco(root: Path, part: str, side: int) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Images (n, 3, side, side) uint8, labels (n, q), class names of `part` ("train2014"); images without an object are left out.

    Raises:
        BadInput: files are missing or damaged.
    """
    source = root / "annotations" / f"instances_{part}.json"
    if not source.is_file() or not (root / part).is_dir():
        raise BadInput(f"COCO {part} is not there", why=f"{root} lacks {source.name} or {part}", mend=COCO_INSTALL)
    try:
        told = json.loads(source.read_text(encoding="utf-8"))
        classes = sorted(told["categories"], key=lambda entry: entry["id"])
        place = {entry["id"]: column for column, entry in enumerate(classes)}
        present: dict[int, set[int]] = {}
        for entry in told["annotations"]:
            present.setdefault(entry["image_id"], set()).add(place[entry["category_id"]])
        file_of = {entry["id"]: str(entry["file_name"]) for entry in told["images"]}
        kept = sorted(present)
        files = [root / part / file_of[image] for image in kept]
    except (UnicodeDecodeError, ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{source} is no list of objects", why=type(error).__name__, mend=COCO_INSTALL) from None
    labels = np.zeros((len(kept), len(classes)), np.uint8)
    for row, image in zip(labels, kept, strict=True):
        row[list(present[image])] = 1
    return _squares(files, side, root / part), labels, tuple(str(entry["name"]) for entry in classes)


def _voc_objects(annotation: Path) -> list[int]:
    try:
        names = [item.findtext("name") for item in ElementTree.parse(str(annotation)).iter("object")]
        return [VOC_CLASSES.index(str(name)) for name in names]
    except (OSError, ValueError, ElementTree.ParseError) as error:
        raise BadInput(
            f"{annotation.parent} holds an annotation that cannot be read", why=type(error).__name__, mend=VOC_INSTALL
        ) from None


def _squares(files: Sequence[str | Path], side: int, where: Path) -> np.ndarray:
    paths = [Path(file) for file in files]
    images = np.empty((len(paths), 3, side, side), np.uint8)
    for pixels, path in zip(images, paths, strict=True):
        try:
            with Image.open(path, formats=["JPEG", "PNG"]) as image:
                small = image.convert("RGB").resize((side, side), Image.Resampling.BILINEAR)
        except Exception as error:  # Of a damaged image PIL raises whatever it stumbles on.
            raise BadInput(
                f"{where} holds an image that cannot be read", why=type(error).__name__, mend="replace or remove it"
            ) from None
        pixels[:] = np.asarray(small).transpose(2, 0, 1)
    return images
