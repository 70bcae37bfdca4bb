"""Videos of faces: tracks of square crops, which of them are forged and how, and who is on them.

A track is one face in one video, cut out alike in every frame. Tracks may lie in memory or on disk; whoever uses them asks for frames:

>>> still = np.zeros((8, 3, 16, 16), np.uint8)
>>> tracks = InMemoryTracks([still, still[:6]])
>>> len(tracks), tracks.side, tracks.frames(1), tracks.read(0, [0, 2, 4]).shape
(2, 16, 6, (3, 3, 16, 16))
>>> videos = VideoSet(tracks, np.array([False, True]), np.array([4, 4]), (REAL, "SBI"), ("a", "a.SBI"), np.array([-1, 0]))
>>> videos.take([1]).source.tolist()
[-1]
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from ..errors import BadInput

REAL = "real"
NO_SOURCE = -1


class Tracks(Protocol):
    """Faces in videos, by number: RGB, one square size for all, each with its own number of frames."""

    def __len__(self) -> int:
        """How many."""

    @property
    def side(self) -> int:
        """Height and width of every frame (pixels)."""

    def frames(self, number: int) -> int:
        """How many frames a track has."""

    def fps(self, number: int) -> float:
        """Its frames per second."""

    def read(self, number: int, frames: Any) -> np.ndarray:
        """Some of its frames, in the order asked for: uint8 (t, 3, side, side)."""

    def track_hash(self, number: int) -> str:
        """SHA-256 that changes with any frame of a track, and with its rate."""


class LandmarkedTracks(Tracks, Protocol):
    """Tracks that also know where the face's points lie in every frame."""

    def landmarks(self, number: int, frames: Any) -> np.ndarray:
        """Points (x, y) in pixels of the crop, (0, 0) the centre of its first pixel: float32 (t, points, 2)."""


def tracks_hash(tracks: Tracks) -> str:
    """SHA-256 over the hashes of all tracks, in their order; however they are put together, the same tracks have the same one."""
    hashes = (tracks.track_hash(number) for number in range(len(tracks)))
    return hashlib.sha256("".join(hashes).encode()).hexdigest()


@dataclass(frozen=True, eq=False)
class InMemoryTracks:
    """Tracks as arrays, each uint8 (frames, 3, side, side).

    Args:
        videos: the tracks.
        rate: frames per second, of all or of each.
    """

    videos: Sequence[np.ndarray]
    rate: float | Sequence[float] = 25.0

    def __post_init__(self) -> None:
        shapes = {check_track(video)[1:] for video in self.videos}
        if len(shapes) > 1:
            raise BadInput(f"tracks of sides {sorted(shape[1] for shape in shapes)}", mend="bring all to one size")
        rates = self._rates()
        if len(rates) != len(self.videos) or not (np.isfinite(rates) & (rates > 0)).all():
            raise BadInput(
                f"{len(self.videos)} tracks and {len(rates)} rates",
                why="each track has a number of frames per second above 0",
            )

    def _rates(self) -> np.ndarray:
        given = np.asarray(self.rate, dtype=float)
        return np.full(len(self.videos), float(given)) if given.ndim == 0 else given

    def __len__(self) -> int:
        return len(self.videos)

    @property
    def side(self) -> int:
        """Height and width of every frame; 0 where there is no track."""
        return int(self.videos[0].shape[2]) if len(self.videos) else 0

    def frames(self, number: int) -> int:
        """How many frames a track has."""
        return len(self.videos[number])

    def fps(self, number: int) -> float:
        """Its frames per second."""
        return float(self._rates()[number])

    def read(self, number: int, frames: Any) -> np.ndarray:
        """Some of its frames, in the order asked for."""
        return np.asarray(self.videos[number][frame_numbers(frames, len(self.videos[number]))])

    def track_hash(self, number: int) -> str:
        """SHA-256 over shape, rate and pixels."""
        video = self.videos[number]
        digest = hashlib.sha256(f"{video.shape} {self.fps(number)!r}".encode())
        digest.update(np.ascontiguousarray(video).data)
        return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class JoinedTracks:
    """The tracks of several collections, one collection after another."""

    parts: Sequence[Tracks]

    def __post_init__(self) -> None:
        sides = {part.side for part in self.parts if len(part)}
        if len(sides) > 1:
            raise BadInput(f"tracks of sides {sorted(sides)}", mend="bring all to one size")

    def __len__(self) -> int:
        return sum(len(part) for part in self.parts)

    @property
    def side(self) -> int:
        """Height and width of every frame; 0 where there is no track."""
        return next((part.side for part in self.parts if len(part)), 0)

    def _at(self, number: int) -> tuple[Tracks, int]:
        if number < 0:
            raise IndexError(f"tracks are numbered from 0, not {number}")
        for part in self.parts:
            if number < len(part):
                return part, number
            number -= len(part)
        raise IndexError(f"there are {len(self)} tracks")

    def frames(self, number: int) -> int:
        """How many frames a track has."""
        part, here = self._at(number)
        return part.frames(here)

    def fps(self, number: int) -> float:
        """Its frames per second."""
        part, here = self._at(number)
        return part.fps(here)

    def read(self, number: int, frames: Any) -> np.ndarray:
        """Some of its frames, in the order asked for."""
        part, here = self._at(number)
        return part.read(here, frames)

    def track_hash(self, number: int) -> str:
        """SHA-256 that changes with any frame of a track, and with its rate."""
        part, here = self._at(number)
        return part.track_hash(here)


