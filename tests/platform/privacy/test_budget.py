import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stillhouse.platform.errors import BadInput
from stillhouse.platform.privacy.accounting import plan_epsilon
from stillhouse.platform.privacy.budget import BudgetKind, budget_cap, event_cost, near_optimal_orders, spent_epsilon
from stillhouse.platform.privacy.calibration import dpsgd_noise_multiplier, smallest_scale
from stillhouse.platform.privacy.events import (
    GaussianEvent,
    PureDpEvent,
    SmoothSensitivityEvent,
    SubsampledGaussianEvent,
)

ORDERS = (4.0, 8.0, 16.0, 32.0)
KINDS = [(BudgetKind.GAUSSIAN, ()), (BudgetKind.ZCDP, ()), (BudgetKind.RDP, ORDERS)]


@pytest.mark.parametrize(("kind", "orders"), KINDS)
@settings(max_examples=25, deadline=None)
@given(epsilon=st.floats(0.5, 20), delta=st.sampled_from([1e-3, 1e-5, 1e-8]))
def test_cap_is_the_largest_total_that_keeps_epsilon(kind, orders, epsilon, delta):
    if kind is BudgetKind.RDP and delta == 1e-8:
        orders = (16.0, 32.0, 64.0)
    cap = budget_cap(kind, epsilon=epsilon, delta=delta, orders=orders)
    assert spent_epsilon(kind, cap, delta=delta, orders=orders) <= epsilon
    more = tuple(c + 1 for c in cap)
    assert spent_epsilon(kind, more, delta=delta, orders=orders) > epsilon


@pytest.mark.parametrize(("kind", "orders"), KINDS)
def test_nothing_spent_is_epsilon_zero(kind, orders):
    assert spent_epsilon(kind, (0,) * max(1, len(orders)), delta=1e-5, orders=orders) == 0.0


@pytest.mark.parametrize(("kind", "orders"), KINDS)
@given(sigma=st.floats(1, 1e4), n=st.integers(1, 50))
def test_n_units_cost_n_times_one_unit_and_never_nothing(kind, orders, sigma, n):
    one = event_cost(kind, GaussianEvent(sigma, 2), orders=orders)
    assert event_cost(kind, GaussianEvent(sigma, 2, n), orders=orders) == tuple(n * c for c in one)
    assert min(one) >= 1


@pytest.mark.parametrize(("kind", "orders"), KINDS)
@settings(max_examples=25, deadline=None)
@given(spent=st.integers(1, 10**12), more=st.integers(1, 10**12))
def test_spending_more_never_lowers_epsilon(kind, orders, spent, more):
    def epsilon(total):
        return spent_epsilon(kind, (total,) * max(1, len(orders)), delta=1e-5, orders=orders)

    assert epsilon(spent + more) >= epsilon(spent)


def test_published_figures():
    # 640 checks with sigma 150 and 282.72 answers with sigma 40 are 2.527 exactly; 283 whole answers a little more.
    checks = event_cost(BudgetKind.GAUSSIAN, GaussianEvent(150.0, 1, 640))[0]
    answers = event_cost(BudgetKind.GAUSSIAN, GaussianEvent(40.0, 2, 283))[0]
    assert spent_epsilon(BudgetKind.GAUSSIAN, (checks + answers,), delta=1e-5) == pytest.approx(2.5288, abs=2e-4)


def test_rdp_cost_is_never_below_the_curve():
    event = SubsampledGaussianEvent(1.0, 0.01, 1000)
    for cost, value in zip(event_cost(BudgetKind.RDP, event, orders=ORDERS), event.rdp(ORDERS), strict=True):
        assert value * 1e9 <= cost <= value * 1e9 * (1 + 1e-9) + 1


