"""Every data-dependent bound is at least the exact Renyi divergence, computed from exact output probabilities.

Exact means quadrature for continuous noise and summation over integers for rounded noise, ties included. Each histogram
is tried with every neighbour (one vote moved) at every order. The bound of a histogram D is on the divergence of its
own output from a neighbour's; the reverse divergence is covered by the neighbour's own bound, tried in its turn.
"""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_ndtr
from stillhouse.platform.privacy import rdp

ORDERS = np.array([1.25, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0])
HISTOGRAMS = [
    (60, 0, 0, 0),
    (55, 5, 0, 0),
    (48, 12, 0, 0),
    (40, 20, 0, 0),
    (31, 29, 0, 0),
    (30, 30, 0, 0),
    (29, 31, 0, 0),
    (25, 20, 15, 0),
    (15, 15, 15, 15),
    (0, 0, 3, 57),
    (45, 5, 5, 5),
]


def gaussian_log_cdf(x, sigma):
    return log_ndtr(x / sigma)


def laplace_log_cdf(x, scale):
    low = np.minimum(x, 0) / scale - np.log(2)
    return np.where(x < 0, low, np.log1p(-np.exp(-np.maximum(x, 0) / scale) / 2))


def continuous(counts, sigma):
    """log Pr[class wins] under N(0, sigma^2) by the trapezoid rule, which converges exponentially here."""
    counts = np.asarray(counts, dtype=float)
    x = np.arange(counts.min() - 14 * sigma, counts.max() + 14 * sigma, sigma / 40)
    z = (x[:, None] - counts) / sigma
    log_f = -(z**2) / 2 - np.log(sigma * np.sqrt(2 * np.pi))
    log_cdf = log_ndtr(z)
    log_win = log_f + log_cdf.sum(axis=1, keepdims=True) - log_cdf
    return np.logaddexp.reduce(log_win, axis=0) + np.log(sigma / 40)


def rounded(counts, width, log_cdf=gaussian_log_cdf, tail=14):
    """log Pr[class wins] under rounded noise, ties to the lowest index, by summation over all integers that matter."""
    counts = np.asarray(counts)
    reach = int(np.ceil(tail * width)) + 1
    x = np.arange(counts.min() - reach, counts.max() + reach + 1)[:, None]
    upto, below = log_cdf(x - counts + 0.5, width), log_cdf(x - counts - 0.5, width)
    # By symmetry Pr[X = d] = Pr[X = -d]; the lower tail keeps its digits.
    distance = -np.abs(x - counts)
    upper, lower = log_cdf(distance + 0.5, width), log_cdf(distance - 0.5, width)
    log_mass = upper + np.log(-np.expm1(lower - upper))
    wins = []
    for j in range(len(counts)):
        rivals = [below[:, k] if k < j else upto[:, k] for k in range(len(counts)) if k != j]
        wins.append(np.logaddexp.reduce(log_mass[:, j] + np.sum(rivals, axis=0)))
    return np.array(wins)


def divergence(log_p, log_q):
    """Renyi divergence at each order, with all its digits even where both distributions are nearly one class."""
    winner = int(np.argmax(log_p))
    rest = np.arange(len(log_p)) != winner
    a = ORDERS[:, None]
    log_others = np.logaddexp.reduce(a * log_p[rest] + (1 - a) * log_q[rest], axis=1)
    p, q = np.log1p(-np.exp(log_p[rest]).sum()), np.log1p(-np.exp(log_q[rest]).sum())
    log_winner = ORDERS * p + (1 - ORDERS) * q
    near_one = np.log1p(np.expm1(log_winner) + np.exp(np.minimum(log_others, 1.0)))
    return np.where(log_others < 0, near_one, np.logaddexp(log_winner, log_others)) / (ORDERS - 1)


def neighbours(counts):
    for source, target in itertools.permutations(range(len(counts)), 2):
        if counts[source]:
            other = list(counts)
            other[source] -= 1
            other[target] += 1
            yield other


def assert_bound_holds(bound, log_p, others):
    digits = 1e-12 * np.exp(np.sort(log_p)[:-1]).sum()
    for log_q in others:
        exact = divergence(log_p, log_q)
        assert np.all(exact >= -digits)
        assert np.all(exact <= bound * (1 + 1e-6) + digits)


@pytest.mark.parametrize("sigma", [3.0, 6.0, 12.0])
@pytest.mark.parametrize("counts", HISTOGRAMS, ids=str)
def test_gnmax_continuous(counts, sigma):
    p = continuous(counts, sigma)
    assert np.exp(p).sum() == pytest.approx(1, abs=1e-11)
    bound = rdp.gnmax(np.array([counts]), sigma, ORDERS, integer_noise=False)[0]
    assert_bound_holds(bound, p, [continuous(other, sigma) for other in neighbours(counts)])