@dataclass(frozen=True, eq=False)
class ChosenTracks:
    """Some of the tracks of `whole`: those with the numbers `kept`, int64 (n,), in this order."""

    whole: Tracks
    kept: np.ndarray

    def __len__(self) -> int:
        return len(self.kept)

    @property
    def side(self) -> int:
        """Height and width of every frame."""
        return self.whole.side

    def frames(self, number: int) -> int:
        """How many frames a track has."""
        return self.whole.frames(int(self.kept[number]))

    def fps(self, number: int) -> float:
        """Its frames per second."""
        return self.whole.fps(int(self.kept[number]))

    def read(self, number: int, frames: Any) -> np.ndarray:
        """Some of its frames, in the order asked for."""
        return self.whole.read(int(self.kept[number]), frames)

    def track_hash(self, number: int) -> str:
        """SHA-256 that changes with any frame of a track, and with its rate."""
        return self.whole.track_hash(int(self.kept[number]))


@dataclass(frozen=True, eq=False)
class VideoSet:
    """Tracks, and what is known of them.

    Args:
        tracks: n of them.
        forged: bool (n,).
        identities: int64 (n,): number of the group of people that a track belongs to; a forgery is of the group of the person whose
            video it is, and whoever's face was put in is in the same part. The same number means the same group in all parts of one
            `VideoData`.
        families: how each was forged, or `REAL`.
        names: of the tracks, unique.
        source: int64 (n,): number of the real track in this set that a forged one was made from; -1 for real ones, and where it is
            unknown or not in this set.
    """

    tracks: Tracks
    forged: np.ndarray
    identities: np.ndarray
    families: tuple[str, ...]
    names: tuple[str, ...]
    source: np.ndarray

    def __post_init__(self) -> None:
        n = len(self.tracks)
        for name, kind in (("forged", np.bool_), ("identities", np.int64), ("source", np.int64)):
            given = np.asarray(getattr(self, name))
            if given.shape != (n,) or (given.size and given.dtype.kind not in ("b" if kind is np.bool_ else "iu")):
                raise BadInput(f"{name} is {given.dtype} of shape {given.shape} for {n} tracks")
            object.__setattr__(self, name, given.astype(kind))
        if len(self.families) != n or len(self.names) != n:
            raise BadInput(f"{len(self.families)} families and {len(self.names)} names for {n} tracks")
        if len(set(self.names)) != n:
            raise BadInput(f"{n - len(set(self.names))} tracks have a name that another one has")
        if [family != REAL for family in self.families] != self.forged.tolist():
            raise BadInput(f"families do not fit forged: tracks that are not forged, and no others, are of '{REAL}'")
        if n and (self.source.min() < NO_SOURCE or self.source.max() >= n):
            raise BadInput(f"sources are numbered {self.source.min()} to {self.source.max()} for {n} tracks")
        has = self.source != NO_SOURCE
        if (has & ~self.forged).any() or self.forged[self.source[has]].any():
            raise BadInput("a source is given of a real track, or is forged", why="forgeries are made from real tracks")

    def __len__(self) -> int:
        return len(self.tracks)

    @property
    def forgeries(self) -> tuple[str, ...]:
        """The families that occur, sorted, without the real tracks'."""
        return tuple(sorted(set(self.families) - {REAL}))

    def take(self, numbers: Any) -> VideoSet:
        """The tracks with these numbers, in this order, each once; a source that is not among them becomes unknown."""
        kept = np.asarray(numbers, dtype=np.int64)
        now = np.full(len(self) + 1, NO_SOURCE)  # the last place is for unknown sources, whose number is -1
        now[kept] = np.arange(len(kept))
        return VideoSet(
            ChosenTracks(self.tracks, kept),
            self.forged[kept],
            self.identities[kept],
            tuple(self.families[number] for number in kept.tolist()),
            tuple(self.names[number] for number in kept.tolist()),
            now[self.source[kept]],
        )

    def content_hash(self) -> str:
        """SHA-256 over the tracks and all that is known of them but their names."""
        digest = hashlib.sha256(tracks_hash(self.tracks).encode())
        for one in (self.forged, self.identities, self.source):
            digest.update(np.ascontiguousarray(one).data)
        digest.update("\0".join(self.families).encode())
        return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class VideoData:
    """Videos to learn from, to choose and calibrate on, and to be scored on; no identity is in two of them.

    `held_out` are families of forgeries that occur in the test part only, `protocol` says in words how the parts came about, and
    `preprocessing` how faces were cut out (`video_crops.CropSettings.to_json`): a detector keeps it, to refuse other crops.

    Raises:
        BadInput: an identity is in two parts, a held-out family was to be learnt from, or sizes differ.
    """

    train: VideoSet
    validation: VideoSet
    test: VideoSet
    held_out: tuple[str, ...]
    name: str
    protocol: str
    preprocessing: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        parts = self.parts()
        sides = {part.tracks.side for part in parts.values() if len(part)}
        if len(sides) > 1:
            raise BadInput(f"tracks of sides {sorted(sides)}", mend="bring all to one size")
        for one, other in (("train", "validation"), ("train", "test"), ("validation", "test")):
            both = np.intersect1d(parts[one].identities, parts[other].identities)
            if len(both):
                raise BadInput(
                    f"{len(both)} identities are both in {one} and in {other}",
                    why="a detector that knows a face by heart would be scored on that face",
                    mend="split by identity",
                )
        learnt = set(self.held_out) & {*self.train.forgeries, *self.validation.forgeries}
        if learnt:
            raise BadInput(
                f"held-out families {', '.join(sorted(learnt))} are among those to learn from",
                mend="leave their tracks out of train and validation, or hold others out",
            )
        missing = set(self.held_out) - set(self.test.forgeries)
        if missing:
            raise BadInput(f"held-out families {', '.join(sorted(missing))} do not occur in the test part")

    def parts(self) -> dict[str, VideoSet]:
        """The three parts by name."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    def content_hash(self) -> str:
        """SHA-256 over the three parts and the held-out families."""
        digest = hashlib.sha256("".join(part.content_hash() for part in self.parts().values()).encode())
        digest.update("\0".join(self.held_out).encode())
        return digest.hexdigest()


def check_track(video: np.ndarray) -> tuple[int, ...]:
    """Return the shape of a track if it is uint8 (frames, 3, side, side) with at least one frame.

    Raises:
        BadInput: says what was given instead.
    """
    shape = np.shape(video)
    if len(shape) != 4 or shape[1] != 3 or shape[2] != shape[3] or 0 in shape or video.dtype != np.uint8:
        raise BadInput(f"a track of {video.dtype} and shape {shape}", why="it is uint8 (frames, 3, side, side)")
    return shape


def frame_numbers(frames: Any, of: int) -> np.ndarray:
    """Numbers of frames as int64 (t,).

    Raises:
        BadInput: a track of `of` frames has no such frame.
    """
    numbers = np.asarray(frames, dtype=np.int64).reshape(-1)
    if len(numbers) and (numbers.min() < 0 or numbers.max() >= of):
        raise BadInput(f"frames {numbers.min()} to {numbers.max()} are asked of a track of {of} frames")
    return numbers
