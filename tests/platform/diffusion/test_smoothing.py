import math

import pytest
import torch
from scipy.ndimage import gaussian_filter
from stillhouse.platform.diffusion.smoothing import smoothed


@pytest.mark.parametrize("deviation", [0.7, 1.0, 2.0])
def test_it_is_a_gaussian_filter(deviation):
    images = torch.rand(3, 2, 20, 16, generator=torch.Generator().manual_seed(0)).double()
    radius = math.ceil(3 * deviation)
    expected = gaussian_filter(
        images.numpy(), (0, 0, deviation, deviation), mode="mirror", radius=(0, 0, radius, radius)
    )
    assert torch.allclose(smoothed(images, deviation), torch.from_numpy(expected), atol=1e-12)


def test_none_leaves_images_as_they_are():
    images = torch.rand(2, 1, 8, 8)
    assert smoothed(images, 0.0) is images


def test_what_is_left_of_white_noise():
    noise = torch.randn(400, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    inner = smoothed(noise, 1.5)[..., 6:-6, 6:-6]
    assert float(inner.std()) == pytest.approx(1 / (2 * 1.5 * math.sqrt(math.pi)), rel=0.02)


def test_small_images_stand_wide_filters():
    found = smoothed(torch.rand(1, 1, 8, 8), 5.0)
    assert found.shape == (1, 1, 8, 8) and torch.isfinite(found).all()
