"""How far a cloud of synthetic features is from a cloud of real ones, with a slope to step along.

>>> synthetic, real = torch.tensor([[-2.0], [2.0]]), torch.tensor([[-1.0], [1.0]])
>>> discrepancy("mean")(synthetic, real).item()  # the means agree, the spreads do not
0.0
>>> round(discrepancy("gaussian")(synthetic, real).item(), 4)
1.1507
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch
from torch import Generator, Tensor

from ...platform.errors import BadInput
from ...platform.privacy.validate import non_negative, positive, positive_int

MULTIPLIERS = (0.25, 0.5, 1.0, 2.0, 4.0)  # M3D's five kernels


class Discrepancy(Protocol):
    """Zero where two clouds of features agree and, but for rounding, never negative."""

    def __call__(self, synthetic: Tensor, real: Tensor) -> Tensor:
        """Return a scalar for (n, D) and (m, D), differentiable in `synthetic` only and at least in single precision.

        BadInput unless both are floating-point matrices of equal width, neither of them empty.
        """


@dataclass(frozen=True)
class MeanDifference:
    """The squared distance of the means: DM (Zhao & Bilen 2023, arXiv 2110.04181) and DANCE."""

    def __call__(self, synthetic: Tensor, real: Tensor) -> Tensor:
        """Return ||mean x - mean y||^2, a sum over the D features; see `Discrepancy`."""
        x, y = _clouds(synthetic, real)
        return mean_difference_to(x, y.mean(0))


@dataclass(frozen=True)
class GaussianMmd:
    """The biased squared MMD of a sum of kernels exp(-d^2 / (b r)): M3D (Zhang et al. 2024, arXiv 2312.15927).

    b is the mean squared distance within the pooled clouds, anew each time and constant for the gradient: the value
    ignores the features' scale, the gradient goes with its inverse. `multipliers` are the r, above 0. `constant` adds
    the mean kernel among the real features, which has no gradient; without it the value can be negative.
    """

    multipliers: tuple[float, ...] = MULTIPLIERS
    constant: bool = True

    def __post_init__(self) -> None:
        _check_multipliers(self.multipliers)

    def __call__(self, synthetic: Tensor, real: Tensor) -> Tensor:
        """Return the squared MMD, at most twice the number of kernels; see `Discrepancy`."""
        x, y = _clouds(synthetic, real)
        # Distances ignore a shift; short vectors keep their digits, and equal ones become exact zeros.
        x, y = x - y[:1], y - y[:1]
        bandwidth = mean_squared_distance(torch.cat([x, y]))
        # Points without extent have distances 0: any width but 0 gives them the right value and slope.
        smallest = torch.finfo(bandwidth.dtype).tiny * 2**24
        widths = [torch.where(bandwidth * r > smallest, bandwidth * r, 1.0) for r in self.multipliers]

        def mean_kernel(a: Tensor, b: Tensor) -> Tensor:
            squared = squared_distances(a, b)
            return torch.stack([(-squared / width).exp().mean() for width in widths]).sum()

        return _squared_mmd(mean_kernel, x, y, self.constant)


@dataclass(frozen=True)
class PolynomialMmd:
    """The biased squared MMD of the kernel (x.y + offset)^degree, for comparison.

    Degree 1 is `MeanDifference`; degree 2 with offset 1 is twice that and ||E[x x^T] - E[y y^T]||_F^2.
    """

    degree: int = 2
    offset: float = 1.0

    def __post_init__(self) -> None:
        positive_int(degree=self.degree)
        non_negative(offset=self.offset)

    def __call__(self, synthetic: Tensor, real: Tensor) -> Tensor:
        """Return the squared MMD; see `Discrepancy`."""
        clouds = _clouds(synthetic, real)
        return _squared_mmd(lambda a, b: (_products(a, b) + self.offset).pow(self.degree).mean(), *clouds)


@dataclass(frozen=True, eq=False)
class FourierFeatures:
    """An unbiased estimate of the squared MMD of Gaussian kernels of fixed widths (Rahimi & Recht 2007).

    The real side enters by its mean, which can be kept: `mean_difference_to(features.embed(synthetic), kept)`.
    """

    frequencies: Tensor  # (F, D), per unit of feature
    amplitudes: Tensor  # (F,); their squares sum to the number of kernels

    @classmethod
    def draw(
        cls, dimension: int, frequencies: int, bandwidth: float, multipliers: tuple[float, ...], generator: Generator
    ) -> FourierFeatures:
        """Draw F vectors, on the generator's device, dealt evenly to kernels exp(-d^2 / (bandwidth r)); or BadInput."""
        positive_int(dimension=dimension, frequencies=frequencies)
        positive(bandwidth=bandwidth)
        _check_multipliers(multipliers)
        if frequencies < len(multipliers):
            raise BadInput(f"{frequencies} frequencies for {len(multipliers)} kernels", why="every kernel needs one")
        kernel = torch.arange(frequencies, device=generator.device) % len(multipliers)
        widths = bandwidth * torch.tensor(multipliers, device=generator.device)[kernel]
        normal = torch.randn(frequencies, dimension, generator=generator, device=generator.device)
        # exp(-d^2 / w) is the characteristic function of a normal law of variance 2 / w.
        return cls(normal * (2 / widths).sqrt()[:, None], kernel.bincount()[kernel].rsqrt())

    def embed(self, x: Tensor) -> Tensor:
        """Return (n, 2F) for features (n, D); inner products estimate the kernel, and the gradient passes."""
        phases = _products(*_clouds(x, self.frequencies))
        return torch.cat([phases.cos(), phases.sin()], 1) * self.amplitudes.repeat(2)

    def __call__(self, synthetic: Tensor, real: Tensor) -> Tensor:
        """Return the estimate; see `Discrepancy`."""
        return mean_difference_to(self.embed(synthetic), self.embed(real.detach()).mean(0))


