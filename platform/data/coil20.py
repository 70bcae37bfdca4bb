"""COIL-20 (Nene, Nayar & Murase 1996): 20 objects, each seen from 72 sides, as 32 x 32 grey images in one MATLAB file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..errors import BadInput
from .images import ImageData

FILE = "COIL20.mat"
OBJECTS = 20
SIDE = 32
INSTALL = (
    f"data.root=FOLDER with {FILE} (X: 1440 x 1024 numbers, column by column; Y: objects 1 .. 20); there is no download"
)


def read_coil20(root: str | Path | None) -> ImageData:
    """Return all images, (n, 1, 32, 32), and the objects as classes 0 .. 19.

    Raises:
        BadInput: the file is missing, damaged, or holds something else.
    """
    path = Path(root or ".") / FILE
    if root is None or not path.is_file():
        why = f"{root} lacks {FILE}" if root else "no folder was given"
        raise BadInput("the file of 'coil20' is not there", why=why, mend=INSTALL)
    from scipy.io import loadmat

    try:
        held = loadmat(path, variable_names=["X", "Y"])
    except Exception as error:  # Of a damaged file scipy raises whatever it stumbles on.
        raise BadInput(
            f"cannot read {path}", why=f"it is no whole MATLAB file ({type(error).__name__})", mend=INSTALL
        ) from None
    pixels, labels = held.get("X"), held.get("Y")
    if not isinstance(pixels, np.ndarray) or pixels.ndim != 2 or pixels.shape[1] != SIDE * SIDE:
        raise BadInput(f"{path} holds no X of n x {SIDE * SIDE} numbers", mend=INSTALL)
    if not isinstance(labels, np.ndarray) or labels.dtype.kind not in "iu" or labels.size != len(pixels):
        raise BadInput(f"{path} does not hold one whole number Y for each image", mend=INSTALL)
    labels = labels.astype(np.int64).ravel() - 1
    if not len(labels) or labels.min() < 0 or labels.max() >= OBJECTS:
        raise BadInput(f"{path} holds an object outside 1 .. {OBJECTS}", mend=INSTALL)
    if pixels.dtype.kind not in "fiu" or not np.isfinite(pixels).all() or pixels.min() < 0:
        raise BadInput(f"{path} holds something else than brightness in X", mend=INSTALL)
    # Copies of the file go to 1 or to 255.
    scale = 255.0 if pixels.max() <= 1 else 1.0
    if pixels.max() * scale > 255:
        raise BadInput(f"{path} holds brightness above 255 in X", mend=INSTALL)
    images = np.rint(pixels * scale).astype(np.uint8).reshape(-1, 1, SIDE, SIDE).transpose(0, 1, 3, 2)
    return ImageData(np.ascontiguousarray(images), labels, OBJECTS, "coil20")
