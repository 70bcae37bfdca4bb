"""The scattering transform against another implementation and against what it must satisfy."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

import pytest
import scipy.special
import torch
from stillhouse.platform.data.sources import load
from stillhouse.platform.errors import BadInput
from stillhouse.platform.nn.scattering import Scattering2D, fold


@pytest.fixture
def kymatio() -> Iterator[type]:
    if importlib.util.find_spec("kymatio") is None:
        pytest.skip("kymatio is not installed")
    # Its 3-D part imports a function that SciPy 1.17 no longer has; the 2-D part does not use it.
    missing = not hasattr(scipy.special, "sph_harm")
    if missing:
        scipy.special.sph_harm = None
    try:
        from kymatio.torch import Scattering2D as Oracle

        yield Oracle
    finally:
        if missing:
            del scipy.special.sph_harm


@pytest.mark.parametrize(("scales", "side"), [(1, 16), (2, 32), (3, 32)])
def test_it_is_kymatios_transform(kymatio: type, scales: int, side: int) -> None:
    images = torch.rand(3, 1, side, side, generator=torch.Generator().manual_seed(0))
    theirs = kymatio(J=scales, shape=(side, side), L=8)(images).flatten(1)
    ours = Scattering2D((1, side, side), J=scales)(images)
    assert ours.shape == theirs.shape
    grid = side // 2**scales
    # Pairs of scales come in another order from three scales on, so coefficients are compared place by place, sorted.
    ours, theirs = (found.view(3, -1, grid, grid).sort(dim=1).values for found in (ours, theirs))
    assert (ours - theirs).abs().max() < 1e-4


def test_a_small_shift_changes_little_and_a_constant_image_has_no_waves() -> None:
    image = torch.zeros(1, 1, 32, 32)
    image[..., 10:20, 12:22] = 1.0
    transform = Scattering2D((1, 32, 32), J=2)
    here, there = transform(image), transform(image.roll(1, dims=-1))
    pixels = (image - image.roll(1, dims=-1)).norm() / image.norm()
    assert (here - there).norm() / here.norm() < 0.5 * pixels
    flat = transform(torch.full((1, 1, 32, 32), 0.7)).view(81, 8, 8)
    assert torch.allclose(flat[0], torch.tensor(0.7), atol=1e-4)
    assert flat[1:].abs().max() < 1e-4


def test_it_brings_no_two_images_further_apart() -> None:
    images = torch.rand(6, 1, 32, 32, generator=torch.Generator().manual_seed(1))
    transform = Scattering2D((1, 32, 32), J=2)
    found = transform(images)
    for i in range(6):
        for j in range(i):
            # Each output stands for a 4x4 patch of pixels.
            assert 4 * (found[i] - found[j]).norm() <= 1.3 * (images[i] - images[j]).norm()


def test_images_are_treated_one_by_one() -> None:
    images = torch.rand(5, 3, 12, 20, generator=torch.Generator().manual_seed(2))
    transform = Scattering2D((3, 12, 20))
    together = transform(images)
    assert together.shape == (5, transform.features)
    assert torch.allclose(together[2:3], transform(images[2:3]), atol=1e-5)
    # Channels do not mix either.
    grey = Scattering2D((1, 12, 20))
    assert torch.allclose(together[:, : grey.features], grey(images[:, :1]), atol=1e-5)


def test_folding_a_spectrum_is_taking_every_other_sample() -> None:
    signal = torch.rand(8, 12, generator=torch.Generator().manual_seed(3))
    folded = torch.fft.ifft2(fold(torch.fft.fft2(signal), 2)).real
    assert torch.allclose(folded, signal[::2, ::2], atol=1e-6)


def test_there_is_nothing_to_learn() -> None:
    assert not list(Scattering2D((1, 8, 8)).parameters())


@pytest.mark.parametrize(
    "images", [torch.zeros(2, 1, 8, 9), torch.zeros(2, 8, 8), torch.zeros(2, 1, 8, 8, dtype=torch.uint8)]
)
def test_other_shapes_and_types_are_refused(images: torch.Tensor) -> None:
    with pytest.raises(BadInput, match="this transform takes"):
        Scattering2D((1, 8, 8))(images)


def test_small_images_get_one_scale() -> None:
    assert (Scattering2D((1, 8, 8)).J, Scattering2D((1, 28, 28)).J) == (1, 2)
    found = Scattering2D((1, 8, 8))(torch.from_numpy(load("digits").pool.images[:4]).float() / 255)
    assert torch.isfinite(found).all()
