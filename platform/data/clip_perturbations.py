"""What happens to videos on their way: the seven kinds of perturbation at five levels that forgery detectors are measured on.

Kinds, levels and formulas are those of DeeperForensics-1.0 (Jiang et al., CVPR 2020, `perturbation/distortions.py`):

| code | name | levels | what it does |
|---|---|---|---|
| CS | saturation | 0.4, 0.3, 0.2, 0.1, 0 | distance of the chroma from grey, times p |
| CC | contrast | 0.85, 0.725, 0.6, 0.475, 0.35 | every value times p: it darkens |
| BW | block | 16, 32, 48, 64, 80 | (shorter side // 256) p grey squares of 8 pixels, in new places in every frame |
| GNC | noise | 0.001, 0.002, 0.005, 0.01, 0.05 | Gaussian noise of variance p in YCbCr scaled to 0 .. 1 |
| GB | blur | 7, 9, 13, 17, 21 | a Gaussian kernel of p pixels, sigma p / 6 |
| JPEG | pixelation | 2, 3, 4, 5, 6 | shrunk by p and enlarged, bilinear without antialiasing: no JPEG, in spite of its code |
| VC | compression | 30, 32, 35, 38, 40 | H.264 at constant rate factor p |

They are for whole pictures of at least 256 pixels. On smaller frames lengths and numbers are those times side / 256: a blur's sigma,
its kernel (the next odd width, at least 3 pixels), the squares' side (at least 2) and their number (rounded up); else there would be
no square at all. Published tables perturb the whole picture before the face is cut out; perturbing crops is close to it, not the same.

>>> frames = np.full((2, 3, 64, 64), 200, np.uint8)
>>> perturbed(frames, "CC", 5, fps=25)[0, 0, 0, 0], PERTURBATIONS["CC"].in_words(5)
(np.uint8(70), 'contrast, level 5 of 5: factor 0.35')
"""

from __future__ import annotations

import difflib
import hashlib
import io
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d
from torch.nn import functional

from ..errors import BadInput, InternalBug
from .video_reading import pyav
from .video_writing import write_video
from .videos import Tracks, check_track, frame_numbers

LEVELS = 5
WHOLE = 256  # from this side on, everything is as published
SQUARE, LEAST_SQUARE, GREY = 8, 2, 128
LEAST_KERNEL = 3
SAME_EVERYWHERE = {"x264-params": "cpu-independent=1"}
# Luma, and the factors of both differences of colour, there and back, as OpenCV has them.
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
RED, BLUE = 0.713, 0.564
BACK = np.array([[1.0, 1.403, 0.0], [1.0, -0.714, -0.344], [1.0, 0.0, 1.773]], np.float32)
# The published program has luma in 16 .. 235 and chroma in 16 .. 240 of 255 when it adds noise, and divides by 255 twice.
LUMA_NOISE, CHROMA_NOISE = 255 * 255 / 219, 255 * 255 / 224


@dataclass(frozen=True, eq=False)
class Perturbation:
    """One kind: its code and name, the parameter of each level, and how it is put on."""

    code: str
    name: str
    levels: tuple[float, float, float, float, float]
    unit: str
    put: Callable[[np.ndarray, float, np.random.Generator, float], np.ndarray]
    random: bool = False

    def in_words(self, level: int) -> str:
        """Its name, level and parameter, for a table or a plot."""
        return f"{self.name}, level {level} of {LEVELS}: {self.unit} {self.levels[level - 1]:g}"


def perturbed(
    frames: np.ndarray, code: str, level: int, *, fps: float, rng: np.random.Generator | None = None
) -> np.ndarray:
    """Return a clip under that perturbation, uint8 (t, 3, side, side).

    Args:
        frames: uint8 (t, 3, side, side).
        code: one of `PERTURBATIONS`.
        level: 1 .. 5.
        fps: frames per second, which compression reckons with.
        rng: for the random ones, BW and GNC.

    Raises:
        BadInput: no perturbation has this code or level, these are no such frames, or the generator is missing.
        MissingExtra: VC without PyAV.
    """
    found = find_perturbation(code)
    _check_level(code, level)
    check_track(frames)
    if found.random and rng is None:
        raise BadInput(f"the perturbation '{code}' draws at random", mend="give a numpy Generator")
    return found.put(frames, found.levels[level - 1], rng or np.random.default_rng(0), fps)


