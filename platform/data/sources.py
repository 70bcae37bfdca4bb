"""Public data sets, each split into what plays the private part, a public pool and a score set.

A local folder is read first; only `download=True` fetches anything, by torchvision's own loader.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..errors import BadInput
from .celeba import CELEBA_SETS, INSTALL, read_celeba
from .coil20 import read_coil20
from .colour_sets import COLOUR_SETS, fetch, read_colour_set
from .idx import read_idx
from .image_folder import FOLDER_SETS, FolderSet, read_folder_set
from .images import ImageData
from .jpeg_set import JPEG_INSTALL, read_jpeg_set
from .partition import Manifest

PATE_POOL = 9000
PATE_PROTOCOL = (
    "PATE protocol: the training set is private; the public pool is the first 9,000 test images without their labels, "
    "the score set is the last 1,000. Pool and score set are disjoint parts of the test set."
)
JPEG_SET = "cifar10_jpeg"
JPEG_ABOUT = "JPEG re-encoded CIFAR-10: lossy copies of its images, so results do not compare with those published for CIFAR-10. "
COIL_SET = "coil20"
COIL_SPLIT = {"private": 720, "pool": 432}
DIGITS_SPLIT = {"private": 1000, "pool": 400}
DIGITS_PROTOCOL = (
    "scikit-learn's 1,797 digits, split by record number into 1,000 private, 400 public pool (without labels) and 397 score "
    "images, which are disjoint. With 25 images a teacher this shows that the platform works, not what privacy costs."
)


@dataclass(frozen=True)
class Source:
    """A data set in its three parts, and the sentences that say how they were made.

    `about` is what of them has to be said however the parts are cut: the protocol opens with it.
    """

    private: ImageData
    pool: ImageData
    score: ImageData
    protocol: str
    about: str = ""

    def content_hash(self) -> str:
        """Name all of its records."""
        return "".join(part.content_hash() for part in (self.private, self.pool, self.score))


@dataclass(frozen=True)
class IdxSet:
    """Where an MNIST-like data set may lie, how to install it, and torchvision's name for it."""

    torchvision: str
    folders: Sequence[str]
    install: str


IDX_SETS = {
    "fashion_mnist": IdxSet(
        "FashionMNIST",
        ("/usr/share/datasets/fashion-mnist",),
        "apt-get install dataset-fashion-mnist, or data.download=true",
    ),
    "mnist": IdxSet("MNIST", (), "data.root=FOLDER with the four idx files, or data.download=true"),
}


def load(name: str, *, root: str | Path | None = None, download: bool = False) -> Source:
    """Load a data set by name.

    Raises:
        BadInput: it is unknown, or its files are not there; the message says how to get them.
    """
    if name == "digits":
        return _digits()
    if name in IDX_SETS:
        return _idx_set(name, root, download)
    if name in COLOUR_SETS:
        return _colour_set(name, root, download)
    if name in CELEBA_SETS:
        return _celeba(name, root, download)
    if name == JPEG_SET:
        return _jpeg_set(root)
    if name == COIL_SET:
        return _coil20(root)
    if name in FOLDER_SETS:
        return _folder_set(name, FOLDER_SETS[name], root)
    known = ["digits", *IDX_SETS, *COLOUR_SETS, *CELEBA_SETS, JPEG_SET, COIL_SET, *FOLDER_SETS]
    raise BadInput(f"unknown data set '{name}'", mend=f"use one of {', '.join(known)}")


def whole_test_set(source: Source) -> Source:
    """Return the same data set, scored on all public images: pool and score set together.

    The pool stays what it is, so a method that asks about it is scored on images that it has seen (without their labels).
    """
    images = np.concatenate([source.pool.images, source.score.images])
    labels = np.concatenate([source.pool.labels, source.score.labels])
    score = ImageData(images, labels, source.score.classes, source.score.name)
    protocol = (
        f"{source.about}All {len(score):,} public images are the score set. The public pool is the first {len(source.pool):,} of "
        "them, without labels: a method that asks about the pool is scored on images it has seen; one that makes its own has seen "
        "none."
    )
    return replace(source, score=score, protocol=protocol)


def _digits() -> Source:
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    images = (pixels.reshape(-1, 1, 8, 8) * (255 / 16)).round().astype(np.uint8)
    everything = ImageData(images, labels, 10, "digits")
    # Consecutive digits come from one writer; a keyed order of record numbers mixes them without looking at them.
    order = _keyed_order(len(images), "digits split")
    private, pool = DIGITS_SPLIT["private"], DIGITS_SPLIT["pool"]
    parts = np.split(order, [private, private + pool])
    private_part, pool_part, score_part = (everything.take(part) for part in parts)
    return Source(private_part, pool_part, score_part, DIGITS_PROTOCOL)


