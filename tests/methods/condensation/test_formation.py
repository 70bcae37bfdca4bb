"""Multi-formation: tiles come in the published order and size, and gradients pass to the pixels they came from."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from stillhouse.methods.condensation.formation import check_factor, compose, decode, decoded_labels
from stillhouse.platform.errors import BadInput

# (n, c, h, w) and factor; the last three need padding.
CASES = [
    ((3, 1, 28, 28), 2),
    ((2, 3, 12, 18), 3),
    ((1, 3, 8, 8), 4),
    ((2, 1, 28, 28), 3),
    ((2, 2, 7, 9), 2),
    ((3, 1, 10, 11), 4),
]


def images(shape: tuple[int, ...], dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.rand(shape, dtype=dtype, generator=torch.Generator().manual_seed(1))


def decode_slowly(stored: np.ndarray, factor: int) -> np.ndarray:
    """The specification, literally: pad, cut, enlarge one tile at a time, and append in tile-major order."""
    height, width = stored.shape[2:]
    down, right = ((factor - side % factor) if side % factor else 0 for side in (height, width))
    padded = np.pad(stored, ((0, 0), (0, 0), (0, down), (0, right)), constant_values=0.5)
    high, wide = -(-height // factor), -(-width // factor)
    decoded = []
    for i in range(factor):
        for j in range(factor):
            for image in padded:
                tile = torch.from_numpy(image[None, :, i * high : (i + 1) * high, j * wide : (j + 1) * wide].copy())
                decoded.append(F.interpolate(tile, size=(height, width), mode="bilinear", align_corners=False).numpy())
    return np.concatenate(decoded)


@pytest.mark.parametrize(("shape", "factor"), CASES)
def test_decode_agrees_with_one_tile_at_a_time(shape: tuple[int, ...], factor: int) -> None:
    stored = images(shape)
    decoded = decode(stored, factor)
    assert decoded.shape == (factor**2 * shape[0], *shape[1:])
    np.testing.assert_allclose(decoded.numpy(), decode_slowly(stored.numpy(), factor), rtol=0, atol=1e-14)
    # Channels-last input is only another layout.
    assert torch.equal(decode(stored.to(memory_format=torch.channels_last), factor), decoded)


def test_decode_enlarges_by_half_pixel_centres() -> None:
    # By hand: 0, 1 enlarged to four pixels, whose centres lie at -1/4, 1/4, 3/4, 5/4 of the small ones'.
    row = torch.tensor([0.0, 1.0, 0.5, 0.5]).expand(1, 1, 4, 4)
    assert decode(row, 2)[0, 0, 0].tolist() == [0.0, 0.25, 0.75, 1.0]


def test_labels_go_with_the_tiles() -> None:
    labels = torch.tensor([4, 7, 9])
    stored = labels.double().reshape(3, 1, 1, 1).expand(3, 1, 6, 6)
    assert torch.equal(decode(stored, 3)[:, 0, 0, 0].long(), decoded_labels(labels, 3))


@given(st.integers(1, 4), st.integers(10, 24), st.integers(10, 24), st.floats(0, 1, width=32))
@settings(max_examples=40, deadline=None)
def test_decode_keeps_range_and_constants(factor: int, height: int, width: int, value: float) -> None:
    decoded = decode(images((2, 1, height, width)), factor)
    assert decoded.min() >= -1e-12 and decoded.max() <= 1 + 1e-12
    if height % factor == 0 and width % factor == 0:
        constant = torch.full((2, 1, height, width), value, dtype=torch.float64)
        torch.testing.assert_close(decode(constant, factor), constant.repeat(factor**2, 1, 1, 1))


def test_padding_is_mid_grey() -> None:
    grey = torch.full((1, 1, 7, 9), 0.5)
    torch.testing.assert_close(decode(grey, 2), grey.repeat(4, 1, 1, 1))
    # Below the last stored row, black turns grey.
    assert decode(torch.zeros(1, 1, 7, 8), 2)[2, 0, -1].tolist() == pytest.approx([0.5] * 8)


def test_factor_one_is_the_identity() -> None:
    stored = images((3, 2, 5, 7))
    assert decode(stored, 1) is stored
    assert torch.equal(compose(stored, 1), stored)
    assert torch.equal(compose(stored, 1, shrink="area"), stored)


@pytest.mark.parametrize(("shape", "factor"), CASES)
def test_the_gradient_is_the_adjoint(shape: tuple[int, ...], factor: int) -> None:
    stored = images(shape).requires_grad_()
    other = torch.randn(factor**2 * shape[0], *shape[1:], dtype=torch.float64)
    (pulled,) = torch.autograd.grad((decode(stored, factor) * other).sum(), stored)
    # Padding makes it affine, so the linear part is what it does to a difference.
    direction = torch.randn(shape, dtype=torch.float64)
    pushed = decode(direction, factor) - decode(torch.zeros(shape, dtype=torch.float64), factor)
    torch.testing.assert_close((pushed * other).sum(), (direction * pulled).sum(), rtol=1e-11, atol=1e-11)


def test_a_tile_moves_its_own_pixels_only() -> None:
    stored = images((2, 1, 8, 8)).requires_grad_()
    # Tile (0, 1) of image 1 is decoded image 1 * 2 + 1.
    (moved,) = torch.autograd.grad(decode(stored, 2)[3].sum(), stored)
    expected = torch.zeros(2, 1, 8, 8, dtype=torch.bool)
    expected[1, :, :4, 4:] = True
    assert torch.equal(moved != 0, expected)


@pytest.mark.parametrize("shrink", ["nearest", "area"])
@pytest.mark.parametrize(("side", "factor"), [((28, 28), 2), ((12, 18), 3), ((8, 12), 4)])
def test_compose_and_decode_give_constant_images_back(side: tuple[int, int], factor: int, shrink: str) -> None:
    values = torch.arange(3 * factor**2, dtype=torch.float64) / (3 * factor**2)
    real = values.reshape(-1, 1, 1, 1).expand(-1, 2, *side)
    torch.testing.assert_close(decode(compose(real, factor, shrink), factor), real, rtol=0, atol=1e-15)


def test_compose_nearest_takes_every_second_pixel_and_area_the_mean() -> None:
    real = images((4, 3, 8, 10))
    torch.testing.assert_close(compose(real, 2)[0, :, :4, 5:], real[1, :, ::2, ::2])
    means = real[2].reshape(3, 4, 2, 5, 2).mean((2, 4))
    torch.testing.assert_close(compose(real, 2, shrink="area")[0, :, 4:, :5], means)


def test_where_the_factor_does_not_divide_the_first_tiles_are_larger() -> None:
    real = torch.arange(9.0).reshape(9, 1, 1, 1).expand(9, 1, 10, 11)
    stored = compose(real, 3)
    assert stored.shape == (1, 1, 10, 11)
    assert stored[0, 0, 0].tolist() == [0.0] * 4 + [1.0] * 4 + [2.0] * 3
    assert stored[0, 0, :, 0].tolist() == [0.0] * 4 + [3.0] * 3 + [6.0] * 3


def test_check_factor_says_what_is_padded() -> None:
    assert check_factor((1, 28, 28), 2) is None
    assert check_factor((3, 12, 18), 3, strict=True) is None
    note = check_factor((1, 28, 30), 3)
    assert note is not None and "padded to 30 x 30" in note
    with pytest.raises(BadInput, match="does not divide 28 x 30"):
        check_factor((1, 28, 30), 3, strict=True)


@pytest.mark.parametrize(
    ("shape", "factor", "message"),
    [
        ((1, 28, 28), 0, "at least one tile"),
        ((1, 28, 28), -1, "at least one tile"),
        ((1, 28, 4), 5, "less than a pixel"),
        # Tiles of 4 pixels: the eighth would begin at pixel 28.
        ((1, 28, 28), 8, "padding only"),
    ],
)
def test_impossible_factors(shape: tuple[int, ...], factor: int, message: str) -> None:
    for call in (
        lambda: check_factor(shape, factor),
        lambda: decode(torch.zeros(2, *shape), factor),
        lambda: compose(torch.zeros(2, *shape), factor),
    ):
        with pytest.raises(BadInput, match=message):
            call()


@given(st.integers(1, 20), st.integers(1, 20), st.integers(1, 8))
@settings(max_examples=60, deadline=None)
def test_a_factor_is_accepted_if_every_tile_stores_something(height: int, width: int, factor: int) -> None:
    high, wide = -(-height // factor), -(-width // factor)
    starts = [k * high < height and k * wide < width for k in range(factor)]
    if factor > min(height, width) or not all(starts):
        with pytest.raises(BadInput):
            check_factor((height, width), factor)
    else:
        # Black pixels are stored; a decoded image that is grey all over would hold none.
        decoded = decode(torch.zeros(1, 1, height, width), factor)
        assert (decoded.flatten(1).amin(1) < 0.49).all()


def test_refusals() -> None:
    with pytest.raises(BadInput, match="every stored image takes 4"):
        compose(torch.zeros(6, 1, 8, 8), 2)
    with pytest.raises(BadInput, match="nearest, area"):
        compose(torch.zeros(4, 1, 8, 8), 2, shrink="bicubic")
    for call in (decode, compose):
        with pytest.raises(BadInput, match="uint8"):
            call(torch.zeros(4, 1, 8, 8, dtype=torch.uint8), 2)
