"""What a folder or a table of videos holds, before any is opened: where each lies, whether it is forged and how, and who is on it.

>>> real = Listed(VideoFile(Path("000.mp4")), "real/000", people=("000",))
>>> forged = Listed(VideoFile(Path("000_003.mp4")), "DF/000_003", "DF", people=("000", "003"), source="real/000")
>>> groups([real, forged, Listed(VideoFile(Path("7.mp4")), "real/007", people=("007",))]).tolist()
[0, 0, 1]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ..errors import BadInput
from .video_frames import FrameFiles
from .video_reading import VideoFile
from .videos import REAL

SUFFIXES = {".mp4", ".avi", ".mov", ".mkv", ".webm", ".mpg", ".mpeg", ".m4v"}
TRAIN, VALIDATION, TEST = "train", "validation", "test"
SPLITS = (TRAIN, VALIDATION, TEST)
SPLIT_WORDS = {
    "train": TRAIN,
    "training": TRAIN,
    "val": VALIDATION,
    "valid": VALIDATION,
    "validation": VALIDATION,
    "test": TEST,
}
REAL_WORDS, FORGED_WORDS = {"real", "original", "pristine", "0"}, {"fake", "forged", "1"}
NOT_THERE, NO_SPLIT = "the file is not there", "in none of the splits"
STRANGER = "whoever is on "  # begins the name of somebody who is told apart by one video only


@dataclass(frozen=True)
class Listed:
    """One video.

    Args:
        footage: where it lies.
        name: unique in its listing.
        family: how it was forged, or `REAL`.
        people: names of whoever is on it: first the one whose video it is, then those whose faces were put in.
        split: train, validation or test; empty where nobody says.
        source: name of the real video that it was made from; empty: unknown, or real.
    """

    footage: VideoFile | FrameFiles
    name: str
    family: str = REAL
    people: tuple[str, ...] = ()
    split: str = ""
    source: str = ""

    @property
    def of_nobody_known(self) -> bool:
        """Whether nothing tells who is on it."""
        return all(one.startswith(STRANGER) for one in self.people)


@dataclass(frozen=True)
class Listing:
    """Videos, and how many more were named but not taken, by the reason."""

    videos: tuple[Listed, ...]
    left_out: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = [video.name for video in self.videos]
        if len(set(names)) != len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise BadInput(f"{len(names) - len(set(names))} videos have a name twice", why=f"the first is {twice}")

    def of(self, *splits: str) -> Listing:
        """Those of some splits."""
        return replace(self, videos=tuple(video for video in self.videos if video.split in splits))

    def all_in(self, split: str) -> Listing:
        """The same videos, all of one split."""
        return replace(self, videos=tuple(replace(video, split=split) for video in self.videos))

    def without_absent(self) -> Listing:
        """Those whose file is there; the others are counted."""
        there = tuple(video for video in self.videos if is_there(video))
        return self.keeping(there, NOT_THERE)

    def keeping(self, kept: Sequence[Listed], why: str) -> Listing:
        """Only these, the others counted as left out for this reason."""
        lost = len(self.videos) - len(kept)
        counts = dict(self.left_out)
        if lost:
            counts[why] = counts.get(why, 0) + lost
        return Listing(tuple(kept), counts)


def is_there(video: Listed) -> bool:
    """Whether its file, or the first of its frames, is there."""
    if isinstance(video.footage, VideoFile):
        return video.footage.path.is_file()
    return bool(video.footage.paths) and video.footage.paths[0].is_file()


def videos_in(folder: Path) -> list[Path]:
    """Video files below a folder, by name, hidden ones aside."""
    found = (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and not path.name.startswith("."))
    return sorted(path for path in found if path.is_file())


def groups(videos: Sequence[Listed]) -> np.ndarray:
    """Numbers of groups of people, int64 (n,): whoever is on one video, or on a forgery and its source, is of one group.

    Groups are numbered in the order in which they appear. A video of nobody known is a group of its own, with what was made from it.
    """
    parents: dict[str, str] = {}

    def root(key: str) -> str:
        parents.setdefault(key, key)
        while parents[key] != key:
            parents[key] = parents[parents[key]]
            key = parents[key]
        return key

    for video in videos:
        keys = [f"video {video.name}", *(f"person {one}" for one in video.people)]
        for key in keys + ([f"video {video.source}"] if video.source else []):
            parents[root(key)] = root(keys[0])
    return _numbered([root(f"video {video.name}") for video in videos])


def shown_people(videos: Sequence[Listed]) -> np.ndarray:
    """Numbers of the people whose videos these are, int64 (n,), however faces were swapped among them; for videos that are scored only.

    A forgery of nobody known goes with its source.
    """
    return _numbered([(video.people[0] if video.people else f"\0{video.source or video.name}") for video in videos])


def _numbered(keys: Sequence[str]) -> np.ndarray:
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    return np.array([numbers[key] for key in keys], np.int64)
