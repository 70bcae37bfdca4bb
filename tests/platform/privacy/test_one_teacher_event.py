"""Asking one of K teachers: the bound against numerical integration, dp-accounting, and the published table of noise."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stillhouse.platform.errors import BadInput
from stillhouse.platform.ledger import Ledger
from stillhouse.platform.privacy.accounting import epsilon_at_orders
from stillhouse.platform.privacy.budget import BudgetKind
from stillhouse.platform.privacy.calibration import one_teacher_noise
from stillhouse.platform.privacy.events import GaussianEvent, event_from_json
from stillhouse.platform.privacy.one_teacher_event import OneTeacherEvent

ORDERS = np.arange(2.0, 65.0)


def renyi(order: float, centres: list[tuple[float, ...]], others: list[tuple[float, ...]], sigma: float) -> float:
    """The Renyi divergence of two equal mixtures of normal variables about these points (1 or 2 coordinates), by quadrature."""
    dimension = len(centres[0])
    reach = max(abs(x) for point in (*centres, *others) for x in point) + 12 * sigma * math.sqrt(order)
    axis = np.linspace(-reach, reach, 4001 if dimension == 1 else 301)
    grids = np.meshgrid(*[axis] * dimension, indexing="ij")

    def log_density(points: list[tuple[float, ...]]) -> np.ndarray:
        terms = [
            sum(-((grid - x) ** 2) / (2 * sigma**2) for grid, x in zip(grids, point, strict=True)) for point in points
        ]
        return (
            np.logaddexp.reduce(terms, axis=0)
            - math.log(len(points))
            - dimension * math.log(sigma * math.sqrt(2 * math.pi))
        )

    p, q = log_density(centres), log_density(others)
    step = (axis[1] - axis[0]) ** dimension
    return math.log(float(np.exp(order * p - (order - 1) * q).sum() * step)) / (order - 1)


@pytest.mark.parametrize("sigma", [0.7, 1.5, 4.0])
@pytest.mark.parametrize("teachers", [2, 3, 10])
def test_it_bounds_one_row_whatever_the_other_teachers_say(sigma: float, teachers: int) -> None:
    """One teacher's answer moves from one end of the ball (length 1 across) to the other; the others sit anywhere in it."""
    for order in (2.0, 3.0, 6.0):
        bound = float(OneTeacherEvent(sigma, 1, teachers).rdp([order])[0])
        exact = []
        for rest in (-0.5, 0.0, 0.5):
            others = [(rest,)] * (teachers - 1)
            exact += [renyi(order, [(a,), *others], [(-a,), *others], sigma) for a in (0.5, -0.5)]
        assert max(exact) <= bound * (1 + 1e-9)
        assert bound <= order / (2 * sigma**2) * (1 + 1e-12)


@pytest.mark.parametrize("teachers", [2, 5])
def test_it_bounds_two_rows_that_share_the_draw(teachers: int) -> None:
    sigma = 1.5
    for order in (2.0, 4.0):
        bound = float(OneTeacherEvent(sigma, 2, teachers).rdp([order])[0])
        for rest in product((-0.5, 0.5), repeat=2):
            others = [rest] * (teachers - 1)
            exact = renyi(order, [(0.5, 0.5), *others], [(-0.5, -0.5), *others], sigma)
            assert exact <= bound * (1 + 1e-9)


def test_amplifying_each_row_would_count_too_little() -> None:
    """What two rows of one draw really cost is more than twice what one row costs: amplification comes last."""
    sigma, teachers, order = 0.7, 10, 2.0
    others = [(-0.5, -0.5)] * (teachers - 1)
    joint = renyi(order, [(0.5, 0.5), *others], [(-0.5, -0.5), *others], sigma)
    alone = renyi(order, [(0.5,), *[(-0.5,)] * (teachers - 1)], [(-0.5,), *[(-0.5,)] * (teachers - 1)], sigma)
    assert joint > 2 * alone
    # At order 2 both are known: ln(1 + q^2 (A - 1)), A = e^(B / sigma^2).
    for rows, found in ((1, alone), (2, joint)):
        assert found == pytest.approx(math.log1p((math.exp(rows / sigma**2) - 1) / teachers**2), rel=1e-6)
    assert float(OneTeacherEvent(sigma, 2, teachers).rdp([order])[0]) >= joint


@pytest.mark.parametrize(("sigma", "rows", "teachers"), [(20.0, 32, 100), (2.6, 32, 1000), (5.0, 1, 10), (1.0, 1, 1)])
def test_dp_accounting_agrees(sigma: float, rows: int, teachers: int) -> None:
    """It knows the same bound, and a stronger one for Gaussian noise (Theorem 27 there): never above ours."""
    from dp_accounting import NeighboringRelation, rdp

    event = OneTeacherEvent(sigma, rows, teachers, count=3)
    orders = [1.5, 2.0, 2.5, 3.0, 8.0, 32.0]
    accountant = rdp.RdpAccountant(orders=orders, neighboring_relation=NeighboringRelation.REPLACE_ONE)
    theirs = np.asarray(accountant.compose(event.dp_event()).rdp)
    ours = event.rdp(orders)
    assert np.all(theirs <= ours * (1 + 1e-9))
    assert ours[:2] == pytest.approx(theirs[:2], rel=1e-9), "up to order 2 there is nothing to strengthen"
    if sigma == 2.6:
        assert ours == pytest.approx(theirs, rel=1e-9)


