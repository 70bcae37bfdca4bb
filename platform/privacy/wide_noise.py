"""Integer Gaussian noise of any width, put together from the narrow tables of `noise`.

A noise table holds some thirty entries for each unit of sigma, so sigma 100,000 has none of its own. Instead

    X = 32 C + F,    C of standard deviation sqrt(sigma^2 - 128^2) / 32 (made in the same way if it is wide), F of 128.

The Gaussian guarantee of sigma holds for X as if it were one rounded Gaussian. A rounded normal variable has at the whole number k the
probability (phi * u)(k): the normal density smoothed by a density u, here the uniform one on an interval of length 1. A sum of two such
variables, one of them on the multiples of 32, is a sum of products of two smooth functions over a lattice. By Poisson's formula it
is the integral of that product, hence the value at a whole number of the convolution phi_sigma * w, w again a density (of 32 times
the first smoothing plus the second); and w = w' * u, so that is the probability of round(Z + W), Z normal with sigma, W of density w'.
So c + X, for a whole number c, has the law of round((c + Z) + W): post-processing of the continuous Gaussian mechanism, and its GDP,
zCDP and Renyi bounds hold. What the lattice leaves over is at most 2 exp(-2 pi^2 s^2 / 32^2) of the integral's height, where
1/s^2 = 1/(32 sd(C))^2 + 1/128^2. Here s^2 is 12 * 32^2 or a little less, so that it is below 2^-300 in total variation, far less than a
table's own error.

>>> levels(100.0), levels(5000.0), levels(200_000.0)
(1, 2, 3)
"""

from __future__ import annotations

import math

import numpy as np

from ..errors import BadInput
from .noise import Noise, Shape
from .validate import positive

FINE = 128.0
RATIO = 32
DIRECT = 2 * FINE  # up to here a table of its own
WIDEST = 2.0**50  # 64-bit whole numbers hold 17 standard deviations of it, and any sum it is added to
_UP = 1 + 2.0**-40  # more than all rounding of a split: the noise is never narrower than was asked


def split(sigma: float) -> float:
    """The standard deviation of C: with it 32 C + F is at least `sigma` wide, and wider by 1 part in 10^11 at most."""
    return math.sqrt(sigma**2 - FINE**2) / RATIO * _UP


def levels(sigma: float) -> int:
    """How many tables a draw takes."""
    return 1 if sigma <= DIRECT else 1 + levels(split(sigma))


def wide_gaussian(noise: Noise, sigma: float, shape: Shape) -> np.ndarray:
    """Integer (int64) Gaussian noise of standard deviation `sigma`, at most 2^50.

    A source that is no rounded Gaussian (`noise.gdp` is false) is asked directly: a discrete Gaussian has no table.
    """
    positive(sigma=sigma)
    if sigma > WIDEST:
        raise BadInput(
            f"noise of standard deviation {sigma:g} is too wide for whole numbers of 64 bits",
            mend="use a smaller noise multiplier",
        )
    if sigma <= DIRECT or not noise.gdp:
        return noise.gaussian(sigma, shape)
    return RATIO * wide_gaussian(noise, split(sigma), shape) + noise.gaussian(FINE, shape)