@pytest.mark.parametrize("sigma", [1.0, 3.0, 6.0, 12.0])
@pytest.mark.parametrize("counts", HISTOGRAMS, ids=str)
def test_gnmax_rounded(counts, sigma):
    p = rounded(counts, sigma)
    assert np.exp(p).sum() == pytest.approx(1, abs=1e-11)
    bound = rdp.gnmax(np.array([counts]), sigma, ORDERS)[0]
    assert_bound_holds(bound, p, [rounded(other, sigma) for other in neighbours(counts)])


@pytest.mark.parametrize("scale", [2.0, 6.0, 15.0])
@pytest.mark.parametrize("counts", HISTOGRAMS, ids=str)
def test_lnmax_rounded(counts, scale):
    p = rounded(counts, scale, laplace_log_cdf, tail=40)
    bound = rdp.lnmax(np.array([counts]), scale, ORDERS)[0]
    curve = rdp.lnmax_data_independent(scale, ORDERS)
    others = [rounded(other, scale, laplace_log_cdf, tail=40) for other in neighbours(counts)]
    assert_bound_holds(bound, p, others)
    assert_bound_holds(curve, p, others)


@pytest.mark.parametrize("integer", [True, False])
@pytest.mark.parametrize("sigma", [2.0, 8.0, 30.0])
@pytest.mark.parametrize("at", [20.0, 40.0])
def test_threshold(at, sigma, integer):
    def outcomes(largest):
        table = np.array([[largest, 0]])
        return np.array([part[0] for part in rdp.threshold_log_pass(table, at, sigma, integer_noise=integer)])

    for largest in range(1, 60):
        bound = rdp.threshold(np.array([[largest, 0]]), at, sigma, ORDERS, integer_noise=integer)[0]
        others = [outcomes(largest + step) for step in (-1, 1)]
        assert_bound_holds(bound, outcomes(largest), others)
        assert_bound_holds(rdp.threshold_data_independent(sigma, ORDERS), outcomes(largest), others)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 80), min_size=2, max_size=5).filter(any), st.floats(1.0, 25.0))
def test_gnmax_rounded_on_random_histograms(counts, sigma):
    p = rounded(counts, sigma)
    bound = rdp.gnmax(np.array([counts]), sigma, ORDERS)[0]
    assert_bound_holds(bound, p, [rounded(other, sigma) for other in neighbours(counts)])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 80), min_size=2, max_size=5).filter(any), st.floats(1.0, 25.0), st.booleans())
def test_q_bounds_the_probability_of_another_class(counts, width, laplace):
    """The gap-1 rule covers ties; the continuous q does not (shown below)."""
    if laplace:
        p = rounded(counts, width, laplace_log_cdf, tail=40)
        log_q = rdp.lnmax_log_q(np.array([counts]), width)[0]
    else:
        p = rounded(counts, width)
        log_q = rdp.gnmax_log_q(np.array([counts]), width)[0]
    rest = np.arange(len(counts)) != np.argmax(counts)
    assert np.logaddexp.reduce(p[rest]) <= log_q + 1e-9


def test_without_gap_1_the_bound_would_be_wrong():
    counts, sigma = (0, 12), 4.0
    wrong = np.exp(rdp.gnmax_log_q(np.array([counts]), sigma, integer_noise=False)[0])
    right = np.exp(rdp.gnmax_log_q(np.array([counts]), sigma)[0])
    missed = np.exp(rounded(counts, sigma)[0])
    assert wrong < missed <= right


def test_sampled_frequencies_stay_below_q():
    from stillhouse.platform.privacy.mechanisms import GNMax
    from support.noise import repeatable_noise

    counts = np.array([22, 15, 3])
    n = 100_000
    labels = GNMax(5.0).answer(np.tile(counts, (n, 1)), repeatable_noise(2))
    frequency = np.mean(labels != 0)
    bound = float(np.exp(rdp.gnmax_log_q(counts[None], 5.0, integer_noise=False)[0]))
    assert bound == pytest.approx(0.1647, abs=5e-4)
    assert frequency <= float(np.exp(rdp.gnmax_log_q(counts[None], 5.0)[0])) + 4 * np.sqrt(bound / n)
    assert frequency == pytest.approx(1 - np.exp(rounded(counts, 5.0)[0]), abs=5 * np.sqrt(0.25 / n))
