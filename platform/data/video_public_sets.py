"""Published sets of forged videos, and what is learnt from where: within FaceForensics++, or across data sets, as papers report it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import BadInput
from .face_set import one_of
from .video_cache import VideoCache
from .video_layouts import (
    COMPRESSIONS,
    FF_FAMILIES,
    read_celeb_df,
    read_deeperforensics,
    read_dfdc,
    read_faceforensics,
    read_forensics_folders,
    read_voxceleb2,
)
from .video_listing import TEST, TRAIN, VALIDATION, Listing
from .video_set import FiledVideos, Source, assembled
from .video_tables import NAMED_PEOPLE, read_deepfakebench
from .videos import VideoData


@dataclass(frozen=True)
class FaceForensics(FiledVideos):
    """FaceForensics++ (Rossler et al., ICCV 2019): its published splits; families that are held out make it leave-one-out.

    Args:
        compression: c0 or raw, c23, c40.
        families: of forgeries.
        arrangement: "published", or "forensics" for the folders of LipForensics and RealForensics.
        contents: of the latter: "videos", "images" or "cropped_faces".
    """

    name: str = "faceforensics"
    compression: str = "c23"
    families: tuple[str, ...] = FF_FAMILIES
    arrangement: str = "published"
    contents: str = "videos"

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "families", tuple(self.families))
        one_of(("published", "forensics"), arrangement=self.arrangement)
        one_of(COMPRESSIONS, compression=self.compression)

    def load(self, *, seed: int, key: bytes) -> VideoData:
        """Read it."""
        root, cache = self.at_root(), self.opened_cache()
        if self.arrangement == "published":
            listing = read_faceforensics(root, compression=self.compression, families=self.families)
        else:
            listing = read_forensics_folders(
                root, compression=self.compression, families=self.families, contents=self.contents
            )
        told = f"FaceForensics++ at {self.compression}, the published splits."
        sources = [Source(self.cut(listing, cache))]
        return assembled(self.name, sources, self.held_out, cache=cache, crop=self.crop, told=told)


@dataclass(frozen=True)
class AcrossData(FiledVideos):
    """What kinds share that learn from FaceForensics++ and are scored on another set, as is usual.

    Args:
        faceforensics: folder of FaceForensics++, relative to the root or absolute.
        faceforensics_landmarks: of its landmark files.
        compression: of FaceForensics++.
        families: of its forgeries.
    """

    faceforensics: str | None = None
    faceforensics_landmarks: str | None = None
    compression: str = "c23"
    families: tuple[str, ...] = FF_FAMILIES

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "families", tuple(self.families))
        one_of(COMPRESSIONS, compression=self.compression)

    def load(self, *, seed: int, key: bytes) -> VideoData:
        """Read both."""
        learnt, cache = self._learnt(), self.opened_cache()
        folder = self.place(self.faceforensics, "faceforensics")
        training = replace(self, landmarks=self.faceforensics_landmarks).cut(
            learnt.of(TRAIN, VALIDATION), cache, below=folder
        )
        sources = [Source(training), *self._others(learnt, cache)]
        told = f"Learnt from FaceForensics++ at {self.compression} (published splits). {self._how()}"
        return assembled(self.name, sources, self.held_out, cache=cache, crop=self.crop, told=told)

    def _learnt(self) -> Listing:
        folder = self.place(self.faceforensics, "faceforensics")
        return read_faceforensics(folder, compression=self.compression, families=self.families)

    def _others(self, learnt: Listing, cache: VideoCache) -> list[Source]:
        """What is read besides FaceForensics++'s own parts to learn from."""
        raise NotImplementedError

    def _how(self) -> str:
        """A sentence of the protocol."""
        raise NotImplementedError


@dataclass(frozen=True)
class CelebDf(AcrossData):
    """Scored on Celeb-DF v2's list of test videos (Li et al., CVPR 2020)."""

    name: str = "celeb_df"

    def _others(self, learnt: Listing, cache: VideoCache) -> list[Source]:
        return [Source(self.cut(read_celeb_df(self.at_root()).of(TEST), cache), scored_only=True)]

    def _how(self) -> str:
        return "Scored on Celeb-DF v2's list of test videos."


@dataclass(frozen=True)
class Dfdc(AcrossData):
    """Scored on DFDC (Dolhansky et al. 2020): all of its videos below the root, or those of a list.

    Args:
        only: a list of names, one a line, such as LipForensics' 3,215.
    """

    name: str = "dfdc"
    only: str | None = None

    def _others(self, learnt: Listing, cache: VideoCache) -> list[Source]:
        only = None if self.only is None else self.place(self.only)
        return [Source(self.cut(read_dfdc(self.at_root(), only=only).all_in(TEST), cache), scored_only=True)]

    def _how(self) -> str:
        return f"Scored on DFDC, {'all videos found' if self.only is None else 'the videos of a list'}."


