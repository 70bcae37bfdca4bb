"""Videos that come as one picture file a frame, as some benchmarks hand them out: sorted by the whole number that a name ends with.

>>> [path.name for path in in_order([Path("10.png"), Path("9.png"), Path("frame_0002.png")])]
['frame_0002.png', '9.png', '10.png']
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from .video_reading import Timeline, UnusableVideo

SUFFIXES = {".png", ".jpg", ".jpeg"}


class Footage(Protocol):
    """A video, however it is stored: `video_reading.VideoFile`, or `FrameFiles`."""

    @property
    def name(self) -> str:
        """For messages."""

    @property
    def timeline(self) -> Timeline:
        """When its frames are shown."""

    def frames(self, numbers: Any) -> Iterator[tuple[int, np.ndarray]]:
        """Number and picture, uint8 (height, width, 3), of the frames wanted that can be read, in rising order, each once."""


@dataclass(frozen=True)
class FrameFiles:
    """Pictures of one size, one a frame, in this order.

    Args:
        paths: of the pictures.
        rate: frames per second, which pictures do not tell.
    """

    paths: tuple[Path, ...]
    rate: float = 25.0

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.paths[0].parent.name if self.paths else "no frames"

    @property
    def timeline(self) -> Timeline:
        """Evenly spaced."""
        if not self.paths:
            raise UnusableVideo("a video lists no frames")
        return Timeline(np.arange(len(self.paths)) / self.rate, self.rate)

    def frames(self, numbers: Any) -> Iterator[tuple[int, np.ndarray]]:
        """Yield the frames that can be read."""
        size = None
        for number in np.unique(np.asarray(numbers, dtype=np.int64)).tolist():
            try:
                with Image.open(self.paths[number]) as image:
                    picture = np.asarray(image.convert("RGB"))
            except Exception:  # Of a damaged image PIL raises whatever it stumbles on; an oversized one it refuses.
                continue
            if picture.shape != (size := size or picture.shape):
                raise UnusableVideo(f"{self.name} changes the size of its pictures on the way")
            yield number, picture


def frames_in(folder: Path, rate: float = 25.0) -> FrameFiles:
    """The pictures in a folder.

    Raises:
        UnusableVideo: it is not there, or holds none.
    """
    found = [path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES] if folder.is_dir() else []
    if not found:
        raise UnusableVideo(f"{folder} holds no frames", mend="give a folder of png or jpg files, one a frame")
    return FrameFiles(tuple(in_order(found)), rate)


def in_order(paths: Iterable[Path]) -> list[Path]:
    """Sorted by the whole number that the name ends with; names without one come first."""

    def place(path: Path) -> tuple[int, str]:
        found = re.search(r"(\d+)$", path.stem)
        return (int(found[1]) if found else -1), path.name

    return sorted(paths, key=place)
