import itertools
import math
import os

import mpmath
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats
from stillhouse.platform.errors import BadInput, InternalBug
from stillhouse.platform.privacy import trials as trials_module
from stillhouse.platform.privacy.trials import (
    BITS,
    PoissonTrials,
    TruncatedNegativeBinomial,
    draw_candidate,
    draw_error,
)
from support.noise import RepeatableBytes

ALPHA = 1e-6
UNIT = 2.0**-BITS
LAWS = [
    TruncatedNegativeBinomial.of_mean(16.0, 0.0),
    TruncatedNegativeBinomial.of_mean(16.0, 1.0),
    TruncatedNegativeBinomial.of_mean(5.0, 0.5),
    TruncatedNegativeBinomial.of_mean(3.0, -0.4),
    TruncatedNegativeBinomial.of_mean(10.0, 6.0),
    TruncatedNegativeBinomial(1.0, 0.3),
    PoissonTrials(1.0),
    PoissonTrials(16.0),
]
each_law = pytest.mark.parametrize("law", LAWS, ids=str)


def scipy_law(law):
    """The law by scipy's own formulas, for the shapes that it knows."""
    if isinstance(law, PoissonTrials):
        return stats.poisson(law.mean).pmf
    if law.gamma == 1:
        return lambda k: 1.0 * (np.asarray(k) == 1)
    if law.shape == 0:
        return stats.logser(1 - law.gamma).pmf
    if law.shape > 0:
        plain = stats.nbinom(law.shape, law.gamma)
        return lambda k: np.where(np.asarray(k) > 0, plain.pmf(k) / -math.expm1(law.shape * math.log(law.gamma)), 0.0)
    return None


@each_law
def test_masses_are_those_of_scipy(law):
    theirs = scipy_law(law)
    if theirs is None:
        assert law.shape < 0
        return
    k = np.arange(200)
    np.testing.assert_allclose([law.mass(int(n)) for n in k], theirs(k), rtol=1e-9, atol=1e-280)


def exact_masses(law):
    """(k, probability) from the smallest k on, in closed form and mpmath's current precision."""
    if isinstance(law, PoissonTrials):
        mean = mpmath.mpf(law.mean)
        return ((k, mpmath.exp(-mean) * mean**k / mpmath.factorial(k)) for k in itertools.count())
    gamma, shape = mpmath.mpf(law.gamma), mpmath.mpf(law.shape)
    if gamma == 1:
        return ((k, mpmath.mpf(k == 1)) for k in itertools.count(1))
    if shape == 0:
        return ((k, (1 - gamma) ** k / (-k * mpmath.log(gamma))) for k in itertools.count(1))
    norm = gamma**-shape - 1
    return ((k, (1 - gamma) ** k * mpmath.rf(shape, k) / mpmath.factorial(k) / norm) for k in itertools.count(1))


@each_law
def test_masses_are_exact(law):
    with mpmath.workdps(50):
        for k, mass in itertools.islice(exact_masses(law), 300):
            assert law.mass(k) == pytest.approx(float(mass), rel=1e-10, abs=1e-290)
    assert law.mass(-1) == 0.0
    assert isinstance(law, PoissonTrials) or law.mass(0) == 0.0


@each_law
def test_masses_add_up_to_one_with_the_stated_mean(law):
    masses = np.array([law.mass(k) for k in range(6000)])
    assert math.fsum(masses) == pytest.approx(1.0, rel=1e-11)
    assert math.fsum(masses * np.arange(6000)) == pytest.approx(law.mean, rel=1e-11)


