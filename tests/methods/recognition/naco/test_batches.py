"""Batches: pairs are pairs, everybody comes, processes share what one would have seen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stillhouse.methods.recognition.naco.batches import forged_batches, partners, real_batches
from stillhouse.methods.recognition.naco.settings import Clips
from stillhouse.platform.data.videos import InMemoryTracks, VideoSet
from stillhouse.platform.errors import BadInput
from stillhouse.platform.training.progress import Silent
from stillhouse.platform.training.run import LocalRun
from stillhouse.platform.training.world import World

CLIPS = Clips(length=4, side=32, margin=0)


def numbered(lengths: list[int]) -> InMemoryTracks:
    """Frame t of track n: red is n, green is t."""
    videos = []
    for number, length in enumerate(lengths):
        video = np.zeros((length, 3, 32, 32), np.uint8)
        video[:, 0] = number
        video[:, 1] = np.arange(length)[:, None, None]
        videos.append(video)
    return InMemoryTracks(videos)


def videos() -> VideoSet:
    """Two real ones, two forgeries of the first, one of the second (shorter), one of nobody knows whom."""
    families = ("real", "real", "A", "B", "A", "A")
    source = np.array([-1, -1, 0, 0, 1, -1])
    forged = np.array([False, False, True, True, True, True])
    return VideoSet(
        numbered([9, 12, 9, 9, 7, 8]), forged, np.array([0, 1, 0, 0, 1, 2]), families, tuple("abcdef"), source
    )


def run(folder: Path, rank: int = 0, size: int = 1, seed: int = 0) -> LocalRun:
    return LocalRun(folder, seed=seed, reporter=Silent(), world=World(rank, size))


def drawn(loader: Any) -> list[torch.Tensor]:
    return [frames for _, frames in loader]


def told(frames: torch.Tensor) -> list[list[tuple[int, int]]]:
    """(track, first frame) of every clip; checks that its frames run on."""
    rows = []
    for row in frames:
        for clip in row:
            first = int(clip[0, 1, 0, 0])
            assert clip[:, 1, 0, 0].tolist() == list(range(first, first + 4))
        rows.append([(int(clip[0, 0, 0, 0]), int(clip[0, 1, 0, 0])) for clip in row])
    return rows


def test_a_forged_clip_lies_beside_the_real_one_of_the_same_frames(tmp_path: Path) -> None:
    given = videos()
    forged = np.array([2, 3, 4])
    loader = forged_batches(run(tmp_path), given, forged, CLIPS, batches=30, size=4, pairs=True, second=True)
    rows = [row for frames in drawn(loader) for row in told(frames)]
    assert len(rows) == 60
    for own, other, second in rows:
        assert other[0] == given.source[own[0]] == second[0]
        assert own[1] == other[1] <= 9 - 4
    assert {start for own, _, _ in rows if own[0] == 4 for start in [own[1]]} == {0, 1, 2, 3}  # 7 frames
    counts = np.bincount([own[0] for own, _, _ in rows])
    assert counts[2] == counts[3] == counts[4] == 20  # each once before any comes again


def test_without_pairs_or_a_known_source_any_real_clip_lies_beside(tmp_path: Path) -> None:
    given = videos()
    for numbers, pairs in ((np.array([5]), True), (np.array([2]), False)):
        loader = forged_batches(run(tmp_path), given, numbers, CLIPS, batches=40, size=2, pairs=pairs, second=False)
        rows = [row for frames in drawn(loader) for row in told(frames)]
        assert {other[0] for _, other in rows} == {0, 1}
        assert any(own[1] != other[1] for own, other in rows)
    assert partners(given).tolist() == [0, 1, 0, 0, 1, -1]


def test_two_clips_of_each_real_video(tmp_path: Path) -> None:
    loader = real_batches(run(tmp_path), videos(), np.array([0, 1]), CLIPS, batches=20, size=2)
    rows = [row for frames in drawn(loader) for row in told(frames)]
    assert all(one[0] == other[0] for one, other in rows)
    assert any(one[1] != other[1] for one, other in rows)
    assert len(list(loader)) == len(loader) == 20


def test_processes_see_together_what_one_sees(tmp_path: Path) -> None:
    given = videos()

    def batches(rank: int, size: int) -> list[list[list[tuple[int, int]]]]:
        real = real_batches(run(tmp_path, rank, size), given, np.array([0, 1]), CLIPS, batches=5, size=4)
        return [told(frames) for frames in drawn(real)]

    alone, first, second = batches(0, 1), batches(0, 2), batches(1, 2)
    for whole, one, other in zip(alone, first, second, strict=True):
        assert whole == [row for pair in zip(one, other, strict=True) for row in pair]
    with pytest.raises(BadInput, match="3 processes"):
        batches(0, 3)


def test_the_same_seed_draws_the_same_and_another_does_not(tmp_path: Path) -> None:
    def rows(seed: int) -> list[torch.Tensor]:
        return drawn(real_batches(run(tmp_path, seed=seed), videos(), np.array([0, 1]), CLIPS, batches=5, size=2))

    assert all(torch.equal(one, other) for one, other in zip(rows(1), rows(1), strict=True))
    assert not all(torch.equal(one, other) for one, other in zip(rows(1), rows(2), strict=True))
