"""What a finished detector says of a video file: a score, how sure it is over the clips, and where in time the video looks forged.

>>> low, high = mean_interval(np.array([1.0, 2.0, 3.0]))
>>> round(low, 3), round(high, 3)
(-0.484, 4.484)
>>> mean_interval(np.array([1.0])) is None
True
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.special import expit

from ....platform.data.landmarks import landmark_finder
from ....platform.data.video_crops import NONE, CropSettings, FaceTrack, cut_track
from ....platform.data.video_landmarks import read_points
from ....platform.data.video_reading import UnusableVideo, VideoFile
from ....platform.errors import BadInput
from ....platform.privacy.validate import positive_int
from ....platform.training.files import write_text
from .card import NO_PROOF, DetectorCard, read_detector
from .model import Network
from .scoring import clip_logits, clip_starts, timeline

LEVEL = 0.95
CROPS = "crops"  # for `landmarks`: whoever asks says that the videos are crops already, although the detector's faces were placed
MOST_FRAMES = 3000  # that may be asked for: two minutes, half a gigabyte of crops of 240 pixels


@dataclass(frozen=True)
class VideoVerdict:
    """What is said of one video.

    Args:
        name: of the file; its whole path where several files have that name.
        score: mean of its clips' logits (or probabilities, as the card says).
        low, high: a 95 % interval of that mean over clips, by Student's t; None: there is one clip.
        probability: the logistic function of the mean logit: not calibrated, unless the data are like those learned from.
        verdict: forged or real, at the threshold; "no threshold": nothing is decided.
        clips, frames, fps: what was looked at.
        seconds: how long the whole video is.
        mirrored: whether the video is shorter than a clip.
        missing: frames that could not be decoded, or lie beyond the end of the landmarks.
        logits: one a frame.
        plot: file of the timeline; "": none was written.
    """

    name: str
    score: float
    low: float | None
    high: float | None
    probability: float
    verdict: str
    clips: int
    frames: int
    fps: float
    seconds: float
    mirrored: bool
    missing: int
    logits: tuple[float, ...]
    plot: str = ""

    @property
    def looked_at(self) -> float:
        """Seconds of the beginning that were looked at, frames that are missing there included."""
        return (self.frames + self.missing) / self.fps

    @property
    def cut_short(self) -> bool:
        """Whether there is more of the video than was looked at. A frame more or less comes from another frame rate."""
        return self.seconds > self.looked_at + 1.5 / self.fps


@dataclass(frozen=True)
class Failed:
    """A video that could not be used, and why."""

    name: str
    why: str


@dataclass(frozen=True)
class Predicted:
    """What is said of each video that could be used, the others, the card, and remarks that belong beside the scores."""

    videos: tuple[VideoVerdict, ...]
    failed: tuple[Failed, ...]
    card: DetectorCard
    notes: tuple[str, ...]


def predict_videos(
    folder: Path, videos: Sequence[Path], *, landmarks: str = NONE, table: Path | None = None, threshold: float | None = None,
    frames: int | None = None, plots: Path | None = None,
) -> Predicted:  # fmt: skip
    """Score video files by the detector of a finished run.

    Args:
        folder: of the run.
        videos: files.
        landmarks: what finds the face: mediapipe, dlib, opencv; or files. none: videos are crops already, as those were that the
            detector learned from; crops: they are, although the detector's own faces were placed by landmarks.
        table: of `files`: an .npz with the landmarks of the one video that is given.
        threshold: another than the card's.
        frames: of each video that are looked at, from its beginning, at most `MOST_FRAMES`; None: as the card says.
        plots: folder that timelines are written to, one a video; None: none is written.

    Raises:
        BadInput: the folder holds no detector, its faces were placed by landmarks and `landmarks` is none, too many frames are asked
            for, or not one of the videos can be used.
        MissingExtra: PyAV, or the finder, is not installed.
    """
    network, card = read_detector(folder)
    if landmarks == NONE and _placed(card):
        raise BadInput(
            "this detector learned from faces that were placed by landmarks, and nothing places these",
            why="the middle square of a film shows a face of another size in another place, and its score means nothing",
            mend="give --landmarks mediapipe (or dlib, opencv, or files with --table); or --landmarks crops for videos that are crops "
            "of faces already",
        )
    most = card.max_frames if frames is None else frames
    positive_int(frames=most)
    if frames is not None and frames > MOST_FRAMES:
        raise BadInput(
            f"{frames} frames are too many", mend=f"ask for {MOST_FRAMES} at most, or cut the film into parts"
        )
    crop = _crop(card, landmarks, most)
    points = None if table is None else read_points(table)
    finder = None if landmarks in (NONE, CROPS, "files") else landmark_finder(landmarks).find
    limit = card.threshold if threshold is None else threshold
    found, failed = list[VideoVerdict](), list[Failed]()
    for path, name, stem in zip(videos, _names(videos), _stems(videos), strict=True):
        try:
            video = VideoFile(path)
            track = cut_track(video, crop, points=points, finder=finder)
        except UnusableVideo as error:
            if len(videos) == 1:
                raise
            failed.append(Failed(name, f"{error.what}: {error.why}" if error.why else error.what))
            continue
        plot = None if plots is None else plots / f"{stem}.svg"
        # The time stamps were read for cutting: how long the video is costs no further look at it.
        seconds = (len(video.timeline) + video.timeline.lost) / video.timeline.fps
        found.append(_judged(network, card, track, name, seconds, most, limit, plot))
    if not found:
        raise BadInput(
            f"not one of {len(videos)} videos can be used",
            why="; ".join(f"{one.name}: {one.why}" for one in failed),
            mend="give videos that can be read and show a face",
        )
    notes = remarks(card, landmarks, limit, found)
    if failed:
        notes.append(f"{len(failed)} of {len(videos)} videos could not be used, and have no score")
    return Predicted(tuple(found), tuple(failed), card, tuple(notes))


def _names(videos: Sequence[Path]) -> list[str]:
    """File names; whole paths of those that share one."""
    many = Counter(path.name for path in videos)
    return [path.name if many[path.name] == 1 else str(path) for path in videos]


def _stems(videos: Sequence[Path]) -> list[str]:
    """Names of their plots, each once: films of several folders may share a name."""
    taken: dict[str, None] = {}
    for path in videos:
        name, number = path.stem, 1
        while name in taken:
            number += 1
            name = f"{path.stem}-{number}"
        taken[name] = None
    return list(taken)


def mean_interval(values: np.ndarray, level: float = LEVEL) -> tuple[float, float] | None:
    """An interval of the mean of values by Student's t; None for fewer than two values."""
    from scipy.stats import t

    if len(values) < 2:
        return None
    half = float(t.ppf((1 + level) / 2, len(values) - 1)) * float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return float(np.mean(values)) - half, float(np.mean(values)) + half


