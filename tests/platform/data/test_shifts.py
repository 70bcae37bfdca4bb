"""Shifts at test time: each is its formula, each level is harder than the one before, and all survive the down-sampling."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from stillhouse.platform.data.degradation import Degradation
from stillhouse.platform.data.resampling import Resampler
from stillhouse.platform.data.shifts import SHIFTS, shift
from stillhouse.platform.errors import BadInput

EVERY = pytest.mark.parametrize("name", SHIFTS)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def faces(n: int = 2, side: int = 112) -> torch.Tensor:
    """Detail of several sizes, as pictures have, none of which falls in with the blocks of a shift."""
    rng = seeded(3)
    layers = [
        Resampler("bicubic").resize(torch.rand(n, 3, cells, cells, generator=rng), side) for cells in (5, 11, 23, 47)
    ]
    return torch.stack(layers).mean(0)


@EVERY
def test_each_level_is_further_from_the_picture(name: str) -> None:
    images = faces()
    for measured in (lambda x: x, Degradation(16)):
        off = [
            (measured(shift(images, name, level, seeded())) - measured(images)).abs().mean().item()
            for level in range(1, 6)
        ]
        assert off[0] > 0 and off == sorted(off) and off[4] > 1.5 * off[0]


@settings(max_examples=25)
@given(st.sampled_from(sorted(SHIFTS)), st.integers(1, 5), st.integers(2, 20), st.integers(2, 20))
def test_any_picture_keeps_its_shape_and_range(name: str, level: int, height: int, width: int) -> None:
    images = torch.rand(2, 3, height, width, generator=seeded(height))
    shifted = shift(images, name, level, seeded())
    assert shifted.shape == images.shape and shifted.min() >= 0 and shifted.max() <= 1


def test_light_is_its_formula() -> None:
    images = faces()
    torch.testing.assert_close(shift(images, "dark", 4), 0.35 * images)
    torch.testing.assert_close(shift(images, "contrast", 4), 0.35 * images + 0.325)


def test_pixels_are_means_of_blocks() -> None:
    images = faces()
    shifted = shift(images, "pixelate", 3)
    blocks = (
        images.reshape(2, 3, 28, 4, 28, 4).mean((3, 5), keepdim=True).expand(-1, -1, -1, 4, -1, 4).reshape(images.shape)
    )
    torch.testing.assert_close(shifted, blocks)


def test_blur_is_said_for_112_pixels_and_grows_with_the_picture() -> None:
    for side in (56, 112):
        point = torch.zeros(1, 1, side, side)
        point[..., side // 2, side // 2] = 1
        across = shift(point, "blur", 3)[0, 0].sum(0).double()
        places = torch.arange(side).double()
        middle = (across * places).sum() / across.sum()
        deviation = ((across * (places - middle) ** 2).sum() / across.sum()).sqrt()
        assert deviation.item() == pytest.approx(4 * side / 112, rel=0.05)


def test_noise_has_its_width_and_its_seed() -> None:
    images = torch.full((2, 3, 60, 60), 0.5)
    first, again, other = (shift(images, "noise", 2, seeded(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert (first - images).std().item() == pytest.approx(20 / 255, rel=0.03)


def test_only_noise_needs_a_generator() -> None:
    for name in SHIFTS:
        if name == "noise":
            with pytest.raises(BadInput, match=r"torch\.Generator"):
                shift(faces(1, 16), name, 1)
        else:
            assert torch.equal(shift(faces(1, 16), name, 1), shift(faces(1, 16), name, 1, seeded()))


def test_names_and_levels_are_said_in_words() -> None:
    said = {one.in_words(level) for one in SHIFTS.values() for level in range(1, 6)}
    assert len(said) == 30
    assert SHIFTS["jpeg"].in_words(2) == "jpeg, level 2 of 5: quality 30"


@pytest.mark.parametrize(
    ("name", "level", "says"),
    [
        ("darkk", 1, "did you mean 'dark'"),
        ("fog", 1, "use one of"),
        ("dark", 0, "level 0"),
        ("dark", 6, "level 6"),
        ("dark", 2.0, "whole"),
    ],
)
def test_unknown_names_and_levels_are_refused(name: str, level: Any, says: str) -> None:
    with pytest.raises(BadInput, match=says):
        shift(faces(1, 16), name, level)


def test_what_are_no_pictures_is_refused() -> None:
    with pytest.raises(BadInput, match="divide bytes"):
        shift(torch.zeros(1, 3, 8, 8, dtype=torch.uint8), "dark", 1)
    with pytest.raises(BadInput, match="channels"):
        shift(torch.zeros(1, 2, 8, 8), "jpeg", 1)
