"""Clips: which frames, one draw for all of them, what the network sees."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from stillhouse.methods.recognition.naco.clips import (
    DEVIATION,
    MEAN,
    Draw,
    augmented,
    central,
    clip_frames,
    draw_augmentation,
    fitted,
    starts,
)
from stillhouse.methods.recognition.naco.settings import Augmentation, Clips

CLIPS = Clips(length=4, side=32, margin=4)


@given(st.integers(1, 40), st.integers(4, 12), st.integers(1, 3), st.data())
def test_frames_of_a_clip_against_a_walk(count: int, length: int, stride: int, data: st.DataObject) -> None:
    clips = Clips(length=length, stride=stride, side=32)
    start = data.draw(st.integers(0, starts(count, clips) - 1))
    found = clip_frames(count, start, clips)
    at, step, walked = 0, 1, []
    for _ in range(start + clips.span):
        walked.append(at)
        if count > 1:
            step = 1 if at == 0 else -1 if at == count - 1 else step
            at += step
    assert found.tolist() == walked[start::stride][:length]
    if count >= clips.span:
        assert (np.diff(found) == stride).all()


def plain(count: int, **changes: torch.Tensor) -> Draw:
    values = {
        "corner": torch.zeros(count, 2, dtype=torch.int64), "flip": torch.zeros(count, dtype=torch.bool),
        "gain": torch.ones(count), "shift": torch.zeros(count), "grey": torch.zeros(count, dtype=torch.bool),
    }  # fmt: skip
    return Draw(**{**values, **changes})


def raw(pixels: torch.Tensor) -> torch.Tensor:
    return pixels * torch.tensor(DEVIATION)[:, None, None] + torch.tensor(MEAN)[:, None, None]


@given(st.integers(0, 2**31))
def test_a_draw_is_one_for_all_frames_of_a_clip(seed: int) -> None:
    """U11: a video that stands still stands still after augmentation, whatever is drawn; another clip gets another draw."""
    generator = torch.Generator().manual_seed(seed)
    still = torch.randint(256, (1, 1, 3, 36, 36), generator=generator, dtype=torch.uint8).expand(6, 4, 3, 36, 36)
    drawn = draw_augmentation(Augmentation(), CLIPS, 6, generator)
    seen = augmented(still, drawn, CLIPS)
    assert seen.shape == (6, 4, 3, 32, 32)
    assert (seen == seen[:, :1]).all()
    assert not (seen == seen[:1]).all()


def test_each_part_of_a_draw_does_what_it_says() -> None:
    frames = torch.randint(256, (2, 4, 3, 36, 36), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    same = raw(augmented(frames, plain(2), CLIPS))
    assert torch.allclose(same, frames[..., :32, :32] / 255, atol=1e-6)
    moved = raw(augmented(frames, plain(2, corner=torch.tensor([[1, 3], [4, 0]])), CLIPS))
    assert torch.allclose(moved[0], frames[0, ..., 1:33, 3:35] / 255, atol=1e-6)
    assert torch.allclose(moved[1], frames[1, ..., 4:36, 0:32] / 255, atol=1e-6)
    flipped = raw(augmented(frames, plain(2, flip=torch.tensor([True, False])), CLIPS))
    assert torch.allclose(flipped[0], same[0].flip(-1), atol=1e-6) and torch.allclose(flipped[1], same[1], atol=1e-6)
    brighter = raw(augmented(frames, plain(2, gain=torch.tensor([1.2, 1.0]), shift=torch.tensor([0.1, 0.0])), CLIPS))
    assert torch.allclose(brighter[0], (same[0] * 1.2 + 0.1).clamp(0, 1), atol=1e-6)
    grey = raw(augmented(frames, plain(2, grey=torch.tensor([True, False])), CLIPS))[0]
    luma = 0.299 * same[0, :, 0] + 0.587 * same[0, :, 1] + 0.114 * same[0, :, 2]
    assert torch.allclose(grey, luma[:, None].expand_as(grey), atol=1e-5)


def test_draws_keep_to_their_settings() -> None:
    drawn = draw_augmentation(
        Augmentation(flip=1.0, gain=0.3, shift=0.2, grey=0.0), CLIPS, 4000, torch.Generator().manual_seed(0)
    )
    assert drawn.flip.all() and not drawn.grey.any()
    assert (
        drawn.gain.min() >= 0.7
        and drawn.gain.max() <= 1.3
        and drawn.gain.std() == pytest.approx(0.6 / 12**0.5, rel=0.05)
    )
    assert drawn.shift.abs().max() <= 0.2
    assert set(drawn.corner.flatten().tolist()) == {0, 1, 2, 3, 4}


def test_a_draw_twice_is_for_pairs() -> None:
    drawn = draw_augmentation(Augmentation(), CLIPS, 3, torch.Generator().manual_seed(0)).twice()
    for part in fields(drawn):
        values = getattr(drawn, part.name)
        assert torch.equal(values[:3], values[3:])


def test_tracks_of_another_size_are_brought_to_it_and_the_middle_is_cut() -> None:
    frames = torch.full((1, 4, 3, 50, 50), 100, dtype=torch.uint8)
    assert fitted(frames, CLIPS).shape == (1, 4, 3, 36, 36)
    assert torch.allclose(raw(central(frames, CLIPS)), torch.tensor(100 / 255), atol=1e-5)
    marked = torch.zeros(1, 4, 3, 36, 36, dtype=torch.uint8)
    marked[..., 2:34, 2:34] = 255
    assert raw(central(marked, CLIPS)).min() > 0.99
