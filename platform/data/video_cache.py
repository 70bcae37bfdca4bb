"""Cut-out faces on disk, so that a video is decoded once: an array that is read by memory map, and what it was made from.

An entry is named by the SHA-256 of everything that decides its pixels (the source file's path, size and time of change, the settings,
and for a generated forgery its recipe), so other settings never find it. Its checksums are verified before it is used: an entry that
was cut off or altered is made again, and counted. Files are written aside and renamed, so that several processes can fill one folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import BadInput
from .video_crops import FaceTrack
from .videos import check_track, frame_numbers

VERSION = 1  # of how faces are cut: a higher one leaves older entries aside


@dataclass(frozen=True)
class Entry:
    """A track on disk: where, how many frames of which side and rate, how many are missing or repeat the one before, and its hashes."""

    folder: Path
    key: str
    frames: int
    side: int
    fps: float
    missing: int
    repeated: int
    pixels: str
    points: str | None

    def read(self, numbers: Any) -> np.ndarray:
        """Some frames, uint8 (t, 3, side, side)."""
        return self._part("npy", frame_numbers(numbers, self.frames))

    def landmarks(self, numbers: Any) -> np.ndarray:
        """Their landmarks in pixels of the crop, float32 (t, p, 2).

        Raises:
            BadInput: it was made without.
        """
        if self.points is None:
            raise BadInput(
                "this track has no landmarks",
                why="it was a crop already",
                mend="give the video and its landmarks instead",
            )
        return self._part("points.npy", frame_numbers(numbers, self.frames))

    def _part(self, suffix: str, numbers: np.ndarray) -> np.ndarray:
        try:
            stored = np.load(self.folder / f"{self.key}.{suffix}", mmap_mode="r", allow_pickle=False)
            return np.asarray(stored[numbers])
        except (OSError, ValueError, IndexError) as error:
            raise BadInput(
                f"an entry of the cache in {self.folder} can no longer be read",
                why=type(error).__name__,
                mend="start again: it is made anew",
            ) from None


@dataclass
class VideoCache:
    """A folder of entries.

    Args:
        folder: where; made if it is not there.
        verify: look at every entry's checksum before it is used. Without, only that its files are there.
    """

    folder: Path
    verify: bool = True
    found: int = field(default=0, init=False)
    made: int = field(default=0, init=False)
    mended: int = field(default=0, init=False)
    _counting: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadInput(
                f"the cache {self.folder} cannot be made",
                why=type(error).__name__,
                mend="give a folder that can be written to by data.cache",
            ) from None
        self.folder = self.folder.resolve()

    def get(self, key: str, make: Callable[[], FaceTrack]) -> Entry:
        """Return the entry with this key, made by `make` if it is not there or damaged."""
        about = self.folder / f"{key}.json"
        known = about.is_file()
        entry = self._opened(key, about) if known else None
        if entry is not None:
            with self._counting:
                self.found += 1
            return entry
        entry = self._write(key, make())
        with self._counting:
            self.made += 1
            self.mended += known
        return entry

    def in_words(self) -> str:
        """What came from the cache and what did not."""
        told = f"Of the cut-out faces, {self.found:,} were found in the cache and {self.made:,} were made"
        return f"{told}, {self.mended:,} of them because the entry was damaged." if self.mended else f"{told}."

    def _opened(self, key: str, about: Path) -> Entry | None:
        try:
            held = json.loads(about.read_text(encoding="utf-8"))
            entry = Entry(self.folder, key, **held)
            files = {"npy": entry.pixels} | ({} if entry.points is None else {"points.npy": entry.points})
            for suffix, stored in files.items():
                path = self.folder / f"{key}.{suffix}"
                if not path.is_file() or (self.verify and file_hash(path) != stored):
                    return None
        except (OSError, ValueError, TypeError):
            return None
        return entry

    def _write(self, key: str, track: FaceTrack) -> Entry:
        check_track(track.frames)
        pixels = self._save(f"{key}.npy", track.frames)
        points = None if track.points is None else self._save(f"{key}.points.npy", track.points.astype(np.float32))
        about = {
            "frames": len(track.frames), "side": int(track.frames.shape[2]), "fps": float(track.fps), "missing": track.missing,
            "repeated": int((track.frames[1:] == track.frames[:-1]).all((1, 2, 3)).sum()),
            "pixels": pixels, "points": points,
        }  # fmt: skip
        # Last, so that an entry that is told of is whole.
        self._replace(f"{key}.json", json.dumps(about).encode())
        return Entry(self.folder, key, **about)  # type: ignore[arg-type]

    def _save(self, name: str, array: np.ndarray) -> str:
        with tempfile.NamedTemporaryFile(dir=self.folder, suffix=".part", delete=False) as file:
            np.save(file, np.ascontiguousarray(array), allow_pickle=False)
        hashed = file_hash(Path(file.name))
        Path(file.name).replace(self.folder / name)
        return hashed

    def _replace(self, name: str, content: bytes) -> None:
        with tempfile.NamedTemporaryFile(dir=self.folder, suffix=".part", delete=False) as file:
            file.write(content)
        Path(file.name).replace(self.folder / name)


@dataclass(frozen=True, eq=False)
class CachedTracks:
    """Tracks on disk; only the frames that are asked for are read."""

    entries: Sequence[Entry]

    def __post_init__(self) -> None:
        sides = {entry.side for entry in self.entries}
        if len(sides) > 1:
            raise BadInput(f"tracks of sides {sorted(sides)}", mend="cut all to one size")

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def side(self) -> int:
        """Height and width of every frame; 0 where there is no track."""
        return self.entries[0].side if self.entries else 0

    def frames(self, number: int) -> int:
        """How many frames a track has."""
        return self.entries[number].frames

    def fps(self, number: int) -> float:
        """Its frames per second."""
        return self.entries[number].fps

    def read(self, number: int, frames: Any) -> np.ndarray:
        """Some of its frames, in the order asked for."""
        return self.entries[number].read(frames)

    def landmarks(self, number: int, frames: Any) -> np.ndarray:
        """Where the face's points lie in them, float32 (t, p, 2), in pixels of the crop."""
        return self.entries[number].landmarks(frames)

    def track_hash(self, number: int) -> str:
        """SHA-256 over checksums, length and rate."""
        entry = self.entries[number]
        told = [entry.pixels, entry.points, entry.frames, entry.fps]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def entry_key(**decides: Any) -> str:
    """Name of an entry, by everything that decides its pixels: values that JSON knows.

    >>> entry_key(side=88, path="a.mp4") == entry_key(path="a.mp4", side=88) != entry_key(path="a.mp4", side=96)
    True
    """
    return hashlib.sha256(json.dumps({"version": VERSION, **decides}, sort_keys=True).encode()).hexdigest()


def file_state(path: Path) -> list[str | int]:
    """What tells a file from another and from what it was before: path, size in bytes, time of change in nanoseconds."""
    state = path.stat()
    return [str(path.resolve()), state.st_size, state.st_mtime_ns]


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def usual_cache() -> Path:
    """`stillhouse/videos` in the user's cache folder, which XDG_CACHE_HOME names."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "stillhouse" / "videos"
