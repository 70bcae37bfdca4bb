"""Sets of videos that nobody published: drawn heads, and folders and tables of one's own; forged videos are made where there are none.

>>> people = {"train_people": 3, "validation_people": 2, "test_people": 2, "videos": 1}
>>> data = VideosProcedural(side=32, frames=16, **people, forging=Forging(("SBI",), ("HOLD",))).load(seed=0, key=b"")
>>> len(data.train), len(data.test), data.held_out, data.test.forgeries
(6, 6, ('HOLD',), ('HOLD', 'SBI'))
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from ..errors import BadInput
from ..privacy.validate import positive_int
from .video_building import with_splits
from .video_cache import VideoCache, entry_key
from .video_crops import CropSettings, FaceTrack
from .video_families import Forging
from .video_listing import SPLITS, TEST, TRAIN, Listing, groups
from .video_set import FiledVideos, Source, VideoKind, assembled, finished
from .video_tables import read_csv, read_identities, read_real_and_fake, with_identities
from .videos import REAL, LandmarkedTracks, VideoData

if TYPE_CHECKING:
    from .video_forging import Subject

STRANGERS = 1_000_000  # numbers of drawn people between the parts
HEADS_VERSION = 1  # of the drawings: a higher one leaves older entries of a cache aside
NO_FORGING = Forging((), ())


@dataclass(frozen=True)
class VideosProcedural(VideoKind):
    """Drawn heads of people who do not exist, and forgeries of them (`procedural_heads`, `forgeries`).

    Args:
        side: height and width of a frame (pixels).
        frames: of each video.
        fps: frames per second.
        train_people: to learn from.
        validation_people: other people, to choose and calibrate on.
        test_people: other people, who are scored.
        videos: of each person.
        forging: the families.
        crf: constant rate factor of an encoder that all tracks go through; None: none.
        cache: folder where drawn tracks are kept from run to run; None: memory.
        verify: look at the checksums of the cache whenever the data are loaded.
    """

    name: str = "procedural_videos"
    side: int = 88
    frames: int = 32
    fps: float = 25.0
    train_people: int = 20
    validation_people: int = 6
    test_people: int = 14
    videos: int = 1
    forging: Forging = field(default_factory=Forging)
    crf: int | None = None
    cache: str | None = None
    verify: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        positive_int(
            side=self.side, frames=self.frames, train_people=self.train_people,
            validation_people=self.validation_people, test_people=self.test_people, videos=self.videos,
        )  # fmt: skip
        if max(self.train_people, self.validation_people, self.test_people) > STRANGERS:
            raise BadInput("too many people", mend=f"use at most {STRANGERS:,} in each part")
        if not self.forging.families:
            raise BadInput("no family of forgeries is named", mend="name some in data.forging.families")
        if self.held_out:
            raise BadInput(
                "held_out is given", why="families are drawn here", mend="name them in data.forging.held_out"
            )

    def load(self, *, seed: int, key: bytes) -> VideoData:
        """Draw them; nothing but `protocol_seed` matters."""
        # Forgeries need torch, which takes a while to import.
        from .video_forging import Codes, Finish, Held, Keeps, forged_set

        numbers = (self.train_people, self.validation_people, self.test_people)
        subjects = {
            split: [subject for one in range(people) for subject in self._subjects(STRANGERS * place + one)]
            for place, (split, people) in enumerate(zip(SPLITS, numbers, strict=True))
        }
        keeps: Keeps = Held() if self.cache is None else VideoCache(Path(self.cache), self.verify)
        parts = {
            split: forged_set(
                subjects[split],
                self.forging.families if split != TEST else (*self.forging.families, *self.forging.held_out),
                seed=self.protocol_seed, finish=Finish(self.side, crf=self.crf), keeps=keeps,
                codes=Codes(subjects[TRAIN], self.protocol_seed),
            )
            for split in SPLITS
        }  # fmt: skip
        told = (
            f"Drawn heads of people who do not exist ({self.frames} frames of {self.side} pixels); what is measured on them says "
            "that a method works, not how it does on people."
        )
        if isinstance(keeps, VideoCache):
            told += f" {keeps.in_words()}"
        return finished(self.name, parts, told, CropSettings(side=self.side).to_json())

    def _subjects(self, person: int) -> list[Subject]:
        from .video_forging import Subject

        drawn = _Drawn(self, person)
        about = [self.protocol_seed, person, self.frames, self.side, self.fps]
        return [
            Subject(
                entry_key(heads=HEADS_VERSION, about=about, video=video),
                f"head{person:07d}/{video}",
                person,
                self.frames,
                partial(drawn.track, video),
            )
            for video in range(self.videos)
        ]


class _Drawn:
    """The videos of one person, drawn when the first is asked for."""

    def __init__(self, settings: VideosProcedural, person: int) -> None:
        self._settings, self._person = settings, person

    @cached_property
    def _tracks(self) -> LandmarkedTracks:
        from .procedural_heads import draw_heads

        its = self._settings
        drawn = draw_heads(
            1,
            videos=its.videos,
            frames=its.frames,
            side=its.side,
            fps=its.fps,
            seed=its.protocol_seed,
            first=self._person,
        )
        return cast(LandmarkedTracks, drawn.tracks)

    def track(self, video: int) -> FaceTrack:
        every = np.arange(self._tracks.frames(video))
        frames, points = self._tracks.read(video, every), self._tracks.landmarks(video, every)
        return FaceTrack(frames, self._settings.fps, points, 0)


@dataclass(frozen=True)
class VideosFolder(FiledVideos):
    """Videos of one's own: folders `real` and `fake` in the root, or a table; forged ones can be made from the real ones.

    Args:
        table: a CSV file (`video_tables`); None: the folders.
        identities: a CSV file, or a Markdown table, that tells who is on which file; without, every real video is of somebody else.
        validation: fraction of the groups of people to validate on, where the list tells no splits.
        test: fraction that is tested.
        forging: families that are made; none: only what is there.
        forging_side: side of the crops that forgeries are made on (pixels); their middle eight ninths are kept.
        crf: constant rate factor of the encoder that real and made ones go through; None: none.
    """

    name: str = "face_videos"
    table: str | None = None
    identities: str | None = None
    validation: float = 0.15
    test: float = 0.4
    forging: Forging = field(default_factory=lambda: NO_FORGING)
    forging_side: int = 144
    crf: int | None = 23

    def __post_init__(self) -> None:
        super().__post_init__()
        positive_int(forging_side=self.forging_side)
        if not (0 < self.validation < 1 and 0 < self.test < 1 and self.validation + self.test < 1):
            raise BadInput(
                f"validation is {self.validation} and test is {self.test}",
                why="both are fractions of the people, and some are left to learn from",
            )

    def load(self, *, seed: int, key: bytes) -> VideoData:
        """Read them, and make what is to be made."""
        who = None if self.identities is None else read_identities(self.place(self.identities))
        if self.table is None:
            listing = read_real_and_fake(self.at_root(), identities=who)
        else:
            listing = read_csv(self.place(self.table))
            if who is not None:
                listing = replace(listing, videos=tuple(with_identities(list(listing.videos), who)))
        listing, how = with_splits(listing, validation=self.validation, test=self.test, seed=self.protocol_seed)
        told = f"{self.name}: {len(listing.videos):,} videos. {how}"
        cache = self.opened_cache()
        if not self.forging.families:
            sources = [Source(self.cut(listing, cache))]
            return assembled(self.name, sources, self.held_out, cache=cache, crop=self.crop, told=told)
        return self._with_forgeries(listing, cache, told)

    def _with_forgeries(self, listing: Listing, cache: VideoCache, told: str) -> VideoData:
        from .video_forging import Codes, Finish, Given, forged_set, from_cache

        middle = self.forging_side * 8 // 9
        wide = replace(self.crop, side=self.forging_side, face=self.crop.face * middle / self.forging_side)
        cut = self.cut(listing, cache, crop=wide)
        unknown = set(self.held_out) - {video.family for video in cut.videos}
        if unknown:
            raise BadInput(
                f"families {', '.join(sorted(unknown))} are held out, and no video that was read is of them",
                mend="name families that are made here in data.forging.held_out",
            )
        numbers = groups(cut.videos)
        real: dict[str, list[Subject]] = {split: [] for split in SPLITS}
        forged: dict[str, list[Given]] = {split: [] for split in SPLITS}
        for video, entry, number in zip(cut.videos, cut.entries, numbers.tolist(), strict=True):
            subject = from_cache(entry.key, video.name, number, entry)
            if video.family == REAL:
                real[video.split].append(subject)
            elif video.split == TEST or video.family not in self.held_out:
                forged[video.split].append(Given(subject, video.family, video.source))
        finish = Finish(self.crop.side, middle, self.crf)
        codes = Codes(real[TRAIN], self.protocol_seed)
        parts = {
            split: forged_set(
                real[split],
                self.forging.families if split != TEST else (*self.forging.families, *self.forging.held_out),
                seed=self.protocol_seed, finish=finish, keeps=cache, codes=codes, forged=forged[split],
            )
            for split in SPLITS
        }  # fmt: skip
        encoder = "" if self.crf is None else f" All tracks went through H.264 at CRF {self.crf}."
        made = " Forgeries were made from the real videos, with donors of the same part."
        return finished(
            self.name, parts, f"{told}{cut.in_words()}{made}{encoder} {cache.in_words()}", self.crop.to_json()
        )
