"""Each corruption against a formula of its own: sums over a kernel, spread of a point, standard deviation of noise."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from stillhouse.platform.data import corruptions
from stillhouse.platform.errors import MissingExtra


def point(side: int = 31, channels: int = 1) -> torch.Tensor:
    image = torch.zeros(1, channels, side, side)
    image[..., side // 2, side // 2] = 1
    return image


def spread(image: torch.Tensor) -> np.ndarray:
    """Covariance (2, 2) of where the mass of a picture lies, as (x, y)."""
    mass = image.double().numpy()
    mass = mass / mass.sum()
    y, x = np.mgrid[: mass.shape[0], : mass.shape[1]]
    centred = np.stack([x - (mass * x).sum(), y - (mass * y).sum()])
    return np.einsum("aij,bij,ij->ab", centred, centred, mass)


def test_a_point_spreads_to_the_gaussians_variance() -> None:
    sigmas = torch.tensor([0.0, 0.7, 1.5, 3.0])
    blurred = corruptions.gaussian_blur(point().expand(4, -1, -1, -1), sigmas)
    torch.testing.assert_close(blurred[0], point()[0])
    for image, sigma in zip(blurred[1:, 0], sigmas[1:].tolist(), strict=True):
        # A cut at three sigmas of the widest takes a little of that one's tail.
        assert np.diag(spread(image)) == pytest.approx([sigma**2] * 2, rel=0.05)
        assert abs(spread(image)[0, 1]) < 1e-6
        assert image.sum() == pytest.approx(1, abs=1e-5)


@settings(max_examples=50)
@given(length=st.floats(0, 12), angle=st.floats(0, math.pi))
def test_a_path_of_motion_spreads_along_itself(length: float, angle: float) -> None:
    kernel = corruptions.motion_kernels(
        torch.tensor([length], dtype=torch.float64), torch.tensor([angle], dtype=torch.float64)
    )[0]
    assert kernel.sum() == pytest.approx(1, abs=1e-12)
    assert kernel.flip(0, 1).numpy() == pytest.approx(kernel.numpy(), abs=1e-12)
    along, across = np.array([math.cos(angle), math.sin(angle)]), np.array([-math.sin(angle), math.cos(angle)])
    covariance = spread(kernel)
    # Uniform over a path of that length, and a pixel of softness about it.
    assert along @ covariance @ along == pytest.approx(length**2 / 12, abs=0.3 + 0.2 * length)
    assert across @ covariance @ across < 0.35


def test_motion_moves_along_rows_and_columns() -> None:
    smeared = corruptions.motion_blur(
        point().expand(2, -1, -1, -1), torch.tensor([6.0, 6.0]), torch.tensor([0.0, math.pi / 2])
    )
    row, column = smeared[:, 0]
    assert row[15, 12:19].tolist() == pytest.approx([1 / 7] * 7) and row[14].sum() < 1e-6
    torch.testing.assert_close(row, column.T)


def test_edges_are_not_darkened() -> None:
    plain = torch.full((2, 3, 20, 20), 0.6)
    torch.testing.assert_close(corruptions.gaussian_blur(plain, torch.tensor([1.0, 5.0])), plain)
    torch.testing.assert_close(
        corruptions.motion_blur(plain, torch.tensor([3.0, 9.0]), torch.tensor([0.4, 2.0])), plain
    )


def test_noise_has_its_width_and_none_where_it_is_zero() -> None:
    plain = torch.full((3, 3, 64, 64), 0.5)
    noisy = corruptions.gaussian_noise(plain, torch.tensor([0.0, 0.02, 0.1]), torch.Generator().manual_seed(0))
    assert (noisy - plain).flatten(1).std(1).tolist() == pytest.approx([0, 0.02, 0.1], rel=0.05)
    assert noisy.flatten(1).mean(1).tolist() == pytest.approx([0.5] * 3, abs=0.005)


def test_jpeg_loses_more_at_lower_quality_and_leaves_blocks() -> None:
    rng = np.random.default_rng(0)
    raw = np.asarray(
        Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)).resize((48, 48), Image.Resampling.BICUBIC)
    )
    images = torch.from_numpy(raw.copy()).permute(2, 0, 1)[None].expand(4, -1, -1, -1).float() / 255
    coded = corruptions.jpeg(images, torch.tensor([95.0, 40.0, 10.0, 1.0]))
    wrong = (coded - images).abs().flatten(1).mean(1).tolist()
    assert 0 < wrong[0] < 0.03 and wrong == sorted(wrong)
    steps = (coded[3, :, :, 1:] - coded[3, :, :, :-1]).abs().mean((0, 1))
    assert steps[7::8].mean() > 3 * np.delete(steps.numpy(), np.s_[7::8]).mean()
    # A plain grey picture is one number a block, which every quality can say.
    plain = torch.full((2, 3, 16, 16), 128 / 255)
    torch.testing.assert_close(corruptions.jpeg(plain, torch.tensor([90, 5])), plain)


def test_jpeg_takes_grey_pictures_and_none_at_all() -> None:
    assert corruptions.jpeg(torch.rand(2, 1, 9, 9), torch.tensor([50, 50])).shape == (2, 1, 9, 9)
    assert corruptions.jpeg(torch.rand(0, 3, 9, 9), torch.tensor([])).shape == (0, 3, 9, 9)


@given(st.floats(0, 1), st.floats(0.5, 2), st.floats(0.2, 2))
def test_tone_is_its_formula(value: float, gamma: float, gain: float) -> None:
    toned = corruptions.tone(
        torch.full((1, 1, 2, 2), value, dtype=torch.float64), torch.tensor([gamma]), torch.tensor([gain])
    )
    assert toned.flatten().tolist() == pytest.approx([min(1, gain * value**gamma)] * 4, abs=1e-6)


def test_without_kornia_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kornia.filters", None)
    with pytest.raises(MissingExtra, match=r"\.\[recognition\]"):
        corruptions.gaussian_blur(torch.zeros(1, 1, 8, 8), torch.tensor([1.0]))
