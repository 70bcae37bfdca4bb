"""Discrete Gaussian and Skellam tables against their definitions, and samples against the tables."""

from __future__ import annotations

import math
from itertools import pairwise

import mpmath
import numpy as np
import pytest
from scipy import stats
from stillhouse.platform.errors import BadInput
from stillhouse.platform.privacy.discrete_noise import ShareNoise, discrete_gaussian_table, skellam_table
from stillhouse.platform.privacy.noise import BITS, Table, table_error
from support.noise import RepeatableBytes

ALPHA = 1e-6
UNIT = mpmath.mpf(2) ** -BITS


def masses(table: Table) -> list[int]:
    edges = (0, *table.cumulative, 1 << BITS)
    return [b - a for a, b in pairwise(edges)]


@pytest.mark.parametrize("sigma", [0.5, 0.8, 3.0, 14.14])
def test_the_discrete_gaussian_is_its_definition(sigma: float) -> None:
    """exp(-k^2 / (2 sigma^2)) over a sum far beyond the table, with more digits."""
    table = discrete_gaussian_table(sigma)
    with mpmath.workdps(110):
        weight = lambda k: mpmath.exp(-mpmath.mpf(k * k) / (2 * mpmath.mpf(sigma) ** 2))
        whole = mpmath.fsum(weight(k) for k in range(-3 * table.largest - 60, 3 * table.largest + 61))
        errors = [
            abs(mass * UNIT - weight(k) / whole)
            for k, mass in zip(range(-table.largest, table.largest + 1), masses(table), strict=True)
        ]
        assert max(errors) <= 2 * UNIT and sum(errors) <= 2 * table_error(table)


@pytest.mark.parametrize("sigma", [0.3, 1.0, 3.0, 9.5])
def test_the_skellam_table_is_its_definition(sigma: float) -> None:
    """exp(-v) I_k(v), with mpmath's Bessel function; and the difference of two Poisson variables by scipy."""
    table = skellam_table(sigma)
    exact = masses(table)
    with mpmath.workdps(110):
        variance = mpmath.mpf(sigma) ** 2
        errors = [
            abs(mass * UNIT - mpmath.exp(-variance) * mpmath.besseli(abs(k), variance))
            for k, mass in zip(range(-table.largest, table.largest + 1), exact, strict=True)
        ]
        assert max(errors) <= 2 * UNIT and sum(errors) <= 2 * table_error(table)
    near = range(-3, 4)
    theirs = stats.skellam.pmf(list(near), sigma**2 / 2, sigma**2 / 2)
    assert [float(exact[k + table.largest] * UNIT) for k in near] == pytest.approx(theirs, rel=1e-9)


@pytest.mark.parametrize("make", [discrete_gaussian_table, skellam_table])
def test_tables_are_symmetric_and_grow(make) -> None:  # type: ignore[no-untyped-def]
    entries = make(2.5).cumulative
    assert list(entries) == sorted(entries)
    assert all(a + b == 1 << BITS for a, b in zip(entries, reversed(entries), strict=True))


def binned(table: Table, sample: np.ndarray) -> float:
    """The p-value of a sample by chi-squared, tails pooled."""
    probabilities = np.array([float(mass * UNIT) for mass in masses(table)])
    counts = np.bincount(sample + table.largest, minlength=len(probabilities))
    common = probabilities * len(sample) >= 10
    observed = [*counts[common], counts[~common].sum()]
    expected = [*probabilities[common], probabilities[~common].sum()]
    scaled = np.array(expected) / sum(expected) * len(sample)
    if scaled[-1] < 5:
        observed = [*observed[:-2], observed[-2] + observed[-1]]
        scaled = np.array([*scaled[:-2], scaled[-2] + scaled[-1]])
    return float(stats.chisquare(observed, scaled).pvalue)


@pytest.mark.parametrize(("law", "sigma"), [("gaussian", 0.6), ("gaussian", 4.0), ("skellam", 0.6), ("skellam", 4.0)])
def test_samples_pass_chi_squared_and_have_the_right_variance(law: str, sigma: float) -> None:
    noise = ShareNoise(RepeatableBytes(3))
    sample = getattr(noise, law)(sigma, 200_000)
    table = (discrete_gaussian_table if law == "gaussian" else skellam_table)(sigma)
    assert binned(table, sample) > ALPHA
    exact = sum(
        float(mass * UNIT) * k * k
        for k, mass in zip(range(-table.largest, table.largest + 1), masses(table), strict=True)
    )
    fourth = sum(
        float(mass * UNIT) * k**4
        for k, mass in zip(range(-table.largest, table.largest + 1), masses(table), strict=True)
    )
    if law == "skellam":
        assert exact == pytest.approx(sigma**2, rel=1e-12)
    else:
        assert sigma**2 * 0.9 < exact <= sigma**2
    deviation = math.sqrt((fourth - exact**2) / len(sample))
    assert abs((sample.astype(float) ** 2).mean() - exact) < stats.norm.isf(ALPHA / 2) * deviation


def test_chi_squared_tells_the_laws_apart() -> None:
    """The control: each law's sample fails the other's table, and so does one 1.5 % too narrow."""
    noise = ShareNoise(RepeatableBytes(3))
    gaussian, skellam = noise.gaussian(1.0, 200_000), noise.skellam(1.0, 200_000)
    assert binned(discrete_gaussian_table(1.0), skellam) < ALPHA
    assert binned(skellam_table(1.0), gaussian) < ALPHA
    assert binned(discrete_gaussian_table(4.0), noise.gaussian(4.0 * 0.985, 200_000)) < ALPHA


def test_it_is_noise_by_the_operating_system_unless_a_test_says_otherwise() -> None:
    noise = ShareNoise()
    assert not noise.gdp
    first, second = (noise.gaussian(4.0, (3, 5)) for _ in range(2))
    assert first.shape == (3, 5) and first.dtype == np.int64 and not np.array_equal(first, second)
    for sigma in (0.0, -1.0, math.nan, 1e6):
        for draw in (noise.gaussian, noise.skellam):
            with pytest.raises(BadInput):
                draw(sigma, 1)
