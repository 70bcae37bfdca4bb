"""Faces cut out of videos: where each pixel comes from, how landmarks are smoothed, and which videos cannot be used."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stillhouse.platform.data.alignment import TEMPLATE
from stillhouse.platform.data.landmarks import OF_MESH
from stillhouse.platform.data.video_crops import (
    OVAL_HEIGHT,
    OVAL_MIDDLE,
    STEADY,
    STEADY_TEMPLATE,
    CropSettings,
    OtherSettings,
    check_settings,
    cut_face,
    cut_track,
    placed,
    smoothed,
)
from stillhouse.platform.data.video_reading import Timeline, UnusableVideo, VideoFile
from stillhouse.platform.errors import BadInput
from support.video_files import exact_video, noise

SMALL = CropSettings(side=32, smooth=4, shortest=4)


@dataclass(frozen=True)
class Shown:
    """Footage in memory."""

    pictures: np.ndarray
    rate: float = 25.0
    undecodable: tuple[int, ...] = ()
    name: str = "shown"

    @property
    def timeline(self) -> Timeline:
        return Timeline(np.arange(len(self.pictures)) / self.rate, self.rate)

    def frames(self, numbers: Any) -> Iterator[tuple[int, np.ndarray]]:
        for number in np.unique(numbers).tolist():
            if number not in self.undecodable:
                yield number, self.pictures[number]


def face_at(x: float, y: float, scale: float = 1.0, turn: float = 0.0) -> np.ndarray:
    """Five points of an upright or turned face about (x, y)."""
    cos, sin = scale * np.cos(turn), scale * np.sin(turn)
    return (TEMPLATE - OVAL_MIDDLE) @ np.array([[cos, sin], [-sin, cos]]) + [x, y]


@given(
    points=st.lists(st.tuples(st.floats(-50, 50), st.floats(-50, 50)), min_size=2, max_size=20), over=st.integers(1, 14)
)
def test_smoothing_is_a_mean_over_frames_about_each(points: list[tuple[float, float]], over: int) -> None:
    track = np.array(points)[:, None] + np.array([[0.0, 0], [3, 1], [1, 4]]) * np.array(points)[:, :1, None]
    found = smoothed(track, over)
    for t in range(len(track)):
        window = [track[s] for s in range(len(track)) if t - over // 2 <= s < t - over // 2 + over]
        mean = sum(window) / len(window)
        np.testing.assert_allclose(found[t], mean - mean.mean(0) + track[t].mean(0), atol=1e-9)


@given(
    turn=st.floats(-0.6, 0.6),
    scale=st.floats(0.62, 2.0),
    x=st.floats(-20, 45),
    y=st.floats(-20, 45),
    seed=st.integers(0, 9),
)
@settings(max_examples=30)
def test_each_pixel_is_read_between_its_four_neighbours(
    turn: float, scale: float, x: float, y: float, seed: int
) -> None:
    picture, side = noise(1, 20, 26, seed)[0], 7
    cos, sin = scale * np.cos(turn), scale * np.sin(turn)
    linear = np.array([[cos, -sin], [sin, cos]])
    transform = np.column_stack([linear, [side / 2, side / 2] - linear @ [x, y]])
    found = cut_face(picture, transform, side)

    def at(column: int, row: int) -> np.ndarray:
        """A pixel of the picture, mirrored beyond its border."""
        for _ in range(9):
            column = -1 - column if column < 0 else 2 * 26 - 1 - column if column >= 26 else column
            row = -1 - row if row < 0 else 2 * 20 - 1 - row if row >= 20 else row
        return picture[row, column].astype(float)

    for row in range(side):
        for column in range(side):
            source = np.linalg.solve(linear, np.array([column, row]) - transform[:, 2])
            low = np.floor(source).astype(int)
            right, down = source - low
            expected = (
                (1 - right) * (1 - down) * at(low[0], low[1]) + right * (1 - down) * at(low[0] + 1, low[1])
                + (1 - right) * down * at(low[0], low[1] + 1) + right * down * at(low[0] + 1, low[1] + 1)
            )  # fmt: skip
            assert np.abs(found[:, row, column] - expected).max() <= 2


def test_a_picture_that_shrinks_is_averaged() -> None:
    checks = np.zeros((128, 128, 3), np.uint8)
    checks[(np.indices((128, 128)).sum(0) % 2).astype(bool)] = 200
    quarter = np.array([[0.25, 0, 0.25 * 0.5 - 0.5], [0, 0.25, 0.25 * 0.5 - 0.5]])
    # Sampling alone would read 0 or 200; blocks that do not end with a pixel leave a little of either.
    np.testing.assert_allclose(cut_face(checks, quarter, 32).astype(float), 100, atol=16)
    slope = np.repeat(np.arange(128, dtype=np.uint8)[None, :, None], 128, 0).repeat(3, 2)
    inner = cut_face(slope, quarter, 32)[:, 2:-2, 2:-2].astype(float)
    np.testing.assert_allclose(inner, np.broadcast_to(4 * np.arange(2, 30) + 1.5, inner.shape), atol=1)


def test_a_face_that_moves_stays_in_its_place() -> None:
    picture = np.asarray(noise(1, 160, 160)[0])
    shifts = [(0, 0), (3, 1), (5, 4), (2, 7), (-4, 6), (-6, -3), (1, -5), (4, 2)]
    pictures = np.stack([np.roll(picture, (down, right), (0, 1)) for right, down in shifts])
    points = np.stack([face_at(80 + right, 78 + down) for right, down in shifts])
    track = cut_track(Shown(pictures), SMALL, points=points)
    assert track.frames.shape == (8, 3, 32, 32) and track.missing == 0 and track.points is not None
    assert np.abs(track.frames.astype(int) - track.frames[0]).max() <= 1
    height = SMALL.face * 32
    np.testing.assert_allclose(track.points.mean(0), (TEMPLATE - OVAL_MIDDLE) * height / OVAL_HEIGHT + 15.5, atol=1e-4)


@pytest.mark.parametrize("turn", [0.0, 0.4])
def test_the_oval_fills_its_part_of_the_side(turn: float) -> None:
    mesh = np.zeros((6, 478, 2))
    cos, sin = np.cos(turn), np.sin(turn)
    mesh[:, STEADY] = 2.2 * STEADY_TEMPLATE @ np.array([[cos, sin], [-sin, cos]]) + [50, 90]
    transforms = placed(mesh, CropSettings(side=88))
    scale = np.sqrt(np.linalg.det(transforms[:, :, :2]))
    np.testing.assert_allclose(scale * 2.2 * OVAL_HEIGHT, 0.765 * 88, rtol=1e-6)


def test_steady_points_fit_the_published_template() -> None:
    eyes = [STEADY_TEMPLATE[[STEADY.index(one) for one in corners]].mean(0) for corners in OF_MESH[:2]]
    mouth = [STEADY_TEMPLATE[STEADY.index(corner[0])] for corner in OF_MESH[3:]]
    np.testing.assert_allclose([*eyes, *mouth], TEMPLATE[[0, 1, 3, 4]], atol=1.2)


def test_trembling_landmarks_do_not_make_a_trembling_crop() -> None:
    rng = np.random.default_rng(0)
    own = np.stack([face_at(40, 40)] * 60) + rng.normal(0, 1, (60, 5, 2))
    turns = [
        np.arctan2(one[:, 1, 0], one[:, 0, 0]).std() for one in (placed(own, replace(SMALL, smooth=k)) for k in (1, 12))
    ]
    assert turns[1] < 0.5 * turns[0]


def test_frames_without_a_face_are_filled_in_if_few() -> None:
    pictures, points = noise(10, 90, 90), np.stack([face_at(40 + k, 42) for k in range(10)])
    whole = cut_track(Shown(pictures), replace(SMALL, smooth=1), points=points)
    holes = points.copy()
    holes[[3, 4]] = np.nan
    holes[7] = 0  # all in one place
    some = cut_track(Shown(pictures), replace(SMALL, smooth=1), points=holes)
    np.testing.assert_array_equal(some.frames, whole.frames)
    holes[:6] = np.nan
    with pytest.raises(UnusableVideo, match="shows no face: in 7 of 10 frames"):
        cut_track(Shown(pictures), SMALL, points=holes)


def test_a_finder_looks_and_may_find_nothing() -> None:
    pictures = noise(8, 90, 90)
    points = np.stack([face_at(40 + k, 42) for k in range(8)])

    def find(picture: np.ndarray) -> np.ndarray | None:
        (number,) = (k for k in range(8) if (pictures[k] == picture).all())
        return None if number == 2 else points[number]

    settings = replace(SMALL, points="opencv")
    found = cut_track(Shown(pictures), settings, finder=find)
    np.testing.assert_array_equal(found.frames, cut_track(Shown(pictures), settings, points=points).frames)
    with pytest.raises(UnusableVideo, match="shows no face"):
        cut_track(Shown(pictures), settings, finder=lambda _: None)
    with pytest.raises(BadInput, match="has no landmarks"):
        cut_track(Shown(pictures), settings)


@pytest.mark.parametrize(
    ("pictures", "rate", "words"),
    [
        (3, 25.0, "too short: 3 frames, and 4 are needed"),
        (30, 12.0, "too slow: 12 frames per second"),
        (4, 50.0, "too short: 2"),
    ],
)
def test_videos_that_cannot_be_used(pictures: int, rate: float, words: str) -> None:
    points = np.stack([face_at(20, 20)] * pictures)
    with pytest.raises(UnusableVideo, match=words):
        cut_track(Shown(noise(pictures, 40, 40), rate), SMALL, points=points)


@pytest.mark.parametrize(
    ("rate", "expected"), [(25.0, 25.0), (23.976, 23.976), (22.0, 22.0), (30.0, 25.0), (21.0, 25.0), (50.0, 25.0)]
)
def test_the_rate_that_is_kept_or_made(rate: float, expected: float) -> None:
    numbers, fps = CropSettings().chosen(Timeline(np.arange(800) / rate, rate), "v")
    assert fps == pytest.approx(expected) and len(numbers) == 270
    assert (np.diff(numbers) == 1).all() == (rate == pytest.approx(expected))


def test_frames_that_cannot_be_decoded_are_counted() -> None:
    pictures, points = noise(10, 60, 60), np.stack([face_at(30, 30)] * 10)
    for how in (SMALL, replace(SMALL, points="none")):
        whole = cut_track(Shown(pictures), how, points=points)
        holes = cut_track(Shown(pictures, undecodable=(4, 9)), how, points=points)
        assert whole.missing == 0 and holes.missing == 2
        np.testing.assert_array_equal(holes.frames, np.delete(whole.frames, [4, 9], 0))
        with pytest.raises(UnusableVideo, match="is damaged: 3 frames can be decoded"):
            cut_track(Shown(pictures, undecodable=tuple(range(7))), how, points=points)


def test_frames_beyond_the_end_of_the_landmarks_are_counted() -> None:
    pictures, points = noise(10, 60, 60), np.stack([face_at(30, 30)] * 10)
    whole = cut_track(Shown(pictures), SMALL, points=points)
    short = cut_track(Shown(pictures, undecodable=(4,)), SMALL, points=points[:7])
    np.testing.assert_array_equal(short.frames, np.delete(whole.frames[:7], 4, 0))
    assert short.missing == 3 + 1
    # What was not asked for is not missing.
    assert cut_track(Shown(pictures), replace(SMALL, most=6), points=points[:7]).missing == 0


def test_a_file_that_is_cut_off_is_told_by_its_track(tmp_path: Path) -> None:
    path = exact_video(tmp_path / "a.mkv", noise(40, 32, 32))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    track = cut_track(VideoFile(path), replace(SMALL, points="none"))
    assert 10 < len(track.frames) < 30 and track.missing == 40 - len(track.frames)
    np.testing.assert_array_equal(track.frames, noise(40, 32, 32)[: len(track.frames)].transpose(0, 3, 1, 2))


@pytest.mark.parametrize("name", ["side", "face", "smooth", "rate", "keep_above", "lowest"])
def test_other_settings_are_refused(name: str) -> None:
    stored = CropSettings().to_json()
    check_settings(stored, replace(CropSettings(), most=9, shortest=9, points="mediapipe"))
    with pytest.raises(OtherSettings, match=f"{name} was"):
        check_settings({**stored, name: stored[name] + 1}, CropSettings())
    with pytest.raises(OtherSettings, match="crops already"):
        check_settings(stored, replace(CropSettings(), points="none"))


def test_settings_that_do_not_fit() -> None:
    for given_settings, words in (
        ({"points": "eyes"}, "points is 'eyes'"), ({"most": 3}, "most is 3"), ({"side": 0}, "side"), ({"rate": -1.0}, "rate"),
    ):  # fmt: skip
        with pytest.raises(BadInput, match=words):
            CropSettings(**given_settings)
    with pytest.raises(BadInput, match="7 landmarks"):
        placed(np.zeros((2, 7, 2)), SMALL)
