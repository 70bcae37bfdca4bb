"""Faces in a folder or a tar archive, one folder a person: `Ada_Lovelace/Ada_Lovelace_0001.jpg`.

Pictures may lie deeper (a folder a video); what makes several pictures nearly the same (a video, a session) is read from their names by
a regular expression, since pairs of two such pictures are trivial to verify.
"""

from __future__ import annotations

import os
import random
import re
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np

from ..errors import BadInput
from .faces import FaceImages
from .picture_files import Exact, Files, FolderFiles, PictureFiles, Prepare, TarFiles, some_of

SUFFIXES = {".jpg", ".jpeg", ".png"}
REFUSE, LEAVE_OUT = "refuse", "leave_out"
LAYOUT = (
    "give a folder (or an uncompressed tar) with a folder for each person, and the person's pictures, png or jpg, in it"
)


@dataclass(frozen=True)
class Names:
    """What the names of pictures tell, by regular expressions that are searched for in the path below the person's folder.

    Args:
        media: what it finds names the video or session (its first group, if it has one); a picture without it is a medium of its own.
            Empty: every picture is.
        mask: found in the name of a picture whose face wears a mask. Empty: names do not tell.
    """

    media: str = ""
    mask: str = ""

    def __post_init__(self) -> None:
        for name in ("media", "mask"):
            try:
                re.compile(getattr(self, name))
            except re.error as error:
                raise BadInput(f"the pattern of {name} is no regular expression", why=str(error)) from None


NO_NAMES = Names()


def read_faces(
    path: Path,
    *,
    prepare: Prepare = Exact(),  # noqa: B008 (frozen)
    names: Names = NO_NAMES,
    decode: bool = True,
    damaged: str = REFUSE,
) -> tuple[FaceImages, int]:
    """Return the faces in a folder or a tar archive, people in the order of their names, and how many damaged pictures were left out.

    Args:
        path: the folder, or the archive.
        prepare: brings the pictures to one size.
        names: what the names of pictures tell.
        decode: decode every picture once. Otherwise only headers are read, and a file that is cut off is found when it is used.
        damaged: "refuse", or "leave_out" pictures that cannot be used.

    Raises:
        BadInput: there is nothing of that layout, or pictures cannot be used; the message says how many, and names the first.
    """
    files = _found(path.resolve())
    people = [PurePosixPath(name).parts[0] for name in files.names]
    loose = [name for name in files.names if "/" not in name]
    if loose:
        raise BadInput(f"{path} holds pictures that lie in no person's folder", why=some_of(loose), mend=LAYOUT)
    if not people:
        raise BadInput(f"{path} holds no pictures", mend=LAYOUT)
    pictures = PictureFiles(files, prepare)
    unusable = pictures.unusable(decode=decode)
    if unusable and damaged == REFUSE:
        told = some_of([f"{files.names[number]} {why}" for number, why in unusable.items()])
        raise BadInput(
            f"{len(unusable):,} of {len(people):,} pictures in {path} cannot be used",
            why=told,
            mend="replace them (faces of another size have to be aligned, or resized by data.fit=resize), or leave them out by "
            "data.damaged=leave_out",
        )
    people_names, identities = np.unique(people, return_inverse=True)
    faces = FaceImages(
        pictures,
        identities.reshape(-1),
        tuple(files.names),
        media=_media(files.names, people, names.media) if names.media else None,
        masked=_matched(files.names, names.mask) if names.mask else None,
        people_names=tuple(str(name) for name in people_names),
    )
    if not unusable:
        return faces, 0
    kept = np.setdiff1d(np.arange(len(faces)), list(unusable))
    if not len(kept):
        raise BadInput(f"none of the {len(people):,} pictures in {path} can be used", why=next(iter(unusable.values())))
    return faces.take(kept), len(unusable)


def split_people(faces: FaceImages, test_people: int, seed: int) -> tuple[FaceImages, FaceImages]:
    """Return the faces of the training people and those of `test_people` other ones.

    People are sorted by name and shuffled by Python's `random.Random(seed)`; the first are the test people. Within both parts they keep
    their order.

    Raises:
        BadInput: too few people, or nobody knows who is who.
    """
    if not faces.people_names:
        raise BadInput("people without names cannot be split", mend="name them, or give two folders")
    if not 1 <= test_people < faces.people:
        raise BadInput(
            f"{test_people} test people of {faces.people}",
            why="both parts need people",
            mend=f"use 1 to {faces.people - 1}",
        )
    order = sorted(faces.people_names)
    random.Random(seed).shuffle(order)
    chosen = set(order[:test_people])
    is_test = np.array([name in chosen for name in faces.people_names])[faces.identities]
    return faces.take(np.flatnonzero(~is_test)), faces.take(np.flatnonzero(is_test))