def remarks(card: DetectorCard, landmarks: str, threshold: float | None, found: Sequence[VideoVerdict]) -> list[str]:
    """What must be said beside a score."""
    told = [NO_PROOF, f"trained on {card.trained_on}; forgeries learned: {', '.join(card.forgeries) or 'none'}"]
    if not card.detects:
        told.append("this network did not learn to detect (stage 1 only): its scores mean nothing")
    if threshold is None:
        told.append("the card has no threshold: scores are told, nothing is decided (give --threshold)")
    elif threshold == card.threshold:
        told.append(
            f"the threshold {threshold:+.3f} was set on {card.calibrated_on}; on other videos it may be far off"
        )
    placed = _placed(card)
    if landmarks in (NONE, CROPS):
        which = "cut as the faces it learned from, which were placed by landmarks" if placed else "of a face"
        told.append(
            f"the middle square of each frame was taken: right only for crops {which} (otherwise give --landmarks)"
        )
    elif card.crop and not placed:
        told.append(
            "the videos it learned from were crops already, and these faces were placed by landmarks: they may be cut differently"
        )
    if not card.crop:
        told.append("the card does not say how the faces it learned from were cut; the usual crop was used")
    slow, fast = card.fps
    for one in found:
        if slow and not slow * 0.95 <= one.fps <= fast * 1.05:
            told.append(f"{one.name} has {one.fps:g} frames per second, the training videos {slow:g} to {fast:g}")
        if one.cut_short:
            told.append(f"only the first {one.looked_at:.1f} of {one.seconds:.1f} s of {one.name} were looked at")
        if one.mirrored:
            told.append(f"{one.name} is shorter than a clip: it was mirrored at its ends")
        if one.missing:
            told.append(
                f"{one.missing} frames of {one.name} could not be decoded, or lie beyond the end of the landmarks, and were left out"
            )
        if one.low is None:
            told.append(f"{one.name} has one clip only: there is no interval")
    return told


def _placed(card: DetectorCard) -> bool:
    """Whether the faces that the detector learned from were placed by landmarks, as far as is known."""
    return bool(card.crop) and card.crop.get("points") != NONE


def _crop(card: DetectorCard, landmarks: str, most: int) -> CropSettings:
    """The crop that the detector learned from, with landmarks from another place."""
    known = {key: value for key, value in card.crop.items() if key in CropSettings.__dataclass_fields__}
    known |= {"points": NONE if landmarks == CROPS else landmarks, "most": most, "shortest": 1}
    return CropSettings(**{"side": card.track_side or CropSettings().side, **known})


def _judged(
    network: Network, card: DetectorCard, track: FaceTrack, name: str, seconds: float, most: int, threshold: float | None,
    plot: Path | None,
) -> VideoVerdict:  # fmt: skip
    frames, count = track.frames, len(track.frames)
    logits = np.array(clip_logits(network, frames, clip_starts(count, card.clips, most)))
    values = logits if card.score == "logit" else expit(logits)
    score, interval = float(values.mean()), mean_interval(values)
    over_time = timeline(network, frames)
    drawn = "" if plot is None else _plot(plot, over_time, track.fps, name, threshold, card)
    verdict = "no threshold" if threshold is None else "forged" if score >= threshold else "real"
    low, high = interval or (None, None)
    probability = float(expit(logits.mean()))
    return VideoVerdict(
        name, score, low, high, probability, verdict, len(logits), count, track.fps, seconds, count < card.clips.span,
        track.missing, tuple(over_time.tolist()), drawn,
    )  # fmt: skip


def _plot(file: Path, logits: np.ndarray, fps: float, name: str, threshold: float | None, card: DetectorCard) -> str:
    from ....platform.report.chart import as_file
    from ....platform.report.timeline_plot import Timeline, timeline_plot

    line = {name: Timeline(np.arange(len(logits)) / fps, logits)}
    limit = threshold if card.score == "logit" else None
    drawn = timeline_plot(line, "Score over time: no proof", threshold=limit, quantity="logit (high: forged)")
    file.parent.mkdir(parents=True, exist_ok=True)
    write_text(file, as_file(drawn))
    return str(file)