@dataclass(frozen=True)
class DeeperForensics(AcrossData):
    """Scored on DeeperForensics-1.0 (Jiang et al., CVPR 2020) and the real test videos of FaceForensics++ that it was made from.

    Args:
        folder: of manipulated_videos.
    """

    name: str = "deeperforensics"
    folder: str = "end_to_end"

    def _others(self, learnt: Listing, cache: VideoCache) -> list[Source]:
        found = read_deeperforensics(self.at_root(), real=learnt, kind=self.folder).of(TEST)
        # Real videos lie in one data set, forged ones in the other: both are cut by the landmarks of the real ones.
        below = self.place(self.faceforensics, "faceforensics")
        files = replace(self, landmarks=self.faceforensics_landmarks)
        return [Source(files.cut(found, cache, below=below), scored_only=True)]

    def _how(self) -> str:
        return f"Scored on DeeperForensics-1.0 ({self.folder}) and the real test videos of FaceForensics++."


@dataclass(frozen=True)
class VoxCeleb2(AcrossData):
    """Real clips of VoxCeleb2 (Chung et al. 2018) to learn from, besides FaceForensics++, whose test part is scored.

    Args:
        most_each: clips of each person; None: all.
    """

    name: str = "voxceleb2"
    most_each: int | None = None

    def _others(self, learnt: Listing, cache: VideoCache) -> list[Source]:
        clips = read_voxceleb2(self.at_root(), most_each=self.most_each)
        folder = self.place(self.faceforensics, "faceforensics")
        files = replace(self, landmarks=self.faceforensics_landmarks)
        return [Source(self.cut(clips, cache)), Source(files.cut(learnt.of(TEST), cache, below=folder))]

    def _how(self) -> str:
        return "Real clips of VoxCeleb2 are learnt from besides; the test part of FaceForensics++ is scored."


@dataclass(frozen=True)
class DeepfakeBench(FiledVideos):
    """Sets that DeepfakeBench (Yan et al., NeurIPS 2023) prepared: frames as pictures, listed by its json files.

    Args:
        lists: json files whose parts are learnt from, validated and tested.
        test_lists: json files of which the test part only is scored.
        compression: of those that have several.
        people: regular expression that finds the people in a video's name.
        fps: frames per second, which the files do not tell.
    """

    name: str = "deepfakebench"
    lists: tuple[str, ...] = ("dataset_json/FaceForensics++.json",)
    test_lists: tuple[str, ...] = ()
    compression: str = "c23"
    people: str = NAMED_PEOPLE
    fps: float = 25.0

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "lists", tuple(self.lists))
        object.__setattr__(self, "test_lists", tuple(self.test_lists))

    def load(self, *, seed: int, key: bytes) -> VideoData:
        """Read them."""
        self.at_root()
        cache = self.opened_cache()
        whole = {one: self._read(one) for one in self.lists}
        scored = {one: self._read(one).of(TEST) for one in self.test_lists}
        _check_parts([*whole.items(), *scored.items()])
        sources = [Source(self.cut(listing, cache)) for listing in whole.values()]
        sources += [Source(self.cut(listing, cache), scored_only=True) for listing in scored.values()]
        told = f"DeepfakeBench's lists {', '.join(Path(one).stem for one in (*self.lists, *self.test_lists))}."
        return assembled(self.name, sources, self.held_out, cache=cache, crop=self.crop, told=told)

    def _read(self, path: str) -> Listing:
        return read_deepfakebench(
            self.place(path), self.at_root(), compression=self.compression, people=self.people, rate=self.fps
        )


def _check_parts(listings: Sequence[tuple[str, Listing]]) -> None:
    """Refuse a video of two lists, and a forgery of a video that another list has in another part.

    Each list's people are numbered apart from those of the others, since the same short name is another person in another data set. A
    video of the same name is the same one, though: several lists hold the real videos of FaceForensics++.

    Raises:
        BadInput: names the video and both lists.
    """
    seen: dict[str, tuple[str, str]] = {}
    for path, listing in listings:
        for video in listing.videos:
            for name in filter(None, (video.name, video.source)):
                split, where = seen.setdefault(name, (video.split, path))
                if where != path and (name == video.name or split != video.split):
                    raise BadInput(
                        f"{name} is named by {where} ({split}) and by {path} ({video.split})",
                        why="it would be scored twice, or learnt from and scored",
                        mend="use lists without videos in common",
                    )
