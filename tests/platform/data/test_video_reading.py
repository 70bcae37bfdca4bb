"""Frames of videos: the right ones, the right way up, in little memory; and files that are none, or not whole."""

from __future__ import annotations

import sys
import tracemalloc
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stillhouse.platform.data.video_reading import Clip, Timeline, UnusableVideo, VideoFile, read_clip
from stillhouse.platform.data.video_writing import recompressed, write_video
from stillhouse.platform.errors import BadInput, MissingExtra
from support.video_files import exact_video, noise, small_video, smooth, sound, turned


def in_order(path: Path) -> list[np.ndarray]:
    """All frames by PyAV's own plain loop."""
    with av.open(str(path)) as file:
        return [frame.to_ndarray(format="rgb24") for frame in file.decode(file.streams.video[0])]


@pytest.fixture(scope="module")
def exact(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Path], np.ndarray]:
    """The same 40 frames in two files that lose nothing, with a key frame every 10."""
    folder, frames = tmp_path_factory.mktemp("exact"), noise(40)
    return [exact_video(folder / name, frames) for name in ("a.mkv", "a.mp4")], frames


@given(indices=st.lists(st.integers(0, 39), min_size=1, max_size=12))
@settings(max_examples=25)
def test_any_frames_are_the_ones_written(exact: tuple[list[Path], np.ndarray], indices: list[int]) -> None:
    files, frames = exact
    for path in files:
        clip = read_clip(path, indices)
        assert clip.missing == 0 and clip.read.tolist() == indices and clip.fps == pytest.approx(25)
        np.testing.assert_array_equal(clip.frames, frames[indices])


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("b.mp4", "libx264", {"g": "6", "bf": "2", "preset": "fast"}),
        ("b.avi", "mpeg4", {"g": "6", "bf": "2"}),
        ("b.mpg", "mpeg2video", {"g": "6", "bf": "2"}),
        ("b.mkv", "libx264", {"g": "6", "bf": "2"}),
        ("b.h264", "libx264", {"g": "6", "bf": "2"}),
    ],
)
def test_frames_that_are_stored_out_of_order(tmp_path: Path, name: str, codec: str, options: dict[str, str]) -> None:
    path = tmp_path / name
    write_video(path, smooth(30), codec=codec, options=options)
    expected = in_order(path)
    assert len(VideoFile(path).timeline) == len(expected) == 30
    for indices in ([29], [0], [17, 3, 17], list(range(30)), [5, 28]):
        np.testing.assert_array_equal(read_clip(path, indices).frames, np.stack([expected[i] for i in indices]))


@given(steps=st.lists(st.floats(0.005, 0.3), max_size=30), rate=st.floats(5, 60))
def test_frames_at_a_rate_are_the_nearest_in_time(steps: list[float], rate: float) -> None:
    seconds = np.concatenate([[0.0], np.cumsum(steps)])
    chosen = Timeline(seconds, 25.0).at_rate(rate)
    assert len(chosen) == int(seconds[-1] * rate + 1e-6) + 1
    for k, number in enumerate(chosen.tolist()):
        distances = [abs(second - k / rate) for second in seconds]
        assert distances[number] <= min(distances) + 1e-6


def test_thirty_frames_a_second_as_twenty_five() -> None:
    assert Timeline(np.arange(61) / 30, 30).at_rate(25).tolist() == [round(1.2 * k) for k in range(51)]


def test_a_variable_rate_goes_by_time_stamps(tmp_path: Path) -> None:
    times = [0, 40, 80, 400, 440, 480, 1000]
    frames = noise(len(times))
    write_video(tmp_path / "v.mkv", frames, codec="ffv1", times=times)
    timeline = VideoFile(tmp_path / "v.mkv").timeline
    assert timeline.variable and (timeline.seconds * 1000).round().tolist() == times
    clip = read_clip(tmp_path / "v.mkv", range(11), rate=10)
    nearest = [min(range(len(times)), key=lambda i: abs(times[i] - 100 * k)) for k in range(11)]
    np.testing.assert_array_equal(clip.frames, frames[nearest])


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_a_phones_video_is_turned(tmp_path: Path, turns: int) -> None:
    frames = noise(3)
    path = turned(exact_video(tmp_path / "r.mp4", frames), turns)
    expected = np.rot90(frames, -turns, axes=(1, 2))  # clockwise
    np.testing.assert_array_equal(read_clip(path, [0, 1, 2]).frames, expected)


@pytest.mark.parametrize(("name", "options"), [("t.mkv", {}), ("t.mp4", {"movflags": "faststart"})])
def test_a_file_that_is_cut_off_gives_what_is_there(tmp_path: Path, name: str, options: dict[str, str]) -> None:
    frames, path = noise(40), tmp_path / name
    exact_video(path, frames)
    if options:
        _with_index_first(path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * 0.6)])
    clip = read_clip(path, range(40))
    assert 15 < len(clip.read) < 30 and clip.missing == 40 - len(clip.read)
    np.testing.assert_array_equal(clip.frames, frames[clip.read])
    assert clip.read.tolist() == list(range(len(clip.read)))


