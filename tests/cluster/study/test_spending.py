"""The study's budget: each run gets what it would have alone, however much the others spent."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from stillhouse.cluster.budget import budget_terms, ledger_url
from stillhouse.cluster.config.compose import Resolved, compose
from stillhouse.cluster.study.spending import StudyBudget, budgets, cap_for, spending_line
from stillhouse.platform.errors import BadInput, BudgetExhausted
from stillhouse.platform.ledger.ledger import Ledger
from stillhouse.platform.privacy.budget import BudgetKind, budget_cap
from stillhouse.platform.privacy.calibration import smallest_scale
from stillhouse.platform.privacy.events import Event, GaussianEvent
from stillhouse.platform.privacy.vector_mean import VectorMean

VOTE = GaussianEvent(sigma=6.0, squared_sensitivity=2)


def arm(home: Path, *more: str) -> Resolved:
    return compose([f"root={home}", "privacy=gnmax", "privacy.target_epsilon=5", *more])


def votes_that_fit(resolved: Resolved) -> int:
    with Ledger(ledger_url(resolved)) as ledger:
        return ledger.would_fit("digits", VOTE)


def spend(resolved: Resolved, key: str, votes: int) -> None:
    with Ledger(ledger_url(resolved)) as ledger:
        ledger.charge("digits", key=key, event=VOTE.times(votes), purpose="a test")


def alone(resolved: Resolved) -> int:
    privacy = resolved.config.privacy
    cap = budget_cap(BudgetKind.GAUSSIAN, epsilon=privacy.target_epsilon, delta=privacy.target_delta)[0]
    nano_rho = VOTE.nano_rho()
    assert nano_rho is not None
    return cap // nano_rho


def test_every_run_finds_the_room_that_it_has_alone(tmp_path: Path) -> None:
    runs = [arm(tmp_path), arm(tmp_path, "seed=1"), arm(tmp_path, "privacy.target_epsilon=2")]
    budget = StudyBudget(runs)
    for number, run in enumerate(runs):
        budget.grant(run)
        fitting = votes_that_fit(run)
        # Not one vote less, and what rounding adds is less than one.
        assert alone(run) <= fitting <= alone(run) + 1
        spend(run, f"run {number}", fitting - number)
    (found,) = budgets(runs[0])
    assert found.spent_epsilon <= 5 + 5 + 2
    assert f"epsilon {found.spent_epsilon:.3f}"[:10] in spending_line(found) and "replace" in spending_line(found)


def test_a_run_that_spends_little_leaves_the_next_no_more(tmp_path: Path) -> None:
    run = arm(tmp_path)
    budget = StudyBudget([run])
    for number in range(2):
        budget.grant(run)
        assert votes_that_fit(run) <= alone(run) + 1
        spend(run, f"run {number}", 1)


def test_a_limit_holds_for_all_runs_together(tmp_path: Path) -> None:
    run = arm(tmp_path)
    budget = StudyBudget([run], limit=6.0)
    budget.grant(run)
    spend(run, "first", alone(run))
    budget.grant(run)
    (found,) = budgets(run)
    assert found.epsilon == 6.0
    assert 0 < votes_that_fit(run) < alone(run)
    with pytest.raises(BudgetExhausted):
        spend(run, "second", alone(run))


def test_one_arm_that_needs_zcdp_widens_the_budget_and_the_others_still_fit(tmp_path: Path) -> None:
    runs = [arm(tmp_path), compose([f"root={tmp_path}", "privacy=lnmax", "privacy.target_epsilon=5"])]
    budget = StudyBudget(runs)
    budget.grant(runs[0])
    (found,) = budgets(runs[0])
    assert found.kind is BudgetKind.ZCDP
    assert votes_that_fit(runs[0]) >= alone(runs[0])


def test_renyi_budgets_have_room_for_plain_votes_too(tmp_path: Path) -> None:
    run = arm(tmp_path, "privacy.kind=rdp", "privacy.orders=[3.0,8.0]")
    budget = StudyBudget([arm(tmp_path, "seed=1"), run])
    for number, each in enumerate([arm(tmp_path, "seed=1"), run]):
        budget.grant(each)
        (found,) = budgets(run)
        assert found.kind is BudgetKind.RDP and found.orders == (3.0, 8.0)
        spend(run, f"run {number}", 3)
    assert votes_that_fit(arm(tmp_path)) > 0


@pytest.mark.parametrize("steps", [1, 30, 1000])
def test_many_cheap_releases_fit_a_renyi_budget_as_a_few_dear_ones_do(steps: int, tmp_path: Path) -> None:
    """Costs are rounded up for each release: what 30,000 of them add must not end a run that its own target pays for."""
    common = [f"root={tmp_path}", "data=digits"]
    run = compose([*common, "method=dpsad_v3", "silos=diffusion", "privacy.target_epsilon=1"])
    # A dear arm beside it makes the study count at a low order, where a release costs few billionths.
    budget = StudyBudget([compose([*common, "method=dpsad_v1", "privacy.target_epsilon=60"]), run])
    terms = budget_terms(run)
    assert terms.kind is BudgetKind.GAUSSIAN

    def step(scale: float) -> Event:
        return VectorMean(10.0, scale).event(rows=30, width=64, teachers=40)

    scale = smallest_scale(
        lambda s: [step(s).times(steps)], epsilon=1.0, delta=run.config.privacy.target_delta, kind=terms.kind, orders=()
    )
    budget.grant(run)
    with Ledger(ledger_url(run)) as ledger:
        assert ledger.budget("digits").kind is BudgetKind.RDP
        assert steps <= ledger.would_fit("digits", step(scale)) <= 1.01 * steps + 1


def test_terms_that_were_granted_first_stay_if_they_hold(tmp_path: Path) -> None:
    gaussian, laplace = arm(tmp_path), compose([f"root={tmp_path}", "privacy=lnmax"])
    StudyBudget([gaussian]).grant(gaussian)
    with pytest.raises(BadInput, match="now need kind zcdp"):
        StudyBudget([gaussian, laplace])
    StudyBudget([gaussian]).grant(gaussian)


def test_no_ledger_no_spending(tmp_path: Path) -> None:
    assert budgets(arm(tmp_path)) == [] and not list(tmp_path.iterdir())


def test_the_first_cap_is_the_target_itself(tmp_path: Path) -> None:
    run = arm(tmp_path)
    terms = StudyBudget([run])._terms["digits"]
    assert math.isclose(cap_for(run, terms, None), 5.0, rel_tol=1e-6)