def _coil20(root: str | Path | None) -> Source:
    everything = read_coil20(root)
    private, pool = COIL_SPLIT["private"], COIL_SPLIT["pool"]
    if len(everything) <= private + pool:
        raise BadInput(
            f"'{COIL_SET}' has {len(everything)} images", why="it is published with 1,440", mend="copy the file again"
        )
    parts = np.split(_keyed_order(len(everything), f"{COIL_SET} split"), [private, private + pool])
    private_part, pool_part, score_part = (everything.take(part) for part in parts)
    protocol = (
        f"COIL-20, split by record number into {private} private, {pool} public pool (without labels) and {len(score_part)} score "
        "images, which are disjoint. All show the same 20 objects, from sides 5 degrees apart, so a score image has near neighbours "
        "among the private ones."
    )
    return Source(private_part, pool_part, score_part, protocol)


def _idx_set(name: str, root: str | Path | None, download: bool) -> Source:
    known = IDX_SETS[name]
    folder = _find(known, root)
    if folder is None:
        if not download:
            raise BadInput(f"the files of '{name}' are not there", why="no folder holds them", mend=known.install)
        folder = Path(root or "data") / known.torchvision / "raw"
        fetch(known.torchvision, Path(root or "data"), install=known.install)
    train, test = (_read(folder, part, name) for part in ("train", "t10k"))
    return _pate_split(train, test, PATE_POOL, protocol=PATE_PROTOCOL, install=known.install)


def _colour_set(name: str, root: str | Path | None, download: bool) -> Source:
    known = COLOUR_SETS[name]
    train, test = read_colour_set(name, known, root=root, download=download)
    protocol = (
        f"PATE protocol: the training set is private{known.left_out and f' ({known.left_out})'}; the public pool is the first "
        f"{known.pool:,} test images without their labels, the score set is the last {len(test) - known.pool:,}. "
        "Pool and score set are disjoint parts of the test set."
    )
    return _pate_split(train, test, known.pool, protocol=protocol, install=known.install)


def _celeba(name: str, root: str | Path | None, download: bool) -> Source:
    known = CELEBA_SETS[name]
    train, test = read_celeba(name, known, root=root, download=download)
    pool = len(test) * 9 // 10
    protocol = (
        f"{known.about}The training part is private; the public pool is the first {pool:,} test images without their labels, the "
        f"score set is the other {len(test) - pool:,}."
    )
    return replace(_pate_split(train, test, pool, protocol=protocol, install=INSTALL), about=known.about)


def _jpeg_set(root: str | Path | None) -> Source:
    train, test = read_jpeg_set(JPEG_SET, root)
    source = _pate_split(train, test, PATE_POOL, protocol=JPEG_ABOUT + PATE_PROTOCOL, install=JPEG_INSTALL)
    return replace(source, about=JPEG_ABOUT)


def _folder_set(name: str, known: FolderSet, root: str | Path | None) -> Source:
    train, test = read_folder_set(name, known, root)
    pool = len(test) * 9 // 10
    protocol = (
        f"{known.about}The training images are private; the public pool is {pool:,} of the {len(test):,} test images without "
        f"their labels, the score set is the other {len(test) - pool:,}. A keyed order of record numbers decides which are which, "
        "since files may be sorted by class."
    )
    test = test.take(_keyed_order(len(test), f"{name} split"))
    return replace(_pate_split(train, test, pool, protocol=protocol, install=known.origin), about=known.about)


def _keyed_order(n: int, key: str) -> np.ndarray:
    return np.argsort(Manifest.make(n, n, key=key).assignment)


def _pate_split(train: ImageData, test: ImageData, pool: int, *, protocol: str, install: str) -> Source:
    if len(test) <= pool:
        raise BadInput(
            f"'{test.name}' has {len(test)} test images",
            why=f"the pool takes the first {pool:,} and the score set the rest",
            mend=install,
        )
    return Source(train, test.take(np.arange(pool)), test.take(np.arange(pool, len(test))), protocol=protocol)


def _file(folder: Path, part: str, kind: str, axes: int) -> Path | None:
    stem = f"{part}-{kind}-idx{axes}-ubyte"
    return next((f for f in (folder / f"{stem}.gz", folder / stem) if f.is_file()), None)


def _find(known: IdxSet, root: str | Path | None) -> Path | None:
    """The first folder that holds the training images: the one given (or torchvision's place in it), else the usual ones."""
    places = [Path(root), Path(root) / known.torchvision / "raw"] if root else [Path(f) for f in known.folders]
    return next((p for p in places if _file(p, "train", "images", 3)), None)


def _read(folder: Path, part: str, name: str) -> ImageData:
    files = [_file(folder, part, "images", 3), _file(folder, part, "labels", 1)]
    if not all(files):
        raise BadInput(f"{folder} lacks the {part} files of '{name}'", mend=IDX_SETS[name].install)
    images, labels = (read_idx(f) for f in files if f)
    return ImageData(images[:, None], labels.astype(np.int64), 10, name)
