"""From listings to cut-out faces: what is left out is counted, forged videos are cut as their source, parts have no one in common."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stillhouse.platform.data.alignment import TEMPLATE
from stillhouse.platform.data.video_building import Cut, cut_listing, reasons, video_set, with_splits
from stillhouse.platform.data.video_cache import VideoCache
from stillhouse.platform.data.video_crops import CropSettings
from stillhouse.platform.data.video_landmarks import LandmarkFiles
from stillhouse.platform.data.video_listing import Listed, Listing, groups
from stillhouse.platform.data.video_reading import VideoFile
from stillhouse.platform.data.video_tables import read_real_and_fake, with_identities
from stillhouse.platform.errors import BadInput
from support.video_files import exact_video, noise, small_video, sound

CROPS = CropSettings(side=16, shortest=6, smooth=3, points="none")


def test_what_cannot_be_used_is_left_out_and_counted(tmp_path: Path) -> None:
    cut_off = exact_video(tmp_path / "cut.mkv", noise(30, 32, 32))
    cut_off.write_bytes(cut_off.read_bytes()[: cut_off.stat().st_size // 2])
    (tmp_path / "text.mp4").write_text("no video")
    files = [
        small_video(tmp_path / "a.mp4"), small_video(tmp_path / "short.mp4", 3), small_video(tmp_path / "brief.mp4", 4),
        small_video(tmp_path / "slow.mp4", 12, fps=10), sound(tmp_path / "sound.wav"), tmp_path / "text.mp4",
        tmp_path / "gone.mp4", cut_off,
    ]  # fmt: skip
    listing = Listing(tuple(Listed(VideoFile(file), file.name) for file in files), {"told before": 2})
    for threads in (1, 3):
        cut = cut_listing(listing, CROPS, VideoCache(tmp_path / f"cache{threads}"), threads=threads)
        assert [video.name for video in cut.videos] == ["a.mp4", "cut.mkv"] and 0 < cut.missing < 30
        assert cut.left_out == {
            "told before": 2, "is too short": 2, "is too slow": 1, "holds sound only": 1, "cannot be read as a video": 1,
            "is not there": 1,
        }  # fmt: skip
        assert "2 x is too short" in reasons(cut.left_out)


def test_it_fails_when_none_loads(tmp_path: Path) -> None:
    listing = Listing((Listed(VideoFile(small_video(tmp_path / "short.mp4", 2)), "short"),), {"is not there": 4})
    with pytest.raises(BadInput, match=r"not one of 5 videos can be used: 4 x is not there, 1 x is too short"):
        cut_listing(listing, CROPS, VideoCache(tmp_path / "cache"))


def write_points(path: Path, frames: int, x: float) -> None:
    path.parent.mkdir(exist_ok=True)
    steps = np.arange(frames)[:, None, None] * [0.5, 0.0]
    np.savez(path, points=0.3 * (TEMPLATE - TEMPLATE.mean(0)) + [x, 20] + steps)


def test_a_forged_video_is_cut_as_its_source(tmp_path: Path) -> None:
    frames = noise(10, 40, 48)
    real, forged, alone = (exact_video(tmp_path / "v" / name, frames) for name in ("r.mkv", "f.mkv", "g.mkv"))
    for file, x in ((real, 20.0), (forged, 26.0), (alone, 26.0)):
        write_points(tmp_path / "l" / f"{file.name}.npz", 10, x)
    listing = Listing(
        (
            Listed(VideoFile(real), "r"), Listed(VideoFile(forged), "f", "FS", source="r"),
            Listed(VideoFile(alone), "g", "FS", source="nobody"),
        )
    )  # fmt: skip
    settings = replace(CROPS, points="files")
    files = LandmarkFiles(tmp_path / "l", tmp_path / "v")
    cut = cut_listing(listing, settings, VideoCache(tmp_path / "cache"), landmarks=files)
    made = video_set(cut.videos, cut.entries, groups(cut.videos))
    read = [made.tracks.read(k, range(10)) for k in range(3)]
    np.testing.assert_array_equal(read[0], read[1])
    assert (read[0] != read[2]).any() and made.source.tolist() == [-1, 0, -1] and made.identities.tolist() == [0, 0, 1]
    # Other landmarks: what they decide is cut anew, the rest is found.
    write_points(tmp_path / "l" / "r.mkv.npz", 10, 24.0)
    again = VideoCache(tmp_path / "cache")
    cut_listing(listing, settings, again, landmarks=files)
    assert (again.found, again.made) == (1, 2)


def test_one_damaged_file_of_landmarks_leaves_out_one_video(tmp_path: Path) -> None:
    videos = []
    for name in ("a", "b", "c"):
        videos.append(Listed(VideoFile(exact_video(tmp_path / "v" / f"{name}.mkv", noise(10, 40, 48))), name))
        write_points(tmp_path / "l" / f"{name}.mkv.npz", 10, 20.0)
    whole = tmp_path / "l" / "b.mkv.npz"
    whole.write_bytes(whole.read_bytes()[:100])
    np.savez(tmp_path / "l" / "c.mkv.npz", points=np.zeros((3, 7, 2)))
    files = LandmarkFiles(tmp_path / "l", tmp_path / "v")
    cut = cut_listing(
        Listing(tuple(videos)), replace(CROPS, points="files"), VideoCache(tmp_path / "cache"), landmarks=files
    )
    assert [video.name for video in cut.videos] == ["a"] and cut.left_out == {"has landmarks that cannot be used": 2}


def test_videos_without_landmarks(tmp_path: Path) -> None:
    video = Listed(VideoFile(small_video(tmp_path / "v" / "a.mp4")), "a")
    settings, cache = replace(CROPS, points="files"), VideoCache(tmp_path / "cache")
    with pytest.raises(BadInput, match="no folder of landmarks is given"):
        cut_listing(Listing((video,)), settings, cache)
    with pytest.raises(BadInput, match="1 x has no landmarks"):
        cut_listing(Listing((video,)), settings, cache, landmarks=LandmarkFiles(tmp_path / "v", tmp_path / "v"))


@given(people=st.lists(st.integers(0, 8), min_size=5, max_size=30), seed=st.integers(0, 5))
def test_nobody_is_split(people: list[int], seed: int) -> None:
    videos = tuple(Listed(VideoFile(Path("x.mp4")), str(k), people=(str(one),)) for k, one in enumerate(people))
    many = len(set(people))
    if max(1, round(0.4 * many)) + max(1, round(0.15 * many)) >= many:
        with pytest.raises(BadInput, match="too few"):
            with_splits(Listing(videos), validation=0.15, test=0.4, seed=seed)
        return
    listing, _ = with_splits(Listing(videos), validation=0.15, test=0.4, seed=seed)
    where: dict[str, set[str]] = {}
    for video in listing.videos:
        where.setdefault(video.people[0], set()).add(video.split)
    assert all(len(splits) == 1 for splits in where.values())
    counts = [sum(splits == {split} for splits in where.values()) for split in ("train", "validation", "test")]
    assert counts[1:] == [max(1, round(0.15 * many)), max(1, round(0.4 * many))] and counts[0] > 0
    assert with_splits(Listing(videos), validation=0.15, test=0.4, seed=seed)[0] == listing


def test_forgeries_of_nobody_known_take_no_persons_place() -> None:
    real = [Listed(VideoFile(Path("x.mp4")), f"r{k}", people=(str(k),)) for k in range(5)]
    wild = [Listed(VideoFile(Path("x.mp4")), f"w{k}", "WILD") for k in range(3)]
    alone = with_splits(Listing(tuple(real)), validation=0.2, test=0.4, seed=3)[0]
    listing, how = with_splits(Listing((*real, *wild)), validation=0.2, test=0.4, seed=3)
    assert listing.videos[:5] == alone.videos and "5 groups" in how
    assert sorted(video.split for video in listing.videos[5:]) == ["test", "test", "validation"]


def test_forgeries_of_nobody_known_are_counted() -> None:
    """Nothing keeps whoever is on them out of another part: the protocol has to say so."""
    real = [Listed(VideoFile(Path("x.mp4")), f"r{k}", people=(str(k),)) for k in range(5)]
    known = [
        Listed(VideoFile(Path("x.mp4")), "f0", "DF", source="r0"),
        Listed(VideoFile(Path("x.mp4")), "f1", "DF", ("1",)),
    ]
    wild = [Listed(VideoFile(Path("x.mp4")), f"w{k}", "WILD") for k in range(3)]
    for told in ("", "train"):
        listing = Listing(tuple(replace(video, split=told) for video in (*real, *known, *wild)))
        how = with_splits(listing, validation=0.2, test=0.4, seed=3)[1]
        assert "3 forged videos tell neither who is on them nor what they were made from" in how
        assert "data.identities" in how
        whole = Listing(tuple(replace(video, split=told) for video in (*real, *known)))
        assert "(data.identities" not in with_splits(whole, validation=0.2, test=0.4, seed=3)[1]


def test_real_videos_of_nobody_known_are_counted() -> None:
    """A table of who is who may name some videos only: the others may show the same people, in any part."""
    told = [Listed(VideoFile(Path(f"{k}.mp4")), f"r{k}") for k in range(6)]
    some = with_identities(told, {f"{k}.mp4": f"person{k}" for k in range(4)})
    for split in ("", "train"):
        listing = Listing(tuple(replace(video, split=split) for video in some))
        how = with_splits(listing, validation=0.2, test=0.2, seed=3)[1]
        assert "Of 2 of 6 real videos it is not known who is on them: each counts as somebody else" in how
    assert "not known" not in with_splits(Listing(tuple(some[:4])), validation=0.2, test=0.2, seed=3)[1]


def test_nobody_on_a_forgery_named_by_two_videos_is_in_two_parts(tmp_path: Path) -> None:
    """Names as FaceForensics++ gives them, without a table of who is who."""
    (tmp_path / "real").mkdir()
    (tmp_path / "fake" / "DF").mkdir(parents=True)
    for number in range(20):
        (tmp_path / "real" / f"{number:03d}.mp4").touch()
        (tmp_path / "fake" / "DF" / f"{number:03d}_{number ^ 1:03d}.mp4").touch()
    listing, how = with_splits(read_real_and_fake(tmp_path), validation=0.15, test=0.4, seed=7)
    split = {Path(video.name).stem: video.split for video in listing.videos}
    assert "The 10 groups of people" in how and "forged videos tell" not in how
    # That a forgery shows whoever is on its source says not who that is.
    assert "Of 20 of 20 real videos it is not known who is on them" in how
    for stem in split:
        assert {split[one] for one in stem.split("_")} == {split[stem]}


def test_splits_that_are_told_stay_and_half_told_ones_are_refused() -> None:
    videos = tuple(Listed(VideoFile(Path("x.mp4")), str(k), split="train") for k in range(4))
    assert with_splits(Listing(videos), validation=0.2, test=0.2, seed=0)[0].videos == videos
    with pytest.raises(BadInput, match="1 of 4 videos have no split"):
        with_splits(Listing((*videos[:3], replace(videos[3], split=""))), validation=0.2, test=0.2, seed=0)


def test_frames_that_repeat_are_told(tmp_path: Path) -> None:
    frames = noise(8, 32, 32)[[0, 1, 1, 1, 2, 3, 3, 4]]
    videos = [Listed(VideoFile(exact_video(tmp_path / f"{name}.mkv", frames)), name, name) for name in ("real", "FS")]
    cut = cut_listing(Listing(tuple(videos)), CROPS, VideoCache(tmp_path / "cache"))
    assert [entry.repeated for entry in cut.entries] == [3, 3] and "3 frames of real videos repeat" in cut.in_words()


def test_an_empty_cut_has_nothing_missing() -> None:
    assert Cut((), (), {}).missing == 0 and Cut((), (), {}).in_words() == reasons({}) == ""
