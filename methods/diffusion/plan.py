"""What each variant charges, made before anything is spent: the noise that a target epsilon calls for, and the statement.

All rows of one question to the teachers come from the same shards, so a record moves all of them together. Where all teachers answer
(V3, V4), n rows with noise sigma 2C cost as n Gaussian releases of multiplier sigma. Where one of K teachers is drawn (V2), the rows of
a step share the draw: they are composed first, sigma / sqrt(B), and amplified by q = 1/K afterwards. (Amplifying each row and
multiplying by B counts too little: it would give each row a draw of its own.)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ...platform.errors import BadInput, BudgetExhausted
from ...platform.privacy.accounting import plan_epsilon
from ...platform.privacy.budget import BudgetKind, near_optimal_orders
from ...platform.privacy.calibration import smallest_scale
from ...platform.privacy.events import Event
from ...platform.privacy.statement import PrivacyStatement, Release, epsilon_up
from ...platform.privacy.vector_mean import VectorMean
from ...platform.training.run import Run
from ..transfer import BudgetTerms, TransferData

Named = tuple[str, Event]
TARGETS = "noisy means of the teachers' clipped estimates"
GRADIENTS = "noisy means of the teachers' clipped gradients"
ONE_GRADIENT = "clipped and noised gradients of one teacher, drawn in secret"
AFFORDABLE = "ask for less, or raise the budget with `stillhouse ledger grant`"


@dataclass(frozen=True)
class Plan:
    """Everything that is charged, at the noise multiplier it is charged for."""

    events: tuple[Named, ...]
    noise_multiplier: float
    neighbouring: str
    orders: tuple[float, ...] = ()

    def epsilon(self, delta: float) -> float:
        """Epsilon of the whole plan, data-independent; by the budget's own orders where it is kept as a curve."""
        events = [event for _, event in self.events]
        return plan_epsilon(events, delta, orders=self.orders) if self.orders else plan_epsilon(events, delta)

    def statement(self, delta: float) -> PrivacyStatement:
        """What may be said of everything that follows from these events alone."""
        exact = all(event.gaussian for _, event in self.events)
        releases = [
            Release(name, event.to_json(), Plan(((name, event),), 0.0, self.neighbouring, self.orders).epsilon(delta))
            for name, event in self.events
        ]
        return PrivacyStatement.of_releases(
            self.epsilon(delta), delta, releases=releases, neighbouring=self.neighbouring,
            accounting="the plan's, data-independent, "
            + ("exact conversion of a Gaussian plan" if exact else "Renyi, tight conversion"),
        )  # fmt: skip


def make_plan(
    events: Callable[[float], Sequence[Named]], terms: BudgetTerms, *, epsilon: float, delta: float,
    noise_multiplier: float | None,
) -> Plan:  # fmt: skip
    """Return the plan with the least noise that `epsilon` allows, or with the noise that is given.

    Raises:
        BudgetExhausted: with that noise the plan costs more than `epsilon`; nothing was spent.
    """
    if noise_multiplier is None:
        if not math.isfinite(epsilon):
            raise BadInput("no target epsilon", mend="set privacy.target_epsilon, or method.noise_multiplier")
        noise_multiplier = smallest_scale(
            lambda scale: [event for _, event in events(scale)], epsilon=epsilon, delta=delta, kind=terms.kind,
            orders=terms.orders,
        )  # fmt: skip
    plan = Plan(tuple(events(noise_multiplier)), noise_multiplier, terms.neighbouring, terms.orders)
    if plan.epsilon(delta) > epsilon * (1 + 1e-9):
        raise BudgetExhausted(
            f"the plan costs epsilon {epsilon_up(plan.epsilon(delta))} at delta {delta:g} ({plan.neighbouring}), "
            f"the target is {epsilon:g}",
            why="; ".join(
                f"{name}: {epsilon_up(plan_epsilon([event], delta), digits=3)} alone" for name, event in plan.events
            ),
            mend="leave method.noise_multiplier empty, or ask for less",
        )
    return plan


def refuse_unless_affordable(plan: Plan, data: TransferData, run: Run, key: dict[str, Any]) -> None:
    """See, before the first question, whether the whole plan fits into what is left; kept, so that a restart does not count twice.

    Where the silos are elsewhere nobody here sees their ledger: there the aggregator refuses the question that does not fit any more,
    and what was asked until then is spent.

    Raises:
        BudgetExhausted: it does not fit; nothing was spent.
    """

    def see() -> dict[str, float]:
        if data.curator is not None:
            data.curator.refuse_unless_affordable(plan.events, mend=AFFORDABLE)
        return {"epsilon": plan.epsilon(data.delta), "noise_multiplier": plan.noise_multiplier}

    run.stage("plan", see, inputs=key | {"noise_multiplier": plan.noise_multiplier}, once=True)


def vector_events(
    name: str, mechanism: VectorMean, *, rows: int, width: int, teachers: int, times: int = 1
) -> list[Named]:
    """Events of asking `times` times for `rows` rows of `width` numbers each, as the aggregator charges them."""
    return [(name, mechanism.event(rows=rows, width=width, teachers=teachers).times(times))]


def dpsgd_terms(neighbouring: str, *, epsilon: float, delta: float) -> BudgetTerms:
    """The budget for DP-SGD."""
    return BudgetTerms(BudgetKind.RDP, near_optimal_orders(epsilon, delta), neighbouring)
