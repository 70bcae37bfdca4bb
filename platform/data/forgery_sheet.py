"""A contact sheet of forgeries: one row a family, frames that follow one another.

>>> from .videos import InMemoryTracks
>>> track = np.zeros((9, 3, 24, 24), np.uint8)
>>> one = VideoSet(InMemoryTracks([track]), np.array([False]), np.array([0]), ("real",), ("a",), np.array([-1]))
>>> contact_sheet(one, frames=8).shape
(36, 192, 3)
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from ..errors import BadInput
from .videos import VideoSet

TITLE = 12  # height of a row's title (pixels)


def contact_sheet(videos: VideoSet, *, frames: int = 8, start: int = 0, source: int | None = None) -> np.ndarray:
    """Return a picture uint8 (height, width, 3): a row for the real track, and one for each family made from it.

    Args:
        videos: a set with real tracks.
        frames: how many a row shows.
        start: number of the first one.
        source: number of the real track; the first one that most families were made from if None.

    Raises:
        BadInput: there is no real track, the number is not one's, or it has too few frames.
    """
    real = np.flatnonzero(~videos.forged)
    if not len(real):
        raise BadInput("a contact sheet of a set without real tracks", why="its first row is one")
    if source is None:
        families = [len({videos.families[i] for i in np.flatnonzero(videos.source == number)}) for number in real]
        source = int(real[int(np.argmax(families))])
    if source not in real.tolist():
        raise BadInput(f"track {source} is not a real one of {len(videos)}")
    rows = [source]
    for family in videos.forgeries:
        made = [i for i in np.flatnonzero(videos.source == source).tolist() if videos.families[i] == family]
        rows += made[:1]
    return np.concatenate([_row(videos, number, start, frames) for number in rows])


def _row(videos: VideoSet, number: int, start: int, frames: int) -> np.ndarray:
    shown = videos.tracks.read(number, np.arange(start, start + frames))
    row = np.concatenate(list(shown.transpose(0, 2, 3, 1)), axis=1)
    title = Image.new("RGB", (row.shape[1], TITLE), "white")
    ImageDraw.Draw(title).text((2, 0), videos.families[number], fill="black")
    return np.concatenate([np.asarray(title), row])
