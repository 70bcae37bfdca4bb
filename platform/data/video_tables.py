"""Videos of one's own, and lists that others made: folders real/ and fake/, a CSV file, DeepfakeBench's json, tables of who is who.

The CSV file has the columns path, label, video_id, identity, method and split, of which path and label must be there, and may have
source, the video_id of the real video that a forged one was made from. Paths are relative to the file's folder.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import BadInput
from .video_frames import FrameFiles, frames_in, in_order
from .video_listing import FORGED_WORDS, REAL_WORDS, SPLIT_WORDS, SPLITS, STRANGER, Listed, Listing, videos_in
from .video_reading import VideoFile
from .videos import REAL

FAKE = "fake"
FOLDERS = "give a folder with real/ and, if there are forged ones, fake/ (or fake/FAMILY/), and videos in them"
COLUMNS = ("path", "label", "video_id", "identity", "method", "split", "source")
# People in the names of the videos of FaceForensics++ (000_003) and Celeb-DF (id0_id1_0000).
NAMED_PEOPLE = r"(?<![0-9a-z])(?:id\d+|\d{3})(?![0-9])"


def read_real_and_fake(root: Path, *, identities: Mapping[str, str] | None = None) -> Listing:
    """Folders `real` and `fake`; what lies in `fake/FAMILY/` is of that family, a forgery's source the real video of the same name.

    A forgery A_B, where real videos are called A and B, was made from A with a face of B, as FaceForensics++ names them.

    Args:
        root: their folder.
        identities: who is on the videos, by file name; a real video without an entry is of somebody who is on no other.

    Raises:
        BadInput: there is no folder `real` with videos, or identities name none of them.
    """
    real = _below(root, REAL)
    if not real:
        raise BadInput(f"{root} holds no real videos", mend=FOLDERS)
    videos = [Listed(VideoFile(path), _name(path, root)) for path in real]
    by_stem: dict[str, list[Listed]] = {}
    for path, video in zip(real, videos, strict=True):
        by_stem.setdefault(path.stem, []).append(video)
    for path in _below(root, FAKE):
        below = path.relative_to(root / FAKE)
        family = below.parts[0] if len(below.parts) > 1 else FAKE
        if family == REAL:
            raise BadInput(f"{root / FAKE / REAL} is a family called {REAL}", mend="call the folder otherwise")
        same = by_stem.get(path.stem, [])
        videos.append(Listed(VideoFile(path), _name(path, root), family, source=same[0].name if len(same) == 1 else ""))
    if identities is not None:
        videos = with_identities(videos, identities)
    return Listing(tuple(_as_named(videos)))


def _as_named(videos: list[Listed]) -> list[Listed]:
    """Forgeries called A_B with the source A and the people of A and B, unless these are known otherwise.

    A real video of nobody known has a name made of its own for whoever is on it, so that a forgery of it can be told to show them.
    """

    def shown_on(video: Listed) -> tuple[str, ...]:
        return video.people or (f"{STRANGER}{video.name}",)

    shown: dict[str, Listed | None] = {}
    for video in videos:
        if video.family == REAL:
            stem = _stem(video)
            shown[stem] = None if stem in shown else replace(video, people=shown_on(video))
    found, named = [], set[str]()
    for video in videos:
        pair = None if video.family == REAL or video.source else _pair(_stem(video), shown)
        if pair is not None:
            one, other = pair
            named |= {one.name, other.name}
            people = video.people or tuple(dict.fromkeys(one.people + other.people))
            video = replace(video, people=people, source=one.name)
        found.append(video)
    return [replace(video, people=shown_on(video)) if video.name in named else video for video in found]


def _pair(stem: str, shown: Mapping[str, Listed | None]) -> tuple[Listed, Listed] | None:
    """The real videos A and B of A_B; None where there are none such, several of one name, or A_B can be read in two ways."""
    pairs = []
    for at in (found.start() for found in re.finditer("_", stem)):
        one, other = shown.get(stem[:at]), shown.get(stem[at + 1 :])
        if one is not None and other is not None:
            pairs.append((one, other))
    return pairs[0] if len(pairs) == 1 else None


def _stem(video: Listed) -> str:
    return PurePosixPath(video.name).stem


def with_identities(videos: list[Listed], identities: Mapping[str, str]) -> list[Listed]:
    """The videos with the people that a table tells, by file name with or without its suffix; those it does not name stay as they are.

    Raises:
        BadInput: the table names none of them.
    """

    def who(video: Listed) -> tuple[str, ...]:
        if not isinstance(video.footage, VideoFile):
            return video.people
        path = video.footage.path
        found = identities.get(path.name, identities.get(path.stem))
        return video.people if found is None else (found,)

    told = [replace(video, people=who(video)) for video in videos]
    if not any(video.people for video in told):
        raise BadInput(
            "the table of identities names none of the videos",
            why="they are looked up by file name",
            mend="write the names of the files as they are",
        )
    return told


def read_identities(path: Path) -> dict[str, str]:
    """Who is on which video, by file name: a CSV file, or the table in a Markdown file, with columns `file` (or path) and `identity`.

    Raises:
        BadInput: it cannot be read, lacks a column, or tells of a file twice.
    """
    rows = list(_markdown_rows(path) if path.suffix.lower() in (".md", ".markdown") else _csv_rows(path))
    column = next((name for name in ("file", "path", "name") if rows and name in rows[0]), None)
    if column is None or "identity" not in rows[0]:
        raise BadInput(f"{path} is no table of identities", why="it needs the columns file and identity")
    told: dict[str, str] = {}
    for row in rows:
        name, identity = PurePosixPath(row[column]).name, row["identity"]
        if not name or not identity or told.setdefault(name, identity) != identity:
            raise BadInput(f"{path} has a line without a file or an identity, or two for one file", mend="mend it")
    return told


def read_csv(path: Path) -> Listing:
    """The videos of a CSV file; see above.

    Raises:
        BadInput: it cannot be read, or a line cannot be understood; which one is said by its number.
    """
    rows = list(_csv_rows(path))
    if not rows or not {"path", "label"} <= set(rows[0]):
        raise BadInput(
            f"{path} is no list of videos",
            why="it needs the columns path and label",
            mend=f"write {', '.join(COLUMNS)}",
        )
    unknown = set(rows[0]) - set(COLUMNS)
    if unknown:
        raise BadInput(f"{path} has unknown columns", why=", ".join(sorted(unknown)), mend=f"use {', '.join(COLUMNS)}")
    videos = []
    for number, row in enumerate(rows, 2):
        label, split = row["label"].lower(), row.get("split", "").lower()
        if label not in REAL_WORDS | FORGED_WORDS or (split and split not in SPLIT_WORDS) or not row["path"]:
            raise BadInput(
                f"line {number} of {path} cannot be understood",
                why=f"a path, a label of {REAL} or {FAKE}, and a split of {', '.join(SPLITS)} or nothing make a line",
            )
        family = REAL if label in REAL_WORDS else row.get("method") or FAKE
        if family == REAL and label in FORGED_WORDS:
            raise BadInput(f"line {number} of {path} tells of a forged video whose method is '{REAL}'")
        place = path.parent / row["path"]
        people = tuple(one for one in row.get("identity", "").split("+") if one)
        footage = frames_in(place) if place.is_dir() else VideoFile(place)
        name = row.get("video_id") or row["path"]
        videos.append(Listed(footage, name, family, people, SPLIT_WORDS.get(split, ""), row.get("source", "")))
    return Listing(tuple(videos)).without_absent()


def read_deepfakebench(
    path: Path, root: Path, *, compression: str = "c23", people: str = NAMED_PEOPLE, rate: float = 25.0
) -> Listing:
    """DeepfakeBench's `dataset_json/<name>.json`: data set, label, split, perhaps compression, video, and of that its label and frames.

    Labels with "real" in them are real. Frames are sorted by the whole number that their names end with. A video that is in several
    splits counts in the last of train, val and test: DeepfakeBench repeats test videos for validation.

    Args:
        path: the file.
        root: what the paths of frames are relative to.
        compression: which of them, where there are several.
        people: regular expression that finds the people in a video's name.
        rate: frames per second, which the file does not tell.

    Raises:
        BadInput: it cannot be read, or is none.
    """
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
        found = list(_benchmarked(held, compression))
    except (OSError, ValueError, AttributeError, KeyError, TypeError) as error:
        raise BadInput(
            f"{path} is not a list of DeepfakeBench", why=type(error).__name__, mend="get or make it again"
        ) from None
    order = {split: number for number, split in enumerate(SPLITS)}
    kept: dict[str, Listed] = {}
    for label, split, name, frames in sorted(found, key=lambda one: order[one[1]]):
        family = REAL if "real" in label.lower() else label
        files = in_order(root / PurePosixPath(frame.replace("\\", "/")) for frame in frames)
        who = tuple(re.findall(people, name))
        known = f"{label}/{name}"
        kept[known] = Listed(FrameFiles(tuple(files), rate), known, family, who, split)
    real = {PurePosixPath(name).name: name for name, video in kept.items() if video.family == REAL}
    listed = tuple(
        replace(video, source=real.get(name.rpartition("/")[2].partition("_")[0], ""))
        if video.family != REAL
        else video
        for name, video in kept.items()
    )
    repeated = len(found) - len(kept)
    listing = Listing(listed, {"in a later split too": repeated} if repeated else {})
    return listing.without_absent()


def _benchmarked(held: Any, compression: str) -> Iterator[tuple[str, str, str, list[str]]]:
    for labels in held.values():
        for label, splits in labels.items():
            for word, videos in splits.items():
                chosen = videos.get(compression, {}) if _by_compression(videos) else videos
                for name, video in chosen.items():
                    yield str(video.get("label", label)), SPLIT_WORDS[word], str(name), list(video["frames"])


def _by_compression(videos: Mapping[str, Any]) -> bool:
    return bool(videos) and all("frames" not in one for one in videos.values())


def _below(root: Path, folder: str) -> list[Path]:
    return videos_in(root / folder) if (root / folder).is_dir() else []


def _name(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()


def _csv_rows(path: Path) -> Iterator[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            for row in csv.DictReader(file):
                yield {name.strip(): (value or "").strip() for name, value in row.items() if isinstance(name, str)}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadInput(f"cannot read {path}", why=type(error).__name__, mend="give a CSV file") from None


def _markdown_rows(path: Path) -> Iterator[dict[str, str]]:
    """Rows of the first table that has a column `identity`."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"cannot read {path}", why=type(error).__name__, mend="give a Markdown file") from None
    header: list[str] = []
    for line in lines:
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")] if line.strip().startswith("|") else []
        if not header:
            header = cells if "identity" in cells else []
        elif len(cells) != len(header):
            return
        elif not all(re.fullmatch(r":?-+:?", cell) for cell in cells):
            yield dict(zip(header, cells, strict=True))
