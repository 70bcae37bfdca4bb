import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stillhouse.platform.errors import BadInput, BudgetExhausted
from stillhouse.platform.ledger.ledger import Ledger
from stillhouse.platform.privacy.accounting import gdp_epsilon, rdp_epsilon
from stillhouse.platform.privacy.budget import BudgetKind, budget_cap, event_cost
from stillhouse.platform.privacy.calibration import gnmax_sigma, smallest_scale
from stillhouse.platform.privacy.curve_events import CurveEvent, ZcdpEvent
from stillhouse.platform.privacy.events import (
    GaussianEvent,
    PureDpEvent,
    SmoothSensitivityEvent,
    SubsampledGaussianEvent,
)
from stillhouse.platform.privacy.neighbours import REPLACE_ONE, Relation
from stillhouse.platform.privacy.selection import (
    SELECTION_ORDERS,
    best_order,
    capped_run,
    plain_epsilon,
    selection_epsilon,
    selection_event,
    worst_of,
)

DELTA = 1e-5


def gaussian_run(epsilon):
    return GaussianEvent(smallest_scale(lambda sigma: [GaussianEvent(sigma)], epsilon=epsilon, delta=DELTA))


def test_sixteen_trials_cost_twice_one_run_and_less_than_half_of_sixteen():
    run = gaussian_run(1.0)
    assert plain_epsilon(run, 1, DELTA) == pytest.approx(1.0, rel=1e-6)
    assert plain_epsilon(run, 16, DELTA) == pytest.approx(gdp_epsilon(4 / run.sigma, DELTA), rel=1e-9)
    assert plain_epsilon(run, 16, DELTA) == pytest.approx(4.746, abs=1e-3)
    figures = {
        shape: selection_epsilon(selection_event(run, mean=16, shape=shape), DELTA) for shape in (0.0, 1.0, None)
    }
    assert figures == pytest.approx({0.0: 2.002, 1.0: 2.450, None: 3.315}, abs=1e-3)


@pytest.mark.parametrize(
    ("epsilon", "mean", "plain", "logarithmic", "geometric", "poisson"),
    [
        (0.5, 4, 1.067, 0.893, 1.050, 0.868),
        (0.5, 16, 2.303, 1.044, 1.290, 1.697),
        (1.0, 4, 2.155, 1.722, 2.000, 1.704),
        (1.0, 16, 4.746, 2.002, 2.450, 3.315),
        (1.0, 64, 10.897, 2.223, 2.809, 7.521),
        (3.0, 16, 15.795, 5.512, 6.556, 9.447),
        (8.0, 16, 49.856, 13.066, 14.648, 24.472),
    ],
)
def test_figures_of_the_documentation(epsilon, mean, plain, logarithmic, geometric, poisson):
    assert plain_epsilon(gaussian_run(epsilon), mean, DELTA) == pytest.approx(plain, abs=1e-3)
    run = capped_run(BudgetKind.GAUSSIAN, epsilon=epsilon, delta=DELTA, neighbouring="replace-one")
    for shape, figure in ((0.0, logarithmic), (1.0, geometric), (None, poisson)):
        assert selection_epsilon(selection_event(run, mean=mean, shape=shape), DELTA) == pytest.approx(figure, abs=1e-3)


@settings(max_examples=40, deadline=None)
@given(epsilon=st.floats(0.1, 8.0), mean=st.floats(1.0, 60.0), shape=st.floats(0.0, 2.0))
def test_a_search_costs_at_least_one_run_and_more_trials_or_shape_cost_more(epsilon, mean, shape):
    run = gaussian_run(epsilon)

    def cost(mean, shape):
        return selection_epsilon(selection_event(run, mean=mean, shape=shape), DELTA)

    assert epsilon <= cost(mean, shape) <= cost(mean * 1.5, shape) + 1e-12
    assert cost(mean, shape) <= cost(mean, shape + 0.5) + 1e-12


def test_the_fixed_orders_lose_little_against_a_dense_grid():
    dense = 1 + np.logspace(-1, 2.8, 3000)
    for epsilon in (0.3, 1.0, 3.0, 8.0):
        run = gaussian_run(epsilon)
        for shape in (0.0, 1.0):
            event = selection_event(run, mean=16, shape=shape)
            best = rdp_epsilon(dense, type(event)(run, 16.0, shape).rdp(dense), DELTA)[0]
            assert best <= selection_epsilon(event, DELTA) * (1 + 1e-12) <= best * 1.01


