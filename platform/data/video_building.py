"""From a listing of videos to cut-out faces: each video is opened once, what cannot be used is left out and counted by the reason."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import BadInput
from .landmarks import landmark_finder
from .video_cache import CachedTracks, Entry, VideoCache, entry_key, file_state
from .video_crops import NONE, CropSettings, FaceTrack, cut_track, found_points
from .video_frames import FrameFiles
from .video_landmarks import LandmarkFiles, read_points
from .video_listing import TEST, TRAIN, VALIDATION, Listed, Listing, groups
from .video_reading import UnusableVideo, VideoFile
from .videos import NO_SOURCE, REAL, VideoSet

FILES = "files"


@dataclass(frozen=True, eq=False)
class Cut:
    """Videos that could be used, in order, the face of each; and what has to be said of the others."""

    videos: tuple[Listed, ...]
    entries: tuple[Entry, ...]
    left_out: dict[str, int]

    @property
    def missing(self) -> int:
        """Frames that could not be decoded, or have no landmarks because these end before."""
        return sum(entry.missing for entry in self.entries)

    def in_words(self) -> str:
        """What has to be said of what is not there, or there twice."""
        told = ""
        if self.left_out:
            told += f" {sum(self.left_out.values()):,} videos are left out: {reasons(self.left_out)}."
        if self.missing:
            told += f" {self.missing:,} frames could not be decoded, or lie beyond the end of the landmarks, and are left out."
        repeated = sum(
            entry.repeated for entry, video in zip(self.entries, self.videos, strict=True) if video.family == REAL
        )
        if repeated:
            told += f" {repeated:,} frames of real videos repeat the one before, as a forger's would who holds frames."
        return told


def cut_listing(
    listing: Listing,
    settings: CropSettings,
    cache: VideoCache,
    *,
    landmarks: LandmarkFiles | None = None,
    threads: int = 1,
) -> Cut:
    """Cut out the faces of all videos of a listing.

    A forged video whose source is listed is cut by the landmarks of its source, where there are any; the real one then needs as many
    frames, or the forgery ends with it.

    Args:
        listing: the videos.
        settings: how.
        cache: where cut-out faces are kept.
        landmarks: their files, for `settings.points` of "files".
        threads: videos that are decoded at a time; one, where a finder of landmarks is at work.

    Raises:
        BadInput: not one video can be used; the message says why, by number.
    """
    by_name = {video.name: video for video in listing.videos}
    make = _Making(settings, landmarks)

    def one(video: Listed) -> Entry | str:
        try:
            return make(video, by_name.get(video.source), cache)
        except UnusableVideo as error:
            return _reason(error, video)

    if threads > 1 and make.finder is None:
        with ThreadPoolExecutor(threads) as pool:
            found = list(pool.map(one, listing.videos))
    else:
        found = [one(video) for video in listing.videos]
    left_out = dict(listing.left_out)
    for result in found:
        if isinstance(result, str):
            left_out[result] = left_out.get(result, 0) + 1
    kept = [(video, entry) for video, entry in zip(listing.videos, found, strict=True) if isinstance(entry, Entry)]
    if not kept:
        raise BadInput(
            f"not one of {len(listing.videos) + sum(listing.left_out.values()):,} videos can be used",
            why=reasons(left_out) or "none is listed",
            mend="mend what is said; a detector that scores what was never loaded tells nothing",
        )
    return Cut(tuple(video for video, _ in kept), tuple(entry for _, entry in kept), left_out)


def reasons(left_out: Mapping[str, int]) -> str:
    """How many were left out, by the reason, the most frequent first.

    >>> reasons({"shows no face": 2, "is too short": 11})
    '11 x is too short, 2 x shows no face'
    """
    return ", ".join(f"{count:,} x {why}" for why, count in sorted(left_out.items(), key=lambda one: (-one[1], one[0])))


def video_set(videos: Sequence[Listed], entries: Sequence[Entry], identities: np.ndarray) -> VideoSet:
    """The set of some videos; a forgery's source is its number where it is among them."""
    numbers = {video.name: number for number, video in enumerate(videos)}
    source = [numbers.get(video.source, NO_SOURCE) if video.family != REAL else NO_SOURCE for video in videos]
    return VideoSet(
        CachedTracks(tuple(entries)),
        np.array([video.family != REAL for video in videos], bool),
        np.asarray(identities, np.int64),
        tuple(video.family for video in videos),
        tuple(video.name for video in videos),
        np.array(source, np.int64),
    )


