"""Properties that the scattering transform owes to its construction, whatever the oracle says."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from stillhouse.platform.errors import BadInput
from stillhouse.platform.nn.scattering import Scattering2D

TRANSFORM = Scattering2D((1, 32, 32))


@pytest.mark.parametrize("side", [4, 7, 8, 15, 16, 28, 33])
@pytest.mark.parametrize("scales", [1, 2])
def test_every_shape_has_the_features_it_announces(side: int, scales: int) -> None:
    transform = Scattering2D((2, side, side + 3), J=scales, L=4)
    found = transform(torch.rand(2, 2, side, side + 3))
    assert found.shape == (2, transform.features)
    assert torch.isfinite(found).all()


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**31), mix=st.floats(0, 1))
def test_distances_never_grow(seed: int, mix: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    one, noise = torch.rand(2, 1, 1, 32, 32, generator=generator)
    # Inside a margin, where mirrored borders count a pixel twice, distances are kept small by one filter bank's frame bound.
    other = one.clone()
    other[..., 8:24, 8:24] = (1 - mix) * one[..., 8:24, 8:24] + mix * noise[..., 8:24, 8:24]
    apart = (TRANSFORM(one) - TRANSFORM(other)).norm() * 2**TRANSFORM.J
    assert apart <= (one - other).norm() * 1.05 + 1e-4


@settings(max_examples=15, deadline=None)
@given(scale=st.floats(0.01, 1.0), seed=st.integers(0, 2**31))
def test_contrast_scales_the_coefficients(scale: float, seed: int) -> None:
    image = torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(seed))
    assert torch.allclose(TRANSFORM(scale * image), scale * TRANSFORM(image), atol=1e-5)


def test_a_turn_by_a_right_angle_turns_the_orientations() -> None:
    image = torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(4))
    plain = TRANSFORM(image).view(81, 8, 8)
    turned = TRANSFORM(image.transpose(-1, -2)).view(81, 8, 8).transpose(-1, -2)
    assert torch.allclose(plain[0], turned[0], atol=1e-5)
    # Swapping the axes maps the eight orientations onto themselves: the set of first-order energies stays.
    for scale in (slice(1, 9), slice(9, 17)):
        energies = [found[scale].square().sum((1, 2)).sort().values for found in (plain, turned)]
        assert torch.allclose(*energies, rtol=1e-3)


def test_double_precision_is_for_double_modules() -> None:
    images = torch.rand(2, 1, 8, 8, dtype=torch.double)
    with pytest.raises(BadInput, match="float32"):
        Scattering2D((1, 8, 8))(images)
    exact = Scattering2D((1, 8, 8)).double()(images)
    assert exact.dtype == torch.double
    assert torch.allclose(exact.float(), Scattering2D((1, 8, 8))(images.float()), atol=1e-5)


@pytest.mark.parametrize("settings", [{"shape": (8, 8)}, {"shape": (0, 8, 8)}, {"J": 0}, {"L": 0}])
def test_nonsense_is_refused(settings: dict[str, object]) -> None:
    with pytest.raises(BadInput):
        Scattering2D(**{"shape": (1, 8, 8), **settings})  # type: ignore[arg-type]