def test_the_orders_are_fixed_and_grow():
    assert SELECTION_ORDERS[0] == 1.5 and SELECTION_ORDERS[-1] == 640.0 and len(SELECTION_ORDERS) == 78
    assert 1.0 < max(np.array(SELECTION_ORDERS[17:]) / np.array(SELECTION_ORDERS[16:-1])) <= 1.1 + 1e-12


def test_epsilon_at_other_orders_is_never_smaller_than_at_the_best():
    event = selection_event(gaussian_run(1.0), mean=16)
    order = best_order(event, DELTA)
    assert selection_epsilon(event, DELTA, orders=[order]) == selection_epsilon(event, DELTA)
    assert selection_epsilon(event, DELTA, orders=[2.0, 400.0]) > selection_epsilon(event, DELTA)


# ---- any run that a budget holds


@pytest.mark.parametrize("kind", [BudgetKind.GAUSSIAN, BudgetKind.ZCDP])
def test_a_run_under_a_budget_of_rho_is_the_caps_straight_line(kind):
    run = capped_run(kind, epsilon=2.0, delta=DELTA, neighbouring="replace-one")
    assert run == ZcdpEvent(budget_cap(kind, epsilon=2.0, delta=DELTA)[0], (Relation.REPLACE_ONE,))
    assert capped_run(kind, epsilon=2.0, delta=DELTA, neighbouring=REPLACE_ONE) == run
    # 200 answers fill the budget: what they really cost is never above.
    answers = GaussianEvent(gnmax_sigma(epsilon=2.0, delta=DELTA, answers=200), 2, 200)
    if kind is BudgetKind.GAUSSIAN:
        assert np.all(answers.rdp(SELECTION_ORDERS) <= run.rdp(SELECTION_ORDERS))
        np.testing.assert_allclose(answers.rdp(SELECTION_ORDERS), run.rdp(SELECTION_ORDERS), rtol=1e-5)


def test_a_run_under_a_budget_of_curves_is_its_cap():
    orders = (16.0, 4.0, 8.0)
    run = capped_run(BudgetKind.RDP, epsilon=2.0, delta=DELTA, orders=orders, neighbouring="add-or-remove-one")
    cap = dict(zip(orders, budget_cap(BudgetKind.RDP, epsilon=2.0, delta=DELTA, orders=orders), strict=True))
    assert run.orders == (4.0, 8.0, 16.0)
    assert [round(value * 1e9) for value in run.values] == [cap[order] for order in run.orders]
    assert run.relations == {Relation.ADD_OR_REMOVE_ONE}


