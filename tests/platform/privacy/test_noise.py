import math
import sys

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from stillhouse.platform.errors import BadInput, InternalBug, MissingExtra
from stillhouse.platform.privacy import noise as noise_module
from stillhouse.platform.privacy.noise import (
    BITS,
    Noise,
    SystemNoise,
    gaussian_table,
    laplace_table,
    table_error,
)
from stillhouse.platform.privacy.opendp_noise import OpenDpNoise
from support.noise import RepeatableBytes, repeatable_noise

ALPHA = 1e-6
UNIT = mpmath.mpf(2) ** -BITS


def exact_mass(kind, width, k):
    """Pr[round(X) = k] to 100 digits, by a formula that the sampler does not use."""
    with mpmath.workdps(100):
        w = mpmath.mpf(width)
        if kind == "gaussian":
            return mpmath.ncdf((k + mpmath.mpf("0.5")) / w) - mpmath.ncdf((k - mpmath.mpf("0.5")) / w)
        if k == 0:
            return -mpmath.expm1(-mpmath.mpf("0.5") / w)
        return mpmath.exp(-abs(k) / w) * mpmath.sinh(1 / (2 * w))


TABLES = {"gaussian": gaussian_table, "laplace": laplace_table}


@pytest.mark.parametrize(
    ("kind", "width"), [("gaussian", 0.7), ("gaussian", 3.0), ("gaussian", 40.0), ("laplace", 0.5), ("laplace", 20.0)]
)
def test_every_mass_of_the_table_is_exact_to_a_unit(kind, width):
    table = TABLES[kind](width)
    edges = (0, *table.cumulative, 1 << BITS)
    values = range(-table.largest, table.largest + 1)
    assert len(edges) == len(values) + 1
    checked = values if table.largest < 100 else [-table.largest, -600, -77, -1, 0, 1, 39, 250, 601, table.largest - 1]
    with mpmath.workdps(100):
        errors = [
            abs((edges[k + table.largest + 1] - edges[k + table.largest]) * UNIT - exact_mass(kind, width, k))
            for k in checked
        ]
        assert max(errors) <= 1.5 * UNIT
        assert sum(errors) / 2 <= table_error(table)


@pytest.mark.parametrize("kind", ["gaussian", "laplace"])
def test_table_is_symmetric_and_increasing(kind):
    table = TABLES[kind](5.0)
    entries = table.cumulative
    assert all(a + b == 1 << BITS for a, b in zip(entries, reversed(entries), strict=True))
    assert list(entries) == sorted(entries)
    assert table_error(table) < 2.0**-170


@pytest.mark.parametrize("kind", ["gaussian", "laplace"])
def test_look_up_is_the_exact_inverse_at_every_edge(kind):
    """Just below, at and above each entry: the 64-bit search and the 192-bit decision agree with plain integers."""
    table = TABLES[kind](2.0)
    numbers = sorted(
        {min(max(entry + shift, 0), (1 << BITS) - 1) for entry in table.cumulative for shift in (-1, 0, 1)}
        | {0, (1 << BITS) - 1}
    )
    words = np.array([[n >> 128, (n >> 64) & (2**64 - 1), n & (2**64 - 1)] for n in numbers], dtype=np.uint64)
    expected = [sum(entry <= n for entry in table.cumulative) - table.largest for n in numbers]
    assert table.look_up(words).tolist() == expected


def test_search_has_the_same_number_of_steps_for_every_sample():
    for sigma in (0.3, 1.0, 40.0, 150.0):
        table = gaussian_table(sigma)
        assert len(table.upper) == 1 << table.depth
        assert len(table.cumulative) < len(table.upper) <= 2 * len(table.cumulative) + 2


def binned_counts(kind, width, sample, bins=60):
    """Observed and expected counts in bins of at least 1/(2 bins) probability."""
    table = TABLES[kind](width)
    edges = np.array([0.0, *(float(entry * UNIT) for entry in table.cumulative), 1.0])
    cut = np.unique(np.searchsorted(edges, np.linspace(0, 1, bins + 1)[1:-1]))
    cut = cut[(cut > 0) & (cut < len(edges) - 1)]
    mass = np.diff(np.concatenate(([0.0], edges[cut], [1.0])))
    keep = mass > 1 / (4 * bins)
    observed = np.bincount(np.searchsorted(cut, sample + table.largest, side="right"), minlength=len(mass))
    return observed, mass * len(sample), keep


@pytest.mark.parametrize(
    ("kind", "width"), [("gaussian", 40.0), ("gaussian", 1.3), ("laplace", 20.0), ("laplace", 0.8)]
)
def test_sampler_passes_chi_square(kind, width):
    sample = getattr(repeatable_noise(7), kind)(width, 400_000)
    observed, expected, keep = binned_counts(kind, width, sample)
    statistic = np.sum((observed[keep] - expected[keep]) ** 2 / expected[keep])
    assert stats.chi2.sf(statistic, keep.sum() - 1) > ALPHA


