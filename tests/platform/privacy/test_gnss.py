import numpy as np
import pytest
from stillhouse.platform.errors import BadInput, InternalBug
from stillhouse.platform.privacy import gnss, rdp
from stillhouse.platform.privacy.budget import BudgetKind, event_cost
from stillhouse.platform.privacy.events import event_from_json
from support.noise import RepeatableBytes

PLAN = gnss.GnssPlan(order=14.0, beta=0.0329, sigma=6.23)


def test_release_on_the_mnist_votes_reproduces_the_published_figure(votes):
    """2.516 +- .385 with the published order, beta and sigma, for the expected answers."""
    rows = votes["mnist_250_teachers.npy"][:640]
    share = np.exp(rdp.threshold_log_pass(rows, 200, 150, integer_noise=False)[0])
    bound = rdp.confident_gnmax(
        rows, threshold_at=200, sigma1=150, sigma2=40, orders=[PLAN.order], integer_noise=False
    )[0]
    assert bound + PLAN.extra(1e-5) == pytest.approx(2.516, abs=2e-3)
    smooth = gnss.confident_gnmax_sensitivity(
        PLAN, rows, teachers=250, threshold=200, sigma1=150, sigma2=40, answered=share, integer_noise=False
    )
    assert smooth * PLAN.sigma == pytest.approx(0.385, abs=0.01)


def test_noise_has_the_announced_mean_and_spread():
    source = RepeatableBytes(4)
    drawn = np.array(
        [gnss.release(PLAN, bound=1.0, smooth_sensitivity=0.01, delta=1e-5, bytes_source=source) for _ in range(2000)]
    )
    noise = drawn - PLAN.extra(1e-5) - 1.0
    spread = 0.01 * PLAN.sigma
    assert abs(noise.mean()) < 5 * spread / np.sqrt(len(noise))
    assert noise.std() == pytest.approx(spread, rel=0.08)
    from scipy.stats import kstest

    assert kstest(noise, "norm", args=(0, spread)).pvalue > 1e-6


def test_released_figures_lie_on_the_public_grid_and_never_below_its_own_cost():
    for seed in range(20):
        figure = gnss.release(PLAN, bound=0.01, smooth_sensitivity=0.05, delta=1e-5, bytes_source=RepeatableBytes(seed))
        steps = (figure - PLAN.extra(1e-5)) / gnss.GRID
        assert abs(steps - round(steps)) < 1e-6
        assert steps > -1e-6


def test_it_is_charged():
    event = PLAN.event()
    assert event_from_json(event.to_json()) == event
    cost = event_cost(BudgetKind.RDP, event, orders=(4.0, 8.0, 14.0))
    assert cost[-1] == pytest.approx(0.5183929399476159e9, rel=1e-9)
    with pytest.raises(BadInput):
        event_cost(BudgetKind.RDP, event, orders=(4.0, 32.0))
    with pytest.raises(BadInput):
        event_cost(BudgetKind.GAUSSIAN, event)


def test_plans_outside_the_theorem_are_refused():
    with pytest.raises(BadInput, match="too large"):
        gnss.GnssPlan(order=14.0, beta=0.04, sigma=6.0)


def test_wrong_input():
    with pytest.raises(BadInput):
        gnss.release(PLAN, bound=float("nan"), smooth_sensitivity=0.1, delta=1e-5)
    with pytest.raises(InternalBug):
        gnss.release(PLAN, bound=1.0, smooth_sensitivity=0.1, delta=1e-5, bytes_source=lambda n: b"")
    with pytest.raises(BadInput):
        gnss.confident_gnmax_sensitivity(
            PLAN, np.ones((2, 3)), teachers=3, threshold=1, sigma1=1, sigma2=1, answered=np.ones(3)
        )
