"""The bound against dp-accounting, and against the exact output of small searches."""

import itertools
import json
import math

import mpmath
import numpy as np
import pytest
from dp_accounting import dp_event, rdp
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from stillhouse.platform.errors import BadInput
from stillhouse.platform.privacy.accounting import rdp_epsilon
from stillhouse.platform.privacy.budget import BudgetKind, event_cost
from stillhouse.platform.privacy.curve_events import CurveEvent
from stillhouse.platform.privacy.events import (
    GaussianEvent,
    PureDpEvent,
    SelectionEvent,
    SmoothSensitivityEvent,
    SubsampledGaussianEvent,
    event_from_json,
)
from stillhouse.platform.privacy.selection_event import least_delta
from stillhouse.platform.privacy.trials import PoissonTrials, TruncatedNegativeBinomial
from support.noise import RepeatableBytes

DEFAULT_ORDERS = np.asarray(rdp.RdpAccountant().orders)
TRAINING = SubsampledGaussianEvent(1.0, 0.01, 1000)


def theirs(base, mean, shape, orders):
    """dp-accounting's curve of the same search."""
    accountant = rdp.RdpAccountant(orders=list(orders))
    event = dp_event.RepeatAndSelectDpEvent(base.dp_event(), mean, math.inf if shape is None else shape)
    return np.asarray(accountant.compose(event).rdp)


@pytest.mark.parametrize(
    ("mean", "shape", "epsilon"),
    [
        (10, 0.0, 3.523),
        (10, 0.5, 3.831),
        (10, 1.0, 4.103),
        (10, None, 4.329),
        (50, 0.0, 4.081),
        (50, 1.0, 4.942),
        (50, None, 11.277),
    ],
)
def test_figures_of_a_search_over_dp_sgd_runs(mean, shape, epsilon):
    assert rdp_epsilon(DEFAULT_ORDERS, TRAINING.rdp(DEFAULT_ORDERS), 1e-5)[0] == pytest.approx(2.1014, abs=5e-5)
    curve = SelectionEvent(TRAINING, mean, shape).rdp(DEFAULT_ORDERS)
    np.testing.assert_allclose(curve, theirs(TRAINING, mean, shape, DEFAULT_ORDERS), rtol=2e-9)
    assert rdp_epsilon(DEFAULT_ORDERS, curve, 1e-5)[0] == pytest.approx(epsilon, abs=1e-3)


@settings(max_examples=80, deadline=None)
@given(
    sigma=st.floats(0.3, 50),
    mean=st.floats(1.0, 100.0),
    shape=st.one_of(st.sampled_from([None, 0.0, 1.0]), st.floats(0.0, 5.0)),
    orders=st.lists(st.floats(1.1, 300.0), min_size=1, max_size=8, unique=True),
)
def test_the_bound_is_dp_accountings(sigma, mean, shape, orders):
    base = GaussianEvent(sigma)
    ours = SelectionEvent(base, mean, shape).rdp(orders)
    # They find gamma to one part in 10^9.
    np.testing.assert_allclose(ours, theirs(base, mean, shape, orders), rtol=1e-8, atol=1e-8)


@given(st.integers(1, 20), st.randoms())
def test_the_order_of_the_orders_does_not_matter(count, random):
    orders = [1.5, 2.0, 3.0, 8.0, 20.0]
    shuffled = random.sample(orders, len(orders))
    event = SelectionEvent(GaussianEvent(4.0), 7.0, 0.5, count)
    values = dict(zip(orders, event.rdp(orders), strict=True))
    assert event.rdp(shuffled).tolist() == [values[order] for order in shuffled]


@settings(max_examples=60, deadline=None)
@given(
    sigma=st.floats(0.5, 50),
    mean=st.floats(1.0, 100.0),
    shape=st.sampled_from([None, 0.0, 1.0, 3.0]),
    orders=st.lists(st.floats(1.5, 100.0), min_size=1, max_size=4, unique=True),
    more=st.lists(st.floats(1.5, 300.0), min_size=1, max_size=8, unique=True),
)
def test_fixed_orders_only_make_the_bound_tighter(sigma, mean, shape, orders, more):
    base = GaussianEvent(sigma)
    few, many = SelectionEvent(base, mean, shape), SelectionEvent(base, mean, shape, orders=tuple(more))
    assert np.all(many.rdp(orders) <= few.rdp(orders) * (1 + 1e-12))
    # What was fixed at creation counts, not what somebody asks for later.
    np.testing.assert_allclose(many.rdp(orders), few.rdp([*orders, *more])[: len(orders)], rtol=1e-12)


