"""Discrete Gaussian and Skellam noise over the operating system's randomness, by inversion of an exact table, as in `noise`.

The discrete Gaussian has at each whole number k a probability in proportion to exp(-k^2 / (2 sigma^2)) (Canonne, Kamath & Steinke
2020, Definition 1); its variance is a little below sigma^2 where sigma is small. A Skellam variable is the difference of two equal
Poisson variables: with variance v it is k with probability exp(-v) I_k(v), I_k a modified Bessel function.

They are for noise that silos draw in shares. A mechanism that draws all of its noise in one place uses `noise.SystemNoise`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import ClassVar, Literal

import mpmath
import numpy as np

from ..errors import BadInput
from .noise import BITS, Shape, SystemNoise, Table, _table
from .validate import positive

Law = Literal["discrete_gaussian", "skellam"]
DISCRETE_GAUSSIAN: Law = "discrete_gaussian"
SKELLAM: Law = "skellam"
LAWS = (DISCRETE_GAUSSIAN, SKELLAM)

_DIGITS = 80
_REACH = 17  # standard deviations; of a discrete Gaussian less than a unit of the table lies beyond
WIDEST = 2000.0  # a table of 34,000 exponentials a side


@dataclass(frozen=True)
class ShareNoise(SystemNoise):
    """`gaussian` is the discrete Gaussian; `skellam` is by standard deviation too. `laplace` stays as it is."""

    gdp: ClassVar[bool] = False

    def gaussian(self, sigma: float, shape: Shape) -> np.ndarray:
        """The discrete Gaussian of parameter sigma, int64."""
        return self._draw(discrete_gaussian_table(float(sigma)), shape)

    def skellam(self, sigma: float, shape: Shape) -> np.ndarray:
        """A Skellam variable of variance sigma^2, int64."""
        return self._draw(skellam_table(float(sigma)), shape)


@lru_cache(maxsize=64)
def discrete_gaussian_table(sigma: float) -> Table:
    """Pr[X > k] from the masses exp(-k^2 / (2 sigma^2)) over their sum."""
    _not_too_wide(sigma)
    largest = math.ceil(_REACH * sigma) + 1
    with mpmath.workdps(_DIGITS):
        width = 1 / (2 * mpmath.mpf(sigma) ** 2)
        # One beyond the table's last value, and what is still further off is far less than a unit.
        masses = [mpmath.exp(-(k * k) * width) for k in range(largest + 2)]
        return _symmetric(masses)


@lru_cache(maxsize=64)
def skellam_table(sigma: float) -> Table:
    """Pr[X > k] from the masses exp(-v) I_k(v), v = sigma^2."""
    _not_too_wide(sigma)
    with mpmath.workdps(_DIGITS):
        variance = mpmath.mpf(sigma) ** 2
        # I_k(v) by Miller's backward recurrence I_{k-1} = I_{k+1} + (2 k / v) I_k, stable downwards; the sum of all masses scales it.
        top = math.ceil(_REACH * sigma) + 1
        while _skellam_above(top, float(variance)) > -(BITS + 10) * math.log(2):
            top += max(1, top // 16)
        start = 2 * top + 60
        values = [mpmath.mpf(0), mpmath.mpf(1)]
        for k in range(start, 0, -1):
            values.append(values[-2] + 2 * k / variance * values[-1])
        return _symmetric(values[:0:-1][: top + 2])


def _skellam_above(k: int, variance: float) -> float:
    """An upper bound of ln Pr[X >= k], by Chernoff: the least of v (cosh t - 1) - t k, at sinh t = k / v."""
    t = math.asinh(k / variance)
    return variance * (math.cosh(t) - 1) - t * k


def _symmetric(masses: Iterable[mpmath.mpf]) -> Table:
    """The table of a variable whose masses at 0, 1, 2, ... are in these proportions, the same below 0."""
    each = list(masses)
    whole = each[0] + 2 * mpmath.fsum(each[1:])
    # From the smallest up, so that small ones count.
    above = list(accumulate(reversed(each)))[::-1]
    scale = mpmath.mpf(2) ** BITS / whole
    tails = [int(mpmath.nint(mass * scale)) for mass in above[1:-1]]
    return _table(len(tails), lambda: tails)


def _not_too_wide(sigma: float) -> None:
    positive(sigma=sigma)
    if sigma > WIDEST:
        raise BadInput(
            f"a share of noise of standard deviation {sigma:g} is too wide for an exact table",
            mend=f"use {WIDEST:g} or less",
        )