def with_splits(listing: Listing, *, validation: float, test: float, seed: int) -> tuple[Listing, str]:
    """The listing with a split for every video, and how that came about.

    Where the listing tells all splits they stay. Where it tells none, groups of people of whom there are real videos are shuffled by
    Python's `random.Random(seed)`; the first of them are tested, the next validate, the others are learnt from. Then groups of forged
    videos only are dealt out in the same way. Real videos of nobody known, and forged videos that tell neither people nor source, are
    counted in the words: whoever is on them may be on videos of another part as well.

    Raises:
        BadInput: some videos have a split and others have none, or there are too few people.
    """
    videos = listing.videos
    told = sum(bool(video.split) for video in videos)
    if told == len(videos):
        return listing, f"Splits are those of the list.{_unknown(videos)}"
    if told:
        raise BadInput(
            f"{len(videos) - told:,} of {len(videos):,} videos have no split", mend="give all of them one, or none"
        )
    numbers = groups(videos)
    real = sorted({int(number) for video, number in zip(videos, numbers, strict=True) if video.family == REAL})
    tested, validating = max(1, round(test * len(real))), max(1, round(validation * len(real)))
    if tested + validating >= len(real):
        raise BadInput(
            f"{len(real)} groups of people are too few",
            why=f"{tested} would be tested and {validating} would validate, which leaves none to learn from",
            mend="gather videos of more people, or say by an identities table who is who",
        )
    shuffled = random.Random(seed)
    split_of = _dealt(real, tested, validating, shuffled)
    # Forgeries of nobody known take no person's place.
    others = sorted(set(numbers.tolist()) - set(real))
    split_of |= _dealt(others, math.ceil(test * len(others)), round(validation * len(others)), shuffled)
    chosen = tuple(replace(video, split=split_of[int(number)]) for video, number in zip(videos, numbers, strict=True))
    how = (
        f"The {len(real)} groups of people were shuffled by seed {seed}: {len(real) - tested - validating} to learn from, "
        f"{validating} to validate, {tested} to test."
    )
    return Listing(chosen, listing.left_out), how + _unknown(videos)


def _unknown(videos: Sequence[Listed]) -> str:
    """Sentences on videos that nothing keeps apart from other videos of the same people; empty where there are none."""
    real = [video for video in videos if video.family == REAL]
    strangers = sum(video.of_nobody_known for video in real)
    count = sum(video.family != REAL and not video.people and not video.source for video in videos)
    told = ""
    if strangers:
        told += (
            f" Of {strangers:,} of {len(real):,} real videos it is not known who is on them: each counts as somebody else, and people "
            "on several of them may be in several parts (data.identities tells who is who)."
        )
    if count:
        told += (
            f" {count:,} forged videos tell neither who is on them nor what they were made from: people on them may be in another part "
            "as well (data.identities tells who is who)."
        )
    return told


def _dealt(numbers: list[int], tested: int, validating: int, shuffled: random.Random) -> dict[int, str]:
    order = list(numbers)
    shuffled.shuffle(order)
    words = [TEST] * tested + [VALIDATION] * validating
    return dict(zip(order, (words + [TRAIN] * len(order))[: len(order)], strict=True))


class _Making:
    """Cuts one video, by the landmarks that the settings name."""

    def __init__(self, settings: CropSettings, landmarks: LandmarkFiles | None) -> None:
        if settings.points == FILES and landmarks is None:
            raise BadInput(
                "no folder of landmarks is given",
                why="data.crop.points is files",
                mend="give data.landmarks=FOLDER (data.faceforensics_landmarks for what is learnt from FaceForensics++), or set "
                "data.crop.points to none (videos that are crops already), mediapipe, dlib or opencv",
            )
        self.settings, self.landmarks = settings, landmarks if settings.points == FILES else None
        finds = settings.points not in (FILES, NONE)
        self.finder = landmark_finder(settings.points) if finds else None

    def __call__(self, video: Listed, source: Listed | None, cache: VideoCache) -> Entry:
        by = source or video
        points = (
            None if self.landmarks is None else self.landmarks.find(by.footage) or self.landmarks.find(video.footage)
        )
        if self.landmarks is not None and points is None:
            raise UnusableVideo(f"{video.footage.name} has no landmarks", mend="make them, or leave it out")
        placed_by = by if self.finder is not None else video
        key = entry_key(
            video=_state(video.footage),
            settings=self.settings.to_json(),
            points=file_state(points) if points is not None else _state(placed_by.footage),
        )
        return cache.get(key, lambda: self._cut(video, placed_by, None if points is None else _read(points, video)))

    def _cut(self, video: Listed, placed_by: Listed, points: np.ndarray | None) -> FaceTrack:
        find: Callable[[np.ndarray], np.ndarray | None] | None = None if self.finder is None else self.finder.find
        if find is not None and placed_by is not video:
            numbers, _ = self.settings.chosen(placed_by.footage.timeline, placed_by.footage.name)
            points, find = found_points(placed_by.footage, numbers, find), None
        return cut_track(video.footage, self.settings, points=points, finder=find)


def _read(points: Path, video: Listed) -> np.ndarray:
    """The landmarks; what is wrong with them is told of the video, which is then left out."""
    try:
        return read_points(points)
    except UnusableVideo as error:
        why = f"{error.what}{f' ({error.why})' if error.why else ''}"
        name = video.footage.name
        raise UnusableVideo(f"{name} has landmarks that cannot be used", why=why, mend="make them again") from None


def _state(footage: VideoFile | FrameFiles) -> Any:
    """What tells a video from what it was before."""
    try:
        if isinstance(footage, VideoFile):
            return file_state(footage.path)
        return [footage.rate, *(file_state(path) for path in footage.paths)]
    except OSError:
        raise UnusableVideo(f"{footage.name} is not there", mend="copy it again, or leave it out") from None


def _reason(error: UnusableVideo, video: Listed) -> str:
    """The error's words after the video's name: what many videos have in common."""
    return error.what.rpartition(video.footage.name)[2].strip() or error.what