def test_delta_of_a_curve_is_dp_accountings():
    from dp_accounting.rdp import rdp_privacy_accountant

    for sigma, epsilon in itertools.product([0.5, 2.0, 10.0, 200.0], [0.0, 1e-3, 0.05, 0.7, 3.0]):
        curve = GaussianEvent(sigma).rdp(DEFAULT_ORDERS)
        expected = rdp_privacy_accountant.compute_delta(DEFAULT_ORDERS, curve, epsilon)[0]
        assert least_delta(DEFAULT_ORDERS, curve, epsilon) == pytest.approx(expected, rel=1e-9)
    assert least_delta(np.array([2.0, 3.0]), np.zeros(2), 0.1) == 0.0


# ---- exact searches over a mechanism with a few outputs, worst first


def divergence(p, q, order):
    """The exact Renyi divergence of two lists of probabilities, in logarithms of 40 digits."""
    with mpmath.workdps(40):
        log_p, log_q = (np.array([float(mpmath.log(x)) for x in side if x > 0]) for side in (p, q))
    assert len(log_p) == len(log_q)
    return np.logaddexp.reduce(np.outer(log_p, order) + np.outer(log_q, 1 - np.asarray(order))) / (
        np.asarray(order) - 1
    )


def both_ways(p, q, order):
    """The larger one of the two directions; an order or an array of them."""
    return np.maximum(divergence(p, q, order), divergence(q, p, order))


def generating(law):
    """E[x^K] in closed form, for numbers of mpmath."""
    if isinstance(law, PoissonTrials):
        return lambda x: mpmath.exp(mpmath.mpf(law.mean) * (x - 1))
    gamma, shape = mpmath.mpf(law.gamma), mpmath.mpf(law.shape)
    if gamma == 1:
        return lambda x: x
    if shape == 0:
        return lambda x: mpmath.log(1 - (1 - gamma) * x) / mpmath.log(gamma)
    return lambda x: mpmath.expm1(-shape * mpmath.log(1 - (1 - gamma) * x)) / mpmath.expm1(-shape * mpmath.log(gamma))


def best_of(outputs, power):
    """Probabilities of what a search releases: nothing (K = 0), or each output as the best. 40 digits."""
    with mpmath.workdps(40):
        below = [mpmath.mpf(0), *itertools.accumulate(map(mpmath.mpf, outputs))]
        values = [power(x / below[-1]) for x in below]
        return [values[0], *(b - a for a, b in itertools.pairwise(values))]


MANY_ORDERS = tuple(float(order) for order in np.round(1 + np.logspace(-1, 2.3, 60), 4))
LAWS = [
    TruncatedNegativeBinomial.of_mean(2.0, 0.0),
    TruncatedNegativeBinomial.of_mean(20.0, 0.0),
    TruncatedNegativeBinomial.of_mean(6.0, 1.0),
    TruncatedNegativeBinomial.of_mean(6.0, 0.5),
    TruncatedNegativeBinomial.of_mean(4.0, -0.3),
    TruncatedNegativeBinomial.of_mean(12.0, 3.0),
    PoissonTrials(1.0),
    PoissonTrials(3.0),
    PoissonTrials(25.0),
]


def event_of(p, q, law):
    base = CurveEvent(MANY_ORDERS, np.maximum(both_ways(p, q, MANY_ORDERS), 0) + 1e-13)
    shape = None if isinstance(law, PoissonTrials) else law.shape
    event = SelectionEvent(base, law.mean, shape, orders=MANY_ORDERS)
    # Through the mean and back: the same law to the last digits.
    assert event.trials.mean == pytest.approx(law.mean, rel=1e-13)
    return event


weights = st.lists(st.floats(1e-3, 1.0), min_size=6, max_size=6)


