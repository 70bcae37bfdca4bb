"""Landmarks of videos in files: NAME.npz, with the points of each frame in pixels of the video's own pictures.

- `lm16`: whole numbers (frames, 468 or 478, 2), MediaPipe's mesh times 8, counted from the corner of the first pixel, as this project's
  measurement data have it;
- `points`: float (frames, p, 2), p of 5, 68, 468 or 478, (0, 0) the centre of the first pixel; NaN where there is no face.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..errors import BadInput
from .alignment import OF_68
from .landmarks import SIXTY_EIGHT
from .video_frames import FrameFiles
from .video_reading import UnusableVideo, VideoFile

PER_PIXEL = 8  # of lm16
COUNTS = (5, 68, 468, 478)


@dataclass(frozen=True)
class LandmarkFiles:
    """A folder of such files, each found by the path of its video below `root`, or by the video's file name alone where that is unique.

    Args:
        folder: of the files.
        root: of the videos.
        videos: all of them.
    """

    folder: Path
    root: Path
    videos: Iterable[VideoFile | FrameFiles] = ()
    _ambiguous: set[str] = field(default_factory=set, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.folder.is_dir():
            raise BadInput(
                f"{self.folder} is not there",
                why="landmarks are to be read from it",
                mend="give data.landmarks=FOLDER, or data.crop.points=none for videos that are crops already",
            )
        seen: set[str] = set()
        for video in self.videos:
            name = place_of(video).name
            (self._ambiguous if name in seen else seen).add(name)

    def find(self, video: VideoFile | FrameFiles) -> Path | None:
        """The file of a video; None where there is none."""
        place = place_of(video)
        tried = []
        if place.is_relative_to(self.root):
            below = place.relative_to(self.root)
            tried += [below.with_name(f"{place.name}.npz"), below.with_suffix(".npz")]
        if place.name not in self._ambiguous:
            tried += [Path(f"{place.name}.npz"), Path(f"{place.stem}.npz")]
        return next((self.folder / one for one in tried if (self.folder / one).is_file()), None)


def place_of(video: VideoFile | FrameFiles) -> Path:
    """The file, or the folder of the frames."""
    return video.path if isinstance(video, VideoFile) else video.paths[0].parent


def read_points(path: Path) -> np.ndarray:
    """Points (frames, p, 2) in pixels, p of 5, 468 or 478: of 68 points, the five that place a face; NaN where there is no face.

    Raises:
        UnusableVideo: the file cannot be read, or holds something else.
    """
    try:
        with np.load(path, allow_pickle=False) as held:
            name = next((one for one in ("lm16", "points") if one in held.files), None)
            array = None if name is None else np.asarray(held[name], dtype=float)
    except Exception as error:  # Of a damaged archive NumPy raises whatever it stumbles on.
        why = type(error).__name__
        raise UnusableVideo(f"cannot read landmarks from {path}", why=why, mend="make them again") from None
    if array is None or array.ndim != 3 or array.shape[1] not in COUNTS or array.shape[2] != 2 or not len(array):
        raise UnusableVideo(
            f"{path} holds no landmarks",
            why=f"`lm16` or `points` of shape (frames, p, 2), p one of {', '.join(map(str, COUNTS))}, is expected",
        )
    if name == "lm16":
        array = array / PER_PIXEL - 0.5
    if array.shape[1] == SIXTY_EIGHT:
        array = np.stack([array[:, list(some)].mean(1) for some in OF_68], 1)
    return array
