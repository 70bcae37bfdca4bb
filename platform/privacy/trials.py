"""How many trials a private search makes, and which: laws of K and draws from the operating system's randomness.

The number of trials K of a search that releases its best trial only is itself random (Liu & Talwar 2019; Papernot & Steinke
2022, Definition 1): *truncated negative binomial*, with its special cases *logarithmic* (shape 0) and *geometric* (shape 1),
which never gives 0, or *Poisson*, which does.

>>> law = TruncatedNegativeBinomial.of_mean(16.0, 1.0)
>>> law.gamma, law.mass(1)
(0.0625, 0.0625)
>>> round(TruncatedNegativeBinomial.of_mean(16.0, 0.0).gamma, 4)
0.0146
>>> draw_error(law) < 2.0**-180
True

K is drawn by inversion of its cumulative probabilities, computed in whole numbers of 320 bits or more and rounded to 192; the
distance of a draw from its law in total variation is at most `draw_error(law)`. A private search whose K (or whose candidate)
is off by that much gains at most (1 + e^epsilon) times as much in its delta. There is no seed: tests hand in another
`bytes_source`, and no configuration can.
"""

from __future__ import annotations

import math
import os
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Protocol

import mpmath

from ..errors import BadInput, InternalBug
from .validate import finite, positive, positive_int

BITS = 192
_FINER = 320  # bits of the smallest mass while masses are added up: rounding then stays far below 2^-192
_LEAST_GAMMA = 2.0**-10  # K then has fewer values of more than 2^-192 than the table may hold
_LARGEST_MEAN = 10_000.0
_MOST_VALUES = 1 << 18

Bytes = Callable[[int], bytes]


class TrialCount(Protocol):
    """A law of the number of trials that does not depend on any data."""

    def __hash__(self) -> int:
        """Laws are values: equal ones share a table."""

    @property
    def mean(self) -> float:
        """The expected number of trials, at least 1."""

    def mass(self, k: int) -> float:
        """The probability of exactly k trials."""

    @property
    def least(self) -> tuple[int, mpmath.mpf]:
        """The smallest k and its probability, in mpmath's current precision."""

    def growth(self, k: int) -> Fraction:
        """The probability of k + 1 over that of k, exactly."""

    def draw(self, bytes_source: Bytes = os.urandom) -> int:
        """K from the operating system's randomness. It is a secret: see `selection`."""


@dataclass(frozen=True)
class TruncatedNegativeBinomial:
    """K >= 1 with Pr[K = k] proportional to (1 - gamma)^k (shape)(shape + 1)...(shape + k - 1) / k!.

    `shape` lies above -1: 0 is the logarithmic law, 1 the geometric one. `gamma` lies in (0, 1]; at 1, K is always 1.

    Raises:
        BadInput: a value outside of this, or a law with so long a tail that K may pass all bounds (gamma below 2^-10).
    """

    gamma: float
    shape: float = 0.0

    def __post_init__(self) -> None:
        positive(gamma=self.gamma)
        finite(shape=self.shape)
        if self.gamma > 1:
            raise BadInput(f"gamma must be at most 1, not {self.gamma!r}")
        if self.shape <= -1:
            raise BadInput(f"shape must be above -1, not {self.shape!r}")
        if self.gamma < _LEAST_GAMMA or self.mean > _LARGEST_MEAN:
            raise BadInput(
                "this law of K has too long a tail",
                why="no search could go through with a K of a hundred thousand trials, and to cut it short breaks the proof",
                mend="choose a smaller mean or a larger shape",
            )

    @classmethod
    def of_mean(cls, mean: float, shape: float = 0.0) -> TruncatedNegativeBinomial:
        """The law of this mean (at least 1): the largest gamma that a float can hold whose mean is not below."""
        positive(mean=mean)
        finite(shape=shape)
        if shape <= -1:
            raise BadInput(f"shape must be above -1, not {shape!r}")
        if mean < 1:
            raise BadInput("mean must be at least 1", why="this law of K never gives 0 trials")
        low, high = 0.0, 1.0
        if _mean(high, shape) >= mean:
            return cls(high, shape)
        while low < (middle := (low + high) / 2) < high:
            if _mean(middle, shape) >= mean:
                low = middle
            else:
                high = middle
        return cls(low, shape)

    @property
    def mean(self) -> float:
        """shape (1 - gamma) / (gamma (1 - gamma^shape)), and its limit (1/gamma - 1) / ln(1/gamma) at shape 0."""
        return _mean(self.gamma, self.shape)

    def mass(self, k: int) -> float:
        """Pr[K = k], in closed form."""
        if k < 1:
            return 0.0
        if self.gamma == 1:
            return float(k == 1)
        # The shape cancels from shape (shape + 1) ... (shape + k - 1) / (gamma^-shape - 1): 0 is no exception, nor is 1e-320.
        rising = math.lgamma(k + self.shape) - math.lgamma(1 + self.shape) - math.lgamma(k + 1)
        odds = -math.log(self.gamma)
        return math.exp(k * math.log1p(-self.gamma) + rising - _log_growth(self.shape * odds)) / odds

    @property
    def least(self) -> tuple[int, mpmath.mpf]:
        """1, and shape (1 - gamma) / (gamma^-shape - 1)."""
        gamma, shape = mpmath.mpf(self.gamma), mpmath.mpf(self.shape)
        if gamma == 1:
            return 1, mpmath.mpf(1)
        log_gamma = mpmath.log(gamma)
        return 1, (1 - gamma) / (mpmath.expm1(-shape * log_gamma) / shape if shape else -log_gamma)

    def growth(self, k: int) -> Fraction:
        """(1 - gamma) (k + shape) / (k + 1)."""
        return (1 - Fraction(self.gamma)) * (k + Fraction(self.shape)) / (k + 1)

    def draw(self, bytes_source: Bytes = os.urandom) -> int:
        """K, at least 1."""
        return _look_up(self, bytes_source)


