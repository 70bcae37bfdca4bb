"""From a target epsilon to the noise that meets it, counted in the ledger's own whole numbers.

A plan calibrated here fits the budget of the same epsilon exactly: costs are rounded up and caps down in the same way.

>>> sigma = gnmax_sigma(epsilon=2.0, delta=1e-5, answers=200)
>>> round(sigma, 3)
39.876
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from ..errors import BadInput
from .accounting import epsilon_at_orders
from .budget import BudgetKind, budget_cap, event_cost
from .events import Event, SubsampledGaussianEvent
from .mechanisms import ConfidentGNMax, GNMax, LNMax
from .one_teacher_event import OneTeacherEvent
from .validate import non_negative, positive, positive_int, probability

_WIDEST = 1e9
# Whole ones, at which the bound of `OneTeacherEvent` is not a chord.
_ONE_TEACHER_ORDERS = tuple(float(order) for order in range(2, 257))


def smallest_scale(
    plan: Callable[[float], Sequence[Event]],
    *,
    epsilon: float,
    delta: float,
    kind: BudgetKind = BudgetKind.GAUSSIAN,
    orders: Sequence[float] = (),
) -> float:
    """The smallest noise scale at which `plan(scale)` fits a budget of this epsilon, to 1 part in 10^12."""
    cap = budget_cap(kind, epsilon=epsilon, delta=delta, orders=orders)

    def fits(scale: float) -> bool:
        costs = [event_cost(kind, event, orders=orders) for event in plan(scale)]
        return all(sum(column) <= limit for column, limit in zip(zip(*costs, strict=True), cap, strict=True))

    low, high = 1e-9, 1.0
    while not fits(high):
        low, high = high, 2 * high
        if high > _WIDEST:
            raise BadInput(
                "no noise is wide enough for this plan",
                why="each event costs at least one unit, and there are more events than units",
                mend="ask fewer queries or raise epsilon",
            )
    while high - low > 1e-12 * high:
        middle = (low + high) / 2
        if fits(middle):
            high = middle
        else:
            low = middle
    return high


def gnmax_sigma(*, epsilon: float, delta: float, answers: int) -> float:
    """Sigma of GNMax for this many answers."""
    positive_int(answers=answers)
    return smallest_scale(lambda s: [GNMax(s).answer_event().times(answers)], epsilon=epsilon, delta=delta)


def lnmax_scale(*, epsilon: float, delta: float, answers: int) -> float:
    """Scale of LNMax for this many answers, under a zCDP budget."""
    positive_int(answers=answers)
    return smallest_scale(
        lambda s: [LNMax(s).answer_event().times(answers)], epsilon=epsilon, delta=delta, kind=BudgetKind.ZCDP
    )


def confident_gnmax(
    *, epsilon: float, delta: float, asked: int, answers: int, threshold: float, check_to_answer: float = 3.75
) -> ConfidentGNMax:
    """Confident-GNMax that can ask `asked` queries and answer `answers`, with sigma1 = check_to_answer * sigma2."""
    positive_int(asked=asked)
    non_negative(answers=answers, threshold=threshold)
    positive(check_to_answer=check_to_answer)
    if answers > asked:
        raise BadInput(f"{answers} answers to {asked} queries", why="a query is answered once at most")

    def plan(scale: float) -> list[Event]:
        mechanism = ConfidentGNMax(threshold, check_to_answer * scale, scale)
        check = mechanism.check_event()
        assert check is not None
        return [check.times(asked), *([mechanism.answer_event().times(answers)] if answers else [])]

    sigma = smallest_scale(plan, epsilon=epsilon, delta=delta)
    return ConfidentGNMax(threshold, check_to_answer * sigma, sigma)


def dpsgd_noise_multiplier(*, epsilon: float, delta: float, sample_rate: float, steps: int) -> float:
    """Noise multiplier of DP-SGD by dp-accounting's Renyi accountant (add-or-remove-one record)."""
    from dp_accounting import LowerEndpointAndGuess, calibrate_dp_mechanism, mechanism_calibration, rdp

    positive(epsilon=epsilon)
    probability(delta=delta, sample_rate=sample_rate)
    positive_int(steps=steps)
    try:
        found = calibrate_dp_mechanism(
            rdp.RdpAccountant,
            lambda multiplier: SubsampledGaussianEvent(float(multiplier), sample_rate, steps).dp_event(),
            epsilon,
            delta,
            LowerEndpointAndGuess(0.05, 1.0),
        )
    except mechanism_calibration.NoBracketIntervalFoundError:
        raise BadInput(
            f"no noise multiplier above 0.05 gives epsilon {epsilon}",
            mend="choose a smaller epsilon or fewer steps",
        ) from None
    return float(found)


def one_teacher_noise(*, epsilon: float, delta: float, rows: int, teachers: int, steps: int) -> tuple[float, float]:
    """The least noise multiplier at which `steps` questions to one of the teachers meet epsilon, and the Renyi order that shows it.

    A budget of kind "rdp" for such a training is best kept at that one order (see `budget.near_optimal_orders`).
    """
    positive(epsilon=epsilon)
    probability(delta=delta)
    step = OneTeacherEvent(1.0, rows, teachers).times(steps)

    def proven(multiplier: float) -> np.ndarray:
        curve = replace(step, noise_multiplier=multiplier).rdp(_ONE_TEACHER_ORDERS)
        return epsilon_at_orders(_ONE_TEACHER_ORDERS, curve, delta)

    low, high = 1e-6, 1.0
    while proven(high).min() > epsilon:
        low, high = high, 2 * high
        if high > _WIDEST:
            raise BadInput(f"no noise meets epsilon {epsilon} at these orders", mend="raise epsilon or delta")
    while high - low > 1e-9 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if proven(middle).min() <= epsilon else (middle, high)
    return high, _ONE_TEACHER_ORDERS[int(np.argmin(proven(high)))]
