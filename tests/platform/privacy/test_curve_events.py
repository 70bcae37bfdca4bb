import json

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from stillhouse.platform.errors import BadInput
from stillhouse.platform.privacy.budget import BudgetKind, event_cost
from stillhouse.platform.privacy.curve_events import CurveEvent, ZcdpEvent
from stillhouse.platform.privacy.events import Event, GaussianEvent, SubsampledGaussianEvent, event_from_json
from stillhouse.platform.privacy.neighbours import Relation

EXAMPLES = [
    CurveEvent((2.0, 4.0, 32.0), (0.1, 0.1, 1.5), (Relation.REPLACE_ONE,)),
    CurveEvent([7.0], [np.float64(0.25)], count=3),
    ZcdpEvent(125_000_000),
    ZcdpEvent(np.int64(7), ("add-or-remove-one",), 2),
]


@pytest.mark.parametrize("event", EXAMPLES, ids=str)
def test_json_gives_the_same_event_back(event):
    again = event_from_json(json.loads(json.dumps(event.to_json(), allow_nan=False)))
    assert again == event and hash(again) == hash(event)
    assert again.relations == event.relations
    assert isinstance(event, Event)


def test_json_as_ledgers_hold_it():
    assert json.dumps(EXAMPLES[0].to_json()) == (
        '{"kind": "renyi_curve", "orders": [2.0, 4.0, 32.0], "values": [0.1, 0.1, 1.5], '
        '"holds_for": ["replace-one"], "count": 1}'
    )
    assert (
        json.dumps(EXAMPLES[3].to_json())
        == '{"kind": "zcdp", "nano": 7, "holds_for": ["add-or-remove-one"], "count": 2}'
    )


@pytest.mark.parametrize("event", EXAMPLES, ids=str)
def test_times_multiplies_every_cost(event):
    many = event.times(5)
    assert many.count == 5 * event.count and many.relations == event.relations
    np.testing.assert_allclose(many.rdp([1.5, 2.0, 7.0]), 5 * event.rdp([1.5, 2.0, 7.0]), rtol=1e-12)


BASES = st.sampled_from([GaussianEvent(3.0), GaussianEvent(40.0, 2, 100), SubsampledGaussianEvent(1.0, 0.01, 50)])


@example(SubsampledGaussianEvent(1.0, 0.01, 50), [2.0, 2.0000000000000004], [2.0])
@given(
    BASES,
    st.lists(st.floats(2.0, 60.0), min_size=1, max_size=6, unique=True),
    st.lists(st.floats(1.5, 80.0), min_size=1, max_size=6),
)
def test_a_curve_known_at_some_orders_is_never_below_the_whole_one(base, known, asked):
    known = sorted(known)
    bound = CurveEvent(tuple(known), tuple(base.rdp(known))).rdp(asked)
    exact = base.rdp(asked)
    assert np.all(bound >= exact * (1 - 1e-9))
    np.testing.assert_array_equal(np.isinf(bound), np.asarray(asked) > known[-1])
    # Between orders one bit apart a computed curve may fall by its rounding (some 1e-14); the event takes the smaller value.
    np.testing.assert_allclose(CurveEvent(tuple(known), tuple(base.rdp(known))).rdp(known), base.rdp(known), rtol=1e-12)


def test_a_smaller_value_at_a_larger_order_holds_below_too():
    assert CurveEvent((2.0, 4.0, 8.0), (0.5, 0.3, 0.4)).rdp([1.1, 2.0, 4.0, 5.0, 8.0]).tolist() == [
        0.3,
        0.3,
        0.3,
        0.4,
        0.4,
    ]


def test_costs_in_budgets():
    assert event_cost(BudgetKind.ZCDP, ZcdpEvent(625_000, count=3)) == (1_875_000,)
    assert event_cost(BudgetKind.RDP, ZcdpEvent(625_000), orders=(4.0,))[0] >= 2_500_000
    with pytest.raises(BadInput, match="no zCDP cost"):
        event_cost(BudgetKind.ZCDP, EXAMPLES[0])
    for event in EXAMPLES:
        with pytest.raises(BadInput, match="kind 'gaussian'"):
            event_cost(BudgetKind.GAUSSIAN, event)
    with pytest.raises(BadInput, match="no finite cost"):
        event_cost(BudgetKind.RDP, EXAMPLES[0], orders=(2.0, 33.0))


def test_dp_events():
    from dp_accounting import dp_event

    assert ZcdpEvent(125_000_000, count=2).dp_event() == dp_event.ZCDpEvent(0.25)
    with pytest.raises(BadInput, match="no dp-accounting event"):
        EXAMPLES[0].dp_event()


CURVE = {"kind": "renyi_curve", "orders": [2.0, 4.0], "values": [0.1, 0.2], "holds_for": ["replace-one"]}


@pytest.mark.parametrize(
    "change",
    [
        {"orders": []},
        {"orders": [4.0, 2.0]},
        {"orders": [2.0, 2.0]},
        {"orders": [1.0, 2.0]},
        {"orders": ["2", "4"]},
        {"orders": "24"},
        {"orders": None},
        {"orders": 2.0},
        {"orders": [2.0, float("inf")]},
        {"values": [0.1]},
        {"values": [0.1, -0.2]},
        {"values": [0.1, float("nan")]},
        {"values": [0.1, float("inf")]},
        {"values": [0.0, 0.0]},
        {"values": ["0.1", "0.2"]},
        {"values": None},
        {"holds_for": []},
        {"holds_for": ["users"]},
        {"holds_for": "replace-one"},
        {"count": 0},
        {"colour": 1},
        {"kind": "zcdp"},
    ],
    ids=str,
)
def test_json_that_is_no_curve_is_refused(change):
    event_from_json(CURVE)
    with pytest.raises(BadInput):
        event_from_json({**CURVE, **change})


@pytest.mark.parametrize("nano", [0, -1, 1.5, True, "7"])
def test_a_zcdp_total_is_a_whole_number(nano):
    with pytest.raises(BadInput):
        event_from_json({"kind": "zcdp", "nano": nano})
