"""Listings: which videos are of one group of people."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stillhouse.platform.data.video_listing import NOT_THERE, Listed, Listing, groups, shown_people, videos_in
from stillhouse.platform.data.video_reading import VideoFile
from stillhouse.platform.errors import BadInput


def listed(name: str, *people: str, source: str = "", family: str = "real", split: str = "") -> Listed:
    return Listed(VideoFile(Path(f"{name}.mp4")), name, family, people, split, source)


@given(
    st.lists(st.tuples(st.lists(st.sampled_from("abcdef"), max_size=2, unique=True), st.integers(-1, 6)), max_size=7)
)
def test_groups_are_what_is_connected(told: list[tuple[list[str], int]]) -> None:
    videos = [
        listed(str(k), *people, source=str(source) if 0 <= source < len(told) and source != k else "")
        for k, (people, source) in enumerate(told)
    ]
    linked = [
        [bool(set(one.people) & set(other.people)) or one.source == other.name or other.source == one.name or one is other
         for other in videos]
        for one in videos
    ]  # fmt: skip
    for middle in range(len(videos)):  # Warshall's closure
        for one in range(len(videos)):
            for other in range(len(videos)):
                linked[one][other] = linked[one][other] or (linked[one][middle] and linked[middle][other])
    numbers = groups(videos).tolist()
    assert all((numbers[i] == numbers[j]) == linked[i][j] for i in range(len(videos)) for j in range(len(videos)))
    assert sorted(set(numbers)) == list(range(len(set(numbers))))


def test_whose_video_it_is() -> None:
    videos = [
        listed("id0_0", "id0"), listed("id0_id1_0", "id0", "id1", source="id0_0"), listed("id1_0", "id1"),
        listed("x"), listed("fx", source="x"),
    ]  # fmt: skip
    assert shown_people(videos).tolist() == [0, 0, 1, 2, 2]
    assert groups(videos).tolist() == [0, 0, 0, 1, 1]


def test_names_are_unique_and_absent_files_counted(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="the first is a"):
        Listing((listed("a"), listed("b"), listed("a")))
    (tmp_path / "there.mp4").touch()
    there = Listed(VideoFile(tmp_path / "there.mp4"), "there", split="test")
    whole = Listing((there, listed("gone", split="train")), {"other": 2})
    assert whole.without_absent() == Listing((there,), {"other": 2, NOT_THERE: 1})
    assert [video.name for video in whole.of("train").videos] == ["gone"]
    assert {video.split for video in whole.all_in("test").videos} == {"test"}


def test_video_files_below_a_folder(tmp_path: Path) -> None:
    for name in ("b.mp4", "sub/a.AVI", ".hidden.mp4", "notes.txt", "sub/c.mpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [path.name for path in videos_in(tmp_path)] == ["b.mp4", "a.AVI", "c.mpg"]
