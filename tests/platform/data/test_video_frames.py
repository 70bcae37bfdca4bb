"""Videos that are a picture file a frame."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from stillhouse.platform.data.video_frames import FrameFiles, frames_in
from stillhouse.platform.data.video_reading import UnusableVideo
from support.video_files import noise


def written(folder: Path, names: list[str], frames: np.ndarray) -> Path:
    folder.mkdir(parents=True)
    for name, frame in zip(names, frames, strict=True):
        Image.fromarray(frame).save(folder / name)
    return folder


def test_frames_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    frames = noise(12)
    found = frames_in(written(tmp_path / "v", [f"frame{number}.png" for number in range(12)], frames), rate=30)
    assert found.name == "v" and found.timeline.fps == pytest.approx(30) and len(found.timeline) == 12
    read = dict(found.frames([11, 2, 2]))
    assert list(read) == [2, 11]
    np.testing.assert_array_equal(np.stack(list(read.values())), frames[[2, 11]])


def test_a_damaged_frame_is_left_out(tmp_path: Path) -> None:
    folder = written(tmp_path / "v", [f"{number:03d}.png" for number in range(4)], noise(4))
    (folder / "002.png").write_bytes((folder / "002.png").read_bytes()[:200])
    assert [number for number, _ in frames_in(folder).frames(range(4))] == [0, 1, 3]


def test_an_oversized_frame_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = written(tmp_path / "v", [f"{number}.png" for number in range(3)], noise(3))
    Image.fromarray(noise(1, 60, 60)[0]).save(folder / "1.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 24 * 32 + 1)
    assert [number for number, _ in frames_in(folder).frames(range(3))] == [0, 2]


def test_frames_of_two_sizes_and_none_at_all(tmp_path: Path) -> None:
    folder = written(tmp_path / "v", ["0.png"], noise(1))
    Image.fromarray(noise(1, 10, 10)[0]).save(folder / "1.png")
    with pytest.raises(UnusableVideo, match="changes the size"):
        list(frames_in(folder).frames([0, 1]))
    (tmp_path / "empty").mkdir()
    for place in (tmp_path / "empty", tmp_path / "absent"):
        with pytest.raises(UnusableVideo, match="holds no frames"):
            frames_in(place)
    with pytest.raises(UnusableVideo, match="lists no frames"):
        _ = FrameFiles(()).timeline
