"""SVHN, CIFAR-10 and CIFAR-100 (32x32) and STL-10 (96x96): images in three colours, in the files that torchvision leaves in a folder.

CIFAR's files are pickles, which could call anything that Python can; here only lists, dicts, texts, numbers and arrays of bytes come
out of them, the arrays through stand-ins, so that nothing in the file reaches numpy or any other code.
"""

from __future__ import annotations

import importlib
import io
import math
import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ..errors import BadInput
from .images import ImageData

DIGITS = 10
SHAPE = (3, 32, 32)
STL_SHAPE = (3, 96, 96)
AGAIN = "fetch the file again"


@dataclass(frozen=True)
class ColourSet:
    """A colour data set and how the PATE protocol divides its test set.

    Args:
        torchvision: its name there, which also makes the reader; parts: the arguments that fetch all of it, part by part.
        folder: where torchvision puts the files below the folder that it is given; train, test: these files.
        read: from one file to images (n, 3, height, width) and labels (n,).
        pool: how many of the test images, from the first, are the public pool.
        classes: how many classes there are.
        left_out: what else there is of the data set, for the protocol's sentence.
    """

    torchvision: str
    parts: Sequence[dict[str, Any]]
    folder: str
    train: Sequence[str]
    test: Sequence[str]
    read: Callable[[Path], tuple[np.ndarray, np.ndarray]]
    pool: int
    classes: int = 10
    left_out: str = ""

    @property
    def install(self) -> str:
        """How to get the files."""
        where = f"{self.folder}, which holds " if self.folder else ""
        names = [*self.train, *self.test]
        return f"data.root=FOLDER with {where}{', '.join(names[:-1])} and {names[-1]}, or data.download=true"


def read_colour_set(
    name: str, known: ColourSet, *, root: str | Path | None, download: bool
) -> tuple[ImageData, ImageData]:
    """Return training and test set, from the folder `root` or, if `download`, by torchvision's loader.

    Raises:
        BadInput: files are missing, damaged or not what they should be.
    """
    missing = _missing(known, root)
    if missing and download:
        root = Path(root or "data")
        fetch(known.torchvision, root, known.parts, install=known.install)
        missing = _missing(known, root)
    if missing or root is None:
        raise BadInput(
            f"the files of '{name}' are not there",
            why=f"{root} lacks {', '.join(missing)}" if root else "no folder was given",
            mend=known.install,
        )
    folder = _folder(known, Path(root))
    train, test = (_joined(name, known, [folder / file for file in files]) for files in (known.train, known.test))
    return train, test


