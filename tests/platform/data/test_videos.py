"""Tracks and sets of videos: what fits together and what does not, and that nobody is in two parts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stillhouse.platform.data.videos import (
    NO_SOURCE,
    REAL,
    ChosenTracks,
    InMemoryTracks,
    JoinedTracks,
    VideoData,
    VideoSet,
    tracks_hash,
)
from stillhouse.platform.errors import BadInput


def video(frames: int, seed: int, side: int = 8) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (frames, 3, side, side), dtype=np.uint8)


def pairs(people: range, family: str = "FS", start: int = 0) -> VideoSet:
    """A real track and a forgery of it for each person."""
    n = len(people)
    tracks = InMemoryTracks([video(4 + k, start + k) for k in range(2 * n)])
    return VideoSet(
        tracks, np.arange(2 * n) >= n, np.tile(list(people), 2), (REAL,) * n + (family,) * n,
        tuple(f"{start}.{k}" for k in range(2 * n)), np.concatenate([np.full(n, NO_SOURCE), np.arange(n)]),
    )  # fmt: skip


def test_tracks_by_number() -> None:
    videos = [video(5, 0), video(7, 1), video(3, 2)]
    one = InMemoryTracks(videos, [25.0, 30.0, 24.0])
    whole = JoinedTracks([InMemoryTracks(videos[:1]), InMemoryTracks([]), InMemoryTracks(videos[1:], 30.0)])
    for tracks in (one, whole, ChosenTracks(one, np.array([0, 1, 2]))):
        assert (len(tracks), tracks.side, [tracks.frames(k) for k in range(3)]) == (3, 8, [5, 7, 3])
        np.testing.assert_array_equal(tracks.read(1, [6, 0, 6]), videos[1][[6, 0, 6]])
        with pytest.raises(BadInput, match="asked of a track of 3"):
            tracks.read(2, [3])
    assert one.fps(1) == whole.fps(1) == 30
    with pytest.raises(IndexError):
        whole.read(3, [0])
    with pytest.raises(IndexError):
        whole.read(-1, [0])


def test_hashes_change_with_whatever_matters() -> None:
    videos = [video(5, 0), video(5, 1)]
    tracks = InMemoryTracks(videos)
    other = [videos[0], videos[1].copy()]
    other[1][4, 2, 7, 7] ^= 1
    changed_order = ChosenTracks(tracks, np.array([1, 0]))
    differ = (tracks, InMemoryTracks(other), InMemoryTracks(videos, 30.0), changed_order, InMemoryTracks(videos[:1]))
    assert len({tracks_hash(one) for one in differ}) == 5
    # The same tracks, put together in another way.
    turned = ChosenTracks(JoinedTracks([InMemoryTracks(videos[1:]), InMemoryTracks(videos[:1])]), np.array([1, 0]))
    for same in (InMemoryTracks([one.copy() for one in videos]), JoinedTracks([tracks]), turned):
        assert tracks_hash(same) == tracks_hash(tracks)
    some = pairs(range(3))
    changed = [
        replace(some, identities=some.identities + 1),
        replace(some, source=np.full(6, -1)),
        some.take([0, 1, 3]),
    ]
    assert len({one.content_hash() for one in (some, *changed)}) == 4


@given(numbers=st.lists(st.integers(0, 9), unique=True))
def test_taking_keeps_the_source_of_what_is_taken(numbers: list[int]) -> None:
    whole = pairs(range(10, 15))
    some = whole.take(numbers)
    for at, number in enumerate(numbers):
        assert some.names[at] == whole.names[number] and some.families[at] == whole.families[number]
        assert some.forged[at] == whole.forged[number] and some.identities[at] == whole.identities[number]
        source = int(whole.source[number])
        assert some.source[at] == (numbers.index(source) if source in numbers else NO_SOURCE)
        np.testing.assert_array_equal(some.tracks.read(at, [1]), whole.tracks.read(number, [1]))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"forged": np.array([0, 0, 1, 1])}, "forged is int64"),
        ({"identities": np.array([1, 2, 3])}, "identities is int64 of shape"),
        ({"names": ("a", "a", "b", "c")}, "name that another"),
        ({"families": (REAL, REAL, "FS", REAL)}, "do not fit forged"),
        ({"families": (REAL,) * 3}, "3 families"),
        ({"source": np.array([-1, -1, 0, 4])}, "numbered -1 to 4"),
        ({"source": np.array([-1, -1, 0, 3])}, "or is forged"),
        ({"source": np.array([1, -1, 0, 1])}, "of a real track"),
    ],
)
def test_what_does_not_fit(changed: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        replace(pairs(range(2)), **changed)


@pytest.mark.parametrize(
    "bad",
    [
        np.zeros((3, 1, 8, 8), np.uint8),
        np.zeros((3, 3, 8, 9), np.uint8),
        np.zeros((0, 3, 8, 8), np.uint8),
        np.zeros((2, 3, 8, 8)),
    ],
)
def test_what_is_no_track(bad: np.ndarray) -> None:
    with pytest.raises(BadInput, match="a track of"):
        InMemoryTracks([bad])


def test_tracks_of_two_sizes_or_rates() -> None:
    with pytest.raises(BadInput, match="sides"):
        InMemoryTracks([video(2, 0), video(2, 0, 16)])
    with pytest.raises(BadInput, match="sides"):
        JoinedTracks([InMemoryTracks([video(2, 0)]), InMemoryTracks([video(2, 0, 16)])])
    for rate in ([25.0], 0.0, float("nan")):
        with pytest.raises(BadInput, match="rates"):
            InMemoryTracks([video(2, 0), video(3, 0)], rate)


def data(**changed: Any) -> VideoData:
    parts = {
        "train": pairs(range(3)),
        "validation": pairs(range(3, 5)),
        "test": pairs(range(5, 8), "SBI"),
        "held_out": ("SBI",),
    }
    return VideoData(**{**parts, **changed}, name="n", protocol="p")


def test_nobody_is_in_two_parts() -> None:
    assert data().parts()["test"].forgeries == ("SBI",)
    for part, people in (("validation", range(2, 4)), ("test", range(4, 6)), ("test", range(1))):
        with pytest.raises(BadInput, match="1 identities are both in"):
            data(**{part: pairs(people, "SBI" if part == "test" else "FS")})


def test_held_out_families_are_in_the_test_part_only() -> None:
    with pytest.raises(BadInput, match="SBI are among those to learn from"):
        data(validation=pairs(range(3, 5), "SBI"))
    with pytest.raises(BadInput, match="INP do not occur"):
        data(held_out=("INP",))
    assert (
        len({data().content_hash(), data(held_out=()).content_hash(), data(train=pairs(range(2))).content_hash()}) == 3
    )
