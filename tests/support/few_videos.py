"""A few small videos of moving patterns, real and forged: enough to run a detector on, and made in a moment.

A real video is a pattern of its own that drifts evenly. Forged ones show the same pattern: FLICKER with a brightness that jumps from
frame to frame, STILL with one frame for all, SHUFFLED out of order.
"""

from __future__ import annotations

import numpy as np
from stillhouse.platform.data.videos import REAL, InMemoryTracks, VideoData, VideoSet

SIDE = 32


def real_video(person: int, frames: int, side: int = SIDE) -> np.ndarray:
    """uint8 (frames, 3, side, side)."""
    draw = np.random.default_rng(person)
    rates, phases = draw.uniform(0.5, 2.0, (3, 3)), draw.uniform(0, 6.28, (3, 3))
    place = np.arange(side) / side * 6.28
    time = np.arange(frames)[:, None, None, None] * draw.uniform(0.2, 0.35)
    across, down = place[None, None, None], place[None, None, :, None]
    value = np.sin(rates[0][:, None, None] * across + phases[0][:, None, None] + time)
    value = value + np.sin(rates[1][:, None, None] * down + phases[1][:, None, None] - 0.7 * time)
    noise = draw.normal(0, 2.0, (frames, 3, side, side))
    return np.clip(127 + 50 * value + noise, 0, 255).astype(np.uint8)


def forged_video(family: str, real: np.ndarray, seed: int) -> np.ndarray:
    """A forgery of a real video."""
    draw = np.random.default_rng(seed)
    if family == "STILL":
        return np.repeat(real[:1], len(real), axis=0)
    if family == "SHUFFLED":
        return real[draw.permutation(len(real))]
    shift = draw.integers(-40, 41, (len(real), 1, 1, 1))
    return np.clip(real.astype(int) + shift, 0, 255).astype(np.uint8)


def video_set(people: list[int], families: tuple[str, ...], frames: int = 20, side: int = SIDE) -> VideoSet:
    """Each person's real video, then their forged ones."""
    videos, names, kinds, sources, who = [], [], [], [], []
    for person in people:
        real, at = real_video(person, frames, side), len(videos)
        for family in (REAL, *families):
            videos.append(real if family == REAL else forged_video(family, real, person))
            names.append(f"{person}/{family}")
            kinds.append(family)
            sources.append(-1 if family == REAL else at)
            who.append(person)
    forged = np.array([kind != REAL for kind in kinds])
    return VideoSet(InMemoryTracks(videos, 25.0), forged, np.array(who), tuple(kinds), tuple(names), np.array(sources))


def few_videos(
    *, train: int = 4, test: int = 4, seen: tuple[str, ...] = ("FLICKER",), held_out: tuple[str, ...] = ("STILL",), frames: int = 20
) -> VideoData:  # fmt: skip
    """Videos of so many people to learn from, of two to validate on, and of so many to be tested on."""
    people = list(range(100, 100 + train + 2 + test))
    return VideoData(
        video_set(people[:train], seen, frames), video_set(people[train : train + 2], seen, frames),
        video_set(people[train + 2 :], (*seen, *held_out), frames), held_out, "few videos", "made for a test",
    )  # fmt: skip
