"""Drawn heads: the same by seed, moving smoothly, and with points that lie where the pixels say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stillhouse.platform.data.forgery_points import MarkedTrack, face_points, hull_cover
from stillhouse.platform.data.forgery_warp import warped
from stillhouse.platform.data.procedural_heads import (
    NOISE,
    MarkedTracks,
    blinking,
    draw_heads,
    natural_motion,
)
from stillhouse.platform.data.videos import VideoSet
from stillhouse.platform.errors import BadInput


def track(heads: VideoSet, number: int) -> MarkedTrack:
    assert isinstance(heads.tracks, MarkedTracks)
    every = np.arange(heads.tracks.frames(number))
    return MarkedTrack(heads.tracks.read(number, every), heads.tracks.landmarks(number, every))


@pytest.fixture(scope="module")
def heads() -> VideoSet:
    return draw_heads(4, videos=1, frames=40, side=88, seed=11, tremble=0)


def test_a_person_is_the_same_however_many_are_drawn(heads: VideoSet) -> None:
    few = draw_heads(1, videos=1, frames=40, side=88, seed=11, first=2, tremble=0)
    assert few.names == ("head0002/v0",) and few.identities.tolist() == [2] and not few.forged.any()
    assert (few.tracks.read(0, [0, 39]) == heads.tracks.read(2, [0, 39])).all()
    assert (track(few, 0).points == track(heads, 2).points).all()
    other = draw_heads(1, videos=1, frames=2, side=88, seed=12, first=2)
    assert not (other.tracks.read(0, [0]) == few.tracks.read(0, [0])).all()


def test_a_track_is_the_same_however_it_is_drawn_in_batches() -> None:
    long, short = (draw_heads(1, frames=frames, side=32, seed=3) for frames in (19, 19))
    assert long.content_hash() == short.content_hash()
    assert long.tracks.track_hash(0) != draw_heads(1, frames=19, side=32, seed=4).tracks.track_hash(0)


def test_a_persons_videos_differ_in_motion_and_light_and_not_in_the_person() -> None:
    two = draw_heads(1, videos=2, frames=24, side=48, seed=5, tremble=0)
    one, other = track(two, 0), track(two, 1)
    assert np.abs(one.frames.astype(float) - other.frames).mean() > 5
    # Distance of the eyes over the height of the oval is the person's; nods and turns move all of an eye.
    for_each = [np.median(np.ptp(t.part("left_eye", "right_eye")[..., 0], axis=1)) / t.unit for t in (one, other)]
    assert for_each[0] == pytest.approx(for_each[1], rel=0.04)


def test_pixels_move_with_the_points(heads: VideoSet) -> None:
    """A frame warped to another one's points is nearer to it than as it was: the points follow what is drawn."""
    ratios = []
    for number in range(4):
        head = track(heads, number)
        inside = hull_cover(head.part("oval"), 88, -4)[20:40] > 0.5
        later, earlier = slice(20, 40), slice(0, 20)
        brought = warped(head.frames[earlier], head.points[earlier], head.points[later], sigma=4.0)
        still = np.abs(head.frames[earlier].astype(float) - head.frames[later]).mean(1)[inside].mean()
        ratios.append(np.abs(brought - head.frames[later]).mean(1)[inside].mean() / still)
    assert max(ratios) < 0.75 and np.mean(ratios) < 0.6, ratios


@pytest.mark.parametrize("part", ["inner_lips", "left_eye"])
def test_mouth_and_lids_open_as_their_points_do(heads: VideoSet, part: str) -> None:
    """What differs from skin in a fixed window about a part grows with the height that its points say."""
    found = []
    for number in range(4):
        head = track(heads, number)
        points = head.part(part)
        if part == "left_eye" and np.ptp(points[..., 1], axis=1).std() < 0.3:
            continue  # nobody blinked
        height = np.ptp(points[..., 1], axis=1)
        grey = head.frames.mean(1)
        seen = np.empty(40)
        for frame, (middle, image) in enumerate(zip(points.mean(1).round().astype(int), grey, strict=True)):
            window = image[middle[1] - 5 : middle[1] + 6, middle[0] - 3 : middle[0] + 4]
            around = np.median(image[middle[1] + 12 : middle[1] + 16, middle[0] - 8 : middle[0] + 9])
            seen[frame] = np.abs(window - around).mean()
        found.append(np.corrcoef(height, seen)[0, 1])
    assert len(found) >= 2 and np.median(found) > 0.7, found


