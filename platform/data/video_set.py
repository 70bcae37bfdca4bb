"""What all kinds of video sets share: how faces are cut out, where they are kept, and how listings become the parts of the data.

All that is drawn (who is tested, donors, forgeries) depends on `protocol_seed` and not on the run's seed, so that runs of different
seeds are scored on the same videos.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ..errors import BadInput
from ..privacy.validate import positive_int
from .video_building import FILES, Cut, cut_listing, video_set
from .video_cache import Entry, VideoCache, usual_cache
from .video_crops import CropSettings
from .video_landmarks import LandmarkFiles
from .video_listing import TEST, TRAIN, VALIDATION, Listed, Listing, groups, shown_people
from .videos import REAL, VideoData, VideoSet


@dataclass(frozen=True)
class VideoKind:
    """What all kinds share.

    Args:
        name: of the data set.
        root: the folder that the paths are relative to, or that holds the set.
        protocol_seed: decides all that is drawn.
        held_out: families of forgeries that are left out of the parts to learn from; those that occur in the test part only are held
            out in any case.
    """

    provides: ClassVar[str] = "videos"

    name: str = "videos"
    root: str | None = None
    protocol_seed: int = 7
    held_out: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "held_out", tuple(self.held_out))

    def load(self, *, seed: int, key: bytes) -> VideoData:
        """Load it. Neither `seed` nor `key` matters: `protocol_seed` draws, and people are numbers.

        Raises:
            BadInput: files are missing, nothing can be used, or nothing is left to learn from.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class FiledVideos(VideoKind):
    """Kinds that read files.

    Args:
        crop: how faces are cut out.
        landmarks: folder of landmark files, where `crop.points` is "files".
        cache: folder of cut-out faces; None: `stillhouse/videos` in the user's cache folder.
        verify: look at the checksums of the cache whenever the data are loaded.
        threads: videos that are decoded at a time.
    """

    crop: CropSettings = field(default_factory=CropSettings)
    landmarks: str | None = None
    cache: str | None = None
    verify: bool = True
    threads: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        positive_int(threads=self.threads)

    def place(self, path: str | None, setting: str = "root") -> Path:
        """A path that is relative to the root.

        Raises:
            BadInput: none is given.
        """
        if path is None:
            raise BadInput(
                f"'{self.name}' has no {setting}", why="nothing is downloaded", mend=f"give data.{setting}=FOLDER"
            )
        return (Path(self.root or ".") / path).resolve()

    def at_root(self) -> Path:
        """The root itself."""
        self.place(self.root)
        return Path(self.root or ".").resolve()

    def opened_cache(self) -> VideoCache:
        """Where cut-out faces are kept."""
        return VideoCache(usual_cache() if self.cache is None else Path(self.cache), self.verify)

    def cut(
        self, listing: Listing, cache: VideoCache, *, crop: CropSettings | None = None, below: Path | None = None
    ) -> Cut:
        """The faces of a listing, by landmarks whose files follow the paths of the videos below `below` (the root)."""
        crop = crop or self.crop
        files = None
        if crop.points == FILES and self.landmarks is not None:
            files = LandmarkFiles(
                self.place(self.landmarks, "landmarks"),
                below or self.at_root(),
                tuple(video.footage for video in listing.videos),
            )
        return cut_listing(listing, crop, cache, landmarks=files, threads=self.threads)


@dataclass(frozen=True, eq=False)
class Source:
    """The faces of one data set, and whether it is only scored on.

    Where it is only scored on, identities are the people whose videos these are; elsewhere they are groups of all who share a video,
    since parts are told apart by them.
    """

    cut: Cut
    scored_only: bool = False

    @property
    def identities(self) -> np.ndarray:
        """Numbers from 0, int64 (n,)."""
        return (shown_people if self.scored_only else groups)(self.cut.videos)


def assembled(
    name: str, sources: Sequence[Source], held_out: Sequence[str], *, cache: VideoCache, crop: CropSettings, told: str
) -> VideoData:
    """The three parts from the splits of all sources.

    Args:
        name: of the data.
        sources: data sets; people of different ones are different people.
        held_out: families that are left out of the parts to learn from.
        cache: which tells what it found.
        crop: how faces were cut out.
        told: the beginning of the protocol.

    Raises:
        BadInput: a part lacks real or forged videos, or an unknown family is held out.
    """
    videos: list[Listed] = []
    entries: list[Entry] = []
    people: list[int] = []
    before = 0
    for source in sources:
        identities = source.identities
        videos += source.cut.videos
        entries += source.cut.entries
        people += (identities + before).tolist()
        before += int(identities.max()) + 1 if len(identities) else 0
    known = {video.family for video in videos} - {REAL}
    unknown = [family for family in held_out if family not in known]
    if unknown:
        raise BadInput(
            f"families {', '.join(unknown)} are held out, and no video is of them",
            mend=f"use some of {', '.join(sorted(known)) or 'none: there are no forgeries'}",
        )
    parts: dict[str, VideoSet] = {}
    for split in (TRAIN, VALIDATION, TEST):
        numbers = [
            number
            for number, video in enumerate(videos)
            if video.split == split and (split == TEST or video.family not in held_out)
        ]
        parts[split] = video_set(
            [videos[number] for number in numbers],
            [entries[number] for number in numbers],
            np.array([people[number] for number in numbers], np.int64),
        )
    lost = "".join(source.cut.in_words() for source in sources)
    return finished(name, parts, f"{told}{lost} {cache.in_words()}", crop.to_json())


def finished(name: str, parts: Mapping[str, VideoSet], told: str, preprocessing: Mapping[str, Any]) -> VideoData:
    """The data, once their parts are checked; families that occur in the test part only are held out.

    Raises:
        BadInput: a part lacks real or forged videos.
    """
    for split, part in parts.items():
        real, forged = int((~part.forged).sum()), int(part.forged.sum())
        if not real or not forged:
            raise BadInput(
                f"the {split} part of '{name}' has {real} real and {forged} forged videos",
                why=f"a detector learns, and is scored, on both. {told}",
                mend="check that both are there and can be used",
            )
    learnt = {*parts[TRAIN].forgeries, *parts[VALIDATION].forgeries}
    held_out = tuple(family for family in parts[TEST].forgeries if family not in learnt)
    counts = "; ".join(
        f"{split}: {int((~part.forged).sum()):,} real and {int(part.forged.sum()):,} forged tracks of "
        f"{len(np.unique(part.identities)):,} identities"
        for split, part in parts.items()
    )
    unseen = f" Held out, in the test part only: {', '.join(held_out)}." if held_out else ""
    return VideoData(
        parts[TRAIN], parts[VALIDATION], parts[TEST], held_out, name, f"{told} {counts}.{unseen}", dict(preprocessing)
    )