@settings(max_examples=30, deadline=None)
@given(
    epsilon=st.floats(0.5, 8.0),
    noise=st.floats(0.8, 20.0),
    orders=st.lists(st.sampled_from([4.0, 8.0, 12.0, 16.0, 32.0]), min_size=1, unique=True),
)
def test_what_a_budget_admits_is_never_above_the_capped_run(epsilon, noise, orders):
    try:
        cap = budget_cap(BudgetKind.RDP, epsilon=epsilon, delta=DELTA, orders=orders)
    except BadInput:
        return
    run = capped_run(BudgetKind.RDP, epsilon=epsilon, delta=DELTA, orders=orders, neighbouring="replace-one")
    unit = event_cost(BudgetKind.RDP, GaussianEvent(noise), orders=orders)
    most = min(c // u for c, u in zip(cap, unit, strict=True))
    if most:
        asked = [1.5, 3.0, *orders]
        assert np.all(GaussianEvent(noise, 1, most).rdp(asked) <= run.rdp(asked) * (1 + 1e-12))


def test_terms_that_no_budget_has_are_refused():
    with pytest.raises(BadInput, match="replace-one, add-or-remove-one"):
        capped_run(BudgetKind.ZCDP, epsilon=1.0, delta=DELTA, neighbouring="users")
    with pytest.raises(BadInput):
        capped_run(BudgetKind.RDP, epsilon=1.0, delta=DELTA, neighbouring="replace-one")
    with pytest.raises(BadInput):
        capped_run("renyi", epsilon=1.0, delta=DELTA, neighbouring="replace-one")


# ---- unlike candidates


def test_the_worst_of_unlike_runs_is_above_each():
    runs = [
        GaussianEvent(5.0),
        PureDpEvent(0.5),
        CurveEvent((4.0, 9.75, 32.0), (0.1, 0.2, 2.0), ("replace-one",)),
        ZcdpEvent(3_000_000),
    ]
    worst = worst_of(runs)
    asked = [1.5, 4.0, 9.75, 11.3, 32.0]
    assert worst.relations == {Relation.REPLACE_ONE} and worst.orders[-1] == 32.0 and 9.75 in worst.orders
    for run in runs:
        assert np.all(worst.rdp(asked) >= run.rdp(asked) * (1 - 1e-12))
    np.testing.assert_array_equal(
        worst.rdp([4.0, 9.75, 32.0]), np.max([run.rdp([4.0, 9.75, 32.0]) for run in runs], axis=0)
    )
    assert worst_of([runs[0]] * 3) == runs[0]


def test_runs_that_cannot_be_compared_are_refused():
    with pytest.raises(BadInput, match="at least one run"):
        worst_of([])
    with pytest.raises(BadInput, match="no neighbouring relation"):
        worst_of([SubsampledGaussianEvent(1.0, 0.01, 10), ZcdpEvent(5, ("replace-one",))])
    with pytest.raises(BadInput, match="no order in common"):
        worst_of([SmoothSensitivityEvent(0.4, 6.0), GaussianEvent(5.0)])


# ---- in a ledger


@pytest.fixture
def ledger(tmp_path):
    with Ledger(f"sqlite:///{tmp_path}/ledger.db") as opened:
        yield opened


RUN = capped_run(BudgetKind.GAUSSIAN, epsilon=1.0, delta=DELTA, neighbouring="replace-one")


def grant(ledger, search, *, share=1.0, **terms):
    terms = {"kind": BudgetKind.RDP, "orders": (best_order(search, DELTA),), **terms}
    ledger.grant("scans", epsilon=share * selection_epsilon(search, DELTA), delta=DELTA, by="officer", **terms)


@pytest.mark.parametrize("shape", [0.0, 1.0, None])
def test_a_search_is_charged_once_and_fills_its_budget(ledger, tmp_path, shape):
    search = selection_event(RUN, mean=16, shape=shape)
    grant(ledger, search, share=1 + 1e-6)
    assert ledger.would_fit("scans", search) == 1
    receipt = ledger.charge("scans", key="search", event=search, purpose="search")
    assert ledger.charge("scans", key="search", event=search, purpose="search").replayed
    assert ledger.budget("scans").spent_epsilon == pytest.approx(selection_epsilon(search, DELTA), rel=1e-6)
    assert ledger.budget("scans").spent_epsilon >= selection_epsilon(search, DELTA)
    with pytest.raises(BudgetExhausted):
        ledger.charge("scans", key="again", event=search, purpose="search")
    with Ledger(f"sqlite:///{tmp_path}/ledger.db") as again:
        assert again.verify().ok and again.budget("scans").spent == receipt.cost
        assert again.entries()[-1].content["event"] == search.to_json()


def test_a_search_beyond_its_budget_is_refused(ledger):
    search = selection_event(RUN, mean=16)
    grant(ledger, search, share=1 - 1e-4)
    with pytest.raises(BudgetExhausted):
        ledger.charge("scans", key="search", event=search, purpose="search")
    assert ledger.budget("scans").spent == (0,) and ledger.would_fit("scans", search) == 0


def test_the_same_key_with_more_trials_is_another_charge(ledger):
    search = selection_event(RUN, mean=16)
    grant(ledger, search, share=4.0)
    ledger.charge("scans", key="search", event=search, purpose="search")
    with pytest.raises(BadInput, match="another charge"):
        ledger.charge("scans", key="search", event=selection_event(RUN, mean=17), purpose="search")


def test_a_search_fits_no_budget_of_rho_and_no_other_neighbours(ledger):
    search = selection_event(RUN, mean=16)
    ledger.grant("rho", epsilon=9.0, delta=DELTA, kind=BudgetKind.ZCDP, by="officer")
    with pytest.raises(BadInput, match="kind 'zcdp'"):
        ledger.charge("rho", key="search", event=search, purpose="search")
    grant(ledger, search, share=2.0, neighbouring="add-or-remove-one")
    with pytest.raises(BadInput, match="does not fit a budget with these neighbours"):
        ledger.charge("scans", key="search", event=search, purpose="search")


def test_a_budget_beyond_the_orders_of_the_base_refuses_the_search(ledger):
    run = capped_run(BudgetKind.RDP, epsilon=1.0, delta=DELTA, orders=(16.0,), neighbouring="replace-one")
    search = selection_event(run, mean=16)
    assert search.orders == (16.0,) and best_order(search, DELTA) == 16.0
    grant(ledger, search, share=2.0, orders=(16.5,))
    with pytest.raises(BadInput, match="no finite cost"):
        ledger.charge("scans", key="search", event=search, purpose="search")