def find_perturbation(code: str) -> Perturbation:
    """The perturbation with this code.

    Raises:
        BadInput: there is none.
    """
    if code not in PERTURBATIONS:
        near = difflib.get_close_matches(code.upper(), list(PERTURBATIONS), n=1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise BadInput(f"no perturbation is called {code!r}{hint}", mend=f"use one of {', '.join(PERTURBATIONS)}")
    return PERTURBATIONS[code]


@dataclass(frozen=True, eq=False)
class PerturbedTracks:
    """Tracks of which each is perturbed as a whole when it is first read; the last one read is kept.

    Args:
        whole: the tracks.
        code: of the perturbation.
        level: of it.
        seed: of what is random; a track is the same whenever it is read.
    """

    whole: Tracks
    code: str
    level: int
    seed: int = 0
    _kept: dict[int, np.ndarray] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        find_perturbation(self.code)
        _check_level(self.code, self.level)

    def __len__(self) -> int:
        return len(self.whole)

    @property
    def side(self) -> int:
        """Height and width of every frame."""
        return self.whole.side

    def frames(self, number: int) -> int:
        """How many frames a track has."""
        return self.whole.frames(number)

    def fps(self, number: int) -> float:
        """Its frames per second."""
        return self.whole.fps(number)

    def read(self, number: int, frames: Any) -> np.ndarray:
        """Some of its frames, in the order asked for."""
        chosen = frame_numbers(frames, self.frames(number))
        if number not in self._kept:
            all_of_it = self.whole.read(number, np.arange(self.frames(number)))
            rng = np.random.default_rng([self.seed, number])
            found = perturbed(all_of_it, self.code, self.level, fps=self.fps(number), rng=rng)
            self._kept.clear()
            self._kept[number] = found
        return self._kept[number][chosen]

    def track_hash(self, number: int) -> str:
        """SHA-256 over the track's and what is done to it."""
        told = f"{self.whole.track_hash(number)} {self.code} {self.level} {self.seed} {number}"
        return hashlib.sha256(told.encode()).hexdigest()


def _check_level(code: str, level: int) -> None:
    if isinstance(level, bool) or not isinstance(level, int) or not 1 <= level <= LEVELS:
        raise BadInput(f"level {level} of the perturbation '{code}'", why=f"levels are the whole numbers 1 .. {LEVELS}")


def _rounded(values: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(values, 0, 255)).astype(np.uint8)


def to_ycc(frames: np.ndarray) -> np.ndarray:
    """Luma and both differences of colour (red, blue; 0 for grey), float32 (t, 3, h, w), of levels of 255."""
    whole = frames.astype(np.float32)
    luma = np.tensordot(whole, LUMA, ([1], [0]))
    return np.stack([luma, RED * (whole[:, 0] - luma), BLUE * (whole[:, 2] - luma)], 1)


def from_ycc(pictures: np.ndarray) -> np.ndarray:
    """The inverse of `to_ycc` up to the factors' rounding, float32."""
    return np.einsum("ck,tkhw->tchw", BACK, pictures)


def _saturation(frames: np.ndarray, p: float, _: np.random.Generator, __: float) -> np.ndarray:
    return _rounded(from_ycc(to_ycc(frames) * np.array([1, p, p], np.float32)[:, None, None]))


def _contrast(frames: np.ndarray, p: float, _: np.random.Generator, __: float) -> np.ndarray:
    # Fractions are cut off, as by the published program.
    return (frames.astype(np.float32) * np.float32(p)).astype(np.uint8)


def squares(side: int, p: float) -> tuple[int, int]:
    """How many squares of how many pixels BW puts on a frame of this side at parameter p.

    >>> squares(256, 16), squares(512, 16), squares(88, 16), squares(40, 80)
    ((16, 8), (32, 8), (6, 3), (13, 2))
    """
    if side >= WHOLE:
        return side // WHOLE * int(p), SQUARE
    return math.ceil(p * side / WHOLE), max(LEAST_SQUARE, round(SQUARE * side / WHOLE))


def _block(frames: np.ndarray, p: float, rng: np.random.Generator, _: float) -> np.ndarray:
    side = frames.shape[2]
    count, width = squares(side, p)
    if width >= side:
        raise BadInput(f"squares of {width} pixels on frames of {side}")
    found = frames.copy()
    corners = rng.integers(0, side - width, (len(frames), count, 2))
    for frame, places in zip(found, corners.tolist(), strict=True):
        for row, column in places:
            frame[:, row : row + width, column : column + width] = GREY
    return found


def _noise(frames: np.ndarray, p: float, rng: np.random.Generator, _: float) -> np.ndarray:
    strength = math.sqrt(p) * np.array([LUMA_NOISE, CHROMA_NOISE, CHROMA_NOISE], np.float32)
    noise = rng.standard_normal(frames.shape, dtype=np.float32) * strength[:, None, None]
    return _rounded(from_ycc(to_ycc(frames) + noise))


def blur_kernel(side: int, p: float) -> tuple[int, float]:
    """Width (pixels, odd) and sigma of GB on frames of this side at parameter p.

    >>> blur_kernel(256, 7), blur_kernel(128, 21)
    ((7, 1.1666666666666667), (11, 1.75))
    """
    said = p * min(1.0, side / WHOLE)
    return max(LEAST_KERNEL, 2 * math.ceil((said - 1) / 2) + 1), said / 6


def _blur(frames: np.ndarray, p: float, _: np.random.Generator, __: float) -> np.ndarray:
    width, sigma = blur_kernel(frames.shape[2], p)
    # Rows, then columns; mirrored about the border's pixels, as OpenCV does.
    reach = width // 2
    across = gaussian_filter1d(frames.astype(np.float32), sigma, axis=3, radius=reach, mode="mirror")
    return _rounded(gaussian_filter1d(across, sigma, axis=2, radius=reach, mode="mirror"))


def _pixelation(frames: np.ndarray, p: float, _: np.random.Generator, __: float) -> np.ndarray:
    side = frames.shape[2]
    whole = torch.from_numpy(frames.astype(np.float32))
    small = functional.interpolate(whole, (max(1, side // int(p)),) * 2, mode="bilinear", align_corners=False)
    back = functional.interpolate(small.round(), (side, side), mode="bilinear", align_corners=False)
    return _rounded(back.numpy())


def _compression(frames: np.ndarray, p: float, _: np.random.Generator, fps: float) -> np.ndarray:
    """By libx264 with its usual preset, in one thread; odd sides are continued by a pixel for it and cut again.

    Without `cpu-independent`, some of libx264's vector code gives other bits from call to call, by where its buffers happen to lie.
    """
    side = frames.shape[2]
    odd = side % 2  # 4:2:0 has one pixel of colour for two by two
    even = np.pad(frames, ((0, 0), (0, 0), (0, odd), (0, odd)), mode="edge")
    file = io.BytesIO()
    write_video(
        file, even.transpose(0, 2, 3, 1), fps=fps, options={"crf": f"{p:g}", **SAME_EVERYWHERE}, container="matroska"
    )
    file.seek(0)
    with pyav().open(file) as reader:
        reader.streams.video[0].codec_context.thread_count = 1
        read = [frame.to_ndarray(format="rgb24") for frame in reader.decode(video=0)]
    if len(read) != len(frames):
        raise InternalBug(f"{len(frames)} frames were encoded and {len(read)} came back")
    return np.ascontiguousarray(np.stack(read)[:, :side, :side].transpose(0, 3, 1, 2))


PERTURBATIONS: dict[str, Perturbation] = {
    found.code: found
    for found in (
        Perturbation("CS", "saturation", (0.4, 0.3, 0.2, 0.1, 0.0), "factor", _saturation),
        Perturbation("CC", "contrast", (0.85, 0.725, 0.6, 0.475, 0.35), "factor", _contrast),
        Perturbation("BW", "block", (16, 32, 48, 64, 80), "squares of 256 pixels", _block, random=True),
        Perturbation("GNC", "noise", (0.001, 0.002, 0.005, 0.01, 0.05), "variance", _noise, random=True),
        Perturbation("GB", "blur", (7, 9, 13, 17, 21), "kernel of 256 pixels", _blur),
        Perturbation("JPEG", "pixelation", (2, 3, 4, 5, 6), "shrunk by", _pixelation),
        Perturbation("VC", "compression", (30, 32, 35, 38, 40), "constant rate factor", _compression),
    )
}
