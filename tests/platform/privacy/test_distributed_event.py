"""What noise in shares costs: the published bounds against Renyi divergences of the sum itself, convolved number by number."""

from __future__ import annotations

import json
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from stillhouse.platform.errors import BadInput
from stillhouse.platform.ledger import Ledger
from stillhouse.platform.privacy.budget import BudgetKind
from stillhouse.platform.privacy.distributed_event import DistributedGaussianEvent, SkellamEvent, excess
from stillhouse.platform.privacy.events import Event, GaussianEvent, event_from_json

ORDERS = [1.01, 1.5, 2.0, 3.0, 8.0, 32.0]


REACH = 60  # of one share: a divergence of order 32 is made 32 steps off the middle


def of_the_sum(sigma: float, shares: int) -> np.ndarray:
    """Logarithms of the probabilities of a sum of discrete Gaussians, by convolution of logarithms: no tail is lost."""
    k = np.arange(-REACH, REACH + 1)
    one = -(k**2) / (2 * sigma**2)
    one = one - np.logaddexp.reduce(one)
    whole = one
    for _ in range(shares - 1):
        padded = np.pad(whole, 2 * REACH, constant_values=-np.inf)
        windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * REACH + 1)
        whole = np.logaddexp.reduce(windows + one, axis=1)
    return whole


def divergence(law: np.ndarray, order: float, shift: int = 1) -> float:
    """The Renyi divergence of a law, given by logarithms, and itself moved."""
    terms = order * law[shift:] + (1 - order) * law[:-shift]
    return float(np.logaddexp.reduce(terms) / (order - 1))


@pytest.mark.parametrize("shares", [1, 2, 3, 6])
@pytest.mark.parametrize("sigma", [0.5, 0.6, 0.75, 1.0, 1.6])
def test_the_bound_is_above_the_truth_and_the_truth_is_close(sigma: float, shares: int) -> None:
    law = of_the_sum(sigma, shares)
    event = DistributedGaussianEvent(sigma, shares)
    one = DistributedGaussianEvent(sigma, shares, squared_sensitivity=1, l1_sensitivity=1, coordinates=1)
    for order in ORDERS:
        exact = divergence(law, order)
        assert 2 * exact <= event.rdp([order])[0] * (1 + 1e-9)
        assert exact <= one.rdp([order])[0] * (1 + 1e-9)
        assert 2 * exact <= order * float(event.rho()) * (1 + 1e-9), "the zCDP cost is a bound at every order"
        if sigma >= 1.0:
            assert event.rdp([order])[0] <= 2 * exact * 1.01, "and hardly more than the truth"


def test_a_larger_change_is_bounded_too() -> None:
    """One count by 2: squared length 4, in all 2, one coordinate."""
    for sigma, shares in ((0.5, 3), (0.7, 4), (1.2, 2)):
        event = DistributedGaussianEvent(sigma, shares, squared_sensitivity=4, l1_sensitivity=2, coordinates=1)
        for order in ORDERS:
            assert divergence(of_the_sum(sigma, shares), order, shift=2) <= event.rdp([order])[0] * (1 + 1e-9)


def test_a_control_for_the_bound() -> None:
    """Sums of narrow shares do cost more than the Gaussian of the same variance: the bound's excess is no mere caution."""
    law = of_the_sum(0.5, 2)
    assert divergence(law, 32.0) > 1.005 * 32.0 / (2 * 2 * 0.25)


@settings(max_examples=150)
@given(local=st.floats(0.5, 50.0), shares=st.integers(1, 300), order=st.floats(1.001, 500.0), count=st.integers(1, 50))
def test_it_is_never_below_the_ideal_and_tends_to_it(local: float, shares: int, order: float, count: int) -> None:
    event = DistributedGaussianEvent(local, shares, count=count)
    ideal = GaussianEvent(local * math.sqrt(shares), 2, count).rdp([order])[0]
    cost = float(event.rdp([order])[0])
    assert cost >= ideal * (1 - 1e-12)
    assert cost <= order * float(event.rho()) * count * (1 + 1e-12)
    if local >= 2.0:
        assert cost <= ideal * (1 + 1e-12) + 1e-12 * order * count
    # The three bounds as they stand in the paper, written out.
    tau = 10 * sum(math.exp(-2 * math.pi**2 * local**2 * k / (k + 1)) for k in range(1, shares))
    scale = math.sqrt(2 / shares) / local
    paper = min(
        order / 2 * scale**2 + 2 * tau,
        order / 2 * (scale**2 + 2 * 2 / (local * math.sqrt(shares)) * tau + 2 * tau**2),
        order / 2 * (scale + math.sqrt(2) * tau) ** 2,
    )
    assert cost == pytest.approx(count * paper, rel=1e-7)