@settings(max_examples=150, deadline=None)
@given(p=weights, q=weights, size=st.integers(2, 6), mix=st.floats(0.0, 1.0), law=st.sampled_from(LAWS))
def test_the_best_of_k_never_diverges_more_than_the_bound(p, q, size, mix, law):
    p = np.array(p[:size]) / sum(p[:size])
    q = mix * p + (1 - mix) * np.array(q[:size]) / sum(q[:size])
    bound = event_of(p, q, law).rdp(MANY_ORDERS)
    power = generating(law)
    released, instead = best_of(p, power), best_of(q, power)
    assert float(sum(released)) == pytest.approx(1.0, abs=1e-12)
    assert np.all(both_ways(released, instead, MANY_ORDERS) <= bound + 1e-9)


@settings(max_examples=100, deadline=None)
@given(epsilon=st.floats(0.01, 3.0), rare=st.floats(1e-4, 1.0), law=st.sampled_from(LAWS))
def test_randomised_response_and_rare_good_outputs(epsilon, rare, law):
    """The score is the output; the good output is the more likely one, or a rare one, under one of the two data sets."""
    good = rare / (1 + math.exp(epsilon))
    power = generating(law)
    p, q = [1 - good, good], [1 - good * math.exp(epsilon), good * math.exp(epsilon)]
    assert min(*p, *q) > 0
    for a, b in ((p, q), (p[::-1], q[::-1])):
        bound = event_of(a, b, law).rdp(MANY_ORDERS)
        assert np.all(both_ways(best_of(a, power), best_of(b, power), MANY_ORDERS) <= bound + 1e-9)


@pytest.mark.parametrize("law", LAWS, ids=str)
@pytest.mark.parametrize("sigma", [0.7, 2.0, 10.0])
def test_the_largest_of_k_gaussian_outputs_never_diverges_more_than_the_bound(law, sigma):
    """Score = output, N(0, sigma^2) against N(1, sigma^2): the density of the best, integrated."""
    x = np.linspace(-14 * sigma, 14 * sigma + 1, 6_001)

    def log_density(mean):
        score = (x - mean) / sigma
        log_one = stats.norm.logpdf(score) - math.log(sigma)
        if isinstance(law, PoissonTrials):
            return log_one + math.log(law.mean) - law.mean * stats.norm.sf(score)
        rest = -(law.shape + 1) * np.log(law.gamma + (1 - law.gamma) * stats.norm.sf(score))
        first = law.mass(1)  # the generating function's slope at 0, and by this power up to 1
        return log_one + math.log(first) + rest

    nothing = law.mass(0)
    sides = [np.append(log_density(mean) + math.log(x[1] - x[0]), math.log(nothing or 1e-300)) for mean in (0.0, 1.0)]
    for side in sides:
        assert np.exp(side).sum() == pytest.approx(1.0, abs=1e-6)
    shape = None if isinstance(law, PoissonTrials) else law.shape
    event = SelectionEvent(GaussianEvent(sigma), law.mean, shape, orders=MANY_ORDERS)
    for order, bound in zip(MANY_ORDERS[::2], event.rdp(MANY_ORDERS)[::2], strict=True):
        if order > min(40, 10 * sigma):  # beyond, the integral leaves the range of x
            break
        for p, q in (sides, sides[::-1]):
            exact = np.logaddexp.reduce(order * p + (1 - order) * q) / (order - 1)
            assert exact <= bound + 1e-7
            assert exact > 0


@given(epsilon=st.floats(0.05, 3.0), mean=st.floats(1.0, 20.0), shape=st.floats(0.0, 2.0))
@settings(max_examples=40, deadline=None)
def test_a_pure_base_costs_about_what_liu_and_talwar_say(epsilon, mean, shape):
    """At most (2 + shape) epsilon for an epsilon-DP base and every K (corollary 3); our curve reaches it at large orders."""
    large = (1e6, 1e7)
    event = SelectionEvent(PureDpEvent(epsilon), mean, shape, orders=large)
    assert event.rdp([1e6])[0] == pytest.approx((2 + shape) * epsilon, rel=1e-3, abs=1e-4)


# ---- the faults that a caller must not make: each would cost more than was charged

RESPONSE = [1 / (1 + math.e), math.e / (1 + math.e)]
NEIGHBOUR = RESPONSE[::-1]
ORDER = 12.0


