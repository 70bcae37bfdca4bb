"""Forgeries that are made of real clips: where they differ from them, and that they come out the same each time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from stillhouse.methods.recognition.naco.made import MadeTracks, Maker, with_made
from stillhouse.methods.recognition.naco.self_blending import self_blended
from support.few_videos import video_set


def stills(count: int = 2, length: int = 5, side: int = 64) -> torch.Tensor:
    """Clips of one picture with detail everywhere, in all frames the same."""
    picture = torch.randint(
        60, 200, (count, 1, 3, side, side), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
    )
    return picture.expand(count, length, 3, side, side).contiguous()


def test_the_face_changes_and_the_corners_do_not() -> None:
    given = stills()
    found = self_blended(given, torch.Generator().manual_seed(1))
    assert found.shape == given.shape and found.dtype == torch.uint8
    changed = (found != given).float().mean((0, 1, 2))
    corner = 6
    assert changed[28:36, 28:36].mean() > 0.8
    for rows in (slice(0, corner), slice(-corner, None)):
        for columns in (slice(0, corner), slice(-corner, None)):
            assert changed[rows, columns].max() == 0


def test_draws_of_each_frame_flicker_and_those_of_a_clip_do_not() -> None:
    given = stills()
    flicker = self_blended(given, torch.Generator().manual_seed(1), each="frame").float()
    steady = self_blended(given, torch.Generator().manual_seed(1), each="clip").float()
    assert (steady == steady[:, :1]).all() and (steady != given).any()
    assert (flicker[:, 1:] - flicker[:, :-1]).abs().mean() > 1.0
    assert not torch.equal(steady[0, 0] - given[0, 0], steady[1, 0] - given[1, 0])


def test_a_blend_is_between_the_picture_and_itself() -> None:
    """Colours shift by 8 % and 8 levels at most, and detail is the face's own: on a flat picture nothing else can happen."""
    given = torch.full((4, 3, 3, 64, 64), 120, dtype=torch.uint8)
    found = self_blended(given, torch.Generator().manual_seed(0)).float()
    assert found.min() >= 120 * 0.92 - 8 - 1 and found.max() <= 120 * 1.08 + 8 + 1
    assert found[..., 32, 32].std() > 2


def test_shuffled_clips_hold_the_same_frames_in_another_order() -> None:
    given = torch.arange(8, dtype=torch.uint8)[None, :, None, None, None].expand(3, 8, 3, 4, 4).contiguous()
    found = Maker("shuffled")(given, torch.Generator().manual_seed(0))
    for clip in found:
        order = clip[:, 0, 0, 0].tolist()
        assert sorted(order) == list(range(8)) and order != list(range(8))
        assert (clip == clip[:, :1, :1, :1]).all()


@pytest.mark.parametrize("kind", ["self_blended", "shuffled"])
def test_made_tracks_are_the_same_each_time_and_hash_apart(kind: str) -> None:
    given = video_set([1, 2], ("FLICKER",), frames=19)
    made = with_made(given, Maker(kind), length=8, seed=5)
    assert made.families == ("real", "real", kind, kind)
    assert made.source.tolist() == [-1, -1, 0, 1] and made.identities.tolist() == [1, 2, 1, 2]
    whole = made.tracks.read(2, np.arange(19))
    assert (whole == made.tracks.read(2, np.arange(19))).all()
    real = given.tracks.read(0, np.arange(19))
    assert (made.tracks.read(0, np.arange(19)) == real).all()
    assert (whole[:8] != real[:8]).any() and (whole[8:16] != real[8:16]).any()
    assert (whole[16:] == real[16:]).all()  # no whole clip is left
    hashes = {
        MadeTracks(given.tracks, Maker(kind), 8, 5).track_hash(0), MadeTracks(given.tracks, Maker(kind), 8, 6).track_hash(0),
        MadeTracks(given.tracks, Maker(kind), 7, 5).track_hash(0), given.tracks.track_hash(0),
    }  # fmt: skip
    assert len(hashes) == 4
