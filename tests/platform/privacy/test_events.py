import json
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stillhouse.platform.errors import BadInput
from stillhouse.platform.privacy.budget import BudgetKind, event_cost
from stillhouse.platform.privacy.distributed_event import DistributedGaussianEvent, SkellamEvent
from stillhouse.platform.privacy.events import (
    Event,
    GaussianEvent,
    PureDpEvent,
    SelectionEvent,
    SmoothSensitivityEvent,
    SubsampledGaussianEvent,
    event_from_json,
)
from stillhouse.platform.privacy.neighbours import Relation
from stillhouse.platform.privacy.one_teacher_event import OneTeacherEvent
from stillhouse.platform.privacy.sampled_silos_event import SampledSilosEvent

ORDERS = [1.5, 2.0, 4.0, 8.0, 32.0]
EXAMPLES = [
    GaussianEvent(40.0, 2, 3),
    GaussianEvent(40.0, holds_for=(Relation.ADD_OR_REMOVE_ONE,)),
    PureDpEvent(0.1, 2),
    SubsampledGaussianEvent(1.0, 0.01, 100),
    SmoothSensitivityEvent(0.01, 6.0),
    SelectionEvent(SubsampledGaussianEvent(1.0, 0.01, 100), 10.0, 1.0),
    SelectionEvent(GaussianEvent(4.0), 5.0),
]


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda e: e.kind)
def test_json_gives_the_same_event_back(event):
    assert event_from_json(json.loads(json.dumps(event.to_json(), allow_nan=False))) == event
    assert isinstance(event, Event)


BOTH = frozenset(Relation)
ONLY_ADD_OR_REMOVE = frozenset({Relation.ADD_OR_REMOVE_ONE})


@pytest.mark.parametrize(
    ("event", "relations"),
    list(
        zip(EXAMPLES, [BOTH, ONLY_ADD_OR_REMOVE, BOTH, ONLY_ADD_OR_REMOVE, BOTH, ONLY_ADD_OR_REMOVE, BOTH], strict=True)
    ),
    ids=lambda e: getattr(e, "kind", ""),
)
def test_a_kind_knows_the_neighbours_its_cost_is_proven_for(event, relations):
    assert event.relations == relations
    assert event.times(3).relations == relations
    assert SelectionEvent(SelectionEvent(event, 2.0), 2.0).relations == relations
    assert "relations" not in event.to_json()


def test_a_gaussian_that_holds_for_all_neighbours_keeps_the_form_that_older_ledgers_hold():
    old = '{"kind": "gaussian", "sigma": 40.0, "squared_sensitivity": 2, "count": 3}'
    assert json.dumps(GaussianEvent(40.0, 2, 3).to_json()) == old
    assert (
        event_from_json(json.loads(old))
        == GaussianEvent(40.0, 2, 3)
        == GaussianEvent(40.0, 2, 3, tuple(Relation)[::-1])
    )
    told = GaussianEvent(40.0, 2, 3, (Relation.ADD_OR_REMOVE_ONE,))
    assert json.dumps(told.to_json()) == old[:-1] + ', "holds_for": ["add-or-remove-one"]}'
    assert told != GaussianEvent(40.0, 2, 3) and told.nano_rho() == GaussianEvent(40.0, 2, 3).nano_rho()


def test_the_curve_of_dp_sgd_holds_for_a_removed_record_and_not_for_a_replaced_one():
    """One step on one clipped gradient of length 1, integrated: against none (within the curve), against its opposite (above)."""
    sigma, rate, order = 1.0, 0.2, 8.0
    x = np.linspace(-25, 25, 200_001)

    def output(gradient):
        at_rest, moved = (-((x - mean) ** 2) / (2 * sigma**2) for mean in (0.0, gradient))
        log_density = np.logaddexp(math.log(1 - rate) + at_rest, math.log(rate) + moved)
        return log_density - math.log(sigma * math.sqrt(2 * math.pi))

    def divergence(log_p, log_q):
        return math.log(np.sum(np.exp(order * log_p + (1 - order) * log_q)) * (x[1] - x[0])) / (order - 1)

    stated = SubsampledGaussianEvent(sigma, rate, 1).rdp([order])[0]
    assert divergence(output(1.0), output(0.0)) == pytest.approx(stated, rel=1e-6)
    assert divergence(output(0.0), output(1.0)) <= stated
    assert divergence(output(1.0), output(-1.0)) > 1.05 * stated


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda e: e.kind)
def test_times_multiplies_every_cost(event):
    many = event.times(7)
    assert many.count == 7 * event.count
    np.testing.assert_allclose(many.rdp(ORDERS), 7 * event.rdp(ORDERS), rtol=1e-9)
    if event.nano_rho() is not None:
        assert many.nano_rho() == 7 * event.nano_rho()


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"kind": "unknown"},
        {"kind": ["gaussian"]},
        {"kind": "gaussian"},
        {"kind": "gaussian", "sigma": 1.0, "colour": 1},
        {"kind": "gaussian", "sigma": "1"},
        {"kind": "gaussian", "sigma": 0.0},
        {"kind": "gaussian", "sigma": 1.0, "count": 0},
        {"kind": "gaussian", "sigma": 1.0, "count": -1},
        {"kind": "gaussian", "sigma": 1.0, "squared_sensitivity": 0},
        {"kind": "gaussian", "sigma": 1.0, "holds_for": []},
        {"kind": "gaussian", "sigma": 1.0, "holds_for": ["users"]},
        {"kind": "gaussian", "sigma": 1.0, "holds_for": "replace-one"},
        {"kind": "pure_dp", "epsilon": math.nan},
        {"kind": "selection", "base": {"kind": "nothing"}, "mean": 2.0},
        {"kind": "selection", "base": GaussianEvent(1.0).to_json(), "mean": 2.0, "shape": -1},
        [],
        "gaussian",
    ],
)
def test_json_that_is_no_event_is_refused(data):
    with pytest.raises(BadInput):
        event_from_json(data)


