"""Check 7: what is not covered has no finite epsilon; what is covered costs all its parts together; plans fit before any draw."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stillhouse.methods.dgd.baseline import Baseline
from stillhouse.methods.dgd.coverage import Coverage, Plan, dpsgd_plan, federated_plan, label_plan, statement
from stillhouse.methods.dgd.moments import PrivateMoments
from stillhouse.platform.errors import BudgetExhausted
from stillhouse.platform.privacy.accounting import compose_events, plan_epsilon, rdp_epsilon
from stillhouse.platform.privacy.budget import BudgetKind, budget_cap, event_cost, near_optimal_orders
from stillhouse.platform.privacy.events import GaussianEvent
from stillhouse.platform.privacy.mechanisms import ConfidentGNMax, GNMax
from stillhouse.platform.privacy.neighbours import EVERY_RELATION, Relation
from stillhouse.platform.privacy.statement import ADD_OR_REMOVE, REPLACE_ONE
from stillhouse.platform.training.fedavg import FedAvg

DELTA = 1e-5
MECHANISM = GNMax(60.0)


def private_plan(epsilon: float, *, queries: int = 100, sigma: float | None = 20.0) -> Plan:
    return dpsgd_plan(
        MECHANISM, queries=queries, answers=queries, epsilon=epsilon, delta=DELTA, sample_rate=4096 / 60_000, steps=200,
        moments_sigma=sigma, noise_multiplier=None,
    )  # fmt: skip


def labels(queries: int = 100) -> Plan:
    return label_plan(MECHANISM, queries=queries, answers=queries, epsilon=10.0, delta=DELTA)


def test_labels_only_prints_infinity_and_never_the_labels_epsilon_as_the_students() -> None:
    told = statement(Coverage.LABELS_ONLY, labels(), DELTA)
    assert math.isinf(told.epsilon)
    assert told.coverage == "uncovered"
    assert "epsilon = inf" in told.line()
    assert any("conditional on the synthetic set" in reason for reason in told.reasons)
    assert told.to_json()["epsilon"] == "inf"


def test_split_records_tells_both_parts() -> None:
    told = statement(Coverage.SPLIT_RECORDS, labels(), DELTA, split_share=0.3)
    assert math.isinf(told.epsilon)
    assert "30%" in told.reasons[0]
    assert "70%" in told.reasons[1]
    shown = float(told.reasons[1].partition("epsilon = ")[2].split()[0])
    assert labels().epsilon(DELTA) <= shown < labels().epsilon(DELTA) * 1.001


@pytest.mark.parametrize("coverage", [Coverage.PUBLIC_INPUTS, Coverage.BOOTSTRAP_STUDENT])
def test_votes_alone_are_the_total_where_nothing_else_was_touched(coverage: Coverage) -> None:
    told = statement(coverage, labels(), DELTA)
    assert told.epsilon == pytest.approx(plan_epsilon([MECHANISM.answer_event().times(100)], DELTA))
    assert told.neighbouring == REPLACE_ONE
    assert told.coverage == "covered"


def test_a_private_baseline_adds_its_curve_to_the_labels() -> None:
    plan = private_plan(3.0)
    told = statement(Coverage.DPSGD_BASELINE, plan, DELTA)
    assert told.neighbouring == ADD_OR_REMOVE
    orders = [1.5, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64]
    together = rdp_epsilon(orders, compose_events([e for _, e in plan.events], orders), DELTA)[0]
    assert told.epsilon <= together + 1e-9
    parts = [plan_epsilon([event], DELTA) for _, event in plan.events]
    assert len(parts) == 3
    assert max(parts) < told.epsilon < sum(parts)


def test_moments_and_dp_sgd_hold_for_removing_a_record_and_votes_for_replacing_one_too() -> None:
    training, moments, votes = (event for _, event in private_plan(3.0).events)
    assert training.relations == moments.relations == {Relation.ADD_OR_REMOVE_ONE}
    assert votes.relations == EVERY_RELATION
    assert [event for _, event in PrivateMoments(Baseline(), 20.0).events(1000)] == [moments]


@pytest.mark.parametrize("epsilon", [0.5, 1.0, 3.0, 10.0])
def test_the_plan_fills_the_budget_and_fits_the_ledger(epsilon: float) -> None:
    plan = private_plan(epsilon, queries=20)
    assert plan.epsilon(DELTA) <= epsilon
    assert plan.epsilon(DELTA) > 0.93 * epsilon
    orders = near_optimal_orders(epsilon, DELTA)
    costs = [event_cost(BudgetKind.RDP, event, orders=orders) for _, event in plan.events]
    cap = budget_cap(BudgetKind.RDP, epsilon=epsilon, delta=DELTA, orders=orders)
    assert all(sum(column) <= limit for column, limit in zip(zip(*costs, strict=True), cap, strict=True))


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 90))
def test_more_queries_leave_less_for_the_baseline(queries: int) -> None:
    fewer, more = (private_plan(1.0, queries=n, sigma=None).noise_multiplier for n in (queries, queries + 5))
    assert fewer is not None
    assert more is not None
    assert more > fewer


def test_too_many_queries_are_refused_with_what_would_fit() -> None:
    with pytest.raises(BudgetExhausted, match=r"at most (\d+) queries fit") as caught:
        label_plan(MECHANISM, queries=5000, answers=5000, epsilon=1.0, delta=DELTA)
    assert "nothing was spent" in str(caught.value)
    fits = int(str(caught.value).split("at most ")[1].split()[0])
    label_plan(MECHANISM, queries=fits, answers=fits, epsilon=1.0, delta=DELTA)
    with pytest.raises(BudgetExhausted):
        label_plan(MECHANISM, queries=fits + 1, answers=fits + 1, epsilon=1.0, delta=DELTA)
    with pytest.raises(BudgetExhausted, match="beside DP-SGD"):
        private_plan(1.0, queries=5000)


@pytest.mark.parametrize(
    ("epsilon", "sigma", "queries"), [(0.15, 20.0, 0), (0.15, 20.0, 3), (1.0, 1.0, 0), (1.0, 1.0, 5)]
)
def test_moments_that_fill_the_budget_are_to_blame_and_not_the_queries(
    epsilon: float, sigma: float, queries: int
) -> None:
    with pytest.raises(BudgetExhausted, match=r"the joint moments alone cost epsilon .*nothing was spent") as caught:
        private_plan(epsilon, queries=queries, sigma=sigma)
    assert "raise method.moments_sigma, or set it to null" in str(caught.value)
    assert private_plan(epsilon, queries=queries, sigma=None).noise_multiplier


@pytest.mark.parametrize(("epsilon", "sigma"), [(0.2, 20.0), (0.2, None), (1.0, 6.0), (1.0, None)])
def test_what_is_said_to_fit_beside_dpsgd_and_the_moments_does(epsilon: float, sigma: float | None) -> None:
    with pytest.raises(BudgetExhausted, match=r"at most (\d+) queries fit") as caught:
        private_plan(epsilon, queries=5000, sigma=sigma)
    fits = int(str(caught.value).split("at most ")[1].split()[0])
    assert f"lower method.queries to {fits}" in str(caught.value)
    private_plan(epsilon, queries=fits, sigma=sigma)
    with pytest.raises(BudgetExhausted, match=f"at most {fits} queries fit"):
        private_plan(epsilon, queries=fits + 1, sigma=sigma)


def test_where_not_one_query_fits_that_is_said() -> None:
    with pytest.raises(BudgetExhausted, match="not even one query fits") as caught:
        label_plan(GNMax(2.0), queries=10, answers=3, epsilon=1.0, delta=DELTA)
    assert "raise the mechanism's sigma" in str(caught.value) and "method.queries" not in str(caught.value)


def test_threshold_checks_count_for_every_question() -> None:
    mechanism = ConfidentGNMax(100, 75, 60)
    plan = label_plan(mechanism, queries=400, answers=100, epsilon=10.0, delta=DELTA)
    expected = plan_epsilon([GaussianEvent(75.0).times(400), GaussianEvent(60.0, 2).times(100)], DELTA)
    assert plan.epsilon(DELTA) == pytest.approx(expected)


def test_given_noise_that_costs_too_much_is_refused() -> None:
    with pytest.raises(BudgetExhausted, match=r"leave method\.noise_multiplier empty"):
        dpsgd_plan(
            MECHANISM, queries=10, answers=10, epsilon=1.0, delta=DELTA, sample_rate=0.07, steps=200, moments_sigma=None,
            noise_multiplier=0.5,
        )  # fmt: skip


def over_silos(epsilon: float, *, queries: int = 100, sample_rate: float = 1.0, noise: float | None = None) -> Plan:
    return federated_plan(
        MECHANISM, queries=queries, answers=queries, epsilon=epsilon, delta=DELTA, server=FedAvg(5, sample_rate=sample_rate),
        noise_multiplier=noise,
    )  # fmt: skip


@pytest.mark.parametrize("sample_rate", [1.0, 0.2])
def test_a_federated_baseline_and_the_labels_fill_one_budget(sample_rate: float) -> None:
    plan = over_silos(3.0, sample_rate=sample_rate)
    told = statement(Coverage.FED_DP_BASELINE, plan, DELTA)
    assert 0.93 * 3 < told.epsilon <= 3 * (1 + 1e-9)
    assert told.neighbouring == REPLACE_ONE and told.coverage == "covered"
    parts = [plan_epsilon([event], DELTA) for _, event in plan.events]
    assert max(parts) < told.epsilon < sum(parts)
    assert ("exact" in told.accounting) == (sample_rate == 1)


def test_a_federated_baseline_gets_what_the_labels_leave_or_nothing() -> None:
    noise = [over_silos(3.0, queries=queries).noise_multiplier for queries in (0, 50, 500)]
    assert noise == sorted(noise, key=float) and len(set(noise)) == 3
    with pytest.raises(BudgetExhausted, match="nothing is left for its rounds"):
        over_silos(1.0, queries=5000)
    with pytest.raises(BudgetExhausted, match=r"leave method\.noise_multiplier empty"):
        over_silos(1.0, noise=0.5)