def stated(mean, shape=0.0):
    law = TruncatedNegativeBinomial.of_mean(mean, shape)
    return event_of(RESPONSE, NEIGHBOUR, law).rdp([ORDER])[0]


def test_a_fixed_number_of_trials_costs_more_than_was_charged():
    for fixed in (8, 16, 64):
        exact = both_ways(*(best_of(p, lambda x, k=fixed: x**k) for p in (RESPONSE, NEIGHBOUR)), ORDER)
        assert exact > 1.5 * stated(fixed)


def test_a_known_number_of_trials_costs_more_than_was_charged():
    """(K, best of K) diverges as the mean over K of exp((order - 1) divergence of the best of K)."""
    law = TruncatedNegativeBinomial.of_mean(16.0, 0.0)
    for p, q in ((RESPONSE, NEIGHBOUR), (NEIGHBOUR, RESPONSE)):
        apart = [divergence(*(best_of(side, lambda x, k=k: x**k) for side in (p, q)), ORDER) for k in range(1, 300)]
        terms = [math.log(law.mass(k)) + (ORDER - 1) * apart[k - 1] for k in range(1, 300)]
        # 300 of infinitely many K: the true divergence is larger still.
        if np.logaddexp.reduce(terms) / (ORDER - 1) > 1.5 * stated(16.0):
            return
    pytest.fail("a known K was free")


def test_all_scores_cost_more_than_was_charged():
    """The scores of all K trials diverge K times as much as one, for each K."""
    law = TruncatedNegativeBinomial.of_mean(16.0, 1.0)
    one = both_ways(RESPONSE, NEIGHBOUR, ORDER)
    terms = [math.log(law.mass(k)) + k * (ORDER - 1) * one for k in range(1, 300)]
    assert np.logaddexp.reduce(terms) / (ORDER - 1) > 1.5 * stated(16.0, 1.0)


def runner_up_too(law, p, most):
    """Probabilities of (best, second best) of K independent draws of a mechanism with outputs 0 .. n-1."""
    found = {}
    below = np.concatenate(([0.0], np.cumsum(p)))
    for k in range(2, most):
        for best in range(len(p)):
            for second in range(best + 1):
                if second < best:
                    chance = k * p[best] * (below[second + 1] ** (k - 1) - below[second] ** (k - 1))
                else:
                    rest = below[best]
                    chance = (rest + p[best]) ** k - rest**k - k * p[best] * rest ** (k - 1)
                found[best, second] = found.get((best, second), 0.0) + law.mass(k) * chance
    for best, mass in enumerate(p):
        found[best, None] = law.mass(1) * mass
    return [max(value, 0.0) for _, value in sorted(found.items(), key=str)]


def test_the_runner_up_costs_more_than_the_best_alone():
    """A rare good output whose chance doubles: two of them among K tell twice as much."""
    law = TruncatedNegativeBinomial.of_mean(3.0, 1.0)
    p, q = [0.98, 0.02], [0.96, 0.04]
    power = generating(law)
    both = both_ways(runner_up_too(law, p, 200), runner_up_too(law, q, 200), ORDER)
    best = both_ways(best_of(p, power), best_of(q, power), ORDER)
    assert sum(runner_up_too(law, p, 200)) == pytest.approx(1.0, abs=1e-9)
    assert both > 1.5 * best


def test_poisson_needs_a_mean_of_one():
    """For nearly equal data sets the formula of Theorem 6 would promise a negative divergence below mean 1."""
    order, mean = 2.0, 0.5
    assert 1e-9 + math.log(mean) / (order - 1) < 0
    with pytest.raises(BadInput, match="at least 1"):
        SelectionEvent(GaussianEvent(1e4), mean)


def test_a_search_releases_what_the_formulas_say():
    """The whole procedure, 20,000 times: chances of the best output against the generating function."""
    law = SelectionEvent(PureDpEvent(1.0), 4.0, 0.0).trials
    chances = [0.5, 0.3, 0.2]
    source = RepeatableBytes(3)
    generator = np.random.default_rng(3)
    counts = np.zeros(3)
    for _ in range(20_000):
        trials = law.draw(source)
        counts[generator.choice(3, size=trials, p=chances).max()] += 1
    expected = 20_000 * np.array(best_of(chances, generating(law))[1:], dtype=float)
    assert np.sum((counts - expected) ** 2 / expected) < 27.6  # chi-square of 2 degrees at 1e-6


