"""Resizing against PIL, against a double loop over areas, and the difference that antialiasing makes."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from stillhouse.platform.data.resampling import KINDS, Resampler, check_pictures
from stillhouse.platform.errors import BadInput

PILS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def pixels(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Noise under a slope: both sharp and smooth parts."""
    rng = np.random.default_rng(seed)
    slope = np.linspace(0, 255, width)[None, :, None] * np.ones((height, 1, 3))
    return np.rint((slope + rng.integers(0, 256, (height, width, 3))) / 2).astype(np.uint8)


def as_tensor(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255


# PIL rounds to whole levels after rows and after columns; a cubic filter's weights, some below zero, carry the first error further.
WITHIN = {"bilinear": 1.0, "bicubic": 1.25}


@pytest.mark.parametrize("kind", WITHIN)
@pytest.mark.parametrize("size", [(16, 16), (112, 112), (24, 37)])
def test_it_agrees_with_pil_within_a_grey_level(kind: str, size: tuple[int, int]) -> None:
    # Mild contrast: PIL clips what a cubic filter overshoots after rows and again after columns.
    for image in (pixels(112, 96) // 2 + 64, pixels(16, 16) // 2 + 64):
        ours = Resampler(kind).resize(as_tensor(image), size)[0].permute(1, 2, 0).numpy() * 255
        theirs = np.asarray(Image.fromarray(image).resize(size[::-1], PILS[kind]), dtype=float)
        assert np.abs(ours - theirs).max() <= WITHIN[kind]


@given(st.integers(1, 40), st.integers(1, 40))
def test_nearest_takes_the_pixel_at_the_centre(old: int, new: int) -> None:
    image = torch.arange(old).float()[None, None, None] / old
    expected = [Fraction(2 * i + 1, 2) * Fraction(old, new) // 1 for i in range(new)]
    assert Resampler("nearest").resize(image, (1, new)).mul(old).round().flatten().tolist() == expected


def test_area_is_the_mean_of_blocks() -> None:
    image = as_tensor(pixels(112, 112))
    blocks = image.reshape(1, 3, 16, 7, 16, 7).mean((3, 5))
    torch.testing.assert_close(Resampler("area").resize(image, 16), blocks)


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 7), st.integers(1, 7))
def test_area_counts_parts_of_pixels_by_their_part(height: int, width: int, rows: int, columns: int) -> None:
    image = np.random.default_rng(height * 100 + width).random((height, width))
    expected = np.zeros((rows, columns))
    for row in range(rows):
        for column in range(columns):
            for y in range(height):
                for x in range(width):
                    down = min((row + 1) * height / rows, y + 1) - max(row * height / rows, y)
                    across = min((column + 1) * width / columns, x + 1) - max(column * width / columns, x)
                    share = max(down, 0) * max(across, 0) * rows * columns / (height * width)
                    expected[row, column] += share * image[y, x]
    given_ = torch.from_numpy(image)[None, None]
    assert Resampler("area").resize(given_, (rows, columns))[0, 0].numpy() == pytest.approx(expected, abs=1e-12)


def test_without_antialiasing_a_thumbnail_is_another_picture() -> None:
    image = as_tensor(pixels(112, 112))
    smooth, aliased = (Resampler(antialias=flag).resize(image, 16) for flag in (True, False))
    assert (smooth - aliased).abs().mean() > 0.05
    # At a factor of 7 the two pixels that are looked at coincide: it is sub-sampling.
    torch.testing.assert_close(aliased, image[:, :, 3::7, 3::7])
    torch.testing.assert_close(aliased, Resampler("nearest").resize(image, 16))


@pytest.mark.parametrize("kind", KINDS)
@given(side=st.integers(2, 20), size=st.integers(1, 24), level=st.floats(0, 1, width=32))
def test_a_plain_picture_stays_plain_and_all_stay_in_range(kind: str, side: int, size: int, level: float) -> None:
    plain = Resampler(kind).resize(torch.full((1, 1, side, side), level), size)
    assert plain.shape == (1, 1, size, size)
    torch.testing.assert_close(plain, torch.full_like(plain, level))
    hard = (torch.rand(1, 2, side, side, generator=torch.Generator().manual_seed(side)) > 0.5).float()
    resized = Resampler(kind).resize(hard, size)
    assert resized.min() >= 0 and resized.max() <= 1


def test_it_says_what_it_does_and_is_a_value() -> None:
    words = [Resampler(kind).in_words() for kind in KINDS] + [
        Resampler(k, antialias=False).in_words() for k in ("bilinear", "bicubic")
    ]
    assert len(set(words)) == 6
    assert "NOT antialiased" in Resampler(antialias=False).in_words()
    assert Resampler() == Resampler("bilinear", antialias=True) != Resampler(antialias=False)
    assert len({Resampler(), Resampler("bilinear")}) == 1


def test_aliasing_cannot_be_asked_for_by_position() -> None:
    with pytest.raises(TypeError):
        Resampler("bilinear", False)  # type: ignore[misc]


@pytest.mark.parametrize(
    ("settings", "says"),
    [({"kind": "lanczos"}, "lanczos"), ({"kind": "area", "antialias": False}, "leave antialias out"),
     ({"kind": "nearest", "antialias": False}, "leave antialias out")],
)  # fmt: skip
def test_what_is_no_resampler_is_refused(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(BadInput, match=says):
        Resampler(**settings)


@pytest.mark.parametrize(
    ("images", "says"),
    [
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), "divide bytes by 255"),
        (torch.zeros(3, 8, 8), r"\(3, 8, 8\)"),
        (torch.full((1, 3, 8, 8), 200.0), "outside"),
        (torch.full((1, 3, 8, 8), -0.5), "outside"),
        (torch.full((1, 3, 8, 8), torch.nan), "outside"),
        (torch.zeros(1, 3, 0, 8), "no pixel"),
    ],
)
def test_what_are_no_pictures_is_refused(images: torch.Tensor, says: str) -> None:
    with pytest.raises(BadInput, match=says):
        Resampler().resize(images, 4)


def test_a_size_of_nothing_and_other_channels_are_refused() -> None:
    with pytest.raises(BadInput, match="0 x 4"):
        Resampler().resize(torch.zeros(1, 3, 8, 8), (0, 4))
    with pytest.raises(BadInput, match="2 channels"):
        check_pictures(torch.zeros(1, 2, 8, 8), channels=(1, 3))


def test_gradients_pass() -> None:
    for kind in KINDS:
        image = torch.full((1, 1, 12, 12), 0.5, requires_grad=True)
        Resampler(kind).resize(image, 4).sum().backward()
        assert image.grad is not None and image.grad.sum().item() == pytest.approx(16, abs=1e-4)
