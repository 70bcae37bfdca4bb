"""Frames of video files by PyAV, exact to the frame: they are looked up by the file's own time stamps, never computed from a rate.

A file is first read without decoding, for the time stamps of its frames (`Timeline`); frames that are wanted are then decoded forward
from the key frame before them and picked by time stamp. No more than one frame is held at a time, however long the file is. Decoding is
single-threaded, so that several workers can share a machine. A phone's pictures are turned as its file says.

>>> Timeline(np.arange(7) / 30, 30.0).at_rate(25.0).tolist()
[0, 1, 2, 4, 5, 6]
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import BadInput, MissingExtra

UNEVEN = 1.5  # a step between frames this many times the median one makes a frame rate variable


class UnusableVideo(BadInput):
    """One video that cannot be used; whoever reads many leaves it out and counts it."""


@dataclass(frozen=True, eq=False)
class Timeline:
    """When each frame is shown.

    Args:
        seconds: since the first one, float64 (n,), rising.
        claimed: frames per second that the file claims.
        lost: frames that the file claims to have besides, beyond the point where it is cut off.
    """

    seconds: np.ndarray
    claimed: float
    lost: int = 0

    def __len__(self) -> int:
        return len(self.seconds)

    @property
    def fps(self) -> float:
        """Frames per second on average; what the file claims where there is one frame only."""
        return (len(self) - 1) / float(self.seconds[-1]) if len(self) > 1 else self.claimed

    @property
    def variable(self) -> bool:
        """Whether steps between frames are clearly uneven."""
        steps = np.diff(self.seconds)
        return bool(len(steps) and steps.max() > UNEVEN * np.median(steps))

    def at_rate(self, rate: float) -> np.ndarray:
        """Numbers of the frames that are nearest to the times 0, 1/rate, 2/rate ..., int64; of two equally near the earlier.

        From 30 to 25 per second that is frame round(1.2 k). Where the video is slower than `rate`, frames repeat.
        """
        slack = 1e-6  # of a frame: a last frame due at the very end counts
        count = int(self.seconds[-1] * rate + slack) + 1
        times = np.arange(count) / rate
        after = np.searchsorted(self.seconds, times).clip(1, max(1, len(self) - 1))
        if len(self) == 1:
            return np.zeros(count, np.int64)
        nearer_before = times - self.seconds[after - 1] <= self.seconds[after] - times + 1e-9
        return np.where(nearer_before, after - 1, after).astype(np.int64)


@dataclass(frozen=True, eq=False)
class Clip:
    """Frames of a video.

    Args:
        frames: uint8 (t, height, width, 3), RGB.
        read: int64 (t,), which of the indices asked for they are, in the order asked.
        missing: how many of the indices asked for could not be decoded: the file is cut off or damaged.
        fps: frames per second of the timeline that the indices count on.
    """

    frames: np.ndarray
    read: np.ndarray
    missing: int
    fps: float


@dataclass(frozen=True)
class VideoFile:
    """A video file.

    Raises:
        UnusableVideo: when first looked at, if there is no such file, it is none, or has no video in it.
        MissingExtra: PyAV is not installed.
    """

    path: Path

    @property
    def name(self) -> str:
        """For messages."""
        return self.path.name

    @property
    def timeline(self) -> Timeline:
        """When its frames are shown."""
        return self._index[0]

    @cached_property
    def _index(self) -> tuple[Timeline, np.ndarray | None, np.ndarray]:
        """Timeline; time stamps of the frames, None where the file has none; (k, 2) those of key frames, and of their packets."""
        with _opened(self.path) as (container, stream):
            rate = float(stream.average_rate or stream.guessed_rate or 25)
            base = float(stream.time_base or 0)
            stamps, keys, count, unseen, end = [], [], 0, 0, 0.0
            for packet in _packets(container, stream):
                if packet.size and packet.is_discard:
                    unseen += 1
                if not packet.size or packet.is_discard:
                    continue
                count += 1
                end = max(end, float(((packet.pts or 0) + (packet.duration or 0)) * base))
                if packet.pts is not None:
                    stamps.append(packet.pts)
                    if packet.is_keyframe:
                        keys.append((packet.pts, packet.pts if packet.dts is None else packet.dts))
            claimed = stream.frames
            if not claimed and container.duration and not container.streams.audio:
                # Of a container that counts no frames, its length tells.
                claimed = count + unseen + round((container.duration / 1e6 - end) * rate)
        if not count:
            raise UnusableVideo(f"{self.name} has a video track without a frame", mend="copy the file again")
        lost = max(0, claimed - count - unseen)
        if len(stamps) < count:
            # A bare stream has no times: frames are counted, and the claimed rate is all there is.
            return Timeline(np.arange(count) / rate, rate, lost), None, np.zeros((0, 2), np.int64)
        order = np.unique(np.array(stamps, np.int64))
        return Timeline((order - order[0]) * base, rate, lost), order, np.array(sorted(keys), np.int64).reshape(-1, 2)

    def frames(self, numbers: Any) -> Iterator[tuple[int, np.ndarray]]:
        """Yield the number and the picture, uint8 (height, width, 3) RGB, of the frames wanted, in rising order, each once.

        Frames that cannot be decoded are left out: whoever asks sees it by the numbers.

        Raises:
            UnusableVideo: pictures change their size on the way.
        """
        wanted = np.unique(np.asarray(numbers, dtype=np.int64))
        if len(wanted) and (wanted[0] < 0 or wanted[-1] >= len(self.timeline)):
            raise BadInput(
                f"frames {wanted[0]} to {wanted[-1]} are asked of {self.name}", why=f"it has {len(self.timeline)}"
            )
        size = None
        with _opened(self.path) as (container, stream):
            for number, frame in self._picked(container, stream, wanted):
                picture = _upright(frame)
                if picture.shape != (size := size or picture.shape):
                    raise UnusableVideo(f"{self.name} changes the size of its pictures on the way")
                yield number, picture

    def _picked(self, container: Any, stream: Any, wanted: np.ndarray) -> Iterator[tuple[int, Any]]:
        _, stamps, keys = self._index
        if stamps is None:
            chosen = set(wanted.tolist())
            for number, frame in enumerate(_decoded(container, stream)):
                if number in chosen and not frame.is_corrupt:
                    yield number, frame
                if len(wanted) and number >= wanted[-1]:
                    return
            return
        coming, at, ahead = _stamped(container, stream), None, None
        for number in wanted.tolist():
            target = int(stamps[number])
            past = int(np.searchsorted(keys[:, 0], target, side="right"))
            if past > 1 and (at is None or keys[past - 1, 0] > at):
                # Some containers seek by the packets' order (AVI), others by the frames': the packet's stamp is never the later one.
                if not _sought(container, stream, int(keys[past - 1, 1])):
                    return
                coming = _stamped(container, stream)
                ahead = next(coming, None)
                if ahead is None or ahead.pts > target:
                    if not _sought(container, stream, int(keys[0, 1])):
                        return
                    coming, ahead = _stamped(container, stream), None
            while ahead is None or ahead.pts < target:
                ahead = next(coming, None)
                if ahead is None:
                    return
            at = ahead.pts
            if at == target and not ahead.is_corrupt:
                yield number, ahead


def read_clip(path: Path, indices: Any, *, rate: float | None = None) -> Clip:
    """Read some frames of a video file.

    Args:
        path: the file.
        indices: numbers of frames, in any order, also repeated.
        rate: frames per second on which the indices count: index k is the frame nearest to k / rate seconds. None: they count the
            frames of the file.

    Raises:
        UnusableVideo: no such file, no video in it, or not one of the frames can be decoded.
        BadInput: an index lies beyond the end.
        MissingExtra: PyAV is not installed.
    """
    video = VideoFile(Path(path))
    asked = np.asarray(indices, dtype=np.int64).reshape(-1)
    timeline = video.timeline
    known = np.arange(len(timeline)) if rate is None else timeline.at_rate(rate)
    lost = timeline.lost if rate is None else int(timeline.lost / timeline.fps * rate)
    if not len(asked) or asked.min() < 0 or asked.max() >= len(known) + lost:
        span = f"{asked.min()} to {asked.max()}" if len(asked) else "none"
        raise BadInput(f"frames {span} are asked of {video.name}", why=f"it has 0 to {len(known) + lost - 1}")
    there = asked[asked < len(known)]
    found = dict(video.frames(known[there]))
    read = np.array([index for index in there.tolist() if int(known[index]) in found], np.int64)
    if not len(read):
        raise UnusableVideo(
            f"not one of {len(asked)} frames of {video.name} can be decoded", mend="copy the file again"
        )
    frames = np.stack([found[int(known[index])] for index in read.tolist()])
    return Clip(frames, read, len(asked) - len(read), rate or timeline.fps)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Any]]:
    """The container and its first video stream, pictures on the cover of music aside."""
    av = pyav()
    if not path.is_file():
        raise UnusableVideo(f"{path} is not there", mend="give the path of a video file")
    try:
        container = av.open(str(path))
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise UnusableVideo(
            f"{path.name} cannot be read as a video",
            why=f"it is of another kind, or cut off before its index ({type(error).__name__})",
            mend="copy it again, or convert it",
        ) from None
    with container:
        cover = av.stream.Disposition.attached_pic
        streams = [stream for stream in container.streams.video if not stream.disposition & cover]
        if not streams:
            what = "sound only" if container.streams.audio else "no video"
            raise UnusableVideo(f"{path.name} holds {what}", mend="give a file with pictures that move")
        if streams[0].codec_context is None:
            raise UnusableVideo(
                f"{path.name} is of a kind that no decoder here knows",
                why="its video is encoded in another way, or the file is damaged",
                mend="convert it, or copy it again",
            )
        streams[0].codec_context.thread_count = 1
        yield container, streams[0]


def _sought(container: Any, stream: Any, stamp: int) -> bool:
    """Go to the key frame at a packet's time stamp. False: a damaged index leads astray, and what comes next is no frame to trust."""
    try:
        container.seek(stamp, stream=stream, backward=True)
    except pyav().error.FFmpegError:
        return False
    return True


def _packets(container: Any, stream: Any) -> Iterator[Any]:
    """The stream's packets, until the end or until the file cannot be read on."""
    try:
        yield from container.demux(stream)
    except pyav().error.FFmpegError:
        return


def _decoded(container: Any, stream: Any) -> Iterator[Any]:
    """Decoded frames in the order they are shown; what is damaged is passed over."""
    failed = pyav().error.FFmpegError
    for packet in _packets(container, stream):
        if packet.is_discard:
            continue
        try:
            yield from packet.decode()
        except failed:
            continue


def _stamped(container: Any, stream: Any) -> Iterator[Any]:
    return (frame for frame in _decoded(container, stream) if frame.pts is not None)


def _upright(frame: Any) -> np.ndarray:
    """RGB pixels, turned by the quarter turns (counter-clockwise) that the file's display matrix says."""
    turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), turns))


def pyav() -> Any:
    """The library.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        return importlib.import_module("av")
    except ImportError as error:
        raise MissingExtra(
            "reading video needs PyAV", why=str(error), mend="pip install -e '.[video]' in the source folder"
        ) from None