def _with_index_first(path: Path) -> None:
    """Copy an mp4 file's packets into one whose index lies before them, as downloads do it."""
    other = path.with_suffix(".fast.mp4")
    with av.open(str(path)) as old, av.open(str(other), "w", options={"movflags": "faststart"}) as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(old.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                new.mux(packet)
    other.replace(path)


def test_files_that_are_no_video(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video at all")
    whole = exact_video(tmp_path / "index_last.mp4", noise(20))
    whole.write_bytes(whole.read_bytes()[:2000])
    for path, words in (
        (sound(tmp_path / "sound.wav"), "sound only"),
        (tmp_path / "text.mp4", "cannot be read as a video"),
        (whole, "cut off before its index"),
        (tmp_path / "absent.mp4", "is not there"),
    ):
        with pytest.raises(UnusableVideo, match=words):
            read_clip(path, [0])


def _bent(path: Path, at: int, held: bytes) -> Path:
    path.write_bytes(path.read_bytes()[:at] + held + path.read_bytes()[at + len(held) :])
    return path


def test_a_stream_that_no_decoder_knows(tmp_path: Path) -> None:
    path = tmp_path / "unknown.mp4"
    write_video(path, smooth(12, 32, 32), codec="libx264")
    _bent(path, path.read_bytes().rfind(b"avc1"), b"zzzz")
    with pytest.raises(UnusableVideo, match="no decoder"):
        read_clip(path, [0])


def test_an_index_that_leads_nowhere(tmp_path: Path) -> None:
    """The first key frame is said to be one beyond the end: no key frame can be gone back to."""
    path, frames = tmp_path / "index.mp4", noise(40)
    exact_video(path, frames)
    _bent(path, path.read_bytes().find(b"stss") + 12, (154).to_bytes(4, "big"))
    clip = read_clip(path, range(40))
    assert clip.read.tolist() == list(range(10)) and clip.missing == 30
    np.testing.assert_array_equal(clip.frames, frames[:10])
    with pytest.raises(UnusableVideo, match="not one of 2 frames"):
        read_clip(path, [25, 39])


def test_one_frame(tmp_path: Path) -> None:
    path, frames = tmp_path / "one.mkv", noise(1)
    exact_video(path, frames, fps=30)
    clip = read_clip(path, [0])
    np.testing.assert_array_equal(clip.frames, frames)
    assert clip.fps == pytest.approx(30) and VideoFile(path).timeline.at_rate(25).tolist() == [0]


def test_frames_that_are_not_there_are_refused(tmp_path: Path) -> None:
    path = small_video(tmp_path / "s.mp4")
    for indices in ([12], [-1], []):
        with pytest.raises(BadInput, match="asked of"):
            read_clip(path, indices)


def test_two_hours_need_little_memory(tmp_path: Path) -> None:
    path, count = tmp_path / "long.avi", 7200
    frames = np.broadcast_to(smooth(1, 48, 64), (count, 48, 64, 3))
    write_video(path, frames, fps=1, codec="mpeg4")
    video = VideoFile(path)
    assert video.timeline.seconds[-1] == 7199
    tracemalloc.start()
    seen = sum(1 for _ in video.frames(np.arange(count)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seen == count and peak < 6e6 < frames.nbytes / 10


def test_without_the_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingExtra, match=r"\.\[video\]"):
        read_clip(tmp_path / "a.mp4", [0])


def test_encoding_loses_more_at_a_higher_factor() -> None:
    frames = np.ascontiguousarray(smooth(6, 32, 32).transpose(0, 3, 1, 2))
    frames = frames + noise(6, 32, 32).transpose(0, 3, 1, 2) // 16
    losses = [float(np.abs(recompressed(frames, fps=25, crf=crf).astype(int) - frames).mean()) for crf in (10, 23, 40)]
    assert losses == sorted(losses) and losses[0] < 4
    np.testing.assert_array_equal(recompressed(frames, fps=25, crf=23), recompressed(frames, fps=25, crf=23))


def test_what_cannot_be_encoded(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be encoded"):
        write_video(tmp_path / "odd.mp4", noise(2, 25, 31))
    with pytest.raises(BadInput, match="uint8"):
        write_video(tmp_path / "float.mp4", noise(2).astype(float))


def test_a_clip_says_what_it_holds(exact: tuple[list[Path], np.ndarray]) -> None:
    clip = read_clip(exact[0][0], [3, 1], rate=12.5)
    assert isinstance(clip, Clip) and clip.fps == 12.5 and clip.read.tolist() == [3, 1]
    np.testing.assert_array_equal(clip.frames, exact[1][[6, 2]])