# ---- as an event


EXAMPLES = [
    SelectionEvent(GaussianEvent(4.0), 16.0, 0.0, orders=(2.0, 8.0)),
    SelectionEvent(CurveEvent((4.0, 8.0), (0.2, 0.5), ("replace-one",)), 5.0, -0.25, 2, (4.0, 8.0)),
    SelectionEvent(SelectionEvent(PureDpEvent(0.1), 2.0, 1.0), 3.0),
    SelectionEvent(GaussianEvent(4.0), 16),
]


@pytest.mark.parametrize("event", EXAMPLES, ids=str)
def test_json_gives_the_same_event_back(event):
    again = event_from_json(json.loads(json.dumps(event.to_json(), allow_nan=False)))
    assert again == event and again.relations == event.base.relations
    assert again.trials == event.trials
    np.testing.assert_array_equal(again.rdp([2.0, 4.0]), event.rdp([2.0, 4.0]))


def test_json_as_ledgers_hold_it():
    assert json.dumps(EXAMPLES[0].to_json()) == (
        '{"kind": "selection", "base": {"kind": "gaussian", "sigma": 4.0, "squared_sensitivity": 1, "count": 1}, '
        '"mean": 16.0, "shape": 0.0, "count": 1, "orders": [2.0, 8.0]}'
    )
    assert "orders" not in EXAMPLES[3].to_json()


@pytest.mark.parametrize(
    "change",
    [
        {"mean": 0.5},
        {"mean": 0.5, "shape": None},
        {"mean": "16"},
        {"mean": math.inf},
        {"shape": -1},
        {"shape": -0.9},
        {"shape": "0"},
        {"orders": [0.5]},
        {"orders": ["2"]},
        {"orders": 3},
        {"orders": "23"},
        {"count": 0},
        {"base": 3},
        {"base": None},
        {"law": "geometric"},
    ],
    ids=str,
)
def test_json_that_is_no_selection_is_refused(change):
    data = EXAMPLES[0].to_json()
    event_from_json(data)
    with pytest.raises(BadInput):
        event_from_json({**data, **change})


@pytest.mark.parametrize(
    "base", [PureDpEvent(0.3), SmoothSensitivityEvent(0.001, 60.0), GaussianEvent(9.0, 2, 5)], ids=lambda e: e.kind
)
def test_every_kind_of_base_has_a_price(base):
    event = SelectionEvent(base, 8.0, 0.0, orders=(16.0,))
    costs = event_cost(BudgetKind.RDP, event.times(3), orders=(8.0, 16.0))
    assert costs == tuple(3 * cost for cost in event_cost(BudgetKind.RDP, event, orders=(8.0, 16.0)))
    assert all(cost >= 3e9 * value for cost, value in zip(costs, event.rdp([8.0, 16.0]), strict=True))
    assert event.nano_rho() is None


def test_infinite_where_the_base_is_unknown():
    event = SelectionEvent(CurveEvent((4.0, 8.0), (0.2, 0.5)), 5.0, 0.0, orders=(4.0, 8.0))
    assert np.isfinite(event.rdp([2.0, 8.0])).all() and event.rdp([8.1])[0] == math.inf
    with pytest.raises(BadInput, match="no finite cost"):
        event_cost(BudgetKind.RDP, event, orders=(8.0, 9.0))


def test_dp_events():
    base = dp_event.GaussianDpEvent(4.0)
    assert SelectionEvent(GaussianEvent(4.0), 3.0, 1.0).dp_event() == dp_event.RepeatAndSelectDpEvent(base, 3.0, 1.0)
    poisson = dp_event.RepeatAndSelectDpEvent(base, 3.0, math.inf)
    assert SelectionEvent(GaussianEvent(4.0), 3.0, count=2).dp_event() == dp_event.SelfComposedDpEvent(poisson, 2)
    for event in (EXAMPLES[1], SelectionEvent(GaussianEvent(4.0), 3.0, -0.5)):
        with pytest.raises(BadInput, match="no dp-accounting event"):
            event.dp_event()
