"""What a finished detector says of a video file: a score, how sure it is over the clips, and where in time the video looks forged.

>>> low, high = mean_interval(np.array([1.0, 2.0, 3.0]))
>>> round(low, 3), round(high, 3)
(-0.484, 4.484)
>>> mean_interval(np.array([1.0])) is None
True
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.special import expit

from ....platform.data.landmarks import landmark_finder
from ....platform.data.video_crops import NONE, CropSettings, FaceTrack, cut_track
from ....platform.data.video_landmarks import read_points
from ....platform.data.video_reading import VideoFile
from ....platform.training.files import write_text
from .card import NO_PROOF, DetectorCard, read_detector
from .model import Network
from .scoring import clip_logits, clip_starts, timeline

LEVEL = 0.95


@dataclass(frozen=True)
class VideoVerdict:
    """What is said of one video.

    Args:
        name: of the file.
        score: mean of its clips' logits (or probabilities, as the card says).
        low, high: a 95 % interval of that mean over clips, by Student's t; None: there is one clip.
        probability: the logistic function of the mean logit: not calibrated, unless the data are like those learned from.
        verdict: forged or real, at the threshold; "no threshold": nothing is decided.
        clips, frames, fps: what was looked at.
        mirrored: whether the video is shorter than a clip.
        missing: frames that could not be decoded.
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
    mirrored: bool
    missing: int
    logits: tuple[float, ...]
    plot: str = ""


def predict_videos(
    folder: Path, videos: Sequence[Path], *, landmarks: str = NONE, table: Path | None = None, threshold: float | None = None,
    plots: Path | None = None,
) -> tuple[list[VideoVerdict], DetectorCard, list[str]]:  # fmt: skip
    """Score video files by the detector of a finished run.

    Args:
        folder: of the run.
        videos: files.
        landmarks: what finds the face: none (videos are crops already), mediapipe, dlib, opencv; or files.
        table: of `files`: an .npz with the landmarks of the one video that is given.
        threshold: another than the card's.
        plots: folder that timelines are written to, one a video; None: none is written.

    Returns:
        What is said of each, the card, and remarks that belong beside the scores.

    Raises:
        BadInput: the folder holds no detector, or a video cannot be used.
        MissingExtra: PyAV, or the finder, is not installed.
    """
    network, card = read_detector(folder)
    crop = _crop(card, landmarks)
    points = None if table is None else read_points(table)
    finder = None if landmarks in (NONE, "files") else landmark_finder(landmarks).find
    limit = card.threshold if threshold is None else threshold
    found = []
    for path in videos:
        track = cut_track(VideoFile(path), crop, points=points, finder=finder)
        found.append(_judged(network, card, track, path, limit, plots))
    return found, card, remarks(card, landmarks, limit, found)


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
    if landmarks == NONE:
        told.append(
            "the middle square of each frame was taken: right only for crops of a face (otherwise give --landmarks)"
        )
    if not card.crop:
        told.append("the card does not say how the faces it learned from were cut; the usual crop was used")
    slow, fast = card.fps
    for one in found:
        if slow and not slow * 0.95 <= one.fps <= fast * 1.05:
            told.append(f"{one.name} has {one.fps:g} frames per second, the training videos {slow:g} to {fast:g}")
        if one.mirrored:
            told.append(f"{one.name} is shorter than a clip: it was mirrored at its ends")
        if one.missing:
            told.append(f"{one.missing} frames of {one.name} could not be decoded and were left out")
        if one.low is None:
            told.append(f"{one.name} has one clip only: there is no interval")
    return told


def _crop(card: DetectorCard, landmarks: str) -> CropSettings:
    """The crop that the detector learned from, with landmarks from another place."""
    known = {key: value for key, value in card.crop.items() if key in CropSettings.__dataclass_fields__}
    known |= {"points": landmarks, "most": card.max_frames, "shortest": 1}
    return CropSettings(**{"side": card.track_side or CropSettings().side, **known})


def _judged(
    network: Network, card: DetectorCard, track: FaceTrack, path: Path, threshold: float | None, plots: Path | None
) -> VideoVerdict:  # fmt: skip
    frames, count = track.frames, len(track.frames)
    logits = np.array(clip_logits(network, frames, clip_starts(count, card.clips, card.max_frames)))
    values = logits if card.score == "logit" else expit(logits)
    score, interval = float(values.mean()), mean_interval(values)
    over_time = timeline(network, frames)
    plot = "" if plots is None else _plot(plots / f"{path.stem}.svg", over_time, track.fps, path.name, threshold, card)
    verdict = "no threshold" if threshold is None else "forged" if score >= threshold else "real"
    low, high = interval or (None, None)
    probability = float(expit(logits.mean()))
    return VideoVerdict(
        path.name, score, low, high, probability, verdict, len(logits), count, track.fps, count < card.clips.span, track.missing,
        tuple(over_time.tolist()), plot,
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
