"""LFW and CelebA as they are published, in the folders that torchvision lays out; torchvision's loaders fetch what can be fetched."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import BadInput
from .face_folder import REFUSE, read_faces
from .face_pairs import ReadPairs, read_pairs
from .faces import FaceImages
from .picture_files import Aligned, FolderFiles, PictureFiles, Prepare, some_of

LFW_FOLDERS = {"original": "lfw", "funneled": "lfw_funneled", "deepfunneled": "lfw-deepfunneled"}
LFW_INSTALL = (
    "data.root=FOLDER with pairs.txt and the folder {folder} (a folder a person), or lfw-py with both; the publisher's host no longer "
    "serves them, torchvision's documentation names mirrors"
)
CELEBA_TEXTS = ("identity_CelebA.txt", "list_eval_partition.txt", "list_landmarks_align_celeba.txt")
CELEBA_INSTALL = (
    "data.root=FOLDER with celeba/img_align_celeba, celeba/identity_CelebA.txt, celeba/list_eval_partition.txt and "
    "celeba/list_landmarks_align_celeba.txt (mmlab.ie.cuhk.edu.hk/projects/CelebA.html), or data.download=true"
)
TRAIN, VALID, TEST = 0, 1, 2


def read_lfw(
    root: Path | None, version: str, *, prepare: Prepare, download: bool = False, missing: str = REFUSE
) -> tuple[FaceImages, ReadPairs]:
    """Return LFW's faces and its official 6,000 pairs (View 2: ten folds of different people).

    Args:
        root: the folder.
        version: original, funneled or deepfunneled: how the faces were brought to one place.
        prepare: what becomes of the pictures, which are 250 x 250 with much background.
        download: let torchvision fetch it first; recent versions refuse, since its host is gone.
        missing: "refuse", or "leave_out" pairs of pictures that are not there.

    Raises:
        BadInput: files are missing, damaged or not what they should be.
    """
    if version not in LFW_FOLDERS:
        raise BadInput(f"unknown version {version!r} of LFW", mend=f"use one of {', '.join(LFW_FOLDERS)}")
    install = LFW_INSTALL.format(folder=LFW_FOLDERS[version])
    found = _lfw_place(root, version)
    if found is None and download:
        root = Path(root or "data")
        _fetched("LFWPairs", install, str(root), split="10fold", image_set=version, download=True)
        found = _lfw_place(root, version)
    if found is None:
        raise BadInput("the files of 'lfw' are not there", why=_lacks(root), mend=install)
    faces, pairs = found
    people, _ = read_faces(faces, prepare=prepare)
    return people, read_pairs(pairs, people, missing=missing)


def read_celeba(
    root: Path | None, *, aligned: bool, prepare: Prepare, download: bool = False, decode: bool = False
) -> tuple[FaceImages, FaceImages]:
    """Return CelebA's faces for training and for testing: the published parts, whose people are different ones.

    Args:
        root: the folder.
        aligned: bring faces to the 112 x 112 template by the published landmarks; otherwise `prepare` says what becomes of them.
        prepare: see there.
        download: let torchvision fetch what is missing (it needs the package gdown).
        decode: decode all of the 200,000 pictures once, not only their headers.

    Raises:
        BadInput: files are missing, damaged, or do not fit each other.
    """
    folder = _celeba_place(root)
    if folder is None and download:
        root = Path(root or "data")
        _fetched("CelebA", CELEBA_INSTALL, str(root), split="all", target_type="identity", download=True)
        folder = _celeba_place(root)
    if folder is None:
        raise BadInput("the files of 'celeba' are not there", why=_lacks(root), mend=CELEBA_INSTALL)
    texts = [_table(folder / name) for name in CELEBA_TEXTS]
    identity, part, landmarks = ({row[0]: row[1:] for row in rows} for rows in texts)
    names = sorted(identity)
    if part.keys() != identity.keys() or landmarks.keys() != identity.keys():
        raise BadInput(f"the lists in {folder} name different pictures", mend="fetch them again")
    pictures = (folder / "img_align_celeba").resolve()
    absent = [name for name in names if not (pictures / name).is_file()]
    if absent:
        raise BadInput(
            f"{pictures} lacks {len(absent)} of {len(names)} pictures", why=some_of(absent), mend=CELEBA_INSTALL
        )
    try:
        who = np.array([int(identity[name][0]) for name in names])
        where = np.array([int(part[name][0]) for name in names])
        points = np.array([[float(word) for word in landmarks[name]] for name in names]).reshape(len(names), 5, 2)
    except (IndexError, ValueError) as error:
        why = f"a line does not have the numbers it should ({type(error).__name__})"
        raise BadInput(f"cannot read the lists in {folder}", why=why, mend="fetch them again") from None
    files = PictureFiles(FolderFiles(pictures, tuple(names)), Aligned(points) if aligned else prepare)
    unusable = files.unusable(decode=decode)
    if unusable:
        told = some_of([f"{names[number]} {why}" for number, why in unusable.items()])
        raise BadInput(f"{len(unusable):,} of {len(names):,} pictures in {pictures} cannot be used", why=told)
    people, identities = np.unique(who, return_inverse=True)
    called = tuple(str(one) for one in people.tolist())
    everything = FaceImages(files, identities.reshape(-1), tuple(names), people_names=called)
    return everything.take(np.flatnonzero(where == TRAIN)), everything.take(np.flatnonzero(where == TEST))


def _lfw_place(root: Path | None, version: str) -> tuple[Path, Path] | None:
    """The folder of the people, and the file of pairs."""
    if root is None:
        return None
    for base in (root / "lfw-py", root):
        folder = base / LFW_FOLDERS[version]
        # Some archives unpack into a folder of their own name.
        folder = folder / folder.name if (folder / folder.name).is_dir() else folder
        if folder.is_dir() and (base / "pairs.txt").is_file():
            return folder, base / "pairs.txt"
    return None


def _celeba_place(root: Path | None) -> Path | None:
    places = [] if root is None else [root / "celeba", root]
    return next(
        (p for p in places if (p / "img_align_celeba").is_dir() and all((p / n).is_file() for n in CELEBA_TEXTS)), None
    )


def _lacks(root: Path | None) -> str:
    return "no folder was given" if root is None else f"{root} does not hold them"


def _fetched(loader: str, install: str, root: str, **settings: Any) -> None:
    try:
        getattr(importlib.import_module("torchvision.datasets"), loader)(root, **settings)
    except (OSError, RuntimeError, ValueError, ImportError) as error:
        why = (str(error).splitlines() or [type(error).__name__])[0]
        raise BadInput(f"{loader} could not be fetched", why=why, mend=install) from None


def _table(path: Path) -> Sequence[list[str]]:
    """Rows that begin with a picture's name; a list may open with a count and the names of its columns."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"cannot read {path}", why=type(error).__name__, mend="fetch it again") from None
    return [fields for line in lines if (fields := line.split()) and fields[0].lower().endswith((".jpg", ".png"))]