def with_at_least(faces: FaceImages, pictures: int) -> tuple[FaceImages, int]:
    """Return the faces of people with at least so many pictures, and how many people were left out.

    Raises:
        BadInput: fewer than two people are left.
    """
    enough = np.bincount(faces.identities, minlength=faces.people) >= pictures
    if enough.sum() < 2:
        raise BadInput(
            f"{int(enough.sum())} of {faces.people} people have {pictures} pictures or more",
            why="to learn who is who takes two people at least, and relations between pictures of one person take two pictures",
            mend="gather more pictures, or allow people with fewer by data.fewest=1",
        )
    if enough.all():
        return faces, 0
    return faces.take(np.flatnonzero(enough[faces.identities])), int((~enough).sum())


def with_mask_labels(faces: FaceImages, path: Path) -> FaceImages:
    """Return the faces with what MFR2's label file tells: lines of a person, a picture's number and the mask, or `no-mask`.

    Raises:
        BadInput: the file cannot be read, or does not tell of every picture once.
    """
    told: dict[tuple[str, int], bool] = {}
    for number, line in _lines(path):
        fields = [field.strip() for field in line.split(",")]
        if len(fields) != 3 or not fields[1].isdigit():
            raise BadInput(
                f"line {number} of {path} is not a person, a number and a mask",
                mend="write for example: Ada_Lovelace, 1, no-mask",
            )
        key = fields[0], int(fields[1])
        if key in told:
            raise BadInput(f"line {number} of {path} tells of a picture that an earlier line told of")
        told[key] = fields[2].lower() not in ("no-mask", "no_mask", "unmasked", "none")
    numbers = [picture_number(name) for name in faces.names]
    keys = [(PurePosixPath(name).parts[0], number) for name, number in zip(faces.names, numbers, strict=True)]
    untold = [name for name, key in zip(faces.names, keys, strict=True) if key not in told]
    if untold:
        raise BadInput(f"{path} does not tell of {len(untold)} pictures", why=some_of(untold), mend="add their lines")
    return replace(faces, masked=np.array([told[person, number or 0] for person, number in keys]))


def picture_number(name: str) -> int | None:
    """The number that a picture's name ends with.

    >>> picture_number("Ada_Lovelace/Ada_Lovelace_0012.jpg"), picture_number("s1/7.jpg"), picture_number("a/face.jpg")
    (12, 7, None)
    """
    found = re.search(r"(\d+)$", PurePosixPath(name).stem)
    return int(found[1]) if found else None


def _lines(path: Path) -> list[tuple[int, str]]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"cannot read {path}", why=type(error).__name__, mend="give a text file") from None
    return [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]


def _found(path: Path) -> Files:
    if path.is_dir():
        found = []
        for folder, folders, files in os.walk(path):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            below = Path(folder).relative_to(path)
            found += [(below / name).as_posix() for name in files if _is_picture(name)]
        return FolderFiles(path, tuple(sorted(found)))
    if path.is_file():
        return _in_archive(path)
    raise BadInput(f"{path} is not there", mend=LAYOUT)


def _in_archive(path: Path) -> TarFiles:
    try:
        with tarfile.open(path, "r:") as archive:
            members = [
                (PurePosixPath(one.name).as_posix(), one.offset_data, one.size)
                for one in archive
                if one.isreg() and _is_picture(PurePosixPath(one.name).name)
            ]
    except (OSError, tarfile.TarError) as error:
        why = f"it is no tar archive, or a compressed one ({type(error).__name__})"
        raise BadInput(f"cannot read {path}", why=why, mend="uncompress it, or unpack it into a folder") from None
    members.sort()
    names = tuple(name for name, _, _ in members)
    if len(set(names)) != len(names):
        raise BadInput(
            f"{path} holds several pictures of one name", mend="unpack it into a folder, which keeps the last"
        )
    return TarFiles(path, names, tuple(start for _, start, _ in members), tuple(size for _, _, size in members))


def _is_picture(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in SUFFIXES and not name.startswith(".")


def _media(names: Sequence[str], people: Sequence[str], pattern: str) -> np.ndarray:
    """A number for each video or session; a person's are nobody else's."""
    keys = []
    for name, person in zip(names, people, strict=True):
        found = re.search(pattern, name.partition("/")[2])
        which = name if found is None else (found[1] if found.re.groups else found[0])
        keys.append(f"{person}\0{which}")
    return np.unique(keys, return_inverse=True)[1].reshape(-1).astype(np.int64)


def _matched(names: Sequence[str], pattern: str) -> np.ndarray:
    return np.array([re.search(pattern, name.partition("/")[2]) is not None for name in names])
