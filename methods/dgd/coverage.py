"""What DGD's guarantee covers: the plan of charged events, made before anything is spent, and the statement that follows from it.

"Data-free" says how the generator is trained, not what it knows: all that it learns comes from the baseline classifier, hence from the
records. So the labels' epsilon is the student's only where the generator's stream is public, private, or itself bought by votes:

| coverage | the generator's stream | the student's epsilon |
| --- | --- | --- |
| labels_only | a classifier trained without noise (the paper) | infinite |
| dpsgd_baseline | a classifier trained by DP-SGD, charged | DP-SGD and labels together |
| fed_dp_baseline | a classifier trained by DP-FedAvg over the silos, charged | DP-FedAvg and labels together |
| bootstrap_student | a student taught by votes on procedural images | both rounds of votes together |
| public_inputs | none: procedural images | the labels' |
| split_records | one trained without noise on records kept from the teachers | the labels', for the others; infinite for these |

DP-SGD is accounted for adding or removing one record, everything else for replacing one. Under `fed_dp_baseline` that is so
throughout: a record is in one silo, whose update, and whose teacher's vote, may then change in any way. So these events compose as
they stand.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from ...platform.errors import BadInput, BudgetExhausted
from ...platform.privacy.accounting import plan_epsilon
from ...platform.privacy.budget import BudgetKind, budget_cap, event_cost, near_optimal_orders
from ...platform.privacy.calibration import smallest_scale
from ...platform.privacy.events import Event, SubsampledGaussianEvent
from ...platform.privacy.mechanisms import Mechanism
from ...platform.privacy.statement import ADD_OR_REMOVE, REPLACE_ONE, UNCOVERED, PrivacyStatement, Release, epsilon_up
from ...platform.privacy.sums import sums_event
from ...platform.training.fedavg import FedAvg
from ..federated import PURPOSE as FEDERATED
from ..federated import least_noise
from ..pate.statement import label_events
from ..transfer import BudgetTerms
from .baseline import NON_PRIVATE

Named = tuple[str, Event]


class Coverage(StrEnum):
    """How far the guarantee reaches."""

    LABELS_ONLY = "labels_only"
    DPSGD_BASELINE = "dpsgd_baseline"
    FED_DP_BASELINE = "fed_dp_baseline"
    BOOTSTRAP_STUDENT = "bootstrap_student"
    PUBLIC_INPUTS = "public_inputs"
    SPLIT_RECORDS = "split_records"

    @property
    def neighbouring(self) -> str:
        """The relation that its accounting is about: DP-SGD's is adding or removing a record, federated averaging's replacing one."""
        return ADD_OR_REMOVE if self is Coverage.DPSGD_BASELINE else REPLACE_ONE

    @property
    def private_baseline(self) -> bool:
        """Whether a baseline classifier is trained with noise, so that all it says is free."""
        return self in (Coverage.DPSGD_BASELINE, Coverage.FED_DP_BASELINE)

    @property
    def has_baseline(self) -> bool:
        """Whether a baseline classifier is trained."""
        return self not in (Coverage.BOOTSTRAP_STUDENT, Coverage.PUBLIC_INPUTS)

    def terms(self, *, epsilon: float, delta: float) -> BudgetTerms | None:
        """The budget it needs; None where any budget for votes will do."""
        if self is not Coverage.DPSGD_BASELINE:
            return None
        return BudgetTerms(BudgetKind.RDP, near_optimal_orders(epsilon, delta), ADD_OR_REMOVE)


@dataclass(frozen=True)
class Plan:
    """Everything that may be charged, at most; its epsilon holds before the first draw and whatever the answers are."""

    events: tuple[Named, ...]
    noise_multiplier: float | None = None

    def epsilon(self, delta: float) -> float:
        """Epsilon of the whole plan, by a data-independent bound."""
        return plan_epsilon([event for _, event in self.events], delta)


def label_plan(mechanism: Mechanism, *, queries: int, answers: int, epsilon: float, delta: float) -> Plan:
    """Return the plan of the labels alone.

    Raises:
        BudgetExhausted: they cost more than `epsilon`; the message says how many would fit.
    """
    plan = Plan(tuple(label_events(mechanism, asked=queries, answered=answers)))
    if plan.epsilon(delta) > epsilon:
        raise _too_many(
            mechanism, queries, answers, epsilon, delta, fits=lambda named: Plan(tuple(named)).epsilon(delta) <= epsilon
        )
    return plan


def dpsgd_plan(
    mechanism: Mechanism, *, queries: int, answers: int, epsilon: float, delta: float,
    sample_rate: float, steps: int, moments_sigma: float | None, noise_multiplier: float | None,
) -> Plan:  # fmt: skip
    """Return the plan of DP-SGD, moments and labels; DP-SGD gets what the others leave, unless its noise is given.

    Raises:
        BudgetExhausted: the plan costs more than `epsilon`; the message says what would fit.
    """
    labels = label_events(mechanism, asked=queries, answered=answers) if queries else []
    moments: list[Named] = (
        [("joint moments of labels and features", sums_event(moments_sigma))] if moments_sigma else []
    )
    orders = near_optimal_orders(epsilon, delta)

    def events(multiplier: float) -> list[Named]:
        return [
            ("baseline classifier by DP-SGD", SubsampledGaussianEvent(multiplier, sample_rate, steps)),
            *moments,
            *labels,
        ]

    kind = BudgetKind.RDP
    cap = budget_cap(kind, epsilon=epsilon, delta=delta, orders=orders)

    def leaves_room(named: Sequence[Named]) -> bool:
        """Whether DP-SGD would have a part of the budget, too."""
        costs = [event_cost(kind, event, orders=orders) for _, event in named]
        totals = [sum(column) for column in zip(*costs, strict=True)]
        return all(total < limit for total, limit in zip(totals, cap, strict=True)) if costs else True

    if not leaves_room(moments):
        alone = epsilon_up(Plan(tuple(moments)).epsilon(delta))
        raise BudgetExhausted(
            f"the joint moments alone cost epsilon {alone} at delta {delta:g} ({ADD_OR_REMOVE}), the target is {epsilon:g}",
            why="nothing would be left for DP-SGD and queries; nothing was spent",
            mend="raise method.moments_sigma, or set it to null",
        )
    if not leaves_room([*moments, *labels]):
        raise _too_many(
            mechanism, queries, answers, epsilon, delta, fits=lambda named: leaves_room([*moments, *named]),
            beside="DP-SGD, which needs a part of it" + (", and the joint moments" if moments else ""),
        )  # fmt: skip
    if noise_multiplier is None:
        noise_multiplier = smallest_scale(
            lambda scale: [event for _, event in events(scale)], epsilon=epsilon, delta=delta, kind=kind, orders=orders
        )
    plan = Plan(tuple(events(noise_multiplier)), noise_multiplier)
    _refuse_above(plan, epsilon, delta, ADD_OR_REMOVE)
    return plan


def federated_plan(
    mechanism: Mechanism, *, queries: int, answers: int, epsilon: float, delta: float, server: FedAvg, noise_multiplier: float | None
) -> Plan:  # fmt: skip
    """Return the plan of DP-FedAvg and labels, all about replacing one record; DP-FedAvg gets what the labels leave, unless its
    noise is given.

    Raises:
        BudgetExhausted: the plan costs more than `epsilon`.
    """
    labels = label_events(mechanism, asked=queries, answered=answers) if queries else []
    if noise_multiplier is None:
        noise_multiplier = least_noise(server, beside=[event for _, event in labels], epsilon=epsilon, delta=delta)
    plan = Plan(((FEDERATED, server.event(noise_multiplier)), *labels), noise_multiplier)
    _refuse_above(plan, epsilon, delta, REPLACE_ONE)
    return plan


def _refuse_above(plan: Plan, epsilon: float, delta: float, neighbouring: str) -> None:
    if plan.epsilon(delta) > epsilon * (1 + 1e-9):
        raise BudgetExhausted(
            f"the plan costs epsilon {epsilon_up(plan.epsilon(delta))} at delta {delta:g} ({neighbouring}), the target is {epsilon:g}",
            why="; ".join(
                f"{name}: {epsilon_up(plan_epsilon([event], delta), digits=3)} alone" for name, event in plan.events
            ),
            mend="leave method.noise_multiplier empty: the baseline classifier then gets what the queries leave",
        )


def _too_many(
    mechanism: Mechanism, queries: int, answers: int, epsilon: float, delta: float, *,
    fits: Callable[[Sequence[Named]], bool], beside: str = "",
) -> BudgetExhausted:  # fmt: skip
    """The refusal of queries that do not fit, with the largest number of them that would, by the test that refused them."""

    def labels(asked: int) -> list[Named]:
        # As many answers a query as were asked for, rounded up.
        return label_events(mechanism, asked=asked, answered=-(-answers * asked // queries))

    low, high = 0, queries
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(labels(middle)) else (low, middle)
    cost = epsilon_up(Plan(tuple(labels(queries))).epsilon(delta))
    most = f"at most {low} queries fit" if low else "not even one query fits"
    return BudgetExhausted(
        f"{queries} queries with up to {answers} answers cost epsilon {cost}, the target is {epsilon:g} (delta {delta:g})",
        why=f"{most} into it with this noise" + (f", beside {beside}" if beside else "") + "; nothing was spent",
        mend=(f"lower method.queries to {low}, or " if low else "")
        + "raise the mechanism's sigma or privacy.target_epsilon",
    )


def statement(
    coverage: Coverage, plan: Plan, delta: float, *, split_share: float = 0.0, reasons: Sequence[str] = ()
) -> PrivacyStatement:
    """Return what may be said about the student, and about the generator and its images.

    Raises:
        BadInput: a covered statement without a single charged event.
    """
    events = [event for _, event in plan.events]
    releases = tuple(Release(name, event.to_json(), plan_epsilon([event], delta)) for name, event in plan.events)
    if not releases:
        raise BadInput("a student that nothing was bought for", why="there are no labels and no baseline classifier")
    labels = f"epsilon = {epsilon_up(plan.epsilon(delta))} at delta = {delta:g} ({REPLACE_ONE})"
    if coverage is Coverage.LABELS_ONLY:
        return PrivacyStatement(
            math.inf, delta, coverage=UNCOVERED, releases=releases, accounting="none: the path is not covered",
            reasons=(NON_PRIVATE, f"labels only, conditional on the synthetic set: {labels}", *reasons),
        )  # fmt: skip
    if coverage is Coverage.SPLIT_RECORDS:
        return PrivacyStatement(
            math.inf, delta, coverage=UNCOVERED, releases=releases, accounting="none for the first part of the records",
            reasons=(
                f"for the {split_share:.0%} of the records that trained the baseline classifier nothing is guaranteed",
                f"for the other {1 - split_share:.0%}, which the teachers saw: {labels}", *reasons,
            ),
        )  # fmt: skip
    exact = all(event.gaussian for event in events)
    return PrivacyStatement.of_releases(
        plan.epsilon(delta), delta, releases=releases, neighbouring=coverage.neighbouring,
        accounting="the plan's, data-independent, "
        + ("exact conversion of a Gaussian plan" if exact else "Renyi, tight conversion"),
    )  # fmt: skip
