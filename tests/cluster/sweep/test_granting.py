"""What the simulated officer of a sweep grants, and when a trial finds no room."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
from stillhouse.cluster.config.compose import Resolved
from stillhouse.cluster.sweep.granting import SweepBudget
from stillhouse.cluster.sweep.plan import make_plan
from stillhouse.platform.errors import BudgetExhausted
from stillhouse.platform.ledger.ledger import Ledger
from stillhouse.platform.ledger.records import Budget
from stillhouse.platform.privacy.budget import BudgetKind, budget_cap
from stillhouse.platform.privacy.events import GaussianEvent

Write = Callable[..., Path]
TEXT = "common: [data=digits, method=pate, privacy=gnmax, privacy.target_delta=1e-4]\nspace: {privacy.target_epsilon: [2, 3, 5]}"


@pytest.fixture
def trials(sweep_file: Write) -> list[Resolved]:
    path = sweep_file(TEXT)
    return [trial.resolved for trial in make_plan(path, [f"root={path.parent}"]).planned]


def ledger_of(resolved: Resolved) -> Ledger:
    return Ledger(f"sqlite:///{Path(resolved.config.root) / 'ledger.db'}")


def standing(resolved: Resolved) -> Budget:
    with ledger_of(resolved) as ledger:
        return ledger.budget("digits")


def spend_all(resolved: Resolved, key: str) -> None:
    """Spend what is left, up to a thousandth of it."""
    with ledger_of(resolved) as ledger:
        event = GaussianEvent(sigma=100.0)
        ledger.charge("digits", key=key, event=event.times(ledger.would_fit("digits", event)), purpose="a test")


def test_each_trial_gets_its_own_target_on_top_of_what_was_spent(trials: list[Resolved]) -> None:
    budget, before = SweepBudget(trials), 0.0
    for number, resolved in enumerate(trials):
        budget.grant(resolved)
        granted = standing(resolved)
        # What is left holds the target alone, and epsilons of a whole are no more than the sum of its parts.
        assert before < granted.epsilon <= before + resolved.config.privacy.target_epsilon + 1e-3
        spend_all(resolved, str(number))
        before = standing(resolved).spent_epsilon
    assert before <= 10


def test_a_trial_without_room_for_its_whole_target_is_refused_and_nothing_changes(trials: list[Resolved]) -> None:
    budget = SweepBudget(trials, limit=4.0)
    budget.grant(trials[1])
    spend_all(trials[1], "a")
    granted = standing(trials[1])
    with pytest.raises(BudgetExhausted, match="no room for a trial that may spend 5"):
        budget.grant(trials[2])
    assert standing(trials[1]) == granted
    budget.grant(trials[0])  # a smaller one still finds room
    assert granted.epsilon < standing(trials[0]).epsilon <= 4.0


def test_the_first_trial_may_take_the_whole_budget(trials: list[Resolved]) -> None:
    SweepBudget(trials, limit=5.0).grant(trials[2])
    assert math.isclose(standing(trials[2]).epsilon, 5.0, rel_tol=1e-6)


@pytest.mark.parametrize(("limit", "most"), [(None, 10.0), (6.0, 6.0)])
def test_room_for_all_at_once_is_their_sum_or_the_limit(
    trials: list[Resolved], limit: float | None, most: float
) -> None:
    budget = SweepBudget(trials, limit=limit)
    budget.grant_all(trials)
    granted = standing(trials[0])
    assert granted.epsilon <= most * (1 + 1e-6)
    if limit is not None:
        assert math.isclose(granted.epsilon, limit)
        return
    # Each trial's own cap fits on top of those before it.
    room = [budget_cap(BudgetKind.GAUSSIAN, epsilon=r.config.privacy.target_epsilon, delta=1e-4)[0] for r in trials]
    assert sum(room) <= granted.cap[0] <= 1.001 * sum(room)


def test_where_the_limit_is_spent_there_is_nothing_to_grant(trials: list[Resolved]) -> None:
    budget = SweepBudget(trials, limit=2.0)
    budget.grant_all(trials)
    spend_all(trials[0], "all")
    with pytest.raises(BudgetExhausted):
        budget.grant(trials[0])


def test_trials_that_charge_nothing_are_granted_nothing(sweep_file: Write) -> None:
    path = sweep_file("common: [data=digits, method=random_real]\nspace: {method.ipc: [1, 2]}")
    plan = make_plan(path, [f"root={path.parent}"])
    budget = SweepBudget(plan.composed)
    budget.grant(plan.planned[0].resolved)
    budget.grant_all([trial.resolved for trial in plan.planned])
    assert not plan.folder.exists()