DISCREPANCIES: Mapping[str, Callable[..., Discrepancy]] = {
    "mean": MeanDifference,
    "gaussian": GaussianMmd,
    "linear": partial(PolynomialMmd, 1, 0.0),
    "poly2": partial(PolynomialMmd, 2, 1.0),
    "rff": FourierFeatures.draw,
}


def discrepancy(name: str, **settings: object) -> Discrepancy:
    """Return `DISCREPANCIES[name]` with its settings; BadInput if there is no such name or setting."""
    if name not in DISCREPANCIES:
        near = "".join(f", did you mean '{near}'?" for near in difflib.get_close_matches(name, DISCREPANCIES, n=1))
        raise BadInput(f"there is no discrepancy '{name}'{near}", mend=f"use one of {', '.join(DISCREPANCIES)}")
    try:
        inspect.signature(DISCREPANCIES[name]).bind(**settings)
    except TypeError as error:
        raise BadInput(f"discrepancy '{name}'", why=str(error)) from None
    return DISCREPANCIES[name](**settings)


def mean_difference_to(synthetic: Tensor, real_mean: Tensor) -> Tensor:
    """Return ||mean x - real_mean||^2 for features x (n, D) and a mean (D,) kept from earlier; BadInput as above."""
    x, mean = _clouds(synthetic, real_mean[None])
    return (x.mean(0) - mean[0]).square().sum()


def squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """Return ||a_i - b_j||^2 (n, m) for (n, D) and (m, D), without the root whose slope is infinite at 0."""
    return (a.square().sum(1)[:, None] + b.square().sum(1) - 2 * _products(a, b)).clamp(min=0)


def mean_squared_distance(features: Tensor) -> Tensor:
    """Return the mean of ||z_i - z_j||^2 over i != j, a scalar without gradient, for (N, D) with N of at least 2."""
    _, z = _clouds(features, features)
    n, z = len(z), z - z[:1]
    if n < 2:
        raise BadInput("one row of features", why="a distance needs two")
    return 2 * (n * z.square().sum() - z.sum(0).square().sum()) / (n * (n - 1))


def _clouds(synthetic: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
    """Both in a common type of at least single precision, the second without gradient."""
    fits = synthetic.ndim == real.ndim == 2 and synthetic.shape[1] == real.shape[1]
    if not (fits and synthetic.numel() and real.numel() and synthetic.is_floating_point() and real.is_floating_point()):
        found = ", ".join(f"{tuple(side.shape)} of {side.dtype}" for side in (synthetic, real))
        raise BadInput(f"features {found}", why="two floating-point matrices (n, D) and (m, D) are compared")
    common = torch.promote_types(torch.promote_types(synthetic.dtype, real.dtype), torch.float32)
    return synthetic.to(common), real.detach().to(common)


def _products(a: Tensor, b: Tensor) -> Tensor:
    # Autocast would round the inner products to half precision; distances are small differences of them.
    with torch.autocast(a.device.type, enabled=False):
        return a @ b.T


def _squared_mmd(mean_kernel: Callable[..., Tensor], x: Tensor, y: Tensor, constant: bool = True) -> Tensor:
    value = mean_kernel(x, x) - 2 * mean_kernel(x, y)
    return value + mean_kernel(y, y) if constant else value


def _check_multipliers(multipliers: tuple[float, ...]) -> None:
    positive(number_of_multipliers=len(multipliers), **{f"multipliers[{i}]": r for i, r in enumerate(multipliers)})