TABLE = [
    (1, 2000, 10, 136), (1, 2000, 1, 1023), (1, 20000, 10, 430), (1, 20000, 1, 3236),
    (10, 2000, 10, 35.7), (10, 2000, 1, 1023), (10, 20000, 10, 430), (10, 20000, 1, 3236),
    (100, 2000, 10, 4.0), (100, 2000, 1, 26.2), (100, 20000, 10, 9.5), (100, 20000, 1, 3236),
    (1000, 2000, 10, 2.6), (1000, 2000, 1, 5.0), (1000, 20000, 10, 2.9), (1000, 20000, 1, 7.6),
]  # fmt: skip


@pytest.mark.parametrize(("teachers", "steps", "epsilon", "published"), TABLE)
def test_the_table_of_required_noise(teachers: int, steps: int, epsilon: float, published: float) -> None:
    """Batches of 32, delta 1e-5. The table has two or three digits, so 1 % or half of its last digit."""
    found, order = one_teacher_noise(epsilon=epsilon, delta=1e-5, rows=32, teachers=teachers, steps=steps)
    digit = 0.05 if published < 100 else 0.5
    assert abs(found - published) <= max(0.01 * published, digit)
    met = epsilon_at_orders([order], OneTeacherEvent(found, 32, teachers).times(steps).rdp([order]), 1e-5)[0]
    assert epsilon - 1e-3 <= met <= epsilon


@settings(max_examples=40, deadline=None)
@given(
    sigma=st.floats(0.3, 300.0), rows=st.integers(1, 64), teachers=st.integers(1, 2000), count=st.integers(1, 50),
    order=st.floats(1.01, 300.0),
)  # fmt: skip
def test_it_grows_and_falls_as_it_must(sigma: float, rows: int, teachers: int, count: int, order: float) -> None:
    event = OneTeacherEvent(sigma, rows, teachers, count)
    cost = float(event.rdp([order])[0])
    plain = float(GaussianEvent(sigma, 1).times(rows * count).rdp([order])[0])
    assert 0 < cost <= plain * (1 + 1e-12)
    assert cost <= OneTeacherEvent(sigma, rows + 1, teachers, count).rdp([order])[0] * (1 + 1e-12)
    assert cost >= OneTeacherEvent(sigma, rows, teachers + 1, count).rdp([order])[0] * (1 - 1e-12)
    assert cost >= OneTeacherEvent(2 * sigma, rows, teachers, count).rdp([order])[0] * (1 - 1e-12)
    if teachers == 1:
        assert cost == pytest.approx(plain, rel=1e-12)
    assert event_from_json(event.to_json()) == event
    assert event.times(3).rdp([order])[0] == pytest.approx(3 * cost)


def test_a_record_that_is_not_there_moves_the_answer_by_no_more_than_another_one_does() -> None:
    """Under add or remove one the teacher may be missing, which counts as the centre: one point of the ball, as any other record's."""
    for order, sigma, teachers in product((2.0, 6.0), (0.7, 2.0), (2, 5)):
        bound = float(OneTeacherEvent(sigma, 1, teachers).rdp([order])[0])
        for rest, a in product((-0.5, 0.0, 0.5), (0.5, -0.5)):
            others = [(rest,)] * (teachers - 1)
            for pair in (([(a,), *others], [(0.0,), *others]), ([(0.0,), *others], [(a,), *others])):
                assert renyi(order, *pair, sigma) <= bound * (1 + 1e-9)


def test_the_ledger_keeps_it_under_both_relations_where_budgets_are_curves(tmp_path) -> None:
    multiplier, order = one_teacher_noise(epsilon=2.0, delta=1e-5, rows=8, teachers=50, steps=20)
    event = OneTeacherEvent(multiplier, 8, 50)
    with Ledger(f"sqlite:///{tmp_path}/ledger.db") as ledger:
        terms = {"epsilon": 2.0, "delta": 1e-5, "kind": BudgetKind.RDP, "orders": (order,), "by": "officer"}
        ledger.grant("scans", **terms)
        assert 19 <= ledger.would_fit("scans", event) <= 20, "the plan it was calibrated for, up to a billionth a step"
        ledger.charge("scans", key="step", event=event, purpose="a step")
        assert ledger.verify().ok
        ledger.grant("other", **terms, neighbouring="add-or-remove-one")
        assert 19 <= ledger.would_fit("other", event) <= 20
        ledger.grant("third", epsilon=2.0, delta=1e-5, by="officer")
        with pytest.raises(BadInput):
            ledger.would_fit("third", event)
    with Ledger(f"sqlite:///{tmp_path}/ledger.db") as ledger:
        [_, _, _, entry] = sorted(ledger.entries(), key=lambda entry: entry.what == "charge")
        assert event_from_json(entry.content["event"]) == event


def test_wrong_settings_are_refused() -> None:
    for wrong in ((0.0, 1, 1), (1.0, 0, 1), (1.0, 1, 0), (math.nan, 1, 1), (1.0, 1.5, 1)):
        with pytest.raises(BadInput):
            OneTeacherEvent(*wrong)
