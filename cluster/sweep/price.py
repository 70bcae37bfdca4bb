"""What a private search costs, and paying for it before anything is drawn."""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ...methods.transfer import BudgetTerms
from ...platform.errors import BadInput, BudgetExhausted
from ...platform.privacy.budget import BudgetKind, budget_cap, event_cost, spent_epsilon
from ...platform.privacy.events import Event
from ...platform.privacy.selection import (
    SELECTION_ORDERS,
    CurveEvent,
    SelectionEvent,
    best_order,
    capped_run,
    plain_epsilon,
    selection_event,
    worst_of,
)
from ...platform.report.report import delta_text, epsilon_text
from ..budget import budget_terms
from .granting import opened
from .plan import Plan


@dataclass(frozen=True)
class Price:
    """What a search costs: its event, the relation and delta of its epsilons, and the epsilons."""

    event: SelectionEvent
    neighbouring: str
    delta: float
    run: float
    search: float
    plain: float


def price_of(plan: Plan) -> Price:
    """Put a price on the search: from the budgets that its trials run under, before any of them runs.

    Raises:
        BadInput: the trials count with different neighbours, or no order can prove an epsilon.
    """
    assert plan.sweep.private is not None
    terms = {resolved.digest: budget_terms(resolved) for resolved in plan.composed}
    relations = list(dict.fromkeys(t.neighbouring for t in terms.values()))
    if len(relations) > 1:
        raise BadInput(
            f"these trials count with different neighbours: {'; '.join(relations)}",
            why="one price is about one relation",
            mend="search among methods that count alike",
        )
    runs, delta = [], plan.composed[0].config.privacy.target_delta
    for resolved in plan.composed:
        own, epsilon = terms[resolved.digest], resolved.config.privacy.target_epsilon
        runs.append(
            capped_run(own.kind, epsilon=epsilon, delta=delta, orders=own.orders, neighbouring=own.neighbouring)
        )
    base = worst_of(runs)
    event = selection_event(base, mean=plan.sweep.private.mean, shape=plan.sweep.private.shape)
    order = best_order(event, delta)
    # The epsilon that a ledger proves, at the one order that its budget is fixed at.
    proven = spent_epsilon(
        BudgetKind.RDP, event_cost(BudgetKind.RDP, event, orders=(order,)), delta=delta, orders=(order,)
    )
    worst = max(resolved.config.privacy.target_epsilon for resolved in plan.composed)
    plain = _plain(list(terms.values()), base, math.ceil(plan.sweep.private.mean), worst, delta)
    return Price(event, relations[0], delta, worst, proven, plain)


def _plain(terms: Sequence[BudgetTerms], base: Event, runs: int, epsilon: float, delta: float) -> float:
    """Epsilon of `runs` trials that are all looked at, by the best proof: exact where all that they release is Gaussian."""
    if all(own.kind is BudgetKind.GAUSSIAN for own in terms):
        cap = budget_cap(BudgetKind.GAUSSIAN, epsilon=epsilon, delta=delta)
        return spent_epsilon(BudgetKind.GAUSSIAN, (runs * cap[0],), delta=delta)
    orders = sorted({*SELECTION_ORDERS, *(base.orders if isinstance(base, CurveEvent) else ())})
    return plain_epsilon(base, runs, delta, orders=orders)


def charge(plan: Plan, price: Price, say: Callable[[str], None]) -> tuple[int, str]:
    """Pay for the search, durably; gives the ledger's position. A simulated officer grants what is needed, or the sweep's budget.

    Raises:
        BudgetExhausted: the budget does not hold the search. Nothing was spent.
        BadInput: the data set's budget is on terms that cannot hold a search.
    """
    resolved = plan.composed[0].placed(plan.folder, "")
    dataset = resolved.config.data.name
    with opened(resolved) as ledger:
        before = ledger.budget(dataset) if dataset in ledger.datasets() else None
        if before is not None and (before.kind is not BudgetKind.RDP or before.neighbouring != price.neighbouring):
            raise BadInput(
                f"the sweep's ledger has a budget of kind {before.kind.value} ({before.neighbouring}) for '{dataset}'",
                why=f"a private search needs kind rdp ({price.neighbouring}); terms stay as first granted",
                mend="search under another root= or another privacy.ledger=",
            )
        orders = before.orders if before else (best_order(price.event, price.delta),)
        cost = event_cost(BudgetKind.RDP, price.event, orders=orders)
        needed = tuple(map(int.__add__, before.spent if before else (0,) * len(orders), cost))
        epsilon = spent_epsilon(BudgetKind.RDP, needed, delta=price.delta, orders=orders)
        if before is not None and any(before.spent):
            say(f"epsilon {epsilon_text(before.spent_epsilon)} was spent before; this search is paid for on top of it")
        while any(
            map(int.__lt__, budget_cap(BudgetKind.RDP, epsilon=epsilon, delta=price.delta, orders=orders), needed)
        ):
            epsilon *= 1 + 1e-9  # rounding
        limit = plan.sweep.budget
        if limit is not None and epsilon > limit * (1 + 1e-6):
            raise BudgetExhausted(
                f"the private search costs epsilon {epsilon_text(price.search)} at delta {delta_text(price.delta)}, "
                f"{epsilon_text(epsilon)} with what was spent before",
                why=f"the sweep's budget is {limit:g}; nothing was drawn and nothing was spent",
                mend="raise `budget`, or lower the trials' privacy.target_epsilon or the mean number of trials",
            )
        ledger.grant(
            dataset, epsilon=max(epsilon, limit or epsilon), delta=price.delta, kind=BudgetKind.RDP, orders=orders,
            neighbouring=price.neighbouring, by="simulation",
        )  # fmt: skip
        ledger.charge(
            dataset, key=secrets.token_hex(16), event=price.event, purpose="private search: the best of a secret number of trials",
            run=plan.sweep.name,
        )  # fmt: skip
        return ledger.position()