@settings(max_examples=150)
@given(local=st.floats(0.5, 60.0), shares=st.integers(1, 300), count=st.integers(1, 100))
def test_the_cost_is_rounded_up_and_adds_up(local: float, shares: int, count: int) -> None:
    event = DistributedGaussianEvent(local, shares, count=count)
    unit, rest = divmod(event.nano_rho(), count)
    assert rest == 0
    ideal = Fraction(1) / (shares * Fraction(local) ** 2)
    assert unit >= ideal * 10**9 and unit - 1 <= float(event.rho()) * 1e9 * (1 + 1e-12)
    if shares > 1:
        assert event.rho() > ideal, "even where what is added is less than any float"
    else:
        assert event.rho() == ideal
    wider = DistributedGaussianEvent(local * 1.1, shares, count=count)
    assert wider.nano_rho() <= event.nano_rho()


def test_tau_is_what_a_published_figure_of_it_is() -> None:
    """250 shares of a Gaussian of 40 in all: far below anything; of 10 in all: useless."""
    assert 1e-27 < excess(40 / math.sqrt(250), 250) < 1e-25
    assert excess(1e3, 250) > 0.0
    assert excess(3.0, 1) == 0.0
    assert DistributedGaussianEvent(10 / math.sqrt(250), 250).rho() > 2


def test_skellam_is_bounded_by_its_own_curve() -> None:
    for variance in (0.8, 2.0, 10.0):
        reach = math.ceil(40 * math.sqrt(variance)) + 30
        law = stats.skellam.logpmf(np.arange(-reach, reach + 1), variance / 2, variance / 2)
        event = SkellamEvent(variance)
        for order in (1.5, 2.0, 3.0, 5.0, 9.0):
            exact = 2 * max(divergence(law, order), divergence(law[::-1], order))
            assert exact <= event.rdp([order])[0] * (1 + 1e-6)
    assert event.rdp([1.5])[0] == event.rdp([2.0])[0]
    wide = SkellamEvent(1600.0).rdp([8.0])[0] / GaussianEvent(40.0, 2).rdp([8.0])[0]
    assert 1 < wide < 1.002


@pytest.mark.parametrize(
    "event", [DistributedGaussianEvent(2.0, 50, count=3), SkellamEvent(90.0, count=4)], ids=lambda e: e.kind
)
def test_events_come_back_from_json_and_count(event: Event) -> None:
    assert isinstance(event, Event) and not event.gaussian
    assert event_from_json(json.loads(json.dumps(event.to_json()))) == event
    assert np.allclose(event.times(5).rdp(ORDERS), 5 * event.rdp(ORDERS), rtol=1e-12)


def test_the_ledger_charges_it_to_budgets_that_can_hold_it(tmp_path) -> None:  # type: ignore[no-untyped-def]
    event = DistributedGaussianEvent(4.0, 100)
    with Ledger(f"sqlite:///{tmp_path}/ledger.db") as ledger:
        ledger.grant("exact", epsilon=2.0, delta=1e-5, by="officer")
        ledger.grant("votes", epsilon=2.0, delta=1e-5, kind=BudgetKind.ZCDP, by="officer")
        ledger.grant("curves", epsilon=2.0, delta=1e-5, kind=BudgetKind.RDP, orders=(8.0,), by="officer")
        with pytest.raises(BadInput, match="gaussian"):
            ledger.would_fit("exact", event)
        receipt = ledger.charge("votes", key="a", event=event.times(10), purpose="labels")
        assert receipt.cost == (6_250_010,)
        ledger.charge("curves", key="b", event=SkellamEvent(1600.0, count=10), purpose="labels")
        with pytest.raises(BadInput, match="zCDP"):
            ledger.would_fit("votes", SkellamEvent(1600.0))
        assert ledger.verify().ok
    with Ledger(f"sqlite:///{tmp_path}/ledger.db") as ledger:
        assert event_from_json(ledger.entries("votes")[-1].content["event"]) == event.times(10)


def test_what_cannot_be_is_refused() -> None:
    for wrong in (
        {"local_sigma": 0.49}, {"shares": 0}, {"squared_sensitivity": 0}, {"l1_sensitivity": 3}, {"coordinates": 0},
        {"l1_sensitivity": 1}, {"coordinates": 1}, {"count": 0}, {"local_sigma": math.nan},
    ):  # fmt: skip
        with pytest.raises(BadInput):
            DistributedGaussianEvent(**{"local_sigma": 1.0, "shares": 2, **wrong})
    with pytest.raises(BadInput):
        SkellamEvent(0.0)