def read_svhn(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read one of SVHN's MATLAB files: X (32, 32, 3, n) and y (n, 1), in which 10 stands for the digit 0."""
    from scipy.io import loadmat

    try:
        held = loadmat(path, variable_names=["X", "y"])
    except Exception as error:  # Of a damaged file scipy raises whatever it stumbles on.
        raise BadInput(
            f"cannot read {path}", why=f"it is no whole MATLAB file ({type(error).__name__})", mend=AGAIN
        ) from None
    pixels, labels = held.get("X"), held.get("y")
    if not _is_bytes(pixels) or pixels.ndim != 4 or pixels.shape[:3] != (32, 32, 3):
        raise BadInput(f"{path} holds no X of 32x32x3xn bytes", mend=AGAIN)
    if not isinstance(labels, np.ndarray) or labels.dtype.kind not in "iu" or labels.size != pixels.shape[3]:
        raise BadInput(f"{path} does not hold one whole number y for each image", mend=AGAIN)
    labels = labels.astype(np.int64).ravel()
    if labels.size and not (labels.min() >= 1 and labels.max() <= DIGITS):
        raise BadInput(f"{path} holds a label outside 1 .. {DIGITS}", why=f"{DIGITS} stands for 0", mend=AGAIN)
    return np.ascontiguousarray(pixels.transpose(3, 2, 0, 1)), labels % DIGITS


def read_cifar_batch(path: Path, *, key: str = "labels", classes: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """Read one of CIFAR's files: a dict with data (n, 3072), colour by colour and row by row, and at `key` a list of n labels."""
    try:
        held = _Restricted(io.BytesIO(path.read_bytes()), encoding="latin1").load()
    except BadInput as error:
        raise BadInput(f"{path} is refused", why=error.what, mend=error.mend) from None
    except Exception as error:  # As its documentation says, a damaged pickle may raise anything.
        raise BadInput(
            f"cannot read {path}", why=f"it is no whole pickle ({type(error).__name__})", mend=AGAIN
        ) from None
    held = held if isinstance(held, dict) else {}
    data, labels = held.get("data"), held.get(key)
    pixels = data.pixels if isinstance(data, _Array) else None
    if pixels is None or pixels.ndim != 2 or pixels.shape[1] != math.prod(SHAPE):
        raise BadInput(f"{path} holds no data of n x {math.prod(SHAPE)} bytes", mend=AGAIN)
    if not isinstance(labels, list) or len(labels) != len(pixels) or any(type(label) is not int for label in labels):
        raise BadInput(f"{path} does not hold one whole number in its {key} for each image", mend=AGAIN)
    if any(not 0 <= label < classes for label in labels):
        raise BadInput(f"{path} holds a label outside 0 .. {classes - 1}", mend=AGAIN)
    return pixels.reshape(-1, *SHAPE), np.array(labels, dtype=np.int64)


def read_stl10(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read one of STL-10's files of labelled images, colour by colour and column by column; the file beside it has labels 1 .. 10."""
    labels_path = path.with_name(path.name.replace("_X", "_y"))
    try:
        pixels, labels = (np.fromfile(one, np.uint8) for one in (path, labels_path))
    except OSError as error:
        raise BadInput(f"cannot read {error.filename or path}", why=type(error).__name__, mend=AGAIN) from None
    if not len(labels) or len(pixels) != len(labels) * math.prod(STL_SHAPE):
        why = f"{len(labels)} labels are beside {len(pixels)} bytes"
        raise BadInput(f"{path} does not hold 3 x 96 x 96 bytes for each label", why=why, mend=AGAIN)
    if labels.min() < 1 or labels.max() > DIGITS:
        raise BadInput(f"{labels_path} holds a label outside 1 .. {DIGITS}", mend=AGAIN)
    images = pixels.reshape(-1, *STL_SHAPE).transpose(0, 1, 3, 2)
    return np.ascontiguousarray(images), labels.astype(np.int64) - 1


class _Array:
    """Stands for a numpy array in a pickle, from its making to its contents; takes bytes only."""

    pixels: np.ndarray | None = None

    def __init__(self, *_: Any) -> None: ...

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, by_columns, raw = state
        # Python 2 wrote bytes as texts.
        raw = raw.encode("latin1") if isinstance(raw, str) else raw
        if not isinstance(kind, _Kind) or kind.name != "u1" or by_columns or not isinstance(raw, bytes):
            raise BadInput("it holds an array of something else than bytes", mend=AGAIN)
        self.pixels = np.frombuffer(raw, np.uint8).reshape([int(side) for side in shape])


class _Kind:
    """Stands for a numpy dtype in a pickle."""

    def __init__(self, name: str, *_: Any) -> None:
        self.name = name

    def __setstate__(self, state: Any) -> None: ...


class _Restricted(pickle.Unpickler):
    """Makes nothing but what a CIFAR batch is made of."""

    _stand_ins: ClassVar[dict[tuple[str, str], type]] = {
        ("numpy.core.multiarray", "_reconstruct"): _Array,
        ("numpy._core.multiarray", "_reconstruct"): _Array,
        ("numpy", "ndarray"): _Array,
        ("numpy", "dtype"): _Kind,
    }

    def find_class(self, module: str, name: str) -> type:
        if (module, name) not in self._stand_ins:
            raise BadInput(
                "it wants to run other code than a CIFAR batch needs",
                mend="do not open it with anything else, and fetch the file again",
            )
        return self._stand_ins[module, name]


def _is_bytes(array: Any) -> bool:
    return isinstance(array, np.ndarray) and array.dtype == np.uint8


def _joined(name: str, known: ColourSet, files: Sequence[Path]) -> ImageData:
    images, labels = (np.concatenate(parts) for parts in zip(*map(known.read, files), strict=True))
    return ImageData(images, labels, known.classes, name)


def _folder(known: ColourSet, root: Path) -> Path:
    """Where the files lie: torchvision's place in the folder given, or that folder itself."""
    inside = root / known.folder
    return inside if inside.is_dir() else root


def _missing(known: ColourSet, root: str | Path | None) -> list[str]:
    names = [*known.train, *known.test]
    return names if root is None else [n for n in names if not (_folder(known, Path(root)) / n).is_file()]


def fetch(torchvision: str, root: Path, parts: Sequence[dict[str, Any]] = ({},), *, install: str) -> None:
    """Let torchvision's loader of that name download to `root`, once with each of `parts` as its arguments.

    Raises:
        BadInput: it could not; `install` says how else to get the files.
    """
    loader = getattr(importlib.import_module("torchvision.datasets"), torchvision)
    try:
        for part in parts:
            loader(str(root), download=True, **part)
    except (OSError, RuntimeError) as error:
        why = (str(error).splitlines() or [type(error).__name__])[0]
        raise BadInput(f"{torchvision} could not be downloaded", why=why, mend=install) from None


COLOUR_SETS = {
    "svhn": ColourSet(
        "SVHN", ({"split": "train"}, {"split": "test"}), "", ("train_32x32.mat",), ("test_32x32.mat",), read_svhn, 10_000,
        left_out="the optional 'extra' set of SVHN is not in it",
    ),
    "cifar10": ColourSet(
        "CIFAR10", ({},), "cifar-10-batches-py", [f"data_batch_{i}" for i in range(1, 6)], ("test_batch",),
        read_cifar_batch, 9_000,
    ),
    "cifar100": ColourSet(
        "CIFAR100", ({},), "cifar-100-python", ("train",), ("test",),
        partial(read_cifar_batch, key="fine_labels", classes=100), 9_000, classes=100,
    ),
    "stl10": ColourSet(
        "STL10", ({},), "stl10_binary", ("train_X.bin",), ("test_X.bin",), read_stl10, 7_000,
        left_out="the 100,000 unlabelled images of STL-10 are not in it",
    ),
}  # fmt: skip
