"""Pixels to network inputs and back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from stillhouse.methods.condensation.standard import Standard
from stillhouse.platform.data.images import ImageData
from stillhouse.platform.data.sources import load


def data_of(images: np.ndarray) -> ImageData:
    return ImageData(images, np.zeros(len(images), np.int64), 2, "drawn")


def test_a_data_set_is_brought_to_mean_0_and_deviation_1_by_channel() -> None:
    images = np.random.default_rng(0).integers(0, 256, (30, 3, 5, 6)).astype(np.uint8)
    images[:, 1] //= 3
    standard = Standard.of(data_of(images))
    pixels = images.astype(np.float64) / 255
    assert standard.mean == pytest.approx(pixels.mean((0, 2, 3)).tolist(), abs=1e-6)
    assert standard.deviation == pytest.approx(pixels.std((0, 2, 3)).tolist(), abs=1e-6)
    inputs = standard(torch.from_numpy(pixels))
    assert inputs.mean((0, 2, 3)).tolist() == pytest.approx([0.0] * 3, abs=1e-6)
    assert inputs.std((0, 2, 3), correction=0).tolist() == pytest.approx([1.0] * 3, abs=1e-6)


def test_the_way_back() -> None:
    standard = Standard.of(load("digits").private)
    pixels = torch.rand(4, 1, 8, 8)
    before = pixels.clone()
    inputs = standard(pixels)
    torch.testing.assert_close(standard.inverse(inputs), pixels, rtol=0, atol=1e-6)
    assert torch.equal(pixels, before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_precision_is_kept_and_the_gradient_passes(dtype: torch.dtype) -> None:
    pixels = torch.rand(2, 3, 4, 4, dtype=dtype, requires_grad=True)
    inputs = Standard((0.1, 0.2, 0.3), (0.5, 0.25, 0.2))(pixels)
    assert inputs.dtype == dtype
    inputs.sum().backward()
    assert pixels.grad is not None
    assert pixels.grad[0, :, 0, 0].tolist() == pytest.approx([2.0, 4.0, 5.0])


def test_constant_images_do_not_divide_by_nothing() -> None:
    standard = Standard.of(data_of(np.full((3, 1, 4, 4), 51, np.uint8)))
    assert standard.mean == pytest.approx((0.2,))
    assert standard(torch.full((1, 1, 4, 4), 0.2)).isfinite().all()


def test_the_constant_standard_looks_at_no_data() -> None:
    standard = Standard.constant(3)
    assert standard == Standard((0.5,) * 3, (0.25,) * 3)
    assert standard(torch.ones(1, 3, 1, 1)).flatten().tolist() == [2.0, 2.0, 2.0]
