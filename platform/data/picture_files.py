"""Pictures that stay where they lie: in a folder, in a tar archive, or as encoded bytes; decoded when they are asked for.

Where they lie is known by an absolute path: processes that train together, on whatever machine, have to find the same files there.
What was decoded is kept until `keep_bytes` are full: with batches drawn at random that finds as much as any rule of eviction would.
Errors name files: such a set is read by its owner, and a damaged picture among half a million has to be found.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from ..errors import BadInput

KEEP_BYTES = 256 << 20
MOST_NAMED = 3


class Files(Protocol):
    """Encoded pictures (JPEG or PNG) by number, and what they are called."""

    @property
    def names(self) -> Sequence[str]:
        """Of the files, in their order."""

    @property
    def place(self) -> str:
        """Where they lie, for messages."""

    def raw(self, number: int) -> bytes:
        """The bytes of one."""


@dataclass(frozen=True)
class FolderFiles:
    """Files below a folder."""

    root: Path
    names: tuple[str, ...]

    @property
    def place(self) -> str:
        """The folder."""
        return str(self.root)

    def raw(self, number: int) -> bytes:
        """The bytes of one."""
        return (self.root / self.names[number]).read_bytes()


@dataclass(frozen=True)
class TarFiles:
    """Files in a tar archive that is not compressed, so that each can be read where it starts."""

    path: Path
    names: tuple[str, ...]
    starts: tuple[int, ...]
    lengths: tuple[int, ...]

    @property
    def place(self) -> str:
        """The archive."""
        return str(self.path)

    def raw(self, number: int) -> bytes:
        """The bytes of one."""
        with self.path.open("rb") as file:
            file.seek(self.starts[number])
            return file.read(self.lengths[number])


@dataclass(frozen=True)
class HeldFiles:
    """Encoded pictures that were read already."""

    place: str
    names: tuple[str, ...]
    held: tuple[bytes, ...]

    def raw(self, number: int) -> bytes:
        """The bytes of one."""
        return self.held[number]


class Unusable(Exception):
    """Why one picture cannot be used, in words that follow its name."""


class Prepare(Protocol):
    """From a decoded picture to one of the size that all have."""

    @property
    def side(self) -> int:
        """Height and width of what it makes (pixels)."""

    def check(self, size: tuple[int, int]) -> None:
        """Raise `Unusable` if a picture of this width and height cannot be taken."""

    def told(self) -> str:
        """All that decides what becomes of a picture, as a text."""

    def __call__(self, image: Image.Image, number: int) -> np.ndarray:
        """The picture with that number, uint8 (side, side, 3)."""


@dataclass(frozen=True)
class Exact:
    """Pictures that have the size already, as aligned faces do; others are unusable."""

    side: int = 112

    def check(self, size: tuple[int, int]) -> None:
        """Refuse other sizes."""
        if size != (self.side, self.side):
            raise Unusable(f"is {size[0]} x {size[1]} pixels instead of {self.side} x {self.side}")

    def told(self) -> str:
        """The size."""
        return f"exactly {self.side}"

    def __call__(self, image: Image.Image, number: int) -> np.ndarray:
        """Its pixels."""
        return np.asarray(image)


@dataclass(frozen=True)
class Resized:
    """The middle square of a picture, resized with antialiasing (bilinear).

    Args:
        side: height and width of the result (pixels).
        crop: side of that square, as a fraction of the picture's shorter side.
    """

    side: int = 112
    crop: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.crop <= 1:
            raise BadInput(
                f"crop is {self.crop!r}", why="it is a fraction of the shorter side", mend="use 0 < crop <= 1"
            )

    def check(self, size: tuple[int, int]) -> None:
        """Any size will do."""

    def told(self) -> str:
        """Crop and size."""
        return f"the middle {self.crop} resized to {self.side}"

    def __call__(self, image: Image.Image, number: int) -> np.ndarray:
        """Crop and resize."""
        width, height = image.size
        edge = min(width, height) * self.crop
        left, top = (width - edge) / 2, (height - edge) / 2
        box = (left, top, left + edge, top + edge)
        return np.asarray(image.resize((self.side, self.side), Image.Resampling.BILINEAR, box=box))


@dataclass(frozen=True, eq=False)
class Aligned:
    """Faces brought to the 112 x 112 template by five landmarks each (`alignment.align`).

    Args:
        landmarks: (n, 5, 2), x and y in pixels: left and right eye as one looks at the picture, nose, left and right corner of the
            mouth.
    """

    landmarks: np.ndarray

    @property
    def side(self) -> int:
        """That of the template."""
        return 112

    def check(self, size: tuple[int, int]) -> None:
        """Any size will do."""

    def told(self) -> str:
        """A hash of the landmarks."""
        return f"aligned by {hashlib.sha256(np.ascontiguousarray(self.landmarks, np.float64).data).hexdigest()}"

    def __call__(self, image: Image.Image, number: int) -> np.ndarray:
        """Align."""
        from .alignment import align

        return np.asarray(align(np.asarray(image), self.landmarks[number]))


@dataclass(frozen=True, eq=False)
class PictureFiles:
    """`Pictures` out of files.

    Args:
        files: where they lie.
        prepare: brings each to one size.
        keep_bytes: memory for decoded pictures that are kept.
    """

    files: Files
    prepare: Prepare
    keep_bytes: int = KEEP_BYTES
    _kept: dict[int, np.ndarray] = field(default_factory=dict, init=False, repr=False)

    def __len__(self) -> int:
        return len(self.files.names)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.prepare.side, self.prepare.side

    def read(self, numbers: Any) -> np.ndarray:
        """The pictures with these numbers, in this order.

        Raises:
            BadInput: one cannot be read, or is of a size that cannot be taken; the message names the file.
        """
        wanted = np.asarray(numbers, dtype=np.int64).reshape(-1)
        pictures = np.empty((len(wanted), 3, *self.size), np.uint8)
        for place, number in zip(pictures, wanted.tolist(), strict=True):
            try:
                place[:] = self._one(number % len(self) if -len(self) <= number < 0 else number)
            except Unusable as error:
                raise BadInput(
                    f"{self.files.names[number]} in {self.files.place} cannot be used",
                    why=f"it {error}",
                    mend="replace it, or let damaged pictures be left out when the set is loaded",
                ) from None
        return pictures

    def unusable(self, *, decode: bool) -> dict[int, str]:
        """Which pictures cannot be used, and why. Without `decode` only headers are looked at: fast, but blind to cut-off files."""
        found = {}
        for number in range(len(self)):
            try:
                if decode:
                    self._one(number)
                else:
                    self._opened(number)
            except Unusable as error:
                found[number] = str(error)
        return found

    def content_hash(self) -> str:
        """SHA-256 over the names, the encoded bytes of every file, and how they are prepared."""
        return self._hash

    @cached_property
    def _hash(self) -> str:
        digest = hashlib.sha256(f"{self.prepare.told()}\0".encode())
        for number, name in enumerate(self.files.names):
            raw = self.files.raw(number)
            digest.update(f"{name}\0{len(raw)}\0".encode())
            digest.update(raw)
        return digest.hexdigest()

    def _one(self, number: int) -> np.ndarray:
        found = self._kept.get(number)
        if found is None:
            found = self._decoded(number)
            if (len(self._kept) + 1) * found.nbytes <= self.keep_bytes:
                self._kept[number] = found
        return found

    def _decoded(self, number: int) -> np.ndarray:
        image = self._opened(number)
        try:
            pixels = self.prepare(image.convert("RGB"), number)
        except BadInput as error:
            raise Unusable(f"cannot be prepared ({error.what})") from None
        except Exception as error:  # Of a damaged image PIL raises whatever it stumbles on.
            raise Unusable(f"cannot be decoded ({type(error).__name__})") from None
        return np.ascontiguousarray(pixels.transpose(2, 0, 1))

    def _opened(self, number: int) -> Image.Image:
        try:
            image = Image.open(io.BytesIO(self.files.raw(number)), formats=["JPEG", "PNG"])
        except Exception as error:
            raise Unusable(f"cannot be read as JPEG or PNG ({type(error).__name__})") from None
        if image.mode.startswith(("I", "F")):
            raise Unusable("has more than 8 bits a colour")
        self.prepare.check(image.size)
        return image

    def __getstate__(self) -> dict[str, Any]:
        # Another process decodes for itself: what is kept here would only make the way there longer.
        return {**self.__dict__, "_kept": {}}


def some_of(names: Sequence[str]) -> str:
    """The first names of a list, and how many more there are.

    >>> some_of(["a", "b", "c", "d", "e"])
    'a, b, c and 2 more'
    """
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
