"""Scores of videos: clips that do not overlap, a logit each, their mean; and where in time a video looks forged.

>>> scores = ClipScores(np.array([0, 0, 1]), np.array([0, 16, 0]), np.array([1.0, 3.0, -2.0]), 2, 0)
>>> video_scores(scores, "logit").tolist()
[2.0, -2.0]
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.special import expit

from ....platform.data.videos import VideoSet
from ....platform.errors import BadInput, RunFailed
from ....platform.training.run import Run
from .clips import central, clip_frames
from .form import Clips
from .model import Network

PIECE = 8  # clips at once
Precise = Callable[[], AbstractContextManager[Any]]


@dataclass(frozen=True, eq=False)
class ClipScores:
    """Scores of clips.

    Args:
        video: int64 (m,): number of the video that a clip is of, rising.
        start: int64 (m,): its first frame.
        logit: float64 (m,): above 0 for forged.
        videos: how many videos there are; each has a clip at least.
        mirrored: how many of them were too short for a clip, and were mirrored at their ends.
    """

    video: np.ndarray
    start: np.ndarray
    logit: np.ndarray
    videos: int
    mirrored: int

    def __post_init__(self) -> None:
        if len(self.video) != len(self.logit) or len(np.unique(self.video)) != self.videos:
            raise BadInput(
                f"{len(self.logit)} scores of {len(np.unique(self.video))} videos, and there are {self.videos}"
            )

    def labels(self, forged: np.ndarray) -> np.ndarray:
        """The truth of each clip, from that of the videos."""
        return np.asarray(forged)[self.video]


def clip_starts(count: int, clips: Clips, most: int) -> list[int]:
    """First frames of the clips of a track of `count` frames that do not overlap, within its first `most`; one at least.

    >>> clip_starts(50, Clips(length=16), 110), clip_starts(10, Clips(length=16), 110), clip_starts(200, Clips(length=16), 40)
    ([0, 16, 32], [0], [0, 16])
    """
    seen = max(min(count, most), clips.span) if count >= clips.span else 0
    return list(range(0, seen - clips.span + 1, clips.span)) or [0]


def score_clips(run: Run, network: Network, videos: VideoSet, most: int) -> ClipScores:
    """Score every clip of every video; processes share the videos. The network must be in evaluation mode.

    Args:
        run: the run; every process of it takes part.
        network: on the run's device.
        videos: at least one.
        most: frames of a video that are looked at.

    Raises:
        BadInput: there is no video.
        RunFailed: a score is not finite.
    """
    if not len(videos):
        raise BadInput("there is no video to score", mend="check the data")
    clips, here = network.clips, []
    for number in range(run.world.rank, len(videos), run.world.size):
        count = videos.tracks.frames(number)
        first = clip_starts(count, clips, most)
        frames = videos.tracks.read(number, np.arange(min(count, max(most, clips.span))))
        here.append((number, first, clip_logits(network, frames, first, run.autocast), count < clips.span))
    rows = sorted(row for part in run.gather(here) for row in part)
    video = np.concatenate([np.full(len(row[1]), row[0]) for row in rows])
    found = ClipScores(
        video, np.concatenate([row[1] for row in rows]), np.concatenate([row[2] for row in rows]), len(videos),
        sum(bool(row[3]) for row in rows),
    )  # fmt: skip
    if not np.isfinite(found.logit).all():
        raise RunFailed(
            "scores are not finite", why="the network's weights or the frames are not", mend="train anew, more slowly"
        )
    return found


@torch.no_grad()
def clip_logits(
    network: Network, frames: np.ndarray, first: list[int], precision: Precise = nullcontext
) -> list[float]:  # fmt: skip
    """Logits of clips of one video that begin at these of its frames, uint8 (t, 3, S, S).

    The network is in evaluation mode; what it multiplies, it does within `precision`.
    """
    device = next(network.parameters()).device
    whole = torch.from_numpy(np.ascontiguousarray(frames))
    at = np.stack([clip_frames(len(frames), start, network.clips) for start in first])
    logits: list[float] = []
    for piece in np.split(at, range(PIECE, len(at), PIECE)):
        pixels = central(whole[torch.from_numpy(piece)].to(device), network.clips)
        with precision():
            logits += network(pixels).double().tolist()
    return logits


def video_scores(scores: ClipScores, how: str) -> np.ndarray:
    """A score for each video, float64 (n,): mean of its clips' logits, or of their probabilities."""
    values = scores.logit if how == "logit" else expit(scores.logit)
    return np.asarray(
        np.bincount(scores.video, values, scores.videos) / np.bincount(scores.video, minlength=scores.videos)
    )


def timeline(
    network: Network, frames: np.ndarray, *, every: int | None = None, precision: Precise = nullcontext
) -> np.ndarray:  # fmt: skip
    """A logit for each frame, float64 (t,): the mean over all clips that it lies in, of clips that begin every few frames.

    Args:
        network: in evaluation mode.
        frames: uint8 (t, 3, S, S) of one video.
        every: frames from one clip to the next; None: a quarter of a clip. The last frames have a clip that ends with them.
        precision: as for `clip_logits`.
    """
    clips, count = network.clips, len(frames)
    step = max(1, clips.span // 4) if every is None else every
    last = max(count - clips.span, 0)
    first = sorted({*range(0, last + 1, step), last})
    logits = np.array(clip_logits(network, frames, first, precision))
    sums, seen = np.zeros(count), np.zeros(count)
    for start, logit in zip(first, logits, strict=True):
        inside = slice(start, min(start + clips.span, count))
        sums[inside] += logit
        seen[inside] += 1
    return sums / seen


def frame_difference(videos: VideoSet, most: int) -> np.ndarray:
    """How much each video changes from frame to frame, a mean of absolute differences in 0 .. 255, float64 (n,): no learning at all."""
    found = []
    for number in range(len(videos)):
        frames = videos.tracks.read(number, np.arange(min(videos.tracks.frames(number), most))).astype(np.int16)
        found.append(float(np.abs(np.diff(frames, axis=0)).mean()) if len(frames) > 1 else 0.0)
    return np.array(found)
