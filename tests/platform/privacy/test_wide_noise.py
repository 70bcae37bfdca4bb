"""Noise that is wider than any table: its law against the rounded Gaussian's, and what a split does to it."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
from scipy import stats
from stillhouse.platform.errors import BadInput
from stillhouse.platform.privacy import wide_noise
from stillhouse.platform.privacy.wide_noise import DIRECT, FINE, RATIO, levels, split, wide_gaussian
from support.noise import ZeroNoise, repeatable_noise


def rounded(k: int, sigma: mpmath.mpf) -> mpmath.mpf:
    """Pr[round(N(0, sigma^2)) = k]."""
    width = 1 / (sigma * mpmath.sqrt(2))
    return (mpmath.erf((k + mpmath.mpf(0.5)) * width) - mpmath.erf((k - mpmath.mpf(0.5)) * width)) / 2


@pytest.mark.parametrize("sigma", [1.0001 * DIRECT, 700.0])
@pytest.mark.parametrize("at", [0, 1, 17, 400])
def test_the_law_is_that_of_a_smoothed_rounded_gaussian(sigma: float, at: int) -> None:
    """Pr[32 C + F = at], summed with 60 digits, is the integral of the smoothed normal density, to more than 2^-150.

    That is round(Z + W), W uniform on an interval of length 32: post-processing of the continuous Gaussian.
    """
    with mpmath.workdps(60):
        fine, coarse = mpmath.mpf(FINE), mpmath.mpf(split(sigma))
        middle, reach = at // RATIO, int(30 * FINE / RATIO)
        found = mpmath.fsum(
            rounded(c, coarse) * rounded(at - RATIO * c, fine) for c in range(middle - reach, middle + reach + 1)
        )
        whole = mpmath.sqrt(fine**2 + (RATIO * coarse) ** 2)

        def smoothed(x: mpmath.mpf) -> mpmath.mpf:
            """Z + W has a probability of less than x."""

            def primitive(y: mpmath.mpf) -> mpmath.mpf:  # of the normal distribution function
                return y * mpmath.ncdf(y / whole) + whole * mpmath.npdf(y / whole)

            return (primitive(x + RATIO / mpmath.mpf(2)) - primitive(x - RATIO / mpmath.mpf(2))) / RATIO

        expected = smoothed(at + mpmath.mpf(0.5)) - smoothed(at - mpmath.mpf(0.5))
        assert abs(found - expected) < mpmath.mpf(2) ** -150
        assert whole >= sigma and whole < sigma * (1 + 1e-11)


def test_a_coarser_split_would_show(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check above can fail: with steps as wide as the fine noise, the lattice is seen."""
    fine, ratio, coarse = 2.0, 8, 3.0
    with mpmath.workdps(30):
        on, off = (
            mpmath.fsum(
                rounded(c, mpmath.mpf(coarse)) * rounded(at - ratio * c, mpmath.mpf(fine)) for c in range(-20, 21)
            )
            for at in (0, 4)
        )
    assert on / off > 1.2


@pytest.mark.parametrize("sigma", [300.0, 20_000.0, 1_000_000.0])
def test_draws_are_gaussian(sigma: float) -> None:
    drawn = wide_gaussian(repeatable_noise(3), sigma, (200, 100))
    assert drawn.dtype == np.int64 and drawn.shape == (200, 100)
    assert stats.kstest(drawn.reshape(-1) / sigma, "norm").pvalue > 1e-3
    # Every residue is as likely as any other: the coarse part leaves no lattice behind.
    residues = np.bincount(drawn.reshape(-1) % RATIO, minlength=RATIO)
    assert stats.chisquare(residues).pvalue > 1e-3


def test_narrow_noise_and_other_sources_are_asked_directly() -> None:
    narrow, discrete = ZeroNoise(), ZeroNoise()
    wide_gaussian(narrow, DIRECT, 3)
    assert narrow.calls == [("gaussian", DIRECT, (3,))]
    discrete.gdp = False
    wide_gaussian(discrete, 1e6, 3)
    assert discrete.calls == [("gaussian", 1e6, (3,))]
    wide = ZeroNoise()
    wide_gaussian(wide, 1e6, 3)
    assert len(wide.calls) == levels(1e6) == 4 and all(size <= DIRECT for _, size, _ in wide.calls)


def test_too_wide_is_refused() -> None:
    for sigma in (2.0**51, math.inf, 0.0, math.nan):
        with pytest.raises(BadInput):
            wide_gaussian(ZeroNoise(), sigma, 1)
    assert wide_noise.WIDEST * 17 < 2**62