@given(st.floats(1e-3, 1e6), st.integers(1, 4), st.integers(1, 1000))
def test_gaussian_cost_is_the_exact_rational_rounded_up(sigma, squared, count):
    event = GaussianEvent(sigma, squared, count)
    exact = Fraction(squared) / (2 * Fraction(sigma) ** 2) * 10**9
    per_unit, remainder = divmod(event.nano_rho(), count)
    assert remainder == 0
    assert exact <= per_unit < exact + 1
    assert per_unit >= 1


@given(st.floats(1e-6, 20), st.floats(1.01, 500))
def test_pure_dp_curve_is_below_both_classic_bounds_and_above_zero(epsilon, order):
    value = PureDpEvent(epsilon).rdp([order])[0]
    assert 0 <= value <= min(epsilon, order * epsilon**2 / 2)


@given(st.floats(0.05, 5), st.floats(1.5, 40))
def test_pure_dp_curve_is_the_divergence_of_randomised_response(epsilon, order):
    p = 1 / (1 + math.exp(-epsilon))
    exact = math.log(p**order * (1 - p) ** (1 - order) + (1 - p) ** order * p ** (1 - order)) / (order - 1)
    assert PureDpEvent(epsilon).rdp([order])[0] == pytest.approx(exact, rel=1e-8)


def test_smooth_sensitivity_event_is_infinite_where_nothing_is_proven(reference, agree):
    for case in reference["pate"]["gnss_rdp"]:
        i = case["inputs"]
        agree(SmoothSensitivityEvent(i["beta"], i["sigma"]).rdp([i["order"]]), case["outputs"]["rdp"])
    assert SmoothSensitivityEvent(0.1, 3.0).rdp([4.9, 5.0, 6.0]).tolist()[1:] == [math.inf, math.inf]
    assert SmoothSensitivityEvent(0.7, 3.0).rdp([1.1]).tolist() == [math.inf]


def test_dp_events_are_dp_accountings(reference):
    from dp_accounting import dp_event

    assert GaussianEvent(10.0, 2).dp_event() == dp_event.GaussianDpEvent(10 / math.sqrt(2))
    assert isinstance(GaussianEvent(10.0, 2, 3).dp_event(), dp_event.SelfComposedDpEvent)
    with pytest.raises(BadInput):
        SmoothSensitivityEvent(0.1, 3.0).dp_event()


EXTREMES = [5e-324, 1e-200, 1e-150, 1e-99, 1e-20, 1e20, 1e99, 1e155, 1e300, 10**30, 10**400]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "value", EXTREMES, ids=lambda v: f"{v:.0e}" if isinstance(v, float) else f"10^{len(str(v)) - 1}"
)
@pytest.mark.parametrize(
    "make",
    [
        GaussianEvent,
        lambda v: GaussianEvent(v, 4 * 10**8),
        lambda v: GaussianEvent(1.0, squared_sensitivity=math.ceil(v)),
        lambda v: GaussianEvent(1.0, count=math.ceil(v)),
        PureDpEvent,
        lambda v: SubsampledGaussianEvent(v, 0.01, 10),
        lambda v: SmoothSensitivityEvent(0.01, v),
        lambda v: SmoothSensitivityEvent(v, 1.0),
        lambda v: OneTeacherEvent(v, 8, 10),
        lambda v: SampledSilosEvent(v, 0.1, 5),
        lambda v: DistributedGaussianEvent(v, 5),
        SkellamEvent,
    ],
    ids=[
        "gaussian",
        "long",
        "sensitive",
        "often",
        "pure",
        "dp_sgd",
        "smooth",
        "beta",
        "one",
        "silos",
        "shares",
        "skellam",
    ],
)
def test_a_number_beyond_all_measure_has_a_cost_or_is_refused(make, value):
    """No size of noise ends in an overflow or a division by zero."""
    for kind, orders in ((BudgetKind.ZCDP, ()), (BudgetKind.RDP, (2.0, 8.0))):
        try:
            cost = event_cost(kind, make(value), orders=orders)
        except BadInput:
            continue
        assert min(cost) >= 1
