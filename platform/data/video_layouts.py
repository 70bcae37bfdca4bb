"""Published data sets of forged videos, in the folders and lists in which they are handed out.

FaceForensics++ (Rossler et al., ICCV 2019), also as LipForensics and RealForensics arrange it; Celeb-DF v2 (Li et al., CVPR 2020);
DFDC (Dolhansky et al., 2020); DeeperForensics (Jiang et al., CVPR 2020); VoxCeleb2 (Chung et al., Interspeech 2018), real throughout.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import BadInput
from .video_frames import FrameFiles, frames_in
from .video_listing import NO_SPLIT, SPLIT_WORDS, TEST, TRAIN, VALIDATION, Listed, Listing, videos_in
from .video_reading import VideoFile
from .videos import REAL

COMPRESSIONS = ("c0", "raw", "c23", "c40")
FF_FAMILIES = ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures")
FF_SPLITS = {"train.json": TRAIN, "val.json": VALIDATION, "test.json": TEST}
CELEB_FOLDERS = (
    (REAL, ("Celeb-real",)),
    (REAL, ("YouTube-real", "Youtube-real")),
    ("Celeb-synthesis", ("Celeb-synthesis",)),
)
CELEB_TEST_LIST = "List_of_testing_videos.txt"


def read_faceforensics(root: Path, *, compression: str = "c23", families: Sequence[str] = FF_FAMILIES) -> Listing:
    """FaceForensics++ as its download script lays it out.

    `original_sequences/youtube/c23/videos/*.mp4`, `manipulated_sequences/<family>/c23/videos/A_B.mp4`, and train.json, val.json and
    test.json with pairs of names in `root` or in `root/splits`. A forgery A_B shows video A with the face of B; it counts in the split
    of that pair.

    Raises:
        BadInput: folders or lists are not there.
    """
    _check_compression(compression)

    def folder(family: str) -> Path:
        if family == REAL:
            return root / "original_sequences" / "youtube" / compression / "videos"
        return root / "manipulated_sequences" / family / compression / "videos"

    return _paired(root, families, lambda family: [VideoFile(path) for path in _videos(folder(family))])


def read_forensics_folders(
    root: Path, *, compression: str = "c23", families: Sequence[str] = FF_FAMILIES, contents: str = "videos"
) -> Listing:
    """FaceForensics++ as LipForensics and RealForensics arrange it: `<RealFF or Real or a family>/c23/<contents>/<name>`.

    Args:
        root: the folder called Forensics there.
        compression: c0, raw, c23 or c40.
        families: folders of forgeries.
        contents: "videos", or a folder with one folder of pictures a video: "images", "cropped_faces".

    Raises:
        BadInput: folders or lists are not there.
    """
    _check_compression(compression)

    def found(family: str) -> list[VideoFile | FrameFiles]:
        names = ("RealFF", "Real") if family == REAL else (family,)
        folders = [root / name / compression / contents for name in names]
        folder = next((one for one in folders if one.is_dir()), folders[0])
        if contents == "videos":
            return [VideoFile(path) for path in _videos(folder)]
        if not folder.is_dir():
            raise BadInput(f"{folder} is not there", mend="unpack it, or name other families")
        return [frames_in(one) for one in sorted(folder.iterdir()) if one.is_dir() and any(one.iterdir())]

    return _paired(root, families, found)


def read_celeb_df(root: Path) -> Listing:
    """Celeb-DF v2: Celeb-real, YouTube-real (or Youtube-real) and Celeb-synthesis, each with its videos or a folder `videos`.

    Those in List_of_testing_videos.txt are the test part, the others of the training part. `id0_id1_0000` shows id0's video 0000 with
    the face of id1.

    Raises:
        BadInput: a folder or the list is not there, or the list calls a video real that lies among the forged ones, or the reverse.
    """
    tested = _celeb_test_list(root / CELEB_TEST_LIST)
    videos, found = [], set()
    for family, names in CELEB_FOLDERS:
        folder = next((root / name for name in names if (root / name).is_dir()), root / names[0])
        for path in _videos(folder):
            key = f"{names[0]}/{path.name}".lower()
            if tested.get(key, family == REAL) != (family == REAL):
                raise BadInput(
                    f"{CELEB_TEST_LIST} says that {folder.name}/{path.name} is {'real' if tested[key] else 'forged'}",
                    why="the folder says the reverse",
                    mend="get the list again: its first column is 1 for real videos",
                )
            found.add(key)
            videos.append(_celeb_video(path, family, names[0], TEST if key in tested else TRAIN))
    listing = Listing(tuple(videos))
    missing = len(set(tested) - found)
    return replace(listing, left_out={"in the test list, but not there": missing} if missing else {})


def read_dfdc(root: Path, *, only: Path | None = None) -> Listing:
    """DFDC: every metadata.json below `root`, beside its videos; a video is FAKE or REAL, or has is_fake; or a labels.csv.

    Args:
        root: the folder, with one metadata.json or one in each part.
        only: a list of the videos to take, one name a line, as LipForensics gives it for 3,215 test videos.

    Raises:
        BadInput: nothing tells which are forged, or a list cannot be read.
    """
    tables = sorted(root.rglob("metadata.json")) or sorted(root.rglob("labels.csv"))
    if not tables:
        raise BadInput(
            f"{root} holds neither metadata.json nor labels.csv", mend="give DFDC's folder as it is unpacked"
        )
    wanted = None if only is None else {Path(line.split()[0]).stem for line in _lines(only)}
    videos: list[Listed] = []
    absent = 0
    for table in tables:
        for name, told in _dfdc_table(table).items():
            if wanted is not None and Path(name).stem not in wanted:
                continue
            path = table.parent / name
            if not path.is_file():
                absent += 1
                continue
            original = str(told.get("original") or "")
            videos.append(
                Listed(
                    VideoFile(path),
                    (path.relative_to(root)).as_posix(),
                    "DFDC" if _dfdc_forged(told, table) else REAL,
                    split=SPLIT_WORDS.get(str(told.get("split", "")), TEST),
                    source=((table.parent / original).relative_to(root)).as_posix() if original else "",
                )
            )
    return Listing(tuple(videos), {"named in the metadata, but not there": absent} if absent else {})


def read_deeperforensics(root: Path, *, real: Listing, kind: str = "end_to_end") -> Listing:
    """DeeperForensics-1.0: `manipulated_videos/<kind>/<target>_<actor>.mp4`, made from videos of FaceForensics++.

    Args:
        root: its folder.
        real: FaceForensics++, whose real videos are the targets, and decide the split of what was made from them.
        kind: which of its folders.

    Raises:
        BadInput: the folder is not there.
    """
    targets = {video.people[0]: video for video in real.videos if video.family == REAL}
    videos: list[Listed] = list(targets.values())
    outside = 0
    for path in _videos(root / "manipulated_videos" / kind):
        target, _, _ = path.stem.partition("_")
        if target not in targets:
            outside += 1
            continue
        at = targets[target]
        videos.append(Listed(VideoFile(path), f"{kind}/{path.stem}", "DeeperForensics", (target,), at.split, at.name))
    return Listing(tuple(videos), {"made from a video that is not there": outside} if outside else {})


def read_voxceleb2(root: Path, *, most_each: int | None = None) -> Listing:
    """VoxCeleb2: `<person>/<video>/<clip>.mp4`, all real; by default all clips, or the first few of each person.

    Raises:
        BadInput: nothing of that layout.
    """
    videos: list[Listed] = []
    for person in sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []:
        for path in videos_in(person)[:most_each]:
            videos.append(
                Listed(VideoFile(path), path.relative_to(root).as_posix(), people=(person.name,), split=TRAIN)
            )
    if not videos:
        raise BadInput(
            f"{root} holds no videos of people", mend="give the folder with one folder a person (id00012/...)"
        )
    return Listing(tuple(videos))


def _paired(root: Path, families: Sequence[str], found: Callable[[str], Sequence[VideoFile | FrameFiles]]) -> Listing:
    """Real videos A and forgeries A_B, each in the split of its pair."""
    pairs = _pairs(root)
    one = {name: split for pair, split in pairs.items() for name in pair}
    videos: list[Listed] = []
    outside = 0
    for family in (REAL, *families):
        for footage in found(family):
            stem = footage.path.stem if isinstance(footage, VideoFile) else footage.name
            people = tuple(stem.split("_")) if family != REAL else (stem,)
            split = one.get(stem) if family == REAL else pairs.get(people)
            if split is None:
                outside += 1
                continue
            source = "" if family == REAL else f"{REAL}/{people[0]}"
            videos.append(Listed(footage, f"{family}/{stem}", family, people, split, source))
    return Listing(tuple(videos), {NO_SPLIT: outside} if outside else {})


def _pairs(root: Path) -> dict[tuple[str, ...], str]:
    """The split of each pair of names, either way round.

    Raises:
        BadInput: a list is not there, is none, or names a video that another list named: it would be learnt from and scored.
    """
    found: dict[tuple[str, ...], str] = {}
    split_of: dict[str, str] = {}
    for name, split in FF_SPLITS.items():
        path = next((one for one in (root / name, root / "splits" / name) if one.is_file()), None)
        if path is None:
            raise BadInput(
                f"{root} lacks {name}",
                why="the published splits are lists of pairs of videos",
                mend="put train.json, val.json and test.json of FaceForensics++'s repository there, or into splits/",
            )
        pairs = _json(path)
        if not isinstance(pairs, list) or any(not isinstance(pair, list) or len(pair) != 2 for pair in pairs):
            raise BadInput(f"{path} is no list of pairs", mend="get it again from FaceForensics++'s repository")
        for one, other in pairs:
            for video in (str(one), str(other)):
                if split_of.setdefault(video, split) != split:
                    raise BadInput(
                        f"{path} names video {video}, which another list named",
                        why="whoever is on it would be in two parts of the data",
                        mend="get the three lists again from FaceForensics++'s repository",
                    )
            found[str(one), str(other)] = found[str(other), str(one)] = split
    return found


def _celeb_test_list(path: Path) -> dict[str, bool]:
    """Whether each video of the test list is real, by `folder/name` in small letters."""
    tested = {}
    for line in _lines(path):
        label, _, name = line.partition(" ")
        if label not in ("0", "1") or not name:
            raise BadInput(f"{path} has a line that is not a label and a video", mend="get the list again")
        tested[name.strip().lower().replace("/videos/", "/")] = label == "1"
    return tested


def _celeb_video(path: Path, family: str, folder: str, split: str) -> Listed:
    name = f"{folder}/{path.stem}"
    if folder.lower() == "youtube-real":
        return Listed(VideoFile(path), name, family, (f"youtube {path.stem}",), split)
    people = tuple(re.findall(r"id\d+", path.stem))
    number = path.stem.rpartition("_")[2]
    source = f"Celeb-real/{people[0]}_{number}" if family != REAL and people else ""
    return Listed(VideoFile(path), name, family, people, split, source)


def _dfdc_table(table: Path) -> dict[str, dict[str, Any]]:
    if table.suffix == ".json":
        told = _json(table)
        if not isinstance(told, dict) or not all(isinstance(one, dict) for one in told.values()):
            raise BadInput(f"{table} is no table of videos", mend="get it again")
        return told
    with table.open(newline="", encoding="utf-8") as file:
        return {row["filename"]: {"is_fake": row["label"]} for row in csv.DictReader(file)}


def _dfdc_forged(told: dict[str, Any], table: Path) -> bool:
    label = str(told.get("label", told.get("is_fake", ""))).upper()
    if label not in ("FAKE", "REAL", "0", "1"):
        raise BadInput(f"{table} has a video that is neither FAKE nor REAL", mend="get it again")
    return label in ("FAKE", "1")


def _check_compression(compression: str) -> None:
    if compression not in COMPRESSIONS:
        raise BadInput(f"compression is {compression!r}", mend=f"use one of {', '.join(COMPRESSIONS)}")


def _videos(folder: Path) -> list[Path]:
    found = videos_in(folder) if folder.is_dir() else []
    if not found:
        raise BadInput(f"{folder} holds no videos", mend="unpack it there, or leave its family out of data.families")
    return found


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(f"cannot read {path}", why=type(error).__name__, mend="get it again") from None


def _lines(path: Path) -> list[str]:
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"cannot read {path}", why=type(error).__name__, mend="give a text file") from None
