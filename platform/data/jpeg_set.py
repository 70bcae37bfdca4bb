"""CIFAR-10 as JPEG files end to end in one archive a part: small to keep, but lossy and so another data set than CIFAR-10."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import BadInput
from .images import ImageData

CLASSES = 10
SIDE = 32
FILES = ("cifar10_jpeg_train.npz", "cifar10_jpeg_test.npz")
JPEG_INSTALL = f"data.root=FOLDER with {FILES[0]} and {FILES[1]}, which cannot be downloaded"
AGAIN = "copy the file again"


def read_jpeg_set(name: str, root: str | Path | None) -> tuple[ImageData, ImageData]:
    """Return training and test set, images (n, 3, 32, 32), from the folder `root`.

    Raises:
        BadInput: files are missing, damaged or not what they should be.
    """
    missing = [file for file in FILES if root is None or not (Path(root) / file).is_file()]
    if missing or root is None:
        raise BadInput(
            f"the files of '{name}' are not there",
            why=f"{root} lacks {', '.join(missing)}" if root else "no folder was given",
            mend=JPEG_INSTALL,
        )
    train, test = (ImageData(*read_jpegs(Path(root) / file), CLASSES, name) for file in FILES)
    return train, test


def read_jpegs(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read one archive: `jpeg`, the bytes of n files end to end, `offsets` (n + 1), where each starts, and `labels` (n,).

    Returns:
        Images (n, 3, 32, 32) uint8 and labels (n,) int64.

    Raises:
        BadInput: the archive is damaged, its arrays do not fit each other, or one of its files is no JPEG image of that size.
    """
    jpeg, offsets, labels = _arrays(path)
    if jpeg.dtype != np.uint8 or jpeg.ndim != 1:
        raise BadInput(f"{path} holds no row of bytes in jpeg", mend=AGAIN)
    if offsets.dtype.kind not in "iu" or offsets.ndim != 1 or len(offsets) < 2:
        raise BadInput(f"{path} holds no row of whole numbers in offsets", mend=AGAIN)
    offsets = offsets.astype(np.int64)
    if offsets[0] != 0 or offsets[-1] != len(jpeg) or (offsets[1:] <= offsets[:-1]).any():
        raise BadInput(f"{path} is cut off", why="its offsets do not rise from 0 to the end of jpeg", mend=AGAIN)
    if labels.dtype.kind not in "iu" or labels.shape != (len(offsets) - 1,):
        raise BadInput(f"{path} does not hold one whole number in labels for each image", mend=AGAIN)
    if labels.min() < 0 or labels.max() >= CLASSES:
        raise BadInput(f"{path} holds a label outside 0 .. {CLASSES - 1}", mend=AGAIN)
    images = np.empty((len(labels), 3, SIDE, SIDE), np.uint8)
    for image, start, stop in zip(images, offsets[:-1], offsets[1:], strict=True):
        image[:] = _decoded(jpeg[start:stop].tobytes(), path)
    return images, labels.astype(np.int64)


def _arrays(path: Path) -> list[np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as held:
            return [held[key] for key in ("jpeg", "offsets", "labels")]
    except KeyError:
        raise BadInput(f"{path} lacks one of its arrays", why="they are jpeg, offsets and labels", mend=AGAIN) from None
    except Exception as error:  # Of a damaged archive numpy and zipfile raise whatever they stumble on.
        raise BadInput(
            f"cannot read {path}", why=f"it is no whole archive of arrays ({type(error).__name__})", mend=AGAIN
        ) from None


def _decoded(raw: bytes, path: Path) -> np.ndarray:
    # Which file it is stays unsaid: errors may travel further than records.
    try:
        with Image.open(io.BytesIO(raw), formats=["JPEG"]) as image:
            pixels = np.asarray(image.convert("RGB")) if image.size == (SIDE, SIDE) else None
    except Exception as error:  # Of a damaged image PIL raises whatever it stumbles on.
        raise BadInput(f"{path} holds a damaged JPEG file", why=type(error).__name__, mend=AGAIN) from None
    if pixels is None:
        raise BadInput(f"{path} holds an image that is not {SIDE} x {SIDE} pixels", mend=AGAIN)
    return pixels.transpose(2, 0, 1)
