"""The seven perturbations of DeeperForensics-1.0: parameters as published, formulas against direct ones, small frames scaled."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stillhouse.platform.data.clip_perturbations import (
    PERTURBATIONS,
    PerturbedTracks,
    blur_kernel,
    from_ycc,
    perturbed,
    squares,
    to_ycc,
)
from stillhouse.platform.data.procedural_heads import draw_heads
from stillhouse.platform.data.videos import InMemoryTracks
from stillhouse.platform.errors import BadInput

# perturbation/add_distortion_to_video.py of EndlessSora/DeeperForensics-1.0.
PUBLISHED = {
    "CS": [0.4, 0.3, 0.2, 0.1, 0.0],
    "CC": [0.85, 0.725, 0.6, 0.475, 0.35],
    "BW": [16, 32, 48, 64, 80],
    "GNC": [0.001, 0.002, 0.005, 0.01, 0.05],
    "GB": [7, 9, 13, 17, 21],
    "JPEG": [2, 3, 4, 5, 6],
    "VC": [30, 32, 35, 38, 40],
}


def put(frames: np.ndarray, code: str, level: int, seed: int = 0) -> np.ndarray:
    return perturbed(frames, code, level, fps=25, rng=np.random.default_rng(seed))


@pytest.fixture(scope="module")
def clip() -> np.ndarray:
    return draw_heads(1, frames=8, side=88, seed=0).tracks.read(0, range(8))


def test_levels_are_the_published_ones() -> None:
    assert {code: list(found.levels) for code, found in PERTURBATIONS.items()} == PUBLISHED


@pytest.mark.parametrize("code", list(PUBLISHED))
def test_each_level_is_worse_than_the_one_before(clip: np.ndarray, code: str) -> None:
    if code == "VC":
        pytest.importorskip("av")
    before = clip.copy()
    psnr = []
    for level in range(1, 6):
        found = put(clip, code, level)
        assert found.shape == clip.shape and found.dtype == np.uint8
        assert (found == put(clip, code, level)).all()
        psnr.append(10 * math.log10(255**2 / ((found.astype(float) - clip) ** 2).mean()))
    assert all(worse < better for better, worse in itertools.pairwise(psnr)), psnr
    assert (clip == before).all()


@settings(max_examples=30)
@given(pixel=st.tuples(*[st.integers(0, 255)] * 3), level=st.integers(1, 5))
def test_saturation_shrinks_the_distance_from_grey(pixel: tuple[int, int, int], level: int) -> None:
    """In exact YCbCr, luma stays and a colour is luma + p (colour - luma); OpenCV's rounded factors are within a level or two."""
    frames = np.broadcast_to(np.array(pixel, np.uint8)[None, :, None, None], (1, 3, 2, 2)).copy()
    found = put(frames, "CS", level)[0, :, 0, 0].astype(float)
    luma = 0.299 * pixel[0] + 0.587 * pixel[1] + 0.114 * pixel[2]
    exact = luma + PUBLISHED["CS"][level - 1] * (np.array(pixel) - luma)
    assert np.abs(found - exact).max() < 1


def test_saturation_zero_is_grey(clip: np.ndarray) -> None:
    grey = put(clip, "CS", 5)
    luma = np.rint(clip[:, 0] * 0.299 + clip[:, 1] * 0.587 + clip[:, 2] * 0.114)
    assert (grey == grey[:, :1]).all() and np.abs(grey[:, 0] - luma).max() <= 1


def test_colours_go_there_and_back(clip: np.ndarray) -> None:
    assert np.abs(from_ycc(to_ycc(clip)) - clip).max() < 0.5


def test_contrast_is_a_factor_and_fractions_are_cut_off() -> None:
    frames = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16).repeat(3, 1)
    for level, p in enumerate(PUBLISHED["CC"], 1):
        expected = [int(np.float32(value) * np.float32(p)) for value in range(256)]
        assert put(frames, "CC", level)[0, 0].ravel().tolist() == expected


@pytest.mark.parametrize(
    ("side", "level", "count", "width"), [(256, 1, 16, 8), (520, 2, 64, 8), (88, 5, 28, 3), (40, 1, 3, 2)]
)
def test_squares_are_grey_as_many_as_said_and_elsewhere_in_each_frame(
    side: int, level: int, count: int, width: int
) -> None:
    assert squares(side, PUBLISHED["BW"][level - 1]) == (count, width)
    frames = np.zeros((3, 3, side, side), np.uint8)
    found = put(frames, "BW", level)
    assert set(np.unique(found)) == {0, 128} and (found == found[:, :1]).all()
    covered = (found[:, 0] > 0).sum((1, 2))
    # They may lie over one another.
    assert (covered <= count * width**2).all() and (covered > 0.6 * count * width**2).all()
    assert (found[0] != found[1]).any() and (found[1] != found[2]).any()


def test_squares_fall_everywhere_alike() -> None:
    frames = np.zeros((1500, 3, 20, 20), np.uint8)
    share = (put(frames, "BW", 5)[:, 0] > 0).mean(0)
    # Squares of 2 pixels begin at 0 .. 17 with equal chance; away from the border all pixels are covered as often.
    inner = share[2:17, 2:17]
    places, count = 18**2, squares(20, 80)[0]
    assert inner.mean() == pytest.approx(1 - (1 - 4 / places) ** count, rel=0.03)
    assert np.abs(inner / inner.mean() - 1).max() < 0.35


