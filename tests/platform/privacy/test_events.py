import json
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stillhouse.platform.errors import BadInput
from stillhouse.platform.privacy.events import (
    Event,
    GaussianEvent,
    PureDpEvent,
    SelectionEvent,
    SmoothSensitivityEvent,
    SubsampledGaussianEvent,
    event_from_json,
)

ORDERS = [1.5, 2.0, 4.0, 8.0, 32.0]
EXAMPLES = [
    GaussianEvent(40.0, 2, 3),
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
