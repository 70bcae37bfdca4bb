"""Faces cut out of videos: one square a frame, placed by landmarks that were smoothed over time.

Points are averaged over some frames and then moved so that their middle is that of the frame's own points: the crop follows the head
and does not tremble with the landmarks (as in RealForensics' preparation, Haliassos et al., CVPR 2022). The similarity of least squares
brings steady points to where they are on average; a picture that has to shrink much is shrunk by area means first, and what lies beyond
its border is mirrored. A forged video that was made from a known real one is cut as the real one is, so that alignment cannot give it
away.

A detector works on faces that were cut as those it learnt from; `CropSettings.to_json` goes into its file, and `check_settings` refuses
others.

>>> check_settings(CropSettings().to_json(), CropSettings())
>>> check_settings({**CropSettings().to_json(), "face": 0.9}, CropSettings())  # doctest: +ELLIPSIS
Traceback (most recent call last):
    ...
stillhouse.platform.data.video_crops.OtherSettings: these faces are cut out differently: face was 0.9 and is 0.765. To mend it: ...
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from PIL import Image

from ..errors import BadInput
from ..privacy.validate import positive, positive_int
from .alignment import TEMPLATE, middle_square, moved, similarity
from .video_frames import Footage
from .video_reading import Timeline, UnusableVideo

# Corners of eyes and mouth, tip and bridge of the nose, top and chin of the oval, by their numbers in MediaPipe's mesh ...
STEADY = (33, 133, 362, 263, 1, 61, 291, 6, 168, 10, 152)
# ... and where they are on average once `alignment.TEMPLATE` fits the five points: means of 41 clips of talking faces, made symmetric.
STEADY_TEMPLATE = np.array(
    [[30.1, 51.2], [45.9, 52.1], [65.9, 52.1], [81.7, 51.2], [55.9, 73.5], [41.4, 91.3], [70.4, 91.3],
     [55.9, 52.7], [55.9, 48.1], [55.9, 19.2], [55.9, 118.1]]
)  # fmt: skip
# The oval of the face in the same units.
OVAL_MIDDLE, OVAL_HEIGHT = np.array([55.9, 68.6]), 99.0
SHRINK = 0.6  # below this scale, pictures are shrunk by area means
LEAST_FOUND = 0.5  # of a video's frames, to be a video of a face
NONE = "none"

Finder = Callable[[np.ndarray], np.ndarray | None]


class OtherSettings(BadInput):
    """Faces were cut out differently."""


@dataclass(frozen=True)
class CropSettings:
    """All that decides what becomes of a video.

    Args:
        side: height and width of a crop (pixels).
        face: height of the face's oval as a fraction of the side. The default is the middle 128 of 144 pixels of which it fills 0.68.
        smooth: frames over which landmarks are averaged.
        rate: frames per second; faster videos and those of variable rate are brought to it by their time stamps.
        keep_above: videos of a steady rate between this and `rate` keep their own.
        lowest: slower videos cannot be used.
        shortest: shorter videos (frames) cannot be used.
        most: frames that are taken of a video, from its beginning.
        points: where landmarks come from: "files"; a finder's name ("mediapipe", "dlib", "opencv"); or "none" for videos that are crops
            already, of which the middle square is taken.
    """

    side: int = 88
    face: float = 0.765
    smooth: int = 12
    rate: float = 25.0
    keep_above: float = 22.0
    lowest: float = 20.0
    shortest: int = 8
    most: int = 270
    points: str = "files"

    def __post_init__(self) -> None:
        positive_int(side=self.side, smooth=self.smooth, shortest=self.shortest, most=self.most)
        positive(face=self.face, rate=self.rate, keep_above=self.keep_above, lowest=self.lowest)
        if self.points not in (NONE, "files", "mediapipe", "dlib", "opencv"):
            raise BadInput(f"points is {self.points!r}", mend="use files, none, mediapipe, dlib or opencv")
        if self.most < self.shortest:
            raise BadInput(f"most is {self.most} and shortest is {self.shortest}", mend="take more frames")

    def to_json(self) -> dict[str, Any]:
        """The settings by name."""
        return asdict(self)

    def chosen(self, timeline: Timeline, name: str) -> tuple[np.ndarray, float]:
        """Numbers of the frames that are taken, and their rate per second.

        Raises:
            UnusableVideo: too slow or too short.
        """
        if len(timeline) < self.shortest:
            raise UnusableVideo(f"{name} is too short", why=f"{len(timeline)} frames, and {self.shortest} are needed")
        fps = timeline.fps
        if fps < self.lowest:
            raise UnusableVideo(
                f"{name} is too slow", why=f"{fps:.3g} frames per second, and {self.lowest:g} are needed"
            )
        kept = not timeline.variable and self.keep_above <= fps <= self.rate * 1.001
        numbers = np.arange(len(timeline)) if kept else timeline.at_rate(self.rate)
        if len(numbers) < self.shortest:
            raise UnusableVideo(f"{name} is too short", why=f"{len(numbers)} frames, and {self.shortest} are needed")
        return numbers[: self.most], fps if kept else self.rate


@dataclass(frozen=True, eq=False)
class FaceTrack:
    """A face of one video.

    Args:
        frames: uint8 (t, 3, side, side).
        fps: frames per second.
        points: landmarks in pixels of the crop, as they were found, float32 (t, p, 2); None for videos that were crops already.
        missing: frames that could not be decoded, or lie beyond where the file is cut off or its landmarks end, and are left out.
    """

    frames: np.ndarray
    fps: float
    points: np.ndarray | None
    missing: int


def check_settings(stored: Mapping[str, Any], now: CropSettings) -> None:
    """Refuse faces that are cut otherwise than `stored` says.

    `most`, `shortest` and which landmarks are used may differ: they decide which faces there are, not what they look like. Whether
    videos were crops already may not.

    Raises:
        OtherSettings: names what differs.
    """
    free = {"most", "shortest", "points"}
    names = [field.name for field in fields(CropSettings) if field.name not in free]
    given = now.to_json()
    other = [f"{name} was {stored.get(name)} and is {given[name]}" for name in names if stored.get(name) != given[name]]
    if (stored.get("points") == NONE) != (now.points == NONE):
        other.append("videos were crops already in one case only")
    if other:
        raise OtherSettings(
            "these faces are cut out differently",
            why="; ".join(other),
            mend="cut them as those that were learnt from, by the same settings of data.crop",
        )


def cut_track(
    footage: Footage, settings: CropSettings, *, points: np.ndarray | None = None, finder: Finder | None = None
) -> FaceTrack:
    """Cut the face out of a video. One frame is held at a time, besides the crops.

    Args:
        footage: the video.
        settings: how.
        points: landmarks in pixels of its own frames, float (frames, p, 2), p of 5, 468 or 478; NaN where there is no face. Frames
            beyond those it tells of are left out, and count as missing.
        finder: finds landmarks (p, 2) in a picture, or None; for `settings.points` other than "files" and "none".

    Raises:
        UnusableVideo: too short, too slow, without a face, or damaged.
    """
    numbers, fps = settings.chosen(footage.timeline, footage.name)
    lost = min(footage.timeline.lost, settings.most - len(numbers))
    if settings.points == NONE:
        crops = {number: _square(picture, settings.side) for number, picture in footage.frames(numbers)}
        frames, kept = _in_time(crops, numbers)
        return FaceTrack(_enough(frames, settings, footage), fps, None, lost + len(numbers) - len(kept))
    if points is None:
        if finder is None:
            raise BadInput(
                f"{footage.name} has no landmarks",
                why="no file tells them and nothing finds them",
                mend="put NAME.npz into the folder of landmarks, or set data.crop.points to a finder, or to none for crops",
            )
        points = found_points(footage, numbers, finder)
    there = numbers < len(points)
    lost, numbers = lost + int((~there).sum()), numbers[there]
    if len(numbers) < settings.shortest:
        raise UnusableVideo(f"{footage.name} has landmarks of {len(numbers)} frames only", why="that is too short")
    own = _filled(np.asarray(points, dtype=float)[numbers], footage.name)
    transforms = placed(own, settings)
    crops = {}
    for number, picture in footage.frames(numbers):
        for at in np.flatnonzero(numbers == number).tolist():
            crops[at] = cut_face(picture, transforms[at], settings.side)
    frames, kept = _in_time(crops, np.arange(len(numbers)))
    marks = np.stack([moved(own[at], transforms[at]) for at in kept]) if kept else own[:0]
    return FaceTrack(_enough(frames, settings, footage), fps, marks.astype(np.float32), lost + len(numbers) - len(kept))


def found_points(footage: Footage, numbers: np.ndarray, finder: Finder) -> np.ndarray:
    """Landmarks of the frames wanted, by frame number; NaN in others and where no face is found: float (frames, p, 2).

    Raises:
        UnusableVideo: there is no face in any of them.
    """
    found = {number: points for number, picture in footage.frames(numbers) if (points := finder(picture)) is not None}
    if not found:
        raise UnusableVideo(
            f"{footage.name} shows no face",
            why=f"none was found in {len(np.unique(numbers))} frames",
            mend="take videos that show one face throughout, or another finder",
        )
    points = np.full((int(numbers.max()) + 1, *next(iter(found.values())).shape), np.nan)
    for number, here in found.items():
        points[number] = here
    return points


def placed(points: np.ndarray, settings: CropSettings) -> np.ndarray:
    """The similarity (2, 3) of each frame, from its pixels to those of the crop: (t, 2, 3).

    Args:
        points: (t, p, 2) in pixels, of p = 5 in the order of `alignment.TEMPLATE`, or of MediaPipe's mesh.

    Raises:
        BadInput: another number of points.
    """
    count = points.shape[1]
    if count == len(TEMPLATE):
        steady, target = points, TEMPLATE
    elif count in (468, 478):
        steady, target = points[:, STEADY], STEADY_TEMPLATE
    else:
        raise BadInput(f"{count} landmarks a face", why="5, or a mesh of 468 or 478, place a crop")
    scale = settings.face * settings.side / OVAL_HEIGHT
    target = (target - OVAL_MIDDLE) * scale + (settings.side - 1) / 2
    return np.stack([similarity(frame, target) for frame in smoothed(steady, settings.smooth)])


def smoothed(points: np.ndarray, over: int) -> np.ndarray:
    """Average points (t, p, 2) over `over` frames about each, and give each frame the middle of its own points back."""
    before = over // 2
    ends = np.arange(len(points))
    first, last = np.maximum(ends - before, 0), np.minimum(ends + over - before, len(points))
    sums = np.concatenate([np.zeros((1, *points.shape[1:])), points.cumsum(0)])
    means = (sums[last] - sums[first]) / (last - first)[:, None, None]
    return np.asarray(means + (points.mean(1) - means.mean(1))[:, None])


def _filled(points: np.ndarray, name: str) -> np.ndarray:
    """Points of frames without a face, between those of the frames before and after."""
    has = np.isfinite(points).all((1, 2)) & (np.ptp(np.nan_to_num(points), axis=1) > 0).any(1)
    if has.mean() < LEAST_FOUND:
        raise UnusableVideo(
            f"{name} shows no face",
            why=f"in {int((~has).sum())} of {len(has)} frames none was found",
            mend="take videos that show one face throughout, or other landmarks",
        )
    if has.all():
        return points
    flat, at = points.reshape(len(points), -1), np.arange(len(points))
    columns = [np.interp(at, at[has], column[has]) for column in flat.T]
    return np.stack(columns, 1).reshape(points.shape)


def cut_face(picture: np.ndarray, transform: np.ndarray, side: int) -> np.ndarray:
    """uint8 (3, side, side): pixel q of the crop is read, bilinearly, from where `transform` says that it comes from."""
    linear = np.linalg.inv(transform[:, :2])
    shift = -linear @ transform[:, 2]
    corners = np.array([[0, 0], [side - 1, 0], [0, side - 1], [side - 1, side - 1]]) @ linear.T + shift
    low = np.floor(corners.min(0)).astype(int) - 2
    high = np.ceil(corners.max(0)).astype(int) + 3
    region = _mirrored(picture, low, high)
    shift = shift - low
    scale = float(np.sqrt(abs(np.linalg.det(transform[:, :2]))))
    image = Image.fromarray(region)
    if scale < SHRINK:
        size = np.maximum(1, np.rint(np.array(image.size) * scale)).astype(int)
        factor = size / image.size
        image = image.resize((int(size[0]), int(size[1])), Image.Resampling.BOX)
        linear, shift = factor[:, None] * linear, factor * (shift + 0.5) - 0.5
    # Pillow counts from a pixel's corner: its centre is half a pixel on, here and there.
    corner = shift + 0.5 - linear @ [0.5, 0.5]
    coefficients = (*linear[0], corner[0], *linear[1], corner[1])
    cut = image.transform((side, side), Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR)
    return np.ascontiguousarray(np.asarray(cut).transpose(2, 0, 1))


def _mirrored(picture: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """The part of a picture from (x, y) `low` up to but without `high`; beyond its border it is mirrored, as often as needed."""
    sides = []
    for first, last, length in ((low[1], high[1], picture.shape[0]), (low[0], high[0], picture.shape[1])):
        at = np.arange(first, last) % (2 * length)
        sides.append(np.minimum(at, 2 * length - 1 - at))
    return (
        picture[np.ix_(*sides)]
        if (low < 0).any() or (high > picture.shape[1::-1]).any()
        else (picture[low[1] : high[1], low[0] : high[0]])
    )


def _square(picture: np.ndarray, side: int) -> np.ndarray:
    return np.ascontiguousarray(middle_square(picture, side).transpose(2, 0, 1))


def _in_time(crops: Mapping[int, np.ndarray], numbers: np.ndarray) -> tuple[list[np.ndarray], list[int]]:
    """Crops of the numbers that have one, in order, and which they are."""
    kept = [number for number in numbers.tolist() if number in crops]
    return [crops[number] for number in kept], kept


def _enough(frames: list[np.ndarray], settings: CropSettings, footage: Footage) -> np.ndarray:
    if len(frames) < settings.shortest:
        raise UnusableVideo(
            f"{footage.name} is damaged", why=f"{len(frames)} frames can be decoded, and {settings.shortest} are needed"
        )
    return np.stack(frames)