@pytest.mark.parametrize("level", [1, 3])
def test_noise_has_the_published_variance(level: int) -> None:
    """Luma as 16 .. 235 of 255, scaled to 0 .. 1: a standard deviation of sqrt(p) there is 255 * 255 / 219 sqrt(p) levels."""
    frames = np.full((4, 3, 64, 64), 128, np.uint8)
    noise = to_ycc(put(frames, "GNC", level)) - to_ycc(frames)
    sigma = math.sqrt(PUBLISHED["GNC"][level - 1])
    assert noise[:, 0].std() == pytest.approx(sigma * 255 * 255 / 219, rel=0.03)
    for chroma in (1, 2):
        assert noise[:, chroma].std() == pytest.approx(sigma * 255 * 255 / 224, rel=0.03)
    assert abs(np.corrcoef(noise[:, 0].ravel(), noise[:, 1].ravel())[0, 1]) < 0.03
    assert abs(np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]) < 0.03  # new in each frame


@pytest.mark.parametrize(("side", "level"), [(256, 1), (256, 5), (88, 1), (88, 5)])
def test_blur_is_the_gaussian_of_its_kernel(side: int, level: int) -> None:
    p = PUBLISHED["GB"][level - 1]
    width, sigma = blur_kernel(side, p)
    small = min(1, side / 256)
    assert (
        sigma == pytest.approx(p * small / 6) and width % 2 == 1 and width >= max(3, p * small) > width - 2
    ) or width == 3
    middle, reach = side // 2, width // 2
    frames = np.zeros((1, 3, side, side), np.uint8)
    frames[0, :, middle, middle] = 255
    steps = np.arange(-reach, reach + 1)
    line = np.exp(-(steps**2) / (2 * sigma**2))
    expected = 255 * np.outer(line, line) / line.sum() ** 2
    found = put(frames, "GB", level)[0, 0]
    window = found[middle - reach : middle + reach + 1, middle - reach : middle + reach + 1]
    assert np.abs(window - expected).max() <= 0.51
    assert found.sum() == window.sum()


def bilinear(image: np.ndarray, size: int) -> np.ndarray:
    """By loops: the pixel whose centre is (i + 1/2) old / new - 1/2, between its two neighbours each way."""
    old = len(image)
    found = np.zeros((size, size))
    for i in range(size):
        for j in range(size):
            y, x = (min(max((k + 0.5) * old / size - 0.5, 0), old - 1) for k in (i, j))
            top, left = int(y), int(x)
            bottom, right = min(top + 1, old - 1), min(left + 1, old - 1)
            v, u = y - top, x - left
            found[i, j] = (1 - v) * ((1 - u) * image[top, left] + u * image[top, right])
            found[i, j] += v * ((1 - u) * image[bottom, left] + u * image[bottom, right])
    return found


@pytest.mark.parametrize("level", [1, 4])
def test_pixelation_is_shrinking_and_enlarging(level: int) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (1, 3, 22, 22), dtype=np.uint8)
    small = np.rint(bilinear(frames[0, 1].astype(float), 22 // PUBLISHED["JPEG"][level - 1]))
    assert np.abs(put(frames, "JPEG", level)[0, 1] - bilinear(small, 22)).max() <= 1.01


@pytest.mark.parametrize("side", [88, 45])
def test_compression_keeps_frames_in_order_and_takes_rates(side: int) -> None:
    """Each frame that comes back is nearest to the one it was."""
    pytest.importorskip("av")
    clip = draw_heads(1, frames=10, side=side, seed=4).tracks.read(0, range(10)).astype(float)
    clip += 12 * np.arange(10)[:, None, None, None]
    frames = np.clip(clip, 0, 255).astype(np.uint8)
    for fps in (25.0, 29.97):
        found = perturbed(frames, "VC", 1, fps=fps)
        assert found.shape == frames.shape
        apart = ((found[:, None].astype(float) - frames[None]) ** 2).mean((2, 3, 4))
        assert (apart.argmin(1) == np.arange(10)).all()


def test_compression_gives_the_same_bits_every_time(clip: np.ndarray) -> None:
    """Wherever the memory lies that the encoder gets: its fastest code depends on it."""
    pytest.importorskip("av")
    first, held = put(clip, "VC", 1), []
    for i in range(10):
        held.append(np.zeros(100_003 + 777 * i, np.uint8))
        assert (put(clip.copy(), "VC", 1) == first).all()


def test_tracks_are_perturbed_whole_and_always_alike(clip: np.ndarray) -> None:
    whole = InMemoryTracks([clip, clip[:5]], rate=25.0)
    noisy = PerturbedTracks(whole, "GNC", 2, seed=3)
    some = noisy.read(0, [6, 2])
    noisy.read(1, [0])
    assert (some == noisy.read(0, np.arange(8))[[6, 2]]).all()
    assert (noisy.read(1, [0]) != noisy.read(0, [0])).any()  # of its own, though the pixels were the same
    assert len(noisy) == 2 and noisy.side == 88 and noisy.frames(1) == 5 and noisy.fps(0) == 25
    others = [whole, PerturbedTracks(whole, "GNC", 3, seed=3), PerturbedTracks(whole, "GNC", 2, seed=4)]
    assert len({noisy.track_hash(0), *(other.track_hash(0) for other in others)}) == 4


@pytest.mark.parametrize(
    ("code", "level", "match"),
    [
        ("XX", 1, "no perturbation"),
        ("gb", 1, "did you mean 'GB'"),
        ("CC", 0, "level 0"),
        ("CC", 6, "level 6"),
        ("CC", 1.0, "level"),
    ],
)
def test_unknown_perturbations_are_refused(clip: np.ndarray, code: str, level: int, match: str) -> None:
    with pytest.raises(BadInput, match=match):
        put(clip, code, level)


def test_randomness_and_frames_are_asked_for(clip: np.ndarray) -> None:
    with pytest.raises(BadInput, match="Generator"):
        perturbed(clip, "GNC", 1, fps=25)
    with pytest.raises(BadInput, match="uint8"):
        put(clip.astype(np.float32), "CC", 1)
