"""Tiny videos for tests: made by PyAV, or bent by hand where no encoder writes what phones and broken disks do."""

from __future__ import annotations

import struct
import wave
from pathlib import Path

import numpy as np
from stillhouse.platform.data.video_writing import write_video

HEIGHT, WIDTH = 24, 32


def noise(frames: int, height: int = HEIGHT, width: int = WIDTH, seed: int = 0) -> np.ndarray:
    """Frames no two of which are alike, uint8 (frames, height, width, 3)."""
    return np.random.default_rng(seed).integers(0, 256, (frames, height, width, 3), dtype=np.uint8)


def smooth(frames: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """Frames that any encoder keeps well: a slope that brightens by 4 levels a frame."""
    y, x = np.mgrid[:height, :width]
    still = 20 + x + y
    moving = still[None] + 4 * np.arange(frames)[:, None, None] % 160
    return np.repeat(moving[..., None], 3, 3).astype(np.uint8)


def exact_video(path: Path, frames: np.ndarray, *, fps: float = 25.0, gop: int = 10) -> Path:
    """A file that gives every pixel back."""
    path.parent.mkdir(parents=True, exist_ok=True)
    codec = "ffv1" if path.suffix == ".mkv" else "libx264rgb"
    options = {"g": str(gop)} if codec == "ffv1" else {"g": str(gop), "crf": "0", "preset": "ultrafast"}
    write_video(path, frames, fps=fps, codec=codec, options=options)
    return path


def small_video(path: Path, frames: int = 12, *, fps: float = 25.0, seed: int = 0, side: int = WIDTH) -> Path:
    """A valid file of little content."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    still = rng.integers(40, 200, (1, 1, 1, 3)) + np.zeros((frames, side, side, 3))
    still[:, : side // 2] += 2 * np.arange(frames)[:, None, None, None] % 30
    write_video(path, still.astype(np.uint8), fps=fps, codec="mpeg4", options={"qscale": "2"})
    return path


def turned(path: Path, quarter_turns: int) -> Path:
    """Write into an mp4 file's track header that players turn it clockwise by so many quarter turns, as phones do."""
    held = bytearray(path.read_bytes())
    at = held.find(b"tkhd")
    assert at > 0 and held[at + 4] == 0, "a track header of version 0 is expected"
    cos, sin = [(1, 0), (0, 1), (-1, 0), (0, -1)][quarter_turns % 4]
    matrix = [cos << 16, sin << 16, 0, -sin << 16, cos << 16, 0, 0, 0, 1 << 30]
    start = at + 4 + 40  # version and flags, times, numbers, layer, volume
    held[start : start + 36] = struct.pack(">9i", *matrix)
    path.write_bytes(held)
    return path


def sound(path: Path) -> Path:
    """A file with nothing but sound."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(1600))
    return path
