"""Integer noise from the operating system's randomness, drawn by inversion of an exact integer table.

`SystemNoise.gaussian(sigma, shape)` returns round(Z) with Z ~ N(0, sigma^2), and `.laplace` likewise. For an integer c,
c + round(Z) = round(c + Z): a release with this noise is post-processing of the *continuous* mechanism, so its GDP,
zCDP and Renyi bounds hold as they stand. (A discrete Gaussian is only zCDP.) What integers bring is ties, which is why
the data-dependent bounds in `rdp` use a gap lessened by 1 and a threshold lessened by 1/2.

How it works: the cumulative probabilities at k + 1/2 are computed with 80 digits and scaled to whole numbers of 192
bits. A uniform 192-bit number from the operating system is looked up among them. The search has a fixed number of steps
whatever comes out; there is no rejection loop to time and no floating-point number on the way (Mironov 2012; Jin et al.
2021). The distance from the exact distribution is `table_error(...)`, below 2^-173 in total variation.

There is no seed. Tests replace `bytes_source`; no configuration can.
"""

from __future__ import annotations

import math
import os
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Protocol

import mpmath
import numpy as np

from ..errors import BadInput, InternalBug
from .gaussian_tail import FROM_SIGMA, gaussian_tails
from .validate import moderate

BITS = 192
_SCALE = 1 << BITS
_DIGITS = 80
_GAUSSIAN_TAIL = 17  # standard deviations; what lies beyond, 2^-212, is less than one unit of the table
_LAPLACE_TAIL = 134  # scales; what lies beyond, 2^-193, is less than one unit of the table
_MOST_VALUES = 100_000  # a Gaussian of sigma 2,900; larger tables would take minutes to make
_CHUNK = 8_192

Shape = int | tuple[int, ...]


class Noise(Protocol):
    """A source of integer noise."""

    @property
    def gdp(self) -> bool:
        """Whether the Gaussian noise is a rounded continuous one, so that exact GDP holds for it."""

    def gaussian(self, sigma: float, shape: Shape) -> np.ndarray:
        """Integer (int64) Gaussian noise of standard deviation `sigma`."""

    def laplace(self, scale: float, shape: Shape) -> np.ndarray:
        """Integer (int64) Laplace noise of the given scale."""


@dataclass(frozen=True)
class Table:
    """Cumulative probabilities of the values -largest .. largest-1 in units of 2^-192; their upper 64 bits, padded."""

    largest: int
    cumulative: tuple[int, ...]
    upper: np.ndarray

    @property
    def depth(self) -> int:
        """Number of search steps, the same for every sample."""
        return len(self.upper).bit_length() - 1

    def look_up(self, words: np.ndarray) -> np.ndarray:
        """Values for uniform 192-bit numbers given as rows of three 64-bit words, most significant first."""
        first = np.ascontiguousarray(words[:, 0])
        position = np.zeros(len(first), dtype=np.int64)
        step = len(self.upper) >> 1
        while step:
            position += (self.upper.take(position + (step - 1)) < first) * np.int64(step)
            step >>= 1
        # Only when the upper 64 bits equal an entry's do the other 128 bits decide: once in 2^50 samples or more.
        for row in np.flatnonzero(self.upper.take(position) == first):
            high, middle, low = (int(word) for word in words[row])
            position[row] = bisect_right(self.cumulative, high << 128 | middle << 64 | low)
        return position - self.largest


def _table(largest: int, tails: Callable[[], Sequence[int]]) -> Table:
    """The symmetric table of a rounded variable with Pr[X > k] for k = 0 .. largest - 1, in units of 2^-192."""
    if 2 * largest > _MOST_VALUES:
        raise BadInput(
            "the noise is too wide for an exact table",
            why=f"it would hold {2 * largest} entries, more than {_MOST_VALUES}",
            mend="use a smaller sigma or scale",
        )
    tail = tails()
    cumulative = (*reversed(tail), *(_SCALE - mass for mass in tail))
    padded = 1 << len(cumulative).bit_length()
    upper = np.full(padded, 2**64 - 1, dtype=np.uint64)
    # An entry of exactly 2^192 (a tail that rounds to nothing) is never reached; keep it representable.
    upper[: len(cumulative)] = [min(entry >> 128, 2**64 - 1) for entry in cumulative]
    upper.setflags(write=False)
    return Table(largest, cumulative, upper)


@lru_cache(maxsize=64)
def gaussian_table(sigma: float) -> Table:
    """The table of round(N(0, sigma^2)): Pr[X > k] = erfc((k + 1/2) / (sigma sqrt 2)) / 2."""
    moderate(sigma=sigma)
    largest = math.ceil(_GAUSSIAN_TAIL * sigma) + 1

    def one_by_one() -> list[int]:
        with mpmath.workdps(_DIGITS):
            width = 1 / (mpmath.mpf(sigma) * mpmath.sqrt(2))
            return [_units(mpmath.erfc((k + mpmath.mpf(0.5)) * width) / 2) for k in range(largest)]

    wide = sigma >= FROM_SIGMA
    return _table(largest, (lambda: gaussian_tails(sigma, largest, bits=BITS)) if wide else one_by_one)


@lru_cache(maxsize=64)
def laplace_table(scale: float) -> Table:
    """The table of round(Laplace(scale)): Pr[X > k] = exp(-(k + 1/2) / scale) / 2."""
    moderate(scale=scale)
    largest = math.ceil(_LAPLACE_TAIL * scale) + 1

    def tails() -> list[int]:
        with mpmath.workdps(_DIGITS):
            width = 1 / mpmath.mpf(scale)
            return [_units(mpmath.exp(-(k + mpmath.mpf(0.5)) * width) / 2) for k in range(largest)]

    return _table(largest, tails)


def _units(probability: mpmath.mpf) -> int:
    return int(mpmath.nint(probability * _SCALE))


def table_error(table: Table) -> float:
    """Upper bound on the total variation distance between one draw and the exact rounded variable.

    A plan of n draws adds at most n times this (and (1 + e^epsilon) for the two neighbours) to its delta.
    """
    return len(table.cumulative) * 2.0**-BITS


@dataclass(frozen=True)
class SystemNoise:
    """Rounded Gaussian and rounded Laplace noise over the operating system's randomness."""

    bytes_source: Callable[[int], bytes] = os.urandom

    gdp: ClassVar[bool] = True

    def gaussian(self, sigma: float, shape: Shape) -> np.ndarray:
        """round(N(0, sigma^2)), int64."""
        return self._draw(gaussian_table(float(sigma)), shape)

    def laplace(self, scale: float, shape: Shape) -> np.ndarray:
        """round(Laplace(scale)), int64."""
        return self._draw(laplace_table(float(scale)), shape)

    def _draw(self, table: Table, shape: Shape) -> np.ndarray:
        values = np.empty(shape, dtype=np.int64)
        flat = values.reshape(-1)
        for start in range(0, flat.size, _CHUNK):
            count = min(_CHUNK, flat.size - start)
            raw = self.bytes_source(count * BITS // 8)
            if len(raw) != count * BITS // 8:
                raise InternalBug("the source of randomness returned too few bytes", why="noise must never be repeated")
            flat[start : start + count] = table.look_up(np.frombuffer(raw, dtype=">u8").reshape(count, 3))
        return values