@dataclass(frozen=True)
class PoissonTrials:
    """K >= 0 with Pr[K = k] = e^-mean mean^k / k!. A search of 0 trials releases its default.

    Raises:
        BadInput: a mean below 1, for which the bound of the paper does not hold, or above 10,000.
    """

    mean: float

    def __post_init__(self) -> None:
        positive(mean=self.mean)
        if self.mean < 1:
            raise BadInput(
                "mean must be at least 1", why="the bound for a Poisson number of trials is proven from there on"
            )
        if self.mean > _LARGEST_MEAN:
            raise BadInput(f"mean must be at most {_LARGEST_MEAN:g}, not {self.mean!r}")

    def mass(self, k: int) -> float:
        """Pr[K = k]."""
        return math.exp(k * math.log(self.mean) - self.mean - math.lgamma(k + 1)) if k >= 0 else 0.0

    @property
    def least(self) -> tuple[int, mpmath.mpf]:
        """0, and e^-mean."""
        return 0, mpmath.exp(-mpmath.mpf(self.mean))

    def growth(self, k: int) -> Fraction:
        """Mean / (k + 1)."""
        return Fraction(self.mean) / (k + 1)

    def draw(self, bytes_source: Bytes = os.urandom) -> int:
        """K, maybe 0."""
        return _look_up(self, bytes_source)


def draw_candidate(n: int, bytes_source: Bytes = os.urandom) -> int:
    """A uniform index below n, each call independent of all others (so: with replacement).

    Its distance from uniform in total variation is at most n 2^-192.
    """
    positive_int(n=n)
    return _uniform(bytes_source) * int(n) >> BITS


def draw_error(trials: TrialCount) -> float:
    """Upper bound on the total variation distance between one draw of K and its law."""
    return (len(_table(trials)[1]) + 1) * 2.0**-BITS


def _uniform(bytes_source: Bytes) -> int:
    raw = bytes_source(BITS // 8)
    if len(raw) != BITS // 8:
        raise InternalBug("the source of randomness returned too few bytes", why="a draw must never be repeated")
    return int.from_bytes(raw, "big")


@lru_cache(maxsize=16)
def _table(trials: TrialCount) -> tuple[int, list[int]]:
    """The smallest k, and the cumulative probabilities of it and all larger ones until less than 2^-193 is left."""
    with mpmath.workprec(_FINER + 64):
        least, first = trials.least
        bits = _FINER + max(0, math.ceil(-mpmath.log(first, 2)))
        mass = total = int(mpmath.ldexp(first, bits))
    shift, cumulative = bits - BITS, []
    while (1 << bits) - total >= 1 << (shift - 1):
        cumulative.append((total + (1 << (shift - 1))) >> shift)
        if len(cumulative) > _MOST_VALUES:
            raise InternalBug("a law of K has more values than its table may hold")
        growth = trials.growth(least + len(cumulative) - 1)
        mass = mass * growth.numerator // growth.denominator
        total += mass
    return least, cumulative


def _look_up(trials: TrialCount, bytes_source: Bytes) -> int:
    least, cumulative = _table(trials)
    return least + bisect_right(cumulative, _uniform(bytes_source))


def _mean(gamma: float, shape: float) -> float:
    if gamma == 1:
        return 1.0
    odds = -math.log(gamma)
    # (1 - gamma) / odds tends to 1 where gamma does; near 1 the logarithm must see 1 - gamma, which is exact there.
    if gamma > 0.5:
        odds = -math.log1p(gamma - 1)
    x = -shape * odds
    return (1 - gamma) / (gamma * odds * (math.expm1(x) / x if x else 1.0)) if x < 700 else math.inf


def _log_growth(x: float) -> float:
    """ln((e^x - 1) / x), whatever the size of x; 0 at 0."""
    if x > 1:
        return x + math.log1p(-math.exp(-x)) - math.log(x)
    return math.log(math.expm1(x) / x) if x else 0.0