def test_chi_square_would_catch_a_sampler_half_a_percent_too_narrow():
    sample = repeatable_noise(7).gaussian(39.8 * 0.985, 400_000)
    observed, expected, keep = binned_counts("gaussian", 40.0, sample)
    statistic = np.sum((observed[keep] - expected[keep]) ** 2 / expected[keep])
    assert stats.chi2.sf(statistic, keep.sum() - 1) < ALPHA


@pytest.mark.parametrize("k", [0, 1, -25, 40, 100])
def test_single_values_have_their_wilson_interval(k):
    n = 200_000
    hits = int(np.sum(repeatable_noise(11).gaussian(40.0, n) == k))
    p = float(exact_mass("gaussian", 40.0, k))
    z = stats.norm.isf(ALPHA / 2)
    centre = (hits + z * z / 2) / (n + z * z)
    half = z / (n + z * z) * math.sqrt(hits * (n - hits) / n + z * z / 4)
    assert abs(p - centre) <= half


def test_shape_type_and_bytes_taken():
    source = RepeatableBytes(1)
    sample = SystemNoise(bytes_source=source).gaussian(40.0, (3, 10))
    assert sample.shape == (3, 10)
    assert sample.dtype == np.int64
    assert source.taken == 30 * BITS // 8
    assert SystemNoise().laplace(2.0, (0, 4)).shape == (0, 4)


def test_production_draws_differ_and_have_no_seed():
    a, b = SystemNoise().gaussian(40.0, 1000), SystemNoise().gaussian(40.0, 1000)
    assert not np.array_equal(a, b)
    assert noise_module.os.urandom is SystemNoise().bytes_source


def test_short_randomness_is_a_bug_not_a_weaker_draw():
    with pytest.raises(InternalBug):
        SystemNoise(bytes_source=lambda n: b"\0" * (n - 1)).gaussian(1.0, 3)


@pytest.mark.parametrize("sigma", [0, -1.0, math.nan, math.inf])
def test_widths_must_be_positive(sigma):
    with pytest.raises(BadInput):
        SystemNoise().gaussian(sigma, 3)
    with pytest.raises(BadInput):
        SystemNoise().laplace(sigma, 3)


def test_a_width_without_an_affordable_table_is_refused():
    with pytest.raises(BadInput, match="too wide"):
        SystemNoise().gaussian(1e6, 1)


def test_vanishing_noise_is_zero():
    assert not SystemNoise().gaussian(1e-3, 1000).any()
    assert not SystemNoise().laplace(1e-3, 1000).any()


@settings(max_examples=20, deadline=None)
@given(st.floats(0.2, 30.0))
def test_variance_is_that_of_a_rounded_gaussian(sigma):
    sample = repeatable_noise(3).gaussian(sigma, 20_000)
    mass = np.array([float(exact_mass("gaussian", sigma, k)) for k in range(-40, 41)]) if sigma < 3 else None
    variance = float(np.sum(mass * np.arange(-40, 41) ** 2)) if mass is not None else sigma**2 + 1 / 12
    assert abs(np.mean(sample**2) / variance - 1) < 0.15


def test_both_backends_keep_the_protocol():
    assert SystemNoise().gdp
    backend: Noise = SystemNoise()
    assert backend.gaussian(2.0, 4).dtype == np.int64


@pytest.fixture(scope="module")
def opendp():
    pytest.importorskip("opendp")
    return OpenDpNoise()


def test_opendp_keeps_the_protocol_and_claims_no_gdp(opendp):
    assert opendp.gaussian(3.0, (2, 5)).shape == (2, 5)
    assert opendp.laplace(3.0, (2, 5)).dtype == np.int64
    assert opendp.gaussian(3.0, (0, 5)).shape == (0, 5)
    assert not opendp.gdp


@pytest.mark.parametrize(("kind", "width"), [("gaussian", 40.0), ("laplace", 20.0)])
def test_opendp_is_the_oracle_of_the_table_sampler(opendp, kind, width):
    """Rounded and discrete noise differ by parts in 10^4 at these widths: one chi-square serves both."""
    sample = getattr(opendp, kind)(width, 20_000)
    observed, expected, keep = binned_counts(kind, width, sample, bins=30)
    statistic = np.sum((observed[keep] - expected[keep]) ** 2 / expected[keep])
    assert stats.chi2.sf(statistic, keep.sum() - 1) > ALPHA


def test_missing_opendp_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "opendp.prelude", None)
    with pytest.raises(MissingExtra, match=r"\.\[opendp\]"):
        OpenDpNoise()
