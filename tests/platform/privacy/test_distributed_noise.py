"""Shares of noise: what is in a sum, what is counted on, and what it costs beside one trusted place."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from stillhouse.platform.errors import BadInput
from stillhouse.platform.privacy.accounting import zcdp_epsilon
from stillhouse.platform.privacy.budget import BudgetKind, budget_cap, event_cost
from stillhouse.platform.privacy.discrete_noise import ShareNoise
from stillhouse.platform.privacy.distributed_event import DistributedGaussianEvent, SkellamEvent
from stillhouse.platform.privacy.distributed_noise import NoiseShare, distributed_sigma, noise_share_from_json
from stillhouse.platform.privacy.events import GaussianEvent
from support.noise import RepeatableBytes

ALPHA = 1e-6


def variance_fits(sums: np.ndarray, sigma: float) -> bool:
    """Whether sums of many shares, nearly normal, have this variance: two sides at a fixed level."""
    statistic = (sums.astype(float) ** 2).sum() / sigma**2
    return bool(stats.chi2.ppf(ALPHA / 2, sums.size) < statistic < stats.chi2.isf(ALPHA / 2, sums.size))


@pytest.mark.parametrize("law", ["discrete_gaussian", "skellam"])
def test_the_counted_shares_have_the_variance_and_fewer_have_not(law: str) -> None:
    share = NoiseShare(12.0, silos=20, dropped=4, colluding=2, law=law)  # type: ignore[arg-type]
    noise = ShareNoise(RepeatableBytes(5))
    parts = np.stack([share.draw(20_000, noise) for _ in range(share.silos)])
    assert share.counted == 14 and share.least == 16
    assert variance_fits(parts[:14].sum(axis=0), 12.0)
    assert variance_fits(parts.sum(axis=0), share.deviation(20))
    # The control: one share less is seen, and so is the sum of all taken for that of the counted ones.
    assert not variance_fits(parts[:13].sum(axis=0), 12.0)
    assert not variance_fits(parts.sum(axis=0), 12.0)


@settings(max_examples=100)
@given(
    sigma=st.floats(20.0, 200.0), silos=st.integers(1, 300), dropped=st.integers(0, 100), colluding=st.integers(0, 20)
)
def test_what_is_guaranteed_is_never_below_sigma(sigma: float, silos: int, dropped: int, colluding: int) -> None:
    if silos - dropped - colluding < 1:
        with pytest.raises(BadInput, match="leave nobody"):
            NoiseShare(sigma, silos, dropped, colluding)
        return
    share = NoiseShare(sigma, silos, dropped, colluding)
    assert share.counted * share.local_sigma**2 >= sigma**2
    assert share.deviation(share.counted) <= sigma * (1 + 1e-12)
    event = share.event()
    assert isinstance(event, DistributedGaussianEvent) and (event.shares, event.local_sigma) == (
        share.counted,
        share.local_sigma,
    )
    assert event.rdp([8.0])[0] >= GaussianEvent(sigma, 2).rdp([8.0])[0] * (1 - 1e-12)
    assert noise_share_from_json(share.to_json()) == share
    skellam = NoiseShare(sigma, silos, dropped, colluding, "skellam").event()
    assert isinstance(skellam, SkellamEvent) and sigma**2 * (1 - 1e-12) <= skellam.variance <= sigma**2 * (1 + 1e-9)


@pytest.mark.parametrize("kind", [BudgetKind.ZCDP, BudgetKind.RDP])
@pytest.mark.parametrize("dropped", [0, 10, 30])
def test_a_calibrated_plan_just_fits(kind: BudgetKind, dropped: int) -> None:
    orders = (8.0,) if kind is BudgetKind.RDP else ()
    terms = {"epsilon": 2.0, "delta": 1e-5, "kind": kind, "orders": orders}
    sigma = distributed_sigma(answers=200, silos=100, dropped=dropped, colluding=1, **terms)  # type: ignore[arg-type]
    [cap] = budget_cap(kind, epsilon=2.0, delta=1e-5, orders=orders)

    def cost(sigma: float) -> int:
        event = NoiseShare(sigma, 100, dropped, 1).event().times(200)
        return event_cost(kind, event, orders=orders)[0]

    assert cost(sigma) <= cap < cost(sigma * (1 - 1e-6))


def test_a_plan_that_costs_little_takes_the_narrowest_shares_there_are() -> None:
    sigma = distributed_sigma(epsilon=1000.0, delta=1e-5, answers=1, silos=4)
    assert sigma == pytest.approx(1.0) and NoiseShare(sigma, 4).local_sigma >= 0.5
    skellam = distributed_sigma(
        epsilon=2.0, delta=1e-5, answers=100, silos=50, law="skellam", kind=BudgetKind.RDP, orders=(8.0,)
    )
    gaussian = distributed_sigma(epsilon=2.0, delta=1e-5, answers=100, silos=50, kind=BudgetKind.RDP, orders=(8.0,))
    assert gaussian < skellam < 1.01 * gaussian
    with pytest.raises(BadInput, match="wide enough"):
        distributed_sigma(epsilon=1e-4, delta=1e-5, answers=10**9, silos=4)


def test_the_spent_epsilon_is_that_of_the_conversion() -> None:
    nano = NoiseShare(40.0, 250).event().times(286).nano_rho()
    assert nano is not None and zcdp_epsilon(nano / 1e9, 1e-5) == pytest.approx(
        zcdp_epsilon(286 / 1600, 1e-5), rel=1e-5
    )


def test_what_cannot_be_is_refused() -> None:
    for wrong in (
        {"sigma": 0.0}, {"silos": 0}, {"dropped": -1}, {"colluding": -1}, {"law": "laplace"}, {"sigma": 2.0}, {"dropped": 20},
        {"sigma": math.inf},
    ):  # fmt: skip
        with pytest.raises(BadInput):
            NoiseShare(**{"sigma": 40.0, "silos": 20, **wrong})  # type: ignore[arg-type]
    for data in ({}, {"sigma": 40.0, "silos": 20, "colour": 1}, []):
        with pytest.raises(BadInput):
            noise_share_from_json(data)  # type: ignore[arg-type]