@example(gamma=0.75, shape=5e-324, x=0.5)
@example(gamma=0.5, shape=-5e-324, x=0.5)
@settings(max_examples=60, deadline=None)
@given(
    gamma=st.floats(2.0**-10, 1.0),
    shape=st.one_of(st.floats(-0.95, 6.0), st.floats(-1e-9, 1e-9), st.sampled_from([0.0, 1.0])),
    x=st.floats(1e-3, 0.9),
)
def test_mean_and_masses_follow_from_the_generating_function(gamma, shape, x):
    """E[x^K] = ((1 - (1 - gamma) x)^-h - 1) / (gamma^-h - 1), in 60 digits, and its derivative at 1."""
    try:
        law = TruncatedNegativeBinomial(gamma, shape)
    except BadInput:
        assert gamma < 0.01  # the mean passes 10,000
        return
    with mpmath.workdps(60):
        g, h = mpmath.mpf(gamma), mpmath.mpf(shape)
        if gamma == 1:
            mean, first = mpmath.mpf(1), mpmath.mpf(1)
        elif shape == 0:
            mean, first = (1 / g - 1) / mpmath.log(1 / g), (1 - g) / mpmath.log(1 / g)
        else:
            norm = mpmath.expm1(-h * mpmath.log(g))
            mean, first = h * (1 - g) * g ** (-h - 1) / norm, h * (1 - g) / norm
        assert law.mean == pytest.approx(float(mean), rel=1e-11)
        assert law.mass(1) == pytest.approx(float(first), rel=1e-9)
        if gamma < 1 and shape:
            exact = mpmath.expm1(-h * mpmath.log(1 - (1 - g) * mpmath.mpf(x))) / norm
            # Terms at x <= 0.9 die out fast.
            assert math.fsum(law.mass(k) * x**k for k in range(1, 700)) == pytest.approx(
                float(exact), rel=1e-8, abs=1e-300
            )


@settings(max_examples=100, deadline=None)
@given(mean=st.floats(1.0, 100.0), shape=st.floats(0.0, 5.0))
def test_of_mean_finds_the_law_and_never_a_smaller_mean(mean, shape):
    law = TruncatedNegativeBinomial.of_mean(mean, shape)
    assert mean <= law.mean <= mean * (1 + 1e-12)


def test_known_laws():
    assert TruncatedNegativeBinomial.of_mean(8.0, 1.0).gamma == 0.125
    assert TruncatedNegativeBinomial.of_mean(1.0, 0.0).gamma == 1.0
    # Logarithmic: (1/gamma - 1) / ln(1/gamma).
    gamma = TruncatedNegativeBinomial.of_mean(10.0, 0.0).gamma
    assert (1 / gamma - 1) / math.log(1 / gamma) == pytest.approx(10.0, rel=1e-12)


@pytest.mark.parametrize(
    "make",
    [
        lambda: TruncatedNegativeBinomial(0.0, 1.0),
        lambda: TruncatedNegativeBinomial(1.5, 1.0),
        lambda: TruncatedNegativeBinomial(math.nan, 1.0),
        lambda: TruncatedNegativeBinomial(0.5, -1.0),
        lambda: TruncatedNegativeBinomial(0.5, math.inf),
        lambda: TruncatedNegativeBinomial.of_mean(0.99, 0.0),
        lambda: TruncatedNegativeBinomial.of_mean(10.0, -1.5),
        lambda: TruncatedNegativeBinomial.of_mean(math.inf, 1.0),
        lambda: TruncatedNegativeBinomial.of_mean(1e5, 1.0),
        lambda: TruncatedNegativeBinomial.of_mean(50.0, -0.9),
        lambda: TruncatedNegativeBinomial.of_mean(2e4, 50.0),
        lambda: PoissonTrials(0.5),
        lambda: PoissonTrials(1e5),
        lambda: PoissonTrials(True),
        lambda: draw_candidate(0),
        lambda: draw_candidate(2.5),
    ],
)
def test_what_is_no_law_is_refused(make):
    with pytest.raises(BadInput):
        make()


@pytest.mark.parametrize(
    "law",
    [TruncatedNegativeBinomial(2.0**-10, 9.7), TruncatedNegativeBinomial(0.5, 9_000.0), PoissonTrials(10_000.0)],
    ids=str,
)
def test_the_widest_laws_have_a_table(law):
    assert 0 < draw_error(law) < 2.0**-170
    assert law.draw() >= 0


@each_law
def test_every_entry_of_the_table_is_within_half_a_unit(law):
    least, cumulative = trials_module._table(law)
    assert len(cumulative) * UNIT < draw_error(law) < 2.0**-170
    assert cumulative == sorted(cumulative)
    with mpmath.workdps(80):
        masses = exact_masses(law)
        total = mpmath.mpf(0)
        for entry, (_, mass) in zip(cumulative, masses, strict=False):
            total += mass
            assert abs(entry - total * 2**BITS) <= 0.5001
        # The largest K that can come out takes all the rest, which is its own mass but for half a unit.
        _, mass = next(exact_masses(law) if not cumulative else masses)
        assert (1 - total - mass) * 2**BITS <= 0.5001
    assert least == (0 if isinstance(law, PoissonTrials) else 1)