@settings(max_examples=30)
@given(seed=st.integers(0, 10**6))
def test_motion_is_bounded_and_band_limited(seed: int) -> None:
    seconds = np.arange(2500) / 25
    motion = natural_motion(np.random.default_rng(seed), seconds)
    assert np.abs(motion).max() <= 1
    power = np.abs(np.fft.rfft((motion - motion.mean()) * np.hanning(2500))) ** 2
    rates = np.fft.rfftfreq(2500, 1 / 25)
    assert power[(rates < 0.15) | (rates > 2.05)].sum() < 1e-3 * power.sum()


def test_blinks_come_as_often_and_last_as_long_as_said() -> None:
    opened = blinking(np.random.default_rng(0), 250_000, 25.0)
    closing = (opened[1:] < 1) & (opened[:-1] == 1)
    # Two that overlap count as one: a Poisson process seen after dead times of 4 frames, rate / (1 + 4 rate).
    rate = 0.3 / 25
    assert closing.sum() / 250_000 == pytest.approx(rate / (1 + 4 * rate), rel=0.05)
    assert (opened < 1).mean() == pytest.approx(1 - (1 - rate) ** 4, rel=0.05)
    assert opened.min() > 0 and opened.max() == 1


def test_the_sensors_noise_is_what_it_says(heads: VideoSet) -> None:
    """In a corner, where nothing moves but slow light: the second difference in time is noise, of 6 times its variance."""
    for number in range(4):
        corner = heads.tracks.read(number, np.arange(40))[:, :, :8, :8].astype(float)
        corner = corner[:, :, (corner.min((0, 1)) > 8) & (corner.max((0, 1)) < 247)]
        if corner.size < 40 * 3 * 16:
            continue
        measured = np.sqrt((np.diff(corner, 2, axis=0) ** 2).mean() / 6)
        assert measured == pytest.approx(np.hypot(NOISE, 1 / np.sqrt(12)), rel=0.1)


def test_natural_order_is_smoother_than_any_other(heads: VideoSet) -> None:
    order = np.random.default_rng(0).permutation(40)
    for number in range(4):
        frames = heads.tracks.read(number, np.arange(40)).astype(float)
        natural, shuffled = (np.abs(np.diff(some, axis=0)).mean() for some in (frames, frames[order]))
        assert shuffled > 1.5 * natural


def test_the_face_is_whole_and_as_large_as_a_crops(heads: VideoSet) -> None:
    for number in range(4):
        head = track(heads, number)
        assert head.points.min() > -1 and head.points.max() < 88
        height = np.ptp(head.part("oval")[..., 1], axis=1) / 88
        assert height.min() > 0.66 and height.max() < 0.88
    assert len(head.which.warped) == head.points.shape[1] == len(face_points(127).warped)


@pytest.mark.parametrize(
    "wrong",
    [
        {"people": 0},
        {"videos": 0},
        {"frames": 0},
        {"side": 15},
        {"first": -1},
        {"fps": 4.0},
        {"fps": np.nan},
        {"tremble": -1.0},
    ],
)
def test_impossible_numbers_are_refused(wrong: dict) -> None:
    with pytest.raises(BadInput):
        draw_heads(**{"people": 1, "frames": 2, "side": 16, "seed": 0, **wrong})


def test_points_tremble_as_told_and_pixels_do_not_know() -> None:
    exact, found = (draw_heads(1, frames=60, side=48, seed=2, tremble=tremble) for tremble in (0.0, 0.2))
    assert (exact.tracks.read(0, [5]) == found.tracks.read(0, [5])).all()
    error = (track(found, 0).points - track(exact, 0).points) / track(exact, 0).unit
    whole = error.mean(1, keepdims=True)
    assert (error - whole).std() == pytest.approx(0.2, rel=0.05) and whole.std() == pytest.approx(0.2, rel=0.2)
    assert exact.content_hash() != found.content_hash()


def test_points_of_other_lengths_are_refused() -> None:
    with pytest.raises(BadInput, match="other numbers of frames"):
        MarkedTracks([np.zeros((2, 3, 8, 8), np.uint8)], points=[np.zeros((3, 127, 2))])
