"""The price of shares, and the report for a fixed plan against exact probabilities."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from stillhouse.platform.errors import BadInput
from stillhouse.platform.privacy.accounting import gdp_epsilon
from stillhouse.platform.privacy.distributed_event import DistributedGaussianEvent
from stillhouse.platform.privacy.distributed_price import Price, closeness, fixed_plan_epsilon, price_table, prices


@pytest.fixture(scope="module")
def rows() -> list[Price]:
    return prices(**PLAN)  # type: ignore[arg-type]


PLAN = {"sigma": 40.0, "silos": 250, "answers": 286, "delta": 1e-5}


def law(sigma: float, reach: int) -> np.ndarray:
    k = np.arange(-reach, reach + 1)
    weights = np.exp(-(k**2) / (2 * sigma**2))
    return weights / weights.sum()


@pytest.mark.parametrize(("sigma", "shares"), [(0.5, 2), (0.5, 5), (0.6, 3), (0.8, 8), (1.0, 2)])
def test_a_sum_is_as_close_to_a_discrete_gaussian_as_is_said(sigma: float, shares: int) -> None:
    """Number by number, by convolution. The control: two shares are not twice closer."""
    reach = math.ceil(8 * sigma * math.sqrt(shares))
    one = law(sigma, reach)
    whole = one
    for _ in range(shares - 1):
        whole = np.convolve(whole, one)
    single = law(sigma * math.sqrt(shares), reach * shares)
    middle = slice(len(single) // 2 - reach // 2, len(single) // 2 + reach // 2 + 1)
    apart = np.abs(np.log(whole[middle] / single[middle])).max()
    assert apart <= closeness(sigma, shares) + 1e-12
    if shares == 2:
        assert apart > 0.5 * closeness(sigma, shares) - 1e-12


def test_the_report_is_above_the_truth_for_one_release() -> None:
    """delta(epsilon) of two coordinates, each moved by one in opposite directions, by the sum over all outcomes."""
    for sigma, shares, delta in ((1.5, 3, 1e-3), (1.0, 4, 1e-2), (0.7, 6, 1e-2)):
        one = law(sigma, math.ceil(14 * sigma))
        whole = one
        for _ in range(shares - 1):
            whole = np.convolve(whole, one)
        p = np.outer(whole[1:], whole[:-1])
        q = np.outer(whole[:-1], whole[1:])
        epsilon = fixed_plan_epsilon(DistributedGaussianEvent(sigma, shares), delta, discretisation=1e-3)
        assert np.maximum(p - math.exp(epsilon) * q, 0).sum() <= delta
        if sigma > 0.9:
            assert np.maximum(p - math.exp(0.9 * epsilon) * q, 0).sum() > delta, "and not by much"


def test_the_report_is_near_the_exact_gaussian_where_shares_are_wide() -> None:
    event = DistributedGaussianEvent(40 / math.sqrt(250), 250, count=100)
    exact = gdp_epsilon(math.sqrt(2 * 100) / 40, 1e-5)
    assert exact <= fixed_plan_epsilon(event, 1e-5) <= 1.005 * exact


def test_narrow_shares_make_the_report_infinite_rather_than_wrong() -> None:
    assert closeness(0.2, 10) == math.inf
    assert closeness(0.5, 1) == 0.0
    with pytest.raises(BadInput):
        fixed_plan_epsilon(DistributedGaussianEvent(1.0, 4, squared_sensitivity=4, coordinates=1), 1e-5)


def test_prices_grow_with_what_is_tolerated(rows: list[Price]) -> None:
    assert [row.counted for row in rows] == [250, 225, 175]
    assert [round(row.sigma_guaranteed**2 / 1600, 6) for row in rows] == [1.0, 0.9, 0.7]
    for row in rows:
        assert row.trusted == pytest.approx(gdp_epsilon(math.sqrt(2 * 286) / 40, 1e-5))
        assert row.in_shares_fixed_plan is not None
        assert row.trusted <= row.in_shares_fixed_plan <= row.in_shares
    for before, after in pairwise(rows):
        assert before.in_shares < after.in_shares and before.sigma_needed < after.sigma_needed
    assert rows[0].in_shares_fixed_plan is not None and rows[0].in_shares_fixed_plan <= 1.005 * rows[0].trusted
    # One colluding silo costs as much as one that may be lost.
    assert prices(**PLAN, tolerated=(0.0,), colluding=25)[0].in_shares == rows[1].in_shares  # type: ignore[arg-type]
    with pytest.raises(BadInput):
        prices(**PLAN, tolerated=(1.0,))  # type: ignore[arg-type]


def test_skellam_noise_costs_a_little_more() -> None:
    plan = {"sigma": 40.0, "silos": 50, "answers": 100, "delta": 1e-5, "tolerated": (0.1,)}
    [skellam], [gaussian] = prices(**plan, law="skellam"), prices(**plan)  # type: ignore[arg-type]
    assert skellam.in_shares_fixed_plan is None and "| - |" in price_table([skellam])
    assert gaussian.in_shares < skellam.in_shares < 1.01 * gaussian.in_shares


def test_the_table_in_the_documentation_is_this_one(rows: list[Price]) -> None:
    text = (Path(__file__).parents[3] / "docs" / "secure_aggregation.md").read_text(encoding="utf-8")
    assert price_table(rows) in text
