"""Pictures that somebody gives to a finished recogniser: files and folders, of any size, aligned as far as that can be done.

A picture of the aligned size is taken as it is. Others are aligned by landmarks where a finder is given; without one the middle square
is resized, which is right only for pictures that are crops of a face already.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image, ImageOps

from ...platform.data.alignment import align, middle_square
from ...platform.data.face_folder import SUFFIXES
from ...platform.data.landmarks import Landmarks
from ...platform.data.picture_files import FolderFiles, PictureFiles, some_of
from ...platform.errors import BadInput

AS_IS, ALIGNED, RESIZED, NO_FACE = "as it is", "aligned", "resized", "no face found"


@dataclass(frozen=True)
class AsGiven:
    """Brings one picture to the aligned size, and remembers how.

    Args:
        side: height and width of the result (pixels).
        finder: of landmarks; one that does not look leaves pictures to be resized.
        names: of the pictures, for a finder that looks them up.
        done: how each picture was brought there, by its number, once it was read.
    """

    side: int
    finder: Landmarks
    names: Sequence[str]
    done: dict[int, str] = field(default_factory=dict, init=False)

    def check(self, size: tuple[int, int]) -> None:
        """Any size will do."""

    def told(self) -> str:
        """Size and finder."""
        return f"as given, {self.side}, {type(self.finder).__name__}"

    def __call__(self, image: Image.Image, number: int) -> np.ndarray:
        """The picture, uint8 (side, side, 3). Turned upright first, where a camera noted how it was held."""
        pixels = np.asarray(ImageOps.exif_transpose(image))
        if pixels.shape[:2] == (self.side, self.side):
            self.done[number] = AS_IS
            return pixels
        points = self.finder.find(pixels, self.names[number]) if self.finder.looks else None
        if points is not None:
            self.done[number] = ALIGNED
            return align(pixels, points, self.side)
        self.done[number] = NO_FACE if self.finder.looks else RESIZED
        return middle_square(pixels, self.side)


@dataclass(frozen=True, eq=False)
class GivenPictures:
    """Pictures that can all be read; `how` says for each what was done to it."""

    pictures: PictureFiles
    how: tuple[str, ...]

    @property
    def names(self) -> Sequence[str]:
        """In order."""
        return self.pictures.files.names

    def __len__(self) -> int:
        return len(self.how)


def read_given(paths: Sequence[Path], *, side: int, finder: Landmarks) -> GivenPictures:
    """The pictures in files and folders (and below them), each decoded once.

    With one folder names are paths in it; otherwise they are the paths as given.

    Raises:
        BadInput: a path does not exist, there is no picture, or some cannot be read; the message names them.
    """
    files = _listed(paths)
    prepare = AsGiven(side, finder, files.names)
    pictures = PictureFiles(files, prepare)
    if unusable := pictures.unusable(decode=True):
        told = some_of([f"{files.names[number]} {why}" for number, why in unusable.items()])
        raise BadInput(
            f"{len(unusable)} of {len(files.names)} pictures cannot be used",
            why=told,
            mend="replace them by whole JPEG or PNG files, or take them away",
        )
    return GivenPictures(pictures, tuple(prepare.done[number] for number in range(len(pictures))))


def _listed(paths: Sequence[Path]) -> FolderFiles:
    if missing := [str(path) for path in paths if not path.exists()]:
        raise BadInput(f"{some_of(missing)} not found", mend="give pictures, or folders of pictures")
    if len(paths) == 1 and paths[0].is_dir():
        files = FolderFiles(paths[0], tuple(_below(paths[0])))
    else:
        names = []
        for path in paths:
            names += [str(path / name) for name in _below(path)] if path.is_dir() else [str(path)]
        files = FolderFiles(Path(), tuple(dict.fromkeys(names)))
    if not files.names:
        raise BadInput(
            f"{some_of([str(path) for path in paths])}: no pictures",
            why=f"their names end in {', '.join(sorted(SUFFIXES))}",
            mend="give pictures, or folders of pictures",
        )
    return files


def _below(folder: Path) -> list[str]:
    found = []
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        here = Path(place).relative_to(folder)
        found += [(here / name).as_posix() for name in files if _is_picture(name)]
    return sorted(found)


def _is_picture(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in SUFFIXES and not name.startswith(".")
