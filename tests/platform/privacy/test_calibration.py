import pytest
from stillhouse.platform.errors import BadInput
from stillhouse.platform.privacy import calibration
from stillhouse.platform.privacy.accounting import plan_epsilon
from stillhouse.platform.privacy.budget import BudgetKind, budget_cap, event_cost
from stillhouse.platform.privacy.mechanisms import GNMax, LNMax


def fits(kind, cap, events):
    return sum(event_cost(kind, event)[0] for event in events) <= cap[0]


@pytest.mark.parametrize(("epsilon", "delta", "answers"), [(2.0, 1e-5, 200), (0.5, 1e-6, 1000), (8.0, 1e-5, 1)])
def test_gnmax_fills_the_budget_and_does_not_overfill_it(epsilon, delta, answers):
    sigma = calibration.gnmax_sigma(epsilon=epsilon, delta=delta, answers=answers)
    cap = budget_cap(BudgetKind.GAUSSIAN, epsilon=epsilon, delta=delta)
    assert fits(BudgetKind.GAUSSIAN, cap, [GNMax(sigma).answer_event().times(answers)])
    assert not fits(BudgetKind.GAUSSIAN, cap, [GNMax(sigma * (1 - 1e-4)).answer_event().times(answers)])
    spent = plan_epsilon([GNMax(sigma).answer_event().times(answers)], delta)
    assert epsilon * (1 - 1e-2) < spent <= epsilon


def test_confident_gnmax_fits_exactly_what_was_asked_for():
    mechanism = calibration.confident_gnmax(epsilon=2.0, delta=1e-5, asked=640, answers=283, threshold=200)
    assert mechanism.sigma1 == pytest.approx(3.75 * mechanism.sigma2)
    cap = budget_cap(BudgetKind.GAUSSIAN, epsilon=2.0, delta=1e-5)
    plan = [mechanism.check_event().times(640), mechanism.answer_event().times(283)]
    assert fits(BudgetKind.GAUSSIAN, cap, plan)
    assert not fits(BudgetKind.GAUSSIAN, cap, [*plan, mechanism.answer_event()])
    # The paper's noise gives 2.529 for this plan; 2.0 takes a little more than 40.
    assert 40 < mechanism.sigma2 < 52


def test_lnmax_uses_a_zcdp_budget():
    scale = calibration.lnmax_scale(epsilon=2.0, delta=1e-5, answers=100)
    cap = budget_cap(BudgetKind.ZCDP, epsilon=2.0, delta=1e-5)
    assert fits(BudgetKind.ZCDP, cap, [LNMax(scale).answer_event().times(100)])
    assert not fits(BudgetKind.ZCDP, cap, [LNMax(scale * 0.9999).answer_event().times(100)])


def test_dpsgd():
    multiplier = calibration.dpsgd_noise_multiplier(epsilon=1.0, delta=1e-5, sample_rate=0.01, steps=1000)
    assert multiplier == pytest.approx(1.5131, abs=2e-3)


def test_more_epsilon_never_needs_more_noise():
    sigmas = [calibration.gnmax_sigma(epsilon=e, delta=1e-5, answers=100) for e in (0.5, 1, 2, 4, 8)]
    assert sigmas == sorted(sigmas, reverse=True)


@pytest.mark.parametrize(
    "call",
    [
        lambda: calibration.gnmax_sigma(epsilon=0, delta=1e-5, answers=1),
        lambda: calibration.gnmax_sigma(epsilon=1, delta=1e-5, answers=0),
        lambda: calibration.gnmax_sigma(epsilon=0.001, delta=1e-5, answers=10**9),
        lambda: calibration.confident_gnmax(epsilon=1, delta=1e-5, asked=5, answers=6, threshold=3),
        lambda: calibration.dpsgd_noise_multiplier(epsilon=1, delta=1e-5, sample_rate=1.5, steps=10),
    ],
)
def test_wrong_targets_are_refused(call):
    with pytest.raises(BadInput):
        call()
