"""Sets with forgeries that are made here, from real tracks whose landmarks are known: to learn and to measure on a small scale.

Every real track is forged once by each family, with donors of other people in the same part of the data, so that nobody is in two
parts. Codes of faces are learnt from the tracks to train on. Real and forged tracks then go the same way, through the same encoder and
then the middle of the crop, shrunk by area means; a detector cannot tell them apart by how they were stored.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from PIL import Image

from ..errors import BadInput
from ..privacy.validate import positive_int
from .forgeries import Family, check_families, forge
from .forgery_codecs import FACE_COMPONENTS, MOUTH_COMPONENTS, FaceCodes, every, thinned
from .forgery_points import MarkedTrack
from .video_cache import CachedTracks, Entry, entry_key
from .video_crops import FaceTrack
from .video_writing import recompressed
from .videos import NO_SOURCE, REAL, InMemoryTracks, Tracks, VideoSet

FORGERY_VERSION = 1  # of the recipes: a higher one leaves older entries of a cache aside
FRAMES_A_COMPONENT = 4  # at least, of those that a code of faces is learnt from


@dataclass(frozen=True)
class Finish:
    """What becomes of every track, real or forged, after forging.

    Args:
        side: height and width of the result (pixels).
        middle: side of the middle square that is kept; None: all.
        crf: constant rate factor of H.264; None: not encoded.
    """

    side: int
    middle: int | None = None
    crf: int | None = None

    def __post_init__(self) -> None:
        positive_int(side=self.side)
        if self.crf is not None and not 0 <= self.crf <= 51:
            raise BadInput(f"crf is {self.crf}", mend="use 0 to 51, or null to encode nothing")

    def told(self) -> list[Any]:
        """All that decides what it does."""
        return [self.side, self.middle, self.crf]

    def __call__(self, track: FaceTrack) -> FaceTrack:
        """The finished track, its landmarks moved along."""
        frames, points = track.frames, track.points
        if self.crf is not None:
            frames = recompressed(frames, fps=track.fps, crf=self.crf)
        whole = frames.shape[2]
        kept = self.middle or whole
        edge = (whole - kept) // 2
        frames = frames[:, :, edge : edge + kept, edge : edge + kept]
        if kept != self.side:
            frames = np.stack([_shrunk(frame, self.side) for frame in frames])
        if points is not None:
            points = ((points - edge + 0.5) * (self.side / kept) - 0.5).astype(np.float32)
        return FaceTrack(np.ascontiguousarray(frames), track.fps, points, track.missing)


@dataclass(frozen=True, eq=False)
class Subject:
    """A real track before forging: a key that tells its pixels from all others, its name, whose it is, how many frames it has, and how
    to load it.
    """

    key: str
    name: str
    identity: int
    frames: int
    load: Callable[[], FaceTrack]


@dataclass(frozen=True, eq=False)
class Given:
    """A track that is a forgery already: its family, and the name of the real track it was made from; empty: unknown."""

    subject: Subject
    family: str
    source: str = ""


class Keeps(Protocol):
    """Where finished tracks stay: on disk (`VideoCache`) or in memory (`Held`)."""

    def get(self, key: str, make: Callable[[], FaceTrack]) -> Entry | FaceTrack:
        """The track with this key, made if it is not there."""


@dataclass
class Held:
    """Tracks in memory."""

    tracks: dict[str, FaceTrack] = field(default_factory=dict)

    def get(self, key: str, make: Callable[[], FaceTrack]) -> FaceTrack:
        """The track with this key, made if it is not there."""
        if key not in self.tracks:
            self.tracks[key] = make()
        return self.tracks[key]


@dataclass(frozen=True, eq=False)
class Codes:
    """Codes of faces, learnt when they are first needed, from the tracks to train on."""

    subjects: Sequence[Subject]
    seed: int

    @property
    def key(self) -> str:
        """What decides them."""
        return entry_key(codes=[subject.key for subject in self.subjects], seed=self.seed)

    @cached_property
    def learnt(self) -> FaceCodes:
        """The codes; with few frames, of fewer components."""
        frames = sum(subject.frames for subject in self.subjects)
        step, most = every(frames), max(1, frames // FRAMES_A_COMPONENT)
        # One at a time: the tracks of a large set do not fit in memory, and few of their frames are taken.
        few = [thinned(_marked(subject), step) for subject in self.subjects]
        return FaceCodes.learnt_from_all(
            few,
            seed=self.seed,
            mouth_components=min(MOUTH_COMPONENTS, most),
            face_components=min(FACE_COMPONENTS, most),
        )


def forged_set(
    subjects: Sequence[Subject],
    families: Sequence[str],
    *,
    seed: int,
    finish: Finish,
    keeps: Keeps,
    codes: Codes,
    forged: Sequence[Given] = (),
) -> VideoSet:
    """Real tracks, then those of each family, every real one forged once by each, then those that were forged elsewhere.

    Args:
        subjects: the real tracks of one part of the data.
        families: names in `forgeries.FAMILIES`.
        forged: tracks that are forgeries already.
        seed: decides donors and whatever is random in a family.
        finish: what becomes of all tracks.
        keeps: where they stay.
        codes: for the families that need them.

    Raises:
        BadInput: a family needs another person, and there is one only.
    """
    found = [keeps.get(_key(subject, finish), _Finishing(subject, finish)) for subject in subjects]
    names, of, source = [subject.name for subject in subjects], [REAL] * len(subjects), [NO_SOURCE] * len(subjects)
    people = [subject.identity for subject in subjects]
    for family in check_families(families) if families else ():
        for number, subject in enumerate(subjects):
            donor = _donor(subjects, subject, family, seed) if family.needs_donor else None
            making = _Making(family, subject, donor, codes if family.needs_codes else None, seed, finish)
            found.append(keeps.get(making.key, making))
            names.append(f"{subject.name}.{family.name}")
            of.append(family.name)
            source.append(number)
            people.append(subject.identity)
    numbers = {subject.name: number for number, subject in enumerate(subjects)}
    for given in forged:
        found.append(keeps.get(_key(given.subject, finish), _Finishing(given.subject, finish)))
        names.append(given.subject.name)
        of.append(given.family)
        source.append(numbers.get(given.source, NO_SOURCE))
        people.append(given.subject.identity)
    return VideoSet(
        _tracks(found),
        np.array([family != REAL for family in of], bool),
        np.array(people, np.int64),
        tuple(of),
        tuple(names),
        np.array(source, np.int64),
    )


@dataclass(frozen=True, eq=False)
class _Making:
    """One forgery: what decides it, and how it is made."""

    family: Family
    subject: Subject
    donor: Subject | None
    codes: Codes | None
    seed: int
    finish: Finish

    @property
    def key(self) -> str:
        return entry_key(
            source=self.subject.key,
            family=self.family.name,
            donor=self.donor.key if self.donor else None,
            codes=self.codes.key if self.codes else None,
            name=self.subject.name,
            seed=self.seed,
            finish=self.finish.told(),
            forgeries=FORGERY_VERSION,
        )

    def __call__(self) -> FaceTrack:
        track = self.subject.load()
        frames = forge(
            self.family.name,
            _marked_track(track, self.subject.name),
            _rng(self.seed, self.family.name, self.subject.name),
            donor=_marked(self.donor) if self.donor else None,
            codes=self.codes.learnt if self.codes else None,
        )
        return self.finish(FaceTrack(frames, track.fps, track.points, track.missing))


@dataclass(frozen=True, eq=False)
class _Finishing:
    """A track that is only finished."""

    subject: Subject
    finish: Finish

    def __call__(self) -> FaceTrack:
        return self.finish(self.subject.load())


def _key(subject: Subject, finish: Finish) -> str:
    return entry_key(source=subject.key, finish=finish.told())


def _donor(subjects: Sequence[Subject], subject: Subject, family: Family, seed: int) -> Subject:
    others = [one for one in subjects if one.identity != subject.identity]
    if not others:
        raise BadInput(
            f"{family.name} takes a face from someone else",
            why="there is one person only in a part of the data",
            mend="gather more people, or use families that need no donor",
        )
    return others[int(_rng(seed, "donor", subject.name).integers(len(others)))]


def _rng(seed: int, *words: str) -> np.random.Generator:
    # By checksums: Python's own hash of a text differs from process to process.
    return np.random.default_rng([seed, *(zlib.crc32(word.encode()) for word in words)])


def _marked(subject: Subject) -> MarkedTrack:
    return _marked_track(subject.load(), subject.name)


def _marked_track(track: FaceTrack, name: str) -> MarkedTrack:
    if track.points is None:
        raise BadInput(
            f"{name} has no landmarks, and forgeries follow them",
            mend="give data.landmarks with MediaPipe's mesh, and data.crop.points=files",
        )
    return MarkedTrack(track.frames, track.points)


def _tracks(found: Sequence[Entry | FaceTrack]) -> Tracks:
    entries = [one for one in found if isinstance(one, Entry)]
    if len(entries) == len(found):
        return CachedTracks(tuple(entries))
    held = [one for one in found if isinstance(one, FaceTrack)]
    return InMemoryTracks([one.frames for one in held], [one.fps for one in held])


def _shrunk(frame: np.ndarray, side: int) -> np.ndarray:
    image = Image.fromarray(np.ascontiguousarray(frame.transpose(1, 2, 0)))
    return np.asarray(image.resize((side, side), Image.Resampling.BOX)).transpose(2, 0, 1)


def from_cache(key: str, name: str, identity: int, entry: Entry) -> Subject:
    """A subject whose crops are on disk."""

    def load() -> FaceTrack:
        every = np.arange(entry.frames)
        points = None if entry.points is None else entry.landmarks(every)
        return FaceTrack(entry.read(every), entry.fps, points, entry.missing)

    return Subject(key, name, identity, entry.frames, load)