@each_law
def test_a_draw_is_the_exact_inverse_at_every_edge(law):
    least, cumulative = trials_module._table(law)
    edges = cumulative if len(cumulative) < 60 else [*cumulative[:50], *cumulative[-10:]]
    numbers = {min(max(edge + shift, 0), 2**BITS - 1) for edge in edges for shift in (-1, 0, 1)} | {0, 2**BITS - 1}
    for number in numbers:
        source = RepeatedNumber(number)
        assert law.draw(source) == least + sum(entry <= number for entry in cumulative)
        assert source.calls == [BITS // 8]


class RepeatedNumber:
    def __init__(self, number):
        self.raw, self.calls = number.to_bytes(BITS // 8, "big"), []

    def __call__(self, count):
        self.calls.append(count)
        return self.raw


def chi_square(draws, mass, least):
    """p-value of the draws against the masses, the rare large values in one bin."""
    n = len(draws)
    values = range(least, least + 2000)
    bins = list(itertools.takewhile(lambda k: k <= least + 1 or n * mass(k) >= 20 or k < np.mean(draws), values))
    expected = np.array([n * mass(k) for k in bins])
    expected = np.append(expected, n - expected.sum())
    observed = np.array([np.sum(draws == k) for k in bins])
    observed = np.append(observed, n - observed.sum())
    keep = expected > 5
    statistic = np.sum((observed[keep] - expected[keep]) ** 2 / expected[keep])
    return stats.chi2.sf(statistic, keep.sum() - 1)


@pytest.mark.parametrize("source", [RepeatableBytes(5), os.urandom], ids=["repeatable", "system"])
@pytest.mark.parametrize("law", [law for law in LAWS if law.mean > 1 or isinstance(law, PoissonTrials)], ids=str)
def test_draws_pass_chi_square(law, source):
    draws = np.array([law.draw(source) for _ in range(30_000)])
    assert chi_square(draws, law.mass, int(isinstance(law, TruncatedNegativeBinomial))) > ALPHA


def test_chi_square_would_catch_a_mean_four_percent_off():
    source = RepeatableBytes(6)
    law = TruncatedNegativeBinomial.of_mean(16.6, 1.0)
    draws = np.array([law.draw(source) for _ in range(100_000)])
    assert chi_square(draws, TruncatedNegativeBinomial.of_mean(16.0, 1.0).mass, 1) < ALPHA


@pytest.mark.parametrize("source", [RepeatableBytes(7), os.urandom], ids=["repeatable", "system"])
@pytest.mark.parametrize("n", [1, 2, 7, 24])
def test_candidates_are_uniform_and_drawn_with_replacement(n, source):
    draws = np.array([draw_candidate(n, source) for _ in range(24_000)])
    assert stats.chisquare(np.bincount(draws, minlength=n)).pvalue > ALPHA if n > 1 else not draws.any()
    pairs = np.bincount(draws[::2] * n + draws[1::2], minlength=n * n)
    assert len(pairs) == n * n
    assert n == 1 or stats.chisquare(pairs).pvalue > ALPHA


def test_candidate_at_the_ends_of_the_range():
    assert draw_candidate(10, RepeatedNumber(0)) == 0
    assert draw_candidate(10, RepeatedNumber(2**BITS - 1)) == 9


def test_the_default_source_is_the_operating_systems():
    for draw in (LAWS[0].draw, PoissonTrials(3.0).draw, draw_candidate):
        assert os.urandom in draw.__defaults__
    assert {LAWS[1].draw() for _ in range(200)} != {1}


@pytest.mark.parametrize("draw", [LAWS[0].draw, LAWS[-1].draw, lambda source: draw_candidate(3, source)])
def test_a_source_that_runs_dry_is_an_error(draw):
    with pytest.raises(InternalBug, match="too few bytes"):
        draw(lambda count: b"\0" * (count - 1))