def test_straight_curve_loses_nothing_against_the_best_single_order():
    # The caps of all orders must let a Gaussian plan use the budget that its best order alone would allow.
    orders = (8.0, 16.0, 32.0)
    cap = budget_cap(BudgetKind.RDP, epsilon=3.0, delta=1e-5, orders=orders)
    unit = event_cost(BudgetKind.RDP, GaussianEvent(40.0, 2), orders=orders)
    together = min(c // u for c, u in zip(cap, unit, strict=True))
    alone = []
    for order in orders:
        single = budget_cap(BudgetKind.RDP, epsilon=3.0, delta=1e-5, orders=(order,))
        alone.append(single[0] // event_cost(BudgetKind.RDP, GaussianEvent(40.0, 2), orders=(order,))[0])
    assert together == max(alone)


@pytest.mark.parametrize("epsilon", [0.5, 1.0, 2.0, 3.0, 6.0, 10.0])
def test_one_order_loses_little_for_dp_sgd_and_for_votes(epsilon):
    """Against dp-accounting's accountant, which may choose the best order of each plan afterwards."""
    delta, rate, steps = 1e-5, 4096 / 60000, 200
    orders = near_optimal_orders(epsilon, delta)
    assert len(orders) == 1

    def noise(plan):
        return smallest_scale(plan, epsilon=epsilon, delta=delta, kind=BudgetKind.RDP, orders=orders)

    training = noise(lambda scale: [SubsampledGaussianEvent(scale, rate, steps)])
    best = dpsgd_noise_multiplier(epsilon=epsilon, delta=delta, sample_rate=rate, steps=steps)
    assert 0.999 < training / best < 1.015
    assert plan_epsilon([SubsampledGaussianEvent(training, rate, steps)], delta) <= epsilon
    votes = noise(lambda scale: [GaussianEvent(scale, 2)])
    best = smallest_scale(lambda scale: [GaussianEvent(scale, 2)], epsilon=epsilon, delta=delta, kind=BudgetKind.ZCDP)
    assert 1 <= votes / best < 1.015


@settings(max_examples=25, deadline=None)
@given(epsilon=st.floats(0.05, 200), delta=st.floats(1e-10, 1e-2))
def test_the_order_is_always_one_a_budget_can_be_granted_with(epsilon, delta):
    (order,) = near_optimal_orders(epsilon, delta)
    assert order >= 2 and (2 * order).is_integer()
    assert near_optimal_orders(1.1 * epsilon, delta)[0] <= order
    cap = budget_cap(BudgetKind.RDP, epsilon=epsilon, delta=delta, orders=(order,))
    assert spent_epsilon(BudgetKind.RDP, cap, delta=delta, orders=(order,)) <= epsilon


@pytest.mark.parametrize(
    ("kind", "event", "orders"),
    [
        (BudgetKind.GAUSSIAN, PureDpEvent(0.1), ()),
        (BudgetKind.GAUSSIAN, SubsampledGaussianEvent(1.0, 0.1, 5), ()),
        (BudgetKind.ZCDP, SubsampledGaussianEvent(1.0, 0.1, 5), ()),
        (BudgetKind.RDP, SmoothSensitivityEvent(0.1, 3.0), (4.0, 8.0)),
    ],
)
def test_kind_refuses_what_it_cannot_hold(kind, event, orders):
    with pytest.raises(BadInput):
        event_cost(kind, event, orders=orders)


@pytest.mark.parametrize(
    "wrong",
    [
        {"epsilon": 0.0},
        {"epsilon": math.nan},
        {"epsilon": math.inf},
        {"delta": 0.0},
        {"delta": 1.0},
        {"kind": "renyi"},
        {"orders": (2.0,)},
        {"kind": "rdp", "orders": ()},
        {"kind": "rdp", "orders": (2.0, 2.0)},
        {"kind": "rdp", "orders": (1.0,)},
        {"kind": "rdp", "orders": (1.5,), "epsilon": 0.1},
        {"epsilon": 1e-12},
    ],
)
def test_wrong_budgets_are_refused(wrong):
    settings = {"kind": "gaussian", "epsilon": 1.0, "delta": 1e-5, "orders": ()} | wrong
    with pytest.raises(BadInput):
        budget_cap(settings.pop("kind"), **settings)


@pytest.mark.parametrize("total", [(), (1, 2), (-1,), (1.0,), (True,)])
def test_totals_are_whole_numbers(total):
    with pytest.raises(BadInput):
        spent_epsilon(BudgetKind.GAUSSIAN, total, delta=1e-5)
